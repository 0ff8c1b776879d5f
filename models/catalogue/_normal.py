"""Algebra of the multivariate normal law that several models share.

For x ~ N_D(μ, Σ) and v = vech Σ (lower triangle, row by row), the information per observation is
I(μ) = Σ⁻¹, I(v) = ½ Dᵀ(Σ⁻¹ ⊗ Σ⁻¹)D, I(μ, v) = 0, with D the duplication matrix.
Reference: Magnus & Neudecker (1999), Matrix Differential Calculus, ch. 15.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.linalg import solve_triangular


def spread(rows: np.ndarray) -> np.ndarray:
    """The sd of every column of rows, shape (N,) or (N, D); 1 of a column that is constant."""
    return np.where(np.ptp(rows, axis=0) > 0, rows.std(axis=0), 1.0)


def vech(matrix: Array) -> Array:
    """Lower triangle of a symmetric matrix (D, D), row by row, shape (D(D+1)/2,)."""
    return matrix[np.tril_indices(matrix.shape[-1])]


def duplication(d: int) -> np.ndarray:
    """D with vec Σ = D vech Σ for symmetric Σ, shape (d², d(d+1)/2)."""
    rows, columns = np.tril_indices(d)
    matrix = np.zeros((d, d, rows.size))
    matrix[rows, columns, np.arange(rows.size)] = 1.0
    matrix[columns, rows, np.arange(rows.size)] = 1.0
    return matrix.reshape(d * d, rows.size)


def normal_information(covariance: Array) -> Array:
    """Information of one observation about (μ, vech Σ), shape (m, m) with m = D + D(D+1)/2."""
    d = covariance.shape[0]
    precision = jnp.linalg.inv(covariance)
    duplicate = duplication(d)
    of_covariance = 0.5 * duplicate.T @ jnp.kron(precision, precision) @ duplicate
    zeros = jnp.zeros((d, of_covariance.shape[0]))
    return jnp.block([[precision, zeros], [zeros.T, of_covariance]])


def expected_deviance(statistics: dict[str, Array], mean: Array, factor: Array) -> Array:
    """−2 E[log N(x | μ_j, Σ_j)] summed over the rows of each component j, nats, shape (k,).

    Args:
        statistics: expected `count` of each component's rows, shape (k,), their `sum`, (k, D),
            and the sum of their outer products, `square`, (k, D, D).
        mean: μ_j, shape (k, D).
        factor: lower Cholesky factors of Σ_j, shape (k, D, D).
    """
    count = statistics["count"]
    cross = statistics["sum"][:, :, None] * mean[:, None, :]
    scatter = (
        statistics["square"]
        - cross
        - jnp.swapaxes(cross, 1, 2)
        + count[:, None, None] * mean[:, :, None] * mean[:, None, :]
    )
    half = jax.vmap(lambda f, s: solve_triangular(f, s, lower=True))(factor, scatter)
    full = jax.vmap(lambda f, h: solve_triangular(f, h.T, lower=True))(factor, half)
    log_determinant = 2 * jnp.log(jnp.diagonal(factor, axis1=1, axis2=2)).sum(axis=1)
    gaussian = count * (mean.shape[1] * jnp.log(2 * jnp.pi) + log_determinant)
    return gaussian + jnp.trace(full, axis1=1, axis2=2)
