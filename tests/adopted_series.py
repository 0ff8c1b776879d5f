"""Pairs of programs of series and processes, as their users write them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from adopted_structures import Kind
from numpyro.contrib.control_flow import scan

rng = np.random.default_rng(2)
N = 16
y = np.cumsum(rng.normal(size=N))
counts = rng.poisson(np.where(np.arange(N) < 6, 5, 1))
t = np.sort(rng.uniform(0, 5, N))
wave = np.sin(t) + 0.2 * rng.normal(size=N)


# a change point


def change_numpyro(counts):
    early = numpyro.sample("early", dist.Exponential(0.5))
    late = numpyro.sample("late", dist.Exponential(0.5))
    days = jnp.arange(len(counts))
    uniform = dist.DiscreteUniform(0, len(counts) - 1)
    tau = numpyro.sample("tau", uniform, infer={"enumerate": "parallel"})
    with numpyro.plate("day", len(counts)):
        rate = jnp.where(days < tau, early, late)
        numpyro.sample("counts", dist.Poisson(rate), obs=counts)


def change_pymc(counts):
    import pymc as pm
    import pymc_extras as pmx

    with pm.Model() as model:
        early = pm.Exponential("early", 0.5)
        late = pm.Exponential("late", 0.5)
        tau = pm.DiscreteUniform("tau", 0, len(counts) - 1)
        rate = pm.math.switch(np.arange(len(counts)) < tau, early, late)
        pm.Poisson("counts", rate, observed=counts)
    return pmx.marginalize(model, ["tau"])


def years_numpyro(deaths, years):
    early = numpyro.sample("early", dist.Exponential(1.0))
    late = numpyro.sample("late", dist.Exponential(1.0))
    last = dist.DiscreteUniform(0, years.max() - years.min())
    change = years.min() + numpyro.sample("after", last, infer={"enumerate": "parallel"})
    seen = ~np.isnan(deaths)
    with numpyro.plate("year", len(years)), numpyro.handlers.mask(mask=seen):
        rate = jnp.where(change >= years, early, late)
        numpyro.sample("deaths", dist.Poisson(rate), obs=np.where(seen, deaths, 0).astype(int))


def years_pymc(deaths, years):
    import pymc as pm

    with pm.Model() as model:
        change = pm.DiscreteUniform("change", lower=years.min(), upper=years.max())
        early = pm.Exponential("early", 1.0)
        late = pm.Exponential("late", 1.0)
        rate = pm.math.switch(change >= years, early, late)
        pm.Poisson("deaths", rate, observed=deaths)
    return model


def summed_numpyro(counts):
    early = numpyro.sample("early", dist.Exponential(0.5))
    late = numpyro.sample("late", dist.Exponential(0.5))
    n = len(counts)
    days = jnp.arange(n)
    rates = jnp.where(days[None, :] < days[:, None], early, late)
    fit = dist.Poisson(rates).log_prob(counts).sum(axis=1) - jnp.log(n)
    numpyro.factor("counts", jax.nn.logsumexp(fit))


# hidden Markov models


def forward_numpyro(y):
    P = numpyro.sample("P", dist.Dirichlet(jnp.ones((2, 2))))
    mu = numpyro.sample("mu", dist.Normal(0, 3).expand([2]))

    def step(alpha, seen):
        alpha = jax.nn.logsumexp(alpha[:, None] + jnp.log(P), axis=0)
        return alpha + dist.Normal(mu, 1).log_prob(seen), None

    first = jnp.log(0.5) + dist.Normal(mu, 1).log_prob(y[0])
    last, _ = jax.lax.scan(step, first, y[1:])
    numpyro.factor("forward", jax.nn.logsumexp(last))


def enumerated_numpyro(y):
    P = numpyro.sample("P", dist.Dirichlet(jnp.ones((2, 2))).to_event(1))
    mu = numpyro.sample("mu", dist.Normal(0, 3).expand([2]).to_event(1))

    def step(state, seen):
        before, first = state
        p = jnp.where(first, 0.5 * jnp.ones(2), P[before])
        z = numpyro.sample("z", dist.Categorical(p), infer={"enumerate": "parallel"})
        numpyro.sample("y", dist.Normal(mu[z], 1), obs=seen)
        return (z, False), None

    scan(step, (0, True), y)


def potential_pymc(y):
    import pymc as pm
    import pytensor
    import pytensor.tensor as pt

    with pm.Model() as model:
        P = pm.Dirichlet("P", np.ones((2, 2)))
        mu = pm.Normal("mu", 0, 3, shape=2)

        def step(seen, alpha, P, mu):
            alpha = pt.logsumexp(alpha[:, None] + pt.log(P), axis=0)
            return alpha + pm.logp(pm.Normal.dist(mu, 1), seen)

        alphas = pytensor.scan(
            step,
            sequences=[pt.as_tensor(y[1:])],
            outputs_info=[np.log(0.5) + pm.logp(pm.Normal.dist(mu, 1), y[0])],
            non_sequences=[P, mu],
            return_updates=False,
        )
        pm.Potential("forward", pt.logsumexp(alphas[-1]))
    return model


def chain_pymc(y):
    import pymc as pm
    import pymc_extras as pmx

    with pm.Model() as model:
        P = pm.Dirichlet("P", np.ones((2, 2)))
        mu = pm.Normal("mu", 0, 3, shape=2)
        first = pm.Categorical.dist(p=np.ones(2) / 2)
        z = pmx.DiscreteMarkovChain("z", P=P, init_dist=first, shape=len(y))
        pm.Normal("y", mu[z], 1, observed=y)
    return pmx.marginalize(model, ["z"])


# autoregressions


def ar1_numpyro(y):
    rho = numpyro.sample("rho", dist.Uniform(-1, 1))
    sigma = numpyro.sample("sigma", dist.HalfNormal(2))

    def step(before, now):
        numpyro.sample("y", dist.Normal(rho * before, sigma), obs=now)
        return now, None

    numpyro.sample("y0", dist.Normal(0, 10), obs=y[0])
    scan(step, y[0], y[1:])


def ar1_pymc(y):
    import pymc as pm

    with pm.Model() as model:
        rho = pm.Uniform("rho", -1, 1)
        sigma = pm.HalfNormal("sigma", 2)
        first = pm.Normal.dist(0, 10)
        pm.AR("y", rho=[rho], sigma=sigma, init_dist=first, observed=y)
    return model


def ar2_numpyro(y):
    rho = numpyro.sample("rho", dist.Normal(0, 0.5).expand([3]).to_event(1))
    sigma = numpyro.sample("sigma", dist.HalfNormal(2))
    with numpyro.plate("start", 2):
        numpyro.sample("first", dist.Normal(0, 5), obs=y[:2])
    mean = rho[0] + rho[1] * y[1:-1] + rho[2] * y[:-2]
    numpyro.sample("y", dist.Normal(mean, sigma), obs=y[2:])


def ar2_pymc(y):
    import pymc as pm

    with pm.Model() as model:
        rho = pm.Normal("rho", 0, 0.5, shape=3)
        sigma = pm.HalfNormal("sigma", 2)
        first = pm.Normal.dist(0, 5, shape=2)
        pm.AR("y", rho=rho, sigma=sigma, constant=True, init_dist=first, observed=y)
    return model


# state space


def level_numpyro(y):
    drift = numpyro.sample("drift", dist.HalfNormal(1))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1))

    def step(before, now):
        level = numpyro.sample("steps", dist.Normal(before, drift))
        numpyro.sample("y", dist.Normal(level, sigma), obs=now)
        return level, level

    level0 = numpyro.sample("level0", dist.Normal(0, 3))
    numpyro.sample("y0", dist.Normal(level0, sigma), obs=y[0])
    _, later = scan(step, level0, y[1:])
    numpyro.deterministic("level", jnp.concatenate([level0[None], later]))


def level_pymc(y):
    import pymc as pm

    with pm.Model() as model:
        drift = pm.HalfNormal("drift", 1)
        sigma = pm.HalfNormal("sigma", 1)
        first = pm.Normal.dist(0, 3)
        level = pm.GaussianRandomWalk("level", sigma=drift, init_dist=first, shape=len(y))
        pm.Normal("y", level, sigma, observed=y)
    return model


def volatility_numpyro(y):
    sigma = numpyro.sample("sigma", dist.Exponential(5))
    nu = numpyro.sample("nu", dist.Exponential(0.1))
    s = numpyro.sample("s", dist.GaussianRandomWalk(scale=sigma, num_steps=len(y)))
    numpyro.sample("r", dist.StudentT(df=nu, loc=0.0, scale=jnp.exp(s)), obs=y)


def volatility_pymc(y):
    import pymc as pm

    with pm.Model() as model:
        sigma = pm.Exponential("sigma", 5)
        nu = pm.Exponential("nu", 0.1)
        first = pm.Normal.dist(0, sigma)
        s = pm.GaussianRandomWalk("s", sigma=sigma, init_dist=first, steps=len(y) - 1)
        pm.StudentT("r", nu=nu, lam=pm.math.exp(-2 * s), observed=y)
    return model


def garch_numpyro(y):
    omega = numpyro.sample("omega", dist.HalfNormal(1))
    alpha = numpyro.sample("alpha", dist.Uniform(0, 1))
    beta = numpyro.sample("beta", dist.Uniform(0, 1 - alpha))
    start = numpyro.sample("start", dist.HalfNormal(1))

    def step(state, now):
        before, variance = state
        variance = omega + alpha * before**2 + beta * variance
        numpyro.sample("y", dist.Normal(0, jnp.sqrt(variance)), obs=now)
        return (now, variance), None

    numpyro.sample("y0", dist.Normal(0, start), obs=y[0])
    scan(step, (y[0], start**2), y[1:])


def garch_pymc(y):
    import pymc as pm

    with pm.Model() as model:
        omega = pm.HalfNormal("omega", 1)
        alpha = pm.Uniform("alpha", 0, 1)
        beta = pm.Uniform("beta", 0, 1 - alpha)
        start = pm.HalfNormal("start", 1)
        pm.GARCH11("y", omega=omega, alpha_1=alpha, beta_1=beta, initial_vol=start, observed=y)
    return model


# Gaussian processes


def kernel(t, ell, eta):
    return eta**2 * jnp.exp(-0.5 * ((t[:, None] - t[None, :]) / ell) ** 2)


def gp_numpyro(t, y):
    ell = numpyro.sample("ell", dist.InverseGamma(3, 3))
    eta = numpyro.sample("eta", dist.HalfNormal(2))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1))
    K = kernel(t, ell, eta) + sigma**2 * jnp.eye(len(t))
    numpyro.sample("y", dist.MultivariateNormal(0.0, covariance_matrix=K), obs=y)


def marginal_pymc(t, y):
    import pymc as pm

    with pm.Model() as model:
        ell = pm.InverseGamma("ell", 3, 3)
        eta = pm.HalfNormal("eta", 2)
        sigma = pm.HalfNormal("sigma", 1)
        gp = pm.gp.Marginal(cov_func=eta**2 * pm.gp.cov.ExpQuad(1, ls=ell))
        gp.marginal_likelihood("y", X=t[:, None], y=y, sigma=sigma)
    return model


def multivariate_pymc(t, y):
    import pymc as pm

    with pm.Model() as model:
        ell = pm.InverseGamma("ell", 3, 3)
        eta = pm.HalfNormal("eta", 2)
        sigma = pm.HalfNormal("sigma", 1)
        K = eta**2 * pm.math.exp(-0.5 * ((t[:, None] - t) / ell) ** 2)
        pm.MvNormal("y", np.zeros(len(t)), K + sigma**2 * np.eye(len(t)), observed=y)
    return model


def latent_numpyro(t, y):
    ell = numpyro.sample("ell", dist.InverseGamma(3, 3))
    eta = numpyro.sample("eta", dist.HalfNormal(2))
    v = numpyro.sample("f_rotated_", dist.Normal(0, 1).expand([len(t)]).to_event(1))
    L = jnp.linalg.cholesky(kernel(t, ell, eta) + 1e-6 * jnp.eye(len(t)))
    f = numpyro.deterministic("f", L @ v)
    numpyro.sample("y", dist.Bernoulli(logits=f), obs=y)


def latent_pymc(t, y):
    import pymc as pm

    with pm.Model() as model:
        ell = pm.InverseGamma("ell", 3, 3)
        eta = pm.HalfNormal("eta", 2)
        gp = pm.gp.Latent(cov_func=eta**2 * pm.gp.cov.ExpQuad(1, ls=ell))
        f = gp.prior("f", X=t[:, None])
        pm.Bernoulli("y", logit_p=f, observed=y)
    return model


coal = {"deaths": np.where(np.arange(N) == 4, np.nan, counts), "years": np.arange(1851, 1851 + N)}
curve = {"t": t, "y": wave}
SERIES = {
    "change point": Kind(change_numpyro, change_pymc, {"counts": counts}),
    "change point, missing counts": Kind(years_numpyro, years_pymc, coal),
    "change point, summed": Kind(summed_numpyro, change_pymc, {"counts": counts}),
    "HMM, scan and potential": Kind(forward_numpyro, potential_pymc, {"y": y}),
    "HMM, enumerated": Kind(enumerated_numpyro, chain_pymc, {"y": y}),
    "HMM, scan and chain": Kind(forward_numpyro, chain_pymc, {"y": y}),
    "AR(1)": Kind(ar1_numpyro, ar1_pymc, {"y": y}),
    "AR(2)": Kind(ar2_numpyro, ar2_pymc, {"y": y}),
    "local level": Kind(level_numpyro, level_pymc, {"y": y}, ("level",)),
    "stochastic volatility": Kind(volatility_numpyro, volatility_pymc, {"y": y}, ("s",)),
    "GARCH(1, 1)": Kind(garch_numpyro, garch_pymc, {"y": y}),
}
PROCESSES = {
    "GP, marginal": Kind(gp_numpyro, marginal_pymc, curve, (), "limited by the jitter"),
    "GP, multivariate normal": Kind(gp_numpyro, multivariate_pymc, curve),
    "GP, latent": Kind(
        latent_numpyro, latent_pymc, {"t": t, "y": (wave > 0).astype(int)}, ("f_rotated_",)
    ),
}
