"""This module says in a terminal what a run or one record found."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from conformance.record import (
    Cell,
    ClaimEntry,
    Level,
    Record,
    Remedy,
    Run,
    Verdict,
    printable,
    printable_code,
    spelled_out,
)
from conformance.release import OUTPUTS
from conformance.report.overview import GLYPHS, WORDS, Cause, overview

if TYPE_CHECKING:
    from rich.console import Console

    from conformance.gate import Judgement

_STYLES = {
    Verdict.HOLDS: "green",
    Verdict.VIOLATED: "bold red",
    Verdict.UNDECIDED: "yellow",
    Verdict.NOT_APPLICABLE: "dim",
}
_CAUSES = 10
_EXAMPLES = 3
_FINDINGS = 20
_REASON = 300


def print_summary(run: Run, path: str, console: Console, judgement: Judgement | None = None) -> None:
    """Print the closing words of an audit: counts, top causes, what was not expected, where the file is, what next."""
    seen = overview(run)
    console.print(Text(title(run), style="bold"))
    console.print()
    console.print(_counts(seen.by_level, seen.verdicts))
    evidence = ", ".join(f"{number} {name}" for name, number in seen.evidence.items() if number)
    if evidence:
        console.print(Text(f"Of what holds or is violated: {evidence}."))
    console.print(
        Text(f"{seen.faultless} of {len(run.records)} models have every must and should claim decided and unbroken.")
    )
    if seen.causes:
        console.print()
        console.print(_causes(seen.causes[:_CAUSES]))
        if len(seen.causes) > _CAUSES:
            console.print(Text(f"and {counted(len(seen.causes) - _CAUSES, 'more cause')}, as the page lists."))
    if judgement is not None:
        _print_judgement(judgement, console)
    console.print()
    file = shlex.quote(path)
    example = next((cause.models[0] for cause in seen.causes), run.records[0].model if run.records else "MODEL")
    print_unbroken("Records:  ", path, console)
    print_unbroken("Page:     ", f"timm-conformance report {file}", console)
    model = f"{shlex.quote(example)} --from {file}"
    if example.startswith("-"):  # it must not be taken for an option
        model = f"--from {file} -- {shlex.quote(example)}"
    print_unbroken("Model:    ", f"timm-conformance show {model}", console)


def print_record(record: Record, claims: Iterable[ClaimEntry], console: Console) -> None:
    """Print one record: facts, fingerprints, and a verdict for each of `claims` that it has a cell for."""
    console.print(Text(printable(record.model), style="bold"))
    known = facts(record)
    if record.source is not None:
        known["registered in"] = record.source
    known |= {name: shapes(record, name) for name in OUTPUTS if name in record.shapes}
    known |= {f"{name} fingerprint": fingerprint or "none" for name, fingerprint in sorted(record.fingerprints.items())}
    known = {clip(printable(name)): value for name, value in known.items()}
    width = max(map(len, known), default=0)
    for name, value in known.items():
        console.print(Text(f"  {name:<{width}}  {printable(value)}"))
    console.print()
    shown = [(claim, record.cells[claim.id]) for claim in claims if claim.id in record.cells]
    width = max((len(clip(printable(claim.id))) for claim, _ in shown), default=0)
    for claim, cell in shown:
        verdict = _verdict(cell)
        verdict.pad_right(22 - len(verdict))
        console.print(Text.assemble(f"{clip(printable(claim.id)):<{width}}  ", verdict, (claim.level, "dim")))
        if cell.reason:
            console.print(Padding(Text(clip(printable(cell.reason))), (0, 0, 0, 4)))
        if cell.remedy:
            console.print(Padding(Text(instead(cell.remedy)), (0, 0, 0, 4)))


def print_claim(record: Record, claim: ClaimEntry, console: Console) -> None:
    """Print one cell in full: what is claimed, the verdict, its whole reason and what shows it."""
    cell = record.cells[claim.id]
    console.print(Text.assemble((printable(record.model), "bold"), f"  {printable(claim.id)} ({claim.level})"))
    console.print(Text(printable(claim.text), style="dim"))
    console.print()
    console.print(_verdict(cell))
    if cell.reason:
        console.print(Text(printable(cell.reason)))
    for name, value in sorted((cell.witness or {}).items()):
        console.print(Text(f"  {printable(name)}: {printable(str(value))}"))
    if cell.cause:
        console.print(Text(f"  cause {printable(cell.cause)}", style="dim"))
    if cell.remedy:
        console.print()
        console.print(Text(instead(cell.remedy)))
        console.print()
        for line in printable_code(cell.remedy.code).splitlines():
            console.print(Text(f"    {line}"), soft_wrap=True)


def print_claims(entries: Iterable[tuple[ClaimEntry, str]], console: Console) -> None:
    """Print the contract: every claim with why it matters, its source and what deciding it costs, in a word."""
    for number, (entry, cost) in enumerate(entries):
        if number:
            console.print()
        kind = f"  {printable(entry.group)}, {entry.level}, {entry.tier} tier, costs: {printable(cost)}"
        console.print(Text.assemble((printable(entry.id), "bold"), (kind, "dim")))
        console.print(Padding(Text(printable(entry.text)), (0, 0, 0, 4)))
        console.print(Padding(Text(f"Why: {printable(entry.why)}"), (0, 0, 0, 4)))
        console.print(Padding(Text(f"Source: {printable(entry.source)}", style="dim"), (0, 0, 0, 4)))


def instead(remedy: Remedy) -> str:
    """What to do instead, and what that rests on, in a sentence."""
    return f"Instead ({remedy.evidence}): {clip(printable(remedy.text))}"


def title(run: Run) -> str:
    """What was audited, on one line."""
    header = run.header
    part = f", shard {header.shard.number}/{header.shard.of}" if header.shard is not None else ""
    return printable(
        f"timm {header.timm}, torch {header.torch}, Python {header.python}, {header.tier} tier{part}: "
        f"{counted(len(run.records), 'model')} \N{MULTIPLICATION SIGN} {counted(len(header.claims), 'claim')}"
    )


def counted(number: int, noun: str) -> str:
    """The number with its noun, in the plural where it must be."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def facts(record: Record) -> dict[str, str]:
    """What is known of a subject, as name and text; what is unknown is left out."""
    known: dict[str, str | None] = {
        "module": record.module,
        "class": record.class_name,
        "parameters": None if record.params is None else f"{record.params:,}".replace(",", " "),
        "input size": None
        if record.input_size is None
        else "\N{MULTIPLICATION SIGN}".join(map(str, record.input_size)),
        "batch size": None if record.batch_size is None else str(record.batch_size),
        "num_features": None if record.num_features is None else str(record.num_features),
        "head_hidden_size": None if record.head_hidden_size is None else str(record.head_hidden_size),
    }
    return {name: value for name, value in known.items() if value is not None}


