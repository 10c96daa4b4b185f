"""Programs as source text that Python, TorchScript and `torch.export` read alike, one line for each step.

A step is four small whole numbers: which line, on which registers, and with which constant. Lines that cannot be run
(sizes that do not fit, a kernel that is not there) are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from tests.engine.programs import LEAVES, MOST_ELEMENTS, Step

CONSTANTS = ("2", "2.0", "-1", "0.5", "0.0", "-0.0", "1", "1.5", "3")

EXPRESSIONS = (
    # computing
    "{x} + {y}",
    "{x} - {y}",
    "{x} * {y}",
    "{x} / {y}",
    "{x} + {c}",
    "{c} + {x}",
    "{x} - {c}",
    "{c} - {x}",
    "{x} * {c}",
    "{x} / {c}",
    "{c} / {x}",
    "-{x}",
    "-{x} + {c}",
    "-{x}.t() + {c}",
    "{x} ** 2",
    "torch.add({x}, {y}, alpha={c})",
    "torch.sub({x}, {y}, alpha={c})",
    "({x} + {x}) / 2",
    "({x} + {y}) / 2",
    "({x} + {x}) * 0.5",
    "({x} + {x}) * {c}",
    "{x}.relu()",
    "{x}.sigmoid()",
    "{x}.abs()",
    "{x}.clamp(min={c})",
    "torch.maximum({x}, {y})",
    "torch.where({x} > {y}, {x}, {y})",
    "{x}.masked_fill({y} > 0, {c})",
    "torch.softmax({x}, {d})",
    "torch.layer_norm({x}, [{x}.size(-1)], None, None, {e})",
    "{x}.tanh()",
    "{x} @ {y}.t()",
    "torch.mm({x}, {y})",
    "torch.addmm({x}, {x}, {y})",
    # reducing
    "{x}.sum({d})",
    "{x}.sum({d}, keepdim=True)",
    "{x}.mean({d})",
    "{x}.mean({d}, keepdim=True)",
    "{x}.amax({d})",
    "{x}.norm(2, {d})",
    "{x}.var({d})",
    "{x}.max({d})[0]",
    "{x}.sort({d})[1]",
    "{x}.cumsum({d})",
    # sizes
    "{x} * {y}.size(0)",
    "{x} + {y}.numel()",
    "{x} / ({y}.shape[0] * 2)",
    "{x} * ({y}.shape[0] // 2)",
    "{x} * {y}.shape[0] ** -0.5",
    "{x}.reshape({x}.shape[0], -1)",
    # putting together and taking apart
    "torch.cat([{x}, {y}], {d})",
    "torch.cat([torch.cat([{x}, {y}], {d}), {x}], {d})",
    "torch.stack([{x}, {y}], {d})",
    "{x}.chunk(2, {d})[1]",
    "{x}.split(1, {d})[0]",
    "{x}.unbind(0)[0]",
    "{x}.flip(0)",
    "torch.roll({x}, 1, 0)",
    "{x}.index_select(0, torch.arange(2, device={x}.device))",
    # looking
    "{x}.t()",
    "{x}.transpose(0, {d})",
    "{x}.reshape(-1, {k})",
    "{x}.view(-1)",
    "{x}.flatten()",
    "{x}[{i}:]",
    "{x}[::2]",
    "{x}[:, {i}]",
    "{x}[..., ::2]",
    "{x}.unsqueeze({d})",
    "{x}.squeeze()",
    "{x}.unsqueeze(0).expand(2, -1, -1)",
    "{x}.as_strided([2, 3], [1, 1], {i})",
    "{x}.detach()",
    # copying
    "{x}.clone()",
    "{x}.contiguous()",
    "{x}.to(torch.float64)",
    "{x}.half()",
    "{x}.float()",
    # making
    "torch.zeros_like({x})",
    "torch.zeros([2, 3], device={x}.device)",
    "torch.ones([2, 3], device={x}.device)",
    "torch.full([2, 3], {c}, device={x}.device)",
    "torch.arange(6, device={x}.device).reshape(2, 3)",
    "torch.rand_like({x})",
    "torch.empty_like({x})",
    "{x} if {x}.dim() > 1 else {y}",
)
STATEMENTS = (
    "{x}.add_({y})",
    "{x}.mul_({c})",
    "{x}.relu_()",
    "{x}.zero_()",
    "{x}.copy_({y})",
    "{x}.fill_({c})",
    "{x}[{i}:].mul_({c})",
    "{x}[::2].zero_()",
    "{x}[:, {i}] = {y}[:, 0]",
    "{x}.transpose(0, 1).add_({c})",
    "{x}.as_strided([2, 3], [3, 1], {i}).add_({c})",
    "{x} += {y}",
    "{x} *= {c}",
)
LINES = (*EXPRESSIONS, *STATEMENTS)

Program = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], list[torch.Tensor]]


def line(step: Step, registers: Sequence[str]) -> tuple[str, bool]:
    """The step's text without what it is assigned to, and whether it makes a register."""
    which, left, right, number = step
    text = LINES[which % len(LINES)]
    filled = text.format(
        x=registers[left % len(registers)],
        y=registers[right % len(registers)],
        c=CONSTANTS[number % len(CONSTANTS)],
        d=number % 2,
        e=(1e-5, 1e-6)[number % 2],
        i=number // 2 % 3,
        k=(2, 3, 6)[number % 3],
    )
    return filled, text in EXPRESSIONS


def written(program: Sequence[Step], leaves: Sequence[torch.Tensor]) -> str:
    """The source of a function of the leaves that gives all registers, of the steps that can be run on these leaves.

    The leaves may be written to.
    """
    registers = dict(zip(LEAVES, leaves, strict=True))
    lines = [f"def f({', '.join(f'{name}: torch.Tensor' for name in LEAVES)}) -> list[torch.Tensor]:"]
    for step in program:
        text, makes = line(step, tuple(registers))
        name = f"r{len(registers)}"
        scope = {"torch": torch, **registers}
        try:
            exec(f"{name} = {text}" if makes else text, scope)
        except Exception:  # noqa: BLE001  # whatever torch says to sizes that do not fit
            continue
        if not makes:
            registers = {known: scope[known] for known in registers}
            lines.append(f"    {text}")
        elif scope[name].numel() <= MOST_ELEMENTS:
            registers[name] = scope[name]
            lines.append(f"    {name} = {text}")
    return "\n".join([*lines, f"    return [{', '.join(registers)}]", ""])


def in_python(source: str) -> Program:
    """The function as Python runs it."""
    scope: dict[str, object] = {"torch": torch}
    exec(source, scope)
    return scope["f"]  # type: ignore[return-value]  # what the source defines


def in_torchscript(source: str) -> Program:
    """The function as TorchScript compiles it.

    Raises:
        RuntimeError: It does not.
    """
    spelled = source.replace("list[torch.Tensor]", "List[Tensor]").replace(": torch.Tensor", ": Tensor")
    return torch.jit.CompilationUnit(spelled).f  # type: ignore[no-any-return]  # what the source defines


class Whole(torch.nn.Module):
    """The function as a module, which `torch.export` asks for."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.f = in_python(source)

    def forward(self, x: torch.Tensor, y: torch.Tensor, w: torch.Tensor, q: torch.Tensor) -> list[torch.Tensor]:
        return self.f(x, y, w, q)
