"""This module declares the Classifier claims: what resetting, removing and naming the classifier does."""

from __future__ import annotations

import torch

from conformance.claims.claim import Cost, claim, holds, not_applicable, undecided, unprovable, violated
from conformance.claims.equality import confirmed, describe, judged, same, shapes
from conformance.record import Cell, Evidence
from conformance.subject import OTHER_CLASSES, Subject, resets, usage
from conformance.subject.real import RealPass

TIMM_CFG_TEST = "timm tests/test_models.py::test_model_default_cfgs"
TIMM_DOCUMENTATION = "timm documentation: feature extraction, pooled features"


@claim(
    group="classifier",
    source=TIMM_DOCUMENTATION,
    why="AutoGluon and open_clip load a model and call `reset_classifier(0)` for embeddings (autogluon "
    "timm_image.py, open_clip timm_model.py): a layer left or lost changes what they store.",
    cost=Cost.RUN,
    needs=("pre_logits_supported",),
    repro="""
        pooled = model.forward_head(model.forward_features(x), pre_logits=True)
        model.reset_classifier(0)
        compare(model(x), pooled)
    """,
)
def reset_to_pooled(subject: Subject) -> Cell:
    """After `reset_classifier(0)` the model gives what pre_logits were, values and shape."""
    if not subject.classes:
        return not_applicable("the model takes no classes")
    return same(
        subject, resets.to_none(subject), subject.pre_logits, "the model after reset_classifier(0)", "pre_logits"
    )


@claim(
    group="classifier",
    source=TIMM_DOCUMENTATION,
    why="torchgeo, TRIDENT's pathology encoders, Lightning Flash and transformers build with `num_classes=0` and "
    "take what the model gives for the embedding (torchgeo trainers/moco.py, trident "
    "patch_encoder_models/load.py); AutoGluon saves a model that was reset and loads it as one that is built "
    "so, and needs both to agree.",
    cost=Cost.RUN,
    needs=("pre_logits_supported",),
    repro="""
        pooled = model.forward_head(model.forward_features(x), pre_logits=True)
        compare(build(num_classes=0)(x), pooled)
    """,
)
def built_headless(subject: Subject) -> Cell:
    """Built with `num_classes=0` the model gives what pre_logits are with a classifier, values and shape."""
    return same(
        subject, subject.headless_forward, subject.pre_logits, "create_model(…, num_classes=0)(x)", "pre_logits"
    )


@claim(
    group="classifier",
    source="timm documentation: fine-tuning, reset_classifier",
    why="Whoever fine-tunes asks for another number of classes; untangle resets to a latent width and reads "
    "`num_classes` back (untangle postnet_wrapper.py): a head of another width or a stale number breaks the "
    "loss. It did: timm pull requests #1951, #2421.",
    cost=Cost.RUN,
    needs=("pre_logits_supported",),
    repro="""
        for start in (model.num_classes, 0):
            model.reset_classifier(start)
            model.reset_classifier(7)
            logits = model.double()(x)
            print("from", start, "classes to 7:", describe(logits), "and num_classes is", model.num_classes)
            if logits.shape != (len(x), 7) or model.num_classes != 7:
                sys.exit(1)
    """,
)
def reset_to_classes(subject: Subject) -> Cell:
    """`reset_classifier(N)` gives logits of width N and `num_classes == N`, from no classes and from others."""
    if not subject.classes:
        return not_applicable("the model takes no classes")
    for start, count, logits in (
        ("from other classes", *resets.to_other(subject)),
        ("from no classes", *resets.none_to_other(subject)),
    ):
        if count != OTHER_CLASSES:
            return violated(f"reset_classifier({OTHER_CLASSES}) {start} leaves num_classes at {count}")
        if not isinstance(logits, torch.Tensor) or logits.shape[-1] != OTHER_CLASSES or logits.ndim != 2:
            return violated(f"reset_classifier({OTHER_CLASSES}) {start} gives {describe(logits)} as logits")
    return holds(Evidence.OBSERVED)


@claim(
    group="classifier",
    source="timm tests/test_models.py::_assert_reset_classifier_preserves_parent_device_dtype",
    why="Whoever resets the head after `.to(device)` or `.half()` gets a model of mixed devices or dtypes, whose "
    "next forward fails: timm pull requests #2743, #2752.",
    cost=Cost.LIGHT,
    needs=("pre_logits_supported",),
    repro="""
        moved = copy.deepcopy(model).to("meta")
        moved.reset_classifier(7)
        for name, tensor in (*moved.named_parameters(), *moved.named_buffers()):
            if tensor.device.type != "meta" or (tensor.is_floating_point() and tensor.dtype != torch.float64):
                sys.exit(f"{name} is {tensor.dtype} on {tensor.device} in a model of float64 on meta")
        model.reset_classifier(7)
        print("in training mode:", [name for name, part in model.named_modules() if part.training])
        compare(model(x), model.eval()(x))
    """,
)
def reset_keeps_placement(subject: Subject) -> Cell:
    """`reset_classifier(N)` makes a classifier of the model's dtype and device, and leaves eval mode as it was."""
    if not subject.classes:
        return not_applicable("the model takes no classes")
    placed = resets.placement(subject)
    if placed.misplaced:
        name, where = placed.misplaced[0]
        return violated(f"reset_classifier makes {name} as {where} in a model that is float64 on its own device")
    if placed.is_same_in_eval_mode:
        return holds(Evidence.MEASURED if subject.measures and placed.training else Evidence.OBSERVED)
    left = f"reset_classifier leaves {placed.training[0] or 'the model'} in training mode"
    if placed.is_same_in_eval_mode is None:
        return undecided(f"{left}, and no proof that it matters or does not")
    return violated(f"{left}, and the model computes otherwise")


