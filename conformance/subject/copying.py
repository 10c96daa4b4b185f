"""This module copies modules attribute by attribute, and refuses whatever might lead back to the original.

`copy.deepcopy` takes longer, and shares functions with all that they close over.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
import weakref
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

import torch


class Uncopyable(Exception):  # a fact about a model, not a fault of the program
    """Something whose copy might share state with the original."""


ATOMS = frozenset(
    {
        type(None), bool, int, float, complex, str, bytes, slice, range,
        torch.dtype, torch.device, torch.layout, torch.memory_format,
    }
)  # fmt: skip
DEPTH = 6
"""How deep containers among a module's attributes are followed."""


def copy_of_modules(modules: Sequence[torch.nn.Module], copies: dict[int, Any]) -> torch.nn.Module:
    """A copy of the first of `modules`, which are all of the model's; `copies` are those of its tensors, by identity.

    Raises:
        Uncopyable: an attribute is of a class that is not known to copy cleanly.
    """
    for module in modules:
        if _copies_itself(type(module)):
            raise Uncopyable(f"{type(module).__name__} says itself how it is copied")
        if any(map(_is_of_others, weakref.getweakrefs(module))):
            raise Uncopyable(f"somebody knows the {type(module).__name__} by a weak reference")
        copies[id(module)] = _new(type(module))
    for module in modules:
        made = vars(copies[id(module)])
        for name, value in vars(module).items():
            made[name] = _copy(value, copies, DEPTH)
    return copies[id(modules[0])]  # type: ignore[no-any-return]  # a module, as the first of them is


def _is_of_others(reference: Any) -> bool:
    """Whether a weak reference is not one of torch's own: Dynamo counts modules by such, once it was loaded."""
    callback = getattr(reference, "__callback__", None)
    return not str(getattr(callback, "__module__", None)).startswith("torch.")


def _new(kind: type) -> Any:
    if any("__new__" in vars(base) for base in kind.__mro__[:-1]):
        raise Uncopyable(f"{kind.__name__} says itself how it is made")
    return object.__new__(kind)


def _copies_itself(kind: type) -> bool:
    """Whether a class has a say in how it is copied, or keeps state outside its attributes.

    torch's own `__setstate__` (activations, attention) fills in what models saved by older versions lack.
    """
    names = ("__copy__", "__deepcopy__", "__getstate__", "__setstate__", "__reduce__", "__reduce_ex__", "__slots__")
    return any(
        name in vars(base) and not (name == "__setstate__" and base.__module__.partition(".")[0] == "torch")
        for base in kind.__mro__
        if base not in (torch.nn.Module, object)
        for name in names
    )


def _copy(value: Any, copies: dict[int, Any], depth: int) -> Any:
    kind = type(value)
    if kind is int and value in copies:
        raise Uncopyable("an identity")
    if kind in ATOMS:
        return value
    known = copies.get(id(value))
    if known is not None:
        return known
    if kind in (dict, OrderedDict, list, set, frozenset, tuple, torch.Size) or issubclass(kind, tuple):
        return _copy_of_container(value, copies, depth)
    if kind is types.FunctionType:
        # A function is not copied: whatever it holds would be the original's.
        if value.__closure__ or vars(value):
            raise Uncopyable(f"the function {value.__name__} holds something")
        _copy((value.__defaults__, value.__kwdefaults__), {}, depth)
        return value
    if kind is types.BuiltinFunctionType:
        if not isinstance(value.__self__, types.ModuleType | type | None):
            raise Uncopyable(f"the method {value.__name__} of an object")
        return value
    if issubclass(kind, type | enum.Enum):
        return value
    if depth and kind is functools.partial and not vars(value):
        function, arguments, keywords = (
            _copy(part, copies, depth - 1) for part in (value.func, value.args, value.keywords)
        )
        return functools.partial(function, *arguments, **keywords)
    if depth and dataclasses.is_dataclass(kind) and not _copies_itself(kind):
        made = copies[id(value)] = _new(kind)
        vars(made).update({name: _copy(item, copies, depth - 1) for name, item in vars(value).items()})
        return made
    raise Uncopyable(f"an attribute of class {kind.__name__}")


def _copy_of_container(value: Any, copies: dict[int, Any], depth: int) -> Any:
    """The container with copies of what it contains; containers that are one object stay one."""
    if not value and type(value) in (tuple, frozenset):
        return value
    if not depth:
        raise Uncopyable("containers within containers")
    made: Any
    if isinstance(value, dict):
        if type(value) is OrderedDict and vars(value):
            raise Uncopyable("an OrderedDict with attributes of its own")
        made = copies[id(value)] = type(value)()
        for key, item in value.items():
            made[_copy(key, copies, depth - 1)] = _copy(item, copies, depth - 1)
        return made
    if isinstance(value, list):
        made = copies[id(value)] = []
        made.extend(_copies(value, copies, depth - 1))
        return made
    if hasattr(value, "_make") and type(value).__mro__[1:] == (tuple, object):
        made = type(value)._make(_copies(value, copies, depth - 1))
    elif type(value) in (set, frozenset, tuple, torch.Size):
        made = type(value)(_copies(value, copies, depth - 1))
    else:
        raise Uncopyable(f"a container of class {type(value).__name__}")
    copies[id(value)] = made
    return made


def _copies(items: Iterable[Any], copies: dict[int, Any], depth: int) -> list[Any]:
    return [_copy(item, copies, depth) for item in items]
