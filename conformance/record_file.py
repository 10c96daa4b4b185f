"""This module reads the file of a run, and refuses every file that is not one whole finished run.

Whoever judges from a run must not judge from half of it, so nothing is guessed or repaired: each thing that can be
wrong has an exception named after it, whose text is one sentence for the user.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from conformance.files import opened
from conformance.record import SCHEMA_VERSION, Footer, Header, Line, Record, Run, Verdict, count, encode, printable

LONGEST_LINE = 16 * 2**20
"""Bytes. The longest honest line, a record whose every reason is a page of text, stays far below."""

LARGEST_RUN = 128 * 2**20
"""Bytes of all lines, unpacked: twenty-five times those of all of timm. A small file may unpack to any size."""

_GZIP = b"\x1f\x8b"
_AGAIN = "audit again, or fetch the file again"


class BrokenRecord(Exception):
    """A file that is not a whole finished run. Its text is one sentence: which file, what is wrong, what to do."""

    def __init__(self, path: Path, found: str) -> None:
        super().__init__(f"{printable(str(path))}: {_clip(printable(found))}")
        self.path = path


class UnreadableFile(BrokenRecord):
    """The file is missing or the system does not let it be read."""


class EmptyFile(BrokenRecord):
    """The file has no content."""


class BrokenGzip(BrokenRecord):
    """The compressed file is cut or damaged, or is none."""


class NotUtf8(BrokenRecord):
    """A line is not UTF-8."""


class NotJson(BrokenRecord):
    """A line is not one JSON value."""


class LineTooLong(BrokenRecord):
    """A line is longer than `LONGEST_LINE`."""


class RunTooLarge(BrokenRecord):
    """The lines are longer together than `LARGEST_RUN`."""


class NestedTooDeeply(BrokenRecord):
    """A line nests deeper than anything that is written here."""


class MissingHeader(BrokenRecord):
    """The first line is not a header."""


class OtherSchema(BrokenRecord):
    """The header names another version of the format."""


class UnknownKind(BrokenRecord):
    """A line is neither header, record nor footer."""


class WrongField(BrokenRecord):
    """A line lacks a field or has one of another type or an impossible value."""


class MissingFooter(BrokenRecord):
    """The run did not finish, or the file was cut."""


class LinesAfterFooter(BrokenRecord):
    """Something follows the footer."""


class DuplicateSubject(BrokenRecord):
    """Two records, or two headers, speak of the same thing."""


class DuplicateClaim(BrokenRecord):
    """The header declares a claim twice."""


class CellsNotOfHeader(BrokenRecord):
    """A record's cells are not exactly the claims of the header."""


class CountsDiffer(BrokenRecord):
    """The footer or the header counts something else than the file holds."""


class SentinelWrong(BrokenRecord):
    """The run decided otherwise than is known of the models that it carried for this."""


def read_run(path: str | Path, *, any_schema: bool = False) -> Run:
    """The finished run in the file `path`, JSON Lines, compressed by gzip or not; records come sorted by model.

    With `any_schema`, a file of another version of the format is read too, as far as it has what this one knows: the
    header says which version it is, and what its fingerprints mean is not known.

    Raises:
        BrokenRecord: The file is not one whole finished run; the subclass says in which way.
    """
    path = Path(path)
    lines = _lines(path)
    header = _header(path, next(lines, b""), any_schema=any_schema)
    records: dict[str, Record] = {}
    for number, text in enumerate(lines, start=2):
        line = _decode(path, number, text)
        if isinstance(line, Footer):
            if next(lines, None) is not None:
                raise LinesAfterFooter(path, f"line {number + 1} follows the footer, which ends a run; {_AGAIN}")
            return _checked(path, header, records, line)
        if isinstance(line, Header):
            raise DuplicateSubject(
                path, f"line {number} is a second header; a file is one run, so split it at its headers"
            )
        if line.model in records:
            raise DuplicateSubject(path, f"line {number} is a second record of {line.model!r}; {_AGAIN}")
        _check_cells(path, number, header, line)
        records[line.model] = line
    raise MissingFooter(
        path,
        f"the run is unfinished: {len(records)} of {header.subjects} subjects and no footer; "
        "finish it with `timm-conformance audit --resume`, or fetch the file again",
    )


def packed(run: Run, *, compressed: bool) -> bytes:
    """The run as it stands in a file: equal runs give equal bytes, compressed ones too."""
    lines: tuple[Line, ...] = (run.header, *run.records, run.footer)
    content = b"".join(map(encode, lines))
    if not compressed:
        return content
    file = BytesIO()
    with gzip.GzipFile(fileobj=file, mode="wb", filename="", mtime=0) as written:
        written.write(content)
    return file.getvalue()


def _lines(path: Path) -> Iterator[bytes]:
    """The lines of the file without their line feed, unpacked as they are read, so that no file fills the memory."""
    try:
        with opened(path) as file:
            packed = file.peek(2)[:2] == _GZIP or path.suffix == ".gz"
            if packed:
                with gzip.open(file) as unpacked:
                    yield from _split(path, unpacked)  # type: ignore[arg-type]  # GzipFile reads like a binary file
            else:
                yield from _split(path, file)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BrokenGzip(path, f"is no whole gzip file ({error}); {_AGAIN}") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise UnreadableFile(path, f"cannot be read ({reason}); name a record file that `audit` wrote") from error


