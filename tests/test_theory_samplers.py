"""Samplers: laws of the machinery, exact identities, and bugs that the claims must catch."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.stats import norm as norm_of_jax
from scipy.integrate import quad
from scipy.stats import chi2, norm

from comparisons.theory import samplers as entry
from comparisons.theory import sampling
from comparisons.theory.densities import Fitted, log_density_at, score_matching
from comparisons.theory.sampling import (
    Drawn,
    NormalMixture,
    adjusted_langevin,
    ancestral,
    importance,
    metropolis,
    rejection,
    reparameterised,
    reverse_diffusion,
    unadjusted_langevin,
)
from comparisons.theory.sampling.reverse_diffusion import diffused
from comparisons.verdict import Verdict
from models.catalogue.gaussian_mixture import GaussianMixture
from models.registry import entries

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

Z = 4.9
"""Two-sided normal quantile at a false-alarm rate of 1e-6."""
TARGET = entry.target()
SHAPE = 200, entry.DRAWS
SAMPLERS = entries(sampling)


def _rng() -> np.random.Generator:
    return np.random.default_rng(20260101)


# --- the target ---------------------------------------------------------------------------------


def test_density_is_that_of_the_mixture_s_program() -> None:
    x = jnp.asarray(_rng().normal(size=(7, 2)))
    values = {"weights": TARGET.weights, "mean": TARGET.means, "scale": TARGET.scale}
    of = log_density_at(GaussianMixture(2, 2, "spherical"), values)
    np.testing.assert_allclose(TARGET.log_density(x), of(x), rtol=1e-12)


def test_score_is_the_gradient_of_the_density() -> None:
    x = jnp.asarray(_rng().normal(size=(7, 2)))
    by_jax = jax.grad(lambda x: jnp.sum(TARGET.log_density(x)))(x)
    np.testing.assert_allclose(TARGET.score(x), by_jax, rtol=1e-10, atol=1e-12)


def test_moments_along_the_axis_are_those_of_the_line() -> None:
    along = entry.AXIS @ np.asarray(TARGET.covariance) @ entry.AXIS
    line = entry.line()
    np.testing.assert_allclose(along, float(line.covariance[0, 0]), rtol=1e-12)
    np.testing.assert_allclose(entry.AXIS @ np.asarray(TARGET.mean), line.mean[0], rtol=1e-12)
    second = quad(lambda x: x**2 * np.exp(float(line.log_density(jnp.array([x])))), -9, 9)[0]
    assert second - float(line.mean[0]) ** 2 == pytest.approx(along, rel=1e-7)


def test_diffused_moments_are_those_of_the_noisy_variable() -> None:
    t = 0.7
    law = diffused(TARGET, t)
    np.testing.assert_allclose(law.mean, np.exp(-t) * TARGET.mean, rtol=1e-12)
    noisy = np.exp(-2 * t) * TARGET.covariance + (1 - np.exp(-2 * t)) * np.eye(2)
    np.testing.assert_allclose(law.covariance, noisy, rtol=1e-12)


# --- every sampler ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAMPLERS)
def test_same_stream_same_draws_of_the_shape_asked_for(name: str) -> None:
    # one shape in all tests, which is compiled once
    first, second = (SAMPLERS[name].draw(TARGET, _rng(), SHAPE) for _ in range(2))
    assert first.draws.shape == (*SHAPE, 2)
    np.testing.assert_array_equal(first.draws, second.draws)
    assert first.evaluations >= 1


def test_means_of_blocks_are_weighted_means() -> None:
    draws, weights = _rng().normal(size=(2, 6, 2)), _rng().dirichlet(np.ones(6), 2)
    found = Drawn(draws, weights).means(draws, 3)
    by_hand = np.average(draws[1, 3:], axis=0, weights=weights[1, 3:])
    np.testing.assert_allclose(found[1, 1], by_hand, rtol=1e-12)
    np.testing.assert_allclose(Drawn(draws).means(draws, 6)[:, 0], draws.mean(axis=1), rtol=1e-12)


# --- closed forms -------------------------------------------------------------------------------


def test_bound_of_rejection_is_nowhere_exceeded_and_reached_by_a_normal() -> None:
    x = jnp.asarray(_rng().normal(scale=4.0, size=(20_000, 2)))
    proposal = TARGET.widened(2.0)
    ratio = TARGET.log_density(x) - proposal.log_density(x)
    assert float(jnp.max(ratio)) <= np.log(rejection.bound(TARGET, 2.0))
    assert rejection.bound(entry.normal(), 2.0) == pytest.approx(4.0, rel=1e-12)


def test_chi_squared_is_the_integral() -> None:
    line, proposal = entry.line(), entry.line().widened(1.6)

    def square(x: float) -> float:
        at = jnp.array([x])
        return float(jnp.exp(2 * line.log_density(at) - proposal.log_density(at)))

    by_quadrature = quad(square, -12, 12, limit=200)[0] - 1
    assert importance.chi_squared(line, 1.6) == pytest.approx(by_quadrature, rel=1e-7)


def test_transport_is_inverted_by_the_distribution_function_and_carries_derivatives() -> None:
    line, u = entry.line(), jnp.asarray(_rng().uniform(size=(200, 1)))
    x = reparameterised.transport(line, u)
    back = norm.cdf(np.asarray(x), entry.PLACES, entry.SCALE) @ entry.WEIGHTS
    np.testing.assert_allclose(back, np.asarray(u)[:, 0], atol=1e-12)

    def at(scale: jax.Array) -> jax.Array:
        return reparameterised.transport(line._replace(scale=scale), u)

    step = 1e-5
    difference = (at(line.scale + step) - at(line.scale - step)) / (2 * step)
    slope = jax.jit(jax.jacfwd(at))(line.scale)
    # central differences: h² times a third derivative, and rounding over h
    np.testing.assert_allclose(slope, difference, atol=1e-6)


def test_quadrature_knows_the_closed_form_on_a_normal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry, "PLACES", np.zeros(2))
    law, own = entry.langevin_law(0.32), entry.SCALE**2
    assert law.variance == pytest.approx(entry.stationary_variance(0.32) / own, rel=1e-10)
    assert law.mean == pytest.approx(0.0, abs=1e-10)


@pytest.mark.statistical
def test_unadjusted_langevin_has_the_variance_of_its_step() -> None:
    step = 0.4
    draws = unadjusted_langevin.draw(entry.normal(), _rng(), SHAPE, step).draws
    means = (draws**2).mean(axis=(1, 2))
    error = means.std(ddof=1) / np.sqrt(means.size)
    assert abs(means.mean() - entry.stationary_variance(step)) < Z * error


@pytest.mark.statistical
@pytest.mark.parametrize("sampler", [metropolis, adjusted_langevin, rejection])
def test_radius_of_a_normal_is_chi_squared(sampler: ModuleType) -> None:
    # the last draw of each repetition: independent
    draws = sampler.draw(entry.normal(), _rng(), SHAPE).draws[:, -1]
    share = chi2.cdf((draws**2).sum(axis=1) / entry.SCALE**2, 2)
    counts = np.histogram(share, np.linspace(0, 1, 11))[0]
    statistic = ((counts - 20) ** 2 / 20).sum()
    assert chi2.sf(statistic, 9) > 1e-6


# --- bugs ---------------------------------------------------------------------------------------


def _outcomes(drawn: Drawn) -> list[str]:
    return [
        claim.outcome for claim in entry.unbiased("planted", drawn) if isinstance(claim, Verdict)
    ]


def _drawn(sampler: ModuleType) -> Drawn:
    return sampler.draw(TARGET, _rng(), SHAPE)


def test_langevin_that_forgets_to_adjust_differs() -> None:
    assert "DIFFER" in _outcomes(_drawn(unadjusted_langevin))


def test_langevin_that_forgets_the_proposal_ratio_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    # as if the proposal were symmetric, which it is not with a drift
    monkeypatch.setattr(sampling, "_log_proposal", lambda new, old, step: jnp.zeros(len(new.x)))
    with _fresh(sampling._walk):
        assert "DIFFER" in _outcomes(_drawn(adjusted_langevin))


def test_metropolis_that_accepts_too_easily_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    # as if the densities' ratio were its square root
    density = NormalMixture.log_density
    monkeypatch.setattr(NormalMixture, "log_density", lambda law, x: 0.5 * density(law, x))
    with _fresh(sampling._walk):
        assert "DIFFER" in _outcomes(_drawn(metropolis))


def test_a_transport_of_independent_coordinates_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    unmoved = SimpleNamespace(
        pdf=norm_of_jax.pdf, cdf=norm_of_jax.cdf, logpdf=lambda x, *law: jnp.zeros(x.shape)
    )
    monkeypatch.setattr(reparameterised, "norm", unmoved)
    with _fresh(reparameterised.transport):
        assert "DIFFER" in _outcomes(_drawn(reparameterised))


def test_draws_without_their_path_carry_no_derivative(monkeypatch: pytest.MonkeyPatch) -> None:
    assert entry.derivative(_rng(), 1).outcome == "AGREE"
    still = lambda law, u: jax.lax.stop_gradient(reparameterised.transport(law, u))  # noqa: E731
    monkeypatch.setattr(entry, "transport", still)
    assert entry.derivative(_rng(), 1).outcome == "DIFFER"


@contextmanager
def _fresh(compiled: Any) -> Iterator[None]:
    """Nothing that was compiled before is used, and nothing compiled here later."""
    compiled.clear_cache()
    try:
        yield
    finally:
        compiled.clear_cache()


def test_importance_without_its_weights_differs() -> None:
    assert _outcomes(_drawn(importance)) == ["AGREE"] * 3
    assert "DIFFER" in _outcomes(replace(_drawn(importance), weights=1.0))


def test_rejection_with_half_its_bound_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    bound = rejection.bound
    monkeypatch.setattr(rejection, "bound", lambda target, ratio: bound(target, ratio) / 2)
    claims = entry.cost(_drawn(rejection), _drawn(importance))
    assert [one.outcome for one in claims if isinstance(one, Verdict)] == ["DIFFER", "AGREE"]


def test_draws_that_repeat_do_not_get_better() -> None:
    drawn = _drawn(ancestral)
    assert _outcomes(drawn) == ["AGREE"] * 3
    stuck = replace(drawn, draws=np.repeat(drawn.draws[:, :1], entry.DRAWS, axis=1))
    assert _outcomes(stuck)[2] == "DIFFER"


def test_langevin_with_the_wrong_noise_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, real = _drawn(unadjusted_langevin), unadjusted_langevin.draw

    def outcomes(factor: float) -> list[str]:
        def hot(*rest: Any) -> Drawn:
            drawn = real(*rest)
            return replace(drawn, draws=factor * drawn.draws)

        monkeypatch.setattr(unadjusted_langevin, "draw", hot)
        hotter = replace(drawn, draws=factor * drawn.draws)
        shown = entry.langevin(hotter, _rng(), SHAPE[0])
        return [one.outcome for one in shown if isinstance(one, Verdict)]

    assert outcomes(1.0) == ["AGREE"] * 4
    assert outcomes(1.1) == ["AGREE"] + ["DIFFER"] * 3


@pytest.mark.parametrize(("factor", "outcome"), [(1.0, "AGREE"), (0.8, "DIFFER")])
def test_a_learnt_score_must_have_the_right_size(
    monkeypatch: pytest.MonkeyPatch, factor: float, outcome: str
) -> None:
    learnt = Fitted("score only", score=lambda x: factor * TARGET.score(x))
    monkeypatch.setattr(score_matching, "fit", lambda *_: learnt)
    claims = [one for one in entry.learnt(_rng(), 1) if isinstance(one, Verdict)]
    assert claims[1].outcome == outcome
    lost = replace(learnt, problems=("no",))
    monkeypatch.setattr(score_matching, "fit", lambda *_: lost)
    (claim,) = [one for one in entry.learnt(_rng(), 1) if isinstance(one, Verdict)]
    assert claim.outcome == "NOT COMPARABLE"


def _diffusion() -> list[str]:
    shown = entry.diffusion(_rng(), SHAPE[0])
    return [one.outcome for one in shown if isinstance(one, Verdict)]


def test_reverse_diffusion_with_too_little_score_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    @jax.jit
    def little(target: NormalMixture, x: jax.Array, t: float, length: float) -> jax.Array:
        return x + length * (x + 1.5 * diffused(target, t).score(x))

    monkeypatch.setattr(entry, "DRAWN", {8: 1})
    monkeypatch.setattr(entry, "step_mean", little)
    assert _diffusion()[1] == "DIFFER"


def test_reverse_diffusion_that_ends_elsewhere_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    real = reverse_diffusion.draw

    def moved(*rest: Any) -> Drawn:
        drawn = real(*rest)
        return replace(drawn, draws=drawn.draws + 0.05 * entry.AXIS)

    monkeypatch.setattr(reverse_diffusion, "draw", moved)
    monkeypatch.setattr(entry, "DRAWN", {8: 1})
    assert _diffusion()[2] == "DIFFER"
