"""This module says how far long work has come, and how long the rest of it may take."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

SECONDS_BETWEEN_LINES = 15.0
"""Where nobody watches (a log of a CI job), a line now and then shows that the work goes on."""


class Steps:
    """Counts what is done of `total` things of a kind, and tells it now and then. Threads may share it."""

    def __init__(self, what: str, total: int, tell: Callable[[str], None]) -> None:
        self._what, self._total, self._tell = what, total, tell
        self._done = 0
        self._began = self._told = time.monotonic()
        self._lock = threading.Lock()

    def one(self) -> None:
        """One more is done."""
        with self._lock:
            self._done += 1
            now = time.monotonic()
            if self._done < self._total and now - self._told >= SECONDS_BETWEEN_LINES:
                self._told = now
                rate = self._done / (now - self._began)
                left = clock((self._total - self._done) / rate)
                self._tell(f"{self._what}: {self._done} of {self._total} · {rate:.1f}/s · {left} left")


def clock(seconds: float) -> str:
    """A time as minutes and seconds, or with hours where there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
