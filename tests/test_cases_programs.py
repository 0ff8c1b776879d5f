"""Model classes of public bug reports: programs that say more than a parameter table can.

Each was refused, crashed, or had a part of its likelihood dropped; the right answers are closed
forms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import xarray as xr
from scipy.special import gammaln

import concord as cc


@dataclass(frozen=True)
class Lifetimes(cc.Model):
    """Exponential lifetimes; those cut short enter by a factor and a Potential."""

    name: ClassVar[str] = "lifetimes"
    parameters = (cc.Parameter("rate", "positive"),)
    truth: ClassVar = {"rate": jnp.asarray(0.5)}

    def simulate(self, rng, values, n):
        life, end = rng.exponential(1 / float(values["rate"]), n), rng.exponential(2.0, n)
        seen = (life <= end).astype(float)
        return xr.Dataset({"time": ("obs", np.minimum(life, end)), "died": ("obs", seen)})

    def start(self, rng, data):
        return {"rate": jnp.asarray(rng.uniform(0.2, 2))}

    def numpyro(self, data):
        rate = numpyro.sample("rate", dist.Gamma(1.0, 1.0))
        time, died = np.asarray(data["time"].data), np.asarray(data["died"].data)
        numpyro.sample("y", dist.Exponential(rate), obs=jnp.asarray(time[died == 1]))
        numpyro.factor("cut", jnp.sum(-rate * time[died == 0]))

    def pymc(self, data):
        import pymc as pm

        time, died = data["time"].data, data["died"].data
        with pm.Model() as program:
            rate = pm.Gamma("rate", 1.0, 1.0)
            pm.Exponential("y", rate, observed=time[died == 1])
            pm.Potential("cut", (-rate * time[died == 0]).sum())
        return program


@dataclass(frozen=True)
class Counts(cc.Model):
    """Overdispersed counts; `port` is how the NumPyro program was written from PyMC's."""

    port: str = "right"
    name: ClassVar[str] = "counts"
    parameters = (cc.Parameter("mu", "positive"), cc.Parameter("alpha", "positive"))
    truth: ClassVar = {"mu": jnp.asarray(6.0), "alpha": jnp.asarray(2.0)}

    def simulate(self, rng, values, n):
        a, m = float(values["alpha"]), float(values["mu"])
        return xr.Dataset({"y": ("obs", rng.negative_binomial(a, a / (a + m), n).astype(float))})

    def start(self, rng, data):
        return {"mu": jnp.asarray(rng.uniform(3, 9)), "alpha": jnp.asarray(rng.uniform(0.5, 5))}

    def numpyro(self, data):
        mu = numpyro.sample("mu", dist.Gamma(2.0, 0.2))
        alpha = numpyro.sample("alpha", dist.Gamma(2.0, 0.5))
        laws = {
            "right": lambda: dist.NegativeBinomial2(mu, alpha),
            "p": lambda: dist.NegativeBinomialProbs(alpha, alpha / (alpha + mu)),
            "inverse": lambda: dist.NegativeBinomial2(mu, 1 / alpha),
        }
        numpyro.sample("y", laws[self.port](), obs=jnp.asarray(data["y"].data))

    def pymc(self, data):
        import pymc as pm

        with pm.Model() as program:
            mu, alpha = pm.Gamma("mu", 2.0, 0.2), pm.Gamma("alpha", 2.0, 0.5)
            pm.NegativeBinomial("y", mu=mu, alpha=alpha, observed=data["y"].data)
        return program


def lifetimes() -> xr.Dataset:
    rng = np.random.default_rng(4)
    return Lifetimes().simulate(rng, {"rate": jnp.asarray(0.3)}, 60)


def test_censored_lifetimes_by_a_factor_have_deaths_over_time_at_risk() -> None:
    data = lifetimes()
    method = cc.MaximumLikelihood("numpyro", restarts=3)
    found = cc.compare(Lifetimes(), data, methods=(method,), claims=("same_model",))
    deaths, exposure = float(data["died"].sum()), float(data["time"].sum())
    estimate = found[method]
    np.testing.assert_allclose(float(estimate.location.value["rate"]), deaths / exposure, rtol=1e-8)
    expected = np.sqrt(deaths) / exposure  # 1/√J, J = d/λ²
    np.testing.assert_allclose(float(estimate.sd.value["rate"]), expected, rtol=1e-6)


def test_the_posterior_of_censored_lifetimes_is_gamma() -> None:
    data = lifetimes()
    method = cc.NUTS("numpyro", warm_up=300, draws=1_000)
    found = cc.compare(Lifetimes(), data, methods=(method,), claims=("same_model",))
    shape, rate = 1 + float(data["died"].sum()), 1 + float(data["time"].sum())
    mean = found[method].location
    # 4.4 standard errors: a false alarm in 100,000
    error = 4.4 * float(mean.error["rate"])
    assert abs(float(mean.value["rate"]) - shape / rate) < error


@pytest.mark.parametrize(("port", "same"), [("right", True), ("p", False), ("inverse", False)])
def test_a_library_s_rounding_is_no_difference_of_the_models(port: str, same: bool) -> None:
    found = cc.check(Counts(port))
    assert found.passed is same, found
    if port == "right":
        assert "JAX's betaln" in found.rows[-1][2]


def test_the_density_of_counts_is_the_negative_binomial() -> None:
    from models.programs.density import density

    y, mu, alpha = np.arange(12.0), 6.0, 2.0
    data = cc.load_data(y, Counts())
    exact = gammaln(y + alpha) - gammaln(alpha) - gammaln(y + 1)
    exact += alpha * np.log(alpha / (alpha + mu)) + y * np.log(mu / (alpha + mu))
    import jax

    with jax.enable_x64():
        target = density(Counts(), data, "pymc")
        u = target.unconstrain({"mu": jnp.asarray(mu), "alpha": jnp.asarray(alpha)})
        np.testing.assert_allclose(target.log_likelihood(u), exact, rtol=1e-10)
