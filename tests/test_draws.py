"""Draws become an estimate: moments with their errors, one labelling, and a gate with power.

Statistical tests hold |difference| ≤ 4 Monte Carlo standard errors, a false-alarm rate of 6e-5 for
each number; seeds are fixed.
"""

from __future__ import annotations

import itertools
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from scipy.signal import lfilter

from inference.estimate import Estimate
from inference.posterior import draws as _draws
from inference.posterior.diagnostics import divergences, gate, not_finite
from inference.posterior.draws import QUANTILES, estimate_from_draws
from inference.posterior.labels import align
from models.catalogue.factor_analysis import FactorAnalysis
from models.catalogue.gaussian import Gaussian
from models.catalogue.gaussian_mixture import GaussianMixture
from models.errors import FitError
from models.programs.density import density

CHAINS, DRAWS = 4, 1_000
NAMES = ("still", "mu", "sigma")
MIXTURE = GaussianMixture(k=3, dim=2)
FACTORS = FactorAnalysis(1)


@cache
def data(model: Gaussian | GaussianMixture | FactorAnalysis) -> xr.Dataset:
    return model.simulate(np.random.default_rng(1), model.truth, 60)


def stats(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        "energy": rng.normal(size=(CHAINS, DRAWS)),
        "diverging": np.zeros((CHAINS, DRAWS), bool),
    }


