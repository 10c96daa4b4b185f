"""This module asks what of a model its outputs depend on, and in which dtype they come."""

from __future__ import annotations

from typing import Any

import torch

from conformance.subject import resets
from conformance.subject.build import named_tensors
from conformance.subject.passes import tensors_of
from conformance.subject.subject import Subject


def unused_parameters(subject: Subject) -> list[str]:
    """Names of trainable parameters that the output of the headed model does not depend on, sorted.

    Parameters that share memory with a used one are used.
    """
    number = subject.forward.number
    assert number is not None
    used: set[str] = set()
    for node in subject.ledger.values.reached_from([number]):
        if node.label == "leaf.weights":
            used.update(str(entry[0]) for entry in node.payload if isinstance(entry, tuple))
    return sorted(
        name
        for kind, name, tensor in named_tensors(subject.headed)
        if kind == "parameter" and tensor.requires_grad and f"parameter {name}" not in used
    )


def is_last_applied(subject: Subject, names: list[str]) -> bool | None:
    """Whether the logits are what the one named module gave, or are made of nothing but what the named modules gave.

    Returns:
        None where the pass could not be numbered.
    """
    model, given = subject.headed, []
    modules = dict(model.named_modules())
    hooks = [
        modules[name].register_forward_hook(lambda _module, _inputs, output: given.append(output)) for name in names
    ]

    features = subject.features.output

    def call() -> list[torch.Tensor]:
        given.clear()
        logits = model.forward_head(features)  # type: ignore[operator]  # timm's models have it
        return [tensor.flatten() for tensor in (*tensors_of(logits), *tensors_of(given))]

    try:
        taken = subject.run(call, model, writable=tensors_of(features))
    finally:
        for hook in hooks:
            hook.remove()
    if not taken.is_provable:
        return None
    assert taken.number is not None
    values = subject.ledger.values
    logits, *outputs = values.node(taken.number).children
    if not outputs:
        return False
    if len(names) == 1:
        return logits == outputs[-1]
    cut = {child for output in outputs for child in (output, *values.node(output).children)}
    return not any(node.label.startswith("leaf.") for node in values.reached_from([logits], cut))


def output_in(subject: Subject, dtype: torch.dtype) -> Any:
    """What a model gives that ran once in float32, was converted to `dtype` and is given images of it."""

    def make() -> Any:
        try:
            resets.none_to_other(subject)
            model = subject.spare()
        except Exception:  # noqa: BLE001  # resetting is another claim's business: take a model that was not
            model = subject.another()
            images = subject.images
            subject.run(lambda: model(images), model)
        subject.construct(lambda: model.to(dtype))
        converted = subject.images.to(dtype)
        return subject.run(lambda: model(converted), model).output

    return subject.once(f"output in {dtype}", make)
