"""The public face in a notebook: `cc.compare` in a process whose JAX is in float32."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import concord as cc
from comparisons.claims import cramer_rao
from inference.replicates.fits import replicate

ROOT = Path(__file__).parents[1]
Y = np.random.default_rng(3).normal(3.0, 2.0, 60)


@pytest.fixture(scope="module")
def found() -> cc.Comparison:
    methods = (cc.MaximumLikelihood(restarts=2), cc.MaximumLikelihood("pymc", restarts=2))
    return cc.compare(cc.Gaussian(), Y, methods=methods, claims=("same_maximum",))


def test_a_table_has_a_row_for_each_method_and_parameter(found: cc.Comparison) -> None:
    table = found.table()
    assert len(table) == 4
    mean = table.loc[("maximum_likelihood[numpyro]", "mu")]
    assert mean["mean"] == pytest.approx(Y.mean(), rel=1e-9)
    assert mean["sd"] == pytest.approx(Y.std() / np.sqrt(Y.size), rel=1e-7)
    assert "maximum_likelihood[pymc]" in found._repr_html_()


def test_verdicts_are_rows_of_the_claims_asked_for(found: cc.Comparison) -> None:
    verdicts = found.verdicts()
    assert set(verdicts["claim"]) == {"same_model", "same_maximum"}
    assert set(verdicts["verdict"]) == {"AGREE"}
    assert f"{len(verdicts)} AGREE" in repr(found)


def test_an_estimate_is_found_by_its_method_or_its_label(found: cc.Comparison) -> None:
    method = found.case.methods[1]
    assert found[method] is found["maximum_likelihood[pymc]"]
    assert found[method] is found[cc.MaximumLikelihood("pymc")]
    assert found["maximum_likelihood"] is found["maximum_likelihood[numpyro]"]
    with pytest.raises(cc.ConfigError, match=r"Did you mean 'maximum_likelihood\[pymc\]'"):
        found["maximum_likelihood[pymcs]"]
    with pytest.raises(cc.ConfigError, match="no draws"):
        found.idata(method)
    with pytest.raises(cc.ConfigError, match="no method has draws to plot"):
        found.plot()
    wrong: Any = 3
    for ask in (found.__getitem__, lambda one: found.distances(one, one)):
        with pytest.raises(cc.ConfigError, match=r"a method is 3; expected its name"):
            ask(wrong)


@pytest.mark.parametrize("wrong", [[1], np.array([1, 2]), {}, b"x", None, np.array(3)])
def test_what_is_no_method_or_directory_is_refused_in_words(
    found: cc.Comparison, wrong: Any
) -> None:
    for ask in (found.__getitem__, found.idata, lambda one: found.distances(one, one)):
        with pytest.raises(cc.ConfigError, match=r"a method is .*; expected its name"):
            ask(wrong)
    with pytest.raises(cc.ConfigError, match=r"out is .*; expected a directory"):
        found.report(wrong)
    for keyword in ("methods", "profile", "tolerance"):
        if keyword != "methods" or not (wrong is None or isinstance(wrong, dict)):
            with pytest.raises(cc.ConfigError, match=f"{keyword} (is|holds) .*; expected"):
                cc.compare(cc.Gaussian(), Y, **{"methods": (), keyword: wrong})
    if wrong is not None and not isinstance(wrong, dict):
        with pytest.raises(cc.ConfigError, match=r"truth is .*; expected values by name"):
            cc.study("coverage", cc.Gaussian(), truth=wrong)
        with pytest.raises(cc.ConfigError, match=r"names is .*; expected names="):
            cc.adopt(numpyro=print, names=wrong)


@pytest.mark.parametrize("path", ["\0", "\ud800"])
def test_a_path_that_no_system_takes_is_refused(found: cc.Comparison, path: str) -> None:
    with pytest.raises(cc.ConfigError, match=r"--out: String should|an option: holds bytes"):
        found.report(path)
    with pytest.raises(cc.DataError, match=r"no such file|cannot be read"):
        cc.same_posterior("a" * 5_000 + path, "b")


def test_distances_stand_beside_those_of_halves(found: cc.Comparison) -> None:
    methods = (cc.Laplace(restarts=2, draws=2_000), cc.Laplace("pymc", restarts=2, draws=2_000))
    laws = cc.compare(cc.Gaussian(), Y, methods=methods, claims=("same_maximum",), progress=False)
    rows = laws.distances(*methods)
    assert {"Fréchet distance", "Wasserstein distance of mu"} <= set(rows.index)
    kernel = rows.loc["MMD², normal kernel, unbiased"]
    assert abs(kernel["value"] - kernel["null"]) < 5 * np.hypot(kernel["error"], kernel["null_sd"])
    with pytest.raises(cc.FitError, match="needs draws"):
        found.distances("maximum_likelihood", "maximum_likelihood[pymc]")


def test_its_pages_are_those_of_the_command_line(found: cc.Comparison, tmp_path: Path) -> None:
    page = found.report(tmp_path)
    assert page == tmp_path / "index.html"
    assert found.first_screen.sentence in html.unescape(page.read_text("utf-8"))
    verdicts = pd.read_csv(tmp_path / "verdicts.csv")
    assert len(verdicts) == len(found.verdicts())
    linked = re.findall(
        r'href="(fits/[^"]+)"', (tmp_path / "gaussian-data.html").read_text("utf-8")
    )
    assert len(set(linked)) == 2
    assert all((tmp_path / path).is_file() for path in linked)
    # a second report in the same place is the same report
    before = page.stat().st_mtime_ns
    assert found.report(tmp_path) == page
    assert page.stat().st_mtime_ns == before


def test_a_program_that_holds_its_data_meets_the_bound_at_their_size() -> None:
    import pymc as pm

    with pm.Model() as built:
        mean, sd = pm.Normal("mean", 0, 10), pm.HalfNormal("sd", 5)
        pm.Normal("y", mean, sd, observed=Y)
    method = cc.MaximumLikelihood("pymc", restarts=2)
    found = cc.compare(pymc=built, methods=(method,), claims=("cramer_rao",))
    rows = [row for row in found.claims["cramer_rao"] if row.method]
    assert {row.n for row in rows} == {Y.size}
    assert "AGREE" in {row.outcome for row in rows}
    assert "DIFFER" not in {row.outcome for row in rows}


def test_standard_errors_three_times_too_large_differ_at_one_n_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import pymc as pm

    def wrong(*arguments: Any) -> Any:
        fits = replicate(*arguments)
        return fits._replace(standard_error=3 * fits.standard_error)

    monkeypatch.setattr(cramer_rao, "replicate", wrong)
    with pm.Model() as built:
        mean = pm.Normal("mean", 0, 10)
        pm.Normal("y", mean, 2, observed=Y)
    method = cc.MaximumLikelihood("pymc", restarts=2)
    found = cc.compare(pymc=built, methods=(method,), claims=("cramer_rao",))
    differing = [row.quantity for row in found.claims["cramer_rao"] if row.outcome == "DIFFER"]
    assert differing == ["standard error"]


def test_a_claim_that_fails_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(case: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("comparisons.claims.same_maximum.compare", broken)
    found = cc.compare(cc.Gaussian(), Y, methods=(), claims=("same_maximum",))
    [row] = found.claims["same_maximum"]
    assert (row.outcome, row.cause) == (
        "NOT COMPARABLE",
        "the comparison failed: ZeroDivisionError: a bug",
    )


def test_it_runs_in_float64_in_a_process_that_is_in_float32() -> None:
    script = f"""
