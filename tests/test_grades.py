"""Grades and the first screen: what an interval holds, by consequence, and what is said of it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest
import xarray as xr
from scipy.stats import norm

from comparisons.case import all_methods
from comparisons.grades import Grade, from_table, graded, worst_of
from comparisons.report.first_screen import first_screen
from comparisons.verdict import Verdict
from inference.engines.numpyro_delta import NumpyroDelta
from inference.estimate import Estimate, Quantity, named_covariance
from inference.method import label
from models.catalogue.gaussian import ConjugateGaussian, Gaussian
from models.programs.adopt import adopt

if TYPE_CHECKING:
    from collections.abc import Mapping

    from inference.method import Method

METHODS = {label(method): method for method in all_methods("quick")}
NUTS = METHODS["nuts[numpyro]"]
MODEL = Gaussian()
DATA = MODEL.simulate(np.random.default_rng(0), MODEL.truth, 50)
DRAWS = 40_000


def fit(
    shift: float = 0.0,
    scale: float = 1.0,
    *,
    drawn: bool = False,
    without_sd: bool = False,
    problems: tuple[str, ...] = (),
) -> Estimate:
    """Of a standard normal posterior of both quantities, off by so many sd."""
    place = xr.Dataset({"mu": shift, "sigma": 2.0 + shift})
    size = xr.Dataset({"mu": scale, "sigma": scale})
    zero = xr.zeros_like(place)
    tree = None
    if drawn:
        z = norm.ppf((np.arange(DRAWS) + 0.5) / DRAWS)
        z = np.random.default_rng(1).permutation(z).reshape(4, -1)
        group = {name: (("chain", "draw"), float(place[name]) + scale * z) for name in place}
        tree = xr.DataTree.from_dict({"posterior": xr.Dataset(group)})
    sd = Quantity(size * np.nan if without_sd else size, zero)
    none = named_covariance(np.empty((0, 0)), [])
    error = zero + 1 / np.sqrt(DRAWS) if drawn else zero
    return Estimate(Quantity(place, error), sd, -1.0, tree, problems, xr.Dataset(), none, "x")


def fits(**others: Estimate) -> dict[Method, Estimate]:
    return {NUTS: fit(drawn=True), **{METHODS[LABELS[n]]: one for n, one in others.items()}}


LABELS = {
    "ml": "maximum_likelihood[numpyro]",
    "map": "maximum_a_posteriori[numpyro]",
    "laplace": "laplace[numpyro]",
    "vi": "gaussian_vi[numpyro, mean_field]",
    "full": "gaussian_vi[numpyro, full_rank]",
    "pymc": "nuts[pymc]",
}


def marks(found: Mapping[Method, Estimate], parameter: str = "mu") -> dict[str, Grade]:
    return {g.method: g for g in graded(MODEL, DATA, found) if g.parameter == parameter}


@pytest.mark.parametrize(
    ("shift", "scale", "mark"),
    [
        (0.0, 1.0, "ok"),
        (0.3, 1.0, "ok"),  # holds 93.9 %
        (0.45, 1.0, "careful"),  # 92.3 %
        (0.0, 0.75, "careful"),  # 85.8 %
        (0.0, 0.7, "no"),  # 83.0 %
        (0.0, 1.1, "ok"),  # 96.9 %
        (0.0, 1.3, "careful"),  # 98.9 %, too wide
        (-1.0, 1.0, "no"),  # 83.0 %
    ],
)
def test_a_grade_is_what_the_interval_holds(shift: float, scale: float, mark: str) -> None:
    """The content of N(shift, scale²)'s interval under N(0, 1) is known; 40,000 quantiles of it."""
    for drawn in (False, True):
        found = marks(fits(laplace=fit(shift, scale, drawn=drawn)))["laplace[numpyro]"]
        ends = shift + scale * norm.ppf(0.975) * np.array([-1.0, 1.0])
        assert found.below == pytest.approx(norm.cdf(ends[0]), abs=1e-4)
        assert found.above == pytest.approx(norm.sf(ends[1]), abs=1e-4)
        assert found.holds == pytest.approx(1 - found.below - found.above)
        assert found.mark == mark
        assert (found.cause == "") == (mark == "ok")


