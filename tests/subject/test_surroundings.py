"""What a model changes of what all share is noticed and put back, and what torch itself changes is left alone."""

from __future__ import annotations

import resource
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import timm.layers
import torch
from torch.nn import functional as F

from conformance.subject.surroundings import Surroundings


def replace_a_function():
    F.gelu = F.relu


def replace_code():
    F.hardtanh.__code__ = F.hardsigmoid.__code__


def replace_defaults():
    torch.nn.LayerNorm.__init__.__defaults__ = (1e-3, *torch.nn.LayerNorm.__init__.__defaults__[1:])


def replace_defaults_of_a_static_method():
    torch.nn.Transformer.generate_square_subsequent_mask.__defaults__ = (None, torch.float64)


def replace_defaults_of_what_is_wrapped():
    torch.Tensor.__rsub__.__wrapped__.__defaults__ = (1,)


def replace_a_method():
    torch.Tensor.softmax = lambda tensor, *_, **__: tensor


def replace_a_builtin():
    torch.mean = torch.sum


def replace_a_layers_method():
    torch.nn.LayerNorm.forward = lambda _module, x: x


def replace_a_class_of_timms():
    timm.layers.DropPath = torch.nn.Identity


def delete_a_function():
    del F.silu


def differentiate_nothing():
    torch.set_grad_enabled(False)


def cast_automatically():
    torch.set_autocast_enabled("cpu", True)


def multiply_coarsely():
    torch.set_float32_matmul_precision("medium")


def fuse_no_attention():
    timm.layers.set_fused_attn(False)


def wrap_a_function_with_torchs_own():
    F.group_norm = torch.compiler.disable(F.group_norm)


def script_nothing():
    torch.jit.script = lambda module, *_, **__: module


def allow_no_recursion():
    sys.setrecursionlimit(500)


def lower_a_limit():
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0 if soft else 1024, hard))


def attend_by_the_book():
    torch.backends.cuda.enable_flash_sdp(False)


def convolve_slowly():
    torch.backends.mkldnn.set_flags(False)


def trace_into_nothing():
    torch.fx.Tracer.is_leaf_module = lambda *_: True


def script_no_more():
    torch.jit._state.disable()


def compile_nothing():
    torch.compiler.set_stance("force_eager")


def recompile_less():
    torch._dynamo.config.recompile_limit = 1


def configure_what_cannot_be_copied():
    torch._dynamo.config.recompile_limit = threading.Lock()


def listen_everywhere():
    torch.nn.modules.module.register_module_forward_hook(lambda *_: None)


CHANGES = {
    replace_a_function: "torch.nn.functional.gelu",
    replace_code: "torch.nn.functional.hardtanh's code or defaults",
    replace_defaults: "torch.nn.modules.normalization.LayerNorm.__init__'s code or defaults",
    replace_defaults_of_a_static_method: (
        "torch.nn.modules.transformer.Transformer.generate_square_subsequent_mask's code or defaults"
    ),
    replace_defaults_of_what_is_wrapped: "torch._tensor.Tensor.__rsub__'s code or defaults",
    replace_a_method: "torch.Tensor.softmax",
    replace_a_builtin: "torch.mean",
    replace_a_layers_method: "torch.nn.modules.normalization.LayerNorm.forward",
    replace_a_class_of_timms: "timm.layers.DropPath",
    delete_a_function: "torch.nn.functional.silu",
    differentiate_nothing: "torch.set_grad_enabled",
    cast_automatically: "torch.set_autocast_enabled",
    multiply_coarsely: "torch.set_float32_matmul_precision",
    fuse_no_attention: "timm.layers.config._USE_FUSED_ATTN",
    wrap_a_function_with_torchs_own: "torch.nn.functional.group_norm",
    script_nothing: "torch.jit.script",
    allow_no_recursion: "sys.setrecursionlimit",
    lower_a_limit: "resource.RLIMIT_CORE",
    attend_by_the_book: "torch.backends.cuda.enable_flash_sdp",
    convolve_slowly: "torch.backends.mkldnn.enabled",
    trace_into_nothing: "torch.fx._symbolic_trace.Tracer.is_leaf_module",
    script_no_more: "torch.jit._state.disable",
    compile_nothing: "torch.compiler.set_stance",
    recompile_less: "torch._dynamo.config.recompile_limit",
    configure_what_cannot_be_copied: "torch._dynamo.config.recompile_limit",
    listen_everywhere: "torch.nn.modules.module._global_forward_hooks",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_named_and_put_back(change):
    surroundings = Surroundings()
    before = torch.nn.functional.gelu, torch.Tensor.softmax, torch.mean, F.silu
    assert surroundings.changed() == []
    try:
        change()
        assert CHANGES[change] in surroundings.changed()
    finally:
        surroundings.put_back()
    assert surroundings.changed() == []
    assert (torch.nn.functional.gelu, torch.Tensor.softmax, torch.mean, F.silu) == before


@pytest.mark.parametrize("mode", [torch.inference_mode, lambda: torch.device("meta")])
def test_a_mode_that_is_left_on_is_noticed(mode):
    surroundings = Surroundings()
    with mode():
        assert "a mode of torch's that is left on" in surroundings.changed()
    assert surroundings.changed() == []


def test_a_kernel_that_takes_the_place_of_torchs_own_is_noticed():
    surroundings = Surroundings()
    library = torch.library.Library("aten", "IMPL")
    try:
        library.impl("gelu", lambda x, approximate="none": x, "CPU")
        assert surroundings.changed() == ["the kernel aten/gelu/CPU"]
    finally:
        library._destroy()
    assert surroundings.changed() == []


def test_a_thread_of_a_models_own_is_noticed_and_one_of_a_librarys_is_not():
    surroundings, ended = Surroundings(), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()
        assert surroundings.changed() == []
        threading.Thread(target=lambda: ended.wait(), name="mine", daemon=True).start()
        assert surroundings.changed() == ["the thread mine"]
        ended.set()


def test_what_is_added_changes_nothing_that_others_have():
    surroundings = Surroundings()
    try:
        torch.Tensor.of_my_own = lambda tensor: tensor
        assert surroundings.changed() == []
    finally:
        del torch.Tensor.of_my_own


COMPILED = """
import torch
from conformance.subject.surroundings import Surroundings

surroundings, x = Surroundings(), torch.ones(2, 4)
model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.GELU())
before = torch.nn.Module.__init__
torch.compile(model, backend="aot_eager")(x)
torch.export.export(model, (x,))
torch.jit.script(model)
assert torch.nn.Module.__init__ is not before, "Dynamo patches nothing: the exception for it can go"
print(surroundings.changed())
"""


def test_what_compilers_put_there_for_good_is_torchs_own():
    ran = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, check=True, timeout=300)
    assert ran.stdout == "[]\n"
