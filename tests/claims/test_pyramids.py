"""Pyramids are what their feature_info says, at whatever size that can be told."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from torch import nn

from conformance.decide import decide
from conformance.record import Cell, Evidence, Verdict
from tests.miniatures.contract import HIDDEN, WIDTH, PyramidOfTwo, config, with_features_only
from tests.miniatures.registration import examining

OBSERVED = Cell(verdict=Verdict.HOLDS, evidence=Evidence.OBSERVED)


class OfOneSize(PyramidOfTwo):
    """Refuses images of another size than it is built for, which its strides of 4 and 24 do not divide."""

    def __init__(self, img_size: int | tuple[int, int] = 32, said: int = 24, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.img_size = img_size if isinstance(img_size, int) else img_size[0]
        self.down = nn.Conv2d(WIDTH, HIDDEN, 6, 6, padding=5)
        self.feature_info[1]["reduction"] = said
        self.default_cfg = config("fc") | {"fixed_input_size": True}
        self.norm.register_forward_pre_hook(self.must_fit)

    def must_fit(self, _module: nn.Module, given: tuple[torch.Tensor]) -> None:
        if given[0].shape[-1] * 4 != self.img_size:
            raise ValueError("another size")


class Adapts(OfOneSize):
    """Takes no `img_size`."""

    def __init__(self, said: int = 24, **arguments: Any) -> None:
        super().__init__(32, said, **arguments)


def verdict_of(make: Callable[..., nn.Module], claim: str = "features_only_matches_info", **arguments: Any) -> Cell:
    pyramid = functools.partial(with_features_only, functools.partial(make, **arguments))
    with examining(pyramid, "pyramid") as examination:
        return examination.cell(claim)


def test_a_model_of_one_size_is_built_for_another_where_its_strides_do_not_divide_that():
    assert verdict_of(OfOneSize) == OBSERVED


@pytest.mark.parametrize("said", [4, 8, 12, 16, 23, 25, 32, 48])
def test_a_wrong_reduction_is_caught_where_strides_do_not_divide_the_declared_size(said):
    cell = verdict_of(OfOneSize, said=said)
    assert cell.verdict is Verdict.VIOLATED
    assert f"feature_info says a reduction of {said}" in cell.reason


@pytest.mark.parametrize("name", ["levit_128s", "test_vit"])
def test_models_of_timm_that_refuse_other_sizes_are_right(name):
    assert decide(name, ["features_only_matches_info"]).cells["features_only_matches_info"] == OBSERVED


class Unpadded(PyramidOfTwo):
    """Cuts its borders off, and has places for images of no more than so many pixels."""

    def __init__(self, most: int = 160, said: tuple[int, int] = (4, 8), **arguments: Any) -> None:
        super().__init__(**arguments)
        self.most = most
        self.conv = nn.Conv2d(3, WIDTH, 5, 4)
        for level, reduction in zip(self.feature_info, said, strict=True):
            level["reduction"] = reduction
        self.norm.register_forward_pre_hook(self.must_have_places)

    def must_have_places(self, _module: nn.Module, given: tuple[torch.Tensor]) -> None:
        if given[0].shape[-1] * 4 > self.most:
            raise ValueError("no places")


def test_fewer_pixels_more_tell_where_many_are_refused():
    assert verdict_of(Unpadded) == OBSERVED
    assert verdict_of(Unpadded, said=(4, 16)).verdict is Verdict.VIOLATED


def test_of_one_size_alone_only_what_is_far_off_is_wrong():
    for said in ((4, 8), (4, 9), (5, 8)):
        cell = verdict_of(Unpadded, most=32, said=said)
        assert cell.verdict is Verdict.UNDECIDED, said
        assert "no other size is taken" in cell.reason
    assert verdict_of(Unpadded, most=32, said=(4, 32)).verdict is Verdict.VIOLATED


class MapsOfOneWidth(PyramidOfTwo):
    """Two maps of one shape, so that only what they hold tells them apart."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.down = nn.Conv2d(WIDTH, WIDTH, 1)
        self.fc = nn.Linear(WIDTH, 10)
        self.num_features = self.head_hidden_size = WIDTH
        self.feature_info[1] |= {"num_chs": WIDTH, "reduction": 4}


class AnotherForTheLast(MapsOfOneWidth):
    @torch.jit.ignore
    def forward_intermediates(
        self, x: torch.Tensor, indices: list[int] | None = None, output_fmt: str = "NCHW"
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        return super().forward_intermediates(x, [0] if indices == [-1] else indices, output_fmt)


def test_the_last_map_is_told_by_what_it_holds():
    assert verdict_of(MapsOfOneWidth, "intermediates_match_info").evidence is Evidence.PROVED
    cell = verdict_of(AnotherForTheLast, "intermediates_match_info")
    assert (cell.verdict, cell.evidence) == (Verdict.VIOLATED, Evidence.MEASURED)


def refusing_indices(out_indices: tuple[int, ...] | None = None, **arguments: Any) -> nn.Module:
    if out_indices is not None and -1 in out_indices:
        raise ValueError("an index from the end")
    return with_features_only(PyramidOfTwo, **arguments)


def taking_any_index(out_indices: tuple[int, ...] = (0, 1), **arguments: Any) -> nn.Module:
    return with_features_only(PyramidOfTwo, out_indices=tuple(min(place, 1) for place in out_indices), **arguments)


@pytest.mark.parametrize(("make", "reason"), [(refusing_indices, "from the end"), (taking_any_index, "not refused")])
def test_indices_are_taken_from_the_end_and_refused_beyond_it(make, reason):
    with examining(make) as examination:
        cell = examination.cell("features_only_matches_info")
    assert cell.verdict is Verdict.VIOLATED
    assert reason in cell.reason


@pytest.mark.parametrize("said", [8, 16, 24, 30, 31])
def test_a_wrong_reduction_of_padded_convolutions_is_caught(said):
    """Rounded up at each of five halvings, a few pixels more make as many places as a wrong reduction would."""

    def resnet(features_only: bool = False, **arguments: Any) -> nn.Module:
        model = timm.create_model("test_resnet", features_only=features_only, **arguments)
        info = model.feature_info.info if features_only else model.feature_info
        info[-1]["reduction"] = said if said >= info[-2]["reduction"] else info[-2]["reduction"]
        return model

    with examining(resnet) as examination:
        cell = examination.cell("features_only_matches_info")
    assert cell.verdict is Verdict.VIOLATED
    assert "feature_info says a reduction of" in cell.reason
