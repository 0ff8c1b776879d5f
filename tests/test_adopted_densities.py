"""What methods read of two programs is one density, unit by unit.

The gate holds the programs against each other as their users wrote them; this holds what is made of
them, log p(x_i | θ) for every unit i, whichever way each program cuts the data into terms.
"""

from __future__ import annotations

from typing import Any

import adopted_counts
import adopted_regressions
import adopted_series
import adopted_structures
import adopted_supports
import numpy as np
import pytest
from adopted_pairs import some

import concord as cc
from comparisons.criteria import sample_size
from models.programs.density import density, languages, units

pytestmark = [
    pytest.mark.usefixtures("unoptimised"),
    pytest.mark.filterwarnings("ignore:Data in .* contains missing values"),
]
PROGRAMS: dict[str, dict[str, Any]] = {
    pair.name: {**pair.programs, "data": pair.data, **pair.options}
    for pair in (*adopted_regressions.PAIRS, *adopted_counts.PAIRS)
} | {
    name: {"numpyro": kind.numpyro, "pymc": kind.pymc, "data": kind.data, "names": kind.names}
    for kinds in (
        adopted_structures.HIERARCHIES,
        adopted_structures.MIXTURES,
        adopted_series.SERIES,
        adopted_series.PROCESSES,
        adopted_supports.OTHERS,
    )
    for name, kind in kinds.items()
    if kind.numpyro and kind.pymc
}
EVERY_TIME = {"linear, columns", "censored Weibull", "missing, masked", "none against labels"}
"""With as many terms in both programs, with other ones, with more in one, and with labels."""


@pytest.mark.parametrize("name", some(PROGRAMS, EVERY_TIME))
def test_both_programs_have_the_likelihood_of_every_unit(name: str) -> None:
    model = cc.adopt(**PROGRAMS[name])
    one, other = (density(model, model.data, language) for language in languages(model))
    u = 0.1 * np.random.default_rng(0).normal(size=one.size)
    across = other.unconstrain(one.constrain(u))
    found = np.asarray(one.log_likelihood(u))
    assert found.shape == (units(model, model.data),)
    assert np.isfinite(found).all()
    # of one unit, BIC counts the rows
    assert sample_size(model, model.data) > 1
    # JAX's betaln and PyMC's jitter of a kernel are good to a few 1e-7
    np.testing.assert_allclose(other.log_likelihood(across), found, rtol=5e-6, atol=1e-6)
