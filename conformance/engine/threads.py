"""This module notices the work of other threads, which no dispatch mode of this thread sees."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from pathlib import Path

TASKS = Path("/proc/self/task")
PRECISE = 2_000
"""Nanoseconds that two clocks may be read apart."""
NOISE = 10_000
"""Nanoseconds of processor time that may be an error of reading; waking a Python thread takes several times as much."""


_left_out: set[int] = set()


def leave_out_threads(identities: Iterable[int]) -> None:
    """Say that these threads never work for a model: whoever runs this program keeps them for itself."""
    _left_out.update(identities)


class OtherThreads:
    """What the process's other threads had done and who they were at one moment.

    A pool may be older than this program, so threads are not watched as they start: Linux counts what each one used.
    """

    def __init__(self) -> None:
        self._tasks = _tasks()
        self._used = _time_of_others()

    def worked(self) -> bool:
        """Whether any of them, or one that came or went since, had the processor."""
        if _time_of_others() - self._used > NOISE:
            return True
        now = _tasks()
        # What one that is running right now has used is not counted yet.
        return now != self._tasks or any(_is_running(task) for task in now)


def _time_of_others() -> int:
    """Processor time of all threads, ended ones included, but this one's and those left out, in nanoseconds."""
    clocks = [time.CLOCK_THREAD_CPUTIME_ID, *map(time.pthread_getcpuclockid, _left_out)]
    best, distance = 0, None
    for _ in range(20):
        before = sum(map(time.clock_gettime_ns, clocks))
        everyone = time.clock_gettime_ns(time.CLOCK_PROCESS_CPUTIME_ID)
        apart = sum(map(time.clock_gettime_ns, clocks)) - before
        if distance is None or apart < distance:
            best, distance = everyone - before, apart
        if apart <= PRECISE:
            break
    return best


def _tasks() -> set[str]:
    left_out = {str(~(time.pthread_getcpuclockid(thread) >> 3)) for thread in _left_out}
    return {task.name for task in TASKS.iterdir()} - left_out - {str(threading.get_native_id())}


def _is_running(task: str) -> bool:
    try:
        return (TASKS / task / "stat").read_bytes().rpartition(b")")[2].split()[0] == b"R"
    except OSError:
        return True  # it has just ended
