"""What `reports/` holds was rendered from the records beside it, by today's renderer."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.record_file import read_run
from conformance.report.page import page

REPORTS = Path(__file__).parents[2] / "reports"


@pytest.mark.parametrize(("timm", "earlier"), [("1.0.31", ["1.0.25"]), ("1.0.25", [])])
def test_published_pages_are_those_of_their_records(timm, earlier):
    run, *before = (read_run(REPORTS / f"timm-{version}.jsonl.gz") for version in (timm, *earlier))
    published = (REPORTS / f"timm-{timm}.html").read_text(encoding="utf-8")
    assert published == page(run, before), "render it anew: timm-conformance report, with --since as in noxfile.py"
