"""This module is the formats of a report: their names, their suffixes, and a run rendered in one of them."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conformance.record import Run

SUFFIXES = MappingProxyType(
    {"html": ".html", "markdown": ".md", "json": ".json", "junit": ".xml", "badge": ".badge.json"}
)


def render(run: Run, form: str) -> bytes:
    """The run in the format called `form`, one of `SUFFIXES`; only what that format needs is imported."""
    if form in ("json", "badge"):
        from conformance.report import machine

        return machine.as_json(run) if form == "json" else machine.badge(run)
    if form == "junit":
        from conformance.report.junit import junit

        return junit(run)
    if form == "markdown":
        from conformance.report.markdown import markdown

        return markdown(run).encode()
    if form == "html":
        from conformance.report.page import page

        return page(run).encode()
    raise ValueError(f"{form!r} is no format; known are {', '.join(SUFFIXES)}")
