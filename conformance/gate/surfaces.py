"""This module compares what two releases say of a model: weights, preprocessing, state, constructor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from conformance.gate.changes import Kind
from conformance.gate.naming import Tags
from conformance.release import Pretrained, Surface

_EXAMPLES = 4


def surface_changes(
    before: Surface | None, after: Surface | None, tags: Sequence[Tags] = ()
) -> dict[Kind, tuple[str, ...]]:
    """By kind, a sentence for each thing that is not as it was; nothing where a release was not asked.

    `tags` are weights that names stand for in both releases; without, those that the models have by default count.
    """
    if before is None or after is None:
        return {}
    found: dict[Kind, list[str]] = {kind: [] for kind in (Kind.WEIGHTS, Kind.PREPROCESSING, Kind.CONSTRUCTOR)}
    for was, is_ in tags or [("", "")]:
        left, right = _meant(before, was), _meant(after, is_)
        found[Kind.WEIGHTS] += [*_default(left, right), *_pretrained(left, right, "weights")]
        found[Kind.PREPROCESSING] += _pretrained(left, right, "preprocessing")
        found[Kind.CONSTRUCTOR] += _pretrained(left, right, "head")
    found[Kind.WEIGHTS] += [f"the weights {tag!r} are gone" for tag in lost_tags(before, after)]
    found[Kind.CONSTRUCTOR] += _constructor(before, after)
    found[Kind.STATE_DICT] = [] if before.problem or after.problem else list(_state(before.state, after.state))
    return {kind: tuple(dict.fromkeys(sentences)) for kind, sentences in found.items() if sentences}


def lost_tags(before: Surface, after: Surface) -> list[str]:
    """Weights that only the older release declares under their name."""
    return sorted(tag for tag in before.pretrained if tag and tag not in after.pretrained)


def _meant(surface: Surface, tag: str) -> Surface:
    """The model as whoever names these weights has it."""
    return msgspec.structs.replace(surface, default_tag=tag) if tag in surface.pretrained and tag else surface


def _default(before: Surface, after: Surface) -> Iterable[str]:
    if before.default_tag != after.default_tag:
        # Tags came with timm 0.8: that weights have got a name changes nothing by itself.
        if before.default_tag == "" and _declared(before).weights == _declared(after).weights:
            return
        yield f"pretrained=True loaded {_tag(before.default_tag)} and loads {_tag(after.default_tag)}"


def _tag(tag: str | None) -> str:
    if tag is None:
        return "nothing"
    return repr(tag) if tag else "weights without a name"


def _declared(surface: Surface, tag: str | None = None) -> Pretrained:
    return surface.pretrained.get(surface.default_tag or "" if tag is None else tag, Pretrained())


def _pretrained(before: Surface, after: Surface, part: str) -> list[str]:
    """What is another in that part of each set of weights; the default ones are compared though their tag changed."""
    pairs = [
        (f" of {tag!r}", _declared(before, tag), _declared(after, tag))
        for tag in before.pretrained
        if tag and tag in after.pretrained
    ]
    if before.default_tag not in after.pretrained or not before.default_tag:
        pairs.append(("", _declared(before), _declared(after)))
    return [sentence for of, was, is_ in pairs for sentence in _fields(getattr(was, part), getattr(is_, part), of)]


def _fields(before: Mapping[str, Any], after: Mapping[str, Any], of: str) -> Iterable[str]:
    for key in dict.fromkeys([*before, *after]):
        if before.get(key) != after.get(key):
            yield f"{key}{of} was {_value(before.get(key))} and is {_value(after.get(key))}"


def _value(value: Any) -> str:
    if value is None:
        return "not given"
    if isinstance(value, list):
        return f"({', '.join(map(str, value))})"
    return str(value)


def _constructor(before: Surface, after: Surface) -> Iterable[str]:
    was, is_ = before.constructor, after.constructor
    for name in was:
        if name not in is_:
            yield f"the argument {name} (by default {was[name]}) is gone"
        elif was[name] != is_[name]:
            yield f"the argument {name} was by default {was[name]} and is {is_[name]}"


def _state(before: Mapping[str, str], after: Mapping[str, str]) -> Iterable[str]:
    gone = [name for name in before if name not in after]
    come = [name for name in after if name not in before]
    other = [
        f"{name} ({before[name]}, now {after[name]})"
        for name in before
        if name in after and before[name] != after[name]
    ]
    for names, what in ((gone, "no longer there"), (come, "new"), (other, "of another shape or dtype")):
        if names:
            more = f" and {len(names) - _EXAMPLES} more" if len(names) > _EXAMPLES else ""
            yield f"{what}: {', '.join(names[:_EXAMPLES])}{more}"
