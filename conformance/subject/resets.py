"""This module resets classifiers and gives what the models then compute.

Two spare models serve all of it, each taken through a fixed chain, so that a cell is the same whichever claims are
decided with it: M → 0 → N classes, and, as float64, M → N classes → unpooled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from conformance.subject.build import BulkOnMeta, name_leaves
from conformance.subject.passes import Pass
from conformance.subject.subject import OTHER_CLASSES, Subject


def _reset(subject: Subject, model: torch.nn.Module, *arguments: Any) -> None:
    """`model.reset_classifier(*arguments)` where models are built, in eval mode, new parameters named."""
    subject.construct(lambda: model.reset_classifier(*arguments))  # type: ignore[operator]  # timm's models have it
    name_leaves(model.eval(), subject.ledger, subject.move_to_meta(model))


def to_none(subject: Subject) -> Pass:
    """The headed model after `reset_classifier(0)`, run on the images.

    Raises:
        Exception: whatever timm raises.
    """

    def make() -> Pass:
        model = subject.spare()
        _reset(subject, model, 0)
        images = subject.images
        return subject.run(lambda: model(images), model)

    return subject.once("reset to none", make)


def none_to_other(subject: Subject) -> tuple[int | None, Any]:
    """(num_classes, output) after `reset_classifier(0)` and then `reset_classifier(OTHER_CLASSES)`."""

    def make() -> tuple[int | None, Any]:
        to_none(subject)
        model = subject.spare()
        _reset(subject, model, OTHER_CLASSES)
        images = subject.images
        output = subject.run(lambda: model(images), model).output
        return getattr(model, "num_classes", None), output

    return subject.once("reset from none", make)


def double(subject: Subject) -> torch.nn.Module:
    """Another headed model, as float64."""
    return subject.once("double", lambda: subject.build_headed().to(torch.float64))


def to_other(subject: Subject) -> tuple[list[tuple[str, str]], list[str], int | None, Any]:
    """What `reset_classifier(OTHER_CLASSES)` does to a float64 model on the meta device.

    Returns:
        Parameters and buffers of another dtype or device, each with where it is; modules left in training mode that
        behave differently there; num_classes; the output.
    """

    def make() -> tuple[list[tuple[str, str]], list[str], int | None, Any]:
        model = double(subject)
        before = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
        # Not where models are built: the device must come from the model, not from its surroundings.
        model.reset_classifier(OTHER_CLASSES)  # type: ignore[operator]  # timm's models have it
        misplaced = [
            (name, f"{str(tensor.dtype).removeprefix('torch.')} on {tensor.device.type}")
            for name, tensor in (*model.named_parameters(), *model.named_buffers())
            if id(tensor) not in before
            and (tensor.device.type != "meta" or (tensor.is_floating_point() and tensor.dtype != torch.float64))
        ]
        training = [name for name, part in model.named_modules() if part.training and _minds_training(part)]
        model.eval().to(torch.float64)
        name_leaves(model, subject.ledger, subject.move_to_meta(model))
        images = subject.images.to(torch.float64)
        output = subject.run(lambda: model(images), model).output
        return misplaced, training, getattr(model, "num_classes", None), output

    return subject.once("reset to other", make)


def unpooled(subject: Subject) -> Any:
    """What the float64 model gives after `reset_classifier(0, '')`.

    Raises:
        Exception: whatever timm raises.
    """

    def make() -> Any:
        try:
            to_other(subject)
            model = double(subject)
        except Exception:  # noqa: BLE001  # that failure is another claim's: start from a model without it
            model = subject.build_headed().to(torch.float64)
        _reset(subject, model, 0, "")
        images = subject.images.to(torch.float64)
        return subject.run(lambda: model(images), model).output

    return subject.once("unpooled", make)


def _minds_training(module: torch.nn.Module) -> bool:
    """Whether the module's own code reads its `training` flag (a Linear does not, a Dropout does)."""
    return any("training" in _names_in(vars(kind).get("forward")) for kind in type(module).__mro__[:-2])


def _names_in(function: Callable[..., Any] | None) -> tuple[str, ...]:
    code = getattr(function, "__code__", None)
    return code.co_names if code is not None else ()
