"""Regressions that users bring in both languages: one model, whichever way each is written."""

from __future__ import annotations

import pytest
from adopted_pairs import PAIRS, Pair

import concord as cc

pytestmark = pytest.mark.usefixtures("unoptimised")

each = pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)


@each
def test_both_programs_are_one_model(pair: Pair) -> None:
    checked = cc.check(pymc=pair.pymc, numpyro=pair.numpyro, data=pair.data, **pair.options)
    assert checked.passed, checked
