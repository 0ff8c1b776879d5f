"""Studies: moments merge exactly, batches change no number, and planted errors are caught."""

from __future__ import annotations

import csv
import subprocess
import sys
import tracemalloc
from dataclasses import dataclass, replace
from itertools import product
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as some
from scipy.stats import binom, kurtosis

from comparisons.policy import RANKS_FALSE_ALARM
from comparisons.replicated.ladder import Rung, Statistic, slope, vanishing
from comparisons.replicated.moments import Moments
from comparisons.replicated.sampling import Sampling
from comparisons.report.pages.study import _remedy
from comparisons.runs import batches as _batches
from comparisons.runs import conduct as _conduct
from comparisons.runs.conduct import conduct
from comparisons.runs.plan import model_spec
from comparisons.runs.run import study as run_study
from comparisons.runs.settings import CaseSettings, Settings, numbers
from comparisons.store.entries import Store
from comparisons.studies import (
    Setting,
    asymptotics,
    bernstein_von_mises,
    bic_consistency,
    calibration,
    coverage,
    cramer_rao,
    further,
    misspecification,
    studies,
)
from comparisons.studies._ladder import binomial, departures, powers, rate
from comparisons.verdict import Verdict
from inference.estimate import Estimate, Quantity, named_covariance
from inference.information.derivatives import quantity_jacobian
from inference.method import Method
from inference.methods.gaussian_vi import GaussianVI
from inference.methods.laplace import Laplace
from inference.methods.maximum_likelihood import MaximumLikelihood
from inference.methods.nuts import NUTS
from inference.replicates.fits import replicate, standard_errors
from inference.replicates.gaussian_vi import mean_field, narrowing
from inference.replicates.intervals import bootstrap, profile_deviances
from inference.replicates.nuts import Chains, sample
from inference.replicates.posteriors import Weighted, posteriors
from inference.replicates.simulated import simulated
from models.catalogue.gaussian import ConjugateGaussian, Gaussian
from models.catalogue.gaussian_mixture import GaussianMixture
from models.errors import ConfigError, FitError
from models.programs.density import density, flatten, quantities
from models.spec import Model, Parameter, Values

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from comparisons.studies import Study, Summaries
    from inference.replicates.fits import Replicates
    from inference.replicates.simulated import Batch


GAUSSIAN = model_spec(CaseSettings(model="gaussian"))


def conducted(
    module: Any, model: Model, units: Sequence[int], replicates: int, where: Path
) -> Study:
    store = Store(where)
    return conduct(module, Setting(model, 3), units, replicates, store, lambda *_: None)


def found(study: Study, outcome: str) -> set[tuple[str, str]]:
    """Methods and quantities of the verdicts with an outcome."""
    return {(v.method, v.quantity) for v in study.verdicts if v.outcome == outcome}


# --- moments --------------------------------------------------------------------------------------


