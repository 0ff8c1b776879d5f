"""Rejection: x ~ q is kept with probability p(x)/(M q(x)), where p ≤ M q everywhere.

Exact and independent; a draw takes a geometric number of proposals, M on average.  Against a normal
q = N(m, s²I) around the target's mean, s > σ, each component's bound is its ratio's maximum and

    M = Σ_k w_k (s/σ)ᵈ exp{‖μ_k − m‖² / (2(s² − σ²))}.

References: von Neumann (1951), Nat. Bur. Stand. Appl. Math. Ser. 12; Robert & Casella (2004), §2.3.
"""

import numpy as np

from comparisons.theory.sampling import Drawn, NormalMixture
from models.programs.keys import key_of

RATIO = 2.0  # s/σ, above 1
_BATCH = 65_536  # proposals at a time


def draw(target: NormalMixture, rng: np.random.Generator, shape: tuple[int, int]) -> Drawn:
    """Proposals from a normal law wider than the components."""
    proposal, log_bound = target.widened(RATIO), float(np.log(bound(target, RATIO)))
    places, draws, tried, count = [], [], 0, shape[0] * shape[1]
    while sum(map(len, draws)) < count:
        x = proposal.draws(key_of(rng), (_BATCH,))
        ratio = np.asarray(target.log_density(x) - proposal.log_density(x)) - log_bound
        accepted = np.flatnonzero(np.log(rng.random(_BATCH)) < ratio)
        draws.append(np.asarray(x)[accepted])
        places.append(tried + accepted)
        tried += _BATCH
    used = int(np.concatenate(places)[count - 1]) + 1
    kept = np.concatenate(draws)[:count]
    return Drawn(kept.reshape(*shape, -1), evaluations=used / count)


def bound(target: NormalMixture, ratio: float) -> float:
    """M, the expected number of proposals for a draw."""
    weights, means, scale = map(np.asarray, target)
    squares = ((means - weights @ means) ** 2).sum(axis=1)
    width = 2 * scale**2 * (ratio**2 - 1)
    return float(ratio ** means.shape[1] * (weights @ np.exp(squares / width)))
