"""Fisher information: closed forms, the delta method, and what is refused with a reason."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from wrapper import TwoInOne, Wrapped

from inference.information.delta import bound_error, quantity_covariance
from inference.information.derivatives import quantity_jacobian
from inference.information.inversion import invert
from inference.information.matrices import expected, observed, outer_product
from inference.methods.maximum_likelihood import MaximumLikelihood
from inference.optimisation.standard_errors import estimate_at
from models.catalogue._normal import normal_information, vech
from models.catalogue.gaussian import ConjugateGaussian, Gaussian
from models.catalogue.gaussian_mixture import GaussianMixture
from models.catalogue.random_effects import RandomEffects
from models.data.dataset import as_dataset
from models.data.files import bundled
from models.errors import FitError
from models.programs.density import density, quantities

Z = 4.9
"""Two-sided normal quantile at a false-alarm rate of 1e-6."""
COVARIANCE = np.array([[2.0, 0.6, -0.3], [0.6, 1.0, 0.2], [-0.3, 0.2, 1.5]])


def test_normal_information_by_the_duplication_matrix() -> None:
    """Magnus & Neudecker: ½ Dᵀ(Σ⁻¹ ⊗ Σ⁻¹)D about vech Σ, with vec Σ = D vech Σ."""
    rows, columns = np.tril_indices(3)
    duplication = np.zeros((3, 3, 6))
    duplication[rows, columns, range(6)] = duplication[columns, rows, range(6)] = 1.0
    duplication = duplication.reshape(9, 6)
    unique = np.asarray(vech(jnp.asarray(COVARIANCE)))
    np.testing.assert_array_equal(duplication @ unique, COVARIANCE.ravel())
    precision = np.linalg.inv(COVARIANCE)
    expected = np.zeros((9, 9))
    expected[:3, :3] = precision
    expected[3:, 3:] = 0.5 * duplication.T @ np.kron(precision, precision) @ duplication
    found = normal_information(jnp.asarray(COVARIANCE))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


def test_normal_information_is_the_curvature_of_the_expected_log_likelihood() -> None:
    d = 3
    rows, columns = np.tril_indices(d)

    def expected_log_likelihood(q: jax.Array) -> jax.Array:
        lower = jnp.zeros((d, d)).at[rows, columns].set(q[d:])
        sigma = lower + lower.T - jnp.diag(jnp.diag(lower))
        second = COVARIANCE + jnp.outer(q[:d], q[:d])
        return -0.5 * (jnp.linalg.slogdet(sigma)[1] + jnp.trace(jnp.linalg.solve(sigma, second)))

    truth = jnp.concatenate([jnp.zeros(d), vech(jnp.asarray(COVARIANCE))])
    curvature = -jax.hessian(expected_log_likelihood)(truth)
    np.testing.assert_allclose(
        normal_information(jnp.asarray(COVARIANCE)), curvature, rtol=1e-12, atol=1e-12
    )


def test_expected_information_of_the_univariate_gaussian_is_exact() -> None:
    rng = np.random.default_rng(0)
    model = Gaussian()
    data = model.simulate(rng, model.truth, 17)
    of = density(model, data)
    u = of.unconstrain(model.truth)
    matrix, simulated = expected(model, of, u, rng)
    # about (μ, log σ), σ = 2
    np.testing.assert_allclose(matrix, 17 * np.diag([1 / 4, 2.0]), rtol=1e-14)
    assert not simulated.size
    assert not bound_error(np.eye(2), np.linalg.inv(matrix), simulated).any()
    conjugate = ConjugateGaussian()
    of = density(conjugate, data)
    u = of.unconstrain(conjugate.truth)
    # about (log σ², μ)
    matrix, _ = expected(conjugate, of, u, rng)
    np.testing.assert_allclose(matrix, 17 * np.diag([1 / 2, 1 / 4]), rtol=1e-14)


def test_quadrature_meets_the_closed_form() -> None:
    rng = np.random.default_rng(1)
    model = Gaussian()
    data = model.simulate(rng, model.truth, 17)
    hidden = Wrapped(model)
    of = density(hidden, data)
    matrix, simulated = expected(hidden, of, of.unconstrain(model.truth), rng)
    np.testing.assert_allclose(matrix, 17 * np.diag([1 / 4, 2.0]), rtol=1e-9, atol=1e-9)
    assert not simulated.size


def test_simulated_information_comes_with_its_error() -> None:
    rng = np.random.default_rng(2)
    model = Gaussian(dim=2)
    data = model.simulate(rng, model.truth, 17)
    hidden = Wrapped(model)
    of = density(hidden, data)
    u = of.unconstrain(model.truth)
    exact, _ = expected(model, density(model, data), u, rng)
    matrix, simulated = expected(hidden, of, u, rng)
    jacobian = np.asarray(quantity_jacobian(hidden, of)(u))
    error = bound_error(jacobian, np.linalg.inv(matrix), simulated)
    bound, by_simulation = (
        np.diag(jacobian @ np.linalg.inv(information) @ jacobian.T)
        for information in (exact, matrix)
    )
    assert (error[bound > 0] > 0).all()
    assert (np.abs(by_simulation - bound) <= Z * error * bound).all()
    # the error is no excuse: it is a per cent or two of what it speaks about
    assert error.max() < 0.03


def test_error_of_a_bound_is_its_spread_over_repeated_simulations() -> None:
    # scores of a normal mean are normal themselves: repeats are cheap
    rng, k, units, repeats = np.random.default_rng(8), 6, 1_000, 1_000
    factor = np.linalg.cholesky(0.5 * np.eye(k) + 0.5)
    jacobian = rng.standard_normal((4, k))
    jacobian[3] = 0.0
    bounds, stated, apart = [], [], []
    for _ in range(repeats):
        simulated = rng.standard_normal((units, k)) @ factor.T
        covariance = np.linalg.inv(simulated.T @ simulated / units)
        bounds.append(np.diag(jacobian @ covariance @ jacobian.T))
        stated.append(bound_error(jacobian, covariance, simulated))
        entries = simulated[:, :, None] * simulated[:, None, :]
        weight = (jacobian @ covariance) ** 2
        apart.append(np.sqrt(np.einsum("qi,ij,qj->q", weight, entries.var(axis=0), weight) / units))
    sd = np.std(bounds, axis=0)[:3] / np.mean(bounds, axis=0)[:3]
    # an sd of 1,000 is known to 1/√2,000; the second order in 1/√units and k/units is below 1 %
    tolerance = 4 / np.sqrt(2 * repeats) + 0.01
    np.testing.assert_allclose(sd, np.mean(stated, axis=0)[:3], rtol=tolerance)
    assert (np.array(stated)[:, 3] == 0).all()
    # planted: the entries of the symmetric matrix taken as independent
    wrong = np.mean(apart, axis=0)[:3] / np.mean(bounds, axis=0)[:3]
    assert (np.abs(wrong / sd - 1) > tolerance).all()


def test_delta_method_meets_the_closed_form() -> None:
    rng = np.random.default_rng(3)
    model = Gaussian(dim=2)
    data = model.simulate(rng, model.truth, 40)
    of = density(model, data)
    u = of.unconstrain(model.truth)
    information, _ = expected(model, of, u, rng)
    ours = quantity_covariance(model, of, u, invert(model, of, u, information))
    sigma = quantities(model, model.truth)["covariance"]
    exact = np.linalg.inv(40 * np.asarray(normal_information(sigma)))
    unique = [0, 1, 2, 4, 5]  # mean, then the lower triangle of the covariance
    np.testing.assert_allclose(ours[np.ix_(unique, unique)], exact, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(ours[3], ours[4], rtol=1e-10, atol=1e-14)


def test_spread_belongs_to_its_quantity_whatever_the_order_of_the_table() -> None:
    # the table of this model is not alphabetical, compiled functions are
    rng = np.random.default_rng(4)
    model = ConjugateGaussian()
    data = model.simulate(rng, model.truth, 50)
    values = model.maximum_likelihood(data)
    estimate = estimate_at(model, data, values)
    variance = float(values["sigma2"])
    assert float(estimate.sd.value["mu"]) == pytest.approx(np.sqrt(variance / 50), rel=1e-10)
    assert float(estimate.sd.value["sigma2"]) == pytest.approx(
        variance * np.sqrt(2 / 50), rel=1e-10
    )


@pytest.mark.parametrize(("sign", "direction"), [(1.0, "a − b"), (-1.0, "a + b")])
def test_two_parameters_that_enter_as_one_are_named(sign: float, direction: str) -> None:
    model = TwoInOne(sign)
    data = model.simulate(np.random.default_rng(5), model.truth, 20)
    of = density(model, data)
    u = of.unconstrain(model.truth)
    inverse = invert(model, of, u, observed(of, u))
    assert f"the data do not determine {direction}; no standard error" in inverse.problem
    assert np.isnan(inverse.covariance).all()
    estimate = estimate_at(model, data, model.truth)
    assert inverse.problem in estimate.problems
    assert np.isnan(estimate.sd.value["a"])
    assert np.isnan(estimate.sd.value["b"])


def test_two_equal_components_are_named() -> None:
    model = GaussianMixture(k=2, dim=2, covariance="spherical")
    data = model.simulate(np.random.default_rng(6), model.truth, 60)
    same = {
        "weights": jnp.array([0.4, 0.6]),
        "mean": jnp.array([[1.0, 2.0], [1.0, 2.0]]),
        "scale": jnp.asarray(2.0),
    }
    of = density(model, data)
    u = of.unconstrain(same)
    inverse = invert(model, of, u, outer_product(of, u))
    assert "the data do not determine" in inverse.problem
    # whatever moves the two components apart and leaves their mixture is null
    terms = re.findall(r"(−?) ?(?:([\d.]+)·)?((?:mean|weights)\[[^]]*\])", inverse.problem)
    named = {name: float(f"{'-' if sign else ''}{size or 1}") for sign, size, name in terms}
    for axis in ("0", "1"):
        if f"mean[0, {axis}]" in named:
            moved = 0.4 * named[f"mean[0, {axis}]"] + 0.6 * named[f"mean[1, {axis}]"]
            assert abs(moved) < 0.01
    assert named.get("weights[0]", 0.0) == -named.get("weights[1]", 0.0)
    assert np.isnan(quantity_covariance(model, of, u, inverse)).all()


def test_a_regular_point_is_not_refused() -> None:
    model = GaussianMixture(k=2, dim=2, covariance="spherical")
    data = model.simulate(np.random.default_rng(6), model.truth, 60)
    of = density(model, data)
    u = of.unconstrain(model.truth)
    information = outer_product(of, u)
    inverse = invert(model, of, u, information)
    assert inverse.problem == ""
    np.testing.assert_allclose(inverse.covariance @ information, np.eye(of.size), atol=1e-8)


def test_collinear_columns_are_named() -> None:
    x = np.random.default_rng(7).standard_normal(30)
    model = Gaussian(dim=2)
    data = as_dataset(np.stack([x, 2 * x + 1], axis=1), model)
    with pytest.raises(FitError, match=r"undefined: .*is constant, so the covariance is singular"):
        MaximumLikelihood(restarts=1).fit(model, data, np.random.default_rng(0))


def test_no_standard_error_on_a_boundary() -> None:
    model = RandomEffects()
    data = as_dataset(bundled("eight_schools"), model)
    sigma = np.asarray(data["sigma"].data)
    mu = (np.asarray(data["y"].data) / sigma**2).sum() / (1 / sigma**2).sum()
    estimate = estimate_at(model, data, {"mu": jnp.asarray(mu), "tau": jnp.asarray(1e-6)})
    assert np.isnan(estimate.sd.value["tau"])
    assert any("undefined: boundary" in problem for problem in estimate.problems)
    # the other parameter has the error it has with τ = 0 held fixed
    assert float(estimate.sd.value["mu"]) == pytest.approx((1 / sigma**2).sum() ** -0.5)


def test_information_that_is_not_finite_is_refused() -> None:
    model = Gaussian()
    data = xr.Dataset({"y": ("obs", np.array([1.0, 2.0, 4.0]))})
    of = density(model, data)
    inverse = invert(model, of, of.unconstrain(model.truth), np.full((2, 2), np.nan))
    assert "not finite" in inverse.problem
