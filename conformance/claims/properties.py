"""This module declares the property claims: determinism, use of parameters, dtypes."""

from __future__ import annotations

import torch

from conformance.claims.claim import claim, holds, undecided, unprovable, violated
from conformance.claims.equality import describe, same
from conformance.record import Cell, Evidence
from conformance.subject import Subject, usage
from conformance.subject.passes import tensors_of


@claim(
    group="properties",
    source="PyTorch documentation: torch.nn.Module.eval",
    needs=("forward_features_runs",),
    repro="compare(model(x), model(x))",
)
def deterministic_in_eval(subject: Subject) -> Cell:
    """In eval mode the same input gives the same output."""
    for earlier in subject.earlier_passes():
        if earlier.depends_on_calls_before:
            return unprovable(earlier.depends_on_calls_before)
    return same(subject, subject.forward, subject.forward_again, "model(x)", "model(x) again")


@claim(
    group="properties",
    source="PyTorch documentation: DistributedDataParallel, find_unused_parameters",
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
    needs=("forward_features_runs",),
    repro="""
        model.float()(x.float())
        output = model.bfloat16()(x.bfloat16())
        print("in bfloat16 the model gives", describe(output), [tensor.dtype for tensor in flat(output)])
        sys.exit(any(tensor.dtype != torch.bfloat16 for tensor in flat(output)))
    """,
)
def keeps_dtype(subject: Subject) -> Cell:
    """A model converted to bfloat16 after it has run takes bfloat16 images and gives bfloat16 outputs."""
    output = usage.output_in(subject, torch.bfloat16)
    if not tensors_of(output):
        return undecided(f"converted to bfloat16 the model gives {describe(output)}, no tensor")
    if any(tensor.dtype != torch.bfloat16 for tensor in tensors_of(output)):
        return violated(f"converted to bfloat16 the model gives {describe(output)}")
    return holds(Evidence.OBSERVED)
