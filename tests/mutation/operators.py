"""This module lists the operators: each alters one site of a lawful model, under a guard, and says who must notice.

`OPERATORS` is all of them. What an operator applies to is found by trying: it applies where it changes something.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable

from tests.mutation.edits import (
    EAGER,
    FEW,
    REMEMBERS_HOW_BUILT,
    REMEMBERS_RESETS,
    VALUES,
    Edit,
    Guard,
    Instead,
    Operator,
    Put,
    Rewritten,
    always,
    built_headless,
    calls,
    compiling,
    emptied,
    exporting,
    exporting_onnx,
    fx_tracing,
    headed,
    in_batches,
    keyword,
    methods,
    of_bfloat16,
    of_float16,
    of_two,
    scripting,
    texts,
    unpooled,
    when,
)
from tests.mutation.shapes import SIZE, Shape

OPERATORS: list[Operator] = []

MANY = 9
"""Alterations at one site of which each third one is always tried, at each site others."""


def family(
    claim: str,
    alterations: dict[str, str],
    *sites: str,
    guard: Guard = always,
    first: bool = False,
    also: Iterable[Edit] = (),
    shapes: Callable[[Shape], bool] = lambda _: True,
    consequences: Iterable[str] = (),
    prefix: str = "",
) -> None:
    """One operator for each alteration: its statements, under the guard, put at all of the sites."""
    is_embedding = first or guard in (emptied, built_headless) or sites == ("forward_head.pre_logits",)
    for place, (name, text) in enumerate(alterations.items()):
        is_vain = name == "cut_off_at_zero" and is_embedding
        brings = {"batch_independent"} if name == "of_the_image_beside" else set[str]()
        OPERATORS.append(
            Operator(
                prefix + name,
                claim,
                (*(Put(site, guard(text), first) for site in sites), *also),
                (lambda shape: shapes(shape) and not ends_in_relu(shape)) if is_vain else shapes,
                brings.union(consequences),
                is_measured=name in VALUES,
                is_always_tried=len(alterations) < MANY or (place + len(prefix + claim)) % 3 == 0,
            )
        )


def one(claim: str, name: str, *edits: Edit, **rest: object) -> None:
    """An operator of its own."""
    given = {key: frozenset(value) if key == "consequences" else value for key, value in rest.items()}
    OPERATORS.append(Operator(name, claim, edits, **given))  # type: ignore[arg-type]  # as Operator says


def is_callable(shape: Shape) -> bool:
    """Whether the classifier is one module that takes the embedding."""
    return "classifier_consistent" not in shape.expected


def ends_in_relu(shape: Shape) -> bool:
    """Whether no element of the embedding is below zero."""
    return "self.act(" in shape.pool


def asks_for_its_classes(shape: Shape) -> bool:
    """Whether `forward` leaves its heads out where `num_classes` is 0, whatever they are."""
    return "num_classes" in shape.logits


def is_of_its_width(shape: Shape) -> bool:
    return "pooled_width_is_num_features" not in shape.expected


def has_batch_norm(shape: Shape) -> bool:
    return "self.last = nn.BatchNorm2d" in shape.parts


def has_one_head(shape: Shape) -> bool:
    return shape.classifier.count("'") == 2


def is_width(node: ast.expr) -> bool:
    """Whether it is the number of a classifier's inputs."""
    return isinstance(node, ast.Constant) and node.value in (4, 8, 12)


def with_factor(node: ast.expr, factor: float) -> ast.expr:
    assert isinstance(node, ast.Constant)
    return ast.Constant(int(node.value * factor))


def takes_sizes(shape: Shape) -> bool:
    return not shape.fixed


# builds

family(
    "builds",
    {
        "raises": "raise ValueError('this model cannot be built')",
        "reads_what_is_not_set": "self.num_features = self.embed_dim",
        "makes_an_impossible_layer": "self.last = nn.GroupNorm(3, 8)",
        "opens_a_file_that_is_not_there": "open('/nonexistent/weights')",
    },
    "init.end",
)
one("builds", "forgets_to_initialise_its_base", Instead("init.super", "pass"))
one("builds", "wants_an_argument", Instead("init.takes", "depth: int, PIECE"))
one("builds", "gives_no_module", Instead("make", "return {'model': Model(**arguments)}"))


# forward_features_runs

