"""Density estimators by their access to the likelihood: every `x.py` here defines one.

A model of the law of x ∈ ℝ² is reached in one of a few ways: its log-likelihood exactly, with
latent variables summed out, through a lower bound, through a change of variables, as a product of
conditionals, through its score ∇ log q alone, or through samples alone.  One result type serves
all; what a kind of access cannot give is None.

Networks are trained by Adam on minibatches, with a rate that falls to zero along half a cosine, so
that the iterates settle instead of wandering about the optimum.  A run has converged when it had no
need of its second half: the mean loss over its last tenth is not below that over the tenth after
the middle by more than noise and a small share of the whole fall.  (The last tenths differ in no
run: by then the rate is nearly zero.)
References: Kingma & Ba (2015), ICLR; Loshchilov & Hutter (2017), ICLR.
"""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal, NamedTuple, final, get_args, get_origin, get_type_hints

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
BATCH = 256  # points per step of training, drawn with replacement
_SIGNIFICANT = 3.29  # standard errors by which tenths of a run differ if the loss is still falling
_SHARE = 0.05
"""Share of the whole fall of the loss that may be left to the second half of a run; a loss that
falls in proportion to the rate leaves it 1/2 − 1/π = 0.18."""


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


TEMPLATE = as_data(np.array([[0.0, 0.0], [0.0, 1.0], [2.0, 0.0]]))
"""Any data of two columns: they give a program its shapes."""
LINE = as_data(np.array([0.0, 1.0, 2.0]))  # any data of one column of numbers


def log_density_at(model: Model, values: Values, template: xr.Dataset = TEMPLATE) -> Pointwise:
    """x ↦ log p(x | θ), shape (M,), of points as the template has them, off the NumPyro program."""
    density, log_likelihood = replicable(model, template)
    u = density.unconstrain(values)
    return lambda x: log_likelihood(as_data(x), u)


# --- training -----------------------------------------------------------------------------------


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


def perceptron(key: Array, inputs: int, outputs: int, width: int) -> eqx.nn.MLP:
    """Two hidden layers; smooth, as densities and scores are to be differentiated.

    Args:
        key: of the weights.
        inputs: coordinates of a point.
        outputs: numbers that it is mapped to.
        width: units of each layer.
    """
    return eqx.nn.MLP(inputs, outputs, width, 2, activation=jax.nn.tanh, key=key)


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

    @jax.jit
    def run(free: Any, keys: Array) -> tuple[Any, Array]:
        start = free, optimiser.init(free), free
        (_, _, average), losses = jax.lax.scan(update, start, keys)
        return average, losses

    free, losses = run(free, jax.random.split(key_of(rng), updates))
    return Trained(eqx.combine(free, fixed), np.asarray(losses))


# --- estimators ---------------------------------------------------------------------------------


@final
@dataclass(frozen=True)
class Fitted:
    """A fitted law of points in the plane.

    Attributes:
        access: how the likelihood is reached, in a few words.
        log_density: log q, shape (M,), nats, in the units of the data.
        bound: (key, points, K) ↦ a random lower bound of log q by K importance samples.
        score: ∇ log q, shape (M, D).
        sample: (rng, n) ↦ independent draws of q, shape (n, 2).
        parameters: how many numbers were fitted.
        problems: why the result must not be relied on, one sentence each.
    """

    access: str
    log_density: Pointwise | None = None
    bound: Callable[[Array, Array, int], Array] | None = None
    score: Pointwise | None = None
    sample: Callable[[np.random.Generator, int], np.ndarray] | None = None
    parameters: int = 0
    problems: tuple[str, ...] = ()


class DensityEstimator(ABC):
    """A way to learn a law from its draws; final subclasses are frozen dataclasses of settings.

    A field annotated with a `Literal` (a criterion, a selector) spans the estimator's variants.
    """

    name: ClassVar[str]
    """That of its file."""

    def __init_subclass__(cls) -> None:
        cls.name = cls.__module__.rpartition(".")[2]

    @abstractmethod
    def fit(self, train: np.ndarray, rng: np.random.Generator, effort: int) -> Fitted:
        """Learns the law of `train`, shape (N, 2); `effort` multiplies the updates of networks."""


@dataclass(frozen=True, kw_only=True)
class Network(DensityEstimator):
    """An estimator that is trained by gradients."""

    width: int = 32
    """Units of each of the two hidden layers, of every network."""
    updates: int = 4_000
    """Steps of Adam at effort 1."""

    def _learn(
        self,
        loss: Callable[[Any, Array, Array], Array],
        start: Any,
        train: np.ndarray,
        rng: np.random.Generator,
        effort: int,
        **how: float,
    ) -> tuple[Standard, Trained]:
        """The units of the data, and a network trained in them; `how` goes to `minimise`."""
        units, updates = standard(train), self.updates * effort
        return units, minimise(loss, start, units.to(train), rng, updates=updates, **how)


