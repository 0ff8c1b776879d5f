"""Regressions on real responses as their users write them, in both languages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import polars as pl
import pymc as pm
import pytensor.tensor as pt
from numpyro.distributions import constraints


@final
@dataclass(frozen=True)
class Pair:
    """One model in both languages, on data.

    Attributes:
        name: what it is.
        numpyro: the NumPyro function.
        pymc: returns the PyMC model.
        data: what both are given, by name.
        options: further arguments of `check` and `compare`.
    """

    name: str
    numpyro: Callable[..., Any]
    pymc: Callable[..., Any]
    data: Any
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def programs(self) -> dict[str, Callable[..., Any]]:
        """By language."""
        return {"numpyro": self.numpyro, "pymc": self.pymc}


rng = np.random.default_rng(0)
N = 24
X = rng.normal(size=(N, 3))
X1 = X[:, 0]
Y = X @ [1, 2.0, -1] + rng.normal(size=N)
POSITIVE = np.exp(0.5 * X1 + 0.4 * rng.normal(size=N))
STRINGS = np.array(["Kent", "Avon", "Ross", "Bute"])[np.arange(N) % 4]


# --- Gaussian ------------------------------------------------------------------------------------


def linear_matrix(X, y=None):
    a = numpyro.sample("a", dist.Normal(0, 10))
    b = numpyro.sample("b", dist.Normal(0, 2.5).expand([X.shape[1]]))
    sigma = numpyro.sample("sigma", dist.Exponential(1.0))
    with numpyro.plate("rows", len(X)):
        numpyro.sample("y", dist.Normal(a + X @ b, sigma), obs=y)


def linear_matrix_pymc(X, y):
    with pm.Model() as model:
        a = pm.Normal("a", 0, 10)
        b = pm.Normal("b", 0, 2.5, shape=X.shape[1])
        sigma = pm.Exponential("sigma", 1)
        pm.Normal("y", mu=a + pm.math.dot(X, b), sigma=sigma, observed=y)
    return model


def linear_columns(age, male, dose, y=None):
    alpha = numpyro.sample("alpha", dist.Normal(0, 10))
    b_age = numpyro.sample("b_age", dist.Normal(0, 0.5))
    b_male = numpyro.sample("b_male", dist.Normal(0, 1))
    b_dose = numpyro.sample("b_dose", dist.Normal(0, 1))
    sigma = numpyro.sample("sigma", dist.HalfCauchy(2.0))
    mu = numpyro.deterministic("mu", alpha + b_age * age + b_male * male + b_dose * dose)
    numpyro.sample("y", dist.Normal(mu, sigma), obs=y)


def linear_columns_pymc(age, male, dose, y):
    with pm.Model(coords={"patient": np.arange(len(age))}) as model:
        age_ = pm.Data("age", age, dims="patient")
        alpha = pm.Normal("alpha", 0, 10)
        b_age = pm.Normal("b_age", 0, 0.5)
        b_male = pm.Normal("b_male")
        b_dose = pm.Normal("b_dose", 0, 1)
        sigma = pm.HalfCauchy("sigma", 2)
        mu = pm.Deterministic("mu", alpha + b_age * age_ + b_male * male + b_dose * dose)
        pm.Normal("y", mu, sigma, observed=y, dims="patient")
    return model


COLUMNS = {
    "age": rng.integers(20, 80, N),
    "male": rng.integers(0, 2, N).astype(bool),
    "dose": rng.uniform(0, 1, N),
    "y": Y,
}


def whole_frame(df):
    beta = numpyro.sample("beta", dist.Normal(0, 1).expand([2]).to_event(1))
    tau = numpyro.sample("tau", dist.Gamma(2.0, 3.0))
    mu = beta[0] + beta[1] * jnp.asarray(df["dose"].to_numpy())
    numpyro.sample("y", dist.Normal(mu, 1 / jnp.sqrt(tau)), obs=jnp.asarray(df["y"].to_numpy()))


def whole_frame_pymc(df):
    with pm.Model() as model:
        beta = pm.Normal("beta", 0, 1, shape=2)
        tau = pm.Gamma("tau", alpha=2, beta=3)
        mu = beta[0] + beta[1] * df["dose"].to_numpy()
        pm.Normal("y", mu=mu, tau=tau, observed=df["y"].to_numpy())
    return model


def all_data(data):
    scale = numpyro.sample("scale", dist.InverseGamma(3.0, 2.0))
    slope = numpyro.sample("slope", dist.Laplace(0.0, 1.5))
    numpyro.sample("obs", dist.Laplace(slope * data["x"], scale), obs=data["y"])


def all_data_pymc(data):
    with pm.Model() as model:
        scale = pm.InverseGamma("scale", alpha=3, beta=2)
        slope = pm.Laplace("slope", mu=0, b=1.5)
        pm.Laplace("obs", mu=slope * data["x"], b=scale, observed=data["y"])
    return model


def labelled(county, x, y=None):
    groups = len(np.unique(county))
    a = numpyro.sample("a", dist.Normal(0, 5).expand([groups]))
    b = numpyro.sample("b", dist.Normal(0, 1))
    sigma = numpyro.sample("sigma", dist.Uniform(0, 20))
    numpyro.sample("y", dist.Normal(a[county] + b * x, sigma), obs=y)


def labelled_pymc(county, x, y):
    names, index = np.unique(county, return_inverse=True)
    with pm.Model(coords={"county": names}) as model:
        a = pm.Normal("a", 0, 5, dims="county")
        b = pm.Normal("b")
        sigma = pm.Uniform("sigma", 0, 20)
        pm.Normal("y", a[index] + b * x, sigma, observed=y)
    return model


def flat(X, y=None):
    b = numpyro.sample("b", dist.ImproperUniform(constraints.real_vector, (), (X.shape[1],)))
    log_sigma = numpyro.sample("log_sigma", dist.ImproperUniform(constraints.real, (), ()))
    numpyro.sample("y", dist.Normal(X @ b, jnp.exp(log_sigma)), obs=y)


def flat_pymc(X, y):
    with pm.Model() as model:
        b = pm.Flat("b", shape=X.shape[1])
        log_sigma = pm.Flat("log_sigma")
        pm.Normal("y", X @ b, pm.math.exp(log_sigma), observed=y)
    return model


def robust(x, y=None):
    a = numpyro.sample("a", dist.Normal(0, 10))
    b = numpyro.sample("b", dist.StudentT(3, 0, 2.5))
    nu = numpyro.sample("nu", dist.Gamma(2, 0.1))
    sigma = numpyro.sample("sigma", dist.HalfNormal(2.5))
    numpyro.sample("y", dist.StudentT(nu, a + b * x, sigma), obs=y)


def robust_pymc(x, y):
    with pm.Model() as model:
        a = pm.Normal("a", 0, 10)
        b = pm.StudentT("b", nu=3, mu=0, sigma=2.5)
        nu = pm.Gamma("nu", 2, 0.1)
        sigma = pm.HalfNormal("sigma", 2.5)
        pm.StudentT("y", nu=nu, mu=a + b * x, sigma=sigma, observed=y)
    return model


def standardised(x, y=None):
    z = (x - x.mean()) / x.std()
    a = numpyro.sample("a", dist.Normal(y.mean(), 10))
    b = numpyro.sample("b", dist.Normal(0, 1))
    sigma = numpyro.sample("sigma", dist.LeftTruncatedDistribution(dist.StudentT(3, 0, 2.5), 0.0))
    numpyro.sample("y", dist.Normal(a + b * z, sigma), obs=y)


def standardised_pymc(x, y):
    z = (x - np.mean(x)) / np.std(x)
    with pm.Model() as model:
        a = pm.Normal("a", y.mean(), 10)
        b = pm.Normal("b", 0, 1)
        sigma = pm.HalfStudentT("sigma", nu=3, sigma=2.5)
        pm.Normal("y", a + b * z, sigma, observed=y)
    return model


def two_scales(x, y=None):
    b = numpyro.sample("b", dist.Normal(0, 1).expand([2]))
    g = numpyro.sample("g", dist.Normal(0, 1).expand([2]))
    sigma = jax.nn.softplus(g[0] + g[1] * x)
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Normal(b[0] + b[1] * x, sigma), obs=y)


def two_scales_pymc(x, y):
    with pm.Model() as model:
        b = pm.Normal("b", 0, 1, size=2)
        g = pm.Normal("g", 0, 1, size=2)
        sigma = pm.math.log1pexp(g[0] + g[1] * x)
        pm.Normal("y", b[0] + b[1] * x, sigma, observed=y)
    return model


# --- positive responses --------------------------------------------------------------------------


def gamma_mean(x, y=None):
    b = numpyro.sample("b", dist.Normal(0, 1).expand([2]))
    shape = numpyro.sample("shape", dist.Exponential(0.5))
    mu = jnp.exp(b[0] + b[1] * x)
    numpyro.sample("y", dist.Gamma(shape, shape / mu), obs=y)


def gamma_mean_pymc(x, y):
    with pm.Model() as model:
        b = pm.Normal("b", 0, 1, shape=2)
        shape = pm.Exponential("shape", 0.5)
        mu = pm.math.exp(b[0] + b[1] * x)
        pm.Gamma("y", mu=mu, sigma=mu / pm.math.sqrt(shape), observed=y)
    return model


def weibull(x, y=None):
    b = numpyro.sample("b", dist.Normal(0, 1).expand([2]).to_event(1))
    k = numpyro.sample("k", dist.Gamma(3, 2))
    numpyro.sample("y", dist.Weibull(jnp.exp(b[0] + b[1] * x), k), obs=y)


def weibull_pymc(x, y):
    with pm.Model() as model:
        b = pm.Normal("b", 0, 1, shape=2)
        k = pm.Gamma("k", 3, 2)
        pm.Weibull("y", alpha=k, beta=pm.math.exp(b[0] + b[1] * x), observed=y)
    return model


def lognormal(x, y=None):
    b = numpyro.sample("b", dist.Normal(0, 1).expand([2]))
    s = numpyro.sample("s", dist.LogNormal(0.0, 0.5))
    numpyro.sample("y", dist.LogNormal(b[0] + b[1] * x, s), obs=y)


def lognormal_pymc(x, y):
    with pm.Model() as model:
        b = pm.Normal("b", 0, 1, shape=2)
        s = pm.LogNormal("s", 0, 0.5)
        pm.LogNormal("y", mu=b[0] + b[1] * x, sigma=s, observed=y)
    return model


def wald(x, y=None):
    b = numpyro.sample("b", dist.Normal(0, 1).expand([2]))
    lam = numpyro.sample("lam", dist.HalfNormal(3))
    mu = jnp.exp(b[0] + b[1] * x)
    density = 0.5 * jnp.log(lam / (2 * jnp.pi * y**3)) - lam * (y - mu) ** 2 / (2 * mu**2 * y)
    numpyro.factor("ll", density)


def wald_pymc(x, y):
    with pm.Model() as model:
        b = pm.Normal("b", 0, 1, shape=2)
        lam = pm.HalfNormal("lam", 3)
        pm.Wald("y", mu=pm.math.exp(b[0] + b[1] * x), lam=lam, observed=y)
    return model


def beta_mean(x, y=None):
    b = numpyro.sample("b", dist.Normal(0, 1).expand([2]))
    kappa = numpyro.sample("kappa", dist.Gamma(2.0, 0.1))
    mu = jax.nn.sigmoid(b[0] + b[1] * x)
    numpyro.sample("y", dist.BetaProportion(mu, kappa), obs=y)


def beta_mean_pymc(x, y):
    with pm.Model() as model:
        b = pm.Normal("b", 0, 1, shape=2)
        kappa = pm.Gamma("kappa", 2, 0.1)
        pm.Beta("y", mu=pm.math.invlogit(b[0] + b[1] * x), nu=kappa, observed=y)
    return model


SHARES = rng.dirichlet([2.0, 3.0, 4.0], N)


def shares(x, Y=None):
    a = numpyro.sample("a", dist.Normal(0, 1).expand([3]).to_event(1))
    b = numpyro.sample("b", dist.Normal(0, 1).expand([3]).to_event(1))
    with numpyro.plate("rows", len(x)):
        numpyro.sample("Y", dist.Dirichlet(jnp.exp(a + jnp.outer(x, b))), obs=Y)


def shares_pymc(x, Y):
    with pm.Model(coords={"part": ["a", "b", "c"]}) as model:
        a = pm.Normal("a", 0, 1, dims="part")
        b = pm.Normal("b", 0, 1, dims="part")
        pm.Dirichlet("Y", a=pm.math.exp(a + x[:, None] * b[None, :]), observed=Y)
    return model


# --- censored and truncated ----------------------------------------------------------------------

LIMIT = 1.0
BELOW = np.minimum(Y, LIMIT)
TIMES = np.minimum(rng.exponential(2.0, N), 2.5)
INSIDE = np.clip(0.5 + 0.8 * X1 + 0.5 * rng.normal(size=N), -0.9, 2.9)


def tobit(x, y, censored):
    b = numpyro.sample("b", dist.Normal(0, 2).expand([2]))
    sigma = numpyro.sample("sigma", dist.HalfNormal(2))
    law = dist.Normal(b[0] + b[1] * x, sigma)
    with numpyro.handlers.mask(mask=~censored):
        numpyro.sample("y", law, obs=y)
    z = (y - law.loc) / sigma
    numpyro.factor("tail", jnp.where(censored, jax.scipy.special.log_ndtr(-z), 0.0))


def tobit_pymc(x, y, censored):
    with pm.Model() as model:
        b = pm.Normal("b", 0, 2, shape=2)
        sigma = pm.HalfNormal("sigma", 2)
        law = pm.Normal.dist(b[0] + b[1] * x, sigma)
        pm.Censored("y", law, lower=None, upper=LIMIT, observed=y)
    return model


def survival(x, time, event):
    b = numpyro.sample("b", dist.Normal(0, 1).expand([2]))
    k = numpyro.sample("k", dist.HalfNormal(2))
    law = dist.Weibull(jnp.exp(b[0] + b[1] * x), k)
    with numpyro.plate("rows", len(time)):
        censored = dist.RightCensoredDistribution(law, (~event).astype(int))
        numpyro.sample("time", censored, obs=time)


def survival_pymc(x, time, event):
    with pm.Model() as model:
        b = pm.Normal("b", 0, 1, shape=2)
        k = pm.HalfNormal("k", 2)
        scale = pm.math.exp(b[0] + b[1] * x)
        pm.Weibull("seen", k, scale[event], observed=time[event])
        pm.Potential("left", -((time[~event] / scale[~event]) ** k))
    return model


def exponential_tail(time, event):
    rate = numpyro.sample("rate", dist.Gamma(2.0, 1.0))
    numpyro.sample("seen", dist.Exponential(rate), obs=time[event])
    numpyro.factor("left", jnp.log1p(-dist.Exponential(rate).cdf(time[~event])))


def exponential_tail_pymc(time, event):
    with pm.Model() as model:
        rate = pm.Gamma("rate", 2, 1)
        pm.Exponential("seen", rate, observed=time[event])
        pm.Potential("left", pt.log1mexp(pm.logcdf(pm.Exponential.dist(rate), time[~event])))
    return model


def truncated(x, y=None):
    a = numpyro.sample("a", dist.Normal(0, 1))
    b = numpyro.sample("b", dist.Normal(0, 1))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1))
    numpyro.sample("y", dist.TruncatedNormal(a + b * x, sigma, low=-1.0, high=3.0), obs=y)


def truncated_pymc(x, y):
    with pm.Model() as model:
        a = pm.Normal("a", 0, 1)
        b = pm.Normal("b", 0, 1)
        sigma = pm.HalfNormal("sigma", 1)
        pm.TruncatedNormal("y", mu=a + b * x, sigma=sigma, lower=-1, upper=3, observed=y)
    return model


def truncated_below_pymc(x, y):
    with pm.Model() as model:
        a = pm.Normal("a", 0, 1)
        b = pm.Normal("b", 0, 1)
        sigma = pm.HalfNormal("sigma", 1)
        pm.Truncated("y", pm.Normal.dist(a + b * x, sigma), lower=-1, observed=y)
    return model


def truncated_below(x, y=None):
    a = numpyro.sample("a", dist.Normal(0, 1))
    b = numpyro.sample("b", dist.Normal(0, 1))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1))
    numpyro.sample("y", dist.LeftTruncatedDistribution(dist.Normal(a + b * x, sigma), -1.0), obs=y)


_XY = {"x": X1, "y": Y}
_POSITIVE = {"x": X1, "y": POSITIVE}
_EVENTS = {"time": TIMES, "event": TIMES < 2.5}
PAIRS = (
    Pair("linear, matrix", linear_matrix, linear_matrix_pymc, {"X": X, "y": Y}),
    Pair("linear, columns", linear_columns, linear_columns_pymc, pd.DataFrame(COLUMNS)),
    Pair("precision, polars df", whole_frame, whole_frame_pymc, pl.DataFrame(COLUMNS)),
    Pair("precision, pandas df", whole_frame, whole_frame_pymc, pd.DataFrame(COLUMNS)),
    Pair("Laplace, all data", all_data, all_data_pymc, _XY),
    Pair(
        "labels as strings",
        labelled,
        labelled_pymc,
        {"county": pd.Series(STRINGS), "x": pd.Series(X1), "y": pl.Series(Y)},
    ),
    Pair("flat priors", flat, flat_pymc, {"X": pd.DataFrame(X), "y": pd.Series(Y)}),
    Pair("Student's t", robust, robust_pymc, _XY),
    Pair("standardised, half t", standardised, standardised_pymc, _XY),
    Pair("two linear predictors", two_scales, two_scales_pymc, _XY),
    Pair("gamma by its mean", gamma_mean, gamma_mean_pymc, _POSITIVE),
    Pair("Weibull", weibull, weibull_pymc, _POSITIVE),
    Pair("log-normal", lognormal, lognormal_pymc, _POSITIVE),
    Pair("inverse Gaussian by a factor", wald, wald_pymc, _POSITIVE),
    Pair("beta by its mean", beta_mean, beta_mean_pymc, {"x": X1, "y": SHARES[:, 0]}),
    Pair("Dirichlet", shares, shares_pymc, {"x": X1, "Y": SHARES}),
    Pair("tobit", tobit, tobit_pymc, {"x": X1, "y": BELOW, "censored": BELOW >= LIMIT}),
    Pair("censored Weibull", survival, survival_pymc, {"x": X1, **_EVENTS}),
    Pair("censored exponential", exponential_tail, exponential_tail_pymc, _EVENTS),
    Pair("truncated normal", truncated, truncated_pymc, {"x": X1, "y": INSIDE}),
    Pair("truncated below", truncated_below, truncated_below_pymc, {"x": X1, "y": INSIDE}),
)
