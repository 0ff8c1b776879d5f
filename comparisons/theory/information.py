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

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array

from comparisons.exhibits import Curves, Exhibits, Table
from comparisons.policy import LIMIT_SLOPE
from comparisons.theory._claims import equal, slope
from comparisons.theory._natural_gradient import EXACT, natural_gradient, optimisers
from inference.information.derivatives import scores
from models.catalogue.gaussian import Gaussian
from models.catalogue.gaussian_mixture import GaussianMixture
from models.programs.density import density
from models.spec import Model, Values

NODES = np.linspace(-16.0, 22.0, 3_001)
"""Ten standard deviations about both models; the trapezoidal rule is exact there."""
STEP = float(NODES[1] - NODES[0])
RANK = 1e-10  # eigenvalue of an information in correlation form that is zero, as everywhere here
UNITS = 300


def show(rng: np.random.Generator, effort: int) -> Exhibits:
    """Identities, metric, optimisers, ranks, and the blocks of networks."""
    yield from _identities()
    yield from natural_gradient()
    yield from optimisers(rng)
    yield from _ranks(rng, UNITS * effort)
    yield from networks(rng, UNITS * effort)


def _identities() -> Exhibits:
    for model in (Gaussian(), GaussianMixture(2)):
        program = density(model, xr.Dataset({"y": ("obs", NODES)}))
        u = program.unconstrain(model.truth)
        log_p = jax.jit(program.log_likelihood)
        weight = np.exp(np.asarray(log_p(u))) * STEP
        score = np.asarray(scores(program)(u))
        second = np.asarray(jax.jit(jax.jacfwd(jax.jacfwd(program.log_likelihood)))(u))
        outer = information(score, weight)
        rounding = EXACT * np.trace(outer)
        about = f"{model.name}: largest |E score|"
        yield equal("The score has mean zero.", about, abs(weight @ score).max(), 0.0, rounding)
        away = outer + np.einsum("n,nij->ij", weight, second)
        statement = "The variance of the score is minus the mean curvature of the log-likelihood."
        about = f"{model.name}: largest |E s sᵀ + E ∇² log p|"
        yield equal(statement, about, abs(away).max(), 0.0, rounding)
        if isinstance(model, Gaussian):
            closed = np.diag([1 / float(model.truth["sigma"]) ** 2, 2.0])  # in (μ, log σ)
            statement = "The information of a Gaussian about (μ, log σ) is diag(1/σ², 2)."
            about = "gaussian: largest difference of the information from its closed form"
            yield equal(statement, about, abs(outer - closed).max(), 0.0, rounding)
            continue
        # the divergence from laws along a unit direction, against half the squared distance
        delta = np.ones(u.size)
        delta /= np.sqrt(delta @ outer @ delta)
        steps, here = 2.0 ** -np.arange(5, 10), np.asarray(log_p(u))
        away = np.array([weight @ (here - np.asarray(log_p(u + step * delta))) for step in steps])
        left = abs(away - 0.5 * steps**2)
        statement = "The divergence is half the squared length in the metric I, to third order."
        about = "gaussian_mixture: slope of log |KL − ½t²| against log t, along a unit direction"
        yield equal(statement, about, slope(np.log(steps), np.log(left)).value, 3.0, LIMIT_SLOPE)
        cubic = left[0] * (steps / steps[0]) ** 3
        yield Curves(
            "Divergence of neighbouring laws and its quadratic approximation",
            "distance t in the metric I",
            "KL, nats",
            {"KL": (steps, away), "|KL − ½t²|": (steps, left)},
            {"½t²": (steps, 0.5 * steps**2), "slope 3": (steps, cubic)},
            "xy",
        )


