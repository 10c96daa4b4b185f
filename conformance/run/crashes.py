"""This module is the ledger of dead workers: what killed them, and what that says of a subject.

A step (the deciding of a claim, or the describing of a subject) that killed its process is repeated once in a fresh
one. If it dies again, the cell is settled from its deaths, and workers read it here instead of dying a third time.
"""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path

import msgspec

from conformance.claims.claim import undecided, violated
from conformance.record import Cell
from conformance.run import blackbox

GAVE_UP = 77
"""Exit status of a worker that ends itself so that a step is repeated in a fresh process."""

ATTEMPTS = 2
_FAULTS = tuple(signal.Signals[name] for name in ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL"))
_TIMED_OUT = "Timeout ("  # how faulthandler's watchdog begins what it writes


class Death(msgspec.Struct, frozen=True):
    """How one worker died while it was at one step."""

    status: int | None
    """As subprocess gives it: -n for signal n; None if it could not be learnt."""
    timed_out: bool = False
    where: str | None = None
    note: str = ""

    @property
    def is_fault(self) -> bool:
        """Whether the code that ran is to blame, not whoever killed it."""
        return self.status is not None and -self.status in _FAULTS

    def says(self, timeout: float) -> str:
        """The rest of a sentence that begins with the step."""
        place = f" in {self.where}" if self.where else ""
        if self.note:
            return self.note
        if self.timed_out:
            return f"did not end within {timeout:g} s{place}"
        if self.status is None:
            return "lost its process"
        if self.status >= 0:
            return f"ended its process with exit status {self.status}"
        try:
            name = signal.Signals(-self.status).name
        except ValueError:
            name = f"signal {-self.status}"
        if name == "SIGKILL":
            return "had its process killed (SIGKILL), as happens when memory runs out"
        return f"killed its process by {name}{place}"


class Entry(msgspec.Struct):
    """What is known of a subject that killed workers."""

    cells: dict[str, Cell] = {}
    deaths: dict[str, list[Death]] = {}

    def is_settled(self, step: str) -> bool:
        """Whether the step was repeated and is not tried again."""
        return len(self.deaths.get(step, ())) >= ATTEMPTS


class Ledger:
    """The controller's side: the one who writes the file that every worker reads."""

    def __init__(self, directory: Path, timeout: float) -> None:
        self._file = _file(directory)
        self._timeout = timeout
        self._entries: dict[str, Entry] = {}

    def enter(self, model: str, step: str, death: Death, *, is_claim: bool) -> None:
        """Note a death; at the second one of a claim, settle its cell."""
        entry = self._entries.setdefault(model, Entry())
        deaths = entry.deaths.setdefault(step, [])
        deaths.append(death)
        if is_claim and len(deaths) >= ATTEMPTS and step not in entry.cells:
            entry.cells[step] = self._cell(deaths)
        fresh = self._file.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(self._entries))
        fresh.replace(self._file)

    def _cell(self, deaths: list[Death]) -> Cell:
        said = list(dict.fromkeys(death.says(self._timeout) for death in deaths))
        again = "again in a fresh process" if len(said) == 1 else f"in a fresh process {said[1]}"
        reason = f"deciding it {said[0]}, and {again}"
        if all(death.is_fault for death in deaths):
            return violated(reason, cause=_digest(*sorted({f"{death.status}" for death in deaths})))
        return undecided(reason)


class Reader:
    """A worker's side: the entries as they stand now, read again whenever the file was replaced."""

    def __init__(self, directory: Path) -> None:
        self._file = _file(directory)
        self._seen: tuple[int, int] | None = None
        self._entries: dict[str, Entry] = {}

    def entry(self, model: str) -> Entry:
        """What is known of the subject; nothing, for nearly all."""
        try:
            stat = os.stat(self._file)  # noqa: PTH116  # called for every item, and Path.stat costs four times as much
        except FileNotFoundError:
            return Entry()
        seen = (stat.st_ino, stat.st_mtime_ns)
        if seen != self._seen:
            self._entries = msgspec.json.decode(self._file.read_bytes(), type=dict[str, Entry])
            self._seen = seen
        return self._entries.get(model, Entry())


def autopsy(directory: Path, worker: str, status: int | None) -> Death:
    """How the worker died, from its exit status and from what it left behind."""
    trace = blackbox.last_trace(directory, worker)
    return Death(
        status=status,
        timed_out=status == 1 and trace.startswith(_TIMED_OUT),
        where=blackbox.where(trace),
        note=blackbox.last_entry(directory, worker).note if status == GAVE_UP else "",
    )


def _file(directory: Path) -> Path:
    return directory / "deaths.json"


def _digest(*words: str) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:12]
