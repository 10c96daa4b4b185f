"""This module takes all that a timm model has to give from one pass through its backbone."""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

import torch
from torch.utils import _pytree


class NotSeparable(Exception):
    """The model does not separate into features, embedding and classifier. Its text says what it lacks."""


class Extracted(NamedTuple):
    """What one pass gives. As a tuple of tensors it survives `torch.export`.

    A process that loads a saved program which gives it must have asked for `conformance.Extracted` before: that
    makes its name known to torch.
    """

    unpooled: Any
    """What `forward_features` gives: a tensor of (batch, channels, height, width), (batch, height, width, channels) or
    (batch, tokens, channels), or a list of such where a model has several branches."""
    pre_logits: torch.Tensor
    """The pooled embedding, (batch, `model.head_hidden_size`)."""
    logits: torch.Tensor | None
    """What `model(x)` gives, (batch, `model.num_classes`); None for a model without classes."""


# Programs that give it can be saved: torch asks for a name that outlives the process.
_pytree._register_namedtuple(Extracted, serialized_type_name="conformance.Extracted")


def extract(model: torch.nn.Module, x: torch.Tensor) -> Extracted:
    """Features, embedding and logits of a batch of images `x`, (batch, channels, height, width), from one pass.

    For a model in eval mode: in training the head is applied twice, with other dropout and moving its statistics. And
    for a model as timm built it: hooks on it, a `forward` of the user's own and what wraps it are passed by.

    The logits come from the features, as `model(x)` makes them, and not from the embedding:
    `get_classifier()(pre_logits)` is something else, or fails, for about one model of timm in twelve. That the parts
    are what the model gives, and that taking one leaves the others alone, is what the claims `head_composes` and
    `head_is_pure` say.

    Raises:
        NotSeparable: the model lacks `forward_features` or `forward_head`, its `forward_head` takes no `pre_logits`, it
            is an encoder whose `forward_head` is not implemented, its embedding is not pooled, or its logits are no
            tensor.
    """
    for method in ("forward_features", "forward_head"):
        if not callable(getattr(model, method, None)):
            raise NotSeparable(f"{type(model).__name__} has no {method}; timm's models have one")
    if not _takes_pre_logits(model.forward_head):
        raise NotSeparable(f"{type(model).__name__}.forward_head takes no pre_logits; timm's models do")
    features = model.forward_features(x)  # type: ignore[operator]  # as was seen above
    try:
        pre_logits = model.forward_head(features, pre_logits=True)  # type: ignore[operator]
        logits = model.forward_head(features) if _classifies(model) else None  # type: ignore[operator]
    except NotImplementedError as error:
        raise NotSeparable(
            f"{type(model).__name__} is an encoder without a head ({error or 'forward_head is not implemented'}); "
            "call its forward_features"
        ) from error
    if not isinstance(pre_logits, torch.Tensor):
        raise NotSeparable(f"{type(model).__name__} gives {type(pre_logits).__name__} as pre_logits, not one tensor")
    if pre_logits.ndim != 2:
        shape = tuple(pre_logits.shape)
        raise NotSeparable(f"{type(model).__name__} gives pre_logits of {shape}, not pooled; reset its global_pool")
    if not isinstance(logits, torch.Tensor | None):
        raise NotSeparable(f"{type(model).__name__} gives {type(logits).__name__} as logits; call model.eval() first")
    return Extracted(features, pre_logits, logits)


def _classifies(model: torch.nn.Module) -> bool:
    """Whether there is a classifier: of a model of no classes a user may have put one there."""
    if getattr(model, "num_classes", None) != 0:
        return True
    classifier = getattr(model, "get_classifier", None)
    return callable(classifier) and not isinstance(classifier(), torch.nn.Identity | tuple | list | None)


def _takes_pre_logits(method: Any) -> bool:
    try:
        parameters = inspect.signature(method).parameters.values()
    except (TypeError, ValueError):  # compiled code says nothing of itself
        return True
    return any(one.name == "pre_logits" or one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters)
