"""Regressions on counts and categories as their users write them, in both languages."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import polars as pl
import pymc as pm
import pytensor.tensor as pt
from adopted_regressions import X1, N, Pair, X
from numpyro.distributions import constraints

rng = np.random.default_rng(1)
BINARY = rng.integers(0, 2, N)
TRIALS = rng.integers(3, 12, N)
HITS = rng.binomial(TRIALS, 0.4)
EXPOSURE = rng.uniform(0.5, 4, N)
COUNTS = rng.poisson(np.exp(1.2 + 0.4 * X1) * rng.gamma(1.0, 1.0, N))
EXPOSED = rng.poisson(np.exp(0.5 + 0.4 * X1) * EXPOSURE)
ZEROS = COUNTS * rng.integers(0, 2, N)
LEVELS = np.arange(N) % 4
CLASSES = np.arange(N) % 3
VOTES = rng.multinomial(9, [0.2, 0.3, 0.5], N)


def line(prior=1.0):
    b = numpyro.sample("b", dist.Normal(0, prior).expand([2]).to_event(1))
    return lambda x: b[0] + b[1] * x


def line_pymc(x, prior=1.0):
    b = pm.Normal("b", 0, prior, shape=2)
    return b[0] + b[1] * x


# --- binary and binomial -------------------------------------------------------------------------


def logistic(X, y=None):
    a = numpyro.sample("a", dist.StudentT(3, 0, 2.5))
    b = numpyro.sample("b", dist.Normal(0, 2.5).expand([X.shape[1]]).to_event(1))
    with numpyro.plate("rows", X.shape[0]):
        numpyro.sample("y", dist.Bernoulli(logits=a + X @ b), obs=y)


def logistic_pymc(X, y):
    with pm.Model() as model:
        a = pm.StudentT("a", nu=3, mu=0, sigma=2.5)
        b = pm.Normal("b", mu=0, sigma=2.5, shape=X.shape[1])
        pm.Bernoulli("y", logit_p=a + pm.math.dot(X, b), observed=y)
    return model


def logistic_by_probability_pymc(X, y):
    with pm.Model() as model:
        a = pm.StudentT("a", nu=3, mu=0, sigma=2.5)
        b = pm.Normal("b", mu=0, sigma=2.5, shape=X.shape[1])
        p = pm.Deterministic("p", pm.math.sigmoid(a + X @ b))
        pm.Bernoulli("y", p=p, observed=y)
    return model


def probit(x, y=None):
    eta = line()(x)
    numpyro.sample("y", dist.Bernoulli(probs=jax.scipy.special.ndtr(eta)), obs=y)


def probit_pymc(x, y):
    with pm.Model() as model:
        pm.Bernoulli("y", p=pm.math.invprobit(line_pymc(x)), observed=y)
    return model


def binomial(trials, x, hits=None):
    eta = line(1.5)(x)
    numpyro.sample("hits", dist.Binomial(total_count=trials, logits=eta), obs=hits)


def binomial_pymc(trials, x, hits):
    with pm.Model() as model:
        pm.Binomial("hits", n=trials, logit_p=line_pymc(x, 1.5), observed=hits)
    return model


def beta_binomial(trials, x, hits=None):
    p = jax.nn.sigmoid(line()(x))
    phi = numpyro.sample("phi", dist.Gamma(2.0, 0.2))
    law = dist.BetaBinomial(p * phi, (1 - p) * phi, total_count=trials)
    numpyro.sample("hits", law, obs=hits)


def beta_binomial_pymc(trials, x, hits):
    with pm.Model() as model:
        p = pm.math.invlogit(line_pymc(x))
        phi = pm.Gamma("phi", 2, 0.2)
        pm.BetaBinomial("hits", alpha=p * phi, beta=(1 - p) * phi, n=trials, observed=hits)
    return model


# --- counts --------------------------------------------------------------------------------------


def poisson(x, exposure, y=None):
    eta = line()(x)
    with numpyro.plate("rows", len(x)):
        numpyro.sample("y", dist.Poisson(jnp.exp(eta + jnp.log(exposure))), obs=y)


def poisson_pymc(x, exposure, y):
    with pm.Model() as model:
        pm.Poisson("y", mu=exposure * pm.math.exp(line_pymc(x)), observed=y)
    return model


def negative_binomial_2(x, y=None):
    mu = jnp.exp(line()(x))
    alpha = numpyro.sample("alpha", dist.Exponential(0.5))
    numpyro.sample("y", dist.NegativeBinomial2(mu, alpha), obs=y)


def negative_binomial_logits(x, y=None):
    mu = jnp.exp(line()(x))
    alpha = numpyro.sample("alpha", dist.Exponential(0.5))
    law = dist.NegativeBinomialLogits(alpha, jnp.log(mu) - jnp.log(alpha))
    numpyro.sample("y", law, obs=y)


def negative_binomial_probs(x, y=None):
    mu = jnp.exp(line()(x))
    alpha = numpyro.sample("alpha", dist.Exponential(0.5))
    numpyro.sample("y", dist.NegativeBinomialProbs(alpha, mu / (mu + alpha)), obs=y)


def gamma_poisson(x, y=None):
    mu = jnp.exp(line()(x))
    alpha = numpyro.sample("alpha", dist.Exponential(0.5))
    numpyro.sample("y", dist.GammaPoisson(alpha, alpha / mu), obs=y)


def negative_binomial_pymc(x, y):
    with pm.Model() as model:
        mu = pm.math.exp(line_pymc(x))
        alpha = pm.Exponential("alpha", 0.5)
        pm.NegativeBinomial("y", mu=mu, alpha=alpha, observed=y)
    return model


def negative_binomial_np_pymc(x, y):
    with pm.Model() as model:
        mu = pm.math.exp(line_pymc(x))
        alpha = pm.Exponential("alpha", 0.5)
        pm.NegativeBinomial("y", n=alpha, p=alpha / (alpha + mu), observed=y)
    return model


def zero_inflated(x, y=None):
    gate = numpyro.sample("gate", dist.Beta(2, 2))
    numpyro.sample("y", dist.ZeroInflatedPoisson(gate, jnp.exp(line()(x))), obs=y)


def zero_inflated_pymc(x, y):
    with pm.Model() as model:
        gate = pm.Beta("gate", 2, 2)
        pm.ZeroInflatedPoisson("y", psi=1 - gate, mu=pm.math.exp(line_pymc(x)), observed=y)
    return model


def zero_inflated_nb(x, y=None):
    gate = numpyro.sample("gate", dist.Uniform(0, 1))
    alpha = numpyro.sample("alpha", dist.Gamma(2.0, 1.0))
    law = dist.NegativeBinomial2(jnp.exp(line()(x)), alpha)
    numpyro.sample("y", dist.ZeroInflatedDistribution(law, gate=gate), obs=y)


def zero_inflated_nb_pymc(x, y):
    with pm.Model() as model:
        gate = pm.Uniform("gate")
        alpha = pm.Gamma("alpha", 2, 1)
        mu = pm.math.exp(line_pymc(x))
        pm.ZeroInflatedNegativeBinomial("y", psi=1 - gate, mu=mu, alpha=alpha, observed=y)
    return model


def hurdle(x, y):
    psi = numpyro.sample("psi", dist.Beta(1, 1))
    mu = jnp.exp(line()(x))
    some = jnp.log(psi) + dist.Poisson(mu).log_prob(y) - jnp.log(-jnp.expm1(-mu))
    numpyro.factor("y", jnp.where(y == 0, jnp.log1p(-psi), some))


def hurdle_pymc(x, y):
    with pm.Model() as model:
        psi = pm.Beta("psi", 1, 1)
        pm.HurdlePoisson("y", psi=psi, mu=pm.math.exp(line_pymc(x)), observed=y)
    return model


def zero_truncated(x, y):
    mu = jnp.exp(line()(x))
    with numpyro.plate("rows", len(y)):
        numpyro.sample("y", dist.Poisson(mu), obs=y)
        numpyro.factor("seen", -jnp.log1p(-jnp.exp(-mu)))


def zero_truncated_pymc(x, y):
    with pm.Model() as model:
        law = pm.Poisson.dist(pm.math.exp(line_pymc(x)))
        pm.Truncated("y", law, lower=1, observed=y)
    return model


# --- categories ----------------------------------------------------------------------------------


def ordinal(x, y=None):
    b = numpyro.sample("b", dist.Normal(0, 1))
    c = numpyro.sample("cut", dist.ImproperUniform(constraints.ordered_vector, (), (3,)))
    numpyro.factor("cut_prior", dist.Normal(0, 3).log_prob(c).sum())
    numpyro.sample("y", dist.OrderedLogistic(b * x, c), obs=y)


def ordinal_pymc(x, y):
    ordered = pm.distributions.transforms.ordered
    with pm.Model() as model:
        b = pm.Normal("b", 0, 1)
        c = pm.Normal("cut", 0, 3, shape=3, transform=ordered, initval=[-1.0, 0, 1])
        pm.OrderedLogistic("y", eta=b * x, cutpoints=c, observed=y)
    return model


def ordinal_probit(x, y):
    b = numpyro.sample("b", dist.Normal(0, 1))
    c = numpyro.sample("cut", dist.ImproperUniform(constraints.ordered_vector, (), (3,)))
    numpyro.factor("cut_prior", dist.Normal(jnp.array([-1.0, 0, 1]), 2).log_prob(c))
    below = jax.scipy.special.ndtr(c - (b * x)[:, None])
    below = jnp.pad(below, ((0, 0), (1, 0)))
    p = jnp.diff(jnp.pad(below, ((0, 0), (0, 1)), constant_values=1.0), axis=1)
    numpyro.sample("y", dist.Categorical(probs=p), obs=y)


def ordinal_probit_pymc(x, y):
    ordered = pm.distributions.transforms.ordered
    cuts = [-1.0, 0, 1]
    with pm.Model() as model:
        b = pm.Normal("b", 0, 1)
        c = pm.Normal("cut", cuts, 2, transform=ordered, initval=cuts)
        pm.OrderedProbit("y", eta=b * x, cutpoints=c, sigma=1, observed=y)
    return model


def softmax(X, y=None):
    a = numpyro.sample("a", dist.Normal(0, 2).expand([2]))
    b = numpyro.sample("b", dist.Normal(0, 1).expand([X.shape[1], 2]).to_event(2))
    logits = jnp.concatenate([jnp.zeros((len(X), 1)), a + X @ b], axis=1)
    numpyro.sample("y", dist.Categorical(logits=logits), obs=y)


def softmax_pymc(X, y):
    with pm.Model() as model:
        a = pm.Normal("a", 0, 2, shape=2)
        b = pm.Normal("b", 0, 1, shape=(X.shape[1], 2))
        eta = pt.concatenate([pt.zeros((X.shape[0], 1)), a + pm.math.dot(X, b)], axis=1)
        pm.Categorical("y", p=pm.math.softmax(eta, axis=1), observed=y)
    return model


def multinomial(x, Y=None):
    a = numpyro.sample("a", dist.Normal(0, 1).expand([3]))
    b = numpyro.sample("b", dist.Normal(0, 1).expand([3]))
    law = dist.Multinomial(logits=a + x[:, None] * b, total_count=9)
    numpyro.sample("Y", law, obs=Y)


def multinomial_pymc(x, Y):
    with pm.Model() as model:
        a = pm.Normal("a", 0, 1, shape=3)
        b = pm.Normal("b", 0, 1, shape=3)
        p = pm.math.softmax(a + x[:, None] * b, axis=-1)
        pm.Multinomial("Y", n=Y.sum(axis=1), p=p, observed=Y)
    return model


def dirichlet_multinomial(Y=None):
    alpha = numpyro.sample("alpha", dist.LogNormal(0, 1).expand([3]).to_event(1))
    numpyro.sample("Y", dist.DirichletMultinomial(alpha, total_count=9), obs=Y)


def dirichlet_multinomial_pymc(Y):
    with pm.Model() as model:
        alpha = pm.LogNormal("alpha", 0, 1, shape=3)
        pm.DirichletMultinomial("Y", n=9, a=alpha, observed=Y)
    return model


_COUNTS = {"x": X1, "y": COUNTS}
_TRIALS = {"trials": TRIALS, "x": X1, "hits": HITS}
PAIRS = (
    Pair("logistic", logistic, logistic_pymc, {"X": X, "y": BINARY.astype(bool)}),
    Pair("logistic by p", logistic, logistic_by_probability_pymc, {"X": X, "y": BINARY}),
    Pair("probit", probit, probit_pymc, pd.DataFrame({"x": X1, "y": BINARY})),
    Pair("binomial", binomial, binomial_pymc, pl.DataFrame(_TRIALS)),
    Pair("beta-binomial", beta_binomial, beta_binomial_pymc, _TRIALS),
    Pair("Poisson", poisson, poisson_pymc, {"x": X1, "exposure": EXPOSURE, "y": EXPOSED}),
    Pair("NB2, mu", negative_binomial_2, negative_binomial_pymc, _COUNTS),
    Pair("NB2, n p", negative_binomial_2, negative_binomial_np_pymc, _COUNTS),
    Pair("NB logits, mu", negative_binomial_logits, negative_binomial_pymc, _COUNTS),
    Pair("NB probs, n p", negative_binomial_probs, negative_binomial_np_pymc, _COUNTS),
    Pair("gamma-Poisson, mu", gamma_poisson, negative_binomial_pymc, _COUNTS),
    Pair("zero-inflated Poisson", zero_inflated, zero_inflated_pymc, {"x": X1, "y": ZEROS}),
    Pair("zero-inflated NB", zero_inflated_nb, zero_inflated_nb_pymc, {"x": X1, "y": ZEROS}),
    Pair("hurdle", hurdle, hurdle_pymc, {"x": X1, "y": ZEROS}),
    Pair("zero-truncated", zero_truncated, zero_truncated_pymc, {"x": X1, "y": COUNTS + 1}),
    Pair("ordinal", ordinal, ordinal_pymc, {"x": X1, "y": LEVELS}),
    Pair("ordinal probit", ordinal_probit, ordinal_probit_pymc, {"x": X1, "y": LEVELS}),
    Pair("softmax", softmax, softmax_pymc, {"X": X[:, :2], "y": CLASSES}),
    Pair("multinomial", multinomial, multinomial_pymc, {"x": X1, "Y": VOTES}),
    Pair("Dirichlet-multinomial", dirichlet_multinomial, dirichlet_multinomial_pymc, {"Y": VOTES}),
)
