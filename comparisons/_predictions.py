"""What theory predicts for approximate posteriors, in numbers.

With Λ the precision of the unconstrained posterior and G = ∂q/∂u:

* mean-field Gaussian VI has chart covariance diag(1/Λ_jj), so sd(q) = √(G diag(1/Λ_jj) Gᵀ);
* the posterior covariance is (J + P)⁻¹ to first order, J from the data and P from the prior;
* the posterior mean of q is q(û) + G δ + ½ tr(∇²q Σ), δ = ½ Σ ∇tr(∇²f Σ) the shift of the mean
  off the mode of f, and that of a Gaussian with another covariance S is the same with S for the
  last Σ of both terms: mean-field VI curves both with diag(1/Λ_jj);
* the optimum of ℓ, or of ℓ + log π, is where Newton's method leads from û.
No prediction looks at the fit that it is held against.
References: MacKay (2003), Information Theory, §33.5; Tierney & Kadane (1986), JASA 81.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from inference._information import derivatives, invert, quantity_covariance, quantity_jacobian
from inference.laplace import mean_shift
from models._density import density, flat_names, flatten, quantities

if TYPE_CHECKING:
    from comparisons._case import Case
    from inference._estimate import Estimate
    from inference._information import Objective
    from models._density import Density
    from models._spec import Model


_STEPS = 50
"""Most Newton steps, and halvings of one."""


class Optimum(NamedTuple):
    """An optimum and the spread J⁻¹ gives it, by flat name of the quantity."""

    center: dict[str, float]
    sd: dict[str, float]


class Predictions(NamedTuple):
    """By flat name of the quantity, on the natural scale."""

    full_sd: dict[str, float]
    mean_field_sd: dict[str, float]
    mean_minus_laplace: dict[str, float]
    """Posterior mean less the mean of the Laplace approximation."""
    mean_minus_mean_field: dict[str, float]
    """Posterior mean less the mean of mean-field VI."""
    mean: dict[str, float]
    """Posterior mean."""
    likelihood: Optimum | None
    """Maximum of the likelihood; None where Newton's method does not lead to one."""
    joint: Optimum | None
    """Maximum of likelihood times prior, on the natural scale."""


def predictions(case: Case, laplace: Estimate) -> Predictions:
    """First-order theory at the mode that the Laplace approximation found."""
    of = density(case.model, case.data)
    mode = np.asarray(laplace.record["mode"].data)
    covariance = np.asarray(laplace.record["mode_covariance"].data)
    u = jnp.asarray(mode)
    jacobian = np.asarray(quantity_jacobian(case.model, of)(u))
    independent = np.diag(1 / np.diag(np.linalg.inv(covariance)))
    shift = jacobian @ mean_shift(of, mode, covariance, covariance)
    narrow = jacobian @ mean_shift(of, mode, covariance, independent)

    curve = partial(_curvature, case.model, of, u)
    at_mode = quantities(case.model, of.constrain(u))
    names = flat_names(at_mode)

    def named(values: np.ndarray) -> dict[str, float]:
        return dict(zip(names, map(float, values), strict=True))

    def optimum(objective: Objective) -> Optimum | None:
        found = _climb(of, mode, objective)
        if found is None:
            return None
        at, information = found
        inverse = invert(case.model, of, at, information)
        if inverse.problem or inverse.boundary.any():
            return None
        deviation = np.sqrt(np.diag(quantity_covariance(case.model, of, at, inverse)))
        reported = flatten(quantities(case.model, of.constrain(at)))
        return Optimum(named(np.asarray(reported)), named(deviation))

    return Predictions(
        named(np.sqrt(np.einsum("ij,jk,ik->i", jacobian, covariance, jacobian))),
        named(np.sqrt(np.einsum("ij,jk,ik->i", jacobian, independent, jacobian))),
        named(shift),
        named(shift - narrow + curve(covariance) - curve(independent)),
        named(np.asarray(flatten(at_mode)) + shift + curve(covariance)),
        optimum("likelihood"),
        optimum("joint"),
    )


def _curvature(model: Model, of: Density, u: jax.Array, spread: np.ndarray) -> np.ndarray:
    """½ tr(∇²q S), by second derivatives along the columns of the Cholesky factor of S."""

    def reported(at: jax.Array) -> jax.Array:
        return flatten(quantities(model, of.constrain(at)))

    def along(direction: jax.Array) -> jax.Array:
        def slope(at: jax.Array) -> jax.Array:
            return jax.jvp(reported, (at,), (direction,))[1]

        return jax.jvp(slope, (u,), (direction,))[1]

    columns = jnp.asarray(np.linalg.cholesky(spread).T)
    return 0.5 * np.asarray(jax.jit(jax.vmap(along))(columns)).sum(axis=0)


def _climb(of: Density, start: np.ndarray, objective: Objective) -> tuple[Any, np.ndarray] | None:
    """Where Newton steps, halved until they climb, lead; and −Hessian of ℓ or ℓ + log π there."""
    compiled = derivatives(of, objective)
    u = start
    height, gradient = map(np.asarray, compiled.value_and_gradient(jnp.asarray(u)))
    for _ in range(_STEPS):
        information = -np.asarray(compiled.hessian(jnp.asarray(u)))
        if not np.isfinite(information).all() or np.linalg.eigvalsh(information)[0] <= 0:
            return None
        step = np.linalg.solve(information, gradient)
        if gradient @ step < 1e-12:
            return jnp.asarray(u), information
        for _ in range(_STEPS):
            higher, slope = map(np.asarray, compiled.value_and_gradient(jnp.asarray(u + step)))
            if higher > height:
                break
            step = step / 2
        else:
            return None
        u, height, gradient = u + step, higher, slope
    return None


def prior_information(of: Density, at: jax.Array) -> np.ndarray:
    """P = −∇²(log π + log-Jacobian) in the chart, shape (k, k)."""
    both = np.asarray(derivatives(of, "posterior").hessian(at))
    return np.asarray(derivatives(of, "likelihood").hessian(at)) - both


def through(
    case: Case, at: jax.Array, information: np.ndarray, theory: Predictions
) -> dict[str, float]:
    """Posterior sd if this were the information about the data at the maximum: (I + P)⁻¹.

    P is that of the prior and the chart at the same point; what (J + P)⁻¹ gives there carries the
    result over to the posterior mode, so that I = J predicts `theory.full_sd`.
    """
    of = density(case.model, case.data)
    prior = prior_information(of, at)
    data = -np.asarray(derivatives(of, "likelihood").hessian(at))
    jacobian = np.asarray(quantity_jacobian(case.model, of)(at))

    def deviation(precision: np.ndarray) -> np.ndarray:
        return np.sqrt(np.einsum("ij,jk,ik->i", jacobian, np.linalg.inv(precision), jacobian))

    with np.errstate(invalid="ignore", divide="ignore"):  # a constant has no spread
        ratio = deviation(information + prior) / deviation(data + prior)
    return {
        name: float(sd * r) for (name, sd), r in zip(theory.full_sd.items(), ratio, strict=True)
    }
