"""Where the promised way fails another is found, if there is one: code that was shown to work, as it stands."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from conformance.claims.remedies import FromEmbedding
from conformance.record import Evidence, Verdict
from tests.miniatures.contract import SIZE, WIDTH, Conv, ConvClassifier, Distilled, breaks_pre_logits_supported, linear
from tests.miniatures.registration import examining, registered


class NormBefore(nn.Module):
    """A norm and the classifier in one module."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.linear = nn.Linear(WIDTH, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.norm(x))


class PartOfTheHead(Conv):
    """`get_classifier` leaves out the norm that `forward_head` applies."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        self.fc = NormBefore(num_classes)

    def get_classifier(self) -> nn.Module:
        return self.fc.linear


class WholeHead(Conv):
    """`get_classifier` gives a head that pools."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Dropout(0.1), nn.Linear(WIDTH, num_classes)
        )

    def get_classifier(self) -> nn.Module:
        return self.head

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        return self.head[:3](x) if pre_logits else self.head(x)


class Branches(Conv):
    """Two branches pooled side by side, a head for each."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        self.head_hidden_size = 2 * WIDTH
        self.heads = nn.ModuleList([linear(WIDTH, num_classes), linear(WIDTH, num_classes)])

    def get_classifier(self) -> nn.Module:
        return self.heads

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        parts = [x.mean((2, 3)), x.amax((2, 3))]
        if pre_logits:
            return torch.cat(parts, 1)
        return torch.stack([head(part) for head, part in zip(self.heads, parts, strict=True)]).mean(0)


class UnevenHeads(Distilled):
    """Two heads, one of which counts for more: their mean is something else."""

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = self.pool(x)
        return x if pre_logits else 0.7 * self.fc(x) + 0.3 * self.fc_dist(x)


class Scaled(Conv):
    """The logits are scaled after the classifier."""

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = self.pool(x)
        return x if pre_logits else 2 * self.fc(x)


FROM_FEATURES = "logits = model.forward_head(features)"
FOUND = {
    ConvClassifier: ("logits = model.get_classifier()(pre_logits[:, :, None, None]).flatten(1)", Evidence.PROVED),
    Distilled: ("logits = (left(pre_logits) + right(pre_logits)) / 2", Evidence.PROVED),
    PartOfTheHead: ("logits = model.fc(pre_logits)", Evidence.PROVED),
    WholeHead: ("logits = model.get_classifier()[3](pre_logits)", Evidence.PROVED),
    Branches: ("logits = torch.stack([head(part) for head, part in zip(heads, parts)]).mean(0)", Evidence.MEASURED),
    UnevenHeads: (FROM_FEATURES, Evidence.PROVED),
    Scaled: (FROM_FEATURES, Evidence.PROVED),
}


@pytest.mark.parametrize("make", FOUND, ids=lambda make: make.__name__)
def test_a_way_is_found_and_leads_to_the_logits(make):
    with examining(make) as examination:
        remedy = examination.cell("classifier_consistent").remedy
    assert (remedy.code.splitlines()[-1], remedy.evidence) == FOUND[make]
    model, x = make().eval(), torch.randn(3, 3, SIZE, SIZE)
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    with torch.no_grad():
        pre_logits, logits = FromEmbedding(remedy.text, remedy.code).run(model, x)
        torch.testing.assert_close(logits, model(x))
        torch.testing.assert_close(pre_logits, model.forward_head(model.forward_features(x), pre_logits=True))


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("dla46_c", "logits = model.get_classifier()(pre_logits[:, :, None, None]).flatten(1)"),
        ("levit_128s", "logits = (left(pre_logits) + right(pre_logits)) / 2"),
        ("shvit_s1", "logits = model.head(pre_logits)"),
        ("samvit_base_patch16_224", "logits = model.get_classifier().fc(pre_logits)"),
        ("deit_tiny_distilled_patch16_224", FROM_FEATURES),
    ],
)
def test_models_of_timm_are_helped(name, last):
    from conformance.decide import decide

    remedy = decide(name, ["classifier_consistent"]).cells["classifier_consistent"].remedy
    assert remedy.code.endswith(f"{last}\n")
    assert remedy.evidence is Evidence.PROVED
    model = timm.create_model(name).eval()
    x = torch.randn(1, *model.default_cfg["input_size"])
    with torch.no_grad():
        _, logits = FromEmbedding(remedy.text, remedy.code).run(model, x)
        torch.testing.assert_close(logits, model(x))


def test_what_the_classifier_is_given_is_the_embedding_where_there_is_no_other():
    with examining(breaks_pre_logits_supported) as examination:
        cell = examination.cell("pre_logits_supported")
    assert cell.verdict is Verdict.VIOLATED
    model, x = breaks_pre_logits_supported().eval(), torch.randn(3, 3, SIZE, SIZE)
    with torch.no_grad():
        pre_logits, logits = FromEmbedding(cell.remedy.text, cell.remedy.code).run(model, x)
        torch.testing.assert_close(logits, model(x))
        torch.testing.assert_close(model.get_classifier()(pre_logits), logits)
    assert pre_logits.shape == (3, WIDTH)
    assert not model.fc._forward_pre_hooks


class NoEmbeddingAtAll(breaks_pre_logits_supported):
    """The classifier is given maps: what it is given is no embedding."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        self.fc = nn.Conv2d(WIDTH, num_classes, 1)

    def forward_head(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x).mean((2, 3))


class AppliedTwice(breaks_pre_logits_supported):
    """Something comes after the classifier."""

    def forward_head(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * self.fc(self.pool(x))


@pytest.mark.parametrize("make", [NoEmbeddingAtAll, AppliedTwice], ids=lambda make: make.__name__)
def test_no_way_is_named_where_none_leads_there(make):
    with examining(make) as examination:
        cell = examination.cell("pre_logits_supported")
    assert cell.verdict is Verdict.VIOLATED
    assert cell.remedy is None


def test_what_is_kept_needs_no_remedy():
    with examining(Conv) as examination:
        assert examination.cell("classifier_consistent").remedy is None


class Injecting(PartOfTheHead):
    """A module whose name would be a program."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        del self.fc
        self.add_module("fc or exit(1)", NormBefore(num_classes))

    @property
    def fc(self) -> nn.Module:
        return self._modules["fc or exit(1)"]

    @fc.setter
    def fc(self, value: nn.Module) -> None:
        self._modules["fc or exit(1)"] = value

    def get_classifier(self) -> nn.Module:
        return self._modules["fc or exit(1)"].linear


def test_a_modules_name_never_becomes_a_program():
    with examining(Injecting) as examination:
        remedy = examination.cell("classifier_consistent").remedy
    assert "exit" not in (remedy.code if remedy else "")


def test_a_way_is_the_same_whichever_claims_were_decided_before():
    with registered(PartOfTheHead) as name:
        from conformance.decide import decide

        alone = decide(name, ["classifier_consistent"]).cells["classifier_consistent"]
        later = decide(name, ["scripts", "reset_to_classes", "classifier_named", "classifier_consistent"])
    assert later.cells["classifier_consistent"] == alone
