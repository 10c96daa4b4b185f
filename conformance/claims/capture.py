"""This module declares the claims of what takes TorchScript's place: torch.export, torch.compile and torch.fx."""

from __future__ import annotations

from conformance.claims.claim import claim, holds
from conformance.claims.equality import same
from conformance.record import Cell, Evidence, Tier
from conformance.subject import Subject, capturing

EXPORT_DOCUMENTATION = "PyTorch documentation: torch.export"
COMPILE_DOCUMENTATION = "PyTorch documentation: torch.compile; timm train.py and validate.py --torchcompile"
FX_TEST = "timm tests/test_models.py::test_model_forward_fx"

TRACED = """
    from timm.models import get_notrace_functions, get_notrace_modules

    class Tracer(torch.fx.Tracer):
        def is_leaf_module(self, module, name):
            return isinstance(module, tuple(get_notrace_modules())) or super().is_leaf_module(module, name)

    tracer = Tracer(autowrap_functions=tuple(get_notrace_functions()), param_shapes_constant=True)
    graph = torch.fx.GraphModule(model, tracer.trace(model))
"""


@claim(
    group="capture",
    source=EXPORT_DOCUMENTATION,
    tier=Tier.FULL,
    needs=("forward_features_runs",),
    repro="torch.export.export(model, (x,))",
)
def exports(subject: Subject) -> Cell:
    """`torch.export.export(model, (x,))` captures the model."""
    capturing.exported(subject)
    return holds(Evidence.OBSERVED)


@claim(
    group="capture",
    source=EXPORT_DOCUMENTATION,
    tier=Tier.FULL,
    needs=("exports",),
    repro="compare(torch.export.export(model, (x,)).module()(x), model(x))",
)
def export_matches(subject: Subject) -> Cell:
    """The exported program computes what the model computes."""
    return same(subject, capturing.exported_forward(subject), subject.forward, "the exported program", "model(x)")


@claim(
    group="capture",
    source=EXPORT_DOCUMENTATION,
    tier=Tier.FULL,
    needs=("exports",),
    repro="""
        program = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},)).module()
        more = torch.randn(5, *x.shape[1:], dtype=x.dtype)
        compare(program(more), model(more))
    """,
)
def export_dynamic_batch(subject: Subject) -> Cell:
    """Exported with a dynamic batch dimension, the program computes what the model computes for another batch size."""
    program, model = capturing.other_batch(subject)
    return same(subject, program, model, "the program exported for any batch size", "model(x) of another size")


@claim(
    group="capture",
    source=COMPILE_DOCUMENTATION,
    tier=Tier.FULL,
    needs=("forward_features_runs",),
    repro='torch.compile(model, fullgraph=True, backend="eager")(x)',
)
def compiles(subject: Subject) -> Cell:
    """`torch.compile(model, fullgraph=True)` captures the model as one graph, without a graph break."""
    capturing.compiled_forward(subject)
    return holds(Evidence.OBSERVED)


@claim(
    group="capture",
    source=COMPILE_DOCUMENTATION,
    tier=Tier.FULL,
    needs=("compiles",),
    repro='compare(torch.compile(model, fullgraph=True, backend="eager")(x), model(x))',
)
def compile_matches(subject: Subject) -> Cell:
    """The graph that `torch.compile` captures computes what the model computes."""
    return same(subject, capturing.compiled_forward(subject), subject.forward, "the compiled graph", "model(x)")


@claim(
    group="capture",
    source=FX_TEST,
    tier=Tier.FULL,
    needs=("forward_features_runs",),
    repro=TRACED,
)
def fx_traces(subject: Subject) -> Cell:
    """`torch.fx` traces the model in eval mode, with timm's leaf modules and functions."""
    capturing.traced(subject)
    return holds(Evidence.OBSERVED)


@claim(
    group="capture",
    source=FX_TEST,
    tier=Tier.FULL,
    needs=("fx_traces",),
    repro=f"{TRACED}\n    compare(graph(x), model(x))",
)
def fx_matches(subject: Subject) -> Cell:
    """The graph that `torch.fx` traces computes what the model computes."""
    return same(subject, capturing.traced_forward(subject), subject.forward, "the traced graph", "model(x)")
