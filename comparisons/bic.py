"""BIC approximates −2 log evidence up to a constant, for regular models.

With k free parameters, N exchangeable units and the maximum θ̂ of the likelihood,
BIC = −2ℓ(θ̂) + k log N and −2 log Z = BIC + O(1); to the next order the gap is Laplace's,
−2 log π(û) − k log 2π + log |H| − k log N.  Under a unit-information prior, N(û, N J⁻¹) in the
unconstrained chart, it is k log(1 + 1/N), next to nothing.  A mixture or factor model above its
true order is singular: k log N is not the right penalty, and WBIC is shown beside it.
References: Schwarz (1978), Ann. Statist. 6; Kass & Wasserman (1995), JASA 90; Watanabe (2013),
JMLR 14; Vehtari, Gelman & Gabry (2017), Stat. Comput. 27.
"""

from __future__ import annotations

from functools import lru_cache
from math import lgamma
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from scipy.stats import multivariate_normal

from comparisons._scalars import chart_draws, posterior_size
from comparisons._verdict import Verdict, Z, not_comparable
from inference._evidence import Evidence, bridge, wbic
from inference._information import invert, observed
from inference._labels import canonical
from models._density import density, numpyro_terms, per_unit, units
from models._errors import FitError
from models._spec import HasClosedFormMaximum, HasExactPosterior, HasLabels, HasOrder, HasSigns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from comparisons._case import Case
    from inference._estimate import Estimate

GAP = 2.0
"""Largest |BIC + 2 log Z| that leaves a ranking as it is (deviance units; Raftery's 'weak')."""
LADDER = (100, 400, 1_600, 6_400)
"""Numbers of units along which the gap must stay bounded."""
SETS = 20
"""Simulated data sets at each of them."""


class Criterion(NamedTuple):
    """One number by which models are chosen; smaller is better except for `elpd_loo`."""

    method: str
    criterion: str
    value: float
    error: float
    k: int
    n: int


def table(case: Case) -> xr.Dataset:
    """Every criterion of the case and of its orders, one row each."""
    rows = [*_criteria(case), *_order_criteria(case)]
    columns = {name: [getattr(row, name) for row in rows] for name in Criterion._fields}
    return xr.Dataset({name: ("row", np.asarray(values)) for name, values in columns.items()})


def compare(case: Case) -> Iterator[Verdict]:
    """BIC against the evidence, its gap along N, and the order that each criterion chooses."""
    yield from _gap(case)
    if isinstance(case.model, HasExactPosterior):
        yield from _bounded(case)
    if isinstance(case.model, HasOrder):
        yield from _orders(case)


# --- the case's own model -------------------------------------------------------------------------


def _criteria(case: Case) -> Iterator[Criterion]:
    k, n = density(case.model, case.data).size, units(case.model, case.data)
    for name, fit in case.estimates("likelihood").items():
        deviance = -2 * fit.log_likelihood
        yield Criterion(name, "log_likelihood", fit.log_likelihood, 0.0, k, n)
        yield Criterion(name, "aic", deviance + 2 * k, 0.0, k, n)
        yield Criterion(name, "bic", deviance + k * np.log(n), 0.0, k, n)
    for name, fit in case.estimates("posterior").items():
        if "log_evidence" in fit.record.attrs:
            value = float(fit.record.attrs["log_evidence"])
            if name != "exact_posterior":
                value += _log_modes(case)
            yield Criterion(name, "log_evidence", value, 0.0, k, n)
        if name.startswith("nuts") and fit.draws is not None and not fit.problems:
            found = bridge_evidence(case, name)
            yield Criterion(name, "log_evidence", found.log, found.error, k, n)
            loo = leave_one_out(fit.draws)
            yield Criterion(name, "elpd_loo", float(loo.elpd), float(loo.se), k, n)


def leave_one_out(draws: xr.DataTree) -> Any:
    """PSIS leave-one-out expected log predictive density, one unit left out at a time.

    By the draws that keep the log-likelihood of each unit.
    """
    import arviz as az

    pointwise = draws["log_likelihood"].to_dataset()
    posterior = draws["posterior"].to_dataset().sel(draw=pointwise["draw"])
    tree = xr.DataTree.from_dict({"posterior": posterior, "log_likelihood": pointwise})
    return az.loo(tree)


@lru_cache(maxsize=8)
def bridge_evidence(case: Case, sampler: str) -> Evidence:
    """The evidence from a sampler's draws; aligned draws cover one of k! equal modes."""
    posterior = case.estimates("posterior")[sampler]
    of = density(case.model, case.data)
    draws = chart_draws(case, posterior, of)
    found = bridge(of, draws, posterior_size(posterior), case.rng("bridge"))
    return Evidence(found.log + _log_modes(case), found.error)