family(
    "forward_features_runs",
    {
        "reshapes_what_does_not_divide": "x = x.reshape(x.shape[0], 7, -1)",
        "multiplies_what_does_not_fit": "x = x @ torch.zeros(5, 5, device=x.device, dtype=x.dtype)",
        "takes_an_index_beyond": "x = x[:, 1000]",
        "asserts_one_image": "assert x.shape[0] == 1",
        "is_not_implemented": when(EAGER)("raise NotImplementedError('no features')"),
        "calls_a_module_that_is_not_there": when(EAGER)("x = self.missing(x)"),
        "gives_nothing": when(EAGER)("return None"),
    },
    "forward_features.end",
)


# features_width

family(
    "features_width",
    {
        "says_one_more": "self.num_features += 1",
        "says_twice_as_many": "self.num_features *= 2",
        "says_none": "self.num_features = None",
        "forgets_the_attribute": "del self.num_features",
    },
    "init.end",
    consequences=["pooled_width_is_num_features"],
)
one(
    "features_width",
    "moves_the_channels",
    Put("stage", "x = x.transpose(1, -1)"),
    Put("pool", "x = x.transpose(1, -1)", first=True),
    Put("forward_intermediates.stage", "x = x.transpose(1, -1)"),  # and back for the map
    Put("forward_intermediates.maps", "x = x.transpose(1, -1)"),
    shapes=lambda shape: SIZE // shape.levels[1][1] != shape.width,  # or nobody could tell
)
one(
    "features_width",
    "gives_the_channels_twice",
    Put("stage", "x = torch.cat([x, x], AXIS)"),
    Put("pool", "x = x.chunk(2, AXIS)[0]", first=True),
    consequences=["intermediates_final", "intermediates_match_info", "features_only_matches_info"],
)
one(
    "features_width",
    "forgets_to_say_that_channels_are_last",
    Rewritten("parts", texts("'NHWC'", "'NCHW'")),
)


# pre_logits_supported

one(
    "pre_logits_supported",
    "drops_the_keyword",
    Instead("forward_head.takes", ""),
    Put("forward_head.begin", "pre_logits = False"),
)
one(
    "pre_logits_supported",
    "calls_the_keyword_otherwise",
    Instead("forward_head.takes", "pre_logit: bool = False"),
    Put("forward_head.begin", "pre_logits = pre_logit"),
)
family(
    "pre_logits_supported",
    {
        "is_not_implemented": "raise NotImplementedError('no embedding')",
        "gives_a_tuple": "return (x, x)",
        "gives_a_list": "return [x]",
        "gives_a_mapping": "return {'pre_logits': x}",
        "gives_nothing": "return None",
    },
    "forward_head.pre_logits",
    guard=when(EAGER),
)


# pre_logits_pooled

family(
    "pre_logits_pooled",
    {
        "says_one_more": "self.head_hidden_size += 1",
        "says_twice_as_many": "self.head_hidden_size *= 2",
        "says_none": "self.head_hidden_size = None",
        "forgets_the_attribute": "del self.head_hidden_size",
    },
    "init.end",
)
family(
    "pre_logits_pooled",
    {
        "keeps_a_dimension": "x = x.unsqueeze(1)",
        "adds_a_dimension": "x = x.unsqueeze(0)",
        "gives_maps_of_one_pixel": "x = x.reshape(x.shape[0], -1, 1, 1)",
    },
    "forward_head.pre_logits",
    consequences=["classifier_consistent", "reset_to_pooled", "built_headless", "pooled_width_is_num_features"],
)


# head_composes: `forward` differs from its parts, with a classifier alone

family("head_composes", VALUES, "forward.end", guard=headed)
family("head_composes", VALUES, "forward.logits", guard=headed, first=True, prefix="embedding_")
HEADLESS = ("reset_to_pooled", "built_headless")
"""What is no matter of the classifier differs without one as well."""
SKIPPED = (*HEADLESS, "uses_all_parameters")
for module, site in (
    ("norm", "forward.stem"),
    ("norm", "forward.stage"),
    ("act", "forward.stem"),
    ("act", "forward.stage"),
    ("act", "forward.pool"),
    ("last", "forward.stage"),
    ("fc_norm", "forward.pool"),
):
    one("head_composes", f"skips_{module}_in_{site[8:]}", Rewritten(site, calls(module, "given")),
        consequences=SKIPPED)  # fmt: skip