@given(
    seed=some.integers(0, 1_000),
    cuts=some.lists(some.integers(0, 60), max_size=3),
    shift=some.sampled_from([0.0, 1e3]),
)
def test_merged_moments_are_those_of_all_rows(seed: int, cuts: list[int], shift: float) -> None:
    rng = np.random.default_rng(seed)
    rows = shift + rng.gamma(2.0, size=(60, 2)) @ np.array([[1.0, 0.5], [0.0, 2.0]])
    rows[rng.random(60) < 0.1] = np.nan
    parts = [Moments.of(part) for part in np.split(rows, sorted(cuts))]
    merged = parts[0]
    for part in parts[1:]:
        merged = merged.merged(part)
    good = rows[np.isfinite(rows).all(axis=1)]
    assert (merged.replicates, merged.left_out) == (len(good), 60 - len(good))
    np.testing.assert_allclose(merged.mean, good.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(merged.covariance, np.cov(good, rowvar=False), rtol=1e-7)
    np.testing.assert_allclose(
        merged.relative, np.sqrt((kurtosis(good, fisher=False) - 1) / len(good)), rtol=1e-6
    )


def test_rows_that_were_not_asked_for_are_not_left_out() -> None:
    rows = np.array([[1.0, 2.0], [np.inf, np.inf], [np.nan, 1.0], [3.0, np.inf], [5.0, 6.0]])
    moments = Moments.of(rows)
    assert (moments.replicates, moments.left_out) == (2, 2)
    np.testing.assert_array_equal(moments.mean, [3.0, 4.0])


def test_a_million_replicates_need_no_more_memory_than_a_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(setting: Setting, n: int, indices: range) -> dict[str, np.ndarray]:
        x = (np.arange(indices.start, indices.stop)[:, None] * [1, 7919] % 1_000).astype(float)
        return {"x": x, "below": (x[:, :, None] < np.arange(100, 1_000, 100)).astype(float)}

    def judge(setting: Setting, summaries: Summaries) -> list[Verdict]:
        at = summaries[5]
        np.testing.assert_allclose(at["below"].mean, np.tile(np.arange(0.1, 0.95, 0.1), 2))
        return [Verdict("mean", at["x"].mean[1], 499.5, 0.0, 1e-9)]

    module: Any = SimpleNamespace(measure=measure, judge=judge)
    module.__name__, module.__file__ = "comparisons.planted", __file__
    monkeypatch.setattr(_conduct, "BATCH", 10_000)
    monkeypatch.setattr(_conduct, "FIRST", 1_000_000)
    conducted(module, Gaussian(), (5,), 10_000, tmp_path / "first")  # what it imports is no row
    tracemalloc.start()
    study = conducted(module, Gaussian(), (5,), 1_000_000, tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (study.replicates, study.verdicts[0].outcome) == (1_000_000, "AGREE")
    # all rows would be 160 MB; a batch is 1.6 MB, and some copies of it
    assert peak < 32e6
    assert sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()) < 5e6


# --- laws of departures ---------------------------------------------------------------------------


def test_a_departure_that_vanishes_is_explained_and_one_that_stays_is_not() -> None:
    units = (20, 80, 320)
    falls = [Rung(n, 1 + 4 / n, 1e-3) for n in units]
    stays = [Rung(n, 1.2, 1e-3) for n in units]
    early = [Rung(20, 1.9, 1e-3), *falls[1:]]
    outcomes = [
        [v.outcome for v in vanishing(Statistic(rungs, 1.0, 0.04), "x")]
        for rungs in (falls, stays, early)
    ]
    assert outcomes[0] == ["EXPLAINED", "EXPLAINED", "AGREE"]
    assert outcomes[1] == ["DIFFER"] * 3
    # the law of the others predicts 1.2 at N = 20
    assert outcomes[2][0] == "NOT COMPARABLE"


def test_a_departure_that_the_largest_n_does_not_decide_is_no_difference() -> None:
    """The variance over the bound of a galaxy mixture's weight, as it was once measured."""
    rungs = [Rung(82, 1.34, 0.04), Rung(328, 1.31, 0.05), Rung(1_312, 1.35, 0.08)]
    outcomes = [v.outcome for v in vanishing(Statistic(rungs, 1.0, 0.2), "x")]
    assert "DIFFER" not in outcomes
    decided = [*rungs[:2], Rung(1_312, 1.35, 0.02)]
    assert [v.outcome for v in vanishing(Statistic(decided, 1.0, 0.2), "x")][2] == "DIFFER"


@pytest.mark.parametrize(
    ("n", "value", "error", "outcome"),
    [
        (20, 0.80, 1e-3, "NOT COMPARABLE"),  # 2/N: no theorem speaks of the only N
        (20, 0.55, 1e-3, "DIFFER"),  # 7/N is no first term of an expansion
        (2_000, 0.80, 1e-3, "DIFFER"),
        (20, 0.90, 1e-3, "AGREE"),
        (20, 0.91, 0.015, "CONSISTENT"),  # one of two bounds would have been seen
        (20, 0.91, 0.016, "UNSURE"),
    ],
)
def test_at_one_n_alone_only_what_no_asymptotics_could_do_differs(
    n: int, value: float, error: float, outcome: str
) -> None:
    [row] = vanishing(Statistic([Rung(n, value, error)], 0.9, 0.025), "x")
    assert row.outcome == outcome
    assert f"n=[{n}, {4 * n}]" in row.cause


def test_the_largest_gap_is_followed_at_one_level() -> None:
    def moments(shares: list[float]) -> Moments:
        count = 10_000
        rows = np.arange(count)[:, None] < np.round(count * np.array(shares))
        return Moments.of(rows[:, None, :].astype(float))

    levels = np.array([0.1, 0.5, 0.9])
    # further off in probability at N = 20, but in standard errors it is at the first level
    below = {20: moments([0.16, 0.57, 0.9]), 80: moments([0.1, 0.53, 0.9])}
    first, second = asymptotics.largest_gap(below, 0, levels)
    assert (first.n, second.n) == (20, 80)
    assert (first.value, second.value) == pytest.approx((0.06, 0.0))
    assert first.error == pytest.approx(0.003)


def test_the_slope_of_a_power_is_its_exponent() -> None:
    rungs = [Rung(n, 3.0 * n**-0.5, 0.01 * n**-0.5) for n in (10, 100, 1_000)]
    rate, error = slope(rungs)
    assert rate == pytest.approx(-0.5)
    x = np.log([10.0, 100.0, 1_000.0])
    assert error == pytest.approx(0.01 / 3 / np.sqrt(((x - x.mean()) ** 2).sum()))


@pytest.mark.parametrize(
    ("power", "outcome"), [(1.0, "AGREE"), (0.5, "AGREE"), (0.2, "DIFFER"), (0.0, "DIFFER")]
)
def test_a_rate_is_that_of_the_departures_beyond_their_errors(power: float, outcome: str) -> None:
    rungs = [Rung(n, 1 + 2 * n**-power, 1e-3) for n in (20, 80, 320)]
    noise = Rung(10**9, 1 + 5e-4, 1e-3)
    found = rate(departures([*rungs, noise], 1.0), 0.5, 0.1)
    assert found.outcome == outcome
    assert found.observed == pytest.approx(power)
    for others, cause in ((noise, "fewer than two N (20)"), (Rung(80, 0.5, 1e-3), "its sign")):
        refused = rate(departures([rungs[0], others], 1.0), 0.5, 0.1)
        assert refused.outcome == "NOT COMPARABLE"
        assert cause in refused.cause


# --- the engine -----------------------------------------------------------------------------------


def test_batches_change_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = conducted(asymptotics, Gaussian(), (20, 40), 60, tmp_path / "one")
    monkeypatch.setattr(_conduct, "BATCH", 17)
    parts = conducted(asymptotics, Gaussian(), (20, 40), 60, tmp_path / "two")
    for a, b in zip(whole.verdicts, parts.verdicts, strict=True):
        assert a.observed == pytest.approx(b.observed, rel=1e-9)
        assert a.error == pytest.approx(b.error, rel=1e-9)


def test_a_batch_is_as_large_as_the_memory_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def measure(setting: Setting, n: int, indices: range) -> dict[str, np.ndarray]:
        made.append(len(indices))
        return {"y": np.zeros(len(indices))}

    def judge(setting: Setting, summaries: Summaries) -> list[Verdict]:
        return [Verdict("y", 0.0, 0.0, 0.0, 1.0)]

    module: Any = SimpleNamespace(measure=measure, judge=judge)
    module.__name__, module.__file__ = "comparisons.planted", __file__

    def with_memory_for(sets: float) -> None:
        memory = int(sets * 1_000 * 8 / _conduct._SHARE)
        monkeypatch.setattr(_batches, "memory_limit", lambda: memory)

    with_memory_for(3.5)
    conducted(module, Gaussian(), (1_000,), 10, tmp_path / "three")
    assert made == [3, 3, 3, 1]
    with_memory_for(0.5)
    with pytest.raises(ConfigError, match="too large for a worker"):
        conducted(module, Gaussian(), (1_000,), 10, tmp_path / "none")


def test_a_study_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_conduct, "BATCH", 10)
    made: list[int] = []

    def measure(setting: Setting, n: int, indices: range) -> dict[str, np.ndarray]:
        made.append(len(indices))
        if len(made) == 3:
            raise KeyboardInterrupt
        sets = setting.batch(n, indices).sets
        return {"y": np.array([data["y"].mean() for data in sets])}

    def judge(setting: Setting, summaries: Summaries) -> list[Verdict]:
        return [Verdict("y", float(summaries[5]["y"].mean[0]), 0.0, 0.0, np.inf)]

    module: Any = SimpleNamespace(measure=measure, judge=judge)
    module.__name__, module.__file__ = "comparisons.halting", __file__
    with pytest.raises(KeyboardInterrupt):
        conducted(module, Gaussian(), (5,), 40, tmp_path)
    interrupted = conducted(module, Gaussian(), (5,), 40, tmp_path)
    assert made == [10] * 5
    again = conducted(module, Gaussian(), (5,), 40, tmp_path / "new")
    assert interrupted.verdicts == again.verdicts


