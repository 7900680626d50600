"""The faults that mutants.py plants, each with the test that notices it."""

from __future__ import annotations

from planted.cells import CELLS
from planted.estimators import ESTIMATORS
from planted.feedback import FEEDBACK
from planted.files import FILES
from planted.loops import LOOPS
from planted.models import MODELS
from planted.mutant import Mutant
from planted.other_kernels import OTHER_KERNELS
from planted.ranks import RANKS
from planted.training import TRAINING

TABLES = (CELLS, LOOPS, FEEDBACK, OTHER_KERNELS, TRAINING, MODELS, FILES, ESTIMATORS, RANKS)
MUTANTS: dict[str, Mutant] = {name: each for table in TABLES for name, each in table.items()}
assert len(MUTANTS) == sum(map(len, TABLES)), "two faults have one name"