import jax, jax.numpy as jnp, numpy as np, concord as cc
y = np.asarray({Y.tolist()})
found = cc.compare(
    cc.Gaussian(), y, claims=("same_maximum", "fisher_standard_errors"),
    methods=(
        cc.MaximumLikelihood(restarts=2), cc.NUTS(warm_up=100, draws=100), cc.Laplace(restarts=2)
    ),
)
fit = found["maximum_likelihood[numpyro]"]
assert abs(float(fit.location.value["mu"]) - y.mean()) < 1e-9 * abs(y.mean())
draws = found.idata("nuts[numpyro]")["posterior"]["mu"]
assert draws.dtype == np.float64 and np.any(draws.values != draws.values.astype("float32"))
assert not jax.config.jax_enable_x64 and jnp.ones(2).dtype == jnp.float32
assert len(found.table()) == 6  # two parameters by three methods
"""
    # 2026-11: of PyMC 6.3.2, as in pyproject.toml
    moved = "Importing 'IfElse' from 'pytensor.ifelse' is deprecated"
    excepted = f"ignore:{moved}:DeprecationWarning:pymc.logprob.mixture"
    command = [sys.executable, "-W", "error", "-W", excepted, "-c", script]
    subprocess.run(command, check=True, cwd=ROOT)


def test_draws_are_plotted_by_their_labels() -> None:
    from matplotlib import pyplot as plt

    methods = (cc.Laplace(restarts=2, draws=100), cc.MaximumLikelihood(restarts=2))
    found = cc.compare(cc.Gaussian(), Y, methods=methods, claims=("same_model",))
    assert list(found.idatas()) == ["laplace[numpyro]"]
    panels = found.plot()
    plt.close("all")
    assert set(panels.viz["trunk"].data_vars) == {"mu", "sigma"}
    assert panels.viz["trunk"]["model"].to_numpy().tolist() == ["laplace[numpyro]"]
    assert "nothing to judge it by" in repr(found)
