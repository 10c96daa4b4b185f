"""What is hidden from a recording, or done by other code on real tensors, is noticed, and torch left as it was."""

from __future__ import annotations

import contextlib
import functools

import pytest
import torch
from torch import nn
from torch._C import _DisableTorchDispatch, _ExcludeDispatchKeyGuard
from torch._dynamo import eval_frame
from torch.nn import functional as F
from torch.overrides import handle_torch_function, has_torch_function

from conformance.engine.ledger import Ledger
from conformance.engine.outside import recording
from conformance.engine.script import script
from conformance.record import Evidence, Verdict
from tests.miniatures.contract import WIDTH, Conv
from tests.miniatures.registration import examining

SIZE = (2, 8, 6, 6)


def strays(call, *, is_open: bool) -> bool:
    ledger = Ledger()
    x = torch.empty(SIZE, device="meta")
    ledger.name_leaf("input", [("x", x, None)])
    if is_open:
        ledger.layouts.open(x)
    with recording(ledger, writable=[x]) as taken:
        call(x)
    return taken.strays is not None


def in_rows(x: torch.Tensor) -> torch.Tensor:
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def attended(x: torch.Tensor) -> torch.Tensor:
    return F.scaled_dot_product_attention(x, x, x)


class Rows(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(-1)


@pytest.mark.parametrize("code", [in_rows, Rows()], ids=["function", "module"])
def test_compiled_code_that_is_given_memory_which_may_lie_otherwise_strays(code):
    compiled = script(code)
    assert strays(compiled, is_open=True)
    assert not strays(compiled, is_open=False)


def test_what_compiled_code_gives_may_lie_otherwise():
    compiled = script(attended)
    assert strays(lambda x: compiled(x).transpose(1, 2).reshape(-1).mul_(2), is_open=False)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: torch.ops.aten.reshape(x, [-1]).mul_(2),
        lambda x: torch.ops.aten.contiguous.default(x).mul_(2),
        lambda x: torch.ops.aten.flatten.using_ints(x, 1).mul_(2),
        lambda x: torch.ops.aten.is_contiguous(x),
        lambda x: torch.ops.aten.stride.int(x, 0),
    ],
)
def test_operations_that_are_called_as_such_are_known(call):
    assert strays(call, is_open=True)
    assert not strays(call, is_open=False)


def attends_and_writes(x: torch.Tensor) -> torch.Tensor:
    x = F.scaled_dot_product_attention(x, x, x)
    x.transpose(1, 2).reshape(-1).mul_(2)
    return x + 1


def attends_and_asks(x: torch.Tensor) -> torch.Tensor:
    x = F.scaled_dot_product_attention(x, x, x)
    return x if x.stride(1) < x.stride(2) else 2 * x


def convolves_and_writes(x: torch.Tensor) -> torch.Tensor:
    x = F.conv2d(x.transpose(2, 3), torch.ones(8, 8, 1, 1, device=x.device))
    x.permute(0, 2, 3, 1).reshape(-1).mul_(2)
    return x + 1


@pytest.mark.parametrize("code", [attends_and_writes, attends_and_asks, convolves_and_writes])
def test_what_opens_within_compiled_code_strays(code):
    assert strays(script(code), is_open=False)


def hidden(x: torch.Tensor) -> torch.Tensor:
    if has_torch_function((x,)):
        return handle_torch_function(hidden, (x,), x)
    return x.contiguous()


class Hidden:
    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return handle_torch_function(self, (x,), x) if has_torch_function((x,)) else x.contiguous()

    def method(self, x: torch.Tensor) -> torch.Tensor:
        return handle_torch_function(self.method, (x,), x) if has_torch_function((x,)) else x.contiguous()


def unwatched(x: torch.Tensor) -> torch.Tensor:
    with torch._C.DisableTorchFunction():
        return x.contiguous()


def undispatched(x: torch.Tensor) -> torch.Tensor:
    with _DisableTorchDispatch():
        return x.contiguous()


def excluded(x: torch.Tensor) -> torch.Tensor:
    with _ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(torch._C.DispatchKey.Python)):
        return x.contiguous()


def excluded_for_good(x: torch.Tensor) -> torch.Tensor:
    torch._C._dispatch_tls_set_dispatch_key_excluded(torch._C.DispatchKey.Python, True)
    try:
        return x.contiguous()
    finally:
        torch._C._dispatch_tls_set_dispatch_key_excluded(torch._C.DispatchKey.Python, False)


