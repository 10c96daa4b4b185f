"""This module builds models without weights: parameters on the meta device, constants on the CPU, leaves named."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from conformance.engine.operands import digest_of_bytes
from conformance.engine.trace import Ledger

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


class BulkOnMeta(TorchFunctionMode):
    """The function mode under which models are built and heads are reset."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in BULK_FACTORIES and kwargs.get("device") is None and "out" not in kwargs:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def move_to_meta(model: torch.nn.Module, ledger: Ledger) -> dict[int, str]:
    """Move parameters and buffers that were made on the CPU to the meta device, storage by storage, keeping ties.

    Returns:
        For each new storage (by address), the digest of the bytes that it held.
    """
    storages: dict[int, torch.UntypedStorage] = {}
    moved: dict[int, torch.Tensor] = {}
    known: dict[int, str] = {}
    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is None or tensor.device.type != "cpu":
                    continue
                if id(tensor) not in moved:
                    moved[id(tensor)] = _on_meta(tensor, storages, known, ledger)
                tensors[name] = moved[id(tensor)]
    return known


def _on_meta(
    tensor: torch.Tensor, storages: dict[int, torch.UntypedStorage], known: dict[int, str], ledger: Ledger
) -> torch.Tensor:
    source = tensor.untyped_storage()
    if source._cdata not in storages:
        target = torch.empty(source.nbytes(), dtype=torch.uint8, device="meta").untyped_storage()
        storages[source._cdata] = target
        whole = torch.empty(0, dtype=torch.uint8).set_(source)
        known[target._cdata] = digest_of_bytes(whole)
        ledger.hold(target, ledger.values.intern("storage", (source.nbytes(), known[target._cdata])))
    there = torch.empty(0, dtype=tensor.dtype, device="meta")
    there.set_(storages[source._cdata], tensor.storage_offset(), tensor.size(), tensor.stride())
    if isinstance(tensor, torch.nn.Parameter):
        there = torch.nn.Parameter(there, requires_grad=tensor.requires_grad)
    return there


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


def name_leaves(model: torch.nn.Module, ledger: Ledger, known: Mapping[int, str] | None = None) -> None:
    """Give every parameter and persistent buffer its name as its number; `known` are digests of bytes by storage."""
    sharing: defaultdict[int, list[tuple[str, torch.Tensor, str | None]]] = defaultdict(list)
    for kind, name, tensor in named_tensors(model):
        address = tensor.untyped_storage()._cdata
        digest = (known or {}).get(address) if kind == "buffer" else None
        sharing[address].append((f"{kind} {name}", tensor, digest))
    for tensors in sharing.values():
        ledger.name_leaf("weights", tensors)
