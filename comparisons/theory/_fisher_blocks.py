"""Blocks of the Fisher matrix of a network of two layers, and their Kronecker factors.

The theorems are those of `information`.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from comparisons.exhibits import Exhibits, Table
from comparisons.theory._claims import equal
from comparisons.theory._natural_gradient import EXACT


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
