"""Every program of the folder runs in its library's own functions, called as a user calls them."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
import numpyro
import pytest
from catalogue import at_truth, called
from numpyro.infer import MCMC, NUTS, SVI, Predictive, Trace_ELBO
from numpyro.infer.autoguide import AutoNormal

import models.catalogue
from models.catalogue.gaussian_mixture import GaussianMixture
from models.registry import subclasses
from models.spec import Model

if TYPE_CHECKING:
    from collections.abc import Mapping

FEW = 20
ENTRIES = [cls() for cls in subclasses(models.catalogue, Model).values()]
"""The smallest variant of each: what a program does not share with it, the gate and laws see."""

each = pytest.mark.parametrize("model", ENTRIES, ids=called)


def assert_drawn(model: Model, draws: Mapping[str, Any]) -> None:
    """Finite values of every parameter, in order where they have one."""
    for parameter in model.parameters:
        array = np.asarray(draws[parameter.name])
        assert np.isfinite(array).all(), parameter.name
        if parameter.support == "ordered":
            assert (np.diff(array, axis=-1) > 0).all(), parameter.name


@pytest.mark.usefixtures("unoptimised")
@each
def test_numpyro(model: Model) -> None:
    data = at_truth(model, 30)
    prior = Predictive(model.numpyro, num_samples=FEW)(jax.random.key(0), data)
    assert_drawn(model, prior)
    chain = MCMC(NUTS(model.numpyro), num_warmup=FEW, num_samples=FEW)
    chain.run(jax.random.key(1), data)
    assert_drawn(model, chain.get_samples())
    guide = AutoNormal(model.numpyro)
    climb = SVI(model.numpyro, guide, numpyro.optim.Adam(1e-2), Trace_ELBO())
    found = climb.run(jax.random.key(2), FEW, data)
    assert np.isfinite(np.asarray(found.losses)).all()
    assert_drawn(model, guide.sample_posterior(jax.random.key(3), found.params))


@each
def test_pymc(model: Model) -> None:
    import pymc as pm
    import pytensor

    # run by Python: compiling so many functions would take minutes
    with (
        pytensor.config.change_flags(mode="FAST_COMPILE", cxx=""),
        model.pymc(at_truth(model, 30)),
    ):
        assert_drawn(model, pm.sample_prior_predictive(draws=FEW, random_seed=1)["prior"])
        with warnings.catch_warnings():
            # from 6.4 on, PyMC tells what it will return and where it will start
            warnings.filterwarnings("ignore", "`find_MAP` will", FutureWarning)
            assert_drawn(model, pm.find_MAP())
        fitted = pm.fit(n=FEW, random_seed=2)
        assert np.isfinite(fitted.hist).all()
        assert_drawn(model, fitted.sample(FEW)["posterior"])
        sample_by_pymc(model)


@pytest.mark.slow
def test_pymc_samples_as_it_compiles_by_default() -> None:
    model = GaussianMixture()
    with model.pymc(at_truth(model, 30)):
        sample_by_pymc(model)


def sample_by_pymc(model: Model) -> None:
    import pymc as pm

    # where nutpie is installed, the default means it
    for sampler in (None, "pymc") if find_spec("nutpie") else (None,):
        chain = {"draws": FEW, "tune": FEW, "chains": 1, "random_seed": 3}
        assert_drawn(model, pm.sample(nuts_sampler=sampler, **chain)["posterior"])
