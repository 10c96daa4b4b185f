"""This module declares the property claims: determinism, use of parameters, dtypes, batches, sizes of images."""

from __future__ import annotations

import functools
import math
from dataclasses import asdict

import torch

from conformance.claims.claim import Cost, claim, holds, is_unprovable, undecided, unprovable, violated
from conformance.claims.equality import describe, same, same_function
from conformance.claims.examples import MOST_IMAGES, of_every
from conformance.engine.measure import distance
from conformance.engine.sliced import NotApart
from conformance.record import Cell, Evidence, Level, Tier, Verdict
from conformance.subject import RealSubject, Subject, batches, usage
from conformance.subject.passes import tensors_of
from conformance.subject.real import RealPass
from conformance.subject.samples import Sample, sizes

CHOSEN = 5
"""Batches that are chosen of a model that takes images of many sizes, besides those that it names."""
MEASURED = 2
"""Batches that are chosen where each is computed on real numbers."""


@claim(
    group="properties",
    source="PyTorch documentation: torch.nn.Module.eval",
    why="PyTorch's benchmarks run the eager model twice and give up on one that differs (dynamobench common.py: "
    "`eager_two_runs_differ`), as do the common tests of transformers; an index of embeddings finds nothing "
    "again.",
    cost=Cost.RUN,
    needs=("forward_features_runs",),
    repro="compare(model(x), model(x))",
)
def deterministic_in_eval(subject: Subject) -> Cell:
    """In eval mode the same input gives the same output."""
    for earlier in subject.earlier_passes():
        if earlier.depends_on_calls_before:
            return unprovable(earlier.depends_on_calls_before)
    first, again = subject.forward, subject.forward_again
    cell = same(subject, first, again, "model(x)", "model(x) again")
    if cell.verdict is Verdict.UNDECIDED and isinstance(first, RealPass) and isinstance(again, RealPass):
        # Both are as they are, without other rounding errors put into either: equal calls round equally.
        error = distance(again.as_given, first.as_given)
        if error > math.sqrt(torch.finfo(subject.dtype).eps):
            error = float(f"{error:.2g}")
            return violated(
                f"model(x) and model(x) again differ by {error:g} times the output's size",
                Evidence.MEASURED,
                max_relative_error=error,
            )
    return cell


@claim(
    group="properties",
    source="PyTorch documentation: DistributedDataParallel, find_unused_parameters",
    why="DeiT's and timm's training scripts wrap the model in DistributedDataParallel without "
    "`find_unused_parameters` (its main.py, timm/task/classification.py): a parameter without a gradient "
    "stops training on several GPUs.",
    cost=Cost.RUN,
    needs=("forward_features_runs",),
    repro="""
        with torch.enable_grad():
            sum(tensor.sum() for tensor in flat(model(x))).backward()
        unused = [name for name, tensor in model.named_parameters() if tensor.requires_grad and tensor.grad is None]
        print("without a gradient:", unused)
        sys.exit(bool(unused))
    """,
)
def uses_all_parameters(subject: Subject) -> Cell:
    """Every trainable parameter takes part in the output, without which DistributedDataParallel stumbles."""
    forward = subject.forward
    if forward.unprovable:
        return unprovable(forward.unprovable[0])
    unused = usage.unused_parameters(subject)
    if not unused:
        return holds(Evidence.MEASURED if subject.measures else Evidence.PROVED)
    shown = ", ".join(unused[:3]) + (f" and {len(unused) - 3} more" if len(unused) > 3 else "")
    return violated(f"no gradient of the output reaches {shown}", unused=unused)


@claim(
    group="properties",
    source="timm tests/test_models.py::_assert_dtype_change_after_forward",
    why="open_clip, Torch-TensorRT and ExecuTorch cast the whole model to float16 or bfloat16 and feed it the "
    "same (open_clip factory.py, executorch backends/arm tests): a layer left in float32 fails (intel/torch-xpu-ops "
    "issue #2599).",
    cost=Cost.RUN,
    needs=("forward_features_runs",),
    repro="""
        def keeps(dtype):
            ran = copy.deepcopy(model).float()
            ran(x.float())
            output = ran.to(dtype)(x.to(dtype))
            print("in", dtype, "the model gives", describe(output), [tensor.dtype for tensor in flat(output)])
            return all(tensor.dtype == dtype for tensor in flat(output))

        sys.exit(not all([keeps(torch.bfloat16), keeps(torch.float16)]))
    """,
)
def keeps_dtype(subject: Subject) -> Cell:
    """Converted to bfloat16 or float16 after it has run, a model takes images of that dtype and gives outputs of it."""
    for dtype in (torch.bfloat16, torch.float16):
        name = str(dtype).removeprefix("torch.")
        output = usage.output_in(subject, dtype)
        if not tensors_of(output):
            return undecided(f"converted to {name} the model gives {describe(output)}, no tensor")
        if any(tensor.dtype != dtype for tensor in tensors_of(output)):
            return violated(f"converted to {name} the model gives {describe(output)}")
    return holds(Evidence.OBSERVED)


