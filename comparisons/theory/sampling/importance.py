"""Importance sampling: draws of q with weights w ∝ p/q.

The self-normalised mean is biased by O(1/n) and worth an effective number of draws

    ESS = (Σ w)²/Σ w² → n/(1 + χ²),    χ² = ∫ p²/q − 1.

The weights' tail decides whether any of this holds: with P(w > t) ~ t^{−1/k} the variance is finite
for k < ½, and k̂, fitted to the largest weights, should be below 0.7.
References: Kong (1992), Univ. Chicago TR 348; Owen (2013), Monte Carlo theory, methods and
examples, ch. 9; Vehtari, Simpson, Gelman, Yao & Gabry (2024), JMLR 25 (k̂).
"""

from dataclasses import dataclass
from typing import Any, final

import jax.numpy as jnp
import numpy as np

from comparisons.theory.sampling import Drawn, NormalMixture, Sampler, widened
from models.programs.keys import key_of

RELIABLE = 0.7  # largest k̂ at which the weights may be relied on

_FEWEST = 5  # weights that a tail can be fitted to


@final
@dataclass(frozen=True)
class Importance(Sampler):
    """Draws of a normal law around the target's mean."""

    ratio: float = 2.0
    """Its scale over the components'."""

    def draw(self, target: NormalMixture, rng: np.random.Generator, runs: int, n: int) -> Drawn:
        proposal = widened(target, self.ratio)
        draws = proposal.draws(key_of(rng), (runs, n))
        weights = np.asarray(jnp.exp(target.log_density(draws) - proposal.log_density(draws)))
        k = tail_index(weights.ravel())
        problem = f"the weights have too heavy a tail: k̂ is {k:.2f}; expected below {RELIABLE}"
        return Drawn(
            np.asarray(draws),
            weights / weights.sum(axis=1, keepdims=True),
            problems=() if k < RELIABLE else (problem,),
        )


def chi_squared(target: NormalMixture, ratio: float) -> float:
    """χ² of the target from the widened proposal, a sum of Gaussian integrals; ratio² > ½.

    About the target's mean, with a = 2/σ² − 1/s², the exponent of N_j N_k / q is
    −½{a‖x − (μ_j + μ_k)/(aσ²)‖² + (‖μ_j‖² + ‖μ_k‖²)/σ² − ‖μ_j + μ_k‖²/(aσ⁴)}.
    """
    weights, means, scale = map(np.asarray, target)
    away, variance = means - weights @ means, scale**2
    a = 2 / variance - 1 / (ratio**2 * variance)
    squares = (away**2).sum(axis=1)
    middle = ((away[:, None] + away) ** 2).sum(axis=-1) / (a * variance**2)
    exponent = 0.5 * (middle - (squares[:, None] + squares) / variance)
    volume = (ratio**2 / (a * variance)) ** (means.shape[1] / 2)
    return float(volume * (weights @ np.exp(exponent) @ weights) - 1)


def tail_index(weights: np.ndarray) -> float:
    """k̂ of weights, shape (n,); NaN where the tail is less than five of them."""
    from arviz_stats.base.array import array_stats

    if tail_size(weights.size) < _FEWEST:
        return float("nan")
    k: Any = array_stats.pareto_khat(weights[None], r_eff=1.0, tail="right")
    return float(k)


def tail_size(n: int) -> int:
    """How many of the largest weights k̂ is fitted to."""
    return int(np.ceil(min(n / 5, 3 * np.sqrt(n))))
