"""Each rule that merges numbers is attacked alone: whatever it might take for one thing is numbered and run.

A family is every way to write something that the rule merges, and everything that only looks like it. Of all members
that have one number all must give the same bits, of ordinary numbers and of those at which arithmetic is special.
Members are looked at in every way where `SOUNDNESS_PROGRAMS` asks for thousands, and in some ways otherwise.
"""

from __future__ import annotations

import itertools
import operator
import os
import warnings
from collections import Counter

import pytest
import torch
from torch.nn import functional as F

from conformance.engine.layouts import without_layouts
from conformance.engine.ledger import Ledger
from conformance.engine.outside import recording
from tests.engine.programs import bits

aten = torch.ops.aten
INF, NAN = float("inf"), float("nan")
DTYPES = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int8, torch.uint8,
    torch.bool, torch.complex64,
)  # fmt: skip
NUMBERS = (2, -3, 0, 1, 0.5, 2.0, 0.1, -0.0, 0.0, INF, NAN, True, 1e30, -2, 3)
SIZE = (4, 6)
LOOKS = {
    "itself": lambda x: x,
    "transposed": lambda x: x.transpose(-1, -2),
    "a part": lambda x: x[1:, ::2],
    "its square": lambda x: x[:4, :4],
    "that transposed": lambda x: x[:4, :4].transpose(0, 1),
    "negated look": lambda x: torch._neg_view(x) if x.dtype not in (torch.bool, torch.uint8) else x,
    "conjugate": lambda x: x.conj(),
    "broadcast": lambda x: x[:1].expand(4, 6),
    "reshaped": lambda x: x.reshape(6, 4),
}


