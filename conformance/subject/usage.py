"""This module asks what of a model its outputs depend on, and in which dtype they come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch

from conformance.engine.measure import Difference, difference
from conformance.engine.values import Node
from conformance.subject.passes import Pass, handed_on, tensors_of
from conformance.subject.real import RealPass
from conformance.subject.subject import Subject


def unused_parameters(subject: Subject) -> list[str]:
    """Names of trainable parameters that no gradient of the output reaches, in eval mode, sorted.

    That is what DistributedDataParallel looks at. Dependence of the numbers is another matter: a mask depends on what
    it is made of, and a function of one's own says what its gradients are.
    """
    # One that has not run: what it keeps from a run without gradients has none.
    model, images = subject.another(), subject.images
    named = list(model.named_parameters(remove_duplicate=False))
    trainable = [(name, parameter) for name, parameter in named if parameter.requires_grad]
    with subject.differentiating():
        outputs = [tensor for tensor in tensors_of(model(images)) if tensor.requires_grad]
        nodes = _graph_of(outputs)
        reached = {id(node.variable) for node in nodes if hasattr(node, "variable")}
        if any(isinstance(node, torch.autograd.function.BackwardCFunction) for node in nodes):
            # A function of the model's own may give nothing back. Reentrant checkpoints refuse `torch.autograd.grad`.
            torch.autograd.backward(outputs, [torch.ones_like(tensor) for tensor in outputs])
            reached = {id(parameter) for _, parameter in trainable if parameter.grad is not None}
    return sorted(name for name, parameter in trainable if id(parameter) not in reached)


def _graph_of(outputs: list[torch.Tensor]) -> set[Any]:
    """The nodes of the graph that gives the outputs' gradients."""
    pending: list[Any] = [tensor.grad_fn for tensor in outputs]
    seen: set[Any] = set()
    while pending:
        node = pending.pop()
        if node is not None and node not in seen:
            seen.add(node)
            pending.extend(function for function, _ in node.next_functions)
    return seen


COMBINING = frozenset(
    {
        "copy", "elements", "result", "tensor",
        "aten.add.Tensor", "aten.div.Tensor", "aten.max.dim", "aten.mean.dim", "aten.mul.Tensor", "aten.stack.default",
    }
)  # fmt: skip
"""What may be done with the outputs of several classifiers: averages, and sums with constant weights."""


def _combines(node: Node, dtype: str) -> bool:
    if node.label in ("copy", "elements", "tensor") and node.payload[3] != dtype:  # a cast rounds
        return False
    by_tensor = node.label in ("aten.mul.Tensor", "aten.div.Tensor") and len(node.children) > 1
    of_a_number = node.label == "aten.add.Tensor" and len(node.children) == 1  # what no classifier gave
    return node.label in COMBINING and not by_tensor and not of_a_number


def caught(subject: Subject, names: list[str]) -> tuple[Pass, dict[str, int]]:
    """One call of `forward_head` on the features in which the named modules are listened to.

    Returns:
        The call, which gives the logits and then a copy of what each of the modules gave as it gave it, in order of
        `names`; and how often each was called.
    """
    model, features = subject.headed, subject.features.output
    modules = dict(model.named_modules())
    given: dict[str, list[torch.Tensor]] = {}
    calls: Counter[str] = Counter()

    def catch(name: str, output: Any) -> None:
        # What is computed in place afterwards must not reach the copies.
        given[name] = [tensor.clone() for tensor in tensors_of(output)]
        calls[name] += 1

    def call() -> list[torch.Tensor]:
        given.clear()
        calls.clear()
        hooks = [
            modules[name].register_forward_hook(lambda _module, _inputs, output, name=name: catch(name, output))
            for name in names
        ]
        try:
            logits = model.forward_head(handed_on(features))  # type: ignore[operator]  # timm's models have it
        finally:
            for hook in hooks:
                hook.remove()
        return [*tensors_of(logits), *(tensor for name in names for tensor in given.get(name, []))]

    taken = subject.run(call, model, writable=tensors_of(features))
    return taken, {name: calls[name] for name in names}


def has_part(subject: Subject, name: str) -> bool | None:
    """Whether `forward_head` makes logits with a parameter of the module of that name; None where that cannot be told.

    What features are made with has no part in that.
    """
    logits, values = subject.logits, subject.ledger.values
    if not logits.is_provable:
        return None
    assert logits.number is not None
    given = {subject.ledger.content(tensor.untyped_storage()) for tensor in tensors_of(subject.features.output)}
    reached = map(values.node, values.numbers_reached_from([logits.number], without=given))
    leaves = (node for node in reached if node.label == "leaf.weights")
    return any(str(entry[0]).startswith(f"parameter {name}.") for leaf in leaves for entry in leaf.payload[:-1])  # type: ignore[index]  # (name, geometry, bytes)


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
    cut = [{other, *values.node(other).children} for other in others]
    reached = set(values.numbers_reached_from([number], without=set().union(*cut)))
    has_part = all(one & reached for one in cut)
    return has_part and all(_combines(values.node(one), str(logits.dtype)) for one in reached - set().union(*cut))


def from_outputs(taken: RealPass) -> Difference:
    """How far the logits of a `caught` call are from the mean or the sum of what the modules gave, the nearer one."""

    def difference_from(combine: Callable[[torch.Tensor], torch.Tensor]) -> Difference:
        def parts(tensors: list[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
            logits, *outputs = tensors
            return [logits], [combine(torch.stack([output.reshape(logits.shape) for output in outputs]))]

        return difference(*parts(taken.as_given), *parts(tensors_of(repeated)), coarsest)

    repeated, coarsest = taken.again(False)
    candidates = (difference_from(lambda stacked: stacked.mean(0)), difference_from(lambda stacked: stacked.sum(0)))
    return min(candidates, key=lambda one: one.error)


def is_chosen_from(logits: torch.Tensor, *outputs: torch.Tensor) -> bool:
    """Whether a module gave (batch, …, classes), of one token or place of which the logits are a copy."""
    if len(outputs) != 1 or outputs[0].ndim < 3 or logits.ndim != 2 or outputs[0].shape[-1] != logits.shape[-1]:
        return False
    return any(torch.equal(place, logits) for place in outputs[0].flatten(1, -2).unbind(1))


def output_in(subject: Subject, dtype: torch.dtype) -> Any:
    """What a model gives that ran once in float32, was converted to `dtype` and is given images of it."""

    def make() -> Any:
        model = subject.another_that_ran()
        subject.construct(lambda: model.to(dtype))
        converted = subject.images.to(dtype)
        return subject.look(lambda: model(converted))

    return subject.once(f"output in {dtype}", make)
