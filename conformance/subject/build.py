"""This module builds models without weights: parameters on the meta device, constants on the CPU, leaves named."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any
from zlib import crc32

import torch
from torch._C import DisableTorchFunction
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

from conformance.engine.filled import is_zeros_or_ones
from conformance.engine.indices import WHOLE
from conformance.engine.ledger import Ledger
from conformance.engine.operands import PLAIN_TENSORS, Unmodelled, digest_of_bytes
from conformance.engine.recordings import RANDOM
from conformance.engine.rewrites import stored
from conformance.engine.state import parts_of
from conformance.subject.copying import Uncopyable, copy_of_modules

BULK_FACTORIES = frozenset(
    {
        torch.empty,
        torch.empty_strided,
        torch.full,
        torch.normal,
        torch.ones,
        torch.rand,
        torch.randint,
        torch.randn,
        torch.randperm,
        torch.zeros,
    }
)
"""What makes weights. Sending all factories to meta breaks models that read constants while they are built
(`linspace(...).item()`, half of timm up to 1.0.20): those stay on the CPU and are moved afterwards."""

CONSTANT_FACTORIES = frozenset(
    {torch.arange, torch.eye, torch.linspace, torch.logspace, torch.tril_indices, torch.triu_indices}
)
"""What makes constants: on the CPU, where models are built, also for one that asks where its other tensors are."""

INITIALISERS = frozenset(
    {
        torch.Tensor.add_,
        torch.Tensor.clamp_,
        torch.Tensor.copy_,
        torch.Tensor.div_,
        torch.Tensor.erfinv_,
        torch.Tensor.fill_,
        torch.Tensor.mul_,
        torch.Tensor.normal_,
        torch.Tensor.uniform_,
        torch.Tensor.zero_,
    }
)
"""What fills weights, a third of the time of building: spared for parameters that are on the meta device already."""


IS_META = torch.Tensor.is_meta.__get__  # type: ignore[attr-defined]  # how `tensor.is_meta` reaches a mode


INITIAL_WEIGHT = "an initial weight"
"""Why what an initialiser would have filled a parameter with is unknown."""


class BulkOnMeta(TorchFunctionMode):
    """The function mode under which models are built and heads are reset.

    Models are built as they are on a real device: one that asks whether a tensor is on the meta device hears no.
    timm 1.0.24 leaves buffers uninitialised where the answer is yes (layers/blur_pool.py:54). torch's initialisers,
    which ask so as to do nothing (nn/init.py), hear the truth.

    With `spare_initialisers`, what fills parameters on the meta device is not run: they are going to be named leaves.
    Until then they hold something unknown.
    """

    def __init__(self, ledger: Ledger, *, spare_initialisers: bool = True) -> None:
        super().__init__()
        self._ledger = ledger
        self._spare = spare_initialisers

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func == IS_META and not _asked_by_torch():
            return False
        kwargs = dict(kwargs or {})
        filled = _filled_parameter(func, args, kwargs) if self._spare else None
        if filled is not None and filled.is_meta:
            with DisableTorchFunction():
                self._ledger.hold(filled.untyped_storage(), self._ledger.values.fresh(INITIAL_WEIGHT))
            return filled
        device = kwargs.get("device")
        if func in BULK_FACTORIES and device is None and "out" not in kwargs:
            kwargs["device"] = "meta"
        elif func in CONSTANT_FACTORIES and device is not None and torch.device(device).type == "meta":
            kwargs["device"] = "cpu"
        return func(*args, **kwargs)


def _asked_by_torch() -> bool:
    """Whether a function of torch's own made the call that reached a function mode."""
    asking = sys._getframe(2).f_globals.get("__name__")
    return isinstance(asking, str) and asking.partition(".")[0] == "torch"


