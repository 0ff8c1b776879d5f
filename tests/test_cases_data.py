"""Data as they are: counts, 0/1 outcomes, labels and covariates give the right values.

Right values are formulas, least squares, statsmodels, or what NumPy says of an index.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, final

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import polars as pl
import pytest
import xarray as xr

import concord as cc
from comparisons.report import draws
from comparisons.report.figures import model as figures
from comparisons.runs.check import stages
from models.data.dataset import as_dataset
from models.data.undefined import undefined
from models.programs.support import beyond, outside_support
from models.spec import Model, Parameter, Values

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pymc as pm

CALLS = np.array([18, 9, 27, 15, 22, 12, 31, 18, 25, 13, 20, 10])
"""Counts with gaps, whose ranks 0 … 10 would also be counts."""


@final
@dataclass(frozen=True)
class Rate(Model):
    """Poisson counts with a Gamma(2, 0.1) prior: the posterior is Gamma(2 + Σx, 0.1 + n)."""

    name: ClassVar[str] = "rate"
    parameters: ClassVar[tuple[Parameter, ...]] = (Parameter("rate", "positive"),)

    @property
    def truth(self) -> Values:
        return {"rate": jnp.asarray(6.0)}

    def simulate(self, rng: np.random.Generator, values: Values, n: int) -> xr.Dataset:
        return xr.Dataset({"x": ("obs", rng.poisson(float(values["rate"]), n))})

    def start(self, rng: np.random.Generator, data: xr.Dataset) -> Values:
        return {"rate": jnp.asarray((data["x"].data.mean() + 0.5) * rng.uniform(0.7, 1.4))}

    def numpyro(self, data: xr.Dataset) -> None:
        x = jnp.asarray(data["x"].data)
        rate = numpyro.sample("rate", dist.Gamma(2.0, 0.1))
        with numpyro.plate("obs", x.shape[0]):
            numpyro.sample("x", dist.Poisson(rate), obs=x)

    def pymc(self, data: xr.Dataset) -> pm.Model:
        import pymc as pm

        with pm.Model() as program:
            rate = pm.Gamma("rate", 2.0, 0.1)
            pm.Poisson("x", rate, observed=data["x"].data)
        return program


@final
@dataclass(frozen=True)
class Slopes(Model):
    """An outcome on two covariates: normal with an error of its own, or 0/1 by its log odds."""

    binary: bool = False
    whole: bool = True

    name: ClassVar[str] = "slopes"
    free_dims: ClassVar[tuple[str, ...]] = ("predictor",)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        both = (Parameter("alpha", "real"), Parameter("beta", "real", ("predictor",)))
        return both if self.binary else (*both, Parameter("sigma", "positive"))

    @property
    def truth(self) -> Values:
        both = {"alpha": jnp.asarray(0.3), "beta": jnp.asarray([-1.0, 1.0])}
        return both if self.binary else {**both, "sigma": jnp.asarray(0.8)}

    def simulate(self, rng: np.random.Generator, values: Values, n: int) -> xr.Dataset:
        x = rng.standard_normal((n, 2))
        mean = float(values["alpha"]) + x @ np.asarray(values["beta"])
        if self.binary:
            y = (rng.random(n) < 1 / (1 + np.exp(-mean))).astype(int if self.whole else float)
        else:
            y = rng.normal(mean, float(values["sigma"]))
        return xr.Dataset({"y": ("obs", y), "x": (("obs", "predictor"), x)})

    def start(self, rng: np.random.Generator, data: xr.Dataset) -> Values:
        near = {"alpha": jnp.asarray(rng.normal()), "beta": jnp.asarray(rng.standard_normal(2))}
        scale = 2 * data["y"].data.std()
        return near if self.binary else {**near, "sigma": jnp.asarray(scale * rng.uniform(0.8, 1))}

    def numpyro(self, data: xr.Dataset) -> None:
        x, y = jnp.asarray(data["x"].data), jnp.asarray(data["y"].data)
        alpha = numpyro.sample("alpha", dist.Normal(0.0, 50.0))
        with numpyro.plate("predictor", 2):
            beta = numpyro.sample("beta", dist.Normal(0.0, 50.0))
        mean = alpha + x @ beta
        law: Any = dist.BernoulliLogits(mean)
        if not self.binary:
            law = dist.Normal(mean, numpyro.sample("sigma", dist.HalfNormal(50.0)))
        with numpyro.plate("obs", y.shape[0]):
            numpyro.sample("y", law, obs=y)

    def pymc(self, data: xr.Dataset) -> pm.Model:
        import pymc as pm

        with pm.Model() as program:
            beta = pm.Normal("beta", 0.0, 50.0, shape=2)
            mean = pm.Normal("alpha", 0.0, 50.0) + pm.math.dot(data["x"].data, beta)
            if self.binary:
                pm.Bernoulli("y", logit_p=mean, observed=data["y"].data)
            else:
                pm.Normal("y", mean, pm.HalfNormal("sigma", 50.0), observed=data["y"].data)
        return program


@final
@dataclass(frozen=True)
class Districts(Model):
    """Rows of several districts, each with an effect of its own.

    `first` is the number of the first district, as the program takes it.
    """

    districts: int = 3
    first: int = 0

    name: ClassVar[str] = "districts"

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return (Parameter("effect", "real", ("district",)),)

    @property
    def truth(self) -> Values:
        return {"effect": jnp.arange(self.districts) / 2.0}

    def simulate(self, rng: np.random.Generator, values: Values, n: int) -> xr.Dataset:
        district = np.arange(n) % self.districts
        y = rng.normal(np.asarray(values["effect"])[district])
        return xr.Dataset({"y": ("obs", y), "district": ("obs", district + self.first)})

    def start(self, rng: np.random.Generator, data: xr.Dataset) -> Values:
        return {"effect": jnp.asarray(rng.standard_normal(self.districts))}

    def numpyro(self, data: xr.Dataset) -> None:
        y, district = jnp.asarray(data["y"].data), data["district"].data - self.first
        with numpyro.plate("district", self.districts):
            effect = numpyro.sample("effect", dist.Normal(0.0, 10.0))
        with numpyro.plate("obs", y.shape[0]):
            numpyro.sample("y", dist.Normal(effect[district], 1.0), obs=y)

    def pymc(self, data: xr.Dataset) -> pm.Model:
        import pymc as pm

        district = data["district"].data - self.first
        with pm.Model() as program:
            effect = pm.Normal("effect", 0.0, 10.0, shape=self.districts)
            pm.Normal("y", effect[district], 1.0, observed=data["y"].data)
        return program


@cache
def covariates() -> pd.DataFrame:
    """An outcome and a 0/1 outcome, on two named covariates."""
    rng = np.random.default_rng(5)
    age, dose = rng.uniform(30, 70, 120).round(), rng.uniform(0, 8, 120).round(2)
    bp = (95 + 0.5 * age + 2 * dose + rng.normal(0, 6, 120)).round(1)
    ill = (rng.random(120) < 1 / (1 + np.exp(-(dose - 4) - (age - 50) / 20))).astype(int)
    return pd.DataFrame({"bp": bp, "ill": ill, "age": (age - 50) / 10, "dose": dose - 4})


DISTRICTS = {"y": np.arange(8) / 4, "district": ["Ely", "Bath", "York", "Ely"] * 2}


# --- numbers stay numbers -----------------------------------------------------------------------


def test_counts_with_gaps_have_their_own_mean() -> None:
    methods = (cc.MaximumLikelihood(restarts=2), cc.MaximumLikelihood("pymc", restarts=2))
    found = cc.compare(Rate(), CALLS, methods=methods, claims=("same_maximum",))
    assert set(found.verdicts()["verdict"]) == {"AGREE"}
    for method in methods:
        row = found[method].scalars("rate")["rate"]
        assert row.location == pytest.approx(CALLS.mean(), rel=1e-9)
        assert row.sd == pytest.approx(np.sqrt(CALLS.mean() / CALLS.size), rel=1e-6)


def test_the_posterior_of_counts_is_the_conjugate_one() -> None:
    (row,) = cc.compare(Rate(), CALLS, methods=(cc.NUTS(),), claims=("same_model",)).table().values
    shape, rate = 2.0 + CALLS.sum(), 0.1 + CALLS.size
    # two numbers at 5 standard errors: a false alarm in a million
    assert abs(row[0] - shape / rate) < 5 * row[1]
    assert abs(row[2] - np.sqrt(shape) / rate) < 5 * row[3]


@pytest.mark.parametrize(
    "counts",
    [
        CALLS,
        CALLS.astype("uint8"),
        CALLS.astype(float),
        CALLS.tolist(),
        pd.Series(CALLS, dtype="Int64"),
        pl.Series("calls", CALLS),
        xr.DataArray(CALLS, dims="obs"),
    ],
)
def test_whole_numbers_stay_what_they_are(counts: Any) -> None:
    data = as_dataset(counts, Rate())
    assert data["x"].dtype == np.int64
    assert data["x"].values.tolist() == CALLS.tolist()
    assert as_dataset(data, Rate()).identical(data)


@pytest.mark.parametrize(
    ("column", "told"),
    [
        (["3", "4", "3"], "text such as '3' in row 0"),
        (["Ely", "York", "Ely"], "cc.groups(df['calls'])"),
        (["Ely", "York", "Ely"], "group_variables = ('x',)"),
        (pd.Categorical(["Ely", "York", "Ely"]), "cc.groups(df['calls'])"),
        ([True, False, True], "truth values"),
        (pd.to_datetime(["2024-01-01"] * 3), "dates"),
        ([1, None, 3], "1 missing value"),
    ],
)
def test_what_is_no_number_is_refused_by_name(column: Any, told: str) -> None:
    with pytest.raises(cc.DataError, match="column 'calls'") as caught:
        as_dataset(pd.DataFrame({"calls": column}), Rate())
    assert told in str(caught.value)


def test_a_fraction_stays_one_and_no_program_of_counts_drew_it() -> None:
    data = as_dataset([1.0, 2.5, 3.0], Rate())
    assert data["x"].values.tolist() == [1.0, 2.5, 3.0]
    assert "x is outside of the support of rate in 1 of 3 rows, row 1" in outside_support(
        Rate(), data
    )


def test_a_count_beside_a_covariate_is_no_group() -> None:
    """Nor is maximum likelihood undefined because every count is another one."""
    y = np.arange(12)
    frame = {"y": y % 2, "x": np.column_stack([y, y**2])}
    data = as_dataset(frame, Slopes(binary=True))
    assert data["y"].values.tolist() == (y % 2).tolist()
    assert undefined(data, Slopes(binary=True)) == ""


# --- labels where the model asks for them -------------------------------------------------------


@pytest.mark.parametrize(
    "labels",
    [
        ["York", "Ely", "York", "Bath"],
        np.array(["York", "Ely", "York", "Bath"]),
        pd.Series(["York", "Ely", "York", "Bath"], name="district"),
        pd.Series(["York", "Ely", "York", "Bath"], dtype="category"),
        pl.Series("district", ["York", "Ely", "York", "Bath"]),
    ],
)
def test_groups_are_numbered_in_sorted_order(labels: Any) -> None:
    found = cc.groups(labels)
    assert found.values.tolist() == [2, 1, 2, 0]
    assert found.coords["label"].values.tolist() == ["York", "Ely", "York", "Bath"]
    assert found.dims == ("obs",)


def test_groups_keep_numbers_and_rows() -> None:
    found = cc.groups(pd.Series([30, 10, 30], index=list("abc"), name="site"))
    assert found.values.tolist() == [1, 0, 1]
    assert found.coords["label"].values.tolist() == [30, 10, 30]
    assert found.coords["obs"].values.tolist() == ["a", "b", "c"]
    with pytest.raises(cc.DataError, match="1 missing value in row 1"):
        cc.groups(["a", None])
    with pytest.raises(cc.DataError, match=r"2 columns.*cc\.groups\(df\['county'\]\)"):
        cc.groups(pd.DataFrame({"a": [1], "b": [2]}))


def test_labels_number_the_dimension_that_they_name() -> None:
    plain = as_dataset(DISTRICTS, Districts())
    numbered = as_dataset(DISTRICTS | {"district": cc.groups(DISTRICTS["district"])}, Districts())
    assert plain["district"].values.tolist() == [1, 0, 2, 1] * 2
    assert plain.coords["district_label"].values.tolist() == ["Bath", "Ely", "York"]
    assert numbered.identical(plain)
    assert as_dataset(plain, Districts()).identical(plain)


def test_codes_that_groups_made_go_where_no_label_may() -> None:
    codes = cc.groups(["a", "c", "b", "a"])
    data = as_dataset({"x": codes}, Rate())
    assert data["x"].values.tolist() == [0, 2, 1, 0]
    assert data.coords["x_label"].values.tolist() == ["a", "b", "c"]


def test_a_model_that_groups_rows_by_label_says_so() -> None:
    model = cc.RandomEffects(within="unknown")
    for labels in ([20, 10, 20, 10], ["b", "a", "b", "a"]):
        data = as_dataset({"y": [1.0, 2.0, 3.0, 4.0], "group": labels}, model)
        assert data["group"].values.tolist() == [1, 0, 1, 0]
        assert data.coords["group_label"].values.tolist() == sorted(set(labels))


def test_estimates_go_by_the_labels() -> None:
    method = cc.MaximumLikelihood(restarts=1)
    fit = cc.compare(Districts(), DISTRICTS, methods=(method,), claims=("same_model",))[method]
    y, district = np.asarray(DISTRICTS["y"]), np.asarray(DISTRICTS["district"])
    for name in ("Bath", "Ely", "York"):
        found = fit.scalars("effect")[f"effect[{name}]"].location
        assert found == pytest.approx(y[district == name].mean(), abs=1e-8)


# --- indices beyond what they index -------------------------------------------------------------


def test_more_labels_than_the_model_has_are_refused_by_name() -> None:
    data = as_dataset(DISTRICTS, Districts(2))
    told = beyond(Districts(2), data)
    assert told.startswith("district goes from 0 to 2, beyond the 2 values (0 … 1)")
    assert "in rows 2, 6 (counted from 0)" in told
    assert "give the model 3" in told
    assert beyond(Districts(3), as_dataset(DISTRICTS, Districts(3))) == ""
    with pytest.raises(cc.DataError, match="district goes from 0 to 2"):
        cc.compare(Districts(2), DISTRICTS, methods=())
    with pytest.raises(cc.DataError, match="data: district goes from 0 to 2"):
        list(stages(Districts(2), data, 0))


@pytest.mark.parametrize(
    ("first", "numbers", "told"),
    [
        (0, [1, 2, 3, 1], "district goes from 1 to 3, beyond the 3 values"),
        (1, [1, 2, 3, 1], ""),
        (1, [1, 2, 4, 1], "the PyMC program takes element 3 of 3"),
    ],
)
def test_numbers_count_as_the_program_counts(first: int, numbers: list[int], told: str) -> None:
    model = Districts(3, first)
    data = as_dataset({"y": [0.0, 1.0, 2.0, 3.0], "district": numbers}, model)
    assert data["district"].values.tolist() == numbers
    found = beyond(model, data)
    assert found.startswith(told)
    assert bool(found) == bool(told)


@pytest.mark.parametrize("position", [-1, 0.5])
def test_what_is_no_position_is_refused(position: float) -> None:
    with pytest.raises(cc.DataError, match=f"district is {position:g} in row 1"):
        as_dataset({"y": [0.0, 1.0], "district": [0, position]}, Districts())


def test_the_command_refuses_before_anything_runs(tmp_path: Path, concord) -> None:
    pd.DataFrame(DISTRICTS).to_csv(tmp_path / "mine.csv", index=False)
    chosen = (f"{__file__}:Districts", "--set", "districts=2", "--data", "mine.csv")
    for command in ("check", "run"):
        code, _, errors = concord(command, *chosen)
        assert code == 2
        assert "district goes from 0 to 2" in errors
    assert not (tmp_path / "reports").exists()


# --- 0/1 outcomes and covariates, to the report -------------------------------------------------


def run(folder: Path, outcome: str, *options: str) -> Mapping[str, float]:
    """Exit code 0, a page, and the estimates of maximum likelihood by name."""
    covariates().to_csv(folder / "mine.csv", index=False)
    names = [part for name in (outcome, "age", "dose") for part in ("--column", name)]
    methods = ("--methods", "maximum_likelihood[numpyro],nuts[numpyro]", "--profile", "quick")
    places = ("--data", str(folder / "mine.csv"), "--out", str(folder / "out"), "--jobs", "1")
    model = f"{__file__}:Slopes"
    done = subprocess.run(
        [sys.executable, "-m", "comparisons", "run", model, *options, *names, *methods, *places],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(folder / "out" / "index.html")
    assert "error" not in done.stderr
    table = pd.read_csv(folder / "out" / "estimates.csv")
    mine = table[table["method"] == "maximum_likelihood[numpyro]"]
    return dict(zip(mine["parameter"], mine["estimate"], strict=True))


@pytest.mark.parametrize("whole", ["true", "false"])
def test_a_binary_outcome_has_a_report(whole: str, tmp_path: Path) -> None:
    from statsmodels.api import Logit, add_constant

    chosen = ("--set", "binary=true", "--set", f"whole={whole}", "--only", "posterior_agreement")
    found = run(tmp_path, "ill", *chosen)
    frame = covariates()
    right = Logit(frame["ill"], add_constant(frame[["age", "dose"]])).fit(disp=0).params
    for name, place in (("alpha", "const"), ("beta[age]", "age"), ("beta[dose]", "dose")):
        assert found[name] == pytest.approx(right[place], rel=1e-6)
    page = next((tmp_path / "out").glob("slopes-mine*.html")).read_text()
    assert "Distribution function of the data" in page


def test_a_regression_names_its_coefficients_and_exits_with_0(tmp_path: Path) -> None:
    found = run(tmp_path, "bp", "--only", "cramer_rao,same_maximum")
    frame = covariates()
    design = np.column_stack([np.ones(len(frame)), frame[["age", "dose"]]])
    right, (rest,), *_ = np.linalg.lstsq(design, frame["bp"])
    wanted = {"alpha": right[0], "beta[age]": right[1], "beta[dose]": right[2]}
    assert found == pytest.approx(wanted | {"sigma": np.sqrt(rest / len(frame))}, rel=1e-6)


def test_figures_of_counts_are_distribution_functions() -> None:
    rng = np.random.default_rng(0)
    for observed in (rng.poisson(9.0, 40), rng.integers(0, 2, 40).astype(float)):
        replicated = {"x": rng.permuted(np.tile(observed, (100, 1)), axis=1)}
        replicates = draws.Replicates({"x": observed}, replicated, "nuts")
        picture = figures.predictive(replicates)
        assert picture is not None
        assert picture.alt.startswith("Distribution function")
