"""This module is the one writer of a run: cells come in, whole records go out, and the end is a sorted file."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import msgspec

from conformance.record import Broken, Cell, Footer, Header, PartialLine, Record, Run, count, encode, printable
from conformance.record_file import BrokenRecord, packed, read_run
from conformance.run.parcel import Parcel


class OutputTaken(Exception):
    """Another audit is writing the same file."""


class OtherRun(Exception):
    """What is left of an unfinished run does not belong to the one that is to be resumed."""


class UnfinishedRun(Exception):
    """What is left of an unfinished run would be lost."""


class OutputUnwritable(Exception):
    """The system does not let the file be written."""


class _Begun(msgspec.Struct):
    """A record that lacks cells or facts."""

    cells: dict[str, Cell] = {}
    cost: dict[str, float] = {}
    facts: Record | None = None


class Writer:
    """Holds the lock on `FILE.partial` from its making to `finish` or `leave`.

    Raises:
        OutputTaken, OutputUnwritable: The file cannot be had.
    """

    def __init__(self, output: Path) -> None:
        self._output = output
        self._partial = output.with_name(f"{output.name}.partial")
        self._claims: tuple[str, ...] = ()
        self._header: Header | None = None
        self._begun: dict[str, _Begun] = {}
        self._records: dict[str, Record] = {}
        self._broken: dict[str, None] = {}
        self._has_begun = False
        if output.exists() and not output.is_file():
            raise OutputUnwritable(
                f"{printable(str(output))!r} is no file that records could take the place of; name one"
            )
        try:
            self._file = self._locked()
        except OSError as error:
            raise self._unwritable(self._partial, error) from error

    def start(self, header: Header, *, resume: bool, models: tuple[str, ...]) -> frozenset[str]:
        """Begin the run, and give the subjects that are already decided: none without `resume`.

        Raises:
            OtherRun: The unfinished run was made with other versions, claims or subjects.
            UnfinishedRun: There is one, and it is not to be resumed.
            OutputUnwritable: There is no room; what was decided before stays as it was.
        """
        self._claims = tuple(entry.id for entry in header.claims)
        self._header = header
        try:
            end = self._take_up(header, models) if resume else self._check_nothing_is_lost()
        except (OtherRun, UnfinishedRun):
            self.leave()
            raise
        self._has_begun = True
        try:
            self._file.truncate(end)
            self._file.seek(end)
            if end == 0:
                self._append(header)
        except OSError as error:
            self.leave()
            raise self._unwritable(self._partial, error) from error
        return frozenset(self._records)

    def _take_up(self, header: Header, models: tuple[str, ...]) -> int:
        """Go on with what is left, if it is of this run; gives where it ends in the file."""
        left, end = _left(self._file)
        if not left and (whole := self._finished(header, models)) is not None:
            self._header = whole.header
            self._records = {record.model: record for record in whole.records}
        elif left:
            self._header = self._resumable(left[0], header)
            # Reversed: of two records of a subject the first is kept.
            self._records = {line.model: line for line in reversed(left) if isinstance(line, Record)}
            if wrong := next((line.said for line in left if isinstance(line, Broken)), None):
                raise OtherRun(f"{self._named()} is marked broken ({printable(wrong)}); {_APART}")
            if stranger := sorted(self._records.keys() - set(models)):
                raise OtherRun(f"{self._named()} has decided {stranger[0]!r}, which is not chosen now; {_APART}")
        return end

    def _finished(self, header: Header, models: tuple[str, ...]) -> Run | None:
        """What stands in the file already, if it is the whole run that is to be resumed."""
        try:
            run = read_run(self._output)
        except BrokenRecord:
            return None
        is_this = _other_fact(run.header, header) is None and {record.model for record in run.records} == set(models)
        return run if is_this else None

    def _check_nothing_is_lost(self) -> int:
        """Refuse to begin anew where subjects are decided, or where something else lies; gives where to begin."""
        left, _ = _left(self._file)
        if any(isinstance(line, Record) for line in left) or (not left and self._partial.stat().st_size):
            raise UnfinishedRun(
                f"{self._named()} is left of an unfinished audit; go on with it by --resume, or delete it"
            )
        return 0

    def take(self, parcel: Parcel) -> None:
        """Put a cell where it belongs. What was decided twice is kept as it first came.

        Raises:
            OutputUnwritable: There is no room for a record that is whole now.
        """
        if parcel.model in self._records:
            return
        begun = self._begun.setdefault(parcel.model, _Begun())
        begun.cells.setdefault(parcel.claim, parcel.cell)
        for step, seconds in parcel.cost.items():
            if step == "peak_mb":
                begun.cost[step] = max(seconds, begun.cost.get(step, 0.0))
            else:
                begun.cost.setdefault(step, seconds)
        begun.facts = begun.facts or parcel.facts
        if begun.facts is not None and begun.cells.keys() >= set(self._claims):
            self.put(msgspec.structs.replace(begun.facts, cells=begun.cells, cost=begun.facts.cost | begun.cost))
            del self._begun[parcel.model]

    def put(self, record: Record) -> bool:
        """Write a whole record; False if its subject has one, which is kept.

        Raises:
            OutputUnwritable: There is no room for it.
        """
        if record.model in self._records:
            return False
        self._add(record)
        self._records[record.model] = record
        return True

    def mark(self, said: str) -> None:
        """Write down what came out wrong of a sentinel: the finished run says so, also after a resume.

        Raises:
            OutputUnwritable: There is no room for it.
        """
        if said not in self._broken:
            self._broken[said] = None
            self._add(Broken(said=said))

    def missing(self) -> int:
        """How many subjects have no record yet."""
        assert self._header is not None
        return self._header.subjects - len(self._records)

    def finish(self) -> None:
        """Write the sorted run, put it in place in one move, and remove what is partial.

        Raises:
            OutputUnwritable: There is no room for it; all of it is in `FILE.partial`.
        """
        assert self._header is not None
        records = [self._records[model] for model in sorted(self._records)]
        footer = Footer(subjects=len(records), verdicts=count(records), broken=tuple(self._broken))
        run = Run(header=self._header, records=tuple(records), footer=footer)
        content = packed(run, compressed=self._output.suffix == ".gz")
        fresh = self._output.with_name(f"{self._output.name}.new")
        try:
            try:
                fresh.unlink(missing_ok=True)
                with fresh.open("xb") as file:  # whoever can write here may have put a link of that name
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                fresh.replace(self._output)
            finally:
                fresh.unlink(missing_ok=True)
            self._partial.unlink(missing_ok=True)
        except OSError as error:
            raise self._unwritable(self._output, error) from error
        self._file.close()

    def leave(self) -> None:
        """Stop short: what is decided stays in `FILE.partial`, which is removed if that is nothing."""
        if self._has_begun and not self._records and not self._file.closed:
            self._partial.unlink(missing_ok=True)
        with suppress(OSError):  # what could not be written before is tried once more; a torn line counts as unwritten
            self._file.close()

    def _add(self, line: PartialLine) -> None:
        try:
            self._append(line)
        except OSError as error:
            raise self._unwritable(self._partial, error) from error

    def _append(self, line: PartialLine) -> None:
        self._file.write(encode(line))
        self._file.flush()

    def _locked(self) -> BinaryIO:
        while True:
            file = self._partial.open("a+b")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                raise OutputTaken(
                    f"another audit is writing {self._named()}; wait for it, or give this one another --output"
                ) from None
            try:
                if os.path.samestat(os.fstat(file.fileno()), self._partial.stat()):
                    return file
            except FileNotFoundError:
                pass
            file.close()  # the other audit finished and removed the file between our opening and locking it

    def _resumable(self, left: PartialLine, now: Header) -> Header:
        if not isinstance(left, Header):
            raise OtherRun(f"{self._named()} does not begin with a header; {_APART}")
        if (fact := _other_fact(left, now)) is not None:
            change = "" if fact in ("claims", "shard") else f": {getattr(left, fact)} then, {getattr(now, fact)} now"
            raise OtherRun(f"{self._named()} is of another run ({fact} differ{change}); {_APART}")
        return left

    def _unwritable(self, path: Path, error: OSError) -> OutputUnwritable:
        rest = (
            "see to that, and go on with --resume" if self._records else "see to that, or choose another place for it"
        )
        return OutputUnwritable(f"cannot write {printable(str(path))} ({error.strerror or error}); {rest}")

    def _named(self) -> str:
        return printable(str(self._partial))


_APART = "delete it, or choose another --output"


def _other_fact(then: Header, now: Header) -> str | None:
    """The first fact in which two runs differ that would have to be one."""
    facts = ("schema", "suite", "timm", "torch", "python", "tier", "shard", "subjects", "claims")
    return next((fact for fact in facts if getattr(then, fact) != getattr(now, fact)), None)


def _left(file: BinaryIO) -> tuple[list[PartialLine], int]:
    """The whole lines of an unfinished run and where they end: a torn line and all after it count as unwritten."""
    file.seek(0)
    lines: list[PartialLine] = []
    end = 0
    for text in file:
        try:
            if not text.endswith(b"\n"):
                break
            lines.append(msgspec.json.decode(text, type=PartialLine))
        except (msgspec.DecodeError, ValueError):
            break
        end += len(text)
    return lines, end
