"""Capabilities of some models only: a model has one if it defines its protocol's methods."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import log
from typing import TYPE_CHECKING, Any, Protocol, final, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import xarray as xr
    from jax import Array

    from models.programs.adopted.functions import Adopted
    from models.programs.form import Program
    from models.spec import Model, Parameter, Values


@runtime_checkable
class HasExamples(Protocol):
    """Comes with bundled studies: (model, name of a bundled data set, columns)."""

    @classmethod
    def examples(cls) -> tuple[tuple[Model, str, tuple[str, ...]], ...]: ...


@runtime_checkable
class HasDataRule(Protocol):
    """Accepts only some of the data that have its schema."""

    def unusable(self, data: xr.Dataset) -> str:
        """Why the data cannot be used, as a sentence; "" if they can."""
        ...


@runtime_checkable
class HasOwnPrograms(Protocol):
    """A user's own programs with their data: everything is read off them."""

    @property
    def source(self) -> str:
        """A digest of the programs and of how they are read."""
        ...

    @property
    def size(self) -> int:
        """The n of its data: units, or all rows where they are one."""
        ...

    @property
    def grows(self) -> bool:
        """Whether it can have data of another size."""
        ...

    def known_as(self, name: str, source: str, truth: Mapping[str, Any] | None = None) -> Any:
        """The same model under another name and digest, to be studied at a truth if one is given.

        Where that is a part of one, the rest is at the mode of the posterior density.

        Raises:
            ConfigError: the truth names no parameter, or has another shape.
        """
        ...

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages of its programs; the first is read unless another is asked for."""
        ...

    @property
    def data(self) -> xr.Dataset:
        """The data that the programs observe and the numbers they are given, by name."""
        ...

    @property
    def adopted(self) -> Adopted:
        """The programs, matched."""
        ...

    @property
    def draws_by_itself(self) -> bool:
        """Whether its programs draw its data, not a class of the user's."""
        ...

    @property
    def likelihood_problem(self) -> str:
        """Why its likelihood must not be maximised, as a sentence; "" if it may."""
        ...

    @property
    def prior_problem(self) -> str:
        """Why its prior cannot be drawn from, as a sentence; "" if it can."""
        ...

    def functions(self, data: xr.Dataset, language: str) -> Program:
        """A program's functions of its unconstrained space, on data of the same shape.

        Raises:
            ModelError: it has no program in that language.
        """
        ...

    def simulated_sets(
        self,
        rng: np.random.Generator | np.ndarray,
        values: Mapping[str, Any],
        data: xr.Dataset | None = None,
    ) -> dict[str, np.ndarray]:
        """A draw of what the programs observe at each of many points, shape (points, …).

        `rng` is the stream of all draws or a seed of each; shapes and covariates are those of the
        data, or its own if None. Latent variables that are integrated out are drawn anew.

        Raises:
            ModelError: the program cannot draw its data; says why.
        """
        ...

    def prior_draws(
        self, rng: np.random.Generator | np.ndarray, count: int
    ) -> dict[str, np.ndarray]:
        """Draws of the parameters, shape (count, …), by a stream or by a seed of each.

        Empty where the prior cannot be drawn from.
        """
        ...

    def source_of(self, language: str) -> str:
        """The text of a program; "" without one."""
        ...

    def refusal(self, language: str | None, target: str, kind: str) -> str:
        """Why a method of some kind cannot fit it, as a sentence; "" if it can."""
        ...


@runtime_checkable
class HasQuantities(Protocol):
    """Is compared through identified functions of its parameters, not the parameters themselves."""

    @property
    def quantity_table(self) -> tuple[Parameter, ...]: ...

    def quantities(self, values: Values) -> Values: ...


@final
@dataclass(frozen=True)
class Equivariance:
    """A change of the data's units by a > 0 and b that the parameters follow.

    With v ↦ a v + b for locations and v ↦ aᵖ v for scales, of data and parameters alike,
    log p(changed data | changed parameters) = log p(data | parameters) − log volume.

    Attributes:
        observed: the observed variable.
        locations: names of data variables and parameters.
        scales: p, by name; names that are not in either do not change.
    """

    observed: str
    locations: tuple[str, ...] = ()
    scales: Mapping[str, int] = field(default_factory=dict)

    def changed(self, values: Mapping[Any, Any], a: float, b: float) -> dict[Any, Any]:
        """The changed arrays, by name."""
        powers = dict.fromkeys(self.locations, 1) | dict(self.scales)
        return {
            name: a ** powers[name] * v + (b if name in self.locations else 0.0)
            if name in powers
            else v
            for name, v in values.items()
        }

    def log_volume(self, data: xr.Dataset, a: float) -> float:
        """By how many nats a volume of observations grows."""
        power = 1 if self.observed in self.locations else self.scales.get(self.observed, 0)
        return power * data[self.observed].size * log(a)


@runtime_checkable
class HasEquivariances(Protocol):
    """Knows changes of the data's units that its parameters follow."""

    @property
    def equivariances(self) -> tuple[Equivariance, ...]: ...


