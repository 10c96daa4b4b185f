"""This module looks at what modules keep in Python: attributes and what these hold, their classes, their globals.

No dispatch mode sees it, and a computation may depend on all of it. Whatever cannot be looked into is named, so that
nothing is proved of what may be hidden there.
"""

from __future__ import annotations

import _thread
import abc
import datetime
import decimal
import functools
import itertools
import logging
import operator
import pathlib
import random
import re
import sys
import types
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch

from conformance.engine.operands import PLAIN_TENSORS, Unmodelled, digest_of_bytes, must_be_modelled

PLAIN: frozenset[type] = frozenset({int, float, complex, str, bytes, bool, type(None)})
"""Classes whose objects are compared by what they are."""

CONSTANT = frozenset(
    {
        torch.device, torch.dtype, torch.layout, torch.memory_format, torch.jit.ScriptFunction,
        types.ModuleType, types.WrapperDescriptorType, types.MethodDescriptorType, type(vars(abc.ABC)["_abc_impl"]),
        datetime.date, datetime.datetime, datetime.timedelta, decimal.Decimal, pathlib.PosixPath,
        types.GetSetDescriptorType, types.MemberDescriptorType, types.CodeType,
        types.GenericAlias, types.UnionType, range, slice, re.Pattern, type(...), type(NotImplemented),
        logging.Logger, _thread.LockType, _thread.RLock,
    }
)  # fmt: skip
"""Classes whose objects are compared by identity alone: they hold nothing, or nothing that a model computes with."""

DEPTH = 3
"""Levels of what stands in the globals of a file that are looked at."""

LIMIT = 1_000_000
"""Objects that are looked at; a model that holds more cannot be watched."""


class Unwatchable(Exception):  # a fact about an object, not a fault of the program
    """Something that may keep state where nobody sees it."""


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
        self._parts = parts_of(*modules)
        self._classes = _classes_of(frozenset(map(type, self._parts)))
        self._before = self._now()

    def _now(self) -> list[_Held]:
        seen = {id(part) for part in self._parts}
        reads = self._reads_bytes
        held = [_Held(type(part).__name__, vars(part), seen, reads) for part in self._parts]
        held += [_Held(kind.__name__, vars(kind), seen, reads) for kind in self._classes]
        files = dict.fromkeys(kind.__module__ for kind in self._classes)
        return held + [_Held(name, _globals_of(name), None, reads) for name in files if name in sys.modules]

    def tensors(self) -> list[torch.Tensor]:
        """Every plain tensor that is kept now."""
        now = [value for held in self._now() for value in (*held.values, *held.inside)]
        return [value for value in now if type(value) in PLAIN_TENSORS]

    def changes(self) -> list[str]:
        """`Class.attribute` of everything that is not what it was, or that nobody can watch."""
        found: dict[str, None] = {}
        for before, now in zip(self._before, self._now(), strict=True):
            change = before.difference(now)
            if change is not None:
                found[change] = None
        return list(found)


def _globals_of(name: str) -> dict[str, Any]:
    return {key: value for key, value in vars(sys.modules[name]).items() if key != "__warningregistry__"}


