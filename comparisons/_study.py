"""Simulation studies: what theory says of repeated data sets, measured on repeated data sets.

A study is an entry beside this file that defines `measure(setting, n, indices)`, columns with one
row per replicate, and `judge(setting, summaries)`, findings from their moments.  Each batch depends
on its replicates' indices alone and is kept as it finishes, so that a study that was killed goes on
and ends with the same numbers.  Moments up to the fourth are merged exactly, so that any number of
replicates needs no more memory than one batch.
Reference: Pébay (2008), Formulas for Robust, One-Pass Parallel Computation of Covariances and
Arbitrary-Order Statistical Moments, SAND2008-6212.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, final

import numpy as np

import comparisons
import inference
import models
from comparisons._settings import did_you_mean, refuse
from comparisons._store import canonical, machinery, source_digest, versions
from comparisons._verdict import Verdict, Z, not_comparable
from inference._information import expected, invert, quantity_jacobian
from inference._replicates import simulated
from models._catalogue import entries
from models._density import density, flat_names, flatten, quantities
from models._errors import FitError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import ModuleType

    from comparisons._store import Store
    from inference._replicates import Batch
    from models._spec import Model

BATCH = 250
"""Most replicates of a batch: what a killed study loses."""
_NUMBERS = 20_000_000
"""Most numbers of simulated data in memory at a time."""
FIRST = 1_000
"""Replicates before the first look at the verdicts; each further look is at twice as many."""


@final
@dataclass(frozen=True, eq=False)
class Setting:
    """What is studied: a model at its truth.

    Attributes:
        model: the model; data are simulated at its `truth`.
        seed: of every random stream.
    """

    model: Model
    seed: int

    @cached_property
    def names(self) -> list[str]:
        """Flat names of the reported quantities."""
        return flat_names(quantities(self.model, self.model.truth))

    @cached_property
    def truth(self) -> np.ndarray:
        """Their true values, shape (m,)."""
        return np.asarray(flatten(quantities(self.model, self.model.truth)))

    def batch(self, n: int, indices: Sequence[int]) -> Batch:
        """The simulated data sets of some replicates."""
        return simulated(self.model, self.model.truth, n, indices, self.seed)

    def bound(self, n: int) -> Bound:
        """The Cramér–Rao bound on the covariance of the quantities at the truth.

        Raises:
            FitError: the expected information is not known, or it is singular there.
        """
        return _bound(self, n)

    @cached_property
    def varying(self) -> list[tuple[int, str]]:
        """Place and flat name of every quantity that is not a constant."""
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(0, 0)))
        of = density(self.model, self.model.simulate(rng, self.model.truth, 2))
        jacobian = quantity_jacobian(self.model, of)(of.unconstrain(self.model.truth))
        moves = np.asarray(jacobian).any(axis=1)
        return [(i, name) for i, name in enumerate(self.names) if moves[i]]


class Bound(NamedTuple):
    """(N·I)⁻¹ of the m quantities."""

    covariance: np.ndarray
    """Shape (m, m)."""
    deviation: np.ndarray
    """Square roots of its diagonal; 0 for a constant."""
    uncertain: np.ndarray
    """Relative Monte Carlo error of the diagonal; 0 where the information is exact."""


@lru_cache(maxsize=64)
def _bound(setting: Setting, n: int) -> Bound:
    model = setting.model
    rng = np.random.default_rng(np.random.SeedSequence(setting.seed, spawn_key=(n, 0)))
    data = model.simulate(rng, model.truth, n)
    of = density(model, data)
    u = of.unconstrain(model.truth)
    information, error = expected(model, data, of, u, rng)
    inverse = invert(model, of, u, information)
    if inverse.problem or inverse.boundary.any():
        raise FitError(
            f"{model.name} has no Cramér–Rao bound at its truth: "
            f"{inverse.problem or 'a parameter is on its boundary'}"
        )
    jacobian = np.asarray(quantity_jacobian(model, of)(u))
    covariance = jacobian @ inverse.covariance @ jacobian.T
    uncertain = np.nan_to_num(bound_error(jacobian, inverse.covariance, error))
    return Bound(covariance, np.sqrt(np.diag(covariance)), uncertain)


def bound_error(jacobian: np.ndarray, covariance: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Relative Monte Carlo error of the bound on every variance, from that of the information.

    d(G I⁻¹ Gᵀ)_qq = −a_qᵀ dI a_q with a_q = I⁻¹ G_qᵀ, entries of dI taken as independent.
    """
    weight = (jacobian @ covariance) ** 2
    variance = np.einsum("qi,ij,qj->q", weight, error**2, weight)
    with np.errstate(invalid="ignore"):  # a constant has no bound
        return np.sqrt(variance) / np.einsum("ij,jk,ik->i", jacobian, covariance, jacobian)


