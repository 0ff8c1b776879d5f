"""Distances: closed forms, errors against sds over replicates, two fits, and planted bugs."""

import numpy as np
import pytest
import xarray as xr
from scipy.stats import norm, wasserstein_distance

import comparisons.theory.distances as entry
from comparisons import distances
from comparisons.distances import (
    Distance,
    between,
    classifier,
    cubic,
    discrepancy,
    divergence,
    frechet,
    gaussian,
    median_distance,
    normal_frechet,
    wasserstein,
)
from comparisons.verdict import Verdict
from inference.estimate import Estimate, Quantity
from models.errors import FitError

Z = norm.isf(0.5e-6)
"""Two-sided quantile at a false-alarm rate of 1e-6."""
REPLICATES = 400


def rng() -> np.random.Generator:
    return np.random.default_rng(20240612)


def outcomes(shown) -> list[str]:
    return [one.outcome for one in shown if isinstance(one, Verdict)]


# --- closed forms ---------------------------------------------------------------------------------


def test_frechet_of_univariate_laws():
    found = normal_frechet(np.array([1.0]), np.array([[4.0]]), np.array([-1.0]), np.array([[9.0]]))
    np.testing.assert_allclose(found, 4 + 1, rtol=1e-12)


def test_frechet_is_symmetric_and_takes_singular_covariances():
    line = np.array([[1.0, 1.0], [1.0, 1.0]])
    other = np.array([[2.0, 0.5], [0.5, 1.0]])
    origin = np.zeros(2)
    one, two = (normal_frechet(origin, a, origin, b) for a, b in ((line, other), (other, line)))
    np.testing.assert_allclose(one, two, rtol=1e-6)
    # tr √(Σ₁Σ₂) is √(vᵀΣ₂v) for Σ₁ = vvᵀ
    np.testing.assert_allclose(one, 2 + 3 - 2 * 2, rtol=1e-6)


def test_discrepancy_is_the_double_sum():
    x, y = rng().normal(size=(7, 2)), rng().normal(1.0, 2.0, size=(5, 2))
    for kernel, k in (
        (cubic, lambda a, b: (a @ b / 2 + 1) ** 3),
        (gaussian(0.8), lambda a, b: np.exp(-((a - b) ** 2).sum() / (2 * 0.8**2))),
    ):
        xx, yy, xy = ([[k(a, b) for b in q] for a in p] for p, q in ((x, x), (y, y), (x, y)))
        found = discrepancy(kernel, x, y)
        v = np.mean(xx) + np.mean(yy) - 2 * np.mean(xy)
        u = sum((np.sum(m) - np.trace(m)) / (len(m) * (len(m) - 1)) for m in (xx, yy))
        np.testing.assert_allclose(found.biased.value, v, rtol=1e-10)
        np.testing.assert_allclose(found.unbiased.value, u - 2 * np.mean(xy), rtol=1e-10)


def test_discrepancy_error_is_the_jackknife():
    x, y = rng().normal(size=(7, 2)), rng().normal(1.0, 2.0, size=(5, 2))

    def left_out(first: bool) -> float:
        n = len(x) if first else len(y)
        values = [
            discrepancy(
                cubic, np.delete(x, i, 0) if first else x, y if first else np.delete(y, i, 0)
            ).unbiased.value
            for i in range(n)
        ]
        return (n - 1) * np.var(values)

    error = discrepancy(cubic, x, y).unbiased.error
    np.testing.assert_allclose(error, np.sqrt(left_out(True) + left_out(False)), rtol=1e-10)


def test_median_distance():
    pooled = np.array([[0.0], [1.0], [3.0]])
    np.testing.assert_allclose(median_distance(pooled[:1], pooled[1:]), 2.0, rtol=1e-12)


@pytest.mark.parametrize("sizes", [(40, 40), (40, 25)])
def test_wasserstein_is_scipys(sizes):
    x, y = rng().normal(size=(3, sizes[0], 2)), rng().exponential(size=(3, sizes[1], 2))
    expected = [[wasserstein_distance(x[r, :, c], y[r, :, c]) for c in range(2)] for r in range(3)]
    np.testing.assert_allclose(wasserstein(x, y).value, expected, rtol=1e-10)


def test_classifier_finishes_on_separable_draws():
    x, y = rng().normal(size=(50, 2)), rng().normal(20.0, 1.0, size=(60, 2))
    assert classifier(x, y) == Distance(1.0, 0.0)


# --- errors ---------------------------------------------------------------------------------------


def pairs(shift: float) -> tuple[np.ndarray, np.ndarray]:
    stream = rng()
    x = stream.normal(size=(REPLICATES, 150, 2))
    return x, shift + stream.normal(size=(REPLICATES, 100, 2)) * [1.5, 1.0]


