"""Fisher information at a point: one lattice, four corners, and Louis' identity.

With scores s_i = ∇ log p(x_i | θ), in the chart u of `models.programs.density`:

    observed   J = −∇²ℓ                     the default: tracks the data at hand
    expected   N·I = N·E[s sᵀ]              the Cramér–Rao bound; exact, or by simulated scores
    opg        B = Σ s_i s_iᵀ               equals J in expectation when the model is right
    sandwich   covariance J⁻¹ B J⁻¹         stays right when the model is wrong

Louis: J = complete − missing, complete = −∂²Q(u' | u)/∂u'², missing = ∂²Q(u' | u)/∂u'∂u at u' = u;
the largest eigenvalue of complete⁻¹ missing is the linear rate of EM.  At a stationary point all
of these are tensors, so the delta method carries covariances to the reported quantities.
References: Efron & Hinkley (1978), Biometrika 65; White (1982), Econometrica 50; Louis (1982),
JRSS B 44; Dempster, Laird & Rubin (1977), JRSS B 39.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from models.capabilities import HasEM, HasExpectedInformation, HasUnits
from models.errors import FitError
from models.programs.compilation import once
from models.programs.density import density, flat_names, flatten, quantities, units

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax import Array

    from models.programs.density import Density
    from models.spec import Model

type Objective = Literal["likelihood", "joint", "posterior"]
type Corner = Literal["observed", "expected", "opg", "sandwich"]

_SINGULAR = 1e-10
"""Smallest eigenvalue of the information in correlation form that counts as positive."""
_FLAT = 1e-3
"""Information about log θ below which a positive parameter has run to its boundary 0."""


class Derivatives(NamedTuple):
    """Compiled derivatives of one objective of a density, all functions of u."""

    value_and_gradient: Callable[[Array], tuple[Array, Array]]
    hessian: Callable[[Array], Array]


@lru_cache(maxsize=64)
def derivatives(of: Density, objective: Objective) -> Derivatives:
    """Value, gradient and Hessian of ℓ, of ℓ + log π, or of ℓ + log π + log-Jacobian."""
    weights = _WEIGHTS[objective]
    return Derivatives(*(partial(compiled, weights) for compiled in _weighted(of)))


_WEIGHTS = {
    "likelihood": np.array([0.0, 0.0]),
    "joint": np.array([1.0, 0.0]),
    "posterior": np.array([1.0, 1.0]),
}


@lru_cache(maxsize=64)
def _weighted(of: Density) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The derivatives of ℓ, and of log π and log-Jacobian where w ≠ 0: one program for all."""

    def value(weights: Array, u: Array) -> Array:
        total = jnp.sum(of.log_likelihood(u))
        for weight, term in zip(weights, (of.log_prior, of.log_jacobian), strict=True):
            # not 0 times the term, which is NaN outside the support of a prior
            total += jax.lax.cond(weight != 0, term, lambda _: jnp.zeros(()), u)
        return total

    return jax.jit(jax.value_and_grad(value, argnums=1)), jax.jit(jax.hessian(value, argnums=1))


@lru_cache(maxsize=64)
def scores(of: Density) -> Callable[[Array], Array]:
    """u ↦ the score of every unit, shape (N, k); not for use within another `jax.jit`."""
    return once(jax.jacfwd(of.log_likelihood))


@lru_cache(maxsize=64)
def quantity_jacobian(model: Model, of: Density) -> Callable[[Array], Array]:
    """u ↦ ∂(reported quantities)/∂u, shape (m, k)."""
    return jax.jit(jax.jacfwd(lambda u: flatten(quantities(model, of.constrain(u)))))


def observed(of: Density, u: Array) -> np.ndarray:
    """J(u) = −∇²ℓ(u), shape (k, k)."""
    return -np.asarray(derivatives(of, "likelihood").hessian(u))


def outer_product(of: Density, u: Array) -> np.ndarray:
    """Σ s_i s_iᵀ, shape (k, k)."""
    score = np.asarray(scores(of)(u))
    return score.T @ score


class Expected(NamedTuple):
    """The expected information in the chart, and what it rests on where it is not exact."""

    matrix: np.ndarray
    """N·I, shape (k, k)."""
    scores: np.ndarray
    """Of simulated units, whose mean outer product is I, shape (units, k); none if it is exact."""


