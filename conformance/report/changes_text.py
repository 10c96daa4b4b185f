"""This module says in a terminal what an upgrade changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from conformance.gate.changes import Comparison, Kind
from conformance.gate.findings import DEFAULT_FILE, Found, found
from conformance.record import printable
from conformance.report.text import clip, counted, few, print_unbroken

if TYPE_CHECKING:
    from rich.console import Console

SIGNS = {Kind.ADDED: "+", Kind.MENDED: "✓", Kind.RENAMED: "→", Kind.UNDECIDED: "?", Kind.REMOVED: "-"}
"""Told apart by shape; whatever else was found is broken or another."""
_STYLES = {Kind.ADDED: "green", Kind.MENDED: "green", Kind.UNDECIDED: "yellow"}
_MOST_FAILING = 40
_MOST_OTHERS = 15
WORDS = {kind: kind.replace("_", " ") for kind in Kind}


def print_changes(comparison: Comparison, console: Console) -> None:
    """Print what became of outputs, every finding that fails, what else changed, and the verdict."""
    console.print(Text(heading(comparison), style="bold"))
    for note in comparison.notes:
        console.print(Text(f"Note: {printable(note)}."))
    console.print()
    console.print(_outputs(comparison))
    everything = found(comparison)
    failing = [one for one in everything if one.fails]
    others = [one for one in everything if not one.fails]
    for one in failing[:_MOST_FAILING]:
        console.print()
        _print_failing(one, console)
    if len(failing) > _MOST_FAILING:
        console.print(
            Text(f"\nand {counted(len(failing) - _MOST_FAILING, 'more finding')}; --format json has them all.")
        )
    if others:
        console.print()
        console.print(Text("Also changed", style="bold"))
        console.print(_others(others[:_MOST_OTHERS]))
        if len(others) > _MOST_OTHERS:
            console.print(Text(f"and {len(others) - _MOST_OTHERS} more; --format json has them all."))
    console.print()
    if hint := acceptance(comparison):
        console.print(Text(hint))
    console.print(Text(verdict(comparison), style="bold red" if comparison.failing() else "green"))


def heading(comparison: Comparison) -> str:
    """What was compared, on one line."""
    before, after = comparison.before, comparison.after
    return printable(
        f"timm {before.timm} → {after.timm}, torch {after.torch}, Python {after.python}: "
        f"{counted(len(comparison.models), 'model')}"
    )


def verdict(comparison: Comparison) -> str:
    """Whether the gate opens, in a sentence."""
    failing = comparison.failing()
    expected = sum(bool(change.expected) for change in comparison.models)
    declared = f" What was found of {counted(expected, 'model')} is declared to be expected." if expected else ""
    if not failing:
        models = counted(len(comparison.models), "model")
        return f"Nothing stands against it: of {models}, none is {_listed(comparison)}.{declared}"
    counts = {kind: sum(kind in change.unexpected for change in failing) for kind in comparison.fail_on}
    parts = ", ".join(f"{number} {WORDS[kind]}" for kind, number in counts.items() if number)
    stand = "stands" if len(failing) == 1 else "stand"
    return f"{len(failing)} of {counted(len(comparison.models), 'model')} {stand} against it: {parts}.{declared}"


def acceptance(comparison: Comparison) -> str | None:
    """How what is accepted comes to count, for whoever has no file of it yet."""
    if comparison.expectations is not None or not comparison.failing():
        return None
    return (
        f"What is declared in {DEFAULT_FILE} counts with --expectations {DEFAULT_FILE}, "
        "or where [tool.timm-conformance] names the file."
    )


def _listed(comparison: Comparison) -> str:
    words = [WORDS[kind] for kind in comparison.fail_on]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _outputs(comparison: Comparison) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    statuses = comparison.statuses()
    table.add_column("output", no_wrap=True)
    for word in next(iter(statuses.values())):
        table.add_column(word, justify="right")
    for name, counts in statuses.items():
        table.add_row(name, *(_number(word, number) for word, number in counts.items()))
    return table


def _number(word: str, number: int) -> Text:
    bad = {"drifted": "bold red", "undecided": "yellow"}
    return Text(str(number), style=bad.get(word, "green") if number else "dim")


def _print_failing(one: Found, console: Console) -> None:
    sign = SIGNS.get(one.kind, "✗")
    style = _STYLES.get(one.kind, "bold red")
    console.print(Text.assemble((f"{sign} {WORDS[one.kind]}  ", style), (few(one.models), "bold")))
    console.print(Padding(Text(clip(printable(one.what))), (0, 0, 0, 4)))
    for line in one.detail:
        console.print(Padding(Text(printable_detail(line), style="dim"), (0, 0, 0, 4)))
    print_unbroken("    again     ", one.reproduce, console)
    print_unbroken("    expected? ", one.accept, console)


def printable_detail(line: str) -> str:
    """A line of detail, with the spaces that align it."""
    word, _, rest = line.partition(" ")
    return f"{word:<6} {printable(rest)}"


def _others(others: list[Found]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("models", justify="right", no_wrap=True)
    table.add_column("what", no_wrap=True)
    table.add_column("how", overflow="fold")
    for one in others:
        sign = SIGNS.get(one.kind, "≠")
        text = Text(clip(printable(one.what)))
        text.append(f"\n{few(one.models)}", style="dim")
        table.add_row(str(len(one.models)), Text(f"{sign} {WORDS[one.kind]}", style=_STYLES.get(one.kind, "")), text)
    return table