for site, module in (("forward.stage", "last"), ("forward.pool", "fc_norm")):
    one(
        "head_composes",
        f"changes_the_epsilon_of_{module}",
        Rewritten(site, calls(module, f"F.layer_norm(given, (8,), self.{module}.weight, self.{module}.bias, 1e-6)")),
        shapes=lambda shape: not has_batch_norm(shape),
        consequences=HEADLESS,
        is_measured=True,
    )
one(
    "head_composes",
    "changes_the_epsilon_of_batch_norm",
    Rewritten(
        "forward.stage",
        calls(
            "last",
            "F.batch_norm(given, self.last.running_mean, self.last.running_var, self.last.weight, self.last.bias, "
            "False, 0.1, 1e-6)",
        ),
    ),
    shapes=has_batch_norm,
    consequences=HEADLESS,
    is_measured=True,
)
one("head_composes", "pools_by_maximum", Rewritten("forward.pool", methods("mean", "amax")), consequences=HEADLESS)
one("head_composes", "pools_by_sum", Rewritten("forward.pool", methods("mean", "sum")), consequences=HEADLESS)
one("head_composes", "takes_the_next_token", Rewritten("forward.pool", texts("x[:, 0]", "x[:, 1]")),
    consequences=HEADLESS)  # fmt: skip
one("head_composes", "takes_the_last_token", Rewritten("forward.pool", texts("x[:, 0]", "x[:, -1]")),
    consequences=HEADLESS)  # fmt: skip
one("head_composes", "scales_attention_otherwise",
    Rewritten("forward.stage", keyword("scaled_dot_product_attention", "scale", "0.4999")),
    consequences=HEADLESS)  # fmt: skip
one("head_composes", "attends_to_the_past_alone",
    Rewritten("forward.stage", keyword("scaled_dot_product_attention", "is_causal", "True")),
    consequences=HEADLESS,
    survives={"undecided": "the class token sees itself alone, so that the result is the same for different images, "
              "of which measuring says nothing"})  # fmt: skip
one("head_composes", "pads_otherwise", Rewritten("forward.stage", texts("F.max_pool2d(x, 3, 1, 1)",
    "F.avg_pool2d(x, 3, 1, 1)")), consequences=HEADLESS)  # fmt: skip
for module in ("fc", "head"):
    one(
        "head_composes",
        f"forgets_the_bias_of_{module}",
        Rewritten(
            "forward.logits",
            calls(
                module,
                f"F.linear(given, self.{module}.weight) if self.num_classes > 0 else self.{module}(given)",
            ),
        ),
        shapes=is_callable,
        consequences=["uses_all_parameters"],
    )
one("head_composes", "forgets_one_head", Rewritten("forward.logits", calls("head_dist", "self.head(given)")),
    consequences=["uses_all_parameters"])  # fmt: skip
one("head_composes", "swaps_heads", Rewritten("forward.logits", texts("x.chunk(2, 1)", "x.flip(1).chunk(2, 1)")))


# classifier_consistent: something lies between the embedding and the classifier, or after it

family("classifier_consistent", VALUES, "logits", guard=headed, first=True, shapes=is_callable)
family(
    "classifier_consistent",
    VALUES,
    "logits",
    guard=headed,
    shapes=is_callable,
    prefix="logits_",
    consequences=["classifier_named"],
)
for name, text in {
    "is_another_of_its_kind": "linear(HIDDEN, self.num_classes, like=self.conv.weight)",
    "is_given_with_an_activation": "nn.Sequential(nn.Sigmoid(), PIECE)",
    "is_given_with_a_dropout_that_is_on": "nn.Sequential(nn.Dropout(0.5), PIECE)",
    "is_a_tuple": "(PIECE, PIECE)",
    "is_none": "None",
    "is_its_name": "'PIECE'",
    "is_another_module": "self.last",
}.items():
    if "HIDDEN" not in text:
        one("classifier_consistent", name, Instead("get_classifier", text), shapes=is_callable)
    else:
        for hidden in (8, 12):
            one(
                "classifier_consistent",
                f"{name}_{hidden}",
                Instead("get_classifier", text.replace("HIDDEN", str(hidden))),
                shapes=lambda shape, hidden=hidden: is_callable(shape) and shape.hidden == hidden,
            )


# head_is_pure

