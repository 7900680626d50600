"""The compiled kernels behind thin functions: the only importer of a compiled module."""