@runtime_checkable
class HasUnits(Protocol):
    """Its exchangeable unit is not the row: says which unit each row belongs to."""

    def units(self, data: xr.Dataset) -> np.ndarray:
        """Integer unit of each row, shape (rows,), values 0 … N−1."""
        ...


@runtime_checkable
class HasGroups(Protocol):
    """Some variables say which rows belong together: their labels are numbered 0 … G−1.

    Other integers stay as they are, unless a variable is named like a dimension of a parameter:
    it holds positions along that, and labels that are text are numbered.
    """

    @property
    def group_variables(self) -> tuple[str, ...]: ...


@runtime_checkable
class HasExpectedInformation(Protocol):
    """Knows its expected Fisher information in closed form, in coordinates of its own choice."""

    def information_coordinates(self, values: Values, data: xr.Dataset) -> Array:
        """Smooth coordinates q(θ), shape (m,), m ≥ k; traceable by JAX."""
        ...

    def expected_information(self, values: Values, data: xr.Dataset) -> Array:
        """N·I in those coordinates, shape (m, m)."""
        ...


@runtime_checkable
class HasExactPosterior(Protocol):
    """Conjugate: marginal posteriors and evidence are exact."""

    def exact_posterior(self, data: xr.Dataset) -> Mapping[str, Any]:
        """Frozen scipy distributions by quantity name."""
        ...

    def exact_log_evidence(self, data: xr.Dataset) -> float:
        """log Z in nats."""
        ...


@runtime_checkable
class HasClosedFormMaximum(Protocol):
    """Its maximum-likelihood estimate is a formula, traceable by JAX."""

    def maximum_likelihood(self, data: xr.Dataset) -> Values:
        """The estimate; without finite unconstrained coordinates where there is none."""
        ...


@runtime_checkable
class HasSamplingLaw(Protocol):
    """Knows the law of its maximum-likelihood estimate over repeated data sets of any size."""

    def sampling_moments(self, values: Values, n: int) -> tuple[Values, Values]:
        """Mean and standard deviation of every reported quantity's estimate from n units."""
        ...


@runtime_checkable
class HasEM(Protocol):
    """Has closed-form E and M steps; all three functions are traceable by JAX."""

    def e_step(self, values: Values, data: xr.Dataset) -> Any:
        """Expected complete-data statistics given the data, a pytree."""
        ...

    def m_step(self, statistics: Any, data: xr.Dataset) -> Values:
        """The values that maximise the expected complete-data log-likelihood."""
        ...

    def complete_log_likelihood(self, values: Values, statistics: Any, data: xr.Dataset) -> Array:
        """Q(values | statistics), a scalar in nats; its Hessian is the complete information."""
        ...


@runtime_checkable
class HasDegeneracy(Protocol):
    """Its likelihood is unbounded: some local maxima are spurious and are excluded."""

    def degeneracy(self, values: Values, data: xr.Dataset) -> str:
        """Why the point is degenerate, as a sentence; "" if it is not."""
        ...


@runtime_checkable
class HasSpikes(Protocol):
    """Some of its maxima are nearly degenerate: they are kept, and shown."""

    def spike(self, values: Values, data: xr.Dataset) -> str:
        """A sentence on a component that is nearly degenerate at the point; "" if none is."""
        ...


@runtime_checkable
class HasLabels(Protocol):
    """Invariant under permutation of components: draws need alignment to be summarised."""

    @property
    def labels(self) -> int:
        """Number of exchangeable components."""
        ...

    def label_features(self, values: Values) -> Array:
        """Features that tell components apart, shape (components, features)."""
        ...

    def relabel(self, values: Values, permutation: Array) -> Values:
        """The same point with component `permutation[j]` as component j."""
        ...


@runtime_checkable
class HasSigns(Protocol):
    """Invariant under changes of sign: its posterior has as many equal modes, one in each fold."""

    @property
    def signs(self) -> int:
        """Number of signs that can change."""
        ...

    def fold(self, values: Values) -> Values:
        """The equal point whose signs are positive."""
        ...


@runtime_checkable
class HasComponents(Protocol):
    """A mixture: says with which probability each row came from each component."""

    def responsibilities(self, values: Values, data: xr.Dataset) -> Array:
        """Shape (rows, components), rows sum to one."""
        ...


@runtime_checkable
class HasOrder(Protocol):
    """One of a family ordered by size (components, factors): names its neighbours."""

    @property
    def order(self) -> int: ...

    def with_order(self, order: int) -> Model: ...

    @property
    def orders(self) -> tuple[int, ...]:
        """The orders among which a selection is made."""
        ...


@runtime_checkable
class HasReferee(Protocol):
    """Can be fitted by statsmodels, an implementation that is independent of both programs."""

    @property
    def referee_refusal(self) -> str:
        """Why statsmodels does not cover this variant; "" if it does."""
        ...

    def referee(self, data: xr.Dataset) -> tuple[Values, Values, float]:
        """Quantities, their standard errors (those it has) and the log-likelihood."""
        ...
