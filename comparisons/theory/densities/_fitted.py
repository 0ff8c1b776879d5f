"""A density estimator, and what it gives: as much of log q(x) as its kind of access allows.

A model of the law of x ∈ ℝ² is reached in one of a few ways: its log-likelihood exactly, with
latent variables summed out, through a lower bound, through a change of variables, as a product of
conditionals, through its score ∇ log q alone, or through samples alone.  One result type serves
all; what a kind of access cannot give is None.
"""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal, final, get_args, get_origin, get_type_hints

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from comparisons.theory.densities._networks import Standard, Trained, minimise, standard
from comparisons.theory.densities._points import TEMPLATE, Pointwise, gradient, log_density_at
from models.programs.density import replicable
from models.programs.keys import key_of
from models.spec import Model, Values


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
        updates: how many steps of the optimiser it took.
        compile: seconds of compilation.
        run: seconds of fitting without it.
        problems: why the result must not be relied on, one sentence each.
    """

    access: str
    log_density: Pointwise | None = None
    bound: Callable[[Array, Array, int], Array] | None = None
    score: Pointwise | None = None
    sample: Callable[[np.random.Generator, int], np.ndarray] | None = None
    parameters: int = 0
    updates: int = 0
    compile: float = 0.0
    run: float = 0.0
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
    return Fitted(
        access,
        parameters=sum(int(leaf.size) for leaf in weights),
        updates=len(trained.losses),
        compile=trained.compile,
        run=trained.run,
        **{"problems": trained.problems, **known},
    )


def by_likelihood(
    access: str, start: Any, train: np.ndarray, rng: np.random.Generator, updates: int
) -> Fitted:
    """Maximum likelihood for a network with a `log_density` of one point, and `draws`.

    Args:
        access: how the likelihood is reached.
        start: where training starts; it sees standardised data.
        train: shape (N, 2).
        rng: of the minibatches.
        updates: steps of Adam.
    """
    units = standard(train)

    def loss(network: Any, key: Array, x: Array) -> Array:
        return -jnp.mean(jax.vmap(network.log_density)(x))

    trained = minimise(loss, start, units.to(train), rng, updates=updates, rate=5e-3)
    log_density = jax.vmap(lambda x: trained.network.log_density(x))
    draws = lambda key, n: trained.network.draws(key, n)  # noqa: E731
    fitted = from_training(access, trained, units, log_density, draws)
    return replace(fitted, score=gradient(fitted.log_density))  # pyright: ignore[reportArgumentType]


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
