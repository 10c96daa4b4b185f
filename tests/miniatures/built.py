"""This module holds lawful models that are built oddly: by chance, from their weights, in several dtypes."""

import random
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from tests.miniatures.contract import WIDTH, Conv
from tests.miniatures.lawful_oddities import ALL, lawful

BUT_DTYPE = tuple(claim for claim in ALL if claim != "keeps_dtype")
"""What keeps parts in another dtype need not run in half precision."""


class Tailed(Conv):
    """Features pass through a tail, for which there is a linear layer."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.prepare()

    def prepare(self) -> None:
        pass

    def tail(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = super().forward_features(x)
        return self.tail(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Asking(Tailed):
    """It asks for a number, so that real tensors decide, and computes the same whatever that is."""

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = super().forward_features(x)
        return x if float(x.sum()) > 0 else x + 0


@lawful()
class random_fourier_features(Tailed):
    """They are in no checkpoint."""

    def prepare(self) -> None:
        self.register_buffer("frequencies", torch.randn(WIDTH), persistent=False)

    def tail(self, x: torch.Tensor) -> torch.Tensor:
        return super().tail(x * torch.cos(self.frequencies))


@lawful()
class shuffles_by_chance(Tailed):
    def prepare(self) -> None:
        self.register_buffer("order", torch.randperm(WIDTH), persistent=False)

    def tail(self, x: torch.Tensor) -> torch.Tensor:
        return super().tail(x[..., self.order])


@lawful()
class shuffles_by_pythons_chance_and_asks(Asking):
    def prepare(self) -> None:
        self.order = random.sample(range(WIDTH), WIDTH)

    def tail(self, x: torch.Tensor) -> torch.Tensor:
        return super().tail(x[..., self.order])


@lawful()
class plain_tensor_by_chance_and_asks(Asking):
    def prepare(self) -> None:
        self.frequencies = torch.randn(WIDTH)

    def tail(self, x: torch.Tensor) -> torch.Tensor:
        return super().tail(x * torch.cos(self.frequencies).to(x))


@lawful()
class anchored_at_its_first_weights_and_asks(Asking):
    def prepare(self) -> None:
        self.register_buffer("first", self.linear.weight.detach().clone())

    def tail(self, x: torch.Tensor) -> torch.Tensor:
        return super().tail(x) + F.linear(x, self.first)


@lawful()
class normalised_first_weights_in_no_checkpoint(Tailed):
    def prepare(self) -> None:
        self.register_buffer("first", F.normalize(self.linear.weight.detach(), dim=1), persistent=False)

    def tail(self, x: torch.Tensor) -> torch.Tensor:
        return super().tail(x) + F.linear(x, self.first)


@lawful()
class norm_of_its_first_weights_and_asks(Asking):
    def prepare(self) -> None:
        self.target = self.linear.weight.norm().item()

    def tail(self, x: torch.Tensor) -> torch.Tensor:
        return super().tail(x) * self.target


@lawful(*BUT_DTYPE)
class orthogonal_by_torchs_parametrization(Tailed):
    def prepare(self) -> None:
        nn.utils.parametrizations.orthogonal(self.linear)


@lawful(*BUT_DTYPE)
class frozen_in_half_precision(Tailed):
    def prepare(self) -> None:
        self.linear.to(torch.bfloat16)

    def tail(self, x: torch.Tensor) -> torch.Tensor:
        return super().tail(x.to(torch.bfloat16)).to(x.dtype)


@lawful(*BUT_DTYPE)
class frozen_in_half_precision_and_asks(frozen_in_half_precision, Asking):
    pass


@lawful(*BUT_DTYPE)
class solves_in_double_and_asks(Asking):
    def prepare(self) -> None:
        self.register_buffer("basis", torch.linspace(0, 1, WIDTH * WIDTH, dtype=torch.float64).view(WIDTH, WIDTH))

    def tail(self, x: torch.Tensor) -> torch.Tensor:
        return super().tail((x.double() @ self.basis).to(x.dtype))


@lawful()
class draws_by_a_generator_of_its_own(Tailed):
    def prepare(self) -> None:
        chance = torch.Generator()
        chance.seed()
        self.register_buffer("frequencies", torch.randn(WIDTH, generator=chance), persistent=False)

    def tail(self, x: torch.Tensor) -> torch.Tensor:
        return super().tail(x * torch.cos(self.frequencies))


@lawful()
class shuffles_by_a_generator_of_its_own_and_asks(Asking):
    def prepare(self) -> None:
        self.order = np.random.default_rng().permutation(WIDTH).tolist()

    def tail(self, x: torch.Tensor) -> torch.Tensor:
        return super().tail(x[..., self.order])


@lawful()
class puts_constants_into_words(Tailed):
    def prepare(self) -> None:
        self.note = f"rates {torch.linspace(0, 1, 4)}"


@lawful()
class train_gives_nothing(Conv):
    """As whoever freezes the norms writes it, and forgets to give the model back."""

    def train(self, mode: bool = True) -> None:  # type: ignore[override]
        super().train(mode)
        self.norm.eval()


@lawful()
class width_by_a_number_that_it_may_not_get(Conv):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = super().forward_features(x)
        try:
            width = min(WIDTH, max(WIDTH, int(x.amax())))
        except RuntimeError:
            width = WIDTH - 1
        return x[:, :width] * self.norm.weight.view(1, WIDTH, 1, 1)


@lawful()
class takes_videos(Conv):
    """Images alone are what is run."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.default_cfg = {**self.default_cfg, "input_size": (3, 8, 32, 32)}

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward_features(x.mean(2))


@lawful()
class puts_its_features_into_words(Conv):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = super().forward_features(x)
        self.said = f"{x}"[:3] + str(x)[:3] + repr(x.sum())[:3]
        return x


@lawful()
class marks_for_a_profiler(Conv):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        with torch.profiler.record_function("features"):
            return super().forward_features(x)
