"""Telling what an upgrade changes: every format says the same, fits where it goes, and obeys nobody."""

from __future__ import annotations

import io
import json
import re
import shlex
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import msgspec
import pytest
from rich.console import Console

import conformance
from conformance.gate.changes import CellChange, Comparison, Kind, ModelChange, Output, Parting, Side, Status
from conformance.gate.findings import found
from conformance.record import Cell, Evidence, Level, Verdict
from conformance.release import Step
from conformance.report.changes import FORMATS, render_changes
from conformance.report.changes_machine import MOST_ANNOTATIONS, changes_schema
from conformance.report.changes_markdown import LARGEST
from conformance.report.changes_text import print_changes, verdict

HOLDS = Cell(verdict=Verdict.HOLDS, evidence=Evidence.PROVED)
HOSTILE = "</code>\x1b[31m <script>alert(1)</script> `x` | @someone ::error::%0A\u202e ]]>"
SAME = {name: Output(status=Status.SAME, evidence=Evidence.PROVED) for name in ("features", "pre_logits", "logits")}


def broken(claim="scripts", reason="NotSupportedError: it does not compile", cause="c1"):
    after = Cell(verdict=Verdict.VIOLATED, evidence=Evidence.OBSERVED, reason=reason, cause=cause)
    return CellChange(claim=claim, level=Level.MUST, before=HOLDS, after=after)


def drifted(error=0.25, line=71):
    place = f"timm/layers/norm.py:{line} (forward)"
    return Output(
        status=Status.DRIFTED,
        evidence=Evidence.MEASURED,
        reason="in float64",
        relative_error=error,
        cosine_similarity=0.5,
        parting=Parting(
            before=Step(digest="a", operation="aten.mul.Tensor", place=place),
            after=Step(digest="b", operation="aten.add.Tensor", place=place),
        ),
    )


def comparing(*models, **how):
    side = {"torch": "2.14.1", "python": "3.11.7", "suite": "0.1.0"}
    return Comparison(before=Side(timm="1.0.28", **side), after=Side(timm="1.0.31", **side), models=models, **how)


def change(model="vit_a", outputs=None, **what):
    return ModelChange(model=model, outputs=SAME | (outputs or {}), **what)


EVERYTHING = comparing(
    change("vit_a"),
    change("vit_b", {"pre_logits": drifted(), "logits": drifted()}),
    change("vit_c", cells=(broken(),)),
    change(
        "vit_d", {"features": Output(status=Status.UNDECIDED, reason="it could not be measured: its process ended")}
    ),
    change("vit_e", was="vit_old", surface={Kind.WEIGHTS: ("url was a and is b",)}),
    ModelChange(model="vit_f", presence=Kind.REMOVED),
    ModelChange(model="vit_g", presence=Kind.ADDED),
    change("vit_h", cells=(broken(),), expected={Kind.BROKEN: "We compile no more."}),
)
HARMLESS = comparing(change("vit_a"), change("vit_b"))


def text(comparison, width=100):
    console = Console(width=width, record=True, file=io.StringIO(), highlight=False, markup=False, emoji=False)
    print_changes(comparison, console)
    return console.export_text()


def test_printed_commands_are_safe_to_paste_whatever_a_record_is_called():
    command = "x; touch owned; $(touch owned)"
    side = Side(timm=command, torch="2.14.1", python="3.11.7", suite="0.1.0")
    comparison = Comparison(before=side, after=side, models=(change(command, cells=(broken(claim=command),)),))
    (one,) = found(comparison)
    for line in (one.reproduce, one.accept):
        assert command in shlex.split(line)
        assert not {"touch", "$(touch"} & set(shlex.split(line))


def test_models_of_which_the_same_is_said_are_one_finding_the_worst_first():
    comparison = comparing(
        change("a", {"logits": drifted(0.25, line=71)}),
        change("b", {"logits": drifted(0.5, line=90)}),  # an edit above moved the line
        change("c", cells=(broken(),)),
        change("d", cells=(broken(reason="another", cause="c2"),)),
    )
    assert [(one.kind, one.models) for one in found(comparison)] == [
        (Kind.BROKEN, ("c",)), (Kind.BROKEN, ("d",)), (Kind.DRIFTED, ("a", "b")),
    ]  # fmt: skip


def test_a_command_for_many_models_means_all_of_them_and_no_others():
    def accepted(*names, others=()):
        changes = [ModelChange(model=name, presence=Kind.REMOVED) for name in names]
        changes += [ModelChange(model=name) for name in others]
        (one,) = [one for one in found(msgspec.structs.replace(EVERYTHING, models=tuple(changes))) if one.accept]
        return one.accept.removeprefix("timm-conformance expectations update expectations.toml ").partition(" --")[0]

    many = [f"nf_net_{number:02}" for number in range(30)]
    assert accepted(*many) == "'nf_net_*'"
    assert accepted(*many, others=["nf_net_x"]) == " ".join(many)
    assert accepted(*many[:5]) == " ".join(many[:5])


def test_every_failing_finding_ends_with_the_command_that_shows_it_and_the_one_that_accepts_it():
    for one in found(EVERYTHING):
        assert bool(one.accept) is one.fails
        if one.fails:
            assert one.reproduce.startswith(("timm-conformance upgrade 1.0.28 1.0.31 ", "timm-conformance audit "))
            assert one.accept.startswith("timm-conformance expectations update ")
    commands = {one.kind: one.accept for one in found(EVERYTHING) if one.fails}
    assert "expectations.toml vit_c --claim scripts --verdict violated --timm 1.0.31" in commands[Kind.BROKEN]
    assert "vit_b --change drifted --timm 1.0.31" in commands[Kind.DRIFTED]


