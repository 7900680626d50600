"""The eleven functions of gates in numpy, and the steps of cells that were given some of them.

A function is (name, alpha, beta). What it sees is bounded to [-clip, clip] first, but for an
LSTM's h, which sees the state c. docs/math/functions.md is the same, derived.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Function = tuple[str, float, float]


def sigma(z: Array) -> Array:
    e = np.exp(-np.abs(z))  # at most 1
    return np.where(z >= 0, 1, e) / (1 + e)


VALUES: dict[str, Callable[[Array, float, float], Array]] = {
    "sigmoid": lambda z, a, b: sigma(z),
    "tanh": lambda z, a, b: np.tanh(z),
    "relu": lambda z, a, b: np.maximum(z, 0),
    "affine": lambda z, a, b: a * z + b,
    "leaky_relu": lambda z, a, b: np.where(z < 0, a * z, z),
    "thresholded_relu": lambda z, a, b: np.where(z > a, z, 0),
    "scaled_tanh": lambda z, a, b: a * np.tanh(b * z),
    "hard_sigmoid": lambda z, a, b: np.clip(a * z + b, 0, 1),
    "elu": lambda z, a, b: np.where(z < 0, a * np.expm1(np.minimum(z, 0)), z),
    "softsign": lambda z, a, b: z / (1 + np.abs(z)),
    "softplus": lambda z, a, b: np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z))),
}
SLOPES: dict[str, Callable[[Array, float, float], Array]] = {
    "sigmoid": lambda z, a, b: sigma(z) * sigma(-z),
    "tanh": lambda z, a, b: 1 - np.tanh(z) ** 2,
    "relu": lambda z, a, b: np.where(z > 0, 1, 0),
    "affine": lambda z, a, b: np.full_like(z, a),
    "leaky_relu": lambda z, a, b: np.where(z > 0, 1, a),
    "thresholded_relu": lambda z, a, b: np.where(z > a, 1, 0),
    "scaled_tanh": lambda z, a, b: a * b * (1 - np.tanh(b * z) ** 2),
    "hard_sigmoid": lambda z, a, b: np.where((a * z + b > 0) & (a * z + b < 1), a, 0),
    "elu": lambda z, a, b: np.where(z < 0, a * np.exp(np.minimum(z, 0)), 1),
    "softsign": lambda z, a, b: (1 + np.abs(z)) ** -2.0,
    "softplus": lambda z, a, b: sigma(z),
}
# With numbers that are not the defaults; all bend where pre-activations of tests lie.
EVERY: dict[str, Function] = {
    "sigmoid": ("sigmoid", 0.0, 0.0),
    "tanh": ("tanh", 0.0, 0.0),
    "relu": ("relu", 0.0, 0.0),
    "affine": ("affine", 0.75, 0.25),
    "leaky_relu": ("leaky_relu", 0.125, 0.0),
    "thresholded_relu": ("thresholded_relu", 0.25, 0.0),
    "scaled_tanh": ("scaled_tanh", 1.5, 0.625),
    "hard_sigmoid": ("hard_sigmoid", 0.375, 0.5625),
    "elu": ("elu", 0.625, 0.0),
    "softsign": ("softsign", 0.0, 0.0),
    "softplus": ("softplus", 0.0, 0.0),
}
PARAMETERS = {
    "affine": 2, "leaky_relu": 1, "thresholded_relu": 1, "scaled_tanh": 2, "hard_sigmoid": 2,
    "elu": 1,
}  # fmt: skip
"""How many numbers a function has; 0 of the others."""


def as_user(function: Function) -> Any:
    """The function as a layer's option."""
    count = PARAMETERS.get(function[0], 0)
    return function[: 1 + count] if count else function[0]


class Phi:
    """A function behind its bound."""

    def __init__(self, function: Function, clip: float = np.inf) -> None:
        (self.name, self.alpha, self.beta), self.clip = function, clip

    def __call__(self, z: Array) -> Array:
        return VALUES[self.name](np.clip(z, -self.clip, self.clip), self.alpha, self.beta)

    def slope(self, z: Array) -> Array:
        return SLOPES[self.name](z, self.alpha, self.beta) * (np.abs(z) <= self.clip)


def steps(cell: str, functions: Sequence[Function], clip: float) -> tuple[Any, Any]:
    """A step and its reverse, as those of reference.py; of a cell by its name in the table."""
    f, *others = (Phi(function, clip) for function in functions)
    if cell.startswith("rnn"):
        return _rnn(f)
    if cell == "gru":
        return _gru(f, *others)
    if cell == "gru_reset_before":
        return _gru_reset_before(f, *others)
    return _lstm(f, others[0], Phi(functions[2]), "peephole" in cell, "coupled" in cell)


