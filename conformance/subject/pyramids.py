"""This module takes feature pyramids: `forward_intermediates` of the headed model, and models built `features_only`."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from conformance.subject.passes import Pass
from conformance.subject.real import with_output
from conformance.subject.refusals import is_of_meta
from conformance.subject.subject import Subject

GROWTH = 512
"""Pixels, at least, by which images are larger that tell one reduction from another: of fewer, rounding hides some."""
FAR = 1.5
"""A ratio of two reductions that no rounding makes."""


class NotOffered(Exception):
    """timm declares that the model has no such pyramid. Its text is timm's."""


@dataclass(frozen=True)
class Level:
    """What a model says of one of its feature maps, and what it gives."""

    channels: int
    reduction: float
    """Pixels of the image for each place of the map, along a side."""
    shape: tuple[int, ...]
    """(batch, channels, height, width) of the map."""


def info(model: Any) -> list[dict[str, Any]]:
    """The entries of the model's `feature_info`, a list or a `FeatureInfo`, from the image on."""
    return list(getattr(model.feature_info, "info", model.feature_info))


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
    taken = subject.once("intermediates", lambda: _run(subject))
    return with_output(subject, taken, taken.output[0])


def _run(subject: Subject, **arguments: Any) -> Pass:
    method, model = _intermediates(subject), subject.headed
    try:
        return subject.run(lambda: method(output_fmt="NCHW", **arguments), model)
    except Exception as error:
        # Some find out from values how tokens make a map.
        if subject.measures or not is_of_meta(str(error)):
            raise
        return subject.run(lambda: method(output_fmt="NLC", **arguments), model)


def maps(subject: Subject) -> Pass:
    """The second result of `forward_intermediates`: maps of (batch, channels, height, width).

    They are of (batch, tokens, channels) where only values say how tokens make a map, and there are none.

    Raises:
        NotOffered: the model has no such method.
    """
    taken = subject.once("intermediates", lambda: _run(subject))
    return with_output(subject, taken, list(taken.output[1]))


def chosen_maps(subject: Subject, indices: list[int]) -> Pass:
    """The maps of those indices alone."""
    taken = _run(subject, indices=indices)
    return with_output(subject, taken, list(taken.output[1]))


def channels(one: torch.Tensor) -> int:
    """How many channels a map of either kind has."""
    return one.shape[1] if one.dim() == 4 else one.shape[-1]


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


def modules(subject: Subject) -> list[str]:
    """The names of the modules that `feature_info` of the `features_only` model says its maps come from.

    Raises:
        NotOffered: see `features_only`.
    """
    return list(features_only(subject).feature_info.module_name())  # type: ignore[union-attr, operator]  # timm's FeatureInfo


def chosen_levels(subject: Subject, place: int) -> list[tuple[int, ...]]:
    """The shapes of the maps of the model that is built with `out_indices=(place,)`."""
    model = subject.build(features_only=True, out_indices=(place,))
    return _shapes(subject, model, subject.images)


def levels(subject: Subject) -> list[Level]:
    """The maps of the model that `features_only` gives, each with what is said of it.

    Raises:
        NotOffered: see `features_only`.
        ValueError: it gives another number of maps than its feature_info has entries.
    """

    def make() -> list[Level]:
        model = features_only(subject)
        shapes = _shapes(subject, features_only(subject), subject.images)
        entries = model.feature_info.get_dicts()  # type: ignore[union-attr, operator]  # timm's FeatureInfo
        if len(shapes) != len(entries):
            raise ValueError(f"features_only gives {len(shapes)} maps, its feature_info has {len(entries)} entries")
        return [
            Level(entry["num_chs"], entry["reduction"], shape) for entry, shape in zip(entries, shapes, strict=True)
        ]

    return subject.once("levels", make)


def shrinks_as_said(subject: Subject, place: int) -> bool | None:
    """Whether the map at `place` of `levels` has one place for each `reduction` pixels; None where one cannot tell.

    That is so if the images' sides divided by it are the map's. Where borders are cut off (convolutions without
    padding) or rounded up, larger images must make the map larger by as much. If neither gives a whole number (images
    scaled on the way) it may be off by what rounding makes. Of a model that takes images of its size alone, only what
    is far off is wrong.
    """
    level, sides = levels(subject)[place], subject.images.shape[-2:]
    here = level.shape[-2:]
    if 0 in here:
        return False
    if all(side == n * level.reduction for side, n in zip(sides, here, strict=True)):
        return True
    step = math.lcm(*(math.ceil(one.reduction) for one in levels(subject)))
    for growth in dict.fromkeys((step * math.ceil(GROWTH / step), step)):
        try:
            size = (sides[0] + growth, sides[1] + growth)
            grown = subject.once(f"maps larger by {growth}", functools.partial(_shapes_of, subject, size))
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001, S112  # it does not take images as large as that
            continue
        more = [larger - n for larger, n in zip(grown[place][-2:], here, strict=True)]
        return all(
            _is_reduced(side, n, level.reduction, growth, places)
            for side, n, places in zip(sides, here, more, strict=True)
        )
    apart = [max(side / n / level.reduction, level.reduction * n / side) for side, n in zip(sides, here, strict=True)]
    return False if max(apart) >= FAR else None


def _is_reduced(side: int, n: int, reduction: float, growth: int, more: int) -> bool:
    """Whether `side` pixels make `n` places, and `growth` pixels on top make `more`."""
    if more and growth % more == 0:
        return growth == more * reduction
    if side == n * reduction:
        return True
    return side % n != 0 and abs(side / n - reduction) < 1


def _shapes_of(subject: Subject, size: tuple[int, int]) -> list[tuple[int, ...]]:
    """The shapes for images of another size, of a model that is built for them where the declared one refuses them."""
    images = subject.other_images(size=size)
    try:
        return _shapes(subject, features_only(subject), images)
    except Exception:  # noqa: BLE001  # whatever it raises, it takes images of its size alone
        return _shapes(subject, subject.build(features_only=True, img_size=size), images)


def _shapes(subject: Subject, model: nn.Module, images: torch.Tensor) -> list[tuple[int, ...]]:
    """The shapes of the maps of a `features_only` model, as (batch, channels, height, width)."""
    is_nhwc = str(getattr(model, "output_fmt", "NCHW")).endswith("NHWC")
    given = [tuple(one.shape) for one in subject.look(lambda: model(images))]
    return [(one[0], one[3], one[1], one[2]) if is_nhwc and len(one) == 4 else one for one in given]
