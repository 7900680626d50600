"""fitting: the fit of an estimator, by one process or as one of several ranks."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rnncore.estimators._estimator import Estimator
from rnncore.training.ranks import Ranks, check_same, joined


@contextmanager
def fitting(estimator: Estimator, comm: Any) -> Iterator[Ranks]:
    """Let the body fit an estimator as one of the ranks of a communicator; None is a rank alone.

    An error on one rank ends all. The first rank alone warns.

    Raises
    ------
    ValueError
        On all ranks, if a parameter is another one on some; but for random_state and verbose.
    """
    with joined(comm, "sum") as ranks, _warning(ranks):
        params = estimator.get_params()
        for name in ("random_state", "verbose"):
            params.pop(name, None)
        check_same(ranks, params)
        yield ranks


@contextmanager
def _warning(ranks: Ranks) -> Iterator[None]:
    """Let the first rank warn as it would alone, and the others not at all."""
    if ranks.first:
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
