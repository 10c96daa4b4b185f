"""This module captures the headed model as a program, by torch.export, torch.compile and torch.fx, and runs that.

Each capture starts from a model that has not run and that nobody else uses: what tracing leaves in its attributes (fake
tensors, proxies) reaches nothing else. What Dynamo keeps for the process is cleared afterwards.
"""

from __future__ import annotations

import contextlib
import functools
import io
import linecache
import logging
import re
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import timm
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx import graph_module
from torch.fx.experimental import proxy_tensor, symbolic_shapes

from conformance.engine.operands import Strayed
from conformance.subject.passes import Pass
from conformance.subject.real import with_output
from conformance.subject.refusals import SOURCE_PLACE
from conformance.subject.subject import Subject

OTHER_BATCH = 5
"""Images in the second batch that a program with a dynamic batch is given."""

EXPLANATION = re.compile(r"\n\s*Explanation: (?P<text>.{1,2000}?)(?=\n\s*\n|\n\s*Hint:|$)", re.DOTALL)


class NotCaptured(Exception):
    """A compiler refused the model. Its text says why in a few words, and where in the model's source."""


def _condensed(error: Exception) -> NotCaptured:
    """What matters of the pages that Dynamo and export write: what is wrong, and the innermost place in the source."""
    text = str(error)
    what = " ".join(text.strip().partition("\n\n")[0].split("\n  Explanation: ")[0].split())
    explanation = EXPLANATION.search(text)
    if explanation is not None:
        what += f": {' '.join(explanation['text'].split())}"
    places = [place[0] for place in SOURCE_PLACE.finditer(text)]
    return NotCaptured(f"{type(error).__name__}: {what}" + (f"\n  {places[-1]}" if places else ""))


