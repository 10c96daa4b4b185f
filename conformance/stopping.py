"""This module is how a process takes the wish that it stop: as KeyboardInterrupt, where that can be followed."""

from __future__ import annotations

import signal
import time
from types import FrameType

AGAIN = signal.SIGALRM
"""Comes from a timer of this module's own, after a wish that could not be followed at once."""
STOPPING = (signal.SIGINT, signal.SIGTERM, AGAIN)
"""What asks a process to stop."""

_SECONDS_BETWEEN_LOOKS = 0.01
_SECONDS_OF_ONE_WISH = 1.0


def asking() -> tuple[signal.Signals, ...]:
    """What asks this process to stop: a terminal that is closed too, unless it was started to outlive that (nohup)."""
    outlives = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return STOPPING if outlives else (*STOPPING, signal.SIGHUP)


def listen() -> None:
    """Have Ctrl-C and SIGTERM raise KeyboardInterrupt, but not inside of an import, and once for several in a row.

    Libraries catch whatever is raised while they import others, and go on without them; the wish waits for the import's
    end. A second one right after the first would meet the putting in order that the first has begun.
    """
    last = float("-inf")

    def interrupt(_number: int, frame: FrameType | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _SECONDS_OF_ONE_WISH:
            return
        if _is_importing(frame):
            signal.setitimer(signal.ITIMER_REAL, _SECONDS_BETWEEN_LOOKS)
            return
        last = now
        raise KeyboardInterrupt

    for number in asking():
        signal.signal(number, interrupt)


def ignore() -> None:
    """Have nothing stop the process any more: it is about to end."""
    for number in asking():
        signal.signal(number, signal.SIG_IGN)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False
