"""The executable specification of output recurrence, in plain numpy, and random problems of it.

    z_t = W x_t + R h_{t-1} + U f_t + b      U enters where R does
    y_t = phi(P h_t + Q f_t + b_o)           h of the top layer
    f_t = [v_{t-d} for every delay d]        v = y, or the target where `teacher_forcing` says so

Each sequence runs alone, one step at a time; the first of a stack's layers gets the feedback.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import reference
from numpy.typing import NDArray
from reference import CELLS

Array = NDArray[Any]

RECURRENCES = ("hidden", "output_to_hidden", "output_to_output")


class Layer(NamedTuple):
    weight_ih: Array
    weight_hh: Array | None
    bias_ih: Array | None
    bias_hh: Array | None
    unit_parameters: Array | None = None


class Problem(NamedTuple):
    """What forward takes, and the cotangents that backward takes."""

    cell: str
    x: Array  # (T, B, I)
    layers: tuple[Layer, ...]
    weight_oh: Array | None  # U (G*H, F)
    weight_ho: Array  # P (O, H)
    weight_oo: Array | None  # Q (O, F)
    bias_o: Array | None
    activation: str
    delays: tuple[int, ...]
    targets: Array | None  # (T, B, O)
    teacher_forcing: Array | None  # bool (T, B)
    h_0: Array  # (K, B, H)
    c_0: Array | None
    y_0: Array  # (D, B, O), oldest first
    lengths: Array | None
    reverse: bool
    resets: Array | None  # bool (T, B)
    reset_to: str
    dy: Array
    dh_n: Array
    dc_n: Array | None
    dy_n: Array


class Result(NamedTuple):
    y: Array
    h_n: Array
    c_n: Array | None
    y_n: Array
    dx: Array
    dh_0: Array
    dc_0: Array | None
    dy_0: Array
    dlayers: tuple[Layer, ...]
    dweight_oh: Array | None
    dweight_ho: Array
    dweight_oo: Array | None
    dbias_o: Array | None


def phi(activation: str, a: Array) -> Array:
    if activation == "tanh":
        return np.tanh(a)
    if activation == "sigmoid":
        return reference.sigmoid(a)
    if activation == "softmax":
        e = np.exp(a - a.max())
        return e / e.sum()
    return a


def phi_backward(activation: str, y: Array, dy: Array) -> Array:
    if activation == "tanh":
        return dy * (1 - y**2)
    if activation == "sigmoid":
        return dy * y * (1 - y)
    if activation == "softmax":
        return y * (dy - dy @ y)
    return dy


def _zero(array: Array | None) -> Array | None:
    return None if array is None else np.zeros_like(array)


def _times(weight: Array | None, vector: Array) -> Any:
    return 0 if weight is None else weight @ vector


def _bias(bias: Array | None) -> Any:
    return 0 if bias is None else bias


def solve(p: Problem) -> Result:
    """Forward, and the gradients of the sum of all results times their cotangents."""
    T, B, _ = p.x.shape
    D, O = p.y_0.shape[0], p.y_0.shape[2]  # noqa: E741
    cell, K = CELLS[p.cell], len(p.layers)
    y = np.zeros((T, B, O), p.x.dtype)
    h_n, c_n, y_n = p.h_0.copy(), None if p.c_0 is None else p.c_0.copy(), p.y_0.copy()
    dx, dh_0, dy_0 = np.zeros_like(p.x), np.zeros_like(p.h_0), np.zeros_like(p.y_0)
    dc_0 = _zero(p.c_0)
    dlayers = tuple(Layer(*map(_zero, layer)) for layer in p.layers)
    dU, dP, dQ, db = map(_zero, (p.weight_oh, p.weight_ho, p.weight_oo, p.bias_o))
    for b in range(B):
        length = T if p.lengths is None else int(p.lengths[b])
        times = list(reference._order(length, p.reverse))
        v = [*p.y_0[:, b]]  # of all steps, each piece's initial values in front of its own
        to_state = int(p.reset_to == "state")
        h = [p.h_0[k, b] for k in range(K)]
        c = [None if p.c_0 is None else p.c_0[k, b] for k in range(K)]
        saved = []
        for t in times:
            anew = reference.starts_anew(p.resets, t, b, length, p.reverse)
            if anew:
                v += [*p.y_0[:, b] * to_state]
                h = [p.h_0[k, b] * to_state for k in range(K)]
                c = [None if p.c_0 is None else p.c_0[k, b] * to_state for k in range(K)]
            f = np.concatenate([v[len(v) - d] for d in p.delays])
            below, own = p.x[t, b], []
            for k, layer in enumerate(p.layers):
                zx = layer.weight_ih @ below + _bias(layer.bias_ih)
                others = np.zeros_like(zx) + _bias(layer.bias_hh)
                if k == 0:
                    others = others + _times(p.weight_oh, f)
                zh, z_r = others, None
                if layer.weight_hh is not None:
                    zh, z_r = reference.recurrent_part(cell, layer.weight_hh, h[k], zx, others)
                old = h[k]
                h[k], c[k], kept = cell.step(
                    zx, zh, old, c[k], *reference.own_arguments(layer.unit_parameters)
                )
                own.append((below, old, z_r, kept))
                below = h[k]
            y[t, b] = phi(
                p.activation, p.weight_ho @ h[-1] + _times(p.weight_oo, f) + _bias(p.bias_o)
            )
            from_target = p.teacher_forcing is not None and p.teacher_forcing[t, b]
            saved.append((f, h[-1], own, from_target, len(v), anew))
            v.append(p.targets[t, b] if from_target else y[t, b])
        for k in range(K):
            h_n[k, b] = h[k]
            if c_n is not None:
                c_n[k, b] = c[k]
        for i in range(D):
            y_n[i, b] = v[len(v) - D + i]

        dv = np.zeros((len(v), O), p.x.dtype)
        dv[len(v) - D :] += p.dy_n[:, b]
        dh = [p.dh_n[k, b].copy() for k in range(K)]
        dc = [None if p.dc_n is None else p.dc_n[k, b].copy() for k in range(K)]
        for step in reversed(range(length)):
            t = times[step]
            f, top, own, from_target, at, anew = saved[step]
            wanted = p.dy[t, b] + (0 if from_target else dv[at])
            da = phi_backward(p.activation, y[t, b], wanted)
            dP += np.outer(da, top)
            if db is not None:
                db += da
            df = np.zeros_like(f)
            if p.weight_oo is not None:
                dQ += np.outer(da, f)
                df += p.weight_oo.T @ da
            from_above = p.weight_ho.T @ da
            for k in reversed(range(K)):
                below, old, z_r, kept = own[k]
                layer, grads = p.layers[k], dlayers[k]
                dzx, dzh, dh[k], dc[k], *dunit = cell.step_backward(dh[k] + from_above, dc[k], kept)
                for added in dunit:
                    grads.unit_parameters[...] += added
                if layer.weight_hh is not None:
                    dzx, dzh, through_r, dR = reference.recurrent_part_backward(
                        cell, layer.weight_hh, old, z_r, dzx, dzh
                    )
                    grads.weight_hh[...] += dR
                    dh[k] = dh[k] + through_r
                grads.weight_ih[...] += np.outer(dzx, below)
                dh[k] = np.broadcast_to(dh[k], old.shape)
                if layer.bias_ih is not None:
                    grads.bias_ih[...] += dzx
                    grads.bias_hh[...] += dzh
                from_above = layer.weight_ih.T @ dzx
                if k == 0:
                    dx[t, b] = from_above
                    if p.weight_oh is not None:
                        dU += np.outer(dzh, f)
                        df += p.weight_oh.T @ dzh
            for i, d in enumerate(p.delays):
                dv[at - d] += df[i * O : (i + 1) * O]
            for k in range(K if anew else 0):
                dh_0[k, b] += dh[k] * to_state
                dh[k] = dh[k] * 0
                if dc_0 is not None:
                    dc_0[k, b] += dc[k] * to_state
                    dc[k] = dc[k] * 0
            if anew:
                dy_0[:, b] += dv[at - D : at] * to_state
        for k in range(K):
            dh_0[k, b] += dh[k]
            if dc_0 is not None:
                dc_0[k, b] += dc[k]
        dy_0[:, b] += dv[:D]
    return Result(y, h_n, c_n, y_n, dx, dh_0, dc_0, dy_0, dlayers, dU, dP, dQ, db)


def make(
    cell: str,
    T: int,
    B: int,
    I: int,  # noqa: E741
    H: int,
    O: int,  # noqa: E741
    *,
    layers: int = 1,
    recurrence: tuple[str, ...] = RECURRENCES,
    delays: tuple[int, ...] = (1,),
    activation: str = "identity",
    mode: str = "closed",
    ragged: bool = False,
    reverse: bool = False,
    bias: bool = True,
    resets: float = 0.0,
    reset_to: str = "zeros",
    dtype: Any = np.float64,
    seed: int = 0,
) -> Problem:
    """Random numbers; mode "closed", "forced" (all targets given) or "mixed".

    `resets`: the share of steps with a reset in front; 0: no array of resets.
    """
    rng = np.random.default_rng([seed, T, B, I, H, O])
    gates, has_c = CELLS[cell].gates, CELLS[cell].has_c
    unit_rows = len("".join(CELLS[cell].unit_parameters.values()))
    F, D = O * len(delays), max(delays)

    def normal(*shape: int, scale: float = 1.0) -> Array:
        return (rng.standard_normal(shape) * scale).astype(dtype)

    stack = []
    for k in range(layers):
        below = I if k == 0 else H
        stack.append(
            Layer(
                normal(gates * H, below, scale=below**-0.5),
                normal(gates * H, H, scale=0.7 * H**-0.5) if "hidden" in recurrence else None,
                normal(gates * H, scale=0.3) if bias else None,
                normal(gates * H, scale=0.3) if bias else None,
                normal(unit_rows, H, scale=0.5) if unit_rows else None,
            )
        )
    lengths = None
    if ragged:
        lengths = rng.integers(0, T + 1, B)
        if B > 2:
            lengths[[0, 1, 2]] = max(T - 1, 0), 0, T
    teacher_forcing = None
    if mode == "forced":
        teacher_forcing = np.ones((T, B), bool)
    elif mode == "mixed":
        teacher_forcing = rng.random((T, B)) < 0.5
    wanted = "output_to_hidden" in recurrence, "output_to_output" in recurrence
    return Problem(
        cell=cell,
        x=normal(T, B, I),
        layers=tuple(stack),
        weight_oh=normal(gates * H, F, scale=0.7 * F**-0.5) if wanted[0] else None,
        weight_ho=normal(O, H, scale=H**-0.5),
        weight_oo=normal(O, F, scale=0.5 * F**-0.5) if wanted[1] else None,
        bias_o=normal(O, scale=0.3) if bias else None,
        activation=activation,
        delays=delays,
        targets=None if teacher_forcing is None else normal(T, B, O),
        teacher_forcing=teacher_forcing,
        h_0=normal(layers, B, H, scale=0.5),
        c_0=normal(layers, B, H) if has_c else None,
        y_0=normal(D, B, O),
        lengths=lengths,
        reverse=reverse,
        dy=normal(T, B, O),
        dh_n=normal(layers, B, H),
        dc_n=normal(layers, B, H) if has_c else None,
        dy_n=normal(D, B, O),
        resets=rng.random((T, B)) < resets if resets else None,
        reset_to=reset_to,
    )


def astype(p: Problem, dtype: Any) -> Problem:
    """The same numbers in another floating-point type."""

    def convert(value: Any) -> Any:
        return (
            value.astype(dtype)
            if isinstance(value, np.ndarray) and value.dtype.kind == "f"
            else value
        )

    fields = {name: convert(value) for name, value in p._asdict().items()}
    fields["layers"] = tuple(Layer(*map(convert, layer)) for layer in p.layers)
    return Problem(**fields)


def arrays(p: Problem) -> dict[str, Array]:
    """Every array that a gradient belongs to, by the name of that gradient."""
    found = {"dx": p.x, "dh_0": p.h_0, "dc_0": p.c_0, "dy_0": p.y_0}
    found |= {"dweight_oh": p.weight_oh, "dweight_ho": p.weight_ho, "dweight_oo": p.weight_oo}
    found["dbias_o"] = p.bias_o
    for k, layer in enumerate(p.layers):
        found |= {f"layer {k} {name}": value for name, value in layer._asdict().items()}
    return {name: array for name, array in found.items() if array is not None}


def results(result: Result) -> dict[str, Array]:
    """All arrays of a result by name."""
    found = {name: value for name, value in result._asdict().items() if name != "dlayers"}
    for k, layer in enumerate(result.dlayers):
        found |= {f"layer {k} {name}": value for name, value in layer._asdict().items()}
    return {name: array for name, array in found.items() if array is not None}


def loss(p: Problem) -> float:
    """The sum whose gradients `solve` gives."""
    r = solve(p)
    total = (r.y * p.dy).sum() + (r.h_n * p.dh_n).sum() + (r.y_n * p.dy_n).sum()
    return float(total if r.c_n is None else total + (r.c_n * p.dc_n).sum())
