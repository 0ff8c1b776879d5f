"""Rejection: x ~ q is kept with probability p(x)/(M q(x)), where p ≤ M q everywhere.

Exact and independent; a draw takes a geometric number of proposals, M on average.  Against a normal
q = N(m, s²I) around the target's mean, s > σ, each component's bound is its ratio's maximum and

    M = Σ_k w_k (s/σ)ᵈ exp{‖μ_k − m‖² / (2(s² − σ²))}.

References: von Neumann (1951), Nat. Bur. Stand. Appl. Math. Ser. 12; Robert & Casella (2004), §2.3.
"""

from typing import final

import jax
import numpy as np
from jax import Array

from comparisons.theory.sampling import Drawn, NormalMixture, Sampler, widened
from models.programs.keys import key_of

RATIO = 2.0  # s/σ, above 1
_BATCH = 65_536  # proposals at a time


@final
class Rejection(Sampler):
    """Proposals from a normal law wider than the components."""

    def draw(self, target: NormalMixture, rng: np.random.Generator, runs: int, n: int) -> Drawn:
        proposal = widened(target, RATIO)
        log_bound = float(np.log(bound(target, RATIO)))
        places, draws, tried = [], [], 0
        while sum(map(len, draws)) < runs * n:
            x, accepted = map(np.asarray, _tried(target, proposal, log_bound, key_of(rng)))
            draws.append(x[accepted])
            places.append(tried + np.flatnonzero(accepted))
            tried += _BATCH
        used = int(np.concatenate(places)[runs * n - 1]) + 1
        kept = np.concatenate(draws)[: runs * n]
        return Drawn(
            kept.reshape(runs, n, -1), evaluations=used / len(kept), acceptance=len(kept) / used
        )


def bound(target: NormalMixture, ratio: float) -> float:
    """M, the expected number of proposals for a draw."""
    weights, means, scale = map(np.asarray, target)
    squares = ((means - weights @ means) ** 2).sum(axis=1)
    width = 2 * scale**2 * (ratio**2 - 1)
    return float(ratio ** means.shape[1] * (weights @ np.exp(squares / width)))


@jax.jit
def _tried(
    target: NormalMixture, proposal: NormalMixture, log_bound: Array | float, key: Array
) -> tuple[Array, Array]:
    """Proposals, shape (_BATCH, d), and which are accepted."""
    propose, decide = jax.random.split(key)
    x = proposal.draws(propose, (_BATCH,))
    ratio = target.log_density(x) - proposal.log_density(x) - log_bound
    return x, -jax.random.exponential(decide, (_BATCH,)) < ratio
