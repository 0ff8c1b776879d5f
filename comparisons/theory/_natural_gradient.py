"""Gradient paths in several charts, and optimisers that know the metric, the curvature, or neither.

The theorems are those of `information`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from comparisons.exhibits import Curves, Exhibits
from comparisons.policy import LIMIT_SLOPE
from comparisons.theory._claims import at_least, equal, order, slope
from models.errors import FitError

EXACT = 1e-9  # what sums of some thousand terms may be off in float64, relative to their size
RATE = 0.02  # difference of linear rates that changes the steps to a digit by a few per cent
UNITS = 300
SCORING = (
    "Linear rates are those of the metric: spectral radius of 1 − I⁻¹∇²f, and (κ − 1)/(κ + 1)."
)

TARGET = (1.0, 2.0)
BEGIN = (-1.0, 1.0)  # (μ, σ) of the data, and where the paths begin
COUNTS = (32, 64, 128, 256, 512)  # steps in which a path runs through the time 1

CHARTS: dict[str, tuple[Callable[[Array], Array], np.ndarray]] = {
    "(μ, log σ)": (
        lambda v: jnp.stack([v[0], jnp.exp(v[1])]),
        np.array([BEGIN[0], np.log(BEGIN[1])]),
    ),
    "(μ/σ², −1/2σ²)": (
        lambda v: jnp.stack([-v[0] / (2 * v[1]), jnp.sqrt(-1 / (2 * v[1]))]),
        np.array([BEGIN[0], -0.5]) / BEGIN[1] ** 2,
    ),
    "(E x, E x²)": (
        lambda v: jnp.stack([v[0], jnp.sqrt(v[1] - v[0] ** 2)]),
        np.array([BEGIN[0], BEGIN[0] ** 2 + BEGIN[1] ** 2]),
    ),
}
"""By name: coordinates ↦ (μ, σ), and those of the beginning."""


def metric(law: Array) -> Array:
    """I of N(μ, σ²) in (μ, σ)."""
    return jnp.diag(jnp.array([1.0, 2.0])) / law[1] ** 2


def _paths(chart: str, *, natural: bool) -> Callable[[int], np.ndarray]:
    """Number n ↦ (μ, σ) after n gradient steps of size 1/n on KL(target ‖ ·)."""
    to_law, start = CHARTS[chart]

    def divergence(v: Array) -> Array:
        mu, sigma = to_law(v)
        square = TARGET[1] ** 2 + (TARGET[0] - mu) ** 2
        return jnp.log(sigma) + 0.5 * square / sigma**2

    def step(v: Array, count: Array) -> Array:
        gradient, jacobian = jax.grad(divergence)(v), jax.jacfwd(to_law)(v)
        if natural:
            gradient = jnp.linalg.solve(jacobian.T @ metric(to_law(v)) @ jacobian, gradient)
        return v - gradient / count

    @jax.jit
    def run(count: Array) -> Array:
        loop = jax.lax.fori_loop(0, count, lambda _, v: step(v, count), jnp.asarray(start))
        return to_law(loop)

    return lambda count: np.asarray(run(jnp.asarray(count)))


def flow(time: float) -> np.ndarray:
    """(μ, σ) on the natural gradient's flow: a straight line in the mean parameters."""
    begin, end = (np.array([mu, mu**2 + sigma**2]) for mu, sigma in (BEGIN, TARGET))
    mean, square = end + (begin - end) * np.exp(-time)
    return np.array([mean, np.sqrt(square - mean**2)])


def natural_gradient() -> Exhibits:
    """Paths of plain and natural gradients in two charts as their steps shrink."""
    first, second, mean = CHARTS
    steps = 1 / np.array(COUNTS)
    gaps: dict[str, list[float]] = {}
    for name, natural in (("natural gradient", True), ("plain gradient", False)):
        one, other = (_paths(chart, natural=natural) for chart in (first, second))
        gaps[name] = [float(np.linalg.norm(one(n) - other(n))) for n in COUNTS]
        if natural:
            to_flow = [float(np.linalg.norm(one(n) - flow(1.0))) for n in COUNTS]
            gaps[f"{name} to the flow"] = to_flow
    statement = "Natural gradient paths in two charts, and the flow, coincide to first order in h."
    for name, between in (
        ("natural gradient", "its two paths"),
        ("natural gradient to the flow", "path and straight line"),
    ):
        about = f"{name}: slope of the log distance at time 1 against log h, {between}"
        yield equal(statement, about, order(steps, gaps[name]), 1.0, LIMIT_SLOPE)
    statement = "Plain gradient paths in two charts stay apart as h tends to 0."
    about = "plain gradient: slope of the log distance against log h"
    yield equal(statement, about, order(steps, gaps["plain gradient"]), 0.0, LIMIT_SLOPE)
    landed = np.abs(_paths(mean, natural=True)(1) - np.array(TARGET)).max()
    statement = "In the mean parameters one full natural gradient step is at the maximum."
    about = f"distance from the optimum after one natural step in {mean}"
    yield equal(statement, about, landed, 0.0, EXACT)
    title = "Distance at time 1 of gradient paths in two charts"
    measured = {name: (steps, values) for name, values in gaps.items()}
    theory = {"slope 1": (steps, gaps["natural gradient"][0] * steps / steps[0])}
    yield Curves(title, "step h", "distance in (μ, σ)", measured, theory, "xy")


