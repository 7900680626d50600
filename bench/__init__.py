"""Measurements of rnncore beside other libraries; see bench/README.md."""

import os
import sys

if "numpy" not in sys.modules:  # its BLAS reads this once, at import
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
