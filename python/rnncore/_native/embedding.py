"""Rows of a table by their indices. Checks nothing but the indices' range, which C++ reads."""

from __future__ import annotations

from rnncore._native.isa import core

embedding_forward = core.embedding_forward
embedding_backward = core.embedding_backward