class Moments(NamedTuple):
    """Of columns over replicates: sums of powers about the mean; rows with a NaN are left out."""

    replicates: int
    left_out: int
    mean: np.ndarray
    second: np.ndarray
    """Sums of products of deviations, shape (m, m)."""
    third: np.ndarray
    fourth: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray) -> Moments:
        """Of an array with one row per replicate, shape (R,) or (R, m)."""
        rows = np.asarray(rows, float)
        rows = rows.reshape(len(rows), int(np.prod(rows.shape[1:])))
        good = rows[np.isfinite(rows).all(axis=1)]
        if not len(good):
            zero = np.zeros(rows.shape[1])
            return cls(0, len(rows), zero, np.diag(zero), zero, zero)
        mean = good.mean(axis=0)
        away = good - mean
        powers = (away**3).sum(axis=0), (away**4).sum(axis=0)
        return cls(len(good), len(rows) - len(good), mean, away.T @ away, *powers)

    def merged(self, other: Moments) -> Moments:
        """Those of both together."""
        left_out = self.left_out + other.left_out
        if not self.replicates or not other.replicates:
            return (self if self.replicates else other)._replace(left_out=left_out)
        a, b = self.replicates, other.replicates
        n, d = a + b, other.mean - self.mean
        v, w = np.diag(self.second), np.diag(other.second)
        return Moments(
            n,
            left_out,
            self.mean + d * b / n,
            self.second + other.second + np.outer(d, d) * a * b / n,
            self.third + other.third + d**3 * a * b * (a - b) / n**2 + 3 * d * (a * w - b * v) / n,
            self.fourth
            + other.fourth
            + d**4 * a * b * (a * a - a * b + b * b) / n**3
            + 6 * d**2 * (a * a * w + b * b * v) / n**2
            + 4 * d * (a * other.third - b * self.third) / n,
        )

    @property
    def covariance(self) -> np.ndarray:
        """Unbiased, shape (m, m)."""
        return self.second / max(self.replicates - 1, 1)

    @property
    def deviation(self) -> np.ndarray:
        """Standard deviations, shape (m,)."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def error(self) -> np.ndarray:
        """Standard errors of the means."""
        return self.deviation / np.sqrt(self.replicates)

    @property
    def relative(self) -> np.ndarray:
        """Relative standard errors of the variances, √((κ − 1)/R) with κ the kurtosis."""
        with np.errstate(invalid="ignore", divide="ignore"):  # a constant has none
            kurtosis = self.fourth * self.replicates / np.diag(self.second) ** 2
        return np.sqrt(np.maximum(kurtosis - 1, 0) / self.replicates)


type Summaries = Mapping[int, Mapping[str, Moments]]
"""By number of units, then by column."""


class Finding(NamedTuple):
    """One number of a study, with the verdict on it."""

    method: str
    n: int
    quantity: str
    """What was measured: `coverage of the 90 % interval`."""
    parameter: str
    verdict: Verdict


@final
@dataclass(frozen=True)
class Study:
    """What a study found.

    Attributes:
        name: the study.
        statement: the theorem, with its conditions and reference.
        model: the model.
        units: the ladder of N.
        replicates: data sets made at each N.
        findings: every number, with its verdict.
    """

    name: str
    statement: str
    model: Model
    units: tuple[int, ...]
    replicates: int
    findings: tuple[Finding, ...]


def studies() -> dict[str, ModuleType]:
    """Every entry that defines `measure` and `judge`, by name, alphabetical."""
    found = entries(comparisons).items()
    return {name: module for name, module in found if {"measure", "judge"} <= vars(module).keys()}


def study(name: str) -> ModuleType:
    """The study of a name.

    Raises:
        ConfigError: there is none.
    """
    catalogue = studies()
    if name not in catalogue:
        refuse([f"unknown study {name!r}.{did_you_mean(name, catalogue)}"])
    return catalogue[name]


def conduct(
    module: ModuleType,
    setting: Setting,
    units: Sequence[int],
    replicates: int,
    store: Store,
    progress: Callable[[str, int, int], None],
) -> Study:
    """Replicates until every verdict is decided or the budget is spent.

    Each look at the verdicts has their false-alarm rate anew: there are log₂(budget / FIRST) + 1.

    Args:
        module: the study.
        setting: what is studied.
        units: the ladder of N.
        replicates: the budget, at each N.
        store: where finished batches are kept.
        progress: told of (what was done, replicates done, replicates in this round).

    Raises:
        FitError: the model cannot be fitted to many data sets at once, or no number came out.
        StoreError: the store cannot be read or written.
    """
    total = min(replicates, FIRST)
    while True:
        summaries = {n: _columns(module, setting, n, total, store, progress) for n in units}
        findings = tuple(module.judge(setting, summaries))
        undecided = any(finding.verdict.outcome == "UNSURE" for finding in findings)
        if total >= replicates or not undecided:
            break
        total = min(2 * total, replicates)
    name = module.__name__.rpartition(".")[2]
    if not findings:
        raise FitError(f"{name} has nothing to say of {setting.model.name}")
    statement = inspect.getdoc(module) or name
    return Study(name, statement, setting.model, tuple(units), total, findings)


def _columns(
    module: ModuleType,
    setting: Setting,
    n: int,
    total: int,
    store: Store,
    progress: Callable[[str, int, int], None],
) -> dict[str, Moments]:
    found: dict[str, Moments] = {}
    size = max(1, min(BATCH, _NUMBERS // n))
    for start in range(0, total, size):
        indices = range(start, min(start + size, total))
        for column, moments in _batch(module, setting, n, indices, store).items():
            found[column] = found[column].merged(moments) if column in found else moments
        progress(f"N = {n}", indices.stop, total)
    return found


def _batch(
    module: ModuleType, setting: Setting, n: int, indices: range, store: Store
) -> dict[str, Moments]:
    """A batch's moments by column; from the store if they are there."""
    description = {
        "study": module.__name__,
        "model": canonical(setting.model),
        "seed": setting.seed,
        "n": n,
        "indices": [indices.start, indices.stop],
        "versions": versions(),
        "source": source_digest(
            type(setting.model),
            Path(str(module.__file__)),
            *machinery(models.__file__),
            *machinery(inference.__file__),
            *machinery(comparisons.__file__),
        ),
    }
    stored = store.load_json(description)
    if stored is not None:
        return {
            column: Moments(*parts[:2], *map(np.asarray, parts[2:]))
            for column, parts in stored.items()
        }
    try:
        columns = module.measure(setting, n, indices)
    except (FitError, StoreError):
        raise
    except Exception as error:
        raise FitError(
            f"{module.__name__.rpartition('.')[2]} of {setting.model.name} failed at N = {n}: "
            f"{type(error).__name__}: {error}"
        ) from error
    found = {column: Moments.of(rows) for column, rows in columns.items()}
    plain: dict[str, Any] = {
        column: [part.tolist() if isinstance(part, np.ndarray) else part for part in moments]
        for column, moments in found.items()
    }
    store.save_json(description, plain)
    return found


