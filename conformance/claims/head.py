"""This module declares the Head claims: features, pre_logits and logits, and how they compose."""

from __future__ import annotations

from dataclasses import replace

import torch

from conformance.claims.claim import Cost, claim, holds, not_applicable, undecided, unprovable, violated
from conformance.claims.equality import describe, same
from conformance.claims.remedies import ways_from_classifier, ways_from_embedding
from conformance.record import Cell, Evidence, Level
from conformance.subject import RealSubject, Subject
from conformance.subject.passes import handed_on, tensors_of
from conformance.subject.refusals import is_of_meta

TIMM_CFG_TEST = "timm tests/test_models.py::test_model_default_cfgs"
TIMM_DOCUMENTATION = "timm documentation: feature extraction, penultimate layer features"


@claim(
    group="head",
    source="timm documentation: timm.create_model",
    why="transformers' TimmWrapper and segmentation_models.pytorch build a model by its name, without weights, "
    "and load or measure it afterwards (modeling_timm_wrapper.py, timm_universal.py): one that does not build "
    "is no option there.",
    cost=Cost.RUN,
    needs=(),
    repro="timm.create_model(NAME)",
)
def builds(subject: Subject) -> Cell:
    """`timm.create_model(name)` builds the model without weights."""
    model = subject.as_built
    if not isinstance(model, torch.nn.Module):
        return violated(f"create_model gives {type(model).__name__}, not a torch.nn.Module")
    return holds(Evidence.OBSERVED)


@claim(
    group="head",
    source=TIMM_DOCUMENTATION,
    why="transformers, mmpretrain, fastai and LightlyTrain call `forward_features` for the feature map "
    "(modeling_timm_wrapper.py, mmpretrain classifiers/timm.py): without it they have logits at best.",
    cost=Cost.RUN,
    repro="model.forward_features(x)",
)
def forward_features_runs(subject: Subject) -> Cell:
    """`model.forward_features(x)` runs on a batch of images of the declared input size."""
    features = subject.features.output
    if not tensors_of(features):
        return violated(f"forward_features gives {describe(features)}, no tensor")
    return holds(Evidence.OBSERVED)


@claim(
    group="head",
    source=TIMM_CFG_TEST,
    why="fastai, LightlyTrain and open_clip size the layer that takes the feature map by `num_features` (fastai "
    "create_timm_model, open_clip timm_model.py): another width is an error of shapes in the first forward.",
    cost=Cost.LIGHT,
    needs=("forward_features_runs",),
    repro="""
        features = model.forward_features(x)
        print("forward_features gives", describe(features), "and num_features is", model.num_features)
        if not torch.is_tensor(features):
            sys.exit(1)
        is_nchw = features.ndim == 4 and "NHWC" not in str(getattr(model, "output_fmt", "NCHW"))
        sys.exit(features.shape[1 if is_nchw else -1] != model.num_features)
    """,
)
def features_width(subject: Subject) -> Cell:
    """The channel dimension of the unpooled features equals `model.num_features`.

    The channel dimension is the last of (batch, tokens, channels), and of (batch, …) maps the one that the model's
    `output_fmt` says, NCHW where it says nothing.
    """
    features = subject.features.output
    expected = subject.headed.num_features
    if not isinstance(features, torch.Tensor):
        return violated(f"forward_features gives {describe(features)}, which has no single channel dimension")
    if features.ndim not in (2, 3, 4):
        return violated(f"forward_features gives {describe(features)}, neither tokens nor a map")
    layout = str(getattr(subject.headed, "output_fmt", "NCHW"))
    axis = 1 if features.ndim == 4 and layout.endswith("NCHW") else features.ndim - 1
    width = features.shape[axis]
    if width == expected:
        return holds(Evidence.OBSERVED)
    return violated(
        f"forward_features gives {describe(features)}: {width} channels in dimension {axis}, "
        f"num_features is {expected}",
        channels=width,
        num_features=expected,
    )


