"""This module declares the claims of what takes TorchScript's place: torch.export, torch.compile, torch.fx and ONNX."""

from __future__ import annotations

from conformance.claims.claim import Cost, claim, holds, undecided_on_meta
from conformance.claims.equality import same
from conformance.record import Cell, Evidence, Level, Tier
from conformance.subject import RealSubject, Subject, capturing, interchange

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
    why="OpenVINO's nightly tests, ExecuTorch and segmentation_models.pytorch take models by `torch.export` "
    "(openvino test_timm.py, executorch aot_optimize_and_infer.py): what is not captured has no way there.",
    cost=Cost.COMPILER,
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
    why="segmentation_models.pytorch and OpenVINO compare the exported program with the model (smp "
    "test_timm_vit_encoders.py, openvino model_hub_tests/pytorch/timm_models): what differs is deployed "
    "otherwise than it was trained.",
    cost=Cost.RUN,
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
    why="anomalib exports with a batch of any size, and OpenVINO asks for one (anomalib export_mixin, openvino "
    "test_timm.py): a program that keeps the batch of its example serves no other.",
    cost=Cost.COMPILER,
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
    why="segmentation_models.pytorch compiles with `fullgraph=True`, and PyTorch's benchmarks run timm's models "
    "under `torch.compile` (smp test_timm_vit_encoders.py, pytorch benchmarks/dynamo/timm_models.py): a graph "
    "break is an error for the one and time for the other.",
    cost=Cost.COMPILER,
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
    why="PyTorch's own CI compares compiled with eager models of timm, with a list of wider tolerances (pytorch "
    "benchmarks/dynamo/timm_models.yaml).",
    cost=Cost.LIGHT,
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
    why="The detectors library and anomalib cut models by torchvision's `create_feature_extractor`, which traces "
    "with torch.fx (detectors react.py, anomalib timm.py); timm promises it with its own leaf modules (timm "
    "issue #1176).",
    cost=Cost.RUN,
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
    why="Scores of a model that was cut by torch.fx are that model's only if the traced graph computes the same "
    "(detectors vim.py).",
    cost=Cost.RUN,
    tier=Tier.FULL,
    needs=("fx_traces",),
    repro=f"{TRACED}\n    compare(graph(x), model(x))",
)
def fx_matches(subject: Subject) -> Cell:
    """The graph that `torch.fx` traces computes what the model computes."""
    return same(subject, capturing.traced_forward(subject), subject.forward, "the traced graph", "model(x)")


@claim(
    group="capture",
    source="PyTorch documentation: torch.onnx.export",
    why="NVIDIA's Model-Optimizer, OpenVINO's NNCF, rten and timm's onnx_export.py make ONNX files of timm's "
    "models (download_example_onnx.py, nncf image_classification_timm.py): one that does not export is "
    "neither quantised nor served there.",
    cost=Cost.COMPILER,
    level=Level.SHOULD,
    tier=Tier.EXTRA,
    needs=("forward_features_runs",),
    extra="onnx",
    packages=interchange.PACKAGES,
    in_double=False,
    repro="""
        import tempfile
        import onnx
        import onnxruntime

        model, x = model.float(), x.float()
        file = tempfile.mkdtemp() + "/model.onnx"
        torch.onnx.export(model, (x,), dynamo=True, verbose=False).save(file, external_data=True)
        onnx.checker.check_model(file, full_check=True)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        given = [torch.from_numpy(array) for array in session.run(None, {session.get_inputs()[0].name: x.numpy()})]
        errors = [((a - b).abs().max() / b.abs().max()).item() for a, b in zip(given, flat(model(x)))]
        print(f"relative error {max(errors):.2g}")
        sys.exit(describe(given) != describe(flat(model(x))) or not max(errors) <= 1e-3)
    """,
)
def onnx_exports(subject: Subject) -> Cell:
    """`torch.onnx.export(model, (x,), dynamo=True)` gives valid ONNX; by onnxruntime it computes the same."""
    if not isinstance(subject, RealSubject):
        return undecided_on_meta("onnxruntime computes on real numbers")
    given, wanted = interchange.by_onnxruntime(subject), interchange.tensors_as_list(subject)
    return same(subject, given, wanted, "onnxruntime", "model(x)")
