"""From the unconstrained space to the reported quantities: the delta method and its error.

With G = ∂(quantities)/∂u and Σ the covariance of u, that of the quantities is G Σ Gᵀ; with Σ the
inverse expected information it is the Cramér–Rao bound.
Reference: van der Vaart (1998), Asymptotic Statistics, ch. 3.
"""

import numpy as np
from jax import Array

from inference.information.derivatives import quantity_jacobian
from inference.information.inversion import Inverse
from models.programs.density import Density
from models.spec import Model


def bound_error(jacobian: np.ndarray, covariance: np.ndarray, simulated: np.ndarray) -> np.ndarray:
    """Relative Monte Carlo error of every variance that the inverse expected information gives.

    d(G I⁻¹ Gᵀ)_qq = −a_qᵀ dI a_q with a_q = I⁻¹ G_qᵀ, and a_qᵀ I a_q is the mean of (a_q·s)² over
    the simulated units: its standard error, that of all entries of dI and their correlations.
    Shape (m,) for G of shape (m, k), a multiple of I⁻¹ and `Expected.scores`; 0 for a constant, and
    where the information is exact.
    """
    error = np.zeros(len(jacobian))
    if len(simulated):
        square = (simulated @ (covariance @ jacobian.T)) ** 2
        scale = square.mean(axis=0)
        np.divide(square.std(axis=0), scale * np.sqrt(len(square)), out=error, where=scale != 0)
    return error


def standard_deviations(jacobian: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """√ diag(G Σ Gᵀ), shape (m,), for a Jacobian of shape (m, k) and a covariance (k, k)."""
    return np.sqrt(np.einsum("ij,jk,ik->i", jacobian, covariance, jacobian))


def quantity_covariance(model: Model, target: Density, u: Array, inverse: Inverse) -> np.ndarray:
    """Delta method: covariance of the flat reported quantities.

    Args:
        model: the model.
        target: its density.
        u: where, shape (k,).
        inverse: the covariance of u.

    Returns:
        Shape (m, m); NaN for quantities that boundary coordinates move no less than the others do,
        which hold those fixed.
    """
    jacobian = np.asarray(quantity_jacobian(model, target)(u))
    if inverse.problem:
        return np.full((jacobian.shape[0],) * 2, np.nan)
    free = ~inverse.boundary
    covariance = jacobian[:, free] @ inverse.covariance[np.ix_(free, free)] @ jacobian[:, free].T
    moved = np.abs(jacobian)
    edge = moved[:, ~free].max(axis=1, initial=0.0)
    undefined = (edge > 0) & (edge >= 0.5 * moved[:, free].max(axis=1, initial=0.0))
    covariance[undefined] = np.nan
    covariance[:, undefined] = np.nan
    return covariance
