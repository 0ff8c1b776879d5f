"""Density estimators: Jacobians, inverses, integrals; and that a wrong density is caught."""

from __future__ import annotations

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

import comparisons.theory.densities
from comparisons.theory import access, excess_loss
from comparisons.theory._claims import Measured
from comparisons.theory._plane import (
    HIGH,
    LOW,
    NATURE,
    STEP,
    draws,
    frame,
    grid,
    log_density,
    stream,
)
from comparisons.theory.densities import (
    DensityEstimator,
    Fitted,
    everywhere,
    from_model,
    minimise,
    perceptron,
    variants,
)
from comparisons.theory.densities.autoregressive import Conditionals
from comparisons.theory.densities.autoregressive_flow import Sigmoidal, _layer
from comparisons.theory.densities.coupling_flow import Couplings
from comparisons.theory.densities.diffusion import Denoiser, flow
from comparisons.theory.densities.factor_analysis_density import FactorAnalysisDensity
from comparisons.theory.densities.kernel_density import KernelDensity, bandwidths
from comparisons.theory.densities.variational_autoencoder import LatentVariable
from models.registry import subclasses

KEY = jax.random.key(5)


def couplings() -> Couplings:
    keys = jax.random.split(KEY, 4)
    return Couplings(eqx.filter_vmap(lambda key: perceptron(key, 1, 2, 8))(keys))


def sigmoidal() -> Sigmoidal:
    return Sigmoidal((_layer(KEY, 4, 8), _layer(jax.random.key(6), 4, 8)))


FLOWS = {"coupling": couplings, "sigmoidal": sigmoidal}


def the_truth() -> Fitted:
    return from_model(NATURE, NATURE.truth, "exact")


def measured(fitted: Fitted, rng: np.random.Generator) -> access.Known:
    test = draws(rng, 20_000)
    truth = everywhere(log_density(), test)
    return access._measured(fitted, test, truth, draws(rng, 200), rng)


def outcomes(fitted: Fitted) -> list[str]:
    one = measured(fitted, np.random.default_rng(3))
    return [claim.outcome for claim in access.claims("planted", one, 0.01)]


