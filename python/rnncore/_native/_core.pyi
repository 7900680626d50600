# Functions of the compiled kernels, the same in every variant _core_<isa>. Arrays are float32 or
# float64, all of one dtype within a call; each function checks what it touches and raises
# TypeError or ValueError that starts with the argument's name.
from collections.abc import Callable, Sequence
from typing import Any, TypedDict

from numpy import bool_, int64
from numpy.typing import NDArray

_Array = NDArray[Any]
_Lengths = NDArray[int64] | None

class CellRow(TypedDict):
    name: str
    gates: str  # one letter per block of H rows in weight_ih and weight_hh
    wiring: str  # one letter per tape slot: b both parts, x input part, h recurrent part
    has_c: bool

def cells() -> tuple[CellRow, ...]: ...
def num_threads() -> int: ...
def set_num_threads(threads: int) -> None: ...
def float32_matmul_precision() -> str: ...
def set_float32_matmul_precision(precision: str) -> None: ...
def split_bfloat16(
    x: _Array,  # (N,) float32
    parts: _Array,  # out (P, N) float32, P = 1, 2 or 3: bfloat16 values
) -> None: ...
def forward(
    cell: str,
    x: _Array,  # (T, B, I)
    h_0: _Array,  # (B, H)
    c_0: _Array | None,  # (B, H)
    weight_ih: _Array,  # (G*H, I)
    weight_hh: _Array | None,  # (G*H, H)
    bias_ih: _Array | None,  # (G*H,)
    bias_hh: _Array | None,  # (G*H,)
    lengths: _Lengths,  # (B,)
    reverse: bool,
    y: _Array,  # out (T, B, H)
    h_n: _Array,  # out (B, H)
    c_n: _Array | None,  # out (B, H)
    gates: _Array | None,  # out (sum(lengths), S*H): the tape; None without one
    h: _Array | None,  # out (max(lengths) + 1, B, H)
    c: _Array | None,  # out (max(lengths) + 1, B, H)
    recompute: int = 0,  # 0: all of the tape; else gates is None, and h and c are (segments, B, H)
    cache: Any = None,  # weight_cache(), for inference
    fed: _Array | None = None,  # (T, B, F): given values that feed back, with weight_oh
    weight_oh: _Array | None = None,  # (G*H, F)
) -> None: ...
def backward(
    cell: str,
    x: _Array,  # (T, B, I)
    weight_ih: _Array,  # (G*H, I)
    weight_hh: _Array | None,  # (G*H, H)
    lengths: _Lengths,  # (B,)
    reverse: bool,
    gates: _Array | None,  # in and out: overwritten, so that a tape serves once
    h: _Array,
    c: _Array | None,
    dy: _Array | None,  # (T, B, H); None = zeros
    dh_n: _Array | None,  # (B, H); None = zeros
    dc_n: _Array | None,  # (B, H); None = zeros
    dx: _Array | None,  # out (T, B, I); None = not computed
    dh_0: _Array,  # out (B, H)
    dc_0: _Array | None,  # out (B, H)
    dweight_ih: _Array,  # += (G*H, I)
    dweight_hh: _Array | None,  # += (G*H, H)
    dbias_ih: _Array | None,  # += (G*H,)
    dbias_hh: _Array | None,  # += (G*H,)
    bias_ih: _Array | None = None,  # (G*H,); read with recompute alone
    bias_hh: _Array | None = None,  # (G*H,)
    recompute: int = 0,  # as in forward
    fed: _Array | None = None,  # as in forward
    weight_oh: _Array | None = None,
    dfed: _Array | None = None,  # out (first steps, B, F); None = not computed
    dweight_oh: _Array | None = None,  # += (G*H, F)
) -> None: ...
def segments(
    cell: str,
    x: _Array,  # (T, B, I)
    weight_hh: _Array,  # (G*H, H)
    lengths: _Lengths,  # (B,)
    recompute: int,
) -> int: ...  # states that a tape with recompute keeps
def weight_cache() -> Any: ...  # keeps packed weights between calls of forward
def weight_cache_hits(cache: Any) -> int: ...
def partition(
    steps: int, batch: int, panels: int, depth: int, packet_bytes: int, merged: float
) -> tuple[int, int]: ...  # the cost rule: parts of the rows, parts of the units
def make_stepper(
    cell: str, layers: list[tuple[_Array | None, ...]], state_type: type | None
) -> Callable[[Any, Any], Any]: ...