class Uninitialised(TorchFunctionMode):
    """The function mode under which models are built whose weights are going to be drawn.

    What fills parameters is not run: they are filled by `seed` with something that takes little time, so that what is
    computed from them while the model is built is the same in each build by that seed. What a parameter is filled with
    depends on how many of its shape came before, and so not on whether a head was built in between.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed
        self._spared: dict[int, torch.nn.Parameter] = {}
        self._shapes: Counter[torch.Size] = Counter()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        filled = _filled_parameter(func, args, kwargs or {})
        if filled is None:
            return func(*args, **(kwargs or {}))
        address = filled.untyped_storage()._cdata
        if address not in self._spared and filled.dtype in DRAWN and filled.device.type == "cpu":
            with torch.no_grad():
                self._fill(filled)
        self._spared[address] = filled
        return filled

    def _fill(self, parameter: torch.Tensor) -> None:
        """A tile of numbers between -1 and 1, over and over: of prime length, so that no two rows are equal."""
        shape, count = parameter.size(), parameter.numel()
        self._shapes[shape] += 1
        chance = torch.Generator().manual_seed(crc32(repr((self._seed, *shape, self._shapes[shape])).encode()))
        if count <= TILE or not parameter.is_contiguous():
            parameter.uniform_(-1.0, 1.0, generator=chance)
            return
        tile = torch.empty(TILE, dtype=parameter.dtype).uniform_(-1.0, 1.0, generator=chance)
        flat = parameter.view(-1)
        whole = count - count % TILE
        flat[:whole].view(-1, TILE).copy_(tile)
        flat[whole:].copy_(tile[: count - whole])

    def left_buffers(self, model: torch.nn.Module) -> bool:
        """Whether a buffer is the memory of a parameter that nothing filled: it may be a constant."""
        return any(buffer.untyped_storage()._cdata in self._spared for buffer in model.buffers())


DRAWN = frozenset({torch.bfloat16, torch.float16, torch.float32, torch.float64})
"""Dtypes that can be drawn in."""

TILE = 65_521
"""Numbers that a large parameter is filled with, again and again."""


def _filled_parameter(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> torch.nn.Parameter | None:
    """The parameter that a call only fills with initial weights and gives back, or None if it does something else."""
    if func not in INITIALISERS and getattr(func, "__module__", None) != "torch.nn.init":
        return None
    target = args[0] if args else kwargs.get("tensor")
    return target if type(target) is torch.nn.Parameter else None


def in_eval_mode(model: torch.nn.Module) -> torch.nn.Module:
    """The model after `eval()`, whatever that gives: a `train` of the model's own may forget to give the model."""
    model.eval()
    return model


def is_of_several_dtypes(model: torch.nn.Module) -> bool:
    """Whether a model keeps floating numbers of one dtype beside some of another: a frozen part in half precision."""
    return len({tensor.dtype for tensor in (*model.parameters(), *model.buffers()) if tensor.is_floating_point()}) > 1


def move_to_meta(model: torch.nn.Module, ledger: Ledger) -> None:
    """Move parameters and buffers that were made on the CPU to the meta device, storage by storage, keeping ties.

    The ledger remembers a digest of the bytes that each storage held.

    Raises:
        Unmodelled: A parameter or buffer has no shape before the first call (`torch.nn.LazyLinear`).
    """
    storages: dict[int, torch.UntypedStorage] = {}
    moved: dict[int, torch.Tensor] = {}
    for module in parts_of(model):
        kinds: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
        for tensors in kinds:
            for name, tensor in tensors.items():
                if is_lazy(tensor):
                    raise Unmodelled(f"{name} of {type(module).__name__}, which gets a shape at its first call")
                if tensor is None or tensor.device.type != "cpu":
                    continue
                if id(tensor) not in moved:
                    moved[id(tensor)] = _moved(tensor, storages, ledger)
                tensors[name] = moved[id(tensor)]


def _moved(tensor: torch.Tensor, storages: dict[int, torch.UntypedStorage], ledger: Ledger) -> torch.Tensor:
    """The tensor on the meta device: the same object where torch allows that, for whoever else holds it."""
    there = _on_meta(tensor, storages, ledger)
    try:
        torch.utils.swap_tensors(tensor, there)  # type: ignore[no-untyped-call]  # untyped in torch
    except RuntimeError:
        return there
    return tensor


def _on_meta(tensor: torch.Tensor, storages: dict[int, torch.UntypedStorage], ledger: Ledger) -> torch.Tensor:
    source = tensor.untyped_storage()
    if source._cdata not in storages:
        target = torch.empty(source.nbytes(), dtype=torch.uint8, device="meta").untyped_storage()
        storages[source._cdata] = target
        digest = digest_of_bytes(torch.empty(0, dtype=torch.uint8).set_(source))
        ledger.hold(target, stored(ledger.values, source.nbytes(), digest))
        ledger.known_bytes[target._cdata] = digest
    there = torch.empty(0, dtype=tensor.dtype, device="meta")
    there.set_(storages[source._cdata], tensor.storage_offset(), tensor.size(), tensor.stride())
    if tensor.dtype in WHOLE and source.nbytes() % tensor.element_size() == 0:
        ledger.ranges.note(there, ledger.ranges.of(torch.empty(0, dtype=tensor.dtype).set_(source)))
    if isinstance(tensor, torch.nn.Parameter):
        there = torch.nn.Parameter(there, requires_grad=tensor.requires_grad)
    return there


def copy_of(model: torch.nn.Module, ledger: Ledger, dtype: torch.dtype | None = None) -> torch.nn.Module | None:
    """A deep copy of a model on the meta device, whose tensors hold what the model's hold.

    It costs a fraction of building the model again.

    With `dtype` its floating tensors are of that dtype, as after `.to(dtype)`, and hold something unknown.

    Returns:
        None where a copy might share something with the model or lack something: tensors outside parameters and
        buffers, or with attributes of their own, functions that close over something, objects of unknown classes.
        Build such a model anew.
    """
    storages: dict[int, torch.UntypedStorage] = {}
    copies: dict[int, Any] = {}
    modules = parts_of(model)
    for module in modules:
        for tensor in (*module._parameters.values(), *module._buffers.values()):
            if tensor is None or id(tensor) in copies:
                continue
            if tensor.device.type != "meta" or type(tensor) not in (torch.Tensor, torch.nn.Parameter) or vars(tensor):
                return None
            copies[id(tensor)] = _copy_of_tensor(tensor, storages, ledger, dtype)
    try:
        return copy_of_modules(modules, copies)
    except Uncopyable:
        return None


