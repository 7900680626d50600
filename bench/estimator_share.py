"""What RNNClassifier adds to its model: predict of 1,000 ragged series beside the model's own.

Both take the same list of 1,000 series of 20 to 100 steps of 8 features, by turns, in processor
time, on one thread. The model gets scaled float32 steps, the classifier what a user has: float64.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, from any folder

import rnncore
from rnncore.estimators import RNNClassifier

from bench.timing import sample

N, F = 1000, 8


def problem(hidden: int = 32) -> tuple[RNNClassifier, list[Any], list[Any]]:
    """Return a classifier, series, and the same series as its model takes them."""
    rng = np.random.default_rng(0)
    series = [rng.standard_normal((T, F)) for T in rng.integers(20, 101, N)]
    labels = np.where([each[:, 0].sum() > 0 for each in series], "up", "down")
    fitted = RNNClassifier(hidden, max_iter=1, random_state=0).fit(series, labels)
    assert fitted.scaler_ is not None
    return fitted, series, [fitted.scaler_.transform(x).astype(np.float32) for x in series]


def ratios(rounds: int, hidden: int = 32) -> list[float]:
    """Return the classifier's processor time over its model's, of each round."""
    fitted, series, scaled = problem(hidden)
    sides = (lambda: fitted.predict(series), lambda: fitted.model_.predict(scaled))
    for side in sides:
        side()
    found = []
    for turn in range(rounds):
        order = (0, 1) if turn % 2 == 0 else (1, 0)
        times = {which: sample(sides[which], 1, time.process_time) for which in order}
        found.append(times[0] / times[1])
    return found


def main() -> None:
    """Print the median ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=101)
    parser.add_argument("--hidden", type=int, nargs="+", default=[32, 64])
    options = parser.parse_args()
    rnncore.set_num_threads(1)
    for hidden in options.hidden:
        found = ratios(options.rounds, hidden)
        print(f"H {hidden}: {statistics.median(found):.3f} of the model's own predict")


if __name__ == "__main__":
    main()
