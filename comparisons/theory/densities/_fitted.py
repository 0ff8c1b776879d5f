"""A density estimator, and what it gives: as much of log q(x) as its kind of access allows.

A model of the law of x ∈ ℝ² is reached in one of a few ways: its log-likelihood exactly, with
latent variables summed out, through a lower bound, through a change of variables, as a product of
conditionals, through its score ∇ log q alone, or through samples alone.  One result type serves
all; what a kind of access cannot give is None.
"""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, final, get_args, get_origin, get_type_hints

import numpy as np
from jax import Array

from comparisons.theory.densities._networks import Trained, size
from comparisons.theory.densities._programs import log_density_at, model_size
from comparisons.theory.densities._quadrature import Pointwise, gradient
from models.spec import Model, Values

type Bound = Callable[[Array, Array, int], Array]
"""(key, points, K) ↦ a random lower bound of log q by K importance samples, shape (M,), nats."""

type Draw = Callable[[np.random.Generator, int], np.ndarray]
"""(rng, n) ↦ independent draws, shape (n, 2)."""


@final
@dataclass(frozen=True)
class Fitted:
    """A fitted law of points in the plane.

    Attributes:
        access: how the likelihood is reached, in a few words.
        log_density: log q, shape (M,), nats, in the units of the data.
        bound: a lower bound of log q.
        score: ∇ log q, shape (M, D).
        sample: independent draws of q.
        parameters: how many numbers were fitted.
        updates: how many steps of the optimiser it took.
        compile: seconds of compilation.
        run: seconds of fitting without it.
        problems: why the result must not be relied on, one sentence each.
    """

    access: str
    log_density: Pointwise | None = None
    bound: Bound | None = None
    score: Pointwise | None = None
    sample: Draw | None = None
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

    @abstractmethod
    def fit(self, train: np.ndarray, rng: np.random.Generator, effort: int) -> Fitted:
        """Learns the law that `train`, shape (N, 2), was drawn from.

        `effort` multiplies the updates of estimators that are trained by gradients.
        """


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


def from_training(access: str, trained: Trained, **known: Any) -> Fitted:
    """The law of a trained network, of which `known` has what it gives."""
    return Fitted(
        access,
        parameters=size(trained.network),
        updates=len(trained.losses),
        compile=trained.compile,
        run=trained.run,
        **{"problems": trained.problems, **known},
    )


def from_model(model: Model, values: Values, access: str) -> Fitted:
    """The law by values of a model's parameters: everything is known, exactly."""
    log_density = log_density_at(model, values)
    return Fitted(
        access,
        log_density,
        score=gradient(log_density),
        sample=lambda rng, n: np.asarray(model.simulate(rng, values, n)["y"].data),
        parameters=model_size(model),
    )
