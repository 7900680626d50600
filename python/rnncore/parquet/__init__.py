"""Training data in Parquet files, read by row group: needs pyarrow."""

from rnncore.parquet._row_groups import blocks

__all__ = ["blocks"]


def __dir__() -> list[str]:
    return __all__
