"""Score only: s(x) ≈ ∇ log p(x), learnt without the density and without its constant.

Matching ½E‖s − ∇ log p‖² needs no ∇ log p: integrated by parts it is, up to a constant,

    sliced      E[½(vᵀs)² + vᵀ(∇s)v],      v random signs (for the trace), or with noise added
    denoising   ½E‖s(x + σε) + ε/σ‖²,      whose answer is the score of p ∗ N(0, σ²I) instead.

References: Hyvärinen (2005), JMLR 6; Vincent (2011), Neural Comput. 23; Song, Garg, Shi & Ermon
(2020), UAI.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, final

import jax
import jax.numpy as jnp

from comparisons.theory.densities._fitted import DensityEstimator, Fitted
from comparisons.theory.densities._network import minimise, perceptron, size, standard
from models.programs.keys import key_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import equinox as eqx
    import numpy as np
    from jax import Array

NOISE = 0.3
"""σ of the denoising objective, in the units of the data."""


@final
@dataclass(frozen=True)
class ScoreMatching(DensityEstimator):
    """A network for the score.

    Attributes:
        objective: which form of the divergence is minimised.
        width: units of each of the two hidden layers.
        updates: steps of Adam at effort 1.
    """

    objective: Literal["denoising", "sliced"] = "denoising"
    width: int = 32
    updates: int = 4_000

    name: ClassVar[str] = "score_matching"

    def fit(self, train: np.ndarray, rng: np.random.Generator, effort: int) -> Fitted:
        units = standard(train)
        start = perceptron(key_of(rng), 2, 2, self.width)

        def score(network: eqx.nn.MLP, x: Array) -> Array:
            return network(units.to(x)) / units.scale

        def denoising(network: eqx.nn.MLP, key: Array, x: Array) -> Array:
            return denoising_loss(lambda x: score(network, x), key, x)

        def sliced(network: eqx.nn.MLP, key: Array, x: Array) -> Array:
            return sliced_loss(lambda x: score(network, x), key, x)

        loss = {"denoising": denoising, "sliced": sliced}[self.objective]
        updates = self.updates * effort
        trained = minimise(loss, start, train, rng, updates=updates)
        return Fitted(
            "score only",
            score=lambda x: jax.vmap(lambda x: score(trained.network, x))(x),
            parameters=size(start),
            updates=updates,
            compile=trained.compile,
            run=trained.run,
            problems=trained.problems,
        )


def denoising_loss(score: Callable[[Array], Array], key: Array, x: Array) -> Array:
    """½ mean ‖s(x + σε) + ε/σ‖², with D/σ² for ‖ε/σ‖², which does not depend on the score.

    A score is a function of one point.
    """
    noise = jax.random.normal(key, x.shape)
    guess = jax.vmap(score)(x + NOISE * noise)
    cross = jnp.sum(guess * noise, axis=1) / NOISE
    return jnp.mean(0.5 * jnp.sum(guess**2, axis=1) + cross) + x.shape[1] / (2 * NOISE**2)


def sliced_loss(score: Callable[[Array], Array], key: Array, x: Array) -> Array:
    """Mean of ½(vᵀs)² + vᵀ(∇s)v, v random signs."""
    v = jax.random.rademacher(key, x.shape, x.dtype)

    def one(x: Array, v: Array) -> Array:
        s, change = jax.jvp(score, (x,), (v,))
        return 0.5 * (v @ s) ** 2 + v @ change

    return jnp.mean(jax.vmap(one)(x, v))
