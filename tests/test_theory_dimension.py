"""Exact errors of density estimates, and the entry's planted bugs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm
from statsmodels.nonparametric.kernel_density import KDEMultivariate

from comparisons.policy import Z
from comparisons.theory import dimension
from comparisons.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from comparisons.exhibits import Shown

ALARM = 4.9
"""Two-sided normal quantile at a false-alarm rate of 1e-6."""


def outcomes(shown: Iterator[Shown]) -> list[str]:
    return [one.outcome for one in shown if isinstance(one, Verdict)]


@pytest.mark.statistical
def test_every_claim_holds() -> None:
    found = outcomes(dimension.show(np.random.default_rng(1), 1))
    assert len(found) == 12
    assert set(found) == {"AGREE"}


def test_the_kernel_error_is_variance_and_squared_bias() -> None:
    n, h = 50.0, 0.4

    def error(x: float) -> float:
        mean = norm.pdf(x, scale=np.hypot(1, h))
        square = norm.pdf(x, scale=np.sqrt(1 + h**2 / 2)) / (2 * h * np.sqrt(np.pi))
        return float((mean - norm.pdf(x)) ** 2 + (square - mean**2) / n)

    integral = quad(error, -12, 12, epsabs=1e-13)[0]
    exact = dimension.kernel_error(n, h, 1) / np.sqrt(4 * np.pi)
    assert exact == pytest.approx(integral, abs=1e-12)


def test_the_squared_error_is_that_of_the_fitted_density() -> None:
    x = np.random.default_rng(9).standard_normal((60, 2))
    h = 0.4
    fitted = KDEMultivariate(x, "cc", bw=[h, h], rng=np.random.default_rng(0))
    axis = np.arange(-8.0, 8.0, 0.1)
    points = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    integral = ((fitted.pdf(points) - norm.pdf(points).prod(axis=1)) ** 2).sum() * 0.1**2
    # kernels are four steps wide: the trapezoidal rule is exact to rounding
    assert dimension.squared_error(x, h) == pytest.approx(4 * np.pi * integral, rel=1e-8)


@pytest.mark.statistical
def test_errors_of_data_sets_have_the_exact_mean() -> None:
    errors = dimension._kernel_errors(np.random.default_rng(2), 30, 2, 2_000)
    away = errors.mean() - dimension.kernel_error(30, dimension.bandwidth(30, 2), 2)
    assert abs(away) < ALARM * errors.std() / np.sqrt(errors.size)


def test_the_bandwidth_is_nearly_the_best() -> None:
    n = 10**8
    h = dimension.bandwidth(n, 3)
    at = dimension.kernel_error(n, h, 3)
    assert at < min(dimension.kernel_error(n, h * factor, 3) for factor in (0.8, 1.25))


def test_a_bandwidth_that_ignores_the_dimension_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dimension, "bandwidth", lambda n, dim: (4 / (3 * n)) ** 0.2)
    monkeypatch.setattr(dimension, "KERNEL", {3: 20})
    shown = dimension.show(np.random.default_rng(3), 1)
    claims = [one for one in shown if isinstance(one, Verdict)]
    assert next(v for v in claims if "10⁸" in v.about).outcome == "DIFFER"


@pytest.mark.statistical
def test_a_covariance_that_is_too_wide_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    parametric = dimension._parametric_errors

    def biased(rng: np.random.Generator, n: int, dim: int, count: int) -> np.ndarray:
        return parametric(rng, max(n // 2, 30), dim, count)

    monkeypatch.setattr(dimension, "_parametric_errors", biased)
    monkeypatch.setattr(dimension, "KERNEL", {2: 20})
    shown = dimension.show(np.random.default_rng(5), 1)
    claims = [one for one in shown if isinstance(one, Verdict)]
    constant = next(v for v in claims if "D(D+2)/8" in v.about)
    assert constant.outcome == "DIFFER"
    assert abs(constant.observed - 2) < 0.1 + Z * constant.error