@contextmanager
def capturing() -> Iterator[None]:
    """Run the body without gradients; say in few words why it fails, print nothing, and leave nothing behind.

    Raises:
        NotCaptured: whatever the compiler raises, but for memory errors.
    """
    disabled, no_traces = logging.root.manager.disable, torch.fx.config.do_not_emit_stack_traces
    sources = set(graph_module._loader.eval_cache)
    logging.disable(logging.CRITICAL)
    torch.fx.config.do_not_emit_stack_traces = True  # which nobody reads here, and a tenth of the time of exporting
    try:
        with (
            torch._dynamo.config.patch(run_gc_after_compile=False),  # a subject's garbage is collected at its end
            torch.no_grad(),
            # Export prints the graph that it could not finish.
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            yield
    except (MemoryError, NotCaptured):
        raise
    except Exception as error:
        raise _condensed(error).with_traceback(error.__traceback__) from error
    finally:
        logging.disable(disabled)
        torch.fx.config.do_not_emit_stack_traces = no_traces
        _forget(sources)


def _must_go_this_way(subject: Subject) -> None:
    """Check that real tensors go through the model as meta tensors do, whose program would be another one.

    Raises:
        Strayed: They may not.
    """
    if subject.measures:
        return
    try:
        subject.forward  # noqa: B018  # for what it raises
    except Strayed:
        raise
    except Exception:  # noqa: BLE001  # compilers have words of their own for it
        return


def _forget(sources: set[str]) -> None:
    """Clear what Dynamo, export and torch.fx keep for the process: ten megabytes a model, and its last program.

    `sources` are the names of generated sources from before, which are somebody else's.
    """
    torch._dynamo.reset()
    for finalizer in list(getattr(weakref.finalize, "_registry", ())):  # nobody else can tell which there are
        known = finalizer.peek()
        if known is not None and _is_of_guards(known[1]):  # on classes and functions, which outlive everything
            finalizer.detach()
    proxy_tensor._FAKE_TENSOR_ID_TO_PROXY_MAP_FOR_EXPORT.clear()
    for function in vars(symbolic_shapes.ShapeEnv).values():
        if hasattr(function, "cache_clear"):  # keyed by the environment itself, which so outlives everything
            function.cache_clear()
    for name in graph_module._loader.eval_cache.keys() - sources:
        del graph_module._loader.eval_cache[name]
        linecache.cache.pop(name, None)


def _is_of_guards(function: Any) -> bool:
    while isinstance(function, functools.partial):
        function = function.func
    return str(getattr(function, "__module__", None)) == "torch._dynamo.guards"


def exported(subject: Subject) -> Callable[..., Any]:
    """`torch.export.export(model, (images,)).module()`.

    Raises:
        NotCaptured: it cannot be exported.
    """

    def make() -> Callable[..., Any]:
        _must_go_this_way(subject)
        model, images = subject.another(), subject.images
        with capturing(), subject.keeping_bytes():
            return torch.export.export(model, (images,)).module()

    return subject.once("exported", make)


def exported_forward(subject: Subject) -> Pass:
    """The exported program, run on the images."""

    def make() -> Pass:
        program, images = exported(subject), subject.images
        return subject.run(lambda: program(images))

    return subject.once("exported forward", make)


def exported_for_any_batch(subject: Subject) -> Callable[..., Any]:
    """The model exported with its first dimension, the batch, declared dynamic.

    Raises:
        NotCaptured: it cannot be exported so.
    """

    def make() -> Callable[..., Any]:
        _must_go_this_way(subject)
        model, images = subject.another(), subject.images
        with capturing(), subject.keeping_bytes():
            shapes = ({0: torch.export.Dim("batch")},)
            program = torch.export.export(model, (images,), dynamic_shapes=shapes)
            module = program.module()
            _empty_environment(program)
            return module

    return subject.once("exported for any batch", make)


def _empty_environment(program: torch.export.ExportedProgram) -> None:
    """Empty what the program's symbols know of fake tensors, which a cycle through C++ keeps for ever."""
    fakes = (node.meta.get("val") for node in program.graph.nodes)
    fake = next((one for one in fakes if isinstance(one, FakeTensor)), None)
    if fake is not None and fake.fake_mode.shape_env is not None:
        fake.fake_mode.shape_env.fake_tensor_cache.clear()


def other_batch(subject: Subject) -> tuple[Pass, Pass]:
    """What the program exported for any batch, and the model, give for `OTHER_BATCH` images."""

    def make() -> tuple[Pass, Pass]:
        program, model = exported_for_any_batch(subject), subject.headed
        images, again = subject.other_images(batch=OTHER_BATCH), subject.other_images(batch=OTHER_BATCH)
        return subject.run(lambda: program(images)), subject.run(lambda: model(again), model)

    return subject.once("other batch", make)


def compiled_forward(subject: Subject) -> Pass:
    """What `torch.compile(model, fullgraph=True)` gives for the images, the captured graph run as it is.

    The graph is recorded where the compiled model calls it, so the result is that of the graph and of the code that
    Dynamo puts around it, and not of the model, which a compiled callable falls back to under a dispatch mode.

    Raises:
        NotCaptured: the model cannot be compiled as one graph.
    """

    def make() -> Pass:
        _must_go_this_way(subject)
        model, images = subject.another(), subject.images
        taken: list[Pass] = []

        def backend(graph: nn.Module, _: Any) -> Callable[..., Any]:
            def call(*inputs: Any) -> Any:
                taken.append(subject.run(lambda: graph(*inputs)))
                return taken[-1].output

            return call

        with capturing():
            output = torch.compile(model, fullgraph=True, dynamic=False, backend=backend)(images)
        if len(taken) != 1:
            raise NotCaptured(f"torch.compile made {len(taken)} graphs of the model")
        return with_output(subject, taken[0], output)

    return subject.once("compiled forward", make)


class _Tracer(torch.fx.Tracer):
    """Traces as timm does: its leaf modules and functions stay calls (timm/models/_features_fx.py)."""

    def __init__(self) -> None:
        functions, modules = _left_whole()
        super().__init__(autowrap_functions=functions, param_shapes_constant=True)
        self._leaves = modules

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, self._leaves) or super().is_leaf_module(m, module_qualified_name)


def _left_whole() -> tuple[tuple[Callable[..., Any], ...], tuple[type[nn.Module], ...]]:
    """Functions and modules that timm tells tracers to leave whole; before timm 0.9 only its own tracer was told."""
    known: Any = timm.models
    if hasattr(known, "get_notrace_modules"):
        return tuple(known.get_notrace_functions()), tuple(known.get_notrace_modules())
    known = known.fx_features
    return tuple(known._autowrap_functions), tuple(known._leaf_modules)


def traced(subject: Subject) -> nn.Module:
    """The graph that torch.fx makes of the model in eval mode.

    Raises:
        NotCaptured: it cannot be traced.
    """

    def make() -> nn.Module:
        _must_go_this_way(subject)
        model = subject.another()
        # What is computed from constants alone is computed now, and is a constant of the graph.
        with capturing(), subject.entering():
            return torch.fx.GraphModule(model, _Tracer().trace(model))

    return subject.once("traced", make)


def traced_forward(subject: Subject) -> Pass:
    """That graph, run on the images."""

    def make() -> Pass:
        graph, images = traced(subject), subject.images
        return subject.run(lambda: graph(images), *graph.children())

    return subject.once("traced forward", make)
