"""This module lists other ways to write a lawful model: what each computes is the same, and none may be accused."""

from __future__ import annotations

import ast
from collections.abc import Callable

from tests.mutation.edits import (
    EAGER,
    Edit,
    Operator,
    Put,
    Rewritten,
    calls,
    exporting,
    headed,
    keyword,
    methods,
    scripting,
    texts,
    training,
    when,
)
from tests.mutation.operators import has_batch_norm
from tests.mutation.shapes import Shape

EQUIVALENTS: list[Operator] = []


def rewritten(name: str, *edits: Edit, **rest: object) -> None:
    is_always_tried = len(EQUIVALENTS) % 3 == 0
    EQUIVALENTS.append(Operator(name, None, edits, is_always_tried=is_always_tried, **rest))  # type: ignore[arg-type]  # as Operator says


def reads(name: str, site: str, old: str, new: str) -> None:
    """What reads so at the site reads otherwise."""
    rewritten(name, Rewritten(site, texts(old, new)))


# Sums, means and averages

reads("mean_as_a_sum_by_its_count", "forward.pool", "x.mean((2, 3))", "x.sum((2, 3)) / (x.shape[2] * x.shape[3])")
reads("mean_as_a_sum_by_its_count_last", "forward.pool", "x.mean((1, 2))", "x.sum((1, 2)) / (x.shape[1] * x.shape[2])")
reads("mean_of_one_side_after_the_other", "forward.pool", "x.mean((2, 3))", "x.mean(3).mean(2)")
reads("mean_of_places_in_a_row", "forward.pool", "x.mean((2, 3))", "x.flatten(2).mean(-1)")
reads("mean_by_adaptive_pooling", "forward.pool", "x.mean((2, 3))", "F.adaptive_avg_pool2d(x, 1).flatten(1)")
reads("mean_by_a_product", "forward.pool", "x.mean((2, 3))",
      "(x.flatten(2) @ torch.full((x.shape[2] * x.shape[3], 1), 1.0 / (x.shape[2] * x.shape[3]), "
      "device=x.device, dtype=x.dtype)).squeeze(-1)")  # fmt: skip
reads("half_of_a_sum", "forward.pool", "(x[:, 0] + x[:, 1]) / 2", "0.5 * (x[:, 0] + x[:, 1])")
reads("a_sum_of_halves", "forward.pool", "(x[:, 0] + x[:, 1]) / 2", "x[:, 0] / 2 + x[:, 1] / 2")
reads("a_mean_of_two_tokens", "forward.pool", "(x[:, 0] + x[:, 1]) / 2", "x[:, :2].mean(1)")
reads("heads_the_other_way_round", "forward.logits", "(self.head(x) + self.head_dist(x)) / 2",
      "(self.head_dist(x) + self.head(x)) / 2")  # fmt: skip
reads("heads_stacked", "logits", "(self.head(x) + self.head_dist(x)) / 2",
      "torch.stack([self.head(x), self.head_dist(x)]).mean(0)")  # fmt: skip
reads("a_residual_the_other_way_round", "forward.stage", "x + F.max_pool2d(x, 3, 1, 1)", "F.max_pool2d(x, 3, 1, 1) + x")

# Shapes and memory

reads("first_token_by_select", "forward.pool", "x[:, 0]", "x.select(1, 0)")
reads("first_token_by_a_slice", "forward.pool", "x[:, 0]", "x[:, :1].squeeze(1)")
reads("split_instead_of_chunk", "forward.logits", "x.chunk(2, 1)", "x.split(4, 1)")
reads("slices_instead_of_chunk", "forward.logits", "x.chunk(2, 1)", "(x[:, :4], x[:, 4:])")
reads(
    "reshape_instead_of_flatten", "forward.stem", "self.conv(x).flatten(2)", "self.conv(x).reshape(x.shape[0], 8, 16)"
)
rewritten("permute_made_contiguous", Rewritten("forward.stem", texts("self.conv(x).permute(0, 2, 3, 1)",
          "self.conv(x).permute(0, 2, 3, 1).contiguous()")))  # fmt: skip
rewritten("movedim_instead_of_permute", Rewritten("forward.stem", texts("self.conv(x).permute(0, 2, 3, 1)",
          "self.conv(x).movedim(1, -1)")))  # fmt: skip
rewritten("swapaxes_instead_of_transpose", Rewritten("forward.stage", methods("transpose", "swapaxes")))
rewritten("view_instead_of_reshape", Rewritten("forward.stage", lambda node: None if "qkv" not in ast.unparse(node)
          else methods("reshape", "view")(node)))  # fmt: skip
rewritten("repeat_instead_of_expand", Rewritten("forward.stem", texts("self.cls_token.expand(x.shape[0], -1, -1)",
          "self.cls_token.repeat(x.shape[0], 1, 1)")))  # fmt: skip

# Modules as functions

