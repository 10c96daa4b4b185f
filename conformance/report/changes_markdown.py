"""This module writes what an upgrade changes as Markdown: for a job's summary or a pull request's comment."""

from __future__ import annotations

from conformance.gate.changes import Comparison
from conformance.gate.findings import Found, found
from conformance.report.changes_text import SIGNS, WORDS, acceptance, heading, printable_detail, verdict
from conformance.report.markdown import escaped
from conformance.report.text import few

LARGEST = 60_000
"""Bytes. A comment of GitHub's holds 65 536 characters and a job's summary 1 MiB: what fits the former fits both."""
_CUT = "\n…and {} more, which `--format json` has.\n"


def changes_markdown(comparison: Comparison) -> str:
    """The verdict, what became of outputs, every finding with its commands, and what else changed, until it is full."""
    sign = "✗" if comparison.failing() else "✓"
    statuses = comparison.statuses()
    words = list(next(iter(statuses.values())))
    head = [
        f"## {sign} {escaped(heading(comparison))}",
        "",
        escaped(verdict(comparison)),
        *(f"\n> {escaped(note)}" for note in (*comparison.notes, acceptance(comparison)) if note),
        "",
        f"| output | {' | '.join(words)} |",
        f"| --- |{' ---: |' * len(words)}",
        *(f"| {name} | {' | '.join(map(str, counts.values()))} |" for name, counts in statuses.items()),
        "",
        "",
    ]
    everything = found(comparison)
    return _filled(
        "\n".join(head),
        [_failing(one) for one in everything if one.fails],
        [_other(one) for one in everything if not one.fails],
    )


def _filled(head: str, failing: list[str], others: list[str]) -> str:
    """As much as fits; findings before what else changed."""
    text, room = head, LARGEST - len(head.encode()) - 2 * len(_CUT)
    for title, parts in (("### Findings\n\n", failing), ("### Also changed\n\n", others)):
        if not parts:
            continue
        text += title
        room -= len(title)
        for number, part in enumerate(parts):
            size = len(part.encode())
            if size > room:
                text += _CUT.format(len(parts) - number)
                break
            text, room = text + part, room - size
        text += "\n"
    return text.rstrip() + "\n"


def _failing(one: Found) -> str:
    count = f" ({len(one.models)} models)" if len(one.models) > 1 else ""
    title = f"**{SIGNS.get(one.kind, '✗')} {WORDS[one.kind]}** {escaped(few(one.models))}{count}: {escaped(one.what)}"
    block = [*map(printable_detail, one.detail), *(command for command in (one.reproduce, one.accept) if command)]
    return "\n".join([title, "", "```", *(line.replace("```", "'''") for line in block), "```", "", ""])


def _other(one: Found) -> str:
    word = f"{SIGNS.get(one.kind, '≠')} {WORDS[one.kind]}"
    return f"- {word}, {len(one.models)}: {escaped(one.what)} ({escaped(few(one.models))})\n"