def test_the_terminal_is_told_outputs_findings_places_and_the_verdict():
    said = text(EVERYTHING, width=160)
    for words in (
        "timm 1.0.28 → 1.0.31, torch 2.14.1, Python 3.11.7: 8 models",
        "✗ drifted  vit_b",
        "pre_logits, logits: relative error 0.25, cosine similarity 0.5000 (in float64)",
        "before mul.Tensor at timm/layers/norm.py:71 (forward)",
        "after  add.Tensor at timm/layers/norm.py:71 (forward)",
        "- removed  vit_f",
        "? undecided  vit_d",
        "→ renamed",
        "url was a and is b",
        "4 of 8 models stand against it: 1 broken, 1 drifted, 1 undecided, 1 removed.",
        "What was found of 1 model is declared to be expected.",
    ):
        assert words in said, words


def test_a_command_is_never_broken_across_lines():
    long = comparing(*(change(f"a_model_with_a_very_long_name_{number}", cells=(broken(),)) for number in range(9)))
    (one,) = found(long)
    assert one.accept in text(long, width=60)


def test_nothing_found_is_said_in_a_sentence():
    assert verdict(HARMLESS) == (
        "Nothing stands against it: of 2 models, none is broken, drifted, undecided or removed."
    )
    assert "Nothing stands against it" in text(HARMLESS)


def test_what_fails_is_what_was_asked_for():
    lenient = msgspec.structs.replace(EVERYTHING, fail_on=(Kind.WEIGHTS,))
    assert [one.model for one in lenient.failing()] == ["vit_e"]
    assert verdict(lenient).startswith("1 of 8 models stands against it: 1 weights.")


def test_json_is_as_its_schema_has_it():
    schema = json.loads(changes_schema())
    shipped = Path(conformance.__file__).with_name("changes.schema.json").read_bytes()
    assert shipped == changes_schema()
    for comparison in (EVERYTHING, HARMLESS):
        document = json.loads(render_changes(comparison, "json"))
        jsonschema.validate(document, schema)
        assert msgspec.convert(document["comparison"], Comparison) == comparison
    assert json.loads(render_changes(EVERYTHING, "json"))["counts"]["drifted"] == 1


def test_junit_keeps_apart_what_failed_what_is_undecided_and_what_is_expected():
    suites = ElementTree.fromstring(render_changes(EVERYTHING, "junit"))
    cases = {case.get("name"): [node.tag for node in case] for case in suites.iter("testcase")}
    assert cases == {
        "vit_a": [], "vit_b": ["failure"], "vit_c": ["failure"], "vit_d": ["error"], "vit_e": [], "vit_f": ["failure"],
        "vit_g": [], "vit_h": ["skipped"],
    }  # fmt: skip
    assert {key: suites.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "8", "failures": "3", "errors": "1", "skipped": "1",
    }  # fmt: skip
    assert "timm-conformance audit vit_c --claim scripts" in suites.find(".//testcase[@name='vit_c']/failure").text


def test_github_gets_at_most_ten_annotations_and_is_told_of_the_rest():
    many = comparing(*(change(f"vit_{n}", cells=(broken(claim=f"claim_{'abcdefghijklmn'[n]}"),)) for n in range(14)))
    lines = render_changes(many, "github").decode().splitlines()
    assert len(lines) == MOST_ANNOTATIONS
    assert all(re.match(r"::(error|notice) title=[^:,]*::", line) for line in lines)
    assert lines[-2].startswith("::error title=6 more findings")
    assert len(render_changes(HARMLESS, "github").decode().splitlines()) == 1


def test_markdown_fits_a_comment_however_much_there_is_to_say():
    many = comparing(
        *(change(f"vit_{n}", cells=(broken(reason=f"{n} {'x' * 400}", cause=f"c{n}"),)) for n in range(400))
    )
    written = render_changes(many, "markdown")
    assert len(written) <= LARGEST
    more = int(re.search(rb"and (\d+) more, which", written)[1])
    assert written.count(b"**\xe2\x9c\x97 broken**") + more == 400
    assert written.startswith(b"## \xe2\x9c\x97 timm 1.0.28")


@pytest.mark.parametrize("form", FORMATS)
def test_what_a_model_says_is_shown_and_not_obeyed(form):
    hostile = comparing(
        change(HOSTILE, {"logits": drifted()}, cells=(broken(reason=HOSTILE),), surface={Kind.WEIGHTS: (HOSTILE,)}),
        notes=(HOSTILE,),
    )
    written = render_changes(hostile, form).decode()
    assert "\x1b" not in written
    assert "\u202e" not in written or form == "json"
    if form == "markdown":
        assert "<script" not in re.sub(r"```.*?```", "", written, flags=re.DOTALL)
        assert "@someone" not in re.sub(r"```.*?```", "", written, flags=re.DOTALL)
    if form == "github":
        assert all(line.startswith("::") for line in written.splitlines())
        assert all(line.count("::error") == 1 + line.count("::error::%250A") for line in written.splitlines()[:-1])
    if form == "junit":
        ElementTree.fromstring(written)


def test_a_format_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="is no format"):
        render_changes(HARMLESS, "pdf")
