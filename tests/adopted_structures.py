"""Pairs of programs as their users write them: hierarchies, mixtures, supports and the like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro import handlers
from numpyro.infer.reparam import LocScaleReparam

import concord as cc

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Kind(NamedTuple):
    """A model in one or both languages, and what is to be said of it.

    Attributes:
        numpyro: the NumPyro function; None if the language cannot express it.
        pymc: the PyMC builder; None if the language cannot express it.
        data: its arguments by name.
        latent: the variables that the likelihood problem names; () if there is none.
        said: words of the stage on sameness, of library facts that explain a difference.
        names: as `cc.check` takes it.
    """

    numpyro: Callable[..., Any] | None
    pymc: Callable[..., Any] | None
    data: Mapping[str, Any]
    latent: tuple[str, ...] = ()
    said: str = ""
    names: Mapping[str, str] | None = None

    def holds(self) -> None:
        """The programs pass every stage, and what is said of them is said."""
        checked = cc.check(pymc=self.pymc, numpyro=self.numpyro, data=self.data, names=self.names)
        assert checked.passed, checked
        found = {stage: text for stage, _, text, _ in checked.rows}
        assert self.said in found["same model"], checked
        assert self.said or "limited by" not in found["same model"], checked
        problem = found["likelihood"]
        if self.latent:
            assert f"latent={self.latent!r}" in problem
            assert problem.startswith(", ".join(self.latent))
        else:
            assert problem.endswith("every parameter is in it")


rng = np.random.default_rng(0)
N, G = 24, 5
x = rng.normal(size=N)
g = np.arange(N) % G
h = rng.integers(0, 3, N)
u = rng.normal(size=G)
y = 1 + rng.normal(size=G)[g] + 0.5 * x + rng.normal(size=N)
two = np.where(np.arange(N) % 2, 2.0, -2.0) + 0.7 * rng.normal(size=N)
groups = {"x": x, "g": g, "y": y}
effects = np.array([28.0, 8, -3, 7, -1, 1, 18, 12])
errors = np.array([15.0, 10, 16, 11, 9, 11, 10, 18])
schools = {"se": errors, "y": effects}


# eight schools


def schools_numpyro(se, y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 5))
    tau = numpyro.sample("tau", dist.HalfCauchy(5))
    with numpyro.plate("school", len(se)):
        theta = numpyro.sample("theta", dist.Normal(mu, tau))
        numpyro.sample("y", dist.Normal(theta, se), obs=y)


def schools_numpyro_noncentred(se, y=None):
    with handlers.reparam(config={"theta": LocScaleReparam(0)}):
        schools_numpyro(se, y)


def schools_pymc(se, y):
    import pymc as pm

    with pm.Model(coords={"school": list("ABCDEFGH")}) as model:
        mu = pm.Normal("mu", 0, 5)
        tau = pm.HalfCauchy("tau", 5)
        theta = pm.Normal("theta", mu, tau, dims="school")
        pm.Normal("y", theta, se, observed=y, dims="school")
    return model


def schools_pymc_noncentred(se, y):
    import pymc as pm

    with pm.Model(coords={"school": list("ABCDEFGH")}) as model:
        se = pm.Data("se", se, dims="school")
        mu = pm.Normal("mu", 0, 5)
        tau = pm.HalfCauchy("tau", 5)
        raw = pm.Normal("theta_raw", 0, 1, dims="school")
        theta = pm.Deterministic("theta", mu + tau * raw, dims="school")
        pm.Normal("y", theta, se, observed=y, dims="school")
    return model


# varying intercepts and slopes


def slopes_numpyro(x, g, u, y=None):
    gamma = numpyro.sample("gamma", dist.Normal(0, 2).expand([2]).to_event(1))
    slope = numpyro.sample("slope", dist.Normal(0, 2))
    sigma_a = numpyro.sample("sigma_a", dist.HalfNormal(1))
    sigma_b = numpyro.sample("sigma_b", dist.HalfNormal(1))
    sigma = numpyro.sample("sigma", dist.Exponential(1))
    with numpyro.plate("group", len(u)):
        a = numpyro.sample("a", dist.Normal(gamma[0] + gamma[1] * u, sigma_a))
        b = numpyro.sample("b", dist.Normal(slope, sigma_b))
    with numpyro.plate("obs", len(x)):
        numpyro.sample("y", dist.Normal(a[g] + b[g] * x, sigma), obs=y)


def slopes_pymc(x, g, u, y):
    import pymc as pm

    coords = {"group": range(len(u)), "obs": range(len(x)), "coef": ["intercept", "u"]}
    with pm.Model(coords=coords) as model:
        xs = pm.Data("x", x, dims="obs")
        which = pm.Data("which", g, dims="obs")
        gamma = pm.Normal("gamma", 0, 2, dims="coef")
        slope = pm.Normal("slope", 0, 2)
        sigma_a = pm.HalfNormal("sigma_a", 1)
        sigma_b = pm.HalfNormal("sigma_b", 1)
        sigma = pm.Exponential("sigma", 1)
        a = pm.Normal("a", gamma[0] + gamma[1] * u, sigma_a, dims="group")
        b = pm.Normal("b", slope, sigma_b, dims="group")
        pm.Normal("y", a[which] + b[which] * xs, sigma, observed=y, dims="obs")
    return model


def crossed_numpyro(g, h, y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 5))
    sds = numpyro.sample("sds", dist.HalfNormal(1).expand([3]).to_event(1))
    with numpyro.plate("first", 5):
        a = numpyro.sample("a_raw", dist.Normal(0, 1)) * sds[0]
    with numpyro.plate("second", 3):
        b = numpyro.sample("b_raw", dist.Normal(0, 1)) * sds[1]
    numpyro.deterministic("a", a)
    numpyro.deterministic("b", b)
    numpyro.sample("y", dist.Normal(mu + a[g] + b[h], sds[2]), obs=y)


def crossed_pymc(g, h, y):
    import pymc as pm

    with pm.Model() as model:
        mu = pm.Normal("mu", 0, 5)
        sds = pm.HalfNormal("sds", 1, shape=3)
        a = pm.Normal("a", 0, sds[0], shape=5)
        b = pm.Normal("b", 0, sds[1], shape=3)
        pm.Normal("y", mu + a[g] + b[h], sds[2], observed=y)
    return model


def correlated_numpyro(x, g, y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 2).expand([2]).to_event(1))
    sd = numpyro.sample("sd", dist.Exponential(1).expand([2]).to_event(1))
    corr = numpyro.sample("corr", dist.LKJCholesky(2, 2.0))
    chol = numpyro.deterministic("chol", sd[:, None] * corr)
    sigma = numpyro.sample("sigma", dist.HalfNormal(1))
    with numpyro.plate("group", 5):
        ab = numpyro.sample("ab", dist.MultivariateNormal(mu, scale_tril=chol))
    numpyro.sample("y", dist.Normal(ab[g, 0] + ab[g, 1] * x, sigma), obs=y)


def correlated_pymc(x, g, y):
    import pymc as pm

    with pm.Model() as model:
        mu = pm.Normal("mu", 0, 2, shape=2)
        chol, _, _ = pm.LKJCholeskyCov("chol", n=2, eta=2.0, sd_dist=pm.Exponential.dist(1, size=2))
        sigma = pm.HalfNormal("sigma", 1)
        ab = pm.MvNormal("ab", mu, chol=chol, shape=(5, 2))
        pm.Normal("y", ab[g, 0] + ab[g, 1] * x, sigma, observed=y)
    return model


# covariances


def covariance_numpyro(y=None):
    sd = numpyro.sample("sd", dist.Exponential(1).expand([3]).to_event(1))
    corr = numpyro.sample("corr", dist.LKJCholesky(3, 1.0))
    chol = sd[:, None] * corr
    numpyro.deterministic("chol", chol[np.tril_indices(3)])
    numpyro.sample("y", dist.MultivariateNormal(jnp.zeros(3), scale_tril=chol), obs=y)


def covariance_pymc(y):
    import pymc as pm

    with pm.Model() as model:
        chol, _, _ = pm.LKJCholeskyCov("chol", n=3, eta=1.0, sd_dist=pm.Exponential.dist(1, size=3))
        pm.MvNormal("y", np.zeros(3), chol=chol, observed=y)
    return model


def zero_sum_numpyro(g, y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 5))
    a = numpyro.sample("a", dist.ZeroSumNormal(1.5, (5,)))
    numpyro.sample("y", dist.Normal(mu + a[g], 1), obs=y)


def zero_sum_pymc(g, y):
    import pymc as pm

    with pm.Model() as model:
        mu = pm.Normal("mu", 0, 5)
        a = pm.ZeroSumNormal("a", 1.5, shape=5)
        pm.Normal("y", mu + a[g], 1, observed=y)
    return model


def horseshoe_numpyro(X, y=None):
    tau = numpyro.sample("tau", dist.HalfCauchy(1))
    lam = numpyro.sample("lam", dist.HalfCauchy(1).expand([X.shape[1]]))
    beta = numpyro.sample("beta", dist.Normal(0, tau * lam))
    sigma = numpyro.sample("sigma", dist.HalfNormal(2))
    numpyro.sample("y", dist.Normal(X @ beta, sigma), obs=y)


def horseshoe_pymc(X, y):
    import pymc as pm

    with pm.Model() as model:
        tau = pm.HalfCauchy("tau", 1)
        lam = pm.HalfCauchy("lam", 1, shape=X.shape[1])
        z = pm.Normal("z", 0, 1, shape=X.shape[1])
        beta = pm.Deterministic("beta", z * tau * lam)
        sigma = pm.HalfNormal("sigma", 2)
        pm.Normal("y", X @ beta, sigma, observed=y)
    return model


# mixtures


def mixture_numpyro(y=None):
    w = numpyro.sample("w", dist.Dirichlet(jnp.ones(2)))
    mu = numpyro.sample("mu", dist.Normal(0, 5).expand([2]))
    sigma = numpyro.sample("sigma", dist.HalfNormal(2).expand([2]))
    with numpyro.plate("obs", 24):
        law = dist.MixtureSameFamily(dist.Categorical(w), dist.Normal(mu, sigma))
        numpyro.sample("y", law, obs=y)


def mixture_pymc(y):
    import pymc as pm

    with pm.Model() as model:
        w = pm.Dirichlet("w", np.ones(2))
        mu = pm.Normal("mu", 0, 5, shape=2)
        sigma = pm.HalfNormal("sigma", 2, shape=2)
        pm.NormalMixture("y", w=w, mu=mu, sigma=sigma, observed=y)
    return model


def general_numpyro(y=None):
    w = numpyro.sample("w", dist.Beta(2, 2))
    nu = numpyro.sample("nu", dist.Gamma(2, 0.1))
    weights = dist.Categorical(jnp.stack([w, 1 - w]))
    parts = [dist.Normal(0, 1), dist.StudentT(nu, 0.0, 3.0)]
    numpyro.sample("y", dist.MixtureGeneral(weights, parts), obs=y)


def general_pymc(y):
    import pymc as pm

    with pm.Model() as model:
        w = pm.Beta("w", 2, 2)
        nu = pm.Gamma("nu", 2, 0.1)
        parts = [pm.Normal.dist(0, 1), pm.StudentT.dist(nu=nu, mu=0, sigma=3)]
        pm.Mixture("y", w=pm.math.stack([w, 1 - w]), comp_dists=parts, observed=y)
    return model


def labels_numpyro(y=None):
    w = numpyro.sample("w", dist.Dirichlet(jnp.ones(2)))
    with numpyro.plate("component", 2):
        mu = numpyro.sample("mu", dist.Normal(0, 5))
        sigma = numpyro.sample("sigma", dist.HalfNormal(2))
    with numpyro.plate("obs", 24):
        z = numpyro.sample("z", dist.Categorical(w), infer={"enumerate": "parallel"})
        numpyro.sample("y", dist.Normal(mu[z], sigma[z]), obs=y)


def labels_pymc(y):
    import pymc as pm
    import pymc_extras as pmx

    with pm.Model() as model:
        w = pm.Dirichlet("w", np.ones(2))
        mu = pm.Normal("mu", 0, 5, shape=2)
        sigma = pm.HalfNormal("sigma", 2, shape=2)
        z = pm.Categorical("z", w, shape=24)
        pm.Normal("y", mu[z], sigma[z], observed=y)
    return pmx.marginalize(model, ["z"])


HIERARCHIES = {
    "schools, centred": Kind(schools_numpyro, schools_pymc, schools, ("theta",)),
    "schools, non-centred": Kind(
        schools_numpyro_noncentred, schools_pymc_noncentred, schools, ("theta_raw",)
    ),
    "schools, centred and not": Kind(schools_numpyro, schools_pymc_noncentred, schools, ("theta",)),
    "schools, not and centred": Kind(schools_numpyro_noncentred, schools_pymc, schools, ("theta",)),
    "slopes and a covariate": Kind(slopes_numpyro, slopes_pymc, {**groups, "u": u}, ("a", "b")),
    "crossed groups": Kind(crossed_numpyro, crossed_pymc, {"g": g, "h": h, "y": y}, ("a", "b")),
    "correlated slopes": Kind(
        correlated_numpyro, correlated_pymc, groups, ("ab",), "up to the constant"
    ),
    "covariance, packed": Kind(
        covariance_numpyro,
        covariance_pymc,
        {"y": rng.normal(size=(N, 3))},
        (),
        "up to the constant",
    ),
    "zero sum": Kind(zero_sum_numpyro, zero_sum_pymc, {"g": g, "y": y}),
    "horseshoe": Kind(
        horseshoe_numpyro, horseshoe_pymc, {"X": rng.normal(size=(N, 3)), "y": y}, ("beta",)
    ),
}
MIXTURES = {
    "normal mixture": Kind(mixture_numpyro, mixture_pymc, {"y": two}),
    "general mixture": Kind(general_numpyro, general_pymc, {"y": two}),
    "labels against labels": Kind(labels_numpyro, labels_pymc, {"y": two}),
    "none against labels": Kind(mixture_numpyro, labels_pymc, {"y": two}),
}
