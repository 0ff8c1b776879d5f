"""Intervals of replicates against closed forms, and mean-field draws against the method's own."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2

from inference.methods.gaussian_vi import GaussianVI
from inference.replicates.fits import expectation_maximised, replicate, scores, standard_errors
from inference.replicates.gaussian_vi import mean_field
from inference.replicates.intervals import bootstrap, profile_deviances
from inference.replicates.simulated import simulated
from models.catalogue.gaussian import Gaussian
from models.catalogue.gaussian_mixture import GaussianMixture

COUNT, N = 60, 25


def test_profile_deviances_of_a_normal_law_are_the_closed_forms() -> None:
    model = Gaussian()
    batch = simulated(model, model.truth, N, range(COUNT), 1)
    fits = replicate(model, batch)
    at = np.array([float(model.truth["mu"]), float(model.truth["sigma"])])
    mu, sigma = fits.estimate.T
    exact = np.stack(
        [
            N * np.log1p((mu - at[0]) ** 2 / sigma**2),
            N * ((sigma / at[1]) ** 2 - 1 - 2 * np.log(sigma / at[1])),
        ],
        axis=1,
    )
    # estimates are within 1e-5 standard errors, and so deviances z² within 2z of that, z < 5
    np.testing.assert_allclose(profile_deviances(model, batch, fits, at), exact, rtol=0, atol=1e-4)


def test_bootstrap_estimates_are_maxima_of_resampled_data() -> None:
    model = Gaussian()
    batch = simulated(model, model.truth, N, range(COUNT), 1)
    fits = replicate(model, batch)
    estimate, fine = bootstrap(model, batch, fits, draws=99)
    assert fine.mean() > 0.9
    # the variance of a resampled mean is σ̂²/N exactly; 99 · 60 draws know it to 2 %
    ratio = estimate[fine, :, 0].var(axis=1, ddof=1) / (fits.estimate[fine, 1] ** 2 / N)
    error = np.sqrt(2 / 98 / fine.sum())
    assert abs(ratio.mean() - 1) < 4 * error
    away = estimate[fine, :, 0].mean(axis=1) - fits.estimate[fine, 0]
    standard = away / (fits.estimate[fine, 1] / np.sqrt(99 * N))
    assert (standard**2).sum() < chi2.ppf(1 - 1e-4, fine.sum())


def test_no_maximum_is_made_of_a_saddle_or_of_a_lower_one() -> None:
    model = Gaussian()
    batch = simulated(model, model.truth, N, range(COUNT), 1)
    fits = replicate(model, batch)
    at = np.array([float(model.truth["mu"]), float(model.truth["sigma"])])
    # planted: "maxima" one unit of the chart away are lower than constrained ones nearby
    lower = fits._replace(u=fits.u + np.array([0.0, 1.0]))
    assert np.isnan(profile_deviances(model, batch, lower, at)).any(axis=1).all()


def test_em_alone_ends_at_the_maximum() -> None:
    model = GaussianMixture(2)
    batch = simulated(model, model.truth, 400, range(20), 1)
    fits = replicate(model, batch)
    estimate, settled = expectation_maximised(
        model, simulated(model, model.truth, 400, range(20), 1)
    )
    both = settled & fits.converged
    assert both.sum() >= 19
    away = np.abs(estimate - fits.estimate)[both] / fits.standard_error[both]
    # EM stops short by rate/(1 − rate) times its last step, 1e-4 standard errors or so; rate < 0.99
    assert np.sort(away.max(axis=1))[-2] < 1e-2  # one may have ended in another maximum


def test_scores_have_mean_zero_and_the_information_as_covariance() -> None:
    model = Gaussian()
    count = 2_000
    batch = simulated(model, model.truth, N, range(count), 1)
    score = scores(model, batch, model.truth)
    information = N * np.diag([1 / float(model.truth["sigma"]) ** 2, 2.0])
    whitened = score / np.sqrt(np.diag(information))
    assert np.abs(whitened.mean(axis=0) * np.sqrt(count)).max() < 4
    assert np.abs(np.cov(whitened, rowvar=False) - np.eye(2)).max() < 4 * np.sqrt(3 / count)


def test_the_expected_corner_is_the_closed_form() -> None:
    model = Gaussian()
    batch = simulated(model, model.truth, N, range(COUNT), 1)
    fits = replicate(model, batch)
    sigma = fits.estimate[:, 1]
    expected = np.stack([sigma / np.sqrt(N), sigma / np.sqrt(2 * N)], axis=1)
    np.testing.assert_allclose(standard_errors(model, batch, fits)["expected"], expected, rtol=1e-8)


@pytest.mark.parametrize("model", [Gaussian(), GaussianMixture(2)], ids=["gaussian", "mixture"])
def test_mean_field_draws_are_those_of_the_method(
    model: Gaussian | GaussianMixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference.replicates.gaussian_vi.DRAWS", 4_000)
    batch = simulated(model, model.truth, 400, range(2), 5)
    fits = replicate(model, batch)
    draws = mean_field(model, batch, fits.u)
    assert draws.usable.all()
    for i, data in enumerate(batch.sets):
        method = GaussianVI(family="mean_field", restarts=2, draws=5_000)
        fit = method.fit(model, data, np.random.default_rng(0))
        whole = np.concatenate([np.ravel(a.data) for a in fit.sd.value.values()])
        location = np.concatenate([np.ravel(a.data) for a in fit.location.value.values()])
        mean, sd = draws.quantities[i].mean(axis=0), draws.quantities[i].std(axis=0)
        # four Monte Carlo errors of 4,000 draws and 20,000, and 0.02 for other points of the ELBO
        error = 4 * np.sqrt(1 / 4_000 + 1 / 20_000)
        assert np.abs((mean - location) / whole).max() < error + 0.02
        assert np.abs(sd / whole - 1).max() < error / np.sqrt(2) + 0.02
