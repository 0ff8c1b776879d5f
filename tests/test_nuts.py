"""Both samplers reproduce posteriors known from quadrature and from Stan, and pass the gate.

References: `tests/reference/posterior_exact.json` (quadrature in R, no Monte Carlo error) and
`posterior_gaussian_mixture_stan.json` (rstan 2.21.7, 24,000 draws with their errors); the same
models, priors and data.  Every number is held to 4 combined Monte Carlo standard errors, a
false-alarm rate of 6e-5 each; seeds are fixed.
"""

from __future__ import annotations

import dataclasses
import json
from functools import cache
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from inference.estimate import Estimate
from inference.methods import nuts
from inference.methods.nuts import NUTS
from models.catalogue.gaussian import Gaussian
from models.catalogue.gaussian_mixture import GaussianMixture
from models.catalogue.random_effects import RandomEffects
from models.data.dataset import as_dataset
from models.data.files import bundled
from models.errors import ConfigError, FitError
from models.programs.density import Density, density
from models.spec import Model

ENGINES = ("numpyro", "pymc")
GAUSSIAN = Gaussian()
MIXTURE = GaussianMixture(k=2, mean_loc=3.0, mean_scale=2.0, scale_scale=1.0)
SCHOOLS = RandomEffects()
COLUMNS = {
    GAUSSIAN: ("faithful", ("eruptions",)),
    MIXTURE: ("faithful", ("eruptions",)),
    SCHOOLS: ("eight_schools", ("y", "sigma")),
}


@cache
def reference(name: str) -> dict[str, Any]:
    return json.loads((Path(__file__).parent / "reference" / f"{name}.json").read_text())


@cache
def data(model: Model) -> xr.Dataset:
    source, columns = COLUMNS[model]
    return as_dataset(bundled(source), model, columns)


@cache
def fitted(model: Model, engine: Any) -> Estimate:
    method = NUTS(engine, warm_up=500, draws=750)
    return method.fit(model, data(model), np.random.default_rng(11))


def deviations(fit: Estimate, exact: dict[str, dict[str, float]]) -> dict[str, float]:
    """|ours − theirs| in combined Monte Carlo errors, of every mean and sd."""
    found = {}
    for name, numbers in exact.items():
        variable, _, rest = name.partition("[")
        index = (int(rest.rstrip("]")),) if rest else ()
        for part, key in ((fit.location, "mean"), (fit.sd, "sd")):
            value, error = (float(x[variable].values[index]) for x in (part.value, part.error))
            combined = np.hypot(error, numbers.get(f"mcse_{key}", 0.0))
            found[f"{key} of {name}"] = abs(value - numbers[key]) / combined
    return found


def quadrature(case: str, names: tuple[str, ...]) -> dict[str, dict[str, float]]:
    numbers = reference("posterior_exact")["cases"][case]
    numbers = numbers.get("exact", numbers)
    return {name: numbers[name] for name in names}


@pytest.mark.statistical
@pytest.mark.parametrize("engine", ENGINES)
def test_gaussian_against_quadrature(engine: str) -> None:
    fit = fitted(GAUSSIAN, engine)
    assert fit.problems == ()
    exact = quadrature("normal_faithful_eruptions", ("mu", "sigma"))
    assert max(deviations(fit, exact).values()) <= 4


@pytest.mark.statistical
@pytest.mark.parametrize("engine", ENGINES)
def test_random_effects_against_quadrature(engine: str) -> None:
    fit = fitted(SCHOOLS, engine)
    assert fit.problems == ()  # no divergence in the funnel at tau = 0
    assert max(deviations(fit, quadrature("eight_schools", ("mu", "tau"))).values()) <= 4


@pytest.mark.statistical
@pytest.mark.parametrize("engine", ENGINES)
def test_mixture_against_stan(engine: str) -> None:
    fit = fitted(MIXTURE, engine)
    assert fit.problems == ()
    stan = reference("posterior_gaussian_mixture_stan")["posterior"]
    names = {"mu[1]": "mu[0]", "mu[2]": "mu[1]", "sigma[1]": "sigma[0]", "sigma[2]": "sigma[1]"}
    names["w[1]"] = "weights[0]"
    assert max(deviations(fit, {ours: stan[t] for t, ours in names.items()}).values()) <= 4