def expected(
    model: Model, data: xr.Dataset, of: Density, u: Array, rng: np.random.Generator
) -> Expected:
    """N·I(u).

    A closed form where the model has one, quadrature for independent univariate rows, else
    simulation from the model at u.
    """
    none = np.empty((0, of.size))
    if isinstance(model, HasExpectedInformation):
        return Expected(np.asarray(declared(model, data, of, u)), none)
    n = units(model, data)
    if len(data.data_vars) > 1:
        raise FitError(
            f"{model.name}: the expected information given {', '.join(map(str, data.data_vars))} "
            "is not declared, and simulated data would have another design; "
            "see HasExpectedInformation"
        )
    integral = _by_quadrature(model, data, of, u, rng)
    if integral is not None:
        return Expected(n * integral, none)
    per_unit = _simulated_scores(model, of, u, rng)
    return Expected(n * per_unit.T @ per_unit / len(per_unit), per_unit)


def bound_error(jacobian: np.ndarray, covariance: np.ndarray, simulated: np.ndarray) -> np.ndarray:
    """Relative Monte Carlo error of every variance that the inverse expected information gives.

    d(G I⁻¹ Gᵀ)_qq = −a_qᵀ dI a_q with a_q = I⁻¹ G_qᵀ, and a_qᵀ I a_q is the mean of (a_q·s)² over
    the simulated units: its standard error, that of all entries of dI and their correlations.

    Args:
        jacobian: G, shape (m, k).
        covariance: a multiple of I⁻¹, shape (k, k).
        simulated: `Expected.scores`.

    Returns:
        Shape (m,); 0 for a constant, and where the information is exact.
    """
    error = np.zeros(len(jacobian))
    if len(simulated):
        square = (simulated @ (covariance @ jacobian.T)) ** 2
        scale = square.mean(axis=0)
        np.divide(square.std(axis=0), scale * np.sqrt(len(square)), out=error, where=scale != 0)
    return error


def declared(model: HasExpectedInformation, data: xr.Dataset, of: Density, u: Array) -> Array:
    """N·I(u) by the model's closed form, carried to the chart, shape (k, k); traceable."""
    own = model.expected_information(of.constrain(u), data)
    chart = jax.jacfwd(lambda v: model.information_coordinates(of.constrain(v), data))(u)
    return chart.T @ own @ chart


def _simulated_scores(
    model: Model, of: Density, u: Array, rng: np.random.Generator, size: int = 20_000
) -> np.ndarray:
    values = of.constrain(u)
    replica = density(model, model.simulate(rng, values, size))
    return np.asarray(scores(replica)(replica.unconstrain(values)))


def _by_quadrature(
    model: Model, data: xr.Dataset, of: Density, u: Array, rng: np.random.Generator
) -> np.ndarray | None:
    """∫ s sᵀ p dx by the trapezoidal rule; None unless rows are univariate and p integrates to 1.

    The trapezoidal rule converges exponentially for smooth densities that vanish at both ends
    (Trefethen & Weideman 2014, SIAM Review 56).
    """
    variables = list(data.data_vars.values())
    if len(variables) != 1 or variables[0].ndim != 1 or isinstance(model, HasUnits):
        return None
    values = of.constrain(u)
    name, dim = variables[0].name, variables[0].dims[0]
    sample = np.asarray(model.simulate(rng, values, 2_000)[name].data)
    if sample.dtype.kind != "f":
        return None
    width = np.ptp(sample)
    nodes = np.linspace(sample.min() - width, sample.max() + width, 40_001)
    grid = density(model, xr.Dataset({name: (dim, nodes)}))
    v = grid.unconstrain(values)

    def both(at: Array) -> tuple[Array, Array]:
        log_density = grid.log_likelihood(at)
        return log_density, log_density

    score, log_density = map(np.asarray, once(jax.jacfwd(both, has_aux=True))(v))
    weight = np.exp(log_density) * (nodes[1] - nodes[0])
    if not abs(weight.sum() - 1) < 1e-8:
        return None
    return (score * weight[:, None]).T @ score


class Louis(NamedTuple):
    """Complete and missing information in the chart, and the EM rate they predict."""

    complete: np.ndarray
    missing: np.ndarray
    rate: float


