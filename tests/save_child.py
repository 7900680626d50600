"""Saves in processes that were forked of one another, stopped before; run by files/test_faults.

Reads lines "PATH SEED [SAVES]"; forks, says the child's number, and how it ended as soon as it
has: 0, or 3 for an OSError. The child stops until it is told to go on (SIGCONT), then saves. With
SAVES it does not stop, and saves so often: the parent says how it ended at once, of all that are
running, when it reads an empty line.
"""

from __future__ import annotations

import os
import signal
import sys

from rnncore import Linear, checkpoint


def save(path: str, seed: int, times: int) -> None:
    """Save and end the process."""
    try:
        for _ in range(times):
            checkpoint.save(Linear(8, 8, rng=seed), path)
    except OSError:
        os._exit(3)
    except BaseException:
        os._exit(4)
    os._exit(0)


def main() -> None:
    running = 0
    checkpoint.save(Linear(8, 8, rng=0), sys.argv[1])  # imports all
    for line in sys.stdin:
        words = line.split()
        if words:
            pid = os.fork()
            if pid == 0:
                if len(words) == 2:
                    os.kill(os.getpid(), signal.SIGSTOP)
                save(words[0], int(words[1]), int((*words, 1)[2]))
            running += 1
            print(pid, flush=True)
        while running and (len(words) == 2 or not words):
            _, status = os.wait()
            running -= 1
            print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
