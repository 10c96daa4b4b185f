"""This module holds small modules that TorchScript compiles; it reads annotations as they stand in the source."""

import warnings

import torch
from torch import nn
from torch.nn import functional as F


class KeepsNothing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.linear(x)) * 2 + x
        return torch.sigmoid(x) * x


class Interpolates(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.interpolate(x, scale_factor=2.0)


class RefusesToCompile(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (lambda y: y + 1)(x)


class ChangesOwnList(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: list[torch.Tensor] = []
        for step in range(3):
            found.append(x + step)  # noqa: PERF401  # a list that is written to is what this is about
        found[0] = x
        named: dict[str, torch.Tensor] = {}
        named["sum"] = torch.stack(found).sum(0)
        return named["sum"]


class WritesToDict(nn.Module):
    kept: dict[str, torch.Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.kept = {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if "x" not in self.kept:
            self.kept["x"] = x
        return self.kept["x"]


class ChangesListOfSelf(nn.Module):
    kept: list[int]

    def __init__(self) -> None:
        super().__init__()
        self.kept = [0]

    def count(self, kept: list[int]) -> int:
        kept.append(1)
        return len(kept)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.count(self.kept)


class WritesToDictOfChild(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.child = WritesToDict()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.child(x)


def count(calls: dict[str, int]) -> int:
    calls["n"] = calls.get("n", 0) + 1
    return calls["n"]


class CallsHelperOnDict(nn.Module):
    calls: dict[str, int]

    def __init__(self) -> None:
        super().__init__()
        self.calls = {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * count(self.calls)


class AssignsAttribute(nn.Module):
    calls: int

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return x * self.calls


class WithBuffer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 4))
        self.child = nn.Linear(4, 4, bias=False)
        self.register_buffer("table", torch.ones(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.child(x @ self.weight) + self.table


class MarkedMethods(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.helper(x) * self.scale

    def helper(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1

    def never_called(self, x: torch.Tensor) -> torch.Tensor:
        return x - 1

    @torch.jit.export
    def exported(self, x: torch.Tensor) -> torch.Tensor:
        return x * 3

    @torch.jit.ignore
    def ignored(self, x: torch.Tensor) -> torch.Tensor:
        return x * 4

    @torch.jit.unused
    def unused(self, x: torch.Tensor) -> torch.Tensor:
        return x * 5

    @property
    def doubled(self) -> int:
        return self.scale * 2


class WithMarkedMethods(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.child = MarkedMethods()
        self.layers = nn.ModuleList([nn.ReLU()])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.child(x)


class IgnoredAttributes(MarkedMethods):
    __jit_ignored_attributes__ = ["never_called", "doubled"]  # noqa: RUF012  # as torch reads it


class ListsIgnoredAttributes(WithMarkedMethods):
    def __init__(self) -> None:
        super().__init__()
        self.child = IgnoredAttributes()


class Counter:
    def __init__(self) -> None:
        self.calls = 0

    def count(self) -> int:
        self.calls += 1
        return self.calls


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # torch.jit.script is deprecated
    torch.jit.script(Counter)
    count_compiled_before = torch.jit.script(count)


class CountsInObject(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.counter = Counter()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.counter.count()


class Shift:
    def __init__(self) -> None:
        self.by = 1.0


class MakesObject(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + Shift().by


class AddsZero(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x + 0) * 2


class CallsHelperCompiledBefore(CallsHelperOnDict):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * count_compiled_before(self.calls)


class AsksPython(nn.Module):
    @torch.jit.ignore
    def ask(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.ask(x)


class Layer(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pass


with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch.jit.interface(Layer)


class Doubles(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2


class UsesInterface(nn.Module):
    layer: Layer

    def __init__(self) -> None:
        super().__init__()
        self.layer = Doubles()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer.forward(x)
