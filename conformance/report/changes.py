"""This module is the formats in which changes are told: their names, and a comparison rendered in one of them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conformance.gate.changes import Comparison

FORMATS = ("text", "markdown", "json", "github", "junit")
_WIDTH = 120


def render_changes(comparison: Comparison, form: str) -> bytes:
    """The comparison in the format called `form`, one of `FORMATS`; only what that format needs is imported."""
    if form == "markdown":
        from conformance.report.changes_markdown import changes_markdown

        return changes_markdown(comparison).encode()
    if form in ("json", "github", "junit"):
        from conformance.report import changes_machine

        if form == "github":
            return changes_machine.workflow_commands(comparison).encode()
        return changes_machine.changes_json(comparison) if form == "json" else changes_machine.changes_junit(comparison)
    if form == "text":
        from rich.console import Console

        from conformance.report.changes_text import print_changes

        written = io.StringIO()
        print_changes(comparison, Console(file=written, width=_WIDTH, highlight=False, markup=False, emoji=False))
        return written.getvalue().encode()
    raise ValueError(f"{form!r} is no format; known are {', '.join(FORMATS)}")
