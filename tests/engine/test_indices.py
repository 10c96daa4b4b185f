"""Indices that real kernels refuse are told from those that they take, and nothing is proved past one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from conformance.engine.indices import _INDEXED, _RESULTS, WHOLE, Range, Ranges
from conformance.engine.ledger import Ledger
from conformance.engine.operands import Strayed
from conformance.engine.outside import looking, recording
from conformance.record import Evidence, Verdict
from tests.miniatures.contract import WIDTH, Conv
from tests.miniatures.registration import examining

SIZE = 4
Index = torch.Tensor


def source(index: Index) -> torch.Tensor:
    return torch.ones(SIZE, 3, device=index.device)


def wide(index: Index) -> Index:
    return index[:, None].expand(-1, 3)


def rows(index: Index) -> torch.Tensor:
    return torch.ones(len(index), 3, device=index.device)


INDEXED: dict[str, Callable[[Index], Any]] = {
    "_embedding_bag": lambda i: torch.ops.aten._embedding_bag(source(i), i, torch.zeros_like(i[:1])),
    "_embedding_bag_forward_only": lambda i: F.embedding_bag(i, source(i), torch.zeros_like(i[:1])),
    "embedding": lambda i: F.embedding(i, source(i)),
    "gather": lambda i: source(i).gather(0, wide(i)),
    "index_select": lambda i: source(i).index_select(-2, i),
    "index_add": lambda i: source(i).index_add(0, i, rows(i)),
    "index_add_": lambda i: source(i).index_add_(0, i, rows(i)),
    "index_copy": lambda i: source(i).index_copy(0, i, rows(i)),
    "index_copy_": lambda i: source(i).index_copy_(0, i, rows(i)),
    "index_fill": lambda i: source(i).index_fill(0, i, 2.0),
    "index_fill_": lambda i: source(i).index_fill_(0, i, 2.0),
    "index_reduce": lambda i: source(i).index_reduce(0, i, rows(i), "amax"),
    "index_reduce_": lambda i: source(i).index_reduce_(0, i, rows(i), "amax"),
    "scatter": lambda i: source(i).scatter(0, wide(i), 2.0),
    "scatter_": lambda i: source(i).scatter_(0, wide(i), 2.0),
    "scatter_add": lambda i: source(i).scatter_add(0, wide(i), rows(i)),
    "scatter_add_": lambda i: source(i).scatter_add_(0, wide(i), rows(i)),
    "scatter_reduce": lambda i: source(i).scatter_reduce(0, wide(i), rows(i), "amax"),
    "scatter_reduce_": lambda i: source(i).scatter_reduce_(0, wide(i), rows(i), "amax"),
    "take": lambda i: source(i)[:, 0].take(i),
    "put": lambda i: source(i)[:, 0].put(i, rows(i)[:, 0]),
    "put_": lambda i: source(i)[:, 0].put_(i, rows(i)[:, 0]),
    "index": lambda i: source(i)[i],
    "index of a column": lambda i: source(i).T[:, i],
    "index beside a mask": lambda i: source(i)[None].expand(len(i), -1, -1)[torch.ones(len(i)) > 0, i],
    "index_put": lambda i: source(i).index_put((i,), rows(i)),
    "index_put_": lambda i: source(i).index_put_((i,), rows(i)),
    "_index_put_impl_": lambda i: torch.ops.aten._index_put_impl_(source(i), [i], rows(i)),
    "_unsafe_index": lambda i: torch.ops.aten._unsafe_index(source(i), [i]),
    "_unsafe_index_put": lambda i: torch.ops.aten._unsafe_index_put(source(i), [i], rows(i)),
}


@pytest.mark.parametrize("first", [-SIZE - 1, -SIZE, -1, 0, 1, SIZE])
@pytest.mark.parametrize("name", INDEXED)
def test_indices_are_refused_as_real_kernels_refuse_them(name: str, first: int):
    end = first + (SIZE if first in (-SIZE, 0, 1) else 1)
    try:
        INDEXED[name](torch.arange(first, end))
        refused = False
    except (IndexError, RuntimeError):
        refused = True
    with recording(Ledger()) as noted:
        INDEXED[name](torch.arange(first, end, device="meta"))
    assert (noted.strays is not None) == refused, noted.strays


def test_every_operation_that_takes_indices_is_asked():
    assert {f"aten.{name.split(' ')[0]}" for name in INDEXED} == set(_INDEXED)


def test_real_indices_are_looked_at_where_nothing_is_numbered():
    with pytest.raises(Strayed, match=r"from 2 to 4, where there are 4"), looking(Ledger()):
        F.embedding(torch.tensor([2, 4]), torch.ones(4, 2, device="meta"))


def of_table(index: Index) -> torch.Tensor:
    return F.embedding(index, source(index))


@pytest.mark.parametrize(
    ("make", "is_refused"),
    [
        (lambda i: i.add_(1), True),
        (lambda i: i.sub_(1), True),
        (lambda i: i.mul_(2), True),
        (lambda i: i.clamp_(1, 3), False),
        (lambda i: i.remainder_(4), False),  # of which nothing is known
        (lambda i: i.fill_(4), True),
        (lambda i: torch.empty_like(i).copy_(i + 1), True),
        (lambda i: torch.add(i, 1, out=torch.empty_like(i)), True),
        (lambda i: i[1:].add_(1) is None or i, False),  # of a part, likewise
        (lambda i: 4 - i, True),
        (lambda i: 3 - i, False),
        (lambda i: 4 + -i, True),
        (lambda i: torch.arange(1, 5, dtype=torch.float32, device=i.device).long(), True),
        (lambda i: torch.arange(4, dtype=torch.float32, device=i.device).long(), False),
    ],
)
@pytest.mark.parametrize("is_numbered", [True, False])
def test_what_is_counted_is_followed_through_what_is_done_to_it(make, is_refused, is_numbered):
    if is_refused:
        with pytest.raises(IndexError):
            of_table(make(torch.arange(SIZE)))
    ledger = Ledger()
    if is_numbered:
        with recording(ledger) as noted:
            of_table(make(torch.arange(SIZE, device="meta")))
        assert (noted.strays is not None) == is_refused
    else:
        with pytest.raises(Strayed) if is_refused else nullcontext(), looking(ledger):
            of_table(make(torch.arange(SIZE, device="meta")))


def test_long_counts_take_no_time():
    with recording(Ledger()) as noted:
        torch.arange(10**15, device="meta", dtype=torch.int64)
    assert noted.strays is None


def test_another_dtype_of_the_same_memory_is_unknown():
    ranges, tensor = Ranges(), torch.arange(3, device="meta")
    ranges.note(tensor, Range(0, 2))
    assert ranges.of(tensor) == ranges.of(tensor[1:]) == (0, 2)
    assert ranges.of(tensor.view(torch.int32)) is None
    ranges.note(tensor.to(torch.int8), Range(0, 128))
    assert ranges.of(tensor.to(torch.int8)) is None
    assert ranges.of(tensor[:0]) is None


NUMBERS = st.lists(st.integers(-9, 9), min_size=1, max_size=4)
MADE: dict[str, Callable[[Index, Index, int], torch.Tensor]] = {
    "arange": lambda a, b, n: torch.arange(a[0].item(), a[0].item() + 1 + abs(n), 1 + abs(b[0].item())),
    "arange backwards": lambda a, b, n: torch.arange(n, n - 1 - abs(a[0].item()), -1 - abs(b[0].item())),
    "arange of one number": lambda _a, _b, n: torch.arange(abs(n) + 1),
    "clone": lambda a, _b, _n: a.clone(),
    "_to_copy": lambda a, _b, _n: a.to(torch.int16),
    "_to_copy that wraps": lambda a, _b, _n: a.to(torch.uint8),
    "lift_fresh_copy": lambda a, _b, _n: torch.ops.aten.lift_fresh_copy(a),
    "flip": lambda a, _b, _n: a.flip(0),
    "gather": lambda a, _b, _n: a.gather(0, torch.zeros(1, dtype=torch.long)),
    "index": lambda a, _b, _n: a[torch.tensor([0, -1])],
    "index_select": lambda a, _b, _n: a.index_select(0, torch.tensor([0])),
    "repeat": lambda a, _b, _n: a.repeat(2, 2),
    "roll": lambda a, _b, _n: a.roll(1),
    "take": lambda a, _b, _n: a.take(torch.tensor([-1])),
    "cat": lambda a, b, _n: torch.cat([a, b]),
    "stack": lambda a, _b, _n: torch.stack([a, -a[:, None][:, 0]]),
    "add": lambda a, b, _n: a[:, None] + b,
    "add of a multiple": lambda a, b, n: torch.add(a[:1], b[:1], alpha=n),
    "copy": lambda a, b, _n: torch.ops.aten.copy(a, b[:1]),
    "fill": lambda a, _b, n: torch.ops.aten.fill.Scalar(a, n),
    "full": lambda _a, _b, n: torch.full((2,), n),
    "rsub": lambda a, _b, n: n - a,
    "neg": lambda a, _b, _n: -a,
    "float": lambda a, _b, n: torch.arange(abs(n) + 1, dtype=torch.float32).long() + a[0],
    "add of a number": lambda a, _b, n: a + n,
    "sub": lambda a, b, _n: a[:, None] - b,
    "sub of a number": lambda a, _b, n: a - n,
    "mul": lambda a, b, _n: a[:, None] * b,
    "add some times as much": lambda a, b, n: torch.add(a, b[0], alpha=n),
    "sub some times as much": lambda a, b, n: torch.sub(a, b[0], alpha=n),
    "zeros": lambda a, _b, n: torch.zeros(3, dtype=torch.long) + n,
    "zeros as others": lambda a, _b, n: torch.zeros_like(a) + a.new_zeros(1),
    "zeros in place": lambda a, _b, n: torch.ops.aten.zero(a) + a.clone().zero_(),
    "ones": lambda a, _b, n: torch.ones(3, dtype=torch.long) * n,
    "ones as others": lambda a, _b, n: torch.ones_like(a) - a.new_ones(1),
    "mul by a number": lambda a, _b, n: a * n,
    "mul that wraps": lambda a, _b, n: a.to(torch.int8) * (n * 14),
    "clamp": lambda a, b, n: a.clamp(min(n, b[0].item()), max(n, b[0].item())),
    "clamp to nothing": lambda a, _b, n: a.clamp(n, n - 2),
    "clamp from below": lambda a, _b, n: a.clamp(min=n),
    "clamp from above": lambda a, _b, n: a.clamp(max=n),
}


class Following(torch.utils._python_dispatch.TorchDispatchMode):
    """Has `Ranges` follow operations on real tensors as if it could not read them, and holds it against what is so."""

    def __init__(self) -> None:
        super().__init__()
        self.followed: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        packet = f"aten.{func.__name__.partition('.')[0]}"
        rule = _RESULTS.get(packet)
        if rule is not None and result.dtype in WHOLE:
            others = func._schema.arguments[len(args) :]
            arguments = [*args, *((kwargs or {}).get(other.name, other.default_value) for other in others)]
            on_meta, known = result.to("meta"), Ranges()
            known.note(on_meta, rule(known, arguments))
            found = known.of(on_meta)
            if found is not None:
                self.followed.add(packet)
                assert found.low <= int(result.min()) <= int(result.max()) <= found.high, (packet, found, result)
        return result


@pytest.mark.parametrize("name", MADE)
@given(a=NUMBERS, b=NUMBERS, n=st.integers(-9, 9))
def test_elements_lie_where_they_are_said_to(name: str, a: list[int], b: list[int], n: int):
    with Following():
        MADE[name](torch.tensor(a), torch.tensor(b), n)


@pytest.mark.parametrize("packet", sorted(_RESULTS))
def test_every_operation_that_is_followed_is_tried(packet: str):
    following = Following()
    with following:
        for make in MADE.values():
            make(torch.tensor([1, 2]), torch.tensor([3]), 1)
    assert packet in following.followed


class Places(Conv):
    """Adds a table's rows to the tokens of an image: too short a table is one that no image gets through."""

    rows = 3

    def __init__(self, num_classes: int = 5) -> None:
        super().__init__(num_classes)
        self.places = torch.nn.Embedding(self.rows, WIDTH)

    def forward_features(self, x):
        x = super().forward_features(x)
        return x + self.places(torch.arange(x.shape[-1], device=x.device)).T[:, None]


class LongEnough(Places):
    rows = 64


def test_a_table_that_is_too_short_violates_what_runs():
    with examining(Places) as examination:
        cell = examination.cell("forward_features_runs")
    assert (cell.verdict, cell.evidence) == (Verdict.VIOLATED, Evidence.OBSERVED)
    assert "index out of range" in str(cell.reason)


def test_a_table_that_is_long_enough_is_proved():
    with examining(LongEnough) as examination:
        assert examination.cell("classifier_consistent").evidence is Evidence.PROVED


@pytest.mark.parametrize(("most", "is_refused"), [(3, False), (4, True)])
def test_classes_that_there_are_not_are_refused(most, is_refused):
    def call():
        F.one_hot(torch.arange(most + 1, device="meta"), 4)

    with recording(Ledger()) as taken:
        call()
    assert (taken.strays is not None) == is_refused
    with pytest.raises(Strayed) if is_refused else nullcontext(), looking(Ledger()):
        call()
