"""TorchScript is safe to call for many models in one process: nothing is left, nothing grows, no state is missed."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable

import psutil
import pytest
import torch
from torch import _jit_internal, _sources, nn
from torch.jit import _recursive, _state, _trace
from torch.nn import functional as F

from conformance.engine import script
from conformance.engine.ledger import Ledger
from conformance.engine.outside import recording
from tests.engine.scripted import (
    AddsZero,
    AsksPython,
    AssignsAttribute,
    CallsHelperCompiledBefore,
    CallsHelperOnDict,
    ChangesListOfSelf,
    ChangesOwnList,
    CountsInObject,
    Interpolates,
    KeepsNothing,
    ListsIgnoredAttributes,
    MakesObject,
    RefusesToCompile,
    UsesInterface,
    WithBuffer,
    WithMarkedMethods,
    WritesToDict,
    WritesToDictOfChild,
)


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    script.forget_everything()


def settings() -> tuple[object, ...]:
    executor = torch._C._jit_set_profiling_executor(True)
    torch._C._jit_set_profiling_executor(executor)
    profiling = torch._C._jit_set_profiling_mode(True)
    torch._C._jit_set_profiling_mode(profiling)
    return (
        executor,
        profiling,
        torch._C._jit_can_fuse_on_cpu(),
        torch._C._jit_can_fuse_on_gpu(),
        torch._C._jit_texpr_fuser_enabled(),
        torch._C._get_graph_executor_optimize(),
    )


def change(*values: bool) -> None:
    executor, profiling, fuse_cpu, fuse_gpu, texpr, optimize = values
    torch._C._set_graph_executor_optimize(optimize)
    torch._C._jit_set_profiling_executor(executor)
    torch._C._jit_set_profiling_mode(profiling)
    torch._C._jit_override_can_fuse_on_cpu(fuse_cpu)
    torch._C._jit_override_can_fuse_on_gpu(fuse_gpu)
    torch._C._jit_set_texpr_fuser_enabled(texpr)


@pytest.mark.parametrize(
    "before",
    [(True,) * 6, (False,) * 6, (True, False) * 3],
)
def test_what_was_set_of_the_executor_is_restored(before):
    kept = settings()
    try:
        change(*before)
        set_before = settings()
        with script.executor_for_meta():
            assert settings() == (True, False, False, False, False, False)
        assert settings() == set_before
        with pytest.raises(ValueError, match="in the middle"), script.executor_for_meta():
            raise ValueError("in the middle")
        assert settings() == set_before
    finally:
        change(*kept)


def test_scripted_code_runs_on_the_meta_device_as_often_as_one_likes():
    """The legacy fuser refuses the meta device once a graph has been profiled."""
    scripted = script.script(KeepsNothing().to("meta"))
    images = torch.empty(2, 4, device="meta")
    with script.executor_for_meta(), torch.no_grad():
        for _ in range(5):
            assert scripted(images).shape == (2, 4)


def test_compiling_warns_of_nothing_even_where_warnings_are_errors():
    scripted = script.script(KeepsNothing())
    assert script.load(script.save(scripted)) is not None


def compiler_functions() -> tuple[object, ...]:
    return _recursive.get_overload_annotations, _sources.get_source_lines_and_file, vars(_recursive).get("dir")


@pytest.mark.parametrize("make", [WithMarkedMethods, ListsIgnoredAttributes], ids=lambda make: make.__name__)
def test_what_is_spared_changes_nothing_that_is_compiled(make):
    def compiled(how: Callable[[nn.Module], torch.jit.ScriptModule]) -> tuple[object, ...]:
        scripted = how(make())
        script.forget_everything()
        child = scripted.child
        return [(part._c._method_names(), sorted(vars(part)), part.code) for part in (scripted, child)]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plainly = compiled(torch.jit.script)
    assert compiled(script.script) == plainly


def test_what_is_spared_the_compiler_is_given_back():
    before = compiler_functions()
    script.script(KeepsNothing())
    assert compiler_functions() == before
    with pytest.raises(Exception, match=r"[Ll]ambda"):
        script.script(RefusesToCompile())
    assert compiler_functions() == before


def test_nothing_is_left_after_forgetting():
    unit = _state._python_cu
    script.script(KeepsNothing())
    assert len(_recursive.concrete_type_store.type_store) > 0
    script.forget_everything()
    assert not _recursive.concrete_type_store.type_store
    assert not _state._jit_caching_layer
    assert not _state._script_classes
    assert _state._python_cu is not unit
    assert _state._python_cu is _recursive._python_cu
    assert _state._python_cu is _trace._python_cu
    assert not _state._python_cu.get_functions()


def test_a_failure_leaves_the_next_model_of_its_family_alone():
    for _ in range(3):
        with pytest.raises(Exception, match=r"[Ll]ambda"):
            script.script(RefusesToCompile())
        script.forget_everything()
        assert script.script(KeepsNothing()) is not None
        script.forget_everything()


def test_overloads_outlive_the_compilation_that_used_them():
    """The second model that interpolates would find neither overloads nor their compiled names."""
    before = dict(_jit_internal._overloaded_fns)
    for _ in range(3):
        script.script(Interpolates())
        script.forget_everything()
    assert before.keys() <= _jit_internal._overloaded_fns.keys()
    assert not _state._jit_function_overload_caching


def test_scripted_objects_live_on_after_everything_was_forgotten():
    scripted = script.script(KeepsNothing())
    script.forget_everything()
    other = script.script(KeepsNothing())
    images = torch.ones(2, 4)
    assert scripted(images).shape == other(images).shape


def test_memory_does_not_grow_however_often_one_scripts():
    process = psutil.Process()

    def many(times: int) -> None:
        for _ in range(times):
            script.script(nn.Sequential(*(KeepsNothing() for _ in range(4)), Interpolates()))
            script.forget_everything()
        gc.collect()

    many(8)
    before = process.memory_info().rss
    many(24)
    assert process.memory_info().rss - before < 6 << 20


# State


@pytest.mark.parametrize("make", [WritesToDict, ChangesListOfSelf, WritesToDictOfChild])
def test_a_container_that_outlives_the_call_is_noticed(make):
    assert script.effects_of(script.script(make())).keeps


@pytest.mark.parametrize("make", [KeepsNothing, ChangesOwnList, Interpolates, WithBuffer])
def test_a_container_of_the_call_itself_is_no_state(make):
    assert not script.effects_of(script.script(make())).keeps


def test_a_container_that_a_helper_writes_to_is_noticed():
    assert script.effects_of(script.script(CallsHelperOnDict())).keeps


def test_a_helper_that_was_compiled_for_an_earlier_model_is_looked_into():
    script.forget_everything()
    assert script.effects_of(script.script(CallsHelperCompiledBefore())).keeps


def test_what_others_compiled_does_not_matter():
    script.script(WritesToDict())
    script.script(CountsInObject())
    module = script.script(KeepsNothing())
    assert not script.effects_of(module).keeps
    assert not script.effects_of(module).uses_objects


def test_a_helper_really_keeps_what_it_writes():
    scripted = script.script(CallsHelperOnDict())
    x = torch.ones(1)
    assert [scripted(x).item() for _ in range(3)] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("make", [AssignsAttribute, lambda: nn.Sequential(KeepsNothing(), AssignsAttribute())])
def test_an_assigned_attribute_is_state(make):
    assert script.effects_of(script.script(make())).keeps


def test_the_values_of_all_attributes_are_had():
    scripted = script.script(AssignsAttribute())
    before = script.attributes_of(scripted, scripted)
    scripted(torch.ones(1))
    assert script.attributes_of(scripted, scripted) != before


def test_a_call_back_into_python_is_noticed():
    assert script.effects_of(script.script(AsksPython())).calls_python
    assert not script.effects_of(script.script(KeepsNothing())).has_state


@pytest.mark.parametrize(("make", "uses"), [(CountsInObject, True), (MakesObject, False), (WithMarkedMethods, False)])
def test_an_object_that_outlives_the_call_is_noticed(make, uses):
    assert script.effects_of(script.script(make())).uses_objects is uses


def test_the_program_is_run_as_it_was_compiled():
    """The optimiser drops `x + 0`, which differs from x for a negative zero."""
    ledger, images = Ledger(), torch.empty(2, 4, device="meta")
    ledger.name_leaf("input", [("images", images, None)])
    numbers = []
    for model in (AddsZero(), script.script(AddsZero())):
        with script.executor_for_meta(), recording(ledger):
            output = model(images)
        numbers.append(ledger.result(output))
    assert numbers[0] == numbers[1]


# Saving and loading


def loaded_on_meta(change: Callable[[nn.Module], None] = lambda model: None):
    ledger = Ledger()
    model = WithBuffer().to("meta").eval()
    names = {"weight": model.weight, "table": model.table, "child.weight": model.child.weight}
    for name, tensor in names.items():
        ledger.name_leaf("weights", [(name, tensor, None)])
    original = script.script(model)
    loaded = script.load(script.save(original))
    change(loaded)
    script.name_loaded_tensors(original, loaded, ledger)
    return ledger, original, loaded


def test_loaded_tensors_hold_what_those_of_the_same_name_held():
    ledger, original, loaded = loaded_on_meta()
    for name in ("weight", "table", "child.weight"):
        left, right = original, loaded
        for part in name.split("."):
            left, right = getattr(left, part), getattr(right, part)
        assert left.untyped_storage()._cdata != right.untyped_storage()._cdata
        assert ledger.value(left) == ledger.value(right)


def test_a_loaded_model_computes_what_the_saved_one_does():
    ledger, original, loaded = loaded_on_meta()
    images = torch.empty(2, 4, device="meta")
    ledger.name_leaf("input", [("images", images, None)])
    numbers = []
    for module in (original, loaded):
        with script.executor_for_meta(), recording(ledger) as taken:
            output = module(images)
        assert not taken.unprovable
        numbers.append(ledger.result(output))
    assert numbers[0] == numbers[1]
    assert ledger.values.is_reproducible(numbers[0])


@pytest.mark.parametrize(
    "other",
    [
        torch.empty(4, 4, dtype=torch.float64, device="meta"),
        torch.empty(4, 5, device="meta"),
        torch.empty(4, 4, device="meta").t(),
        torch.empty(5, 4, device="meta")[1:],
        torch.empty(5, 4, device="meta")[:4],
    ],
)
def test_a_loaded_tensor_that_looks_otherwise_is_unknown(other):
    ledger, original, loaded = loaded_on_meta(lambda loaded: setattr(loaded, "weight", nn.Parameter(other)))
    assert ledger.value(loaded.weight) != ledger.value(original.weight)
    assert not ledger.values.is_reproducible(ledger.value(loaded.weight))


def test_saving_on_the_meta_device_keeps_names_and_program():
    model = WithBuffer().to("meta")
    loaded = script.load(script.save(script.script(model)))
    assert dict(loaded.named_parameters()).keys() == dict(model.named_parameters()).keys()
    assert loaded.code == script.script(model).code


def test_scripting_a_function_of_torch_still_works_afterwards():
    script.script(Interpolates())
    script.forget_everything()
    assert F.interpolate(torch.ones(1, 1, 2, 2), scale_factor=2.0).shape == (1, 1, 4, 4)


def test_an_interface_from_before_is_known_after_everything_was_forgotten():
    """It was compiled when its file was imported, and the unit that held it is gone."""
    for _ in range(3):
        script.forget_everything()
        assert script.script(UsesInterface())(torch.ones(1)) == 2
