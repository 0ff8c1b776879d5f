"""Series and processes, as their users write them, pass as one model."""

from __future__ import annotations

import pytest
from adopted_series import PROCESSES, SERIES
from adopted_structures import Kind

pytestmark = pytest.mark.usefixtures("unoptimised")
KINDS = {**SERIES, **PROCESSES}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_both_programs_are_one_model(kind: Kind) -> None:
    kind.holds()
