"""What a density estimator is, and what it gives: as much of log q(x) as its kind of access allows.

A model of the law of x ∈ ℝ² is reached in one of a few ways: its log-likelihood exactly, with
latent variables summed out, through a lower bound, through a change of variables, as a product of
conditionals, through its score ∇ log q alone, or through samples alone.  One result type serves
all; what a kind of access cannot give is None.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Literal, final, get_args, get_origin, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np

from inference.threads import pool

if TYPE_CHECKING:
    from jax import Array

type Pointwise = Callable[[Array], Array]
"""A function of points, shape (M, D), traceable by JAX; one number or one row for each."""

type Bound = Callable[[Array, Array, int], Array]
"""(key, points, K) ↦ a random lower bound of log q by K importance samples, shape (M,), nats."""

type Sampler = Callable[[np.random.Generator, int], np.ndarray]
"""(rng, n) ↦ independent draws, shape (n, 2)."""

_CHUNK = 4096
"""Points in memory at a time."""


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
    sample: Sampler | None = None
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
    chosen = itertools.product(*(get_args(hints[name]) for name in names))
    return {
        f"{cls.name}[{', '.join(one)}]" if one else cls.name: cls(
            **dict(zip(names, one, strict=True))
        )
        for one in chosen
    }


def everywhere(of: Pointwise, points: np.ndarray) -> np.ndarray:
    """A function at many points, a few thousand at a time and in threads; compiled once.

    Args:
        of: the function.
        points: shape (M, D).

    Returns:
        Its values, leading axis M.
    """
    padded = np.concatenate([points, np.repeat(points[:1], -len(points) % _CHUNK, axis=0)])
    compiled = _compiled(of)
    parts = jnp.asarray(padded.reshape(-1, _CHUNK, points.shape[1]))
    # traced before the threads start, so that only one compiles
    values = [np.asarray(compiled(parts[0]))]
    with pool() as threads:
        values += threads.map(lambda part: np.asarray(compiled(part)), parts[1:])
    return np.concatenate(values)[: len(points)]


@lru_cache(maxsize=64)
def _compiled(of: Pointwise) -> Pointwise:
    return jax.jit(of)