def _log_modes(case: Case) -> float:
    """log of how many equal modes signs, or the labels of unordered components, make."""
    model = case.model
    if isinstance(model, HasSigns):
        return model.signs * float(np.log(2))
    if not isinstance(model, HasLabels):
        return 0.0
    ordered = any(parameter.support == "ordered" for parameter in case.model.parameters)
    return 0.0 if ordered else lgamma(model.labels + 1)


def _evidence(case: Case) -> tuple[str, Evidence] | None:
    fits = case.estimates("posterior")
    if "exact_posterior" in fits:
        exact = float(fits["exact_posterior"].record.attrs["log_evidence"])
        return "exact", Evidence(exact, 0.0)
    for name, fit in fits.items():
        if name.startswith("nuts") and not fit.problems and fit.draws is not None:
            return f"bridge sampling of {name}", bridge_evidence(case, name)
    return None


def _gap(case: Case) -> Iterator[Verdict]:
    about = "BIC against −2 log evidence"
    maximum = next((f for f in case.estimates("likelihood").values() if not f.problems), None)
    evidence = _evidence(case)
    if maximum is None:
        yield not_comparable(about, "no maximum-likelihood estimate is reliable")
        return
    if evidence is None:
        yield not_comparable(about, "no sampler of the posterior converged")
        return
    source, found = evidence
    k, n = density(case.model, case.data).size, units(case.model, case.data)
    laplace = case.estimates("posterior").get("laplace")
    reliable = laplace is not None and not laplace.problems
    predicted = None
    if laplace is not None and reliable:
        predicted = -2 * (float(laplace.record.attrs["log_evidence"]) + _log_modes(case))
    value = -2 * maximum.log_likelihood + k * float(np.log(n))
    yield Verdict(
        f"−2 log evidence ({source}) − BIC",
        -2 * found.log,
        value,
        error=2 * found.error,
        bound=GAP,
        cause="the O(1) gap is Laplace's: prior density and curvature at the mode",
        predicted=predicted,
        prediction_error=0.5,
    )
    unit = _unit_information(case, maximum, found)
    if unit is not None:
        about = f"−2 log evidence ({source}, reweighted to a unit-information prior) − BIC"
        yield Verdict(about, -2 * unit.log, value, error=2 * unit.error, bound=GAP)


def _unit_information(case: Case, maximum: Estimate, found: Evidence) -> Evidence | None:
    """The evidence under N(û, N J⁻¹) about one of the equal modes; None without a sampler to use.

    Z' = Z·E[N(u | û, N J⁻¹) / π(u)] over the posterior, whose draws lie where that prior is flat.
    """
    fits = case.estimates("posterior").items()
    sampled = (fit for name, fit in fits if name.startswith("nuts") and not fit.problems)
    posterior = next((fit for fit in sampled if fit.draws is not None), None)
    if posterior is None:
        return None
    of = density(case.model, case.data)
    point = {str(name): jnp.asarray(array.data) for name, array in maximum.point.items()}
    center = of.unconstrain(canonical(case.model, point))
    information = observed(of, center)
    if invert(case.model, of, center, information).problem:
        return None
    draws = chart_draws(case, posterior, of)
    prior = jax.vmap(lambda u: of.log_prior(u) + of.log_jacobian(u))(jnp.asarray(draws))
    wide = units(case.model, case.data) * np.linalg.inv(information)
    weight = multivariate_normal(np.asarray(center), wide).logpdf(draws) - np.asarray(prior)
    ratio = np.exp(weight - weight.max())
    error = ratio.std() / ratio.mean() / np.sqrt(posterior_size(posterior))
    log = found.log - _log_modes(case) + weight.max() + float(np.log(ratio.mean()))
    return Evidence(log, float(np.hypot(found.error, error)))


def _bounded(case: Case) -> Iterator[Verdict]:
    """The exact gap along N: its slope against log N, per parameter, must vanish."""
    model = case.model
    assert isinstance(model, HasExactPosterior)
    if not isinstance(model, HasClosedFormMaximum):
        return
    rng = case.rng("bic ladder")
    mean, error = [], []
    for n in LADDER:
        gaps = []
        for _ in range(SETS):
            data = model.simulate(rng, model.truth, n)
            terms = numpyro_terms(model, data, model.maximum_likelihood(data))[1].values()
            log_likelihood = float(per_unit(model, data, list(terms)).sum())
            k = density(model, case.data).size
            gaps.append(k * np.log(n) - 2 * log_likelihood + 2 * model.exact_log_evidence(data))
        mean.append(np.mean(gaps))
        error.append(np.std(gaps, ddof=1) / np.sqrt(SETS))
    spread = np.log(LADDER) - np.mean(np.log(LADDER))
    weight = spread / np.sum(spread**2)
    yield Verdict(
        f"slope of BIC + 2 log Z against log N, N = {LADDER[0]} … {LADDER[-1]}",
        float(weight @ mean),
        0.0,
        error=float(np.sqrt(np.sum((weight * error) ** 2))),
        bound=0.25,
        cause="the gap is O(1) while both grow like N",
    )


