"""The executable specification: every cell and the sequence loop in plain numpy.

Exact in float64; arrays of float32 are computed in float32. Nothing here is fast: each sequence
runs alone, one step at a time. Gate order and parameter shapes are torch's: LSTM i f g o,
GRU r z n (reset after the product; before it in gru_reset_before).

Shapes: x (T, B, I), h (B, H), weight_ih (G*H, I), weight_hh (G*H, H), biases (G*H,). A bias may be
None, lengths may be None (= T for all), c is None for a cell without one. unit_parameters (P, H)
holds the rows of all parameters that act unit by unit, None for a cell without one. resets (T, B),
or None, is True where a sequence is cut in front of a step; reset_to says what state follows.
noise has the masks of regularisers; None is none of them. A cell is named, or (name, functions,
clip) with functions of gate_functions.py in place of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import gate_functions
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def sigmoid(z: Array) -> Array:
    with np.errstate(over="ignore"):  # exp(-z) = inf gives the right limit, 0
        return 1 / (1 + np.exp(-z))


# A step:      (zx, zh, h, c) -> h_new, c_new, saved    with zx = W x + b_ih, zh = R h + b_hh
# Its reverse: (dh_new, dc_new, saved) -> dzx, dzh, dh, dc
# dh holds the paths to the old h that don't run through zh: the loop adds R' dzh.
# A cell with unit parameters takes them behind c, and gives their gradient behind dc.
# Of a cell with a reset the last rows of R meet q = r * h in place of h: `recurrent_part` gives it
# zh, and `recurrent_part_backward` adds what comes through q to dz of the reset gate.


def rnn_tanh(zx: Array, zh: Array, h: Array, c: None) -> tuple[Array, None, Any]:
    h_new = np.tanh(zx + zh)
    return h_new, None, h_new


def rnn_tanh_backward(dh_new: Array, dc_new: None, h_new: Any) -> tuple[Array, Array, Any, None]:
    dz = dh_new * (1 - h_new**2)
    return dz, dz, 0, None


def rnn_relu(zx: Array, zh: Array, h: Array, c: None) -> tuple[Array, None, Any]:
    h_new = np.maximum(zx + zh, 0)
    return h_new, None, h_new


def rnn_relu_backward(dh_new: Array, dc_new: None, h_new: Any) -> tuple[Array, Array, Any, None]:
    dz = dh_new * (h_new > 0)
    return dz, dz, 0, None


def lstm(zx: Array, zh: Array, h: Array, c: Array) -> tuple[Array, Array, Any]:
    z_i, z_f, z_g, z_o = np.split(zx + zh, 4)
    i, f, g, o = sigmoid(z_i), sigmoid(z_f), np.tanh(z_g), sigmoid(z_o)
    c_new = f * c + i * g
    h_new = o * np.tanh(c_new)
    return h_new, c_new, (i, f, g, o, c, c_new)


def lstm_backward(dh_new: Array, dc_new: Array, saved: Any) -> tuple[Array, Array, Any, Array]:
    i, f, g, o, c, c_new = saved
    tanh_c = np.tanh(c_new)
    do = dh_new * tanh_c
    dc_new = dc_new + dh_new * o * (1 - tanh_c**2)
    di, df, dg = dc_new * g, dc_new * c, dc_new * i
    dz = np.concatenate([di * i * (1 - i), df * f * (1 - f), dg * (1 - g**2), do * o * (1 - o)])
    return dz, dz, 0, dc_new * f


def lstm_peephole(zx: Array, zh: Array, h: Array, c: Array, p: Array) -> tuple[Array, Array, Any]:
    (z_i, z_f, z_g, z_o), (p_i, p_f, p_o) = np.split(zx + zh, 4), p
    i, f, g = sigmoid(z_i + p_i * c), sigmoid(z_f + p_f * c), np.tanh(z_g)
    c_new = f * c + i * g
    o = sigmoid(z_o + p_o * c_new)
    return o * np.tanh(c_new), c_new, (i, f, g, o, c, c_new, p)


def lstm_peephole_backward(
    dh_new: Array, dc_new: Array, saved: Any
) -> tuple[Array, Array, Any, Array, Array]:
    i, f, g, o, c, c_new, (p_i, p_f, p_o) = saved
    tanh_c = np.tanh(c_new)
    dz_o = dh_new * tanh_c * o * (1 - o)
    dc_new = dc_new + dh_new * o * (1 - tanh_c**2) + dz_o * p_o
    dz_i, dz_f = dc_new * g * i * (1 - i), dc_new * c * f * (1 - f)
    dz = np.concatenate([dz_i, dz_f, dc_new * i * (1 - g**2), dz_o])
    dp = np.stack([dz_i * c, dz_f * c, dz_o * c_new])
    return dz, dz, 0, dc_new * f + dz_i * p_i + dz_f * p_f, dp


def lstm_coupled(zx: Array, zh: Array, h: Array, c: Array) -> tuple[Array, Array, Any]:
    z_i, z_g, z_o = np.split(zx + zh, 3)
    i, g, o = sigmoid(z_i), np.tanh(z_g), sigmoid(z_o)
    c_new = (1 - i) * c + i * g
    return o * np.tanh(c_new), c_new, (i, g, o, c, c_new)


def lstm_coupled_backward(
    dh_new: Array, dc_new: Array, saved: Any
) -> tuple[Array, Array, Any, Array]:
    i, g, o, c, c_new = saved
    tanh_c = np.tanh(c_new)
    do = dh_new * tanh_c
    dc_new = dc_new + dh_new * o * (1 - tanh_c**2)
    di, dg = dc_new * (g - c), dc_new * i
    dz = np.concatenate([di * i * (1 - i), dg * (1 - g**2), do * o * (1 - o)])
    return dz, dz, 0, dc_new * (1 - i)


def lstm_peephole_coupled(
    zx: Array, zh: Array, h: Array, c: Array, p: Array
) -> tuple[Array, Array, Any]:
    (z_i, z_g, z_o), (p_i, p_o) = np.split(zx + zh, 3), p
    i, g = sigmoid(z_i + p_i * c), np.tanh(z_g)
    c_new = (1 - i) * c + i * g
    o = sigmoid(z_o + p_o * c_new)
    return o * np.tanh(c_new), c_new, (i, g, o, c, c_new, p)


def lstm_peephole_coupled_backward(
    dh_new: Array, dc_new: Array, saved: Any
) -> tuple[Array, Array, Any, Array, Array]:
    i, g, o, c, c_new, (p_i, p_o) = saved
    tanh_c = np.tanh(c_new)
    dz_o = dh_new * tanh_c * o * (1 - o)
    dc_new = dc_new + dh_new * o * (1 - tanh_c**2) + dz_o * p_o
    dz_i = dc_new * (g - c) * i * (1 - i)
    dz = np.concatenate([dz_i, dc_new * i * (1 - g**2), dz_o])
    return dz, dz, 0, dc_new * (1 - i) + dz_i * p_i, np.stack([dz_i * c, dz_o * c_new])


def gru(zx: Array, zh: Array, h: Array, c: None) -> tuple[Array, None, Any]:
    (r_x, u_x, n_x), (r_h, u_h, n_h) = np.split(zx, 3), np.split(zh, 3)
    r, u = sigmoid(r_x + r_h), sigmoid(u_x + u_h)  # u is torch's gate "z"
    n = np.tanh(n_x + r * n_h)
    return (1 - u) * n + u * h, None, (r, u, n, n_h, h)


def gru_backward(dh_new: Array, dc_new: None, saved: Any) -> tuple[Array, Array, Any, None]:
    r, u, n, n_h, h = saved
    du = dh_new * (h - n)
    dn_x = dh_new * (1 - u) * (1 - n**2)
    dr = dn_x * n_h
    dz_r, dz_u = dr * r * (1 - r), du * u * (1 - u)
    dzx = np.concatenate([dz_r, dz_u, dn_x])
    dzh = np.concatenate([dz_r, dz_u, dn_x * r])
    return dzx, dzh, dh_new * u, None


def gru_reset_before(zx: Array, zh: Array, h: Array, c: None) -> tuple[Array, None, Any]:
    _, z_u, z_n = np.split(zx + zh, 3)
    u, n = sigmoid(z_u), np.tanh(z_n)
    return (1 - u) * n + u * h, None, (u, n, h)


def gru_reset_before_backward(
    dh_new: Array, dc_new: None, saved: Any
) -> tuple[Array, Array, Any, None]:
    u, n, h = saved
    dz_u, dz_n = dh_new * (h - n) * u * (1 - u), dh_new * (1 - u) * (1 - n**2)
    dz = np.concatenate([0 * dz_u, dz_u, dz_n])
    return dz, dz, dh_new * u, None


class Cell(NamedTuple):
    gates: int
    has_c: bool
    step: Callable[..., tuple[Array, Any, Any]]
    step_backward: Callable[..., tuple[Any, ...]]
    unit_parameters: Mapping[str, str] = {}  # one letter for each row
    # f and its slope, of r = f(z_r), the first gate: the last gate's R meets q = r * h
    reset: tuple[Callable[[Array], Array], Callable[[Array], Array]] | None = None


LOGISTIC = sigmoid, lambda z: sigmoid(z) * (1 - sigmoid(z))

CELLS = {
    "rnn_tanh": Cell(1, False, rnn_tanh, rnn_tanh_backward),
    "rnn_relu": Cell(1, False, rnn_relu, rnn_relu_backward),
    "lstm": Cell(4, True, lstm, lstm_backward),
    "lstm_peephole": Cell(4, True, lstm_peephole, lstm_peephole_backward, {"peephole": "ifo"}),
    "lstm_coupled": Cell(3, True, lstm_coupled, lstm_coupled_backward),
    "lstm_peephole_coupled": Cell(
        3, True, lstm_peephole_coupled, lstm_peephole_coupled_backward, {"peephole": "io"}
    ),
    "gru": Cell(3, False, gru, gru_backward),
    "gru_reset_before": Cell(3, False, gru_reset_before, gru_reset_before_backward, reset=LOGISTIC),
}


def cell_of(cell: Any) -> Cell:
    """A cell of CELLS by its name; or (name, functions, clip), with functions in its gates."""
    if isinstance(cell, str):
        return CELLS[cell]
    step, step_backward = gate_functions.steps(*cell)
    row = CELLS[cell[0]]._replace(step=step, step_backward=step_backward)
    if row.reset is None:
        return row
    f = gate_functions.Phi(cell[1][0], cell[2])
    return row._replace(reset=(f, f.slope))


def recurrent_part(row: Cell, weight_hh: Any, h: Array, zx: Array, b: Any) -> tuple[Array, Any]:
    """zh = R h + b, and what its reverse needs; b (G*H,) may hold more than the bias."""
    if row.reset is None:
        return weight_hh @ h + b, None
    (f, _), H = row.reset, len(h)
    z_r = zx[:H] + weight_hh[:H] @ h + b[:H]
    return np.concatenate([weight_hh[:-H] @ h, weight_hh[-H:] @ (f(z_r) * h)]) + b, z_r


def recurrent_part_backward(
    row: Cell, weight_hh: Any, h: Array, z_r: Any, dzx: Array, dzh: Array
) -> tuple[Array, Array, Array, Array]:
    """dzx and dzh, completed; what reaches h, and dR."""
    if row.reset is None:
        return dzx, dzh, weight_hh.T @ dzh, np.outer(dzh, h)
    (f, slope), H = row.reset, len(h)
    r, dq = f(z_r), weight_hh[-H:].T @ dzh[-H:]
    through_r = np.concatenate([dq * h * slope(z_r), np.zeros_like(dzh[H:])])
    dzx, dzh = dzx + through_r, dzh + through_r
    dweight_hh = np.vstack([np.outer(dzh[:-H], h), np.outer(dzh[-H:], r * h)])
    return dzx, dzh, dq * r + weight_hh[:-H].T @ dzh[:-H], dweight_hh


class Noise(NamedTuple):
    recurrent_mask: Array | None = None  # (B, H): times h where it meets R
    weight_mask: Array | None = None  # (G*H, H): times R
    kept_h: Array | None = None  # bool (T, B, H): zoneout, h stays what it was
    kept_c: Array | None = None


NO_NOISE = Noise()


class Gradients(NamedTuple):
    dx: Array
    dh_0: Array
    dc_0: Array | None
    dweight_ih: Array
    dweight_hh: Array
    dbias_ih: Array
    dbias_hh: Array
    dunit_parameters: Array | None


def own_arguments(unit_parameters: Array | None) -> tuple[Array, ...]:
    """What a step takes behind c."""
    return () if unit_parameters is None else (unit_parameters,)


def masked(value: Array, mask: Array | None, b: Any = ...) -> Array:
    """The value times the mask, or row b of it."""
    return value if mask is None else value * mask[b]


def zoned(kept: Array | None, old: Any, new: Any) -> Any:
    """The old state where it is kept, else the new one."""
    return new if kept is None else np.where(kept, old, new)


def _order(length: int, reverse: bool) -> range:
    """Time steps of one sequence in the order in which the recurrence visits them."""
    return range(length - 1, -1, -1) if reverse else range(length)


def starts_anew(resets: Array | None, t: int, b: int, length: int, reverse: bool) -> bool:
    """Whether no state comes in from the step that the recurrence visited before t.

    A reset at t is a cut between t - 1 and t, whatever the direction; in front of the first step it
    cuts off the state given to the forward direction.
    """
    if resets is None:
        return False
    return (t + 1 < length and resets[t + 1, b]) if reverse else resets[t, b]


def _run(
    cell: Any,
    x: Array,
    h_0: Array,
    c_0: Array | None,
    weights: tuple[Array, Array, Array | None, Array | None, Array | None],
    lengths: Any,
    reverse: bool,
    resets: Array | None,
    reset_to: str,
    noise: Noise,
) -> tuple[Array, Array, Array | None, dict[tuple[int, int], Any]]:
    """Return y, h_n, c_n and what each (t, b) saved: (h as R met it, z_r, the step's own)."""
    T, B, _ = x.shape
    row = cell_of(cell)
    weight_ih, weight_hh, bias_ih, bias_hh, unit_parameters = weights
    weight_hh = masked(weight_hh, noise.weight_mask)
    b_ih = 0 if bias_ih is None else bias_ih
    b_hh = np.zeros_like(weight_hh[:, 0]) if bias_hh is None else bias_hh
    y = np.zeros((T, B, h_0.shape[1]), x.dtype)
    h_n, c_n = h_0.copy(), None if c_0 is None else c_0.copy()
    saved: dict[tuple[int, int], Any] = {}
    for b, length in enumerate([T] * B if lengths is None else lengths):
        h, c = h_0[b], None if c_0 is None else c_0[b]
        for t in _order(length, reverse):
            if starts_anew(resets, t, b, length, reverse):
                kept = int(reset_to == "state")
                h, c = h_0[b] * kept, None if c_0 is None else c_0[b] * kept
            h_masked = masked(h, noise.recurrent_mask, b)
            zx = weight_ih @ x[t, b] + b_ih
            zh, z_r = recurrent_part(row, weight_hh, h_masked, zx, b_hh)
            h_new, c_new, own = row.step(zx, zh, h, c, *own_arguments(unit_parameters))
            h = zoned(None if noise.kept_h is None else noise.kept_h[t, b], h, h_new)
            c = zoned(None if noise.kept_c is None else noise.kept_c[t, b], c, c_new)
            y[t, b], saved[t, b] = h, (h_masked, z_r, own)
        h_n[b] = h
        if c_n is not None:
            c_n[b] = c
    return y, h_n, c_n, saved


def forward(
    cell: Any,
    x: Array,
    h_0: Array,
    c_0: Array | None,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array | None = None,
    bias_hh: Array | None = None,
    unit_parameters: Array | None = None,
    lengths: Any = None,
    reverse: bool = False,
    resets: Array | None = None,
    reset_to: str = "zeros",
    noise: Noise = NO_NOISE,
) -> tuple[Array, Array, Array | None]:
    """Return y (T, B, H), zero where padded, and the final h_n, c_n (B, H)."""
    weights = (weight_ih, weight_hh, bias_ih, bias_hh, unit_parameters)
    return _run(cell, x, h_0, c_0, weights, lengths, reverse, resets, reset_to, noise)[:3]


def backward(
    cell: Any,
    x: Array,
    h_0: Array,
    c_0: Array | None,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array | None = None,
    bias_hh: Array | None = None,
    unit_parameters: Array | None = None,
    lengths: Any = None,
    reverse: bool = False,
    resets: Array | None = None,
    reset_to: str = "zeros",
    noise: Noise = NO_NOISE,
    *,
    dy: Array | None = None,
    dh_n: Array | None = None,
    dc_n: Array | None = None,
) -> Gradients:
    """Return the gradients of sum(y * dy) + sum(h_n * dh_n) + sum(c_n * dc_n); None = zeros."""
    T, B, _ = x.shape
    row = cell_of(cell)
    weights = (weight_ih, weight_hh, bias_ih, bias_hh, unit_parameters)
    *_, saved = _run(cell, x, h_0, c_0, weights, lengths, reverse, resets, reset_to, noise)
    dx, dweight_ih, dweight_hh = (
        np.zeros_like(x),
        np.zeros_like(weight_ih),
        np.zeros_like(weight_hh),
    )
    dbias_ih, dbias_hh = np.zeros_like(weight_hh[:, 0]), np.zeros_like(weight_hh[:, 0])
    dunit = None if unit_parameters is None else np.zeros_like(unit_parameters)
    dh_0 = np.zeros_like(h_0) if dh_n is None else dh_n.copy()
    dc_0 = None if c_0 is None else np.zeros_like(c_0) if dc_n is None else dc_n.copy()
    for b, length in enumerate([T] * B if lengths is None else lengths):
        dh, dc = dh_0[b], None if dc_0 is None else dc_0[b]
        dh_reset, dc_reset = 0, 0  # of the states that came in at resets
        for t in reversed(_order(length, reverse)):
            h_masked, z_r, own = saved[t, b]
            dh = dh if dy is None else dh + dy[t, b]
            kept_h = False if noise.kept_h is None else noise.kept_h[t, b]
            kept_c = False if noise.kept_c is None else noise.kept_c[t, b]
            passing_h, dh = np.where(kept_h, dh, 0), np.where(kept_h, 0, dh)
            passing_c = 0
            if dc is not None:
                passing_c, dc = np.where(kept_c, dc, 0), np.where(kept_c, 0, dc)
            dzx, dzh, dh, dc, *dunit_t = row.step_backward(dh, dc, own)
            dc = None if dc is None else dc + passing_c
            R = masked(weight_hh, noise.weight_mask)
            dzx, dzh, dh_masked, dR = recurrent_part_backward(row, R, h_masked, z_r, dzx, dzh)
            dx[t, b] = weight_ih.T @ dzx
            dh = dh + passing_h + masked(dh_masked, noise.recurrent_mask, b)
            dweight_ih += np.outer(dzx, x[t, b])
            dweight_hh += dR
            dbias_ih += dzx
            dbias_hh += dzh
            for added in dunit_t:
                dunit += added
            if starts_anew(resets, t, b, length, reverse):
                kept = int(reset_to == "state")
                dh_reset, dh = dh_reset + dh * kept, np.zeros_like(dh)
                dc_reset, dc = (0, None) if dc is None else (dc_reset + dc * kept, dc * 0)
        dh_0[b] = dh + dh_reset
        if dc_0 is not None:
            dc_0[b] = dc + dc_reset
    dweight_hh = masked(dweight_hh, noise.weight_mask)
    return Gradients(dx, dh_0, dc_0, dweight_ih, dweight_hh, dbias_ih, dbias_hh, dunit)
