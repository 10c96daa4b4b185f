"""This module makes TorchScript safe to use for many models in one process, and on the meta device."""

from __future__ import annotations

import enum
import functools
import inspect
import io
import sys
import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import _jit_internal
from torch.jit import _recursive, _state, _trace

from conformance.engine.ledger import Ledger


def script(model: torch.nn.Module) -> torch.jit.ScriptModule:
    """`torch.jit.script(model)`, whose deprecation warning is no failure even where warnings are errors.

    Raises:
        Exception: whatever the compiler raises; `forget_everything` before the next model.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return _compiled(model)
        except Exception:
            if not _missing_interfaces():
                raise
        # What the failure left behind would be in the way.
        forget_everything()
        for kind in _missing_interfaces():
            _compile_interface(kind)
        return _compiled(model)


def _compiled(model: torch.nn.Module) -> torch.jit.ScriptModule:
    with _each_class_once(), _overloads_kept():
        return torch.jit.script(model)


def _missing_interfaces() -> list[type]:
    """Interfaces that the compilation unit of now lacks.

    `@torch.jit.interface` compiles a class when its file is imported, into the unit of then: see `forget_everything`.
    """
    return [
        kind
        for kind in _classes_below(object)
        if "__torch_script_interface__" in vars(kind)
        and _state._python_cu.get_interface(vars(kind)["__torch_script_interface__"]) is None
    ]


def _compile_interface(kind: type) -> None:
    names = {**vars(sys.modules[kind.__module__]), "_renewed": kind, "_interface": torch.jit.interface}
    exec("_interface(_renewed)", names)  # noqa: S102  # torch reads what annotations mean from the caller's names


def _classes_below(kind: type) -> set[type]:
    found: set[type] = set()
    pending = [kind]
    while pending:
        new: set[type] = set(type.__subclasses__(pending.pop())) - found
        found |= new
        pending.extend(new)
    return found


@contextmanager
def _overloads_kept() -> Iterator[None]:
    """Leave the table of overloaded functions as it was, and nothing compiled from it.

    The first compilation of `torch.nn.functional.interpolate` moves its overloads from the table to a cache of names
    in the compilation unit: with that unit gone, the next model finds neither (torch/jit/_script.py, _get_overloads).
    """
    before = dict(_jit_internal._overloaded_fns)
    try:
        yield
    finally:
        _jit_internal._overloaded_fns.update(before)
        _state._jit_function_overload_caching.clear()


@contextmanager
def _each_class_once() -> Iterator[None]:
    """Spare the compiler work that it repeats for every submodule and that depends on its class alone.

    For each instance torch looks up every attribute in the table that `@torch.jit._overload_method` fills, and reads
    and parses each method and property, before it sees that a type is shared (torch/jit/_recursive.py,
    create_script_module_impl): together more than half of the time of scripting.
    """
    names = ("get_overload_annotations", "get_jit_def", "get_class_properties")
    search, parse, properties = originals = [getattr(_recursive, name) for name in names]
    without_overloads: set[type] = set()
    parsed: dict[object, Any] = {}

    def search_once(module: torch.nn.Module, ignored: Any) -> Any:
        if type(module) in without_overloads:
            return {}
        found = search(module, ignored)
        if not found:
            without_overloads.add(type(module))
        return found

    def parse_once(function: Any, name: str, self_name: str | None = None, is_classmethod: bool = False) -> Any:
        # Keys hold the function, so that its identity is not used again.
        key = (getattr(function, "__func__", function), name, self_name, is_classmethod)
        if key not in parsed:
            parsed[key] = parse(function, name, self_name=self_name, is_classmethod=is_classmethod)
        return parsed[key]

    of_class = functools.cache(_attributes_that_matter)

    @functools.cache
    def attributes(kind: type, *own: str) -> list[str]:
        return sorted({*of_class(kind), *(name for name in own if not name[:1].isdigit())})

    def list_once(value: Any) -> list[str]:
        if not isinstance(value, torch.nn.Module) or type(value).__dir__ is not torch.nn.Module.__dir__:
            return dir(value)
        return attributes(type(value), *value.__dict__, *value._parameters, *value._modules, *value._buffers)  # type: ignore[arg-type]  # classes are hashable

    for name, spared in zip(names, (search_once, parse_once, functools.cache(properties)), strict=True):
        setattr(_recursive, name, spared)
    _recursive.dir = list_once  # type: ignore[attr-defined]  # before the builtin one
    try:
        yield
    finally:
        del _recursive.dir  # type: ignore[attr-defined]
        for name, original in zip(names, originals, strict=True):
            setattr(_recursive, name, original)


def _attributes_that_matter(kind: type) -> list[str]:
    """The attributes of a module's class that the compiler may do something about.

    It goes through all 150 or so of every instance, to find exported, ignored and unused functions and what the class
    lists as ignored (torch/jit/_recursive.py, infer_methods_to_compile and init_fn). A plain function without such a
    mark makes it do nothing.
    """
    if any(getattr(kind, listed, None) for listed in ("__jit_ignored_attributes__", "__jit_unused_properties__")):
        return dir(kind)
    return [name for name in dir(kind) if not _is_unmarked_function(inspect.getattr_static(kind, name, None))]


def _is_unmarked_function(value: object) -> bool:
    return type(value) in (types.FunctionType, types.WrapperDescriptorType, types.MethodDescriptorType) and (
        _jit_internal.get_torchscript_modifier(value)  # type: ignore[no-untyped-call]  # untyped in torch
        in (_jit_internal.FunctionModifiers.DEFAULT, None)
    )


def save(scripted: torch.jit.ScriptModule) -> bytes:
    """The saved module. On the meta device it carries program and names, and no bytes of tensors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        buffer = io.BytesIO()
        torch.jit.save(scripted, buffer)
        return buffer.getvalue()