@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_knows_its_jacobian_and_its_inverse(name: str) -> None:
    made = FLOWS[name]()
    x = jnp.asarray([0.3, -0.8])
    z, log_jacobian = made.forward(x)
    slope = jax.jacfwd(lambda x: made.forward(x)[0])(x)
    np.testing.assert_allclose(log_jacobian, np.linalg.slogdet(slope)[1], rtol=0, atol=1e-12)
    np.testing.assert_allclose(made.inverse(z), x, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", FLOWS)
def test_an_untrained_flow_integrates_to_one(name: str) -> None:
    made = FLOWS[name]()
    axis = np.arange(-20.0, 20.0, 0.1)
    points = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    values = everywhere(lambda x: jax.vmap(lambda x: made.log_density(x))(x), points)
    # the trapezoidal rule of a smooth density: what is left is beyond the box
    assert abs(np.exp(values).sum() * 0.01 - 1) < 1e-6


def test_conditionals_are_laws_and_drawn_from() -> None:
    first = jnp.asarray([[0.0, 1.0], [-1.0, 1.0], [-0.5, 0.0]])
    made = Conditionals(first, perceptron(KEY, 1, 6, 8))
    axis = np.arange(-12.0, 12.0, 0.1)
    points = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    density = np.exp(everywhere(jax.vmap(made.log_density), points))
    assert abs(density.sum() * 0.01 - 1) < 1e-9
    drawn = np.asarray(jax.vmap(made.draw)(jax.random.split(KEY, 20_000)))
    mean = (density[:, None] * points).sum(axis=0) * 0.01
    error = drawn.std(axis=0) / np.sqrt(len(drawn))
    assert (np.abs(drawn.mean(axis=0) - mean) < 5 * error).all()  # false alarms: 1e-6


def test_the_probability_flow_returns_and_knows_its_volume() -> None:
    made = Denoiser(perceptron(KEY, 6, 2, 8))
    x = jnp.asarray([0.3, -0.8])
    end, gain = flow(made, x)
    slope = jax.jacfwd(lambda x: flow(made, x)[0])(x)
    # of fourth order in steps of 1/20
    np.testing.assert_allclose(gain, np.linalg.slogdet(slope)[1], rtol=0, atol=1e-4)
    np.testing.assert_allclose(flow(made, end, reverse=True)[0], x, rtol=0, atol=1e-3)


def test_importance_weights_average_to_the_integral() -> None:
    made = LatentVariable(perceptron(KEY, 1, 4, 8), perceptron(jax.random.key(1), 2, 2, 8))
    x = jnp.asarray([[0.5, -0.3], [1.0, 1.0]])
    keys = jax.random.split(KEY, 400)
    weights = np.exp(jax.vmap(lambda key: made.bound(key, x, 50))(keys))
    exact = np.exp(made.log_marginal(x))
    error = weights.std(axis=0) / np.sqrt(len(weights))
    assert (np.abs(weights.mean(axis=0) - exact) < 5 * error).all()
    annealed = np.exp(jax.vmap(lambda key: made.annealed(key, x, 10))(keys[:50]))
    error = annealed.std(axis=0) / np.sqrt(50)
    assert (np.abs(annealed.mean(axis=0) - exact) < 6 * error).all()


def test_kernels_are_those_of_statsmodels() -> None:
    from statsmodels.nonparametric.kernel_density import KDEMultivariate

    rng = np.random.default_rng(0)
    train, places = draws(rng, 300), draws(rng, 5)
    h = bandwidths(train, "normal_reference", rng)
    fitted = KernelDensity("normal_reference").fit(train, rng, 1)
    assert fitted.log_density is not None
    theirs = KDEMultivariate(train, "cc", bw=h, rng=rng).pdf(places)
    np.testing.assert_allclose(np.exp(fitted.log_density(jnp.asarray(places))), theirs, rtol=1e-10)


def test_the_truth_itself_agrees() -> None:
    assert outcomes(the_truth()) == ["AGREE"] * 4


def test_a_lost_volume_is_caught() -> None:
    fitted = the_truth()
    assert fitted.log_density is not None
    of = fitted.log_density
    for share in (0.1, 0.01):
        assert outcomes(replace(fitted, log_density=lambda x, s=share: of(x) + s))[0] == "DIFFER"


def test_mass_outside_the_box_is_counted() -> None:
    points, area = frame()
    box = grid()
    wide = norm(4.0, 9.0)  # a third of it is outside
    inside, outside = (wide.pdf(x).prod(axis=1).sum() for x in (box.points, points))
    size = np.array(HIGH) - np.array(LOW) + STEP
    edges = np.stack([np.array(LOW) - STEP / 2 - size, np.array(HIGH) + STEP / 2 + size])
    exact = np.diff(wide.cdf(edges), axis=0).prod()
    assert inside * STEP**2 < 0.8
    # midpoints of cells of a twentieth of a standard deviation
    assert abs(inside * STEP**2 + outside * area - exact) < 1e-3


def test_a_law_without_density_is_judged_by_its_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in (("UPDATES", 600), ("JUDGED", 4_000), ("FRESH", 20_000)):
        monkeypatch.setattr(access, name, size)
    rng = np.random.default_rng(4)
    normal = FactorAnalysisDensity().fit(draws(rng, 2_000), rng, 1)
    for fitted, expected in ((the_truth(), "AGREE"), (normal, "DIFFER")):
        implicit = replace(fitted, log_density=None, score=None)
        one = access._measured(implicit, *np.empty((2, 1)), draws(rng, access.COMPARED), rng)
        found = [claim.outcome for claim in access.claims("implicit", one, 0.01)]
        assert found == [expected] * 2
        lost = one._replace(fitted=replace(implicit, problems=("no",)))
        (claim,) = access.claims("implicit", lost, 0.01)
        assert claim.outcome == "NOT COMPARABLE"


def test_a_law_more_likely_than_the_truth_is_caught() -> None:
    one = access.Known(the_truth(), shortfall=Measured(-0.05, 1e-3))
    good = one._replace(shortfall=Measured(0.0, 1e-3))
    assert access._gibbs({"good": good}).outcome == "AGREE"
    assert access._gibbs({"good": good, "wrong": one}).outcome == "DIFFER"


def test_draws_of_another_law_are_caught() -> None:
    fitted = the_truth()
    assert fitted.sample is not None
    sample = fitted.sample
    wide = replace(fitted, sample=lambda rng, n: 2 * sample(rng, n))
    assert outcomes(wide)[3] == "DIFFER"


def test_a_law_that_has_learnt_nothing_is_caught() -> None:
    rng = np.random.default_rng(0)
    normal = FactorAnalysisDensity().fit(draws(rng, 2_000), rng, 1)
    assert outcomes(normal)[2] == "DIFFER"  # under the name of another estimator


def test_held_out_points_of_another_law_are_caught() -> None:
    rng = np.random.default_rng(0)
    fitted = FactorAnalysisDensity().fit(draws(rng, 2_000), rng, 1)
    one = measured(fitted, rng)
    shifted = one._replace(shortfall=one.shortfall._replace(value=1.1 * one.shortfall.value))
    assert [c.outcome for c in access.claims("planted", shifted, 0.01)][1] == "DIFFER"


def test_one_normal_law_has_the_divergence_of_its_moments() -> None:
    rng = np.random.default_rng(1)
    train = draws(rng, 2_000)
    one = measured(FactorAnalysisDensity().fit(train, rng, 1), rng)
    expected = access._normal(one, train).expected
    # the tails of the normal law reach out of the box: 3e-3 of its mass, not of nature's
    assert abs(expected - one.divergence) < 1e-8
    assert access._normal(one, 1.3 * train).outcome == "DIFFER"


def test_a_fit_that_has_not_converged_is_not_compared() -> None:
    lost = replace(the_truth(), problems=("no",))
    claims = access.claims("planted", measured(lost, stream(0, "")), 0.01)
    assert [claim.outcome for claim in claims] == ["NOT COMPARABLE"]


def test_the_energy_distance_of_equal_laws_is_zero() -> None:
    streams = np.random.default_rng(2).spawn(40)
    found = [access.energy_distance(draws(r, 200), draws(r, 200)) for r in streams]
    assert abs(np.mean(found)) < 5 * np.std(found) / np.sqrt(40)


def test_training_says_when_it_has_not_converged() -> None:
    rng = np.random.default_rng(0)
    data = draws(rng, 100)

    def loss(network: jax.Array, key: jax.Array, x: jax.Array) -> jax.Array:
        return jnp.sum((network - 1e3) ** 2)

    assert minimise(loss, jnp.zeros(1), data, rng, updates=200).problems
    assert not minimise(loss, jnp.full(1, 1e3), data, rng, updates=200).problems


def test_every_estimator_has_a_name_of_its_file() -> None:
    for name, cls in subclasses(comparisons.theory.densities, DensityEstimator).items():
        assert cls.__module__.endswith(f".{name}")
        assert all(key.startswith(name) for key in variants(cls))


def test_natures_entropy_and_score() -> None:
    box = grid()
    assert abs(box.mean(np.ones(len(box.points))) - 1) < 1e-10
    score = [box.mean(box.score[:, d]) for d in range(2)]
    np.testing.assert_allclose(score, 0, atol=1e-9)


@pytest.mark.statistical
def test_the_cost_of_parameters_counts_them_and_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(excess_loss, "N", 1_000)
    monkeypatch.setattr(excess_loss, "REPLICATES", 20)
    (claim,) = excess_loss.show(np.random.default_rng(0), 1)
    # the next order is a share k/N of the first
    assert abs(claim.observed - 1) < 4.9 * claim.error + 9 / 1_000
    whole = excess_loss._maximised
    monkeypatch.setattr(excess_loss, "_maximised", lambda start, x: whole(start, x[::2]))
    (claim,) = excess_loss.show(np.random.default_rng(0), 1)
    assert claim.outcome == "DIFFER"
    assert abs(claim.observed - 2) < 4.9 * claim.error + 4 * 9 / 1_000


def test_the_cost_of_parameters_is_not_told_while_em_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    moving = excess_loss.Fits(np.ones(2), np.ones(2), 1.0)
    monkeypatch.setattr(excess_loss, "fit", lambda *_: moving)
    monkeypatch.setattr(excess_loss, "_pilot", lambda _: {})
    (claim,) = excess_loss.show(np.random.default_rng(0), 1)
    assert claim.outcome == "NOT COMPARABLE"


def test_the_table_has_a_cell_for_each_column() -> None:
    one = measured(the_truth(), np.random.default_rng(0))
    table = access._table({"again": one}, np.zeros(3), 0.1)
    assert {len(row) for row in table.rows} == {len(table.columns)}
