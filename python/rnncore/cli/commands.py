"""The command line: python -m rnncore [info | demo | selftest]."""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import numpy as np

import rnncore
from rnncore._native.isa import tile_checks

_OPTIONAL = {
    "safetensors": "save and load models",
    "tqdm": "progress bars",
    "matplotlib": "pictures",
    "vega_datasets": "data of the demo",
    "torch": "comparisons",
    "onnxruntime": "comparisons",
}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _tiles() -> str:
    """Say whether the variants that use matrix tiles were checked on this machine."""
    loaded, faults = rnncore.isa(), tile_checks()
    says = {
        isa: f"not checked, since {loaded} is loaded"
        for isa in rnncore.available_isas()
        if isa.startswith("amx")
    }
    for isa, fault in faults.items():
        says[isa] = f"NOT USED, wrong bits ({fault})" if fault else "checked here, every bit right"
    return "; ".join(f"{isa} {what}" for isa, what in says.items()) or "none run here"


def info() -> int:
    """Print what is installed and what runs here."""
    rows = {
        "rnncore": rnncore.__version__,
        "kernels": f"{rnncore.isa()} (runs here: {', '.join(rnncore.available_isas())})",
        "tiles": _tiles(),
        "threads": f"{rnncore.get_num_threads()} of {len(os.sched_getaffinity(0))} CPUs",
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "numpy": np.__version__,
    }
    for name, value in rows.items():
        print(f"{name:14} {value}")
    print("optional packages")
    for package, purpose in _OPTIONAL.items():
        print(f"  {package:14} {_version(package) or 'not installed':14} {purpose}")
    return 0


def _count(text: str) -> int:
    """Read a positive integer of the command line."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 2**31:
        raise argparse.ArgumentTypeError(f"expected a positive integer, got {text!r}")
    return int(text)


def _seed(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"expected an integer >= 0, got {text!r}")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m rnncore", description="Fast recurrent networks on a CPU."
    )
    commands = parser.add_subparsers(dest="command", metavar="command")
    commands.add_parser("info", help="versions, kernels, threads, packages (the default)")
    demo = commands.add_parser("demo", help="train an LSTM to forecast temperatures")
    demo.add_argument(
        "--out", type=Path, default=Path("rnncore-demo"), metavar="DIR",
        help="where the model and the pictures go (default: %(default)s)",
    )  # fmt: skip
    demo.add_argument("--epochs", type=_count, default=20, help="at most (default: %(default)s)")
    demo.add_argument("--hidden", type=_count, default=32, help="LSTM units (default: %(default)s)")
    demo.add_argument("--seed", type=_seed, default=0, help="of all that is random (default: 0)")
    commands.add_parser("selftest", help="check the gradients of every cell (2 s)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments : sequence of str, optional
        ``sys.argv[1:]`` by default.

    Returns
    -------
    int
        0 if all went well; 141 if the output could not be written, since its reader had gone.
    """
    try:
        try:
            return _run(_parser().parse_args(arguments))
        finally:
            print(end="", flush=True)
    except BrokenPipeError:  # whoever read has gone, as `| head -1` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        return 128 + signal.SIGPIPE  # what a shell says of a program that the signal ended


def _run(options: argparse.Namespace) -> int:
    if options.command == "demo":
        from rnncore.cli.demo import run

        try:
            return run(options.out, options.epochs, options.hidden, options.seed)
        except BrokenPipeError:
            raise
        except (ModuleNotFoundError, OSError) as error:
            print(f"demo: {error}", file=sys.stderr)
            return 1
    if options.command == "selftest":
        from rnncore.cli.selftest import run as selftest

        return selftest()
    return info()
