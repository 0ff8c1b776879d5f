"""Training by stochastic gradients: Adam on minibatches, in one compiled loop.

The learning rate falls to zero along half a cosine, so that the iterates settle instead of
wandering about the optimum.  A run has converged when it had no need of its second half: the mean
loss over its last tenth is not below that over the tenth after the middle by more than noise and a
small share of the whole fall.  (The last tenths differ in no run: by then the rate is nearly zero.)
References: Kingma & Ba (2015), ICLR; Loshchilov & Hutter (2017), ICLR.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from models.programs.keys import key_of

BATCH = 256
"""Points per step, drawn with replacement."""
_SIGNIFICANT = 3.29
"""Standard errors by which two tenths of a run must differ for the loss to be falling still."""
_SHARE = 0.05
"""Share of the whole fall of the loss that may be left to the second half of a run; a loss that
falls in proportion to the rate leaves it 1/2 − 1/π = 0.18."""


class Trained(NamedTuple):
    """The end of a training run."""

    network: Any
    losses: np.ndarray
    """Loss of the minibatch before each update, shape (updates,)."""
    compile: float
    """Seconds."""
    run: float
    """Seconds."""

    @property
    def problems(self) -> tuple[str, ...]:
        """Why the run must not be relied on."""
        if not np.isfinite(self.losses).all():
            return ("the loss left the finite numbers",)
        tenth = len(self.losses) // 10
        before, last = self.losses[5 * tenth : 6 * tenth], self.losses[-tenth:]
        noise = np.sqrt((before.var() + last.var()) / tenth)
        fall = self.losses[: max(tenth // 10, 1)].mean() - last.mean()
        left = before.mean() - last.mean()
        if left > _SIGNIFICANT * noise + _SHARE * abs(fall):
            return (f"the loss is still falling: by {left:.2g} in the second half of the updates",)
        return ()


def minimise[T](
    loss: Callable[[T, Array, Array], Array],
    network: T,
    data: np.ndarray,
    rng: np.random.Generator,
    *,
    updates: int,
    rate: float = 3e-3,
    momentum: float = 0.9,
    averaging: float = 0.0,
) -> Trained:
    """Minimises the mean loss over the data.

    Args:
        loss: (network, key, a batch of points) ↦ a scalar.
        network: an equinox module.
        data: shape (N, D).
        rng: of the minibatches and of what the loss draws.
        updates: steps of Adam.
        rate: the first learning rate.
        momentum: share of its mean gradient that Adam keeps in an update.
        averaging: decay of an exponential moving average of the networks, which is what is
            returned; 0 returns the last one.
    """
    optimiser = optax.adam(optax.cosine_decay_schedule(rate, updates), b1=momentum)
    free, fixed = eqx.partition(network, eqx.is_inexact_array)
    points = jnp.asarray(data)

    def update(state: Any, key: Array) -> tuple[Any, Array]:
        free, moments, average = state
        choose, draw = jax.random.split(key)
        rows = points[jax.random.randint(choose, (BATCH,), 0, points.shape[0])]
        value, gradient = jax.value_and_grad(
            lambda free: loss(eqx.combine(free, fixed), draw, rows)
        )(free)
        change, moments = optimiser.update(gradient, moments)
        free = optax.apply_updates(free, change)
        average = optax.incremental_update(free, average, 1 - averaging)
        return (free, moments, average), value

    def run(free: Any, keys: Array) -> tuple[Any, Array]:
        start = free, optimiser.init(free), free
        (_, _, average), losses = jax.lax.scan(update, start, keys)
        return average, losses

    keys = jax.random.split(key_of(rng), updates)
    (free, losses), *seconds = timed(run, free, keys)
    return Trained(eqx.combine(free, fixed), np.asarray(losses), *seconds)


def timed(function: Callable[..., Any], *inputs: Any) -> tuple[Any, float, float]:
    """The result of a function, and the seconds of its compilation and of its run."""
    began = time.perf_counter()
    compiled = jax.jit(function).lower(*inputs).compile()
    ready = time.perf_counter()
    result = jax.block_until_ready(compiled(*inputs))
    return result, ready - began, time.perf_counter() - ready


def perceptron(key: Array, inputs: int, outputs: int, width: int) -> eqx.nn.MLP:
    """Two hidden layers; smooth, as densities and scores are to be differentiated.

    Args:
        key: of the weights.
        inputs: coordinates of a point.
        outputs: numbers that it is mapped to.
        width: units of each layer.
    """
    return eqx.nn.MLP(inputs, outputs, width, 2, activation=jax.nn.tanh, key=key)


class Conditional(eqx.Module):
    """Parameters of the first coordinate's law or map, and of the second's given the first."""

    first: Array
    """Shape (3, K)."""
    second: eqx.nn.MLP
    """From the first coordinate to what is added for the second."""

    def after(self, x: Array) -> Array:
        """The second coordinate's parameters, shape (3, K)."""
        return self.first + self.second(x[None]).reshape(self.first.shape)


class Standard(NamedTuple):
    """The units in which networks see the data: x = location + scale · z."""

    location: np.ndarray
    scale: np.ndarray

    def to(self, x: Any) -> Any:
        """Points x in the network's units."""
        return (x - self.location) / self.scale

    def back(self, z: Any) -> Any:
        """Points of the network in the units of the data."""
        return self.location + self.scale * z

    @property
    def log_volume(self) -> float:
        """log |∂x/∂z|."""
        return float(np.log(self.scale).sum())


def standard(train: np.ndarray) -> Standard:
    """Mean 0 and standard deviation 1 for each column of the data."""
    return Standard(train.mean(axis=0), train.std(axis=0))