@claim(
    group="head",
    source=TIMM_DOCUMENTATION,
    why="timm's own distillation and the untangle benchmark take embeddings by `forward_head(…, pre_logits=True)` "
    "(timm/task/distillation.py, untangle model_wrapper.py): a model that refuses it, or gives several "
    "tensors, cannot be used there.",
    cost=Cost.RUN,
    needs=("forward_features_runs",),
    repro="""
        pooled = model.forward_head(model.forward_features(x), pre_logits=True)
        print("pre_logits are", describe(pooled))
        sys.exit(not torch.is_tensor(pooled))
    """,
    ways=ways_from_classifier,
)
def pre_logits_supported(subject: Subject) -> Cell:
    """`model.forward_head(features, pre_logits=True)` gives the pooled embedding as one tensor."""
    subject.features  # noqa: B018  # what it raises is not the head's
    try:
        pooled = subject.pre_logits.output
    except (NotImplementedError, TypeError):
        # An encoder need not take the keyword that it would not look at; a model that has logits is none.
        try:
            subject.logits  # noqa: B018  # for what it raises
        except NotImplementedError as error:
            if not is_of_meta(str(error)):  # torch's, for an operation without a kernel there
                return not_applicable(f"an encoder: {error or 'forward_head is not implemented'}")
        raise
    if not isinstance(pooled, torch.Tensor):
        return violated(f"forward_head(…, pre_logits=True) gives {describe(pooled)}, not one tensor")
    return holds(Evidence.OBSERVED)


@claim(
    group="head",
    source=TIMM_CFG_TEST,
    why="timm's own distillation sizes its projection by `head_hidden_size` (timm/task/distillation.py): an "
    "embedding of another rank or width breaks the projection or the loss.",
    cost=Cost.LIGHT,
    needs=("pre_logits_supported",),
    repro="""
        pooled = model.forward_head(model.forward_features(x), pre_logits=True)
        print("pre_logits are", describe(pooled), "and head_hidden_size is", model.head_hidden_size)
        sys.exit(pooled.shape != (len(x), model.head_hidden_size))
    """,
)
def pre_logits_pooled(subject: Subject) -> Cell:
    """pre_logits are (batch, width) with width == `model.head_hidden_size`."""
    pooled = subject.pre_logits.output
    if pooled.ndim != 2:
        return violated(f"pre_logits are {describe(pooled)}, not (batch, width)")
    expected = subject.headed.head_hidden_size
    if pooled.shape[1] != expected:
        return violated(
            f"pre_logits are {pooled.shape[1]} wide, head_hidden_size is {expected}",
            width=pooled.shape[1],
            head_hidden_size=expected,
        )
    return holds(Evidence.OBSERVED)


@claim(
    group="head",
    source=TIMM_DOCUMENTATION,
    why="transformers gives logits by `forward_head(forward_features(x))` when hidden states are asked for, and "
    "by `model(x)` otherwise; open_clip pools intermediates likewise (modeling_timm_wrapper.py, open_clip "
    "timm_model.py): where the two differ, results change without a word.",
    cost=Cost.RUN,
    needs=("pre_logits_supported",),
    repro="compare(model.forward_head(model.forward_features(x)), model(x))",
)
def head_composes(subject: Subject) -> Cell:
    """Route 1: `forward_head(forward_features(x))` computes what `model(x)` computes."""
    return same(subject, subject.logits, subject.forward, "forward_head(forward_features(x))", "model(x)")


