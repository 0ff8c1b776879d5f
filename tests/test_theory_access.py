"""Density estimators: Jacobians, inverses, integrals; and that a wrong density is caught."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from comparisons.theory import access
from comparisons.theory._claims import Measured, mean
from comparisons.theory._plane import NATURE, draws, grid, log_density
from comparisons.theory.densities import (
    Fitted,
    coupling_flow,
    everywhere,
    factor_analysis_density,
    from_model,
    minimise,
    variational_autoencoder,
)

KEY = jax.random.key(5)


def the_truth() -> Fitted:
    return from_model(NATURE, NATURE.truth, "exact")


def claimed(fitted: Fitted, moved: float = 0.0) -> list[str]:
    """Outcomes of all claims on a law, whose held-out shortfall is that of a moved density."""
    rng, short = np.random.default_rng(3), None
    if fitted.log_density is not None:
        test = draws(rng, 20_000)
        short = mean(everywhere(log_density(), test) - everywhere(fitted.log_density, test))
        short = short._replace(value=short.value + moved)
    return [claim.outcome for claim in access.claims("planted", fitted, short, rng)]


def the_normal_law() -> Fitted:
    rng = np.random.default_rng(0)
    return factor_analysis_density.fit(draws(rng, 2_000), rng, 1)


def test_a_flow_knows_its_jacobian_and_its_inverse() -> None:
    flow, x = coupling_flow.start(KEY), jnp.asarray([0.3, -0.8])
    z, log_jacobian = flow.forward(x)
    slope = jax.jacfwd(lambda x: flow.forward(x)[0])(x)
    np.testing.assert_allclose(log_jacobian, np.linalg.slogdet(slope)[1], rtol=0, atol=1e-12)
    np.testing.assert_allclose(flow.inverse(z), x, rtol=0, atol=1e-10)


def test_an_untrained_flow_integrates_to_one() -> None:
    axis = np.arange(-20.0, 20.0, 0.1)
    points = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    values = everywhere(jax.vmap(coupling_flow.start(KEY).log_density), points)
    # the trapezoidal rule of a smooth density: what is left is beyond the box
    assert abs(np.exp(values).sum() * 0.01 - 1) < 1e-6


def test_importance_weights_average_to_the_integral() -> None:
    made = variational_autoencoder.start(KEY)
    x = jnp.asarray([[0.5, -0.3], [1.0, 1.0]])
    keys = jax.random.split(KEY, 400)
    weights = np.exp(jax.vmap(lambda key: made.bound(key, x, 50))(keys))
    exact = np.exp(made.log_marginal(x))
    error = weights.std(axis=0) / np.sqrt(len(weights))
    assert (np.abs(weights.mean(axis=0) - exact) < 5 * error).all()


def test_the_truth_itself_agrees() -> None:
    assert claimed(the_truth()) == ["AGREE"] * 4


def test_a_lost_volume_is_caught() -> None:
    fitted = the_truth()
    assert fitted.log_density is not None
    of = fitted.log_density
    for share in (0.1, 0.01):
        assert claimed(replace(fitted, log_density=lambda x, s=share: of(x) + s))[0] == "DIFFER"


def test_mass_outside_the_box_is_missed() -> None:
    wide = {**NATURE.truth, "scale": 8.0 * NATURE.truth["scale"]}
    assert claimed(from_model(NATURE, wide, "exact"))[0] == "DIFFER"


@pytest.mark.parametrize("known", ["sample", "score"])
def test_a_law_without_density_is_judged_by_its_draws_or_its_score(known: str) -> None:
    unknown = {name: None for name in ("log_density", "sample", "score") if name != known}
    assert claimed(replace(the_truth(), **unknown)) == ["AGREE"]
    assert claimed(replace(the_normal_law(), **unknown)) == ["DIFFER"]
    assert claimed(replace(the_truth(), problems=("no",), **unknown)) == ["NOT COMPARABLE"]


def test_a_law_more_likely_than_the_truth_is_caught() -> None:
    good, wrong = Measured(0.0, 1e-3), Measured(-0.05, 1e-3)
    assert access.gibbs({"good": good}).outcome == "AGREE"
    assert access.gibbs({"good": good, "wrong": wrong}).outcome == "DIFFER"


def test_draws_of_another_law_are_caught() -> None:
    fitted = the_truth()
    assert fitted.sample is not None
    sample = fitted.sample
    wide = replace(fitted, sample=lambda rng, n: 2 * sample(rng, n))
    assert claimed(wide)[3] == "DIFFER"


def test_a_law_that_has_learnt_nothing_is_caught() -> None:
    assert claimed(the_normal_law())[2] == "DIFFER"  # under the name of another estimator


def test_held_out_points_of_another_law_are_caught() -> None:
    assert claimed(the_normal_law(), moved=0.1)[1] == "DIFFER"


def test_the_normal_law_has_the_divergence_of_natures_moments() -> None:
    box, fitted = grid(), the_normal_law()
    assert fitted.log_density is not None
    found = box.mean(box.log_density - everywhere(fitted.log_density, box.points))
    # of 2,000 rows, whose 5 parameters cost 5/(2N) = 0.001 on average
    assert 0 < found - access.normal_divergence() < 0.01


def test_the_energy_distance_of_equal_laws_is_zero() -> None:
    rng = np.random.default_rng(2)
    found = access.energy_distance(draws(rng, 4_000), draws(rng, 4_000))
    assert abs(found.value) < 5 * found.error


def test_training_says_when_it_has_not_converged() -> None:
    rng = np.random.default_rng(0)
    data = draws(rng, 100)

    def loss(network: jax.Array, key: jax.Array, x: jax.Array) -> jax.Array:
        return jnp.sum((network - 1e3) ** 2)

    assert minimise(loss, jnp.zeros(1), data, rng, updates=200).problems
    assert not minimise(loss, jnp.full(1, 1e3), data, rng, updates=200).problems


def test_natures_entropy_and_score() -> None:
    box = grid()
    assert abs(box.mean(np.ones(len(box.points))) - 1) < 1e-10
    score = [box.mean(box.score[:, d]) for d in range(2)]
    np.testing.assert_allclose(score, 0, atol=1e-9)
