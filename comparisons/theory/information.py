"""Fisher information: variance of the score, curvature of the divergence, metric and complexity.

For a regular model with score s = ∇ log p, expectations under p_θ and I = E s sᵀ:

* E s = 0, and I = −E ∇² log p;
* KL(p_θ ‖ p_{θ+tδ}) = ½ t² δᵀ I δ + O(t³);
* the natural gradient I⁻¹∇ is a vector field on laws: in any chart its flow is the same curve, for
  an exponential family with mean parameters η the straight line η(t) = η̂ + (η₀ − η̂) e^−t, and its
  paths with steps h differ by O(h); those of the plain gradient differ in the limit;
* with full steps it is Fisher scoring, u ← u − I⁻¹∇f, which converges linearly at the spectral
  radius of 1 − I⁻¹∇²f, as plain gradient steps do at (κ − 1)/(κ + 1) at best, κ the condition
  number of ∇²f; a step of Newton's method squares a small distance from the minimum;
* rank I = k, the number of parameters that BIC counts, at a regular point.  A mixture with more
  components than the truth is singular there: two copies of one component can trade places,
  weights and scales, and the rank stays that of the truth.  Nor does tr I count parameters: c equal
  copies of a component have the scores s/c each, so that its part of the trace falls to 1/c of it;
* the block of a layer with inputs a and back-propagated gradients g is E[a aᵀ ⊗ G], exactly, with
  G = E[g gᵀ | x]; K-FAC's E[a aᵀ] ⊗ E[G] differs from it by the covariance of a aᵀ and G over x: by
  nothing where G does not depend on x, as in a deep linear network with normal noise.  Between
  layers the matrix has the blocks E[a₁ a₂ᵀ ⊗ g₁g₂ᵀ], which K-FAC leaves out.

References: Amari (1998), Neural Comput. 10; Martens (2020), JMLR 21; Martens & Grosse (2015), ICML;
Watanabe (2009), Algebraic Geometry and Statistical Learning Theory; Nocedal & Wright (2006), §3.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from comparisons.exhibits import Claim, Curves, Table
from comparisons.verdict import Verdict, not_comparable
from inference.information.derivatives import scores
from models.catalogue.gaussian import Gaussian
from models.catalogue.gaussian_mixture import GaussianMixture
from models.programs.density import density

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from jax import Array

    from comparisons.exhibits import Shown
    from models.spec import Model, Values

NODES = np.linspace(-16.0, 22.0, 3_001)
"""Ten standard deviations about both models; the trapezoidal rule is exact there."""
STEP = float(NODES[1] - NODES[0])
EXACT = 1e-9
"""What sums of some thousand terms may be off in float64, relative to their size."""
SLOPE = 0.05
"""Largest difference of exponents that does not matter, as in `asymptotics`."""
RATE = 0.02
"""Largest difference of linear rates: it changes how many steps a digit takes by a few per cent."""
RANK = 1e-10
"""Eigenvalue of an information in correlation form that is zero, as everywhere here."""
UNITS = 300


def show(rng: np.random.Generator, effort: int) -> Iterator[Shown]:
    """Identities, metric, optimisers, ranks, and the blocks of networks."""
    yield from _identities()
    yield from _natural()
    yield from _optimisers(rng)
    yield from _ranks(rng, UNITS * effort)
    yield from _networks(rng, UNITS * effort)


# --- two forms, and the curvature of the divergence -----------------------------------------------


def _identities() -> Iterator[Shown]:
    grid = xr.Dataset({"y": ("obs", NODES)})
    for model in (Gaussian(), GaussianMixture(2)):
        of = density(model, grid)
        u = of.unconstrain(model.truth)
        log_p = jax.jit(of.log_likelihood)
        weight = np.exp(np.asarray(log_p(u))) * STEP
        score = np.asarray(scores(of)(u))
        second = np.asarray(jax.jit(jax.jacfwd(jax.jacfwd(of.log_likelihood)))(u))
        outer = information(score, weight)
        size = float(np.trace(outer))
        yield Claim(
            "The score has mean zero.",
            Verdict(
                f"{model.name}: largest |E score|",
                float(np.abs(weight @ score).max()), 0.0, 0.0, EXACT * size,
            ),
        )  # fmt: skip
        away = outer + np.einsum("n,nij->ij", weight, second)
        yield Claim(
            "The variance of the score is minus the mean curvature of the log-likelihood.",
            Verdict(
                f"{model.name}: largest |E s sᵀ + E ∇² log p|",
                float(np.abs(away).max()), 0.0, 0.0, EXACT * size,
            ),
        )  # fmt: skip
        if isinstance(model, Gaussian):
            sigma = float(model.truth["sigma"])
            closed = np.diag([1 / sigma**2, 2.0])  # in (μ, log σ)
            yield Claim(
                "The information of a Gaussian about (μ, log σ) is diag(1/σ², 2).",
                Verdict(
                    "gaussian: largest difference of the information from its closed form",
                    float(np.abs(outer - closed).max()), 0.0, 0.0, EXACT * size,
                ),
            )  # fmt: skip
            continue
        delta = np.ones(of.size)
        delta /= np.sqrt(delta @ outer @ delta)
        steps = 2.0 ** -np.arange(5, 10)
        logs = [np.asarray(log_p(u + step * delta)) for step in steps]
        away = [float(weight @ (np.asarray(log_p(u)) - log)) for log in logs]
        left = [abs(value - 0.5 * step**2) for value, step in zip(away, steps, strict=True)]
        rate = float(np.polyfit(np.log(steps), np.log(left), 1)[0])
        about = "gaussian_mixture: slope of log |KL − ½t²| against log t, along a unit direction"
        yield Claim(
            "The divergence is half the squared length in the metric I, up to a cubic error.",
            Verdict(about, rate, 3.0, 0.0, SLOPE),
        )
        yield Curves(
            "Divergence of neighbouring laws and its quadratic approximation",
            "distance t in the metric I",
            "KL, nats",
            {
                "KL": (steps.tolist(), away),
                "|KL − ½t²|": (steps.tolist(), left),
            },
            {
                "½t²": (steps.tolist(), (0.5 * steps**2).tolist()),
                "slope 3": (steps.tolist(), (left[0] * (steps / steps[0]) ** 3).tolist()),
            },
            "xy",
        )


def information(score: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """E s sᵀ of scores, shape (n, k), by weights that sum to one."""
    return (score.T * weight) @ score


# --- natural gradient -----------------------------------------------------------------------------

TARGET = (1.0, 2.0)
BEGIN = (-1.0, 1.0)
"""(μ, σ) of the data, and where the paths begin."""
COUNTS = (32, 64, 128, 256, 512)
"""Steps in which a path runs through the time 1."""

CHARTS: dict[str, tuple[Callable[[Array], Array], np.ndarray]] = {
    "(μ, log σ)": (
        lambda v: jnp.stack([v[0], jnp.exp(v[1])]),
        np.array([BEGIN[0], np.log(BEGIN[1])]),
    ),
    "(μ/σ², −1/2σ²)": (
        lambda v: jnp.stack([-v[0] / (2 * v[1]), jnp.sqrt(-1 / (2 * v[1]))]),
        np.array([BEGIN[0] / BEGIN[1] ** 2, -0.5 / BEGIN[1] ** 2]),
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

    def height(v: Array) -> Array:
        mu, sigma = to_law(v)
        square = TARGET[1] ** 2 + (TARGET[0] - mu) ** 2
        return jnp.log(sigma) + 0.5 * square / sigma**2

    def step(v: Array, count: Array) -> Array:
        gradient, jacobian = jax.grad(height)(v), jax.jacfwd(to_law)(v)
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


def _natural() -> Iterator[Shown]:
    first, second, mean = CHARTS
    steps = 1 / np.array(COUNTS)
    gaps: dict[str, list[float]] = {}
    for name, natural in (("natural gradient", True), ("plain gradient", False)):
        one, other = (_paths(chart, natural=natural) for chart in (first, second))
        gaps[name] = [float(np.linalg.norm(one(n) - other(n))) for n in COUNTS]
        if natural:
            gaps["natural gradient to the flow"] = [
                float(np.linalg.norm(one(n) - flow(1.0))) for n in COUNTS
            ]
    for name in ("natural gradient", "natural gradient to the flow"):
        rate = float(np.log(gaps[name][-1] / gaps[name][-2]) / np.log(0.5))
        about = f"{name}: slope of the log distance at time 1 against log h"
        between = "its two paths" if name == "natural gradient" else "path and straight line"
        yield Claim(
            "Natural gradient paths in two charts, and the flow, coincide to first order in h.",
            Verdict(f"{about}, {between}", rate, 1.0, 0.0, SLOPE),
        )
    rate = float(np.log(gaps["plain gradient"][-1] / gaps["plain gradient"][-2]) / np.log(0.5))
    yield Claim(
        "Plain gradient paths in two charts stay apart as h tends to 0.",
        Verdict("plain gradient: slope of the log distance against log h", rate, 0.0, 0.0, SLOPE),
    )
    landed = np.abs(_paths(mean, natural=True)(1) - np.array(TARGET)).max()
    about = f"distance from the optimum after one natural step in {mean}"
    yield Claim(
        "In the mean parameters one full natural gradient step is at the maximum.",
        Verdict(about, float(landed), 0.0, 0.0, EXACT),
    )
    yield Curves(
        "Distance at time 1 of gradient paths in two charts",
        "step h",
        "distance in (μ, σ)",
        {name: (steps.tolist(), values) for name, values in gaps.items()},
        {"slope 1": (steps.tolist(), (gaps["natural gradient"][0] * steps / steps[0]).tolist())},
        "xy",
    )


# --- optimisers -----------------------------------------------------------------------------------


def _optimisers(rng: np.random.Generator) -> Iterator[Shown]:
    """A Cauchy law far from unit scale, in (μ, log s); its information is diag(1/2s², 1/2)."""
    y = 3.0 + 10.0 * rng.standard_cauchy(UNITS)

    def height(v: Array) -> Array:
        z = (y - v[0]) / jnp.exp(v[1])
        return jnp.mean(jnp.log1p(z**2)) + v[1]

    gradient, hessian = jax.jit(jax.grad(height)), jax.jit(jax.hessian(height))
    low, middle, high = np.quantile(y, [0.25, 0.5, 0.75])
    start = np.array([middle, np.log((high - low) / 2) + 0.3])
    best = start
    for _ in range(50):
        best = best - np.linalg.solve(hessian(best), gradient(best))
    curvature = np.asarray(hessian(best))
    values = np.linalg.eigvalsh(curvature)
    if np.abs(gradient(best)).max() > 1e-12 or values[0] <= 0:
        yield Claim(SCORING, not_comparable("optimisers", "Newton's method found no minimum"))
        return

    def fisher(v: np.ndarray) -> np.ndarray:
        return np.diag([0.5 * np.exp(-2 * v[1]), 0.5])

    scoring = np.linalg.eigvals(np.eye(2) - np.linalg.solve(fisher(best), curvature))
    best_step = 2 / (values[0] + values[1])
    methods = {
        "plain gradient, best step": (
            lambda v: best_step * np.asarray(gradient(v)),
            (values[1] - values[0]) / (values[1] + values[0]),
        ),
        "Fisher scoring, natural gradient": (
            lambda v: np.linalg.solve(fisher(v), gradient(v)),
            float(np.abs(scoring).max()),
        ),
        "Newton": (lambda v: np.linalg.solve(hessian(v), gradient(v)), 0.0),
    }
    rows, counts = [], {}
    for name, (move, predicted) in methods.items():
        v, away = start, []
        while len(away) < 20_000:
            distance = v - best
            away.append(float(np.sqrt(UNITS * distance @ curvature @ distance)))
            if away[-1] < 1e-9:
                break
            v = v - move(v)
        counts[name] = len(away) - 1
        # once the steps are linear, and over an even number of them: eigenvalues may alternate
        near = [value for value in away if 1e-9 < value < 1e-3]
        pairs = len(near) - 1 - (len(near) - 1) % 2
        rate = (near[-1] / near[-1 - pairs]) ** (1 / pairs) if pairs > 1 else float("nan")
        rows.append((name, float(counts[name]), rate, float(predicted)))
        if name != "Newton":
            yield Claim(
                SCORING,
                Verdict(f"linear rate of {name}", rate, float(predicted), 0.0, RATE),
            )
    names = list(methods)
    for faster, slower in ((names[2], names[1]), (names[1], names[0])):
        about = f"steps to 1e-9 standard errors: {slower} − {faster}"
        yield Claim(
            "Knowing the metric saves steps, and knowing the curvature more.",
            Verdict(about, counts[slower] - counts[faster], 0.0, 0.0, 0.0, "at_least"),
        )
    yield _order(best, curvature, methods["Newton"][0])
    columns = ("method", "steps", "measured linear rate", "predicted linear rate")
    yield Table("Optimisers of a Cauchy likelihood, location and log scale", columns, tuple(rows))


def _order(
    best: np.ndarray, curvature: np.ndarray, move: Callable[[np.ndarray], np.ndarray]
) -> Claim:
    """The power of the distance from the minimum that one step of Newton's method leaves."""
    steps = 2.0 ** -np.arange(5, 10)
    direction = np.linalg.solve(np.linalg.cholesky(curvature).T, np.ones(2) / np.sqrt(2))
    left = []
    for step in steps:
        v = best + step * direction
        away = v - move(v) - best
        left.append(np.sqrt(away @ curvature @ away))
    rate = float(np.polyfit(np.log(steps), np.log(left), 1)[0])
    about = "slope of log distance after a step against log distance before it"
    return Claim("Newton's method converges quadratically.", Verdict(about, rate, 2.0, 0.0, SLOPE))


