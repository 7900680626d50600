"""Aliases for types that all modules use."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Lengths = NDArray[np.int64]
Seed: TypeAlias = "int | np.random.Generator | None"  # text: numpy.random loads when needed