for module, site in (("last", "forward.stage"), ("fc_norm", "forward.pool")):
    rewritten(
        f"layer_norm_of_{module}_as_a_function",
        Rewritten(site, calls(module, f"F.layer_norm(given, (8,), self.{module}.weight, self.{module}.bias, 1e-5)")),
        shapes=lambda shape: not has_batch_norm(shape),
    )
rewritten(
    "batch_norm_as_a_function",
    Rewritten(
        "forward.stage",
        calls(
            "last",
            "F.batch_norm(given, self.last.running_mean, self.last.running_var, self.last.weight, self.last.bias, "
            "False, 0.1, 1e-5)",
        ),
    ),
    shapes=has_batch_norm,
)
rewritten(
    "batch_norm_by_hand",
    Rewritten(
        "forward.stage",
        calls(
            "last",
            "given * (self.last.weight / (self.last.running_var + 1e-5).sqrt())[:, None, None] + (self.last.bias - "
            "self.last.running_mean * self.last.weight / (self.last.running_var + 1e-5).sqrt())[:, None, None]",
        ),
    ),
    shapes=has_batch_norm,
)


def acts_by(kind: str) -> Callable[[Shape], bool]:
    return lambda shape: f"nn.{kind}()" in shape.parts


for kind, name, text, sites in (
    ("ReLU", "relu_in_place", "F.relu_(given)", ("forward.stem", "forward.pool")),
    ("ReLU", "relu_by_clamp", "given.clamp(min=0.0)", ("forward.stem", "forward.pool")),
    ("SiLU", "silu_by_hand", "given * given.sigmoid()", ("forward.stem",)),
    ("Hardswish", "hardswish_by_hand", "given * F.relu6(given + 3.0) / 6.0", ("forward.stem",)),
    ("GELU", "gelu_by_hand", "given * 0.5 * (1.0 + torch.erf(given / 2.0**0.5))", ("forward.stage",)),
):
    for site in sites:
        rewritten(f"{name}_in_{site[8:]}", Rewritten(site, calls("act", text)), shapes=acts_by(kind))
for module in ("fc", "head"):
    rewritten(
        f"{module}_as_a_function",
        Rewritten(
            "forward.logits",
            calls(
                module,
                f"F.linear(given, self.{module}.weight, self.{module}.bias) if self.num_classes > 0 "
                f"else self.{module}(given)",
            ),
        ),
        shapes=lambda shape: shape.name != "pixelwise",
    )
rewritten("activation_in_place", Rewritten("parts", keyword("nn.ReLU", "inplace", "True")))
rewritten("attention_with_its_own_scale", Rewritten("forward.stage", keyword("scaled_dot_product_attention", "scale",
          "0.5")))  # fmt: skip
rewritten("attention_without_its_dropout_named", Rewritten("forward.stage", keyword("scaled_dot_product_attention",
          "dropout_p", None)))  # fmt: skip
rewritten("attention_by_hand", Rewritten("forward.stage", texts(
    "F.scaled_dot_product_attention(q, k, v, dropout_p=0.0)", "(q * 0.5 @ k.transpose(-2, -1)).softmax(-1) @ v"
)))  # fmt: skip

# What leaves a tensor as it is, or does what another call takes back

NOTHING = {
    "cloned": "x = x.clone()",
    "contiguous": "x = x.contiguous()",
    "times_one": "x = x * 1.0",
    "plus_zero": "x = x + 0.0",
    "negated_twice": "x = x.neg().neg()",
    "doubled_and_halved": "x = x * 2 / 2",
    "turned_around_twice": "x = x.flip(1).flip(1)",
    "rolled_there_and_back": "x = x.roll(1, 1).roll(-1, 1)",
    "taken_apart_and_put_together": "x = torch.cat([x[:, :3], x[:, 3:]], 1)",
    "one_by_one": "x = torch.stack([x[:, place] for place in range(8)], 1)",
    "dropped_out_in_training": "x = F.dropout(x, 0.5, self.training)",
    "of_its_own_dtype": "x = x.to(x.dtype)",
}
for name, text in NOTHING.items():
    for site in ("forward.pool", "forward_head.pool", "forward_features.end"):
        if name != "one_by_one":
            rewritten(f"{name}_in_{site.replace('.', '_')}", Put(site, text))
        elif not site.endswith("end"):  # tokens are more than eight
            rewritten(f"{name}_in_{site.replace('.', '_')}", Put(site, text), shapes=lambda shape: shape.hidden == 8)
for guarded, guard in {"headed": headed, "scripting": scripting, "exporting": exporting, "eager": when(EAGER)}.items():
    rewritten(f"cloned_when_{guarded}", Put("forward.end", guard("x = x.clone()")))
for name, text in {"doubled": "x = x * 2", "negated": "x = x.neg()", "of_chance": "x = x * torch.rand_like(x)"}.items():
    rewritten(f"{name}_in_training", Put("forward.end", training(text)))
rewritten("resets_as_before", Put("reset.end", "self.train(self.training)"))
rewritten("asserts_its_rank", Put("forward_features.end", when(EAGER)("assert x.ndim in (3, 4)")))
