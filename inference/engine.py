"""An engine: a library's own fit, called as its users call it, with its failures and its claims.

An engine calls a public function of its library on the plain program, with the library's defaults
unless a setting is named, and starts where the library starts.  What comes back is judged, not
repaired.  Where the call fails, that is the result, and one run from a data-driven start tells
whether the start was the cause.
"""

import logging
import time
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
import xarray as xr
from annotated_types import Ge
from numpy.random import Generator

from inference.estimate import Estimate
from inference.information.derivatives import derivatives
from inference.method import Kind, Method, label, not_installed
from inference.optimisation.newton import bfgs, negative
from inference.optimisation.standard_errors import estimate_of
from inference.optimisation.starts import promising
from inference.posterior.draws import CHAINS, estimate_from_draws
from inference.posterior.importance import over_gaussian
from inference.posterior.labels import one_fold
from inference.posterior.points import to_unconstrained
from models.errors import ConcordError, FitError, told
from models.programs.adopted.model import AdoptedModel
from models.programs.density import Density, density, parameters_of, somewhere
from models.settings import Count
from models.spec import Model, Values

STEPS = {"default": 10_000, "adam": 10_000, "decayed": 30_000}
"""Steps of stochastic gradients, by schedule."""
_CONSTANT, _FALL = 20_000, 1e-3
"""Steps before the rate of `decayed` falls, and how far it falls in the rest."""
_TAIL, _BATCHES = 10, 10
"""The last two such parts of a loss tell whether it is flat, by so many means of each."""
_FLAT = 2.0  # standard errors of the difference of their means within which it looks flat
_SHORT = 5e-5  # nats by which an optimum is a hundredth of a standard error short
_SHOWN = 500  # values of a loss that are kept

type Sites = Mapping[str, np.ndarray]  # a program's variables by name


class LibraryError(Exception):
    """A library, or the program that it was given, raised."""


class Found(NamedTuple):
    """The outcome of a library's call."""

    runs: Sequence[Sites]
    """By fit: of an optimum values, of a fitted law draws (draw, …), of chains (chain, draw, …)."""
    losses: np.ndarray = np.empty(0)
    """The path of the loss of the first fit of a law, shape (step,)."""
    stats: Mapping[str, np.ndarray] | None = None
    """(chain, draw) by ArviZ's names, of Markov chains."""
    claims: str = ""  # what the library says of its convergence; "" if nothing
    khat: float | None = None
    """Pareto's k̂ of the posterior over a fitted law; that of a Gaussian with its draws if None."""


