"""What is said of real kernels is what the CPU's do: each refuses the dtypes, and keeps the memory format, as told."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from torch.nn import functional as F

from conformance.engine.ledger import Ledger
from conformance.engine.outside import looking

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
Make = Callable[..., torch.Tensor]


def zeros(device: str, dtype: torch.dtype) -> Make:
    return lambda *size: torch.zeros(size, device=device, dtype=dtype)


def index(x: torch.Tensor) -> torch.Tensor:
    return torch.tensor([0, 1], device=x.device)


CALLS: dict[str, Callable[[Make, Make], torch.Tensor]] = {
    "mm": lambda a, b: a(2, 3) @ b(3, 4),
    "bmm": lambda a, b: torch.bmm(a(2, 2, 3), b(2, 3, 4)),
    "addmm": lambda a, b: F.linear(a(2, 3), a(4, 3), b(4)),
    "linear": lambda a, b: F.linear(a(2, 3), b(4, 3)),
    "convolution": lambda a, b: F.conv2d(a(1, 2, 5, 5), b(3, 2, 3, 3)),
    "convolution's bias": lambda a, b: F.conv2d(a(1, 2, 5, 5), a(3, 2, 3, 3), b(3)),
    "transposed convolution": lambda a, b: F.conv_transpose2d(a(1, 2, 5, 5), b(2, 3, 3, 3)),
    "layer norm": lambda a, b: F.layer_norm(a(2, 4), (4,), b(4), b(4)),
    "layer norm without bias": lambda a, b: F.layer_norm(a(2, 4), (4,), b(4)),
    "layer norm's bias": lambda a, b: F.layer_norm(a(2, 4), (4,), a(4), b(4)),
    "group norm": lambda a, b: F.group_norm(a(2, 4, 3), 2, b(4), b(4)),
    "batch norm": lambda a, b: F.batch_norm(a(2, 4, 3), b(4), b(4), b(4), b(4)),
    "grid_sample": lambda a, b: F.grid_sample(a(1, 1, 4, 4), b(1, 4, 4, 2), align_corners=False),
    "index_put": lambda a, b: a(4).index_put((index(a(4)),), b(2)),
    "setitem": lambda a, b: a(4, 4).clone().index_put_((index(a(4)),), b(2, 4)),
    "index_add": lambda a, b: a(4).index_add(0, index(a(4)), b(2)),
    "index_copy": lambda a, b: a(4).index_copy(0, index(a(4)), b(2)),
    "put": lambda a, b: a(4).put(index(a(4)), b(2)),
    "cdist": lambda a, b: torch.cdist(a(2, 4), b(2, 4)),
    "cross": lambda a, b: torch.linalg.cross(a(2, 3), b(2, 3)),
    "weight norm": lambda a, b: torch._weight_norm(a(4, 4), b(4, 1), 0),
    "fft": lambda a, _: torch.fft.rfft2(a(2, 8, 8)).abs(),
    "multiplication": lambda a, b: a(2, 3) * b(2, 3),
    "a sum in place": lambda a, b: a(2, 3).add_(b(2, 3)),
}


def is_refused(call: Callable[[Make, Make], torch.Tensor], device: str, *dtypes: torch.dtype) -> bool:
    try:
        with looking(Ledger()) if device == "meta" else nullcontext():
            call(*(zeros(device, dtype) for dtype in dtypes))
    except (RuntimeError, IndexError):
        return True
    return False


@pytest.mark.parametrize("name", CALLS)
def test_dtypes_are_refused_where_the_cpu_refuses_them(name):
    for dtypes in itertools.product(DTYPES, repeat=2):
        told = is_refused(CALLS[name], "meta", *dtypes)
        assert told == is_refused(CALLS[name], "cpu", *dtypes), dtypes


OF_WHOLE_NUMBERS: dict[str, Callable[[Make, Make], torch.Tensor]] = {
    **{name: CALLS[name] for name in ("mm", "bmm", "addmm", "linear", "multiplication", "a sum in place")},
    "difference": lambda a, b: a(2, 3) - b(2, 3),
    "difference in place": lambda a, b: a(2, 3).sub_(b(2, 3)),
    "difference from a number": lambda a, _: 1 - a(2, 3),
    "a number less": lambda a, _: a(2, 3) - 1,
    "product in place": lambda a, b: a(2, 3).mul_(b(2, 3)),
    "product with a fraction in place": lambda a, _: a(2, 3).mul_(0.5),
    "quotient in place": lambda a, b: a(2, 3).div_(b(2, 3) + 1),
    "softmax": lambda a, _: a(2, 3).softmax(-1),
    "log_softmax": lambda a, _: a(2, 3).log_softmax(-1),
    "softmax of another dtype": lambda a, _: a(2, 3).softmax(-1, dtype=torch.float32),
    "std": lambda a, _: a(2, 3).std(1),
    "var_mean": lambda a, _: torch.var_mean(a(2, 3), 1)[0],
    "gelu": lambda a, _: F.gelu(a(2, 3)),
    "max_pool": lambda a, _: F.max_pool2d(a(1, 1, 4, 4), 2),
}


@pytest.mark.parametrize("name", OF_WHOLE_NUMBERS)
def test_whole_numbers_are_refused_where_the_cpu_refuses_them(name):
    for dtypes in itertools.product((torch.float32, torch.int64, torch.uint8, torch.bool), repeat=2):
        told = is_refused(OF_WHOLE_NUMBERS[name], "meta", *dtypes)
        assert told == is_refused(OF_WHOLE_NUMBERS[name], "cpu", *dtypes), dtypes


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.nn.Conv2d(4, 8, 3),
        lambda: torch.nn.Conv2d(4, 8, 3, stride=2, padding=1),
        lambda: torch.nn.Conv2d(4, 4, 3, groups=4),
        lambda: torch.nn.ConvTranspose2d(4, 8, 2, 2),
    ],
)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_convolutions_give_the_memory_format_that_the_cpu_gives(make, memory_format):
    strides = []
    for device in ("cpu", "meta"):
        convolution, x = (
            make().to(device),
            torch.zeros(2, 4, 9, 9, device=device).contiguous(memory_format=memory_format),
        )
        with torch.no_grad():
            if device == "cpu":
                strides.append(convolution(x).stride())
            else:
                with looking(Ledger()):
                    strides.append(convolution(x).stride())
    assert strides[0] == strides[1]