type Move = Callable[[np.ndarray], np.ndarray]


def optimisers(rng: np.random.Generator) -> Exhibits:
    """A Cauchy law far from unit scale, in (μ, log s); its information is diag(1/2s², 1/2)."""
    y = 3.0 + 10.0 * rng.standard_cauchy(UNITS)

    def objective(v: Array) -> Array:
        z = (y - v[0]) / jnp.exp(v[1])
        return jnp.mean(jnp.log1p(z**2)) + v[1]

    gradient, hessian = jax.jit(jax.grad(objective)), jax.jit(jax.hessian(objective))
    low, middle, high = np.quantile(y, [0.25, 0.5, 0.75])
    best = start = np.array([middle, np.log((high - low) / 2) + 0.3])
    for _ in range(50):
        best = best - np.linalg.solve(hessian(best), gradient(best))
    curvature = np.asarray(hessian(best))
    least, most = np.linalg.eigvalsh(curvature)
    if np.abs(gradient(best)).max() > 1e-12 or least <= 0:
        raise FitError("Newton's method found no minimum")

    def fisher(v: np.ndarray) -> np.ndarray:
        return np.diag([0.5 * np.exp(-2 * v[1]), 0.5])

    scoring = np.linalg.eigvals(np.eye(2) - np.linalg.solve(fisher(best), curvature))
    longest = 2 / (least + most)
    methods: dict[str, tuple[Move, float]] = {
        "plain gradient, best step": (
            lambda v: longest * np.asarray(gradient(v)),
            float((most - least) / (most + least)),
        ),
        "Fisher scoring, natural gradient": (
            lambda v: np.linalg.solve(fisher(v), gradient(v)),
            float(np.abs(scoring).max()),
        ),
        "Newton": (lambda v: np.linalg.solve(hessian(v), gradient(v)), 0.0),
    }
    yield from _raced(methods, start, best, curvature)


def _raced(
    methods: dict[str, tuple[Move, float]],
    start: np.ndarray,
    best: np.ndarray,
    curvature: np.ndarray,
) -> Exhibits:
    """Claims on moves, each with its linear rate, from a start to the minimum."""
    counts = {}
    for name, (move, predicted) in methods.items():
        counts[name], rate = _steps(move, start, best, curvature)
        if name != "Newton":
            yield equal(SCORING, f"linear rate of {name}", rate, predicted, RATE)
    plain, scoring, newton = methods
    statement = "Knowing the metric saves steps, and knowing the curvature more."
    for faster, slower in ((newton, scoring), (scoring, plain)):
        about = f"steps to 1e-9 standard errors: {slower} − {faster}"
        yield at_least(statement, about, counts[slower] - counts[faster], 0.0)
    # the power of the distance from the minimum that one step of Newton's method leaves
    steps, move, left = 2.0 ** -np.arange(5, 10), methods[newton][0], []
    direction = np.linalg.solve(np.linalg.cholesky(curvature).T, np.ones(2) / np.sqrt(2))
    for step in steps:
        v = best + step * direction
        away = v - move(v) - best
        left.append(np.sqrt(away @ curvature @ away))
    about = "slope of log distance after a step against log distance before it"
    power = slope(np.log(steps), np.log(left)).value
    yield equal("Newton's method converges quadratically.", about, power, 2.0, LIMIT_SLOPE)


def _steps(
    move: Move, start: np.ndarray, best: np.ndarray, curvature: np.ndarray
) -> tuple[int, float]:
    """How many moves it takes to 1e-9 standard errors, and their linear rate near the minimum."""
    v, away = start, []
    while len(away) < 20_000:
        distance = v - best
        away.append(float(np.sqrt(UNITS * distance @ curvature @ distance)))
        if away[-1] < 1e-9:
            break
        v = v - move(v)
    # once the steps are linear, and over an even number of them: eigenvalues may alternate
    near = [value for value in away if 1e-9 < value < 1e-3]
    pairs = len(near) - 1 - (len(near) - 1) % 2
    rate = (near[-1] / near[-1 - pairs]) ** (1 / pairs) if pairs > 1 else float("nan")
    return len(away) - 1, rate