SCORING = (
    "Linear rates are those of the metric: spectral radius of 1 − I⁻¹∇²f, and (κ − 1)/(κ + 1)."
)


# --- rank -----------------------------------------------------------------------------------------


def rank(outer: np.ndarray) -> int:
    """Numerical rank of an information, in correlation form."""
    diagonal = np.diag(outer)
    # a direction without information is zero, not rounding over rounding
    scale = np.sqrt(np.maximum(diagonal, RANK * diagonal.max()))
    correlation = outer / np.outer(scale, scale)
    return int((np.linalg.eigvalsh(correlation) > RANK * len(outer)).sum())


def nested(order: int) -> Values:
    """The law of two components as a point of the model with `order`; the nearest one of order 1.

    Further components are copies of the second, with equal shares of its weight.
    """
    truth = {k: np.asarray(v) for k, v in GaussianMixture(2, 2, "spherical").truth.items()}
    weights, mean = truth["weights"], truth["mean"]
    if order == 1:
        center = weights @ mean
        spread = weights @ ((mean - center) ** 2).mean(axis=1)
        scale = np.sqrt(truth["scale"] ** 2 + spread)
        return {"mean": jnp.asarray(center[None]), "scale": jnp.asarray(scale)}
    copies = order - 1
    return {
        "weights": jnp.asarray(np.append(weights[0], np.full(copies, weights[1] / copies))),
        "mean": jnp.asarray(np.vstack([mean[0], np.tile(mean[1], (copies, 1))])),
        "scale": jnp.asarray(truth["scale"]),
    }


