"""A method: a frozen value of settings that fits a model to data."""

from __future__ import annotations

import functools
import itertools
from abc import ABC, abstractmethod
from collections import ChainMap
from collections.abc import Callable, Mapping  # read at run time by get_type_hints
from dataclasses import fields
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from models.capabilities import HasOwnPrograms
from models.errors import ConfigError, DataError, shown
from models.programs.precision import float64
from models.settings import check_settings
from models.spec import refuse_other

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

    from inference.estimate import Estimate
    from models.spec import Model

type Kind = Literal["optimum", "laplace", "variational", "sampler", "exact"]
"""A maximum that is searched for, a Gaussian at it, a law fitted by its divergence, draws, or a
formula."""
type Profile = Literal["quick", "standard", "thorough"]  # how long the methods run
PROFILES: tuple[Profile, ...] = get_args(Profile.__value__)


class Method(ABC):
    """A way to fit; final subclasses are frozen dataclasses of settings.

    A field annotated with a `Literal` (an engine, a family) spans the method's variants.  What a
    method is, is read off its attributes, never off its label.
    """

    name: ClassVar[str]
    target: ClassVar[Literal["likelihood", "posterior"]]
    kind: ClassVar[Kind]
    library: ClassVar[str] = "concord"
    """Whose code fits: `concord`, `numpyro`, `pymc`, `statsmodels`, …"""
    extra: ClassVar[str] = ""
    """The extra of this package that brings its library; "" where that is always there."""
    language: ClassVar[Literal["numpyro", "pymc"] | None] = None
    """Whose program is fitted, and in whose unconstrained space; None where it uses neither."""
    shipped: ClassVar[bool] = False
    """Whether it is a public call of its library, as that ships it."""
    family: str = ""
    """The family that it fits, where it has one: `mean_field`, `full_rank`."""
    begins: ClassVar[Profile | None] = "quick"
    """The shortest profile that runs it unasked; None where it must be asked for."""
    profiles: ClassVar[Mapping[str, Mapping[str, object]]] = {}
    """Settings by profile: quick, standard, thorough; within one, also by the name of a choice."""

    def __init_subclass__(cls, **kwargs: object) -> None:
        """Every fit runs in float64, whatever the process's default is."""
        super().__init_subclass__(**kwargs)
        if "fit" in vars(cls):
            cls.fit = _with_arguments(float64(cls.fit))

    def __post_init__(self) -> None:
        check_settings(self)

    def refusal(self, model: Model) -> str:
        """Why the method cannot fit this model, as a sentence; "" if it can."""
        return ""

    @abstractmethod
    def fit(self, model: Model, data: xr.Dataset, rng: np.random.Generator) -> Estimate:
        """Fits the model.

        Raises:
            FitError: no estimate at all could be produced.
        """


def _with_arguments(fit: Callable[..., Estimate]) -> Callable[..., Estimate]:
    """A method's `fit` that refuses arguments of another kind."""

    @functools.wraps(fit)
    def checked(self: Method, model: Model, data: xr.Dataset, rng: np.random.Generator) -> Estimate:
        refuse_other(model)
        if not hasattr(data, "data_vars"):
            told = f"data are {shown(data)}; expected a Dataset"
            raise DataError(f"{told}: cc.load_data(…, {model!r}) makes one")
        if not hasattr(rng, "bit_generator"):
            raise ConfigError(f"rng is {shown(rng)}; expected numpy.random.default_rng(0)")
        return fit(self, model, data, rng)

    return checked


def not_installed(cls: type[Method]) -> str:
    """How to install what a method lacks; "" where it lacks nothing."""
    if not cls.extra or find_spec(cls.library):
        return ""
    return f"{cls.library} is not installed: pip install 'concord[{cls.extra}]'"


def refusal(method: Method, model: Model) -> str:
    """Why a method cannot fit a model, by either's word, as a sentence; "" if it can."""
    if missing := not_installed(type(method)):
        return missing
    if isinstance(model, HasOwnPrograms):
        reason = model.refusal(method.language, method.target, method.kind)
        if reason:
            return reason
    return method.refusal(model)


def derived(read: Callable[[Any], object]) -> Any:
    """A declaration that follows from a method's settings, which are what is read."""
    return property(read)


def variants(cls: type[Method], profile: str) -> tuple[Method, ...]:
    """Every combination of the `Literal` fields of a method, at the settings of a profile."""
    choices, settings = _choices(cls), cls.profiles.get(profile, {})
    common = {name: value for name, value in settings.items() if not isinstance(value, Mapping)}

    def variant(combination: tuple[str, ...]) -> Method:
        own = (settings.get(choice) for choice in combination)
        special = ChainMap(*(dict(part) for part in own if isinstance(part, Mapping)))
        return cls(**{**common, **special, **dict(zip(choices, combination, strict=True))})

    return tuple(map(variant, itertools.product(*choices.values())))


def _choices(cls: type[Method]) -> dict[str, tuple[str, ...]]:
    """The values of the `Literal` fields, by name."""
    hints = get_type_hints(cls)
    names = [f.name for f in fields(cls)]  # pyright: ignore[reportArgumentType]
    return {name: get_args(hints[name]) for name in names if get_origin(hints[name]) is Literal}


def label(method: Method) -> str:
    """Its name with its `Literal` settings: `nuts[pymc]`, `gaussian_vi[numpyro, full_rank]`."""
    chosen = [str(getattr(method, name)) for name in _choices(type(method))]
    return f"{method.name}[{', '.join(chosen)}]" if chosen else method.name