def _rnn(f: Phi) -> tuple[Any, Any]:
    def step(zx: Array, zh: Array, h: Array, c: None) -> tuple[Array, None, Any]:
        return f(zx + zh), None, zx + zh

    def back(dh_new: Array, dc_new: None, z: Any) -> tuple[Array, Array, Any, None]:
        dz = dh_new * f.slope(z)
        return dz, dz, 0, None

    return step, back


def _gru(f: Phi, g: Phi) -> tuple[Any, Any]:
    def step(zx: Array, zh: Array, h: Array, c: None) -> tuple[Array, None, Any]:
        (r_x, u_x, n_x), (r_h, u_h, n_h) = np.split(zx, 3), np.split(zh, 3)
        z_r, z_u = r_x + r_h, u_x + u_h
        z_n, u = n_x + f(z_r) * n_h, f(z_u)
        return (1 - u) * g(z_n) + u * h, None, (z_r, z_u, z_n, n_h, h)

    def back(dh_new: Array, dc_new: None, saved: Any) -> tuple[Array, Array, Any, None]:
        z_r, z_u, z_n, n_h, h = saved
        u = f(z_u)
        dn = dh_new * (1 - u) * g.slope(z_n)
        dr, du = dn * n_h * f.slope(z_r), dh_new * (h - g(z_n)) * f.slope(z_u)
        return np.concatenate([dr, du, dn]), np.concatenate([dr, du, dn * f(z_r)]), dh_new * u, None

    return step, back


def _gru_reset_before(f: Phi, g: Phi) -> tuple[Any, Any]:
    def step(zx: Array, zh: Array, h: Array, c: None) -> tuple[Array, None, Any]:
        _, z_u, z_n = np.split(zx + zh, 3)
        u = f(z_u)
        return (1 - u) * g(z_n) + u * h, None, (z_u, z_n, h)

    def back(dh_new: Array, dc_new: None, saved: Any) -> tuple[Array, Array, Any, None]:
        z_u, z_n, h = saved
        u = f(z_u)
        dz_u = dh_new * (h - g(z_n)) * f.slope(z_u)
        dz = np.concatenate([0 * dz_u, dz_u, dh_new * (1 - u) * g.slope(z_n)])
        return dz, dz, dh_new * u, None

    return step, back


def _lstm(f: Phi, g: Phi, phi_h: Phi, peephole: bool, coupled: bool) -> tuple[Any, Any]:
    def rows(p: Array | None) -> tuple[Any, Any, Any]:
        if p is None:
            return 0.0, 0.0, 0.0
        return (p[0], 0.0, p[1]) if coupled else (p[0], p[1], p[2])

    def step(
        zx: Array, zh: Array, h: Array, c: Array, p: Array | None = None
    ) -> tuple[Array, Array, Any]:
        z_i, *rest = np.split(zx + zh, 3 if coupled else 4)
        z_f, z_g, z_o = (z_i, *rest) if coupled else rest
        p_i, p_f, p_o = rows(p)
        z_i, z_f = z_i + p_i * c, z_f + p_f * c
        forget = 1 - f(z_i) if coupled else f(z_f)
        c_new = forget * c + f(z_i) * g(z_g)
        z_o = z_o + p_o * c_new
        return f(z_o) * phi_h(c_new), c_new, (z_i, z_f, z_g, z_o, c, c_new, p)

    def back(dh_new: Array, dc_new: Array, saved: Any) -> tuple[Any, ...]:
        z_i, z_f, z_g, z_o, c, c_new, p = saved
        p_i, p_f, p_o = rows(p)
        dz_o = dh_new * phi_h(c_new) * f.slope(z_o)
        dc = dc_new + dh_new * f(z_o) * phi_h.slope(c_new) + dz_o * p_o
        dz_i = dc * (g(z_g) - c * coupled) * f.slope(z_i)
        dz_f, dz_g = dc * c * f.slope(z_f), dc * f(z_i) * g.slope(z_g)
        forget = 1 - f(z_i) if coupled else f(z_f)
        dz = np.concatenate([dz_i, dz_g, dz_o] if coupled else [dz_i, dz_f, dz_g, dz_o])
        dp = [dz_i * c, dz_o * c_new] if coupled else [dz_i * c, dz_f * c, dz_o * c_new]
        first = (dz, dz, 0, dc * forget + dz_i * p_i + dz_f * p_f * (not coupled))
        return (*first, np.stack(dp)) if peephole else first

    return step, back