def _ranks(rng: np.random.Generator, n: int) -> Iterator[Shown]:
    rows, diagonals = [], {}
    nature = GaussianMixture(2, 2, "spherical")
    data = nature.simulate(rng, nature.truth, n)
    studied: list[tuple[Model, Values, xr.Dataset, int]] = [
        (GaussianMixture(order, 2, "spherical"), nested(order), data, min(3 * order, 6))
        for order in (1, 2, 3, 4)
    ]
    other = Gaussian(2)
    studied.append((other, other.truth, other.simulate(rng, other.truth, n), 5))
    for model, values, seen, predicted in studied:
        of = density(model, seen)
        score = np.asarray(scores(of)(of.unconstrain(values)))
        outer = information(score, np.full(n, 1 / n))
        found = rank(outer)
        name = f"{model.name}({model.k})" if isinstance(model, GaussianMixture) else model.name
        rows.append((name, float(of.size), float(found), float(np.trace(outer))))
        if isinstance(model, GaussianMixture):
            # the last coordinates are the means, component by component, and log σ
            diagonals[model.k] = np.diag(outer)[-(2 * model.k + 1) :]
        singular = predicted < of.size
        yield Claim(
            "A mixture above the true order is singular: the rank stays that of the truth."
            if singular
            else "At a regular point the rank of the information is the k of BIC.",
            Verdict(
                f"{name}, {of.size} parameters: rank of the information",
                found, predicted if singular else of.size, 0.0, 0.0,
            ),
        )  # fmt: skip
    yield from _traces(diagonals, np.asarray(data["y"].data))
    columns = ("model", "parameters", "rank", "trace of the information per unit, in the chart")
    yield Table("Information at the law of two components", columns, tuple(rows))


