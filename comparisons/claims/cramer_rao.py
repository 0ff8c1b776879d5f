"""No unbiased estimator has a smaller variance than the inverse Fisher information.

Two questions, answered apart.

1. Is the posterior as narrow as theory says?  Its covariance Σ against the bound B = (N·I(θ̂))⁻¹,
   also with the prior's precision added: standard deviations by parameter, the extreme generalised
   eigenvalues of (Σ, B), and the Kullback–Leibler divergence and Wasserstein distance of
   N(θ̂, J⁻¹) from the normal law with the posterior's moments.  A ratio a little below 1 is not a
   contradiction.
2. Does an estimator beat the bound in repeated sampling?  Replicated data sets at a known θ₀, on a
   ladder of N: bias, variance over bound of the maximum-likelihood estimator, its mean standard
   error against its true standard deviation, and the smallest eigenvalue of B^(−½) Var B^(−½),
   which must be at least 1.  Departures shrink like 1/N: what the smaller N show predicts the
   largest.  Where the law of the estimator is known at every N, its standard deviation is held to
   that as well.

As a study, the second question is put to the maximum-likelihood estimate, EM alone, the
maximum of likelihood times prior, and the means of the exact and of the mean-field posterior, at
any N.  An estimator T with bias is also held to the bound that allows for it, with score s,
Var T ≥ C (N·I)⁻¹ Cᵀ, C = Cov(T, s) = 1 + b′(θ) in one dimension.
References: Lehmann & Casella (1998), Theory of Point Estimation, §2.5-2.6, §6.3; van der Vaart
(1998), Asymptotic Statistics, §8.2, §10.2.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.linalg
import xarray as xr

from comparisons.reference import (
    positions,
    posterior_size,
    reference_posterior,
    scalars,
    unconstrained_draws,
)
from comparisons.studies._ladder import SHRINKS, Rung, ladders, left_out, vanishing
from comparisons.studies._study import Finding
from comparisons.targets import predictions, prior_information, through
from comparisons.verdict import Verdict, not_comparable
from inference.information.delta import bound_error
from inference.information.derivatives import quantity_jacobian
from inference.information.inversion import invert
from inference.information.matrices import expected, observed
from inference.method import label
from inference.posterior.labels import canonical
from inference.replicates.fits import (
    climbed,
    expectation_maximised,
    flat_quantities,
    posteriors,
    replicate,
    scores,
)
from inference.replicates.gaussian_vi import mean_field
from inference.replicates.simulated import simulated
from models.capabilities import HasClosedFormMaximum, HasEM, HasSamplingLaw
from models.errors import FitError
from models.programs.density import density, flat_names, flatten, quantities
from models.programs.precision import float64

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from comparisons.case import Case
    from comparisons.studies._moments import Summaries
    from comparisons.studies._study import Setting
    from inference.estimate import Estimate
    from models.programs.density import Density

RATIO = 0.1
"""Largest relative difference between a posterior sd and its bound that does not matter."""
EFFICIENCY = 0.2
"""Largest relative difference between a variance and its bound that does not matter."""
SPREAD = 0.1
"""The same for a standard deviation."""
BIAS = 0.25
"""Largest bias that does not matter, in standard deviations."""
ASYMPTOTIC = 0.5
"""Departure of a variance from its bound beyond which no law in 1/N is taken to hold."""
REPLICATES = 2_000
RUNGS = (200, 800)
"""Units per replicated data set."""
LADDER = (10, 50, 100, 500, 1_000, 5_000)
"""The same for models whose maximum has a closed form."""
LARGEST = {"quick": 5, "standard": 9, "thorough": 20}
"""Most free parameters of a model that is replicated, by profile."""


@float64
def compare(case: Case) -> Iterator[Verdict]:
    """The posterior's spread, then repeated sampling."""
    yield from _posterior(case)
    yield from _repeated(case)


# --- 1. the posterior against the bound -----------------------------------------------------------