def specimens(dtype, seed):
    """Both operands: numbers of the dtype, its ends and what is special among them."""
    chance = torch.Generator().manual_seed(seed)
    if dtype is torch.bool:
        return [torch.rand(SIZE, generator=chance) > 0.5 for _ in range(2)]
    if not dtype.is_floating_point and not dtype.is_complex:
        ends = torch.iinfo(dtype)
        drawn = [torch.randint(ends.min // 2, ends.max // 2, SIZE, generator=chance).to(dtype) for _ in range(2)]
        drawn[0][0] = torch.tensor([0, 1, ends.max, ends.min, ends.max - 1, 2])
        return drawn
    drawn = [torch.randn(SIZE, generator=chance, dtype=torch.float64).to(dtype) for _ in range(2)]
    if seed:
        ends = torch.finfo(dtype)
        # Half of the largest number and no more: rules may say that they do not hold where something overflows.
        special = [0.0, -0.0, INF, -INF, NAN, ends.max / 2.5, ends.tiny, ends.smallest_normal / 2, 1 / 3, -ends.tiny]
        for place, number in zip(itertools.product(range(2), range(5)), special, strict=True):
            drawn[0][place] = number
    return drawn


IS_THOROUGH = int(os.environ.get("SOUNDNESS_PROGRAMS", "600")) > 1000
SOME = ("itself", "that transposed")


class Attack:
    """Members of a family by number, and what they gave."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.known = {}
        self.found = Counter()

    def try_all(self, family, dtypes=DTYPES, *, is_close=None):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for dtype, (name, function) in itertools.product(dtypes, family):
                self._try(dtype, name, function, is_close)
        return self.found

    def _try(self, dtype, name, function, is_close):
        try:
            given = [[tensor.clone() for tensor in specimens(dtype, seed)] for seed in (0, 1)]
            results = [function(*operands) for operands in given]
        except Exception:  # noqa: BLE001  # torch has no such thing for this dtype
            self.found["not there"] += 1
            return
        leaves = [torch.empty(SIZE, dtype=dtype, device="meta") for _ in range(2)]
        for leaf, tensor in zip("xy", leaves, strict=True):
            self.ledger.name_leaf("input", [(f"{leaf} of {dtype}", tensor, None)])
        try:
            with recording(self.ledger, writable=leaves) as taken:
                output = function(*leaves)
            number = self.ledger.result(output)
        except Exception:  # noqa: BLE001  # the meta device refuses more than the CPU: nothing is proved
            self.found["not on meta"] += 1
            return
        if taken.unprovable or not self.ledger.values.is_reproducible(number):
            self.found["not proved"] += 1
            return
        if is_close is not None:
            number = without_layouts(self.ledger.values, number)
        self.found["members"] += 1
        first, known = self.known.setdefault(number, ((dtype, name), results))
        if first != (dtype, name):
            self.found["merged"] += 1
            same = is_close or (lambda left, right: bits(left) == bits(right))
            for left, right in zip(known, results, strict=True):
                assert same(left, right), f"{name} and {first[1]} of {dtype} have one number\n{left}\n{right}"


def looked_at(functions):
    """Each function of two looks at its operands."""
    looks = LOOKS if IS_THOROUGH else {look: LOOKS[look] for look in SOME}
    for (look, see), (name, function) in itertools.product(looks.items(), functions):
        yield f"{name} of {look}", lambda x, y, f=function, see=see: f(see(x), see(y))


def numbers_as_scalars():
    for name, number in itertools.product(("add", "sub", "mul", "div", "remainder", "pow", "rsub"), NUMBERS):
        packet = getattr(aten, name)
        for overload in packet.overloads():
            function = getattr(packet, overload)
            yield f"{name}.{overload} with {number}", lambda x, y, f=function, n=number: f(x, n)
            yield (
                f"{name}.{overload} with a tensor of {number}",
                lambda x, y, f=function, n=number: f(x, torch.tensor(n)),
            )
    for mode, number in itertools.product(("trunc", "floor", None), NUMBERS):
        for overload in ("Tensor_mode", "Scalar_mode"):
            function = getattr(aten.div, overload)
            yield f"div.{overload}", lambda x, y, f=function, n=number, m=mode: f(x, n, rounding_mode=m)


def test_numbers_as_scalars():
    found = Attack().try_all(numbers_as_scalars())
    assert found["merged"] > 100, found


def overlapping(x):
    """As many elements as x has, of which some are the same ones."""
    return x.as_strided(x.shape, (1, 1))


def doubled_and_halved():
    sums = {
        "x + x": lambda x, y: x + x,
        "x + y": lambda x, y: x + y,
        "x + x.clone()": lambda x, y: x + x.clone(),
        "x + x in float32": lambda x, y: torch.add(x, x.to(torch.float32)),
        "add_": lambda x, y: x.clone().add_(x),
        "out=": lambda x, y: torch.add(x, x, out=torch.empty_like(x)),
        "out= that is wider": lambda x, y: torch.add(
            x, x, out=torch.empty(x.shape, dtype=torch.float64, device=x.device)
        ),
        "2 * x": lambda x, y: x * 2,
        "sum of stack": lambda x, y: torch.stack([x, x]).sum(0),
    } | {f"alpha {a}": lambda x, y, a=a: torch.add(x, x, alpha=a) for a in (1, 1.0, 2, -1, True, 0)}
    halves = {
        f"{name} {n}": lambda s, f=f, n=n: f(s, n)
        for name, f in (("/", operator.truediv), ("*", operator.mul), ("//", operator.floordiv))
        for n in (2, 2.0, 0.5, 1, True, -2, 4)
    } | {
        "div.Scalar": lambda s: aten.div.Scalar(s, 2),
        "mul.Scalar": lambda s: aten.mul.Scalar(s, 0.5),
        "in place": lambda s: s.div_(2),
        "of a look": lambda s: s.transpose(-1, -2) / 2,
        "of a part": lambda s: s[1:] / 2,
        "of a look that overlaps": lambda s: overlapping(s) / 2,
        "times half of a look that overlaps": lambda s: overlapping(s) * 0.5,
        "rounded": lambda s: torch.div(s, 2, rounding_mode="floor"),
        "by a tensor": lambda s: s / torch.tensor(2.0),
        "to float64": lambda s: s.double() / 2,
    }
    for (left, add), (right, halve) in itertools.product(sums.items(), halves.items()):
        yield f"({left}) {right}", lambda x, y, add=add, halve=halve: halve(add(x, y))
    yield "x", lambda x, y: x
    yield "y", lambda x, y: y
    yield "x transposed", lambda x, y: x.transpose(-1, -2)
    yield "x that overlaps", lambda x, y: overlapping(x).clone()
    for dtype in DTYPES:
        yield f"x as {dtype}", lambda x, y, d=dtype: x.to(d)


def test_doubled_and_halved():
    found = Attack().try_all(looked_at(list(doubled_and_halved())), [d for d in DTYPES if d is not torch.complex64])
    assert found["merged"] > 500, found


def taken_from_a_number():
    negatives = {
        "-x": torch.neg,
        "neg_": lambda x: x.clone().neg_(),
        "0 - x": lambda x: 0 - x,
        "x * -1": lambda x: x * -1,
        "neg look": lambda x: torch._neg_view(x),
        "-x transposed": lambda x: torch.neg(x).transpose(-1, -2),
        "-x that overlaps": lambda x: overlapping(torch.neg(x)),
        "-(x transposed)": lambda x: torch.neg(x.transpose(-1, -2)),
        "-x in float64": lambda x: torch.neg(x).double(),
        "--x": lambda x: torch.neg(torch.neg(x)),
    }
    for (name, negate), number in itertools.product(negatives.items(), NUMBERS):
        for alpha in (1, 2, 1.0, -1):
            yield (
                f"({name}) + {number} by {alpha}",
                lambda x, y, f=negate, n=number, a=alpha: aten.add.Scalar(f(x), n, a),
            )
        yield f"({name}) + {number}", lambda x, y, f=negate, n=number: f(x) + n
        yield f"({name}) - {number}", lambda x, y, f=negate, n=number: f(x) - n
    for number, alpha in itertools.product(NUMBERS, (1, 2, 1.0, -1)):
        yield f"{number} - x by {alpha}", lambda x, y, n=number, a=alpha: torch.rsub(x, n, alpha=a)
        yield f"{number} - x as a tensor", lambda x, y, n=number: torch.tensor(n) - x


def test_taken_from_a_number():
    found = Attack().try_all(looked_at(list(taken_from_a_number())))
    assert found["merged"] > 500, found


def copies():
    makes = {
        "clone": lambda x, d: x.clone().to(d),
        "to": lambda x, d: x.to(d),
        "to a copy": lambda x, d: x.to(d, copy=True),
        "contiguous": lambda x, d: x.contiguous().to(d),
        "copied": lambda x, d: torch.empty(x.shape, dtype=d, device=x.device).copy_(x),
        "copied in other order": lambda x, d: torch.empty(x.shape[::-1], dtype=d, device=x.device).t().copy_(x),
        "copied into more": lambda x, d: torch.empty(2, *x.shape, dtype=d, device=x.device).copy_(x)[1],
        "copied into a part": lambda x, d: torch.zeros(8, 8, dtype=d, device=x.device)[
            : x.shape[0], : x.shape[1]
        ].copy_(x),
        "through half": lambda x, d: x.half().to(d),
        "through float64": lambda x, d: x.double().to(d),
        "expanded": lambda x, d: x.to(d).expand(2, *x.shape).clone()[0],
        "flattened": lambda x, d: x.to(d).flatten().clone().view(x.shape),
        "in place of another": lambda x, d: torch.ones(x.shape, dtype=d, device=x.device).copy_(x),
        "resolved": lambda x, d: x.resolve_conj().resolve_neg().to(d),
        "bits": lambda x, d: x.contiguous().view(torch.uint8).clone().view(x.dtype).to(d),
    }
    for (name, make), dtype in itertools.product(
        makes.items(), (torch.float64, torch.float32, torch.float16, torch.int64)
    ):
        yield f"{name} as {dtype}", lambda x, y, f=make, d=dtype: f(x, d)
    yield "itself", lambda x, y: x


def test_copies():
    found = Attack().try_all(looked_at(list(copies())))
    assert found["merged"] > 500, found


def constants():
    """What was computed on the CPU, and is converted, broadcast or laid out otherwise on its way to the device."""
    made = {
        "linspace": lambda: torch.linspace(0, 3, 6),
        "arange": lambda: torch.arange(6),
        "numbers": lambda: torch.tensor([0.0, 0.6, 1.2, 1.8, 2.4, 3.0]),
        "small": lambda: torch.tensor([0.0, 0.6]),
        "as float64": lambda: torch.linspace(0, 3, 6).double(),
        "in a row": lambda: torch.linspace(0, 3, 6)[None],
        "in a column": lambda: torch.linspace(0, 3, 6)[:, None],
        "in two rows": lambda: torch.linspace(0, 3, 6).reshape(2, 3),
        "transposed": lambda: torch.linspace(0, 3, 6).reshape(2, 3).t(),
        "a part": lambda: torch.linspace(0, 6, 11)[:6],
        "zeros": lambda: torch.zeros(6),
    }
    ways = {
        "moved": lambda c, x: c.to(x.device),
        "copied": lambda c, x: torch.empty(c.shape, device=x.device).copy_(c),
        "copied into six": lambda c, x: torch.empty(6, device=x.device).copy_(c.expand(6) if c.numel() == 1 else c),
        "copied into rows": lambda c, x: torch.empty(4, 6, device=x.device).copy_(c),
        "copied into six rows": lambda c, x: torch.empty(6, 6, device=x.device).copy_(c),
        "copied into int32": lambda c, x: torch.empty(c.shape, dtype=torch.int32, device=x.device).copy_(c),
        "copied into rows of two": lambda c, x: torch.empty(3, 2, device=x.device).copy_(c),
        "copied into another dtype": lambda c, x: torch.empty(c.shape, dtype=torch.int64, device=x.device).copy_(c),
        "as float16": lambda c, x: c.to(x.device).half(),
        "as float16 there": lambda c, x: c.half().to(x.device),
        "as another dtype": lambda c, x: c.to(x.device).to(torch.int64),
        "as its bits": lambda c, x: c.to(x.device).view(torch.int32),
        "cloned": lambda c, x: c.to(x.device).clone(),
        "times one": lambda c, x: c.to(x.device) * 1,
    }
    for (name, make), (way, bring) in itertools.product(made.items(), ways.items()):
        yield f"{name} {way}", lambda x, y, f=make, g=bring: g(f(), x)


def test_constants():
    found = Attack().try_all(constants(), (torch.float32,))
    assert found["merged"] > 10, found


def zeros():
    for dtype in DTYPES:
        yield f"zeros {dtype}", lambda x, y, d=dtype: torch.zeros(SIZE, dtype=d, device=x.device)
        yield f"empty zero_ {dtype}", lambda x, y, d=dtype: torch.empty(SIZE, dtype=d, device=x.device).zero_()
        yield f"new_zeros {dtype}", lambda x, y, d=dtype: x.new_zeros(SIZE, dtype=d)
        yield f"constant {dtype}", lambda x, y, d=dtype: torch.tensor([[0] * 6] * 4, dtype=d).to(x.device)
        for number in (0, 0.0, -0.0, False, 1):
            yield (
                f"full {number} {dtype}",
                lambda x, y, d=dtype, n=number: torch.full(SIZE, n, dtype=d, device=x.device),
            )
            yield (
                f"fill_ {number} {dtype}",
                lambda x, y, d=dtype, n=number: torch.empty(SIZE, dtype=d, device=x.device).fill_(n),
            )
    for dtype in (torch.float32, torch.float64):
        yield f"ones {dtype}", lambda x, y, d=dtype: torch.ones(SIZE, dtype=d, device=x.device)
        yield f"new_ones {dtype}", lambda x, y, d=dtype: x.new_ones(SIZE, dtype=d)
        yield f"ones_like {dtype}", lambda x, y, d=dtype: torch.ones_like(x, dtype=d)
    yield "x * 0", lambda x, y: x * 0
    yield "x - x", lambda x, y: x - x
    yield "x zero_", lambda x, y: x.zero_()
    yield "part of x zero_", lambda x, y: (x[1:].zero_(), x)[1]
    yield "look at x zero_", lambda x, y: (x.transpose(-1, -2).zero_(), x)[1]
    yield "every other zero_", lambda x, y: (x[:, ::2].zero_(), x)[1]
    yield "zeros and a one", lambda x, y: torch.zeros_like(x).index_fill_(0, torch.tensor([1], device=x.device), 1)
    yield "zeros neg", lambda x, y: torch.zeros_like(x).neg()
    yield "zeros neg look", lambda x, y: torch._neg_view(torch.zeros_like(x))
    yield "zeros neg look resolved", lambda x, y: torch._neg_view(torch.zeros_like(x)).resolve_neg()
    yield "zeros conj", lambda x, y: torch.zeros_like(x).conj().resolve_conj()
    yield "zeros of bits", lambda x, y: torch.zeros_like(x).view(torch.uint8)
    yield "zeros beside memory", lambda x, y: torch.zeros(2, 6, device=x.device).as_strided((2, 3), (6, 2))
    yield "zeros resized", lambda x, y: torch.zeros(2, 6, device=x.device).resize_(1, 6)


def test_zeros():
    found = Attack().try_all(zeros())
    assert found["merged"] > 200, found


def factories():
    for dtype, name in itertools.product((None, *DTYPES), ("ones", "eye", "full", "arange", "linspace", "like", "new")):
        for pin, number in itertools.product((None, False), (2, 2.0, 3, True)):
            given = {"dtype": dtype, "pin_memory": pin}
            make = {
                "ones": lambda x, n, k: torch.ones(SIZE, device=x.device, **k),
                "eye": lambda x, n, k: torch.eye(int(n) + 1, device=x.device, **k),
                "full": lambda x, n, k: torch.full(SIZE, n, device=x.device, **k),
                "arange": lambda x, n, k: torch.arange(0, 6, n, device=x.device, **k),
                "linspace": lambda x, n, k: torch.linspace(0, n, 5, device=x.device, **k),
                "like": lambda x, n, k: torch.full_like(x, n, **k),
                "new": lambda x, n, k: x.new_full(SIZE, n, **k),
            }[name]
            yield f"{name} {number} {given}", lambda x, y, f=make, n=number, k=given: f(x, n, k)


def test_factories():
    found = Attack().try_all(factories(), (torch.float32, torch.float16, torch.int64))
    assert found["merged"] > 300, found


def reductions():
    of = {
        "amax": lambda x, d, k: x.amax(d, k),
        "amin": lambda x, d, k: x.amin(d, k),
        "mean": lambda x, d, k: x.mean(d, k),
        "sum": lambda x, d, k: x.sum(d, k),
        "var": lambda x, d, k: x.var(d, correction=1, keepdim=k),
        "var of all": lambda x, d, k: x.var(d, correction=0, keepdim=k),
        "vector_norm": lambda x, d, k: torch.linalg.vector_norm(x, 2, d, k),
        "prod": lambda x, d, k: x.prod(d if isinstance(d, int) else d[0], k),
        "argmax": lambda x, d, k: x.argmax(d if isinstance(d, int) else d[0], k),
        "in float64": lambda x, d, k: x.sum(d, k, dtype=torch.float64),
    }
    after = {
        "": lambda r: r,
        "squeezed": lambda r: r.squeeze(),
        "unsqueezed": lambda r: r.unsqueeze(0),
        "cloned": lambda r: r.clone(),
        "flat": lambda r: r.reshape(-1),
    }
    for (name, reduce), dims, keep in itertools.product(
        of.items(), (0, 1, -1, (0,), (0, 1), (1, 0), ()), (False, True)
    ):
        for then, change in after.items():
            yield f"{name} {dims} {keep} {then}", lambda x, y, f=reduce, d=dims, k=keep, g=change: g(f(x, d, k))


def test_reductions():
    found = Attack().try_all(looked_at(list(reductions())), (torch.float64, torch.float32, torch.bfloat16, torch.int64))
    assert found["merged"] > 1000, found


def norms():
    for p, dims, keep in itertools.product(
        (0, 1, 2, 2.0, 3, 0.5, INF, -INF, None), ((0,), (1,), (0, 1), (-1,)), (False, True)
    ):
        yield f"norm {p} {dims} {keep}", lambda x, y, p=p, d=dims, k=keep: aten.norm.ScalarOpt_dim(x, p, d, k)
        yield (
            f"vector {p} {dims} {keep}",
            lambda x, y, p=p, d=dims, k=keep: torch.linalg.vector_norm(x, 2 if p is None else p, d, k),
        )
        for dtype in (torch.float64, torch.float32):
            yield (
                f"norm {p} {dims} {keep} {dtype}",
                lambda x, y, p=p, d=dims, k=keep, t=dtype: aten.norm.ScalarOpt_dim_dtype(x, p, d, k, dtype=t),
            )
            yield (
                f"vector {p} {dims} {keep} {dtype}",
                lambda x, y, p=p, d=dims, k=keep, t=dtype: torch.linalg.vector_norm(
                    x, 2 if p is None else p, d, k, dtype=t
                ),
            )


def test_norms():
    found = Attack().try_all(looked_at(list(norms())), (torch.float64, torch.float32, torch.bfloat16, torch.complex64))
    assert found["merged"] > 200, found


def resized():
    for mode, size, align, antialias in itertools.product(
        ("bicubic", "bilinear"), ((4, 6), (6, 4), (4, 4), (3, 4), (2, 6), (4, 12), (1, 1)), (False, True), (False, True)
    ):
        given = {"mode": mode, "align_corners": align, "antialias": antialias}
        yield f"{given} {size}", lambda x, y, s=size, k=given: F.interpolate(x[None, None], size=s, **k)[0, 0]
    for factor, recompute in itertools.product((1.0, 1.01, 0.99, 1.5), (None, False, True)):
        given = {"mode": "bicubic", "antialias": True, "scale_factor": factor, "recompute_scale_factor": recompute}
        yield f"{given}", lambda x, y, k=given: F.interpolate(x[None, None], **k)[0, 0]
    yield "itself", lambda x, y: x
    yield "a copy", lambda x, y: x.clone()


def is_what_resizing_gives(left, right):
    """A zero may change its sign, and a neighbour that is no finite number shows: the rule says so."""
    if not (left.isfinite().all() and right.isfinite().all()):
        return True
    return bool(torch.equal(left, right))


def test_resized_to_itself():
    found = Attack().try_all(
        looked_at(list(resized())), (torch.float64, torch.float32, torch.float16), is_close=is_what_resizing_gives
    )
    assert found["merged"] > 30, found


def otherwise_laid_out():
    lays = {
        "as it is": lambda t: t,
        "clone": lambda t: t.clone(),
        "in other order": lambda t: t.t().contiguous().t(),
        "a part of more": lambda t: torch.cat([t, t])[: t.shape[0]],
        "expanded and cut": lambda t: t.expand(2, *t.shape)[1],
        "reshaped": lambda t: t.reshape(-1).reshape(t.shape),
        "flipped twice": lambda t: t.flip(0).flip(0),
        "transposed": lambda t: t.t(),
        "other order of elements": lambda t: t.t().reshape(t.shape),
        "rolled": lambda t: t.roll(1, 0),
    }
    of = {
        "add": lambda x, y: x + y,
        "mul": lambda x, y: x * y,
        "mm": lambda x, y: x @ y.t(),
        "mm of one": lambda x, y: x[:1] @ y.t(),
        "bmm": lambda x, y: torch.bmm(x[None], y.t()[None])[0],
        "addmm": lambda x, y: torch.addmm(y[:, :1].reshape(-1)[: y.shape[0]], x, y.t()),
        "mm of the other": lambda x, y: y @ x.t(),
        "mm of the other and add": lambda x, y: y @ x.t() + y[:, :1].reshape(-1)[: y.shape[0]],
        "addmm, more": lambda x, y: torch.addmm(y[:, :1].reshape(-1)[: y.shape[0]], x, y.t(), alpha=2),
        "addmm, less": lambda x, y: torch.addmm(y[:, :1].reshape(-1)[: y.shape[0]], x, y.t(), beta=0),
        "bmm of two": lambda x, y: torch.bmm(torch.stack([x, y]), y.t().expand(2, *y.t().shape)),
        "bmm of the first twice": lambda x, y: torch.bmm(
            torch.stack([x, y])[:1].expand(2, *x.shape), y.t().expand(2, *y.t().shape)
        ),
        "bmm of one twice": lambda x, y: torch.bmm(torch.stack([x, x]), y.t().expand(2, *y.t().shape)),
        "mm of the transposed other and add": lambda x, y: y.t() @ x + y[:, :1].reshape(-1)[: y.shape[0]],
        "first of bmm of two": lambda x, y: torch.bmm(torch.stack([x, y]), y.t().expand(2, *y.t().shape))[0],
        "mm and add": lambda x, y: x @ y.t() + y[:, :1].reshape(-1)[: y.shape[0]],
        "linear": lambda x, y: F.linear(x, y, y[:, 0]),
        "softmax": lambda x, y: x.softmax(-1),
        "softmax of the other": lambda x, y: x.softmax(0),
        "layer norm": lambda x, y: F.layer_norm(x, x.shape[-1:]),
        "sum": lambda x, y: x.sum(0),
        "mean": lambda x, y: x.mean(-1),
        "relu": lambda x, y: x.relu() - y,
        "cat": lambda x, y: torch.cat([x, y]),
    }
    for (name, function), (left, lay), (right, put) in itertools.product(of.items(), lays.items(), lays.items()):
        for last, end in (("", lambda r: r), ("copied", lambda r: r.contiguous()), ("flat", lambda r: r.reshape(-1))):
            yield (
                f"{name} of {left}, {right} {last}",
                lambda x, y, f=function, a=lay, b=put, g=end: g(f(a(x), b(y))),
            )


def is_close(left, right):
    return left.shape == right.shape and torch.allclose(left.double(), right.double(), 1e-4, 1e-5, equal_nan=True)


def test_without_layouts_results_differ_by_rounding_alone():
    family = list(otherwise_laid_out())
    square = [(name, lambda x, y, f=f: f(x[:4, :4], y[:4, :4])) for name, f in family]
    tried = looked_at(family) if IS_THOROUGH else (*family[::5], *square[::3])
    found = Attack().try_all(tried, (torch.float32,), is_close=is_close)
    assert found["merged"] > 500, found


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_specimens_are_those_of_the_dtype(dtype):
    for tensor in itertools.chain(specimens(dtype, 0), specimens(dtype, 1)):
        assert tensor.dtype is dtype
        assert tensor.shape == SIZE
