"""Algebra of the multivariate normal law that several models share.

For x ~ N_D(μ, Σ) and v = vech Σ (lower triangle, row by row), the information per observation is
I(μ) = Σ⁻¹, I(μ, v) = 0 and I(v) = ½ Dᵀ(Σ⁻¹ ⊗ Σ⁻¹)D with D the duplication matrix: for P = Σ⁻¹ its
entry of σ_ij and σ_kl is P_ik P_jl + P_il P_jk, halved for i = j and again for k = l.
Reference: Magnus & Neudecker (1999), Matrix Differential Calculus, ch. 15.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.linalg import block_diag


def spread(rows: np.ndarray) -> np.ndarray:
    """The sd of every column of rows, shape (N,) or (N, D); 1 of a column that is constant."""
    return np.where(np.ptp(rows, axis=0) > 0, rows.std(axis=0), 1.0)


def vech(matrix: Array) -> Array:
    """Lower triangle of a symmetric matrix (D, D), row by row, shape (D(D+1)/2,)."""
    return matrix[np.tril_indices(matrix.shape[-1])]


def normal_information(covariance: Array) -> Array:
    """Information of one observation about (μ, vech Σ), shape (m, m) with m = D + D(D+1)/2."""
    precision = jnp.linalg.inv(covariance)
    i, j = np.tril_indices(len(covariance))
    halved = np.where(i == j, 0.5, 1.0)
    products = precision[i][:, i] * precision[j][:, j] + precision[i][:, j] * precision[j][:, i]
    return block_diag(precision, np.outer(halved, halved) * products)