def shapes(record: Record, output: str) -> str:
    """The shapes of the tensors in an output as people write them; nothing where there are none."""
    sign = "\N{MULTIPLICATION SIGN}"
    return ", ".join(sign.join(map(str, shape)) or "one number" for shape in record.shapes.get(output, ()))


def _counts(by_level: Mapping[Level, Mapping[Verdict, int]], total: Mapping[Verdict, int]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("level")
    for verdict in Verdict:
        table.add_column(Text(f"{GLYPHS[verdict]} {WORDS[verdict]}", style=_STYLES[verdict]), justify="right")
    for level, counts in by_level.items():
        table.add_row(level, *(str(counts[verdict]) for verdict in Verdict))
    if len(by_level) > 1:
        table.add_row("all", *(str(total[verdict]) for verdict in Verdict), style="bold")
    return table


def _causes(top: Iterable[Cause]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("models", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("top causes", overflow="fold")
    for cause in top:
        text = Text(clip(printable(cause.reason)))
        text.append(f"\n{few(cause.claim_ids)}: {few(cause.models)}", style="dim")
        verdict = Text(f"{GLYPHS[cause.verdict]} {WORDS[cause.verdict]}", style=_STYLES[cause.verdict])
        table.add_row(str(len(cause.models)), verdict, text)
    return table


def few(names: Sequence[str]) -> str:
    """The first names of a list, and how many more there are."""
    more = len(names) - _EXAMPLES
    shown = ", ".join(map(printable, names[:_EXAMPLES]))
    return f"{shown} and {more} more" if more > 0 else shown


def _print_judgement(judgement: Judgement, console: Console) -> None:
    console.print()
    if judgement.is_clean:
        declared = f"; {counted(judgement.expected, 'cell')} as declared" if judgement.expected else ""
        console.print(Text(f"Nothing unexpected{declared}.", style="green"))
        return
    for name, entries in (("Not expected", judgement.unexpected), ("Stale expectations", judgement.stale)):
        if entries:
            console.print(Text(f"{name}: {len(entries)}", style="bold red"))
            for entry in entries[:_FINDINGS]:
                console.print(Padding(Text(clip(printable(str(entry)))), (0, 0, 0, 2)))
            if len(entries) > _FINDINGS:
                console.print(Text(f"  and {len(entries) - _FINDINGS} more"))


def _verdict(cell: Cell) -> Text:
    evidence = f" ({cell.evidence})" if cell.evidence else ""
    return Text(f"{GLYPHS[cell.verdict]} {WORDS[cell.verdict]}{evidence}", style=_STYLES[cell.verdict])


def clip(text: str) -> str:
    """The beginning of a long text."""
    return text if len(text) <= _REASON else f"{text[:_REASON]}…"


def print_unbroken(label: str, text: str, console: Console) -> None:
    """Print a path or a command, which is copied from here: never broken across lines."""
    console.print(Text(label + spelled_out(text)), soft_wrap=True)