def information(score: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """E s sᵀ of scores, shape (n, k), by weights that sum to one."""
    return (score.T * weight) @ score


def rank(outer: np.ndarray) -> int:
    """Numerical rank of an information, in correlation form."""
    diagonal = np.diag(outer)
    # a direction without information is zero, not rounding over rounding
    scale = np.sqrt(np.maximum(diagonal, RANK * diagonal.max()))
    correlation = outer / np.outer(scale, scale)
    return int((np.linalg.eigvalsh(correlation) > RANK * len(outer)).sum())


def _nested(order: int) -> Values:
    """The law of two components as a point of the model with `order`; the nearest one of order 1.

    Further components are copies of the second, with equal shares of its weight.
    """
    truth = {k: np.asarray(v) for k, v in GaussianMixture(2, 2, "spherical").truth.items()}
    weights, mean, scale = truth["weights"], truth["mean"], truth["scale"]
    if order == 1:
        middle = weights @ mean
        between = weights @ ((mean - middle) ** 2).mean(axis=1)
        values = {"mean": middle[None], "scale": np.sqrt(scale**2 + between)}
    else:
        counts = np.array([1, order - 1])
        shares, copies = np.repeat(weights / counts, counts), np.repeat(mean, counts, axis=0)
        values = {"weights": shares, "mean": copies, "scale": scale}
    return {name: jnp.asarray(value) for name, value in values.items()}


def _ranks(rng: np.random.Generator, n: int) -> Exhibits:
    rows, diagonals = [], {}
    nature, other = GaussianMixture(2, 2, "spherical"), Gaussian(2)
    data = nature.simulate(rng, nature.truth, n)
    studied: list[tuple[Model, Values, xr.Dataset, int]] = [
        (GaussianMixture(order, 2, "spherical"), _nested(order), data, min(3 * order, 6))
        for order in (1, 2, 3, 4)
    ]
    studied.append((other, other.truth, other.simulate(rng, other.truth, n), 5))
    for model, values, seen, predicted in studied:
        program = density(model, seen)
        score = np.asarray(scores(program)(program.unconstrain(values)))
        outer = information(score, np.full(n, 1 / n))
        found, k, name = rank(outer), program.size, model.name
        if isinstance(model, GaussianMixture):
            name = f"{name}({model.k})"
            # the last coordinates are the means, component by component, and log σ
            diagonals[model.k] = np.diag(outer)[-(2 * model.k + 1) :]
        rows.append((name, float(k), float(found), np.trace(outer)))
        statement = "At a regular point the rank of the information is the k of BIC."
        if predicted < k:
            statement = "A mixture above the true order is singular, of the rank of the truth."
        about = f"{name}, {k} parameters: rank of the information"
        yield equal(statement, about, found, min(predicted, k), 0.0)
    one, two = _nested(1), diagonals[2]
    variance = float(one["scale"]) ** 2
    square = ((data["y"].data - np.asarray(one["mean"])) ** 2).sum(axis=1) / variance
    statement = "The trace of the information counts no parameters: copies share one part of it."
    for order, diagonal in diagonals.items():
        expected = two[:2].sum() + two[2:4].sum() / max(order - 1, 1) + two[4]
        if order == 1:
            # the scores of one normal law are (x − μ)/σ² and ‖x − μ‖²/σ² − D
            expected = (square / variance + (square - 2) ** 2).mean()
        about = f"gaussian_mixture({order}): trace about means and log σ"
        yield equal(statement, about, diagonal.sum(), expected, EXACT * expected)
    columns = ("model", "parameters", "rank", "trace of the information per unit, unconstrained")
    yield Table("Information at the law of two components", columns, tuple(rows))


# --- blocks of the information of a network of two layers ----------------------------------------


def kronecker(a: np.ndarray, G: np.ndarray) -> np.ndarray:
    """K-FAC's block E[a aᵀ] ⊗ E[G], from inputs (n, i) and output metrics (n, o, o)."""
    return np.kron(a.T @ a / len(a), G.mean(axis=0))


def _covariance(a: np.ndarray, G: np.ndarray) -> np.ndarray:
    """E[(a aᵀ − E a aᵀ) ⊗ (G − E G)]."""
    A = a[:, :, None] * a[:, None, :]
    i, o = a.shape[1], G.shape[1]
    pairs = np.einsum("nij,nop->iojp", A - A.mean(axis=0), G - G.mean(axis=0))
    return pairs.reshape(i * o, i * o) / len(a)


def across(first: np.ndarray, second: np.ndarray, G: np.ndarray) -> np.ndarray:
    """E[a₁ a₂ᵀ ⊗ G], from inputs (n, i) and (n, j) and output metrics (n, o, p)."""
    block = np.einsum("ni,nj,nop->iojp", first, second, G) / len(first)
    return block.reshape(first.shape[1] * G.shape[1], -1)


def networks(rng: np.random.Generator, n: int) -> Exhibits:
    """A deep linear network and one that bends, each at n inputs."""
    x = rng.standard_normal((n, 3))
    W1, W2 = 0.8 * rng.standard_normal((4, 4)), 0.8 * rng.standard_normal((2, 5))
    rows = []
    for name, linear in (("deep linear, normal noise", True), ("tanh, softmax", False)):
        jacobians, H = _jacobians(x, W1, W2, linear=linear)
        # by the chain rule, layer by layer
        before = np.column_stack([x, np.ones(n)])
        hidden = before @ W1.T if linear else np.tanh(before @ W1.T)
        after = np.column_stack([hidden, np.ones(n)])
        bend = np.ones_like(hidden) if linear else 1 - hidden**2
        back = W2[:, :-1] * bend[:, None, :]  # ∂output/∂(first layer), (n, 2, 4)
        block = across(before, after, np.einsum("noi,nop->nip", back, H))
        # the block of the whole matrix that those of the layers leave out
        every, first = np.concatenate(jacobians, axis=2), jacobians[0].shape[2]
        whole = np.einsum("noi,nop,npj->ij", every, H, every) / n
        corner, size = whole[:first, first:], np.linalg.norm(whole)
        statement = "The block between two layers is E[a₁ a₂ᵀ ⊗ g₁g₂ᵀ], exactly."
        about = f"{name}: relative distance of the two"
        yield equal(statement, about, np.linalg.norm(corner - block) / size, 0.0, EXACT)
        statement = "Blocks of the layers leave out E[a₁ a₂ᵀ ⊗ g₁g₂ᵀ] between them, twice."
        about = (
            f"{name}: relative error of the exact block diagonal / √2 times the norm of that block"
        )
        left = np.linalg.norm([corner, whole[first:, :first].T]) / size
        yield equal(statement, about, left, np.sqrt(2) * np.linalg.norm(block) / size, EXACT)
        layers = ((before, np.einsum("noi,nop,npj->nij", back, H, back)), (after, H))
        for place, ((a, G), jacobian) in enumerate(zip(layers, jacobians, strict=True), start=1):
            exact = np.einsum("noi,nop,npj->ij", jacobian, H, jacobian) / n
            away, where = kronecker(a, G) - exact, f"{name}, layer {place}"
            parts = across(a, a, G) - exact, away, away + _covariance(a, G)
            error, found, rest = (np.linalg.norm(part) / np.linalg.norm(exact) for part in parts)
            rows.append((name, float(place), error, found))
            statement = "A layer's block of the Fisher matrix is E[a aᵀ ⊗ G], exactly."
            yield equal(statement, f"{where}: relative distance of the two", error, 0.0, EXACT)
            statement = "K-FAC's factors miss exactly the covariance of a aᵀ and G."
            yield equal(statement, f"{where}: relative distance of the two", rest, 0.0, EXACT)
            if linear:
                statement = "K-FAC is exact for a deep linear network with normal noise."
                about = f"{where}: relative error of the Kronecker factors"
                yield equal(statement, about, found, 0.0, EXACT)
    columns = ("network", "layer", "error of E[a aᵀ ⊗ G]", "error of E[a aᵀ] ⊗ E[G]")
    yield Table("Blocks of the Fisher matrix, relative to the exact ones", columns, tuple(rows))


def _jacobians(
    x: np.ndarray, W1: np.ndarray, W2: np.ndarray, *, linear: bool
) -> tuple[list[np.ndarray], np.ndarray]:
    """Each layer's Jacobian by differentiation, (n, 2, ·), and the output's metric, (n, 2, 2)."""

    def output(one: Array, first: Array, second: Array) -> Array:
        hidden = first @ jnp.append(one, 1.0)
        hidden = hidden if linear else jnp.tanh(hidden)
        return second @ jnp.append(hidden, 1.0)

    at = jnp.asarray(x), jnp.asarray(W1), jnp.asarray(W2)
    both = jax.jit(jax.vmap(jax.jacfwd(output, argnums=(1, 2)), (0, None, None)))(*at)
    # rows of a matrix vary fastest, as in the blocks
    flat = [np.swapaxes(np.asarray(one), 2, 3).reshape(len(x), 2, -1) for one in both]
    if linear:
        return flat, np.tile(np.eye(2), (len(x), 1, 1))
    p = np.asarray(jax.nn.softmax(jax.jit(jax.vmap(output, (0, None, None)))(*at)))
    return flat, p[:, :, None] * np.eye(2) - p[:, :, None] * p[:, None, :]
