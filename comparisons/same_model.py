"""The PyMC and the NumPyro program are one model.

Two programs define the same posterior for every data set only if, at every point, log prior,
log-likelihood of every unit and their gradients agree with no free additive constant; where both
use the same unconstrained coordinates, the log-Jacobians agree too.  Densities do not see how a
program draws, so prior draws and simulated rows are compared as well, through the mean and the
variance of a bounded function of each number (which exist for every law).
Blocking: nothing is fitted unless all of it holds.
Reference: the change of variables formula; Billingsley (1995), Probability and Measure, §17, §25.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from comparisons._verdict import Verdict
from models._density import density, flat_names
from models._programs import numpyro_rows, pymc_rows, read_numpyro, read_pymc

if TYPE_CHECKING:
    from collections.abc import Iterator

    import xarray as xr
    from jax import Array

    from comparisons._case import Case
    from models._programs import Reading
    from models._spec import Model

POINTS = 32
"""Points at which the densities are compared; half from the data, half from the prior."""
TOLERANCE = 1e-9
"""Largest relative difference of densities and gradients."""
DRAWS = 10_000
"""Prior draws from each program, and rows simulated by each."""
MOMENT_BOUND = 0.12
"""Largest difference of a mean or variance, in standard deviations."""


class Difference(NamedTuple):
    """The largest difference of one term over all points."""

    term: str
    size: float
    error: float
    where: str


def compare(case: Case) -> Iterator[Verdict]:
    """One verdict per term of the two programs."""
    for found in differences(case.model, case.data, case.rng("same_model")):
        moments = found.error > 0
        yield Verdict(
            about=f"{found.term}: pymc − numpyro",
            observed=found.size,
            expected=0.0,
            error=found.error,
            bound=MOMENT_BOUND if moments else TOLERANCE,
            cause=found.where,
        )


def differences(model: Model, data: xr.Dataset, rng: np.random.Generator) -> Iterator[Difference]:
    """Every term on which the two programs could differ, with where they differ most."""
    numpyro, pymc = read_numpyro(model, data), read_pymc(model, data)
    prior = numpyro.prior_draws(rng, DRAWS)
    points = jnp.asarray(_points(model, data, prior, rng))
    ours, theirs = numpyro.terms(points), pymc.terms(points)
    for term, values in ours.items():
        yield _largest(model, data, term, np.asarray(values), np.asarray(theirs[term]), points)
    yield from _jacobians(model, data, numpyro, pymc, points)
    yield _distributions("prior moments", prior, pymc.prior_draws(rng, DRAWS))
    many = model.simulate(rng, model.truth, DRAWS)
    values = model.start(rng, many)
    rows = (program(model, many, values, rng) for program in (numpyro_rows, pymc_rows))
    yield _distributions("prior-predictive moments", *rows)


def _points(
    model: Model, data: xr.Dataset, prior: dict[str, np.ndarray], rng: np.random.Generator
) -> np.ndarray:
    """Valid points in the NumPyro chart, shape (POINTS, k)."""
    of = density(model, data)
    half = POINTS // 2
    near = np.stack([of.unconstrain(model.start(rng, data)) for _ in range(half)])
    jittered = near + 0.2 * rng.standard_normal(near.shape)
    few = {name: jnp.asarray(array[: 4 * half]) for name, array in prior.items()}
    drawn = np.asarray(jax.vmap(of.unconstrain)(few))
    # a prior draw can sit on a boundary of its support to within rounding
    valid = drawn[np.isfinite(drawn).all(axis=1)]
    return np.concatenate([jittered, valid[: POINTS - half]])


def _largest(
    model: Model,
    data: xr.Dataset,
    term: str,
    ours: np.ndarray,
    theirs: np.ndarray,
    points: Array,
) -> Difference:
    """Largest difference relative to the term's size at the point (at least 1)."""
    if ours.shape != theirs.shape:
        return Difference(term, float("inf"), 0.0, f"shapes {ours.shape} and {theirs.shape}")
    count = points.shape[0]
    a, b = ours.reshape(count, -1), theirs.reshape(count, -1)
    with np.errstate(invalid="ignore"):
        gap = np.where(a == b, 0.0, np.abs(a - b))
        if term.startswith("gradient"):
            scale = np.maximum(1.0, np.abs(a).max(axis=1, keepdims=True))
        else:
            scale = np.maximum(1.0, np.abs(a))
        relative = np.where(np.isfinite(gap), gap / scale, np.inf)
    i, j = np.unravel_index(int(relative.argmax()), relative.shape)
    size = float(relative[i, j])
    if size <= TOLERANCE:
        return Difference(term, size, 0.0, f"largest relative difference over {count} points")
    values = density(model, data).constrain(points[i])
    flat = np.concatenate([np.ravel(array) for array in values.values()])
    pairs = zip(flat_names(values), flat, strict=True)
    at = ", ".join(f"{name} = {value:.6g}" for name, value in list(pairs)[:8])
    entry = f" entry {j}" if a.shape[1] > 1 else ""
    return Difference(
        term, size, 0.0, f"{term}{entry}: numpyro {a[i, j]:.12g}, pymc {b[i, j]:.12g} at {at}"
    )


def _jacobians(
    model: Model, data: xr.Dataset, numpyro: Reading, pymc: Reading, points: Array
) -> Iterator[Difference]:
    """Log-Jacobians of the parameters whose unconstrained coordinates coincide."""
    ours, theirs = numpyro.coordinates(points), pymc.coordinates(points)
    for name, (coordinate, jacobian) in ours.items():
        other, other_jacobian = theirs[name]
        if coordinate.shape != other.shape or not np.allclose(
            coordinate, other, rtol=1e-6, atol=1e-6
        ):
            continue
        term = f"log Jacobian {name}"
        yield _largest(model, data, term, np.asarray(jacobian), np.asarray(other_jacobian), points)


def _distributions(
    term: str, ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]
) -> Difference:
    """Largest standardised difference in mean or variance of x ↦ t/(1 + |t|), t = (x − m)/s."""
    if {n: a.shape for n, a in ours.items()} != {n: a.shape for n, a in theirs.items()}:
        return Difference(term, float("inf"), 1e-12, "the programs draw different names or shapes")
    largest = Difference(term, 0.0, 1e-12, "largest standardised difference of mean or variance")
    for name, array in ours.items():
        count = array.shape[0]
        a, b = array.reshape(count, -1), theirs[name].reshape(count, -1)
        middle = np.median(a, axis=0)
        width = np.median(np.abs(a - middle), axis=0)
        width = np.where(width > 0, width, 1.0)
        a, b = (a - middle) / width, (b - middle) / width
        a, b = a / (1 + np.abs(a)), b / (1 + np.abs(b))
        center = a.mean(axis=0)
        for f, g in ((a, b), ((a - center) ** 2, (b - center) ** 2)):
            # constants (the diagonal of a correlation) have no spread to be measured in
            scale = np.where(f.std(axis=0) > 1e-12, f.std(axis=0), 1e-12)
            size = np.abs(f.mean(axis=0) - g.mean(axis=0)) / scale
            j = int(size.argmax())
            if size[j] > largest.size:
                error = float(np.sqrt((f.var(axis=0) + g.var(axis=0))[j] / count) / scale[j])
                where = f"largest at {name}[{j}]"
                largest = Difference(term, float(size[j]), max(error, 1e-12), where)
    return largest