def load(saved: bytes) -> torch.jit.ScriptModule:
    """The module that was saved."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.load(io.BytesIO(saved))  # type: ignore[no-any-return,no-untyped-call]  # untyped in torch


def name_loaded_tensors(original: torch.jit.ScriptModule, loaded: torch.jit.ScriptModule, ledger: Ledger) -> None:
    """Enter into the ledger that each tensor attribute of `loaded` holds what the one of the same name held.

    Saving keeps the bytes of every tensor and which of them share a storage (torch/csrc/jit/serialization); on the
    meta device there are none to keep, so their equality is stated here, by name and geometry. A tensor without a
    counterpart stays unknown.
    """
    before = dict(_tensor_attributes(original))
    for name, tensor in _tensor_attributes(loaded):
        counterpart = before.get(name)
        if tensor.device.type == "meta" and counterpart is not None and _looks_alike(counterpart, tensor):
            ledger.hold_like(tensor.untyped_storage(), counterpart.untyped_storage())


def _looks_alike(left: torch.Tensor, right: torch.Tensor) -> bool:
    return bool(
        left.device == right.device
        and left.dtype == right.dtype
        and left.size() == right.size()
        and left.stride() == right.stride()
        and left.storage_offset() == right.storage_offset()
        and left.untyped_storage().nbytes() == right.untyped_storage().nbytes()
    )


def _tensor_attributes(module: torch.jit.ScriptModule) -> Iterator[tuple[str, torch.Tensor]]:
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


@dataclass(frozen=True)
class Effects:
    """What compiled code does besides computing its result."""

    keeps: bool
    """It assigns to an attribute of a module, or writes to a list or dict that it did not make itself."""
    uses_objects: bool
    """It assigns to an object that is no module and that it did not make, or it calls what cannot be looked into."""
    casts: bool
    """It turns autocast on, or says that it is off: what it does then depends on the device."""
    calls_python: bool
    """It calls back into Python, if it comes to that (`torch.jit.ignore`)."""
    asks_how_memory_lies: bool
    """It asks for strides, or whether a tensor is contiguous: no operation, which a tracer would see."""

    @property
    def has_state(self) -> bool:
        """Whether a call may leave something for the next."""
        return self.keeps or self.calls_python


def effects_of(module: torch.jit.ScriptModule) -> Effects:
    """What the module's own methods do, hooks and whatever they call included, wherever that was compiled."""
    graphs = _inlined(module)  # nodes live as long as their graph does

    def nodes(*kinds: str) -> list[Any]:
        return [node for graph in graphs for kind in kinds for node in graph.findAllNodes(kind)]

    modules = {part._c._type().str() for part in module.modules() if isinstance(part, torch.jit.ScriptModule)}
    assigned = [next(iter(node.inputs())) for node in nodes("prim::SetAttr")]
    containers = [next(iter(node.inputs())) for node in nodes(*CONTAINER_WRITES)]
    objects = [one for one in assigned if one.type().str() not in modules]
    return Effects(
        keeps=len(objects) < len(assigned)
        or any(one.type().kind() != "TensorType" and one.node().kind() not in MADE_HERE for one in containers),
        uses_objects=bool(nodes(*CALLS)) or any(one.node().kind() != "prim::CreateObject" for one in objects),
        casts=any("autocast" in one.type().str() for node in nodes("prim::Enter") for one in node.inputs()),
        calls_python=bool(nodes("prim::PythonOp")),
        asks_how_memory_lies=bool(nodes("aten::is_contiguous", "aten::stride")),
    )


