"""The same trials on rnncore, torch and ONNX Runtime, each in a process of its own: one table.

Usage: python bench/reliability_peers.py [--only WORD] [--libraries rnncore torch]
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, from any folder

from bench import machine
from bench.reliability_trials import LIBRARIES, PREPARE, TRIALS, Trial

LONGEST = 110  # characters of an error's text that a table holds
DISTRIBUTIONS = {"rnncore": "rnncore", "torch": "torch", "ONNX Runtime": "onnxruntime"}


def program(trial: Trial, library: str) -> str:
    """Return the code that tries it."""
    more = (trial.more or {}).get(library, "")
    code = trial.code.replace("{more}", more) if "{more}" in trial.code else more + trial.code
    return PREPARE[library] + code


def outcome(trial: Trial, library: str) -> str:
    """Return what happened: the last line that the program printed, or how it ended."""
    if library not in trial.libraries:
        return "-"
    process = subprocess.Popen(
        [sys.executable, "-c", program(trial, library)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        out, err = process.communicate(timeout=trial.seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return f"**not over after {trial.seconds:.0f} s**"
    if process.returncode < 0:
        return f"**the process dies** ({signal.Signals(-process.returncode).name})"
    said = (out.strip() or err.strip() or "nothing").splitlines()[-1]
    said = said if len(said) <= LONGEST else said[:LONGEST] + " ..."
    return said if process.returncode == 0 else f"**exit {process.returncode}**: {said}"


def installed(library: str) -> str:
    """Return the library with its version."""
    try:
        return f"{library} {version(DISTRIBUTIONS[library])}"
    except PackageNotFoundError:
        return library


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="trials whose name holds this")
    parser.add_argument("--libraries", nargs="*", default=list(LIBRARIES), choices=LIBRARIES)
    options = parser.parse_args(arguments)
    print(f"CPU: {machine.cpu()[0]}\n")
    print("| trial | " + " | ".join(installed(each) for each in options.libraries) + " |")
    print("|---" * (1 + len(options.libraries)) + "|")
    for trial in TRIALS:
        if options.only in trial.name:
            found = [outcome(trial, each).replace("|", "/") for each in options.libraries]
            print(f"| {trial.name} | " + " | ".join(found) + " |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
