"""The command line: python -m rnncore [info | demo | selftest]."""

from rnncore.cli.commands import main

__all__ = ["main"]