@cache
def gaussian() -> Estimate:
    """Independent draws with means (3, 2) and sds (0.5, 0.25)."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((CHAINS, DRAWS, 2))
    draws = {"mu": 3 + 0.5 * noise[..., 0], "sigma": 2 + 0.25 * noise[..., 1]}
    record = xr.Dataset({"path": ("step", [1.0, 2.0])}, attrs={"run": 1.5})
    model = Gaussian()
    return estimate_from_draws(
        model, data(model), draws, record=record, sample_stats=stats(rng), problems=["known"]
    )


# --- moments --------------------------------------------------------------------------------------


@pytest.mark.statistical
@pytest.mark.parametrize(("name", "mean", "sd"), [("mu", 3.0, 0.5), ("sigma", 2.0, 0.25)])
def test_moments_are_within_their_errors(name: str, mean: float, sd: float) -> None:
    fit, n = gaussian(), CHAINS * DRAWS
    location, spread = fit.location, fit.sd
    assert abs(float(location.value[name]) - mean) <= 4 * float(location.error[name])
    assert abs(float(spread.value[name]) - sd) <= 4 * float(spread.error[name])
    # the errors themselves: sd/√n and sd/√2n for independent draws
    assert float(location.error[name]) == pytest.approx(sd / np.sqrt(n), rel=0.15)
    assert float(spread.error[name]) == pytest.approx(sd / np.sqrt(2 * n), rel=0.15)


def test_quantiles_covariance_and_record_are_those_of_the_draws() -> None:
    fit = gaussian()
    assert fit.draws is not None
    mu, sigma = (fit.draws["posterior"][name].values for name in ("mu", "sigma"))
    np.testing.assert_allclose(fit.record["quantile_mu"], np.quantile(mu, QUANTILES), rtol=1e-14)
    assert list(fit.record["quantile"].values) == list(QUANTILES)
    np.testing.assert_allclose(fit.covariance, np.cov(mu.ravel(), sigma.ravel()), rtol=1e-12)
    assert list(fit.covariance["quantity"].values) == ["mu", "sigma"]
    assert fit.record.attrs["run"] == 1.5
    assert list(fit.record["path"].values) == [1.0, 2.0]
    assert fit.problems == ("known",)
    assert fit.sd_kind == "posterior_sd"


def test_groups_hold_the_density_at_every_draw() -> None:
    fit, model = gaussian(), Gaussian()
    of = density(model, data(model))
    assert fit.draws is not None
    assert set(fit.draws.children) == {
        "posterior", "sample_stats", "log_likelihood", "log_prior", "observed_data",
    }  # fmt: skip
    drawn = fit.draws["posterior"].to_dataset().isel(chain=2, draw=17)
    u = of.unconstrain({name: jnp.asarray(drawn[name].data) for name in ("mu", "sigma")})
    unit = fit.draws["log_likelihood"]["y"]
    assert unit.dims == ("chain", "draw", "unit")
    np.testing.assert_allclose(unit[2, 17], of.log_likelihood(u), rtol=1e-12)
    prior = float(fit.draws["log_prior"]["log_prior"][2, 17])
    assert prior == pytest.approx(float(of.log_prior(u)), rel=1e-12)
    np.testing.assert_array_equal(fit.draws["observed_data"]["y"], data(model)["y"])


def test_evenly_spaced_draws_keep_the_density_of_each_unit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    every = gaussian().draws
    monkeypatch.setattr(_draws, "_POINTWISE", 800)
    some = gaussian.__wrapped__().draws
    assert every is not None
    assert some is not None
    whole, part = (tree["log_likelihood"].to_dataset() for tree in (every, some))
    assert part.sizes["draw"] < whole.sizes["draw"] == some["posterior"].sizes["draw"]
    xr.testing.assert_equal(part, whole.sel(draw=part["draw"]))
    steps = np.diff(part["draw"])
    assert (steps == steps[0]).all()


def test_point_is_the_mean_in_the_chart_and_carries_the_likelihood() -> None:
    fit, model = gaussian(), Gaussian()
    of = density(model, data(model))
    assert fit.draws is not None
    drawn = fit.draws["posterior"]
    assert float(fit.point["mu"]) == pytest.approx(float(drawn["mu"].mean()), rel=1e-12)
    log_sigma = float(np.log(drawn["sigma"].values).mean())
    assert float(fit.point["sigma"]) == pytest.approx(np.exp(log_sigma), rel=1e-12)
    u = of.unconstrain({name: jnp.asarray(fit.point[name].data) for name in ("mu", "sigma")})
    assert fit.log_likelihood == pytest.approx(float(of.log_likelihood(u).sum()), rel=1e-12)


def test_point_is_a_good_one_where_draws_lie_in_mirrored_modes() -> None:
    rng, of = np.random.default_rng(2), density(FACTORS, data(FACTORS))
    truth = np.asarray(of.unconstrain(FACTORS.truth))
    points = jnp.asarray(truth + 0.02 * rng.standard_normal((CHAINS, DRAWS, truth.size)))
    draws = {name: np.array(x) for name, x in jax.vmap(jax.vmap(of.constrain))(points).items()}
    draws["loading"][::2] *= -1  # two chains in the mirror image: the mean has no loadings
    fit = estimate_from_draws(
        FACTORS, data(FACTORS), draws, record=xr.Dataset(), sample_stats=stats(rng)
    )
    assert fit.log_likelihood > float(of.log_likelihood(jnp.asarray(truth)).sum()) - 10
    assert fit.problems == ()  # what is reported does not know the sign
    assert {"loading", "covariance", "eigenvalue"} <= set(fit.draws["posterior"].data_vars)


def test_independent_draws_are_not_judged_as_a_chain() -> None:
    model, rng = Gaussian(), np.random.default_rng(3)
    draws = {name: 2 + 0.1 * rng.standard_normal((CHAINS, 20)) for name in ("mu", "sigma")}
    fit = estimate_from_draws(model, data(model), draws, record=xr.Dataset())
    assert fit.problems == ()
    assert fit.draws is not None
    assert set(fit.draws.children) == {"posterior", "log_prior", "observed_data"}


def test_the_error_of_the_law_itself_is_added_in_quadrature() -> None:
    model, rng = Gaussian(), np.random.default_rng(3)
    noise = rng.standard_normal((CHAINS, 20))
    draws = {"mu": 2 + 0.1 * noise, "sigma": 2 + 0.1 * noise}
    # three laws: locations apart for one parameter, scales apart for the other
    shift, size = np.array([[-0.1], [0.0], [0.4]]), np.array([[1.0], [1.2], [0.7]])
    base = rng.standard_normal(15)
    repeated = {"mu": 2 + shift + 0.1 * base, "sigma": 2 + 0.1 * size * (base - base.mean())}
    plain, fit = (
        estimate_from_draws(model, data(model), draws, record=xr.Dataset(), repeated=laws)
        for laws in (None, repeated)
    )
    added = {
        ("location", "mu"): shift.std(ddof=1),
        ("sd", "mu"): 0.0,
        ("location", "sigma"): 0.0,
        ("sd", "sigma"): 0.1 * size.std(ddof=1) * base.std(ddof=1),
    }
    for (part, name), more in added.items():
        before, after = (float(getattr(one, part).error[name]) for one in (plain, fit))
        assert after == pytest.approx(np.hypot(before, more), rel=1e-12)
        assert getattr(fit, part).value.identical(getattr(plain, part).value)


def test_draws_without_a_finite_density_make_no_estimate() -> None:
    model = Gaussian()
    draws = {name: np.full((CHAINS, 20), np.nan) for name in ("mu", "sigma")}
    with pytest.raises(FitError, match="finite at none of 80 draws"):
        estimate_from_draws(model, data(model), draws, record=xr.Dataset())


def test_a_draw_that_is_not_finite_is_a_problem_and_undefines_the_moments() -> None:
    model, rng = Gaussian(), np.random.default_rng(3)
    draws = {name: 2 + 0.1 * rng.standard_normal((CHAINS, 20)) for name in ("mu", "sigma")}
    draws["mu"][1, 2] = np.nan
    fit = estimate_from_draws(model, data(model), draws, record=xr.Dataset())
    assert fit.problems == ("mu is not a finite number in 1 draws",)
    assert np.isnan(fit.location.error["mu"])
    assert float(fit.location.error["sigma"]) > 0


# --- labels ---------------------------------------------------------------------------------------


def _mixture_draws(rng: np.random.Generator) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Draws around the truth, and the same ones with labels permuted at random in every draw."""
    of = density(MIXTURE, data(MIXTURE))
    truth = np.asarray(of.unconstrain(MIXTURE.truth))
    points = jnp.asarray(truth + 0.05 * rng.standard_normal((CHAINS, DRAWS, truth.size)))
    values = {name: np.array(x) for name, x in jax.vmap(jax.vmap(of.constrain))(points).items()}
    order = rng.permuted(np.tile(np.arange(3), (CHAINS, DRAWS, 1)), axis=-1)
    switched = {
        name: np.take_along_axis(x, order.reshape(*order.shape, *[1] * (x.ndim - 3)), axis=2)
        for name, x in values.items()
    }
    return values, switched


