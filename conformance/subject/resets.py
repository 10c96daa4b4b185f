"""This module resets classifiers and gives what the models then compute.

Two spare models serve all of it, each taken through a fixed chain, so that a cell is the same whichever claims are
decided with it: M → 0 → N classes, and M → N classes (as float64) → unpooled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from conformance.subject.build import copy_of, in_eval_mode, is_of_several_dtypes
from conformance.subject.passes import Pass
from conformance.subject.real import RealSubject
from conformance.subject.subject import OTHER_CLASSES, Subject


class Refused(Exception):  # a fact about a model, not a fault of the program
    """`reset_classifier` declares by an assertion that it cannot do what it is asked."""


def _reset(subject: Subject, model: nn.Module, *arguments: Any) -> None:
    """`model.reset_classifier(*arguments)` where models are built, in eval mode, new parameters named."""
    before = subject.mark(model)
    subject.construct(
        lambda: model.reset_classifier(*arguments),  # type: ignore[operator]  # timm's models have it
        spare_initialisers=False,
    )
    subject.settle_changed(model, before)


def to_none(subject: Subject) -> Pass:
    """The headed model after `reset_classifier(0)`, run on the images.

    Raises:
        Exception: whatever timm raises.
    """

    def make() -> Pass:
        model, images = subject.spare(), subject.images
        _reset(subject, model, 0)
        return subject.run(lambda: model(images), model)

    return subject.once("reset to none", make)


def none_to_other(subject: Subject) -> tuple[int | None, Any]:
    """(num_classes, output) after `reset_classifier(0)` and then `reset_classifier(OTHER_CLASSES)`."""

    def make() -> tuple[int | None, Any]:
        to_none(subject)
        model = subject.spare()
        _reset(subject, model, OTHER_CLASSES)
        images = subject.images
        output = subject.look(lambda: model(images))
        return getattr(model, "num_classes", None), output

    return subject.once("reset from none", make)


INDIFFERENT = frozenset({nn.Conv1d, nn.Conv2d, nn.Flatten, nn.Identity, nn.LayerNorm, nn.Linear, nn.ReLU})
"""Classes of torch's whose `forward` never asks whether it is training (torch/nn/modules)."""


@dataclass(frozen=True)
class Placement:
    """What `reset_classifier(OTHER_CLASSES)` did to a float64 model on the meta device."""

    misplaced: list[tuple[str, str]]
    """Parameters and buffers of another dtype or device, each with where it is."""
    training: list[str]
    """Modules left in training mode that might behave differently there."""
    is_same_in_eval_mode: bool | None
    """Whether the model computes with them what it computes in eval mode; None where that could not be looked at."""
    model: nn.Module


def placement(subject: Subject) -> Placement:
    """Reset another model of float64, and not where models are built: the device must come from the model.

    Raises:
        Exception: whatever timm raises.
    """

    def make() -> Placement:
        try:
            model = subject.another_that_ran(torch.float64)
        except Exception:  # noqa: BLE001  # that it does not run is another claim's
            model = subject.another(torch.float64)
        # Held until the end: a tensor that is made where an old one was let go of may get its id.
        held = [*model.parameters(), *model.buffers()]
        before = {(id(tensor), tensor.dtype, tensor.device) for tensor in held}
        model.reset_classifier(OTHER_CLASSES)  # type: ignore[operator]  # timm's models have it
        misplaced = [
            (name, f"{str(tensor.dtype).removeprefix('torch.')} on {tensor.device.type}")
            for name, tensor in (*model.named_parameters(), *model.named_buffers())
            if (id(tensor), tensor.dtype, tensor.device) not in before
            and (
                tensor.device != subject.images.device or (tensor.is_floating_point() and tensor.dtype != torch.float64)
            )
        ]
        training = [name for name, part in model.named_modules() if part.training and not _is_indifferent(part)]
        is_same = None if misplaced else not training or _is_same_in_eval_mode(subject, model)
        return Placement(misplaced, training, is_same, in_eval_mode(model))

    return subject.once("placement", make)


def _is_indifferent(part: nn.Module) -> bool:
    """Whether a module is one of torch's that does the same in training and in eval mode, nothing hung onto it."""
    return (
        type(part) in INDIFFERENT
        and "forward" not in vars(part)
        and not (part._forward_hooks or part._forward_pre_hooks)
    )


def _is_same_in_eval_mode(subject: Subject, model: nn.Module) -> bool | None:
    """Whether the model computes as it stands by the same operations as in eval mode; None if one cannot tell."""
    images = subject.images.to(torch.float64)
    if not subject.measures:
        subject.ledger.name_leaf("input", [("images as float64", images, None)])
    modes = {part: part.training for part in model.modules()}
    kept = [(buffer, buffer.clone()) for buffer in model.buffers()] if subject.measures else []

    def run(*, in_eval: bool) -> Pass:
        def set_modes() -> None:
            for part, mode in modes.items():
                part.training = mode and not in_eval

        def call() -> Any:
            set_modes()  # a repetition comes later
            for buffer, before in kept:  # what training writes is no rounding error of the repetitions after it
                buffer.copy_(before)
            return model(images.detach().clone() if subject.measures else images.detach())

        set_modes()
        return subject.run(call, model)

    try:
        as_it_stands, evaluated = run(in_eval=False), run(in_eval=True)
        # The weights of a float64 model are unknown, and the same in both passes; what is random differs.
        if isinstance(subject, RealSubject):
            is_none = subject.difference(as_it_stands, evaluated).is_none
            return None if is_none and (as_it_stands.unprovable or evaluated.unprovable) else is_none
    except Exception:  # noqa: BLE001  # a model may be made for float32 alone
        return None
    finally:
        for part, mode in modes.items():
            part.training = mode
    if not (as_it_stands.is_provable and evaluated.is_provable):
        return None
    return as_it_stands.number == evaluated.number


def other(subject: Subject) -> nn.Module:
    """The reset model in the subject's dtype again, wholly on its device; one of several dtypes never left them.

    Raises:
        Exception: whatever timm raises.
    """

    def make() -> nn.Module:
        if is_of_several_dtypes(subject.headed):
            model = subject.another_that_ran()
            _reset(subject, model, OTHER_CLASSES)
            return model
        model = subject.settle(placement(subject).model)
        copied = None if subject.measures else copy_of(model, subject.ledger, subject.dtype)
        return copied or model.to(subject.dtype)

    return subject.once("other", make)


def to_other(subject: Subject) -> tuple[int | None, Any]:
    """(num_classes, output) after `reset_classifier(OTHER_CLASSES)`.

    Raises:
        Exception: whatever timm raises.
    """

    def make() -> tuple[int | None, Any]:
        model, images = other(subject), subject.images
        return getattr(model, "num_classes", None), subject.look(lambda: model(images))

    return subject.once("to other", make)


def unpooled(subject: Subject) -> Any:
    """What the model of `other` gives after `reset_classifier(0, '')`.

    Raises:
        Exception: whatever timm raises.
    """

    def make() -> Any:
        try:
            to_other(subject)
            model = other(subject)
        except Exception:  # noqa: BLE001  # that failure is another claim's: start from a model without it
            model = subject.another_that_ran()
        try:
            _reset(subject, model, 0, "")
        except AssertionError as error:
            raise Refused(str(error)) from error
        images = subject.images
        return subject.look(lambda: model(images))

    return subject.once("unpooled", make)
