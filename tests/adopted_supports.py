"""Pairs of programs whose data, supports or likelihoods are not of the plain form."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from adopted_structures import Kind
from numpyro.distributions import constraints

rng = np.random.default_rng(1)
N = 20
x = rng.normal(size=N)
y = 1 + 0.5 * x + rng.normal(size=N)
line = {"x": x, "y": y}


# missing outcomes are latent


def missing_numpyro(x, y):
    a = numpyro.sample("a", dist.Normal(0, 5))
    b = numpyro.sample("b", dist.Normal(0, 5))
    sigma = numpyro.sample("sigma", dist.HalfNormal(2))
    gone = np.isnan(y)
    mean = a + b * x
    y_gone = numpyro.sample("y_unobserved", dist.Normal(mean[gone], sigma))
    full = jnp.asarray(y).at[np.flatnonzero(gone)].set(y_gone)
    numpyro.deterministic("y_full", full)
    numpyro.sample("y_seen", dist.Normal(mean[~gone], sigma), obs=y[~gone])


def missing_pymc(x, y):
    import pymc as pm

    with pm.Model() as model:
        a = pm.Normal("a", 0, 5)
        b = pm.Normal("b", 0, 5)
        sigma = pm.HalfNormal("sigma", 2)
        pm.Normal("y", a + b * x, sigma, observed=np.ma.masked_invalid(y))
    return model


def masked_numpyro(x, y):
    seen = ~np.isnan(y)
    a = numpyro.sample("a", dist.Normal(0, 5))
    b = numpyro.sample("b", dist.Normal(0, 5))
    sigma = numpyro.sample("sigma", dist.HalfNormal(2))
    with numpyro.plate("obs", len(x)):
        law = dist.Normal(a + b * x, sigma).mask(seen)
        numpyro.sample("y", law, obs=np.where(seen, y, 0.0))


def complete_pymc(x, y):
    import pymc as pm

    seen = ~np.isnan(y)
    with pm.Model() as model:
        a = pm.Normal("a", 0, 5)
        b = pm.Normal("b", 0, 5)
        sigma = pm.HalfNormal("sigma", 2)
        pm.Normal("y", a + b * x[seen], sigma, observed=y[seen])
    return model


# several observed sites, rows elsewhere


def two_sites_numpyro(x, y, counts):
    a = numpyro.sample("a", dist.Normal(0, 1))
    b = numpyro.sample("b", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(a + b * x, 1), obs=y)
    numpyro.sample("counts", dist.Poisson(jnp.exp(a)), obs=counts)


def two_sites_pymc(x, y, counts):
    import pymc as pm

    with pm.Model() as model:
        a = pm.Normal("a")
        b = pm.Normal("b")
        pm.Normal("response", a + b * x, 1, observed=y)
        pm.Poisson("counts", pm.math.exp(a), observed=counts)
    return model


def wide_numpyro(Y):
    mu = numpyro.sample("mu", dist.Normal(0, 3).expand([Y.shape[0], 1]).to_event(2))
    sigma = numpyro.sample("sigma", dist.HalfNormal(2))
    with numpyro.plate("time", Y.shape[1]):
        numpyro.sample("Y", dist.Normal(mu, sigma), obs=Y)


def wide_pymc(Y):
    import pymc as pm

    with pm.Model(coords={"item": range(Y.shape[0]), "time": range(Y.shape[1])}) as model:
        mu = pm.Normal("mu", 0, 3, shape=(Y.shape[0], 1))
        sigma = pm.HalfNormal("sigma", 2)
        pm.Normal("Y", mu, sigma, observed=Y, dims=("item", "time"))
    return model


# laws of one's own


def inflated_numpyro(y):
    p = numpyro.sample("p", dist.Beta(1, 1))
    rate = numpyro.sample("rate", dist.Gamma(2, 0.5))
    numpyro.sample("y", dist.ZeroInflatedPoisson(p, rate), obs=y)


def inflated_pymc(y):
    import pymc as pm

    def logp(value, p, rate):
        some = pm.math.log1p(-p) + pm.logp(pm.Poisson.dist(rate), value)
        none = pm.math.log(p + (1 - p) * pm.math.exp(-rate))
        return pm.math.switch(pm.math.eq(value, 0), none, some)

    with pm.Model() as model:
        p = pm.Beta("p", 1, 1)
        rate = pm.Gamma("rate", 2, 0.5)
        pm.CustomDist("y", p, rate, logp=logp, observed=y, dtype="int64")
    return model


def shifted_numpyro(y):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1))
    shift = dist.transforms.AffineTransform(1.0, 1.0)
    law = dist.TransformedDistribution(dist.LogNormal(mu, sigma), shift)
    numpyro.sample("y", law, obs=y)


def shifted_pymc(y):
    import pymc as pm

    def law(mu, sigma, size):
        return 1.0 + pm.math.exp(pm.Normal.dist(mu, sigma, size=size))

    with pm.Model() as model:
        mu = pm.Normal("mu", 0, 1)
        sigma = pm.HalfNormal("sigma", 1)
        pm.CustomDist("y", mu, sigma, dist=law, observed=y)
    return model


# improper priors, and none


def flat_numpyro(x, y):
    b = numpyro.sample("b", dist.ImproperUniform(constraints.real, (), ()))
    sigma = numpyro.sample("sigma", dist.ImproperUniform(constraints.positive, (), ()))
    numpyro.sample("y", dist.Normal(b * x, sigma), obs=y)


def param_numpyro(x, y):
    b = numpyro.param("b", 0.0)
    sigma = numpyro.param("sigma", 1.0, constraint=constraints.positive)
    numpyro.sample("y", dist.Normal(b * x, sigma), obs=y)


def flat_pymc(x, y):
    import pymc as pm

    with pm.Model() as model:
        b = pm.Flat("b")
        sigma = pm.HalfFlat("sigma")
        pm.Normal("y", b * x, sigma, observed=y)
    return model


# supports that depend on parameters


def bounded_numpyro(y):
    top = numpyro.sample("top", dist.Pareto(3.0, 1.5))
    m = numpyro.sample("m", dist.Uniform(0, top))
    low = numpyro.sample("low", dist.TruncatedNormal(0.0, 1.0, low=-3.0, high=m))
    numpyro.sample("y", dist.Uniform(low, low + 2 * top), obs=y)


def bounded_pymc(y):
    import pymc as pm

    with pm.Model() as model:
        top = pm.Pareto("top", alpha=1.5, m=3.0)
        m = pm.Uniform("m", 0, top)
        low = pm.TruncatedNormal("low", 0.0, 1.0, lower=-3.0, upper=m)
        pm.Uniform("y", low, low + 2 * top, observed=y)
    return model


# the likelihood as a factor


def factor_numpyro(x, y):
    b = numpyro.sample("b", dist.Normal(0, 5))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1))
    residual = (y - b * x) / sigma
    numpyro.factor("fit", -jnp.sum(residual**2) / 2 - len(y) * jnp.log(sigma))


def potential_pymc(x, y):
    import pymc as pm

    with pm.Model() as model:
        b = pm.Normal("b", 0, 5)
        sigma = pm.HalfNormal("sigma", 1)
        fit = pm.logp(pm.Normal.dist(b * x, sigma), y) + np.log(2 * np.pi) / 2
        pm.Potential("fit", fit)
    return model


def soft_numpyro(y):
    a = numpyro.sample("a", dist.Normal(0, 1).expand([4]).to_event(1))
    numpyro.factor("centre", dist.Normal(0, 0.1).log_prob(a.sum()))
    numpyro.sample("y", dist.Normal(a[np.arange(N) % 4], 1), obs=y)


def soft_pymc(y):
    import pymc as pm

    with pm.Model() as model:
        a = pm.Normal("a", 0, 1, shape=4)
        pm.Potential("centre", pm.logp(pm.Normal.dist(0, 0.1), a.sum()))
        pm.Normal("y", a[np.arange(N) % 4], 1, observed=y)
    return model


# other parameters, other names


def precision_numpyro(x, y):
    b = numpyro.sample("b", dist.Normal(0, 5))
    precision = numpyro.sample("precision", dist.Gamma(2, 2))
    numpyro.deterministic("variance", 1 / precision)
    numpyro.sample("y", dist.Normal(b * x, precision**-0.5), obs=y)


def variance_pymc(x, y):
    import pymc as pm

    with pm.Model() as model:
        slope = pm.Normal("slope", 0, 5)
        variance = pm.InverseGamma("variance", 2, 2)
        pm.Normal("y", slope * x, pm.math.sqrt(variance), observed=y)
    return model


def log_scale_numpyro(x, y):
    b = numpyro.sample("b", dist.Normal(0, 5))
    log_sigma = numpyro.sample("log_sigma", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(b * x, jnp.exp(log_sigma)), obs=y)


def scale_pymc(x, y):
    import pymc as pm

    with pm.Model() as model:
        b = pm.Normal("b", 0, 5)
        sigma = pm.LogNormal("sigma", 0, 1)
        pm.Deterministic("log_sigma", pm.math.log(sigma))
        pm.Normal("y", b * x, sigma, observed=y)
    return model


holes = {"x": x, "y": np.where(np.arange(N) % 7 == 3, np.nan, y)}
zeros = rng.poisson(2, N) * rng.integers(0, 2, N)
OTHERS = {
    "missing, imputed": Kind(missing_numpyro, missing_pymc, holes, ("y_unobserved",)),
    "missing, masked": Kind(masked_numpyro, complete_pymc, holes),
    "two observed sites": Kind(
        two_sites_numpyro, two_sites_pymc, {**line, "counts": rng.poisson(3, 7)}
    ),
    "rows on another axis": Kind(wide_numpyro, wide_pymc, {"Y": rng.normal(size=(3, 12))}),
    "CustomDist, logp": Kind(inflated_numpyro, inflated_pymc, {"y": zeros}),
    "CustomDist, dist": Kind(shifted_numpyro, shifted_pymc, {"y": 1 + np.exp(y)}),
    "improper": Kind(flat_numpyro, flat_pymc, line),
    "param": Kind(param_numpyro, flat_pymc, line),
    "bounds that are parameters": Kind(bounded_numpyro, bounded_pymc, {"y": np.abs(y)}, ("low",)),
    "factor and potential": Kind(factor_numpyro, potential_pymc, line),
    "soft constraint": Kind(soft_numpyro, soft_pymc, {"y": y}),
    "precision and variance": Kind(precision_numpyro, variance_pymc, line, names={"slope": "b"}),
    "log scale": Kind(log_scale_numpyro, scale_pymc, line),
}
