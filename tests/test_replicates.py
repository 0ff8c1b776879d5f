"""Repeated sampling gives the fits one would get one by one, in batches of any size."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import xarray as xr

from comparisons.case import Case
from comparisons.claims import cramer_rao
from comparisons.replicated.moments import Moments
from inference.methods.closed_form import ClosedForm
from inference.methods.maximum_likelihood import MaximumLikelihood
from inference.replicates import (
    everywhere as _everywhere,
)
from inference.replicates import (
    fits as _replicates,
)
from inference.replicates import (
    simulated as _simulated,
)
from inference.replicates.fits import STATIONARY, Replicates, climbed, replicate
from inference.replicates.simulated import Batch, simulated
from models.catalogue.factor_analysis import FactorAnalysis
from models.catalogue.gaussian import ConjugateGaussian, Gaussian
from models.catalogue.gaussian_mixture import GaussianMixture
from models.catalogue.random_effects import RandomEffects
from models.errors import FitError, ModelError
from models.programs.density import flatten, quantity_table
from models.spec import Model, Parameter, Values

if TYPE_CHECKING:
    from collections.abc import Sequence

SEED = 11
MIXTURE = GaussianMixture(2)


def batch(model: Model, n: int, indices: Sequence[int]) -> Batch:
    return simulated(model, model.truth, n, indices, SEED)


@cache
def fits(model: Model, n: int, count: int) -> Replicates:
    return replicate(model, batch(model, n, range(count)))


def flat(model: Model, quantity: xr.Dataset) -> np.ndarray:
    table = quantity_table(model)
    return np.asarray(flatten({p.name: jnp.asarray(quantity[p.name].data) for p in table}))


def test_replicates_are_the_closed_form() -> None:
    model = ConjugateGaussian()
    found = fits(model, 30, 5)
    assert found.converged.all()
    for i, data in enumerate(batch(model, 30, range(5)).sets):
        single = ClosedForm().fit(model, data, np.random.default_rng(0))
        np.testing.assert_allclose(found.estimate[i], flat(model, single.location.value), rtol=1e-6)
        np.testing.assert_allclose(found.standard_error[i], flat(model, single.sd.value), rtol=1e-5)


def test_replicates_of_a_mixture_are_its_single_fits() -> None:
    found = fits(MIXTURE, 150, 8)
    assert found.converged.all()
    for i, data in enumerate(batch(MIXTURE, 150, range(2)).sets):
        single = MaximumLikelihood(restarts=3).fit(MIXTURE, data, np.random.default_rng(0))
        location, sd = flat(MIXTURE, single.location.value), flat(MIXTURE, single.sd.value)
        # replicates stop 1e-4 standard errors from the optimum
        assert (np.abs(found.estimate[i] - location) < 1e-3 * sd).all()
        np.testing.assert_allclose(found.standard_error[i], sd, rtol=1e-3)


def test_sets_that_a_program_cannot_draw_are_those_of_simulate() -> None:
    model = RandomEffects("unknown")  # its program observes contrasts
    sets = batch(model, 12, range(3))
    for i, data in enumerate(sets.sets):
        rng = np.random.default_rng(np.random.SeedSequence(SEED, spawn_key=(12, i, 0)))
        assert data.identical(model.simulate(rng, model.truth, 12))
        for name, array in sets.stacked.items():
            np.testing.assert_array_equal(array[i], data[name].data)
            assert np.shares_memory(array, data[name].data)
            # what is compiled for the template keeps it, and must not keep all of them
            assert not np.shares_memory(array, sets.template[name].data)
    assert sets.varying == ("y",)


@pytest.mark.statistical
@pytest.mark.parametrize(
    "model",
    [Gaussian(), Gaussian(dim=2), GaussianMixture(3, dim=2), FactorAnalysis(), RandomEffects()],
)
def test_sets_that_a_program_draws_have_the_moments_of_simulate(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = batch(model, 50, range(400))
    monkeypatch.setattr(_simulated, "_draws", lambda *_: False)
    _simulated._sampler.cache_clear()
    made = batch(model, 50, range(400))
    _simulated._sampler.cache_clear()
    assert not np.array_equal(drawn.stacked["y"], made.stacked["y"])
    a, b = (one.stacked["y"].reshape(400, -1) for one in (drawn, made))
    # also products of neighbours: of rows, and of columns where there are some
    for f, g in ((a, b), (a**2, b**2), (a[:, 1:] * a[:, :-1], b[:, 1:] * b[:, :-1])):
        error = np.sqrt((f.var(axis=0) + g.var(axis=0)) / 400)
        # up to 900 means at a false-alarm rate of 1e-5 together
        assert np.abs((f.mean(axis=0) - g.mean(axis=0)) / error).max() < 5.9
    # and of the sets with each other
    pairs = (a[1:] - a.mean(axis=0)) * (a[:-1] - a.mean(axis=0)) / a.var(axis=0)
    assert np.abs(pairs.mean(axis=0) * np.sqrt(399)).max() < 5.9
    if "sigma" in drawn.stacked:
        np.testing.assert_array_equal(drawn.stacked["sigma"], made.stacked["sigma"])


@final
@dataclass(frozen=True)
class Odd(Model):
    """Programs that cannot draw their data, or not as written here; with φ = 0 at the truth."""

    kind: Literal["autoregression", "covariate", "no plate"]

    name: ClassVar[str] = "odd"

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return (Parameter("phi", "real", ()),)

    @property
    def truth(self) -> Values:
        return {"phi": jnp.asarray(0.0)}

    def simulate(self, rng: np.random.Generator, values: Values, n: int) -> xr.Dataset:
        phi, y = float(values["phi"]), rng.standard_normal(n)
        if self.kind == "covariate":
            x = (rng.random(n) < 0.05).astype(int)
            return xr.Dataset({"y": ("obs", phi * x + y), "x": ("obs", x)})
        for i in range(1, n if self.kind == "autoregression" else 1):
            y[i] += phi * y[i - 1]
        return xr.Dataset({"y": ("obs", y)})

    def start(self, rng: np.random.Generator, data: xr.Dataset) -> Values:
        return {"phi": jnp.asarray(rng.normal())}

    def numpyro(self, data: xr.Dataset) -> None:
        y = jnp.asarray(data["y"].data)
        phi = numpyro.sample("phi", dist.Normal(0.0, 1.0))
        if self.kind == "no plate":
            numpyro.sample("y", dist.Normal(0.0 * phi, 1.0), obs=y)
            return
        of = jnp.concatenate([jnp.zeros(1), y[:-1]])
        if self.kind == "covariate":
            of = jnp.asarray(data["x"].data)
        with numpyro.plate("obs", y.shape[0]):
            numpyro.sample("y", dist.Normal(phi * of, 1.0), obs=y)

    def pymc(self, data: xr.Dataset) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize("kind", ["autoregression", "covariate", "no plate"])
def test_a_program_that_cannot_draw_its_data_draws_none(kind: Any) -> None:
    model = Odd(kind)
    sets = batch(model, 2, range(2)).sets
    rng = np.random.default_rng(np.random.SeedSequence(SEED, spawn_key=(2, 1, 0)))
    assert sets[1].identical(model.simulate(rng, model.truth, 2))


def test_a_single_set_of_integers_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_simulated, "_draws", lambda *_: False)
    _simulated._sampler.cache_clear()
    assert batch(Counts(), 12, [4]).varying == ("y",)
    _simulated._sampler.cache_clear()


def test_sets_of_another_type_or_shape_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    right, made = RandomEffects.simulate, []
    for change in (lambda data: data.astype(int), lambda data: data.isel(obs=slice(1, None))):

        def simulate(self: RandomEffects, *arguments: Any, change: Any = change) -> xr.Dataset:
            data = right(self, *arguments)
            made.append(data)
            return change(data) if len(made) % 2 == 0 else data

        monkeypatch.setattr(RandomEffects, "simulate", simulate)
        with pytest.raises(ModelError, match="expected the same types and shapes"):
            batch(RandomEffects("unknown"), 12, range(3))


@pytest.mark.parametrize("model", [MIXTURE, Gaussian()])
def test_the_batch_changes_no_number(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fits(model, 150, 8)
    for module, size in (
        (_everywhere, "BATCH"),
        (_replicates, "_FORMULAS"),
        (_simulated, "_MOST"),
    ):
        monkeypatch.setattr(module, size, 3)
    for indices, backend in ((range(8), "cpu"), (range(5, 8), "cpu"), ((6, 2), "gpu")):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        parts = replicate(model, batch(model, 150, indices))
        assert parts.converged.all()
        chosen = list(indices)
        np.testing.assert_allclose(parts.estimate, whole.estimate[chosen], rtol=1e-9)
        np.testing.assert_allclose(parts.standard_error, whole.standard_error[chosen], rtol=1e-9)


@final
@dataclass(frozen=True)
class Untraceable(Model):
    """Reads its data into NumPy inside the program."""

    name: ClassVar[str] = "untraceable"

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return (Parameter("mu", "real"),)

    @property
    def truth(self) -> Values:
        return {"mu": jnp.asarray(0.0)}

    def simulate(self, rng: np.random.Generator, values: Values, n: int) -> xr.Dataset:
        return xr.Dataset({"y": ("obs", rng.normal(float(values["mu"]), 1.0, n))})

    def start(self, rng: np.random.Generator, data: xr.Dataset) -> Values:
        return {"mu": jnp.asarray(rng.normal())}

    def numpyro(self, data: xr.Dataset) -> None:
        mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
        y = np.sort(np.asarray(data["y"].data))
        with numpyro.plate("obs", y.size):
            numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)

    def pymc(self, data: xr.Dataset) -> Any:
        raise NotImplementedError


@final
@dataclass(frozen=True)
class Counts(Model):
    """Poisson counts with a known exposure that is the same in every data set; both integers."""

    name: ClassVar[str] = "counts"

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return (Parameter("rate", "positive"),)

    @property
    def truth(self) -> Values:
        return {"rate": jnp.asarray(2.0)}

    def simulate(self, rng: np.random.Generator, values: Values, n: int) -> xr.Dataset:
        exposure = np.arange(n) % 3 + 1
        y = rng.poisson(float(values["rate"]) * exposure)
        return xr.Dataset({"y": ("obs", y), "exposure": ("obs", exposure)})

    def start(self, rng: np.random.Generator, data: xr.Dataset) -> Values:
        return {"rate": jnp.asarray(rng.uniform(0.5, 5.0))}

    def numpyro(self, data: xr.Dataset) -> None:
        rate = numpyro.sample("rate", dist.Gamma(2.0, 1.0))
        with numpyro.plate("obs", data["y"].size):
            mean = rate * jnp.asarray(data["exposure"].data)
            numpyro.sample("y", dist.Poisson(mean), obs=jnp.asarray(data["y"].data))

    def pymc(self, data: xr.Dataset) -> Any:
        raise NotImplementedError


def test_counts_vary_between_replicates_too() -> None:
    model = Counts()
    sets = batch(model, 12, range(6))
    assert sets.varying == ("y",)
    exact = [float(data["y"].sum() / data["exposure"].sum()) for data in sets.sets]
    found = replicate(model, sets)
    # a Newton decrement is the distance left, in standard errors, to first order
    short = 1.01 * STATIONARY * found.standard_error[:, 0]
    assert (np.abs(found.estimate[:, 0] - exact) <= short).all()
    # alone, a set's counts look fixed; another one must not be taken for it
    for index in (0, 1):
        alone = replicate(model, batch(model, 12, [index])).estimate[0, 0]
        assert abs(alone - exact[index]) <= short[index]


def test_a_replicate_that_ends_on_the_boundary_has_not_converged() -> None:
    model, values = RandomEffects(), {"mu": jnp.asarray(4.0), "tau": jnp.asarray(0.3)}
    sets = simulated(model, values, 20, range(150), SEED)
    found = replicate(model, sets)
    mode, _, fine = climbed(model, sets, found.u, "joint")
    at_mode = _replicates.flat_quantities(model, sets, mode)
    tau = [p.name for p in quantity_table(model)].index("tau")
    for end, converged in ((found.estimate, found.converged), (at_mode, fine)):
        smallest = np.array([data["sigma"].data.min() for data in sets.sets])
        on_boundary = end[:, tau] < 1e-3 * smallest
        # the truth is a tenth of the standard errors: the variance is 0 for about half of the sets
        assert 0.3 < on_boundary.mean() < 0.8
        assert not (on_boundary & converged).any()
        # of the others, only those are left out whose τ the data do not tell from 0
        left = ~on_boundary & ~converged
        assert left.mean() < 0.05
        assert (end[left, tau] < 0.15).all()
    summary = Moments.of(np.where(found.converged[:, None], found.estimate, np.nan))
    assert summary.left_out == (~found.converged).sum()


def test_a_program_that_cannot_be_traced_is_refused() -> None:
    with pytest.raises(FitError, match="untraceable cannot be fitted to many data sets at once"):
        fits(Untraceable(), 10, 3)


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("factor", "outcomes"),
    [(1.0, {"AGREE"}), (1.1, {"UNSURE", "EXPLAINED", "DIFFER"}), (1.25, {"DIFFER"})],
)
def test_standard_errors_that_are_too_large_are_caught(
    factor: float, outcomes: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def planted(model: Model, batch: Batch) -> Replicates:
        found = fits(model, batch.n, batch.count)
        return found._replace(standard_error=factor * found.standard_error)

    monkeypatch.setattr(cramer_rao, "replicate", planted)
    model = Gaussian()
    data = model.simulate(np.random.default_rng(0), model.truth, 50)
    verdicts = cramer_rao.repeated_sampling(Case(model, data, methods=(ClosedForm(),)))
    last = cramer_rao.LADDER[-1]
    found = [
        v.outcome for v in verdicts if v.about.startswith("mean standard error") and v.n == last
    ]
    assert len(found) == 2
    assert set(found) <= outcomes


@final
@dataclass(frozen=True)
class Rate(Model):
    """Exponential waiting times: one parameter, whose bound is rate²/N."""

    name: ClassVar[str] = "rate"

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return (Parameter("rate", "positive"),)

    @property
    def truth(self) -> Values:
        return {"rate": jnp.asarray(0.5)}

    def simulate(self, rng: np.random.Generator, values: Values, n: int) -> xr.Dataset:
        return xr.Dataset({"y": ("obs", rng.exponential(1 / float(values["rate"]), n))})

    def start(self, rng: np.random.Generator, data: xr.Dataset) -> Values:
        return {"rate": jnp.asarray(rng.uniform(0.5, 2) / float(data["y"].mean()))}

    def numpyro(self, data: xr.Dataset) -> None:
        rate = numpyro.sample("rate", dist.Gamma(2.0, 1.0))
        y = jnp.asarray(data["y"].data)
        with numpyro.plate("obs", y.shape[0]):
            numpyro.sample("y", dist.Exponential(rate), obs=y)

    def pymc(self, data: xr.Dataset) -> Any:
        raise NotImplementedError


@pytest.mark.statistical
def test_one_parameter_meets_its_bound() -> None:
    model = Rate()
    data = model.simulate(np.random.default_rng(0), model.truth, 50)
    case = Case(model, data, profile="quick", methods=(MaximumLikelihood(),))
    for sampling in cramer_rao.ladder(case):
        errors, bound = sampling.errors, sampling.bound
        # no closed form is declared and the density jumps at 0, so the bound is simulated
        assert 0 < bound.uncertain[0] < 0.03
        rate = pytest.approx(0.25 / sampling.n, rel=3.3 * bound.uncertain[0])
        assert bound.covariance[0, 0] == rate
        # the mean of 1/ȳ is N/(N − 1) times the rate; false alarm 1e-3
        assert abs(errors.mean[0] - 0.5 / (sampling.n - 1)) < 3.3 * errors.error[0]
    found = {row.about.split(" / ")[0]: row.outcome for row in cramer_rao.repeated_sampling(case)}
    # the error of a simulated bound may leave one statement open at this size
    assert {about for about, outcome in found.items() if outcome != "AGREE"} <= {"Var(rate)"}
    assert set(found.values()) <= {"AGREE", "UNSURE"}
