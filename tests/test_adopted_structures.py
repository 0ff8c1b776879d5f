"""Hierarchies, mixtures and odd supports, as their users write them, pass as one model."""

from __future__ import annotations

from typing import Any

import adopted_structures as structures
import adopted_supports as supports
import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from adopted_pairs import some
from adopted_structures import Kind
from scipy.special import logsumexp
from scipy.stats import norm

import concord as cc
from models.programs.density import density

pytestmark = [
    pytest.mark.usefixtures("unoptimised"),
    pytest.mark.filterwarnings("ignore:Data in y contains missing values"),
]
KINDS = {**structures.HIERARCHIES, **structures.MIXTURES, **supports.OTHERS}
EVERY_TIME = {
    *("schools, centred and not", "crossed groups", "covariance, packed"),
    *("none against labels", "missing, imputed", "two observed sites"),
    *("CustomDist, logp", "param", "bounds that are parameters", "factor and potential"),
}
"""Kinds that together see every branch of adoption; the exhaustive tests see the others."""


@pytest.mark.parametrize("name", some(KINDS, EVERY_TIME))
def test_both_programs_are_one_model(name: str) -> None:
    KINDS[name].holds()


def test_the_program_of_either_language_names_its_latent_variables() -> None:
    built = structures.schools_pymc_noncentred(structures.errors, structures.effects)
    assert "latent=('theta_raw',)" in cc.adopt(pymc=built).likelihood_problem


def test_a_built_model_is_compared_as_far_as_its_constants_go() -> None:
    data = structures.schools
    built = structures.schools_pymc(data["se"], data["y"])
    said = "limited by the float32 constants"
    Kind(structures.schools_numpyro, built, data, ("theta",), said).holds()


def test_a_built_model_of_plain_laws_is_exact() -> None:
    built = supports.missing_pymc(**supports.holes)
    Kind(supports.missing_numpyro, built, supports.holes, ("y_unobserved",)).holds()


def test_a_constant_of_a_library_does_not_hide_a_difference() -> None:
    def wrong(y):
        with numpyro.handlers.scale(scale=1.01):
            structures.covariance_numpyro(y)

    checked = cc.check(numpyro=wrong, pymc=structures.covariance_pymc, data={"y": np.eye(3)})
    assert not checked.passed
    assert "DIFFER" in repr(checked)


def two_outcomes_pymc(y: Any, w: Any) -> Any:
    import pymc as pm

    with pm.Model() as model:
        m = pm.Normal("m", 0, 2, shape=2)
        z = pm.Bernoulli("z", 0.3, shape=len(y))
        pm.Normal("y", m[z], 1, observed=y)
        pm.Normal("w", 2 * m[z], 1, observed=w)
    return model


def two_outcomes_numpyro(y: Any, w: Any) -> None:
    m = numpyro.sample("m", dist.Normal(0, 2).expand([2]).to_event(1))
    with numpyro.plate("rows", len(y)):
        z = numpyro.sample("z", dist.Bernoulli(0.3))
        numpyro.sample("y", dist.Normal(m[z], 1), obs=y)
        numpyro.sample("w", dist.Normal(2 * m[z], 1), obs=w)


def test_a_label_of_two_outcomes_is_one_model() -> None:
    pytest.importorskip("pymc_extras")
    rng = np.random.default_rng(0)
    data = {"y": rng.normal(size=12), "w": rng.normal(size=12)}
    checked = cc.check(pymc=two_outcomes_pymc, numpyro=two_outcomes_numpyro, data=data)
    assert checked.passed, checked
    wrong = {"y": data["y"], "w": data["w"] + 0.1}
    told = cc.check(
        pymc=lambda y, w: two_outcomes_pymc(wrong["y"], wrong["w"]),
        numpyro=two_outcomes_numpyro,
        data=data,
    )
    assert not told.passed


def test_rows_of_two_outcomes_of_a_label_are_units_in_pymc_alone() -> None:
    pytest.importorskip("pymc_extras")
    rng = np.random.default_rng(0)
    data = {"y": rng.normal(size=12), "w": rng.normal(size=12)}
    model, m = cc.adopt(pymc=two_outcomes_pymc, data=data), np.array([-0.4, 1.1])
    with jax.enable_x64():
        target = density(model, model.data)
        rows = target.log_likelihood(target.unconstrain({"m": m}))
    each = norm.logpdf(data["y"][:, None], m) + norm.logpdf(data["w"][:, None], 2 * m)
    # SciPy's densities, summed over the label by hand
    np.testing.assert_allclose(rows, logsumexp(each + np.log([0.7, 0.3]), axis=1), rtol=1e-12)