def test_causes_are_told_in_numbers() -> None:
    found = marks(fits(ml=fit(0.6, 0.8), vi=fit(0.0, 0.4, drawn=True)))
    assert "its optimum is +0.60 posterior sd off" in found["maximum_likelihood[numpyro]"].cause
    assert "its sd is 0.80 of the posterior's" in found["maximum_likelihood[numpyro]"].cause
    vi = found["gaussian_vi[numpyro, mean_field]"]
    assert "its sd is 0.40 of the posterior's: it leaves correlations out" in vi.cause
    # correlations are not to blame where a family that has them is as narrow
    found = marks(fits(vi=fit(0.0, 0.4, drawn=True), full=fit(0.0, 0.42, drawn=True)))
    assert found["gaussian_vi[numpyro, mean_field]"].cause.startswith(
        "its sd is 0.40 of the posterior's; "
    )


def test_what_is_too_wide_is_told_to_be_so_first() -> None:
    found = marks(fits(ml=fit(0.5, 1.4)))["maximum_likelihood[numpyro]"]
    assert found.mark == "careful"
    assert found.cause.startswith("its sd is 1.40 of the posterior's; its optimum is +0.50")


def test_numbers_far_below_one_are_written_with_an_exponent() -> None:
    tiny = screen(fits(ml=fit(1e-130, 3e-131))).lines
    assert tiny[1].numbers[0] == "1.0e−130 ± 3.0e−131"


def test_without_standard_errors_the_shift_alone_counts() -> None:
    for shift, mark in ((0.3, "ok"), (-0.6, "careful"), (0.9, "no")):
        found = marks(fits(ml=fit(shift, without_sd=True)))["maximum_likelihood[numpyro]"]
        assert np.isnan(found.holds)
        assert found.mark == mark


def test_an_exact_posterior_is_asked_by_its_law() -> None:
    model = ConjugateGaussian()
    data = model.simulate(np.random.default_rng(0), model.truth, 50)
    rng = np.random.default_rng(1)
    names = ("exact_posterior", "closed_form")
    found = {METHODS[name]: METHODS[name].fit(model, data, rng) for name in names}
    grades = {g.parameter: g for g in graded(model, data, found)}
    law = model.exact_posterior(data)["mu"]
    assert grades["mu"].below == pytest.approx(float(law.cdf(grades["mu"].low)))
    assert grades["mu"].holds_error == 0.0


def test_what_has_problems_or_no_reference_has_no_grade() -> None:
    assert marks(fits(ml=fit(problems=("stopped",)))) == {}
    assert list(graded(MODEL, DATA, {METHODS["laplace[numpyro]"]: fit()})) == []


def test_grades_survive_being_published() -> None:
    rows = list(graded(MODEL, DATA, fits(ml=fit(0.5), vi=fit(0.0, 0.4, drawn=True))))
    stored = json.loads(json.dumps(pd.DataFrame(rows).to_dict("list")))
    assert from_table(pd.DataFrame(stored)) == rows
    assert from_table(pd.DataFrame({"other": [1.0]})) == []
    assert worst_of(rows).mark == "no"


def screen(found: Mapping[Method, Estimate], verdicts: Any = (), warnings: Any = ()) -> Any:
    rows = list(graded(MODEL, DATA, found))
    return first_screen(MODEL, "gaussian · data", found, dict(verdicts), rows, warnings)


def test_the_cheapest_method_is_answered_for() -> None:
    said = screen(fits(ml=fit(0.1), laplace=fit())).sentence
    assert said.startswith("YES: maximum likelihood will do. Its worst 95 % interval holds 94.9 %")
    said = screen(fits(ml=fit(0.45), laplace=fit())).sentence
    assert said.startswith("WITH CARE: maximum likelihood is usable.")
    assert said.endswith("laplace will do.")
    said = screen(fits(ml=fit(1.5), laplace=fit(0.45))).sentence
    assert said.startswith("NO: maximum likelihood will not do.")
    assert said.endswith("laplace is better graded.")
    said = screen(fits(ml=fit(1.5), vi=fit(0.0, 0.4, drawn=True))).sentence
    assert said.startswith("NO: maximum likelihood will not do.")
    assert said.endswith("No cheap method is better graded.")
    # what has no interval is not named in the place of what has one
    said = screen(fits(ml=fit(0.45), map=fit(without_sd=True))).sentence
    assert said.endswith("No cheap method is better graded.")
    # without a maximum of the likelihood the best graded one is answered for
    said = screen(fits(vi=fit(0.0, 0.4, drawn=True), full=fit(0.0, 0.6, drawn=True))).sentence
    assert said.startswith("NO: gaussian vi (full rank) will not do.")
    assert "nothing vouches" in screen({METHODS["laplace[numpyro]"]: fit()}).sentence


