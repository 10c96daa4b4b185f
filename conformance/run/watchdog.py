"""This module is the controller's watch over its workers: whoever is lost to its own watch is killed from outside.

A worker has faulthandler end it when a step takes too long. A model may stop that, the whole process, or its clock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from conformance.run import blackbox

GRACE = 15.0
"""Seconds that a worker has to end itself before it is killed."""
_INTERVAL = 1.0
"""Seconds between two looks."""


class Watchdog:
    """Kills a worker that is at one step for longer than `timeout` seconds and the grace.

    `nodes` are xdist's, by the names of workers, and may change meanwhile.
    """

    def __init__(self, directory: Path, timeout: float, nodes: Mapping[str, Any]) -> None:
        self.killed: set[str] = set()
        """Names of workers."""
        self._directory, self._timeout, self._nodes = directory, timeout, nodes
        self._seen: dict[str, tuple[blackbox.Entry, float]] = {}
        """What each worker was last seen to do, and since when."""
        self._ended = threading.Event()
        threading.Thread(target=self._watch, name="timm-conformance-watchdog", daemon=True).start()

    def end(self) -> None:
        """Watch no more."""
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(_INTERVAL):
            for worker, node in list(self._nodes.items()):
                if self._is_overdue(worker, time.monotonic()):
                    self.killed.add(worker)
                    with suppress(AttributeError):  # no local process
                        node.gateway._io.kill()

    def _is_overdue(self, worker: str, now: float) -> bool:
        entry = blackbox.last_entry(self._directory, worker)
        before, since = self._seen.get(worker, (None, now))
        if entry != before:
            self._seen[worker] = (entry, now)
            return False
        return entry.step not in (blackbox.STARTING, blackbox.IDLE) and now - since > self._timeout + GRACE
