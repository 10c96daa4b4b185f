"""What a model has by chance or from its first weights is one model's: it is compared with itself and with no other."""

from __future__ import annotations

import pytest
import torch

from conformance.claims.equality import DREW_APART
from conformance.record import Evidence, Verdict
from conformance.subject import RealSubject
from tests.miniatures import built
from tests.miniatures.registration import examining

OF_ONE_MODEL = ("head_composes", "classifier_consistent", "deterministic_in_eval", "reset_to_pooled")


@pytest.mark.parametrize(
    "make",
    [built.random_fourier_features, built.shuffles_by_chance, built.normalised_first_weights_in_no_checkpoint],
    ids=lambda make: make.__name__,
)
def test_chance_is_proved_to_be_the_same_within_a_model_and_never_between_two(make):
    with examining(make) as examination:
        cells = {claim: examination.cell(claim) for claim in OF_ONE_MODEL}
        apart = examination.cell("built_headless")
        facts = examination.describe()
    assert {claim: cell.evidence for claim, cell in cells.items()} == dict.fromkeys(OF_ONE_MODEL, Evidence.PROVED)
    assert apart.verdict is Verdict.UNDECIDED
    assert apart.reason.endswith(DREW_APART)
    assert set(facts.fingerprints.values()) == {None}


class other_numbers_at_every_call(built.Tailed):
    def tail(self, x):
        return super().tail(x) + torch.rand(())


class other_numbers_from_one_drawn_before(built.Tailed):
    """What is drawn at a call is of that call, also where the model keeps it."""

    def tail(self, x):
        self.drawn = torch.rand(())
        return super().tail(x) + self.drawn


@pytest.mark.parametrize("make", [other_numbers_at_every_call, other_numbers_from_one_drawn_before])
def test_what_is_drawn_at_a_call_is_never_proved(make):
    with examining(make) as examination:
        cells = {claim: examination.cell(claim).verdict for claim in ("head_composes", "deterministic_in_eval")}
    assert Verdict.HOLDS not in cells.values()


REAL = (
    built.anchored_at_its_first_weights_and_asks, built.orthogonal_by_torchs_parametrization,
    built.norm_of_its_first_weights_and_asks, built.plain_tensor_by_chance_and_asks,
    built.shuffles_by_pythons_chance_and_asks,
)  # fmt: skip


@pytest.mark.parametrize("make", REAL, ids=lambda make: make.__name__)
@torch.no_grad()
def test_real_models_are_the_same_each_time_that_they_are_built(make):
    with examining(make) as examination:
        outputs = []
        for seed in (0, 0, 1):
            subject = RealSubject(examination.subject, seed, torch.float32)
            outputs += [subject.build()(subject.images), subject.build(num_classes=0)(subject.images)]
            subject.close()
    first, headless, again, headless_again, other, _ = outputs
    assert first.isfinite().all()
    assert torch.equal(first, again)
    assert torch.equal(headless, headless_again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("make", REAL, ids=lambda make: make.__name__)
def test_real_models_that_are_the_same_are_measured_to_be(make):
    with examining(make) as examination:
        cells = {claim: examination.cell(claim) for claim in (*OF_ONE_MODEL, "built_headless")}
    assert {claim: cell.reason for claim, cell in cells.items() if cell.verdict is not Verdict.HOLDS} == {}


def test_words_of_constants_cost_no_proof():
    with examining(built.puts_constants_into_words) as examination:
        assert examination.cell("head_composes").evidence is Evidence.PROVED


def test_of_models_that_are_never_built_alike_no_difference_between_two_is_held_against_them():
    with examining(built.shuffles_by_a_generator_of_its_own_and_asks) as examination:
        cells = {claim: examination.cell(claim) for claim in ("reset_to_pooled", "built_headless")}
        within = examination.cell("head_composes").verdict
    assert {cell.verdict for cell in cells.values()} == {Verdict.UNDECIDED}
    assert all(cell.reason.endswith("so do two models of it that are built alike") for cell in cells.values())
    assert within is Verdict.HOLDS


class doubles_when_whole_and_has_a_hook(built.Asking):
    """Hooks are counted throughout the process: two models never have the same."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.norm.register_forward_hook(lambda module, images, output: None)

    def forward(self, x):
        return 2 * super().forward(x)


def test_a_hook_does_not_make_models_differ():
    with examining(doubles_when_whole_and_has_a_hook) as examination:
        cell = examination.cell("head_composes")
    assert (cell.verdict, cell.evidence) == (Verdict.VIOLATED, Evidence.MEASURED)


def test_models_of_several_dtypes_keep_them():
    with examining(built.solves_in_double_and_asks) as examination:
        subject = RealSubject(examination.subject, 0, torch.float32)
        model = subject.build()
        assert (model.basis.dtype, model.linear.weight.dtype) == (torch.float64, torch.float32)
        cells = {claim: examination.cell(claim).verdict for claim in (*OF_ONE_MODEL, "reset_to_classes")}
    assert set(cells.values()) == {Verdict.HOLDS}


def test_a_model_that_takes_no_images_is_undecided_in_a_sentence():
    with examining(built.takes_videos) as examination:
        cell = examination.cell("forward_features_runs")
    assert cell.verdict is Verdict.UNDECIDED
    assert cell.reason == (
        "default_cfg declares the input (3, 8, 32, 32), and images of (channels, height, width) are what is run"
    )