@dataclass(frozen=True, kw_only=True)
class ByLikelihood(Network):
    """Maximum likelihood for a network with a `log_density` of one point, and `draws`."""

    updates: int = 2_000
    access: ClassVar[str] = "exact, change of variables"

    @abstractmethod
    def start(self, key: Array) -> Any:
        """The network before its training; it sees standardised data."""

    @final
    def fit(self, train: np.ndarray, rng: np.random.Generator, effort: int) -> Fitted:
        def loss(network: Any, key: Array, x: Array) -> Array:
            return -jnp.mean(jax.vmap(network.log_density)(x))

        units, trained = self._learn(loss, self.start(key_of(rng)), train, rng, effort, rate=5e-3)
        log_density = jax.vmap(lambda x: trained.network.log_density(x))
        draws = lambda key, n: trained.network.draws(key, n)  # noqa: E731
        fitted = from_training(self.access, trained, units, log_density, draws)
        return replace(fitted, score=gradient(fitted.log_density))  # pyright: ignore[reportArgumentType]


class Flow(eqx.Module):
    """Change of variables: with z = f(x) one to one, log q(x) = log q₀(z) + log |∂z/∂x|.

    q₀ is N(0, I).  Its Jacobian makes maximum likelihood exact, and draws go through f⁻¹.
    References: Rezende & Mohamed (2015), ICML; Papamakarios et al. (2021), JMLR 22.
    """

    @abstractmethod
    def forward(self, x: Array) -> tuple[Array, Array]:
        """The image, shape (2,), and log |∂z/∂x|."""

    @abstractmethod
    def inverse(self, z: Array) -> Array:
        """The point whose image is z."""

    def log_density(self, x: Array) -> Array:
        """log q at one point."""
        z, log_jacobian = self.forward(x)
        return -0.5 * jnp.sum(z**2) - jnp.log(2 * jnp.pi) + log_jacobian

    def draws(self, key: Array, n: int) -> Array:
        """Independent draws, shape (n, 2)."""
        return jax.vmap(lambda z: self.inverse(z))(jax.random.normal(key, (n, 2)))


class Conditional(eqx.Module):
    """Parameters of the first coordinate's law or map, and of the second's given the first."""

    first: Array
    """Shape (3, K)."""
    second: eqx.nn.MLP
    """From the first coordinate to what is added for the second."""

    def after(self, x: Array) -> Array:
        """The second coordinate's parameters, shape (3, K)."""
        return self.first + self.second(x[None]).reshape(self.first.shape)


def variants(cls: type[DensityEstimator]) -> dict[str, DensityEstimator]:
    """An estimator at every combination of its choices, by name: `kernel_density[cv_ml]`."""
    hints = get_type_hints(cls)
    names = [f.name for f in fields(cls) if get_origin(hints[f.name]) is Literal]  # pyright: ignore[reportArgumentType]
    return {
        f"{cls.name}[{', '.join(chosen)}]" if chosen else cls.name: cls(
            **dict(zip(names, chosen, strict=True))
        )
        for chosen in itertools.product(*(get_args(hints[name]) for name in names))
    }


def from_training(
    access: str,
    trained: Trained,
    units: Standard,
    log_density: Pointwise | None = None,
    draws: Callable[[Array, int], Array] | None = None,
    **known: Any,
) -> Fitted:
    """The law of a trained network.

    Args:
        access: how the likelihood is reached.
        trained: the network.
        units: those in which it sees the data.
        log_density: its own, in those units.
        draws: (key, n) ↦ its own, in those units.
        **known: all else that it gives, in the units of the data.
    """
    if log_density is not None:
        known["log_density"] = lambda x: log_density(units.to(x)) - units.log_volume
    if draws is not None:
        compiled = jax.jit(draws, static_argnums=1)
        known["sample"] = lambda rng, n: np.asarray(units.back(compiled(key_of(rng), n)))
    weights = jax.tree.leaves(eqx.filter(trained.network, eqx.is_inexact_array))
    parameters = sum(int(leaf.size) for leaf in weights)
    return Fitted(access, parameters=parameters, **{"problems": trained.problems, **known})


def from_model(model: Model, values: Values, access: str) -> Fitted:
    """The law by values of a model's parameters: everything is known, exactly."""
    log_density = log_density_at(model, values)
    return Fitted(
        access,
        log_density,
        score=gradient(log_density),
        sample=lambda rng, n: np.asarray(model.simulate(rng, values, n)["y"].data),
        parameters=replicable(model, TEMPLATE)[0].size,
    )
