"""This module renders a run as one HTML file that opens from disk, asks no server and trusts no text in it."""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from conformance.gate.changes import Comparison, Kind
from conformance.record import Cell, Evidence, Record, Run, Verdict, printable, printable_code
from conformance.release import OUTPUTS
from conformance.report.changes_text import SIGNS
from conformance.report.changes_text import WORDS as KIND_WORDS
from conformance.report.overview import EVIDENCE_MEANINGS, GLYPHS, MEANINGS, PROOF, WORDS, overview
from conformance.report.scripts import script
from conformance.report.since import KINDS, Since, embedded, since
from conformance.report.text import facts, instead, shapes

NOT_BUILT = "not built"
"""Where models stand of which no module is known."""
_REASON = 2000
_SHADES = 4
_CAUSES = 60
_LETTERS = {Verdict.HOLDS: "h", Verdict.VIOLATED: "v", Verdict.UNDECIDED: "u", Verdict.NOT_APPLICABLE: "n"}
_EVIDENCE_LETTERS = {None: "", Evidence.PROVED: "p", Evidence.MEASURED: "m", Evidence.OBSERVED: "o"}
_FINDINGS = 40
_SIGNS = dict.fromkeys(Kind, "\N{NOT EQUAL TO}") | {Kind.BROKEN: "✗", Kind.DRIFTED: "✗"} | SIGNS
_TONES = dict.fromkeys(Kind, "n") | {
    Kind.BROKEN: "v",
    Kind.DRIFTED: "v",
    Kind.REMOVED: "v",
    Kind.UNDECIDED: "u",
    Kind.ADDED: "h",
    Kind.MENDED: "h",
}
_TIMM = "https://github.com/huggingface/pytorch-image-models/blob/v"


def environment() -> Environment:
    """Where templates are found, and what they can do with what they are given."""
    made = Environment(
        loader=PackageLoader("conformance.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["printable"] = lambda text: printable(str(text))
    made.filters["moment"] = _moment
    made.filters["prose"] = _prose
    made.filters["number"] = lambda number: f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    return made


def page(run: Run, earlier: Iterable[Run | Comparison] = ()) -> str:
    """The page: what was audited, counts, causes, and every model's claims in a table that needs no JavaScript.

    Of `earlier` runs it tells what changed since: each is a run, or what an upgrade from it found.

    Raises:
        OtherRelease: An upgrade led to another release than that of the run.
    """
    style, code = static("page.css"), script()
    notes = _Notes()
    families = _families(run.records)
    rows = _rows(families, [entry.id for entry in run.header.claims], notes)
    changed = since(run, earlier)
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            header=run.header,
            groups=_groups(run),
            overview=overview(run),
            most_causes=_CAUSES,
            models=len(run.records),
            rows=rows,
            since=changed,
            most_findings=_FINDINGS,
            signs=_SIGNS,
            tones=_TONES,
            kinds=KIND_WORDS,
            embedded=_embedded(run, [record for records in families.values() for record in records], notes, changed),
            style=Markup(style),  # noqa: S704  # a file of this package
            script=Markup(code),  # noqa: S704  # a file of this package
            policy=f"default-src 'none'; style-src {hashed(style)}; script-src {hashed(code)}; base-uri 'none'; "
            "form-action 'none'",
            letters=_LETTERS,
            glyphs=GLYPHS,
            words=WORDS,
            meanings=MEANINGS,
            evidence_meanings=EVIDENCE_MEANINGS,
            proof=PROOF,
            Verdict=Verdict,
        )
    )


class _Numbered:
    """Things that are said once and called by their numbers."""

    def __init__(self) -> None:
        self._places: dict[Any, int] = {}

    def place(self, what: Any) -> int | None:
        """Its number."""
        return self._places.setdefault(what, len(self._places))

    def __iter__(self) -> Iterator[Any]:
        return iter(self._places)


class _Notes(_Numbered):
    """What cells say beyond their verdict: most models fail as others do."""

    def place(self, cell: Cell) -> int | None:
        """The number of what the cell says, or None where it says nothing."""
        witness = ", ".join(f"{name}: {value}" for name, value in sorted((cell.witness or {}).items()))
        note = [_clip(printable(cell.reason or "")), printable(cell.cause or ""), _clip(printable(witness))]
        if not any(note) and cell.remedy is None:
            return None
        if cell.remedy is not None:
            note += [instead(cell.remedy), _clip(printable_code(cell.remedy.code))]
        return super().place(tuple(note))


def _families(records: Iterable[Record]) -> dict[str, list[Record]]:
    """The records by timm's module, both in order of name; what could not be built stands last."""
    families: dict[str, list[Record]] = {}
    for record in records:
        families.setdefault(record.module or "", []).append(record)
    return {name: families[name] for name in sorted(families, key=lambda name: (not name, name))}


