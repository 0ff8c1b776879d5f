"""What a model is: a frozen value with a parameter table and two programs of one density.

The density is the interface.  A model states its prior and likelihood twice, as a NumPyro and as
a PyMC program with the same names; everything else (scores, Hessians, Fisher information) is read
off those programs by `models._density`.  A capability that only some models have, such as a
closed-form E step, is a protocol here; a model has it by defining the methods.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Literal,
    Protocol,
    final,
    get_args,
    runtime_checkable,
)

from models._errors import ModelError
from models._html import table

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import pymc as pm
    import xarray as xr
    from jax import Array

type Values = dict[str, Array]
"""One point of parameter space on the natural scale, by parameter name."""

type Support = Literal[
    "real", "positive", "unit_interval", "simplex", "ordered", "correlation_cholesky", "covariance"
]


@final
@dataclass(frozen=True, slots=True)
class Parameter:
    """A row of a parameter table.

    Attributes:
        name: the site's name in both programs.
        support: where its values lie, on the natural scale.
        dims: named dimensions of its array, `()` for a scalar.
    """

    name: str
    support: Support
    dims: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.support not in get_args(Support.__value__):
            valid = ", ".join(get_args(Support.__value__))
            raise ModelError(
                f"parameter {self.name}: support {self.support!r} is not one of {valid}"
            )


class Model(ABC):
    """A statistical model; final subclasses are frozen dataclasses of hyper-parameters.

    Programs read a data variable as `data["y"].data`, so that they accept both plain arrays and
    the traced ones of a vectorised simulation study.
    """

    name: ClassVar[str]
    """The model's name, that of its module or a variant of it."""

    free_dims: ClassVar[tuple[str, ...]] = ()
    """Dimensions of the data, beside the leading one, whose size the data decide."""

    @property
    @abstractmethod
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameter table, in the order of the programs."""

    @property
    @abstractmethod
    def truth(self) -> Values:
        """A regular point at which the suite studies the model."""

    @abstractmethod
    def simulate(self, rng: np.random.Generator, values: Values, n: int) -> xr.Dataset:
        """`n` exchangeable units drawn at `values`; variables and dims are the data's schema."""

    @abstractmethod
    def start(self, rng: np.random.Generator, data: xr.Dataset) -> Values:
        """A random, data-driven starting point; never looks at `truth`."""

    @abstractmethod
    def numpyro(self, data: xr.Dataset) -> None:
        """The NumPyro program."""

    @abstractmethod
    def pymc(self, data: xr.Dataset) -> pm.Model:
        """The PyMC program, with dims and coords."""

    def _repr_html_(self) -> str:
        """The formula that opens the model's file, and the parameter table, for a notebook."""
        module = inspect.getmodule(type(self))
        formula = (inspect.getdoc(module) or inspect.getdoc(type(self)) or "").partition("\n")[0]
        rows = [(p.name, p.support, ", ".join(p.dims) or "scalar") for p in self.parameters]
        return table(repr(self), (formula,), ("parameter", "support", "dims"), rows)


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
class HasQuantities(Protocol):
    """Is compared through identified functions of its parameters, not the parameters themselves."""

    @property
    def quantity_table(self) -> tuple[Parameter, ...]: ...

    def quantities(self, values: Values) -> Values: ...


@runtime_checkable
class HasUnits(Protocol):
    """Its exchangeable unit is not the row: says which unit each row belongs to."""

    def units(self, data: xr.Dataset) -> np.ndarray:
        """Integer unit of each row, shape (rows,), values 0 … N−1."""
        ...


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
class HasBoundary(Protocol):
    """Its maximum may lie on the boundary of parameter space, where theory is another one."""

    def boundary(self, values: Values, data: xr.Dataset) -> str:
        """Which parameter is on its boundary, as a sentence; "" if none is."""
        ...


@runtime_checkable
class HasLabels(Protocol):
    """Invariant under permutation of components: draws need alignment to be summarised."""

    @property
    def labels(self) -> int:
        """Number of exchangeable components."""
        ...

    def label_features(self, values: Values) -> Array:
        """What tells components apart, shape (components, features)."""
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
