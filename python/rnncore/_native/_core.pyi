# Functions of the compiled kernels, the same in every variant _core_<isa>. Arrays are float32 or
# float64, all of one dtype within a call; each function checks what it touches and raises
# TypeError or ValueError that starts with the argument's name.
from collections.abc import Callable, Sequence
from typing import Any, TypedDict

from numpy import bool_, int64
from numpy.typing import NDArray

_Array = NDArray[Any]
_Lengths = NDArray[int64] | None
_Resets = NDArray[bool_] | None

# Arrays that travel together are groups: tuples whose entries are read by position.
_Weights = tuple[_Array | None, ...]  # weight_ih (G*H, I), weight_hh (G*H, H) or None,
# bias_ih and bias_hh (G*H,) or None, and the cell's unit parameters (rows, H) in its table's order
_State = tuple[Any, Any]  # h, c; c is None where the cell has none
_LoopState = tuple[Any, Any, Any]  # h, c, and the values fed back y
_Tape = tuple[Any, Any, Any]  # gates, h, c
_Noise = tuple[_Array | None, tuple[float, ...] | None, int | None, int]
# recurrent_mask (B, H): times h of the step before, where it meets R; zoneout's rate of each state,
# by masks that follow from seed and purpose (of state k: purpose + k), or without a seed their
# expectation, of which backward knows no gradient
_Readout = tuple[_Array | None, ...]  # weight_oh, weight_ho, weight_oo, bias_o

class CellRow(TypedDict):
    name: str
    gates: str  # one letter per block of H rows in weight_ih and weight_hh
    wiring: str  # one letter per tape slot: b both parts, x input part, h recurrent part
    states: str  # one letter per state: "h" or "hc"
    unit_parameters: dict[str, str]  # name: one letter per row
    functions: tuple[str, ...]  # the usual functions of its gates, ONNX's f, g, h

_Function = tuple[str, float, float]  # name, alpha, beta
_Cell = str | tuple[str, tuple[_Function, ...], float]
# a name, or with functions in place of the usual ones and the bound of what they see, inf for none

def cells() -> tuple[CellRow, ...]: ...
def gate_function(
    function: _Function,
    clip: float,  # z is bounded to [-clip, clip]
    z: _Array,  # (N,)
    y: _Array,  # out (N,)
    derivative: _Array,  # out (N,): dy/dz
) -> None: ...
def num_threads() -> int: ...
def set_num_threads(threads: int) -> None: ...
def float32_matmul_precision() -> str: ...
def set_float32_matmul_precision(precision: str) -> None: ...
def tile_unit_fault() -> str | None: ...  # "" if it has none, None without a tile unit
def split_bfloat16(
    x: _Array,  # (N,) float32
    parts: _Array,  # out (P, N) float32, P = 1, 2 or 3: bfloat16 values
) -> None: ...
def forward(
    cell: _Cell,
    x: _Array,  # (T, B, I)
    weights: _Weights,
    state_0: _State,  # (B, H) each
    y: _Array,  # out (T, B, H)
    state_n: _State,  # out (B, H) each
    lengths: _Lengths = None,  # (B,)
    reverse: bool = False,
    tape: _Tape | None = None,
    # out: gates (N, S*H), h and c (N + R, H): first the initial states of all R rows
    recompute: int = 0,  # 0: all of the tape; else gates is None, and h and c have segments' rows
    feedback: tuple[_Array | None, _Array | None] | None = None,
    # fed (T, B, F): values that feed back, all known before, and weight_oh (G*H, F)
    cache: Any = None,  # weight_cache(), for inference
    batch_invariant: bool = False,  # a row's bits depend neither on other rows nor on T
    resets: _Resets = None,  # bool (T, B): cut before this step, into R rows in all
    reset_to: str = "zeros",  # or "state": what a row starts with
    noise: _Noise | None = None,
) -> None: ...
def backward(
    cell: _Cell,
    x: _Array,  # (T, B, I)
    weights: _Weights,
    tape: _Tape,  # gates in and out: overwritten, so that a tape serves once
    dy: _Array | None,  # (T, B, H); None = zeros
    dstate_n: _State,  # (B, H) each; None = zeros
    dx: _Array | None,  # out (T, B, I); None = not computed
    dstate_0: _State,  # out (B, H) each
    gradients: _Weights,  # += as weights
    lengths: _Lengths = None,
    reverse: bool = False,
    recompute: int = 0,  # as in forward
    feedback: tuple[_Array | None, _Array | None] | None = None,  # as in forward
    dfeedback: tuple[_Array | None, _Array | None] | None = None,
    # dfed: out (first steps, B, F) or None, all T of them with reverse or resets; dweight_oh: +=
    # (G*H, F)
    resets: _Resets = None,  # as in forward
    reset_to: str = "zeros",
    noise: _Noise | None = None,  # as in forward
) -> None: ...
def segments(
    cell: _Cell,
    x: _Array,  # (T, B, I)
    weight_hh: _Array,  # (G*H, H)
    lengths: _Lengths,  # (B,)
    recompute: int,
    resets: _Resets = None,
) -> list[int]: ...  # of each segment, the rows whose states a tape with recompute keeps
def weight_cache() -> Any: ...  # keeps packed weights between calls of forward
def weight_cache_hits(cache: Any) -> int: ...
def partition(
    steps: int, batch: int, panels: int, depth: int, packet_bytes: int, merged: float
) -> tuple[int, int]: ...  # the cost rule: parts of the rows, parts of the units
def make_stepper(
    cell: _Cell,
    layers: Sequence[_Weights],
    state_type: type | None,
    zoneout: tuple[float, ...] | None = None,  # of each state; its expectation
) -> Callable[[Any, Any], Any]: ...

