"""This module writes what a run found as reports that the maintainers of the models could act on.

`python -m conformance.report.findings RUN FILE` writes them as Markdown.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from conformance.gate import Expectation, Expectations, load
from conformance.record import ClaimEntry, Record, Run, Verdict, printable, printable_code
from conformance.record_file import read_run
from conformance.report.markdown import escaped


@dataclass
class Finding:
    """Models that break one claim for one reason."""

    claim: ClaimEntry
    known: Expectation | None
    """What is known of it, or None: then the models share what was seen, not why."""
    records: list[Record] = field(default_factory=list)

    @property
    def example(self) -> Record:
        """The smallest of the models."""
        return min(self.records, key=lambda record: (record.params or 0, record.model))


def findings(run: Run, expected: Expectations) -> list[Finding]:
    """Every violation of the run, grouped by what is known of it; where nothing is, by claim."""
    found: list[Finding] = []
    header = run.header
    for claim in header.claims:
        groups: dict[str, Finding] = {}
        for record in run.records:
            cell = record.cells.get(claim.id)
            if cell is None or cell.verdict is not Verdict.VIOLATED:
                continue
            known = expected.for_cell(
                record.model, claim.id, timm=header.timm, torch=header.torch, python=header.python
            )
            key = known.origin if known is not None else ""
            groups.setdefault(key, Finding(claim, known)).records.append(record)
        found += sorted(groups.values(), key=lambda one: -len(one.records))
    return found


def markdown(run: Run, expected: Expectations) -> str:
    """The findings, numbered, those that break a promise first and signals last."""
    found = sorted(findings(run, expected), key=lambda one: one.claim.level == "signal")
    cells = sum(len(one.records) for one in found)
    header = run.header
    introduction = (
        f"{len(found)} findings, which {cells} violated cells of {len(run.records)} models come down to; torch "
        f"{escaped(header.torch)}. Made from the records by `python -m conformance.report.findings`. Each names the "
        "smallest model that shows it, and the command that prints a program which needs torch and timm alone, prints "
        "what it finds and exits with 1."
    )
    lines = [f"# Findings in timm {escaped(header.timm)}", "", introduction, ""]
    for number, one in enumerate(found, start=1):
        lines += _section(number, one)
    return "\n".join(lines).rstrip() + "\n"


def _section(number: int, one: Finding) -> Iterator[str]:
    example = one.example
    cell = example.cells[one.claim.id]
    yield f"## {number}. {escaped(one.claim.id)}: {_families(one.records)}"
    yield ""
    yield f"**Promise** ({one.claim.level}): {_prose(one.claim.text)}"
    yield ""
    yield f"**Seen** of {_code(example.model)}, {cell.evidence}: {_code(cell.reason or '')}"
    yield ""
    if one.known is not None:
        yield f"**Why**: {one.known.reason}"
        yield ""
        if one.known.mend:
            yield f"**What would mend it**: {one.known.mend}"
            yield ""
        if one.known.issue:
            yield f"**Issue**: {one.known.issue}"
            yield ""
    yield from _remedies(one)
    yield f"**Where**: {', '.join(_code(f'timm/models/{name}.py') for name in _modules(one.records))}"
    yield ""
    name = shlex.quote(example.model)
    model = f"-- {name}" if name.startswith("-") else name  # no option
    shown = f"--claim {shlex.quote(one.claim.id)} --repro"
    told = f"{shown} {model}" if model != name else f"{model} {shown}"
    yield f"**Show it**: {_code(f'timm-conformance show {told}')}"
    yield ""
    yield f"**Models** ({len(one.records)}): {', '.join(escaped(record.model) for record in one.records)}"
    yield ""


def _remedies(one: Finding) -> Iterator[str]:
    """What users of the models can do, each way with the number of models that it was shown for."""
    cells = [record.cells[one.claim.id] for record in one.records]
    ways = Counter((cell.remedy.text, cell.remedy.code, cell.remedy.evidence) for cell in cells if cell.remedy)
    for (text, code, evidence), number in ways.most_common():
        yield f"**Until then** ({evidence} for {number} of {len(cells)}): {_prose(text)}"
        yield ""
        fence = _fence(code, 3)
        yield f"{fence}python\n{printable_code(code)}\n{fence}"
        yield ""


def _modules(records: Iterable[Record]) -> list[str]:
    return sorted({str(record.module).rpartition(".")[2] for record in records if record.module})


def _families(records: list[Record]) -> str:
    modules = _modules(records)
    shown = ", ".join(map(escaped, modules[:4])) + (f" and {len(modules) - 4} more" if len(modules) > 4 else "")
    return f"{shown} ({len(records)} {'model' if len(records) == 1 else 'models'})"


def _code(text: str) -> str:
    text = printable(text)
    if not text:
        return ""
    fence = _fence(text, 1)
    return f"{fence} {text} {fence}" if "`" in text else f"`{text}`"


def _fence(text: str, least: int) -> str:
    """More backticks than stand together in the text."""
    return "`" * max(least, *(len(run) + 1 for run in re.findall("`+", text)), 0)


def _prose(text: str) -> str:
    """Text of a record, with what stands between backticks as code."""
    parts = printable(text).split("`")
    return "".join(_code(part) if place % 2 else _spaced(part) for place, part in enumerate(parts))


def _spaced(text: str) -> str:
    before, after = (" " if there else "" for there in (text.startswith(" "), text.endswith(" ")))
    return f"{before}{escaped(text)}{after}"


def main(records: str, output: str) -> None:
    """Write the findings of one file of records into another file."""
    Path(output).write_text(markdown(read_run(records), load()), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