def test_labels_that_switch_in_every_draw_are_restored() -> None:
    values, switched = _mixture_draws(np.random.default_rng(4))
    fit = estimate_from_draws(MIXTURE, data(MIXTURE), switched, record=xr.Dataset())
    assert fit.draws is not None
    for name, array in values.items():
        found = fit.draws["posterior"][name].values
        np.testing.assert_allclose(found, array, rtol=0, atol=1e-12)


def test_laws_in_different_labellings_add_no_error() -> None:
    values, switched = _mixture_draws(np.random.default_rng(4))
    two = {name: np.stack([values[name][0], switched[name][0]]) for name in values}
    plain, fit = (
        estimate_from_draws(MIXTURE, data(MIXTURE), values, record=xr.Dataset(), repeated=laws)
        for laws in (None, two)
    )
    for name, error in plain.location.error.items():
        np.testing.assert_allclose(fit.location.error[name], error, rtol=0, atol=1e-12)


def test_chains_in_different_labellings_disagree_only_before_alignment() -> None:
    rng = np.random.default_rng(5)
    values, _ = _mixture_draws(rng)
    for array in values.values():
        array[1] = array[1][:, [2, 0, 1]]
    fit = estimate_from_draws(
        MIXTURE, data(MIXTURE), values, record=xr.Dataset(), sample_stats=stats(rng)
    )
    assert fit.record.attrs["rhat_unaligned"] > 1.5
    assert fit.record.attrs["rhat"] < 1.01
    assert fit.record.attrs["ess_unaligned"] < 400 < fit.record.attrs["ess"]
    assert fit.problems == ()
    first = fit.location.value["mean"].isel(variable=0).values
    assert list(first) == sorted(first)