@pytest.mark.parametrize(
    "of",
    [
        frechet,
        lambda x, y: discrepancy(gaussian(1.5), x, y).unbiased,
        lambda x, y: discrepancy(cubic, x, y).unbiased,
        lambda x, y: Distance(*(part[:, 0] for part in wasserstein(x, y))),
        classifier,
    ],
    ids=["frechet", "normal", "cubic", "wasserstein", "classifier"],
)
def test_errors_are_sds_over_replicates(of):
    found = of(*pairs(1.0))
    sd = found.value.std(ddof=1)
    kurtosis = ((found.value - found.value.mean()) ** 4).mean() / sd**4
    uncertain = np.sqrt((kurtosis - 1) / REPLICATES) / 2
    # the next order, the variance of the derivative itself, is a share 1/100 per feature, 5 of them
    ratio = np.sqrt((found.error**2).mean()) / sd
    assert abs(ratio - 1) < Z * uncertain + 0.05


def test_the_error_of_a_divergence_is_its_sd():
    stream = rng()
    x = stream.normal(size=(REPLICATES, 1_000, 1))
    found = divergence(x, 1.0 + 1.5 * stream.normal(size=(REPLICATES, 800, 1)))
    ratio = np.sqrt((found.error**2).mean()) / found.value.std(ddof=1)
    # its law is nearly normal; a twentieth for 90 draws in a bin
    assert abs(ratio - 1) < Z / np.sqrt(2 * REPLICATES) + 0.05


def test_the_jackknife_is_too_large_by_a_root_of_two_where_laws_are_equal():
    stream = rng()
    x, y = stream.normal(size=(2, 2_000, 60, 2))
    found = discrepancy(gaussian(1.5), x, y).unbiased
    sd = found.value.std(ddof=1)
    kurtosis = ((found.value - found.value.mean()) ** 4).mean() / sd**4
    ratio = np.sqrt((found.error**2).mean()) / sd
    # relative error of a standard deviation, and 1/n of the next order
    assert abs(ratio / np.sqrt(2) - 1) < Z * np.sqrt((kurtosis - 1) / 2_000) / 2 + 2 / 60


# --- two fits -------------------------------------------------------------------------------------


def fit(draws: dict[str, np.ndarray], *, chain: bool = False) -> Estimate:
    """An estimate of draws by name, each of shape (chain, draw, …)."""
    arrays = {
        name: (("chain", "draw", *(f"{name}_{i}" for i in range(x.ndim - 2))), x)
        for name, x in draws.items()
    }
    groups = {"posterior": xr.Dataset(arrays)}
    if chain:
        shape = next(iter(draws.values())).shape[:2]
        groups["sample_stats"] = xr.Dataset({"energy": (("chain", "draw"), np.zeros(shape))})
    quantity = Quantity(*(groups["posterior"].mean(("chain", "draw")) for _ in range(2)))
    return Estimate(
        quantity, quantity, 0.0, xr.DataTree.from_dict(groups), (), xr.Dataset(), xr.DataArray(0.0),
        "posterior_sd",
    )  # fmt: skip


def correlated(stream: np.random.Generator, rho: float) -> np.ndarray:
    """Autoregressive chains of stationary law N(0, I), shape (4, 2000, 2)."""
    noise = stream.normal(size=(4, 2_000, 2))
    noise[:, 1:] *= np.sqrt(1 - rho**2)
    for t in range(1, 2_000):
        noise[:, t] += rho * noise[:, t - 1]
    return noise


def test_equal_fits_are_as_far_apart_as_halves_of_one():
    stream = rng()
    one, two = ({"theta": correlated(stream, 0.8)} for _ in range(2))
    found = between(fit(one, chain=True), fit(two, chain=True), rng())
    names = [row.name for row in found]
    kinds = "Wasserstein distance", "divergence"
    assert names[-4:] == [f"{kind} of theta[{i}]" for kind in kinds for i in range(2)]
    assert len(names) == 9
    # the sd of the halvings has 19 degrees of freedom, and skew tails: 8 of it: a part in a million
    assert all(abs(row.value - row.null) < 8 * row.null_sd for row in found)


def test_a_shift_stands_out_of_every_null():
    stream = rng()
    one, two = ({"theta": stream.normal(size=(2, 1_000, 2))} for _ in range(2))
    one["theta"] += 0.5
    found = between(fit(one), fit(two), rng())
    assert all(row.value > row.null + 8 * row.null_sd for row in found)
    shifts = [row.value for row in found if row.name.startswith("Wasserstein")]
    # within the error of two means, in standard deviations
    np.testing.assert_allclose(shifts, 0.5, atol=Z * np.sqrt(2 / 1_000))