@claim(
    group="classifier",
    source=TIMM_CFG_TEST,
    why="mmpretrain, open_clip and Transfer-Learning-Library call `reset_classifier(0, '')` and pool the map "
    "themselves (mmpretrain timm_backbone.py, open_clip timm_model.py): a map that is pooled or flattened "
    "breaks their necks.",
    cost=Cost.RUN,
    needs=("pre_logits_supported",),
    repro="""
        features = model.forward_features(x)
        model.reset_classifier(0, "")
        print("the model gives", describe(model(x)), "and forward_features", describe(features))
        sys.exit(describe(model(x)) != describe(features))
    """,
)
def unpooled_reset(subject: Subject) -> Cell:
    """After `reset_classifier(0, '')` the model gives features of the shape that `forward_features` gives."""
    if not subject.classes:
        return not_applicable("the model takes no classes")
    try:
        output = resets.unpooled(subject)
    except resets.Refused as error:
        if "pool" in str(error).lower():
            return not_applicable(f"timm declares that pooling cannot be disabled: {error}")
        raise error.__cause__ or error from None
    features = subject.features.output
    if shapes(output) != shapes(features):
        return violated(
            f"after reset_classifier(0, '') the model gives {shapes(output)}, forward_features gives {shapes(features)}"
        )
    return holds(Evidence.OBSERVED)


@claim(
    group="classifier",
    source=TIMM_CFG_TEST,
    why="The detectors library for out-of-distribution scores finds the last layer by `default_cfg['classifier']` "
    "to read its weights (detectors vim.py, dice.py), and timm leaves out those keys of a checkpoint of "
    "other classes (timm/models/_builder.py): another name breaks both.",
    cost=Cost.RUN,
    needs=("pre_logits_supported",),
    repro="""
        names = model.default_cfg["classifier"]
        names = [names] if isinstance(names, str) else list(names)
        given = []
        for name in names:
            assert hasattr(model.get_submodule(name), "weight"), f"{name} has no weight"
            model.get_submodule(name).register_forward_hook(lambda *call: given.append(call[-1].clone()))
        logits = model.forward_head(model.forward_features(x))
        compare((sum(given) / len(names)).reshape(logits.shape), logits)
    """,
)
def classifier_named(subject: Subject) -> Cell:
    """`default_cfg['classifier']` names the classifier: modules with weights, and nothing is computed after them."""
    if not subject.classes:
        return not_applicable("the model takes no classes")
    named = subject.default_cfg.get("classifier")
    names = [named] if isinstance(named, str) else list(named or ())
    if not names:
        return violated("default_cfg names no classifier")
    modules = dict(subject.headed.named_modules())
    for name in names:
        if name not in modules:
            return violated(f"default_cfg names the classifier {name!r}, which the model does not have")
        if getattr(modules[name], "weight", None) is None:
            return violated(
                f"default_cfg names the classifier {name!r}, a {type(modules[name]).__name__} without weight"
            )
    taken, calls = usage.caught(subject, names)
    silent = sorted(name for name, count in calls.items() if count == 0)
    repeated = sorted(name for name, count in calls.items() if count > 1)
    named = ", ".join(names)
    idle = [name for name in silent if not subject.measures and usage.has_part(subject, name) is False]
    if idle:
        return violated(f"forward_head does not use {', '.join(idle)}, which default_cfg names its classifier")
    if silent:
        return undecided(f"forward_head uses {', '.join(silent)} without calling it: is it applied last?")
    if repeated:
        return undecided(f"forward_head calls {', '.join(repeated)} more than once: is it applied last?")
    if isinstance(taken, RealPass):
        logits, *outputs = taken.as_given
        if any(output.numel() != logits.numel() for output in outputs):
            if usage.is_chosen_from(logits, *outputs):
                return confirmed(taken)
            given = f"{named} give {describe(outputs)}, the logits are {describe(logits)}"
            # Heads over tokens may be combined as they like (VOLO adds a maximum): that cannot be measured.
            return violated(given) if len(outputs) == 1 else undecided(f"{given}: how these make them is not known")
        given = f"what {named} give, which default_cfg names,"
        return judged(usage.from_outputs(taken), "the logits", given, taken)
    if taken.unprovable:
        return unprovable(taken.unprovable[0])
    if usage.is_last_applied(subject, taken):
        return holds(Evidence.PROVED)
    return undecided(f"no proof that nothing is computed after {named}, which default_cfg names")