def test_alignment_is_the_cheapest_of_all_permutations() -> None:
    model, rng = GaussianMixture(k=5, dim=2), np.random.default_rng(6)
    values = {"weights": jnp.ones((30, 5)) / 5, "mean": jnp.asarray(rng.normal(size=(30, 5, 2)))}
    pivot = {name: x[0] for name, x in values.items()}
    found = np.asarray(align(model, values, pivot)["mean"])
    mean = np.asarray(values["mean"])
    scale = mean.std(axis=(0, 1))
    for draw in range(30):
        costs = [
            (((mean[draw, list(order)] - mean[0]) / scale) ** 2).sum()
            for order in itertools.permutations(range(5))
        ]
        ours = (((found[draw] - mean[0]) / scale) ** 2).sum()
        assert ours == pytest.approx(min(costs), rel=1e-12)


# --- the gate: every planted fault is named -------------------------------------------------------


def _healthy() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(7)
    flat = rng.standard_normal((CHAINS, DRAWS, 3))
    flat[..., 0] = 1.0  # such as an entry of a Cholesky factor
    return flat, stats(rng)


def test_gate_passes_healthy_chains_and_what_never_moves() -> None:
    flat, healthy = _healthy()
    assert gate(flat, NAMES, healthy) == ()
    flat[..., 0] += 1e-15 * flat[..., 1]
    assert gate(flat, NAMES, healthy) == ()


def test_gate_names_the_chains_that_disagree() -> None:
    flat, healthy = _healthy()
    flat[3, :, 2] += 0.5
    problems = gate(flat, NAMES, healthy)
    assert problems[0].startswith("the chains disagree: R-hat of sigma is 1.0")


def test_gate_names_too_few_effective_draws() -> None:
    flat, healthy = _healthy()
    # autoregression at 0.9: about n (1 − 0.9)/(1 + 0.9) = 210 effective draws
    noise = np.random.default_rng(8).standard_normal((CHAINS, DRAWS))
    flat[..., 1] = lfilter([1.0], [1.0, -0.9], noise, axis=1)
    problems = gate(flat, NAMES, healthy)
    assert any(
        problem.startswith("too few effective draws: bulk ESS of mu") for problem in problems
    )


def test_one_divergence_is_a_note_and_many_are_a_problem() -> None:
    flat, healthy = _healthy()
    healthy["diverging"][2, 5] = True
    assert gate(flat, NAMES, healthy) == ()
    note = "1 of 4,000 transitions diverged; without the draws around them no mean moves by 0.1 sd"
    assert divergences(flat, healthy) == ("", note)
    healthy["diverging"][2, 5:10] = True
    (problem,) = gate(flat, NAMES, healthy)
    assert problem.startswith("5 of 4,000 transitions diverged; expected at most 0.1 %")
    assert "raise target_accept" in problem


def test_few_divergences_where_a_mean_rests_on_them_are_a_problem() -> None:
    flat, healthy = _healthy()
    flat[:, :150, 1] += 3.0 * flat[..., 1].std()
    healthy["diverging"][:, 75] = True  # 0.1 %, all in one place
    problem, note = divergences(flat, healthy)
    assert problem
    assert not note


def test_chains_of_one_key_are_one_chain() -> None:
    flat, healthy = _healthy()
    assert gate(flat, NAMES, healthy) == ()
    noise = np.random.default_rng(3).standard_normal(flat[1].shape)
    flat[3] = flat[1] + 0.1 * flat[1].std(axis=0) * noise
    (problem,) = gate(flat, NAMES, healthy)
    assert problem.startswith(
        "chains 1 and 3 are one chain: the correlation of their draws is 0.99"
    )


def test_chains_that_are_stuck_are_not_taken_for_one() -> None:
    flat, healthy = _healthy()
    flat[1] = flat[1, :1]
    flat[2] = flat[2, :1]
    assert not any("are one chain" in problem for problem in gate(flat, NAMES, healthy))


def test_gate_names_the_chain_whose_energy_barely_moves() -> None:
    flat, healthy = _healthy()
    healthy["energy"][1] = np.cumsum(healthy["energy"][1])
    (problem,) = gate(flat, NAMES, healthy)
    assert problem.startswith("the energy is explored too slowly: E-BFMI of chain 1 is 0.0")


def test_numbers_that_are_not_finite_are_named() -> None:
    flat, _ = _healthy()
    assert not_finite(flat, NAMES) == ()
    flat[0, :3, 2] = np.inf
    assert not_finite(flat, NAMES) == ("sigma is not a finite number in 3 draws",)
