"""Studies of a user's own programs, and classes of which most is left out."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest
import xarray as xr
from scipy.stats import multivariate_normal, norm

import concord as cc
from comparisons.replicated.moments import Moments
from comparisons.runs.batches import description, from_spec, spec
from comparisons.runs.plan import model_spec, studied_model
from comparisons.runs.settings import CaseSettings
from comparisons.store.keys import canonical, digest
from comparisons.studies import Setting, coverage
from inference.replicates.fits import replicate, standard_errors
from inference.replicates.simulated import simulated
from models.programs.adopted.sizes import resized
from models.programs.density import density, units

pytestmark = pytest.mark.usefixtures("unoptimised")

RNG = np.random.default_rng(1)
FRAME = pd.DataFrame({"x": RNG.normal(size=40)})
FRAME["y"] = RNG.poisson(np.exp(0.5 + 0.4 * FRAME.x))
TRUTH = {"a": 0.5, "b": 0.4}
SETS = 400


def counts(x, y=None) -> None:
    a = numpyro.sample("a", dist.Normal(0, 1))
    b = numpyro.sample("b", dist.Normal(0, 1))
    numpyro.sample("y", dist.Poisson(jnp.exp(a + b * x)), obs=y)


def build_counts(x, y) -> Any:
    import pymc as pm

    with pm.Model() as model:
        a, b = pm.Normal("a", 0, 1), pm.Normal("b", 0, 1)
        pm.Poisson("y", pm.math.exp(a + b * x), observed=y)
    return model


def groups(g, y=None) -> None:
    mu = numpyro.sample("mu", dist.Normal(0, 3))
    tau = numpyro.sample("tau", dist.HalfNormal(2))
    with numpyro.plate("group", len(np.unique(g))):
        a = numpyro.sample("a", dist.Normal(mu, tau))
    numpyro.sample("y", dist.Normal(a[g], 0.5), obs=y)


@dataclass(frozen=True)
class Counts(cc.Model):
    def numpyro(self, data) -> None:
        counts(jnp.asarray(data["x"].data), data["y"].data)


class Built(cc.Model):
    def pymc(self, data) -> Any:
        return build_counts(data["x"].data, data["y"].data)


class Both(Built):
    truth = TRUTH

    def numpyro(self, x, y=None) -> None:
        counts(x, y)


def studied(**programs: Any) -> Any:
    adopted = cc.adopt(**programs, data=FRAME)
    return adopted.known_as("counts", "test", TRUTH)


# --- data of another size -------------------------------------------------------------------------


def test_every_row_comes_equally_often_and_ladders_are_nested() -> None:
    unit, arrays = np.arange(7), {"x": np.arange(7.0), "n": np.asarray(7)}
    found = {n: resized(arrays, unit, n, ())[0] for n in (3, 5, 14)}
    assert set(found[3]["x"]) < set(found[5]["x"])
    assert np.array_equal(found[14]["x"], np.repeat(arrays["x"], 2))
    assert [int(one["n"]) for one in found.values()] == [3, 5, 14]


def test_a_group_that_is_taken_again_is_another_one() -> None:
    unit = np.array([0, 0, 1, 2, 2, 2])
    arrays = {"g": unit, "size": np.array([2.0, 1.0, 3.0]), "k": np.asarray(3)}
    found = resized(arrays, unit, 6, (3,))[0]
    assert np.array_equal(np.bincount(found["g"]), [2, 2, 1, 1, 3, 3])
    assert np.array_equal(found["size"], [2, 2, 1, 1, 3, 3])
    assert found["k"] == 6


@pytest.mark.parametrize("language", ["numpyro", "pymc"])
def test_data_are_drawn_at_the_truth_and_depend_on_nothing_but_their_number(language: str) -> None:
    model = studied(**{language: counts if language == "numpyro" else build_counts})
    batch = simulated(model, model.truth, 80, range(SETS), 0)
    mean = np.exp(0.5 + 0.4 * batch.template["x"].data)
    z = (batch.stacked["y"].mean(axis=0) - mean) / np.sqrt(mean / SETS)
    # 80 standard normal numbers: none beyond 4.5 but once in 2,000 runs
    assert np.abs(z).max() < 4.5
    alone = simulated(model, model.truth, 80, [17], 0)
    assert np.array_equal(alone.stacked["y"][0], batch.stacked["y"][17])


def test_sites_have_noise_of_their_own() -> None:
    def two(y, w) -> None:
        a = numpyro.sample("a", dist.Normal(0, 1))
        numpyro.sample("y", dist.Normal(a, 1), obs=y)
        numpyro.sample("w", dist.Normal(a, 1), obs=w)

    adopted = cc.adopt(numpyro=two, data={"y": np.zeros(1), "w": np.zeros(1)})
    drawn = adopted.adopted.named.draws(np.arange(2_000), {})
    noise = (drawn[name][:, 0] - drawn["a"] for name in ("y", "w"))
    # correlations of 2,000 independent pairs have sd 0.022
    assert np.abs(np.corrcoef([drawn["a"], *noise]) - np.eye(3)).max() < 0.1


# --- studies --------------------------------------------------------------------------------------


def test_wald_intervals_cover_unless_they_are_half_as_wide() -> None:
    model = studied(numpyro=counts)
    setting = Setting(model, 0)
    batch = setting.batch(80, range(SETS))
    fits = replicate(model, batch)
    errors = standard_errors(model, batch, fits)
    half = norm.ppf(0.95) * errors["observed"]
    away = np.abs(fits.estimate - setting.truth)
    assert fits.converged.all()
    for width, covers in ((1.0, 0.9), (0.5, 2 * norm.cdf(0.5 * norm.ppf(0.95)) - 1)):
        # binomial, five standard errors, and 0.01 for the departure of order 1/N
        bound = 5 * np.sqrt(covers * (1 - covers) / SETS) + 0.01
        np.testing.assert_allclose((away <= width * half).mean(axis=0), covers, atol=bound)


def test_a_wrong_simulator_is_caught() -> None:
    class Wrong(Both):
        def simulate(self, rng, values, n):
            x = np.resize(FRAME.x, n)
            rate = np.exp(float(values["a"]) + 1.5 * float(values["b"]) * x)
            return xr.Dataset({"x": ("row", x), "y": ("row", rng.poisson(rate))})

    from models.programs.adopted.classes import adopt_class

    model = adopt_class(Wrong(), FRAME)
    batch = simulated(model, model.truth, 80, range(SETS), 0)
    fits = replicate(model, batch)
    error = fits.estimate - Setting(model, 0).truth
    z = error.mean(axis=0) / (error.std(axis=0) / np.sqrt(SETS))
    assert abs(z[1]) > 20


def test_group_likelihoods_are_exact_and_groups_are_the_units() -> None:
    g = np.array([0, 0, 0, 1, 1, 2, 3, 3, 3, 3])
    y = np.random.default_rng(0).normal(size=10)
    model = cc.adopt(numpyro=groups, data={"g": g, "y": y}, latent=("a",))
    values = {"mu": jnp.asarray(0.3), "tau": jnp.asarray(0.8)}
    made = model.simulate(np.random.default_rng(0), values, 8)
    assert units(model, model.data) == 4
    assert units(model, made) == 8
    target = density(model, made)
    found = jax.jit(target.log_likelihood)(target.unconstrain(values))
    codes, seen = np.asarray(made["g"].data), np.asarray(made["y"].data)
    exact = [
        multivariate_normal(np.full(m, 0.3), 0.64 * np.ones((m, m)) + 0.25 * np.eye(m)).logpdf(
            seen[codes == k]
        )
        for k, m in enumerate(np.bincount(codes))
    ]
    np.testing.assert_allclose(found, exact, rtol=1e-10)


def test_what_cannot_be_studied_is_refused_in_words() -> None:
    data = {"g": np.array([0, 0, 1, 1, 2, 2]), "y": np.arange(6.0)}
    truth = {"mu": 2.0, "tau": 1.0, "a": np.arange(3.0)}
    with pytest.raises(cc.FitError, match=r"latent=\('a',\)"):
        cc.study("coverage", numpyro=groups, data=data, truth=truth, n=6)
    with pytest.raises(cc.FitError, match="order"):
        cc.study("bic_consistency", numpyro=counts, data=FRAME, truth=TRUTH, n=40)


def test_what_needs_units_is_refused_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def joint(y=None) -> None:
        a = numpyro.sample("a", dist.Normal(0, 1))
        numpyro.sample("y", dist.Normal(a * jnp.ones(6), 1).to_event(1), obs=y)

    model = cc.adopt(numpyro=joint, data={"y": np.arange(6.0)})
    setting = Setting(model.known_as("joint", "test", {"a": 0.5}), 0)
    batch = setting.batch(6, range(8))
    errors = dict.fromkeys(("observed", "opg", "sandwich", "expected"), np.ones((8, 1)))
    monkeypatch.setattr(coverage, "standard_errors", lambda *_: errors)
    fits = SimpleNamespace(estimate=np.ones((8, 1)), converged=np.ones(8, bool))
    found = coverage._wald(setting, batch, cast("Any", fits))
    assert set(found) == {"wald[observed]", "wald[expected]"}
    verdicts = list(coverage.judge(setting, {6: {n: Moments.of(x) for n, x in found.items()}}))
    refused = {one.method: one.cause for one in verdicts if one.outcome == "NOT COMPARABLE"}
    assert set(refused) == {"wald[opg]", "wald[sandwich]", "bootstrap"}
    assert all(cause.endswith("use wald[observed] instead") for cause in refused.values())


def test_a_flat_prior_has_no_calibration_and_says_what_to_do() -> None:
    def flat(y=None) -> None:
        a = numpyro.sample("a", dist.ImproperUniform(dist.constraints.real, (), ()))
        numpyro.sample("y", dist.Normal(a, 1), obs=y)

    with pytest.raises(cc.FitError, match=r"prior of a is improper.*give it a proper"):
        cc.study("calibration", numpyro=flat, data={"y": np.arange(5.0)}, truth={"a": 2}, n=5)


def test_mistakes_name_what_is_valid() -> None:
    with pytest.raises(cc.ConfigError, match=r"truth: there is no 'aa'. Did you mean 'a'"):
        cc.study("coverage", numpyro=counts, data=FRAME, truth={"aa": 1.0})
    with pytest.raises(cc.ConfigError, match="a truth can be given for your own programs"):
        cc.study("coverage", cc.Gaussian(), truth={"mu": 1.0})
    built = cc.adopt(pymc=build_counts(FRAME.x.to_numpy(), FRAME.y.to_numpy()))
    with pytest.raises(cc.ModelError, match=r"hold their 40 rows.*n=\[40\]"):
        built.simulate(np.random.default_rng(0), TRUTH, 80)


PORT = """
import jax.numpy as jnp, numpyro, numpyro.distributions as dist