class Rung(NamedTuple):
    """A statistic of one parameter at one N."""

    n: int
    value: float
    error: float


def vanishing(
    rungs: Sequence[Rung], limit: float, bound: float, about: str, power: float = 1.0
) -> Iterator[tuple[int, Verdict]]:
    """Verdicts on a statistic at every N whose departure from a limit vanishes like N^−power.

    The prediction at a rung is that law through all the others, so that no number explains itself.
    A departure that the law does not explain, yet is mostly gone at the largest N, is one before
    the asymptotics set in: NOT COMPARABLE.
    """
    for rung in rungs:
        others = [other for other in rungs if other is not rung]
        predicted, uncertain = None, 0.0
        if others:
            x = np.array([float(other.n) ** -power for other in others])
            y = np.array([other.value - limit for other in others])
            weight = 1 / np.array([max(other.error, 1e-12) for other in others]) ** 2
            total = float((weight * x * x).sum())
            here = float(rung.n) ** -power
            rate = float((weight * x * y).sum()) / total
            predicted = limit + rate * here
            uncertain = Z * here / total**0.5 + abs(rate * here) * min(1.0, NEXT_ORDER * here)
        verdict = Verdict(
            f"{about}, N = {rung.n}",
            rung.value,
            limit,
            error=rung.error,
            bound=bound,
            cause=f"the departure vanishes like N^−{power:g}: from the other N",
            predicted=predicted,
            prediction_error=uncertain,
        )
        last = max(rungs)
        left = abs(last.value - limit) + Z * last.error
        if verdict.outcome == "DIFFER" and left < SHRINKS * abs(rung.value - limit):
            verdict = replace(
                verdict,
                bound=float("nan"),
                cause=f"the asymptotics have not set in at N = {rung.n}: the departure is "
                f"{rung.value - limit:.2g} there and {last.value - limit:.2g} at N = {last.n}",
            )
        yield rung.n, verdict


