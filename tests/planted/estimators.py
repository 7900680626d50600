"""Faults in estimators: what they see of the validation part and of the future; their weights."""

from __future__ import annotations

from planted.mutant import Mutant

FORECASTING = "python/rnncore/estimators/forecasting/"
CLASSIFIER = "tests/estimators/test_classifier.py::test_"
TABLES = "tests/estimators/test_forecasting.py::test_"
TRAINING_PART = TABLES + "scales_and_calendar_see_the_training_part_alone"
WINDOWS = TABLES + "windows_never_cross_a_gap_or_a_group"

ESTIMATORS = {
    "scaler-of-all-sequences": Mutant(
        "python/rnncore/estimators/_network.py",
        (("fit_scaler(found.steps[mask], weight)", "fit_scaler(found.steps, None)"),),
        CLASSIFIER + "nothing_is_measured_on_the_validation_part",
    ),
    "balance-of-all-sequences": Mutant(
        "python/rnncore/estimators/classifier.py",
        (("self.classes_, data.y[data.training])", "self.classes_, data.y)"),),
        CLASSIFIER + "balanced_weights_are_those_of_the_counts",
    ),
    "weights-of-other-sequences": Mutant(
        "python/rnncore/estimators/_network.py",
        (("data.weight[data.training]", "data.weight[: int(data.training.sum())]"),),
        CLASSIFIER + "weights_stay_with_their_sequences_when_a_part_is_set_aside",
    ),
    "a-class-without-training": Mutant(
        "python/rnncore/estimators/_labels.py",
        (("max(share, 1), len(members) - 1)", "max(share, 1), len(members))"),),
        CLASSIFIER + "each_class_has_some_on_either_side",
    ),
    "early-stopping-keeps-the-last": Mutant(
        "python/rnncore/estimators/_stopping.py",
        (("            self._kept.restore()\n", "            pass\n"),),
        CLASSIFIER + "early_stopping_ends_with_the_parameters_that_scored_best",
    ),
    "training-part-chooses-the-view": Mutant(
        FORECASTING + "fitting.py",
        (("choose(candidates, *direct,", "choose(candidates, direct[0], direct[0],"),),
        TABLES + "the_validation_part_chooses_and_the_training_part_is_fitted",
    ),
    "series-scaled-by-their-future": Mutant(
        FORECASTING + "scales.py",
        (("table.bounds[g] : ends[g]]", "table.bounds[g] : table.bounds[g + 1]]"),),
        TRAINING_PART,
    ),
    "columns-scaled-by-their-future": Mutant(
        FORECASTING + "fitting.py",
        (("ColumnScales.measured(part[seen])", "ColumnScales.measured(part)"),),
        TRAINING_PART,
    ),
    "last-window-is-missing": Mutant(
        FORECASTING + "windows.py", (("max(first, last + 1))", "max(first, last))"),), WINDOWS
    ),
    "windows-reach-over-the-cut": Mutant(
        FORECASTING + "windows.py",
        (("min(stop, highs[g]) - past", "min(stop, highs[g] + 1) - past"),),
        WINDOWS,
    ),
    "intervals-of-the-errors-in-training": Mutant(
        FORECASTING + "fitting.py",
        (
            (
                "core.measure_errors(best.scaled, direct[1])",
                "core.measure_errors(best.scaled, direct[0])",
            ),
        ),
        TABLES + "intervals_are_made_of_the_errors_on_the_validation_part",
    ),
    "season-a-step-too-short": Mutant(
        FORECASTING + "views.py",
        (("np.arange(future) % self.season", "np.arange(future) % max(1, self.season - 1)"),),
        TABLES + "differences_and_anchors_by_a_loop",
    ),
}
