"""Which latent variables are parameters, found by derivatives and not by their names or plates.

Hyper-parameters of a centred hierarchy are absent from the likelihood; a non-centred one has more
variables than the rows determine; variables of which each value is in one row alone grow with the
rows.  Without integrating over the latent variables the likelihood of such a program has no maximum
that means anything: Neyman & Scott (1948), Econometrica 16.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from models.programs.adopted.program import Site, UserProgram
from models.programs.compilation import once
from models.programs.differentiation import directional, hessian, jacobian

_POINTS = 3
_ZERO = 1e-12
"""A derivative below this at every point is none."""
_RANK = 1e-8
"""Singular values of scaled scores, relative to their size, below which they count as zero."""
_INSIDE = 1e-6
"""Components of a unit vector below which it has none."""
_MOST = 20_000_000
"""Numbers of a matrix of scores that are kept at a time; of more rows some are looked at."""


@final
class Structure(NamedTuple):
    """The dependences of the likelihood of a program.

    Attributes:
        absent: variables with ∂ℓ/∂θ ≡ 0, that the likelihood does not depend on.
        stepwise: those of them with which it changes nevertheless, in steps.
        parents: by variable, those that its log prior has a derivative in.
        nullity: number of directions that the likelihood says nothing about, k minus the rank of
            the scores of all rows.
        loose: variables of fewer values than rows, undetermined even if all others were known.
        spare: variables without which the likelihood determines all others.
        redundant: variables with a common direction that no row tells anything of at any point, an
            intercept beside every level of a factor.
        single: variables of several values, each of which one row alone depends on.
        smooth: whether the derivatives that were looked at are finite at some point.
        sizes: number of values of each variable.
    """

    absent: tuple[str, ...]
    stepwise: tuple[str, ...]
    parents: dict[str, tuple[str, ...]]
    nullity: int
    loose: tuple[str, ...]
    spare: tuple[str, ...]
    redundant: tuple[str, ...]
    single: tuple[str, ...]
    smooth: bool
    sizes: dict[str, int]

    @property
    def rough(self) -> str:
        """Why there are no derivatives to go by, as a sentence; "" if there are."""
        if not self.smooth:
            return (
                "derivatives of its likelihood are NaN wherever it was looked at, second ones "
                "included: where a branch of jnp.where or a sum over labels meets log 0, use a "
                "safe argument there"
            )
        names = ", ".join(self.stepwise)
        told = (
            f"the likelihood changes with {names} in steps, without a derivative: if it is a "
            "place among the rows, draw it from a discrete law of them, which is summed out"
        )
        return told if names else ""

    @property
    def latent(self) -> tuple[str, ...]:
        """The variables to integrate over, as far as can be told; () if all are parameters."""
        children = {n for n, above in self.parents.items() if set(above) & set(self.absent)}
        # where there is nothing besides, they are all there is to estimate
        single = self.single if set(self.sizes) - set(self.single) else ()
        found = tuple(name for name in self.sizes if name in children or name in single)
        return found if found or not self.nullity else self.spare


def structure(
    program: UserProgram, terms: Callable[[Array], Array], row: np.ndarray | None
) -> Structure:
    """Looks at the derivatives of a program at a few of its starts.

    `terms` are those of its log-likelihood at u, shape (n,); `row` is of each, or None if all one.
    """
    starts = program.starts(np.random.default_rng(0))
    # and near 0, where no term is so much larger than others that it hides them
    points = np.vstack([starts[:: max(1, len(starts) // _POINTS)][:_POINTS], 1e-3 * starts[:1]])
    names, columns = program.names, np.array(program.coordinates)

    def log_priors(u: Array) -> Array:
        found = program.at(u).prior
        return jnp.stack([jnp.sum(found[name]) for name in names])

    slopes_of = _scores(terms, columns.size), jacobian(log_priors)
    scores, priors = (np.asarray(once(jax.vmap(f))(jnp.asarray(points))) for f in slopes_of)
    smooth = bool(np.isfinite(scores).all(axis=(1, 2)).any())
    scores, priors = np.nan_to_num(scores), np.nan_to_num(priors)
    seen = np.abs(scores).max(axis=(0, 1)) > _ZERO
    absent = tuple(name for name in names if not seen[columns == name].any())
    parents = {}
    for name, slopes in zip(names, np.abs(priors).max(axis=0) > _ZERO, strict=True):
        above = tuple(p for p in names if p != name and slopes[columns == p].any())
        if above:
            parents[name] = above
    sizes = {site.name: int(np.prod(site.shape)) for site in program.sites}

    def nullity(chosen: np.ndarray) -> int:
        scaled = _scaled(scores[:, :, chosen])
        ranks = np.linalg.matrix_rank(scaled, _RANK * np.sqrt(scaled.shape[1]))
        return int(chosen.sum() - ranks.max())

    few = (n for n in names if n not in absent and sizes[n] < len(scores[0]))
    loose = tuple(n for n in few if nullity(columns == n))
    many = [s for s in program.sites if sizes[s.name] > 1 and s.name not in loose]
    spare = _spare(many, lambda without: nullity(~np.isin(columns, without)))
    return Structure(
        absent,
        tuple(name for name in absent if _moves(terms, points, columns == name)),
        parents,
        nullity=nullity(columns == columns),
        loose=loose,
        spare=spare,
        redundant=_redundant(np.concatenate(scores), columns, absent),
        single=_single(scores, columns, row),
        smooth=smooth,
        sizes=sizes,
    )


def _moves(terms: Callable[[Array], Array], points: np.ndarray, own: np.ndarray) -> bool:
    """Whether terms change with some coordinates, when these are those of another point."""
    other = np.where(own, np.roll(points, 1, axis=0), points)
    one, two = (once(jax.vmap(terms))(jnp.asarray(at)) for at in (points, other))
    return not np.array_equal(one, two, equal_nan=True)


def indexed(program: UserProgram, rows: Callable[[Array], Array], codes: np.ndarray) -> list[str]:
    """The axes of variables that the codes of groups index: entry g is in the rows of g alone.

    Then Σ_j w_j ∂ℓ_i/∂θ_j = w_g(i) Σ_j ∂ℓ_i/∂θ_j, which is asked at one point for random w, of
    the log-likelihood of each row, u ↦ `rows`, shape (N,).
    """
    found, rng, count = [], np.random.default_rng(0), int(codes.max()) + 1
    point, weights = jnp.asarray(program.starts(rng)[0]), rng.uniform(1, 2, count)
    slopes = once(partial(directional, rows))
    coordinates = np.array(program.coordinates)
    for site in program.sites:
        if site.shape != site.unconstrained or count not in site.shape:
            continue
        axis = site.shape.index(count)
        one = rng.uniform(1, 2, site.shape)
        each = one * np.expand_dims(weights, tuple(i for i in range(one.ndim) if i != axis))
        directions = np.zeros((2, program.size))
        directions[:, coordinates == site.name] = one.ravel(), each.ravel()
        plain, weighted = (np.asarray(slopes(point, jnp.asarray(d))) for d in directions)
        if np.any(plain) and np.allclose(weighted, weights[codes] * plain, rtol=1e-9, atol=1e-12):
            found.append(site.axes[axis])
    return found


def _single(scores: np.ndarray, columns: np.ndarray, row: np.ndarray | None) -> tuple[str, ...]:
    """The variables of several values, each of which the terms of one row alone depend on."""
    touched = np.any(np.abs(scores) > _ZERO, axis=0)
    if row is None or len(row) != len(touched):  # not all terms were looked at
        return ()
    rows = np.array([len(set(row[one])) for one in touched.T])
    names, counts = np.unique(columns, return_counts=True)
    return tuple(
        str(name)
        for name, count in zip(names, counts, strict=True)
        if count > 1 and (rows[columns == name] == 1).all()
    )


def _redundant(scores: np.ndarray, columns: np.ndarray, absent: tuple[str, ...]) -> tuple[str, ...]:
    """The variables of the directions in which no score at any point has a component."""
    here = ~np.isin(columns, absent) & (np.abs(scores) > _ZERO).any(axis=0)
    if not scores.size or not here.any():
        return ()
    seen = scores[:, here]
    _, values, directions = np.linalg.svd(np.linalg.qr(_scaled(seen), mode="r"), full_matrices=True)
    rank = int((values > _RANK * np.sqrt(len(seen))).sum())
    inside = np.abs(directions[rank:]).max(axis=0, initial=0.0) > _INSIDE
    return tuple(dict.fromkeys(map(str, columns[here][inside])))


def _spare(sites: list[Site], nullity: Callable[[list[str]], int]) -> tuple[str, ...]:
    """Variables of several values without which the likelihood determines the others, if any.

    Those that leave the fewest directions undetermined are taken first; of equal ones those on all
    of ℝ, then those of most values.
    """
    found: list[Site] = []

    def left(site: Site) -> tuple[int, bool, int]:
        undetermined = nullity([s.name for s in (*found, site)])
        return undetermined, site.support != "real", -int(np.prod(site.shape))

    while nullity([s.name for s in found]) and len(found) < len(sites):
        found.append(min((site for site in sites if site not in found), key=left))
    return tuple(site.name for site in sites if site in found)


def _scores(terms: Callable[[Array], Array], k: int) -> Callable[[Array], Array]:
    """u ↦ derivatives of the terms, shape (rows, k); of the curvature too where all are one."""
    count = jax.eval_shape(terms, jnp.zeros(k)).shape[0]
    step = max(1, count * k // _MOST)

    def scores(u: Array) -> Array:
        found = jacobian(lambda v: terms(v)[::step])(u)
        if count > 1:
            return found
        return jnp.concatenate([found, hessian(lambda v: jnp.sum(terms(v)))(u)])

    return scores


def _scaled(scores: np.ndarray) -> np.ndarray:
    largest = np.abs(scores).max(axis=-2, keepdims=True)
    return scores / np.maximum(largest, np.finfo(float).tiny)
