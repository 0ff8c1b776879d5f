"""Numbers that nearly cancel: what rounding makes of them is no difference of models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from jax.scipy.stats import norm

import concord as cc
from models.programs.rounding import perturbed

if TYPE_CHECKING:
    from collections.abc import Callable

    import pymc as pm

RNG = np.random.default_rng(11)
LOW = np.floor(RNG.normal(2, 1.5, 40))
DATA = {"low": LOW, "high": LOW + 1}
WAITED = {"low": np.abs(LOW), "high": np.abs(LOW) + 1}
SLIGHT = 1e-6  # of a scale: the relative size of the planted bugs
RUNS = 20


def changes(function: Callable[..., Any], *arguments: Any) -> np.ndarray:
    """By how much each of some runs changes the value."""
    run = jax.jit(perturbed(function, *arguments))
    exact = np.asarray(function(*arguments))
    return np.array([run(jnp.asarray(i), *arguments) - exact for i in range(1, RUNS + 1)])


@pytest.mark.parametrize("p", [1e-3, 1e-6, 1e-9])
def test_a_difference_of_nearly_equal_probabilities_strays_as_far_as_it_is_off(p: float) -> None:
    high = jnp.asarray(0.75)
    away = np.abs(changes(lambda low, high: jnp.log(high - low), high - p, high)).max()
    assert away < 1e-14 / p  # given exactly, only their logarithm is rounded
    # each of the two, about 0.6, is off by at most its last place, 2⁻⁵³
    root = changes(lambda low, high: jnp.log(jnp.sqrt(high) - jnp.sqrt(low)), high - p, high)
    apart = np.sqrt(0.75) - np.sqrt(0.75 - p)
    assert 0.1 < np.abs(root).max() / (2.0**-52 / apart) < 2.5


def test_well_conditioned_numbers_stay_what_they_are() -> None:
    x = jnp.linspace(-3, 3, 50)
    assert np.abs(changes(lambda x: norm.logpdf(x).sum(), x)).max() < 1e-13


def test_what_is_exact_is_not_rounded() -> None:
    counts = jnp.asarray([2.0, 3.0, 5.0])

    def whole(x: jax.Array) -> jax.Array:
        return jnp.stack([x.sum(), (x * x).max(), x @ x, -x[0], jnp.where(x > 2, x, 0).sum()])

    assert (changes(whole, counts) == 0).all()
    assert (changes(lambda x: x / 3, counts) != 0).any()


def test_loops_and_functions_with_derivatives_of_their_own_are_rounded_inside() -> None:
    def summed(x: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda total, one: (total + jnp.exp(one), total), x[0], x)[0]

    def cancelled(x: jax.Array) -> jax.Array:
        return summed(x) - jax.nn.softplus(summed(x))

    away = np.abs(changes(jax.grad(cancelled), jnp.linspace(2.0, 3.0, 6)))
    assert 0 < away.max() < 1e-10
    assert 0 < np.abs(changes(cancelled, jnp.linspace(2.0, 3.0, 6))).max() < 1e-10


# --- two ways to write the probability of an interval ---------------------------------------------


def normal_pymc(low: Any, high: Any) -> pm.Model:
    import pymc as pm

    with pm.Model() as model:
        mu, sd = pm.Normal("mu", 0, 5), pm.HalfNormal("sd", 3)
        below = [0.5 * (1 + pm.math.erf((x - mu) / (sd * np.sqrt(2)))) for x in (low, high)]
        pm.Potential("rows", pm.math.log(below[1] - below[0]))
    return model


def normal_numpyro(low, high, scale=1.0) -> None:
    mu = numpyro.sample("mu", dist.Normal(0, 5))
    sd = numpyro.sample("sd", dist.HalfNormal(3))
    above = [norm.sf((x - mu) / (sd * scale)) for x in (low, high)]
    numpyro.factor("rows", jnp.log(above[0] - above[1]))


def weibull_pymc(low: Any, high: Any) -> pm.Model:
    import pymc as pm

    with pm.Model() as model:
        shape, scale = pm.HalfNormal("shape", 2), pm.HalfNormal("scale", 3)
        above = [pm.math.exp(-((x / scale) ** shape)) for x in (low, high)]
        pm.Potential("rows", pm.math.log(above[0] - above[1]))
    return model


def weibull_numpyro(low, high, scale=1.0) -> None:
    shape = numpyro.sample("shape", dist.HalfNormal(2))
    spread = scale * numpyro.sample("scale", dist.HalfNormal(3))
    below = [-jnp.expm1(-((x / spread) ** shape)) for x in (low, high)]
    numpyro.factor("rows", jnp.log(below[1] - below[0]))


def logistic_pymc(low: Any, high: Any) -> pm.Model:
    import pymc as pm

    with pm.Model() as model:
        mu, sd = pm.Normal("mu", 0, 5), pm.HalfNormal("sd", 3)
        below = [pm.math.sigmoid((x - mu) / sd) for x in (low, high)]
        pm.Potential("rows", pm.math.log(below[1] - below[0]))
    return model


def logistic_numpyro(low, high, scale=1.0) -> None:
    mu = numpyro.sample("mu", dist.Normal(0, 5))
    sd = scale * numpyro.sample("sd", dist.HalfNormal(3))
    above = [jax.nn.sigmoid((mu - x) / sd) for x in (low, high)]
    numpyro.factor("rows", jnp.log(above[0] - above[1]))


PAIRS = {
    "normal": (normal_pymc, normal_numpyro, DATA),
    "weibull": (weibull_pymc, weibull_numpyro, WAITED),
    "logistic": (logistic_pymc, logistic_numpyro, DATA),
}


@pytest.mark.parametrize("scale", [1.0, 1 + SLIGHT])
@pytest.mark.parametrize("law", PAIRS)
def test_an_interval_s_probability_is_one_however_it_is_subtracted(law: str, scale: float) -> None:
    in_pymc, in_numpyro, data = PAIRS[law]

    def port(low, high) -> None:
        in_numpyro(low, high, scale)

    given: dict[str, Any] = {"data": data, "likelihood": ("rows",)}
    assert cc.check(pymc=in_pymc, numpyro=port, **given).passed is (scale == 1.0)