def test_lines_say_how_each_method_stands() -> None:
    found = fits(ml=fit(0.1), vi=fit(0.0, 0.4, drawn=True), pymc=fit(drawn=True))
    row = Verdict(
        "{quantity}",
        0.0,
        0.0,
        0.01,
        0.1,
        quantity="mean",
        method="nuts[pymc]",
        reference="nuts[numpyro]",
    )
    lines = {line.method: line for line in screen(found, {"posterior_agreement": [row]}).lines}
    assert lines["nuts[numpyro]"].words == "the reference"
    assert lines["nuts[pymc]"].words == "no difference seen (one of 0.03 sd would have been)"
    assert lines["maximum_likelihood[numpyro]"].words == "ok"
    assert lines["gaussian_vi[numpyro, mean_field]"].words.startswith("NO: ")
    text = screen(found).text()
    held = "reference: nuts[numpyro], passed its checks"
    assert text.splitlines()[0] == f"gaussian · data    {held}"
    assert all(name in text for name in lines)


def test_a_fit_that_misses_its_own_target_is_not_to_be_used() -> None:
    row = Verdict("x", 1.0, 0.0, 0.0, 0.1, method="laplace[numpyro]")
    found = fits(laplace=fit())
    shown = screen(found, {"own_target": [row]})
    assert shown.lines[1].mark == "no"
    assert shown.lines[1].words == "NO: it misses its own target"
    assert shown.sentence == "NO: not found by its own definition: laplace[numpyro]."
    assert "own target: x is 1, not 0" in shown.warnings


def test_a_fit_whose_draws_do_not_vary_and_that_misses_its_target_is_not_to_be_used() -> None:
    row = Verdict("x", 1.0, 0.0, 0.0, 0.1, method="laplace[numpyro]")
    shown = screen(fits(laplace=fit(scale=0.0)), {"own_target": [row]})
    assert (shown.lines[1].mark, shown.lines[1].words) == ("no", "NO: it misses its own target")


def test_a_prior_that_disagrees_with_the_data_is_a_warning() -> None:
    found = fits(ml=fit(), map=fit(-2.5))
    (warning,) = screen(found).warnings
    assert "the prior disagrees with the data: it moves mu from 0 to −2.5, 2.5" in warning
    assert screen(fits(ml=fit(), map=fit(-0.5))).warnings == ()
    # where an engine's optimiser stopped is no optimum of the posterior
    stopped = {**fits(ml=fit()), NumpyroDelta(): fit(-2.5)}
    assert screen(stopped).warnings == ()
    assert screen(fits(ml=fit()), warnings=["said before"]).text().splitlines()[1] == (
        "WARNING: said before"
    )


def test_programs_that_differ_are_told_before_all() -> None:
    gate = [Verdict("log prior mu", 1.0, 0.0, 0.0, 1e-9)]
    shown = first_screen(MODEL, "t", {}, {"same_model": gate}, [])
    assert shown.sentence.startswith("NOTHING WAS FITTED")
    assert replace(gate[0], observed=0.0).outcome == "AGREE"


def test_what_has_no_likelihood_to_maximise_says_what_to_type() -> None:
    def schools(sigma: Any, y: Any = None) -> None:
        mu = numpyro.sample("mu", dist.Normal(0, 5))
        theta = numpyro.sample("theta", dist.Normal(mu, 2).expand([8]))
        numpyro.sample("y", dist.Normal(theta, sigma), obs=y)

    data = {"sigma": np.arange(8.0, 16.0), "y": np.arange(8.0)}
    model = adopt(numpyro=schools, data=data)
    told = first_screen(model, "t", {}, {}, []).text().splitlines()[-1]
    assert told.startswith("Maximum likelihood, MAP and Laplace's method were not fitted: theta is")
    assert told.endswith("integrate it out with latent=('theta',).")


def test_what_failed_is_told_with_its_reason() -> None:
    failures = {
        "laplace[pymc]": "FitError: no mode",
        "maximum_likelihood[pymc]": "FitError: no mode",
    }
    told = first_screen(MODEL, "t", {}, {}, [], failures=failures).notes
    assert told == ("laplace[pymc], maximum_likelihood[pymc] failed: FitError: no mode",)