def _posterior(case: Case) -> Iterator[Verdict]:
    about = "posterior sd / Cramér–Rao bound"
    maximum = next((f for f in case.estimates("likelihood").values() if not f.problems), None)
    reference = reference_posterior(case)
    if maximum is None or not maximum.point.data_vars:
        yield not_comparable(about, "no maximum-likelihood estimate is reliable")
        return
    if reference is None:
        yield not_comparable(about, "no sampler of the posterior converged")
        return
    name, posterior = label(reference[0]), reference[1]
    of = density(case.model, case.data)
    point = {str(n): jnp.asarray(a.data) for n, a in maximum.point.items()}
    u = of.unconstrain(canonical(case.model, point))
    try:
        information = expected(case.model, case.data, of, u, case.rng("expected information"))
    except FitError as error:
        yield not_comparable(about, str(error))
        return
    bound = invert(case.model, of, u, information.matrix)
    if bound.problem or bound.boundary.any():
        yield not_comparable(about, bound.problem or "the maximum is on a boundary")
        return
    jacobian = np.asarray(quantity_jacobian(case.model, of)(u))
    plain = _deviations(jacobian, bound.covariance)
    uncertain = bound_error(jacobian, bound.covariance, information.scores) / 2
    theory = predictions(case)
    with_prior = None if theory is None else through(case, u, information.matrix, theory)
    place = positions(maximum)
    for scalar, one in scalars(case.model, posterior).items():
        i = place[scalar]
        yield Verdict(
            f"sd of {scalar}: {name} / Cramér–Rao bound",
            one.sd / plain[i],
            1.0,
            error=float(np.hypot(one.sd_error, one.sd * uncertain[i])) / plain[i],
            bound=RATIO,
            cause="prior and finite N: (N·I + P)⁻¹",
            predicted=None if with_prior is None else with_prior[scalar] / plain[i],
            prediction_error=0.05,
        )
    if posterior.draws is not None:
        yield from _matrix(case, name, posterior, of, np.asarray(u), bound.covariance)