def louis(model: Model, data: xr.Dataset, of: Density, u: Array) -> Louis:
    """Louis' decomposition at a fixed point of EM.

    Raises:
        FitError: the model has no EM.
    """
    if not isinstance(model, HasEM):
        raise FitError(f"model {model.name} has no E and M steps")

    def q(new: Array, old: Array) -> Array:
        statistics = model.e_step(of.constrain(old), data)
        return model.complete_log_likelihood(of.constrain(new), statistics, data)

    curvatures = once(jax.jacfwd(jax.grad(q, argnums=0), argnums=(0, 1)))
    of_new, missing = map(np.asarray, curvatures(u, u))
    complete = -of_new
    rate = float(np.max(np.linalg.eigvals(np.linalg.solve(complete, missing)).real))
    return Louis(complete, missing, rate)


class Inverse(NamedTuple):
    """A covariance in the chart, NaN where undefined, and why."""

    covariance: np.ndarray
    boundary: np.ndarray
    """Boolean, shape (k,): coordinates that ran to a boundary and are held fixed."""
    problem: str


def invert(model: Model, of: Density, u: Array, information: np.ndarray) -> Inverse:
    """The inverse information, never a pseudo-inverse.

    A singular or indefinite matrix is refused with its null direction named; coordinates on a
    boundary are held fixed and have no variance.
    """
    k = information.shape[0]
    boundary = on_boundary(model, of, information)
    free = np.flatnonzero(~boundary)
    covariance = np.full((k, k), np.nan)
    block = information[np.ix_(free, free)]
    if not np.isfinite(block).all():
        return Inverse(
            covariance, boundary, "the information matrix has entries that are not finite"
        )
    diagonal = np.diag(block)
    if (diagonal <= 0).any():
        direction = np.eye(k)[free[int(np.argmin(diagonal))]]
        return Inverse(covariance, boundary, _refusal(of, u, direction))
    scale = 1 / np.sqrt(diagonal)
    eigenvalue, vector = np.linalg.eigh(block * np.outer(scale, scale))
    if eigenvalue.size and eigenvalue[0] < _SINGULAR:
        direction = np.zeros(k)
        direction[free] = scale * vector[:, 0]
        return Inverse(covariance, boundary, _refusal(of, u, direction))
    inverse = (vector / eigenvalue) @ vector.T * np.outer(scale, scale)
    covariance[np.ix_(free, free)] = inverse
    return Inverse(covariance, boundary, "")


def on_boundary(model: Model, of: Density, information: np.ndarray) -> np.ndarray:
    """Coordinates log θ_j about which the data say nothing because θ_j ran to 0.

    Args:
        model: the model.
        of: its density.
        information: one matrix or many, shape (…, k, k).

    Returns:
        Boolean, shape (…, k).
    """
    positive = {p.name for p in model.parameters if p.support == "positive"}
    is_log = np.array([name in positive for name in of.coordinates])
    return is_log & (np.abs(np.diagonal(information, axis1=-2, axis2=-1)) < _FLAT)


def _refusal(of: Density, u: Array, direction: np.ndarray) -> str:
    """The sentence that names a null direction in natural parameters."""
    values = of.constrain(u)
    push = jax.jvp(lambda v: flatten(of.constrain(v)), (u,), (jnp.asarray(direction),))[1]
    push = np.asarray(push)
    names = flat_names(values)
    if not np.isfinite(push).all() or not np.abs(push).max() > 0:
        return "the information matrix is singular"
    push = push / push[np.abs(push).argmax()]
    terms = []
    for i in np.argsort(-np.abs(push), kind="stable")[:6]:
        if abs(push[i]) < 0.05:
            break
        sign = ("−" if push[i] < 0 else "") if not terms else (" − " if push[i] < 0 else " + ")
        size = "" if abs(abs(push[i]) - 1) < 0.005 else f"{abs(push[i]):.2f}·"
        terms.append(f"{sign}{size}{names[i]}")
    return (
        "the information matrix is singular or indefinite: the data do not determine "
        f"{''.join(terms)}; no standard error is defined"
    )


def quantity_covariance(model: Model, of: Density, u: Array, inverse: Inverse) -> np.ndarray:
    """Delta method: covariance of the flat reported quantities, shape (m, m).

    Quantities that only boundary coordinates move are NaN; the others hold those fixed.
    """
    jacobian = np.asarray(quantity_jacobian(model, of)(u))
    if inverse.problem:
        return np.full((jacobian.shape[0],) * 2, np.nan)
    free = ~inverse.boundary
    covariance = jacobian[:, free] @ inverse.covariance[np.ix_(free, free)] @ jacobian[:, free].T
    undefined = np.all(jacobian[:, free] == 0, axis=1) & np.any(jacobian != 0, axis=1)
    covariance[undefined] = np.nan
    covariance[:, undefined] = np.nan
    return covariance
