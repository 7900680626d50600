"""Faults in the training loop, its callbacks and files, and the optimizers."""

from __future__ import annotations

from planted.mutant import Mutant

TRAINER = "python/rnncore/training/trainer.py"
GRADIENTS = "python/rnncore/training/gradients.py"
OPTIM = "python/rnncore/optim.py"

FIT = "tests/training/test_training.py::test_"
CALLBACKS = "tests/training/test_callbacks.py::test_"
CHECKPOINTS = "tests/training/test_checkpoints.py::test_"
STOPPED = CHECKPOINTS + "a_stopped_training_goes_on_bit_for_bit"
BEHIND_BEST = CHECKPOINTS + "a_training_resumed_behind_its_best_epoch_goes_back_to_that"
STREAM = "tests/models/test_stateful_batches.py::test_a_stopped_training_goes_on_bit_for_bit"
ACCUMULATED = CALLBACKS + "accumulated_batches_are_as_one_large_batch"
FROZEN = CALLBACKS + "frozen_parameters_stay_and_do_not_count_in_the_norm"
RATES = FIT + "a_schedule_scales_every_step_and_leaves_the_rate"
VALIDATION = "tests/training/test_validation.py::test_validation_drops_and_draws_nothing"

TRUNCATED = "tests/models/test_stateful_batches.py::test_fit_is_truncated_back_propagation"
REDUCED = CHECKPOINTS + "a_rate_that_a_callback_reduced_stays_reduced"

CLIP_VALUE = """        if self.options.clip_value is not None:
            limit = self.options.clip_value
            np.clip(model.flat_grads, -limit, limit, out=model.flat_grads)
"""
CLIP_NORM = """        if self.options.clip_norm is not None:
            clip_grad_norm(model, self.options.clip_norm)
"""

