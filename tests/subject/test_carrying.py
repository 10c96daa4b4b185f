"""Weights carried from one release to another: by name, or as timm loads checkpoints of other names."""

from __future__ import annotations

import pytest
import torch

from conformance.subject.carrying import NotCarried, arrive, depart

MODEL = "test_vit"


@pytest.fixture(scope="module")
def departed(tmp_path_factory):
    file = tmp_path_factory.mktemp("weights") / "weights.pt"
    depart(MODEL, file)
    return file


def changed(departed, tmp_path, change):
    left = torch.load(departed, weights_only=True)
    change(left)
    torch.save(left, tmp_path / "changed.pt")
    return tmp_path / "changed.pt"


def test_the_same_model_gives_the_same_from_the_same_weights(departed):
    carried = arrive(MODEL, departed)
    assert carried.loaded_by == "name"
    assert carried.dtype == "float64"
    for measured in carried.outputs.values():
        assert measured.is_same is True
        assert measured.cosine_similarity == pytest.approx(1)


def test_other_names_are_carried_by_timms_own_filter(departed, tmp_path):
    def as_open_clip_calls_them(left):
        left["state"] = {f"visual.trunk.{name}": tensor for name, tensor in left["state"].items()}

    carried = arrive(MODEL, changed(departed, tmp_path, as_open_clip_calls_them))
    assert carried.loaded_by == "timm"
    assert all(measured.is_same for measured in carried.outputs.values())


def test_weights_that_fit_nowhere_are_not_carried(departed, tmp_path):
    def lose_one(left):
        left["state"].pop("blocks.0.attn.qkv.weight")

    with pytest.raises(NotCarried, match="its weights cannot be loaded"):
        arrive(MODEL, changed(departed, tmp_path, lose_one))


def test_a_weight_that_moved_a_little_is_seen(departed, tmp_path):
    def nudge(left):
        left["state"]["head.weight"].mul_(1.0001)

    outputs = arrive(MODEL, changed(departed, tmp_path, nudge)).outputs
    assert outputs["pre_logits"].is_same is True
    assert outputs["logits"].is_same is False
    assert outputs["logits"].relative_error == pytest.approx(1e-4, rel=0.2)


def test_another_shape_is_another_output_and_what_raised_is_told(departed, tmp_path):
    def reshape(left):
        left["outputs"]["features"]["tensors"] = [left["outputs"]["features"]["tensors"][0].flatten(1)]
        left["outputs"]["logits"] = {"raised": "RuntimeError: no head"}

    outputs = arrive(MODEL, changed(departed, tmp_path, reshape)).outputs
    assert outputs["features"].is_same is False
    assert "its shape was" in outputs["features"].problem
    assert outputs["logits"].is_same is None
    assert outputs["logits"].problem == "the older release raises RuntimeError: no head"


def test_what_raises_now_is_computed_no_more(departed, tmp_path):
    def shrink(left):
        left["images"] = left["images"][..., :7, :7]

    for measured in arrive(MODEL, changed(departed, tmp_path, shrink)).outputs.values():
        assert measured.is_same is False
        assert measured.problem.startswith("it is computed no more: ")


def test_a_model_is_run_in_float32_where_that_is_wanted(tmp_path):
    depart(MODEL, tmp_path / "weights.pt", in_double=False)
    carried = arrive(MODEL, tmp_path / "weights.pt")
    assert carried.dtype == "float32"
    assert all(measured.is_same for measured in carried.outputs.values())