def largest_gap(n: int, below: Moments, which: int, levels: np.ndarray) -> Rung:
    """Where a law is furthest from the one it should be, and by how much.

    Args:
        n: number of units.
        below: moments of indicators that a quantity lies below its p-quantile, for every quantity
            and, fastest, for every p.
        which: the quantity.
        levels: the p.
    """
    gap = below.mean.reshape(-1, levels.size)[which] - levels
    worst = int(np.abs(gap).round(12).argmax())  # equal ones differ by rounding
    level = levels[worst]
    return Rung(n, float(gap[worst]), float(np.sqrt(level * (1 - level) / below.replicates)))


def slope(rungs: Sequence[Rung]) -> tuple[float, float]:
    """Of log |value| against log N, by weighted least squares, and its standard error."""
    x = np.log([rung.n for rung in rungs])
    y = np.log(np.abs([rung.value for rung in rungs]))
    weight = np.array([(rung.value / max(rung.error, 1e-12)) ** 2 for rung in rungs])
    away = x - np.average(x, weights=weight)
    total = float((weight * away**2).sum())
    return float((weight * away * y).sum()) / total, total**-0.5


def usable(summaries: Summaries, column: str) -> list[int]:
    """The N at which nearly every replicate had a usable fit, smallest first."""
    found = []
    for n in sorted(summaries):
        moments = summaries[n][column]
        if moments.left_out <= LEFT_OUT * (moments.replicates + moments.left_out):
            found.append(n)
    return found


def ladders(
    setting: Setting, summaries: Summaries
) -> Iterator[tuple[str, list[int], list[tuple[int, str]]]]:
    """By column: its name, the N at which it can be used, and the quantities that vary."""
    for column in next(iter(summaries.values())):
        yield column, usable(summaries, column), setting.varying


def left_out(summaries: Summaries, column: str, method: str) -> Iterator[Finding]:
    """Says at which N too few replicates could be used."""
    fine = usable(summaries, column)
    for n in sorted(summaries):
        if n not in fine:
            moments = summaries[n][column]
            cause = (
                f"{moments.left_out} of {moments.replicates + moments.left_out} replicates have no "
                f"usable fit by {method}"
            )
            verdict = not_comparable(f"{method}, N = {n}", cause)
            yield Finding(method, n, "usable replicates", "", verdict)


NEXT_ORDER = 10.0
"""The next term of an expansion in N^−power, relative to the first, is at most so many N^−power."""
SHRINKS = 0.75
"""Largest share of a departure left at the largest N for it to be a matter of asymptotics."""
LEFT_OUT = 0.01
"""Largest share of replicates without a usable fit on which a verdict may rest."""
