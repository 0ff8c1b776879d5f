"""The library's call as shipped, its failures, and what it claims: shared by all engines.

An engine calls a public function of its library on the plain program, with the library's defaults
unless a setting is named, and starts where the library starts.  What comes back is judged, not
repaired.  Where the call fails, that is the result, and one run from a data-driven start tells
whether the start was the cause.
"""

from __future__ import annotations

import logging
import time
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import ClassVar, Literal

import numpy as np
import xarray as xr

from inference.estimate import Estimate
from inference.information.derivatives import derivatives
from inference.method import Method, label
from inference.optimisation.standard_errors import exact_estimate
from inference.posterior.draws import CHAINS, estimate_from_draws
from inference.posterior.importance import gaussian_khat
from inference.posterior.labels import one_fold
from inference.posterior.points import to_unconstrained
from models.capabilities import HasOwnPrograms
from models.errors import ConcordError, FitError, told
from models.programs.density import density, flatten, labelled, quantities
from models.programs.plain import parameters_of, somewhere
from models.spec import Model, Values

_TAIL = 10
"""The last two such parts of a loss tell whether it is flat."""
_FLAT = 2.0
"""Standard errors of the difference of their means within which it looks flat."""
_SHOWN = 500
"""Values of a loss that are kept."""

type Sites = Mapping[str, np.ndarray]
"""A program's variables by name."""


class Engine(Method):
    """A library's own fit of the plain program."""

    shipped: ClassVar[bool] = True
    target: ClassVar[Literal["likelihood", "posterior"]] = "posterior"
    language: ClassVar[Literal["numpyro", "pymc"]]  # pyright: ignore[reportIncompatibleVariableOverride]

    @abstractmethod
    def call(
        self, model: Model, data: xr.Dataset, rng: np.random.Generator, start: Values | None
    ) -> Estimate:
        """The library's fit.

        Args:
            model: the model.
            data: the data.
            rng: seeds it.
            start: values of the program's variables; the library's own start if None.
        """

    def refusal(self, model: Model) -> str:
        if self.kind != "sampler" and isinstance(model, HasOwnPrograms) and model.adopted.latent:
            integrated = ", ".join(model.adopted.latent)
            return f"{self.library} fits {integrated}, too, which is integrated out here"
        return ""

    def fit(self, model: Model, data: xr.Dataset, rng: np.random.Generator) -> Estimate:
        try:
            with _quiet():
                return self.call(model, data, rng, None)
        except ConcordError:
            raise
        except Exception as error:  # of a library, or of a program that a user wrote
            reason = f"{label(self)} failed: {told(error)}"
            cause = error
        try:
            with _quiet():
                self.call(model, data, rng, somewhere(model, data, self.language, rng))
            reason += "; from a data-driven start it runs"
        except Exception as error:  # the same, once more
            reason += f"; from a data-driven start: {told(error)}"
        raise FitError(reason) from cause

    def drawn(
        self,
        model: Model,
        data: xr.Dataset,
        runs: Sequence[Sites],
        began: float,
        losses: np.ndarray,
        *,
        gaussian: bool = True,
    ) -> Estimate:
        """The estimate of a law that was fitted several times, with the scatter of the fits.

        Args:
            model: the model.
            data: the data.
            runs: of each fit independent draws of the program's variables, shape (draw, …).
            began: when the first began, by `time.perf_counter`.
            losses: the path of the loss of the first, shape (step,).
            gaussian: whether the law is Gaussian in the unconstrained space.
        """
        run = time.perf_counter() - began
        found = parameters_of(
            model, self.language, {n: np.stack([one[n] for one in runs]) for n in runs[0]}
        )
        first = {name: x[0].reshape(CHAINS, -1, *x.shape[2:]) for name, x in found.items()}
        record = self._moments(model, data, found)
        record["loss"] = ("step", losses[:: max(1, len(losses) // _SHOWN)])
        record.attrs |= {"run": run, "runs": len(runs), "claims": flat(losses)}
        if gaussian:
            target = density(model, data, self.language)
            record.attrs["khat"] = gaussian_khat(model, data, target, first)
        repeated = found if len(runs) > 1 else None
        return estimate_from_draws(model, data, first, record=record, repeated=repeated)

    def _moments(
        self, model: Model, data: xr.Dataset, draws: Mapping[str, np.ndarray]
    ) -> xr.Dataset:
        """Mean and sd of every run in the unconstrained space, in one fold of equal modes."""
        target = density(model, data, self.language)
        runs = len(next(iter(draws.values())))
        found = []
        for i in range(runs):
            points = to_unconstrained(target, {name: x[i] for name, x in draws.items()})
            pivot = found[0].mean(axis=0) if found else points.mean(axis=0)
            found.append(one_fold(model, target, points, pivot)[0])
        moments = {"run_mean": np.mean(found, axis=1), "run_sd": np.std(found, axis=1, ddof=1)}
        return xr.Dataset({name: (("one", "coordinate"), x) for name, x in moments.items()})

    def at(
        self, model: Model, data: xr.Dataset, sites: Sites, began: float, claims: str
    ) -> Estimate:
        """The estimate of an optimum without standard errors.

        Args:
            model: the model.
            data: the data.
            sites: the program's variables there.
            began: when the search began, by `time.perf_counter`.
            claims: what the library says of its convergence; "" if nothing.
        """
        run = time.perf_counter() - began
        one = {name: np.asarray(x)[None, None] for name, x in sites.items()}
        values = {n: x[0, 0] for n, x in parameters_of(model, self.language, one).items()}
        target = density(model, data, self.language)
        u = target.unconstrain(values)
        reported = quantities(model, values)
        unknown = np.full((flatten(reported).size,) * 2, np.nan)
        height = derivatives(target, "likelihood").value_and_gradient(u)[0]
        return exact_estimate(
            model,
            data,
            reported,
            unknown,
            log_likelihood=float(height),
            point=labelled(model.parameters, data, values),
            problems=(),
            sd_kind="none",
            record=xr.Dataset(attrs={"run": run, "claims": claims}),
        )


def flat(losses: np.ndarray) -> str:
    """Says how a loss looks at its end: "a flat loss", or "" where it still moves.

    Args:
        losses: by step.
    """
    part = len(losses) // _TAIL
    if not np.isfinite(losses[-2 * part :]).all():
        return ""
    before, last = losses[-2 * part : -part], losses[-part:]
    batches = [np.resize(x, (10, part // 10)).mean(axis=1) for x in (before, last)]
    error = np.hypot(*(x.std(ddof=1) / np.sqrt(10) for x in batches))
    moved = abs(batches[1].mean() - batches[0].mean())
    return "a flat loss" if moved <= _FLAT * error else ""


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the libraries' own messages on the terminal; what they return is judged."""
    logger = logging.getLogger("pymc")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def seed_of(rng: np.random.Generator) -> int:
    """A seed of PyMC's."""
    return int(rng.integers(2**31))
