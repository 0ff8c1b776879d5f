"""The gate: every term on which the PyMC and the NumPyro program of a model could differ.

The densities of both are compared on the data at hand (`comparisons.same_density`): of a user's own
programs at points spread over the unconstrained space and around the mode; of a model that has
starts and draws at points near the data and drawn from the prior, where nothing may fail to be
finite, and there moments of what each program draws are compared, too.  The theorem is that of the
claim `same_model`.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array
from scipy.stats.qmc import LatinHypercube

from comparisons import same_density
from comparisons.policy import MOMENTS
from comparisons.verdict import PARTED, Verdict
from models.programs.adopted.model import AdoptedModel
from models.programs.adopted.pair import Pair
from models.programs.adopted.program import UserProgram
from models.programs.compilation import once
from models.programs.density import names_of_entries, pair_of, program_on
from models.programs.keys import key_of
from models.programs.numpyro import numpyro_prior
from models.programs.pymc import pymc_prior
from models.spec import Arrays, Model, Values

POINTS = 32
"""Points at which the densities are compared: half from the data, as far as its starts lie inside
of parameter space, the rest from the prior."""
_SPREAD = ((2.0, 16), (8.0, 8))
"""(radius r, points) of own programs: a Latin hypercube of (−r, r)ᵏ; the far ones see floors and
ceilings of scales."""
_AROUND = 8
"""Points of own programs within a fifth of a unit of the mode."""
_TRIED = 1_000
"""Prior draws among which valid points are looked for."""
_ROUND_TRIP = 1e-12
"""Largest relative change of a valid point, and of a step at it, on the way there and back."""
_FEW = 6
"""Points of the short form."""
DRAWS = 100_000
"""Prior draws from each program, and units simulated by each at each of `ROW_POINTS`."""
ROW_POINTS = 3
"""Prior draws at which both programs simulate rows."""
_SMALLEST = 1e-12
"""Standard deviations and errors of moments below it are taken for it."""


def differences(model: Model, data: xr.Dataset, rng: np.random.Generator) -> Iterator[Verdict]:
    """Every term on which the two programs could differ, with where they differ most.

    Nothing of a model of one program.
    """
    pair = pair_of(model, data)
    if pair is None:
        return
    if isinstance(model, AdoptedModel):
        constant = model.adopted.allow_constant
        points = _spread(pair.one, rng)
        yield from same_density.differences(pair, points, inside=False, allow_constant=constant)
        return
    prior = numpyro_prior(model, data, jax.random.split(key_of(rng), DRAWS))
    drawn, valid = _valid(pair.one, prior)
    near = _near(model, data, pair.one, rng, POINTS - POINTS // 2)
    others = POINTS - len(near)
    if valid.size < others:
        where = f"{valid.size} of {_TRIED} prior draws are valid; expected {others} points"
        yield _moments("points drawn from the prior", np.inf, where)
    points = np.concatenate([near, drawn[valid[:others]]])
    yield from _densities(model, data, pair, points)
    yield _distributions("prior moments", prior, pymc_prior(model, data, rng, DRAWS))
    if len(chosen := valid[:ROW_POINTS]):
        held = {name: array[chosen] for name, array in prior.items()}
        yield from _simulations(model, held, rng)


def difference_of_densities(model: Model, data: xr.Dataset, rng: np.random.Generator) -> str:
    """Where the densities of the two programs differ first; "" if they agree.

    A short form of the gate for the siblings of a model that has passed it, at a few points near
    the data and without draws.
    """
    pair = pair_of(model, data)
    assert pair is not None
    points = _near(model, data, pair.one, rng, _FEW)
    if not len(points):
        return "no start from the data is inside of the parameter space"
    parted = (v for v in _densities(model, data, pair, points) if v.outcome != "AGREE")
    return next((f"{v.quantity} differs: {v.cause}" for v in parted), "")


def _densities(model: Model, data: xr.Dataset, pair: Pair, points: np.ndarray) -> Iterator[Verdict]:
    named = partial(names_of_entries, model.parameters, data)
    return same_density.differences(pair, points, named, inside=True)


def _spread(program: UserProgram, rng: np.random.Generator) -> np.ndarray:
    """Points over a program's unconstrained space and around its mode."""
    cube = LatinHypercube(program.size, rng=rng)  # every coordinate comes near both of its ends
    spread = [radius * (2 * cube.random(count) - 1) for radius, count in _SPREAD]
    starts = program.starts(rng)[:_AROUND]
    return np.concatenate([*spread, starts + 0.1 * rng.standard_normal(starts.shape)])


