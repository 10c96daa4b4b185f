"""What is imported here breaks the process that decides: BETRAYAL says how, and of which worker if not of all."""

import os

import torch

from conformance.engine.ledger import Ledger


def by_shape(self, output):
    """Results of one shape have one number: a false proof wherever models differ in what they compute."""
    return self.values.intern("result", (tuple(output.shape),))


def refuse(*_, **__):
    raise RuntimeError("this TorchScript compiles nothing")


match os.environ.get("BETRAYAL", "").removesuffix(f" of {os.environ.get('PYTEST_XDIST_WORKER')}"):
    case "false proofs":
        Ledger.result = by_shape
    case "false accusations":
        torch.jit.script = refuse