def test_constants_and_missing_draws():
    stream = rng()
    draws = {"a": stream.normal(size=(2, 500)), "b": np.ones((2, 500))}
    found = between(fit(draws), fit(draws), rng())
    assert not [row for row in found if row.name.endswith(" b")]
    with pytest.raises(FitError, match="draws of the same quantities"):
        between(fit({"a": draws["a"]}), fit({"b": draws["b"]}), rng())
    with pytest.raises(FitError, match="20 and 1000 independent draws"):
        between(fit({"a": draws["a"][:, :10]}), fit(draws), rng())


# --- the entry ------------------------------------------------------------------------------------


def test_kernel_means_of_normal_laws():
    stream = rng()
    x = stream.normal(size=(400_000, 2))
    mean, scale = np.array([0.5, -0.2]), np.array([1.5, 0.7])
    y = mean + scale * stream.normal(size=x.shape)
    unit, other = np.eye(2), np.diag(scale**2)
    for values, expected in (
        (np.exp(-((x - y) ** 2).sum(1) / (2 * entry.BANDWIDTH**2)),
         entry.kernel_mean(mean, unit + other)),
        (((x * y).sum(1) / 2 + 1) ** 3, entry.cubic_mean((np.zeros(2), unit), (mean, other))),
    ):  # fmt: skip
        assert abs(values.mean() - expected) < Z * values.std() / np.sqrt(len(values))


def test_wasserstein_of_a_law_from_itself_tends_to_the_bridge():
    x = np.linspace(-12.0, 12.0, 2_401)
    bridge = 2 / np.sqrt(np.pi) * np.sqrt(norm.cdf(x) * norm.sf(x)).sum() * (x[1] - x[0])
    away = [1 - entry.wasserstein_bias(n) * np.sqrt(n) / bridge for n in (50, 200, 800)]
    # tails beyond 1/n do not count yet
    assert away[0] > away[1] > away[2] > 0


def test_claims_hold(monkeypatch):
    monkeypatch.setattr(entry, "ROWS", (16, 64))
    assert outcomes(entry.closed_forms(rng())) == ["AGREE"] * 2
    assert outcomes(entry.means(rng(), 1)) == ["AGREE"] * 9
    assert outcomes(entry.told_apart(rng(), 1)) == ["AGREE"] * 4


# --- planted bugs ---------------------------------------------------------------------------------


def test_the_shortcut_is_caught_in_place_of_the_symmetric_form(monkeypatch):
    def wrong(mean_1, covariance_1, mean_2, covariance_2):
        root = distances._power(covariance_1 @ covariance_2, 0.5)
        trace = np.trace(covariance_1 + covariance_2 - 2 * root, axis1=-2, axis2=-1)
        return ((mean_1 - mean_2) ** 2).sum(-1) + trace

    monkeypatch.setattr(entry, "normal_frechet", wrong)
    with np.errstate(invalid="ignore"):
        assert outcomes(entry.closed_forms(rng()))[1] == "DIFFER"


def test_a_biased_statistic_is_caught(monkeypatch):
    def biased(kernel, x, y):
        found = discrepancy(kernel, x, y)
        return found._replace(unbiased=found.biased)

    monkeypatch.setattr(entry, "discrepancy", biased)
    assert outcomes(entry.means(rng(), 1))[0] == "DIFFER"


def test_a_divergence_the_wrong_way_round_is_caught(monkeypatch):
    monkeypatch.setattr(entry, "divergence", lambda x, y: divergence(x, 2 * y))
    assert outcomes(entry.told_apart(rng(), 1))[:2] == ["DIFFER"] * 2


def test_a_lost_difference_of_means_is_caught(monkeypatch):
    def wrong(x, y):
        return frechet(x - x.mean(-2, keepdims=True), y - y.mean(-2, keepdims=True))

    monkeypatch.setattr(entry, "frechet", wrong)
    monkeypatch.setattr(entry, "REPLICATES", 1_000)
    assert outcomes(entry.at_finite_n(rng(), 1))[0] == "DIFFER"


def test_an_accuracy_on_the_training_rows_is_caught(monkeypatch):
    monkeypatch.setattr(entry, "CLASSIFIED", 60)

    def within(x, y):
        design = distances._features(np.concatenate([x, y], axis=-2))
        label = np.repeat([0.0, 1.0], x.shape[-2])
        guess = (design @ distances._logistic(design, label)[..., None])[..., 0] > 0
        accuracy = (guess == (label > 0)).mean(-1)
        return Distance(accuracy, accuracy)

    monkeypatch.setattr(entry, "classifier", within)
    assert outcomes(entry.told_apart(rng(), 1))[2] == "DIFFER"