def _copy_of_tensor(
    tensor: torch.Tensor, storages: dict[int, torch.UntypedStorage], ledger: Ledger, dtype: torch.dtype | None
) -> torch.Tensor:
    if dtype is not None and tensor.is_floating_point():
        made = torch.empty_strided(tensor.size(), tensor.stride(), dtype=dtype, device="meta")
    else:
        source = tensor.untyped_storage()
        if source._cdata not in storages:
            target = torch.empty(source.nbytes(), dtype=torch.uint8, device="meta").untyped_storage()
            storages[source._cdata] = target
            ledger.hold_like(target, source)
        made = torch.empty(0, dtype=tensor.dtype, device="meta")
        made.set_(storages[source._cdata], tensor.storage_offset(), tensor.size(), tensor.stride())
    if isinstance(tensor, torch.nn.Parameter):
        return torch.nn.Parameter(made, requires_grad=tensor.requires_grad)
    return made


def named_tensors(model: torch.nn.Module) -> Iterator[tuple[str, str, torch.Tensor]]:
    """(kind, name, tensor) of every parameter and persistent buffer, shared ones under each of their names."""
    for prefix, module in model.named_modules(remove_duplicate=False):
        start = f"{prefix}." if prefix else ""
        for name, parameter in module._parameters.items():
            if parameter is not None:
                yield "parameter", start + name, parameter
        for name, buffer in module._buffers.items():
            if buffer is not None and name not in module._non_persistent_buffers_set:
                yield "buffer", start + name, buffer


def has_spared_buffers(model: torch.nn.Module, ledger: Ledger) -> bool:
    """Whether a persistent buffer is the memory of a parameter whose initialiser was spared: it may be a constant."""
    contents = (
        ledger.values.node(ledger.content(tensor.untyped_storage()))
        for kind, _, tensor in named_tensors(model)
        if kind == "buffer" and tensor.is_meta
    )
    return any(node.label == "fresh" and node.payload[0] == INITIAL_WEIGHT for node in contents)


def _known_content(buffer: torch.Tensor, ledger: Ledger) -> str | None:
    """A digest of the bytes that a buffer was moved with, or else of the constants that it was computed from."""
    storage = buffer.untyped_storage()
    if storage._cdata in ledger.known_bytes:
        return ledger.known_bytes[storage._cdata]
    number = ledger.content(storage)
    is_statistic = (buffer.is_floating_point() or buffer.is_complex()) and is_zeros_or_ones(ledger.values, number)
    return None if is_statistic else ledger.values.digest(number)


CHANCE = "what the model drew when it was built"
"""Why something that it holds is unknown; it is the same for all that this model does."""


def name_chance(model: torch.nn.Module, ledger: Ledger) -> None:
    """Give what a new model has by chance numbers of their own: tensors that are no weights and in no checkpoint.

    They were drawn, or computed from initial weights, which a checkpoint replaces.
    """
    for module in parts_of(model):
        for tensor in (*module._buffers.values(), *vars(module).values()):
            if type(tensor) not in PLAIN_TENSORS or not tensor.is_meta:
                continue
            storage = tensor.untyped_storage()
            why = ledger.values.all_fresh(ledger.content(storage))
            if why and all(one == INITIAL_WEIGHT or one.startswith(RANDOM) for one, _ in why):
                with ledger.ranges.unchanged(storage):
                    ledger.hold(storage, ledger.values.fresh(CHANCE))


def name_leaves(model: torch.nn.Module, ledger: Ledger, *, known_before: int | None = None) -> None:
    """Give every parameter and persistent buffer its name as its number; buffers carry what they hold, where known.

    What is filled with floating zeros or ones is taken for statistics, which training replaces.

    With `known_before`, storages that were among so many first ones keep their numbers, and the others are named as
    weights that came later.
    """
    sharing: defaultdict[int, list[tuple[str, torch.Tensor, str | None]]] = defaultdict(list)
    for kind, name, tensor in named_tensors(model):
        storage = tensor.untyped_storage()
        if known_before is not None and ledger.is_among_first(known_before, storage):
            continue
        address = storage._cdata
        digest = _known_content(tensor, ledger) if kind == "buffer" else None
        sharing[address].append((f"{kind} {name}", tensor, digest))
    for tensors in sharing.values():
        ledger.name_leaf("weights" if known_before is None else "later weights", tensors)
