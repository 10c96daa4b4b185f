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
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import distributions
from pathlib import Path

import msgspec

import conformance
from conformance.record import Footer, Header, Record, Run, Verdict, count
from conformance.record_file import BrokenRecord, packed, read_run
from conformance.release import Surface
from conformance.run.wheels import CACHE, Release, cache

_READ_BY_THEM = ("ATEN", "CUDA", "MKL", "OMP", "PYTHON", "PYTORCH", "TIMM", "TORCH")
"""What the names of variables begin with that torch or Python read, and most of those of timm."""


class Kept:
    """What is known of a release. Nothing is known, and nothing kept, of one whose files are not vouched for.

    Where the disk does not allow it, nothing is kept.
    """

    def __init__(self, release: Release) -> None:
        digest = _digest(release)
        beside = cache() / "decided"
        self._runs = None if digest is None else beside / f"timm-{release.version}-{digest}.jsonl"
        self._surfaces = None if digest is None else beside / f"timm-{release.version}-{digest}.surfaces.json"

    def run(self) -> Run | None:
        """What was decided, or None: then there is nothing, or nothing that can be read."""
        if self._runs is None:
            return None
        try:
            return read_run(self._runs)
        except BrokenRecord:
            return None

    def surfaces(self) -> dict[str, Surface]:
        """What the release said of models, by name."""
        if self._surfaces is None:
            return {}
        try:
            return msgspec.json.decode(self._surfaces.read_bytes(), type=dict[str, Surface])
        except (OSError, ValueError):
            return {}

    def keep(self, run: Run) -> None:
        """Keep the records of the run with those that are kept."""
        decided = [record for record in run.records if not _is_open(record)]
        if self._runs is None or not decided:
            return
        known = self.run()
        records = {record.model: record for record in (*(known.records if known else ()), *decided)}
        whole = run_of(run.header, records.values())
        _write(self._runs, packed(whole, compressed=False))

    def keep_surfaces(self, surfaces: Mapping[str, Surface]) -> None:
        """Keep what the release said of models with what is kept, but for models that it could not look at."""
        seen = {name: surface for name, surface in surfaces.items() if surface.problem is None}
        if self._surfaces is not None and seen:
            _write(self._surfaces, msgspec.json.encode(self.surfaces() | seen, order="sorted"))


def _write(file: Path, content: bytes) -> None:
    """Write the file whole, or leave what was there."""
    fresh = file.with_name(f".{file.name}-{os.getpid()}")
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            fresh.write_bytes(content)
            fresh.replace(file)
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
    read = release.variables()
    facts: Sequence[str] = (
        release_itself,
        *suite_files(),
        sys.version,
        platform.platform(),
        *sorted({f"{found.name} {found.version}" for found in distributions()}),
        *(f"{name}={value}" for name, value in sorted(os.environ.items()) if name in read or _is_read(name)),
    )
    return hashlib.sha256("\0".join(facts).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _is_read(name: str) -> bool:
    return name.startswith(_READ_BY_THEM) and name != CACHE


def suite_files() -> Iterable[str]:
    """Each Python file of this suite with the digest of its content."""
    root = Path(conformance.__file__).parent
    for path in sorted(root.rglob("*.py")):
        yield f"{path.relative_to(root)} {hashlib.sha256(path.read_bytes()).hexdigest()}"
