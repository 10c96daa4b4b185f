"""This module looks at what modules keep in Python: attributes and what these hold, their classes, their globals.

No dispatch mode sees it, and a computation may depend on all of it. Whatever cannot be looked into is named, so that
nothing is proved of what may be hidden there.
"""

from __future__ import annotations

import functools
import io
import operator
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from conformance.engine.held import (
    CONSTANT,
    CONTAINERS,
    END,
    FACTS,
    LOOKS,
    PLAIN,
    Facts,
    Unwatchable,
    is_of_others,
    memory_of_tensor,
    within,
)
from conformance.engine.likeness import Likeness
from conformance.engine.operands import PLAIN_TENSORS
from conformance.engine.unseen import UNHEARD

DEPTH = 3
"""Levels of what stands in the globals of a file that are looked at."""

LIMIT = 1_000_000
"""Objects that are looked at; a model that holds more cannot be watched."""

KINDS_OF_UNHEARD = frozenset(map(type, UNHEARD))


def parts_of(*modules: torch.nn.Module) -> list[torch.nn.Module]:
    """The modules and all below them, each once: what `Module.modules` gives, which is slow in deep models."""
    found: dict[int, torch.nn.Module] = {}
    pending = list(reversed(modules))
    while pending:
        part = pending.pop()
        if id(part) not in found:
            found[id(part)] = part
            pending.extend([child for child in reversed(part._modules.values()) if child is not None])
    return list(found.values())


class State:
    """What modules keep at one moment, to be compared with what they keep later.

    That is every attribute and whatever can be reached from it (containers, objects, functions with what they close
    over, modules that are no submodules, arrays and tensors by their bytes where they have any), what the modules'
    classes hold, and, three levels deep, the globals of the Python modules that define these classes, with the classes
    that are defined there.
    """

    def __init__(self, modules: Iterable[torch.nn.Module], *, reads_bytes: bool = True) -> None:
        self._reads_bytes = reads_bytes  # or else what torch knows of writes has to do
        self.parts = parts_of(*modules)
        """The modules and all below them."""
        self._kinds = list(map(type, self.parts))
        self._classes, self._torchs = _classes_of(frozenset(self._kinds))
        self._before = self._now()

    def _now(self) -> list[_Held]:
        seen = {id(part) for part in self.parts}
        reads = self._reads_bytes
        held = [_Held(type(part).__name__, vars(part), seen, reads) for part in self.parts]
        held += [_Held(kind.__name__, vars(kind), seen, reads) for kind in self._classes]
        held += [_Held(kind.__name__, vars(kind), None, reads, depth=0) for kind in self._torchs]
        files = dict.fromkeys(kind.__module__ for kind in self._classes)
        return held + [_Held(name, _globals_of(name), None, reads) for name in files if name in sys.modules]

    def tensors(self) -> list[torch.Tensor]:
        """Every plain tensor that is kept now."""
        now = [value for held in self._now() for value in (*held.values, *held.inside)]
        return [value for value in now if type(value) in PLAIN_TENSORS]

    def is_equal(self, are_equal: Callable[[torch.Tensor, torch.Tensor], bool]) -> bool:
        """Whether all that is kept is what it was, or stands in place of something that it is equal to.

        `are_equal` is asked of plain tensors. Lists, tuples and dictionaries may be others that hold the same; all
        else, parameters, buffers and what stands in the globals of files must be what they were.
        """
        if list(map(type, self.parts)) != self._kinds:
            return False
        likeness = Likeness(are_equal)
        own = {id(tensor) for part in self.parts for tensor in (*part._parameters.values(), *part._buffers.values())}
        pairs = zip(self._before, self._now(), strict=True)
        return all(before.is_equal(now, likeness) for before, now in pairs) and not own & likeness.replaced

    def changes(self) -> list[str]:
        """`Class.attribute` of everything that is not what it was, or that nobody can watch."""
        found: dict[str, None] = {}
        for part, kind in zip(self.parts, self._kinds, strict=True):
            if type(part) is not kind:
                found[f"the class of a {kind.__name__} changed"] = None
        for before, now in zip(self._before, self._now(), strict=True):
            change = before.difference(now)
            if change is not None:
                found[change] = None
        return list(found)


_PYTHONS_OWN = frozenset(
    {*vars(types.ModuleType("any")), "__builtins__", "__cached__", "__file__", "__warningregistry__"}
)
"""Globals that are not a file's own."""


def _globals_of(name: str) -> dict[str, Any]:
    return {key: value for key, value in vars(sys.modules[name]).items() if key not in _PYTHONS_OWN}


