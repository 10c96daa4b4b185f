"""This module writes a run as a Markdown summary, for a pull request or a job's page."""

from __future__ import annotations

import re

from conformance.record import Run, Verdict, printable
from conformance.report.overview import GLYPHS, PROOF, WORDS, overview
from conformance.report.text import few, title

_CAUSES = 25
_REASON = 500


def markdown(run: Run) -> str:
    """Counts by level and claim, and the causes with the most models."""
    seen = overview(run)
    heads = " | ".join(f"{GLYPHS[verdict]} {WORDS[verdict]}" for verdict in Verdict)
    rule = "| --- |" + " ---: |" * len(Verdict)
    lines = [
        "# What timm's models keep of the contract",
        "",
        f"{escaped(title(run))}. Begun {escaped(run.header.started)}.",
        "",
        f"{seen.faultless} of {len(run.records)} models have every must and should claim decided and unbroken.",
        "",
        f"| level | {heads} |",
        rule,
        *(f"| {level} | {_numbers(counts)} |" for level, counts in seen.by_level.items()),
        f"| all | {_numbers(seen.verdicts)} |",
        "",
        ", ".join(f"{number} {name}" for name, number in seen.evidence.items())
        + f" of the cells that hold or are violated. {PROOF}",
        "",
        "## Causes",
        "",
    ]
    if seen.causes:
        lines += ["| models | verdict | claims | reason | examples |", "| ---: | --- | --- | --- | --- |"]
        for cause in seen.causes[:_CAUSES]:
            claim_ids = escaped(few(cause.claim_ids))
            verdict = f"{GLYPHS[cause.verdict]} {WORDS[cause.verdict]}"
            reason = escaped(cause.reason)
            lines.append(f"| {len(cause.models)} | {verdict} | {claim_ids} | {reason} | {escaped(few(cause.models))} |")
        if len(seen.causes) > _CAUSES:
            lines += ["", f"and {len(seen.causes) - _CAUSES} more causes."]
    else:
        lines.append("None: nothing is violated or undecided.")
    lines += ["", "## Claims", "", f"| claim | {heads} |", rule]
    lines += [f"| {escaped(entry.id)} | {_numbers(seen.by_claim[entry.id])} |" for entry in run.header.claims]
    return "\n".join(lines) + "\n"


def _numbers(counts: dict[Verdict, int]) -> str:
    return " | ".join(str(counts[verdict]) for verdict in Verdict)


def escaped(text: str) -> str:
    """Text that Markdown shows and does not obey; mentions and entities included, for it lands in pull requests."""
    text = printable(text)
    text = text if len(text) <= _REASON else f"{text[:_REASON]}…"
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace("://", ":&#47;&#47;")
    # GitHub looks for mentions and issues in what Markdown made of it, without entities: a space of no width helps.
    text = re.sub(r"@|#(?=\d)", r"\g<0>&#8203;", text)
    text = re.sub(r"www\.", "www&#46;", text, flags=re.IGNORECASE)
    return re.sub(r"([\\`*\[\]|~$]|(?<!\w)_|_(?!\w))", r"\\\1", text)
