"""Simulation studies: what theory says of repeated data sets, measured on repeated data sets.

A study is an entry beside this file that defines `measure(setting, n, indices)`, columns with one
row per replicate, and `judge(setting, summaries)`, verdicts on their moments.  It may define
`descriptive(setting, summaries)`, what else there is to show.  `comparisons.runs` conducts it.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple, final

import numpy as np
import pandas as pd

from comparisons.exhibits import Curves
from comparisons.reference import own_draws
from comparisons.replicated.moments import Moments
from comparisons.replicated.sampling import Bound, cramer_rao_bound
from comparisons.verdict import Verdict
from inference.information.derivatives import quantity_jacobian
from inference.method import Method, label
from inference.replicates.simulated import Batch, simulated
from models.errors import FitError
from models.notebook import table
from models.programs.adopted.model import AdoptedModel
from models.programs.density import (
    Language,
    density,
    flat_names,
    flatten,
    languages,
    quantities,
)
from models.spec import Model

NUTS, LAPLACE = "nuts[numpyro]", "laplace[numpyro]"
MEAN_FIELD, POSTERIOR = "gaussian_vi[mean_field]", "posterior"
"""Columns of the posteriors that a study finds in all data sets of a batch at once."""

type Summaries = Mapping[int, Mapping[str, Moments]]
"""By number of units, then by column."""


@final
@dataclass(frozen=True, eq=False)
class Setting:
    """A model at its truth, at which data are simulated."""

    model: Model
    seed: int
    methods: tuple[Method, ...] = ()
    """Those that are studied besides the study's own, one data set at a time."""
    tolerance: float = 1.0
    """Factor on every practical bound."""

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
        """The Cramér–Rao bound on the covariance of the quantities; a FitError if there is none."""
        return _bound(self, n)

    @cached_property
    def varying(self) -> list[tuple[int, str]]:
        """Place and flat name of every quantity that is not a constant."""
        model, rng = self.model, np.random.default_rng(_stream(self.seed, 0))
        own = isinstance(model, AdoptedModel)
        target = density(model, model.data if own else model.simulate(rng, model.truth, 2))
        jacobian = quantity_jacobian(model, target)(target.unconstrain(model.truth))
        moves = np.asarray(jacobian).any(axis=1)
        return [(i, name) for i, name in enumerate(self.names) if moves[i]]

    def constants_as(self, value: float | np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Columns of quantities, shape (R, m, …), with some value for those that are constants."""
        constant = np.ones((1, columns.shape[1], *(1,) * (columns.ndim - 2)), bool)
        constant[:, [i for i, _ in self.varying]] = False
        return np.where(constant, value, columns)

    @cached_property
    def columns(self) -> dict[str, Method]:
        """The further methods, by the column of each."""
        own = NUTS, LAPLACE, MEAN_FIELD, POSTERIOR
        named = ((label(method), method) for method in self.methods)
        return {f"{name}, one at a time" if name in own else name: method for name, method in named}

    @cached_property
    def normal(self) -> dict[str, Language | None]:
        """The columns of normal approximations, of which no draws are exact at a finite N.

        By the language in whose unconstrained space the coordinates are independent; None where
        they need not be.
        """
        found: dict[str, Language | None] = {LAPLACE: None, MEAN_FIELD: languages(self.model)[0]}
        for column, method in self.columns.items():
            if method.kind in ("laplace", "variational"):
                found[column] = method.language if method.family == "mean_field" else None
        return found

    def drawn(self, batch: Batch, count: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Draws of the further methods in R data sets, one data set at a time, by column.

        So many of each fit, evenly spaced among those of all chains, of m flat quantities, shape
        (R, count, m); and whether there is a fit that has no problems, shape (R,).
        """
        found = {}
        for column, method in self.columns.items():
            word = int.from_bytes(hashlib.sha256(label(method).encode()).digest()[:4])
            kept = np.full((batch.count, count, len(self.names)), np.nan)
            for place, (index, data) in enumerate(zip(batch.indices, batch.sets, strict=True)):
                stream = np.random.SeedSequence(self.seed, spawn_key=(batch.n, index, word))
                try:
                    fit = method.fit(self.model, data, np.random.default_rng(stream))
                except FitError:
                    continue
                draws = own_draws(fit, self.names)
                if draws is not None and not fit.problems:
                    every = draws.reshape(-1, draws.shape[-1])
                    evenly = np.linspace(0, len(every) - 1, count).round().astype(int)
                    kept[place] = every[evenly]
            found[column] = kept, np.isfinite(kept).all(axis=(1, 2))
        return found


@lru_cache(maxsize=64)
def _bound(setting: Setting, n: int) -> Bound:
    return cramer_rao_bound(setting.model, n, np.random.default_rng(_stream(setting.seed, n)))


def _stream(seed: int, n: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=(n, 0))


class Number(NamedTuple):
    """One number of a study on which there is no verdict."""

    method: str
    n: int
    quantity: str
    parameter: str
    value: float
    error: float
    theory: float = float("nan")
    """NaN where none is known."""


class Descriptive(NamedTuple):
    """Numbers without verdicts, in the figure that shows them or else in a table."""

    title: str
    numbers: tuple[Number, ...]
    curves: Curves | None = None


@final
@dataclass(frozen=True, repr=False)
class Study:
    """The outcome of a study."""

    name: str
    statement: str
    """The theorem, with its conditions and reference."""
    model: Model
    units: tuple[int, ...]
    """The ladder of N."""
    replicates: int
    """Data sets made at each N."""
    verdicts: tuple[Verdict, ...]
    """On every number, each with its method, n, quantity and parameter."""
    failures: Mapping[int, Mapping[str, int]]
    """By N, how many replicates raised an error, by its message."""
    descriptive: tuple[Descriptive, ...] = ()

    def table(self) -> pd.DataFrame:
        """One row for each verdict: what was measured, what theory says, and whether they agree."""
        fields = ["quantity", "parameter", "method", "n", "outcome"]
        fields += ["observed", "expected", "error", "bound", "cause"]
        rows = [{name: getattr(one, name) for name in fields} for one in self.verdicts]
        return pd.DataFrame(rows).rename(columns={"outcome": "verdict"})

    def __repr__(self) -> str:
        """The study and how many verdicts of each kind there are."""
        counts = Counter(verdict.outcome for verdict in self.verdicts)
        listed = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
        ladder = ", ".join(f"{n:,}" for n in self.units)
        start = f"{self.name} of {self.model!r}, N = {ladder}, {self.replicates:,} data sets each"
        return "\n".join([f"{start}: {listed}", *self.failed])

    def _repr_html_(self) -> str:
        """The verdicts that differ or are open, for a notebook."""
        rows = [
            (one.outcome, one.about, one.cause) for one in self.verdicts if one.outcome != "AGREE"
        ]
        return table(repr(self), (), ("verdict", "about", "cause"), rows)

    @property
    def failed(self) -> list[str]:
        """A sentence for each reason for which replicates raised an error."""
        return [
            f"{count:,} of {self.replicates:,} replicates at N = {n:,} failed: {reason}"
            for n, failures in self.failures.items()
            for reason, count in failures.items()
        ]
