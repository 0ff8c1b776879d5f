"""The modes of a posterior, and the Gaussians that approximate it, by a route of their own.

Laplace's approximation is N(û, H⁻¹) at the mode û of the log posterior f.  The Gaussian N(m, S)
nearest to the posterior alone has E[∇f] = 0 and E[−∇²f] = S⁻¹, of which a mean field needs the
diagonal: one natural-gradient step from a law nearby, averaged over points of its own, ends there
to first order.
References: Tierney & Kadane (1986), JASA 81; Opper & Archambeau (2009), Neural Comput. 21; Khan &
Rue (2023), JMLR 24.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from inference.information.derivatives import derivatives, value
from inference.optimisation.newton import bfgs, climb, negative
from inference.optimisation.starts import measures
from inference.posterior.importance import Mode
from inference.posterior.labels import canonical, log_modes
from models.programs.density import Density
from models.programs.differentiation import hessian

_STEPS, _STILL = 20, 1e-3
"""Natural-gradient steps from Laplace's approximation to the nearest Gaussian, at most; they end
where one moves by so many sd, and logs of sd."""
_EQUAL = 1e-6  # difference of the heights of two modes that are equal, nats
_SAME, _NEAR = 1e-3, 0.1
"""Difference of the heights of two modes, nats, and their distance in sd, within which they may be
one."""
_MOST = 8  # modes, at most
_POINTS, _BATCHES = (512, 2_048), 16  # by which expectations of a Gaussian are averaged
_FINE = 0.01  # error, in sd, at which the few points are enough


class Gaussian(NamedTuple):
    """A Gaussian in an unconstrained space, with the errors of its means and sds."""

    mean: np.ndarray
    covariance: np.ndarray
    mean_error: np.ndarray
    sd_error: np.ndarray

    @property
    def sd(self) -> np.ndarray:
        """Standard deviations, shape (k,)."""
        return np.sqrt(np.diag(self.covariance))


def modes(target: Density, rng: np.random.Generator, starts: int) -> list[Mode]:
    """Distinct maxima of the log posterior that some starts lead to, eight at most, highest first.

    Where signs or labels can be changed, those of one value are copies, of which one is kept.

    Args:
        target: the density of a model on the data.
        rng: draws the starts.
        starts: how many.
    """
    model, compiled = target.model, derivatives(target, "posterior")
    minus = negative(compiled.value_and_gradient)
    symmetric = log_modes(model) > 0
    found: list[Mode] = []

    def same(mode: Mode, u: np.ndarray, value: float) -> bool:
        if abs(mode.value - value) > _SAME:
            return False
        off = u - mode.u
        return symmetric or bool(off @ np.linalg.solve(mode.covariance, off) < _NEAR**2)

    for stream in rng.spawn(starts):
        u = np.asarray(target.unconstrain(model.start(stream, target.data)))
        unit = measures(target, np.asarray(compiled.hessian(jnp.asarray(u))))
        end = bfgs(minus, u, 1e-3, unit=unit)
        if end is None or any(same(mode, end.x, -end.fun) for mode in found):
            continue
        values = target.constrain(jnp.asarray(end.x))
        if symmetric:
            values = canonical(model, values)
        top = climb(compiled, np.asarray(target.unconstrain(values)))
        if top is None:
            continue
        value = float(compiled.value_and_gradient(jnp.asarray(top[0]))[0])
        if not any(same(mode, top[0], value) for mode in found):
            found.append(Mode(top[0], value, np.linalg.inv(top[1])))
    return sorted(found, key=lambda mode: -mode.value)[:_MOST]


def laplace(target: Density, starts: Sequence[np.ndarray]) -> Gaussian | None:
    """Laplace's approximation at the highest mode to which Newton's method leads; None without one.

    Of equal modes, such as those of a mixture without labels, that of the first start is taken.
    """
    compiled = derivatives(target, "posterior")
    tops = [top for top in (climb(compiled, start) for start in starts) if top is not None]
    if not tops:
        return None
    heights = [float(compiled.value_and_gradient(jnp.asarray(u))[0]) for u, _ in tops]
    equal = (
        top for top, height in zip(tops, heights, strict=True) if height > max(heights) - _EQUAL
    )
    u, information = next(equal)
    return Gaussian(u, np.linalg.inv(information), np.zeros(u.size), np.zeros(u.size))


def nearest(
    target: Density, mean: np.ndarray, covariance: np.ndarray, family: str, rng: np.random.Generator
) -> Gaussian | None:
    """The Gaussian of a family nearest to the posterior, to first order in the distance from one.

    Args:
        target: the density in whose space it is.
        mean: of the fitted law, shape (k,).
        covariance: of the fitted law, shape (k, k); diagonal for a mean field.
        family: `mean_field` or `full_rank`.
        rng: draws the points.

    Returns:
        It, with Monte Carlo errors; None where the posterior curves up about the fitted law, which
        then is nowhere near.
    """
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        return None
    found = None
    for count in _POINTS:
        half = rng.standard_normal((count // 2, mean.size))
        found = _averaged(target, mean, covariance, family, half)
        if found and np.max([found.mean_error, found.sd_error] / found.sd) < _FINE:
            break
    return found


def _averaged(
    target: Density, mean: np.ndarray, covariance: np.ndarray, family: str, half: np.ndarray
) -> Gaussian | None:
    # each point beside its mirror image, so that odd terms drop out
    noise = np.stack([half, -half], axis=1).reshape(-1, mean.size)
    points = mean + noise @ np.linalg.cholesky(covariance).T
    slopes, curvatures = map(np.asarray, _slopes(target)(jnp.asarray(points)))
    batches = [part.reshape(_BATCHES, -1, *part.shape[1:]) for part in (slopes, -curvatures)]
    whole = _step(mean, slopes.mean(axis=0), -curvatures.mean(axis=0), family)
    left_out = []
    for i in range(_BATCHES):
        slope, precision = (np.delete(part, i, axis=0).mean(axis=(0, 1)) for part in batches)
        left_out.append(_step(mean, slope, precision, family))
    steps = [one for one in left_out if one is not None]
    if whole is None or len(steps) < _BATCHES:
        return None
    means = np.stack([one[0] for one in steps])
    sds = np.sqrt([np.diag(one[1]) for one in steps])
    scale = np.sqrt(_BATCHES - 1)  # of the jackknife
    mean, covariance = whole
    return Gaussian(mean, covariance, scale * means.std(axis=0), scale * sds.std(axis=0))


def from_the_mode(target: Density, starts: Sequence[np.ndarray], family: str) -> Gaussian | None:
    """The Gaussian of a family nearest to the posterior, by steps from Laplace's approximation.

    With the Monte Carlo errors of the last step; None where a step leads nowhere.
    """
    found = laplace(target, starts)
    for step in range(_STEPS):
        if found is None:
            break
        covariance = found.covariance
        if family == "mean_field" and step == 0:
            covariance = np.diag(1 / np.diag(np.linalg.inv(covariance)))
        rng = np.random.default_rng(0)  # the same points, so that the steps end
        before, found = found, nearest(target, found.mean, covariance, family, rng)
        if found is not None:
            moved = abs(found.mean - before.mean) / found.sd, abs(np.log(found.sd / before.sd))
            if np.max(moved) < _STILL:
                break
    return found


def _step(
    mean: np.ndarray, slope: np.ndarray, precision: np.ndarray, family: str
) -> tuple[np.ndarray, np.ndarray] | None:
    if not np.isfinite(precision).all() or np.linalg.eigvalsh(precision)[0] <= 0:
        return None
    kept = np.diag(np.diag(precision)) if family == "mean_field" else precision
    return mean + np.linalg.solve(precision, slope), np.linalg.inv(kept)


@lru_cache(maxsize=64)
def _slopes(target: Density) -> Callable[[jax.Array], tuple[jax.Array, jax.Array]]:
    """Gradient and Hessian of the log posterior at many points, compiled."""
    at = partial(value, target, "posterior")

    def both(u: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.grad(at)(u), hessian(at)(u)

    return jax.jit(lambda points: jax.lax.map(both, points, batch_size=16))
