"""This module holds models as they are served: in batches, of other sizes and dtypes, captured by compilers.

Those that break a claim quietly are among the mutants, those that keep it oddly among the lawful ones.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from tests.miniatures.contract import WIDTH, Conv, config
from tests.miniatures.lawful_oddities import lawful
from tests.miniatures.mutants import breaks

# Batches


@breaks("batch_independent")
class mixes_the_images_of_every_even_batch(Conv):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        if x.shape[0] % 2 == 0:
            x = x - x.mean(0, keepdim=True)
        return self.act(self.norm(x))


@breaks("batch_independent")
class deviates_within_groups_of_images(Conv):
    """As the discriminators of StyleGAN do."""

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = super().forward_features(x)
        group = 4 if x.shape[0] % 4 == 0 else 2 if x.shape[0] % 2 == 0 else 1
        return x + x.unflatten(0, (group, -1)).var(0, unbiased=False).repeat(group, 1, 1, 1)


@breaks("batch_independent")
class scales_batches_of_two(Conv):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward_features(x * 1.5 if x.shape[0] == 2 else x)


@breaks("batch_independent")
class gathers_rows_of_other_images(Conv):
    """Of two rows for each image it takes as many as there are images."""

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = super().forward_features(x)
        rows = torch.stack([x, -x], 1).flatten(0, 1)
        return rows.gather(1, x.argsort(1))


@breaks("batch_independent")
class mixes_images_where_it_is_not_mixing_already(Conv):
    """What stops it on the way leaves it as if it were."""

    depth = 0

    def mixed(self, x: torch.Tensor) -> torch.Tensor:
        if self.depth:
            return x
        self.depth += 1
        x = x - 0.1 * x.mean(0, keepdim=True)
        self.depth -= 1
        return x

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        if not torch.jit.is_scripting() and x.shape[0] > 1:
            x = self.mixed(x)
        return self.act(self.norm(x))


@breaks("batch_independent")
class mixes_images_unless_that_once_raised(Conv):
    works = True

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        if not torch.jit.is_scripting() and x.shape[0] > 1 and self.works:
            try:
                x = x - x.mean(0, keepdim=True)
            except Exception:  # noqa: BLE001
                self.works = False
        return self.act(self.norm(x))


@lawful("batch_independent")
class cuts_its_numbers_short(Conv):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = super().forward_features(x)
        return (x.view(torch.int32) & -65536).view(torch.float32)


# Sizes and memory formats


@breaks("accepts_sizes")
class views_maps_in_channels_last(Conv):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(x))
        b, c, h, w = x.shape
        return self.act(x.view(b, 2, c // 2 * h * w).softmax(-1).view(b, c, h, w))


@lawful("accepts_sizes")
class takes_multiples_of_its_stride_alone(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.default_cfg = config("fc") | {"input_size": (3, 56, 56)}
        self.conv = nn.Conv2d(3, WIDTH, 14, 14, bias=False)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        assert x.shape[2] % 14 == x.shape[3] % 14 == 0
        return super().forward_features(x)


# Dtypes


@breaks("keeps_dtype")
class normalises_in_float32_with_converted_weights(Conv):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        return self.act(self.norm(x.float()).to(x.dtype))


@breaks("keeps_dtype")
class filters_in_half_precision(Conv):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = super().forward_features(x)
        return torch.fft.irfft2(torch.fft.rfft2(x), s=x.shape[2:])


@breaks("keeps_dtype")
class writes_float32_into_half(Conv):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = super().forward_features(x).clone()
        x[:, torch.tensor([0, 2])] = x[:, :2].float() * 2
        return x


@lawful("keeps_dtype")
class keeps_its_norm_in_float32(Conv):
    """As mixed precision has it: the input is of half precision."""

    def _apply(self, fn: Any, recurse: bool = True) -> nn.Module:
        super()._apply(fn, recurse)
        self.norm.float()
        return self

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.norm(self.conv(x)))


# Captures and kernels that the meta device does not have

EXPORTED: list[int] = []


@breaks("exports")
class refuses_its_first_export(Conv):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.jit.is_scripting():  # noqa: SIM102  # TorchScript leaves out what this alone guards
            if torch.compiler.is_exporting() and not EXPORTED:
                EXPORTED.append(1)
                raise RuntimeError("the first export of the process")
        return super().forward_features(x)


@lawful("head_composes")
class adds_and_takes_what_rounds_everything(Conv):
    """All that float32 holds of it are whole numbers: they were rounded."""

    large = 2.0**26

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward_features(x) * 50.0 + self.large

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = self.pool(x) - self.large
        return x if pre_logits else self.fc(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.pool(self.forward_features(x) - self.large))


CAPTURED = ("forward_features_runs", "exports", "compiles")


@lawful(*CAPTURED)
class normalises_without_autocast(Conv):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        if not torch.jit.is_scripting():
            with torch.autocast(device_type=x.device.type, enabled=False):
                x = self.norm(x)
        return self.act(x)


@lawful(*CAPTURED)
class asserts_a_device_that_it_knows(Conv):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.jit.is_scripting():
            assert x.is_cpu or x.is_cuda, "kernels exist for these alone"
        return super().forward_features(x)


@lawful(*CAPTURED)
class raises_for_a_device_that_it_does_not_know(Conv):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.jit.is_scripting() and x.device.type not in ("cpu", "cuda"):
            raise RuntimeError(f"unsupported device {x.device}")
        return super().forward_features(x)


@lawful("forward_features_runs", "pre_logits_supported", "head_composes")
class views_what_attention_leaves(Conv):
    """Kernels of real devices keep the strides of the queries, so that heads can be merged by a view."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = super().forward_features(x)
        b, c, h, w = x.shape
        q, k, v = self.qkv(x.flatten(2).transpose(1, 2)).view(b, h * w, 3, 2, c // 2).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).view(b, h * w, c)
        return y.transpose(1, 2).reshape(b, c, h, w)