def _split(path: Path, file: BinaryIO) -> Iterator[bytes]:
    number, size = 0, 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            raise LineTooLong(path, f"line {number} is longer than {LONGEST_LINE >> 20} MiB, so it is no record file")
        size += len(line)
        if size > LARGEST_RUN:
            raise RunTooLarge(path, f"has more than {LARGEST_RUN >> 20} MiB of lines, so it is no record file")
        if not line.endswith(b"\n"):
            if number == 1:
                _header(path, line)  # a file of another sort is told apart before it is called cut
            raise MissingFooter(
                path,
                f"is cut in line {number}, before its footer's end; "
                "finish the run with `timm-conformance audit --resume`, or fetch the file again",
            )
        yield line[:-1]
    if number == 0:
        raise EmptyFile(path, f"is empty where a header, records and a footer were expected; {_AGAIN}")


class _Opening(msgspec.Struct):
    """What is asked of a first line before anything else, whatever its version."""

    kind: Any = None
    schema: Any = None


def _header(path: Path, text: bytes, *, any_schema: bool = False) -> Header:
    opening = _opening(path, 1, text)
    if opening.kind != "header":
        raise MissingHeader(path, f"line 1 is no header, so this is no record file; {_AGAIN}")
    is_readable = opening.schema == SCHEMA_VERSION or (any_schema and isinstance(opening.schema, int))
    if not is_readable or isinstance(opening.schema, (bool, float)):
        raise OtherSchema(
            path,
            f"has schema {opening.schema!r} and this version reads schema {SCHEMA_VERSION}; "
            "use the version of timm-conformance that wrote it, or audit again",
        )
    header = _decode(path, 1, text)
    assert isinstance(header, Header)
    declared: set[str] = set()
    for entry in header.claims:
        if entry.id in declared:
            raise DuplicateClaim(path, f"the header declares the claim {entry.id!r} twice; {_AGAIN}")
        declared.add(entry.id)
    return header


def _parsed(path: Path, number: int, text: bytes, kind: Any) -> Any:
    """The line as a `kind`.

    Raises:
        BrokenRecord: It is no JSON.
        msgspec.ValidationError: It is JSON of another type.
    """
    try:
        text.decode()  # the decoder does not look at what it skips
        return msgspec.json.decode(text, type=kind)
    except RecursionError as error:
        raise NestedTooDeeply(path, f"line {number} nests too deeply to be a record; {_AGAIN}") from error
    except UnicodeDecodeError as error:
        raise NotUtf8(path, f"line {number} is not UTF-8 at byte {error.start}; {_AGAIN}") from error
    except msgspec.ValidationError:
        raise
    except ValueError as error:  # DecodeError, and Python's own about numbers of thousands of digits
        raise NotJson(path, f"line {number} is not JSON ({error}); {_AGAIN}") from error


def _opening(path: Path, number: int, text: bytes) -> _Opening:
    try:
        opening = _parsed(path, number, text, _Opening)
    except msgspec.ValidationError:
        return _Opening()
    assert isinstance(opening, _Opening)
    return opening


def _decode(path: Path, number: int, text: bytes) -> Line:
    try:
        line: Line = _parsed(path, number, text, Line)
    except msgspec.ValidationError as error:
        kind = _opening(path, number, text).kind
        if kind not in ("header", "record", "footer"):
            raise UnknownKind(
                path, f"line {number} is of kind {kind!r} where header, record or footer was expected; {_AGAIN}"
            ) from error
        raise WrongField(path, f"line {number} is not a {kind} as expected: {error}; {_AGAIN}") from error
    return line


def _check_cells(path: Path, number: int, header: Header, record: Record) -> None:
    expected = {entry.id for entry in header.claims}
    if missing := sorted(expected - record.cells.keys()):
        raise CellsNotOfHeader(
            path, f"line {number}: {record.model!r} lacks a cell for {missing[0]!r}, a claim of the header; {_AGAIN}"
        )
    if unknown := sorted(record.cells.keys() - expected):
        raise CellsNotOfHeader(
            path, f"line {number}: {record.model!r} has a cell for {unknown[0]!r}, which the header lacks; {_AGAIN}"
        )


def _checked(path: Path, header: Header, records: dict[str, Record], footer: Footer) -> Run:
    for name, stated in (("header", header.subjects), ("footer", footer.subjects)):
        if stated != len(records):
            raise CountsDiffer(path, f"the {name} counts {stated} subjects and the file has {len(records)}; {_AGAIN}")
    counted = count(records.values())
    for verdict in Verdict:
        if footer.verdicts.get(verdict, 0) != counted[verdict]:
            raise CountsDiffer(
                path,
                f"the footer counts {footer.verdicts.get(verdict, 0)} cells that are {verdict} "
                f"and the file has {counted[verdict]}; {_AGAIN}",
            )
    if footer.broken:
        raise SentinelWrong(
            path,
            f"the run is marked broken, so nothing that it says can be relied on: {footer.broken[0]}; "
            "install timm-conformance and torch anew, or use another machine, and audit again",
        )
    return Run(header=header, records=tuple(records[model] for model in sorted(records)), footer=footer)


def _clip(text: str) -> str:
    return text if len(text) <= 400 else f"{text[:400]}…"
