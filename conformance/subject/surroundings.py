"""This module tells what a model changed of what all models of one process share: the code of torch and timm, their
settings, and the threads that run.

A model that replaces `torch.nn.functional.gelu` replaces it for every model after it.
"""

from __future__ import annotations

import resource
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch.jit import _state
from torch.nn.modules import module as hooks
from torch.utils import _python_dispatch
from torch.utils._config_module import ConfigModule

_MODULES = (
    "torch", "torch._C._nn", "torch._dynamo", "torch.compiler", "torch.functional", "torch.library", "torch.overrides",
    "timm",
)  # fmt: skip
"""Those whose functions and classes models are made of, and claims use."""
_PACKAGES = (
    "timm.layers.", "timm.models.", "torch.amp.", "torch.autograd.", "torch.backends.", "torch.export.",
    "torch.fft.", "torch.func.", "torch.fx.", "torch.jit.", "torch.linalg.", "torch.nn.",
    "torch.special.", "torch.utils.",
)  # fmt: skip
"""Those that count with all that is in them."""
_TORCHS_OWN = frozenset(
    {
        ("torch.nn.modules.module.Module", "__init__"), ("torch.nn.modules.module.Module", "__setstate__"),
        ("torch.fx._symbolic_trace.Tracer", "trace"), ("torch.jit", "trace"), ("torch.jit", "trace_module"),
        ("torch.jit", "_get_trace_graph"),
    }
)  # fmt: skip
"""What Dynamo and the exporter to ONNX wrap for good, once they are used."""
_FLAGS = "timm.layers.config"
"""The module whose variables are timm's settings (`set_fused_attn`)."""


def _limit(number: int, wanted: tuple[int, int]) -> None:
    with suppress(ValueError):  # what was lowered for good
        resource.setrlimit(number, wanted)


def _stance() -> Any:
    """That of torch.compile, or None for the default (Dynamo may not be imported yet)."""
    found = getattr(sys.modules.get(_DYNAMO), "_stance", None)
    return None if found is None or found == type(found)() else found


def _set_stance(wanted: Any) -> None:
    module = sys.modules[_DYNAMO]
    module._set_stance(wanted or module.DynamoStance())


def _is_compiling() -> bool:
    return bool(_state._enabled.enabled)


def _set_compiling(wanted: bool) -> None:
    _state._enabled.enabled = wanted


_DYNAMO = "torch._dynamo.eval_frame"