def attributes_of(module: torch.jit.ScriptModule, compiled_from: torch.jit.ScriptModule) -> list[Any]:
    """The values of all attributes of the module: `compiled_from`, or what was loaded after that was saved."""
    parts = dict(module.named_modules())
    values = [
        parts[name]._c.getattr(attribute) if parts[name]._c.hasattr(attribute) else None
        for name, part in compiled_from.named_modules()
        if name in parts and isinstance(part, torch.jit.ScriptModule)
        for attribute in sorted(part._concrete_type.get_attributes())
    ]
    return [str(value) if isinstance(value, enum.Enum) else value for value in values]


CALLS = ("prim::CallMethod", "prim::CallFunction")


def _inlined(module: torch.jit.ScriptModule) -> list[Any]:
    """The graphs of the module's own methods with what they call in place of the calls, as it was compiled.

    torch's pass goes one level deep as long as nothing is optimised; calls that it leaves cannot be looked into.
    """
    with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]  # torch lists it not
        return [_with_calls(module._c._get_method(name).graph) for name in module._c._method_names()]


def _with_calls(graph: Any) -> Any:
    """A copy of the graph with what it calls in place of the calls, as deep as can be looked."""
    graph = graph.copy()
    for _ in range(DEEPEST_CALL):
        if not any(graph.findAllNodes(kind) for kind in CALLS):
            break
        torch._C._jit_pass_inline(graph)
    return graph


def kinds_in(graph: Any) -> set[str]:
    """The kinds of all nodes of a graph, those in what it calls included."""
    graph = _with_calls(graph)
    found: set[str] = set()
    blocks = [graph]
    while blocks:
        for node in blocks.pop().nodes():
            found.add(node.kind())
            blocks.extend(node.blocks())
    return found


DEEPEST_CALL = 50
"""Calls within calls that are followed."""


def restores_itself(module: torch.jit.ScriptModule) -> bool:
    """Whether loading runs code of the module's own (`__setstate__`), which may change what was saved."""
    return any(
        "__setstate__" in part._c._method_names()
        for part in module.modules()
        if isinstance(part, torch.jit.ScriptModule)
    )


CONTAINER_WRITES = tuple(
    f"aten::{name}"
    for name in ("_set_item", "append", "clear", "extend", "insert", "pop", "popitem", "remove", "reverse",
    "setdefault", "sort", "update", "Delete", "add_", "mul_")
)  # fmt: skip
MADE_HERE = frozenset({"prim::ListConstruct", "prim::DictConstruct", "aten::list", "aten::dict", "aten::copy"})


@contextmanager
def executor_for_meta() -> Iterator[None]:
    """Run scripted code as it was compiled, without optimising, profiling or fusing it; what was set is restored.

    The legacy fuser refuses the meta device. What is numbered is the program that `torch.jit.script` made of the
    model, not what an optimiser makes of that on a user's machine, which torch says computes the same.
    """
    executor = torch._C._jit_set_profiling_executor(True)
    profiling = torch._C._jit_set_profiling_mode(False)
    fuse_cpu = torch._C._jit_can_fuse_on_cpu()
    fuse_gpu = torch._C._jit_can_fuse_on_gpu()
    texpr = torch._C._jit_texpr_fuser_enabled()
    torch._C._jit_override_can_fuse_on_cpu(False)
    torch._C._jit_override_can_fuse_on_gpu(False)
    torch._C._jit_set_texpr_fuser_enabled(False)
    try:
        with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]  # torch lists it not
            yield
    finally:
        torch._C._jit_set_texpr_fuser_enabled(texpr)
        torch._C._jit_override_can_fuse_on_gpu(fuse_gpu)
        torch._C._jit_override_can_fuse_on_cpu(fuse_cpu)
        torch._C._jit_set_profiling_mode(profiling)
        torch._C._jit_set_profiling_executor(executor)


def forget_everything() -> None:
    """Clear what TorchScript keeps for the process: after a failed script the next model of the family fails too.

    The compilation unit of Python code is replaced, which C++ looks up anew at each use; scripted objects that are
    still alive hold on to the old one. The C++ class registry is not cleared: that crashes such objects.
    """
    _state._clear_class_state()
    _state._jit_caching_layer.clear()
    _recursive.concrete_type_store = _recursive.ConcreteTypeStore()
    unit = torch._C.CompilationUnit()
    for holder in (_state, _recursive, _trace):
        holder._python_cu = unit  # type: ignore[attr-defined]  # each imports it by name
