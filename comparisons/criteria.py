"""Criteria by which models are chosen: AIC, BIC, leave-one-out and the evidence.

    AIC = −2ℓ(θ̂) + 2k      BIC = −2ℓ(θ̂) + k log N      elpd = Σ_i log p(x_i | x without x_i)

with k free parameters, N exchangeable units and the maximum θ̂ of the likelihood.  Leave-one-out is
by Pareto-smoothed importance weights, the evidence exact, Laplace's or by bridge sampling.
References: Schwarz (1978), Ann. Statist. 6; Vehtari, Gelman & Gabry (2017), Stat. Comput. 27;
Magnusson, Andersen, Jonasson & Vehtari (2019), ICML 97; Meng & Wong (1996), Statistica Sinica 6.
"""

import warnings
from collections.abc import Iterator, Mapping
from functools import lru_cache
from math import isfinite, nan
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from comparisons.reference import (
    NO_SAMPLER,
    Case,
    exact_posterior,
    posterior_size,
    samplers,
    unconstrained_draws,
)
from inference.estimate import Estimate
from inference.method import Method, label
from inference.posterior.draws import thinning
from inference.posterior.evidence import Measured, bridge
from inference.posterior.importance import Importance
from inference.posterior.labels import log_modes
from inference.posterior.points import terms
from inference.posterior.stored import log_likelihoods
from models.errors import FitError
from models.programs.adopted.model import AdoptedModel
from models.programs.density import density, units
from models.spec import Model


class Criterion(NamedTuple):
    """One number by which models are chosen.

    Smaller is better for `aic`, `bic` and `wbic`, larger for `log_evidence` and `elpd_loo`; `order`
    is the choice itself.  A mark in brackets says that a number is not to be relied on.
    """

    method: str
    criterion: str
    value: float
    error: float
    k: int
    n: int


def deviances(log_likelihood: float, k: int, n: int) -> dict[str, float]:
    """The maximum of the log-likelihood with AIC and BIC, by name."""
    deviance = -2 * log_likelihood
    return {
        "log_likelihood": log_likelihood,
        "aic": deviance + 2 * k,
        "bic": deviance + k * float(np.log(n)),
    }


def sample_size(model: Model, data: xr.Dataset) -> int:
    """The N of BIC: units, or rows where a user's own programs have one unit."""
    return model.size if isinstance(model, AdoptedModel) else units(model, data)


def by_fit(model: Model, data: xr.Dataset, fits: Mapping[Method, Estimate]) -> Iterator[Criterion]:
    """The criteria that every fit which can be relied on gives by itself."""
    k, n = density(model, data).size, sample_size(model, data)
    for method, fit in fits.items():
        found: dict[str, float] = {}
        if fit.problems:
            continue
        if method.target == "likelihood" and isfinite(fit.log_likelihood):
            found = deviances(fit.log_likelihood, k, n)
        if "log_evidence" in fit.record.attrs and not no_evidence(model):
            found["log_evidence"] = log_evidence(model, method, fit)
        for criterion, value in found.items():
            yield Criterion(label(method), criterion, value, 0.0, k, n)


def no_evidence(model: Model) -> str:
    """Why the model has no evidence, as a sentence; "" if it has one."""
    return model.evidence_problem if isinstance(model, AdoptedModel) else ""


def log_evidence(model: Model, method: Method, fit: Estimate) -> float:
    """The log evidence that a fit records; an approximation covers one of the equal modes."""
    value = float(fit.record.attrs["log_evidence"])
    return value if exact_posterior(method) else value + log_modes(model)


def evidence(case: Case) -> tuple[Method, Measured]:
    """The evidence, exact if it is known, else by bridge sampling; a FitError if there is none."""
    if problem := no_evidence(case.model):
        raise FitError(problem)
    fits = case.estimates("posterior")
    for method in filter(exact_posterior, fits):
        return method, Measured(log_evidence(case.model, method, fits[method]), 0.0)
    for sampler in samplers(fits):
        return sampler, bridge_evidence(case, sampler)
    raise FitError(NO_SAMPLER)


@lru_cache(maxsize=8)
def bridge_evidence(case: Case, sampler: Method) -> Measured:
    """The evidence from a sampler's draws, which cover one of the equal modes."""
    posterior = case.estimates("posterior")[sampler]
    draws = unconstrained_draws(case, posterior, density(case.model, case.data))
    size = posterior_size(posterior)
    found = bridge(case.model, case.data, draws, size, case.rng("bridge"))
    return found._replace(value=found.value + log_modes(case.model))


@lru_cache(maxsize=8)
def sampled_leave_one_out(case: Case, sampler: Method) -> Measured:
    """Leave-one-out by a sampler's draws."""
    draws = case.estimates("posterior")[sampler].draws
    assert draws is not None
    pointwise = log_likelihoods(case.model, case.data, draws)
    whole = {"posterior": draws["posterior"].to_dataset(), "log_likelihood": pointwise}
    return measured(leave_one_out(xr.DataTree.from_dict(whole)))


def leave_one_out(draws: xr.DataTree, per_chain: int | None = None) -> Any:
    """PSIS leave-one-out expected log predictive density, one unit left out at a time.

    By the draws that keep the log-likelihood of each unit: all of them, with their efficiency read
    off those of the parameters, or at most so many of each chain, taken to be independent.
    """
    import arviz as az

    pointwise = draws["log_likelihood"].to_dataset()
    if per_chain is None:
        posterior, efficiency = draws["posterior"].to_dataset().sel(draw=pointwise["draw"]), None
    else:
        step = -(-pointwise.sizes["draw"] // per_chain)
        pointwise = pointwise.isel(draw=slice(None, None, step))
        posterior, efficiency = xr.Dataset(coords=pointwise.coords), 1.0
    tree = xr.DataTree.from_dict({"posterior": posterior, "log_likelihood": pointwise})
    with warnings.catch_warnings(action="ignore"):  # a large Pareto k̂ is told as a problem
        return az.loo(tree, pointwise=True, reff=efficiency)


def weighted_leave_one_out(model: Model, data: xr.Dataset, found: Importance) -> Measured:
    """The same by weighted draws for the posterior."""
    import arviz as az

    n = units(model, data)
    inside = np.flatnonzero(np.isfinite(found.ratio))
    kept = inside[:: thinning(len(inside), n)]
    pointwise = terms(density(model, data)).pointwise(found.points[kept])
    rows = xr.Dataset({"y": (("chain", "draw", "unit"), pointwise[None])})
    tree = xr.DataTree.from_dict({"log_likelihood": rows})
    densities = found.ratio[kept], np.zeros(len(kept))  # of which only the difference counts
    with warnings.catch_warnings(action="ignore"):
        return measured(az.loo_approximate_posterior(tree, *densities, pointwise=True))


def measured(loo: Any) -> Measured:
    """ArviZ's result; unreliable where the weights that leave a unit out have too heavy a tail."""
    tails, problem = np.asarray(loo.pareto_k), ""
    if tails.size < 2:
        return Measured(nan, nan, "all data are one unit: where it is left out, there are no data")
    if not tails.max() <= loo.good_k:
        bad = int((~(tails <= loo.good_k)).sum())
        problem = (
            f"Pareto k̂ is {tails.max():.2f} where unit {int(tails.argmax())} is left out, and "
            f"above {loo.good_k:.2f} for {bad} of {tails.size} units"
        )
    return Measured(float(loo.elpd), float(loo.se), problem)
