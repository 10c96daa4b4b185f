"""This module declares the TorchScript claims: the model scripts, and the script computes the same."""

from __future__ import annotations

from conformance.claims.claim import Cost, claim, holds
from conformance.claims.equality import same
from conformance.record import Cell, Evidence
from conformance.subject import Subject, scripting

TIMM_TEST = "timm tests/test_models.py::test_model_forward_torchscript"


@claim(
    group="torchscript",
    source=TIMM_TEST,
    why="Torch-TensorRT, segmentation_models.pytorch and timm's own `--torchscript` options compile with "
    "`torch.jit.script` (TensorRT test_embed_engines.py, timm validate.py): what does not compile is not "
    "served in C++.",
    cost=Cost.COMPILER,
    repro="torch.jit.script(timm.create_model(NAME).eval())",
)
def scripts(subject: Subject) -> Cell:
    """`torch.jit.script(model)` compiles the model as `create_model` builds it."""
    try:
        scripting.scripted(subject)
    except Exception as error:
        error.add_note(
            "create_model(…, scriptable=True) mends it"
            if scripting.is_mended_by_scriptable(subject)
            else "create_model(…, scriptable=True) does not mend it"
        )
        raise
    return holds(Evidence.OBSERVED)


@claim(
    group="torchscript",
    source=TIMM_TEST,
    why="segmentation_models.pytorch and Torch-TensorRT hold the compiled model against the eager one (smp "
    "tests/encoders/base.py); timm's own test looks at the size of the batch and at NaN alone, so that a "
    "difference would be shipped.",
    cost=Cost.RUN,
    needs=("scripts", "forward_features_runs"),
    repro="compare(torch.jit.script(model)(x), model(x))",
)
def script_matches(subject: Subject) -> Cell:
    """The scripted model computes what the model computes."""
    return same(subject, scripting.forward(subject), subject.forward, "the scripted model", "model(x)")


@claim(
    group="torchscript",
    source="timm documentation: feature extraction",
    why="A C++ program that serves a scripted model gets embeddings by its methods or not at all; timm documents "
    "the two calls (hfdocs feature_extraction) and does not test them on scripted models.",
    cost=Cost.RUN,
    needs=("scripts", "pre_logits_supported"),
    repro="""
        script = torch.jit.script(model)
        pooled = script.forward_head(script.forward_features(x), pre_logits=True)
        compare(pooled, model.forward_head(model.forward_features(x), pre_logits=True))
    """,
)
def script_pre_logits(subject: Subject) -> Cell:
    """Scripted, `forward_features` then `forward_head(…, pre_logits=True)` compute what they do on the model."""
    return same(
        subject,
        scripting.pre_logits(subject),
        subject.pre_logits,
        "scripted.forward_head(scripted.forward_features(x), pre_logits=True)",
        "the model's",
    )


@claim(
    group="torchscript",
    source="torch.jit.save documentation",
    why="What is served is the file: Torch-TensorRT saved scripted models of timm for its tests, and effdet's "
    "users are told to save theirs (rwightman/efficientdet-pytorch issue #93).",
    cost=Cost.COMPILER,
    needs=("scripts", "forward_features_runs"),
    repro="""
        script, file = torch.jit.script(model), io.BytesIO()
        torch.jit.save(script, file)
        file.seek(0)
        compare(torch.jit.load(file)(x), script(x))
    """,
)
def script_round_trips(subject: Subject) -> Cell:
    """The scripted model, saved and loaded, computes what it did before."""
    return same(
        subject, scripting.loaded_forward(subject), scripting.forward(subject), "the loaded model", "the scripted model"
    )
