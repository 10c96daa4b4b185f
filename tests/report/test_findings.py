"""Every violated cell of a run stands in one finding, with what is known of it and a command that shows it."""

from __future__ import annotations

import re
from pathlib import Path

from conformance.gate import Expectation, Expectations, load
from conformance.record import Cell, Evidence, Record, Remedy, Verdict
from conformance.record_file import read_run
from conformance.report.findings import findings, main, markdown
from tests.report import synthetic

PUBLISHED = Path("reports/timm-1.0.31.jsonl.gz")


def broken(model: str, params: int, reason: str = "it broke", remedy: Remedy | None = None) -> Record:
    cell = Cell(verdict=Verdict.VIOLATED, evidence=Evidence.OBSERVED, reason=reason, remedy=remedy)
    return Record(model=model, module="timm.models.vit", params=params, cells={"scripts": cell})


def test_models_are_grouped_by_what_is_known_of_them():
    run = synthetic.finished([broken("a_1", 9), broken("a_2", 3), broken("b", 5)], synthetic.entries(["scripts"]))
    known = Expectation(("a_*",), ("scripts",), Verdict.VIOLATED, "Lambda.", "entry 1", mend="Write a function.")
    found = findings(run, Expectations((known,)))
    assert [[record.model for record in one.records] for one in found] == [["a_1", "a_2"], ["b"]]
    assert found[0].example.model == "a_2"
    text = markdown(run, Expectations((known,)))
    assert "**Why**: Lambda." in text
    assert "**What would mend it**: Write a function." in text
    assert "timm-conformance show a_2 --claim scripts --repro" in text
    assert "`timm/models/vit.py`" in text


def test_a_reason_with_backticks_stays_code():
    run = synthetic.finished([broken("a", 1, "say `x`")], synthetic.entries(["scripts"]))
    assert "`` say `x` ``" in markdown(run, Expectations())


def test_remedies_are_given_with_the_number_of_models_that_they_were_shown_for():
    one = Remedy(text="By hand.", code="f(\n    x)\n", evidence=Evidence.PROVED)
    other = Remedy(text="Or so.", code="g(x)", evidence=Evidence.MEASURED)
    records = [broken("a", 1, remedy=one), broken("b", 2, remedy=one), broken("c", 3, remedy=other), broken("d", 4)]
    text = markdown(synthetic.finished(records, synthetic.entries(["scripts"])), Expectations())
    assert "**Until then** (proved for 2 of 4): By hand.\n\n```python\nf(\n    x)\n```" in text
    assert "**Until then** (measured for 1 of 4): Or so.\n\n```python\ng(x)\n```" in text


def test_every_violated_cell_of_the_published_run_is_in_one_finding(tmp_path):
    run = read_run(PUBLISHED)
    cells = sum(cell.verdict is Verdict.VIOLATED for record in run.records for cell in record.cells.values())
    found = findings(run, load())
    assert sum(len(one.records) for one in found) == cells
    for one in found:
        assert one.claim.level == "signal" or (one.known is not None and one.known.mend), one.claim.id
    main(str(PUBLISHED), str(tmp_path / "found.md"))
    text = (tmp_path / "found.md").read_text()
    assert len(re.findall(r"^## \d+\.", text, re.M)) == len(found)


def test_the_published_findings_are_those_of_the_published_run():
    assert Path("reports/FINDINGS-1.0.31.md").read_text() == markdown(read_run(PUBLISHED), load())
