"""What a page tells of earlier runs: in its table of changes, in its questions, and of each model."""

from __future__ import annotations

import msgspec
import pytest

from conformance.gate.changes import Comparison, Kind, ModelChange, Output, Side, Status
from conformance.gate.compare import compare
from conformance.gate.expectations import Expectations
from conformance.record import Evidence
from conformance.report.since import OtherRelease, since
from tests.report.conftest import MODELS, shown, until
from tests.report.synthetic import before, finished, run_of

RUN = run_of(40)
NEW, BROKEN, MENDED, DRIFTED, WIDER, *OTHERS = (record.model for record in RUN.records)


def upgraded(**sides):
    """What an upgrade to the release of `RUN` found of one model."""
    output = Output(
        status=Status.DRIFTED,
        evidence=Evidence.MEASURED,
        relative_error=0.125,
        cosine_similarity=0.9,
        reason="a bias moved",
    )
    same = Output(status=Status.SAME, evidence=Evidence.MEASURED)
    header = RUN.header
    after = {"timm": header.timm, "torch": header.torch, "python": header.python, "suite": header.suite} | sides
    return Comparison(
        before=Side(**after | {"timm": "1.0.30"}),
        after=Side(**after),
        models=(ModelChange(model=DRIFTED, outputs={"features": output, "pre_logits": same, "logits": output}),),
    )


def test_each_change_is_told_with_its_models():
    (one,) = since(RUN, [before(RUN)])
    assert (one.name, one.compared) == ("1.0.25", 39)
    assert one.counts == {
        Kind.BROKEN: 1, Kind.REMOVED: 1, Kind.UNDECIDED: 1, Kind.WIDTHS: 1, Kind.ADDED: 1, Kind.MENDED: 1
    }  # fmt: skip
    told = {found.kind: found.models for found in one.findings}
    assert told[Kind.BROKEN] == (BROKEN,)
    assert told[Kind.REMOVED] == ("gone_model",)
    assert told[Kind.UNDECIDED] == (DRIFTED,)
    assert told[Kind.MENDED] == (MENDED,)


def test_models_that_a_run_lacks_are_not_called_gone():
    few = finished(RUN.records[:3], RUN.header.claims)
    (one,) = since(few, [RUN])
    assert one.counts[Kind.REMOVED] == 37
    assert [found.what for found in one.findings] == ["not in this run: the model is gone, or was not chosen for it"]


def test_runs_of_one_timm_have_names_of_their_own_and_the_latest_comes_first():
    other = msgspec.structs.replace(before(RUN), header=msgspec.structs.replace(before(RUN).header, torch="2.13.0"))
    same = msgspec.structs.replace(RUN, header=msgspec.structs.replace(RUN.header, torch="2.13.0"))
    strange = before(RUN, "main")
    found = since(RUN, [strange, before(RUN, "0.9.16"), before(RUN), other, before(RUN), before(RUN, "1.0.30"), same])
    assert [one.name for one in found] == [
        "1.0.31 with torch 2.13.0",
        "1.0.30",
        "1.0.25",
        "1.0.25 with torch 2.13.0",
        "1.0.25 with torch 2.14.1",
        "0.9.16",
        "main",
    ]


def test_changes_that_lead_elsewhere_are_refused():
    with pytest.raises(OtherRelease, match=r"lead to timm 1\.0\.32"):
        since(RUN, [upgraded(timm="1.0.32")])
    with pytest.raises(OtherRelease, match=r"torch 2\.13"):
        since(RUN, [upgraded(torch="2.13.0")])


def test_the_page_compares_as_the_gate_does():
    """What stands in the page is what `gate` would say of the two runs."""
    earlier = before(RUN)
    (one,) = since(RUN, [earlier])
    assert one.comparison == compare(earlier, RUN, Expectations())


def test_a_page_without_earlier_runs_says_nothing_of_them(opened):
    tab = opened(RUN)
    assert tab.locator("#changes").count() == 0
    assert tab.locator("#since").count() == 0
    tab.fill("#q", "is:changed")
    assert "Nothing is called is:changed" in tab.text_content("#problem")


def test_changes_are_counted_and_listed_without_javascript(opened):
    tab = opened(RUN, earlier=[before(RUN)], java_script_enabled=False)
    assert "1 broken" in tab.text_content(".since > summary")
    rows = tab.locator(".since tbody tr").all_text_contents()
    assert any("removed" in row and "gone_model" in row for row in rows)
    assert any("mended" in row and MENDED in row for row in rows)


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("is:changed", {NEW, BROKEN, MENDED, DRIFTED, WIDER}),
        ("is:broken", {BROKEN}),
        ("is:mended", {MENDED}),
        ("is:undecided", {DRIFTED}),
        ("is:added", {NEW}),
        ("is:widths", {WIDER}),
        ("is:broken or is:mended", {BROKEN, MENDED}),
    ],
)
def test_what_changed_can_be_asked_for(opened, question, found):
    tab = opened(RUN, earlier=[before(RUN)])
    tab.fill("#q", question)
    assert {name.removesuffix("Δ") for name in shown(tab)} == found


def test_the_run_that_is_compared_with_can_be_chosen_and_is_in_the_address(opened):
    earlier = before(RUN, "1.0.3")
    unchanged = msgspec.structs.replace(RUN, header=msgspec.structs.replace(RUN.header, timm="1.0.30"))
    tab = opened(RUN, "#q=is:changed", earlier=[earlier, unchanged])
    assert shown(tab) == []
    tab.select_option("#since", "1.0.3")
    assert set(shown(tab)) == {NEW, BROKEN, MENDED, DRIFTED, WIDER}
    assert "since=1.0.3" in tab.evaluate("location.hash")
    tab.reload()
    assert len(shown(tab)) == 5
    assert tab.input_value("#since") == "1.0.3"


def test_cells_of_another_verdict_are_marked_and_say_what_it_was(opened):
    tab = opened(RUN, "#order=model", earlier=[before(RUN)])
    assert tab.locator("#cells .c").count() == 2
    assert tab.locator(f"{MODELS}.changed").count() == 5
    cell = tab.locator(f"{MODELS}:has-text('{MENDED}') .c")
    cell.hover()
    assert "(violated (observed) in 1.0.25)" in cell.get_attribute("title")
    cell.click()
    assert tab.text_content("#said .before") == "In 1.0.25: violated (observed). it was bad"


def test_a_model_has_its_history(opened):
    earlier = before(RUN)
    without = finished([record for record in RUN.records if record.model != DRIFTED], RUN.header.claims)
    oldest = msgspec.structs.replace(without, header=msgspec.structs.replace(without.header, timm="0.9.16"))
    tab = opened(RUN, f"#model={DRIFTED}", earlier=[oldest, earlier, upgraded()])
    rows = tab.locator("#said table:has-text('what changed') tbody tr").all_text_contents()
    assert [row[:6] for row in rows] == ["1.0.30", "1.0.25", "0.9.16"]
    assert "drifted features, logits: relative error 0.12, cosine similarity 0.9000 (a bias moved)" in rows[0]
    assert "pre_logits: the same, measured" in rows[0]
    assert "undecided features: its fingerprint is another" in rows[1]
    assert "added not in the earlier run: the model is new" in rows[2]
    tab.goto(tab.url.partition("#")[0] + f"#model={OTHERS[0]}")
    until(tab, f"document.querySelector('#said h3')?.textContent === '{OTHERS[0]}'")
    rows = tab.locator("#said table:has-text('what changed') tbody tr").all_text_contents()
    assert "was not compared" in rows[0]
    assert "no claim changed" in rows[1]
