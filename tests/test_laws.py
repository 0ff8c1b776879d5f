"""Laws that every model of the folder obeys, whatever it is.

Monte Carlo laws compare batches of units by a t-test: with B batches, a mean over its standard
error follows a t law with B − 1 degrees of freedom if the law holds.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats as st
import xarray as xr
from catalogue import at_truth, called, variants

from inference.information.derivatives import derivatives
from inference.information.matrices import expected, observed
from inference.methods.closed_form import ClosedForm
from inference.methods.expectation_maximisation import ExpectationMaximisation
from inference.methods.maximum_likelihood import MaximumLikelihood
from models.capabilities import (
    HasClosedFormMaximum,
    HasComponents,
    HasEM,
    HasEquivariances,
    HasExpectedInformation,
    HasLabels,
    HasSigns,
    HasUnits,
)
from models.catalogue.gaussian import Gaussian
from models.catalogue.gaussian_mixture import GaussianMixture
from models.data.dataset import content_hash
from models.programs.compilation import once
from models.programs.density import density, flat_names, flatten, quantities, replicable, units

if TYPE_CHECKING:
    from models.capabilities import Equivariance
    from models.spec import Model, Values

ALARM = 1e-6
"""False-alarm rate of each Monte Carlo law, shared among the numbers it looks at."""
BATCHES, UNITS = 40, 100
pytestmark = pytest.mark.usefixtures("unoptimised")

ALL = variants()
FIRST = list({type(model): model for model in reversed(ALL)}.values())
"""One variant of every class."""

every = pytest.mark.parametrize("model", ALL, ids=called, scope="module")


def among(*protocols: Any) -> Any:
    chosen = [model for model in ALL if all(isinstance(model, p) for p in protocols)]
    return pytest.mark.parametrize("model", chosen, ids=called, scope="module")


def rows(model: Model, data: xr.Dataset) -> int:
    return next(iter(data.data_vars.values())).shape[0]


def total(model: Model, data: xr.Dataset, values: Values) -> float:
    of = density(model, data)
    return float(jnp.sum(once(of.log_likelihood)(of.unconstrain(values))))


def same(first: Values, second: Values) -> bool:
    return all(np.array_equal(first[name], second[name]) for name in first)


# --- EM -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0.0, 1e6])
@among(HasEM, HasComponents)
def test_the_e_step_is_the_sum_of_responsibilities(model: Any, offset: float) -> None:
    data = at_truth(model)
    data = data.assign(y=data["y"] + offset)
    values = {
        name: jnp.asarray(x) for name, x in model.start(np.random.default_rng(1), data).items()
    }
    share = np.asarray(model.responsibilities(values, data))
    y = np.asarray(data["y"].data).reshape(len(share), model.dim)
    away = y - y.mean(axis=0)
    statistics = model.e_step(values, data)
    tolerance = 1e-11 + 1e-9 * bool(offset)  # rounding of the rows themselves, relative to 1e6
    for name, expected_sum in {
        "count": share.sum(axis=0),
        "sum": share.T @ away,
        "square": np.einsum("nk,ni,nj->kij", share, away, away),
    }.items():
        scale = 1 + np.abs(expected_sum).max()
        assert np.abs(np.asarray(statistics[name]) - expected_sum).max() < tolerance * scale, name


# --- the value and its data -----------------------------------------------------------------------


@every
def test_a_model_is_a_frozen_value(model: Model) -> None:
    assert hash(model) == hash(replace(model))  # pyright: ignore[reportArgumentType]
    assert model == replace(model)  # pyright: ignore[reportArgumentType]
    name = fields(model)[0].name  # pyright: ignore[reportArgumentType]
    with pytest.raises(FrozenInstanceError):
        setattr(model, name, 1)


@every
def test_simulation_has_the_size_asked_for_and_depends_on_its_stream_alone(model: Model) -> None:
    first, again, other = (
        model.simulate(np.random.default_rng(seed), model.truth, 35) for seed in (1, 1, 2)
    )
    assert units(model, first) == 35
    assert first.identical(again)
    assert not first.identical(other)
    assert {p.name for p in model.parameters} == set(model.truth)


@every
def test_start_is_valid_and_never_looks_at_truth(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, truth = at_truth(model), model.truth
    before = content_hash(data)

    def refuse(_: Model) -> Values:
        raise AssertionError("start looked at truth")

    monkeypatch.setattr(type(model), "truth", property(refuse))
    start = model.start(np.random.default_rng(1), data)
    assert {name: jnp.shape(a) for name, a in start.items()} == {
        name: jnp.shape(a) for name, a in truth.items()
    }
    assert not same(start, truth)
    assert not same(start, model.start(np.random.default_rng(2), data))
    assert same(start, model.start(np.random.default_rng(1), data))
    assert content_hash(data) == before
    assert np.isfinite(total(model, data, start))


# --- the likelihood -------------------------------------------------------------------------------


@every
def test_rows_permute(model: Model) -> None:
    data = at_truth(model)
    dim = str(next(iter(data.data_vars.values())).dims[0])
    order = np.random.default_rng(3).permutation(data.sizes[dim])
    shuffled = data.isel({dim: order})
    ours, theirs = (
        np.asarray(once((of := density(model, d)).log_likelihood)(of.unconstrain(model.truth)))
        for d in (data, shuffled)
    )
    expected_ = ours if isinstance(model, HasUnits) and ours.size != order.size else ours[order]
    np.testing.assert_allclose(theirs, expected_, rtol=1e-10, atol=1e-10)


@among(HasLabels)
def test_components_permute(model: Any) -> None:
    if any(p.support == "ordered" for p in model.parameters):
        return  # one labelling only
    data = at_truth(model)
    swapped = model.relabel(model.truth, jnp.arange(model.labels)[::-1])
    assert total(model, data, swapped) == pytest.approx(total(model, data, model.truth), rel=1e-12)


@among(HasSigns)
def test_every_change_of_signs_folds_to_one_point_of_the_same_density(model: Any) -> None:
    data, of = at_truth(model), density(model, at_truth(model))
    folded = model.fold(model.truth)
    rng = np.random.default_rng(0)
    rows, columns = np.tril_indices(data["y"].shape[1], m=model.signs)
    for _ in range(4):
        sign = rng.choice([-1.0, 1.0], model.signs)[columns]
        other = {**model.truth, "loading": model.truth["loading"] * sign}
        assert same(model.fold(other), folded)
        heights = [
            float(of.log_prior(of.unconstrain(v))) + total(model, data, v) for v in (other, folded)
        ]
        assert heights[0] == pytest.approx(heights[1], rel=1e-12)
    assert (np.asarray(folded["loading"])[rows == columns] > 0).all()


@among(HasComponents)
def test_responsibilities_sum_to_one(model: Any) -> None:
    data = at_truth(model)
    share = np.asarray(model.responsibilities(model.truth, data))
    assert share.shape == (rows(model, data), model.labels)
    np.testing.assert_allclose(share.sum(axis=1), 1.0, rtol=1e-12)
    assert (share >= 0).all()


FACTOR, SHIFT = 2.5, -3.0


def moved(law: Equivariance, values: Any) -> dict[Any, Any]:
    """Data or parameters after the change of units v ↦ FACTOR v + SHIFT, by name."""
    found = dict(values)
    for name, power in (dict.fromkeys(law.locations, 1) | dict(law.scales)).items():
        if name in values:
            found[name] = FACTOR**power * values[name] + SHIFT * (name in law.locations)
    return found


def log_volume(law: Equivariance, data: xr.Dataset) -> float:
    """By how many nats a volume of observations grows."""
    power = 1 if law.observed in law.locations else law.scales.get(law.observed, 0)
    return power * data[law.observed].size * np.log(FACTOR)


def changed(data: xr.Dataset, law: Equivariance) -> xr.Dataset:
    arrays = moved(law, {name: a.data for name, a in data.items()})
    return xr.Dataset({name: (a.dims, arrays[name]) for name, a in data.items()})


@among(HasEquivariances)
def test_the_likelihood_follows_a_change_of_units(model: Any) -> None:
    data = at_truth(model)
    for law in model.equivariances:
        there = moved(law, model.truth)
        assert not same(there, model.truth)
        ours = total(model, changed(data, law), there)
        expected_ = total(model, data, model.truth) - log_volume(law, data)
        assert ours == pytest.approx(expected_, rel=1e-10)


@among(HasClosedFormMaximum)
def test_the_maximum_does_not_move_with_the_order_of_rows(model: Any) -> None:
    data = at_truth(model)
    dim = str(next(iter(data.data_vars.values())).dims[0])
    here, backwards = (
        quantities(model, model.maximum_likelihood(d))
        for d in (data, data.isel({dim: slice(None, None, -1)}))
    )
    for name, array in here.items():
        np.testing.assert_allclose(backwards[name], array, rtol=1e-9, atol=1e-9)


@among(HasClosedFormMaximum, HasEquivariances)
def test_the_maximum_moves_with_the_data(model: Any) -> None:
    data = at_truth(model)
    here = model.maximum_likelihood(data)
    for law in model.equivariances:
        there = quantities(model, model.maximum_likelihood(changed(data, law)))
        for name, array in quantities(model, moved(law, here)).items():
            np.testing.assert_allclose(there[name], array, rtol=1e-9, atol=1e-9)


# --- information ----------------------------------------------------------------------------------


def assert_zero(batches: np.ndarray, law: str) -> None:
    """The t-test of a zero mean of every number, Bonferroni among them."""
    flat = batches.reshape(batches.shape[0], -1)
    error = flat.std(axis=0, ddof=1) / np.sqrt(flat.shape[0])
    # numbers without variance are zero by construction or not at all
    exact = error < 1e-10 * np.maximum(1.0, np.abs(flat).max(axis=0))
    assert np.abs(flat[:, exact]).max(initial=0.0) < 1e-6, law
    t = np.abs(flat.mean(axis=0)[~exact] / error[~exact])
    limit = st.t.isf(ALARM / 2 / max(1, t.size), flat.shape[0] - 1)
    assert t.max(initial=0.0) < limit, f"{law}: t = {t.max():.1f}, limit {limit:.1f}"


@pytest.mark.statistical
@every
def test_score_and_information_at_truth(model: Model) -> None:
    rng = np.random.default_rng(17)
    sets = [model.simulate(rng, model.truth, UNITS) for _ in range(BATCHES)]
    varying = [str(n) for n, a in sets[0].items() if a.dtype.kind == "f"]
    of, log_likelihood = replicable(model, sets[0])
    u = of.unconstrain(model.truth)

    @once
    @jax.vmap
    def statistics(arrays: tuple[Any, ...]) -> tuple[Any, Any, Any]:
        filled = dict(zip(varying, arrays, strict=True))
        data = xr.Dataset({n: (a.dims, filled.get(str(n), a.data)) for n, a in sets[0].items()})
        score = jax.jacfwd(lambda v: log_likelihood(data, v))(u)
        curvature = jax.hessian(lambda v: jnp.sum(log_likelihood(data, v)))(u)
        return score.sum(axis=0), score.T @ score, -curvature

    arrays = tuple(np.stack([np.asarray(d[name].data) for d in sets]) for name in varying)
    score, outer, curvature = (np.asarray(part) for part in statistics(arrays))
    assert_zero(score, "the score has mean zero")
    assert_zero(outer - curvature, "E[s sᵀ] = −E[H]")
    matrix = curvature.mean(axis=0)
    if isinstance(model, HasExpectedInformation):
        matrix, simulated = expected(model, of, u, rng)
        assert not simulated.size
        assert_zero(curvature - matrix, "−E[H] is the expected information")
    scale = 1 / np.sqrt(np.diag(matrix))
    assert np.linalg.matrix_rank(matrix * np.outer(scale, scale), tol=1e-6) == of.size


@pytest.mark.parametrize("model", [Gaussian(), GaussianMixture(2)], ids=called)
def test_divergence_is_half_the_information(model: Model) -> None:
    nodes = np.linspace(-25, 30, 8001)
    grid = xr.Dataset({"y": ("obs", nodes)})
    of = density(model, grid)
    u = of.unconstrain(model.truth)
    direction = np.random.default_rng(5).standard_normal(of.size)
    weight = np.exp(np.asarray(of.log_likelihood(u))) * (nodes[1] - nodes[0])
    score = np.asarray(jax.jacfwd(of.log_likelihood)(u)) @ direction
    curvature = 0.5 * weight @ score**2
    ratios = []
    for size in (1e-2, 1e-3):
        gap = of.log_likelihood(u) - of.log_likelihood(u + size * direction)
        ratios.append(abs(weight @ np.asarray(gap) / (size**2 * curvature) - 1))
    assert ratios[1] < 0.02
    assert ratios[1] < 0.3 * ratios[0]  # the remainder is of third order


# --- fits -----------------------------------------------------------------------------------------


# EM does not know the priors, by which alone some variants differ
CLIMBING = {called(model): model for model in ALL if isinstance(model, HasEM)}


@pytest.mark.parametrize("model", CLIMBING.values(), ids=CLIMBING)
def test_em_climbs_to_a_stationary_point_at_the_rate_of_louis(model: Model) -> None:
    data = at_truth(model, 150)
    fit = ExpectationMaximisation(restarts=1).fit(model, data, np.random.default_rng(2))
    climb = fit.record["climb"].data
    assert np.diff(climb).min() > -1e-10 * np.abs(climb).max()
    of = density(model, data)
    u = of.unconstrain({str(n): jnp.asarray(a.data) for n, a in fit.point.items()})
    gradient = np.asarray(derivatives(of, "likelihood").value_and_gradient(u)[1])
    information = observed(of, u)
    assert np.sqrt(gradient @ np.linalg.solve(information, gradient)) < 1e-4
    assert fit.record.attrs["measured_rate"] == pytest.approx(
        fit.record.attrs["predicted_rate"], abs=5e-3
    )
    # Louis' identity: observed = complete − missing
    louis = fit.record["louis_complete"].data - fit.record["louis_missing"].data
    np.testing.assert_allclose(louis, information, rtol=1e-4, atol=1e-4 * np.abs(louis).max())


@pytest.mark.parametrize("model", FIRST, ids=called)
def test_same_seed_same_estimate_and_the_data_stay_as_they_are(model: Model) -> None:
    data = at_truth(model)
    before = content_hash(data)
    closed = ClosedForm()
    method = MaximumLikelihood(restarts=2) if closed.refusal(model) else closed
    first, again = (method.fit(model, data, np.random.default_rng(9)) for _ in range(2))
    assert content_hash(data) == before
    assert first.location.value.identical(again.location.value)
    assert first.sd.value.identical(again.sd.value)
    assert first.log_likelihood == again.log_likelihood
    names = flat_names(quantities(model, model.truth))
    assert list(first.covariance["quantity"].data) == names
    assert flatten(quantities(model, model.truth)).size == len(names)


def test_importing_models_loads_no_sampler_and_changes_no_setting() -> None:
    check = (
        "import sys, models; import jax; from models import Gaussian, GaussianMixture; "
        "loaded = {'pymc', 'pytensor', 'arviz'} & set(sys.modules); "
        "assert not loaded, loaded; assert not jax.config.jax_enable_x64"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", check], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