def _traces(diagonals: dict[int, np.ndarray], y: np.ndarray) -> Iterator[Shown]:
    """Of the information about means and log σ by order, from its diagonal."""
    one, two = nested(1), diagonals[2]
    variance = float(one["scale"]) ** 2
    square = ((y - np.asarray(one["mean"])) ** 2).sum(axis=1) / variance
    # the scores of one normal law are (x − μ)/σ² and ‖x − μ‖²/σ² − D
    predicted = {1: float((square / variance + (square - 2) ** 2).mean())}
    for order in diagonals:
        share = float(two[:2].sum() + two[2:4].sum() / max(order - 1, 1) + two[4])
        expected = predicted.get(order, share)
        yield Claim(
            "The trace of the information is no count of parameters: copies share one part of it.",
            Verdict(
                f"gaussian_mixture({order}): trace about means and log σ",
                float(diagonals[order].sum()), expected, 0.0, EXACT * expected,
            ),
        )  # fmt: skip


# --- networks -------------------------------------------------------------------------------------


def kronecker(a: np.ndarray, G: np.ndarray) -> np.ndarray:
    """K-FAC's block E[a aᵀ] ⊗ E[G], from inputs (n, i) and output metrics (n, o, o)."""
    return np.kron(a.T @ a / len(a), G.mean(axis=0))