family(
    "head_is_pure",
    {
        "zeroes": "given.zero_()",
        "scales_a_little": "given.mul_(1.0001)",
        "cuts_off": "given.relu_()",
        "swaps_images": "given.copy_(given.flip(0))",
        "writes_to_a_view": "given[0, 0].add_(1.0)",
        "normalises_in_place": "given.sub_(given.mean())",
        "transposes_in_place": "given.transpose_(0, 1)",
        "adds_a_dimension_in_place": "given.unsqueeze_(0)",
    },
    "forward_head.end",
    also=[Put("forward_head.begin", "given = x")],
)


# pooled_width_is_num_features

one(
    "pooled_width_is_num_features",
    "embeds_twice",
    Put("pool", "x = torch.cat([x, x], 1)"),
    Put("init.end", "self.head_hidden_size *= 2"),
    Rewritten("heads", lambda node: None if not is_width(node) else with_factor(node, 2)),
    shapes=lambda shape: is_of_its_width(shape) and has_one_head(shape),
)
one(
    "pooled_width_is_num_features",
    "embeds_a_half",
    Put("pool", "x = x[:, ::2]"),
    Put("init.end", "self.head_hidden_size //= 2"),
    Rewritten("heads", lambda node: None if not is_width(node) else with_factor(node, 0.5)),
    shapes=lambda shape: is_of_its_width(shape) and has_one_head(shape),
)
one(
    "pooled_width_is_num_features",
    "has_a_hidden_layer",
    Put("parts", "self.wide = nn.Linear(HIDDEN, 2 * HIDDEN)"),
    Put("pool", "x = self.wide(x)"),
    Put("init.end", "self.head_hidden_size *= 2"),
    Rewritten("heads", lambda node: None if not is_width(node) else with_factor(node, 2)),
    shapes=lambda shape: is_of_its_width(shape) and is_callable(shape),
)


# reset_to_pooled

AT_NONE = when("num_classes == 0 and global_pool is None")
REPLACED = {
    "changes_an_epsilon": "self.last.eps = 1e-6",
    "loses_a_norm": "self.last = nn.Identity()",
    "scales_a_weight_a_little": "self.last.weight.data.mul_(1.0001)",
    "zeroes_a_weight": "nn.init.zeros_(self.conv.weight)",
    "draws_a_weight_anew": "nn.init.normal_(self.conv.weight)",
    "forgets_a_bias": "self.last.bias.data = torch.zeros_like(self.last.bias)",
}
family("reset_to_pooled", REPLACED, "reset.end", guard=AT_NONE)
family("reset_to_pooled", VALUES, "forward.end", guard=emptied, also=REMEMBERS_RESETS)
one("reset_to_pooled", "keeps_the_classifier", Instead("reset.heads", when("num_classes > 0")("PIECE")),
    shapes=lambda shape: not asks_for_its_classes(shape), consequences=["unpooled_reset"])  # fmt: skip
one("reset_to_pooled", "forgets_running_statistics",
    Put("reset.end", AT_NONE("self.last.reset_running_stats()")), shapes=has_batch_norm)  # fmt: skip
one("reset_to_pooled", "pools_no_more", Put("reset.end", AT_NONE("self.pooled = False")),
    consequences=["reset_to_classes"])  # fmt: skip


# built_headless

WITHOUT = when("num_classes == 0")
family(
    "built_headless",
    {name: REPLACED[name] for name in ("changes_an_epsilon", "loses_a_norm")}
    | {"pools_not_at_all": "self.pooled = False"},
    "init.end",
    guard=WITHOUT,
)
family("built_headless", VALUES, "forward.end", guard=built_headless, also=REMEMBERS_HOW_BUILT)
one("built_headless", "keeps_a_classifier", Instead("init.heads", "num_classes = num_classes or 3\nPIECE"),
    shapes=lambda shape: not asks_for_its_classes(shape))  # fmt: skip
one("built_headless", "is_not_thought_of", Put("init.end", WITHOUT("raise ValueError('a model has classes')")),
    shapes=lambda shape: shape.classes > 0)  # fmt: skip


# reset_to_classes

