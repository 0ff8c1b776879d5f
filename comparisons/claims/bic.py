"""BIC approximates −2 log evidence up to a constant, for regular models.

With k free parameters, N exchangeable units and the maximum θ̂ of the likelihood,
BIC = −2ℓ(θ̂) + k log N and −2 log Z = BIC + O(1); to the next order the gap is Laplace's,
−2 log π(û) − k log 2π + log |H| − k log N, which importance sampling makes exact.  Under a
unit-information prior, N(û, N J⁻¹) in the unconstrained space, it is k log(1 + 1/N), next to
nothing.  A mixture or factor model above its
true order is singular: k log N is not the right penalty, and WBIC is shown beside it, with the
evidence and leave-one-out of every order by importance sampling about Laplace's mode.  Which order
is the true one nobody knows: each above the smallest that AIC, BIC or WBIC chooses is marked.
References: Schwarz (1978), Ann. Statist. 6; Kass & Wasserman (1995), JASA 90; Watanabe (2013),
JMLR 14; Vehtari, Gelman & Gabry (2017), Stat. Comput. 27.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import Covariance, multivariate_normal

from comparisons import criteria
from comparisons.criteria import Criterion
from comparisons.gate import difference_of_densities
from comparisons.policy import EVIDENCE, PARETO, PENALTY_SLOPE, SAME_EVIDENCE
from comparisons.reference import (
    Case,
    exact_posterior,
    maximum,
    posterior_size,
    samplers,
    unconstrained_draws,
    values_at,
)
from comparisons.replicated.ladder import line
from comparisons.targets import corrected, explained, heavy_tail
from comparisons.verdict import Verdict, not_comparable
from inference.estimate import Estimate
from inference.information.inversion import invert
from inference.information.matrices import observed
from inference.method import Method, label
from inference.methods.laplace import Laplace
from inference.methods.maximum_likelihood import MaximumLikelihood
from inference.posterior.evidence import Measured, wbic
from inference.posterior.importance import Mode, importance, smoothed
from inference.posterior.labels import canonical, log_modes
from inference.posterior.points import terms
from models.capabilities import HasClosedFormMaximum, HasExactPosterior, HasOrder
from models.errors import ConcordError, FitError
from models.programs.density import density, languages, per_unit
from models.programs.numpyro import numpyro_terms
from models.programs.precision import float64
from models.spec import Model

LADDER = (100, 400, 1_600, 6_400)
"""Numbers of units along which the gap must stay bounded."""
SETS = 20
"""Simulated data sets at each of them."""


def table(case: Case) -> pd.DataFrame:
    """Every criterion of the case and of its orders, one row each."""
    rows = [*fit_criteria(case), *_order_criteria(case)]
    return pd.DataFrame(rows, columns=[*Criterion._fields])


@float64
def compare(case: Case) -> Iterator[Verdict]:
    """BIC against the evidence, its gap along N, and where the criteria of orders are unusable."""
    yield from _gap(case)
    for sampler, loo in _left_out(case):
        if loo.problem:
            yield not_comparable("leave-one-out by {method}", loo.problem, method=label(sampler))
    yield from _bounded(case)
    if isinstance(case.model, HasOrder):
        yield from _orders(case)


# --- the case's own model -------------------------------------------------------------------------


def fit_criteria(case: Case) -> Iterator[Criterion]:
    """Those of every fit that can be relied on."""
    fits = case.estimates("likelihood") | case.estimates("posterior")
    yield from criteria.by_fit(case.model, case.data, fits)
    k, n = density(case.model, case.data).size, criteria.sample_size(case.model, case.data)
    known = {} if criteria.no_evidence(case.model) else samplers(case.estimates("posterior"))
    for sampler in known:
        found = criteria.bridge_evidence(case, sampler)
        yield Criterion(label(sampler), "log_evidence", found.value, found.error, k, n)
    for sampler, loo in _left_out(case):
        if np.isfinite(loo.value):
            name = _marked("elpd_loo", loo.problem)
            yield Criterion(label(sampler), name, loo.value, loo.error, k, n)


def _marked(criterion: str, problem: str) -> str:
    return f"{criterion} (unreliable)" if problem else criterion


def _left_out(case: Case) -> list[tuple[Method, Measured]]:
    """Leave-one-out by the first sampler that keeps its pointwise log-likelihood."""
    for sampler, fit in samplers(case.estimates("posterior")).items():
        if fit.draws is not None and "log_likelihood" in fit.draws.children:
            return [(sampler, criteria.sampled_leave_one_out(case, sampler))]
    return []


def _gap(case: Case) -> Iterator[Verdict]:
    claim = "BIC against −2 log evidence"
    try:
        top, (method, found) = maximum(case), criteria.evidence(case)
    except FitError as error:
        yield not_comparable(claim, str(error))
        return
    source = "exact" if exact_posterior(method) else f"bridge sampling of {label(method)}"
    k, n = density(case.model, case.data).size, criteria.sample_size(case.model, case.data)
    value = criteria.deviances(top.log_likelihood, k, n)["bic"]
    sides = {"bound": EVIDENCE, "method": label(method), "reference": "BIC"}
    verdict = partial(Verdict, "{quantity} − {reference}", expected=value, **sides)
    row = verdict(-2 * found.value, error=2 * found.error, quantity=f"−2 log evidence ({source})")
    theory = corrected(case)
    known = -2 * theory.evidence.value, 2 * theory.evidence.error
    yield explained(row, known, theory, SAME_EVIDENCE)
    unit = _unit_information(case, top, found)
    if unit is not None:
        words = f"−2 log evidence ({source}, reweighted to a unit-information prior)"
        yield verdict(-2 * unit.value, error=2 * unit.error, quantity=words)


def _unit_information(case: Case, top: Estimate, found: Measured) -> Measured | None:
    """The evidence under N(û, N J⁻¹) about one of the equal modes; None where no draws tell it.

    Z' = Z·E[N(u | û, N J⁻¹) / π(u)] over the posterior, whose draws lie where that prior is flat.
    """
    posterior = next(iter(samplers(case.estimates("posterior")).values()), None)
    if posterior is None:
        return None
    target, n = density(case.model, case.data), criteria.sample_size(case.model, case.data)
    location = target.unconstrain(canonical(case.model, values_at(top)))
    information = observed(target, location)
    if invert(case.model, target, location, information).problem:
        return None
    draws = unconstrained_draws(case, posterior, target)
    _, prior, jacobian = terms(target).totals(draws)
    wide = Covariance.from_precision(information / n)  # whatever its scales are
    weight = multivariate_normal(np.asarray(location), wide).logpdf(draws) - prior - jacobian
    if not smoothed(weight)[1] < PARETO:
        return None
    ratio = np.exp(weight - weight.max())
    error = ratio.std() / ratio.mean() / np.sqrt(posterior_size(posterior))
    log = found.value - log_modes(case.model) + weight.max() + float(np.log(ratio.mean()))
    return Measured(log, float(np.hypot(found.error, error)))


def _bounded(case: Case) -> Iterator[Verdict]:
    """The exact gap along N: its slope against log N, per parameter, must vanish."""
    model = case.model
    if not isinstance(model, HasExactPosterior) or not isinstance(model, HasClosedFormMaximum):
        return
    rng, k = case.rng("bic ladder"), density(model, case.data).size
    gaps = np.empty((len(LADDER), SETS))
    for place, one in np.ndindex(gaps.shape):
        data = model.simulate(rng, model.truth, LADDER[place])
        likelihood = numpyro_terms(model, data, model.maximum_likelihood(data))[1].values()
        top = float(per_unit(model, data, list(likelihood)).sum())
        bic = criteria.deviances(top, k, LADDER[place])["bic"]
        gaps[place, one] = bic + 2 * model.exact_log_evidence(data)
    errors = gaps.std(axis=1, ddof=1) / np.sqrt(SETS)
    slope, error = line(np.log(LADDER), gaps.mean(axis=1), errors)
    claim = f"{{quantity}} against log N, N = {LADDER[0]} … {LADDER[-1]}"
    words, cause = "slope of BIC + 2 log Z", "the gap is O(1) while both grow like N"
    yield Verdict(claim, slope, 0.0, error, PENALTY_SLOPE, cause=cause, quantity=words)


# --- orders ---------------------------------------------------------------------------------------

_WORDS = {
    "aic": "AIC",
    "bic": "BIC",
    "wbic": "WBIC",
    "log_evidence": "the evidence",
    "elpd_loo": "leave-one-out",
}
"""Criteria that choose an order, by name."""
_LARGER = ("log_evidence", "elpd_loo")
"""Those of which larger is better."""


class _Order(NamedTuple):
    """One order, its number of free parameters, and what was measured of it, by criterion."""

    order: int
    k: int
    measured: dict[str, Measured]


@lru_cache(maxsize=8)
def _measured_orders(case: Case) -> tuple[_Order, ...]:
    model = case.model
    method = next((m for m in case.methods if isinstance(m, MaximumLikelihood)), None)
    assert isinstance(model, HasOrder)
    if method is None:
        return ()
    return tuple(_measured(case, method, order, model.with_order(order)) for order in model.orders)


def _measured(case: Case, optimiser: Method, order: int, model: Model) -> _Order:
    sibling, k = case if model == case.model else case.sibling(model), 0
    try:
        k = density(model, sibling.data).size
        if sibling is not case:  # the gate has seen the case's own order only
            rng = sibling.rng("same_model")
            if differs := difference_of_densities(sibling.model, sibling.data, rng):
                told = "not fitted, since the two programs are not shown to be one model"
                raise FitError(f"{told}: {differs}")
    except (ConcordError, ValueError) as error:
        return _Order(order, k, _nothing(_WORDS, str(error)))
    try:
        top = _reliable(sibling, optimiser).log_likelihood
        values = criteria.deviances(top, k, criteria.sample_size(model, sibling.data))
        found = {name: Measured(value, 0.0) for name, value in values.items()}
    except FitError as error:
        found = _nothing(("log_likelihood", "aic", "bic"), str(error))
    return _Order(order, k, found | {"wbic": order_wbic(sibling)} | _approximated(sibling))


def _nothing(names: Iterable[str], problem: str) -> dict[str, Measured]:
    return dict.fromkeys(names, Measured(float("nan"), float("nan"), problem))


def _reliable(sibling: Case, method: Method) -> Estimate:
    """A fit; a FitError if there is none, or nothing may rest on it."""
    fit = sibling.fit(method)
    if fit.problems:
        raise FitError("; ".join(fit.problems))
    return fit


@lru_cache(maxsize=32)
def order_wbic(sibling: Case) -> Measured:
    """WBIC of a case's model as a deviance."""
    try:
        found = wbic(sibling.model, sibling.data, sibling.rng("wbic"))
    except (FitError, ValueError) as error:
        return Measured(float("nan"), float("nan"), str(error))
    return Measured(2 * found.value, 2 * found.error, found.problem)


