"""This module changes a file of expectations: adds what is to be expected, takes out what no longer comes true.

Comments and order stay as their authors left them.
"""

from __future__ import annotations

import fnmatch
import glob
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from conformance.gate.expectations import BrokenExpectations, load, understood
from conformance.gate.judgement import Finding
from conformance.record import Run, Verdict

_HEADER = "What is known and accepted, each with its reason: see `timm-conformance expectations --help`."
_INLINE = 3
"""Models that stand on one line."""


@dataclass(frozen=True)
class Pruned:
    """A file without what no longer comes true."""

    text: str
    removed: tuple[str, ...] = field(default=())
    """What was taken out, in words."""


def entries_of(findings: Iterable[Finding], *, timm: str, reason: str | None) -> list[dict[str, Any]]:
    """An entry for each verdict and cause that cells of a run have, with the models that have it.

    The reason is the one that is given, or else that of the first cell.
    """
    groups: dict[tuple[Verdict, str], list[Finding]] = {}
    for finding in findings:
        key = finding.cell.verdict, finding.cell.cause or f"{finding.claim_id} {finding.cell.reason}"
        groups.setdefault(key, []).append(finding)
    return [
        bounded(
            {
                "models": sorted({glob.escape(finding.model) for finding in group}),  # which mean no others
                "claims": list(dict.fromkeys(finding.claim_id for finding in group)),
                "verdict": str(verdict),
            },
            timm,
            reason or str(group[0].cell.reason),
        )
        for (verdict, _), group in groups.items()
    ]


def bounded(entry: dict[str, Any], timm: str, reason: str) -> dict[str, Any]:
    """The entry, speaking of that release alone, with its reason."""
    return {**entry, "timm": f"=={timm}", "reason": reason}


def added(path: Path, entries: Iterable[dict[str, Any]]) -> str:
    """The text of the file with these entries at its end; a file that is not there begins with them.

    Raises:
        BrokenExpectations: The file is no file of expectations, or would be none any more: a run may be of a timm whose
            version is none.
    """
    document = _document(path) if path.exists() else tomlkit.document()
    if not path.exists():
        document.add(tomlkit.comment(_HEADER))
        document.add(tomlkit.nl())
    tables = document.get("expect")
    if tables is None:
        tables = tomlkit.aot()
        document.append("expect", tables)
    for entry in entries:
        tables.append(_table(entry))
    return _usable(document, path)


def pruned(path: Path, run: Run) -> Pruned:
    """The text of the file without models of which an entry no longer comes true, and entries that have none left.

    A glob of which some models still do as expected is replaced by these. What the run says nothing of stays:
    entries about other versions, claims that were not decided, models that were not audited.

    Raises:
        BrokenExpectations: The file is no file of expectations.
    """
    document = _document(path)
    header = run.header
    audited = {record.model: record for record in run.records}
    decided = {entry.id for entry in header.claims}
    versions = {"timm": header.timm, "torch": header.torch, "python": header.python}
    removed: list[str] = []
    kept = []
    for table, entry in zip(document.get("expect", []), load(path).entries, strict=True):
        if not entry.claims or not entry.is_awake(**versions) or not decided.issuperset(entry.claims):
            kept.append(table)
            continue
        globs: list[str] = []
        for word in entry.models:
            matched = fnmatch.filter(audited, word)
            true = [
                model
                for model in matched
                if all(audited[model].cells[claim_id].verdict is entry.verdict for claim_id in entry.claims)
            ]
            if len(true) == len(matched):  # none matched: the run says nothing of it
                globs.append(word)
                continue
            globs += map(glob.escape, sorted(true))
            gone = sorted(set(matched) - set(true))
            removed.append(f"{entry.origin}: {', '.join(gone)}")
        if globs and globs != list(entry.models):
            table["models"] = _models(globs)
        if globs:
            kept.append(table)
    if not removed:
        return Pruned(tomlkit.dumps(document))
    tables = tomlkit.aot()
    for table in kept:
        tables.append(table)
    if kept:
        document["expect"] = tables
    else:
        del document["expect"]
    return Pruned(_usable(document, path), tuple(removed))


def _usable(document: tomlkit.TOMLDocument, path: Path) -> str:
    """The text of the file, once it is known that it can be read."""
    text = tomlkit.dumps(document)
    understood(text, path)
    return text


def _document(path: Path) -> tomlkit.TOMLDocument:
    load(path)  # refuses what is no file of expectations, in a sentence
    try:
        return tomlkit.parse(path.read_text(encoding="utf-8"))
    except (TOMLKitError, ValueError, RecursionError) as error:  # it is another parser
        raise BrokenExpectations(f"{path}: is not TOML: {error}") from error


def _table(entry: dict[str, Any]) -> Any:
    table = tomlkit.table()
    for key, value in entry.items():
        if key == "models":
            table.add("models", _models(value))
        elif isinstance(value, list) and len(value) == 1:
            table.add(key.removesuffix("s"), value[0])
        else:
            table.add(key, value)
    table.add(tomlkit.nl())
    return table


def _models(names: Collection[str]) -> Any:
    array = tomlkit.array()
    array.extend(names)
    return array.multiline(len(names) > _INLINE)
