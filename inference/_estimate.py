"""What a method is and what it returns: one result type for every solver, failure as data."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections import ChainMap
from collections.abc import Mapping  # read at run time by get_type_hints
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, ClassVar, Literal, final, get_args, get_type_hints

import numpy as np
import xarray as xr

from models._density import flat_names
from models._errors import ConfigError
from models._html import table

if TYPE_CHECKING:
    from models._spec import Model


@final
@dataclass(frozen=True, slots=True)
class Quantity:
    """Numbers with their Monte Carlo error; no number travels without it.

    Attributes:
        value: one variable per reported quantity, with named dims, on the natural scale.
        error: the Monte Carlo standard error of each; zeros where the value is exact.
    """

    value: xr.Dataset
    error: xr.Dataset


@final
@dataclass(frozen=True, slots=True)
class Estimate:
    """The outcome of one fit.

    Attributes:
        center: the estimate (an optimum, or a posterior mean) of every reported quantity.
        spread: its standard error or posterior standard deviation; NaN where undefined.
        log_likelihood: ℓ(θ̂) at `point`, nats, all constants kept.
        draws: posterior draws, ArviZ groups with dims (chain, draw); None where there are none.
        problems: why the result must not be relied on, one sentence each; empty if it may be.
        point: the parameter values at which `log_likelihood` was taken.
        covariance: covariance of the reported quantities, dims (quantity, quantity_), with the
            flat names (`mu[0]`) as coordinates; NaN where undefined.
        spread_kind: what `spread` is: `observed`, `posterior_sd`, …
        record: how the fit went: seconds of compilation, warm-up and run as attributes
            (`compile`, `warm_up`, `run`), EM's climb, restarts, ELBO path as variables.
    """

    center: Quantity
    spread: Quantity
    log_likelihood: float
    draws: xr.DataTree | None
    problems: tuple[str, ...]
    point: xr.Dataset
    covariance: xr.DataArray
    spread_kind: str
    record: xr.Dataset = field(default_factory=xr.Dataset)

    def _repr_html_(self) -> str:
        """Every quantity with spread and Monte Carlo errors, and the problems, for a notebook."""
        parts = [part for of in (self.center, self.spread) for part in (of.value, of.error)]
        columns = [
            [float(x) for name in parts[0].data_vars for x in np.ravel(part[name].data)]
            for part in parts
        ]
        names = flat_names({str(name): array.data for name, array in parts[0].data_vars.items()})
        numbers = ([f"{x:.6g}" for x in row] for row in zip(*columns, strict=True))
        rows = [(name, *row) for name, row in zip(names, numbers, strict=True)]
        lines = (f"log-likelihood {self.log_likelihood:.6f} nats", *self.problems)
        head = ("quantity", "estimate", "its error", self.spread_kind, "its error")
        return table("Estimate", lines, head, rows)


class Method(ABC):
    """A way to fit; final subclasses are frozen dataclasses of settings.

    A field annotated with a `Literal` (an engine, a family) spans the method's variants.
    """

    name: ClassVar[str]
    target: ClassVar[Literal["likelihood", "posterior"]]
    profiles: ClassVar[Mapping[str, Mapping[str, object]]] = {}
    """Settings by profile: quick, standard, thorough; within one, also by the name of a choice."""

    @abstractmethod
    def refusal(self, model: Model) -> str:
        """Why the method cannot fit this model, as a sentence; "" if it can."""

    @abstractmethod
    def fit(self, model: Model, data: xr.Dataset, rng: np.random.Generator) -> Estimate:
        """Fits the model.

        Raises:
            FitError: no estimate at all could be produced.
        """


def require_least(method: Method, **least: int) -> None:
    """Refuses settings that are below the least value given for each.

    Raises:
        ConfigError: names the first such setting.
    """
    for setting, lowest in least.items():
        value = getattr(method, setting)
        if value < lowest:
            raise ConfigError(
                f"{method.name}.{setting} is {value}; expected an integer of at least {lowest}"
            )


def variants(cls: type[Method], profile: str) -> tuple[Method, ...]:
    """Every combination of the `Literal` fields of a method, at the settings of a profile."""
    hints = get_type_hints(cls)
    choices = {
        f.name: get_args(hints[f.name])
        for f in fields(cls)  # pyright: ignore[reportArgumentType]
        if getattr(hints[f.name], "__origin__", None) is Literal
    }
    settings = cls.profiles.get(profile, {})
    common = {name: value for name, value in settings.items() if not isinstance(value, Mapping)}

    def variant(combination: tuple[str, ...]) -> Method:
        own = (settings.get(choice) for choice in combination)
        special = ChainMap(*(dict(part) for part in own if isinstance(part, Mapping)))
        return cls(**{**common, **special, **dict(zip(choices, combination, strict=True))})

    return tuple(map(variant, itertools.product(*choices.values())))


def label(method: Method) -> str:
    """The method's name with its `Literal` settings: `nuts[pymc]`, `svi[numpyro, full_rank]`."""
    hints = get_type_hints(type(method))
    chosen = [
        str(getattr(method, f.name))
        for f in fields(method)  # pyright: ignore[reportArgumentType]
        if getattr(hints[f.name], "__origin__", None) is Literal
    ]
    return f"{method.name}[{', '.join(chosen)}]" if chosen else method.name
