"""This module renders a run as one HTML file that opens from disk, asks no server and trusts no text in it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from conformance.record import Cell, Evidence, Record, Run, Verdict, printable, printable_code
from conformance.report.overview import EVIDENCE_MEANINGS, GLYPHS, MEANINGS, PROOF, WORDS, overview
from conformance.report.text import facts, instead

_REASON = 2000
_CAUSES = 60
_LETTERS = {Verdict.HOLDS: "h", Verdict.VIOLATED: "v", Verdict.UNDECIDED: "u", Verdict.NOT_APPLICABLE: "n"}
_EVIDENCE_LETTERS = {None: "", Evidence.PROVED: "p", Evidence.MEASURED: "m", Evidence.OBSERVED: "o"}


def page(run: Run) -> str:
    """The page: what was audited, counts, causes, and every model's claims in a table that needs no JavaScript."""
    environment = Environment(
        loader=PackageLoader("conformance.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["printable"] = lambda text: printable(str(text))
    environment.filters["moment"] = _moment
    environment.filters["prose"] = _prose
    environment.filters["number"] = lambda number: f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    style, script = _static("page.css"), _static("page.js")
    notes = _Notes()
    rows = _rows(run, notes)
    return environment.get_template("page.html.j2").render(
        header=run.header,
        groups=_groups(run),
        overview=overview(run),
        most_causes=_CAUSES,
        models=len(run.records),
        rows=rows,
        embedded=_embedded(run, notes),
        style=Markup(style),  # noqa: S704  # a file of this package
        script=Markup(script),  # noqa: S704  # a file of this package
        policy=f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; "
        "form-action 'none'",
        letters=_LETTERS,
        glyphs=GLYPHS,
        words=WORDS,
        meanings=MEANINGS,
        evidence_meanings=EVIDENCE_MEANINGS,
        proof=PROOF,
        Verdict=Verdict,
    )


class _Notes:
    """What cells say beyond their verdict, each said once: most models fail as others do."""

    def __init__(self) -> None:
        self._places: dict[tuple[str, ...], int] = {}

    def place(self, cell: Cell) -> int | None:
        """The number of what the cell says, or None where it says nothing."""
        witness = ", ".join(f"{name}: {value}" for name, value in sorted((cell.witness or {}).items()))
        note = [_clip(printable(cell.reason or "")), printable(cell.cause or ""), _clip(printable(witness))]
        if not any(note) and cell.remedy is None:
            return None
        if cell.remedy is not None:
            note += [instead(cell.remedy), _clip(printable_code(cell.remedy.code))]
        return self._places.setdefault(tuple(note), len(self._places))

    def __iter__(self) -> Any:
        return iter(self._places)


def _rows(run: Run, notes: _Notes) -> Markup:
    """The body of the matrix. Forty thousand cells: written without quotes and end tags, which HTML lets one omit."""
    ids = [entry.id for entry in run.header.claims]
    parts: list[str] = []
    for record in run.records:
        name, module, class_name = (
            escape(printable(text or "")) for text in (record.model, record.module, record.class_name)
        )
        parts.append(f"<tr><th scope=row>{name}<td class=t>{module}<td class=t>{class_name}")
        parts += (_cell(record.cells[claim_id], notes) for claim_id in ids)
        parts.append("\n")
    return Markup("".join(parts))  # noqa: S704  # every text in it was escaped above


def _cell(cell: Cell, notes: _Notes) -> str:
    kind = _LETTERS[cell.verdict] + _EVIDENCE_LETTERS[cell.evidence]
    place = notes.place(cell)
    note = "" if place is None else f" data-r={place}"
    return f"<td class={kind}{note}>{GLYPHS[cell.verdict]}"


def _embedded(run: Run, notes: Iterable[tuple[str, ...]]) -> Markup:
    """What the details need and the table does not show, as JSON that cannot end its script element."""
    text = msgspec.json.encode(
        {
            "claims": [
                [printable(entry.id), printable(entry.text), entry.level, printable(entry.group)]
                for entry in run.header.claims
            ],
            "notes": list(notes),
            "facts": _facts(run.records),
        }
    ).decode()
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704  # no character that HTML knows is left in it


def _facts(records: Iterable[Record]) -> list[dict[str, str]]:
    return [{name: printable(value) for name, value in facts(record).items()} for record in records]


def _groups(run: Run) -> list[tuple[str, list[Any]]]:
    """Neighbouring claims of one group, for the header of the matrix."""
    groups: list[tuple[str, list[Any]]] = []
    for entry in run.header.claims:
        if not groups or groups[-1][0] != entry.group:
            groups.append((entry.group, []))
        groups[-1][1].append(entry)
    return groups


def _moment(started: str) -> str:
    """The header's time to the minute, or as it stands where it is no time."""
    try:
        return f"{datetime.fromisoformat(started).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    except (ValueError, OverflowError):
        return printable(started)


def _prose(text: str) -> Markup:
    """A claim's text, with what stands between backticks as code."""
    parts = printable(text).split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else part for place, part in enumerate(parts)
    )


def _static(name: str) -> str:
    return (files("conformance.report") / "static" / name).read_text(encoding="utf-8").strip()


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _clip(text: str) -> str:
    return text if len(text) <= _REASON else f"{text[:_REASON]}…"
