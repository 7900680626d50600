# Functions of the compiled kernels, the same in every variant _core_<isa>. Arrays are float32 or
# float64, all of one dtype within a call; each function checks what it touches and raises
# TypeError or ValueError that starts with the argument's name.
from typing import Any, TypedDict

from numpy import int64
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
def forward(
    cell: str,
    x: _Array,  # (T, B, I)
    h_0: _Array,  # (B, H)
    c_0: _Array | None,  # (B, H)
    weight_ih: _Array,  # (G*H, I)
    weight_hh: _Array,  # (G*H, H)
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
) -> None: ...
def backward(
    cell: str,
    x: _Array,  # (T, B, I)
    weight_ih: _Array,  # (G*H, I)
    weight_hh: _Array,  # (G*H, H)
    lengths: _Lengths,  # (B,)
    reverse: bool,
    gates: _Array,  # in and out: overwritten, so that a tape serves once
    h: _Array,
    c: _Array | None,
    dy: _Array | None,  # (T, B, H); None = zeros
    dh_n: _Array | None,  # (B, H); None = zeros
    dc_n: _Array | None,  # (B, H); None = zeros
    dx: _Array | None,  # out (T, B, I); None = not computed
    dh_0: _Array,  # out (B, H)
    dc_0: _Array | None,  # out (B, H)
    dweight_ih: _Array,  # += (G*H, I)
    dweight_hh: _Array,  # += (G*H, H)
    dbias_ih: _Array | None,  # += (G*H,)
    dbias_hh: _Array | None,  # += (G*H,)
) -> None: ...
