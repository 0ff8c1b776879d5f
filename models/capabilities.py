"""Capabilities of some models only: a model has one if it defines its protocol's methods."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, final, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import xarray as xr
    from jax import Array

    from models.spec import Model, Parameter, Values


@runtime_checkable
class HasExamples(Protocol):
    """Comes with bundled studies: (model, name of a bundled data set, columns)."""

    @classmethod
    def examples(cls) -> tuple[tuple[Model, str, tuple[str, ...]], ...]: ...


@runtime_checkable
class HasDataRule(Protocol):
    """Says why data that have its schema cannot be used, as a sentence; "" if they can."""

    def unusable(self, data: xr.Dataset) -> str: ...


@runtime_checkable
class HasOwnPrograms(Protocol):
    """A user's own programs with their data, as `models.programs.adopted.model` has them.

    It is all that is asked of them where nothing is compiled yet.
    """

    source: str
    data: xr.Dataset

    def refusal(self, language: str | None, target: str, kind: str) -> str:
        """Why a method of some kind cannot fit it, as a sentence; "" if it can."""
        ...


@runtime_checkable
class HasQuantities(Protocol):
    """Is compared through identified functions of its parameters, not the parameters themselves."""

    quantity_table: tuple[Parameter, ...]

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


@runtime_checkable
class HasEquivariances(Protocol):
    """Knows changes of the data's units that its parameters follow."""

    equivariances: tuple[Equivariance, ...]


@runtime_checkable
class HasUnits(Protocol):
    """Its exchangeable unit is not the row: numbers the unit of each row, 0 … N−1."""

    def units(self, data: xr.Dataset) -> np.ndarray: ...


@runtime_checkable
class HasGroups(Protocol):
    """Some variables say which rows belong together: their labels are numbered 0 … G−1.

    Other integers stay as they are, unless a variable is named like a dimension of a parameter:
    it holds positions along that, and labels that are text are numbered.
    """

    group_variables: tuple[str, ...]


@runtime_checkable
class HasExpectedInformation(Protocol):
    """Knows its expected information N·I, (m, m), about smooth coordinates q(θ), (m,), m ≥ k.

    Both are traceable by JAX.
    """

    def information_coordinates(self, values: Values, data: xr.Dataset) -> Array: ...

    def expected_information(self, values: Values, data: xr.Dataset) -> Array: ...


@runtime_checkable
class HasExactPosterior(Protocol):
    """Conjugate: frozen scipy marginals by quantity name, and log Z in nats, are exact."""

    def exact_posterior(self, data: xr.Dataset) -> Mapping[str, Any]: ...

    def exact_log_evidence(self, data: xr.Dataset) -> float: ...


@runtime_checkable
class HasClosedFormMaximum(Protocol):
    """Its maximum-likelihood estimate is a formula, traceable by JAX.

    Where there is no maximum, it has no finite unconstrained coordinates.
    """

    def maximum_likelihood(self, data: xr.Dataset) -> Values: ...


@runtime_checkable
class HasSamplingLaw(Protocol):
    """Knows mean and sd of every reported quantity's maximum-likelihood estimate from n units."""

    def sampling_moments(self, values: Values, n: int) -> tuple[Values, Values]: ...


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
    """Its likelihood is unbounded: says why a local maximum is spurious; "" if it is not."""

    def degeneracy(self, values: Values, data: xr.Dataset) -> str: ...


@runtime_checkable
class HasCautions(Protocol):
    """Some maxima are nearly degenerate, or approximate: a sentence on one; "" if it is not."""

    def caution(self, values: Values, data: xr.Dataset) -> str: ...


@runtime_checkable
class HasDistortion(Protocol):
    """Its likelihood may be approximate: why no posterior is read off it at points; "" if one is.

    Points are values of all parameters, with a leading axis.
    """

    def distortion(self, points: Mapping[str, Any], data: xr.Dataset) -> str: ...


@runtime_checkable
class HasLabels(Protocol):
    """Invariant under permutation of components: draws need alignment to be summarised."""

    labels: int
    """Number of exchangeable components."""

    def label_features(self, values: Values) -> Array:
        """Features that tell components apart, shape (components, features)."""
        ...

    def relabel(self, values: Values, permutation: Array) -> Values:
        """The same point with component `permutation[j]` as component j."""
        ...


@runtime_checkable
class HasSigns(Protocol):
    """Invariant under changes of sign: its posterior has as many equal modes, one in each fold."""

    signs: int
    """Number of signs that can change."""

    def fold(self, values: Values) -> Values:
        """The equal point whose signs are positive."""
        ...


@runtime_checkable
class HasComponents(Protocol):
    """A mixture: P(component | row), shape (rows, components), rows sum to one."""

    def responsibilities(self, values: Values, data: xr.Dataset) -> Array: ...


@runtime_checkable
class HasOrder(Protocol):
    """One of a family ordered by size (components, factors): names its neighbours."""

    order: int
    orders: tuple[int, ...]
    """The orders among which a selection is made."""

    def with_order(self, order: int) -> Model: ...


@runtime_checkable
class HasReferee(Protocol):
    """Can be fitted by statsmodels, an implementation that is independent of both programs."""

    referee_refusal: str
    """Why statsmodels does not cover this variant; "" if it does."""

    def referee(self, data: xr.Dataset) -> tuple[Values, Values, float]:
        """Quantities, their standard errors (those it has) and the log-likelihood."""
        ...