def test_a_study_that_fails_says_where(tmp_path: Path) -> None:
    def measure(setting: Setting, n: int, indices: range) -> dict[str, np.ndarray]:
        raise ZeroDivisionError("oh")

    module: Any = SimpleNamespace(measure=measure, judge=None)
    module.__name__, module.__file__ = "comparisons.failing", __file__
    with pytest.raises(FitError, match="failing of gaussian failed at N = 5: ZeroDivisionError"):
        conducted(module, Gaussian(), (5,), 40, tmp_path)


# --- honest studies and planted errors ------------------------------------------------------------


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("module", "units", "replicates"),
    [
        (asymptotics, (50, 200, 800), 1_000),
        (bernstein_von_mises, (50, 200, 800), 1_000),
        (coverage, (50, 200), 300),
        (cramer_rao, (50, 200, 800), 600),
    ],
)
def test_an_honest_study_fails_nothing(
    module: Any, units: tuple[int, ...], replicates: int, tmp_path: Path
) -> None:
    # about 30 dependent statements, each with a false-alarm rate below 0.001
    study = conducted(module, Gaussian(), units, replicates, tmp_path)
    assert not found(study, "DIFFER")
    assert not found(study, "NOT COMPARABLE")


@pytest.mark.statistical
def test_standard_errors_a_tenth_too_large_are_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def planted(model: Model, batch: Batch) -> Replicates:
        fits = replicate(model, batch)
        return fits._replace(standard_error=1.1 * fits.standard_error)

    monkeypatch.setattr(asymptotics, "replicate", planted)
    study = conducted(asymptotics, Gaussian(), (200, 800), 6_000, tmp_path)
    assert found(study, "DIFFER") == {("maximum_likelihood", "mean standard error / sd")}


def test_the_error_of_a_mean_standard_error_over_the_sd_has_both_errors() -> None:
    bound, rng, ratios, errors = Setting(Gaussian(), 3).bound(50), np.random.default_rng(0), [], []
    for _ in range(400):
        found = Moments.of(rng.standard_normal((300, 2)))
        standard_errors = Moments.of(rng.lognormal(size=(300, 2)))
        own = Sampling(50, found, bound, standard_errors).own_error(0)
        ratios.append(own.value)
        errors.append(own.error)
    # the sd of 400 ratios is known to 4 %; without the error of the mean it would be twice as large
    assert np.std(ratios) == pytest.approx(np.mean(errors), rel=0.2)


def test_a_variance_below_its_bound_is_seen_in_whatever_units() -> None:
    bound, rng = Setting(Gaussian(), 3).bound(50), np.random.default_rng(0)
    units = np.array([1.0, 1e-6])
    rows = rng.standard_normal((2_000, 2)) * np.sqrt([1.0, 0.5]) * units
    bound = bound._replace(covariance=np.diag(units**2), deviation=units, uncertain=np.zeros(2))
    smallest, expected = Sampling(50, Moments.of(rows), bound).smallest()
    assert smallest.value == pytest.approx(0.5, rel=0.1)  # standard error 0.016
    assert expected == pytest.approx(1 - 2 * np.sqrt(2 / 2_000), abs=0.01)


