"""What goes wrong on one rank ends all of them, soon and in the same way; none waits for ever."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ranks import environment, launcher, mpiexec

pytestmark = pytest.mark.once

CHILD = Path(__file__).with_name("faults_child.py")
LIMIT = 30  # seconds, after which a job of which a rank has gone must be over


def said(fault: str, folder: Path, ranks: int = 3) -> tuple[int, list[str], str]:
    """Exit status; what each rank said, in their order; and all that came beside it."""
    done = mpiexec(ranks, CHILD, fault, folder)
    lines = [line for line in done.stdout.replace("[", "\n[").splitlines() if line]
    own = sorted(line for line in lines if line.startswith("["))
    return done.returncode, own, done.stdout + done.stderr


@pytest.mark.parametrize("ranks", [2, 4])
def test_an_error_of_a_callback_ends_all(ranks: int, tmp_path: Path) -> None:
    status, lines, _ = said("raise", tmp_path, ranks)
    other = f"RuntimeError: rank 1 of {ranks} failed with ZeroDivisionError: of a callback"
    own = "ZeroDivisionError: of a callback"
    expected = [f"[{r}] {own if r == 1 else other} after 6 steps" for r in range(ranks)]
    assert (status, lines) == (3, expected)


def test_nan_on_one_rank_stops_all_at_the_same_step(tmp_path: Path) -> None:
    status, lines, _ = said("nan", tmp_path)
    assert status == 3
    for rank, line in enumerate(lines):
        assert line.startswith(f"[{rank}] FloatingPointError: loss: expected finite numbers, got")
        assert "in step 7 (epoch 2)" in line
        assert line.endswith("after 6 steps")
    assert len(lines) == 3


def test_a_stop_on_one_rank_stops_all(tmp_path: Path) -> None:
    expected = [f"[{rank}] enough after 6 steps" for rank in range(3)]
    assert said("stop", tmp_path)[:2] == (0, expected)


def test_a_rank_may_have_callbacks_that_others_have_not(tmp_path: Path) -> None:
    calls = [0, 12, 0]
    expected = [f"[{r}] None after 12 steps, called {n} times" for r, n in enumerate(calls)]
    assert said("other callbacks", tmp_path)[:2] == (0, expected)


@pytest.mark.parametrize(("fault", "what"), [("write", "parameters"), ("rate", "rate")])
def test_what_a_callback_does_on_one_rank_alone(fault: str, what: str, tmp_path: Path) -> None:
    status, lines, _ = said(fault, tmp_path, 2)
    text = (
        f"RuntimeError: comm: expected the {what} of rank 0 on all ranks after epoch 2, got other"
    )
    assert status == 3
    assert len(lines) == 2
    for rank, line in enumerate(lines):
        assert line.startswith(f"[{rank}] {text} ones on rank 1")


def test_an_interrupt_of_one_rank_ends_all_and_is_saved(tmp_path: Path) -> None:
    status, lines, _ = said("interrupt", tmp_path)
    expected = [f"[{rank}] KeyboardInterrupt:  after 6 steps" for rank in range(3)]
    assert (status, lines) == (3, expected)
    assert "step-0000000006.safetensors" in {path.name for path in (tmp_path / "run").iterdir()}


def test_what_a_callback_gives_up_is_not_saved(tmp_path: Path) -> None:
    """Ctrl-C in the middle of its work: the ranks may be in different places."""
    status, lines, _ = said("give up", tmp_path, 2)
    assert (status, lines) == (3, [f"[{r}] KeyboardInterrupt:  after 6 steps" for r in range(2)])
    assert [path.name for path in (tmp_path / "run").glob("step-*")] == [
        "step-0000000000.safetensors"
    ]


def test_ctrl_c_ends_all_ranks(tmp_path: Path) -> None:
    command = [launcher(), "-n", "3", sys.executable, str(CHILD), "ctrl-c", str(tmp_path)]
    job = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment(), start_new_session=True
    )
    end = time.monotonic() + 60
    while not all((tmp_path / f"started-{rank}").exists() for rank in range(3)):
        assert time.monotonic() < end
        time.sleep(0.05)
    job.send_signal(signal.SIGINT)
    output, _ = job.communicate(timeout=LIMIT)
    assert job.returncode != 0
    found = sorted(output.replace("[", "\n[").split("\n["))[1:]
    texts = [line.strip() for line in found if "KeyboardInterrupt" in line]
    assert len(texts) == 3
    assert len({line.partition("after")[2] for line in texts}) == 1  # all at the same step
    assert len([*(tmp_path / "run").glob("step-*")]) == 2  # the start, and where it ended


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        ("other data", "training data"),
        ("other model", "model"),
        ("other option", "batch_size"),
        ("other metrics", "metrics"),
        ("other parameters", "frozen"),
        ("other patience", "patience"),
        ("no checkpoints", "checkpoints"),
        ("other checkpoints", "checkpoints"),
        ("other version", "version of rnncore"),
    ],
)
def test_what_differs_is_named_at_the_start(fault: str, what: str, tmp_path: Path) -> None:
    status, lines, _ = said(fault, tmp_path, 2)
    text = f"ValueError: {what}: expected the same on every rank, got another one on rank 1 than on"
    assert (status, lines) == (3, [f"[{r}] {text} rank 0 after None steps" for r in range(2)])


def test_what_a_callback_does_at_the_end_on_one_rank_alone(tmp_path: Path) -> None:
    status, lines, _ = said("other end", tmp_path, 2)
    text = "RuntimeError: comm: expected the parameters of rank 0 on all ranks after epoch 3"
    assert status == 3
    assert [line[: len(text) + 4] for line in lines] == [f"[{r}] {text}" for r in range(2)]


def test_a_model_that_one_rank_has_trained_before(tmp_path: Path) -> None:
    expected = [f"[{rank}] None after 12 steps" for rank in range(3)]
    assert said("trained before", tmp_path)[:2] == (0, expected)


def test_numbers_that_numpy_is_to_refuse_on_one_rank(tmp_path: Path) -> None:
    expected = [f"[{rank}] None after 12 steps" for rank in range(2)]
    assert said("strict numpy", tmp_path, 2)[:2] == (0, expected)


def test_bad_data_on_one_rank(tmp_path: Path) -> None:
    status, lines, _ = said("bad data", tmp_path, 2)
    bad = "ValueError: x: expected finite numbers, got nan at index (5, 3, 1) after None steps"
    assert (status, lines) == (
        3,
        [f"[0] RuntimeError: rank 1 of 2 failed with {bad}", f"[1] {bad}"],
    )


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("no rank", "a communicator that this process is a rank of, got a null communicator"),
        ("two groups", "a communicator of one group of ranks, got one between two groups"),
    ],
)
def test_communicators_of_no_use(fault: str, text: str, tmp_path: Path) -> None:
    status, lines, _ = said(fault, tmp_path, 2)
    assert status == 3
    assert len(lines) == 2
    for rank, line in enumerate(lines):
        assert line.startswith(f"[{rank}] ValueError: comm: expected {text}")


def test_ranks_without_connections_train_and_say_so(tmp_path: Path) -> None:
    status, lines, everything = said("no connections", tmp_path, 2)
    assert (status, lines) == (0, [f"[{rank}] None after 12 steps" for rank in range(2)])
    assert everything.count("connections between all ranks, got 'none allowed'") == 1
    assert f"{CHILD}:" in everything  # the warning is that of the line that calls `fit`


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    status, lines, _ = said("unwritable", tmp_path, 2)
    assert status == 3
    assert lines[0].startswith("[0] NotADirectoryError: ")
    assert lines[1].startswith("[1] RuntimeError: rank 0 of 2 failed with NotADirectoryError: ")


def test_an_error_outside_fit_ends_all(tmp_path: Path) -> None:
    start = time.monotonic()
    status, _, everything = said("raise outside", tmp_path)
    assert status != 0
    assert "ZeroDivisionError: outside fit" in everything
    assert time.monotonic() - start < LIMIT


def test_a_rank_that_is_killed_ends_the_job(tmp_path: Path) -> None:
    start = time.monotonic()
    assert said("kill", tmp_path)[0] != 0
    assert time.monotonic() - start < LIMIT


@pytest.mark.parametrize("fault", ["kill", "leave"])
def test_the_others_say_which_rank_has_died(fault: str, tmp_path: Path) -> None:
    """Where the launcher does not end them: it does not know processes of other sessions."""
    command = ["setsid", "-w", sys.executable, str(CHILD), fault, str(tmp_path)]
    subprocess.run(
        [launcher(), "-n", "3", *command], env=environment(), timeout=120, capture_output=True
    )
    dead = f"rank 1 of 3 (on {socket.gethostname()}) has ended in the middle of a training"
    end = time.monotonic() + LIMIT
    for rank in (0, 2):
        path = tmp_path / f"errors-{rank}"
        while f"{dead}; rank {rank} ends too" not in path.read_text():
            assert time.monotonic() < end
            time.sleep(0.05)
