"""This script holds what the engine believes of how results lie in memory against each operator that torch tests.

Torch's own samples are called with operands laid out in seven ways, on the CPU and on meta: a result that the engine
does not call open must lie alike. Says which operators' results do not, and how many were compared. Exits 1 if any.
"""

from __future__ import annotations

import random
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.testing._internal.common_methods_invocations import op_db  # needs `expecttest`
from torch.utils._pytree import tree_leaves, tree_map

from conformance.engine.ledger import Ledger
from conformance.engine.outside import recording

SAMPLES = 12
"""Of an operator, at most."""
SECONDS = 60
"""For one operator."""
LAYOUTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "as sampled": lambda x: x,
    "turned": lambda x: x.transpose(-1, -2).contiguous().transpose(-1, -2),
    "batch within": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
    "channels last": lambda x: x.movedim(1, -1).contiguous().movedim(-1, 1),
    "some of more": lambda x: torch.cat([x, x], -1)[..., : x.size(-1)],
    "every second": lambda x: torch.stack([x, x], -1)[..., 0],
    "expanded": lambda x: x[:1].expand_as(x),
}


def plain(tensor: torch.Tensor) -> bool:
    """Whether elements in memory are all there is."""
    return tensor.layout is torch.strided and not tensor.is_quantized


def on_meta(tensor: torch.Tensor) -> torch.Tensor:
    """The same geometry without elements."""
    size = tensor.untyped_storage().nbytes() // tensor.element_size()
    memory = torch.empty(size, dtype=tensor.dtype, device="meta")
    return memory.as_strided(tensor.size(), tensor.stride(), tensor.storage_offset())


def seen(tensor: torch.Tensor) -> tuple[int, ...]:
    """The strides that reach an element."""
    return tuple(step for size, step in zip(tensor.size(), tensor.stride(), strict=True) if size > 1)


def laid_out(value: Any, layout: str) -> Any:
    """A value as a layout has it, where it is a tensor of more than one dimension."""
    if not isinstance(value, torch.Tensor):
        return value
    value = value.detach()
    return LAYOUTS[layout](value) if value.dim() > 1 and value.numel() and plain(value) else value


def compared(operator: Callable[..., Any], args: Any, kwargs: Any) -> Iterator[tuple[bool, bool]]:
    """Whether the engine calls a result open, and whether it lies alike, for each tensor that a call gives."""
    with torch.no_grad():
        real = operator(*args, **kwargs)
    ledger = Ledger()
    operands = [operand for operand in tree_leaves((args, kwargs)) if isinstance(operand, torch.Tensor)]
    metas = {id(operand): on_meta(operand) for operand in operands}
    for number, meta in enumerate(metas.values()):
        ledger.name_leaf("input", [(f"x{number}", meta, None)])
    args, kwargs = tree_map(lambda value: metas.get(id(value), value), (args, kwargs))
    with recording(ledger, writable=metas.values()) as taken:
        made = operator(*args, **kwargs)
    for left, right in zip(tree_leaves(real), tree_leaves(made), strict=True):
        if isinstance(left, torch.Tensor) and plain(left) and right.is_meta and left.size() == right.size():
            is_open = ledger.layouts.is_open(right) or taken.strays is not None
            yield is_open, seen(left) == seen(right) or left.numel() < 2


def results(operator: Callable[..., Any], sample: Any, layout: str) -> list[tuple[bool, bool]]:
    """What `compared` gives; nothing where the operator refuses what it is given, or meta tensors: nothing is proved
    then."""
    try:
        args, kwargs = tree_map(
            lambda value: laid_out(value, layout), ((sample.input, *sample.args), dict(sample.kwargs))
        )
        return list(compared(operator, args, kwargs))
    except TimeoutError:
        raise
    except Exception:  # noqa: BLE001  # in any way
        return []


def give_up(*_: object) -> None:
    """End what takes too long."""
    raise TimeoutError


def main() -> int:
    """Compare all operators."""
    warnings.simplefilter("ignore")
    random.seed(0)
    signal.signal(signal.SIGALRM, give_up)
    calls = opened = 0
    wrong: dict[str, set[str]] = {}
    for operator in op_db:
        signal.alarm(SECONDS)
        try:
            for dtype in operator.supported_dtypes("cpu") & {torch.float32, torch.complex64, torch.int64}:
                samples = list(operator.sample_inputs("cpu", dtype))
                for sample in random.sample(samples, min(len(samples), SAMPLES)):
                    for layout in LAYOUTS:
                        for is_open, is_alike in results(operator.op, sample, layout):
                            calls, opened = calls + 1, opened + is_open
                            if not is_open and not is_alike:
                                wrong.setdefault(operator.name, set()).add(layout)
        except TimeoutError:
            print(f"{operator.name}: not all in {SECONDS} s", flush=True)
        finally:
            signal.alarm(0)
    for name, layouts in sorted(wrong.items()):
        print(f"{name} lies otherwise: {', '.join(sorted(layouts))}")
    print(
        f"{len(op_db)} operators, {calls} results compared, {opened} open, {len(wrong)} operators lie otherwise unseen"
    )
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