@pytest.mark.statistical
def test_a_divisor_of_n_less_one_is_caught_where_the_law_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = conducted(asymptotics, Gaussian(), (10, 40), 2_000, tmp_path)
    assert not found(honest, "DIFFER")

    def planted(model: Model, batch: Batch) -> Replicates:
        fits = replicate(model, batch)
        factor = np.array([1.0, np.sqrt(batch.n / (batch.n - 1))])
        return fits._replace(estimate=fits.estimate * factor)

    monkeypatch.setattr(asymptotics, "replicate", planted)
    study = conducted(asymptotics, Gaussian(), (10, 40), 2_000, tmp_path / "planted")
    # standard errors, which are not changed, do not suit the spread at N = 10 either: by a law in
    # 1/N from N = 40 alone that is not decided
    assert found(study, "DIFFER") == {("maximum_likelihood", "mean − its exact value, in sd")}
    assert ("maximum_likelihood", "mean standard error / sd") in found(study, "UNSURE")


@pytest.mark.statistical
def test_an_inefficient_and_a_skewed_estimator_are_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def planted(model: Model, batch: Batch) -> Replicates:
        fits = replicate(model, batch)
        mu, sigma = fits.estimate.T
        bound = 2.0 / np.sqrt(2 * batch.n)
        skewed = 2.0 + bound * np.sinh((sigma - 2.0) / bound) * np.exp((sigma - 2.0) / bound)
        return fits._replace(estimate=np.stack([3.0 + 1.2 * (mu - 3.0), skewed], axis=1))

    monkeypatch.setattr(asymptotics, "replicate", planted)
    study = conducted(asymptotics, Gaussian(), (50, 400), 2_000, tmp_path)
    wrong = {(v.parameter, v.quantity) for v in study.verdicts if v.outcome == "DIFFER"}
    assert ("mu", "sd / Cramér–Rao bound") in wrong
    assert ("sigma", "largest difference from the normal law") in wrong


@pytest.mark.statistical
@pytest.mark.parametrize("model", [Gaussian(), Gaussian(dim=2), ConjugateGaussian()])
def test_the_known_law_of_the_maximum_is_that_of_its_formula(model: Any) -> None:
    n, count = 7, 20_000
    sets = simulated(model, model.truth, n, range(count), 1).sets
    maxima = [model.maximum_likelihood(data) for data in sets]
    rows = jax.vmap(lambda values: flatten(quantities(model, values)))(
        {name: np.stack([one[name] for one in maxima]) for name in maxima[0]}
    )
    moments = Moments.of(np.asarray(rows))
    mean, sd = (np.asarray(flatten(part)) for part in model.sampling_moments(model.truth, n))
    # at most 12 numbers with a false-alarm rate of 1e-6 each
    assert (np.abs(moments.mean - mean) < 5 * sd / count**0.5).all()
    assert (np.abs(moments.deviation / sd - 1) < 5 * moments.relative / 2).all()


