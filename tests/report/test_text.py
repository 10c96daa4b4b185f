"""Terminal, Markdown and JSON: everything that is in a run is said, and no text of it is obeyed."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import msgspec
import pytest
from rich.console import Console

from conformance.gate import Expectations, judge
from conformance.record import Cell, Evidence, Record, Remedy, Verdict
from conformance.report.formats import SUFFIXES, render
from conformance.report.machine import as_json
from conformance.report.markdown import markdown
from conformance.report.page import page
from conformance.report.text import print_claim, print_claims, print_record, print_summary, title
from conformance.run.shards import shard_of
from tests.report.synthetic import entries, finished, one_cell, run_of

HOSTILE = "[bold]x[/bold] \x1b[31m\x07\u202e [/nothing] <script>alert(1)</script> | `a` @everyone ![i](http://x.invalid)\nline"


def printed(print_it, width=100, color=False):
    console = Console(file=io.StringIO(), width=width, force_terminal=color, markup=False, highlight=False, emoji=False)
    print_it(console)
    return console.file.getvalue()


def hostile_run():
    remedy = Remedy(text=HOSTILE, code=HOSTILE, evidence=Evidence.PROVED)
    cell = Cell(
        verdict=Verdict.VIOLATED, evidence=Evidence.OBSERVED, reason=HOSTILE, cause=HOSTILE, remedy=remedy,
        witness={HOSTILE: HOSTILE},
    )  # fmt: skip
    claim = msgspec.structs.replace(entries(["scripts"])[0], id="scripts[red]", text=HOSTILE, group=HOSTILE)
    record = Record(
        model=f"m{HOSTILE}", module=HOSTILE, class_name=HOSTILE, fingerprints={HOSTILE: HOSTILE}, cells={claim.id: cell}
    )
    run = finished([record], (claim,))
    header = msgspec.structs.replace(run.header, timm=HOSTILE, torch=HOSTILE, started=HOSTILE)
    return msgspec.structs.replace(run, header=header)


def test_the_summary_says_counts_causes_the_file_and_what_to_do_next():
    run = run_of(30)
    text = printed(lambda console: print_summary(run, "some dir/run.jsonl", console))
    assert "timm 1.0.31, torch 2.14.1, Python 3.11.7, core tier: 30 models \N{MULTIPLICATION SIGN} 25 claims" in text
    for verdict in Verdict:
        assert str(run.footer.verdicts[verdict]) in text
    assert "proved" in text
    assert "the value numbers differ and nothing was measured" in text
    assert "Records:  some dir/run.jsonl\n" in text
    assert "timm-conformance report 'some dir/run.jsonl'\n" in text
    assert "timm-conformance show " in text


def test_a_shard_is_called_one():
    run = run_of(3)
    header = msgspec.structs.replace(run.header, shard=shard_of([record.model for record in run.records] * 3, 2, 3))
    shard = msgspec.structs.replace(run, header=header)
    assert "core tier, shard 2/3: 3 models" in printed(lambda console: print_summary(shard, "run.jsonl", console))
    assert "2 of 3, of 9 models" in page(shard)
    assert "shard" not in title(run)


def test_commands_to_copy_are_never_broken_across_lines():
    path = "/a/directory/whose/name/is/long/" * 4 + "run.jsonl"
    text = printed(lambda console: print_summary(one_cell(holds()), path, console), width=40)
    assert f"timm-conformance report {path}\n" in text


def holds():
    return Cell(verdict=Verdict.HOLDS, evidence=Evidence.PROVED)


def test_the_summary_names_what_was_not_expected():
    run = one_cell(Cell(verdict=Verdict.UNDECIDED, reason="nobody knows"))
    judgement = judge(run, Expectations())
    text = printed(lambda console: print_summary(run, "run.jsonl", console, judgement))
    assert "Not expected: 1" in text
    assert "scripts of shvit_s1 is undecided: nobody knows" in text
    run = one_cell(holds())
    text = printed(lambda console: print_summary(run, "run.jsonl", console, judge(run, Expectations())))
    assert "Nothing unexpected" in text


def test_a_record_is_shown_with_facts_fingerprints_and_whole_reasons_at_any_width():
    run = run_of(1)
    reason = "a reason of many words " * 8
    cells = {**run.records[0].cells, "scripts": Cell(verdict=Verdict.UNDECIDED, reason=reason)}
    fingerprints = {**run.records[0].fingerprints, "logits": None}
    record = msgspec.structs.replace(run.records[0], cells=cells, fingerprints=fingerprints)
    for width in (60, 200):
        text = printed(lambda console: print_record(record, run.header.claims, console), width)
        assert " ".join(reason.split()) in " ".join(text.split())
        assert "3\N{MULTIPLICATION SIGN}224" in text
        assert "features fingerprint    00000000features" in text
        assert "logits fingerprint      none" in text
        assert "2\N{MULTIPLICATION SIGN}197\N{MULTIPLICATION SIGN}768" in text
        assert "timm/models/vit.py:1" in text
        assert max(map(len, text.splitlines())) <= width
        assert all(claim.id in text for claim in run.header.claims)


def test_verdicts_are_told_apart_without_colour():
    cells = {
        "builds": holds(),
        "scripts": Cell(verdict=Verdict.VIOLATED, evidence=Evidence.MEASURED, reason="r"),
        "script_matches": Cell(verdict=Verdict.UNDECIDED, reason="r"),
        "keeps_dtype": Cell(verdict=Verdict.NOT_APPLICABLE, reason="r"),
    }
    text = printed(lambda console: print_record(Record(model="m", cells=cells), entries(cells), console))
    for words in ("✓ holds (proved)", "✗ violated (measured)", "? undecided", "\N{EN DASH} not applicable"):
        assert words in text


def test_one_claim_is_shown_in_full():
    cell = Cell(
        verdict=Verdict.VIOLATED, evidence=Evidence.MEASURED, reason="r" * 900, cause="c1", witness={"error": 0.5}
    )
    run = one_cell(cell)
    text = printed(lambda console: print_claim(run.records[0], run.header.claims[0], console))
    assert text.count("r" * 50)
    assert text.replace("\n", "").count("r" * 900) == 1
    for words in (run.header.claims[0].text, "✗ violated (measured)", "error: 0.5", "cause c1"):
        assert words in text


def test_a_remedy_is_named_with_the_model_and_printed_with_the_claim_to_be_copied():
    code = "with hook:\n    logits = model(x)  # " + "long " * 30 + "\n"
    remedy = Remedy(text="Do it by hand.", code=code, evidence=Evidence.PROVED)
    run = one_cell(Cell(verdict=Verdict.VIOLATED, evidence=Evidence.OBSERVED, reason="r", remedy=remedy))
    record, claim = run.records[0], run.header.claims[0]
    assert "Instead (proved): Do it by hand." in printed(lambda console: print_record(record, [claim], console))
    text = printed(lambda console: print_claim(record, claim, console), width=60)
    assert "Instead (proved): Do it by hand." in text
    lines = [line[4:].rstrip() for line in text.splitlines()]
    assert all(line.rstrip() in lines for line in code.splitlines())


def test_the_contract_is_listed_with_its_sources():
    text = printed(lambda console: print_claims([(entry, "light") for entry in entries()], console))
    assert all(entry.id in text for entry in entries())
    assert "Why: Whoever serves a model calls" in text
    assert "Source: timm documentation: feature extraction" in text


@pytest.mark.parametrize("color", [False, True])
def test_nothing_in_a_record_is_obeyed_by_rich_or_by_the_terminal(color):
    run = hostile_run()
    text = printed(lambda console: print_summary(run, "run.jsonl", console, judge(run, Expectations())), color=color)
    text += printed(lambda console: print_record(run.records[0], run.header.claims, console), color=color)
    text += printed(lambda console: print_claim(run.records[0], run.header.claims[0], console), color=color)
    assert "[bold]x[/bold]" in text
    assert r"\x1b[31m\x07\u202e" in text
    assert "\x1b[31m\x07" not in text
    assert "\u202e" not in text
    assert "\x07" not in text


def test_markdown_says_counts_causes_and_claims():
    run = run_of(30)
    text = markdown(run)
    assert f"| all | {' | '.join(str(run.footer.verdicts[verdict]) for verdict in Verdict)} |" in text
    assert all(f"| {entry.id} |" in text for entry in run.header.claims)
    assert "for every weight, at the input size and batch size in the record" in text


def test_nothing_in_a_record_is_obeyed_by_markdown():
    text = markdown(hostile_run())
    for mark in ("<script", "@everyone", "![i]", "`a`", "http://", "\x1b", "[bold]"):
        assert mark not in text
    # A cell that ends its row would show another column's text as a verdict.
    rows = [line for line in text.splitlines() if line.startswith("| 1 |")]
    assert [row.replace("\\|", "").count("|") for row in rows] == [6]


def test_json_has_the_summary_and_every_cell_and_is_one_line():
    run = run_of(30)
    content = as_json(run)
    assert content.count(b"\n") == 1
    document = json.loads(content)
    assert document["summary"]["verdicts"] == {str(name): number for name, number in run.footer.verdicts.items()}
    assert document["summary"]["causes"][0]["models"]
    assert len(document["models"]) == 30
    for record, shown in zip(run.records, document["models"], strict=True):
        assert {name: cell["verdict"] for name, cell in shown["cells"].items()} == {
            name: str(cell.verdict) for name, cell in record.cells.items()
        }


@pytest.mark.parametrize("form", SUFFIXES)
def test_a_run_of_nothing_renders_in_every_format(form):
    assert render(finished([], ()), form)
    assert render(finished([], entries()), form)


def test_an_unknown_format_is_refused():
    with pytest.raises(ValueError, match="'yaml' is no format"):
        render(finished([], ()), "yaml")


@pytest.mark.parametrize("form", SUFFIXES)
def test_rendering_needs_neither_torch_nor_timm(form):
    code = (
        "import sys; from conformance.record import *; from conformance.report.formats import render;"
        "header = Header(suite='1', timm='1', torch='2', python='3', tier=Tier.CORE, started='', subjects=0,"
        f"claims=()); render(Run(header=header, records=(), footer=Footer(subjects=0, verdicts={{}})), {form!r});"
        "sys.exit('torch' in sys.modules or 'timm' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
