"""How exact float32 products are on a machine with matrix tiles."""

from __future__ import annotations

from rnncore._native.isa import core


def get_float32_matmul_precision() -> str:
    """Return the precision of float32 products: "highest", "high" or "medium"."""
    return core.float32_matmul_precision()


def set_float32_matmul_precision(precision: str) -> None:
    """Set how exact float32 products are, for the whole process; the default is "highest".

    Only the variant "amx" knows a difference: it multiplies float32 as sums of bfloat16 numbers
    (8 significant bits each), which its matrix tiles take. On every other variant, and for products
    too small for the tiles, all three settings are plain float32. Sums are float32 at every
    setting, arrays stay what they are, and float64 is not touched.

    Parameters
    ----------
    precision : {"highest", "high", "medium"}
        "highest": three numbers per factor, which hold a float32 exactly, and the six products that
        matter; sums are at least as accurate as plain float32's.
        "high": two numbers per factor, three products; relative error about 4e-6.
        "medium": one number per factor, one product; relative error about 2e-3.

    Raises
    ------
    TypeError
        If `precision` is no string.
    ValueError
        If it is another one.

    Notes
    -----
    The names are those of ``torch.set_float32_matmul_precision``. A call that runs while the
    setting changes finishes with the one it began with. On the tiles a value below 2**-103
    (1e-31) may lose bits: it changes by less than 2**-126. The proofs, the bounds and measured
    errors are in docs/math/split.md.
    """
    if not isinstance(precision, str):
        raise TypeError(f"precision: expected a string, got {type(precision).__name__}")
    core.set_float32_matmul_precision(precision)