@pytest.mark.statistical
def test_half_the_information_is_beaten_by_an_estimator_at_its_bias(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Setting.bound
    monkeypatch.setattr(
        Setting,
        "bound",
        lambda self, n: right(self, n)._replace(information=0.5 * right(self, n).information),
    )
    # N of the honest study, so that what was compiled for it serves again
    study = conducted(cramer_rao, Gaussian(), (200, 800), 600, tmp_path)
    methods = {"maximum_likelihood", "maximum_a_posteriori", "posterior_mean", "gaussian_vi_mean"}
    about = "variance / bound at its bias"
    assert found(study, "DIFFER") == {(method, about) for method in methods}


@pytest.mark.statistical
def test_interval_methods_are_held_to_their_coverage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stuck(*arguments: Any, **settings: Any) -> Chains:
        chains = sample(*arguments, **settings)
        return chains._replace(points=np.repeat(chains.points[:, ::3], 3, axis=1))

    def deviances(*arguments: Any) -> np.ndarray:
        return 0.5 * profile_deviances(*arguments)

    def narrow(*arguments: Any, **settings: Any) -> tuple[np.ndarray, np.ndarray]:
        draws, fine = bootstrap(*arguments, **settings)
        location = draws.mean(axis=1, keepdims=True)
        return location + 0.5 * (draws - location), fine

    def wide(*arguments: Any) -> Weighted:
        draws = mean_field(*arguments)
        location = draws.quantities.mean(axis=1, keepdims=True)
        return draws._replace(quantities=location + 2 * (draws.quantities - location))

    def half(*arguments: Any) -> dict[str, np.ndarray]:
        errors = standard_errors(*arguments)
        return {**errors, "opg": 0.5 * errors["opg"]}

    monkeypatch.setattr(coverage, "standard_errors", half)
    monkeypatch.setattr(coverage, "sample", stuck)
    monkeypatch.setattr(coverage, "profile_deviances", deviances)
    monkeypatch.setattr(coverage, "bootstrap", narrow)
    monkeypatch.setattr(coverage, "mean_field", wide)
    # N of the honest study, so that what was compiled for it serves again
    study = conducted(coverage, Gaussian(), (200,), 1_000, tmp_path)
    quantity = "coverage of the 90% interval"
    planted = {"wald[opg]", "profile likelihood", "bootstrap", "gaussian_vi[mean_field]"}
    assert found(study, "DIFFER") == {(method, quantity) for method in planted}
    assert found(study, "NOT COMPARABLE") == {("nuts[numpyro]", quantity)}


@pytest.mark.statistical
def test_a_posterior_a_fifth_too_wide_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def planted(model: Model, batch: Batch, u: np.ndarray) -> dict[str, Any]:
        draws = posteriors(model, batch, u)["posterior"]
        mean = (draws.weights[:, :, None] * draws.quantities).sum(axis=1, keepdims=True)
        return {"posterior": draws._replace(quantities=mean + 1.2 * (draws.quantities - mean))}

    monkeypatch.setattr(bernstein_von_mises, "posteriors", planted)
    study = conducted(bernstein_von_mises, Gaussian(), (200, 800), 1_000, tmp_path)
    sd = "posterior sd / standard error"
    divergence = "KL divergence of N(θ̂, SE²) from the posterior's normal law, nats"
    assert {quantity for _, quantity in found(study, "DIFFER")} == {
        sd, divergence, f"rate at which {sd} tends to 1"
    }  # fmt: skip


@pytest.mark.statistical
def test_an_estimator_with_twice_the_variance_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def planted(model: Model, batch: Batch) -> Replicates:
        fits = replicate(model, batch)
        noise = [rng.standard_normal(fits.estimate.shape[1]) for rng in batch.streams]
        return fits._replace(estimate=fits.estimate + fits.standard_error * np.stack(noise))

    monkeypatch.setattr(cramer_rao, "replicate", planted)
    study = conducted(cramer_rao, Gaussian(), (200, 800), 1_000, tmp_path)
    quantities = ("variance", "mean squared error")
    assert found(study, "DIFFER") == {
        ("maximum_likelihood", f"{quantity} / Cramér–Rao bound") for quantity in quantities
    }


@pytest.mark.statistical
def test_an_estimator_below_the_bound_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def planted(model: Model, batch: Batch) -> Replicates:
        fits = replicate(model, batch)
        truth = Setting(model, 0).truth
        return fits._replace(estimate=truth + 0.7 * (fits.estimate - truth))

    monkeypatch.setattr(cramer_rao, "replicate", planted)
    study = conducted(cramer_rao, Gaussian(), (200, 800), 2_000, tmp_path)
    smallest = ("maximum_likelihood", "smallest eigenvalue of B^(−½) Var B^(−½)")
    assert smallest in found(study, "DIFFER")


@pytest.mark.statistical
def test_ranks_are_uniform_unless_draws_are_too_narrow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = conducted(calibration, Gaussian(), (20,), 300, tmp_path)
    assert {method for method, _ in found(honest, "DIFFER")} <= {"laplace[numpyro]"}
    together = calibration.TOGETHER
    # 38 shares of 300 data sets leave room for a departure that matters
    assert found(honest, "UNSURE") >= {("nuts[numpyro]", together), ("posterior", together)}
    assert len(honest.descriptive) == 4
    shares = [one for part in honest.descriptive for one in part.numbers if one.parameter]
    assert len(shares) == 4 * 2 * calibration.LEVELS.size
    right = calibration.sample

    def planted(*arguments: Any, **settings: Any) -> Any:
        chains = right(*arguments, **settings)
        middle = chains.points.mean(axis=1, keepdims=True)
        return chains._replace(points=middle + 0.5 * (chains.points - middle))

    monkeypatch.setattr(calibration, "sample", planted)
    study = conducted(calibration, Gaussian(), (20,), 300, tmp_path / "planted")
    assert ("nuts[numpyro]", together) in found(study, "DIFFER")
    assert ("posterior", together) not in found(study, "DIFFER")


@pytest.mark.parametrize(
    ("replicates", "shift", "outcome"),
    [(300, 0.0, "UNSURE"), (3_000, 0.0, "AGREE"), (3_000, 0.06, "DIFFER"), (300, 0.3, "DIFFER")],
)
def test_exact_ranks_agree_only_if_their_whole_band_is_near(
    replicates: int, shift: float, outcome: str
) -> None:
    theory = np.broadcast_to(calibration.LEVELS, (2, calibration.LEVELS.size))
    found = theory.copy()
    found[1, 9] += shift
    shares = calibration._Shares(found, theory, replicates)
    assert calibration._uniform(shares, 20, "x").outcome == outcome


def test_the_band_of_all_ranks_has_its_false_alarm_rate() -> None:
    rng, replicates = np.random.default_rng(0), 400
    theory = np.broadcast_to(calibration.LEVELS, (2, calibration.LEVELS.size))
    alarms = 0
    for _ in range(2_000):
        ranks = rng.random((replicates, 2, 1))
        found = (ranks < calibration.LEVELS).mean(axis=0)
        alarms += calibration._Shares(found, theory, replicates).together(20)[1]
    assert alarms <= binom.isf(1e-4, 2_000, RANKS_FALSE_ALARM)


def no_chains(model: Model, batch: Batch, u: np.ndarray, *, draws: int, **settings: Any) -> Chains:
    """Chains that cannot be used, at no cost, in a study whose other methods are looked at."""
    return Chains(np.tile(u[:, None], (1, draws, 1)), np.zeros(len(u), bool))


@pytest.mark.statistical
def test_mean_field_ranks_are_those_of_its_shrinkage_and_no_narrower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # two means of little data with a prior that correlates nothing: correlation by the likelihood
    model = Gaussian(dim=2)
    monkeypatch.setattr(calibration, "sample", no_chains)
    honest = conducted(calibration, model, (40,), 200, tmp_path)
    assert "gaussian_vi[mean_field]" not in {method for method, _ in found(honest, "DIFFER")}
    right = calibration.mean_field

    def planted(*arguments: Any) -> Weighted:
        draws = right(*arguments)
        middle = draws.quantities.mean(axis=1, keepdims=True)
        return draws._replace(quantities=middle + 0.4 * (draws.quantities - middle))

    monkeypatch.setattr(calibration, "mean_field", planted)
    study = conducted(calibration, model, (40,), 200, tmp_path / "planted")
    assert "gaussian_vi[mean_field]" in {method for method, _ in found(study, "DIFFER")}


@final
@dataclass(frozen=True)
class Conjugate(Method):
    """Independent draws of the exact posterior, one data set at a time; one fit in 250 fails."""

    width: Literal["right", "half"] = "right"

    name: ClassVar[str] = "conjugate"
    target: ClassVar[Any] = "posterior"
    kind: ClassVar[Any] = "exact"

    def refusal(self, model: Model) -> str:
        return ""

    def fit(self, model: Any, data: xr.Dataset, rng: np.random.Generator) -> Any:
        if rng.random() < 0.004:
            raise FitError("on purpose")
        law = model.exact_posterior(data)
        draws = {name: law[name].rvs((4, 200), random_state=rng) for name in ("sigma2", "mu")}
        widen = {"right": 1.0, "half": 0.5}[self.width]
        draws = {name: x.mean() + widen * (x - x.mean()) for name, x in draws.items()}
        posterior = xr.Dataset({name: (("chain", "draw"), x) for name, x in draws.items()})
        values = xr.Dataset({name: x.mean() for name, x in draws.items()})
        tree = xr.DataTree.from_dict({"posterior": posterior})
        quantity = Quantity(values, values)
        none = named_covariance(np.empty((0, 0)), [])
        return Estimate(quantity, quantity, 0.0, tree, (), values, none, "posterior_sd")


@pytest.mark.statistical
def test_methods_that_fit_one_data_set_at_a_time_are_held_to_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    methods = Conjugate("right"), Conjugate("half")
    for module, n in ((calibration, 50), (coverage, 50)):  # one N, compiled once
        monkeypatch.setattr(module, "sample", no_chains)
        setting = Setting(ConjugateGaussian(), 3, methods)
        study = conduct(module, setting, (n,), 200, Store(tmp_path), lambda *_: None)
        ours = [f.outcome for f in study.verdicts if f.method.startswith("conjugate")]
        assert "NOT COMPARABLE" not in ours
        different = {method for method, _ in found(study, "DIFFER")}
        assert different & {"conjugate[right]", "conjugate[half]"} == {"conjugate[half]"}
    assert {f.method for f in study.verdicts} > {"conjugate[right]", "conjugate[half]"}


def test_methods_are_held_to_what_their_family_promises() -> None:
    methods = (
        NUTS("numpyro"),
        NUTS("pymc"),
        GaussianVI("pymc"),
        GaussianVI("numpyro", "full_rank"),
        Laplace(),
    )
    setting = Setting(Gaussian(), 0, methods)
    names = [*setting.columns]
    assert names == [
        "nuts[numpyro], one at a time", "nuts[pymc]", "gaussian_vi[pymc, mean_field]",
        "gaussian_vi[numpyro, full_rank]", "laplace[numpyro], one at a time",
    ]  # fmt: skip
    assert setting.normal == {
        "laplace[numpyro]": None, "gaussian_vi[mean_field]": "numpyro", names[2]: "pymc",
        names[3]: None, names[4]: None,
    }  # fmt: skip


def test_independent_coordinates_narrow_as_their_own_chart_says() -> None:
    model, rng = GaussianMixture(k=3), np.random.default_rng(0)
    data = model.simulate(rng, model.truth, 30)
    of, other = density(model, data), density(model, data, "pymc")
    u, v = (np.asarray(one.unconstrain(model.truth)) for one in (of, other))
    root = rng.standard_normal((u.size, u.size))
    precision = root @ root.T + np.eye(u.size)
    turn = np.asarray(jax.jacfwd(lambda w: of.unconstrain(other.constrain(w)))(jnp.asarray(v)))
    for language, chart, at, moved in (
        ("numpyro", of, u, precision), ("pymc", other, v, turn.T @ precision @ turn),
    ):  # fmt: skip
        jacobian = np.asarray(quantity_jacobian(model, chart)(jnp.asarray(at)))
        full = np.einsum("mi,ij,mj->m", jacobian, np.linalg.inv(moved), jacobian)
        expected = np.sqrt(jacobian**2 @ (1 / np.diag(moved)) / full)
        found = narrowing(model, data, u[None], precision[None], language)[0]  # pyright: ignore[reportArgumentType]
        np.testing.assert_allclose(found, expected, rtol=1e-8)
    # three weights have other coordinates in the two languages
    assert np.abs(turn - np.eye(u.size)).max() > 0.1


def test_an_information_that_is_not_known_is_said_to_be_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(self: Setting, n: int) -> None:
        raise FitError("the expected information is not declared")

    monkeypatch.setattr(Setting, "bound", refused)
    columns = {"wald[observed]": Moments.of(np.ones((50, 2)))}
    verdicts = coverage.judge(Setting(Gaussian(), 0), {50: columns})
    [about] = [v for v in verdicts if v.method == "wald[expected]"]
    assert about.outcome == "NOT COMPARABLE"
    assert about.cause == "the expected information is not declared"


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_the_error_of_a_coverage_is_that_of_its_own_theory(share: float) -> None:
    counts = np.random.default_rng(0).binomial(400, share, 4_000) / 400
    # the sd of 4,000 shares is known to 1.2 %: five of its errors
    assert binomial(share, 400) == pytest.approx(counts.std(), rel=0.06)


def test_studies_say_which_methods_they_cannot_take() -> None:
    nuts, mle = NUTS("pymc"), MaximumLikelihood("pymc")
    further("calibration", Gaussian(), (nuts,))
    with pytest.raises(ConfigError, match="for the studies calibration, coverage; asymptotics has"):
        further("asymptotics", Gaussian(), (nuts,))
    with pytest.raises(ConfigError, match=r"maximum_likelihood\[pymc\]: it has no posterior"):
        further("coverage", Gaussian(), (mle,))


def test_ranks_among_dependent_draws_are_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = calibration.sample

    def planted(*arguments: Any, **settings: Any) -> Any:
        chains = right(*arguments, **settings)
        return chains._replace(points=np.repeat(chains.points[:, ::3], 3, axis=1))

    monkeypatch.setattr(calibration, "sample", planted)
    study = conducted(calibration, Gaussian(), (20,), 50, tmp_path)
    by_nuts = [v for v in study.verdicts if v.method == "nuts[numpyro]"]
    assert {verdict.outcome for verdict in by_nuts} == {"NOT COMPARABLE"}
    assert all("not independent" in verdict.cause for verdict in by_nuts)


@pytest.mark.statistical
def test_the_sandwich_keeps_its_level_for_a_wrong_model_and_the_information_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(misspecification, "LARGE", 50_000)
    study = conducted(misspecification, Gaussian(), (200, 800), 2_000, tmp_path)
    assert not found(study, "DIFFER")
    assert {method for method, _ in found(study, "EXPLAINED")} == {"wald[observed]"}
    for verdict in (v for v in study.verdicts if v.method == "wald[observed]"):
        assert verdict.error == binomial(verdict.predicted or 0.0, study.replicates)
    right = misspecification.standard_errors

    def planted(model: Model, batch: Batch, fits: Replicates) -> dict[str, np.ndarray]:
        errors = right(model, batch, fits)
        # only the ladder: the limit is of the one large set
        return {**errors, "sandwich": errors["observed"]} if batch.count > 1 else errors

    monkeypatch.setattr(misspecification, "standard_errors", planted)
    study = conducted(misspecification, Gaussian(), (200, 800), 2_000, tmp_path / "planted")
    assert {method for method, _ in found(study, "DIFFER")} == {"wald[sandwich]"}


def test_a_limit_known_too_coarsely_is_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(misspecification, "LARGE", 2_000)
    study = conducted(misspecification, Gaussian(), (20, 60), 20, tmp_path)
    assert {v.n for v in study.verdicts if v.outcome == "NOT COMPARABLE"} == {60}


def test_misspecification_needs_data_like_its_own(tmp_path: Path) -> None:
    with pytest.raises(FitError, match="studied on one column y"):
        conducted(misspecification, Gaussian(dim=2), (50,), 10, tmp_path)


@final
@dataclass(frozen=True)
class Means(Model):
    """Three columns of unit variance, of which the first `order` have a mean."""

    order: int = 2

    name: ClassVar[str] = "means"
    orders: ClassVar[tuple[int, ...]] = (1, 2, 3)

    def with_order(self, order: int) -> Means:
        return Means(order)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return (Parameter("mean", "real", ("active",)),)

    @property
    def truth(self) -> Values:
        return {"mean": jnp.full(self.order, 0.5)}

    def simulate(self, rng: np.random.Generator, values: Values, n: int) -> xr.Dataset:
        y = rng.standard_normal((n, 3))
        y[:, : self.order] += np.asarray(values["mean"])
        return xr.Dataset({"y": (("obs", "column"), y)})

    def start(self, rng: np.random.Generator, data: xr.Dataset) -> Values:
        return {"mean": jnp.asarray(rng.standard_normal(self.order))}

    def numpyro(self, data: xr.Dataset) -> None:
        mean = numpyro.sample("mean", dist.Normal(0.0, 3.0).expand((self.order,)).to_event(1))
        y = jnp.asarray(data["y"].data)
        with numpyro.plate("obs", y.shape[0]):
            full = jnp.concatenate([mean, jnp.zeros(3 - self.order)])
            numpyro.sample("y", dist.Normal(full, 1.0).to_event(1), obs=y)

    def pymc(self, data: xr.Dataset) -> Any:
        raise NotImplementedError


@pytest.mark.statistical
def test_bic_finds_the_order_unless_its_penalty_is_too_light(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = conducted(bic_consistency, Means(), (50, 800), 300, tmp_path)
    assert not found(honest, "DIFFER")
    assert not found(honest, "NOT COMPARABLE")
    # the true order's gap is bounded; the evidence is exact in the limit of draws
    slopes = [v for v in honest.verdicts if v.quantity.startswith("slope")]
    assert [verdict.outcome for verdict in slopes] == ["AGREE"]

    def planted(model: Any, batch: Batch) -> Replicates:
        fits = replicate(model, batch)
        light = 0.5 * model.order * (np.log(batch.n) - 1)
        return fits._replace(log_likelihood=fits.log_likelihood + light)

    monkeypatch.setattr(bic_consistency, "replicate", planted)
    study = conducted(bic_consistency, Means(), (50, 800), 300, tmp_path / "planted")
    [chosen] = [part for part in study.descriptive if not part.curves]
    criteria = ("aic", "bic", "evidence")
    assert {one.method for one in chosen.numbers} == set(criteria)
    for criterion, n in product(criteria, (50, 800)):
        shares = [o.value for o in chosen.numbers if (o.method, o.n) == (criterion, n)]
        assert sum(shares) == pytest.approx(1.0)
    assert ("bic", "share that chooses the true order, at the largest N") in found(study, "DIFFER")
    assert ("bic", "slope of BIC + 2 log Z against log N") in found(study, "DIFFER")


def test_a_power_of_n_is_drawn_with_its_slope() -> None:
    rungs = [Rung(n, -3.0 * n**-1.5, 1e-6) for n in (10, 100, 1_000)]
    [part] = powers("title", "size", {"falls": rungs, "alone": rungs[:1]})
    assert part.curves is not None
    [name] = part.curves.measured
    assert name.startswith("falls: slope -1.500 ± ")
    for ladder, sizes in (part.curves.measured[name], part.curves.theory[name]):
        assert list(ladder) == [10, 100, 1_000]
        np.testing.assert_allclose(sizes, [-rung.value for rung in rungs], rtol=1e-12)
    turned = [rungs[0], rungs[1]._replace(value=1.0)]
    assert not list(powers("title", "size", {"turns": turned}))
    clear = [Rung(10, 1.5, 0.1), Rung(100, 1.1, 0.1)]
    assert departures(clear, 1.0) == [Rung(10, 0.5, 0.1)]


def test_a_model_without_an_order_has_no_bic_consistency(tmp_path: Path) -> None:
    with pytest.raises(FitError, match="not one of a family of models ordered by size"):
        conducted(bic_consistency, Gaussian(), (50,), 10, tmp_path)


@pytest.mark.statistical
def test_weighted_draws_are_the_exact_posterior(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inference.replicates.posteriors.DRAWS", 4_000)
    model = ConjugateGaussian()
    batch = simulated(model, model.truth, 30, range(40), 5)
    fits = replicate(model, batch)
    draws = posteriors(model, batch, fits.u)["posterior"]
    assert draws.usable.all()
    mean = (draws.weights[:, :, None] * draws.quantities).sum(axis=1)
    names = Setting(model, 0).names
    for data, row, weights in zip(batch.sets, mean, draws.weights, strict=True):
        size = 1 / (weights**2).sum()
        for name, marginal in model.exact_posterior(data).items():
            # 80 means; false alarm 1e-4 each
            assert abs(row[names.index(name)] - marginal.mean()) < 4 * marginal.std() / size**0.5
    for data, log, weights in zip(batch.sets, draws.log_evidence, draws.weights, strict=True):
        error = np.sqrt((len(weights) * (weights**2).sum() - 1) / len(weights))
        assert abs(log - model.exact_log_evidence(data)) < 4 * error


# --- the command ----------------------------------------------------------------------------------


def test_a_study_writes_its_page_and_its_rows_beside_those_of_others(tmp_path: Path) -> None:
    settings = Settings(out=str(tmp_path), jobs=1)
    for name in ("asymptotics", "bernstein_von_mises", "asymptotics"):
        page, code = run_study(name, GAUSSIAN, (30, 60), 40, settings, "a <command>")
        assert code in (0, 1)
        text = page.read_text("utf-8")
        assert "a &lt;command&gt;" in text
        assert 'src="data:image/svg' in text
    with (tmp_path / "study.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["study"] for row in rows} == {"asymptotics", "bernstein_von_mises"}
    keys = [
        tuple(row[c] for c in ("study", "method", "n", "quantity", "parameter")) for row in rows
    ]
    assert len(set(keys)) == len(keys)
    # the ladder table, and its numbers as rows
    assert "mu along the ladder" in (tmp_path / "study-asymptotics-gaussian.html").read_text(
        "utf-8"
    )
    quantities = {row["quantity"] for row in rows if row["parameter"] == "mu"}
    assert quantities >= {"mean", "sd", "bias / sd"}
    assert {row["verdict"] for row in rows if row["quantity"] in ("mean", "sd")} == {""}


def test_an_undecided_statement_says_how_many_data_sets_would_decide() -> None:
    verdict = Verdict("x", 1.0, 1.0, 0.1, 0.0329)
    # 0.0329 is Z times 0.01: a hundred times as many in all
    assert _remedy(verdict, 1_000).startswith("about 99,")
    close = Verdict("x", 1.0, 1.0, 0.1, 1e-9)
    assert _remedy(close, 1_000).startswith("more than 100,000,000 more")
    # half of what is allowed is the bound's own error: (0.1² − 0.005²)/(0.01² − 0.005²) times
    some = _remedy(replace(verdict, fixed=0.005), 1_000)
    assert some.startswith("about 132,")
    assert "the error of what it is held to" in _remedy(replace(verdict, fixed=0.02), 1_000)


def test_an_unknown_study_is_told_with_the_valid_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown study 'covrage'. Did you mean 'coverage'"):
        run_study("covrage", GAUSSIAN, (30,), 40, Settings(out=str(tmp_path)), "")
    assert set(studies()) >= {"asymptotics", "bernstein_von_mises", "coverage"}


def test_numbers_of_units_are_read_or_refused() -> None:
    assert numbers("--n", "50, 10,50") == ((10, 50), [])
    assert [m.split(": ")[1] for m in numbers("--n", "5,x,1")[1]] == [
        "'x' is no integer of at least 2",
        "'1' is no integer of at least 2",
    ]


def test_the_command_line_refuses_bad_numbers(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "comparisons", "study", "coverage", "--model", "gaussian",
         "--n", "a,b", "--jobs", "2", "--scheduler", "tcp://127.0.0.1:1", "--out", str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 2
    assert "3 mistakes" in run.stderr
    assert "--jobs is for workers of this machine" in run.stderr
