"""Models that Bambi builds from a formula are adopted as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import concord as cc

bambi = pytest.importorskip("bambi")
pandas = pytest.importorskip("pandas")

pytestmark = pytest.mark.usefixtures("unoptimised")

rng = np.random.default_rng(3)
N = 30
x = rng.normal(size=N)
table = pandas.DataFrame(
    {
        "x": x,
        "y": 1 + x + rng.normal(size=N),
        "g": np.array(list("abcde"))[np.arange(N) % 5],
        "hit": rng.integers(0, 2, N),
        "count": rng.poisson(3, N),
        "kind": np.array(["red", "green", "blue"])[rng.integers(0, 3, N)],
    }
)


def built(formula: str, **options: Any) -> Any:
    model = bambi.Model(formula, table, **options)
    model.build()
    return model.backend.model


@pytest.mark.parametrize(
    ("formula", "family", "latent"),
    [
        ("y ~ x + (x | g)", "gaussian", ("1|g_offset", "x|g_offset")),
        ("hit ~ x", "bernoulli", ()),
        ("count ~ x", "poisson", ()),
        ("count ~ x", "negativebinomial", ()),
        ("kind ~ x", "categorical", ()),
    ],
)
def test_alone(formula: str, family: str, latent: tuple[str, ...]) -> None:
    checked = cc.check(pymc=built(formula, family=family))
    assert checked.passed, checked
    problem = checked.rows[-1][2]
    assert all(name in problem for name in latent), problem
    assert ("latent" in problem) is bool(latent), problem


def test_against_a_function_of_the_same_model() -> None:
    def line(x, y):
        intercept = numpyro.sample("Intercept", dist.Normal(1.0, 2.5))
        slope = numpyro.sample("x", dist.Normal(0, 2.5))
        sigma = numpyro.sample("sigma", dist.Exponential(2))
        numpyro.sample("y", dist.Normal(intercept + slope * (x - x.mean()), sigma), obs=y)

    priors = {
        "Intercept": bambi.Prior("Normal", mu=1.0, sigma=2.5),
        "x": bambi.Prior("Normal", mu=0.0, sigma=2.5),
        "sigma": bambi.Prior("Exponential", lam=2.0),
    }
    checked = cc.check(pymc=built("y ~ x", priors=priors), numpyro=line, data=table[["x", "y"]])
    assert checked.passed, checked