def model(x, y=None):
    a = numpyro.sample("a", dist.Normal(0, 1))
    b = numpyro.sample("b", dist.Normal(0, 1))
    numpyro.sample("y", dist.Poisson(jnp.exp(a + b * x)), obs=y)
"""


@pytest.fixture
def port(tmp_path: Path) -> tuple[str, str]:
    (tmp_path / "port.py").write_text(PORT)
    FRAME.to_csv(tmp_path / "mine.csv", index=False)
    return f"{tmp_path / 'port.py'}:model", str(tmp_path / "mine.csv")


def test_a_worker_makes_the_same_setting_of_a_users_files(port: tuple[str, str]) -> None:
    described = model_spec(CaseSettings(numpyro=port[0], data=port[1]))
    setting = Setting(studied_model(described, {"a": 0.3}), 7)
    module, other = from_spec(json.dumps(spec("coverage", described, setting)))
    # the mode of what was not given is not looked for again
    assert float(other.model.truth["b"]) == float(setting.model.truth["b"])
    assert description(module, other) == description(module, setting)
    elsewhere = Setting(studied_model(described, {"a": 0.4}), 7)
    assert description(module, elsewhere) != description(module, setting)


def test_what_is_integrated_out_and_which_function_it_is_are_in_the_key(tmp_path: Path) -> None:
    (tmp_path / "two.py").write_text(
        PORT + PORT.replace("def model", "def build").replace("1))", "2))")
    )
    FRAME.to_csv(tmp_path / "mine.csv", index=False)
    given = {"data": str(tmp_path / "mine.csv")}
    asked = [
        {"numpyro": f"{tmp_path / 'two.py'}:model"},
        {"numpyro": f"{tmp_path / 'two.py'}:build"},
        {"numpyro": f"{tmp_path / 'two.py'}:model", "latent": ("a",)},
    ]
    models = [studied_model(model_spec(CaseSettings(**given, **one))) for one in asked]
    assert len({digest(canonical(model)) for model in models}) == 3


def test_the_command_line_studies_a_users_files(
    concord: Any, port: tuple[str, str], tmp_path: Path
) -> None:
    program, data = port
    asked = ("study", "asymptotics", "--numpyro", program, "--data", data, "--replicates", "100")
    code, page, told = concord(*asked, "--n", "40", "--truth", "a=0.5", "--jobs", "1", "--out", "o")
    assert code == 0, told
    assert "100 data sets at each N" in told
    *rows, last = page.splitlines()
    assert last == str(tmp_path / "o" / "study-asymptotics-model.html")
    assert any(re.match(r"[A-Z]+ +.* of a.*; expected ", row) for row in rows), rows
    assert (tmp_path / "o" / "study.csv").is_file()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("coverage",), "name a model, such as gaussian, or your own programs"),
        (("coverage", "--model", "gaussian", "--truth", "mu=1"), "is studied at its own"),
        (("coverage", "--model", "gaussian", "--truth", "mu"), "--truth mu: expected NAME=VALUE"),
        (("theory", "--data", "mine.csv", "--set", "k=2"), "--data is not for the study theory"),
    ],
)
def test_what_cannot_be_studied_from_the_command_line_says_what_to_type(
    concord: Any, arguments: tuple[str, ...], told: str
) -> None:
    code, _, message = concord("study", *arguments)
    assert code == 2
    assert told in message


# --- classes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [Counts, Built])
def test_one_program_is_a_class(cls: Any) -> None:
    found = cc.check(cls(), FRAME)
    assert found.passed, found
    assert cls().name == cls.__name__.lower()


def test_a_class_is_compared_and_its_truth_is_taken() -> None:
    methods = (cc.MaximumLikelihood("numpyro", restarts=2),)
    found = cc.compare(Both(), FRAME, methods=methods, claims=["same_model"])
    with jax.enable_x64():
        fit = found[methods[0]]
        assert {n: float(x) for n, x in found.case.model.truth.items()} == TRUTH
    rate = np.exp(float(fit.location.value["a"]) + float(fit.location.value["b"]) * FRAME.x)
    # the scores of a Poisson regression are zero at its maximum
    np.testing.assert_allclose([sum(FRAME.y - rate), sum(FRAME.x * (FRAME.y - rate))], 0, atol=1e-4)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (FRAME.rename(columns={"x": "xx"}), r"Did you mean 'xx'.*Name the column so: data="),
        (FRAME.y.to_numpy(), 'data={"y": y}'),
        (None, "--data mine.csv"),
    ],
)
def test_data_without_a_name_end_with_what_to_type(data: Any, message: str) -> None:
    with pytest.raises(cc.ConfigError, match=message):
        cc.compare(Counts(), data)