# the closed loop: K layers, O outputs, D = the longest delay, F = O * delays, L = max(lengths)
def output_forward(
    cell: str,
    x: _Array,  # (T, B, I)
    layers: list[tuple[_Array | None, ...]],  # weight_ih, weight_hh, bias_ih, bias_hh of each
    weight_oh: _Array | None,  # (G*H, F), of the first layer
    weight_ho: _Array,  # (O, H)
    weight_oo: _Array | None,  # (O, F)
    bias_o: _Array | None,  # (O,)
    activation: str,  # identity, tanh, sigmoid or softmax
    delays: Sequence[int],
    targets: _Array | None,  # (T, B, O), with given
    given: _Array | None,  # bool (T, B): the target feeds back
    h_0: _Array,  # (K, B, H)
    c_0: _Array | None,  # (K, B, H)
    y_0: _Array,  # (D, B, O): fed back before the first step, oldest first
    lengths: _Lengths,  # (B,)
    reverse: bool,
    y: _Array,  # out (T, B, O)
    h_n: _Array,  # out (K, B, H)
    c_n: _Array | None,  # out (K, B, H)
    y_n: _Array,  # out (D, B, O)
    tapes: list[tuple[_Array, _Array, _Array | None]] | None,  # out, of each layer: gates,
    # h (L+1, B, H + F) of the first and (L+1, B, H) of the others, c (L+1, B, H)
    tape_y: _Array | None,  # out (L, B, O)
    tape_fed: _Array | None,  # out (D+L, B, O)
) -> None: ...
def output_backward(
    cell: str,
    x: _Array,  # (T, B, I)
    layers: list[tuple[_Array | None, ...]],
    weight_oh: _Array | None,
    weight_ho: _Array,
    weight_oo: _Array | None,
    activation: str,
    delays: Sequence[int],
    given: _Array | None,
    lengths: _Lengths,
    reverse: bool,
    tapes: list[tuple[_Array, _Array, _Array | None]],  # gates are overwritten
    tape_y: _Array,
    tape_fed: _Array,
    dy: _Array,  # (T, B, O)
    dh_n: _Array | None,  # (K, B, H); None = zeros
    dc_n: _Array | None,  # (K, B, H); None = zeros
    dy_n: _Array | None,  # (D, B, O); None = zeros
    dx: _Array | None,  # out (T, B, I); None = not computed
    dh_0: _Array,  # out (K, B, H)
    dc_0: _Array | None,  # out (K, B, H)
    dy_0: _Array,  # out (D, B, O)
    grads: list[tuple[_Array | None, ...]],  # += as layers
    dweight_oh: _Array | None,  # +=
    dweight_ho: _Array,  # +=
    dweight_oo: _Array | None,  # +=
    dbias_o: _Array | None,  # +=
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
def mean_squared_error(
    y: _Array,  # (N, O)
    target: _Array,  # (N, O)
    mask: NDArray[bool_] | None,  # (N,)
    dy: _Array,  # out (N, O)
) -> float: ...
def softmax_cross_entropy(
    logits: _Array,  # (N, C)
    labels: NDArray[int64],  # (N,)
    mask: NDArray[bool_] | None,  # (N,)
    ignore_index: int,
    dlogits: _Array,  # out (N, C)
) -> float: ...
def binary_cross_entropy(
    logits: _Array,  # (N, O)
    target: _Array,  # (N, O)
    mask: NDArray[bool_] | None,  # (N,)
    dlogits: _Array,  # out (N, O)
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
