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
from comparisons.same_density import differences
from models.programs.rounding import UNITS, perturbed

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
def test_a_difference_of_nearly_equal_numbers_strays_as_far_as_it_may_be_off(p: float) -> None:
    high = jnp.asarray(0.75)
    away = np.abs(changes(lambda low, high: jnp.log(high - low), high - p, high)).max()
    assert away < 2 * UNITS * 2.0**-52 * (1 + abs(np.log(p)))  # both are given, exactly
    root = changes(lambda low, high: jnp.log(jnp.sqrt(high) - jnp.sqrt(low)), high - p, high)
    most = 2 * np.sqrt(0.75) * UNITS * 2.0**-52 / (np.sqrt(0.75) - np.sqrt(0.75 - p))
    # the largest of 20 sums of two uniform changes: below a quarter with a probability of 7e-8
    assert 0.25 < np.abs(root).max() / most < 1.01


def test_well_conditioned_numbers_stay_what_they_are() -> None:
    x = jnp.linspace(-3, 3, 50)
    most = 6 * UNITS * 2.0**-52 * np.abs(norm.logpdf(x)).sum()  # of so many operations a term
    assert np.abs(changes(lambda x: norm.logpdf(x).sum(), x)).max() < most


def test_every_operation_changes_its_result_in_some_run() -> None:
    x = jnp.arange(1.0, 1_025.0) / 1_024

    def last_of_many(x: jax.Array) -> jax.Array:
        for _ in range(20):
            x = jnp.round(jnp.exp(x), 3)  # as exact as what it began with
        return x * 0.3

    for function in (lambda x: x * 0.3, last_of_many):
        assert (changes(function, x)[:4] != 0).any(axis=0).all()


def test_what_is_exact_is_not_rounded() -> None:
    counts = jnp.asarray([2.0, 3.0, 5.0])

    def whole(x: jax.Array) -> jax.Array:
        return jnp.stack([x.sum(), (x * x).max(), x @ x, -x[0], jnp.where(x > 2, x, 0).sum()])

    assert (changes(whole, counts) == 0).all()
    assert (changes(lambda x: x / 3, counts) != 0).any()


def test_no_branch_is_another() -> None:
    y, levels = jnp.asarray([0.1, 0.7, 1.3, 2.9]), jnp.asarray([1.0, 10.0, 100.0, 1_000.0])

    def branching(y: jax.Array) -> jax.Array:
        tied = (y - 0.3) / 0.7 >= (y * 3 - 0.9) / 2.1  # equal but for rounding
        chosen = levels[jnp.floor(y * 10 * 0.1).astype(int)]
        return jnp.where(tied, chosen, 1e6) + jnp.argmax(y / 3)

    assert np.abs(changes(branching, y)).max() < 1e-6  # another branch is another by 1 at least


def test_loops_and_functions_with_derivatives_of_their_own_are_rounded_inside() -> None:
    x = jnp.linspace(2.0, 3.0, 6)

    def cancelled(x: jax.Array) -> jax.Array:
        def step(total: jax.Array, one: jax.Array) -> tuple[jax.Array, jax.Array]:
            apart = jax.nn.softplus(one + 1e-7) - jax.nn.softplus(one)
            return total + jnp.log(apart), total

        return jax.lax.scan(step, 0.0 * x[0], x)[0]

    for function in (cancelled, lambda x: jax.checkpoint(cancelled)(x)):
        assert 1e-9 < np.abs(changes(function, x)).max() < 1e-5
    assert np.abs(changes(jax.grad(cancelled), x)).max() > 1e-9


def test_operations_that_are_made_of_others_and_complex_numbers_keep_their_values() -> None:
    x = jnp.linspace(0.1, 2.0, 8)

    def several(x: jax.Array) -> jax.Array:
        spectrum = jnp.fft.rfft(x)
        power = jnp.real(spectrum * jnp.conj(spectrum)).sum()
        most = jax.lax.reduce(x, jnp.asarray(-jnp.inf), jnp.logaddexp, (0,))
        halved = jax.lax.fori_loop(0, 3, lambda _, y: y / 2, x.sum())
        return power + most + halved + jax.lax.cond(x[0] < 1, jnp.sin, jnp.cos, x[1])

    assert 0 < np.abs(changes(several, x)).max() < 1e-10  # a wrong value is off by its size, 1

    def powers(x: jax.Array) -> jax.Array:
        return jnp.log(jnp.abs(jnp.fft.rfft(x)) ** 2).sum()

    assert np.abs(changes(jax.grad(powers), x)).max() < 1e-8


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


