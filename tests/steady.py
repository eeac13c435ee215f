"""Run the README's test command again and again beside busy processes: ``python -m tests.steady 20``.

A suite that passes on a quiet machine only tells little. Each run's wall time, result and load average are printed; the exit code is 1
if any run failed.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).parent.parent
COMMAND = (sys.executable, "-m", "pytest")
KEPT = ("HOME", "LANG", "PATH", "FULLSTORY_TEST_TIMEOUT_FACTOR")
"""Variables that a run sees: nothing of this machine's settings decides, such as PYTHONUNBUFFERED."""
# ends by itself if its parent is killed
SPIN = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: sum(range(100_000))"
SHOWN = 4000
"""Characters of a failed run's output that are shown."""


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Keep so many processes busy while the block runs."""
    processes = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()


def run_once(seconds: float) -> tuple[bool, str]:
    """Run the tests once and return whether they passed, and what they printed. After so many seconds they are killed."""
    environment = {name: os.environ[name] for name in KEPT if name in os.environ}
    process = subprocess.Popen(
        COMMAND, cwd=ROOT, env=environment, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        printed, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        printed, _ = process.communicate()
        return False, f"{printed}\nnot finished after {seconds:.0f} s"
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    return process.returncode == 0, printed


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=int, nargs="?", default=20)
    parser.add_argument("--busy", type=int, default=2, help="processes that keep the machine busy meanwhile")
    parser.add_argument("--seconds", type=float, default=1200, help="the most that one run may take")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _end)  # so that the busy processes are ended then too
    failed = 0
    with busy(options.busy):
        for number in range(1, options.runs + 1):
            began = time.monotonic()
            passed, printed = run_once(options.seconds)
            took, load = time.monotonic() - began, " ".join(f"{each:.1f}" for each in os.getloadavg())
            last = printed.rstrip().rpartition("\n")[2]
            say(
                f"run {number} of {options.runs}: {'passed' if passed else 'FAILED'}, {took:.0f} s, load {load}: {last}"
            )
            if not passed:
                failed += 1
                say(printed[-SHOWN:])
    say(f"{options.runs - failed} of {options.runs} runs passed")
    return 1 if failed or options.runs < 1 else 0


def _end(*_: object) -> NoReturn:
    sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
