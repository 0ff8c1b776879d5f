"""Density estimators by their access to the likelihood: every `x.py` here defines one, `fit`.

`fit(train, rng, effort)` learns the law of `train`, shape (N, 2); `effort` multiplies the updates
of networks.  One result type serves all; what a kind of access cannot give is None.

Networks are trained by Adam on minibatches, with a rate that falls to zero along half a cosine.  A
run has converged when it had no need of its second half: the mean loss over its last tenth is not
below that over the tenth after the middle by more than noise and a small share of the whole fall.
References: Kingma & Ba (2015), ICLR; Loshchilov & Hutter (2017), ICLR.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from jax import Array

from inference.threads import pool
from models.programs.density import replicable
from models.programs.keys import key_of
from models.spec import Model, Values

type Pointwise = Callable[[Array], Array]
"""A function of points, shape (M, D), traceable by JAX; one number or one row for each."""

_CHUNK = 4096  # points in memory at a time
_BATCH = 256  # points per step of training, drawn with replacement
_SIGNIFICANT = 3.29  # standard errors by which tenths of a run differ if the loss is still falling
_SHARE = 0.05
"""Share of the whole fall of the loss that may be left to the second half of a run; a loss that
falls in proportion to the rate leaves it 1/2 − 1/π = 0.18."""


@final
@dataclass(frozen=True)
class Fitted:
    """A fitted law of points in the plane."""

    access: str  # how the likelihood is reached, in a few words
    log_density: Pointwise | None = None  # log q, shape (M,), nats, in the units of the data
    score: Pointwise | None = None  # ∇ log q, shape (M, 2)
    sample: Callable[[np.random.Generator, int], np.ndarray] | None = None
    """(rng, n) ↦ independent draws of q, shape (n, 2)."""
    problems: tuple[str, ...] = ()  # why the result must not be relied on, one sentence each


# --- functions of many points -------------------------------------------------------------------


def mesh(*axes: np.ndarray) -> np.ndarray:
    """All points with coordinates on the axes, shape (G, D); the last axis varies fastest."""
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))


def gradient(function: Pointwise) -> Pointwise:
    """The gradient at every point, shape (M, D), of a function with one number for each."""
    return jax.grad(lambda x: jnp.sum(function(x)))


def everywhere(function: Pointwise, points: np.ndarray) -> np.ndarray:
    """A function at many points, shape (M, D), a few thousand at a time and in threads."""
    padded = np.concatenate([points, np.repeat(points[:1], -len(points) % _CHUNK, axis=0)])
    compiled = jax.jit(function)
    parts = jnp.asarray(padded.reshape(-1, _CHUNK, points.shape[1]))
    # traced before the threads start, so that only one compiles
    values = [np.asarray(compiled(parts[0]))]
    with pool() as threads:
        values += threads.map(lambda part: np.asarray(compiled(part)), parts[1:])
    return np.concatenate(values)[: len(points)]


def as_data(points: Any) -> xr.Dataset:
    """Points, shape (M, 2) or (M,), as the data set of a model with one column of them."""
    return xr.Dataset({"y": (("obs", "variable")[: points.ndim], points)})


PLANE = as_data(np.array([[0.0, 0.0], [0.0, 1.0], [2.0, 0.0]]))
"""Any data of two columns: they give a program its shapes."""
LINE = as_data(np.array([0.0, 1.0, 2.0]))  # any data of one column of numbers


def log_density_at(model: Model, values: Values, template: xr.Dataset = PLANE) -> Pointwise:
    """x ↦ log p(x | θ), shape (M,), of points as the template has them, off the NumPyro program."""
    density, log_likelihood = replicable(model, template)
    u = density.unconstrain(values)
    return lambda x: log_likelihood(as_data(x), u)


def from_model(model: Model, values: Values, access: str) -> Fitted:
    """The law by values of a model's parameters: everything is known, exactly."""
    log_density = log_density_at(model, values)

    def sample(rng: np.random.Generator, n: int) -> np.ndarray:
        return np.asarray(model.simulate(rng, values, n)["y"].data)

    return Fitted(access, log_density, gradient(log_density), sample)


# --- training -----------------------------------------------------------------------------------


class Standard(NamedTuple):
    """The units in which networks see the data: x = location + scale · z."""

    location: np.ndarray
    scale: np.ndarray

    def to(self, x: Any) -> Any:
        """Points x in the network's units."""
        return (x - self.location) / self.scale

    def density(self, log_density: Pointwise) -> Pointwise:
        """The log density of x from that of z."""
        return lambda x: log_density(self.to(x)) - np.log(self.scale).sum()

    def sample(
        self, draws: Callable[[Array, int], Array]
    ) -> Callable[[np.random.Generator, int], np.ndarray]:
        """(rng, n) ↦ draws of x from (key, n) ↦ those of z."""
        compiled = jax.jit(draws, static_argnums=1)
        return lambda rng, n: self.location + self.scale * np.asarray(compiled(key_of(rng), n))


def standard(train: np.ndarray) -> Standard:
    """Mean 0 and standard deviation 1 for each column of the data."""
    return Standard(train.mean(axis=0), train.std(axis=0))


def perceptron(key: Array, inputs: int, outputs: int) -> eqx.nn.MLP:
    """Two hidden layers of 32; smooth, as densities and scores are to be differentiated."""
    return eqx.nn.MLP(inputs, outputs, 32, 2, activation=jax.nn.tanh, key=key)


class Trained(NamedTuple):
    """The end of a training run."""

    network: Any
    losses: np.ndarray  # loss of the minibatch before each update, shape (updates,)

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
    updates: float,
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
    steps = round(updates)
    optimiser = optax.adam(optax.cosine_decay_schedule(rate, steps), b1=momentum)
    free, fixed = eqx.partition(network, eqx.is_inexact_array)
    points = jnp.asarray(data)

    def update(state: Any, key: Array) -> tuple[Any, Array]:
        free, moments, average = state
        choose, draw = jax.random.split(key)
        rows = points[jax.random.randint(choose, (_BATCH,), 0, points.shape[0])]
        value, gradient = jax.value_and_grad(
            lambda free: loss(eqx.combine(free, fixed), draw, rows)
        )(free)
        change, moments = optimiser.update(gradient, moments)
        free = optax.apply_updates(free, change)
        average = optax.incremental_update(free, average, 1 - averaging)
        return (free, moments, average), value

    start, keys = (free, optimiser.init(free), free), jax.random.split(key_of(rng), steps)
    (_, _, average), losses = jax.jit(lambda: jax.lax.scan(update, start, keys))()
    return Trained(eqx.combine(average, fixed), np.asarray(losses))
