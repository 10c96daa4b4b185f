"""Reports of hostile runs, in every format: they parse, keep their shape, and obey nobody."""

from __future__ import annotations

import ast
import io

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given
from rich.console import Console

from conformance.claims import CLAIMS
from conformance.claims.witness import program
from conformance.gate import Expectations, judge
from conformance.gate.changes import Comparison
from conformance.gate.compare import compare
from conformance.merging import NotOneAudit, merge
from conformance.record_file import packed, read_run
from conformance.report.changes import FORMATS, render_changes
from conformance.report.changes_machine import MOST_ANNOTATIONS, NoChanges, read_changes
from conformance.report.changes_text import print_changes
from conformance.report.findings import markdown as findings_as_markdown
from conformance.report.formats import SUFFIXES, render
from conformance.report.index import index
from conformance.report.page import page
from conformance.report.text import print_claim, print_claims, print_record, print_summary
from tests.hostile import oracles
from tests.hostile.attacks import (
    assert_a_terminal_is_safe,
    assert_one_sentence,
    fuzzed,
    runs,
    successors,
    texts,
    tried,
    witnesses,
)
from tests.report.synthetic import write


def terminal():
    return Console(
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        width=80,
        highlight=False,
        markup=False,
        emoji=False,
    )


def shown(console):
    text = console.file.getvalue()
    assert_a_terminal_is_safe(text)
    return text


@fuzzed
@given(run=runs())
def any_report(path, run):
    run = read_run(write(run, path))
    cells = sum(len(record.cells) for record in run.records)
    for form in SUFFIXES:
        content = render(run, form)
        tried[f"reports as {form}"] += 1
        if form == "html":
            embedded = oracles.assert_a_page_is_safe(content.decode())
            assert len(embedded["facts"]) == len(run.records)
        elif form == "markdown":
            oracles.assert_markdown_is_safe(content.decode())
        elif form == "junit":
            oracles.assert_junit_is_safe(content, cells)
        elif form == "json":
            document = oracles.strictly(content)
            assert [model["model"] for model in document["models"]] == [record.model for record in run.records]
        else:
            assert oracles.strictly(content)["schemaVersion"] == 1
            assert_a_terminal_is_safe(oracles.strictly(content)["label"])


@fuzzed
@given(run=runs(), file=texts)
def any_showing(path, run, file):
    run = read_run(write(run, path))
    tried["records shown in a terminal"] += len(run.records)
    for record in run.records:
        console = terminal()
        print_record(record, run.header.claims, console)
        for claim in run.header.claims:
            print_claim(record, claim, console)
        shown(console)
    console = terminal()
    judgement = judge(run, Expectations())
    print_summary(run, file, console, judgement)
    print_claims([(entry, file) for entry in run.header.claims], console)
    shown(console)
    oracles.assert_markdown_is_safe(findings_as_markdown(run, Expectations()))
    oracles.assert_an_index_is_safe(index({file: run, "b.html": run}), 1 if file == "b.html" else 2)


@st.composite
def comparisons(draw):
    run = draw(runs())
    after = draw(successors(run))
    made = compare(run, after, Expectations())
    return (
        run,
        after,
        msgspec.structs.replace(
            made,
            notes=(*made.notes, draw(texts)),
            imports=tuple(draw(st.lists(texts, max_size=1))),
            expectations=draw(st.none() | texts),
        ),
    )


@fuzzed
@given(given_=comparisons())
def any_changes(path, given_):
    run, after, made = given_
    for form in FORMATS:
        tried[f"changes as {form}"] += 1
        content = render_changes(made, form)
        if form == "junit":
            oracles.assert_junit_is_safe(content, len(made.models))
        elif form == "github":
            oracles.assert_annotations_are_not_forged(content.decode(), MOST_ANNOTATIONS)
        elif form == "markdown":
            oracles.assert_markdown_is_safe(content.decode())
        elif form == "json":
            assert oracles.strictly(content)["comparison"]
            path.write_bytes(content)
            assert read_changes(path) == made
        else:
            assert_a_terminal_is_safe(content.decode())
    console = terminal()
    print_changes(made, console)
    shown(console)
    tried["pages of changes"] += 1
    oracles.assert_a_page_is_safe(page(after, [run]))


SHARDS = runs(is_shard=True)


@fuzzed
@given(run=SHARDS, other=SHARDS)
def any_shards(run, other):
    tried["shards, merged"] += 2
    whole = merge({"a": run})
    assert whole.header.shard is None
    assert whole.records == run.records
    assert packed(whole, compressed=True)
    with pytest.raises(NotOneAudit):
        merge({"a": run, "b": other})


@fuzzed
@given(model=texts, timm=texts, witness=witnesses, claim=st.sampled_from(sorted(CLAIMS)))
def any_program(model, timm, witness, claim):
    tried["programs that show violations"] += 1
    hostile = program(CLAIMS[claim], model, timm, (), {**witness, "sample": witness})
    assert_a_terminal_is_safe(hostile)
    honest = program(CLAIMS[claim], "resnet18", "1.0.31", (), {"sample": {}})
    assert shape(hostile) == shape(honest)


def shape(code):
    """The statements of a program; what NAME and SAMPLE are is data."""
    tree = ast.parse(code)
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in ("NAME", "SAMPLE"):
            ast.literal_eval(node.value)
            node.value = ast.Constant(None)
    return ast.dump(tree)


def test_reports_of_hostile_runs_keep_their_shape(tmp_path):
    any_report(tmp_path / "run.jsonl")
    assert tried["reports as html"] > 0


def test_a_terminal_obeys_no_record(tmp_path):
    any_showing(tmp_path / "run.jsonl")


def test_what_changed_between_hostile_runs_keeps_its_shape(tmp_path):
    any_changes(tmp_path / "changes.json")


def test_hostile_shards_are_merged_or_refused():
    any_shards()


def test_a_program_holds_names_of_a_record_as_data_alone():
    any_program()


@st.composite
def tampered(draw):
    """A comparison's JSON with parts of other kinds."""
    from tests.hostile.test_record_files import replaced

    _, _, made = draw(comparisons())
    document = oracles.strictly(render_changes(made, "json"))
    return replaced(draw, document)


@fuzzed
@given(document=tampered())
def any_document(path, document):
    path.write_bytes(msgspec.json.encode(document))
    tried["files of changes, tampered with"] += 1
    try:
        made = read_changes(path)
    except NoChanges as error:
        assert_one_sentence(str(error))
        return
    assert isinstance(made, Comparison)
    for form in FORMATS:
        assert render_changes(made, form)


def test_a_file_of_changes_that_was_tampered_with_is_rendered_or_refused(tmp_path):
    any_document(tmp_path / "changes.json")