# --- orders ---------------------------------------------------------------------------------------


class _Order(NamedTuple):
    order: int
    k: int
    log_likelihood: float
    aic: float
    bic: float
    problem: str


@lru_cache(maxsize=8)
def _fitted_orders(case: Case) -> tuple[_Order, ...]:
    model = case.model
    assert isinstance(model, HasOrder)
    method = next(m for m in case.methods if m.name == "maximum_likelihood")
    n = units(model, case.data)
    found = []
    for order in model.orders:
        other = model.with_order(order)
        sibling = case if other == model else case.sibling(other)
        try:
            fit = sibling.fit(method)
            k = density(other, case.data).size
        except FitError as error:
            found.append(_Order(order, 0, np.nan, np.nan, np.nan, str(error)))
            continue
        deviance = -2 * fit.log_likelihood
        problem = "; ".join(fit.problems)
        found.append(
            _Order(
                order,
                k,
                fit.log_likelihood,
                deviance + 2 * k,
                deviance + k * float(np.log(n)),
                problem,
            )
        )
    return tuple(found)


def _order_criteria(case: Case) -> Iterator[Criterion]:
    if not isinstance(case.model, HasOrder) or not _has_optimiser(case):
        return
    n = units(case.model, case.data)
    rows = _fitted_orders(case)
    chosen = _choice({row.order: row.bic for row in rows if not row.problem})
    for row in rows:
        method = f"order {row.order}"
        yield Criterion(method, "log_likelihood", row.log_likelihood, 0.0, row.k, n)
        yield Criterion(method, "aic", row.aic, 0.0, row.k, n)
        singular = chosen is not None and row.order > chosen
        yield Criterion(method, "bic (singular)" if singular else "bic", row.bic, 0.0, row.k, n)
        value, error = order_wbic(case, row.order)
        yield Criterion(method, "wbic", 2 * value, 2 * error, row.k, n)


@lru_cache(maxsize=32)
def order_wbic(case: Case, order: int) -> tuple[float, float]:
    """WBIC of one order in nats; NaN if the data cannot hold it."""
    model = case.model
    assert isinstance(model, HasOrder)
    try:
        return wbic(model.with_order(order), case.data, case.rng("wbic", str(order)))
    except ValueError:
        return float("nan"), float("nan")


def _has_optimiser(case: Case) -> bool:
    return any(method.name == "maximum_likelihood" for method in case.methods)


def _choice(values: dict[int, float]) -> int | None:
    finite = {order: value for order, value in values.items() if np.isfinite(value)}
    return min(finite, key=lambda order: finite[order]) if finite else None


def _orders(case: Case) -> Iterator[Verdict]:
    if not _has_optimiser(case):
        yield not_comparable("order selection", "maximum_likelihood is not among the methods")
        return
    rows = _fitted_orders(case)
    # no choice rests on an optimum that cannot be relied on
    by_bic = _choice({row.order: row.bic for row in rows if not row.problem})
    by_aic = _choice({row.order: row.aic for row in rows if not row.problem})
    weak = {row.order: order_wbic(case, row.order) for row in rows if not row.problem}
    by_wbic = _choice({order: value for order, (value, _) in weak.items()})
    if by_bic is None or by_aic is None or by_wbic is None:
        yield not_comparable("order selection", "no order has an optimum that can be relied on")
        return
    for row in rows:
        if row.problem:
            yield not_comparable(f"BIC at order {row.order}", row.problem)
        elif row.order > by_bic:
            yield not_comparable(
                f"BIC at order {row.order}",
                "singular model: penalty k log N is not the right one; BIC "
                f"{row.bic:.2f}, WBIC {2 * weak[row.order][0]:.2f} ± {2 * weak[row.order][1]:.2f}",
            )
    lowest, error = weak[by_wbic]
    ties = [
        order
        for order, (value, other) in weak.items()
        if order != by_wbic and not value - lowest > Z * np.hypot(error, other)
    ]
    about = "order chosen: WBIC, whose penalty is lighter for singular models, against BIC"
    if ties:
        yield not_comparable(about, f"WBIC cannot tell order {by_wbic} from {_listed(ties)}")
    else:
        yield Verdict(about, by_wbic, by_bic, error=0.0, bound=0.0, relation="at_least")
    # a lighter penalty never chooses less
    about = "order chosen: AIC, with 2 per parameter, against BIC, with log N"
    yield Verdict(about, by_aic, by_bic, error=0.0, bound=0.0, relation="at_least")


def _listed(orders: list[int]) -> str:
    return " or ".join(map(str, orders))