family(
    "reset_to_classes",
    {
        "makes_one_more": "num_classes = num_classes + 1 if num_classes else 0",
        "makes_twice_as_many": "num_classes = num_classes * 2",
        "makes_one_alone": "num_classes = min(num_classes, 1)",
    },
    "reset.heads",
    first=True,
)
family(
    "reset_to_classes",
    {
        "keeps_the_number_from_before": when("num_classes")("self.num_classes = before"),
    },
    "reset.end",
    also=[Put("reset.begin", "before = self.num_classes")],
)
one("reset_to_classes", "keeps_no_number", Put("reset.end", "self.num_classes = None"),
    consequences=["reset_to_pooled", "unpooled_reset"])  # fmt: skip  # forward_head may ask for it
one("reset_to_classes", "makes_none_from_none", Put("reset.begin", when("self.num_classes == 0")("return")))
one("reset_to_classes", "keeps_the_classifier", Instead("reset.heads", when("num_classes == 0")("PIECE")))
one("reset_to_classes", "takes_one_argument", Put("reset.begin", when("num_classes and not self.num_classes")(
    "raise ValueError('there is no classifier to reset')")))  # fmt: skip


# reset_keeps_placement

family(
    "reset_keeps_placement",
    {
        "where_torch_makes_modules": "like = torch.empty(())",
        "of_the_default_dtype": "like = torch.empty((), device=like.device)",
        "on_the_default_device": "like = torch.empty((), dtype=like.dtype)",
    },
    "reset.heads",
    first=True,
)
family("reset_keeps_placement", {"of_half_precision": "like = like.half()"}, "reset.heads", first=True,
    consequences=["reset_to_classes"])  # fmt: skip
family(
    "reset_keeps_placement",
    {
        "casts_the_model": "self.float()",
        "leaves_the_model_in_training": "self.train()",
        "leaves_a_new_dropout_in_training": "self.drop = nn.Dropout(0.5)",
        "adds_a_buffer_elsewhere": "self.register_buffer('offset', torch.zeros(1, dtype=like.dtype, device='cpu'))",
    },
    "reset.end",
)


# unpooled_reset

family(
    "unpooled_reset",
    {
        "pools_all_the_same": "self.pooled = True",
        "refuses": "raise ValueError('there is always a head')",
        "keeps_a_classifier": "self.fc = self.head = nn.Linear(4, 3, device=like.device, dtype=like.dtype)",
    },
    "reset.end",
    guard=when("global_pool == ''"),
    shapes=lambda shape: shape.name not in {"multi_head", "distilled", "pixelwise"},
)
family(
    "unpooled_reset",
    {
        "flattens": "x = x.flatten(1)",
        "pools_the_last_dimension": "x = x.mean(-1)",
        "adds_a_dimension": "x = x.unsqueeze(1)",
        "cuts_a_place": "x = x[:, 1:]",
    },
    "forward.end",
    guard=unpooled,
)


# classifier_named

family(
    "classifier_named",
    {
        "names_none": "self.default_cfg['classifier'] = None",
        "names_what_is_not_there": "self.default_cfg['classifier'] = 'head.missing'",
        "names_the_first_layer": "self.default_cfg['classifier'] = 'conv'",
        "names_a_norm": "self.default_cfg['classifier'] = 'last'",
        "names_what_has_no_weight": "self.default_cfg['classifier'] = 'drop'",
        "forgets_the_entry": "del self.default_cfg['classifier']",
        "names_nothing": "self.default_cfg['classifier'] = ()",
    },
    "init.end",
)
one("classifier_named", "names_one_of_two",
    Put("init.end", "self.default_cfg['classifier'] = self.default_cfg['classifier'][0]"),
    shapes=lambda shape: not has_one_head(shape))  # fmt: skip
WEIGHTED = {name: VALUES[name] for name in ("scaled_by_a_ten_thousandth", "written_in_place")}
for is_single in (True, False):
    family(
        "classifier_named",
        VALUES if is_single else {name: text for name, text in VALUES.items() if name not in (*WEIGHTED, "negated")},
        "logits",
        guard=headed,
        shapes=lambda shape, is_single=is_single: not is_callable(shape) and has_one_head(shape) is is_single,
        prefix="logits_" if is_single else "logits_of_two_",
    )
for name, text in WEIGHTED.items():
    one(
        "classifier_named",
        f"logits_of_two_{name}",
        Put("logits", headed(text)),
        shapes=lambda shape: not has_one_head(shape),
        survives={"holds": "of several classifiers the logits may be a sum with constant weights, as VOLO's are"},
    )