_SETTINGS: Mapping[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "torch.set_grad_enabled": (torch.is_grad_enabled, torch._C._set_grad_enabled),
    "torch.set_deterministic_debug_mode": (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    "torch.set_float32_matmul_precision": (
        torch.get_float32_matmul_precision, torch.set_float32_matmul_precision,
    ),
    "torch.set_autocast_enabled": (
        partial(torch.is_autocast_enabled, "cpu"), partial(torch.set_autocast_enabled, "cpu"),
    ),
    "torch.backends.mkldnn.enabled": (torch._C._get_mkldnn_enabled, torch._C._set_mkldnn_enabled),
    "torch.backends.mha.set_fastpath_enabled": (
        torch.backends.mha.get_fastpath_enabled, torch.backends.mha.set_fastpath_enabled,
    ),
    **{
        f"torch.backends.cuda.enable_{kind}_sdp": (
            getattr(torch.backends.cuda, f"{kind}_sdp_enabled"), getattr(torch.backends.cuda, f"enable_{kind}_sdp"),
        )  # of the CPU's kernels as well
        for kind in ("cudnn", "flash", "math", "mem_efficient")
    },
    "torch.jit._state.disable": (_is_compiling, _set_compiling),
    "torch.autograd.set_detect_anomaly": (torch.is_anomaly_enabled, torch.set_anomaly_enabled),
    "sys.setrecursionlimit": (sys.getrecursionlimit, sys.setrecursionlimit),
    "torch.compiler.set_stance": (_stance, _set_stance),
    **{
        f"resource.{name}": (partial(resource.getrlimit, number), partial(_limit, number))
        for name, number in vars(resource).items()
        if name.startswith("RLIMIT_")
    },
}  # fmt: skip
"""What is set for the whole process, or for its main thread: how it is asked for and set."""

_GLOBAL_HOOKS = [
    (name, value) for name, value in vars(hooks).items() if name.startswith("_global_") and isinstance(value, dict)
]


_INHERITED: Any = object()
"""In place of what an attribute was that a class had from its bases alone."""


class Surroundings:
    """What models share in this process, as it is when this is made."""

    def __init__(self) -> None:
        self._owners: dict[str, tuple[Any, dict[str, Any]]] = {}
        self._sizes: dict[str, int] = {}
        self._insides: dict[FunctionType, tuple[Any, ...]] = {}
        for name, owner in _owners():
            code = {attribute: value for attribute, value in vars(owner).items() if _is_code(value) or name == _FLAGS}
            self._owners[name] = owner, code
            self._sizes[name] = len(vars(owner))
            for function in map(_function, code.values()):
                if function is not None:
                    self._insides[function] = _inside(function)
        self._settings = {name: ask() for name, (ask, _) in _SETTINGS.items()}
        self._configs = {name: _options(config) for name, config in _configs()}
        self._hooks = [dict(known) for _, known in _GLOBAL_HOOKS]
        self._kernels = _kernels()
        self._modes = _modes()
        self._threads = _threads()

    def changed(self) -> list[str]:
        """The names of what is another now, sorted. What is new under a name of its own changes nobody else."""
        return sorted(
            [
                *(f"{name}.{attribute}" for name, _, attribute, _ in self._replaced()),
                *(name for name, (ask, _) in _SETTINGS.items() if ask() != self._settings[name]),
                *(
                    f"torch.nn.modules.module.{name}"
                    for (name, now), then in zip(_GLOBAL_HOOKS, self._hooks, strict=True)
                    if now != then
                ),
                *(f"{name}.{option}" for name, _, option, _ in self._configured()),
                *(f"{one.__module__}.{one.__qualname__}'s code or defaults" for one, _ in self._rewritten()),
                *(f"the kernel {name}" for name in _kernels() - self._kernels),
                *(f"the thread {thread.name}" for thread in _threads() - self._threads),
                *(["a mode of torch's that is left on"] if _modes() != self._modes else []),
            ]
        )

    def put_back(self) -> None:
        """Undo what can be undone: all but threads, modes that are left on, and kernels of a library that lives on."""
        for _, owner, attribute, value in list(self._replaced()):
            if value is _INHERITED:
                delattr(owner, attribute)
            else:
                setattr(owner, attribute, value)
        for function, inside in list(self._rewritten()):
            for attribute, value in zip(_INSIDE, inside, strict=True):
                setattr(function, attribute, value)
        for name, (ask, put) in _SETTINGS.items():
            if ask() != self._settings[name]:
                put(self._settings[name])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of options that are deprecated
            for _, config, option, value in list(self._configured()):
                setattr(config, option, value)
        for (_, now), then in zip(_GLOBAL_HOOKS, self._hooks, strict=True):
            now.clear()
            now.update(then)

    def _configured(self) -> Iterator[tuple[str, Any, str, Any]]:
        """The name of a configuration of torch's, itself, an option that is another now, and what it was."""
        for name, config in _configs():
            now = _options(config)
            for option, value in self._configs.get(name, now).items():
                if _are_others(now.get(option, _INHERITED), value):
                    yield name, config, option, value

    def _rewritten(self) -> Iterator[tuple[FunctionType, tuple[Any, ...]]]:
        """The functions whose code or defaults are others now, and what these were."""
        for function, inside in self._insides.items():
            if any(now is not then for now, then in zip(_inside(function), inside, strict=True)):
                yield function, inside

    def _replaced(self) -> Iterator[tuple[str, Any, str, Any]]:
        """The owner's name, the owner, the attribute and what it was."""
        for name, (owner, code) in self._owners.items():
            now = vars(owner)
            for attribute, value in code.items():
                found = now.get(attribute)
                if found is not value and not _is_torchs_own(name, attribute, found):
                    yield name, owner, attribute, value
            if len(now) == self._sizes[name] or not isinstance(owner, type):
                continue
            for attribute, found in list(now.items()):
                is_new = attribute not in code and _is_code(found)
                if is_new and any(attribute in vars(base) for base in owner.__mro__[1:]):
                    yield name, owner, attribute, _INHERITED


def _function(value: Any) -> FunctionType | None:
    """The function that is called, of a method of a class too, and below what wraps it."""
    if isinstance(value, staticmethod | classmethod):
        value = value.__func__
    while type(value) is FunctionType and type(vars(value).get("__wrapped__")) is FunctionType:
        value = vars(value)["__wrapped__"]
    return value if type(value) is FunctionType else None


_INSIDE = ("__code__", "__defaults__", "__kwdefaults__")


def _inside(function: FunctionType) -> tuple[Any, ...]:
    return function.__code__, function.__defaults__, function.__kwdefaults__


def _owners() -> Iterator[tuple[str, Any]]:
    """The modules, and the classes that they define."""
    modules = {
        name: module
        for name, module in list(sys.modules.items())
        if isinstance(module, ModuleType) and (name in _MODULES or f"{name}.".startswith(_PACKAGES))
    }
    yield "torch.Tensor", torch.Tensor
    for name, module in modules.items():
        yield name, module
        for attribute, value in list(vars(module).items()):
            if isinstance(value, type) and value.__module__ == name:
                yield f"{name}.{attribute}", value


def _configs() -> list[tuple[str, Any]]:
    """The configurations of torch's own compilers, by name."""
    return [(name, module) for name, module in list(sys.modules.items()) if isinstance(module, ConfigModule)]


def _options(config: Any) -> dict[str, Any]:
    """Copies of what a configuration says; nothing where a model put something in it that cannot be copied."""
    try:
        return dict(config.get_config_copy())
    except Exception:  # noqa: BLE001  # whatever that raises
        return {}


def _are_others(left: Any, right: Any) -> bool:
    try:
        return bool(left != right)
    except Exception:  # noqa: BLE001  # likewise
        return True


def _is_code(value: Any) -> bool:
    return callable(value) or isinstance(value, staticmethod | classmethod | property)


def _is_torchs_own(owner: str, attribute: str, value: Any) -> bool:
    """Whether it is one of `_TORCHS_OWN`, and torch defines it."""
    is_of_torch = isinstance(value, FunctionType) and str(value.__globals__.get("__name__")).startswith("torch.")
    return is_of_torch and (owner, attribute) in _TORCHS_OWN


def _kernels() -> frozenset[str]:
    """What `torch.library` has put in place of kernels of torch's own operations, as `aten/gelu/CPU`."""
    return frozenset(name for name in getattr(torch.library, "_impls", ()) if name.startswith("aten/"))


def _threads() -> set[threading.Thread]:
    """The threads that run, but for those of libraries that keep some for later calls."""
    return {thread for thread in threading.enumerate() if _package_of(thread) not in _KEEPING_THREADS}


_KEEPING_THREADS = frozenset({"concurrent", "multiprocessing", "torch", "tqdm"})


def _package_of(thread: threading.Thread) -> str:
    work = getattr(thread, "_target", None) or type(thread)  # what it runs, where that is no method of its own
    return str(getattr(work, "__module__", "")).partition(".")[0]


def _modes() -> tuple[int, int, bool]:
    """How many modes for functions and for operations are on, and whether inference mode is."""
    return (
        torch._C._len_torch_function_stack(),
        len(_python_dispatch._get_current_dispatch_mode_stack()),
        torch.is_inference_mode_enabled(),
    )
