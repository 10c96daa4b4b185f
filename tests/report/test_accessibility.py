"""axe-core finds nothing to complain of, whatever the page shows."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe

from conformance.record import Verdict
from tests.report.synthetic import before, run_of

RUN = run_of(40)
CLAIM = RUN.header.claims[3].id
BROKEN = next(
    (record.model, claim_id)
    for record in RUN.records
    for claim_id, cell in record.cells.items()
    if cell.verdict is Verdict.VIOLATED
)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "at",
    [
        "",
        "#order=faults",
        f"#q=any:violated&model={BROKEN[0]}&claim={BROKEN[1]}",
        f"#model={BROKEN[0]}",
        f"#claim={CLAIM}&q=famly:vit",
        f"#claim={CLAIM}&order={CLAIM}",
        "#q=is:changed",
    ],
)
def test_nothing_stands_in_anybodys_way(opened, at, scheme):
    tab = opened(RUN, at, earlier=[before(RUN)], color_scheme=scheme, viewport={"width": 1200, "height": 900})
    tab.evaluate("document.querySelectorAll('details').forEach(node => { node.open = true; })")
    found = Axe().run(tab).response["violations"]
    told = [(one["id"], one["help"], one["nodes"][0]["html"]) for one in found]
    assert told == []
