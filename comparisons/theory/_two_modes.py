"""The target of the samplers, a mixture of two normals, and what draws tell of its moments."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from comparisons.theory._claims import Measured, mean
from comparisons.theory.sampling import Drawn, NormalMixture

AXIS = np.array([0.8, 0.6])
"""Direction of the line through the two means."""
PLACES = np.array([-1.2, 0.8])
"""The means on it."""
WEIGHTS, SCALE = np.array([0.35, 0.65]), 0.8
DRAWS = 512
REPETITIONS = 200
"""Independent runs at effort 1; their standard deviation gives the Monte Carlo error."""

LOCATION = 0.05
"""Error of a mean, in standard deviations, that does not matter: the project's bound."""
SLOPE = 0.1
"""Error of a power that does not matter: over the factor of 32 from the smallest to the largest n,
or as much of a step, it changes what is extrapolated by less than 32^0.1 = 1.4."""


class Moments(NamedTuple):
    """Mean and variance along the axis."""

    mean: float
    variance: float


def target() -> NormalMixture:
    """The law in the plane."""
    means = jnp.asarray(PLACES[:, None] * AXIS)
    return NormalMixture(jnp.asarray(WEIGHTS), means, jnp.asarray(SCALE))


def line() -> NormalMixture:
    """Its law along the axis."""
    return NormalMixture(jnp.asarray(WEIGHTS), jnp.asarray(PLACES[:, None]), jnp.asarray(SCALE))


def normal() -> NormalMixture:
    """N(0, σ²I) in the plane, as a mixture of two that coincide."""
    return target()._replace(means=jnp.zeros((2, 2)))


def truth() -> Moments:
    """The moments of the target."""
    return Moments(float(line().mean[0]), float(line().covariance[0, 0]))


def relative(moments: Moments) -> Moments:
    """The mean in standard deviations of the target, the variance in units of its variance."""
    variance = truth().variance
    return Moments(moments.mean / float(np.sqrt(variance)), moments.variance / variance)


def measured(drawn: Drawn) -> tuple[Measured, Measured]:
    """Mean and second moment about the true mean, by draws, in the units of `relative`."""
    along, (location, variance) = drawn.draws @ AXIS, truth()
    values = np.stack([along, (along - location) ** 2], axis=-1)
    found = drawn.means(values, DRAWS)[:, 0]
    return mean(found[:, 0]).per(np.sqrt(variance)), mean(found[:, 1]).per(variance)
