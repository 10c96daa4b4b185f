"""This module knows other ways to the embedding and the logits, for models on which the promised way fails.

A way is code that a user can paste. It is run as it stands, under the tracer or on real numbers, so what is said of it
is said of what is printed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from conformance.claims.claim import violated
from conformance.claims.equality import describe, same
from conformance.record import Cell
from conformance.subject import Subject

PROMISED = """\
features = model.forward_features(x)
pre_logits = model.forward_head(features, pre_logits=True)
"""


@dataclass(frozen=True)
class Way(ABC):
    """Python that gives `pre_logits` and `logits` of the images `x` from `model`, and what it does, in a sentence."""

    text: str
    code: str

    def run(self, model: nn.Module, x: torch.Tensor) -> tuple[Any, Any]:
        """What the code gives as pre_logits and logits.

        Raises:
            Exception: whatever it raises on this model.
        """
        names: dict[str, Any] = {"model": model, "x": x, "torch": torch}
        exec(compile(self.code, "<remedy>", "exec"), names)  # noqa: S102  # this module wrote it
        return names["pre_logits"], names["logits"]

    @abstractmethod
    def decide(self, subject: Subject) -> Cell:
        """Whether the code leads where it should, as a claim is decided."""


Ways = Callable[[Subject], Iterable[Way]]


class FromEmbedding(Way):
    """A way from the promised features and embedding to the logits."""

    def decide(self, subject: Subject) -> Cell:
        """Whether the code gives the promised embedding and what `model(x)` gives."""
        model, images = subject.headed, subject.images

        def promised() -> tuple[Any, Any]:
            features = model.forward_features(images)  # type: ignore[operator]  # timm's models have it
            return model.forward_head(features, pre_logits=True), model(images)  # type: ignore[operator]  # as above

        both = subject.once("promised", lambda: subject.run(promised, model))
        taken = subject.run(lambda: self.run(model, images), model)
        return same(subject, taken, both, "the remedy", "pre_logits and model(x)")


class FromClassifier(Way):
    """A way to an embedding where the model gives none."""

    def decide(self, subject: Subject) -> Cell:
        """Whether the embedding is (batch, width) and the classifier makes of it what `model(x)` gives."""
        model, images = subject.headed, subject.images
        taken = subject.run(lambda: self._applied(model, images), model)
        pre_logits, *logits = taken.output
        if not isinstance(pre_logits, torch.Tensor) or pre_logits.ndim != 2:
            return violated(f"the classifier is given {describe(pre_logits)}, not (batch, width)")
        promised = subject.run(lambda: (pre_logits, *[model(images) for _ in logits]), model)
        return same(subject, taken, promised, "the remedy", "model(x)")

    def _applied(self, model: nn.Module, images: torch.Tensor) -> tuple[Any, Any, Any]:
        pre_logits, logits = self.run(model, images)
        return pre_logits, logits, model.get_classifier()(pre_logits)  # type: ignore[operator]  # as above


def ways_from_embedding(subject: Subject) -> Iterator[FromEmbedding]:
    """Ways from `pre_logits` to the logits, those that need the embedding alone first.

    They are what timm's heads come to: the module inside or around what `get_classifier()` gives, a convolution over
    maps of one pixel, two heads whose logits are averaged, a head for each branch. The last needs the features.
    """
    model = subject.headed
    classifier: Any = subject.look(model.get_classifier)  # type: ignore[arg-type]  # timm's models have it
    width = _width(subject)
    if isinstance(classifier, nn.Module):
        yield from _inside(classifier, width)
        yield from _around(model, classifier)
        if isinstance(classifier, nn.Conv2d):
            yield _way(
                "The classifier is a convolution: give it the embedding as a map of one pixel.",
                "logits = model.get_classifier()(pre_logits[:, :, None, None]).flatten(1)",
            )
    if isinstance(classifier, tuple | list | nn.ModuleList):
        yield from _several(list(classifier), width)
    yield _way(
        "No way from the embedding alone is known: take the logits from the same features, without another pass "
        "through the backbone.",
        "logits = model.forward_head(features)",
    )


def _width(subject: Subject) -> int | None:
    """Of the embedding: as it is, or as the model says where it cannot run on the meta device."""
    try:
        return int(subject.pre_logits.output.shape[-1])
    except Exception:  # noqa: BLE001  # whatever a model raises there
        said = getattr(subject.headed, "head_hidden_size", None)
        return said if isinstance(said, int) else None


def _inside(classifier: nn.Module, width: int | None) -> Iterator[FromEmbedding]:
    for name, part in classifier.named_modules():
        path = _path(name)
        if width and name and path and getattr(part, "in_features", getattr(part, "in_channels", None)) == width:
            yield _way(
                f"get_classifier() gives more than takes the embedding: apply its layer {name} alone.",
                f"logits = model.get_classifier(){path}(pre_logits)",
            )


def _around(model: nn.Module, classifier: nn.Module) -> Iterator[FromEmbedding]:
    name = next((name for name, part in model.named_modules() if part is classifier), "")
    while "." in name:
        name = name.rpartition(".")[0]
        path = _path(name)
        if path:
            yield _way(
                f"get_classifier() gives a part of the head: apply {name}, which holds it.",
                f"logits = model{path}(pre_logits)",
            )


def _several(heads: list[Any], width: int | None) -> Iterator[FromEmbedding]:
    if len(heads) == 2:
        yield _way(
            "There are two heads: average what they give.",
            "left, right = model.get_classifier()\nlogits = (left(pre_logits) + right(pre_logits)) / 2",
        )
    widths = [getattr(head, "in_features", None) for head in heads]
    if all(isinstance(one, int) for one in widths) and sum(widths) == width:  # type: ignore[arg-type]  # all int
        yield _way(
            "There is a head for each branch: give each its part of the embedding and average.",
            "heads = model.get_classifier()\n"
            "parts = pre_logits.split([head.in_features for head in heads], 1)\n"
            "logits = torch.stack([head(part) for head, part in zip(heads, parts)]).mean(0)",
        )


def ways_from_classifier(subject: Subject) -> Iterator[FromClassifier]:  # noqa: ARG001  # it is one for all
    """The way to an embedding of a model whose `forward_head` gives none: what its classifier is given."""
    yield FromClassifier(
        "Take what the classifier is given while the model runs.",
        "taken = []\n"
        "with model.get_classifier().register_forward_pre_hook(lambda _, given: taken.append(given[0])):\n"
        "    logits = model(x)\n"
        "(pre_logits,) = taken\n",
    )


def _way(text: str, last: str) -> FromEmbedding:
    return FromEmbedding(text, f"{PROMISED}{last}\n")


def _path(name: str) -> str:
    """The module's name as Python after an object (`.head[0].fc`), or nothing where it cannot be written so."""
    parts = name.split(".")
    if not all(part.isidentifier() or part.isdecimal() for part in parts):
        return ""
    return "".join(f"[{part}]" if part.isdecimal() else f".{part}" for part in parts)