@pytest.mark.parametrize(
    "call", [hidden, Hidden(), Hidden().method, unwatched, undispatched, excluded, excluded_for_good]
)
def test_what_hides_itself_from_modes_proves_nothing(call):
    with recording(Ledger()) as taken:
        call(torch.empty(SIZE, device="meta"))
    assert taken.unprovable


def test_what_kernels_print_hides_nothing():
    with recording(Ledger()) as taken:
        torch.quantile(torch.empty(8, device="meta"), 0.5)
    assert not taken.unprovable


@pytest.mark.parametrize(
    "call",
    [
        lambda x: f"{x.sum():.2f}",
        lambda x: torch.tensor([x.sum(), 1.0]),
        lambda x: torch.as_tensor([x.sum()]),
        lambda x: torch.from_dlpack(x),
        lambda x: script(asserting)(x),
    ],
    ids=["format", "tensor", "as_tensor", "from_dlpack", "scripted"],
)
def test_what_only_meta_tensors_raise_may_be_caught_and_strays(call):
    def caught(x):
        with contextlib.suppress(Exception):
            call(x)

    assert strays(caught, is_open=False)


def asserting(x: torch.Tensor) -> torch.Tensor:
    assert x.sum().item() > 0
    return x


@torch.compile
def doubled_where_compiled(x: torch.Tensor) -> torch.Tensor:
    return x * 2 if torch.compiler.is_compiling() else x


class CompiledHelper(Conv):
    """Its forward alone calls a helper that is under torch.compile."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(doubled_where_compiled(self.forward_features(x)))


def test_nothing_is_proved_where_torch_compile_runs_something_else():
    assert strays(doubled_where_compiled, is_open=False)
    with examining(CompiledHelper) as examination:
        assert examination.cell("head_composes").evidence is not Evidence.PROVED
        assert examination.cell("forward_features_runs").verdict is Verdict.HOLDS


class Placed(Conv):
    """Makes positions on the device of its images: the exported program calls `torch.device`, which modes are shown."""

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        positions = torch.arange(8, device=x.device, dtype=x.dtype)
        return self.conv(x) * positions.view(8, 1, 1).cos()


def test_devices_that_are_made_hide_nothing():
    with recording(Ledger()) as taken:
        torch.device("meta")
    assert not taken.unprovable
    with examining(Placed) as examination:
        assert examination.cell("export_matches").evidence is Evidence.PROVED


def test_torch_is_left_as_it_was():
    def of_torch():
        return (
            torch.jit.ScriptFunction.__call__, torch._C.ScriptMethod.__call__, nn.TransformerEncoder.forward,
            torch.autocast.__enter__, torch._C._DisableTorchDispatch.__init__, eval_frame._callback_from_stance,
        )  # fmt: skip

    before = of_torch()
    with recording(Ledger()):
        assert all(now is not then for now, then in zip(of_torch(), before, strict=True))
    assert of_torch() == before


class Padded(Conv):
    """An encoder that is told which tokens are padding: those of black images."""

    def __init__(self, num_classes: int = 5) -> None:
        super().__init__(num_classes)
        layer = nn.TransformerEncoderLayer(WIDTH, 2, WIDTH, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, mask_check=False)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        padding = F.max_pool2d(x.abs().amax(1, keepdim=True), 8).flatten(1) == 0
        x = self.conv(x).flatten(2).transpose(1, 2)
        return self.encoder(x, src_key_padding_mask=padding)

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = x.mean(1)
        return x if pre_logits else self.fc(x)


class Wrapped(Padded):
    """Its encoder's `forward` was wrapped before, as hooks of accelerate's do."""

    def __init__(self, num_classes: int = 5) -> None:
        super().__init__(num_classes)
        self.encoder.forward = functools.partial(called, self.encoder.forward)


def called(forward, *args, **kwargs):
    return forward(*args, **kwargs)


class Whole(Padded):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.encoder(self.conv(x).flatten(2).transpose(1, 2))


def test_nothing_is_proved_of_encoders_that_are_told_of_padding():
    with examining(Padded) as examination:
        assert examination.cell("export_matches").evidence is not Evidence.PROVED
        assert examination.cell("compiles").verdict is Verdict.VIOLATED
    with examining(Wrapped) as examination:
        assert examination.cell("head_composes").evidence is not Evidence.PROVED
    with examining(Whole) as examination:
        assert examination.cell("export_matches").evidence is Evidence.PROVED
