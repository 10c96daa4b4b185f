"""Finding models in other people's projects: by syntax, in every way that timm's models are named, and nothing run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conformance.gate.your_models import uses

NAMES = frozenset({"resnet50", "vit_small_patch16_224", "convnext_tiny", "swin_tiny", "efficientnet_b0"})


def read(tmp_path, text, name="train.py"):
    (tmp_path / name).write_text(text)
    found = uses([tmp_path], NAMES)
    return [(use.model, use.tag) for use in found.found], [place.why for place in found.not_understood]


@pytest.mark.parametrize(
    ("text", "used"),
    [
        ("import timm\ntimm.create_model('resnet50', pretrained=True)", ("resnet50", "")),
        ("import timm as t\nm = t.create_model(model_name='resnet50.a1_in1k')", ("resnet50", "a1_in1k")),
        ("from timm import create_model\ncreate_model('hf-hub:timm/resnet50.a1_in1k')", ("resnet50", "a1_in1k")),
        ("from timm.models import create_model as build\nbuild('resnet50')", ("resnet50", "")),
        ("import timm.models\ntimm.models.resnet50(pretrained=True)", ("resnet50", "")),
        ("from timm.models.resnet import resnet50\nresnet50()", ("resnet50", "")),
        ("from timm.models import resnet as r\nr.resnet50()", ("resnet50", "")),
        ("from timm.models import *\nresnet50()", ("resnet50", "")),
        ("import torch\ntorch.hub.load('huggingface/pytorch-image-models', 'resnet50')", ("resnet50", "")),
        ("import smp\nsmp.Unet(encoder_name='tu-resnet50')", ("resnet50", "")),
        (
            "from transformers import AutoModel\nAutoModel.from_pretrained('timm/resnet50.a1_in1k')",
            ("resnet50", "a1_in1k"),
        ),
        ("from mine import create_model\ncreate_model('resnet50')", ("resnet50", "")),
        ("import timm\nasync def f():\n    return [timm.create_model('resnet50') for _ in range(2)]", ("resnet50", "")),
    ],
)
def test_python_that_names_a_model_is_understood(tmp_path, text, used):
    assert read(tmp_path, text) == ([used], [])


def test_each_branch_of_a_choice_counts(tmp_path):
    text = (
        "import timm\ntimm.create_model('resnet50' if small else 'convnext_tiny')\n"
        "timm.create_model(name or 'swin_tiny')"
    )
    found, why = read(tmp_path, text)
    assert [model for model, _ in found] == ["resnet50", "convnext_tiny", "swin_tiny"]
    assert why == ["the model's name is `name or 'swin_tiny'`, which only running it would tell"]


@pytest.mark.parametrize(
    ("call", "why"),
    [
        ("timm.create_model(f'resnet{depth}')", "an f-string"),
        ("timm.create_model(args.model)", "`args.model`"),
        ("timm.create_model(*args)", "does not say which model"),
        ("timm.create_model(**config)", "does not say which model"),
        ("timm.create_model('resnet5000')", "'resnet5000' is a model of neither release"),
        ("timm.create_model('resnet' + '50')", "only running it would tell"),
    ],
)
def test_what_only_running_would_tell_is_listed_and_not_guessed(tmp_path, call, why):
    found, said = read(tmp_path, f"import timm\n{call}")
    assert found == []
    assert why in said[0]


@pytest.mark.parametrize(
    "line",
    [
        "make = timm.create_model",
        "use(timm.create_model)",
        "getattr(timm, 'create_model')('resnet50')",
        "x = create_model",
    ],
)
def test_a_function_that_is_handed_on_is_listed(tmp_path, line):
    found, said = read(tmp_path, f"import timm\nfrom timm import create_model\n{line}")
    assert found == []
    assert "is handed on" in said[0]
    assert len(said) == 1


@pytest.mark.parametrize(
    "call", ["partial(timm.create_model, 'resnet50', pretrained=True)", "functools.partial(make, 'resnet50')"]
)
def test_a_partial_call_names_its_model(tmp_path, call):
    found, said = read(tmp_path, f"import timm\nfrom timm import create_model as make\n{call}")
    assert (found, said) == ([("resnet50", "")], [])


@pytest.mark.parametrize(
    "content",
    [
        "\ufeffimport timm\ntimm.create_model('resnet50')\n".encode(),
        "# -*- coding: latin-1 -*-\n# \u00e9\nimport timm\ntimm.create_model('resnet50')\n".encode("latin-1"),
    ],
)
def test_python_is_read_in_the_encoding_that_it_declares(tmp_path, content):
    (tmp_path / "a.py").write_bytes(content)
    found = uses([tmp_path], NAMES)
    assert (found.models(), found.not_understood) == (["resnet50"], [])


def test_notebooks_are_read_cell_by_cell(tmp_path):
    cells = [
        {"cell_type": "markdown", "source": ["timm.create_model('vit_tiny_patch16_224')"]},
        {"cell_type": "code", "source": ["%matplotlib inline\n", "!pip install timm\n", "import timm\n"]},
        {"cell_type": "code", "source": "import timm\ntimm.create_model('resnet50')"},
        {"cell_type": "code", "source": ["%%bash\n", "echo (("]},
    ]
    (tmp_path / "a.ipynb").write_text(json.dumps({"cells": cells}))
    found = uses([tmp_path], NAMES)
    assert (found.models(), found.not_understood) == (["resnet50"], [])
    (tmp_path / "a.ipynb").write_text("{")
    assert "it was skipped" in str(uses([tmp_path], NAMES).not_understood[0])


def test_python_that_its_parser_cannot_hold_is_named_and_skipped(tmp_path):
    (tmp_path / "a.py").write_text("x = " + "-" * 200_000 + "1\n")
    (tmp_path / "b.py").write_text("import timm\ntimm.create_model('resnet50')")
    found = uses([tmp_path], NAMES)
    assert found.models() == ["resnet50"]
    assert "it was skipped" in str(found.not_understood[0])


def test_a_file_too_large_to_be_source_is_named(tmp_path):
    (tmp_path / "data.json").write_text(f'"{"x" * 5_000_001}"')
    (place,) = uses([tmp_path], NAMES).not_understood
    assert str(place).endswith("data.json: it cannot be read (it is larger than 5 MB); it was skipped")


def test_words_keep_the_tags_that_models_are_named_with(tmp_path):
    (tmp_path / "a.py").write_text(
        "import timm\ntimm.create_model('resnet50.a1_in1k')\ntimm.create_model('resnet50')\n"
    )
    assert uses([tmp_path], NAMES).words() == ["resnet50", "resnet50.a1_in1k"]


def test_what_is_not_timms_is_left_alone(tmp_path):
    text = (
        "from keras import create_model\nimport other\ncreate_model('my_net')\nother.create_model(name)\n"
        "def resnet50(): ...\nresnet50()\nprint('resnet50', 'the resnet50 paper')\n"
    )
    assert read(tmp_path, text) == ([], [])


def test_nothing_is_run(tmp_path):
    trap = tmp_path / "sprung"
    read(tmp_path, f"import pathlib\npathlib.Path({str(trap)!r}).touch()\nimport timm\ntimm.create_model('resnet50')")
    assert not trap.exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "model:\n  name: resnet50.a1_in1k\n  heads: [1, 2]\n---\nother: hello\n"),
        ("a.yml", "backbone: !include resnet50.a1_in1k\n"),
        ("a.yaml", "model: !!python/object/apply:os.system ['resnet50.a1_in1k']\n"),
        ("a.toml", "[model]\nbackbone = 'hf-hub:timm/resnet50.a1_in1k'\n"),
        ("a.json", '{"nets": [{"arch": "timm/resnet50.a1_in1k"}]}'),
    ],
)
def test_configuration_that_names_a_model_is_understood(tmp_path, name, text):
    assert read(tmp_path, text, name) == ([("resnet50", "a1_in1k")], [])


def test_a_place_has_its_line(tmp_path):
    (tmp_path / "a.yaml").write_text("x: 1\ny:\n  z: resnet50\n")
    (use,) = uses([tmp_path], NAMES).found
    assert str(use) == f"resnet50 ({tmp_path / 'a.yaml'}:3)"


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [("a.py", "def (:", "Python"), ("a.yaml", "a: [1", "YAML"), ("a.toml", "= 3", "TOML"), ("a.json", "{", "JSON")],
)
def test_a_file_with_a_fault_is_named_skipped_and_counted(tmp_path, name, text, kind):
    (tmp_path / "good.py").write_text("import timm\ntimm.create_model('resnet50')")
    (tmp_path / name).write_text(text)
    found = uses([tmp_path], NAMES)
    assert found.models() == ["resnet50"]
    (place,) = found.not_understood
    assert str(place).startswith(f"{tmp_path / name}: it is no {kind}")
    assert found.files == 2


def test_files_that_are_not_text_and_loops_in_yaml_do_no_harm(tmp_path):
    (tmp_path / "a.py").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "b.yaml").write_text("a: &a [*a, resnet50]\n")
    found = uses([tmp_path], NAMES)
    assert found.models() == ["resnet50"]
    assert len(found.not_understood) == 1


def test_environments_and_hidden_folders_are_left_out_and_a_named_file_is_read(tmp_path):
    text = "import timm\ntimm.create_model('resnet50')"
    for folder in (".git", "node_modules", "venv/lib/python3.11/site-packages/x", "env/src"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.py").write_text(text)
    (tmp_path / "env" / "pyvenv.cfg").touch()
    assert uses([tmp_path], NAMES).models() == []
    assert uses([tmp_path / ".git" / "a.py"], NAMES).models() == ["resnet50"]


def test_a_path_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        uses([Path(tmp_path, "absent")], NAMES)