# scripts: what Python has and TorchScript has not

family(
    "scripts",
    {
        "a_lambda": "double = lambda y: y * 2",
        "a_set": "known = {1, 2}",
        "a_nested_function": "def one():\n    return 1",
        "an_exception_caught": "try:\n    pass\nexcept ValueError:\n    pass",
        "vars": "known = len(vars(self))",
        "a_star": "known = [*range(3)]",
    },
    "forward.begin",
)
one("scripts", "a_class", Put("forward.begin", "class Known:\n    pass"), consequences=["compiles"])


# The scripted model

family("script_matches", VALUES, "forward.end", guard=scripting)
family("script_pre_logits", VALUES, "forward_head.pre_logits", guard=scripting)
one("script_matches", "skips_a_norm", Rewritten("stage", calls("last", "self.last(given) if self.eager() else given")),
    Put("methods", "def eager(self) -> bool:\n    return not torch.jit.is_scripting()"),
    consequences=["script_pre_logits"])  # fmt: skip

CALLBACK = "@torch.jit.ignore\ndef in_python(self, x: torch.Tensor) -> torch.Tensor:\n    return "
for name, text in {"does_nothing": "x", "adds": "x + 1", "copies": "x.clone()"}.items():
    one("script_round_trips", f"asks_python_which_{name}", Put("methods", CALLBACK + text),
        Put("stage", "x = self.in_python(x)"))  # fmt: skip
RESTORED = """\
class Restored(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, {width}))

    @torch.jit.export
    def __getstate__(self):
        return (self.weight, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, bool]) -> None:
        self.weight = {weight}
        self.training = state[1]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight
"""
for name, text in {
    "scaled": "state[0] * 1.0001",
    "rolled": "state[0].roll(1, -1)",
    "forgotten": "torch.ones_like(state[0])",
}.items():
    for width in (8, 12):
        one(
            "script_round_trips",
            f"loads_a_weight_{name}_{width}",
            Put("prelude", RESTORED.format(width=width, weight=text)),
            Put("parts", "self.restored = Restored()"),
            Put("pool", "x = x.flatten(1)\nx = self.restored(x)"),
            shapes=lambda shape, width=width: shape.hidden == width and shape.name != "pixelwise",
        )


# deterministic_in_eval

MOVING = ("head_composes", "script_matches", "script_round_trips", "reset_keeps_placement", "export_matches",
          "export_dynamic_batch", "compile_matches", "fx_matches", "batch_independent")  # fmt: skip
"""Nothing can be compared with what is another thing each time."""
family(
    "deterministic_in_eval",
    {
        "drops_out": "x = F.dropout(x, 0.1, True)",
        "adds_noise": "x = x + 0.01 * torch.randn_like(x)",
        "draws_signs": "x = x * torch.bernoulli(torch.full_like(x, 0.5))",
        "scales_by_chance": "x = x * torch.rand(1, device=x.device, dtype=x.dtype)",
        "asks_pythons_generator": when(EAGER)("x = x * random.random()"),
        "asks_the_clock": when(EAGER)("x = x * (time.perf_counter() % 1.0)"),
    },
    "forward.end",
    guard=headed,
    consequences=[*MOVING, "compiles"],
)
one(
    "deterministic_in_eval",
    "counts_its_calls",
    Put("init.end", "self.calls = 0"),
    Put("forward.end", headed("self.calls += 1\nx = x * (1 + self.calls % 3)")),
    consequences=[*MOVING, "exports"],
)
one(
    "deterministic_in_eval",
    "alternates",
    Put("init.end", "self.calls = 0"),
    Put("forward.end", headed("self.calls += 1\nx = x * (1 + self.calls % 2)")),
    consequences=[*MOVING, "exports"],
    survives={
        "undecided": "a pass that changes attributes is made twice, so that each pass ends with a call of the same "
        "parity; that its first call gave something else is seen, and kept from being called a proof"
    },
)
one(
    "deterministic_in_eval",
    "counts_in_a_buffer",
    Put("init.end", "self.register_buffer('calls', torch.zeros(()))"),
    Put("forward.end", headed("self.calls.add_(1)\nx = x * self.calls")),
    consequences=[*MOVING, "exports"],
)


# uses_all_parameters