def _rows(families: Mapping[str, list[Record]], ids: Sequence[str], notes: _Notes) -> Markup:
    """The bodies of the matrix, a family each: what its models have in common, and a row for each of them.

    Forty thousand cells: written without quotes and end tags, which HTML lets one omit.
    """
    parts: list[str] = []
    for family, records in families.items():
        module = escape(printable(family or NOT_BUILT))
        parts.append(f"<tbody><tr class=f><th scope=row>{module}<td class=t>{_models(len(records))}<td class=m>")
        parts += (_summary([record.cells[claim_id] for record in records]) for claim_id in ids)
        for record in records:
            name, class_name = (escape(printable(text or "")) for text in (record.model, record.class_name))
            parts.append(f"\n<tr><th scope=row>{name}<td class=t>{class_name}<td class=m>{module}")
            parts += (_cell(record.cells[claim_id], notes) for claim_id in ids)
        parts.append("\n")
    return Markup("".join(parts))  # noqa: S704  # every text in it was escaped above


def _models(number: int) -> str:
    return "1 model" if number == 1 else f"{number} models"


def _summary(cells: Sequence[Cell]) -> str:
    """How many models of a family break a claim, the darker the more of them; or the sign of what all others say."""
    for verdict in (Verdict.VIOLATED, Verdict.UNDECIDED):
        found = sum(cell.verdict is verdict for cell in cells)
        if found:
            share = min(int(_SHADES * found / len(cells)), _SHADES - 1)
            return f'<td class="{_LETTERS[verdict]} s{share}">{found}'
    is_kept = any(cell.verdict is Verdict.HOLDS for cell in cells)
    verdict = Verdict.HOLDS if is_kept else Verdict.NOT_APPLICABLE
    return f"<td class={_LETTERS[verdict]}>{GLYPHS[verdict]}"


def _cell(cell: Cell, notes: _Notes) -> str:
    place = notes.place(cell)
    note = "" if place is None else f" data-r={place}"
    return f"<td class={_code(cell)}{note}>{GLYPHS[cell.verdict]}"


def _code(cell: Cell) -> str:
    return _LETTERS[cell.verdict] + _EVIDENCE_LETTERS[cell.evidence]


def _embedded(run: Run, records: Sequence[Record], notes: _Notes, changed: Iterable[Since]) -> Markup:
    """What the details need and the table does not show, as JSON that cannot end its script element."""
    header = run.header
    numbered, files = _Numbered(), _Numbered()
    names = [record.model for record in records]
    ids = [entry.id for entry in header.claims]
    told = [embedded(one, names, ids, notes.place, _code) for one in changed]  # which may add notes
    places = 0
    groups = []
    for name, entries in _groups(run):
        groups.append({"name": printable(name), "from": places, "until": places + len(entries)})
        places += len(entries)
    timm, torch = (shlex.quote(f"{name}=={printable(getattr(header, name))}") for name in ("timm", "torch"))
    install = f"pip install timm-conformance {timm} {torch}"
    text = msgspec.json.encode(
        {
            "claims": [
                [
                    *map(printable, (entry.id, entry.text, entry.level, entry.group, entry.why, entry.source)),
                    list(map(printable, entry.needs)),
                ]
                for entry in header.claims
            ],
            "kinds": KINDS,
            "since": told,
            "groups": groups,
            "notes": list(notes),
            "facts": _facts(records),
            "outputs": [[numbered.place(shapes(record, name)) for name in OUTPUTS] for record in records],
            "shapes": list(numbered),
            "sources": [_source(record, files) for record in records],
            "files": list(files),
            "repository": _repository(header.timm),
            "numbers": {
                "params": [record.params for record in records],
                "width": [record.num_features for record in records],
                "embedding": [record.head_hidden_size for record in records],
                "size": [(record.input_size or ())[1:] for record in records],
            },
            "lines": {
                "model": [install, "timm-conformance show MODEL"],
                "cell": [install, "timm-conformance show MODEL --claim CLAIM --repro"],
            },
        }
    ).decode()
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704  # no character that HTML knows is left in it


def _facts(records: Iterable[Record]) -> list[dict[str, str]]:
    return [{name: printable(value) for name, value in facts(record).items()} for record in records]


def _source(record: Record, files: _Numbered) -> tuple[int | None, str] | None:
    """The number of the file that registers the model, and the line in it."""
    if record.source is None:
        return None
    file, _, line = printable(record.source).rpartition(":")
    return files.place(file), line


def _repository(version: str) -> str | None:
    """Where timm's files of a release are shown; None where the version is none of its releases."""
    return f"{_TIMM}{version}/" if re.fullmatch(r"[0-9]+(\.[0-9]+)+", version) else None


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


def static(name: str) -> str:
    """A file of the page, as text."""
    return (files("conformance.report") / "static" / name).read_text(encoding="utf-8").strip()


def hashed(text: str) -> str:
    """What a Content-Security-Policy calls an inline style or script by."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _clip(text: str) -> str:
    return text if len(text) <= _REASON else f"{text[:_REASON]}…"
