"""This module is what a process that has one release of timm tells of it, for comparison with another release.

What a record does not carry: which weights a model loads, what its images must look like, what its state is called,
what its constructor assumes; the operations that it computes, with their lines in timm; what it computes from weights
of another release. Neither torch nor timm is needed to read them.
"""

from __future__ import annotations

from typing import Any

import msgspec

OUTPUTS = ("features", "pre_logits", "logits")
"""What is compared of a model, as records call it."""


class Pretrained(msgspec.Struct, frozen=True, kw_only=True):
    """One set of pretrained weights, as timm's `pretrained_cfg` declares it."""

    weights: dict[str, Any] = {}
    """Where they come from: `url` (with its hash, where timm names one), `file`, `hf_hub_id`, `hf_hub_filename`."""
    preprocessing: dict[str, Any] = {}
    """What `timm.data.resolve_data_config` makes of it, and sizes for testing."""
    head: dict[str, Any] = {}
    """Classes, labels, names of the first convolution and of the classifier."""


class Surface(msgspec.Struct, frozen=True, kw_only=True):
    """One model of one release."""

    model: str
    default_tag: str | None = None
    """The weights that `pretrained=True` loads; an empty word if they have no name, None if there are none."""
    pretrained: dict[str, Pretrained] = {}
    """By tag."""
    state: dict[str, str] = {}
    """What `state_dict()` has: dtype and shape by name."""
    constructor: dict[str, str] = {}
    """Default values of the arguments of the model's class."""
    problem: str | None = None
    """Why the model could not be looked at, if so: then only what is declared is known."""


class Registry(msgspec.Struct, frozen=True, kw_only=True):
    """The names of one release."""

    version: str
    models: tuple[str, ...]
    """As `list_models()` has them, in code point order."""
    deprecated: dict[str, str | None]
    """Names that are still understood, with the name (and perhaps the tag) that takes their place, or None."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One operation that an output is computed by, or one leaf."""

    digest: str | None
    """Equal for the same computation in any release; None if something fresh is in it."""
    operation: str
    """`aten.convolution.default`, or what a leaf is called: `parameter stem.0.weight`."""
    place: str | None = None
    """The innermost line of timm that asked for it, as `timm/layers/norm.py:71 (forward)`."""


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One output computed by two releases on the same images, from the same weights."""

    is_same: bool | None
    """Whether the difference is rounding; None if one cannot tell."""
    relative_error: float | None = None
    """The largest difference, relative to the size of the output; None if the outputs cannot be subtracted."""
    cosine_similarity: float | None = None
    """Of the two outputs for one image, flattened; the smallest of all images."""
    problem: str | None = None
    """Why one cannot tell, or why the outputs cannot be subtracted."""
    raises: bool = False
    """Whether that is an exception of one of the releases."""


class Carried(msgspec.Struct, frozen=True, kw_only=True):
    """What came of carrying the weights of one release to another."""

    outputs: dict[str, Measured]
    dtype: str
    """In which the outputs were computed."""
    loaded_by: str
    """`name`: the names of the state are the same; `timm`: timm's own filter for checkpoints gave them other names."""
