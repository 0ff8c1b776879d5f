"""Importance sampling at the modes: exact where a formula is known, and honest where it is not."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from comparisons.case import Case
from comparisons.targets import corrected
from inference.optimisation.gaussians import laplace, modes, nearest
from inference.posterior.importance import Importance, Mixture, Mode, importance
from inference.posterior.points import to_natural
from models.catalogue.factor_analysis import ProbabilisticPCA
from models.catalogue.gaussian import ConjugateGaussian
from models.programs.density import density

pytestmark = pytest.mark.statistical

MODEL = ConjugateGaussian()
DATA = MODEL.simulate(np.random.default_rng(0), MODEL.truth, 12)


@pytest.fixture(scope="module")
def drawn() -> Importance:
    target, rng = density(MODEL, DATA), np.random.default_rng(1)
    return importance(target, modes(target, rng, 4), rng)


def test_moments_are_those_of_the_exact_posterior(drawn: Importance) -> None:
    """12 rows, where Laplace is off by a tenth of an sd; four numbers within 4.5 errors (3e-5)."""
    target = density(MODEL, DATA)
    natural = to_natural(target, drawn.points[None])
    law = MODEL.exact_posterior(DATA)
    for name in ("mu", "sigma2"):
        values = np.reshape(natural[name], (-1, 1))
        mean, error, sd, sd_error = (float(x[0]) for x in drawn.moments(values))
        assert abs(mean - law[name].mean()) < 4.5 * error < 0.05 * sd
        assert abs(sd - law[name].std()) < 4.5 * sd_error < 0.08 * sd
    assert drawn.khat < 0.3
    assert drawn.weights.sum() == pytest.approx(1.0)


def test_a_place_that_the_proposal_misses_is_seen(drawn: Importance) -> None:
    """Draws far in the tail of a proposal, at which the density says otherwise."""
    points = drawn.points[:200]
    log_density = drawn.proposals.log(points) + drawn.ratio.max()
    assert drawn.uncovered(log_density - 1.0, points) == 0.0
    assert drawn.uncovered(log_density + 1.0, points) == 1.0


def test_two_modes_are_both_drawn_from() -> None:
    """Two narrow modes, one with a third of the other's mass, by the laws' own weights."""
    one = Mode(np.array([0.0]), 0.0, np.eye(1) * 0.01)
    other = Mode(np.array([5.0]), -np.log(3.0), np.eye(1) * 0.01)
    mixture = Mixture([one, other])
    points = mixture.draw(np.random.default_rng(0), 8_000)
    share = float((points > 2.5).mean())
    assert share == pytest.approx(0.9 * 0.25 + 0.1 * 0.5, abs=4.5 * np.sqrt(0.25 / 8_000))
    grid = np.linspace(-2, 8, 100_001)[:, None]
    assert np.trapezoid(np.exp(mixture.log(grid)), grid[:, 0]) == pytest.approx(1.0, abs=0.01)


def test_modes_of_a_model_with_signs_are_in_one_fold() -> None:
    model = ProbabilisticPCA(factors=1)
    data = model.simulate(np.random.default_rng(0), model.truth, 60)
    target = density(model, data)
    found = modes(target, np.random.default_rng(1), 4)
    values = target.constrain(jnp.asarray(found[0].u))
    folded = model.fold(values)
    for name, array in values.items():
        np.testing.assert_allclose(array, folded[name])


def test_a_case_says_why_it_has_no_second_opinion() -> None:
    case = Case(MODEL, DATA, methods=())
    found = corrected(case)
    assert found.problem == ""
    law = MODEL.exact_posterior(DATA)
    for name in ("mu", "sigma2"):
        mean, error, *_ = found.scalars[name]
        assert abs(mean - law[name].mean()) < 4.5 * error


def test_the_nearest_gaussian_is_where_its_equations_hold() -> None:
    """From a law that is off, one step leads most of the way; from the optimum, nowhere."""
    target, rng = density(MODEL, DATA), np.random.default_rng(3)
    start = laplace(target, [np.asarray(target.unconstrain(MODEL.truth)) + 0.5])
    assert start is not None
    mean, covariance = start.mean, start.covariance
    for _ in range(30):
        step = nearest(target, mean, covariance, "full_rank", np.random.default_rng(3))
        assert step is not None
        mean, covariance = step.mean, step.covariance
    fresh = nearest(target, mean, covariance, "full_rank", rng)
    off = nearest(target, mean + 0.3 * np.sqrt(np.diag(covariance)), covariance, "full_rank", rng)
    assert fresh is not None
    assert off is not None
    sd = np.sqrt(np.diag(covariance))
    spread = norm.ppf(1 - 1e-5)
    assert (np.abs(fresh.mean - mean) < spread * np.hypot(fresh.mean_error, 0.02 * sd)).all()
    assert (np.abs(off.mean - mean) < 0.15 * sd).all()
