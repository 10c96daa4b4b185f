"""This module says what objects hold and what of them is compared by value, class by class.

Whatever cannot be looked into is named, so that nothing is proved of what may be hidden there.
"""

from __future__ import annotations

import _thread
import abc
import array
import collections
import contextvars
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
import threading
import types
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch

from conformance.engine.operands import PLAIN_TENSORS, Unmodelled, digest_of_bytes, must_be_modelled

NUMBERS_OF_NUMPY = frozenset({np.bool_, np.str_, np.bytes_, np.datetime64, np.timedelta64} | {
    getattr(np, f"{kind}{bits}")
    for kind, sizes in (("int", (8, 16, 32, 64)), ("uint", (8, 16, 32, 64)), ("float", (16, 32, 64)),
    ("complex", (64, 128)))
    for bits in sizes
})  # fmt: skip
PLAIN: frozenset[type] = NUMBERS_OF_NUMPY | {int, float, complex, str, bytes, bool, type(None)}
"""Classes whose objects are compared by what they are."""

CONSTANT = frozenset(
    {
        torch.device, torch.dtype, torch.layout, torch.memory_format, torch.jit.ScriptFunction,
        types.ModuleType, types.WrapperDescriptorType, types.MethodDescriptorType, type(vars(abc.ABC)["_abc_impl"]),
        datetime.date, datetime.datetime, datetime.timedelta, decimal.Decimal, pathlib.PosixPath,
        types.GetSetDescriptorType, types.MemberDescriptorType, types.CodeType,
        types.GenericAlias, types.UnionType, range, re.Pattern, type(...), type(NotImplemented),
        torch.finfo, torch.iinfo,
        torch.qscheme, type(vars(collections.namedtuple("Any", "any"))["any"]),
    }
)  # fmt: skip
"""Classes whose objects are compared by identity alone: they hold nothing, or nothing that a model computes with."""

END = object()
"""No attribute's value."""


class Unwatchable(Exception):  # a fact about an object, not a fault of the program
    """Something that may keep state where nobody sees it."""


class Facts(tuple[object, ...]):
    """What is compared by value."""


class Memory(Facts):
    """Where a tensor's memory is, how often it was written, whether it is differentiated, and its bytes if known."""


def is_of_others(kind: type) -> bool:
    """Whether a class is torch's or Python's own: it keeps nothing of a model's."""
    return str(getattr(kind, "__module__", "")).partition(".")[0] in _OTHERS


_OTHERS = frozenset({*sys.stdlib_module_names, "torch", "numpy"})


def of_dict(value: Any) -> list[Any]:
    """The keys and then the values, whatever a class derived from `dict` makes of that."""
    return [*dict.keys(value), *dict.values(value)]


CONTAINERS: dict[type, Callable[[Any], Iterable[Any]]] = {
    dict: of_dict,
    list: list.__iter__,
    tuple: tuple.__iter__,
    torch.Size: tuple.__iter__,
    set: set.__iter__,
    frozenset: frozenset.__iter__,
    deque: deque.__iter__,
    # Its own keys: `move_to_end` leaves those of the dictionary that it is as they were.
    OrderedDict: lambda value: [*OrderedDict.keys(value), *OrderedDict.values(value)],
    types.MappingProxyType: lambda value: [*value, *value.values()],
}
"""How the items of a container are had, whatever a class derived from it makes of that."""


def within(value: Any, kind: type) -> list[Any]:
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
        return [] if is_of_others(value) else list(vars(value).values())
    if kind.__module__ == "typing" or issubclass(kind, np.dtype):
        return []
    if issubclass(kind, torch.Tensor):
        raise Unwatchable(f"a tensor of class {kind.__name__}")
    return _of_object(value, kind)


def _facts_of_tensor(value: torch.Tensor) -> Memory:
    """Where a tensor's memory is, how often it or how it looks at it was written, and the bytes where it has any.

    `parameter.data = …` gives it other memory and leaves it the same object; who writes past torch (NumPy, raw memory)
    moves no counter.
    """
    try:
        must_be_modelled(value)
    except Unmodelled:
        return Memory()  # operations on it are not modelled either
    version = None if value.is_inference() else value._version
    known = digest_of_bytes(value) if not value.is_meta and value.device.type == "cpu" else None
    return Memory((value.untyped_storage()._cdata, version, value.requires_grad, known))


def memory_of_tensor(value: torch.Tensor) -> Memory:
    """The same without the bytes."""
    version = None if value.is_inference() else value._version
    return Memory((value.untyped_storage()._cdata, version, value.requires_grad))


