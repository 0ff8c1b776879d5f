"""Which latent variables are parameters, found by derivatives and not by their names or plates.

At a few points: a variable is *absent* where ∂ℓ/∂θ ≡ 0 (hyper-parameters of a centred hierarchy);
its *parents* are the variables that its log prior has a derivative in; the *nullity* is k minus the
rank of the scores of all rows (a non-centred hierarchy has more variables than the rows determine).
Without integrating over the latent variables the likelihood of such a program has no maximum that
means anything: Neyman & Scott (1948), Econometrica 16.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from models.programs.adopted.program import UserProgram

_POINTS = 3
_ZERO = 1e-12
"""A derivative below this at every point is none."""
_RANK = 1e-8
"""Singular values of scaled scores, relative to their size, below which they count as zero."""
_MOST = 20_000_000
"""Numbers of a matrix of scores that are kept at a time; of more rows some are looked at."""


@final
class Structure(NamedTuple):
    """The dependences of the likelihood of a program.

    Attributes:
        absent: variables that the likelihood does not depend on.
        parents: by variable, those that its prior depends on.
        nullity: number of directions that the likelihood says nothing about.
        sizes: number of values of each variable.
    """

    absent: tuple[str, ...]
    parents: dict[str, tuple[str, ...]]
    nullity: int
    sizes: dict[str, int]

    @property
    def latent(self) -> tuple[str, ...]:
        """The variables to integrate over, as far as can be told; () if all are parameters."""
        children = tuple(n for n, above in self.parents.items() if set(above) & set(self.absent))
        if children or not self.nullity:
            return children
        many = [n for n in sorted(self.sizes, key=lambda n: -self.sizes[n]) if self.sizes[n] > 1]
        return tuple(many[:1])


def structure(
    program: UserProgram, terms: Callable[[Array], Array], rng: np.random.Generator
) -> Structure:
    """Looks at the derivatives of a program at a few of its starts.

    Args:
        program: the program.
        terms: u ↦ the terms of its log-likelihood, shape (n,).
        rng: draws the points.
    """
    starts = program.starts(rng)
    points = starts[:: max(1, len(starts) // _POINTS)][:_POINTS]
    columns = np.array(program.coordinates)
    scores = [_scores(terms, jnp.asarray(u)) for u in points]
    priors = [_prior_derivatives(program, jnp.asarray(u)) for u in points]
    largest = np.max([np.abs(score).max(axis=0) for score in scores], axis=0)
    names = program.names
    absent = tuple(n for n in names if not (largest[columns == n] > _ZERO).any())
    parents = {}
    for i, name in enumerate(names):
        slopes = np.max([np.abs(prior[i]) for prior in priors], axis=0)
        above = tuple(p for p in names if p != name and (slopes[columns == p] > _ZERO).any())
        if above:
            parents[name] = above
    sizes = {site.name: int(np.prod(site.shape)) for site in program.sites}
    return Structure(absent, parents, program.size - max(map(_rank, scores)), sizes)


def _scores(terms: Callable[[Array], Array], u: Array) -> np.ndarray:
    """Derivatives of the terms; of the curvature, too, where all data are one term.

    Returns:
        Shape (rows, k).
    """
    count = jax.eval_shape(terms, u).shape[0]
    step = max(1, count * u.size // _MOST)
    found = np.asarray(jax.jit(jax.jacfwd(lambda v: terms(v)[::step]))(u))
    if count == 1:
        hessian = jax.jit(jax.hessian(lambda v: jnp.sum(terms(v))))(u)
        found = np.concatenate([found, np.asarray(hessian)])
    return np.nan_to_num(found)


def _prior_derivatives(program: UserProgram, u: Array) -> np.ndarray:
    """Derivatives of each variable's log prior, shape (variables, k)."""

    def priors(at: Array) -> Array:
        found = program.at(at).prior
        return jnp.stack([jnp.sum(found[name]) for name in program.names])

    return np.nan_to_num(np.asarray(jax.jit(jax.jacfwd(priors))(u)))


def _rank(scores: np.ndarray) -> int:
    scale = np.maximum(np.abs(scores).max(axis=0), np.finfo(float).tiny)
    values = np.linalg.svd(scores / scale, compute_uv=False)
    return int((values > _RANK * np.sqrt(scores.shape[0])).sum())
