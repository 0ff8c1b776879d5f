"""The Gaussian q(u) = N(m, LLᵀ) closest to a density f = log p: the maximum of the ELBO.

With k the number of coordinates,

    ELBO(m, L) = E_z[f(m + Lz)] + log |L| + (k/2) log 2πe,    z ~ N(0, I),

over diagonal L (mean field) or lower-triangular L (full rank).  The expectation is an average over
one fixed set of quasi-random z whose mean and covariance are exactly 0 and I, so the objective is a
smooth deterministic function: BFGS converges to its optimum, with no learning rate, no decay and no
noise to average out, and a Gaussian density is recovered exactly.  Stochastic optimisers were
tried first: their error after 10⁴ steps is a sizeable part of a posterior sd.  The search runs in
the metric of a mode of f, from which it starts.
References: Kucukelbir, Tran, Ranganath, Gelman & Blei (2017), JMLR 18; Giordano, Ingram & Broderick
(2024), JMLR 25.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import OptimizeResult
from scipy.special import ndtri
from scipy.stats import qmc

from inference.optimisation.newton import bfgs, negative

type Evaluate = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Points, shape (s, k) ↦ log density there, shape (s,), and its gradient, shape (s, k)."""

_FLAT = 1e-3  # smallest curvature of the ELBO that a Newton step believes, in precisions of q


class Fit(NamedTuple):
    """An optimum of the ELBO."""

    elbo: float
    loc: np.ndarray
    factor: np.ndarray  # L, lower triangular, shape (k, k)
    gradient: float  # largest derivative, nats for one step of a standard deviation of q
    path: np.ndarray  # the ELBO after each step


def standard_points(rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    """Sobol points as standard normals, antithetic, with covariance exactly I, shape (count, k)."""
    half = count // 2
    # every coordinate has one point in each of `half` cells; in its middle, none is an outlier
    normal = ndtri((np.floor(qmc.Sobol(size, rng=rng).random(half) * half) + 0.5) / half)
    z = np.concatenate([normal, -normal])
    return np.linalg.solve(np.linalg.cholesky(z.T @ z / count), z.T).T


def _metric(evaluate: Evaluate, mode: np.ndarray, family: str, like: int) -> np.ndarray:
    """Cholesky factor of a covariance to search in: the mode's, made positive if it is not."""
    k, step = mode.size, 1e-4
    probes = np.tile(mode, (like, 1))
    probes[:k] += step * np.eye(k)
    probes[k : 2 * k] -= step * np.eye(k)
    gradient = evaluate(probes)[1]  # a metric needs no more than differences of it
    with np.errstate(invalid="ignore"):  # of infinite ones
        information = -(gradient[:k] - gradient[k : 2 * k]) / (2 * step)
    if not np.isfinite(information).all():
        return np.eye(k)
    information = 0.5 * (information + information.T)
    if family == "mean_field":
        information = np.diag(np.diag(information))
    eigenvalue, vector = np.linalg.eigh(information)
    floor = max(1e-6 * eigenvalue.max(), 1e-2)
    return np.linalg.cholesky((vector / np.maximum(eigenvalue, floor)) @ vector.T)


def maximise(evaluate: Evaluate, z: np.ndarray, mode: np.ndarray, family: str) -> Fit:
    """The best Gaussian from a mode, over m = mode + L₀a and L = L₀A with diagonal exp(ω).

    Args:
        evaluate: points, shape (s, k) ↦ log density and its gradient there.
        z: standard points, shape (s, k).
        mode: where to begin, shape (k,).
        family: `mean_field` or `full_rank`.

    Returns:
        The optimum; its ELBO is −∞ where the search leaves the finite numbers.
    """
    count, k = z.shape
    base = _metric(evaluate, mode, family, count)
    rows, columns = np.tril_indices(k, -1) if family == "full_rank" else np.empty((2, 0), int)
    constant = 0.5 * k * np.log(2 * np.pi * np.e) + np.log(np.diag(base)).sum()

    def unpack(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        factor = np.diag(np.exp(x[k : 2 * k]))
        factor[rows, columns] = x[2 * k :]
        return x[:k], factor

    def elbo(x: np.ndarray) -> tuple[float, np.ndarray]:
        with np.errstate(over="ignore", invalid="ignore"):
            shift, factor = unpack(x)
            value, gradient = evaluate(mode + (shift + z @ factor.T) @ base.T)
            gradient = gradient @ base
            outer = gradient.T @ z / count
            scales = np.diag(outer) * np.diag(factor) + 1.0
            slope = np.concatenate([gradient.mean(axis=0), scales, outer[rows, columns]])
            return value.mean() + x[k : 2 * k].sum() + constant, slope

    def follow(intermediate_result: OptimizeResult) -> None:
        path.append(-float(intermediate_result.fun))

    minus, start = negative(elbo), np.zeros(2 * k + rows.size)
    path = [-minus(start)[0]]
    end = bfgs(minus, start, 1e-5, follow)
    if end is None:
        return Fit(-np.inf, mode, base, np.inf, np.array(path))
    shift, factor = unpack(end.x)
    slope = np.abs(end.jac).max() if np.isfinite(end.jac).all() else np.inf
    loc = mode + base @ shift
    return Fit(-float(end.fun), loc, base @ factor, float(slope), np.array(path))


def neighbours(
    evaluate: Evaluate, fit: Fit, further: Sequence[np.ndarray], family: str
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
    outers = [slope.T @ z / len(z) for slope, z in zip(slopes, further, strict=True)]
    curvature = -np.mean(outers, axis=0)
    eigenvalue, vector = np.linalg.eigh(0.5 * (curvature + curvature.T))
    inverse = (vector / np.maximum(eigenvalue, _FLAT)) @ vector.T
    everywhere, every_slope = np.concatenate(further), np.concatenate(slopes)
    locs, factors = [fit.loc], [fit.factor]
    for slope, outer in zip(slopes, outers, strict=True):
        step = np.diag(np.exp(0.5 * (np.diag(outer) + 1.0)))
        if family == "full_rank":
            step += np.tril(outer, -1)
        off = step - np.eye(len(step))
        weight = np.einsum("si,ij,sj->s", everywhere, off, everywhere) - np.trace(off)
        by_loc = slope.mean(axis=0) + weight @ every_slope / len(weight)
        locs.append(fit.loc + fit.factor @ inverse @ by_loc)
        factors.append(fit.factor @ step)
    return np.array(locs), np.array(factors)
