"""This module declares the claims of feature pyramids: `forward_intermediates` and `features_only`."""

from __future__ import annotations

from conformance.claims.claim import Cost, claim, holds, not_applicable, undecided, violated
from conformance.claims.equality import same
from conformance.record import Cell, Evidence, Tier, Verdict
from conformance.subject import Subject, pyramids
from conformance.subject.real import with_output

INTERMEDIATES_TEST = "timm tests/test_models.py::test_model_forward_intermediates"
FEATURES_TEST = "timm tests/test_models.py::test_model_forward_features"


@claim(
    group="pyramids",
    source=INTERMEDIATES_TEST,
    why="transformers and open_clip feed the last of `forward_intermediates` to `forward_head`, and LightlyTrain "
    "takes it for `forward_features` (modeling_timm_wrapper.py, open_clip timm_model.py): where it differs, "
    "asking for hidden states changes the logits.",
    cost=Cost.RUN,
    tier=Tier.FULL,
    needs=("forward_features_runs",),
    repro='compare(model.forward_intermediates(x, output_fmt="NCHW")[0], model.forward_features(x))',
)
def intermediates_final(subject: Subject) -> Cell:
    """What `forward_intermediates` gives first is what `forward_features` gives."""
    try:
        final = pyramids.final(subject)
    except pyramids.NotOffered as error:
        return not_applicable(str(error))
    return same(subject, final, subject.features, "forward_intermediates(x)[0]", "forward_features(x)")


@claim(
    group="pyramids",
    source=INTERMEDIATES_TEST,
    why="segmentation_models.pytorch, terratorch and anomalib size decoders by `feature_info` and fill them from "
    "`forward_intermediates` (smp timm_vit.py, terratorch torchgeo_resnet.py).",
    cost=Cost.RUN,
    tier=Tier.FULL,
    needs=("forward_features_runs",),
    repro="""
        maps = model.forward_intermediates(x, output_fmt="NCHW")[1]
        said = [one["num_chs"] for one in model.feature_info]
        print("maps are", describe(maps), "and feature_info says", said)
        if [one.shape[1] for one in maps] != said:
            sys.exit(1)
        try:
            model.forward_intermediates(x, output_fmt="NCHW", indices=[len(said)])
        except Exception as error:
            print("the index after the last is refused:", error)
        else:
            sys.exit("the index after the last is not refused")
        compare(model.forward_intermediates(x, output_fmt="NCHW", indices=[-1])[1], maps[-1:])
    """,
)
def intermediates_match_info(subject: Subject) -> Cell:
    """`forward_intermediates` gives a map for each entry of `feature_info`, as wide as it says; -1 is the last."""
    try:
        maps = pyramids.maps(subject)
    except pyramids.NotOffered as error:
        return not_applicable(str(error))
    said = [entry["num_chs"] for entry in pyramids.info(subject.headed)]
    given = [pyramids.channels(one) for one in maps.output]
    if given != said:
        return violated(f"forward_intermediates gives maps of {given} channels, feature_info says {said}")
    try:
        pyramids.chosen_maps(subject, [len(said)])
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  # timm asserts that it is in range
        last = with_output(subject, maps, maps.output[-1:])
        return same(subject, pyramids.chosen_maps(subject, [-1]), last, "index -1", "the last map")
    return violated(f"index {len(said)} of {len(said)} maps is not refused")


@claim(
    group="pyramids",
    source=FEATURES_TEST,
    why="DETR in transformers, segmentation_models.pytorch, EfficientDet and anomalib build their necks from the "
    "channels, reductions and module names of `feature_info` (modeling_detr.py, effdet/efficientdet.py, "
    "anomalib timm.py): a wrong entry is an error of shapes, or a layer that is not found.",
    cost=Cost.RUN,
    tier=Tier.FULL,
    needs=("forward_features_runs",),
    repro="""
        features = build(features_only=True)
        info = features.feature_info
        print("maps are", describe(features(x)), "and feature_info says", info.channels(), info.reduction())
        is_nhwc = "NHWC" in str(getattr(features, "output_fmt", "NCHW"))
        shapes = [one.permute(0, 3, 1, 2).shape if is_nhwc else one.shape for one in features(x)]
        missing = set(info.module_name()) - set(dict(model.named_modules()))
        sizes = [round(x.shape[2] / reduction) for reduction in info.reduction()]
        if missing or [one[1] for one in shapes] != info.channels() or [one[2] for one in shapes] != sizes:
            sys.exit(f"missing modules: {missing}; sizes should be {sizes}")
        last = len(info) - 1
        compare(build(features_only=True, out_indices=(-1,))(x), build(features_only=True, out_indices=(last,))(x))
    """,
)
def features_only_matches_info(subject: Subject) -> Cell:
    """Built with `features_only=True` the model gives maps of the channels, reductions and modules that it says.

    With `out_indices=(-1,)` it gives the last that there is (timm/models/_features.py: an int counts from the end), and
    an index beyond that is refused.
    """
    try:
        modules = pyramids.modules(subject)
    except pyramids.NotOffered as error:
        return not_applicable(str(error))
    known, untold = dict(subject.headed.named_modules()), None
    for place, module in enumerate(modules):
        if module not in known:
            return violated(f"feature_info says that level {place} comes from {module!r}, which is no module")
    for place, level in enumerate(pyramids.levels(subject)):
        if len(level.shape) != 4:
            return violated(f"level {place} is of shape {level.shape}, not a map")
        if level.shape[1] != level.channels:
            return violated(f"level {place} has {level.shape[1]} channels, feature_info says {level.channels}")
        if (is_right := pyramids.shrinks_as_said(subject, place)) is not True:
            said = (
                f"level {place} is {level.shape[2]} by {level.shape[3]} of images of "
                f"{' by '.join(map(str, subject.images.shape[2:]))} pixels, feature_info says a reduction of "
                f"{level.reduction:g}"
            )
            if is_right is False:
                return violated(said)
            untold = untold or undecided(f"{said}, and no other size is taken")
    found = _takes_indices(subject)
    return untold if untold is not None and found.verdict is Verdict.HOLDS else found


def _takes_indices(subject: Subject) -> Cell:
    beyond = len(pyramids.info(pyramids.features_only(subject)))
    given, last = (pyramids.chosen_levels(subject, place) for place in (-1, beyond - 1))
    if given != last:
        return violated(f"out_indices=(-1,) gives maps of shapes {given}, out_indices=({beyond - 1},) of shapes {last}")
    try:
        given = pyramids.chosen_levels(subject, beyond)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  # it is refused, however
        return holds(Evidence.OBSERVED)
    return violated(f"out_indices=({beyond},) is not refused where feature_info has {beyond} entries: it gives {given}")
