"""This module asks what of a model its outputs depend on, and in which dtype they come."""

from __future__ import annotations

from typing import Any

import torch

from conformance.engine.rewrites import FLOATING
from conformance.engine.state import Onlooker
from conformance.engine.values import Node
from conformance.subject import resets
from conformance.subject.build import named_tensors
from conformance.subject.passes import tensors_of
from conformance.subject.subject import Subject


def unused_parameters(subject: Subject) -> list[str]:
    """Names of trainable parameters that the output of the headed model does not depend on, sorted.

    Parameters that share memory with a used one are used. Where the model cuts something off from gradients, what
    autograd reaches counts: that is what DistributedDataParallel looks at.
    """
    trainable = [
        (name, tensor)
        for kind, name, tensor in named_tensors(subject.headed)
        if kind == "parameter" and tensor.requires_grad
    ]
    if subject.forward.detached:
        reached = _reached_by_autograd(subject.headed, subject.images)
        return sorted(name for name, tensor in trainable if id(tensor) not in reached)
    number = subject.forward.number
    assert number is not None
    used: set[str] = set()
    for node in subject.ledger.values.reached_from([number], goes_on=_carries_gradients):
        if node.label == "leaf.weights":
            used.update(str(entry[0]) for entry in node.payload if isinstance(entry, tuple))
    return sorted(name for name, _ in trainable if f"parameter {name}" not in used)


def _carries_gradients(node: Node) -> bool:
    """Whether gradients pass: not through indices, masks and whatever else counts in whole numbers."""
    return node.label != "tensor" or node.payload[3] in FLOATING or str(node.payload[3]).startswith("torch.complex")


def _reached_by_autograd(model: torch.nn.Module, images: torch.Tensor) -> set[int]:
    """Ids of the parameters in the graph of the output, eval mode."""
    with torch.enable_grad():
        outputs = tensors_of(model(images))
    pending: list[Any] = [tensor.grad_fn for tensor in outputs]
    seen: set[Any] = set()
    reached: set[int] = set()
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            reached.add(id(node.variable))
        pending.extend(function for function, _ in node.next_functions)
    return reached


COMBINING = frozenset(
    {
        "copy", "elements", "result", "tensor",
        "aten.add.Tensor", "aten.div.Tensor", "aten.max.dim", "aten.mean.dim", "aten.mul.Tensor", "aten.stack.default",
    }
)  # fmt: skip
"""What may be done with the outputs of several classifiers: averages and weighted sums of them."""


class _Catcher(Onlooker):
    """A forward hook that keeps what its module gave under the module's name."""

    def __init__(self, name: str, given: dict[str, Any]) -> None:
        self._name, self._given = name, given

    def __call__(self, _module: torch.nn.Module, _inputs: Any, output: Any) -> None:
        self._given[self._name] = output


def is_last_applied(subject: Subject, names: list[str]) -> bool | None:
    """Whether the logits are what the one named module gave, or a combination of what all the named modules gave.

    Returns:
        None where that is not proved; False where a named module had no part in the logits.
    """
    model, features = subject.headed, subject.features.output
    given: dict[str, Any] = {}
    modules = dict(model.named_modules())
    hooks = [modules[name].register_forward_hook(_Catcher(name, given)) for name in names]

    def call() -> list[torch.Tensor]:
        given.clear()
        logits = model.forward_head(features)  # type: ignore[operator]  # timm's models have it
        return [tensor.flatten() for tensor in (*tensors_of(logits), *tensors_of(list(given.values())))]

    try:
        taken = subject.run(call, model, writable=tensors_of(features))
    finally:
        for hook in hooks:
            hook.remove()
    if len(given) < len(names):
        return False
    if not taken.is_provable:
        return None
    assert taken.number is not None
    values = subject.ledger.values
    logits, *outputs = values.node(taken.number).children
    if len(names) == 1:
        return True if logits == outputs[-1] else None
    cut = {child for output in outputs for child in (output, *values.node(output).children)}
    combined = all(node.label in COMBINING for node in values.reached_from([logits], cut))
    return True if combined else None


def output_in(subject: Subject, dtype: torch.dtype) -> Any:
    """What a model gives that ran once in float32, was converted to `dtype` and is given images of it."""

    def make() -> Any:
        try:
            resets.none_to_other(subject)
            model = subject.spare()
        except Exception:  # noqa: BLE001  # resetting is another claim's business: take a model that was not
            model = subject.another_that_ran()
        subject.construct(lambda: model.to(dtype))
        converted = subject.images.to(dtype)
        return subject.look(lambda: model(converted))

    return subject.once(f"output in {dtype}", make)