class Engine(Method):
    """A library's own fit of the plain program; its subclasses give `library` and `language`."""

    shipped: ClassVar[bool] = True
    target: ClassVar[Literal["likelihood", "posterior"]] = "posterior"
    language: ClassVar[Literal["numpyro", "pymc"]]  # pyright: ignore[reportIncompatibleVariableOverride]

    @abstractmethod
    def call(self, model: Model, data: xr.Dataset, rng: Generator, start: Values | None) -> Found:
        """The library's fit, its call in `library_call`.

        Args:
            model: the model.
            data: the data.
            rng: seeds it.
            start: values of the program's variables; the library's own start if None.

        Raises:
            LibraryError: the library raised.
        """

    def refusal(self, model: Model) -> str:
        if self.kind == "sampler" or not isinstance(model, AdoptedModel):
            return ""
        if model.adopted.latent:
            integrated = ", ".join(model.adopted.latent)
            return f"{self.library} fits {integrated}, too, which is integrated out here"
        labels = getattr(model.adopted.programs.get(self.language), "discrete", ())
        return f"{self.library} takes {', '.join(labels)} by samplers alone" if labels else ""

    def fit(self, model: Model, data: xr.Dataset, rng: Generator) -> Estimate:
        if missing := not_installed(type(self)):
            raise FitError(f"{label(self)}: {missing}")
        try:
            return self._fit(model, data, rng)
        except LibraryError as error:
            reason, cause = f"{label(self)} failed: {error}; from a data-driven start", error
        try:
            self.call(model, data, rng, somewhere(model, data, self.language, rng))
        except (LibraryError, ConcordError) as error:
            raise FitError(f"{reason}: {error}") from cause
        raise FitError(f"{reason} it runs") from cause

    def _fit(self, model: Model, data: xr.Dataset, rng: Generator) -> Estimate:
        """The estimate by what a call gives."""
        began = time.perf_counter()
        found = self.call(model, data, rng, None)
        record = xr.Dataset(attrs={"run": time.perf_counter() - began})
        if self.kind == "sampler":
            draws = parameters_of(model, self.language, found.runs[0])
            return estimate_from_draws(model, data, draws, sample_stats=found.stats, record=record)
        if self.kind == "optimum":
            values = self._point(model, found)
            record.attrs |= {"claims": found.claims}
            record.attrs |= {"restarted": self._restarted(model, data, rng, values)}
            return estimate_of(
                model, data, values, language=self.language, sd_kind="none", record=record
            )
        return self._law(model, data, found, record, rng)

    def _point(self, model: Model, found: Found) -> Values:
        one = {name: np.asarray(x)[None, None] for name, x in found.runs[0].items()}
        return {n: x[0, 0] for n, x in parameters_of(model, self.language, one).items()}

    def _restarted(self, model: Model, data: xr.Dataset, rng: Generator, values: Values) -> str:
        """Whether a data-driven start leads to the maximum that a point is short of; else ""."""
        target = density(model, data, self.language)
        minus = negative(derivatives(target, "joint").value_and_gradient)
        try:
            end = bfgs(minus, next(promising(target, rng, 1)), 1e-7)
            if end is None or minus(np.asarray(target.unconstrain(values)))[0] < end.fun + _SHORT:
                return ""
            again = self.call(model, data, rng, somewhere(model, data, self.language, rng))
            there = minus(np.asarray(target.unconstrain(self._point(model, again))))[0]
        except (LibraryError, ConcordError) as error:
            return f"; from a data-driven start it fails: {error}"
        return f"; {'not so' if there < end.fun + _SHORT else 'so, too,'} from a data-driven start"

    def _law(
        self, model: Model, data: xr.Dataset, found: Found, record: xr.Dataset, rng: Generator
    ) -> Estimate:
        """The estimate by a law that was fitted several times, with the scatter of the fits."""
        runs, target = found.runs, density(model, data, self.language)
        draws = parameters_of(
            model, self.language, {name: np.stack([one[name] for one in runs]) for name in runs[0]}
        )
        first = {name: x[0].reshape(CHAINS, -1, *x.shape[2:]) for name, x in draws.items()}
        record = record.merge(_moments(target, draws))
        record["loss"] = ("step", found.losses[:: max(1, len(found.losses) // _SHOWN)])
        points = to_unconstrained(target, {name: x[0] for name, x in draws.items()})
        points = points[np.isfinite(points).all(axis=1)]
        law = points.mean(axis=0), np.atleast_2d(np.cov(points, rowvar=False))
        khat = over_gaussian(target, *law, rng)[1] if found.khat is None else found.khat
        record.attrs |= {"runs": len(runs), "claims": found.claims, "khat": khat}
        repeated = draws if len(runs) > 1 else None
        return estimate_from_draws(model, data, first, record=record, repeated=repeated)


def _moments(target: Density, draws: Mapping[str, np.ndarray]) -> xr.Dataset:
    """Mean and sd of every run in the unconstrained space, in one fold of equal modes."""
    found = []
    for i in range(len(next(iter(draws.values())))):
        points = to_unconstrained(target, {name: x[i] for name, x in draws.items()})
        pivot = found[0].mean(axis=0) if found else points.mean(axis=0)
        found.append(one_fold(target, points, pivot)[0])
    moments = {"run_mean": np.mean(found, axis=1), "run_sd": np.std(found, axis=1, ddof=1)}
    return xr.Dataset({name: (("one", "coordinate"), x) for name, x in moments.items()})


def flat(losses: np.ndarray) -> str:
    """Says how a loss, by step, looks at its end: "a flat loss", or "" where it still moves."""
    part = len(losses) // _TAIL
    if part < _BATCHES or not np.isfinite(losses[-2 * part :]).all():
        return ""
    before, last = losses[-2 * part : -part], losses[-part:]
    batches = [np.resize(x, (_BATCHES, part // _BATCHES)).mean(axis=1) for x in (before, last)]
    error = np.hypot(*(x.std(ddof=1) / np.sqrt(_BATCHES) for x in batches))
    moved = abs(batches[1].mean() - batches[0].mean())
    return "a flat loss" if moved <= _FLAT * error else ""


def rate_left(step: Any) -> Any:
    """The share of the first learning rate that `decayed` has left at a step; traceable."""
    return _FALL ** jnp.clip((step - _CONSTANT) / (STEPS["decayed"] - _CONSTANT), 0, 1)


@contextmanager
def library_call() -> Iterator[None]:
    """Around a call of a library: its messages stay off the terminal, what it raises is its own.

    Raises:
        LibraryError: whatever it raised.
    """
    loggers = [logging.getLogger(name) for name in ("pymc", "pymc_extras")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # of a library, or of a program that a user wrote
        raise LibraryError(told(error)) from error
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class NumpyroEngine(Engine):
    """An engine of NumPyro's."""

    library: ClassVar[str] = "numpyro"
    language: ClassVar[Literal["numpyro", "pymc"]] = "numpyro"


class PymcEngine(Engine):
    """An engine of PyMC's."""

    library: ClassVar[str] = "pymc"
    language: ClassVar[Literal["numpyro", "pymc"]] = "pymc"

    @staticmethod
    def seed(rng: Generator) -> int:
        """A seed in the form that PyMC takes."""
        return int(rng.integers(2**31))


@dataclass(frozen=True)
class Law(Engine):
    """An engine that fits a law, and not the same one again.

    Attributes:
        runs: fits with seeds of their own, whose scatter is error; the first is reported.
        draws: draws per pseudo-chain, of which there are four.
    """

    _: KW_ONLY
    runs: Annotated[int, Ge(3)] = 3
    draws: Count = 2_500

    kind: ClassVar[Kind] = "variational"


@dataclass(frozen=True)
class Sampler(Engine):
    """An engine that draws Markov chains.

    Attributes:
        chains: independent chains.
        warm_up: draws of each chain spent on adaptation and dropped.
        draws: draws kept of each chain.
    """

    chains: Annotated[int, Ge(2)] = 4
    warm_up: Count = 1_000
    draws: Annotated[int, Ge(4)] = 1_000

    kind: ClassVar[Kind] = "sampler"