def _approximated(sibling: Case) -> dict[str, Measured]:
    """Evidence and leave-one-out from weighted draws about Laplace's mode."""
    model, data = sibling.model, sibling.data
    # its normal law is in the unconstrained space that importance sampling works in
    own = languages(model)[0]
    methods = (m for m in sibling.methods if isinstance(m, Laplace) and m.language == own)
    if not (method := next(methods, None)):
        return {}
    try:
        fit = _reliable(sibling, method)
    except FitError as error:
        return _nothing(_LARGER, str(error))
    mode = Mode(fit.record["mode"].values, 0.0, fit.record["mode_covariance"].values)
    found = importance(density(model, data), [mode], sibling.rng("importance"))
    value, error = found.evidence()
    return {
        "log_evidence": Measured(value + log_modes(model), error, heavy_tail(found)),
        "elpd_loo": criteria.weighted_leave_one_out(model, data, found),
    }


def _order_criteria(case: Case) -> Iterator[Criterion]:
    if not isinstance(case.model, HasOrder):
        return
    n = criteria.sample_size(case.model, case.data)
    rows = _measured_orders(case)
    smallest = _smallest(rows) or np.inf
    for row in rows:
        for name, found in row.measured.items():
            if np.isfinite(found.value):
                singular = name == "bic" and row.order > smallest
                criterion = "bic (singular)" if singular else _marked(name, found.problem)
                method = f"order {row.order}"
                yield Criterion(method, criterion, found.value, found.error, row.k, n)
    for name, words in _WORDS.items():
        known = _known(rows, name)
        if len(known) > 1:
            chosen, method = _best(known, name), f"choice of {words}"
            if len(known) < len(rows):
                method += f" among {', '.join(str(row.order) for row in known)}"
            yield Criterion(method, "order", chosen.order, 0.0, chosen.k, n)


