"""No lawful model is accused, however odd: what cannot be judged is undecided."""

from __future__ import annotations

import pytest

from conformance.record import Verdict
from tests.miniatures import built, served  # noqa: F401  # their lawful models are among ODDITIES
from tests.miniatures.lawful_oddities import ODDITIES
from tests.miniatures.registration import examining


@pytest.mark.parametrize("name", ODDITIES)
def test_a_lawful_model_is_not_accused(name):
    model, claims = ODDITIES[name]
    with examining(model) as examination:
        accused = {
            claim: examination.cell(claim).reason
            for claim in claims
            if examination.cell(claim).verdict is Verdict.VIOLATED
        }
    assert not accused
