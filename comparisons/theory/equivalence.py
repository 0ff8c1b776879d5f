"""Maximum likelihood, least cross-entropy and least Kullback–Leibler divergence are one estimator.

For data with empirical measure p̂_N = N⁻¹ Σ_i δ(x_i), at every N and every θ,

    −ℓ(θ)/N  =  H(p̂_N, p_θ) = −∫ log p_θ dp̂_N,    and for discrete data    = KL(p̂_N ‖ p_θ) + H(p̂_N),

so that the three differ by constants in θ and have the same optimum.  For continuous data
KL(p̂_N ‖ p_θ) is infinite.  What takes its place in an exponential family with constant carrier is
the divergence from the member p_θ̂ whose sufficient statistics have the means of the data, as
log p_θ̂/p_θ is linear in those: KL(p_θ̂ ‖ p_θ) = H(p̂_N, p_θ) − H(p_θ̂).

With a normal prior the mode of the posterior is the ridge estimate, least squares with an L2
penalty of σ²/τ².  (The estimator's law over repeated samples is that of the study `asymptotics`.)
References: Akaike (1973); Csiszár (1975), Ann. Probab. 3; Hoerl & Kennard (1970), Technometrics 12.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array

from comparisons.exhibits import Curves, Exhibits
from comparisons.theory._claims import COUNT, equal, missing
from comparisons.theory._minima import minimum
from comparisons.theory.densities import mesh
from inference.methods.maximum_a_posteriori import MaximumAPosteriori
from models.catalogue.gaussian import Gaussian
from models.catalogue.poisson import Poisson
from models.catalogue.ridge_regression import RidgeRegression
from models.programs.density import density

UNITS = 200  # units of the data sets whose objectives are compared
SAME = 1e-3  # distance of two optima, in standard errors, that no number in a report shows
ROUNDING = 1e-12  # what sums of some hundred terms of order 1 may be off in float64
RIDGE = 1e-10  # the contract's tolerance for the identity of the mode and the ridge estimate


class Objectives(NamedTuple):
    """Three functions to minimise over u in ℝᵏ, and what theory says of them."""

    name: str
    functions: dict[str, Callable[[Array], Array]]
    """By name: minus mean log-likelihood, cross-entropy, divergence."""
    entropy: float  # H by which cross-entropy exceeds divergence, nats
    maximum: np.ndarray  # the optimum in closed form, shape (k,)


def show(rng: np.random.Generator, effort: int) -> Exhibits:
    """Two models' objectives, and the ridge identity."""
    yield from equivalent(gaussian(rng))
    yield from equivalent(poisson(rng))
    yield from ridge_identity(rng)


def gaussian(rng: np.random.Generator) -> Objectives:
    """u = (μ, log σ): the program's density, moments of the data, and a divergence of normals."""
    model = Gaussian()
    data = model.simulate(rng, model.truth, UNITS)
    program, y = density(model, data), np.asarray(data["y"].data)
    location, sd = y.mean(), y.std()

    def cross_entropy(u: Array) -> Array:
        square = jnp.mean(((y - u[0]) / jnp.exp(u[1])) ** 2)
        return 0.5 * jnp.log(2 * jnp.pi) + u[1] + 0.5 * square

    functions = {
        "likelihood": lambda u: -jnp.sum(program.log_likelihood(u)) / UNITS,
        "cross-entropy": cross_entropy,
        "divergence": lambda u: normal_divergence(location, sd, u[0], jnp.exp(u[1])),
    }
    entropy = 0.5 * float(np.log(2 * np.pi * np.e * sd**2))
    return Objectives("gaussian", functions, entropy, np.array([location, np.log(sd)]))


def normal_divergence(loc: float, scale: float, mu: Array, sigma: Array) -> Array:
    """KL(N(loc, scale²) ‖ N(mu, sigma²)), nats.

    Args:
        loc: mean of the first.
        scale: standard deviation of the first.
        mu: mean of the second.
        sigma: standard deviation of the second.
    """
    return jnp.log(sigma / scale) + 0.5 * (scale**2 + (loc - mu) ** 2) / sigma**2 - 0.5


