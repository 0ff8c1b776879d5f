"""The gate: every term on which the PyMC and the NumPyro program of a model could differ.

At points near the data and drawn from the prior: log prior and log-likelihood, their gradients and
the log-Jacobians of the two programs; and moments of what each of them draws. The theorem is that
of the claim `same_model`.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import inf

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array

from comparisons import adopted_gate
from comparisons.policy import MOMENTS, TOLERANCE
from comparisons.verdict import Verdict
from models.capabilities import HasOwnPrograms
from models.programs.adopted.inexact import all_exact
from models.programs.compilation import once
from models.programs.density import (
    Language,
    density,
    functions_of,
    names_of_entries,
    per_unit,
    program_on,
)
from models.programs.form import log_volume, total
from models.programs.keys import key_of
from models.programs.numpyro import numpyro_prior
from models.programs.pymc import pymc_prior
from models.spec import Model, Values

POINTS = 32
"""Points at which the densities are compared: half from the data, as far as its starts lie inside
of parameter space, the rest from the prior."""
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


def _difference(term: str, size: float, where: str, error: float = 0.0) -> Verdict:
    """The largest difference of one term over all points; one with an error is of moments."""
    return Verdict(
        "{quantity}: {method} − {reference}",
        size,
        expected=0.0,
        error=error,
        bound=MOMENTS if error > 0 else TOLERANCE,
        cause=where,
        quantity=term,
        method="pymc",
        reference="numpyro",
    )


def differences(model: Model, data: xr.Dataset, rng: np.random.Generator) -> Iterator[Verdict]:
    """Every term on which the two programs could differ, with where they differ most."""
    if isinstance(model, HasOwnPrograms):
        yield from adopted_gate.differences(model, rng)
        return
    prior = numpyro_prior(model, data, jax.random.split(key_of(rng), DRAWS))
    drawn, valid = _valid(model, data, prior)
    near = _near(model, data, rng, POINTS - POINTS // 2)
    others = POINTS - len(near)
    if valid.size < others:
        where = f"{valid.size} of {_TRIED} prior draws are valid; expected {others} points"
        yield _difference("points drawn from the prior", inf, where)
    points = np.concatenate([near, drawn[valid[:others]]])
    yield from _terms(model, data, points)
    yield _distributions("prior moments", prior, pymc_prior(model, data, rng, DRAWS))
    chosen = valid[:ROW_POINTS]
    if chosen.size:
        point = {name: jnp.asarray(array[chosen[0]]) for name, array in prior.items()}
        many = model.simulate(rng, point, DRAWS)
        held = {name: array[chosen] for name, array in prior.items()}
        programs = [program_on(model, many, language) for language in ("numpyro", "pymc")]
        simulated = [one.draws(rng.integers(2**63, size=chosen.size), held) for one in programs]
        term = f"moments of rows simulated at {chosen.size} points drawn from the prior"
        by_point = [
            {f"point {i}, {name}": x[i] for i in range(chosen.size) for name, x in rows.items()}
            for rows in simulated
        ]
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


def difference_of_densities(model: Model, data: xr.Dataset, rng: np.random.Generator) -> str:
    """Where the densities of the two programs differ first; "" if they agree.

    A short form of the gate for the siblings of a model that has passed it: log prior and
    log-likelihood at a few points near the data, without derivatives or draws.
    """
    points = _near(model, data, rng, _FEW)
    if not len(points):
        return "no start from the data is inside of the parameter space"
    found = _terms(model, data, points, derivatives=False)
    parted = (v for v in found if v.outcome != "AGREE")
    return next((f"{v.quantity} differs: {v.cause}" for v in parted), "")


def _terms_of(
    model: Model, data: xr.Dataset, language: Language, *, derivatives: bool
) -> Callable[[Array], dict[str, Array]]:
    """A program's terms by name, at points u of NumPyro's unconstrained space, shape (p, k).

    Log priors and log-Jacobians have shape (p,), the log-likelihood (p, N), gradients (p, k).
    """
    space, program = density(model, data), functions_of(model, data, language)
    ours, theirs = np.array(space.coordinates), np.array(program.coordinates)

    def across(u: Array) -> Array:
        return u if language == "numpyro" else program.unconstrain(space.constrain(u))

    def log_prior(u: Array) -> Array:
        return total(program.log_prior(across(u)))

    def log_likelihood(u: Array) -> Array:
        return jnp.sum(per_unit(model, data, program.log_likelihood(across(u))))

    def one(u: Array) -> dict[str, Array]:
        v = across(u)
        prior = dict(program.log_prior(v))
        terms = {f"log prior {name}": jnp.sum(prior.pop(name)) for name in program.shapes}
        terms["log prior (other factors)"] = total(prior)
        terms["log likelihood"] = per_unit(model, data, program.log_likelihood(v))
        if not derivatives:
            return terms
        terms["gradient of the log prior"] = jax.grad(log_prior)(u)
        terms["gradient of the log likelihood"] = jax.grad(log_likelihood)(u)
        jacobians, carried = program.log_jacobian(v), jax.jacfwd(across)(u)
        for name in program.shapes:
            block = carried[np.ix_(theirs == name, ours == name)]
            terms[f"log Jacobian {name}"] = jacobians[name] + log_volume(block)
        return terms

    return once(jax.vmap(one))


def _valid(
    model: Model, data: xr.Dataset, prior: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The first prior draws in NumPyro's space, shape (draws, k), and which to compare at.

    A draw can sit on a boundary of its support to within rounding, where its coordinates are lost:
    at valid ones the way to the natural scale and back is the identity, and so is its derivative.
    """
    space = density(model, data)

    def there_and_back(values: Values) -> tuple[Array, Array, Array]:
        u = space.unconstrain(values)
        way = jax.jvp(lambda v: space.unconstrain(space.constrain(v)), (u,), (jnp.ones_like(u),))
        return u, *way

    few = {name: jnp.asarray(array[:_TRIED]) for name, array in prior.items()}
    drawn, back, step = map(np.asarray, once(jax.vmap(there_and_back))(few))
    with np.errstate(invalid="ignore"):
        off = np.abs(back - drawn) / np.maximum(1.0, np.abs(drawn)) + np.abs(step - 1)
    valid = (off <= _ROUND_TRIP).all(axis=1)  # which no number that is not finite passes
    return drawn, np.flatnonzero(valid)[:POINTS]