def _block(a: np.ndarray, G: np.ndarray) -> np.ndarray:
    """E[a aᵀ ⊗ G]."""
    i, o = a.shape[1], G.shape[1]
    return np.einsum("ni,nj,nop->iojp", a, a, G).reshape(i * o, i * o) / len(a)


def _covariance(a: np.ndarray, G: np.ndarray) -> np.ndarray:
    """E[(a aᵀ − E a aᵀ) ⊗ (G − E G)]."""
    A = a[:, :, None] * a[:, None, :]
    i, o = a.shape[1], G.shape[1]
    pairs = np.einsum("nij,nop->iojp", A - A.mean(axis=0), G - G.mean(axis=0))
    return pairs.reshape(i * o, i * o) / len(a)


def _networks(rng: np.random.Generator, n: int) -> Iterator[Shown]:
    x = rng.standard_normal((n, 3))
    W1, W2 = 0.8 * rng.standard_normal((4, 4)), 0.8 * rng.standard_normal((2, 5))
    rows, found = [], {}
    for name, linear in (("deep linear, normal noise", True), ("tanh, softmax", False)):

        def output(one: Array, first: Array, second: Array, linear: bool = linear) -> Array:
            hidden = first @ jnp.append(one, 1.0)
            hidden = hidden if linear else jnp.tanh(hidden)
            return second @ jnp.append(hidden, 1.0)

        # by differentiation of the whole network: rows of a matrix vary fastest, as in the blocks
        at = jnp.asarray(x), jnp.asarray(W1), jnp.asarray(W2)
        out = jax.jit(jax.vmap(output, (0, None, None)))(*at)
        jacobians = jax.jit(jax.vmap(jax.jacfwd(output, argnums=(1, 2)), (0, None, None)))(*at)
        p = np.asarray(jax.nn.softmax(out))
        H = np.tile(np.eye(2), (n, 1, 1)) if linear else _softmax_metric(p)
        # by the chain rule, layer by layer
        before = np.column_stack([x, np.ones(n)])
        hidden = before @ W1.T if linear else np.tanh(before @ W1.T)
        after = np.column_stack([hidden, np.ones(n)])
        bend = np.ones_like(hidden) if linear else 1 - hidden**2
        back = W2[:, :-1] * bend[:, None, :]  # ∂output/∂(first layer), (n, 2, 4)
        layers = ((before, np.einsum("noi,nop,npj->nij", back, H, back)), (after, H))
        G = np.einsum("noi,nop->nip", back, H)
        yield from _between(name, jacobians, H, across(before, after, G))
        for place, ((a, G), jacobian) in enumerate(zip(layers, jacobians, strict=True), start=1):
            flat = np.swapaxes(np.asarray(jacobian), 2, 3).reshape(n, 2, -1)
            exact = np.einsum("noi,nop,npj->ij", flat, H, flat) / n
            size = float(np.linalg.norm(exact))
            block = float(np.linalg.norm(_block(a, G) - exact)) / size
            away = kronecker(a, G) - exact
            found[name, place] = float(np.linalg.norm(away)) / size
            rest = float(np.linalg.norm(away + _covariance(a, G))) / size
            rows.append((name, float(place), block, found[name, place]))
            where = f"{name}, layer {place}"
            yield Claim(
                "A layer's block of the Fisher matrix is E[a aᵀ ⊗ G], exactly.",
                Verdict(f"{where}: relative distance of the two", block, 0.0, 0.0, EXACT),
            )
            yield Claim(
                "K-FAC's factors miss exactly the covariance of a aᵀ and G.",
                Verdict(f"{where}: relative distance of the two", rest, 0.0, 0.0, EXACT),
            )
            about = f"{where}: relative error of the Kronecker factors"
            if linear:
                yield Claim(
                    "K-FAC is exact for a deep linear network with normal noise.",
                    Verdict(about, found[name, place], 0.0, 0.0, EXACT),
                )
    columns = ("network", "layer", "error of E[a aᵀ ⊗ G]", "error of E[a aᵀ] ⊗ E[G]")
    yield Table("Blocks of the Fisher matrix, relative to the exact ones", columns, tuple(rows))


