"""One pass gives features, embedding and logits, each what the model itself gives."""

from __future__ import annotations

import subprocess
import sys

import pytest
import timm
import torch
from torch import nn

import conformance
from tests.miniatures.contract import LAWFUL, Encoder, ListOfFeatures
from tests.miniatures.registration import registered

VARIED = ("test_vit", "test_resnet", "test_efficientnet", "dla46_c", "crossvit_tiny_240", "levit_128s", "shvit_s1")
"""Small models of timm: among them convolutional classifiers, two branches, two heads, a norm before the classifier."""


def flat(value):
    return [value] if isinstance(value, torch.Tensor) else [part for item in value for part in flat(item)]


@pytest.mark.parametrize("name", VARIED)
def test_it_is_what_the_model_gives(name):
    model = timm.create_model(name).eval()
    x = torch.randn(2, *model.default_cfg["input_size"])
    with torch.no_grad():
        extracted = conformance.extract(model, x)
        torch.testing.assert_close(extracted.logits, model(x))
        for ours, theirs in zip(flat(extracted.unpooled), flat(model.forward_features(x)), strict=True):
            torch.testing.assert_close(ours, theirs)
    assert extracted.pre_logits.shape == (2, model.head_hidden_size)


def test_the_backbone_runs_once():
    model, calls = timm.create_model("test_vit").eval(), []
    model.patch_embed.register_forward_hook(lambda *_: calls.append(1))
    conformance.extract(model, torch.randn(1, *model.default_cfg["input_size"]))
    assert calls == [1]


@pytest.mark.parametrize("make", [make for make in LAWFUL if make is not Encoder], ids=lambda make: make.__name__)
def test_every_kind_of_head_is_explained(make):
    with registered(make) as name:
        model = timm.create_model(name, num_classes=10).eval()
    x = torch.randn(2, 3, 32, 32)
    extracted = conformance.extract(model, x)
    torch.testing.assert_close(extracted.logits, model(x))
    assert isinstance(extracted.unpooled, list | tuple) == (make is ListOfFeatures)


def test_a_model_without_classes_has_no_logits():
    model = timm.create_model("test_vit", num_classes=0).eval()
    extracted = conformance.extract(model, torch.randn(1, *model.default_cfg["input_size"]))
    assert extracted.logits is None
    assert extracted.pre_logits.ndim == 2


class Features(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return conformance.extract(self.model, x)


def test_it_survives_export():
    model = timm.create_model("test_vit").eval()
    x = torch.randn(1, *model.default_cfg["input_size"])
    with torch.no_grad():
        program = torch.export.export(Features(model), (x,))
        exported, expected = program.module()(x), conformance.extract(model, x)
    for ours, theirs in zip(exported, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_an_encoder_and_a_foreign_module_are_refused_in_a_sentence():
    with registered(Encoder) as name:
        model = timm.create_model(name)
    with pytest.raises(conformance.NotSeparable, match="is an encoder without a head"):
        conformance.extract(model, torch.randn(2, 3, 32, 32))
    with pytest.raises(conformance.NotSeparable, match="Linear has no forward_features"):
        conformance.extract(nn.Linear(2, 2), torch.randn(2, 2))


def test_importing_the_package_imports_no_torch():
    source = "import sys, conformance as c; assert 'torch' not in sys.modules; c.extract; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", source], check=True, timeout=120)
    with pytest.raises(AttributeError, match="no attribute 'extrakt'"):
        _ = conformance.extrakt


LOADING = """
import sys, torch
from conformance import Extracted
with torch.no_grad():
    loaded = torch.export.load(sys.argv[1]).module()(torch.ones(2, 3, 64, 64))
assert isinstance(loaded, Extracted)
torch.save(tuple(loaded), sys.argv[2])
"""


def test_a_program_that_gives_it_is_saved_and_loaded_in_another_process(tmp_path):
    model, x = timm.create_model("resnet18").eval(), torch.ones(2, 3, 64, 64)
    with torch.no_grad():
        torch.export.save(torch.export.export(Features(model), (x,)), tmp_path / "saved.pt2")
        subprocess.run(
            [sys.executable, "-c", LOADING, tmp_path / "saved.pt2", tmp_path / "given.pt"], check=True, timeout=120
        )
        given = torch.load(tmp_path / "given.pt")
        assert torch.equal(given[1], conformance.extract(model, x).pre_logits)


def test_a_classifier_of_the_users_own_gives_logits():
    model = timm.create_model("resnet18", num_classes=0).eval()
    model.fc = nn.Linear(512, 5)
    with torch.no_grad():
        x = torch.randn(2, 3, 64, 64)
        assert torch.equal(conformance.extract(model, x).logits, model(x))


def test_an_embedding_that_is_not_pooled_is_refused():
    model = timm.create_model("resnet18").eval()
    model.reset_classifier(0, "")
    with pytest.raises(conformance.NotSeparable, match=r"pre_logits of \(2, 512, 2, 2\), not pooled"):
        conformance.extract(model, torch.randn(2, 3, 64, 64))


def test_logits_of_training_that_are_several_are_refused():
    model = timm.create_model("deit_tiny_distilled_patch16_224").train()
    model.set_distilled_training(True)
    with pytest.raises(conformance.NotSeparable, match=r"tuple as logits; call model\.eval\(\) first"):
        conformance.extract(model, torch.randn(2, 3, 224, 224))
