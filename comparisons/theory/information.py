"""Fisher information: variance of the score, curvature of the divergence, and complexity.

For a regular model with score s = ∇ log p, expectations under p_θ and I = E s sᵀ:

* E s = 0, and I = −E ∇² log p;
* KL(p_θ ‖ p_{θ+tδ}) = ½ t² δᵀ I δ + O(t³);
* rank I = k, the number of parameters that BIC counts, at a regular point.  A mixture with more
  components than the truth is singular there: two copies of one component can trade places,
  weights and scales, and the rank stays that of the truth.  Nor does tr I count parameters: c equal
  copies of a component have the scores s/c each, so that its part of the trace falls to 1/c of it.

References: Amari (1998), Neural Comput. 10; Watanabe (2009), Algebraic Geometry and Statistical
Learning Theory.
"""

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from comparisons.exhibits import Exhibits, Table
from comparisons.policy import LIMIT_SLOPE
from comparisons.theory._claims import COUNT, equal, slope
from inference.information.derivatives import scores
from models.catalogue.gaussian import Gaussian
from models.catalogue.gaussian_mixture import GaussianMixture
from models.programs.density import density
from models.spec import Model, Values

EXACT = 1e-9  # what sums of some thousand terms may be off in float64, relative to their size
NODES = np.linspace(-16.0, 22.0, 3_001)
"""Ten standard deviations about both models; the trapezoidal rule is exact there."""
STEP = float(NODES[1] - NODES[0])
RANK = 1e-10  # eigenvalue of an information in correlation form that is zero, as everywhere here
UNITS = 300


def show(rng: np.random.Generator, effort: int) -> Exhibits:
    """Identities, then ranks and traces."""
    yield from identities()
    yield from ranks(rng, UNITS * effort)


def identities() -> Exhibits:
    """The information of a mixture as variance, curvature and metric, by quadrature."""
    model = GaussianMixture(2)
    program = density(model, xr.Dataset({"y": ("obs", NODES)}))
    u = program.unconstrain(model.truth)
    log_p = jax.jit(program.log_likelihood)
    here = np.asarray(log_p(u))
    weight, score = np.exp(here) * STEP, np.asarray(scores(program)(u))
    second = np.asarray(jax.jit(jax.jacfwd(jax.jacfwd(program.log_likelihood)))(u))
    outer = information(score, weight)
    rounding = EXACT * np.trace(outer)
    about = f"{model.name}: largest |E score|"
    yield equal("The score has mean zero.", about, abs(weight @ score).max(), 0.0, rounding)
    away = abs(outer + np.einsum("n,nij->ij", weight, second)).max()
    statement = "The variance of the score is minus the mean curvature of the log-likelihood."
    about = f"{model.name}: largest |E s sᵀ + E ∇² log p|"
    yield equal(statement, about, away, 0.0, rounding)
    # the divergence from laws along a unit direction, against half the squared distance
    delta = np.ones(u.size)
    delta /= np.sqrt(delta @ outer @ delta)
    steps = 2.0 ** -np.arange(5, 10)
    apart = np.array([weight @ (here - np.asarray(log_p(u + step * delta))) for step in steps])
    left = np.log(abs(apart - 0.5 * steps**2))
    statement = "The divergence is half the squared length in the metric I, to third order."
    about = f"{model.name}: slope of log |KL − ½t²| against log t, along a unit direction"
    yield equal(statement, about, slope(np.log(steps), left).value, 3.0, LIMIT_SLOPE)


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


def ranks(rng: np.random.Generator, n: int) -> Exhibits:
    """Rank and trace of the information of models about one law of two components, N = n."""
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
        yield equal(statement, about, found, min(predicted, k), COUNT)
    one, two = _nested(1), diagonals[2]
    variance = float(one["scale"]) ** 2
    square = ((data["y"].data - np.asarray(one["mean"])) ** 2).sum(axis=1) / variance
    statement = "The trace of the information counts no parameters: copies share one part of it."
    # the scores of one normal law are (x − μ)/σ² and ‖x − μ‖²/σ² − D
    expected = {1: float((square / variance + (square - 2) ** 2).mean())}
    expected |= {order: two[:2].sum() + two[2:4].sum() / (order - 1) + two[4] for order in (3, 4)}
    for order, trace in expected.items():
        about = f"gaussian_mixture({order}): trace about means and log σ"
        yield equal(statement, about, diagonals[order].sum(), trace, EXACT * trace)
    columns = ("model", "parameters", "rank", "trace of the information per unit, unconstrained")
    yield Table("Information at the law of two components", columns, tuple(rows))