@pytest.mark.parametrize(
    ("law", "scale"), [*((law, 1.0) for law in PAIRS), ("logistic", 1 + SLIGHT)]
)
def test_an_interval_s_probability_is_one_however_it_is_subtracted(law: str, scale: float) -> None:
    in_pymc, in_numpyro, data = PAIRS[law]

    def port(low, high) -> None:
        in_numpyro(low, high, scale)

    given: dict[str, Any] = {"data": data, "likelihood": ("rows",)}
    assert cc.check(pymc=in_pymc, numpyro=port, **given).passed is (scale == 1.0)


# --- bugs that rounding could be taken for --------------------------------------------------------


@pytest.mark.parametrize("forgets", ["pymc", "numpyro"])
def test_an_order_that_one_program_forgets_is_a_difference(forgets: str) -> None:
    def in_pymc(y: Any) -> pm.Model:
        import pymc as pm

        with pm.Model() as model:
            mu = pm.Normal("mu", 0, 3, shape=2)
            if forgets == "numpyro":
                pm.Potential("order", pm.math.switch(mu[1] < mu[0], -np.inf, 0.0))
            pm.Normal("y", mu[0] + mu[1], 1, observed=y)
        return model

    def in_numpyro(y) -> None:
        mu = numpyro.sample("mu", dist.Normal(0, 3).expand([2]).to_event(1))
        if forgets == "pymc":
            numpyro.factor("order", jnp.where(mu[1] < mu[0], -jnp.inf, 0.0))
        numpyro.sample("y", dist.Normal(mu[0] + mu[1], 1), obs=y)

    y = np.random.default_rng(4).normal(0, 1, 30)
    told = str(cc.check(pymc=in_pymc, numpyro=in_numpyro, data={"y": y}))
    assert "DIFFER" in told
    assert "rounding" not in told


@pytest.mark.parametrize("weight", [1.0, 1 + SLIGHT])
def test_a_weight_of_the_tail_is_a_difference_where_data_lie_at_the_limit(weight: float) -> None:
    y = np.minimum(np.random.default_rng(5).normal(1, 1, 40), 1.7)

    def censored(y: Any) -> pm.Model:
        import pymc as pm

        with pm.Model() as model:
            mu = pm.Normal("mu", 0, 3)
            pm.Censored("y", pm.Normal.dist(mu, 1), lower=None, upper=1.7, observed=y)
        return model

    def port(y) -> None:
        mu = numpyro.sample("mu", dist.Normal(0, 3))
        at_limit = (y - mu) / 3 >= (1.7 - mu) / 3
        rows = jnp.where(at_limit, weight * norm.logsf(1.7, mu, 1), norm.logpdf(y, mu, 1))
        numpyro.factor("rows", rows)

    checked = cc.check(pymc=censored, numpyro=port, data={"y": y}, likelihood=("rows",))
    assert checked.passed is (weight == 1.0)


@pytest.mark.parametrize("scale", [1.0, 1 + 3e-7])
def test_a_library_s_inexact_function_hides_no_slight_difference(scale: float) -> None:
    counts = np.array([11, 12, 13, 14, 15, 16])

    def program(counts: Any) -> pm.Model:
        import pymc as pm

        with pm.Model() as model:
            mu, alpha = pm.LogNormal("mu", 2.56, 1), pm.LogNormal("alpha", 2.3, 1)
            pm.NegativeBinomial("counts", mu=mu, alpha=alpha, observed=counts)
        return model

    def port(counts) -> None:
        mu = numpyro.sample("mu", dist.LogNormal(2.56, 1))
        alpha = numpyro.sample("alpha", dist.LogNormal(2.3, 1))
        numpyro.sample("counts", dist.NegativeBinomial2(mu, alpha * scale), obs=counts)

    found = cc.adopt(pymc=program, numpyro=port, data={"counts": counts}).adopted.pair
    assert found is not None
    points = np.random.default_rng(1).normal([2.56, 2.3], 0.01, (6, 2))
    told = [v.outcome for v in differences(found, points, inside=True)]
    assert ("DIFFER" in told) is (scale != 1.0)
