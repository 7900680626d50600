"""Faults in samples and batches, streams, layers and models, and in what models generate."""

from __future__ import annotations

from planted.mutant import Mutant

PACKAGE = "python/rnncore/"
SAMPLES = PACKAGE + "models/samples/"
DECODING = PACKAGE + "decoding.py"
GENERATION = PACKAGE + "models/generation.py"
STACKED = PACKAGE + "layers/_layer_by_layer.py"

COUNTING = "tests/models/test_counting.py::test_"
BATCHES = "tests/models/test_samples.py::test_"
BLOCKS = BATCHES + "blocks_hold_every_sample_once"
PAIRS = "tests/models/test_encoder_decoder.py::test_"
TEXTS = "tests/models/test_language.py::test_"
STREAMS = "tests/models/test_stateful_batches.py::test_"
WINDOWS = "tests/models/test_blocks.py::test_"
DECODED = "tests/test_decoding.py::test_"
THROUGH_DROPOUT = (
    "tests/layers/test_layers.py::test_gradients_through_dropout_by_central_differences"
)
RULES = DECODED + "constraints_hold_in_every_method"
BY_HAND = DECODED + "a_narrow_beam_is_the_search_by_hand"

MODELS = {
    "washout-a-step-too-long": Mutant(
        SAMPLES + "targets.py",
        ((">= self.washout", "> self.washout"),),
        COUNTING + "wash_out_leaves_the_first_steps_out",
    ),
    "weights-of-the-first-samples": Mutant(
        SAMPLES + "weights.py",
        (("self.of_samples[which].reshape", "self.of_samples[: rows[0]].reshape"),),
        COUNTING + "weighted_losses_and_gradients",
    ),
    "variance-about-zero": Mutant(
        SAMPLES + "targets.py",
        (("np.maximum(square - mean**2, 0)", "square"),),
        "tests/training/test_training.py::test_the_mean_is_of_what_counts_and_as_it_weighs",
    ),
    "list-in-its-own-order": Mutant(
        SAMPLES + "held.py",
        (("for i in np.asarray(which).tolist()", "for i in np.sort(which).tolist()"),),
        "tests/models/test_samples.py::test_batches_of_lists_and_arrays_are_the_same",
    ),
    "step-behind-the-end-counts": Mutant(
        PACKAGE + "_ragged.py",
        (("np.arange(steps) < lengths[:, None]", "np.arange(steps) <= lengths[:, None]"),),
        "tests/models/test_models.py::test_what_lies_behind_an_end_never_matters",
    ),
    "resets-of-the-first-samples": Mutant(
        SAMPLES + "sequences.py",
        (("self.resets.take(which, x", "self.resets.take(slice(0, len(x)), x"),),
        BATCHES + "what_belongs_to_a_sequence_goes_with_it",
    ),
    "last-of-a-block-is-not-looked-at": Mutant(
        SAMPLES + "held.py",
        (("(slice(start, start + rows) for", "(slice(start, start + max(1, rows - 1)) for"),),
        BLOCKS,
    ),
    "first-of-a-block-is-not-looked-at": Mutant(
        SAMPLES + "held.py",
        (("start, longest = i, steps", "start, longest = i + 1, steps"),),
        BLOCKS,
    ),
    "place-in-its-block": Mutant(
        SAMPLES + "targets.py",
        (
            (
                'refuse("y", y, wrong, expected, first=block.start)',
                'refuse("y", y, wrong, expected)',
            ),
        ),
        BATCHES + "what_is_wrong_far_behind_is_named_with_its_place",
    ),
    "metrics-see-what-is-missing": Mutant(
        SAMPLES + "targets.py",
        (
            (
                "counted = np.asarray(counted.all(axis=-1))",
                "counted = np.asarray(counted.any(axis=-1))",
            ),
        ),
        "tests/training/test_callbacks.py::test_metrics_see_rows_that_are_whole",
    ),
    "weight-of-what-is-missing": Mutant(
        SAMPLES + "targets.py",
        (("np.where(counted.any(axis=-1), weights, 0)", "weights"),),
        COUNTING + "what_is_missing_may_weigh_anything",
    ),
    "predictions-behind-an-end-are-not-written": Mutant(
        PACKAGE + "models/inputs.py",
        (("            y[part, S:] = 0\n", ""),),
        "tests/models/test_models.py::test_predict_in_batches_is_the_whole",
    ),
    "end-of-a-sequence-is-not-learnt": Mutant(
        SAMPLES + "pairs.py",
        (("    steps = lengths + 1\n", "    steps = np.maximum(lengths, 1)\n"),),
        PAIRS + "one_step_of_fit_is_the_gradient_of_the_batch",
    ),
    "targets-feed-back-a-step-late": Mutant(
        SAMPLES + "pairs.py",
        (("[first, self.y[:, :-1]]", "[first, first, self.y[:, :-2]]"),),
        PAIRS + "steps_one_by_one_are_the_forced_steps",
    ),
    "next-token-is-the-same-one": Mutant(
        SAMPLES + "streams.py",
        (("tokens[1 : used + 1].reshape", "tokens[:used].reshape"),),
        TEXTS + "a_stream_is_cut_into_parts_side_by_side",
    ),
    "each-chunk-of-a-text-begins-at-zeros": Mutant(
        SAMPLES + "streams.py",
        (("x, self, bool(i == 0))", "x, self, True)"),),
        TEXTS + "fit_carries_the_detached_state_from_chunk_to_chunk",
    ),
    "state-goes-on-into-the-next-epoch": Mutant(
        SAMPLES + "numeric_streams.py",
        (("return None if self.first else self.stream.state", "return self.stream.state"),),
        STREAMS + "fit_is_truncated_back_propagation",
    ),
    "state-of-a-stream-is-not-carried": Mutant(
        SAMPLES + "numeric_streams.py",
        (("        self.stream.state = state\n", "        pass\n"),),
        STREAMS + "fit_is_truncated_back_propagation",
    ),
    "buckets-forget-the-batch-that-crosses": Mutant(
        PACKAGE + "training/windows.py",
        (("head = min(n, -first % B)", "head = 0"),),
        WINDOWS + "buckets_hold_samples_of_like_length_where_batches_cross_windows_too",
    ),
    "every-window-is-shuffled-alike": Mutant(
        PACKAGE + "training/windows.py",
        (("default_rng((*self.seed, w))", "default_rng(self.seed)"),),
        WINDOWS + "windows_are_shuffled_each_in_its_own_way",
    ),
    "reading-goes-on-for-nobody": Mutant(
        SAMPLES + "block_samples.py",
        (("if cancelled():", "if False:"),),
        WINDOWS + "reading_ends_with_the_samples",
    ),
    "short-last-chunk-left-out": Mutant(
        PACKAGE + "_stateful_batches.py",
        (
            (
                "return -(-int(self._x.shape[1]) // self._k)",
                "return int(self._x.shape[1]) // self._k",
            ),
        ),
        STREAMS + "fit_is_truncated_back_propagation",
    ),
    "resumed-stream-reads-from-its-start": Mutant(
        SAMPLES + "numeric_streams.py",
        (("self._chunks = self.batches.read(i)", "self._chunks = self.batches.read(0)"),),
        STREAMS + "a_stopped_training_goes_on_bit_for_bit",
    ),
    "equals-of-the-last-of-top-k-are-left-out": Mutant(
        DECODING,
        (("np.where(z >= least, z, -np.inf)", "np.where(z > least, z, -np.inf)"),),
        DECODED + "top_k_keeps_the_greatest_and_their_equals",
    ),
    "temperature-the-wrong-way": Mutant(
        DECODING,
        (("(z - best) / temperature", "(z - best) * temperature"),),
        DECODED + "shares_follow_the_softmax",
    ),
    "least-draw-takes-the-first-token": Mutant(
        DECODING,
        (("(1.0 - source.random((len(z), 1)))", "source.random((len(z), 1))"),),
        DECODED + "the_least_number_draws_no_excluded_token",
    ),
    "end-does-not-count-in-a-length": Mutant(
        DECODING,
        (("(step + 1.0) ** alpha", "max(1.0, step) ** alpha"),),
        DECODED + "a_wide_beam_finds_every_sequence_in_order",
    ),
    "search-ends-too-early": Mutant(
        DECODING,
        (("score.max(axis=1) / max_steps**alpha", "score.max(axis=1) / (step + 1) ** alpha"),),
        BY_HAND,
    ),
    "states-of-other-beams": Mutant(
        DECODING,
        (("generation.keep(going, beams[going])", "generation.keep(going, beams[going, ::-1])"),),
        BY_HAND,
    ),
    "greedy-choice-may-be-lost": Mutant(
        DECODING,
        (("    total[path, choice] = np.inf\n", ""),),
        DECODED + "greedy_choice_is_kept_where_it_falls_behind_in_between",
    ),
    "a-text-with-each-of-several-ends": Mutant(
        DECODING, (("if len(rules.ends) > 1:", "if len(rules.ends) > 9:"),), RULES
    ),
    "least-length-counts-the-end": Mutant(
        DECODING, (("if step < rules.min_length:", "if step <= rules.min_length:"),), RULES
    ),
    "sequences-that-ended-stay": Mutant(
        DECODING,
        (("            generation.keep(going, np.zeros((going.size, 1), np.int64))\n", ""),),
        DECODED + "write_takes_what_is_chosen_until_the_end",
    ),
    "beams-of-another-source": Mutant(
        GENERATION,
        (("(sequences[:, None] * K + beams)", "(np.arange(B)[:, None] * K + beams)"),),
        PAIRS + "greedy_is_the_likeliest_symbol_of_each_step",
    ),
    "prompt-is-read-behind-its-end": Mutant(
        GENERATION,
        (("h[np.arange(len(h)), lengths - 1]", "h[:, -1]"),),
        TEXTS + "prompts_of_different_lengths_go_on_as_each_alone",
    ),
    "streaming-begins-anew": Mutant(
        PACKAGE + "models/streaming.py",
        (('self.core.read_state("state", state,', 'self.core.read_state("state", None,'),),
        "tests/models/test_streaming.py::test_pieces_of_any_size_give_the_bits_of_the_whole",
    ),
    "gradient-through-the-first-mask": Mutant(
        STACKED, (("dy *= call.masks[layer]", "dy *= call.masks[0]"),), THROUGH_DROPOUT
    ),
    "second-direction-of-upper-layers-is-lost": Mutant(
        STACKED,
        (
            (
                "                    below += into\n",
                "                    below += into * (layer == 0)\n",
            ),
        ),
        THROUGH_DROPOUT,
    ),
    "attention-to-padding": Mutant(
        PACKAGE + "layers/attention.py",
        (("memory.valid[:, None, :], scores, -np.inf", "memory.valid[:, None, :], scores, 0"),),
        "tests/layers/test_attention.py::test_padding_is_never_read",
    ),
    "windows-know-the-next-step": Mutant(
        PACKAGE + "data.py",
        (("    y = both[:, past:]\n", "    y = both[:, past - 1 : -1]\n"),),
        "tests/test_data.py::test_windows_of_one_dimension_are_neighbouring_pieces",
    ),
}
