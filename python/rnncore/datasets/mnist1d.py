"""MNIST-1D (Greydanus and Kobak 2024): its ten templates, and the data drawn from them.

The package carries a program, no data. The templates are read out of it as text; the drawing is
that of the paper's section 2, with the package's default options, written again so that neither
scipy nor a module of the package is needed. It makes the same draws in the same order, and so
the published set: 4,000 sequences to train on and 1,000 to test.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping

import numpy as np

from rnncore._types import Array
from rnncore.datasets.kinds import Sequences

SAMPLES, TRAIN, SEED = 5000, 4000, 42
PADDING = 36, 60  # fewest and most zeros behind a template
DILATED, LENGTH = 72, 40  # samples of the stretched template, and of the sequence
SCALE, SHEAR, TRANSLATION = 0.4, 0.75, 48
SMOOTH_NOISE, NOISE = 0.25, 0.02


def mnist_1d(files: Mapping[str, bytes]) -> Sequences:
    """Draw the data set from the templates in the package's source."""
    (source,) = files.values()
    shapes = _templates(source.decode())
    draw = np.random.RandomState(SEED)  # the published set is of this generator
    each = SAMPLES // len(shapes)
    x = np.array([_sequence(shape, draw) for shape in shapes for _ in range(each)])
    labels = np.repeat(np.arange(len(shapes)), each)
    order = draw.permutation(len(x))
    x, labels = (x[order] - x.mean()) / x.std(), labels[order]
    return Sequences(
        list(x[:, :, None]), labels, tuple("0123456789"), slice(0, TRAIN), slice(TRAIN, None)
    )


def _templates(source: str) -> Array:
    """Return the digits' shapes (10, 12), each from 0 on, out of lists given to d0 to d9."""
    lists: dict[str, list[float]] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name, value = node.targets[0].id, node.value
            if name in {f"d{digit}" for digit in range(10)} and isinstance(value, ast.Call):
                lists[name] = ast.literal_eval(value.args[0])
    shapes = np.array([lists[f"d{digit}"] for digit in range(10)])
    shapes = shapes - shapes.mean(axis=1, keepdims=True)
    shapes = shapes / shapes.std(axis=1, keepdims=True)
    shifted: Array = (shapes - shapes[:, :1]) / 6
    return shifted


def _sequence(shape: Array, draw: np.random.RandomState) -> Array:
    """Return one sequence (40,): padded, stretched, scaled, moved, with noise, sheared."""
    fewest, most = PADDING
    zeros = np.zeros(fewest + int(draw.rand() * (most - fewest + 1)))
    x = _resampled(np.concatenate([shape + 1e-8, zeros]), DILATED)  # 0 only in the padding
    x *= 1 + SCALE * (draw.rand() - 0.5)
    x = np.roll(x, draw.choice(TRANSLATION))
    x = np.where(x != 0, x, _smoothed(SMOOTH_NOISE * draw.randn(DILATED)))
    x = x + NOISE * draw.randn(DILATED)
    x = x - SHEAR * (draw.rand() - 0.5) * np.linspace(-0.5, 0.5, DILATED)
    return _resampled(x, LENGTH)


def _resampled(x: Array, length: int) -> Array:
    """Return x at `length` even places, by straight lines."""
    places = np.linspace(0, 1, length)
    resampled: Array = np.interp(places, np.linspace(0, 1, len(x)), x)
    return resampled


def _smoothed(x: Array) -> Array:
    """Return x under a Gaussian of deviation 2, cut off at 8, and mirrored at both ends."""
    weights = np.exp(-0.125 * np.arange(-8, 9) ** 2)
    smoothed: Array = np.convolve(np.pad(x, 8, "symmetric"), weights / weights.sum(), "valid")
    return smoothed