def _of_tensor(value: torch.Tensor) -> list[Any]:
    own = value.__dict__
    held = of_dict(own) if own else []
    return [*held, value.grad] if value.is_leaf and value.grad is not None else held


def _facts_of_array(value: np.ndarray[Any, Any]) -> Facts:
    return Facts((str(value.dtype), value.shape, value.strides, None if value.dtype.hasobject else value.tobytes()))


def _of_array(value: np.ndarray[Any, Any]) -> list[Any]:
    return list(value.ravel()) if value.dtype.hasobject else []


def _of_function(value: types.FunctionType) -> list[Any]:
    held = [value.__code__, *closed_over(value)]
    return held + [part for part in (value.__defaults__, value.__kwdefaults__, value.__dict__) if part]


def closed_over(value: types.FunctionType) -> list[Any]:
    """What the variables hold that a function closes over: `END` where there is nothing."""
    return [_content(cell) for cell in value.__closure__ or ()]


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return END


BIT_GENERATORS = (np.random.MT19937, np.random.PCG64, np.random.PCG64DXSM, np.random.Philox, np.random.SFC64)

_OF_LOGGING = frozenset({"_cache", "handlers", "manager", "parent", "root"})
"""What a logger holds for `logging` itself."""

LOOKS: dict[type, Callable[[Any], list[Any]]] = {
    **dict.fromkeys(PLAIN_TENSORS, _of_tensor),
    np.ndarray: _of_array,
    types.FunctionType: _of_function,
    types.MethodType: lambda value: [value.__self__, value.__func__],
    types.BuiltinFunctionType: lambda value: [value.__self__],
    types.MethodWrapperType: lambda value: [value.__self__],
    functools.partial: lambda value: [value.func, value.args, value.keywords, vars(value)],
    operator.attrgetter: lambda value: list(value.__reduce__()),
    operator.itemgetter: lambda value: list(value.__reduce__()),
    slice: lambda value: [value.start, value.stop, value.step],
    functools._lru_cache_wrapper: lambda value: [value.__wrapped__, value.cache_info().currsize],
    property: lambda value: [value.fget, value.fset, value.fdel],
    classmethod: lambda value: [value.__func__],
    staticmethod: lambda value: [value.__func__],
    **dict.fromkeys(
        (
            random.Random,
            np.random.Generator,
            np.random.RandomState,
            *BIT_GENERATORS,
            torch.Generator,
            itertools.count,
            array.array,
            bytearray,
            _thread.LockType,
            _thread.RLock,
        ),
        lambda _: [],
    ),
    logging.Logger: lambda value: [held for name, held in vars(value).items() if name not in _OF_LOGGING],
    contextvars.ContextVar: lambda value: [value.get(END)],
    threading.local: lambda value: [threading.local.__getattribute__(value, "__dict__")],
    weakref.ReferenceType: lambda value: [weakref.ReferenceType.__call__(value)],
}


_TEXT_OF: dict[type, Callable[[Any], str]] = {kind: kind.__repr__ for kind in PLAIN}  # type: ignore[misc]  # unbound


FACTS: dict[type, Callable[[Any], Facts]] = {
    **dict.fromkeys(PLAIN_TENSORS, _facts_of_tensor),
    np.ndarray: _facts_of_array,
    random.Random: lambda value: Facts(value.getstate()),
    np.random.Generator: lambda value: Facts((repr(value.bit_generator.state),)),
    np.random.RandomState: lambda value: Facts((repr(value.get_state(legacy=False)),)),
    **dict.fromkeys(BIT_GENERATORS, lambda value: Facts((repr(value.state),))),
    torch.Generator: lambda value: Facts((digest_of_bytes(value.get_state()),)),
    itertools.count: lambda value: Facts((repr(value),)),
    _thread.LockType: lambda value: Facts((value.locked(),)),
    _thread.RLock: lambda value: Facts((repr(value),)),
    array.array: lambda value: Facts((value.typecode, value.tobytes())),
    bytearray: lambda value: Facts((bytes(value),)),
    logging.Logger: lambda value: Facts((len(value.handlers),)),
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
        # Its dictionary lies within it, but for most classes of a fixed size, where it lies in front.
        is_within = base.__dictoffset__ > 0 or bool(base.__dictoffset__ and base.__itemsize__)
        pointers = own + (is_within and not above.__dictoffset__)
        pointers += base.__weakrefoffset__ > 0 >= above.__weakrefoffset__
        if base.__basicsize__ - above.__basicsize__ > pointers * object.__basicsize__ // 2:
            raise Unwatchable(f"an object of class {kind.__module__}.{kind.__qualname__}")
        base = above
    return slots, base