class _Held:
    """The attributes of one object and, flat and in a fixed order, everything that these hold.

    `seen` are the objects that were looked into, by identity, each of them held by somebody; None looks as at globals.
    """

    def __init__(self, name: str, attributes: Mapping[str, Any], seen: set[int] | None, reads_bytes: bool) -> None:
        self.name = name
        self.names = list(attributes)
        self.values = list(attributes.values())
        self.inside: list[Any] = []
        self.unwatchable: str | None = None
        self._reads_bytes = reads_bytes
        self._kept = list(self.values)  # so that no identity is used again
        if seen is not None:
            self.values = [type(value) if type(value) in BY_ITEMS else value for value in self.values]
        try:
            for value in attributes.values():
                kind = type(value)
                if kind in PLAIN or (kind in CONTAINERS and not value):
                    continue
                if seen is not None:
                    self._look_into(value, seen)
                else:
                    self._look_at_global(value, kind, DEPTH)
        except Unwatchable as why:
            self.unwatchable = str(why)

    def _look_at_global(self, value: Any, kind: type, depth: int) -> None:
        """So many levels of containers and plain objects, and what is compared by value."""
        if kind in FACTS:
            self.inside.append(FACTS[kind](value))
            return
        items = self._of_global(value, kind)
        self.inside.extend(items)
        for item in items if depth > 1 else ():
            if type(item) not in PLAIN:
                self._look_at_global(item, type(item), depth - 1)
        if len(self.inside) > LIMIT:
            raise Unwatchable("more objects than can be watched")

    def _of_global(self, value: Any, kind: type) -> list[Any]:
        container = _container_of(kind)
        if container is not None:
            return list(CONTAINERS[container](value))
        if kind is types.FunctionType:
            return _of_dict(value.__dict__) if value.__dict__ else []
        if issubclass(kind, type):
            if getattr(value, "__module__", None) != self.name:  # looked at where it is at home, if at all
                return []
            return [held for name, held in vars(value).items() if not name.startswith("__")]
        if kind is types.SimpleNamespace or not (kind in CONSTANT or kind in LOOKS or _is_of_others(kind)):
            own = getattr(value, "__dict__", None)
            return _of_dict(own) if type(own) is dict else []
        return []

    def _look_into(self, value: Any, seen: set[int]) -> None:
        inside, pending = self.inside, [value]
        while pending:
            value = pending.pop()
            kind = type(value)
            self._kept.append(value)
            inside.append(kind if kind in BY_ITEMS else value)
            if kind in PLAIN or kind in CONSTANT or (id(value) in seen and kind not in BY_ITEMS):
                continue
            seen.add(id(value))
            if kind in CONTAINERS and not value:
                continue
            if kind in FACTS:
                facts = FACTS[kind] if self._reads_bytes or kind not in PLAIN_TENSORS else _memory_of_tensor
                inside.append(facts(value))
            within = _within(value, kind)
            if within:
                inside.append(len(within))
                pending.extend(within)
            if len(inside) > LIMIT:
                raise Unwatchable("more objects than can be watched")

    def difference(self, now: _Held) -> str | None:
        """`Class.attribute` of the first that is not what it was."""
        if self.unwatchable or now.unwatchable:
            return f"{self.name} holds {self.unwatchable or now.unwatchable}"
        if self.names == now.names and _are_same(self.values, now.values) and _are_same(self.inside, now.inside):
            return None
        old, new = dict(zip(self.names, self.values, strict=True)), dict(zip(now.names, now.values, strict=True))
        changed = (name for name in {**old, **new} if not _are_same([old.get(name, END)], [new.get(name, END)]))
        return f"the attribute {self.name}.{next(changed, 'of a container')} changed"


BY_ITEMS = (tuple, torch.Size)
"""What is compared by its items alone: `self.grid = (height, width)` at every call changes nothing."""

END = object()
"""No attribute's value."""


class _Facts(tuple[object, ...]):
    """What is compared by value."""


def _are_same(left: list[Any], right: list[Any]) -> bool:
    if len(left) != len(right):
        return False
    return all(map(operator.is_, left, right)) or all(map(_is_same, left, right))


def _is_same(left: Any, right: Any) -> bool:
    kind = type(left)
    if left is right:
        return True
    return kind is type(right) and (left == right if kind is _Facts else kind in PLAIN and repr(left) == repr(right))


@functools.lru_cache(maxsize=256)
def _classes_of(kinds: frozenset[type]) -> list[type]:
    """The classes and their bases that are not torch's or Python's own, in a fixed order."""
    bases = {base for kind in kinds for base in kind.__mro__}
    return sorted(
        (kind for kind in bases if not _is_of_others(kind)),
        key=lambda kind: (kind.__module__, kind.__qualname__, id(kind)),
    )


def _is_of_others(kind: type) -> bool:
    """Whether a class is torch's or Python's own: it keeps nothing of a model's."""
    return str(getattr(kind, "__module__", "")).partition(".")[0] in _OTHERS


_OTHERS = frozenset({*sys.stdlib_module_names, "torch", "numpy"})


def _of_dict(value: Any) -> list[Any]:
    return [*dict.keys(value), *dict.values(value)]


CONTAINERS: dict[type, Callable[[Any], Iterable[Any]]] = {
    dict: _of_dict,
    list: list.__iter__,
    tuple: tuple.__iter__,
    torch.Size: tuple.__iter__,
    set: set.__iter__,
    frozenset: frozenset.__iter__,
    deque: deque.__iter__,
    OrderedDict: _of_dict,
    types.MappingProxyType: lambda value: [*value, *value.values()],
}
"""How the items of a container are had, whatever a class derived from it makes of that."""


@functools.cache
def _container_of(kind: type) -> type | None:
    """The container that a class is or derives from (a Counter is a dict), or None."""
    return next((container for container in CONTAINERS if issubclass(kind, container)), None)


def _within(value: Any, kind: type) -> list[Any]:
    """What an object holds.

    Raises:
        Unwatchable: it may hold what cannot be had.
    """
    if kind in CONTAINERS:
        return list(CONTAINERS[kind](value))
    look_at = LOOKS.get(kind)
    if look_at is not None:
        return look_at(value)
    if issubclass(kind, type):
        return [] if _is_of_others(value) else list(vars(value).values())
    if kind.__module__ == "typing":
        return []
    if issubclass(kind, torch.Tensor):
        raise Unwatchable(f"a tensor of class {kind.__name__}")
    return _of_object(value, kind)


