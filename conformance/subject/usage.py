"""This module asks what of a model its outputs depend on, and in which dtype they come."""

from __future__ import annotations

from typing import Any

import torch

from conformance.engine.measure import Difference, difference
from conformance.engine.rewrites import FLOATING
from conformance.engine.values import Node
from conformance.subject import resets
from conformance.subject.build import named_tensors
from conformance.subject.passes import Pass, tensors_of
from conformance.subject.real import RealPass
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
    if subject.forward.detached or subject.measures:
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


def caught(subject: Subject, names: list[str]) -> tuple[Pass, set[str]]:
    """One call of `forward_head` on the features in which the named modules are listened to.

    Returns:
        The call, which gives the logits and then a copy of what each of the modules gave as it gave it, in order of
        `names`; and the modules that were not called.
    """
    model, features = subject.headed, subject.features.output
    modules = dict(model.named_modules())
    given: dict[str, list[torch.Tensor]] = {}

    def call() -> list[torch.Tensor]:
        given.clear()
        # What is computed in place afterwards must not reach the copies.
        hooks = [
            modules[name].register_forward_hook(
                lambda _module, _inputs, output, name=name: given.update(
                    {name: [tensor.clone() for tensor in tensors_of(output)]}
                )
            )
            for name in names
        ]
        try:
            logits = model.forward_head(features)  # type: ignore[operator]  # timm's models have it
        finally:
            for hook in hooks:
                hook.remove()
        return [*tensors_of(logits), *(tensor for name in names for tensor in given.get(name, []))]

    taken = subject.run(call, model, writable=tensors_of(features))
    return taken, {name for name in names if name not in given}


def is_last_applied(subject: Subject, taken: Pass) -> bool:
    """Whether it is proved of a `caught` call that the logits combine what the modules gave.

    One module's output is the logits, or they are elements of it; of several they are a mean or a weighted sum.
    """
    if not taken.is_provable:
        return False
    assert taken.number is not None
    values, content = subject.ledger.values, subject.ledger.content
    logits, *outputs = taken.output
    number, *others = values.node(taken.number).children
    if len(others) == 1:
        stored = (logits.untyped_storage(), outputs[0].untyped_storage())
        return number == others[0] or content(stored[0]) == content(stored[1])
    cut = {child for other in others for child in (other, *values.node(other).children)}
    return all(node.label in COMBINING for node in values.reached_from([number], cut))


def from_mean(taken: RealPass) -> Difference:
    """How far the logits of a `caught` call are from the mean of what the modules gave, all of one shape."""

    def parts(tensors: list[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        logits, *outputs = tensors
        return [logits], [torch.stack(outputs).mean(0)]

    return difference(*parts(taken.as_given), *parts(tensors_of(taken.again())))


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
