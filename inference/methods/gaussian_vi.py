"""Variational inference: the Gaussian q(u) = N(m, LLᵀ) closest to the posterior in the chart u.

Maximises, with f the log posterior including the log-Jacobian and k the number of coordinates,

    ELBO(m, L) = E_z[f(m + Lz)] + log |L| + (k/2) log 2πe,    z ~ N(0, I),

over diagonal L (mean field) or lower-triangular L (full rank).  The expectation is an average over
one fixed set of quasi-random z whose mean and covariance are exactly 0 and I, so the objective is a
smooth deterministic function: BFGS converges to its optimum, with no learning rate, no decay and no
noise to average out, and a Gaussian posterior is recovered exactly.  Stochastic optimisers were
tried first: their error after 10⁴ steps is a sizeable part of a posterior sd.  The search runs in
the metric of a mode of f, from which it starts.  What the choice of the points leaves open is
estimated by the optima under further sets of points and is part of every reported error.  An
engine means whose program and chart: PyMC's simplex transform is not NumPyro's, so the two
Gaussians may differ.
References: Kucukelbir, Tran, Ranganath, Gelman & Blei (2017), JMLR 18; Giordano, Ingram & Broderick
(2024), JMLR 25; Yao, Vehtari, Simpson & Gelman (2018), ICML (k̂).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from annotated_types import Ge
from scipy.optimize import OptimizeResult, minimize
from scipy.special import ndtri
from scipy.stats import qmc

from inference.estimate import Estimate
from inference.information.derivatives import derivatives
from inference.method import Kind, Method, from_field
from inference.posterior.draws import CHAINS, estimate_from_draws, natural
from inference.threads import one_blas_thread
from models.errors import ConcordError, ConfigError, FitError
from models.programs.density import density, units
from models.settings import Count, check_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jax import Array

    from models.programs.density import Density
    from models.spec import Model

_AT_ONCE = 5_000_000
"""Log-likelihoods of single units in memory at a time."""
_STATIONARY = 1e-3
"""Gradient of the ELBO, nats for one step of a standard deviation, that counts as zero."""
_SAME = 1e-3
"""Difference of two optima in nats within which they are one."""
_JUDGED = 1_000
"""Draws per pseudo-chain by which the ELBO, k̂ and the error of the optimum are judged."""
_FURTHER = 8
"""Further sets of points whose optima tell the error of the reported one."""
_FLAT = 1e-3
"""Smallest curvature of the ELBO that a Newton step believes, in precisions of q."""
_MODES = 3
"""Distinct modes from which the ELBO is maximised."""


@final
@dataclass(frozen=True)
class GaussianVI(Method):
    """Gaussian variational approximation in the unconstrained chart.

    Attributes:
        engine: whose program and chart: `numpyro` or `pymc`.
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
    language = from_field("engine")
    profiles: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "quick": {"restarts": 4, "points": 256, "draws": 4_000},
        "thorough": {"restarts": 20, "points": 4_096, "draws": 20_000},
    }

    def __post_init__(self) -> None:
        check_settings(self)
        if self.points < 2 or self.points & (self.points - 1):
            raise ConfigError(f"gaussian_vi.points is {self.points}; expected a power of 2")

    def refusal(self, model: Model) -> str:
        return ""

    def fit(self, model: Model, data: xr.Dataset, rng: np.random.Generator) -> Estimate:
        try:
            with one_blas_thread():
                return self._fit(model, data, rng)
        except ConcordError:
            raise
        except Exception as error:
            raise FitError(
                f"variational inference failed on {model.name}: {type(error).__name__}: {error}"
            ) from error

    def _fit(self, model: Model, data: xr.Dataset, rng: np.random.Generator) -> Estimate:
        target = density(model, data, self.engine)
        if self.points < 4 * target.size:
            raise FitError(
                f"gaussian_vi.points is {self.points}; expected at least four times the "
                f"{target.size} free parameters of {model.name}"
            )
        began = time.perf_counter()
        evaluate = _height(target, max(1, _AT_ONCE // units(model, data)))
        first = np.asarray(target.unconstrain(model.start(np.random.default_rng(0), data)))
        evaluate(np.broadcast_to(first, (self.points, target.size)))
        ready = time.perf_counter()
        found = [_mode(target, model, data, stream) for stream in rng.spawn(self.restarts)]
        modes = [mode for mode in found if mode is not None]
        z = standard_points(rng, self.points, target.size)
        fits = [
            (mode, maximise(evaluate, z, mode, self.family)) for mode in _distinct(modes)[:_MODES]
        ]
        fits = [(mode, fit) for mode, fit in fits if np.isfinite(fit.elbo)]
        if not fits:
            raise FitError(f"{model.name}: none of {self.restarts} restarts found a finite ELBO")
        origin, best = max(fits, key=lambda pair: pair[1].elbo)
        reached = sum(abs(mode.value - origin.value) <= _SAME for mode in modes)
        noise = rng.standard_normal((CHAINS, self.draws, target.size))
        points = best.loc + noise @ best.factor.T
        further = [standard_points(rng, self.points, target.size) for _ in range(_FURTHER)]
        locs, factors = neighbours(evaluate, best, further, self.family)
        repeated = locs[:, None] + noise[0, :_JUDGED] @ factors.swapaxes(1, 2)
        elbo, error, khat = _judge(
            evaluate, best, noise[:, :_JUDGED].reshape(-1, target.size), self.points
        )
        record = xr.Dataset(
            {
                "elbo": ("step", best.path),
                "q_loc": ("coordinate", best.loc),
                "q_covariance": (("coordinate", "coordinate_"), best.factor @ best.factor.T),
            },
            attrs={
                "compile": ready - began,
                "run": time.perf_counter() - ready,
                "elbo": elbo,
                "elbo_error": error,
                "khat": khat,
                "gradient": best.gradient,
                "restarts": self.restarts,
                "reached": reached,
                "failed": self.restarts - len(modes),
            },
        )
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
        return estimate_from_draws(
            model,
            data,
            natural(target, points),
            record=record,
            repeated=natural(target, repeated),
            problems=problems,
        )


class Mode(NamedTuple):
    """A mode of the log posterior in the chart."""

    value: float
    u: np.ndarray


class Fit(NamedTuple):
    """An optimum of the ELBO."""

    elbo: float
    loc: np.ndarray
    factor: np.ndarray
    """L, lower triangular, shape (k, k)."""
    gradient: float
    """Largest derivative, nats for one step of a standard deviation of q."""
    path: np.ndarray
    """The ELBO after each step."""


type _Height = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Points, shape (s, k) ↦ log posterior, shape (s,), and its gradient, shape (s, k)."""


@lru_cache(maxsize=64)
def _height(target: Density, batch: int) -> _Height:
    """The log posterior and its gradient at many points, compiled once for every family."""

    def one(u: Array) -> Array:
        return jnp.sum(target.log_likelihood(u)) + target.log_prior(u) + target.log_jacobian(u)

    compiled = jax.jit(
        lambda points: jax.lax.map(jax.value_and_grad(one), points, batch_size=batch)
    )

    def evaluate(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value, gradient = compiled(jnp.asarray(points))
        return np.asarray(value), np.asarray(gradient)

    return evaluate


def standard_points(rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    """Sobol points as standard normals, antithetic, with covariance exactly I, shape (count, k)."""
    half = count // 2
    # every coordinate has one point in each of `half` cells; in its middle, none is an outlier
    cell = np.floor(qmc.Sobol(size, rng=rng).random(half) * half)
    normal = ndtri((cell + 0.5) / half)
    z = np.concatenate([normal, -normal])
    return np.linalg.solve(np.linalg.cholesky(z.T @ z / count), z.T).T


def _mode(target: Density, model: Model, data: xr.Dataset, rng: np.random.Generator) -> Mode | None:
    """A mode near a data-driven start; None if the search leaves the finite."""
    value_and_gradient = derivatives(target, "posterior").value_and_gradient

    def negative(u: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = value_and_gradient(jnp.asarray(u))
        value, gradient = -float(value), -np.asarray(gradient)
        if not np.isfinite(value) or not np.isfinite(gradient).all():
            return 1e300, np.zeros_like(u)  # a line search steps back from here
        return value, gradient

    start = np.asarray(target.unconstrain(model.start(rng, data)))
    end = minimize(negative, start, jac=True, method="BFGS", options={"gtol": 1e-3})
    return Mode(-float(end.fun), end.x) if end.fun < 1e299 else None


def _distinct(modes: list[Mode]) -> list[Mode]:
    """One of each height, highest first: modes of one height are copies under relabelling."""
    kept: list[Mode] = []
    for mode in sorted(modes, key=lambda mode: -mode.value):
        if not kept or kept[-1].value - mode.value > _SAME:
            kept.append(mode)
    return kept


def _metric(evaluate: _Height, mode: np.ndarray, family: str, like: int) -> np.ndarray:
    """Cholesky factor of a covariance to search in: that at the mode, made positive if it is not.

    Second derivatives are differences of the gradient; being a metric, they need no more.
    """
    k, step = mode.size, 1e-4
    probes = np.tile(mode, (like, 1))
    probes[:k] += step * np.eye(k)
    probes[k : 2 * k] -= step * np.eye(k)
    gradient = evaluate(probes)[1]
    information = -(gradient[:k] - gradient[k : 2 * k]) / (2 * step)
    information = 0.5 * (information + information.T)
    if family == "mean_field":
        information = np.diag(np.diag(information))
    eigenvalue, vector = np.linalg.eigh(information)
    floor = max(1e-6 * eigenvalue.max(), 1e-2)
    return np.linalg.cholesky((vector / np.maximum(eigenvalue, floor)) @ vector.T)


def maximise(evaluate: _Height, z: np.ndarray, mode: Mode, family: str) -> Fit:
    """The best Gaussian from a mode, over m = mode + L₀a and L = L₀A with diagonal exp(ω).

    Args:
        evaluate: points, shape (s, k) ↦ log density and its gradient there.
        z: standard points, shape (s, k).
        mode: where to begin.
        family: `mean_field` or `full_rank`.
    """
    count, k = z.shape
    base = _metric(evaluate, mode.u, family, count)
    rows, columns = np.tril_indices(k, -1) if family == "full_rank" else np.empty((2, 0), int)
    constant = 0.5 * k * np.log(2 * np.pi * np.e) + np.log(np.diag(base)).sum()

    def unpack(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        factor = np.diag(np.exp(x[k : 2 * k]))
        factor[rows, columns] = x[2 * k :]
        return x[:k], factor

    def negative(x: np.ndarray) -> tuple[float, np.ndarray]:
        with np.errstate(over="ignore", invalid="ignore"):
            shift, factor = unpack(x)
            value, gradient = evaluate(mode.u + (shift + z @ factor.T) @ base.T)
            gradient = gradient @ base
            of_factor = gradient.T @ z / count
            slope = np.concatenate(
                [
                    gradient.mean(axis=0),
                    np.diag(of_factor) * np.diag(factor) + 1.0,
                    of_factor[rows, columns],
                ]
            )
            elbo = value.mean() + x[k : 2 * k].sum() + constant
        if not np.isfinite(elbo) or not np.isfinite(slope).all():
            return 1e300, np.zeros_like(x)  # a line search steps back from here
        return -float(elbo), -slope

    path: list[float] = []

    def follow(intermediate_result: OptimizeResult) -> None:
        path.append(-float(intermediate_result.fun))

    start = np.zeros(2 * k + rows.size)
    path.append(-negative(start)[0])
    end = minimize(
        negative, start, jac=True, method="BFGS", callback=follow, options={"gtol": 1e-5}
    )
    shift, factor = unpack(end.x)
    slope = np.abs(end.jac).max() if np.isfinite(end.jac).all() else np.inf
    elbo = -float(end.fun) if end.fun < 1e299 else -np.inf
    return Fit(elbo, mode.u + base @ shift, base @ factor, float(slope), np.array(path))


def neighbours(
    evaluate: _Height, fit: Fit, further: Sequence[np.ndarray], family: str
) -> tuple[np.ndarray, np.ndarray]:
    """Locations, shape (r, k), and factors, (r, k, k), of optima under further sets of points.

    Each is one Newton step away, in the coordinates (b, B) of q itself, m + Lb and LB with diagonal
    exp(ω).  With g = Lᵀ∇f, the Hessian of the ELBO is to leading order −1 for entries of B below
    its diagonal, −2 for ω, E[g zᵀ] for b, and E[g_i (z_j z_l − δ_jl)] for b_i with B_jl (Stein's
    identity).  The optimum itself is the first of them: its own points are as good as the others.

    Args:
        evaluate: points, shape (s, k) ↦ log density and its gradient there.
        fit: the optimum.
        further: sets of standard points, each of shape (s, k).
        family: `mean_field` or `full_rank`.
    """
    slopes = [evaluate(fit.loc + z @ fit.factor.T)[1] @ fit.factor for z in further]
    of_factor = [slope.T @ z / len(z) for slope, z in zip(slopes, further, strict=True)]
    curvature = -np.mean(of_factor, axis=0)
    eigenvalue, vector = np.linalg.eigh(0.5 * (curvature + curvature.T))
    inverse = (vector / np.maximum(eigenvalue, _FLAT)) @ vector.T
    everywhere, every_slope = np.concatenate(further), np.concatenate(slopes)
    locs, factors = [fit.loc], [fit.factor]
    for slope, outer in zip(slopes, of_factor, strict=True):
        step = np.diag(np.exp(0.5 * (np.diag(outer) + 1.0)))
        if family == "full_rank":
            step += np.tril(outer, -1)
        off = step - np.eye(len(step))
        weight = np.einsum("si,ij,sj->s", everywhere, off, everywhere) - np.trace(off)
        of_loc = slope.mean(axis=0) + weight @ every_slope / len(weight)
        locs.append(fit.loc + fit.factor @ inverse @ of_loc)
        factors.append(fit.factor @ step)
    return np.array(locs), np.array(factors)


def _judge(
    evaluate: _Height, fit: Fit, noise: np.ndarray, batch: int
) -> tuple[float, float, float]:
    """The ELBO by fresh draws, its Monte Carlo error, and Pareto k̂ of p/q."""
    from arviz_stats.base.array import array_stats

    count, k = noise.shape
    whole = -(-count // batch) * batch
    # the compiled shape is met by repeating draws, which are then dropped
    points = np.resize(fit.loc + noise @ fit.factor.T, (whole, k)).reshape(-1, batch, k)
    height = np.concatenate([evaluate(part)[0] for part in points])[:count]
    log_q = (
        -0.5 * (noise**2).sum(axis=1)
        - 0.5 * k * np.log(2 * np.pi)
        - np.log(np.abs(np.diag(fit.factor))).sum()
    )
    ratio = height - log_q
    if not np.isfinite(ratio).all():
        return float("nan"), float("nan"), float("inf")
    # ArviZ takes log-likelihoods, of which the weights are the inverse
    _, khat = array_stats.psislw(-ratio)
    return float(ratio.mean()), float(ratio.std(ddof=1) / np.sqrt(count)), float(khat)