@claim(
    group="head",
    source=TIMM_DOCUMENTATION,
    why="untangle and timm's test-time pooling take the classifier out and apply it to pooled features (untangle "
    "model_wrapper.py, timm/layers/test_time_pool.py), as must whoever stores embeddings and classifies them later: "
    "a step hidden between the two changes logits without a word.",
    cost=Cost.RUN,
    needs=("pre_logits_supported",),
    repro="""
        features = model.forward_features(x)
        pooled = model.forward_head(features, pre_logits=True)
        compare(model.get_classifier()(pooled), model.forward_head(features))
    """,
    ways=ways_from_embedding,
)
def classifier_consistent(subject: Subject) -> Cell:
    """Route 2: `get_classifier()(pre_logits)` computes what `forward_head(features)` computes."""
    if not subject.classes:
        return not_applicable("the model takes no classes")
    model, pooled = subject.headed, subject.pre_logits
    classifier = subject.look(model.get_classifier)  # type: ignore[arg-type]  # timm's models have it
    containers = (list, tuple, torch.nn.ModuleList)
    if not callable(classifier) or isinstance(classifier, containers):
        parts = [type(part).__name__ for part in classifier] if isinstance(classifier, containers) else []
        what = f"{type(classifier).__name__} of {', '.join(parts)}" if parts else type(classifier).__name__
        return violated(f"get_classifier() gives a {what}, which cannot be called")
    called = subject.run(lambda: model.get_classifier()(handed_on(pooled.output)), model)  # type: ignore[operator]  # as above
    if not subject.is_unchanged(pooled):
        return unprovable("a later call wrote to what forward_head had given as pre_logits")
    called = replace(called, unprovable=(*pooled.unprovable, *called.unprovable))
    return same(subject, called, subject.logits, "get_classifier()(pre_logits)", "forward_head(features)")


@claim(
    group="head",
    source="one backbone pass for three outputs: fine-tuning and retrieval code",
    why="transformers hands the feature map out after the head ran on it, and timm's distillation runs the head "
    "on one map twice (modeling_timm_wrapper.py, timm/task/distillation.py): a head that writes in place "
    "spoils the second use.",
    cost=Cost.LIGHT,
    needs=("pre_logits_supported",),
    repro="""
        features = model.forward_features(x)
        before = [tensor.clone() for tensor in flat(features)]
        model.forward_head(features, pre_logits=True)
        model.forward_head(features)
        compare(flat(features), before)
    """,
)
def head_is_pure(subject: Subject) -> Cell:
    """`forward_head` leaves the features as they were, so that one backbone pass serves all three outputs."""
    features, outputs = subject.features, (subject.pre_logits, subject.logits)
    is_unchanged = all(map(subject.is_unchanged, (features, *subject.given_to_head)))
    if isinstance(subject, RealSubject) and not is_unchanged:
        return violated("forward_head changes the features that it is given", Evidence.MEASURED)
    for taken in (features, *outputs):
        if taken.unprovable:
            return unprovable(taken.unprovable[0])
    if subject.measures:
        return holds(Evidence.MEASURED)
    if is_unchanged:
        return holds(Evidence.PROVED)
    return undecided("forward_head writes to the features it is given; no proof that it leaves them as they were")


@claim(
    group="head",
    source="open_clip timm_model.py, autogluon timm_image.py, torchgeo: read num_features as the embedding's width",
    why="AutoGluon, torchgeo, Lightning Flash and open_clip put a layer of `num_features` inputs on the pooled "
    "output (autogluon timm_image.py, torchgeo trainers/simclr.py): where it is wider, as in MobileNetV3 and "
    "V4, that is an error of shapes. timm does not promise this (timm issue #2228).",
    cost=Cost.LIGHT,
    level=Level.SIGNAL,
    needs=("pre_logits_supported",),
    repro="""
        pooled = model.forward_head(model.forward_features(x), pre_logits=True)
        print("pre_logits are", describe(pooled), "and num_features is", model.num_features)
        sys.exit(pooled.shape[-1] != model.num_features)
    """,
)
def pooled_width_is_num_features(subject: Subject) -> Cell:
    """pre_logits are as wide as `model.num_features`, which downstream projects assume."""
    width, assumed = subject.pre_logits.output.shape[-1], subject.headed.num_features
    if width == assumed:
        return holds(Evidence.OBSERVED)
    return violated(f"pre_logits are {width} wide, num_features is {assumed}", width=width, num_features=assumed)
