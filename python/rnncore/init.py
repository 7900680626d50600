"""Initial values of the parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rnncore._checks import choice, not_negative, number, what_came
from rnncore._native.cells import Cell
from rnncore._types import Array

__all__ = ["glorot_uniform", "orthogonal", "uniform"]

SCHEMES = ("default", "torch")


def check_scheme(init: Any) -> str:
    """Return `init` if it names a scheme; ValueError lists them."""
    return choice("init", init, SCHEMES)


def check_forget_bias(value: Any, init: str, bias: bool) -> float:
    """Return a forget gate's initial bias; other than 1 only where it takes effect."""
    result = number("forget_bias", value)
    if not np.isfinite(result):
        raise ValueError(f"forget_bias: expected a finite number, got {value!r}")
    if result != 1 and init == "torch":
        raise ValueError(f"forget_bias: expected 1.0 with init='torch', got {value!r}")
    if result != 1 and not bias:
        raise ValueError(f"forget_bias: expected 1.0 with bias=False, got {value!r}")
    return result


def glorot_uniform(rng: np.random.Generator, weight: Array) -> None:
    """Fill (O, I) from U(+-sqrt(6 / (I + O))), after Glorot and Bengio (2010), eq. 16."""
    _check(rng, weight, 2)
    bound = (6.0 / sum(weight.shape)) ** 0.5
    uniform(rng, weight, bound)


def orthogonal(rng: np.random.Generator, weight: Array) -> None:
    """Fill (H, H) with a random orthogonal matrix, after Saxe et al. (2014).

    Q of a normal matrix's QR, with signs that make it uniform over the orthogonal group
    (Mezzadri 2007).
    """
    _check(rng, weight, 2)
    q, r = np.linalg.qr(rng.standard_normal(weight.shape, dtype=weight.dtype))
    weight[...] = q * np.copysign(1, np.diagonal(r))


def uniform(rng: np.random.Generator, weight: Array, bound: float) -> None:
    """Fill from U(+-bound)."""
    _check(rng, weight, 0)
    bound = not_negative("bound", bound)
    weight[...] = rng.random(weight.shape, dtype=weight.dtype)
    weight *= 2 * bound
    weight -= bound


def _check(rng: Any, weight: Any, rank: int) -> None:
    """Raise TypeError or ValueError unless there is a generator and an array to fill."""
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng: expected a numpy.random.Generator, got {what_came(rng)}")
    if not isinstance(weight, np.ndarray) or weight.dtype not in (np.float32, np.float64):
        got = f"dtype {weight.dtype}" if isinstance(weight, np.ndarray) else what_came(weight)
        raise TypeError(f"weight: expected an array of float32 or float64, got {got}")
    if rank and weight.ndim != rank:
        raise ValueError(f"weight: expected (O, I), got shape {weight.shape}")
    if not weight.flags.writeable:
        raise ValueError("weight: expected an array to write into, got a read-only one")


def fill_cell(
    cell: Cell,
    parameters: Mapping[str, Array],
    init: str,
    rng: np.random.Generator,
    forget_bias: float = 1.0,
) -> None:
    """Fill the parameters of one layer in one direction.

    Parameters
    ----------
    cell : Cell
        Row of the cell table.
    parameters : mapping of str to numpy.ndarray
        The arrays of `Weights` by name, and those of readout and feedback; any may be missing but
        weight_ih.
    init : {"default", "torch"}
        "default": each gate's block of weight_ih Glorot uniform, each gate's block of weight_hh
        orthogonal, weights from and to outputs Glorot uniform, biases zero but for an LSTM's forget
        gate: `forget_bias` in bias_ih and 0 in bias_hh, since the two are added. Where the forget
        gate is coupled, f = 1 - i = sigma(-z_i), the input gate's bias is minus that. Unit
        parameters (peepholes) are zero. "torch": everything from U(+-1/sqrt(H)).
    rng : numpy.random.Generator
    forget_bias : float
        1 after Jozefowicz et al. (2015); `init` "torch" draws it.
    """
    H = len(parameters["weight_ih"]) // cell.gates
    if init == "torch":
        for array in parameters.values():
            uniform(rng, array, H**-0.5)
        return
    for gate in range(cell.gates):
        block = slice(gate * H, (gate + 1) * H)
        glorot_uniform(rng, parameters["weight_ih"][block])
        if "weight_hh" in parameters:
            recurrent = parameters["weight_hh"][block]
            fill = orthogonal if recurrent.shape == (H, H) else glorot_uniform
            fill(rng, recurrent)
        if "weight_oh" in parameters:
            glorot_uniform(rng, parameters["weight_oh"][block])
    for name in ("weight_hr", "weight_ho", "weight_oo"):
        if name in parameters:
            glorot_uniform(rng, parameters[name])
    for name in ("bias_ih", "bias_hh", "bias_o", *cell.unit_parameters):
        if name in parameters:
            parameters[name].fill(0)
    letter, bias = ("f", forget_bias) if "f" in cell.gate_letters else ("i", -forget_bias)
    if "bias_ih" in parameters and cell.has_c and letter in cell.gate_letters:
        gate = cell.gate_letters.index(letter)
        parameters["bias_ih"][gate * H : (gate + 1) * H] = bias
