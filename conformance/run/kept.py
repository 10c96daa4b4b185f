"""This module keeps what was decided of a release beside its wheel: the next comparison does not decide it again.

Records are kept under a digest of whatever their cells depend on: the release file by file, this suite file by file,
Python, the version of every installed library, and the variables that torch and timm read. What is not known to be the
same is decided again; so is what was undecided, for memory and time may be there the next time.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib.metadata import distributions
from pathlib import Path

import msgspec

import conformance
from conformance.record import Footer, Header, Line, Record, Run, Verdict, count, encode
from conformance.record_file import BrokenRecord, read_run
from conformance.run.wheels import CACHE, Release, cache

_READ_BY_THEM = ("ATEN", "CUDA", "MKL", "OMP", "PYTHON", "PYTORCH", "TIMM", "TORCH")
"""What the names of variables begin with that torch, timm or Python read."""


class Kept:
    """What is known of a release. Nothing is known, and nothing kept, of one whose files are not vouched for."""

    def __init__(self, release: Release) -> None:
        digest = _digest(release)
        self._file = None if digest is None else cache() / "decided" / f"timm-{release.version}-{digest}.jsonl"

    def run(self) -> Run | None:
        """What was decided, or None: then there is nothing, or nothing that can be read."""
        if self._file is None:
            return None
        try:
            return read_run(self._file)
        except BrokenRecord:
            return None

    def keep(self, run: Run) -> None:
        """Keep the records of the run with those that are kept; where the disk does not allow that, nothing is."""
        decided = [record for record in run.records if not _is_open(record)]
        if self._file is None or not decided:
            return
        known = self.run()
        records = {record.model: record for record in (*(known.records if known else ()), *decided)}
        whole = run_of(run.header, records.values())
        lines: list[Line] = [whole.header, *whole.records, whole.footer]
        fresh = self._file.with_name(f".{self._file.name}-{os.getpid()}")
        with suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            try:
                fresh.write_bytes(b"".join(map(encode, lines)))
                fresh.replace(self._file)
            finally:
                fresh.unlink(missing_ok=True)


def run_of(header: Header, records: Iterable[Record]) -> Run:
    """A run of these records, in their order by model, with a header and a footer that count them."""
    ordered = tuple(sorted(records, key=lambda record: record.model))
    header = msgspec.structs.replace(header, subjects=len(ordered))
    return Run(header=header, records=ordered, footer=Footer(subjects=len(ordered), verdicts=count(ordered)))


def _is_open(record: Record) -> bool:
    return any(cell.verdict is Verdict.UNDECIDED for cell in record.cells.values())


def _digest(release: Release) -> str | None:
    """What the cells of a release depend on, or None where that cannot be said."""
    release_itself = release.digest()
    if release_itself is None or os.environ.get("PYTHONPATH"):  # whatever lies there has no version
        return None
    facts: Sequence[str] = (
        release_itself,
        *_suite(),
        sys.version,
        platform.platform(),
        *sorted({f"{found.name} {found.version}" for found in distributions()}),
        *(f"{name}={value}" for name, value in sorted(os.environ.items()) if _is_read(name)),
    )
    return hashlib.sha256("\0".join(facts).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _is_read(name: str) -> bool:
    return name.startswith(_READ_BY_THEM) and name != CACHE


def _suite() -> Iterable[str]:
    root = Path(conformance.__file__).parent
    for path in sorted(root.rglob("*.py")):
        yield f"{path.relative_to(root)} {hashlib.sha256(path.read_bytes()).hexdigest()}"
