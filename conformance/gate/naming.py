"""This module pairs models of two releases: a name may stand for another model, or other weights, than it did."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from conformance.release import Registry

Tags = tuple[str, str]
"""The weights that a name stands for before and after; an empty word is for those that the model has by default."""


@dataclass
class Paired:
    """Models of the older release with those that take their place."""

    pairs: dict[tuple[str, str], list[Tags]] = field(default_factory=dict)
    """By the models' names before and after, the weights that are wanted of them."""
    removed: list[str] = field(default_factory=list)
    """Names, as they were wanted, that the newer release does not know."""
    added: list[str] = field(default_factory=list)
    """Models that the older release does not know, and that take no model's place."""
    unknown: list[str] = field(default_factory=list)
    """Names that neither release has a model for: both call them deprecated, and put nothing in their place."""


def paired(words: Iterable[str], old: Registry, new: Registry) -> Paired:
    """The pairs that the words stand for: models, or names that one of the releases calls deprecated, with or without
    a tag.
    """
    found = Paired()
    followed = {place[0]: name for name in old.models if (place := _resolved(name, new)) is not None}
    followed |= {name: name for name in old.models}
    for word in words:
        name, _, tag = word.partition(".")
        left, right = _resolved(name, old), _resolved(name, new)
        if left is None and right is not None:
            before = followed.get(right[0])
            if before is None:
                found.added.append(right[0])
            else:
                _enter(found, before, right[0], ("", _resolved_tag(before, new)))
        elif left is not None and right is None:
            found.removed.append(word)
        elif left is not None and right is not None:
            _enter(found, left[0], right[0], (tag or left[1], tag or right[1]))
        else:
            found.unknown.append(word)
    return found


def _enter(found: Paired, before: str, after: str, tags: Tags) -> None:
    known = found.pairs.setdefault((before, after), [])
    if tags not in known:
        known.append(tags)


def _resolved(name: str, registry: Registry) -> Tags | None:
    """(model, tag) that a name stands for in a release, or None where it stands for nothing."""
    if name in registry.models:
        return name, ""
    model, _, tag = (registry.deprecated.get(name) or "").partition(".")
    return (model, tag) if model in registry.models else None


def _resolved_tag(name: str, registry: Registry) -> str:
    found = _resolved(name, registry)
    return "" if found is None else found[1]
