"""Series and processes, as their users write them, pass as one model."""

from __future__ import annotations

import pytest
from adopted_pairs import some
from adopted_series import PROCESSES, SERIES

pytestmark = [
    pytest.mark.usefixtures("unoptimised"),
    pytest.mark.filterwarnings("ignore:Data in deaths contains missing values"),
]
KINDS = {**SERIES, **PROCESSES}


EVERY_TIME = {
    *("HMM, scan and potential", "local level", "GP, marginal"),
    "change point, missing counts",
}
"""Series that together see every branch of adoption; the exhaustive tests see the others."""


@pytest.mark.parametrize("name", some(KINDS, EVERY_TIME))
def test_both_programs_are_one_model(name: str) -> None:
    KINDS[name].holds()
