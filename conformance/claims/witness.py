"""This module writes programs that show violations, for people who have torch and timm and nothing of this project."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from conformance.claims.claim import Claim
from conformance.record import printable
from conformance.subject import CLASSES

PROGRAM = '''\
# {title} of timm {timm} breaks {claim}: prints what it finds and exits with 1.
{text}
import copy
import io
import sys
import zlib

import timm
import torch
{imports}
NAME = {model!r}
DTYPE = torch.float64


def build(**arguments):
    """The model as DTYPE, in eval mode, each weight drawn by its name: fresh weights hide much."""
    model = timm.create_model(NAME, **arguments).to(DTYPE)
    parameters = dict(model.named_parameters(remove_duplicate=False))
    drawn = set()
    for name, tensor in model.state_dict().items():
        is_square = tensor.ndim == 2 and tensor.shape[0] == tensor.shape[1]
        hides = (tensor == 0).all() or (tensor == 1).all() or is_square and (tensor == torch.eye(len(tensor))).all()
        is_constant = name not in parameters and not hides
        if tensor.is_floating_point() and not is_constant and tensor.data_ptr() not in drawn:
            drawn.add(tensor.data_ptr())  # tied weights stay tied
            torch.manual_seed(zlib.crc32(name.encode()))
            spread = (3 / max(1, tensor[0].numel())) ** 0.5 if tensor.ndim > 1 else 0.5
            tensor.uniform_(-spread, spread).add_(0 if tensor.ndim > 1 else 1)
            if tensor.ndim == 1 and name in parameters:
                tensor.mul_(1 - 2 * (torch.rand(len(tensor)) < 0.25))  # trained gains have either sign
    model.eval()
    return model


def flat(output):
    if torch.is_tensor(output):
        return [output]
    if isinstance(output, dict):
        output = [output[key] for key in sorted(output)]
    return [tensor for part in output for tensor in flat(part)] if isinstance(output, (list, tuple)) else []


def describe(output):
    shapes = [tuple(tensor.shape) for tensor in flat(output)]
    return f"{{sorted(output)}} of {{shapes}}" if isinstance(output, dict) else str(shapes)


def compare(left, right):
    if describe(left) != describe(right):
        sys.exit(f"{{describe(left)}} is not {{describe(right)}}")
    errors, details = [], []
    for a, b in zip(flat(left), flat(right)):
        errors.append(((a - b).abs().max() / b.abs().max()).item())
        size = b.abs()
        usual = size[size > 0].median() if (size > 0).any() else 1
        details.append(((a - b).abs() / size.clamp(min=usual)).max().item())
    print(f"relative error {{max(errors):.2g}}")
    if max(details) > 100 * max(errors):
        print(f"of elements that larger ones hide {{max(details):.2g}}")
    sys.exit(not max(details) <= (1e-9 if DTYPE == torch.float64 else 1e-3))


def begin():
    model = build()
    if not getattr(model, "num_classes", 0):
        model = build(num_classes={classes})
    torch.manual_seed(1)
    x = torch.randn(2, *model.default_cfg["input_size"], dtype=DTYPE)
    return model, x * torch.tensor([1, 2], dtype=DTYPE).reshape(2, 1, 1, 1)  # one has more contrast


torch.set_grad_enabled(False)
model, x = begin()
try:
    model(x)
except RuntimeError as error:
    if "dtype" in str(error) or "Float" in str(error):  # it is made for float32
        DTYPE = torch.float32
        model, x = begin()
except Exception:
    pass  # shown below
{sample}{repro}
'''


DECLARED = "dict(batch=len(x), height=x.shape[2], width=x.shape[3], channels_last=False)"
"""The images that a program tries where nothing says which to try."""


def program(
    claim: Claim,
    model: str,
    timm: str,
    imports: Iterable[str] = (),
    witness: Mapping[str, Any] | None = None,
) -> str:
    """A program that exits with 1 if the model breaks the claim, with 0 if it keeps it; `timm` is a version.

    `imports` are modules that register models with timm; `witness` is that of the violated cell, which says what
    images show it where not all do.
    """
    found = (witness or {}).get("sample")
    sample = f"SAMPLE = {DECLARED if found is None else repr(found)}\n" if "SAMPLE" in claim.repro else ""
    text = textwrap.fill(claim.text, 100, initial_indent="# ", subsequent_indent="# ")
    lines = "".join(f"import {module}  # registers models\n" for module in imports)
    return PROGRAM.format(
        title=printable(model),  # one line, so that what follows is this module's
        model=model,
        timm=printable(timm),
        claim=claim.id,
        text=text,
        classes=CLASSES,
        sample=sample,
        repro=claim.repro,
        imports=lines,
    )
