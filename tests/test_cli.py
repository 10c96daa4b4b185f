"""The command line, as its users meet it: real processes, exit codes, one sentence for what could not be done."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conformance import arguments
from conformance.arguments import CouldNotRun
from conformance.record import Cell, Verdict
from conformance.record_file import read_run
from tests.commands import ENVIRONMENT, command, complaint
from tests.report.synthetic import one_cell, run_of, write

BROKEN_MODEL = """
import timm.models, torch

class Proud(torch.nn.Module):
    def __init__(self):
        raise RuntimeError("too proud to be built")

def proud_net(pretrained=False, **kwargs):
    return Proud()

proud_net.__module__ = __name__
timm.models.register_model(proud_net)
"""

EXPECTED = """
[[expect]]
models = ["proud_net"]
claim = "builds"
verdict = "violated"
reason = "It is too proud."
"""


@pytest.mark.parametrize("words", [["--help"], ["report", "--help"], ["audit", "--help"], ["--version"]])
def test_help_answers_without_importing_anything_heavy(tmp_path, words):
    code = (
        "import sys\nfrom conformance.cli import main\ntry: main()\nexcept SystemExit as end: assert end.code == 0\n"
        "heavy = {'torch', 'timm', 'rich', 'jinja2', 'msgspec', 'pytest', 'pydantic'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    ended = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout


@pytest.mark.parametrize("words", [["show", "resnet18"], ["audit", "resnet18"]])
def test_a_claim_whose_extra_is_not_installed_is_refused_and_the_extra_named(tmp_path, words):
    code = "import sys; sys.modules['onnxruntime'] = None; from conformance.cli import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", code, *words, "--claim", "onnx_exports"],
        cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "onnx_exports needs onnxruntime; pip install 'timm-conformance[onnx]'" in complaint(ended)
    assert list(tmp_path.iterdir()) == []


def test_no_command_prints_help_and_is_an_error(tmp_path):
    ended = command(cwd=tmp_path)
    assert ended.returncode == 2
    assert "audit" in ended.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["reprot"], "No such command 'reprot'"),
        (["report"], "Missing argument 'FILE'; see `timm-conformance report --help`"),
        (["audit", "--tires", "core"], "No such option: --tires"),
        (["audit", "--timeout", "soon"], "'--timeout'"),
        (["audit", "--timeout", "inf"], "'--timeout': inf is no limit; give a number"),
        (["audit", "--memory", "inf"], "'--memory': inf is no limit; give a number"),
        (["audit", "--tier", "cor"], "'cor' is no tier; did you mean 'core'?"),
        (["audit", "-n", "0"], "-n '0' is no number of workers"),
        (["audit", "--output", "nowhere/run.jsonl"], "the directory 'nowhere' of 'run.jsonl' does not exist"),
        (["audit", "--output", "."], "'.' is a directory"),
        (["audit", "--expectations", "mine.toml"], "mine.toml: cannot be read"),
        (
            ["audit", "--import", "jsson"],
            "cannot import 'jsson' (ModuleNotFoundError: No module named 'jsson'); did you",
        ),
        (["show", "shvit_s1", "--from", "nowhere.jsonl"], "nowhere.jsonl: cannot be read"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_sentence(tmp_path, words, sentence):
    assert sentence in complaint(command(*words, cwd=tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["audit", "--claim", "buids"], "'buids' is no claim; did you mean 'builds'?"),
        (["audit", "shvit_s1", "xyz_s11*"], "'xyz_s11*' matches no model of this timm"),
        (["audit", "resnet18.a1_in1k"], "'resnet18.a1_in1k' is no model of this timm; did you mean 'resnet18'?"),
        (["show", "shvit_s11"], "'shvit_s11' is no model of this timm; did you mean 'shvit_s1'?"),
        (["show", "shvit_s1", "--claim", "buids"], "did you mean 'builds'?"),
    ],
)
def test_names_that_do_not_exist_are_refused_with_the_nearest_one(tmp_path, words, sentence):
    assert sentence in complaint(command(*words, cwd=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_module_that_fails_while_it_is_imported_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "mine.py").write_text("raise ZeroDivisionError('one\\ntwo')")
    assert "cannot import 'mine' (ZeroDivisionError: one two)" in complaint(
        command("audit", "--import", "mine", cwd=tmp_path)
    )
    (tmp_path / "mine.py").write_text("raise SystemExit(0)")
    assert "cannot import 'mine' (SystemExit: 0)" in complaint(command("audit", "--import", "mine", cwd=tmp_path))


def test_expectations_of_claims_that_do_not_exist_are_refused_before_the_work(tmp_path):
    (tmp_path / "mine.toml").write_text(EXPECTED.replace('"builds"', '"buids"'))
    ended = command("audit", "shvit_s1", "--expectations", "mine.toml", cwd=tmp_path)
    assert "mine.toml, entry 1 (proud_net) speaks of the unknown claim 'buids'; did you mean 'builds'?" in complaint(
        ended
    )
    (tmp_path / "mine.toml").write_text(EXPECTED.replace("proud_net", "*") + EXPECTED.replace("violated", "undecided")
                                        .replace("proud_net", "shvit_*"))  # fmt: skip
    ended = command("audit", "shvit_s1", "--expectations", "mine.toml", cwd=tmp_path)
    assert "expects builds of shvit_s1 to be violated" in complaint(ended)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]


@pytest.mark.parametrize("word", ["0/3", "4/3", "1", "1/0", "a/b", "-1/3", "1/2/3", "1.0/3"])
def test_a_shard_that_there_cannot_be_is_refused(recorded, word):
    assert "is no part of a whole" in complaint(command("audit", "--shard", word, cwd=recorded))


def test_show_reads_one_model_from_a_file(recorded):
    record = run_of(20).records[3]
    ended = command("show", record.model, "--from", "run.jsonl", cwd=recorded)
    assert ended.returncode == 0
    assert all(claim in ended.stdout for claim in record.cells)
    ended = command("show", record.model, "--claim", "scripts", "--from", "run.jsonl", cwd=recorded)
    assert "scripts" in ended.stdout
    assert "builds (must)" not in ended.stdout
    said = complaint(command("show", record.model[:-1], "--from", "run.jsonl", cwd=recorded))
    assert f"did you mean {record.model!r}?" in said
    said = complaint(command("show", record.model, "--claim", "script", "--from", "run.jsonl", cwd=recorded))
    assert "did you mean 'scripts'?" in said


def test_show_exits_0_whatever_the_verdict(tmp_path):
    write(one_cell(Cell(verdict=Verdict.UNDECIDED, reason="who knows")), tmp_path / "run.jsonl")
    ended = command("show", "shvit_s1", "--from", "run.jsonl", cwd=tmp_path)
    assert ended.returncode == 0
    assert "? undecided" in ended.stdout


@pytest.mark.parametrize(
    "words", [["report", "run.jsonl", "--output", "x.html"], ["show", "MODEL", "--from", "run.jsonl"]]
)
def test_reading_records_imports_neither_torch_nor_timm(recorded, words):
    words = [run_of(20).records[0].model if word == "MODEL" else word for word in words]
    code = (
        "import sys\nfrom conformance.cli import main\ntry: main()\nexcept SystemExit as end: assert not end.code\n"
        "sys.exit('torch' in sys.modules or 'timm' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code, *words], cwd=recorded, capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_a_terminal_without_the_signs_gets_their_names(recorded):
    options = {**ENVIRONMENT, "PYTHONIOENCODING": "ascii"}
    model = run_of(20).records[0].model
    ended = subprocess.run(
        [sys.executable, "-m", "conformance", "show", model, "--from", "run.jsonl"],
        cwd=recorded, env=options, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "holds (proved)" in ended.stdout


def test_the_contract_is_listed(tmp_path):
    ended = command("claims", cwd=tmp_path)
    assert ended.returncode == 0
    assert "classifier_consistent" in ended.stdout
    assert "Source: " in ended.stdout


def test_an_audit_that_finds_nothing_writes_records_says_so_and_exits_0(tmp_path):
    ended = command("audit", "shvit_s1", "--claim", "builds", "-n", "1", "--output", "run.jsonl", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "Nothing unexpected" in ended.stdout
    assert "timm-conformance report run.jsonl" in ended.stdout
    assert [record.model for record in read_run(tmp_path / "run.jsonl").records] == ["shvit_s1"]


def test_an_audit_of_a_private_model_exits_1_for_what_is_found_and_0_if_it_was_expected(tmp_path):
    (tmp_path / "mine.py").write_text(BROKEN_MODEL)
    (tmp_path / "mine.toml").write_text(EXPECTED)
    words = ["audit", "proud_net", "--import", "mine", "--claim", "builds", "-n", "1", "--output", "run.jsonl"]
    ended = command(*words, cwd=tmp_path)
    assert ended.returncode == 1, ended.stderr
    assert "Not expected: 1" in ended.stdout
    assert "too proud to be built" in ended.stdout
    ended = command(*words, "--expectations", "mine.toml", cwd=tmp_path)
    assert ended.returncode == 0, ended.stdout
    assert "1 cell as declared" in ended.stdout


def test_an_interrupted_audit_exits_130_and_keeps_what_was_decided(tmp_path):
    words = [
        sys.executable,
        "-m",
        "conformance",
        "audit",
        "vit_*",
        "--claim",
        "builds",
        "-n",
        "1",
        "--output",
        "run.jsonl",
    ]
    audit = subprocess.Popen(words, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    partial = tmp_path / "run.jsonl.partial"
    give_up = time.monotonic() + 120
    while not (partial.exists() and partial.read_bytes().count(b"\n") > 2) and time.monotonic() < give_up:
        assert audit.poll() is None, audit.communicate()
        time.sleep(0.1)
    audit.send_signal(signal.SIGINT)
    _, said = audit.communicate(timeout=120)
    assert audit.returncode == 130, said
    assert b"Traceback" not in said
    assert partial.read_bytes().count(b'"kind":"record"') >= 1
    assert not (tmp_path / "run.jsonl").exists()


def test_globs_choose_names_once_and_in_the_order_of_the_list():
    names = ["a_1", "a_2", "b_1"]
    assert arguments.matching(["b*", "*_1", "a_1"], names) == ["a_1", "b_1"]
    with pytest.raises(CouldNotRun, match=r"'A_1' is no model of this timm; did you mean 'a_1'\?"):
        arguments.matching(["A_1"], names)


@pytest.mark.parametrize("word", ["0", "-1", "1.5", "many", "", "٣"])
def test_only_whole_numbers_and_auto_count_workers(word):
    assert arguments.workers_called("auto") == "auto"
    assert arguments.workers_called("12") == 12
    with pytest.raises(CouldNotRun, match="give 1 or more, or auto"):
        arguments.workers_called(word)


def test_a_file_that_cannot_be_written_whole_is_left_as_it_was(tmp_path, monkeypatch):
    target = tmp_path / "page.html"
    target.write_text("old")

    def full(self, content):
        with self.open("wb") as file:
            file.write(content[:2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(CouldNotRun, match="No space left on device"):
        arguments.write_whole(target, b"new content")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]