TRAINING = {
    "correction-of-adam-ends-at-step-20": Mutant(
        "python/rnncore/_native/optim.py",
        (("m, v, step, lr, *betas", "m, v, min(step, 20), lr, *betas"),),
        "tests/test_optim.py::test_textbook",
        "Adam-",
    ),
    "decay-of-adamw-in-the-gradient": Mutant(
        OPTIM,
        (("    _decoupled = True\n", "    _decoupled = False\n"),),
        "tests/test_optim.py::test_textbook",
        "AdamW",
    ),
    "clipping-against-a-norm-that-is-too-large": Mutant(
        OPTIM,
        (("factor = limit / (norm + 1e-6)", "factor = limit / (norm + 1.0)"),),
        "tests/test_optim.py::test_clip_grad_norm",
    ),
    "norm-is-cut-before-the-numbers-are": Mutant(
        TRAINER,
        ((CLIP_VALUE + CLIP_NORM, CLIP_NORM + CLIP_VALUE),),
        CALLBACKS + "numbers_are_cut_before_the_norm_is",
    ),
    "gradients-of-all-steps-add-up": Mutant(
        GRADIENTS,
        (("        model.zero_grad()\n        loss", "        loss"),),
        TRUNCATED,
        "gru",
    ),
    "loss-of-all-epochs-adds-up": Mutant(
        TRAINER, (("        self._total = self._counted = 0.0\n", ""),), TRUNCATED, "gru"
    ),
    "frozen-parameters-count-in-the-norm": Mutant(
        "python/rnncore/training/frozen.py", ((".fill(0)", ".fill"),), FROZEN
    ),
    "weight-decay-moves-what-is-frozen": Mutant(
        "python/rnncore/training/frozen.py",
        (("[...] = value", "[...] += 0 * value"),),
        FROZEN,
    ),
    "accumulated-batches-count-alike": Mutant(
        GRADIENTS,
        (
            (
                "np.multiply(grads, grads.dtype.type(count)",
                "np.multiply(grads, grads.dtype.type(1)",
            ),
            ("grads * grads.dtype.type(count)", "grads * grads.dtype.type(1)"),
            ("self._count += count\n        return loss", "self._count += 1\n        return loss"),
        ),
        ACCUMULATED,
    ),
    "accumulated-gradient-stays": Mutant(
        GRADIENTS, (("elif self.batches == 0:", "elif not self._sums[i].any():"),), ACCUMULATED
    ),
    "last-batches-of-an-epoch-wait-for-the-next-one": Mutant(
        TRAINER,
        (("        completes |= self.batch + 1 >= self.batches\n", ""),),
        CALLBACKS + "the_rest_of_an_epoch_is_a_step_too",
    ),
    "schedule-counts-batches": Mutant(
        TRAINER,
        (("per_epoch = -(-self.batches // options.accumulate)", "per_epoch = self.batches"),),
        CALLBACKS + "a_schedule_counts_steps_and_not_batches",
    ),
    "schedule-a-step-ahead": Mutant(
        TRAINER,
        (("self._rate.set(self.history.steps /", "self._rate.set((self.history.steps + 1) /"),),
        RATES,
    ),
    "learning-rate-stays-scheduled": Mutant(
        "python/rnncore/training/scheduled.py",
        (("            self._optimizer.lr = self.before\n", "            pass\n"),),
        RATES,
        "linear",
    ),
    "teacher-forcing-of-the-next-epoch": Mutant(
        TRAINER,
        (("self._forcing.set(self.epoch - 1)", "self._forcing.set(self.epoch)"),),
        "tests/models/test_many_to_many_feedback.py"
        "::test_a_schedule_sets_teacher_forcing_epoch_by_epoch",
    ),
    "one-order-for-all-epochs": Mutant(
        TRAINER,
        (("self._rng if options.shuffle", "np.random.default_rng(0) if options.shuffle"),),
        FIT + "shuffling_uses_every_sample_once_per_epoch",
    ),
    "last-batch-left-out": Mutant(
        "python/rnncore/training/batches.py",
        (
            (
                "range(0, count, batch_size)",
                "range(0, max(1, count - count % batch_size), batch_size)",
            ),
        ),
        "tests/training/test_batches.py::test_every_sample_comes_once",
    ),
    "short-sequences-come-first": Mutant(
        "python/rnncore/training/batches.py",
        (("[batches[i] for i in rng.permutation(len(batches))]", "batches"),),
        "tests/training/test_batches.py::test_buckets_pad_little_and_mix_lengths_and_neighbours",
    ),
    "an-epoch-too-much-patience": Mutant(
        "python/rnncore/training/callbacks.py",
        (("history.best_epoch >= self.patience", "history.best_epoch > self.patience"),),
        FIT + "patience_stops_and_brings_back_the_best",
    ),
    "an-equal-epoch-is-better": Mutant(
        TRAINER,
        (("if watched < (best if", "if watched <= (best if"),),
        FIT + "patience_goes_back_to_the_mean_where_nothing_is_better",
    ),
    "plateau-goes-on": Mutant(
        "python/rnncore/training/callbacks.py",
        (("            self._since = trainer.epoch\n", ""),),
        CALLBACKS + "reduce_on_plateau_halves_the_rate_and_leaves_the_optimizers",
    ),
    "blow-up-keeps-the-optimizers-moments": Mutant(
        "python/rnncore/training/kept.py",
        (("        if self._state is not None:\n", "        if self._state == 0:\n"),),
        CALLBACKS + "after_a_blow_up_a_lower_rate_learns",
    ),
    "validation-with-dropout": Mutant(
        "python/rnncore/models/sequence_task.py",
        (
            ("y, state = self._run(batch.x", "y, tape = self._forward(batch.x"),
            ("        batch.carry(state)\n", "        batch.carry(tape.state)\n"),
        ),
        VALIDATION,
        "many",
    ),
    "validation-of-texts-with-dropout": Mutant(
        "python/rnncore/models/language.py",
        (
            (
                "_loss(self._read(batch, training=False)[0], batch)[0]",
                "_loss(self._read(batch, training=True)[0], batch)[0]",
            ),
        ),
        VALIDATION,
        "language",
    ),
    "validation-of-pairs-with-dropout": Mutant(
        "python/rnncore/models/generating_model.py",
        (("self._loss(self._run(batch), batch)", "self._loss(self._forward(batch)[0], batch)"),),
        VALIDATION,
        "encoder",
    ),
    "batches-of-a-validation-count-alike": Mutant(
        "python/rnncore/training/metrics.py",
        (
            (
                "total += loss * count\n        whole += count",
                "total += loss\n        whole += 1",
            ),
        ),
        FIT + "loss_of_an_epoch_weighs_batches_by_what_counts",
    ),
    "batches-of-a-validation-with-metrics-count-alike": Mutant(
        "python/rnncore/training/metrics.py",
        (("_mean([(loss, count) for (loss, _, _), count", "_mean([(loss, 1) for (loss, _, _), _"),),
        VALIDATION,
        "metrics",
    ),
    "resumed-without-the-moments": Mutant(
        OPTIM, (("            target[...] = array\n", "            target[...] = 0\n"),), STOPPED
    ),
    "resumed-with-fresh-dropout": Mutant(
        TRAINER,
        (('"layers": [source.bit', '"layers": [np.random.default_rng(0).bit'),),
        STOPPED,
    ),
    "resumed-with-an-empty-epoch": Mutant(
        TRAINER,
        (('self._counted = state["total"], state["counted"]', "self._counted = 0.0, 0.0"),),
        STOPPED,
    ),
    "resumed-with-another-order": Mutant(
        TRAINER,
        (('"order": self._order_state', '"order": self._rng.bit_generator.state'),),
        STOPPED,
    ),
    "resumed-without-the-best": Mutant(
        TRAINER, (('        self.kept.restore_state(state["kept"])\n', ""),), BEHIND_BEST
    ),
    "resumed-at-the-first-rate": Mutant(
        TRAINER,
        (
            (
                'self.lr, self._rate.before, self.loss = state["lr"], state["lr_before"],',
                'self._rate.before, self.loss = state["lr_before"],',
            ),
        ),
        REDUCED,
    ),
    "resumed-with-new-callbacks": Mutant(
        "python/rnncore/training/checkpoints.py",
        (('{"callbacks": [each.state_dict()', '{"callbacks": [type(each)().state_dict()'),),
        REDUCED,
    ),
    "file-with-half-a-step": Mutant(
        TRAINER,
        (("not (self._in_step or self._gradient.batches or", "not (self._in_step or"),),
        CHECKPOINTS + "a_step_of_several_batches_is_resumed_whole",
    ),
    "file-inside-a-step": Mutant(
        TRAINER,
        (
            (
                "not (self._in_step or self._gradient.batches or",
                "not (self._gradient.batches or",
            ),
        ),
        CHECKPOINTS + "ctrl_c_inside_a_step_leaves_nothing_half_done_in_the_files",
    ),
    "last-model-as-the-best": Mutant(
        "python/rnncore/training/checkpoints.py",
        (("if self.best and trainer.improved:", "if self.best:"),),
        BEHIND_BEST,
    ),
    "clock-begins-anew": Mutant(
        TRAINER,
        (("time.perf_counter() - self.history.seconds", "time.perf_counter()"),),
        CHECKPOINTS + "seconds_are_those_of_all_runs",
    ),
    "best-comes-back-before-the-last-file": Mutant(
        "python/rnncore/training/loop.py",
        (("for callback in reversed(callbacks):", "for callback in callbacks:"),),
        BEHIND_BEST,
    ),
    "resumed-stream-begins-at-zeros": Mutant(
        TRAINER, (('carry(unflatten(state["carried"]))', "carry(None)"),), STREAM
    ),
    "one-checkpoint-too-many": Mutant(
        "python/rnncore/training/checkpoints.py",
        (("self._files()[self.keep :]", "self._files()[self.keep + 1 :]"),),
        CHECKPOINTS + "files_are_thinned_and_the_best_is_kept",
    ),
}