@pytest.mark.statistical
@pytest.mark.parametrize("engine", ENGINES)
def test_a_likelihood_that_is_too_weak_is_caught(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tempered(model: Model, data: xr.Dataset, language: Literal["numpyro", "pymc"]) -> Density:
        of = density(model, data, language)
        return dataclasses.replace(of, log_likelihood=lambda u: 0.75 * of.log_likelihood(u))

    monkeypatch.setattr(nuts, "density", tempered)
    method = NUTS(engine, warm_up=300, draws=500)
    fit = method.fit(GAUSSIAN, data(GAUSSIAN), np.random.default_rng(11))
    exact = quadrature("normal_faithful_eruptions", ("mu", "sigma"))
    assert deviations(fit, exact)["sd of mu"] > 4


@cache
def short(engine: Any, _repeat: int) -> Estimate:
    method = NUTS(engine, warm_up=60, draws=40)
    return method.fit(SCHOOLS, data(SCHOOLS), np.random.default_rng(1))


@pytest.mark.parametrize("engine", ENGINES)
def test_same_seed_same_draws(engine: str) -> None:
    first, again = short(engine, 0).draws, short(engine, 1).draws
    assert first is not None
    assert again is not None
    for group in ("posterior", "sample_stats", "log_likelihood"):
        xr.testing.assert_identical(first[group].to_dataset(), again[group].to_dataset())
    mu = first["posterior"]["mu"].values
    assert len(np.unique(mu[:, -1])) == 4  # every chain has a stream of its own


@pytest.mark.parametrize("engine", ENGINES)
def test_the_run_is_told(engine: str) -> None:
    fit = fitted(GAUSSIAN, engine)
    assert fit.draws is not None
    stats = fit.draws["sample_stats"]
    assert {"energy", "diverging", "n_steps", "tree_depth", "acceptance_rate"} <= set(
        stats.data_vars
    )
    assert stats.sizes == {"chain": 4, "draw": 750}
    assert float(stats["acceptance_rate"].mean()) == pytest.approx(0.9, abs=0.07)
    n_steps, depth = stats["n_steps"].values, stats["tree_depth"].values
    assert np.all((n_steps < 2.0**depth) & (n_steps >= 1))
    assert {"compile", "warm_up", "run", "rhat", "ess"} <= set(fit.record.attrs)


def test_few_draws_are_a_problem_not_an_error() -> None:
    problems = short("numpyro", 0).problems
    assert any(problem.startswith("too few effective draws") for problem in problems)


def test_a_density_that_is_nowhere_finite_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(model: Model, data: xr.Dataset, language: Literal["numpyro", "pymc"]) -> Density:
        return dataclasses.replace(
            density(model, data, language), log_prior=lambda u: jnp.nan * u[0]
        )

    monkeypatch.setattr(nuts, "density", broken)
    with pytest.raises(FitError, match="not finite at any of 100 data-driven starts"):
        NUTS().fit(GAUSSIAN, data(GAUSSIAN), np.random.default_rng(0))


def test_a_sampler_that_raises_is_a_failed_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(*_: Any) -> None:
        raise FloatingPointError("planted")

    monkeypatch.setattr(nuts, "numpyro_chains", raises)
    with pytest.raises(FitError, match=r"numpyro program of gaussian failed: .*planted") as caught:
        NUTS().fit(GAUSSIAN, data(GAUSSIAN), np.random.default_rng(0))
    assert isinstance(caught.value.__cause__, FloatingPointError)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"chains": 1}, "nuts.chains is 1; expected an integer of at least 2"),
        ({"warm_up": 0}, "nuts.warm_up is 0; expected an integer of at least 1"),
        ({"draws": 0}, "nuts.draws is 0; expected an integer of at least 4"),
        ({"target_accept": 1.0}, "nuts.target_accept is 1.0; expected between 0 and 1"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        NUTS(**settings)


def test_chains_that_tell_too_little_go_on_from_where_they_are() -> None:
    few = NUTS(warm_up=200, draws=60).fit(GAUSSIAN, data(GAUSSIAN), np.random.default_rng(0))
    assert few.draws is not None
    assert few.draws["posterior"].sizes["draw"] in (120, 180, 240)
    assert nuts.TIMES * 60 == 240
    enough = fitted(GAUSSIAN, "numpyro")
    assert enough.draws is not None
    assert enough.draws["posterior"].sizes["draw"] == 750
    assert enough.record.attrs["target_accept"] == 0.9


def test_chains_that_diverge_run_again_with_shorter_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nuts, "DIVERGENT", -1.0)
    again = NUTS(warm_up=200, draws=250).fit(GAUSSIAN, data(GAUSSIAN), np.random.default_rng(0))
    assert again.record.attrs["target_accept"] == nuts.SHORT_STEPS
