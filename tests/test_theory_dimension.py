"""Volumes, exact errors of density estimates, and the entry's planted bugs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from comparisons.policy import Z
from comparisons.theory import dimension
from comparisons.theory.densities import everywhere
from comparisons.theory.densities.kernel_density import KernelDensity, bandwidths
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
    assert len(found) == 21
    assert set(found) <= {"AGREE", "EXPLAINED"}


@pytest.mark.parametrize(("dim", "volume"), [(1, 2.0), (2, np.pi), (3, 4 * np.pi / 3)])
def test_balls_of_school(dim: int, volume: float) -> None:
    assert dimension.ball_volume(dim) == pytest.approx(volume, rel=1e-14)


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
    fitted = KernelDensity("normal_reference").fit(x, np.random.default_rng(0), 1)
    assert fitted.log_density is not None
    axis = np.arange(-8.0, 8.0, 0.1)
    points = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    density = np.exp(everywhere(fitted.log_density, points))
    integral = ((density - norm.pdf(points).prod(axis=1)) ** 2).sum() * 0.1**2
    h = bandwidths(x, "normal_reference", np.random.default_rng(0))
    # kernels are three steps wide: the trapezoidal rule is exact to rounding
    assert dimension.squared_error(x, h) == pytest.approx(4 * np.pi * integral, rel=1e-8)


@pytest.mark.parametrize("factor", [0.7, 1.4])
def test_a_rule_of_another_width_is_caught(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    monkeypatch.setattr(dimension, "VALIDATED", 2)
    monkeypatch.setattr(dimension, "SELECTED", ((2, 100),))
    wrong = lambda x, selector, rng: factor * bandwidths(x, selector, rng)  # noqa: E731
    monkeypatch.setattr(dimension, "bandwidths", wrong)
    assert outcomes(dimension._selected(np.random.default_rng(8), 1)) == ["DIFFER"]


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


def test_silvermans_table_to_its_last_digit() -> None:
    needed = [np.ceil(dimension.units_needed(dim)) for dim in range(1, 11)]
    assert [float(f"{n:.3g}") for n in needed] == list(dimension.SILVERMAN)


def test_a_bandwidth_that_ignores_the_dimension_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dimension, "bandwidth", lambda n, dim: (4 / (3 * n)) ** 0.2)
    monkeypatch.setattr(dimension, "KERNEL", {3: 20})
    shown = dimension._rates(np.random.default_rng(3), 1)
    claims = [one for one in shown if isinstance(one, Verdict)]
    assert next(v for v in claims if "10⁸" in v.about).outcome == "DIFFER"


def test_a_wrong_volume_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dimension, "ball_volume", lambda dim: np.pi ** (dim / 2) / dim)
    assert "DIFFER" in outcomes(dimension._balls(np.random.default_rng(4), 1))


def test_a_shell_of_too_few_dimensions_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    radii = dimension._ball_radii
    bug = lambda rng, dim, size: radii(rng, max(dim - 5, 1), size)  # noqa: E731
    monkeypatch.setattr(dimension, "_ball_radii", bug)
    shown = dimension._balls(np.random.default_rng(6), 1)
    claims = [one for one in shown if isinstance(one, Verdict)]
    assert next(v for v in claims if "surface" in v.about).outcome == "DIFFER"


def test_norms_of_dependent_coordinates_are_caught() -> None:
    class Stuck:
        def standard_normal(self, size: int) -> np.ndarray:
            return np.random.default_rng(7).standard_normal(size)

    assert outcomes(dimension._norms(Stuck(), 1)) == ["DIFFER"]  # pyright: ignore[reportArgumentType]


@pytest.mark.statistical
def test_a_covariance_that_is_too_wide_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    parametric = dimension._parametric_errors

    def biased(rng: np.random.Generator, n: int, dim: int, count: int) -> np.ndarray:
        return parametric(rng, max(n // 2, 30), dim, count)

    monkeypatch.setattr(dimension, "_parametric_errors", biased)
    monkeypatch.setattr(dimension, "KERNEL", {2: 20})
    shown = dimension._rates(np.random.default_rng(5), 1)
    claims = [one for one in shown if isinstance(one, Verdict)]
    constant = next(v for v in claims if "D(D+2)/8" in v.about)
    assert constant.outcome == "DIFFER"
    assert abs(constant.observed - 2) < 0.1 + Z * constant.error