def poisson(rng: np.random.Generator) -> Objectives:
    """u = log λ: the program's density at the data one by one, then through their frequencies."""
    model = Poisson()
    data = model.simulate(rng, model.truth, UNITS)
    x = np.asarray(data["x"].data)
    values, counts = np.unique(x, return_counts=True)
    frequency = counts / UNITS
    program, distinct = density(model, data), density(model, xr.Dataset({"x": ("obs", values)}))

    def divergence(u: Array) -> Array:
        mass = jnp.exp(distinct.log_likelihood(u))
        return jnp.sum(frequency * jnp.log(frequency / mass))

    functions = {
        "likelihood": lambda u: -jnp.sum(program.log_likelihood(u)) / UNITS,
        "cross-entropy": lambda u: -jnp.dot(frequency, distinct.log_likelihood(u)),
        "divergence": divergence,
    }
    entropy = float(-(frequency * np.log(frequency)).sum())
    return Objectives("poisson", functions, entropy, np.log([x.mean()]))


def equivalent(these: Objectives) -> Exhibits:
    """One optimum on a grid and by optimiser, and constant differences."""
    k = these.maximum.size
    # the optimum is not a node, so that no two nodes are equally near
    axis = np.linspace(-0.5, 0.503, 2_001 if k == 1 else 101)
    nodes = jnp.asarray(these.maximum + mesh(*[axis] * k))
    values = {name: np.asarray(jax.vmap(one)(nodes)) for name, one in these.functions.items()}
    best = {name: int(objective.argmin()) for name, objective in values.items()}
    statement = "At finite N the least cross-entropy and divergence are at the highest likelihood."
    for name in ("cross-entropy", "divergence"):
        about = f"{these.name}, grid of {len(nodes):,}: nodes between the least {name} and the MLE"
        yield equal(statement, about, abs(best[name] - best["likelihood"]), 0.0, COUNT)
    statement = "An optimiser of any of the three ends at the maximum of the likelihood."
    curvature = np.asarray(jax.hessian(these.functions["likelihood"])(these.maximum))
    for name, function in these.functions.items():
        about = f"{these.name}: least {name} by optimiser from the closed form, standard errors"
        away = minimum(function, these.maximum + 0.5, 1e-8) - these.maximum
        yield equal(statement, about, np.sqrt(UNITS * away @ curvature @ away), 0.0, SAME)
    likelihood, cross, divergence = values.values()
    rounding = ROUNDING * np.abs(cross).max()
    for name, gap, expected in (
        ("likelihood", likelihood - cross, 0.0),
        ("divergence", cross - divergence, these.entropy),
    ):
        statement = "The three objectives differ by constants in θ."
        about = f"{these.name}: range over θ of cross-entropy less {name}, nats"
        yield equal(statement, about, np.ptp(gap), 0.0, rounding)
        statement = "Cross-entropy is minus the mean log-likelihood, and divergence plus entropy."
        about = f"{these.name}: cross-entropy less {name}, nats"
        yield equal(statement, about, gap.mean(), expected, rounding)
    x = "log λ less its estimate" if k == 1 else "log σ less its estimate"
    # a line through the middle of the grid, along its last axis
    lines = {name: (axis, one.reshape(-1, axis.size)[50 * (k - 1)]) for name, one in values.items()}
    yield Curves(f"{these.name}: three objectives, one optimum", x, "nats per unit", lines, {})


def ridge_identity(rng: np.random.Generator) -> Exhibits:
    """The suite's mode of a posterior against least squares with a penalty."""
    model = RidgeRegression()
    data = model.simulate(rng, model.truth, UNITS)
    fit = MaximumAPosteriori(restarts=2).fit(model, data, rng)
    penalty = (model.sigma / model.slope_scale) ** 2
    theirs = ridge(np.asarray(data["x"].data), np.asarray(data["y"].data), penalty)
    difference = np.abs(np.asarray(fit.location.value["beta"].data) - theirs).max()
    statement = "Under a normal prior the posterior mode is the ridge estimate, penalty σ²/τ²."
    about = "largest |maximum_a_posteriori − ridge estimate|"
    if fit.problems:
        yield missing(statement, about, fit.problems)
    else:
        yield equal(statement, about, difference, 0.0, RIDGE)


def ridge(X: np.ndarray, y: np.ndarray, penalty: float) -> np.ndarray:
    """argmin ‖y − Xβ‖² + penalty ‖β‖², by least squares on k further rows, shape (k,)."""
    k = X.shape[1]
    rows = np.vstack([X, np.sqrt(penalty) * np.eye(k)])
    return np.linalg.lstsq(rows, np.append(y, np.zeros(k)), rcond=None)[0]
