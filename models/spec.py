"""A model: a frozen value with a parameter table and two programs of one density.

The density is the interface.  A model states its prior and likelihood twice, as a NumPyro and as
a PyMC program with the same names; everything else (scores, Hessians, Fisher information) is read
off those programs by `models.programs.density`.  A capability that only some models have, such as a
closed-form E step, is a protocol here; a model has it by defining the methods.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final, get_args

from models.errors import ConfigError, ModelError, shown
from models.notebook import table
from models.settings import check_settings

if TYPE_CHECKING:
    import numpy as np
    import pymc as pm
    import xarray as xr
    from jax import Array

type Values = dict[str, Array]
"""One point of parameter space on the natural scale, by parameter name."""
type Arrays = dict[str, np.ndarray]
"""Columns of data or draws, by name."""

type Support = Literal[
    "real",
    "positive",
    "unit_interval",
    "interval",
    "simplex",
    "ordered",
    "zero_sum",
    "correlation_cholesky",
    "cholesky_packed",
    "covariance",
    "other",
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


PROGRAMS = ("numpyro", "pymc")
"""The programs of a model: one of them is enough."""
PARTS = ("parameters", "start", "simulate", "truth")
"""What a model may leave out: it is then read off its programs on the data."""


class Model:
    """A statistical model; final subclasses are frozen dataclasses of hyper-parameters.

    A hyper-parameter's annotation gives its range (`models.settings`), which is checked here.
    Programs read a data variable as `data["y"].data`, so that they accept both plain arrays and
    the traced ones of a vectorised simulation study.  A user's class may define `numpyro` or `pymc`
    alone; models of the catalogue define everything.
    """

    name: ClassVar[str]
    """The model's name, that of its module or a variant of it; by default made of its class's."""

    free_dims: ClassVar[tuple[str, ...]] = ()
    """Dimensions of the data, beside the leading one, whose size the data decide."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """A class without a name is called like itself, in lower case."""
        super().__init_subclass__(**kwargs)
        if not hasattr(cls, "name") and "name" not in inspect.get_annotations(cls):
            cls.name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()

    def __post_init__(self) -> None:
        check_settings(self)

    def __repr__(self) -> str:
        """Its class, where that is no dataclass."""
        return f"{type(self).__name__}()"

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameter table, in the order of the programs."""
        raise _absent(self, "parameters")

    @property
    def truth(self) -> Values:
        """A regular point at which the suite studies the model."""
        raise _absent(self, "truth")

    def simulate(self, rng: np.random.Generator, values: Values, n: int) -> xr.Dataset:
        """`n` exchangeable units drawn at `values`; variables and dims are the data's schema."""
        raise _absent(self, "simulate")

    def start(self, rng: np.random.Generator, data: xr.Dataset) -> Values:
        """A random, data-driven starting point; never looks at `truth`."""
        raise _absent(self, "start")

    def numpyro(self, data: xr.Dataset) -> None:
        """The NumPyro program."""
        raise _absent(self, "numpyro")

    def pymc(self, data: xr.Dataset) -> pm.Model:
        """The PyMC program, with dims and coords."""
        raise _absent(self, "pymc")

    def _repr_html_(self) -> str:
        """The formula that opens the model's file, and the parameter table, for a notebook."""
        module = inspect.getmodule(type(self))
        formula = (inspect.getdoc(module) or inspect.getdoc(type(self)) or "").partition("\n")[0]
        known = self.parameters if defines(type(self), "parameters") else ()
        rows = [(p.name, p.support, ", ".join(p.dims) or "scalar") for p in known]
        return table(repr(self), (formula,), ("parameter", "support", "dims"), rows)


def defines(cls: type[Model], name: str) -> bool:
    """Whether a class, or one that it is derived from, defines a program or a part."""
    return getattr(cls, name) is not getattr(Model, name)


def refuse_other(model: object) -> None:
    """Refuses what is no model: a class, or something else altogether."""
    if isinstance(model, type) and issubclass(model, Model):
        raise ConfigError(f"the model is the class {model.__name__}; write {model.__name__}()")
    if not isinstance(model, Model):
        own = "; pass your own function as pymc= or numpyro=" if callable(model) else ""
        raise ConfigError(f"the model is {shown(model)}; expected one such as cc.Gaussian(){own}")


def _absent(model: Model, name: str) -> ModelError:
    return ModelError(
        f"{type(model).__name__} defines no {name}: it is known with data only, as in "
        f"cc.compare({model!r}, data)"
    )