# the closed loop: K layers, O outputs, M = the longest delay, F = O * delays, N = sum(lengths), R
# pieces that resets leave of all sequences
def closed_loop_forward(
    cell: _Cell,
    x: _Array,  # (T, B, I)
    layers: Sequence[_Weights],
    readout: _Readout,  # weight_oh (G*H, F) of the first layer, weight_ho (O, H), weight_oo (O, F)
    activation: str,  # identity, tanh, sigmoid or softmax
    delays: Sequence[int],
    state_0: _LoopState,  # (K, B, H); y (M, B, O): fed back before the first step, oldest first
    y: _Array,  # out (T, B, O)
    state_n: _LoopState,  # out
    targets: _Array | None = None,  # (T, B, O), with teacher_forcing
    teacher_forcing: _Array | None = None,  # bool (T, B): the target feeds back
    lengths: _Lengths = None,  # (B,)
    reverse: bool = False,
    tape: tuple[Sequence[_Tape], _Array, _Array] | None = None,  # out: of each layer gates,
    # h (N + R, H + F) of the first and (N + R, H) of the others, c (N + R, H);
    # y (N, O); the values fed back (M * R + N, O)
    batch_invariant: bool = False,  # a row's bits depend neither on other rows nor on T
    resets: _Resets = None,  # bool (T, B)
    reset_to: str = "zeros",  # or "state"
) -> None: ...
def closed_loop_backward(
    cell: _Cell,
    x: _Array,  # (T, B, I)
    layers: Sequence[_Weights],
    readout: _Readout,
    activation: str,
    delays: Sequence[int],
    tape: tuple[Sequence[_Tape], _Array, _Array],  # gates are overwritten
    dy: _Array,  # (T, B, O)
    dstate_n: _LoopState,  # None = zeros
    dx: _Array | None,  # out (T, B, I); None = not computed
    dstate_0: _LoopState,  # out
    dlayers: Sequence[_Weights],  # += as layers
    dreadout: _Readout,  # +=
    teacher_forcing: _Array | None = None,
    lengths: _Lengths = None,
    reverse: bool = False,
    resets: _Resets = None,
    reset_to: str = "zeros",
) -> None: ...
def activate(activation: str, y: _Array) -> None: ...  # (N, O), in place
def activate_backward(
    activation: str,
    y: _Array,  # (N, O): the outputs
    dy: _Array,  # (N, O): becomes the gradient of the pre-activations
) -> None: ...

