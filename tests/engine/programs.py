"""Programs of real ATen operations, made from small numbers, that run on meta tensors and on real ones alike.

A step is four small whole numbers: which operation, on which registers, and with which constant. Steps that cannot be
done (sizes that do not fit, a kernel that is not there) are left out on both sides.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch.nn import functional as F

Step = tuple[int, int, int, int]
Registers = list[torch.Tensor]

SCALARS = (2, 2.0, -1, 0.5, 0.0, -0.0, 1, True, float("inf"), float("nan"), 1.5, 3)
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.complex64)
MOST_ELEMENTS = 4096
LEAVES = {"x": (4, 6), "y": (4, 6), "w": (6,), "q": (6, 6)}
"""The registers that are there from the beginning."""


@dataclass
class Machine:
    """Where a program runs: its device, and a source of memory and chance of its own."""

    device: str
    registers: Registers
    chance: torch.Generator = field(default_factory=torch.Generator)


Operation = Callable[[Machine, torch.Tensor, torch.Tensor, int], object]


def scalar(number: int) -> float:
    return SCALARS[number % len(SCALARS)]


def dimension(x: torch.Tensor, number: int) -> int:
    return number % max(x.dim(), 1)


def part(x: torch.Tensor, number: int) -> torch.Tensor:
    """A slice along a dimension that the number says, with a step."""
    where = dimension(x, number)
    size = x.shape[where] if x.dim() else 1
    start, step = (number // 4) % max(size, 1), 1 + number % 2
    return x[(slice(None),) * where + (slice(start, None, step),)]


def strided(x: torch.Tensor, number: int) -> torch.Tensor:
    """Elements of the storage that may overlap."""
    sizes = ((2, 3), (4,), (3, 2), (2, 2, 2))[number % 4]
    strides = ((1, 1), (2,), (0, 1), (1, 2, 1))[number // 4 % 4]
    strides = (*strides, 1, 1)[: len(sizes)]
    return x.as_strided(sizes, strides, number % 3)


def grid(x: torch.Tensor) -> torch.Tensor:
    """Four dimensions, as images have."""
    return x.reshape(1, 2, -1, 2)


def assigned(x: torch.Tensor, y: torch.Tensor, number: int) -> None:
    target = part(x, number)
    target.copy_(y.reshape(-1)[: target.numel()].reshape(target.shape))


def given_out(m: Machine, x: torch.Tensor, y: torch.Tensor, number: int) -> torch.Tensor:
    out = torch.empty(torch.broadcast_shapes(x.shape, y.shape), dtype=x.dtype, device=m.device)
    return (torch.add, torch.mul, torch.sub)[number % 3](x, y, out=out)


OPERATIONS: dict[str, Operation] = {
    # computing
    "add": lambda m, x, y, n: x + y,
    "add with alpha": lambda m, x, y, n: torch.add(x, y, alpha=scalar(n)),
    "sub": lambda m, x, y, n: x - y,
    "mul": lambda m, x, y, n: x * y,
    "div": lambda m, x, y, n: x / y,
    "divided and rounded": lambda m, x, y, n: torch.div(x, y, rounding_mode=("trunc", "floor", None)[n % 3]),
    "maximum": lambda m, x, y, n: torch.maximum(x, y),
    "where": lambda m, x, y, n: torch.where(x > y, x, y),
    "add a number": lambda m, x, y, n: x + scalar(n),
    "add a number as one": lambda m, x, y, n: torch.ops.aten.add.Scalar(x, scalar(n)),
    "multiply by a number": lambda m, x, y, n: x * scalar(n),
    "divide by a number": lambda m, x, y, n: x / scalar(n),
    "take from a number": lambda m, x, y, n: scalar(n) - x,
    "take some from a number": lambda m, x, y, n: torch.rsub(x, 3, alpha=scalar(n)),
    "negate and add a number": lambda m, x, y, n: torch.ops.aten.add.Scalar(torch.neg(x), scalar(n)),
    "neg": lambda m, x, y, n: -x,
    "relu": lambda m, x, y, n: x.relu(),
    "abs": lambda m, x, y, n: x.abs(),
    "sigmoid": lambda m, x, y, n: x.sigmoid(),
    "tanh": lambda m, x, y, n: x.tanh(),
    "round": lambda m, x, y, n: x.round(),
    "gelu": lambda m, x, y, n: F.gelu(x, approximate=("none", "tanh")[n % 2]),
    "clamp": lambda m, x, y, n: x.clamp(min=scalar(n)),
    "double and halve": lambda m, x, y, n: (x + x) / 2,
    "double and take half": lambda m, x, y, n: (x + x) * 0.5,
    "add and halve": lambda m, x, y, n: (x + y) / 2,
    "double and divide": lambda m, x, y, n: (x + x) / scalar(n),
    "double and multiply": lambda m, x, y, n: (x + x) * scalar(n),
    "add some of itself and halve": lambda m, x, y, n: torch.add(x, x, alpha=scalar(n)) / 2,
    "double another look and halve": lambda m, x, y, n: (x + x).transpose(0, -1) / 2,
    "negate and add some of a number": lambda m, x, y, n: torch.ops.aten.add.Scalar(torch.neg(x), 3, scalar(n)),
    "negate another look and add": lambda m, x, y, n: torch.neg(x).transpose(0, -1) + scalar(n),
    "softmax": lambda m, x, y, n: x.softmax(dimension(x, n)),
    "matmul": lambda m, x, y, n: x @ y.transpose(-1, -2),
    "product": lambda m, x, y, n: torch.mm(x, y),
    "product put over an operand": lambda m, x, y, n: torch.mm(x, y, out=x),
    "sums put over the operand": lambda m, x, y, n: torch.cumsum(x, dimension(x, n), out=x),
    "linear": lambda m, x, y, n: F.linear(x, y),
    "layer norm": lambda m, x, y, n: F.layer_norm(x, x.shape[-1:], eps=(1e-5, 1e-6)[n % 2]),
    "attention": lambda m, x, y, n: F.scaled_dot_product_attention(x[None], y[None], y[None]),
    # reducing
    "sum": lambda m, x, y, n: x.sum(dimension(x, n), keepdim=bool(n & 4)),
    "mean": lambda m, x, y, n: x.mean(dimension(x, n), keepdim=bool(n & 4)),
    "amax": lambda m, x, y, n: x.amax(dimension(x, n), keepdim=bool(n & 4)),
    "var": lambda m, x, y, n: x.var(dimension(x, n), correction=n % 2, keepdim=bool(n & 4)),
    "norm": lambda m, x, y, n: x.norm(2, dimension(x, n), keepdim=bool(n & 4)),
    "vector norm": lambda m, x, y, n: torch.linalg.vector_norm(x, 2, dimension(x, n), keepdim=bool(n & 4)),
    "cumsum": lambda m, x, y, n: x.cumsum(dimension(x, n)),
    "max and place": lambda m, x, y, n: list(x.max(dimension(x, n))),
    "sort": lambda m, x, y, n: list(x.sort(dimension(x, n), descending=bool(n & 4))),
    # putting together and taking apart
    "cat": lambda m, x, y, n: torch.cat([x, y], dimension(x, n)),
    "cat of cat": lambda m, x, y, n: torch.cat([torch.cat([x, y], dimension(x, n)), x], dimension(x, n)),
    "cat of three": lambda m, x, y, n: torch.cat([x, y, x], dimension(x, n)),
    "stack": lambda m, x, y, n: torch.stack([x, y], n % 2),
    "split": lambda m, x, y, n: list(x.split(1 + n % 3, dimension(x, n))[:3]),
    "flip": lambda m, x, y, n: x.flip(dimension(x, n)),
    "roll": lambda m, x, y, n: x.roll(n % 5 - 2, dimension(x, n)),
    "pad": lambda m, x, y, n: F.pad(x, (n % 3, n // 4 % 2), value=float(n % 2)),
    "take places": lambda m, x, y, n: x.index_select(0, torch.arange(n % 3 + 1, device=m.device)),
    "pool": lambda m, x, y, n: F.avg_pool2d(grid(x), (1 + n % 2, 1)),
    "resize to itself": lambda m, x, y, n: F.interpolate(
        grid(x), size=grid(x).shape[2:], mode="bicubic", antialias=True
    ),
    # looking
    "transpose": lambda m, x, y, n: x.transpose(dimension(x, n), dimension(x, n // 4)),
    "permute": lambda m, x, y, n: x.reshape(2, 3, -1).permute(((2, 0, 1), (1, 2, 0), (2, 1, 0))[n % 3]),
    "slice": lambda m, x, y, n: part(x, n),
    "select": lambda m, x, y, n: x.select(dimension(x, n), n // 4 % x.shape[dimension(x, n)]),
    "flatten": lambda m, x, y, n: x.flatten(),
    "view": lambda m, x, y, n: x.view(-1),
    "reshape": lambda m, x, y, n: x.reshape(((-1, 2), (2, -1), (3, -1), (-1, 1))[n % 4]),
    "unsqueeze": lambda m, x, y, n: x.unsqueeze(n % (x.dim() + 1)),
    "squeeze": lambda m, x, y, n: x.squeeze(),
    "expand": lambda m, x, y, n: x.unsqueeze(0).expand(1 + n % 3, *x.shape),
    "diagonal": lambda m, x, y, n: x.diagonal(n % 3 - 1),
    "unfold": lambda m, x, y, n: x.unfold(dimension(x, n), 2, 1 + n % 2),
    "strided": lambda m, x, y, n: strided(x, n),
    "neg view": lambda m, x, y, n: torch._neg_view(x + 0.0 if n & 8 else x) if x.dtype != torch.bool else x.neg(),
    "conj": lambda m, x, y, n: x.conj(),
    "imag": lambda m, x, y, n: x.imag,
    "real": lambda m, x, y, n: x.real,
    "as another dtype": lambda m, x, y, n: x.view((torch.int32, torch.float32, torch.int64)[n % 3]),
    "detach": lambda m, x, y, n: x.detach(),
    # copying
    "clone": lambda m, x, y, n: x.clone(),
    "contiguous": lambda m, x, y, n: x.contiguous(),
    "channels last": lambda m, x, y, n: grid(x).contiguous(memory_format=torch.channels_last),
    "to dtype": lambda m, x, y, n: x.to(DTYPES[n % len(DTYPES)]),
    "resolve": lambda m, x, y, n: x.resolve_neg().resolve_conj(),
    # writing
    "add_": lambda m, x, y, n: x.add_(y),
    "mul_": lambda m, x, y, n: x.mul_(scalar(n)),
    "relu_": lambda m, x, y, n: x.relu_(),
    "neg_": lambda m, x, y, n: x.neg_(),
    "zero_": lambda m, x, y, n: x.zero_(),
    "fill_": lambda m, x, y, n: x.fill_(scalar(n)),
    "copy_": lambda m, x, y, n: x.copy_(y),
    "write to a slice": lambda m, x, y, n: part(x, n).mul_(scalar(n)),
    "write zeros to a slice": lambda m, x, y, n: part(x, n).zero_(),
    "assign to a slice": lambda m, x, y, n: assigned(x, y, n),
    "write where strides overlap": lambda m, x, y, n: strided(x, n).add_(1),
    "masked_fill_": lambda m, x, y, n: x.masked_fill_(y > 0, scalar(n)),
    "index_put": lambda m, x, y, n: x.index_put_((torch.tensor([0, n % 2], device=m.device),), y.sum()),
    "transposed in place": lambda m, x, y, n: x.t_(),
    "squeezed in place": lambda m, x, y, n: x.unsqueeze_(0),
    "list of writes": lambda m, x, y, n: torch._foreach_add_([x, y], scalar(n)),
    "list of results": lambda m, x, y, n: torch._foreach_mul([x, y], scalar(n)),
    "out=": given_out,
    "out= of the operand": lambda m, x, y, n: torch.add(x, y, out=x),
    "swapped contents": lambda m, x, y, n: torch.add(x, 0.0, out=y),
    # making
    "zeros": lambda m, x, y, n: torch.zeros(2, 3, device=m.device),
    "zeros like": lambda m, x, y, n: torch.zeros_like(x),
    "ones": lambda m, x, y, n: torch.ones(2, 3, device=m.device),
    "full": lambda m, x, y, n: torch.full((2, 3), scalar(n), device=m.device),
    "arange": lambda m, x, y, n: torch.arange(6, dtype=DTYPES[n % 4], device=m.device).reshape(2, 3),
    "linspace": lambda m, x, y, n: torch.linspace(0, 1 + n % 3, 6, device=m.device),
    "constant": lambda m, x, y, n: torch.tensor([[1.0, float(scalar(n)), 3.0]]).to(m.device),
    "eye": lambda m, x, y, n: torch.eye(3, device=m.device),
    # chance and memory that nobody wrote
    "rand": lambda m, x, y, n: chosen_by_chance(m, x),
    "empty": lambda m, x, y, n: unwritten(m, x),
    "empty and written": lambda m, x, y, n: torch.empty_like(x).copy_(y.expand_as(x)),
    "forget": lambda m, x, y, n: forget(m, n),
}
NAMES = tuple(OPERATIONS)


def chosen_by_chance(m: Machine, x: torch.Tensor) -> torch.Tensor:
    if m.device == "meta":
        return torch.rand_like(x)
    return torch.rand(x.shape, generator=m.chance).to(x.dtype)


def unwritten(m: Machine, x: torch.Tensor) -> torch.Tensor:
    """Memory that nobody wrote: on a real device, what happens to lie there, which is never the same."""
    if m.device == "meta":
        return torch.empty_like(x)
    return torch.rand(x.shape, generator=m.chance).to(x.dtype)


def forget(m: Machine, number: int) -> None:
    """Let go of a register: its memory may be given to another."""
    if len(m.registers) > len(LEAVES):
        del m.registers[len(LEAVES) + number % (len(m.registers) - len(LEAVES))]


def run(program: Sequence[Step], machine: Machine, only: Sequence[bool] | None = None) -> list[bool]:
    """Run the steps, those only that `only` names; gives which of them could be done. The results are registers."""
    done = []
    for place, (name, left, right, number) in enumerate(program):
        if only is not None and not only[place]:
            done.append(False)
            continue
        registers = machine.registers
        x, y = registers[left % len(registers)], registers[right % len(registers)]
        operation = OPERATIONS[NAMES[name % len(NAMES)]]
        try:
            result = operation(machine, x, y, number)
        except (RuntimeError, IndexError, TypeError, ValueError, NotImplementedError, ZeroDivisionError):
            if only is not None:
                raise
            done.append(False)
            continue
        made = result if isinstance(result, list) else [result]
        tensors = [one for one in made if isinstance(one, torch.Tensor)]
        registers.extend(one for one in tensors if one.numel() <= MOST_ELEMENTS)
        done.append(True)
    return done


def bits(tensor: torch.Tensor) -> tuple[object, ...]:
    """The elements of a real tensor, bit for bit, but that every NaN is like another."""
    tensor = tensor.detach().resolve_conj().resolve_neg().contiguous()
    plain = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    if plain.is_floating_point():
        plain = torch.where(plain.isnan(), torch.full_like(plain, float("nan")), plain)
    if plain.dtype == torch.bfloat16:  # which NumPy lacks
        plain = plain.view(torch.int16)
    return tuple(tensor.shape), tensor.dtype, plain.numpy().tobytes()


def inputs(seed: int) -> Registers:
    """Real values for the leaves: ordinary ones, and for odd seeds those at which arithmetic is special."""
    chance = torch.Generator().manual_seed(seed)
    found = [torch.randn(size, generator=chance) for size in LEAVES.values()]
    if seed % 2:
        special = itertools.cycle((0.0, -0.0, float("inf"), float("-inf"), float("nan"), 1e-40, -1e-40, 1.0, -2.5))
        for tensor in found:
            for place in range(0, tensor.numel(), 2):
                tensor.view(-1)[place] = next(special)
    return found
