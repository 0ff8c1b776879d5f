"""The gate passes for every model of the folder, and catches and names eight planted bugs."""

from __future__ import annotations

from functools import partial
from math import lgamma
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
import pytest
from catalogue import at_truth, called, variants
from wrapper import Wrapped

from comparisons._verdict import Z
from comparisons.same_model import MOMENT_BOUND, TOLERANCE, _jacobians, _largest, differences
from models._data import coords
from models._density import density
from models._programs import read_numpyro, read_pymc
from models.gaussian import ConjugateGaussian, Gaussian
from models.gaussian_mixture import GaussianMixture

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr

    from comparisons.same_model import Difference
    from models._spec import Model

WHOLE = ("gaussian-1", "gaussian_mixture-2-1-full", "random_effects-known")
"""Variants that pass the whole gate here, draws included; the others its densities."""
POINTS = 6


def parted(model: Model, data: xr.Dataset) -> dict[str, str]:
    """The terms on which the two programs differ, and where."""
    found = differences(model, data, np.random.default_rng(3))
    return {d.term: d.where for d in found if differs(d)}


def differs(found: Difference) -> bool:
    if found.error > 0:
        return found.size - Z * found.error > MOMENT_BOUND
    return not found.size <= TOLERANCE


def parted_densities(model: Model, data: xr.Dataset) -> dict[str, str]:
    """The same without draws from the two programs, at a few points near the data."""
    rng = np.random.default_rng(3)
    of = density(model, data)
    near = np.stack([of.unconstrain(model.start(rng, data)) for _ in range(POINTS)])
    points = jnp.asarray(near + 0.2 * rng.standard_normal(near.shape))
    numpyro, pymc = read_numpyro(model, data), read_pymc(model, data)
    ours, theirs = numpyro.terms(points), pymc.terms(points)
    found = [
        _largest(model, data, term, np.asarray(values), np.asarray(theirs[term]), points)
        for term, values in ours.items()
    ]
    found += _jacobians(model, data, numpyro, pymc, points)
    return {d.term: d.where for d in found if differs(d)}


@pytest.mark.parametrize("model", [m for m in variants() if called(m) in WHOLE], ids=called)
def test_the_gate_passes(model: Model) -> None:
    assert parted(model, at_truth(model, 12)) == {}


@pytest.mark.parametrize("model", [m for m in variants() if called(m) not in WHOLE], ids=called)
def test_densities_agree(model: Model) -> None:
    assert parted_densities(model, at_truth(model, 12)) == {}


# --- planted bugs ---------------------------------------------------------------------------------


def sd_for_variance(data: xr.Dataset) -> Any:
    import pymc as pm

    model = ConjugateGaussian()
    with pm.Model(coords=coords(data)) as program:
        sigma2 = pm.InverseGamma("sigma2", alpha=model.shape, beta=model.rate)
        mu = pm.Normal("mu", model.loc, pm.math.sqrt(sigma2 / model.precision))
        pm.Normal("y", mu, sigma2, observed=data["y"].data, dims="obs")
    return program


def gaussian(
    data: xr.Dataset,
    *,
    scale: float = 10.0,
    half: bool = False,
    no_jacobian: bool = False,
    shift: int = 0,
    lost: int = 0,
) -> Any:
    import pymc as pm
    from pymc.distributions.transforms import LogTransform

    class NoJacobian(LogTransform):
        def log_jac_det(self, value: Any, *inputs: Any) -> Any:
            return 0.0 * value

    y = np.roll(data["y"].data, shift)
    with pm.Model(coords=coords(data)) as program:
        mu = pm.Normal("mu", 0.0, scale)
        if half:
            sigma = pm.HalfFlat("sigma")
            pm.Potential("prior", pm.logp(pm.Normal.dist(0.0, 10.0), sigma))
        elif no_jacobian:
            sigma = pm.HalfNormal("sigma", 10.0, default_transform=NoJacobian())
        else:
            sigma = pm.HalfNormal("sigma", 10.0)
        # the unbiased variance where the likelihood has the other one
        spread = sigma * np.sqrt(y.size / (y.size - lost))
        pm.Normal("y", mu, spread, observed=y, dims="obs")
    return program


def mixture(data: xr.Dataset, *, swapped: bool = False, unnormalised: bool = False) -> Any:
    import pymc as pm
    from pymc.distributions.transforms import ordered

    from models._ordered import pymc_ordered_normal

    with pm.Model(coords={**coords(data), "component": [0, 1]}) as program:
        weights = pm.Dirichlet("weights", np.full(2, 2.0), dims="component")
        if unnormalised:
            mu = pm.Normal("mu", 0.0, 10.0, dims="component", transform=ordered)
        else:
            mu = pymc_ordered_normal("mu", 0.0, 10.0, 2, dims="component")
        sigma = pm.HalfNormal("sigma", 10.0, dims="component")
        used = weights[::-1] if swapped else weights
        pm.NormalMixture("y", used, mu, sigma, observed=data["y"].data, dims="obs")
    return program


PLANTED: list[tuple[str, Model, Callable[[Any], Any], set[str]]] = [
    (
        "standard deviation for variance",
        ConjugateGaussian(),
        sd_for_variance,
        {"log likelihood", "gradient of the log likelihood"},
    ),
    (
        "prior scale × 1.05",
        Gaussian(),
        partial(gaussian, scale=10.5),
        {"log prior mu", "gradient of the log prior"},
    ),
    (
        "dropped Jacobian",
        Gaussian(),
        partial(gaussian, no_jacobian=True),
        {"log Jacobian sigma"},
    ),
    (
        "factor 2 of a half-normal",
        Gaussian(),
        partial(gaussian, half=True),
        {"log prior sigma", "log prior (other factors)"},
    ),
    (
        "K! of an ordered prior",
        GaussianMixture(2),
        partial(mixture, unnormalised=True),
        {"log prior mu"},
    ),
    (
        "swapped weights",
        GaussianMixture(2),
        partial(mixture, swapped=True),
        {"log likelihood", "gradient of the log likelihood"},
    ),
    (
        "index off by one",
        Gaussian(),
        partial(gaussian, shift=1),
        {"log likelihood"},
    ),
    (
        "n − 1 for n",
        Gaussian(),
        partial(gaussian, lost=1),
        {"log likelihood", "gradient of the log likelihood"},
    ),
]


@pytest.mark.parametrize(
    ("model", "program", "terms"), [row[1:] for row in PLANTED], ids=[row[0] for row in PLANTED]
)
def test_planted_bugs_are_caught_and_named(
    model: Model, program: Callable[[Any], Any], terms: set[str]
) -> None:
    found = parted_densities(Wrapped(model, program), at_truth(model, 12))
    assert set(found) == terms
    for term, where in found.items():
        assert where.startswith(term)
        assert "numpyro" in where
        assert "pymc" in where


def test_a_prior_that_only_draws_otherwise_is_caught() -> None:
    # iid normals, merely transformed: the density can be mended, but the draws are not sorted
    def program(data: xr.Dataset) -> Any:
        import pymc as pm
        import pytensor.tensor as pt

        with (built := mixture(data, unnormalised=True)):
            pm.Potential("normalised", pt.constant(np.float64(lgamma(3))))
        return built

    model = GaussianMixture(2)
    found = parted(Wrapped(model, program), at_truth(model, 12))
    assert "prior moments" in found
