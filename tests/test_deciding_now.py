"""`show` and `gate` decide now what no file says, of the timm that is installed."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.commands import ENVIRONMENT, command, complaint

CLAIMS = ("--claim", "builds", "--claim", "classifier_named")


def test_a_model_is_decided_and_shown(tmp_path):
    shown = command("show", "test_resnet", *CLAIMS, cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count("✓ holds") == 2
    assert list(tmp_path.iterdir()) == []


def test_the_program_of_a_violation_shows_it_alone(tmp_path):
    printed = command("show", "lcnet_035", "--claim", "unpooled_reset", "--repro", cwd=tmp_path)
    assert printed.returncode == 0, printed.stderr
    assert "conformance" not in printed.stdout.replace("timm-conformance", "")
    ran = subprocess.run(
        [sys.executable, "-"], input=printed.stdout, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True,
        check=False, timeout=300,
    )  # fmt: skip
    assert ran.returncode == 1, ran
    assert "the model gives" in ran.stdout


def test_there_is_no_program_for_what_holds_or_for_several_claims(tmp_path):
    assert "is not violated but holds" in complaint(
        command("show", "test_resnet", "--claim", "builds", "--repro", cwd=tmp_path)
    )
    assert "--repro shows one violation" in complaint(command("show", "test_resnet", *CLAIMS, "--repro", cwd=tmp_path))


def test_a_gate_without_a_candidate_audits_what_is_installed(tmp_path):
    words = ("audit", "test_resnet", *CLAIMS, "--expectations", "none", "--output", "before.jsonl")
    assert command(*words, cwd=tmp_path).returncode == 0
    opened = command("gate", "--baseline", "before.jsonl", cwd=tmp_path)
    assert opened.returncode == 0, opened
    lines = (tmp_path / "before.jsonl").read_text().splitlines()
    record = json.loads(lines[1])
    record["fingerprints"]["features"] = "0" * len(record["fingerprints"]["features"])
    (tmp_path / "other.jsonl").write_text("\n".join([lines[0], json.dumps(record), *lines[2:]]) + "\n")
    closed = command("gate", "--baseline", "other.jsonl", cwd=tmp_path)
    assert closed.returncode == 1, closed
    assert "test_resnet" in closed.stdout
    assert "nothing_*" in complaint(command("gate", "nothing_*", "--baseline", "before.jsonl", cwd=tmp_path))
