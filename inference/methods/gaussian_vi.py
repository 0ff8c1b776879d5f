"""Gaussian variational inference: the Gaussian closest to the posterior, a deterministic optimum.

The law is N(m, LLᵀ) in the unconstrained space of the program that `engine` names: PyMC's simplex
transform is not NumPyro's, so the two Gaussians may differ.  What the choice of the points by which
the ELBO is averaged leaves open is estimated by the optima under further sets of points and is part
of every reported error.
Reference: Yao, Vehtari, Simpson & Gelman (2018), ICML (k̂); see `inference.optimisation.elbo`.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Annotated, ClassVar, Literal, final

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from annotated_types import Ge

from inference.estimate import Estimate
from inference.information.derivatives import derivatives, value
from inference.method import Kind, Method, derived
from inference.optimisation.elbo import Evaluate, Fit, maximise, neighbours, standard_points
from inference.optimisation.newton import bfgs, negative
from inference.posterior.draws import CHAINS, estimate_from_draws
from inference.posterior.importance import over_gaussian
from inference.posterior.points import to_natural
from inference.threads import fitting
from models.errors import ConfigError, FitError
from models.programs.density import Density, density, units
from models.settings import Count, check_settings
from models.spec import Model

_AT_ONCE = 5_000_000  # log-likelihoods of single units in memory at a time
_STATIONARY = 1e-3
"""Gradient of the ELBO, nats for one step of a standard deviation, that counts as zero."""
_SAME, _MODES = 1e-3, 3
"""Nats within which two modes are one, and distinct ones from which the ELBO is maximised."""
_FURTHER, _REPEATED = 8, 1_000
"""Further sets of points whose optima tell the error of the reported one, and draws of each."""
_FINE, _MORE = 0.03, 4
"""Standard deviations that this error may be; else there are so many times the points, twice."""


@final
@dataclass(frozen=True)
class GaussianVI(Method):
    """Gaussian variational approximation in the unconstrained space.

    Attributes:
        engine: whose program and unconstrained space: `numpyro` or `pymc`.
        family: `mean_field`, independent coordinates, or `full_rank`.
        restarts: data-driven starts of the search for modes.
        points: quasi-random points of the ELBO, a power of 2.
        draws: draws per pseudo-chain, of which there are four.
    """

    engine: Literal["numpyro", "pymc"] = "numpyro"
    family: Literal["mean_field", "full_rank"] = "mean_field"  # pyright: ignore[reportIncompatibleVariableOverride]
    restarts: Count = 6
    points: int = 512
    draws: Annotated[int, Ge(4)] = 10_000

    name: ClassVar[str] = "gaussian_vi"
    target: ClassVar[Literal["likelihood", "posterior"]] = "posterior"
    kind: ClassVar[Kind] = "variational"
    language = derived(lambda self: self.engine)
    profiles: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "quick": {"restarts": 4, "points": 256, "draws": 4_000},
        "thorough": {"restarts": 20, "points": 4_096, "draws": 20_000},
    }

    def __post_init__(self) -> None:
        check_settings(self)
        if self.points < 2 or self.points & (self.points - 1):
            raise ConfigError(f"gaussian_vi.points is {self.points}; expected a power of 2")

    def fit(self, model: Model, data: xr.Dataset, rng: np.random.Generator) -> Estimate:
        with fitting(f"variational inference on {model.name}"):
            return self._fit(model, data, rng)

    def _fit(self, model: Model, data: xr.Dataset, rng: np.random.Generator) -> Estimate:
        target = density(model, data, self.engine)
        if self.points < 4 * target.size:
            raise FitError(
                f"gaussian_vi.points is {self.points}; expected at least four times the "
                f"{target.size} free parameters of {model.name}"
            )
        began = time.perf_counter()
        evaluate = _evaluator(target, max(1, _AT_ONCE // units(model, data)))
        first = np.asarray(target.unconstrain(model.start(np.random.default_rng(0), data)))
        evaluate(np.broadcast_to(first, (self.points, target.size)))
        ready = time.perf_counter()
        modes = _modes(target, rng, self.restarts)
        z = standard_points(rng, self.points, target.size)
        fits = [(top, maximise(evaluate, z, u, self.family)) for top, u in _distinct(modes)]
        fits = [(top, fit) for top, fit in fits if np.isfinite(fit.elbo)]
        if not fits:
            raise FitError(f"{model.name}: none of {self.restarts} restarts found a finite ELBO")
        origin, best = max(fits, key=lambda pair: pair[1].elbo)
        reached = sum(abs(top - origin) <= _SAME for top, _ in modes)
        noise = rng.standard_normal((CHAINS, self.draws, target.size))
        evaluate, count = _in_parts(evaluate, self.points), self.points
        while True:
            further = [standard_points(rng, count, target.size) for _ in range(_FURTHER)]
            locs, factors = neighbours(evaluate, best, further, self.family)
            errors = (locs.std(axis=0, ddof=1), _sds(factors).std(axis=0, ddof=1))
            if np.max(errors / _sds(best.factor)) < _FINE or count == _MORE**2 * self.points:
                break
            count *= _MORE
            z = standard_points(rng, count, target.size)
            best = maximise(evaluate, z, best.loc, self.family)
        repeated = locs[:, None] + noise[0, :_REPEATED] @ factors.swapaxes(1, 2)
        law = best.loc, best.factor @ best.factor.T
        record = _record(best, *over_gaussian(target, *law, rng))
        record["q_loc_error"], record["q_sd_error"] = (("coordinate", one) for one in errors)
        record.attrs |= {
            "compile": ready - began,
            "run": time.perf_counter() - ready,
            "restarts": self.restarts,
            "reached": reached,
            "failed": self.restarts - len(modes),
        }
        return estimate_from_draws(
            model,
            data,
            to_natural(target, best.loc + noise @ best.factor.T),
            record=record,
            repeated=to_natural(target, repeated),
            problems=self._problems(best, reached),
        )

    def _problems(self, best: Fit, reached: int) -> list[str]:
        """Why an optimum, to whose mode `reached` restarts led, must not be relied on."""
        problems = []
        if not best.gradient < _STATIONARY:
            problems.append(
                f"the ELBO has not converged: its gradient is {best.gradient:.1e} nats per "
                f"standard deviation; expected below {_STATIONARY:g}"
            )
        if reached < 2:
            problems.append(
                f"only {reached} of {self.restarts} restarts reached the mode of the reported "
                "optimum"
            )
        return problems


def _sds(factor: np.ndarray) -> np.ndarray:
    return np.sqrt((factor**2).sum(axis=-1))


def _in_parts(evaluate: Evaluate, count: int) -> Evaluate:
    """The same of any multiple of the number of points that it is compiled for."""

    def evaluated(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        parts = np.split(points, len(points) // count)
        heights, gradients = zip(*map(evaluate, parts), strict=True)
        return np.concatenate(heights), np.concatenate(gradients)

    return evaluated


def _record(best: Fit, ratio: np.ndarray, khat: float) -> xr.Dataset:
    with np.errstate(invalid="ignore"):  # where the posterior is 0 at a draw, the ELBO is −∞
        elbo, error = float(ratio.mean()), float(ratio.std(ddof=1) / ratio.size**0.5)
    return xr.Dataset(
        {
            "elbo": ("step", best.path),
            "q_loc": ("coordinate", best.loc),
            "q_covariance": (("coordinate", "coordinate_"), best.factor @ best.factor.T),
        },
        attrs={"elbo": elbo, "elbo_error": error, "khat": khat, "gradient": best.gradient},
    )


@lru_cache(maxsize=64)
def _evaluator(target: Density, batch: int) -> Evaluate:
    """The log posterior and its gradient at many points, compiled once for every family."""
    slope = jax.value_and_grad(partial(value, target, "posterior"))
    compiled = jax.jit(lambda points: jax.lax.map(slope, points, batch_size=batch))

    def evaluate(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        height, gradient = compiled(jnp.asarray(points))
        return np.asarray(height), np.asarray(gradient)

    return evaluate


def _modes(
    target: Density, rng: np.random.Generator, restarts: int
) -> list[tuple[float, np.ndarray]]:
    """Log posterior and place of the modes to which data-driven starts lead, where finite."""
    minus = negative(derivatives(target, "posterior").value_and_gradient)
    streams = rng.spawn(restarts)
    starts = (target.unconstrain(target.model.start(stream, target.data)) for stream in streams)
    ends = [bfgs(minus, np.asarray(start), 1e-3) for start in starts]
    return [(-float(end.fun), end.x) for end in ends if end is not None]


def _distinct(modes: list[tuple[float, np.ndarray]]) -> list[tuple[float, np.ndarray]]:
    """The highest modes, one of each value: those of one value are copies under relabelling."""
    kept: list[tuple[float, np.ndarray]] = []
    for top, u in sorted(modes, key=lambda mode: -mode[0]):
        if not kept or kept[-1][0] - top > _SAME:
            kept.append((top, u))
    return kept[:_MODES]