def _near(model: Model, data: xr.Dataset, rng: np.random.Generator, count: int) -> np.ndarray:
    """Jittered starts in NumPyro's unconstrained space, shape (at most count, k).

    Of data that are all alike some parameter starts on its boundary, which is at infinity there.
    """
    target = density(model, data)
    starts = np.stack([target.unconstrain(model.start(rng, data)) for _ in range(count)])
    inside = np.isfinite(starts).all(axis=1)
    return (starts + 0.2 * rng.standard_normal(starts.shape))[inside]


def _terms(
    model: Model, data: xr.Dataset, points: np.ndarray, *, derivatives: bool = True
) -> Iterator[Verdict]:
    """The largest difference of each term of the two programs at the points."""
    at = jnp.asarray(points)
    theirs = _terms_of(model, data, "pymc", derivatives=derivatives)(at)

    def held() -> list[Verdict]:
        ours = _terms_of(model, data, "numpyro", derivatives=derivatives)(at)
        last = ("gradient", "log Jacobian")  # densities first
        terms = sorted(ours, key=lambda term: [term.startswith(kind) for kind in last])
        pairs = ((term, np.asarray(ours[term]), np.asarray(theirs[term])) for term in terms)
        return [_largest(model, data, *pair, at) for pair in pairs]

    found = held()
    if all(verdict.outcome == "AGREE" for verdict in found):
        yield from found
        return
    with all_exact() as used:  # traced once more, with exact functions
        exact = held()
    for verdict, without in zip(found, exact, strict=True):
        if verdict.outcome != "AGREE" and without.outcome == "AGREE":
            limited = f"one model, limited by {', '.join(sorted(used))}"
            verdict = replace(verdict, bound=2 * verdict.observed, cause=limited)
        yield verdict


def _largest(
    model: Model, data: xr.Dataset, term: str, ours: np.ndarray, theirs: np.ndarray, points: Array
) -> Verdict:
    """Largest difference relative to the term's size at the point (at least 1).

    What is not finite is no agreement, also where both programs say the same.
    """
    if ours.shape != theirs.shape:
        return _difference(term, inf, f"shapes {ours.shape} and {theirs.shape}")
    count = points.shape[0]
    a, b = ours.reshape(count, -1), theirs.reshape(count, -1)
    off = adopted_gate.relative_difference(term, a, b)
    relative = np.where(np.isfinite(off), off, np.inf)
    i, j = np.unravel_index(int(relative.argmax()), relative.shape)
    size = float(relative[i, j])
    if size <= TOLERANCE:
        return _difference(term, size, f"largest relative difference over {count} points")
    values = density(model, data).constrain(points[i])
    at = adopted_gate.point(names_of_entries(model.parameters, data, values), values, 8)
    entry = f" entry {j}" if a.shape[1] > 1 else ""
    where = f"numpyro {a[i, j]:.12g}, pymc {b[i, j]:.12g} at {at}"
    if a[i, j] == b[i, j]:
        where = f"both programs give {a[i, j]} at {at}; is it outside of the support?"
    return _difference(term, size, f"{term}{entry}: {where}")


def _distributions(
    term: str,
    ours: dict[str, np.ndarray],
    theirs: dict[str, np.ndarray],
    whose: tuple[str, str] = ("numpyro", "pymc"),
) -> Verdict:
    """Largest standardised difference in mean or variance of x ↦ t/(1 + |t|), t = (x − m)/s."""
    if {n: a.shape for n, a in ours.items()} != {n: a.shape for n, a in theirs.items()}:
        where = f"{' and '.join(whose)} draw different names or shapes"
        return _difference(term, inf, where, _SMALLEST)
    where = "largest standardised difference of mean or variance"
    largest = _difference(term, 0.0, where, _SMALLEST)
    for name, array in ours.items():
        count = array.shape[0]
        a, b = array.reshape(count, -1), theirs[name].reshape(count, -1)
        for program, drawn in zip(whose, (a, b), strict=True):
            wrong = count - int(np.isfinite(drawn).all(axis=1).sum())
            if wrong:
                where = f"{name}: {wrong} of {count} draws of {program} are not finite"
                return _difference(term, inf, where, _SMALLEST)
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
                largest = _difference(term, float(size[j]), where, max(error, _SMALLEST))
    return largest
