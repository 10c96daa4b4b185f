"""What the page says of a cell, a model and a claim."""

from __future__ import annotations

import math
import shlex
from collections import Counter

import msgspec
import pytest

from conformance.record import Cell, Evidence, Remedy, Verdict
from tests.report.synthetic import FAMILIES, finished, one_cell, run_of


def test_a_cell_says_its_reason_when_clicked_and_when_pointed_at(opened):
    cell = Cell(
        verdict=Verdict.VIOLATED, evidence=Evidence.MEASURED, reason="it is off", cause="c1", witness={"error": 0.5}
    )
    tab = opened(one_cell(cell), "#order=model")
    spot = tab.locator("#cells tbody td.vm")
    spot.hover()
    assert spot.get_attribute("title") == "scripts: violated (measured). it is off"
    spot.click()
    said = tab.text_content("#said")
    for words in ("shvit_s1: scripts", "violated (measured)", "it is off", "error: 0.5", "Claim (must)", "Cause c1"):
        assert words in said
    tab.click("#close")
    assert tab.is_hidden("#details")


def test_a_remedy_is_shown_as_code_to_copy(opened):
    code = "with hook:\n    logits = model(x)"
    remedy = Remedy(text="Do it by hand.", code=code, evidence=Evidence.PROVED)
    cell = Cell(verdict=Verdict.VIOLATED, evidence=Evidence.OBSERVED, reason="r", remedy=remedy)
    tab = opened(one_cell(cell), "#order=model")
    tab.click("#cells tbody td.vo")
    assert "Instead (proved): Do it by hand." in tab.text_content("#said")
    assert tab.text_content("#said pre >> nth=0") == code
    tab.click("#cells tbody th")
    assert "Instead (proved): Do it by hand." in tab.text_content("#said .all")


def test_a_models_name_says_its_facts_and_all_of_its_claims_faults_first(opened):
    run = run_of(1)
    cells = {**run.records[0].cells, "keeps_dtype": Cell(verdict=Verdict.UNDECIDED, reason="who knows")}
    cells["builds"] = Cell(verdict=Verdict.HOLDS, evidence=Evidence.PROVED)
    tab = opened(finished([msgspec.structs.replace(run.records[0], cells=cells)], run.header.claims), "#order=model")
    tab.click("#cells tbody th")
    assert "3\N{MULTIPLICATION SIGN}224" in tab.text_content("#said .facts")
    items = tab.locator("#said .all summary code").all_text_contents()
    assert sorted(items) == sorted(cells)
    assert items.index("keeps_dtype") < items.index("builds")


def test_a_model_says_what_it_gives_and_where_it_is_registered(opened):
    tab = opened(run_of(4), "#order=model")
    tab.click("#cells tbody th")
    name = tab.text_content("#said h3")
    number = int(name.partition(".")[0].split("_")[-1])
    assert "2\N{MULTIPLICATION SIGN}197\N{MULTIPLICATION SIGN}768" in tab.text_content("#said .small")
    assert "2\N{MULTIPLICATION SIGN}1000, 2\N{MULTIPLICATION SIGN}10" in tab.text_content("#said .small")
    link = tab.get_attribute("#said a[href^=https]", "href")
    family = FAMILIES[number]
    assert link.endswith(f"pytorch-image-models/blob/v1.0.31/timm/models/{family}.py#L{number + 1}")


def test_sources_of_others_are_no_links(opened):
    run = run_of(1)
    for source in ("mine/models.py:7", None):
        record = msgspec.structs.replace(run.records[0], source=source)
        tab = opened(finished([record], run.header.claims), f"#model={record.model}")
        assert tab.locator("#said a[href^=http]").count() == 0
        assert (source or "Outputs") in tab.text_content("#said")


def test_a_models_neighbours_are_those_of_its_size(opened):
    run = run_of(200)
    record = run.records[7]
    family = [one for one in run.records if one.module == record.module and one is not record]
    nearest = sorted(family, key=lambda one: abs(math.log(one.params / record.params)))[:8]
    tab = opened(run, f"#model={record.model}")
    named = tab.locator("#said table:has-text('faults') tbody td:first-child").all_text_contents()
    assert named == [one.model for one in sorted(nearest, key=lambda one: one.params)]
    tab.click(f"#said >> text={named[0]}")
    assert tab.text_content("#said h3") == named[0]
    assert tab.evaluate("document.activeElement.textContent") == named[0]


def test_a_claim_says_why_it_matters_and_why_it_fails(opened):
    run = run_of(100)
    tab = opened(run, "#q=vit")
    tab.click("#cells .ids a >> text='scripts'")
    said = tab.text_content("#said")
    assert "Whoever serves a model calls scripts." in said
    assert "timm documentation: feature extraction" in said
    red = Counter(
        record.cells["scripts"].cause
        for record in run.records
        if record.cells["scripts"].verdict in (Verdict.VIOLATED, Verdict.UNDECIDED)
    )
    told = tab.locator("#said .causes-of > li a").all_text_contents()
    assert told == ["1 model" if number == 1 else f"{number} models" for _, number in red.most_common()]
    assert "q=vit" in tab.evaluate("location.hash")


def test_names_of_models_lead_to_them(opened):
    run = run_of(40)
    tab = opened(run)
    tab.click("#causes ~ .scroll summary >> nth=0")
    link = tab.locator("#causes ~ .scroll details[open] .names a >> nth=1")
    name = link.text_content()
    tab.fill("#q", "swin")
    link.click()
    assert "q=swin" in tab.url
    assert tab.text_content("#said h3") == name


def test_what_is_looked_at_hides_no_cell(opened):
    tab = opened(run_of(5), "#order=model", viewport={"width": 1280, "height": 800})
    tab.click("#cells tbody td:last-child >> nth=0")
    assert tab.is_visible("#details")
    cell = tab.locator("#cells tbody td:last-child >> nth=0").bounding_box()
    assert cell["x"] + cell["width"] <= tab.locator("#details").bounding_box()["x"]


@pytest.mark.parametrize("name", ["a b", "x; touch y", "q\"uo'te", "$& $1", "MODEL CLAIM"])
def test_lines_to_copy_are_safe_to_paste(opened, name):
    run = run_of(1)
    record = msgspec.structs.replace(run.records[0], model=name)
    tab = opened(finished([record], run.header.claims), "#order=model")
    tab.click("#cells tbody td:last-child")
    line = tab.locator("#said pre").last.text_content().splitlines()[-1]
    claim = run.header.claims[-1].id
    assert shlex.split(line) == ["timm-conformance", "show", name, "--claim", claim, "--repro"]