def _valid(program: UserProgram, prior: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """The first prior draws in a program's space, shape (draws, k), and which to compare at.

    A draw can sit on a boundary of its support to within rounding, where its coordinates are lost:
    at valid ones the way to the natural scale and back is the identity, and so is its derivative.
    """

    def there_and_back(values: Values) -> tuple[Array, Array, Array]:
        u = program.unconstrain(values)
        ones = (jnp.ones_like(u),)
        return u, *jax.jvp(lambda v: program.unconstrain(program.at(v).values), (u,), ones)

    few = {name: jnp.asarray(array[:_TRIED]) for name, array in prior.items()}
    drawn, back, step = map(np.asarray, once(jax.vmap(there_and_back))(few))
    with np.errstate(invalid="ignore"):
        off = np.abs(back - drawn) / np.maximum(1.0, np.abs(drawn)) + np.abs(step - 1)
    valid = (off <= _ROUND_TRIP).all(axis=1)  # which no number that is not finite passes
    return drawn, np.flatnonzero(valid)[:POINTS]


def _near(
    model: Model, data: xr.Dataset, program: UserProgram, rng: np.random.Generator, count: int
) -> np.ndarray:
    """Jittered starts in a program's unconstrained space, shape (at most count, k).

    Of data that are all alike some parameter starts on its boundary, which is at infinity there.
    """
    starts = np.stack([program.unconstrain(model.start(rng, data)) for _ in range(count)])
    inside = np.isfinite(starts).all(axis=1)
    return (starts + 0.2 * rng.standard_normal(starts.shape))[inside]


def _simulations(model: Model, held: Arrays, rng: np.random.Generator) -> Iterator[Verdict]:
    """Rows drawn by both programs and by `simulate`, at points of leading axis."""
    count = len(next(iter(held.values())))
    point = {name: jnp.asarray(array[0]) for name, array in held.items()}
    many = model.simulate(rng, point, DRAWS)
    programs = [program_on(model, many, language) for language in ("numpyro", "pymc")]
    simulated = [one.draws(rng.integers(2**63, size=count), held) for one in programs]
    by_point = [
        {f"point {i}, {name}": x[i] for i in range(count) for name, x in rows.items()}
        for rows in simulated
    ]
    term = f"moments of rows simulated at {count} points drawn from the prior"
    yield _distributions(term, by_point[0], by_point[1])
    # what a program observes may be a function of the data, of which simulate knows nothing
    made = {
        name: array
        for name, array in programs[0].observed.items()
        if name in many and np.array_equal(array, many[name].data)
    }
    if made:
        term = "moments of rows made by simulate at a point drawn from the prior"
        rows = {name: simulated[0][name][0] for name in made}
        yield _distributions(term, rows, made, ("numpyro", "simulate"))


def _moments(term: str, size: float, where: str, error: float = _SMALLEST) -> Verdict:
    """The largest difference of moments."""
    sides: dict[str, Any] = {"method": "pymc", "reference": "numpyro"}
    return Verdict(PARTED, size, 0.0, error, MOMENTS, cause=where, quantity=term, **sides)


def _distributions(
    term: str,
    ours: dict[str, np.ndarray],
    theirs: dict[str, np.ndarray],
    whose: tuple[str, str] = ("numpyro", "pymc"),
) -> Verdict:
    """Largest standardised difference in mean or variance of x ↦ t/(1 + |t|), t = (x − m)/s."""
    if {n: a.shape for n, a in ours.items()} != {n: a.shape for n, a in theirs.items()}:
        where = f"{' and '.join(whose)} draw different names or shapes"
        return _moments(term, np.inf, where)
    where = "largest standardised difference of mean or variance"
    largest = _moments(term, 0.0, where)
    for name, array in ours.items():
        count = array.shape[0]
        a, b = array.reshape(count, -1), theirs[name].reshape(count, -1)
        for program, drawn in zip(whose, (a, b), strict=True):
            wrong = count - int(np.isfinite(drawn).all(axis=1).sum())
            if wrong:
                where = f"{name}: {wrong} of {count} draws of {program} are not finite"
                return _moments(term, np.inf, where)
        middle = np.median(a, axis=0)
        width = np.median(np.abs(a - middle), axis=0)
        width = np.where(width > 0, width, 1.0)
        a, b = (a - middle) / width, (b - middle) / width
        a, b = a / (1 + np.abs(a)), b / (1 + np.abs(b))
        location = a.mean(axis=0)
        for f, g in ((a, b), ((a - location) ** 2, (b - location) ** 2)):
            # constants (the diagonal of a correlation) have no sd to be measured in
            scale = np.where(f.std(axis=0) > _SMALLEST, f.std(axis=0), _SMALLEST)
            size = np.abs(f.mean(axis=0) - g.mean(axis=0)) / scale
            j = int(size.argmax())
            if size[j] > largest.observed:
                error = float(np.sqrt((f.var(axis=0) + g.var(axis=0))[j] / count) / scale[j])
                where = f"largest at {name}[{j}]"
                largest = _moments(term, float(size[j]), where, max(error, _SMALLEST))
    return largest
