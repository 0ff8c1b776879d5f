"""One source of randomness: every key of JAX comes from a NumPy stream."""

import jax
import numpy as np
from jax import Array


def key_of(rng: np.random.Generator) -> Array:
    """A JAX key from a stream, which moves on."""
    return jax.random.key(int(rng.integers(2**63)))
