"""This module renders the index of a folder of pages: a line for each run, the newest release first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup
from packaging.version import Version

from conformance.record import Header, Run, Verdict
from conformance.report.overview import GLYPHS, WORDS, Overview, overview
from conformance.report.page import environment, hashed, static


@dataclass(frozen=True)
class _Line:
    page: str
    header: Header
    models: int
    overview: Overview


def index(runs: Mapping[str, Run]) -> str:
    """The index of runs by the names of their pages, which lie beside it."""
    style = static("page.css")
    lines = [_Line(name, run.header, len(run.records), overview(run)) for name, run in runs.items()]
    return (
        environment()
        .get_template("index.html.j2")
        .render(
            runs=sorted(lines, key=_newest_first),
            style=Markup(style),  # noqa: S704  # a file of this package
            policy=f"default-src 'none'; style-src {hashed(style)}; base-uri 'none'; form-action 'none'",
            glyphs=GLYPHS,
            words=WORDS,
            Verdict=Verdict,
        )
    )


def _newest_first(line: _Line) -> tuple[object, ...]:
    try:
        release = Version(line.header.timm).release
    except ValueError:  # an InvalidVersion, or a number of thousands of digits
        release = ()
    return tuple(-part for part in (*release, *[0] * (9 - len(release)))), line.page