# for linear, embedding and the losses: N rows
def linear_forward(
    x: _Array,  # (N, I)
    weight: _Array,  # (O, I)
    bias: _Array | None,  # (O,)
    y: _Array,  # out (N, O)
    batch_invariant: bool = False,  # a row's bits do not depend on N
) -> None: ...
def linear_backward(
    x: _Array,  # (N, I)
    weight: _Array,  # (O, I)
    dy: _Array,  # (N, O)
    dx: _Array | None,  # out (N, I); None = not computed
    dweight: _Array,  # += (O, I)
    dbias: _Array | None,  # += (O,)
) -> None: ...
def embedding_forward(
    indices: NDArray[int64],  # (N,); IndexError outside [0, V)
    weight: _Array,  # (V, D)
    y: _Array,  # out (N, D)
) -> None: ...
def embedding_backward(
    indices: NDArray[int64],  # (N,)
    dy: _Array,  # (N, D)
    dweight: _Array,  # += (V, D)
) -> None: ...
def dropout_mask(
    mask: _Array,  # out (N, K): 0 with probability rate, else 1 / (1 - rate)
    rate: float,
    seed: int,  # in [0, 2^64)
    purpose: int,  # in [0, 2^32): what the mask is for
) -> None: ...
def apply_mask(
    x: _Array,  # (T, B, D)
    mask: _Array,  # (B, D)
    to: _Array | None,  # out (T, B, D); None = x
) -> None: ...
def mean_squared_error(
    y: _Array,  # (N, O)
    target: _Array,  # (N, O)
    mask: NDArray[bool_] | None,  # (N,) or (N, O)
    weights: _Array | None,  # (N,)
    dy: _Array,  # out (N, O)
) -> float: ...
def mean_absolute_error(
    y: _Array,  # (N, O)
    target: _Array,  # (N, O)
    mask: NDArray[bool_] | None,  # (N,) or (N, O)
    weights: _Array | None,  # (N,)
    dy: _Array,  # out (N, O)
) -> float: ...
def huber(
    y: _Array,  # (N, O)
    target: _Array,  # (N, O)
    mask: NDArray[bool_] | None,  # (N,) or (N, O)
    weights: _Array | None,  # (N,)
    delta: float,
    dy: _Array,  # out (N, O)
) -> float: ...
def quantile(
    y: _Array,  # (N, O)
    target: _Array,  # (N, O)
    mask: NDArray[bool_] | None,  # (N,) or (N, O)
    weights: _Array | None,  # (N,)
    levels: _Array,  # (O,)
    dy: _Array,  # out (N, O)
) -> float: ...
def binary_cross_entropy(
    logits: _Array,  # (N, O)
    target: _Array,  # (N, O)
    mask: NDArray[bool_] | None,  # (N,) or (N, O)
    weights: _Array | None,  # (N,)
    dlogits: _Array,  # out (N, O)
) -> float: ...
def softmax_cross_entropy(
    logits: _Array,  # (N, C)
    labels: NDArray[int64],  # (N,)
    mask: NDArray[bool_] | None,  # (N,)
    weights: _Array | None,  # (N,)
    ignore_index: int,
    dlogits: _Array,  # out (N, C)
) -> float: ...
def gaussian_negative_log_likelihood(
    y: _Array,  # (N, O * 2)
    target: _Array,  # (N, O)
    mask: NDArray[bool_] | None,  # (N,) or (N, O)
    weights: _Array | None,  # (N,)
    least_variance: float,
    dy: _Array,  # out (N, O * 2)
) -> float: ...
def student_t_negative_log_likelihood(
    y: _Array,  # (N, O * 3)
    target: _Array,  # (N, O)
    mask: NDArray[bool_] | None,  # (N,) or (N, O)
    weights: _Array | None,  # (N,)
    least_variance: float,
    dy: _Array,  # out (N, O * 3)
) -> float: ...
def ctc(
    logits: _Array,  # (T, B, V)
    labels: NDArray[int64],  # (B, S)
    lengths: NDArray[int64],  # (B,) steps
    label_lengths: NDArray[int64],  # (B,)
    blank: int,
    mask: NDArray[bool_] | None,  # (B,)
    weights: _Array | None,  # (B,)
    dlogits: _Array,  # out (T, B, V)
) -> float: ...

# 1-D contiguous arrays of one size, in place
def sgd_step(
    params: _Array,
    grads: _Array,
    velocity: _Array | None,  # None = no momentum
    lr: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
) -> None: ...
def adam_step(
    params: _Array,
    grads: _Array,
    m: _Array,
    v: _Array,
    step: int,  # 1 at the first step
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,  # True: AdamW
) -> None: ...
def squared_norm(grads: _Array) -> float: ...
def scale(grads: _Array, factor: float) -> None: ...
