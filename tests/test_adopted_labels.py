"""Components of a user's mixture that can change places are found, and nothing else is."""

from __future__ import annotations

from typing import Any

import adopted_regressions
import adopted_series
import adopted_structures
import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from adopted_structures import two
from jax import numpy as jnp

import concord as cc
from inference.posterior.labels import canonical, exchangeable
from models.programs.density import density

pytestmark = pytest.mark.usefixtures("unoptimised")


def mixture(y: Any, loc: Any, ordered: bool = False) -> None:
    w = numpyro.sample("w", dist.Dirichlet(jnp.ones(2)))
    law = dist.Normal(jnp.asarray(loc), 5.0).expand([2]).to_event(1)
    if ordered:
        law = dist.TransformedDistribution(law, dist.transforms.OrderedTransform())
    mu = numpyro.sample("mu", law)
    with numpyro.plate("rows", len(y)):
        numpyro.sample("y", dist.MixtureSameFamily(dist.Categorical(w), dist.Normal(mu, 1)), obs=y)


def planes(X: Any, Y: Any) -> None:
    """Two normal laws in the plane, so that three axes have two entries, and two slopes beside."""
    w = numpyro.sample("w", dist.Dirichlet(jnp.ones(2)))
    b = numpyro.sample("b", dist.Normal(0, 1).expand([2]))
    with numpyro.plate("component", 2):
        mu = numpyro.sample("mu", dist.Normal(0, 5).expand([2]).to_event(1))
        factor = numpyro.sample("factor", dist.LKJCholesky(2, 2.0))
    law = dist.MultivariateNormal(mu + (X @ b)[:, None, None], scale_tril=factor)
    with numpyro.plate("rows", len(Y)):
        numpyro.sample("Y", dist.MixtureSameFamily(dist.Categorical(w), law), obs=Y)


def parted(y: Any) -> None:
    """The likelihood knows no order, the prior does."""
    mixture(y, [1.0, -1.0])


def imputed(y: Any) -> None:
    """Two outcomes that are missing are alike, and yet each is its own."""
    mu = numpyro.sample("mu", dist.Normal(0, 5))
    missing = numpyro.sample("missing", dist.Normal(mu, 1).expand([2]))
    filled = jnp.asarray(y).at[jnp.array([1, 3])].set(missing)
    numpyro.sample("y", dist.Normal(mu, 1), obs=filled)


RNG = np.random.default_rng(0)
PLANES = {"X": RNG.normal(size=(12, 2)), "Y": RNG.normal(size=(12, 2))}
SLOPES = {**adopted_structures.groups, "u": adopted_structures.u}
LINEAR = {"X": adopted_regressions.X, "y": adopted_regressions.Y}


@pytest.mark.parametrize(
    ("program", "data", "exchanged"),
    [
        (lambda y: mixture(y, 0.0), {"y": two}, {"mu", "w"}),
        (parted, {"y": two}, set()),
        (lambda y: mixture(y, 0.0, ordered=True), {"y": two}, set()),
        (planes, PLANES, {"w", "mu", "factor"}),
        (adopted_series.forward_numpyro, {"y": adopted_series.y}, {"P", "mu"}),
        (adopted_structures.labels_numpyro, {"y": two}, {"w", "mu", "sigma"}),
        (adopted_structures.schools_numpyro, adopted_structures.schools, set()),
        (adopted_structures.slopes_numpyro, SLOPES, set()),
        (imputed, {"y": np.array([0.3, np.nan, -1.2, np.nan, 0.8])}, set()),
        (adopted_regressions.linear_matrix, LINEAR, set()),
    ],
)
def test_what_can_change_places(program: Any, data: Any, exchanged: set[str]) -> None:
    model = cc.adopt(numpyro=program, data=data)
    assert set(model.exchanged) == exchanged
    assert exchangeable(model) is bool(exchanged)
    if not exchanged:
        assert model.labels == (2 if program is parted else 1)
        return
    # another order has the same density, and one order stands for both
    target = density(model, model.data)
    u = target.unconstrain(model.start(np.random.default_rng(1), model.data))
    values = target.constrain(u)
    other = model.relabel(values, jnp.array([1, 0]))
    heights = [
        float(target.log_likelihood(v).sum() + target.log_prior(v))
        for v in (u, target.unconstrain(other))
    ]
    assert heights[1] == pytest.approx(heights[0], rel=1e-9)
    for name, value in canonical(model, model.truth).items():  # which estimates are held against
        np.testing.assert_array_equal(value, model.truth[name])
    for name, value in canonical(model, other).items():
        np.testing.assert_array_equal(value, canonical(model, values)[name])


def test_a_prior_says_which_of_equal_maxima_is_meant() -> None:
    model = cc.adopt(numpyro=parted, data={"y": two})
    for restarts in (1, 3):
        method = cc.MaximumLikelihood(restarts=restarts)
        fit = method.fit(model, model.data, np.random.default_rng(restarts))
        low, high = fit.location.value["mu"].to_numpy()
        assert low > 0 > high


def test_components_may_first_be_asked_for_while_jax_traces() -> None:
    model = cc.adopt(numpyro=adopted_structures.mixture_numpyro, data={"y": two})
    target = density(model, model.data)
    points = np.random.default_rng(0).normal(size=(3, target.size))
    ordered = jax.jit(jax.vmap(lambda u: canonical(model, target.constrain(u))["w"]))(points)
    assert ordered.shape == (3, 2)


def test_a_users_mixture_is_compared_in_one_order() -> None:
    methods = (cc.MaximumLikelihood(restarts=4), cc.NUTS(warm_up=200, draws=500))
    found = cc.compare(
        numpyro=adopted_structures.mixture_numpyro,
        data={"y": two},
        methods=methods,
        claims=("posterior_agreement",),
        progress=False,
    )
    table = found.table()["mean"].unstack()
    assert (table["mu[0]"] < 0).all()
    assert (table["mu[1]"] > 0).all()
    assert "components can change places" in repr(found)
