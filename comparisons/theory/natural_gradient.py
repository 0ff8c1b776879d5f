"""The natural gradient is Fisher scoring: between plain gradient steps and Newton's method.

Full natural gradient steps u ← u − I⁻¹∇f on minus a mean log-likelihood f are Fisher scoring, which
converges linearly at the spectral radius of 1 − I⁻¹∇²f, as plain gradient steps do at
(κ − 1)/(κ + 1) at best, κ the condition number of ∇²f; a step of Newton's method squares a small
distance from the minimum.
References: Amari (1998), Neural Comput. 10; Martens (2020), JMLR 21; Nocedal & Wright (2006), §3.3.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from comparisons.exhibits import Curves, Exhibits
from comparisons.policy import LIMIT_SLOPE
from comparisons.theory._claims import COUNT, at_least, equal, slope
from models.errors import FitError

RATE = 0.05  # relative difference of the steps to a digit
UNITS = 300
CLOSE = 1e-9  # standard errors from the minimum at which an optimiser has arrived


class Descent(NamedTuple):
    """A way down from a point: its move, and its linear rate near the minimum."""

    move: Callable[[np.ndarray], np.ndarray]
    rate: float


def show(rng: np.random.Generator, effort: int) -> Exhibits:
    """A Cauchy law far from unit scale, in (μ, log s); its information is diag(1/2s², 1/2)."""
    y = 3.0 + 10.0 * rng.standard_cauchy(UNITS)

    def objective(v: Array) -> Array:
        return jnp.mean(jnp.log1p(((y - v[0]) / jnp.exp(v[1])) ** 2)) + v[1]

    gradient, hessian = jax.jit(jax.grad(objective)), jax.jit(jax.hessian(objective))
    low, middle, high = np.quantile(y, [0.25, 0.5, 0.75])
    best = start = np.array([middle, np.log((high - low) / 2) + 0.3])
    for _ in range(50):
        best = best - np.linalg.solve(hessian(best), gradient(best))
    curvature = np.asarray(hessian(best))
    least, most = np.linalg.eigvalsh(curvature)
    if np.abs(gradient(best)).max() > 1e-12 or least <= 0:
        raise FitError("Newton's method found no minimum")
    scoring = np.linalg.eigvals(np.eye(2) - np.linalg.solve(fisher(best), curvature))
    longest = 2 / (least + most)
    methods = {
        "plain gradient, best step": Descent(
            lambda v: longest * np.asarray(gradient(v)), float((most - least) / (most + least))
        ),
        "Fisher scoring, natural gradient": Descent(
            lambda v: np.linalg.solve(fisher(v), gradient(v)), float(np.abs(scoring).max())
        ),
        "Newton": Descent(lambda v: np.linalg.solve(hessian(v), gradient(v)), 0.0),
    }
    yield from _raced(methods, start, best, curvature)


def fisher(v: np.ndarray) -> np.ndarray:
    """The information of a Cauchy law about (μ, log s)."""
    return np.diag([0.5 * np.exp(-2 * v[1]), 0.5])


def _raced(
    methods: dict[str, Descent], start: np.ndarray, best: np.ndarray, curvature: np.ndarray
) -> Exhibits:
    """Claims on ways from a start to the minimum."""
    away = {name: _distances(one.move, start, best, curvature) for name, one in methods.items()}
    plain, scoring, newton = methods
    statement = (
        "Linear rates are those of the metric: spectral radius of 1 − I⁻¹∇²f, and (κ − 1)/(κ + 1)."
    )
    for name in (plain, scoring):
        # once the steps are linear, and over an even number of them: eigenvalues may alternate
        near = [value for value in away[name] if CLOSE < value < 1e-3]
        pairs = len(near) - 1 - (len(near) - 1) % 2
        rate = (near[-1] / near[-1 - pairs]) ** (1 / pairs) if pairs > 1 else float("nan")
        found, expected = (-1 / np.log10(value) for value in (rate, methods[name].rate))
        yield equal(statement, f"steps to a digit by {name}", found, expected, RATE * expected)
    statement = "Knowing the metric saves steps, and knowing the curvature more."
    for faster, slower in ((newton, scoring), (scoring, plain)):
        about = f"steps to {CLOSE:g} standard errors: {slower} − {faster}"
        yield at_least(statement, about, len(away[slower]) - len(away[faster]), 1.0, COUNT)
    # the power of the distance from the minimum that one step of Newton's method leaves
    steps, left = 2.0 ** -np.arange(5, 10), []
    direction = np.linalg.solve(np.linalg.cholesky(curvature).T, np.ones(2) / np.sqrt(2))
    for step in steps:
        v = best + step * direction
        gap = v - methods[newton].move(v) - best
        left.append(np.sqrt(gap @ curvature @ gap))
    about = "slope of log distance after a step against log distance before it"
    power = slope(np.log(steps), np.log(left)).value
    yield equal("Newton's method converges quadratically.", about, power, 2.0, LIMIT_SLOPE)
    lines = {name: (np.arange(len(one)) + 1.0, one) for name, one in away.items()}
    y = "distance from the minimum, standard errors"
    yield Curves("Three ways to a maximum of the likelihood", "points tried", y, lines, {}, "xy")


def _distances(
    move: Callable[[np.ndarray], np.ndarray],
    start: np.ndarray,
    best: np.ndarray,
    curvature: np.ndarray,
) -> list[float]:
    """Standard errors from the minimum at the start and after every move."""
    v, away = start, []
    while len(away) < 20_000:
        distance = v - best
        away.append(float(np.sqrt(UNITS * distance @ curvature @ distance)))
        if away[-1] < CLOSE:
            break
        v = v - move(v)
    return away