def _deviations(jacobian: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    return np.sqrt(np.einsum("ij,jk,ik->i", jacobian, covariance, jacobian))


def _matrix(
    case: Case, name: str, posterior: Estimate, of: Density, u: np.ndarray, bound: np.ndarray
) -> Iterator[Verdict]:
    """The same question for the whole covariance, in the unconstrained chart."""
    points = unconstrained_draws(case, posterior, of)
    location, covariance = points.mean(axis=0), np.cov(points, rowvar=False)
    covariance = np.atleast_2d(covariance)
    eigenvalue = scipy.linalg.eigh(covariance, bound, eigvals_only=True)
    # the extreme eigenvalues of a sample covariance stray by about √(k/n) times two
    size = posterior_size(posterior)
    error = float(np.sqrt(2 / size) + np.sqrt(of.size / size)) / 2
    # by the bound itself, so that a wrong one explains nothing
    with_prior = np.linalg.inv(np.linalg.inv(bound) + prior_information(of, jnp.asarray(u)))
    theory = scipy.linalg.eigh(with_prior, bound, eigvals_only=True)
    for which, end in (("smallest", 0), ("largest", -1)):
        yield Verdict(
            f"{which} generalised eigenvalue of (posterior covariance of {name}, bound), as sd",
            float(np.sqrt(eigenvalue[end])),
            1.0,
            error=error,
            bound=0.25,
            cause="prior: (N·I + P)⁻¹",
            predicted=float(np.sqrt(theory[end])),
            prediction_error=0.1,
        )
    normal = np.linalg.inv(observed(of, jnp.asarray(u)))
    divergence = _kl_normal(location, covariance, u, normal)
    yield Verdict(
        f"KL divergence of N(θ̂, J⁻¹) from the normal law of {name}, nats per parameter",
        divergence / of.size,
        0.0,
        error=of.size / size,
        bound=0.05,
    )
    distance = _wasserstein_normal(location, covariance, u, normal) / np.sqrt(of.size)
    yield Verdict(
        f"Wasserstein distance of N(θ̂, J⁻¹) from the normal law of {name}, in sd per √parameter",
        distance,
        0.0,
        error=float(np.sqrt(of.size / size)),
        bound=0.25,
    )


def _wasserstein_normal(m0: np.ndarray, s0: np.ndarray, m1: np.ndarray, s1: np.ndarray) -> float:
    """W₂ between N(m0, s0) and N(m1, s1), in coordinates in which the second is standard."""
    factor = np.linalg.cholesky(s1)
    shift = np.linalg.solve(factor, m1 - m0)
    covariance = np.linalg.solve(factor, np.linalg.solve(factor, s0).T)
    sd = np.sqrt(np.maximum(np.linalg.eigvalsh(covariance), 0.0))
    return float(np.sqrt(shift @ shift + ((sd - 1) ** 2).sum()))


def _kl_normal(m0: np.ndarray, s0: np.ndarray, m1: np.ndarray, s1: np.ndarray) -> float:
    """KL(N(m0, s0) ‖ N(m1, s1)), nats."""
    solve = np.linalg.solve(s1, s0)
    shift = m1 - m0
    quadratic = shift @ np.linalg.solve(s1, shift)
    return float(0.5 * (np.trace(solve) - m0.size + quadratic - np.linalg.slogdet(solve)[1]))


# --- 2. repeated sampling -------------------------------------------------------------------------


class Sampling(NamedTuple):
    """The maximum-likelihood estimator over replicated data sets of n units, by flat quantity."""

    n: int
    names: list[str]
    bias: np.ndarray
    variance: np.ndarray
    bound: np.ndarray
    relative: np.ndarray
    """Standard error of the variance, relative: √((κ − 1)/R), κ the kurtosis."""
    uncertain: np.ndarray
    """Relative Monte Carlo error of the bound; 0 where it is exact."""
    mean_error: np.ndarray
    smallest: float
    """Smallest eigenvalue of B^(−½) Var B^(−½)."""
    smallest_expected: float
    """Where that of a sample covariance lies when the true one is B."""
    replicates: int
    failed: int


def table(case: Case) -> xr.Dataset | None:
    """The ladder: what every rung gave, one row each; None if the model is not replicated."""
    if not _replicated(case):
        return None
    rows = []
    for rung in ladder(case):
        for statistic, measured, theory in (
            ("variance / bound", _efficiency, 1.0),
            ("bias / sd", _bias, 0.0),
            ("mean standard error / sd", _own_error, 1.0),
        ):
            for i, name in enumerate(rung.names):
                value, error = measured(rung, i)
                row = statistic, "maximum_likelihood", name, rung.n, value, error, theory
                rows.append(row)
    names = ("statistic", "estimator", "quantity", "n", "value", "error", "theory")
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    return xr.Dataset({name: ("row", np.asarray(column)) for name, column in columns.items()})


def _replicated(case: Case) -> bool:
    return density(case.model, case.data).size <= LARGEST[case.profile]


@lru_cache(maxsize=8)
def ladder(case: Case) -> tuple[Sampling, ...]:
    """Repeated sampling at every rung of N, smallest first.

    Raises:
        FitError: the model cannot be fitted to many data sets at once.
    """
    long = case.profile != "quick" and isinstance(case.model, HasClosedFormMaximum)
    return tuple(sampling(case, n, REPLICATES) for n in (LADDER if long else RUNGS))


def _repeated(case: Case) -> Iterator[Verdict]:
    about = "repeated sampling at the model's truth"
    if not _replicated(case):
        yield not_comparable(
            about,
            f"not made: {density(case.model, case.data).size} free parameters, more than the "
            f"{LARGEST[case.profile]} of profile {case.profile}",
        )
        return
    try:
        rungs = ladder(case)
    except FitError as error:
        yield not_comparable(about, str(error))
        return
    for rung in rungs:
        if rung.failed > 0.01 * REPLICATES:
            yield not_comparable(
                f"{about}, N = {rung.n}",
                f"{rung.failed} of {REPLICATES} replicates did not converge to an interior maximum",
            )
            return
    top, before = rungs[-1], rungs[-2]
    where = f"over {top.replicates} data sets at the model's truth"
    for i, name in enumerate(top.names):
        departures = np.array([rung.variance[i] / rung.bound[i] - 1 for rung in rungs])
        near = np.abs(departures) < ASYMPTOTIC
        set_in = near[-1] and near.sum() > 1
        # a departure that stays as N grows is no matter of asymptotics
        if not set_in and abs(departures[-1]) < SHRINKS * abs(departures[-2]):
            yield not_comparable(
                f"Var({name}) / Cramér–Rao bound, {where}",
                f"the asymptotics have not set in: the variance is {1 + departures[-2]:.2f} times "
                f"the bound at N = {before.n} and {1 + departures[-1]:.2f} times at N = {top.n}",
            )
            continue
        used = [rung for rung, one in zip(rungs, near, strict=True) if one or not set_in]
        for about, statistic, limit, bound, power in (
            (f"Var({name}) / Cramér–Rao bound", _efficiency, 1.0, EFFICIENCY, 1.0),
            (f"bias of {name} in standard deviations", _bias, 0.0, BIAS, 0.5),
            (f"mean standard error of {name} / its sd", _own_error, 1.0, SPREAD, 1.0),
        ):
            along = [Rung(rung.n, *statistic(rung, i)) for rung in used]
            yield [v for _, v in vanishing(along, limit, bound, f"{about}, {where}", power)][-1]
    yield from _exact(case, rungs)
    yield Verdict(
        f"smallest eigenvalue of B^(−½) Var B^(−½), {where}, N = {top.n}",
        top.smallest,
        top.smallest_expected,
        error=float(np.hypot(top.relative, top.uncertain).max()),
        bound=EFFICIENCY,
        relation="at_least",
    )


def _efficiency(rung: Sampling, i: int) -> tuple[float, float]:
    ratio = float(rung.variance[i] / rung.bound[i])
    return ratio, ratio * float(np.hypot(rung.relative[i], rung.uncertain[i]))


def _bias(rung: Sampling, i: int) -> tuple[float, float]:
    return float(rung.bias[i] / np.sqrt(rung.variance[i])), rung.replicates**-0.5


def _own_error(rung: Sampling, i: int) -> tuple[float, float]:
    ratio = float(rung.mean_error[i] / np.sqrt(rung.variance[i]))
    return ratio, ratio * float(rung.relative[i]) / 2


def _exact(case: Case, rungs: Sequence[Sampling]) -> Iterator[Verdict]:
    """Standard deviations against their law at each N, where the model knows it."""
    model = case.model
    if not isinstance(model, HasSamplingLaw):
        return
    for rung in rungs:
        law = model.sampling_moments(model.truth, rung.n)[1]
        exact = dict(zip(flat_names(law), np.asarray(flatten(law)), strict=True))
        for i, name in enumerate(rung.names):
            ratio = float(np.sqrt(rung.variance[i]) / exact[name])
            yield Verdict(
                f"sd of the estimate of {name} / its exact law, over {rung.replicates} data sets "
                f"of {rung.n} units at the model's truth",
                ratio,
                1.0,
                error=ratio * float(rung.relative[i]) / 2,
                bound=SPREAD,
            )


def _relative(estimate: np.ndarray) -> np.ndarray:
    away = estimate - estimate.mean(axis=0)
    kurtosis = (away**4).mean(axis=0) / (away**2).mean(axis=0) ** 2
    return np.sqrt((kurtosis - 1) / len(estimate))


def sampling(case: Case, n: int, replicates: int) -> Sampling:
    """Replicates the model at its truth and summarises them against the bound.

    Raises:
        FitError: the model cannot be fitted to many data sets at once.
    """
    model, truth = case.model, case.model.truth
    rng = case.rng("repeated sampling", str(n))
    batch = simulated(model, truth, n, range(replicates), int(rng.integers(2**63)))
    fits = replicate(model, batch)
    data = model.simulate(rng, truth, n)
    of = density(model, data)
    u = of.unconstrain(truth)
    information = expected(model, data, of, u, rng)
    chart = np.linalg.inv(information.matrix)
    jacobian = np.asarray(quantity_jacobian(model, of)(u))
    reported = quantities(model, of.constrain(u))
    at_truth = np.concatenate([np.ravel(array) for array in reported.values()])
    # one label a model sets: others would count a component swap as error
    good = fits.converged & np.isfinite(fits.estimate).all(axis=1)
    estimate = fits.estimate[good]
    bound = jacobian @ chart @ jacobian.T
    keep = np.diag(bound) > 0
    covariance = np.atleast_2d(np.cov(estimate, rowvar=False))
    names = flat_names(reported)
    return Sampling(
        n,
        [name for name, kept in zip(names, keep, strict=True) if kept],
        (estimate.mean(axis=0) - at_truth)[keep],
        np.diag(covariance)[keep],
        np.diag(bound)[keep],
        _relative(estimate[:, keep]),
        bound_error(jacobian, chart, information.scores)[keep],
        fits.standard_error[good].mean(axis=0)[keep],
        *_smallest(bound, covariance, int(good.sum())),
        int(good.sum()),
        int((~good).sum()),
    )


# --- as a study -----------------------------------------------------------------------------------


def measure(setting: Setting, n: int, indices: Sequence[int]) -> dict[str, np.ndarray]:
    """Errors of the estimators, each followed by the score at the truth, by replicate."""
    batch = setting.batch(n, indices)
    fits = replicate(setting.model, batch)
    mode, _, found = climbed(setting.model, batch, fits.u, "joint")
    at_mode = flat_quantities(setting.model, batch, mode)
    estimates = {
        "maximum_likelihood": (fits.estimate, fits.converged),
        "maximum_a_posteriori": (at_mode, found),
    }
    if isinstance(setting.model, HasEM):
        estimates["expectation_maximisation"] = expectation_maximised(setting.model, batch)
    for name, draws in (
        ("posterior_mean", posteriors(setting.model, batch, fits.u)["posterior"]),
        ("gaussian_vi_mean", mean_field(setting.model, batch, fits.u)),
    ):
        mean = (draws.weights[:, :, None] * draws.quantities).sum(axis=1)
        estimates[name] = mean, draws.usable
    score = scores(setting.model, batch, setting.model.truth)
    # side by side, so that their covariance is kept too
    return {
        name: np.where(fine[:, None], np.hstack([estimate - setting.truth, score]), np.nan)
        for name, (estimate, fine) in estimates.items()
    }


def judge(setting: Setting, summaries: Summaries) -> Iterator[Finding]:
    """Variance, squared error and bias by estimator and parameter, and the matrix inequality."""
    bounds = {n: setting.bound(n) for n in summaries}
    for method, ladder, varying in ladders(setting, summaries):
        yield from left_out(summaries, method, method)
        for i, name in varying:
            variance, square, bias, allowed = [], [], [], []
            for n in ladder:
                moments = summaries[n][method]
                sd, relative = float(moments.deviation[i]), float(moments.relative[i])
                relative = float(np.hypot(relative, bounds[n].uncertain[i]))
                ratio, away = (sd / bounds[n].deviation[i]) ** 2, float(moments.mean[i]) / sd
                even = moments.replicates**-0.5
                variance.append(Rung(n, ratio, ratio * relative))
                error = ratio * float(np.hypot(relative, 2 * away * even))
                square.append(Rung(n, ratio * (1 + away**2), error))
                bias.append(Rung(n, away, even))
                size = len(setting.names)
                slope = moments.covariance[i, size:]
                least = float(slope @ np.linalg.solve(bounds[n].information, slope))
                allowed.append(Rung(n, sd**2 / least, sd**2 / least * relative))
            for quantity, rungs, limit, bound, power in (
                ("variance / Cramér–Rao bound", variance, 1.0, EFFICIENCY, 1.0),
                ("mean squared error / Cramér–Rao bound", square, 1.0, EFFICIENCY, 1.0),
                ("bias / sd", bias, 0.0, BIAS, 0.5),
            ):
                about = f"{quantity} of {name} by {method}"
                for n, verdict in vanishing(rungs, limit, bound, about, power):
                    # a bias in units of its own spread knows nothing of the bound
                    held = limit * verdict.observed * bounds[n].uncertain[i]
                    yield Finding(method, n, quantity, name, verdict, held)
            quantity = "variance / bound at its bias"
            for rung in allowed:
                about = f"{quantity} of {name} by {method}, N = {rung.n}"
                verdict = Verdict(
                    about, rung.value, 1.0, rung.error, EFFICIENCY, relation="at_least"
                )
                held = rung.value * bounds[rung.n].uncertain[i]
                yield Finding(method, rung.n, quantity, name, verdict, held)
        for n in ladder[-1:]:
            moments = summaries[n][method]
            size = len(setting.names)
            smallest, expected_value = _smallest(
                bounds[n].covariance, moments.covariance[:size, :size], moments.replicates
            )
            quantity = "smallest eigenvalue of B^(−½) Var B^(−½)"
            verdict = Verdict(
                f"{quantity} by {method}, N = {n}",
                smallest,
                expected_value,
                error=max(
                    float(np.hypot(moments.relative[i], bounds[n].uncertain[i])) for i, _ in varying
                ),
                bound=EFFICIENCY,
                relation="at_least",
            )
            held = smallest * max(bounds[n].uncertain[i] for i, _ in varying)
            yield Finding(method, n, quantity, "", verdict, held)


def _smallest(bound: np.ndarray, covariance: np.ndarray, replicates: int) -> tuple[float, float]:
    """Of B^(−½) Var B^(−½) on the range of B, and where it lies if the true one is 1.

    The latter by Marchenko & Pastur (1967).
    """
    value, vector = np.linalg.eigh(bound)
    inside = value > 1e-10 * value[-1]
    basis = vector[:, inside] / np.sqrt(value[inside])
    smallest = float(np.linalg.eigvalsh(basis.T @ covariance @ basis)[0])
    return smallest, (1 - np.sqrt(inside.sum() / replicates)) ** 2
