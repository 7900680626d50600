"""The command line: python -m rnncore [info | train | predict | demo | selftest]."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence

from rnncore.cli import demo, info, predict, selftest, train
from rnncore.cli.failures import CommandError
from rnncore.distributed.world import launched, world


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands.

    Its options have a function `run`, and `shared`: whether several ranks run it together.
    """
    made = argparse.ArgumentParser(
        prog="python -m rnncore", description="Fast recurrent networks on a CPU."
    )
    made.set_defaults(run=lambda options: info.run(), shared=False)
    commands = made.add_subparsers(dest="command", metavar="command")
    for each in (info, train, predict, demo, selftest):
        each.add_parser(commands)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; of several ranks the first alone speaks.

    Parameters
    ----------
    arguments : sequence of str, optional
        ``sys.argv[1:]`` by default.

    Returns
    -------
    int
        0 if all went well; 1 if not, such as for a missing file; 2 for options that fit nothing
        (argparse exits with it itself); 130 after Ctrl-C; 141 if the output could not be written,
        since its reader had gone.
    """
    try:
        with _one_voice() as first:
            try:
                return _run(parser().parse_args(arguments), first)
            finally:
                print(end="", flush=True)
    except BrokenPipeError:  # whoever read has gone, as `| head -1` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        return 128 + signal.SIGPIPE  # what a shell says of a program that the signal ended


@contextlib.contextmanager
def _one_voice() -> Iterator[bool]:
    """Say whether this is the first rank, or the only one; let the others say nothing."""
    try:
        first = not launched() or world().Get_rank() == 0
    except ImportError:  # processes that a launcher started, and each is alone
        first = True
    if first:
        yield True
        return
    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield False


def _run(options: argparse.Namespace, first: bool) -> int:
    """Run the command of some options; say in one line why it failed."""
    if not (first or options.shared):
        return 0
    try:
        return int(options.run(options))
    except BrokenPipeError:
        raise
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except CommandError as error:
        text, code = str(error), error.code
    except OSError as error:
        text, code = f"{error.filename}: {error.strerror}" if error.filename else str(error), 1
    except ImportError as error:
        text, code = str(error), 1
    print(f"{options.command}: {text}", file=sys.stderr)
    return code
