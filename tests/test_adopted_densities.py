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
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest
from adopted_pairs import some
from scipy.stats import norm

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


def two(y, w, *covariates) -> None:
    m = numpyro.sample("m", dist.Normal(0, 1).expand([2]).to_event(1))
    x, z = covariates or (1.0, 1.0)
    numpyro.sample("y", dist.Normal(m[0] * x, 1), obs=y)
    numpyro.sample("w", dist.Normal(m[1] * z, 1), obs=w)


def two_in_pymc(y, w) -> Any:
    import pymc as pm

    with pm.Model() as model:
        m = pm.Normal("m", shape=2)
        pm.Normal("second", m[1], 1, observed=w)
        pm.Normal("first", m[0], 1, observed=y)
    return model


def plated(y, w) -> None:
    m = numpyro.sample("m", dist.Normal(0, 1))
    with numpyro.plate("rows", len(y)):
        numpyro.sample("y", dist.Normal(m, 1), obs=y)
        numpyro.sample("w", dist.Normal(m, 1), obs=w)


SAMPLES = {n: np.random.default_rng(n).normal(size=n) for n in (9, 10, 11)}
EQUAL = {"y": SAMPLES[10], "w": SAMPLES[10] + 1}


@pytest.mark.parametrize(
    ("program", "data", "n"),
    [
        (two, {"y": SAMPLES[11], "w": SAMPLES[9]}, 20),
        (two, EQUAL, 20),
        (two, pd.DataFrame(EQUAL), 10),
        (plated, EQUAL, 10),
        (lambda y, w, x: two(y, w, x, x), {**EQUAL, "x": SAMPLES[10]}, 10),
        (lambda y, w, x, z: two(y, w, x, z), {**EQUAL, "x": SAMPLES[10], "z": SAMPLES[10]}, 20),
    ],
    ids=["unequal", "equal", "table", "plate", "one covariate", "two covariates"],
)
def test_sites_are_samples_unless_something_says_that_they_share_rows(
    program: Any, data: Any, n: int
) -> None:
    model = cc.adopt(numpyro=program, data=data)
    assert units(model, model.data) == sample_size(model, model.data) == n


@pytest.mark.parametrize("size", [10, 11])
def test_the_units_of_samples_are_in_one_order_in_both_programs(size: int) -> None:
    data = {"y": SAMPLES[size], "w": SAMPLES[10] + 1}
    model = cc.adopt(numpyro=two, pymc=two_in_pymc, data=data)
    m = np.array([0.3, -0.2])
    exact = np.concatenate([norm.logpdf(data["w"], m[1]), norm.logpdf(data["y"], m[0])])
    for language in languages(model):
        target = density(model, model.data, language)
        found = target.log_likelihood(target.unconstrain({"m": m}))
        np.testing.assert_allclose(found, exact, rtol=1e-12)
    with pytest.raises(
        cc.ModelError, match=rf"samples of their own: study them at n=\[{10 + size}\]"
    ):
        model.simulate(np.random.default_rng(0), {"m": m}, 40)


@pytest.mark.parametrize("filler", [0.0, np.nan])
def test_rows_that_are_masked_are_no_units(filler: float) -> None:
    def masked(y, seen) -> None:
        m = numpyro.sample("m", dist.Normal(0, 1))
        with numpyro.plate("rows", len(y)), numpyro.handlers.mask(mask=seen):
            numpyro.sample("y", dist.Normal(m, 1), obs=y)

    seen = np.arange(10) % 5 > 0
    data = {"y": np.where(seen, SAMPLES[10], filler), "seen": seen}
    model = cc.adopt(numpyro=masked, data=data)
    assert units(model, model.data) == sample_size(model, model.data) == 8
    target = density(model, model.data)
    found = target.log_likelihood(target.unconstrain({"m": 0.5}))
    np.testing.assert_allclose(found, norm.logpdf(SAMPLES[10][seen], 0.5), rtol=1e-12)
    made = model.simulate(np.random.default_rng(0), {"m": np.asarray(0.5)}, 16)
    assert made["seen"].values.all()
    assert units(model, made) == 16
