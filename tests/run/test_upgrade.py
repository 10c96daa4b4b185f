"""An upgrade from the installed timm to a release of our making, in which each model's file was changed in one way."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import conformance
from conformance.run import wheels
from tests.run.releases import changed_timm, write_wheel

VERSION = "9.9.1"
CHANGES = {
    # Another function: the residual branch counts half as much again.
    "models/convnext.py": {
        "x = self.drop_path(x) + self.shortcut(shortcut)": "x = self.drop_path(x) * 1.5 + self.shortcut(shortcut)"
    },
    # The same function by other operations.
    "models/efficientnet.py": {
        "x = self.bn2(x)\n        return x": "x = self.bn2(x)\n        return x + torch.zeros_like(x)",
    },
    # A promise that is kept no more.
    "models/vision_transformer.py": {
        "        self.num_classes = num_classes\n        if global_pool is not None:": (
            "        raise RuntimeError('the head is glued on')\n        if global_pool is not None:"
        )
    },
    # Gone, and under another name.
    "models/mambaout.py": {"@register_model\ndef test_mambaout(": "def test_mambaout("},
    "models/nfnet.py": {"test_nfnet": "test_nfnet_v2"},
    "models/__init__.py": {
        "from .nfnet import *": (
            "from .nfnet import *\nfrom ._registry import register_model_deprecations\n"
            "register_model_deprecations('timm.models.nfnet', {'test_nfnet': 'test_nfnet_v2.r160_in1k'})"
        )
    },
    # Other images, other weights.
    "models/resnet.py": {
        "'test_resnet.r160_in1k': _cfg(\n        hf_hub_id='timm/',\n        mean=(0.5, 0.5, 0.5)": (
            "'test_resnet.r160_in1k': _cfg(\n        hf_hub_id='mine/',\n        mean=(0.4, 0.5, 0.5)"
        ),
        # A name that stood for a model stands for another one, or for nothing.
        "'ssl_resnet18': 'resnet18.fb_ssl_yfcc100m_ft_in1k'": "'ssl_resnet18': 'test_resnet.r160_in1k'",
        "'swsl_resnet18': 'resnet18.fb_swsl_ig1b_ft_in1k'": "'swsl_resnet18': None",
    },
    # Weights under another name.
    "models/byobnet.py": {"'test_byobnet.r160_in1k'": "'test_byobnet.r161_in1k'"},
    # The parts as before, and the whole otherwise.
    "models/regnet.py": {
        "x = self.forward_head(x)\n        return x": "x = self.forward_head(x)\n        return x * 2",
    },
}  # fmt: skip
MODELS = (
    "test_convnext",
    "test_efficientnet",
    "test_mambaout",
    "test_nfnet",
    "test_resnet",
    "test_vit",
    "test_byobnet",
    "test_byobnet.r160_in1k",
    "ssl_resnet18",
    "swsl_resnet18",
    "regnetx_002",
)


@pytest.fixture(scope="module")
def variables(tmp_path_factory):
    """The environment of a user who has that release on his index."""
    root = tmp_path_factory.mktemp("releases")
    write_wheel(root / "index", VERSION, changed_timm(CHANGES, VERSION))
    foreign = ("PYTEST_", "PIP_", "PYTHONPATH", "CI")
    own = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return own | {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(root / "index"),
        "HF_HUB_OFFLINE": "1",
        wheels.CACHE: str(root / "cache"),
    }


def command(*words, cwd, variables):
    return subprocess.run(
        [sys.executable, "-m", "conformance", *map(str, words)],
        cwd=cwd, env=variables, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip


@pytest.fixture(scope="module")
def upgraded(variables, tmp_path_factory):
    """What `upgrade` says of the models, as JSON."""
    there = tmp_path_factory.mktemp("project")
    told = command(
        "upgrade", "installed", VERSION, *MODELS, "--format", "json", "-n", "2", cwd=there, variables=variables
    )
    assert told.returncode == 1, told.stderr
    assert list(there.iterdir()) == []
    document = json.loads(told.stdout)
    # By the name before, where a model took another one's place.
    return document, {change["was"] or change["model"]: change for change in document["comparison"]["models"]}


def test_each_model_is_told_for_what_was_done_to_it(upgraded):
    document, _ = upgraded
    found = {}
    for finding in document["findings"]:
        for model in finding["models"]:
            found.setdefault(model, set()).add(finding["kind"])
    # What `ssl_resnet18` stood for, and stands for now.
    assert found["test_resnet"] >= {"renamed", "undecided", "state_dict"}
    assert found.pop("test_resnet") >= {"weights", "preprocessing"}
    assert found == {
        "regnetx_002": {"broken", "drifted"},
        "swsl_resnet18": {"removed"},
        "test_byobnet": {"weights"},
        "test_byobnet.r160_in1k": {"removed"},
        "test_convnext": {"drifted"},
        "test_mambaout": {"removed"},
        "test_nfnet_v2": {"renamed", "weights"},
        "test_vit": {"broken"},
    }
    assert document["fails"] is True


def test_what_was_decided_is_not_decided_again(upgraded, variables, tmp_path):
    _, changes = upgraded
    words = ["upgrade", "installed", VERSION, "test_vit", "--format", "json"]
    told = command(*words, cwd=tmp_path, variables=variables)
    assert told.stderr.count("1 of 1 models were decided before") == 2
    assert "cells" not in told.stderr
    assert json.loads(told.stdout)["comparison"]["models"] == [changes["test_vit"]]
    told = command(*words, "--afresh", cwd=tmp_path, variables=variables)
    assert "before" not in told.stderr
    assert json.loads(told.stdout)["comparison"]["models"] == [changes["test_vit"]]


def test_what_is_untouched_is_proved_to_be_the_same(upgraded):
    _, changes = upgraded
    for model in ("test_byobnet", "test_resnet", "test_vit", "test_nfnet"):
        outputs = changes[model]["outputs"]
        assert {(one["status"], one["evidence"]) for one in outputs.values()} == {("same", "proved")}, model


def test_other_operations_that_give_the_same_are_measured(upgraded):
    _, changes = upgraded
    outputs = changes["test_efficientnet"]["outputs"]
    assert {(one["status"], one["evidence"]) for one in outputs.values()} == {("same", "measured")}
    assert outputs["pre_logits"]["reason"] == "in float64"


def test_a_drift_has_its_size_and_the_line_of_timm_where_it_begins(upgraded):
    _, changes = upgraded
    drifted = changes["test_convnext"]["outputs"]["pre_logits"]
    assert drifted["status"] == "drifted"
    assert drifted["relative_error"] > 1e-3
    assert -1 <= drifted["cosine_similarity"] < 1
    assert drifted["parting"]["after"]["operation"] == "aten.mul.Tensor"
    for side in ("before", "after"):
        assert drifted["parting"][side]["place"].startswith("timm/models/convnext.py:218 (forward)")


def test_the_logits_are_those_of_the_whole_model(upgraded):
    _, changes = upgraded
    outputs = changes["regnetx_002"]["outputs"]
    assert {name: one["status"] for name, one in outputs.items()} == {
        "features": "same", "pre_logits": "same", "logits": "drifted",
    }  # fmt: skip
    assert outputs["logits"]["parting"]["after"]["operation"] == "aten.mul.Tensor"
    assert outputs["logits"]["parting"]["after"]["place"].startswith("timm/models/regnet.py:")


def test_a_broken_promise_says_what_and_where(upgraded):
    _, changes = upgraded
    cells = {cell["claim"]: cell for cell in changes["test_vit"]["cells"]}
    assert cells["reset_to_pooled"]["before"]["verdict"] == "holds"
    assert "the head is glued on" in cells["reset_to_pooled"]["after"]["reason"]
    assert "timm/models/vision_transformer.py" in cells["reset_to_pooled"]["after"]["reason"]


def test_what_moves_an_embedding_besides_is_told_value_by_value(upgraded):
    _, changes = upgraded
    told = changes["test_resnet"]["surface"]
    assert told["weights"] == ["hf_hub_id of 'r160_in1k' was timm/test_resnet.r160_in1k and is mine/"]
    assert told["preprocessing"] == ["mean of 'r160_in1k' was (0.5, 0.5, 0.5) and is (0.4, 0.5, 0.5)"]


def test_a_gate_does_not_open_for_names_that_stand_for_nothing(variables, tmp_path):
    told = command("upgrade", VERSION, VERSION, "swsl_resnet18", cwd=tmp_path, variables=variables)
    assert told.returncode == 2
    assert told.stdout == ""
    assert "neither release has a model for swsl_resnet18" in told.stderr


def test_what_somebody_accepted_with_the_printed_command_fails_no_more(upgraded, variables, tmp_path):
    document, _ = upgraded
    for finding in document["findings"]:
        if "test_mambaout" in finding["models"]:
            words = shlex.split(finding["accept"].replace("…", "Nobody uses it."))
    assert words[0] == "timm-conformance"
    assert command(*words[1:], cwd=tmp_path, variables=variables).returncode == 0
    (tmp_path / "pyproject.toml").write_text(
        '[tool.timm-conformance]\nmodels = ["test_mambaout"]\nexpectations = "expectations.toml"\n'
    )
    told = command("upgrade", "installed", VERSION, cwd=tmp_path, variables=variables)
    assert told.returncode == 0, told.stderr
    assert "What was found of 1 model is declared to be expected." in told.stdout


def test_the_steps_of_the_action_tell_a_job_everything(variables, tmp_path):
    def steps(**inputs):
        tools = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        given = {"FROM": "installed", "TO": VERSION, "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"), "CI": "true"}
        script = Path(conformance.__file__).parent.parent / ".ci" / "upgrade"
        every = variables | given | {"PATH": tools} | inputs
        return subprocess.run([str(script)], cwd=tmp_path, env=every, capture_output=True, text=True)

    ran = steps(MODELS="test_mambaout")
    assert ran.returncode == 1, ran.stderr
    assert "::error title=removed%3A test_mambaout::" in ran.stdout
    assert "1 of 1 model stands against it: 1 removed." in ran.stdout
    assert "**- removed** test_mambaout" in (tmp_path / "summary.md").read_text()
    (tmp_path / "train.py").write_text("import timm\ntimm.create_model('test_mambaout')\n")
    assert steps(MODELS_FROM="train.py", FAIL_ON="drifted").returncode == 0
    ran = steps(TO="9.9.2", MODELS="test_mambaout")
    assert ran.returncode == 2
    assert "near are 9.9.1" in ran.stderr


def test_an_audit_of_another_release_judges_that_release(variables, tmp_path):
    told = command(
        "audit", "test_vit", "test_mambaout", "--claim", "reset_to_pooled", "--timm", VERSION, "--timm", "installed",
        "--output", "runs", cwd=tmp_path, variables=variables,
    )  # fmt: skip
    assert told.returncode == 1, told.stderr
    runs = {path.name: path.read_text().splitlines() for path in (tmp_path / "runs").iterdir()}
    assert set(runs) == {f"timm-{VERSION}.jsonl", f"timm-{wheels.release('installed').version}.jsonl"}
    verdicts = {
        name: {line["model"]: line["cells"]["reset_to_pooled"]["verdict"] for line in map(json.loads, lines[1:-1])}
        for name, lines in runs.items()
    }
    assert verdicts[f"timm-{VERSION}.jsonl"] == {"test_vit": "violated"}
    assert json.loads(runs[f"timm-{VERSION}.jsonl"][0])["timm"] == VERSION
    assert set(verdicts[f"timm-{wheels.release('installed').version}.jsonl"].values()) == {"holds"}
