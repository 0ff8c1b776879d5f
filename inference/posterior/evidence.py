"""The evidence Z = ∫ p(x | θ) π(θ) dθ by bridge sampling, and WBIC.

Bridge sampling between the posterior f/Z and a normal law g fitted to half of its draws solves

    Z = mean_g[f / (s₁f + s₂Z·g)] / mean_post[g / (s₁f + s₂Z·g)],   s_i ∝ the numbers of draws.

Where signs or labels make equal modes, f is taken as 0 outside of one fold, so that draws and
proposals cover the same region and Z is that of the fold.

WBIC is the mean of −ℓ under the posterior with the likelihood raised to 1/log N; it estimates
−log Z to the order that matters for singular models too.
References: Meng & Wong (1996), Statistica Sinica 6; Frühwirth-Schnatter (2004), Econometrics J. 7;
Watanabe (2013), JMLR 14.
"""

from dataclasses import replace
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import xarray as xr
from scipy.optimize import fixed_point
from scipy.special import logsumexp
from scipy.stats import Covariance, multivariate_normal

from inference.information.derivatives import derivatives
from inference.posterior.chains import Tuning, numpyro_chains, starting_points
from inference.posterior.diagnostics import gate, moments
from inference.posterior.importance import log_posterior_at
from inference.posterior.labels import one_fold
from inference.posterior.points import terms
from inference.threads import one_blas_thread
from models.errors import FitError
from models.programs.density import density, units
from models.spec import Model

_TEMPERED = Tuning(chains=4, warm_up=500, draws=750, target_accept=0.99)
"""Short steps: others diverge where a scale nears 0, as in a mixture of too many components."""
_CANDIDATES = 10  # starts of which each chain at a temperature takes the highest


class Measured(NamedTuple):
    """A number, in nats, its Monte Carlo standard error, and why it must not be relied on."""

    value: float
    error: float
    problem: str = ""


def bridge(
    model: Model, data: xr.Dataset, draws: np.ndarray, effective: float, rng: np.random.Generator
) -> Measured:
    """log Z of one fold of equal modes, by bridge sampling from its posterior draws.

    Args:
        model: the model.
        data: the data.
        draws: unconstrained, shape (n, k), in the order they were drawn.
        effective: how many independent draws they are worth.
        rng: draws from the normal law.
    """
    target = density(model, data)
    fitting, using = draws[::2], draws[1::2]
    mean, covariance = fitting.mean(axis=0), np.atleast_2d(np.cov(fitting, rowvar=False))
    normal = multivariate_normal(mean, Covariance.from_cholesky(np.linalg.cholesky(covariance)))
    both = np.concatenate([using, np.reshape(normal.rvs(len(using), rng), using.shape)])
    equal, same = one_fold(target, both, mean)
    # a draw stands for its equal in the fold; a proposal outside of it does not
    using, proposed = equal[: len(using)], both[len(using) :]
    at_posterior = log_posterior_at(target, using) - normal.logpdf(using)
    at_proposal = log_posterior_at(target, proposed) - normal.logpdf(proposed)
    at_proposal = np.where(same[len(using) :], at_proposal, -np.inf)
    n1, n2 = effective / 2, float(proposed.shape[0])
    log_s1, log_s2 = np.log(n1 / (n1 + n2)), np.log(n2 / (n1 + n2))

    def sides(log_z: float) -> tuple[np.ndarray, np.ndarray]:
        top = at_proposal - np.logaddexp(log_s1 + at_proposal, log_s2 + log_z)
        return top, -np.logaddexp(log_s1 + at_posterior, log_s2 + log_z)

    def update(log_z: float) -> float:
        top, bottom = (logsumexp(side) - np.log(side.size) for side in sides(log_z))
        return float(top - bottom)

    log_z = float(fixed_point(update, np.median(at_posterior), xtol=1e-12, maxiter=5_000))
    top, bottom = sides(log_z)
    first, second = np.exp(top - top.max()), np.exp(bottom - bottom.max())
    relative = first.var() / first.mean() ** 2 / n2 + second.var() / second.mean() ** 2 / n1
    return Measured(log_z, float(np.sqrt(relative)))


def wbic(model: Model, data: xr.Dataset, rng: np.random.Generator) -> Measured:
    """WBIC, in nats, by the No-U-Turn sampler on the tempered posterior.

    It is a mean of ℓ, which R-hat and ESS are asked of: the gate stops a mixture where one chain of
    four stays where two components coincide.  The error is the larger of that by autocorrelation
    and that by the scatter of the chains' means.

    Raises:
        FitError: there is one unit only, or the density is finite at no data-driven start.
    """
    target, n = density(model, data), units(model, data)
    if n < 2:
        raise FitError(f"WBIC is undefined for {n} unit: the temperature is log N")
    with one_blas_thread():
        points, stats = _tempered(model, data, rng, float(np.log(n)))
        fit = terms(target).totals(points.reshape(-1, target.size))[0]
    loss = -np.reshape(fit, points.shape[:2])
    mean, error = (float(moment[0]) for moment in moments(loss[..., None])[:2])
    sd = float(loss.mean(axis=1).std(ddof=1) / np.sqrt(len(loss)))
    problem = "; ".join(gate(loss[..., None], ["the log-likelihood"], stats))
    return Measured(mean, max(error, sd), problem)


def _tempered(
    model: Model, data: xr.Dataset, rng: np.random.Generator, temperature: float
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Draws from the posterior with the likelihood to the power 1/temperature, and statistics."""
    target, chains = density(model, data), _TEMPERED.chains
    value_and_gradient = derivatives(target, "posterior").value_and_gradient
    # no chain goes between modes that are apart, and most starts of a mixture are in some poor one
    candidates = starting_points(target, rng, chains * _CANDIDATES)
    values = [float(value_and_gradient(jnp.asarray(start))[0]) for start in candidates]
    best = np.reshape(values, (chains, _CANDIDATES)).argmax(axis=1)
    starts = [candidates[chain * _CANDIDATES + i] for chain, i in enumerate(best)]
    hot = replace(target, log_likelihood=lambda u: target.log_likelihood(u) / temperature)
    run = numpyro_chains(hot, starts, _TEMPERED, rng)
    return run.points, run.stats
