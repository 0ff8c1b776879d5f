"""Simulation studies: what theory says of repeated data sets, measured on repeated data sets.

A study is an entry beside this file that defines `measure(setting, n, indices)`, columns with one
row per replicate, and `judge(setting, summaries)`, verdicts on their moments.  It may define
`descriptive(setting, summaries)`, what else there is to show.  `comparisons.runs` conducts it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple, final

import numpy as np

from comparisons.exhibits import Curves
from comparisons.replicated.moments import Moments
from comparisons.replicated.sampling import Bound, cramer_rao_bound
from comparisons.verdict import Verdict
from inference.information.derivatives import quantity_jacobian
from inference.method import Method, label, refusal
from inference.replicates.simulated import Batch, simulated
from models.capabilities import HasOwnPrograms
from models.errors import refuse
from models.notebook import table
from models.programs.density import density, flat_names, flatten, quantities
from models.registry import entries, lookup
from models.spec import Model

if TYPE_CHECKING:
    import pandas as pd

type Summaries = Mapping[int, Mapping[str, Moments]]
"""By number of units, then by column."""


@final
@dataclass(frozen=True, eq=False)
class Setting:
    """A model at its truth, to be studied.

    Attributes:
        model: the model; data are simulated at its `truth`.
        seed: of every random stream.
        methods: those that are studied besides the study's own, one data set at a time.
        tolerance: factor on every practical bound.
    """

    model: Model
    seed: int
    methods: tuple[Method, ...] = ()
    tolerance: float = 1.0

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
        if isinstance(self.model, HasOwnPrograms):
            data = self.model.data
        else:
            data = self.model.simulate(rng, self.model.truth, 2)
        target = density(self.model, data)
        jacobian = quantity_jacobian(self.model, target)(target.unconstrain(self.model.truth))
        moves = np.asarray(jacobian).any(axis=1)
        return [(i, name) for i, name in enumerate(self.names) if moves[i]]

    def constants_as(self, value: float | np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Columns of quantities, shape (R, m, …), with some value for those that are constants."""
        constant = np.ones((1, columns.shape[1], *(1,) * (columns.ndim - 2)), bool)
        constant[:, [i for i, _ in self.varying]] = False
        return np.where(constant, value, columns)


@lru_cache(maxsize=64)
def _bound(setting: Setting, n: int) -> Bound:
    rng = np.random.default_rng(np.random.SeedSequence(setting.seed, spawn_key=(n, 0)))
    return cramer_rao_bound(setting.model, n, rng)


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
    """The outcome of a study.

    Attributes:
        name: the study.
        statement: the theorem, with its conditions and reference.
        model: the model.
        units: the ladder of N.
        replicates: data sets made at each N.
        verdicts: on every number, each with its method, n, quantity and parameter.
        failures: by N, how many replicates raised an error, by its message.
        descriptive: what else there is to show.
    """

    name: str
    statement: str
    model: Model
    units: tuple[int, ...]
    replicates: int
    verdicts: tuple[Verdict, ...]
    failures: Mapping[int, Mapping[str, int]]
    descriptive: tuple[Descriptive, ...] = ()

    def table(self) -> pd.DataFrame:
        """One row for each verdict: what was measured, what theory says, and whether they agree."""
        import pandas as pd

        fields = ("quantity", "parameter", "method", "n", "outcome")
        fields = (*fields, "observed", "expected", "error", "bound", "cause")
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


def studies() -> dict[str, ModuleType]:
    """Every entry that defines `measure` and `judge`, by name, alphabetical."""
    import comparisons.studies  # by name: a study depends on none of the others

    found = entries(comparisons.studies).items()
    return {name: module for name, module in found if {"measure", "judge"} <= vars(module).keys()}


def study(name: str) -> ModuleType:
    """The study of a name.

    Raises:
        ConfigError: there is none.
    """
    return lookup("study", name, studies())


def further(name: str, module: ModuleType, model: Model, methods: Sequence[Method]) -> None:
    """Checks that a study can take methods besides its own.

    Args:
        name: of the study.
        module: its entry.
        model: the model that they are to fit.
        methods: the methods.

    Raises:
        ConfigError: it cannot, or a method has no posterior draws or refuses the model.
    """
    mistakes = []
    if methods and not vars(module).get("TAKES_METHODS", False):
        takers = ", ".join(n for n, m in studies().items() if "TAKES_METHODS" in vars(m))
        mistakes.append(f"--methods is for the studies {takers}; {name} has methods of its own")
    for method in methods:
        reason = refusal(method, model)
        if method.target != "posterior":
            reason = "it has no posterior draws"
        if reason:
            mistakes.append(f"--methods {label(method)}: {reason}")
    refuse(mistakes)