@claim(
    group="properties",
    source="served in batches by whoever uses it; PyTorch documentation: torch.nn.Module.eval",
    why="AutoGluon puts the images of all rows into one batch, with padding that is masked afterwards, and Prov-"
    "GigaPath embeds tiles of slides by the batch (autogluon timm_image.py, gigapath pipeline.py): where "
    "images meet, results depend on their neighbours.",
    cost=Cost.RUN,
    level=Level.SHOULD,
    tier=Tier.FULL,
    needs=("forward_features_runs",),
    repro="""
        x = torch.randn(12, *x.shape[1:], dtype=x.dtype)
        alone, pairs = ([flat(model(part)) for part in x.split(count)] for count in (1, 2))
        alone, pairs = ([torch.cat(parts) for parts in zip(*given)] for given in (alone, pairs))
        compare(pairs + flat(model(x)), alone * 2)
    """,
)
def batch_independent(subject: Subject) -> Cell:
    """What a model gives for an image depends neither on the other images of the batch nor on how many there are.

    Proved for batches of 1, 2, 12 and 43 images; a branch on another number goes unseen.
    """
    if isinstance(subject, RealSubject):
        named = [Sample(images, *subject.input_size[1:]) for images in (2, MOST_IMAGES)]
        decide = functools.partial(_gives_each_its_own, subject)
        return of_every(sizes(subject), named, decide, fewest_images=2, chosen=MEASURED, evidence=Evidence.MEASURED)
    alone = batches.alone(subject)
    for count in batches.COUNTS:
        what = f"what model(x) gives for one of {count} images"
        try:
            among = batches.among(subject, count)
        except NotApart as why:
            return undecided(f"{what} could not be told from the rest: {why}")
        cell = same_function(subject, among, alone, what, "for it alone")
        if cell.verdict is not Verdict.HOLDS:
            # What is of one image was guessed here and there: real numbers accuse, if they do.
            return cell if is_unprovable(cell) else undecided(str(cell.reason))
    return holds(Evidence.PROVED)


def _gives_each_its_own(subject: RealSubject, sample: Sample) -> Cell:
    model, images = subject.headed, sample.images(subject)

    def one_by_one() -> list[torch.Tensor]:
        given = [tensors_of(model(images[place : place + 1])) for place in range(sample.batch)]
        return [torch.cat(parts) for parts in zip(*given, strict=True)]

    together = subject.run(lambda: tensors_of(model(images)), model)
    apart = subject.run(one_by_one, model)
    return same(subject, together, apart, f"{sample} together", "one by one")


@claim(
    group="properties",
    source="timm default_cfg: input_size, test_input_size, min_input_size, fixed_input_size",
    why="PyTorch's benchmarks, NNCF and Model-Optimizer make their inputs of the declared `input_size`, and "
    "AutoGluon takes `test_input_size` as leave for other sizes (torchbenchmark timm_config.py, autogluon "
    "timm_image.py).",
    cost=Cost.RUN,
    level=Level.SHOULD,
    tier=Tier.FULL,
    needs=("forward_features_runs",),
    repro="""
        x = torch.randn(SAMPLE["batch"], x.shape[1], SAMPLE["height"], SAMPLE["width"]).to(x)
        if SAMPLE["channels_last"]:
            x = x.contiguous(memory_format=torch.channels_last)
        print("given", tuple(x.shape), "the model gives", describe(model(x)))
        sys.exit(any(len(tensor) != len(x) for tensor in flat(model(x))))
    """,
)
def accepts_sizes(subject: Subject) -> Cell:
    """The model takes images of the sizes that its default_cfg declares, one or several, in either memory format."""
    declared = sizes(subject)
    named = [Sample(batch, *size) for size in declared.named for batch in (1, 2)]
    decide = functools.partial(_takes, subject)
    chosen = len(declared.named) * 2 if declared.is_fixed else CHOSEN
    return of_every(declared, named, decide, chosen=chosen, evidence=Evidence.OBSERVED)


def _takes(subject: Subject, sample: Sample) -> Cell:
    # A model of its own for each: what it keeps of one size must not meet the next.
    model, images = subject.another(), sample.images(subject)
    output = subject.look(lambda: model(images))
    given = tensors_of(output)
    if given and all(tensor.dim() and len(tensor) == sample.batch for tensor in given):
        return holds(Evidence.OBSERVED)
    return violated(f"given {sample} the model gives {describe(output)}", sample=asdict(sample))
