"""This module writes programs that show violations, for people who have torch and timm and nothing of this project."""

from __future__ import annotations

import textwrap

from conformance.claims.claim import Claim
from conformance.subject import CLASSES

PROGRAM = '''\
# {model} of timm {timm} breaks {claim}: prints what it finds and exits with 1.
{text}
import io
import sys
import zlib

import timm
import torch

NAME = {model!r}


def build(**arguments):
    """The model as float64, in eval mode, each weight drawn by its name: fresh weights hide much."""
    model = timm.create_model(NAME, **arguments).eval().double()
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_floating_point() and name in model.state_dict():
            torch.manual_seed(zlib.crc32(name.encode()))
            spread = (3 / max(1, tensor[0].numel())) ** 0.5 if tensor.ndim > 1 else 0.5
            tensor.uniform_(-spread, spread).add_(0 if tensor.ndim > 1 else 1)
    return model


def flat(output):
    if torch.is_tensor(output):
        return [output]
    return [tensor for part in (output.values() if isinstance(output, dict) else output) for tensor in flat(part)]


def describe(output):
    return str([tuple(tensor.shape) for tensor in flat(output)])


def compare(left, right):
    if describe(left) != describe(right):
        sys.exit(f"{{describe(left)}} is not {{describe(right)}}")
    errors = [((a - b).abs().max() / b.abs().max()).item() for a, b in zip(flat(left), flat(right))]
    print(f"relative error {{max(errors):.2g}}")
    sys.exit(max(errors) > 1e-6)


torch.set_grad_enabled(False)
model = build()
if not getattr(model, "num_classes", 0):
    model = build(num_classes={classes})
torch.manual_seed(1)
x = torch.randn(2, *model.default_cfg["input_size"], dtype=torch.float64)
{repro}
'''


def program(claim: Claim, model: str, timm: str) -> str:
    """A program that exits with 1 if the model breaks the claim, with 0 if it keeps it; `timm` is a version."""
    text = textwrap.fill(claim.text, 100, initial_indent="# ", subsequent_indent="# ")
    return PROGRAM.format(model=model, timm=timm, claim=claim.id, text=text, classes=CLASSES, repro=claim.repro)