def _facts_of_tensor(value: torch.Tensor) -> _Facts:
    """Where a tensor's memory is, how often it or how it looks at it was written, and the bytes where it has any.

    `parameter.data = …` gives it other memory and leaves it the same object; who writes past torch (NumPy, raw memory)
    moves no counter.
    """
    try:
        must_be_modelled(value)
    except Unmodelled:
        return _Facts()  # operations on it are not modelled either
    version = None if value.is_inference() else value._version
    known = digest_of_bytes(value) if not value.is_meta and value.device.type == "cpu" else None
    return _Facts((value.untyped_storage()._cdata, version, known))


def _memory_of_tensor(value: torch.Tensor) -> _Facts:
    """The same without the bytes."""
    return _Facts((value.untyped_storage()._cdata, None if value.is_inference() else value._version))


def _of_tensor(value: torch.Tensor) -> list[Any]:
    own = value.__dict__
    return _of_dict(own) if own else []


def _facts_of_array(value: np.ndarray[Any, Any]) -> _Facts:
    return _Facts((str(value.dtype), value.shape, value.strides, None if value.dtype.hasobject else value.tobytes()))


def _of_array(value: np.ndarray[Any, Any]) -> list[Any]:
    return list(value.ravel()) if value.dtype.hasobject else []


def _of_function(value: types.FunctionType) -> list[Any]:
    held: list[Any] = [value.__code__]
    if value.__closure__:
        held += [cell.cell_contents for cell in value.__closure__ if _is_filled(cell)]
    held += [part for part in (value.__defaults__, value.__kwdefaults__, value.__dict__) if part]
    return held


def _is_filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018  # raises where there is nothing
    except ValueError:
        return False
    return True


LOOKS: dict[type, Callable[[Any], list[Any]]] = {
    **dict.fromkeys(PLAIN_TENSORS, _of_tensor),
    np.ndarray: _of_array,
    types.FunctionType: _of_function,
    types.MethodType: lambda value: [value.__self__, value.__func__],
    types.BuiltinFunctionType: lambda value: [value.__self__],
    types.MethodWrapperType: lambda value: [value.__self__],
    functools.partial: lambda value: [value.func, value.args, value.keywords, vars(value)],
    functools._lru_cache_wrapper: lambda value: [value.__wrapped__, value.cache_info().currsize],
    property: lambda value: [value.fget, value.fset, value.fdel],
    classmethod: lambda value: [value.__func__],
    staticmethod: lambda value: [value.__func__],
    **dict.fromkeys((random.Random, np.random.Generator, torch.Generator, itertools.count), lambda _: []),
    weakref.ReferenceType: lambda value: [weakref.ReferenceType.__call__(value)],
}


_TEXT_OF: dict[type, Callable[[Any], str]] = {kind: kind.__repr__ for kind in PLAIN}  # type: ignore[misc]  # unbound


FACTS: dict[type, Callable[[Any], _Facts]] = {
    **dict.fromkeys(PLAIN_TENSORS, _facts_of_tensor),
    np.ndarray: _facts_of_array,
    random.Random: lambda value: _Facts(value.getstate()),
    np.random.Generator: lambda value: _Facts((repr(value.bit_generator.state),)),
    torch.Generator: lambda value: _Facts((digest_of_bytes(value.get_state()),)),
    itertools.count: lambda value: _Facts((repr(value),)),
}
"""What is compared by value of objects of these classes."""


def _of_object(value: Any, kind: type) -> list[Any]:
    """The attributes of an object, those in slots included, and its items if it is a container as well.

    Raises:
        Unwatchable: the object has memory besides, which only compiled code knows.
    """
    slots, base = _layout(kind)
    held: list[Any] = []
    for slot in slots:
        try:
            held.append(slot.__get__(value, kind))
        except AttributeError:
            held.append(END)
    if base in CONTAINERS:
        held.extend(CONTAINERS[base](value))
    elif base in PLAIN:
        held.append(_TEXT_OF[base](value))
    elif base in LOOKS:
        held.extend(LOOKS[base](value))
    if base in FACTS:
        held.append(FACTS[base](value))
    if kind.__dictoffset__:
        held.append(object.__getattribute__(value, "__dict__"))
    return [*held, kind]


@functools.cache
def _layout(kind: type) -> tuple[list[Any], type]:
    """The slots of a class, and the first of its bases that is compiled.

    Raises:
        Unwatchable: that base is none that can be looked into.
    """
    slots: list[Any] = []
    for base in kind.__mro__:
        slots += [slot for slot in vars(base).values() if type(slot) is types.MemberDescriptorType]
    base = kind
    while base.__base__ is not None and base not in CONTAINERS and base not in PLAIN and base not in LOOKS:
        above = base.__base__
        own = sum(type(slot) is types.MemberDescriptorType for slot in vars(base).values())
        pointers = own + (base.__dictoffset__ > 0 >= above.__dictoffset__)
        pointers += base.__weakrefoffset__ > 0 >= above.__weakrefoffset__
        if base.__basicsize__ - above.__basicsize__ > pointers * object.__basicsize__ // 2:
            raise Unwatchable(f"an object of class {kind.__module__}.{kind.__qualname__}")
        base = above
    return slots, base
