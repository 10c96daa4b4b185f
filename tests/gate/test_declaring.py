"""Changing a file of expectations by command: what is added is read back, what is stale goes, comments stay."""

from __future__ import annotations

import pytest

from conformance.gate import BrokenExpectations, judge, load
from conformance.gate.changes import Kind
from conformance.gate.declaring import added, bounded, entries_of, pruned
from conformance.record import Cell, Evidence, Record, Verdict
from tests.report.synthetic import entries, finished

HOLDS = Cell(verdict=Verdict.HOLDS, evidence=Evidence.PROVED)
VERSIONS = {"timm": "1.0.31", "torch": "2.14.1", "python": "3.11.7"}
COMMENTED = """# Ours.

[[expect]]  # the first
models  = ["shvit_*", "vit_a"]
claim   = "scripts"
verdict = "violated"
reason  = "Known."  # since spring
"""


def violated(reason="it raises", cause="c1"):
    return Cell(verdict=Verdict.VIOLATED, evidence=Evidence.OBSERVED, reason=reason, cause=cause)


def run(**cells):
    return finished(
        [Record(model=model, cells={"scripts": cell}) for model, cell in cells.items()], entries(["scripts"])
    )


def test_what_is_added_is_expected_from_then_on(tmp_path):
    file = tmp_path / "mine.toml"
    made = run(shvit_s1=violated(), shvit_s2=violated(), vit_a=violated("another", "c2"), vit_b=HOLDS)
    unexpected = judge(made, load(), names=None).unexpected
    file.write_text(added(file, entries_of(unexpected, timm="1.0.31", reason=None)))
    expected = load(file)
    assert [(entry.models, entry.reason) for entry in expected.entries] == [
        (("shvit_s1", "shvit_s2"), "it raises"), (("vit_a",), "another"),
    ]  # fmt: skip
    assert judge(made, expected).is_clean
    assert expected.for_cell("shvit_s1", "scripts", **VERSIONS | {"timm": "1.0.32"}) is None


def test_a_change_that_is_added_is_expected_of_that_release(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(added(file, [bounded({"models": ["swin_*"], "changes": ["drifted"]}, "1.0.31", "Done again.")]))
    assert load(file).for_change("swin_s", Kind.DRIFTED, **VERSIONS).reason == "Done again."
    assert load(file).for_change("swin_s", Kind.REMOVED, **VERSIONS) is None
    assert load(file).for_change("swin_s", Kind.DRIFTED, **VERSIONS | {"timm": "1.0.30"}) is None


def test_what_its_authors_wrote_stays(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(COMMENTED)
    text = added(file, [bounded({"models": ["x"], "claims": ["scripts"], "verdict": "violated"}, "1.0.31", "New.")])
    assert text.startswith(COMMENTED)
    file.write_text(text)
    assert len(load(file).entries) == 2


def test_models_that_no_longer_come_true_are_taken_out_and_the_rest_named(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(COMMENTED)
    found = pruned(file, run(shvit_s1=violated(), shvit_s2=HOLDS, vit_b=HOLDS))
    assert len(found.removed) == 1
    assert "shvit_s2" in found.removed[0]
    file.write_text(found.text)
    assert load(file).entries[0].models == ("shvit_s1", "vit_a")  # vit_a was not audited: nothing is known
    assert "# since spring" in found.text
    assert "# Ours." in found.text


def test_an_entry_without_models_left_goes(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(COMMENTED)
    found = pruned(file, run(shvit_s1=HOLDS, vit_a=HOLDS))
    file.write_text(found.text)
    assert load(file).entries == ()
    assert "# Ours." in found.text


@pytest.mark.parametrize(
    "line", ['timm = "<1.0.31"', 'torch = "<2"', 'claims = ["scripts", "script_matches"]', 'change = "drifted"']
)
def test_what_the_run_says_nothing_of_stays(tmp_path, line):
    file = tmp_path / "mine.toml"
    text = COMMENTED
    if line.startswith(("claims", "change")):
        text = text.replace('claim   = "scripts"\n', "")
    if line.startswith("change"):
        text = text.replace('verdict = "violated"\n', "")
    file.write_text(f"{text}{line}\n")
    found = pruned(file, run(shvit_s1=HOLDS, vit_a=HOLDS))
    assert found.removed == ()
    assert found.text == file.read_text()


def test_a_file_of_something_else_is_refused(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("[tool]\nx = 1\n")
    with pytest.raises(BrokenExpectations, match="unknown key 'tool'"):
        added(file, [])
    with pytest.raises(BrokenExpectations):
        pruned(file, run(shvit_s1=HOLDS))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('change = "drifted"\nclaim = "scripts"', "speaks of a change and of a claim"),
        ('change = "drifted"\nverdict = "violated"', "speaks of a change and of a claim"),
        ('change = "sunk"', "'sunk' where one of broken, drifted"),
        ('change = "drifted"\nchanges = ["removed"]', "both `change` and `changes`"),
    ],
)
def test_an_entry_about_changes_that_says_too_much_is_refused(tmp_path, text, words):
    file = tmp_path / "mine.toml"
    file.write_text(f'[[expect]]\nmodels = ["a"]\nreason = "x"\n{text}\n')
    with pytest.raises(BrokenExpectations, match=words):
        load(file)
