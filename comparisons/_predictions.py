"""What theory predicts for approximate posteriors, in numbers.

With Λ the precision of the unconstrained posterior and G = ∂q/∂u:

* mean-field Gaussian VI has chart covariance diag(1/Λ_jj), so sd(q) = √(G diag(1/Λ_jj) Gᵀ);
* the posterior covariance is (J + P)⁻¹ to first order, J from the data and P from the prior;
* the posterior mean of q is q(û) + G δ + ½ tr(∇²q Σ), δ = ½ Σ ∇tr(∇²f Σ) the shift of the mean
  off the mode of f, and that of a Gaussian with another covariance S is the same with S for the
  last Σ of both terms: mean-field VI curves both with diag(1/Λ_jj).
References: MacKay (2003), Information Theory, §33.5; Tierney & Kadane (1986), JASA 81.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from inference._information import quantity_jacobian
from inference.laplace import mean_shift
from models._density import density, flat_names, flatten, quantities

if TYPE_CHECKING:
    from comparisons._case import Case
    from inference._estimate import Estimate
    from models._density import Density
    from models._spec import Model


class Predictions(NamedTuple):
    """By flat name of the quantity, on the natural scale."""

    full_sd: dict[str, float]
    mean_field_sd: dict[str, float]
    mean_minus_laplace: dict[str, float]
    """Posterior mean less the mean of the Laplace approximation."""
    mean_minus_mean_field: dict[str, float]
    """Posterior mean less the mean of mean-field VI."""


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
    names = flat_names(quantities(case.model, of.constrain(u)))

    def named(values: np.ndarray) -> dict[str, float]:
        return dict(zip(names, map(float, values), strict=True))

    return Predictions(
        named(np.sqrt(np.einsum("ij,jk,ik->i", jacobian, covariance, jacobian))),
        named(np.sqrt(np.einsum("ij,jk,ik->i", jacobian, independent, jacobian))),
        named(shift),
        named(shift - narrow + curve(covariance) - curve(independent)),
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