def across(first: np.ndarray, second: np.ndarray, G: np.ndarray) -> np.ndarray:
    """E[a₁ a₂ᵀ ⊗ G], from inputs (n, i) and (n, j) and output metrics (n, o, p)."""
    block = np.einsum("ni,nj,nop->iojp", first, second, G) / len(first)
    return block.reshape(first.shape[1] * G.shape[1], -1)


def _between(
    name: str, jacobians: Sequence[Array], H: np.ndarray, block: np.ndarray
) -> Iterator[Shown]:
    """What the blocks of the layers leave out of the whole matrix: the block of the chain rule."""
    n = len(H)
    flat = [np.swapaxes(np.asarray(one), 2, 3).reshape(n, 2, -1) for one in jacobians]
    every = np.concatenate(flat, axis=2)
    whole = np.einsum("noi,nop,npj->ij", every, H, every) / n
    kept, first = whole.copy(), flat[0].shape[2]
    kept[:first, first:] = kept[first:, :first] = 0
    size = float(np.linalg.norm(whole))
    distance = float(np.linalg.norm(whole[:first, first:] - block)) / size
    yield Claim(
        "The block between two layers is E[a₁ a₂ᵀ ⊗ g₁g₂ᵀ], exactly.",
        Verdict(f"{name}: relative distance of the two", distance, 0.0, 0.0, EXACT),
    )
    yield Claim(
        "Blocks of the layers leave out E[a₁ a₂ᵀ ⊗ g₁g₂ᵀ] between them, twice.",
        Verdict(
            f"{name}: relative error of the exact block diagonal / √2 times the norm of that block",
            float(np.linalg.norm(whole - kept)) / size,
            float(np.sqrt(2) * np.linalg.norm(block)) / size, 0.0, EXACT,
        ),
    )  # fmt: skip


def _softmax_metric(p: np.ndarray) -> np.ndarray:
    """diag(p) − p pᵀ of each row, shape (n, o, o)."""
    return np.einsum("no,op->nop", p, np.eye(p.shape[1])) - p[:, :, None] * p[:, None, :]
