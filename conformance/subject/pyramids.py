"""This module takes feature pyramids: `forward_intermediates` of the headed model, and models built `features_only`."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from timm.models import FeatureInfo
from torch import nn

from conformance.subject.passes import Pass
from conformance.subject.real import with_output
from conformance.subject.refusals import is_of_meta
from conformance.subject.subject import Subject


class NotOffered(Exception):
    """timm declares that the model has no such pyramid. Its text is timm's."""


@dataclass(frozen=True)
class Level:
    """What a model says of one of its feature maps, and what it gives."""

    channels: int
    reduction: float
    """Pixels of the image for each place of the map, along a side."""
    module: str
    shape: tuple[int, ...]
    """(batch, channels, height, width) of the map."""


def info(model: nn.Module) -> list[dict[str, Any]]:
    """The entries of the model's `feature_info`, from the image on."""
    known: Any = model.feature_info
    return list(FeatureInfo(list(known), len(known)).info) if not isinstance(known, FeatureInfo) else known.get_dicts()


def _intermediates(subject: Subject) -> Callable[..., Any]:
    model, images = subject.headed, subject.images
    method = getattr(model, "forward_intermediates", None)
    if method is None:
        raise NotOffered(f"{type(model).__name__} has no forward_intermediates")
    return functools.partial(method, images)


def final(subject: Subject) -> Pass:
    """The first result of `forward_intermediates`, whatever the layout of the maps that come second.

    Raises:
        NotOffered: the model has no such method.
    """
    method, model = _intermediates(subject), subject.headed

    def make() -> Pass:
        try:
            taken = subject.run(lambda: method(output_fmt="NCHW"), model)
        except Exception as error:
            # Some find out from values how tokens make a map.
            if subject.measures or not is_of_meta(str(error)):
                raise
            taken = subject.run(lambda: method(output_fmt="NLC"), model)
        return with_output(subject, taken, taken.output[0])

    return subject.once("final", make)


def maps(subject: Subject, **arguments: Any) -> list[torch.Tensor]:
    """The second result of `forward_intermediates`: maps of (batch, channels, height, width).

    Raises:
        NotOffered: the model has no such method.
    """
    method = _intermediates(subject)
    return list(subject.look(lambda: method(output_fmt="NCHW", **arguments))[1])


def features_only(subject: Subject) -> nn.Module:
    """`create_model(name, features_only=True)`.

    Raises:
        NotOffered: timm says that it is not implemented, or the model takes no such argument.
    """

    def make() -> nn.Module:
        try:
            return subject.build(features_only=True)
        except (RuntimeError, TypeError) as error:
            if "features_only" in str(error):
                raise NotOffered(str(error)) from error
            raise

    return subject.once("features only", make)


def levels(subject: Subject) -> list[Level]:
    """The maps of the model that `features_only` gives, each with what is said of it.

    Raises:
        NotOffered: see `features_only`.
        ValueError: it gives another number of maps than its feature_info has entries.
    """

    def make() -> list[Level]:
        model = features_only(subject)
        given = _maps_of(subject, model, subject.images)
        entries = model.feature_info.get_dicts()  # type: ignore[union-attr, operator]  # timm's FeatureInfo
        if len(given) != len(entries):
            raise ValueError(f"features_only gives {len(given)} maps, its feature_info has {len(entries)} entries")
        layout = str(getattr(model, "output_fmt", "NCHW"))
        return [
            Level(entry["num_chs"], entry["reduction"], entry["module"], _as_nchw(tuple(one.shape), layout))
            for entry, one in zip(entries, given, strict=True)
        ]

    return subject.once("levels", make)


def shrinks_as_said(subject: Subject, place: int) -> bool:
    """Whether the map at `place` of `levels` has one place for each `reduction` pixels.

    That is so if the images' sides divided by it are the map's. Where borders are cut off (convolutions without
    padding), larger images must make the map larger by as much. Only where neither gives a whole number (images scaled
    on the way, an input that the strides do not divide) may the reduction be off by what rounding makes.
    """
    level, step = levels(subject)[place], math.lcm(*(math.ceil(one.reduction) for one in levels(subject)))
    try:
        grown = _grown(subject, step)[place].shape[-2:]
    except Exception:  # noqa: BLE001  # it takes images of its size alone
        grown = level.shape[-2:]
    sides = subject.images.shape[-2:]
    return all(
        _is_reduced(side, n, level.reduction, step, more - n)
        for side, n, more in zip(sides, level.shape[-2:], grown, strict=True)
    )


def _is_reduced(side: int, n: int, reduction: float, step: int, more: int) -> bool:
    """Whether `side` pixels make `n` places, and `step` pixels on top make `more`; 0 more says nothing."""
    if side == n * reduction or (more and step == more * reduction):
        return True
    if side % n == 0 or (more and step % more == 0):
        return False
    return abs(side / n - reduction) < 1


def _grown(subject: Subject, step: int) -> list[Level]:
    """The levels for images that are larger by `step` pixels along each side."""

    def make() -> list[Level]:
        model = features_only(subject)
        layout = str(getattr(model, "output_fmt", "NCHW"))
        given = _maps_of(subject, model, subject.other_images(larger_by=step))
        shapes = [_as_nchw(tuple(one.shape), layout) for one in given]
        return [
            Level(level.channels, level.reduction, level.module, shape)
            for level, shape in zip(levels(subject), shapes, strict=True)
        ]

    return subject.once("grown levels", make)


def _maps_of(subject: Subject, model: nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    return list(subject.look(lambda: model(images)))


def _as_nchw(shape: tuple[int, ...], layout: str) -> tuple[int, ...]:
    if len(shape) == 4 and layout.endswith("NHWC"):
        return (shape[0], shape[3], shape[1], shape[2])
    return shape
