"""Importance sampling: draws of q with weights w ∝ p/q.

The self-normalised mean is biased by O(1/n) and worth an effective number of draws

    ESS = (Σ w)²/Σ w² → n/(1 + χ²),    χ² = ∫ p²/q − 1.

References: Kong (1992), Univ. Chicago TR 348; Owen (2013), Monte Carlo theory, methods and
examples, ch. 9.
"""

import jax.numpy as jnp
import numpy as np

from comparisons.theory.sampling import Drawn, NormalMixture
from models.programs.keys import key_of

RATIO = 2.0  # scale of the proposal over the components'


def draw(target: NormalMixture, rng: np.random.Generator, shape: tuple[int, int]) -> Drawn:
    """Weighted draws of a normal law around the target's mean."""
    proposal = target.widened(RATIO)
    draws = proposal.draws(key_of(rng), shape)
    weights = jnp.exp(target.log_density(draws) - proposal.log_density(draws))
    return Drawn(np.asarray(draws), np.asarray(weights))


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