ADDED = Put("parts", "self.extra = nn.Parameter(torch.ones(()))")
family(
    "uses_all_parameters",
    {
        "never": "pass",
        "without_gradients": "with torch.no_grad():\n    scale = self.extra * 2\nx = x * scale",
        "detached": "x = x * self.extra.detach()",
        "in_training": "if self.training:\n    x = x * self.extra",
        "for_its_size": "x = x * self.extra.numel()",
        "compared": "x = x * (self.extra > 0).to(x.dtype)",
    },
    "pool",
    also=[ADDED],
)


# keeps_dtype

family("keeps_dtype", {"gives_float32": "x = x.float()"}, "forward.end")
family("keeps_dtype", {"gives_float32_for_bfloat16": "x = x.float()"}, "forward.end", guard=of_bfloat16)
family("keeps_dtype", {"gives_float64_for_float16": "x = x.double()"}, "forward.end", guard=of_float16)
family(
    "keeps_dtype",
    {
        "multiplies_by_float32": "x = x * torch.ones(x.shape[-1], device=x.device)",
        "computes_in_float32": "x = x.float()",
        "normalises_in_float32": "x = F.softmax(x, 1, dtype=torch.float32)",
    },
    "pool",
)
family("keeps_dtype", {"mixes_with_a_matrix_of_float32": "x = x @ torch.eye(x.shape[-1], device=x.device)"}, "stage")


# batch_independent

MIXING = {
    "subtracts_the_mean": "x = x - 0.1 * x.mean(0, keepdim=True)",
    "adds_the_image_before": "x = x + x.roll(1, 0)",
    "turns_the_batch_around": "x = x.flip(0)",
    "scales_by_how_many_there_are": "x = x * x.shape[0]",
    "adds_up": "x = x.cumsum(0)",
    "competes": "x = x * x.softmax(0)",
}
family("batch_independent", MIXING, "stage")
for is_normed in (False, True):
    one(
        "batch_independent",
        "scales_pairs_before_a_norm" if is_normed else "scales_pairs",
        Put("stage", of_two("x = x * 1.0001")),
        shapes=lambda shape, is_normed=is_normed: ("fc_norm" in shape.pool) is is_normed,
        consequences=["fx_matches", "export_dynamic_batch"],
        survives={"undecided": "the norm of the pooled token takes the scale away, but for what its epsilon leaves"}
        if is_normed
        else {},
    )
family(
    "batch_independent",
    {"subtracts_the_mean_of_several": MIXING["subtracts_the_mean"]},
    "stage",
    guard=in_batches,
    consequences=["fx_matches", "export_dynamic_batch"],
)


# accepts_sizes

family(
    "accepts_sizes",
    {
        "asserts_its_size": when(EAGER, "isinstance(x, torch.Tensor)")("assert x.shape[-1] == 32"),
        "reshapes_to_its_size": "x = x.reshape(-1, 3, 32, 32)",
        "views_what_is_contiguous": "x = x.view(x.shape[0], -1).view(x.shape)",
        "raises_for_larger_ones": when(EAGER, "isinstance(x, torch.Tensor)", "x.shape[-1] > 32")("raise ValueError"),
    },
    "stem",
    first=True,
    shapes=takes_sizes,
    consequences=["features_only_matches_info"],
)
one("accepts_sizes", "has_places_for_one_size", Put("parts", "self.place = nn.Parameter(torch.randn(1, 3, 32, 32))"),
    Put("stem", "x = x + self.place", first=True), shapes=takes_sizes,
    consequences=["features_only_matches_info"])  # fmt: skip
one("accepts_sizes", "forgets_to_say_that_it_takes_one",
    Put("init.end", "self.default_cfg['fixed_input_size'] = False"),
    shapes=lambda shape: shape.fixed)  # fmt: skip


# Pyramids

