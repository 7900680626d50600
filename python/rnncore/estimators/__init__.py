"""Estimators for tables and sequences, in scikit-learn's manner."""