class _Held:
    """The attributes of one object and, flat and in a fixed order, everything that these hold.

    `seen` are the objects that were looked into, by identity, each of them held by somebody; None looks as at globals,
    `depth` levels of what stands there.
    """

    def __init__(
        self,
        name: str,
        attributes: Mapping[str, Any],
        seen: set[int] | None,
        reads_bytes: bool,
        *,
        depth: int = DEPTH,
    ) -> None:
        self.name = name
        self.names = list(attributes)
        self.values = list(attributes.values())
        self.inside: list[Any] = []
        self.unwatchable: str | None = None
        self._reads_bytes = reads_bytes
        self._is_global = seen is None
        self._kept = list(self.values)  # so that no identity is used again
        if seen is not None:
            self.values = [type(value) if type(value) in BY_ITEMS else value for value in self.values]
        try:
            for value in attributes.values() if seen is not None or depth else ():
                kind = type(value)
                if kind in PLAIN or (kind in CONTAINERS and not value):
                    continue
                if seen is not None:
                    self._look_into(value, seen)
                else:
                    self._look_at_global(value, kind, depth)
        except Unwatchable as why:
            self.unwatchable = str(why)
        except Exception as error:  # noqa: BLE001  # whatever looking at an object of a model's own may raise
            self.unwatchable = f"something that raises {type(error).__name__} when it is looked at"

    def _look_at_global(self, value: Any, kind: type, depth: int) -> None:
        """So many levels of what it holds, and what is compared by value."""
        _must_be_heard(value, kind)
        if kind is types.FunctionType and not is_of_others(value):  # one of another file may have them there
            for name in value.__code__.co_names:
                used = value.__globals__.get(name)
                _must_be_heard(used, type(used))
        if kind in FACTS:
            self.inside.append(FACTS[kind](value))
        items = self._of_global(value, kind)
        self.inside.extend(items)
        for item in items if depth > 1 else ():
            if type(item) not in PLAIN:
                self._look_at_global(item, type(item), depth - 1)
        if len(self.inside) > LIMIT:
            raise Unwatchable("more objects than can be watched")

    def _of_global(self, value: Any, kind: type) -> list[Any]:
        if kind in CONSTANT or kind in CONTAINERS:
            return list(CONTAINERS[kind](value)) if kind in CONTAINERS else []
        if issubclass(kind, type):
            if getattr(value, "__module__", None) != self.name:  # looked at where it is at home, if at all
                return []
            return [held for name, held in vars(value).items() if not name.startswith("__")]
        if issubclass(kind, io.IOBase):
            return []
        if issubclass(kind, torch.jit.ScriptModule):
            raise Unwatchable("compiled code, which keeps attributes of its own")
        if kind not in LOOKS and any("__next__" in vars(base) for base in kind.__mro__):
            raise Unwatchable(f"an iterator of class {kind.__name__}")
        try:
            return [held for held in within(value, kind) if held is not kind]
        except Unwatchable:  # what is compiled: a tokenizer, a pool of threads
            return []

    def _look_into(self, value: Any, seen: set[int]) -> None:
        inside, pending = self.inside, [value]
        while pending:
            value = pending.pop()
            kind = type(value)
            self._kept.append(value)
            inside.append(kind if kind in BY_ITEMS else value)
            _must_be_heard(value, kind)
            if kind in PLAIN or kind in CONSTANT or (id(value) in seen and kind not in BY_ITEMS):
                continue
            seen.add(id(value))
            if kind in CONTAINERS and not value:
                inside.append(0)
                continue
            if kind in FACTS:
                facts = FACTS[kind] if self._reads_bytes or kind not in PLAIN_TENSORS else memory_of_tensor
                inside.append(facts(value))
            parts = within(value, kind)
            if parts:
                inside.append(len(parts))
                pending.extend(parts)
            if len(inside) > LIMIT:
                raise Unwatchable("more objects than can be watched")

    def is_equal(self, now: _Held, likeness: Likeness) -> bool:
        """Whether all is what it was, or stands in place of something that it is equal to."""
        if self.unwatchable or now.unwatchable:
            return False
        if self._is_global:
            return self.difference(now) is None
        return (
            self.names == now.names
            and likeness.of_flat(self.inside, now.inside)
            and likeness.of_flat(self.values, now.values)
        )

    def difference(self, now: _Held) -> str | None:
        """`Class.attribute` of the first that is not what it was."""
        if self.unwatchable or now.unwatchable:
            return f"{self.name} holds {self.unwatchable or now.unwatchable}"
        if self.names == now.names and _are_same(self.values, now.values) and _are_same(self.inside, now.inside):
            return None
        old, new = dict(zip(self.names, self.values, strict=True)), dict(zip(now.names, now.values, strict=True))
        changed = (name for name in {**old, **new} if not _are_same([old.get(name, END)], [new.get(name, END)]))
        return f"the attribute {self.name}.{next(changed, 'of a container')} changed"


def _must_be_heard(value: Any, kind: type) -> None:
    if kind in KINDS_OF_UNHEARD and value in UNHEARD:
        raise Unwatchable(f"{value.__name__}, which hides work")


BY_ITEMS = (tuple, torch.Size)
"""What is compared by its items alone: `self.grid = (height, width)` at every call changes nothing."""


def _are_same(left: list[Any], right: list[Any]) -> bool:
    if len(left) != len(right):
        return False
    return all(map(operator.is_, left, right)) or all(map(_is_same, left, right))


def _is_same(left: Any, right: Any) -> bool:
    kind = type(left)
    if left is right:
        return True
    return kind is type(right) and (
        left == right if issubclass(kind, Facts) else kind in PLAIN and repr(left) == repr(right)
    )


@functools.lru_cache(maxsize=256)
def _classes_of(kinds: frozenset[type]) -> tuple[list[type], list[type]]:
    """The classes, bases and metaclasses that are not torch's or Python's own, in a fixed order; and torch's."""
    bases = {base for kind in kinds for base in kind.__mro__}
    bases |= {base for kind in map(type, bases) for base in kind.__mro__}
    known = sorted(bases, key=lambda kind: (str(kind.__module__), kind.__qualname__, id(kind)))
    torchs = [kind for kind in known if str(kind.__module__).startswith("torch.")]
    return [kind for kind in known if not is_of_others(kind)], torchs
