"""Simulation studies: what theory says of repeated data sets, measured on repeated data sets.

A study is an entry beside this file that defines `measure(setting, n, indices)`, columns with one
row per replicate, and `judge(setting, summaries)`, findings from their moments.  Here is what is
studied and what comes of it; `_conduct` does the work.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, NamedTuple, final

import numpy as np

from inference.information.delta import bound_error
from inference.information.derivatives import quantity_jacobian
from inference.information.inversion import invert
from inference.information.matrices import expected
from inference.method import label
from inference.replicates.simulated import simulated
from models.errors import FitError, did_you_mean, refuse
from models.programs.density import density, flat_names, flatten, quantities
from models.registry import entries

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import ModuleType

    from comparisons.exhibits import Curves
    from comparisons.verdict import Verdict
    from inference.method import Method
    from inference.replicates.simulated import Batch
    from models.spec import Model


@final
@dataclass(frozen=True, eq=False)
class Setting:
    """What is studied: a model at its truth.

    Attributes:
        model: the model; data are simulated at its `truth`.
        seed: of every random stream.
        methods: those that are studied besides the study's own, one data set at a time.
    """

    model: Model
    seed: int
    methods: tuple[Method, ...] = ()

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
    information: np.ndarray
    """N·I in the unconstrained chart, shape (k, k)."""


@lru_cache(maxsize=64)
def _bound(setting: Setting, n: int) -> Bound:
    model = setting.model
    rng = np.random.default_rng(np.random.SeedSequence(setting.seed, spawn_key=(n, 0)))
    data = model.simulate(rng, model.truth, n)
    of = density(model, data)
    u = of.unconstrain(model.truth)
    information = expected(model, data, of, u, rng)
    inverse = invert(model, of, u, information.matrix)
    if inverse.problem or inverse.boundary.any():
        raise FitError(
            f"{model.name} has no Cramér–Rao bound at its truth: "
            f"{inverse.problem or 'a parameter is on its boundary'}"
        )
    jacobian = np.asarray(quantity_jacobian(model, of)(u))
    covariance = jacobian @ inverse.covariance @ jacobian.T
    uncertain = bound_error(jacobian, inverse.covariance, information.scores)
    return Bound(covariance, np.sqrt(np.diag(covariance)), uncertain, information.matrix)


class Finding(NamedTuple):
    """One number of a study, with the verdict on it."""

    method: str
    n: int
    quantity: str
    """What was measured: `coverage of the 90 % interval`."""
    parameter: str
    verdict: Verdict
    fixed: float = 0.0
    """The part of the verdict's error that more replicates do not make smaller."""


class Number(NamedTuple):
    """One number of a study on which there is no verdict."""

    method: str
    n: int
    quantity: str
    parameter: str
    value: float
    error: float
    theory: float
    """NaN where none is known."""


class Unjudged(NamedTuple):
    """Numbers without verdicts, in the figure that shows them or else in a table."""

    title: str
    numbers: tuple[Number, ...]
    curves: Curves | None = None


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
        failures: by N, how many replicates raised an error, by its message.
        unjudged: what else there is to show.
    """

    name: str
    statement: str
    model: Model
    units: tuple[int, ...]
    replicates: int
    findings: tuple[Finding, ...]
    failures: Mapping[int, Mapping[str, int]]
    unjudged: tuple[Unjudged, ...] = ()

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


def further(name: str, module: ModuleType, model: Model, methods: Sequence[Method]) -> None:
    """Checks that a study can take methods besides its own.

    Raises:
        ConfigError: it cannot, or a method has no posterior draws or refuses the model.
    """
    mistakes = []
    if methods and not vars(module).get("TAKES_METHODS", False):
        takers = ", ".join(n for n, m in studies().items() if "TAKES_METHODS" in vars(m))
        mistakes.append(f"--methods is for the studies {takers}; {name} has methods of its own")
    for method in methods:
        reason = method.refusal(model)
        if method.target != "posterior":
            reason = "it has no posterior draws"
        if reason:
            mistakes.append(f"--methods {label(method)}: {reason}")
    refuse(mistakes)


def study(name: str) -> ModuleType:
    """The study of a name.

    Raises:
        ConfigError: there is none.
    """
    catalogue = studies()
    if name not in catalogue:
        refuse([f"unknown study {name!r}.{did_you_mean(name, catalogue)}"])
    return catalogue[name]