family("intermediates_final", VALUES, "forward_intermediates.end")
one("intermediates_final", "skips_a_norm", Rewritten("forward_intermediates.stage", calls("last", "given")))
one(
    "intermediates_final",
    "gives_the_last_map",
    Put("forward_intermediates.end", "x = maps[-1]"),
    shapes=lambda shape: shape.axis != 1,
)
family(
    "intermediates_match_info",
    {
        "leaves_a_map_out": "if indices is None:\n    taken = taken[1:]",
        "gives_a_map_twice": "if indices is None:\n    taken = [*taken, taken[-1]]",
        "gives_another_for_the_last": "if indices == [-1]:\n    taken = [0]",
        "spoils_a_map_that_is_asked_for": "if indices == [-1]:\n    maps[1] = maps[1] * 1.0001",
    },
    "forward_intermediates.maps",
)
one(
    "intermediates_match_info",
    "takes_any_index",
    Put(
        "forward_intermediates.begin",
        "indices = None if indices is None else [min(place, 1) for place in indices]",
    ),
    consequences=["features_only_matches_info"],
)
one(
    "intermediates_match_info",
    "is_narrower_than_it_says",
    Put("forward_intermediates.maps", "maps[1] = maps[1][:, 1:]"),
    consequences=["features_only_matches_info"],
)
family(
    "features_only_matches_info",
    {
        "says_another_reduction": "self.feature_info[1]['reduction'] *= 2",
        "names_a_module_that_is_not_there": "self.feature_info[0]['module'] = 'stages.0'",
        "forgets_a_module": "del self.feature_info[0]['module']",
    },
    "init.end",
)
LESS_ONE = Put("init.end", "self.feature_info[0]['reduction'] -= 1")
one("features_only_matches_info", "says_a_reduction_less_one", LESS_ONE, shapes=takes_sizes)
one(
    "features_only_matches_info",
    "says_a_reduction_less_one_of_one_size",
    LESS_ONE,
    shapes=lambda shape: shape.fixed,
    survives={"undecided": "of a model that takes images of its size alone only a reduction that is far off is wrong"},
)
one(
    "features_only_matches_info",
    "says_other_channels",
    Put("init.end", "self.feature_info[0]['num_chs'] += 1"),
    consequences=["intermediates_match_info"],
)
one(
    "features_only_matches_info",
    "gives_all_maps_for_any_indices",
    Instead("make", "model = Model(**arguments)\nreturn FeatureGetterNet(model, (0, 1)) if features_only else model"),
)
one(
    "features_only_matches_info",
    "halves_its_maps",
    Put("forward_intermediates.end", "if intermediates_only:\n    maps = [F.max_pool2d(one, 2) for one in maps]"),
)


# What compilers capture

REFUSED = {
    "raises": "raise RuntimeError('not for compilers')",
    "branches_on_a_value": "if bool(x.sum() > 0):\n    x = x * 2",
    "gives_a_number_to_python": "x = x * float(x.sum())",
}
family("exports", REFUSED | {"asks_numpy": "x = x + torch.from_numpy(x.numpy())"}, "forward.end", guard=exporting)
family("export_matches", FEW, "forward.end", guard=exporting, consequences=["export_dynamic_batch"])
family(
    "export_dynamic_batch",
    {
        "branches_on_its_example": "if x.shape[0] == 2:\n    x = x.view(x.shape)",
        "keeps_two_images": "x = x[:2]",
        "is_for_small_batches": "if x.shape[0] < 4:\n    x = x.view(x.shape)",
        "makes_a_number_of_the_batch": "x = x.view(int(x.shape[0]), *x.shape[1:]) if x.shape[0] in (2, 3) else x",
    },
    "forward.end",
    guard=exporting,
)
family(
    "compiles",
    {name: text for name, text in REFUSED.items() if name != "gives_a_number_to_python"}
    | {"breaks_the_graph": "torch._dynamo.graph_break()"},
    "forward.end",
    guard=compiling,
)
family("compile_matches", FEW, "forward.end", guard=compiling)
family(
    "fx_traces",
    REFUSED
    | {
        "goes_through_images": "x = torch.stack([one for one in x])",
        "asks_for_its_length": "x = x[:len(x)]",
        "branches_on_a_shape": "if x.shape[0] > 1:\n    x = x * 1",
    },
    "forward.end",
    guard=fx_tracing,
)
family("fx_matches", FEW | {"negated": VALUES["negated"]}, "forward.end", guard=fx_tracing)
family(
    "onnx_exports",
    {"rolled_by_one": VALUES["rolled_by_one"], "scaled_by_a_hundredth": "x = x * 1.01", "negated": VALUES["negated"]},
    "forward.end",
    guard=exporting_onnx,
)
family(
    "onnx_exports",
    {"raises": REFUSED["raises"]},
    "forward.end",
    guard=when(EAGER, "torch.onnx.is_in_onnx_export() or torch.compiler.is_compiling()"),
    consequences=["exports", "compiles"],
)
