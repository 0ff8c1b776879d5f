"""The form in which every program is read, in either language, whoever wrote it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import final

import jax.numpy as jnp
import numpy as np
from jax import Array

from models.spec import Values


@final
@dataclass(frozen=True, eq=False)
class Program:
    """A program's functions of unconstrained coordinates u, shape (k,).

    Attributes:
        shapes: the shape of each parameter's part of u, in order.
        constrain: u ↦ values on the natural scale.
        unconstrain: values ↦ u.
        log_likelihood: u ↦ one array of terms per observed site, or one of all rows, nats.
        log_prior: u ↦ terms of log π(θ), by parameter or factor; no Jacobian.
        log_jacobian: u ↦ terms of log |∂θ/∂u|, by parameter.
        shortfall: u ↦ how far an approximate log-likelihood is too low, with error, nats.
    """

    shapes: Mapping[str, tuple[int, ...]]
    constrain: Callable[[Array], Values]
    unconstrain: Callable[[Values], Array]
    log_likelihood: Callable[[Array], list[Array]]
    log_prior: Callable[[Array], Values]
    log_jacobian: Callable[[Array], Values]
    shortfall: Callable[[Array], tuple[float, float]] = lambda u: (0.0, 0.0)

    @property
    def coordinates(self) -> tuple[str, ...]:
        """The parameter that each coordinate of u belongs to, length k."""
        return tuple(n for n, shape in self.shapes.items() for _ in range(int(np.prod(shape))))


def total(terms: Mapping[str, Array]) -> Array:
    """The sum of all terms, a scalar."""
    return sum((jnp.sum(term) for term in terms.values()), jnp.zeros(()))


def split(u: Array, shapes: Mapping[str, tuple[int, ...]]) -> Values:
    """The parts of one flat point, shape (k,)."""
    parts = jnp.split(u, np.cumsum([int(np.prod(shape)) for shape in shapes.values()]))[:-1]
    return {n: jnp.reshape(p, s) for (n, s), p in zip(shapes.items(), parts, strict=True)}


def joined(parts: Mapping[str, Array], names: Iterable[str]) -> Array:
    """One flat point, shape (k,), of parts by name."""
    return jnp.concatenate([jnp.zeros(0), *(jnp.ravel(parts[name]) for name in names)])


def log_volume(jacobian: Array) -> Array:
    """log |det| of a matrix of derivatives; NaN where it is not square."""
    rows, columns = jacobian.shape
    return jnp.linalg.slogdet(jacobian)[1] if rows == columns else jnp.asarray(jnp.nan)
