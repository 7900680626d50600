"""Faults in trainings by several ranks."""

from __future__ import annotations

from planted.mutant import Mutant

FIT = "tests/distributed/test_fit.py::test_"
SHARDS = "tests/distributed/test_shards.py::test_"
LOSSES = FIT + "the_losses_are_those_of_one_rank"
ORDERED = FIT + "ordered_sums_give_the_same_bits_at_any_number_of_ranks"
GRADIENTS = "python/rnncore/training/gradients.py"
CORES = "python/rnncore/training/ranks/cores.py"

RANKS = {
    "shards-of-a-batch-count-alike": Mutant(
        GRADIENTS,
        (("np.multiply(grads, real(self._own)", "np.multiply(grads, real(1)"),),
        LOSSES,
        "2-ragged",
    ),
    "every-rank-takes-the-first-shard": Mutant(
        GRADIENTS,
        (
            (
                "shards_of(which, self._samples, shards)",
                "shards_of(which, self._samples, [shards[0]] * len(shards))",
            ),
        ),
        ORDERED,
        "ragged",
    ),
    "shards-are-cut-by-count": Mutant(
        "python/rnncore/training/ranks/shards.py",
        (
            (
                "if lengths is None:\n        return [shard",
                "if lengths is not None:\n        return [shard",
            ),
        ),
        SHARDS + "a_shard_is_balanced_by_steps",
    ),
    "a-sum-in-the-order-of-parts": Mutant(
        "python/rnncore/training/ranks/reduction.py",
        (
            (
                "parts = [parts[i] + parts[i + 1] for i in range(0, len(parts), 2)]",
                "parts = [sum(parts)]",
            ),
        ),
        ORDERED,
        "few",
    ),
    "a-stream-goes-on-from-rows-of-another-rank": Mutant(
        GRADIENTS,
        (("some_rows(state, shard.rows)", "some_rows(state, Shard(0, shard.total).rows)"),),
        FIT + "a_killed_training_goes_on_bit_for_bit",
        "2-stream",
    ),
    "digests-of-shapes-alone": Mutant(
        "python/rnncore/training/ranks/sameness.py",
        (("for block in _blocks(value):", "for block in ():"),),
        "tests/distributed/test_faults.py::test_what_differs_is_named_at_the_start",
        "data",
    ),
    "every-rank-takes-all-cores": Mutant(
        CORES, (("1 / (1 + sum(", "1 / (1 + 0 * sum("),), SHARDS + "ranks_share_cores"
    ),
    "ranks-draw-the-same-dropout": Mutant(
        "python/rnncore/training/draws.py",
        (("SeedSequence([seed, number])", "SeedSequence([seed])"),),
        FIT + "parts_draw_dropout_of_their_own",
    ),
}
