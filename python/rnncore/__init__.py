"""Recurrent networks that run and train fast on a CPU."""

__version__ = "0.1.0"