def _known(rows: Sequence[_Order], name: str) -> list[_Order]:
    """The orders at which a criterion can be relied on."""
    return [row for row in rows if name in row.measured and not row.measured[name].problem]


def _best(rows: Sequence[_Order], criterion: str) -> _Order:
    sign = -1 if criterion in _LARGER else 1
    return min(rows, key=lambda row: sign * row.measured[criterion].value)


def _smallest(rows: Sequence[_Order]) -> int | None:
    """The smallest order that AIC, BIC or WBIC chooses; None if none of them can."""
    known = {name: _known(rows, name) for name in ("aic", "bic", "wbic")}
    chosen = [_best(some, name).order for name, some in known.items() if len(some) > 1]
    return min(chosen, default=None)


def _orders(case: Case) -> Iterator[Verdict]:
    rows = _measured_orders(case)
    if not rows:
        yield not_comparable("order selection", "maximum_likelihood is not among the methods")
        return
    smallest = _smallest(rows)
    for row in rows:
        claim = f"{{quantity}} at order {row.order}"
        about: dict[str, list[str]] = {}
        for name, words in _WORDS.items():
            if name in row.measured and (problem := row.measured[name].problem):
                about.setdefault(problem, []).append(words)
        for problem, names in about.items():
            yield not_comparable(claim, problem, quantity=", ".join(names))
        if smallest and row.order > smallest and not row.measured["bic"].problem:
            told = f"singular if the order is {smallest}"
            cause = f"{told}: penalty k log N is then not the right one"
            bic, weak = row.measured["bic"].value, row.measured["wbic"]
            if not weak.problem:
                cause += f"; BIC {bic:.2f}, WBIC {weak.value:.2f} ± {weak.error:.2f}"
            yield not_comparable(claim, cause, quantity="BIC")
