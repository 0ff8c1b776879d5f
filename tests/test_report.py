"""The report: every number in a file, nothing empty or hostile, the old one safe on failure."""

from __future__ import annotations

import base64
import csv
import errno
import hashlib
import html.parser
import io
import json
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest
import xarray as xr
from wrapper import Chain

import concord as cc
from comparisons.case import all_methods
from comparisons.grades import Grade, graded
from comparisons.reference import scalars
from comparisons.report import draws as _draws
from comparisons.report import facts as _facts
from comparisons.report import files as _files
from comparisons.report import headline as _headline
from comparisons.report import tables as _tables
from comparisons.report.figures import canvas as _canvas
from comparisons.report.figures import curves as _curves
from comparisons.report.figures import model as _figures
from comparisons.report.figures import runs as _drawn
from comparisons.report.formats import number, short, visible, with_error
from comparisons.report.pages import case as _page
from comparisons.report.pages import study as _study
from comparisons.report.pages import write as _report
from comparisons.report.result import CaseResult
from comparisons.report.sections import model as _model
from comparisons.report.sections import runs as _runs
from comparisons.report.sections import sections
from comparisons.store.trees import from_netcdf, to_netcdf
from comparisons.verdict import Verdict, not_comparable
from inference.estimate import Estimate, Quantity
from inference.method import Method, label
from models.catalogue.gaussian import ConjugateGaussian, Gaussian
from models.catalogue.random_effects import RandomEffects
from models.errors import ConfigError, StoreError
from models.programs.adopt import adopt

METHODS = {label(method): method for method in all_methods("quick")}
NUTS = METHODS["nuts[numpyro]"]
HOSTILE = '"><img src=x onerror=alert(1)></script>\u202e=1+1'
COMMAND = "python -m comparisons run gaussian --set dim=2"


# ---------------------------------------------------------------- synthetic results


def keyed(fits: dict[str, Estimate]) -> dict[Method, Estimate]:
    return {METHODS[name]: fit for name, fit in fits.items()}


def called(name: str, kind: str) -> Method:
    """A method of a user, who may call it anything."""
    members = {
        "name": name,
        "target": "posterior",
        "kind": kind,
        "refusal": lambda self, model: "",
        "fit": lambda self, model, data, rng: None,
    }
    return dataclass(frozen=True)(type("Called", (Method,), members))()


def names_of(values: xr.Dataset) -> list[str]:
    return [
        f"{name}[{', '.join(map(str, index))}]" if index else str(name)
        for name, array in values.data_vars.items()
        for index in np.ndindex(array.shape)
    ]


def flat(values: xr.Dataset) -> np.ndarray:
    return np.concatenate([np.ravel(array.values) for array in values.data_vars.values()])


def from_draws(
    posterior: xr.Dataset,
    quantities: list[str],
    *,
    sampler: bool = True,
    problems: tuple[str, ...] = (),
    record: xr.Dataset | None = None,
) -> Estimate:
    chosen = posterior[quantities]
    location, sd = chosen.mean(("chain", "draw")), chosen.std(("chain", "draw"))
    count = chosen.sizes["chain"] * chosen.sizes["draw"]
    array = np.concatenate([chosen[name].values.reshape(count, -1) for name in quantities], axis=1)
    names = names_of(location)
    groups: dict[str, xr.Dataset] = {"posterior": posterior}
    if sampler:
        shape = (chosen.sizes["chain"], chosen.sizes["draw"])
        rng = np.random.default_rng(1)
        groups["sample_stats"] = xr.Dataset(
            {
                "energy": (("chain", "draw"), rng.normal(size=shape)),
                "diverging": (("chain", "draw"), np.zeros(shape, bool)),
            }
        )
    return Estimate(
        location=Quantity(location, sd / count**0.5),
        sd=Quantity(sd, sd / (2 * count) ** 0.5),
        log_likelihood=-100.0,
        draws=xr.DataTree.from_dict({f"/{name}": group for name, group in groups.items()}),
        problems=problems,
        point=location,
        covariance=xr.DataArray(
            np.cov(array, rowvar=False).reshape(len(names), len(names)),
            dims=("quantity", "quantity_"),
            coords={"quantity": names, "quantity_": names},
        ),
        sd_kind="posterior_sd",
        record=record
        if record is not None
        else xr.Dataset(attrs={"compile": 1.5, "warm_up": 0.4, "run": 0.6}),
    )


def from_point(
    like: Estimate,
    *,
    shift: float = 0.0,
    scale: float = 1.0,
    missing: tuple[str, ...] = (),
    problems: tuple[str, ...] = (),
    record: xr.Dataset | None = None,
) -> Estimate:
    """An estimate without draws, `shift` sd away from another, its sd `scale` times."""
    location = like.location.value + shift * like.sd.value
    sd = scale * like.sd.value
    for name in missing:
        sd[name] = xr.full_like(sd[name], np.nan)
    covariance = like.covariance * scale**2
    return replace(
        like,
        location=Quantity(location, xr.zeros_like(location)),
        sd=Quantity(sd, xr.zeros_like(sd)),
        draws=None,
        problems=problems,
        covariance=covariance.where(
            np.isfinite(flat(sd))[:, None] & np.isfinite(flat(sd))[None, :]
        ),
        sd_kind="observed",
        record=record if record is not None else xr.Dataset(attrs={"compile": 0.2, "run": 0.05}),
    )


def posterior_of(
    data: np.ndarray, rng: np.random.Generator, shape: tuple[int, int], narrow: float = 1.0
) -> xr.Dataset:
    """Draws of the parameters and quantities of a bivariate Gaussian."""
    n, dim = data.shape
    total = np.cov(data, rowvar=False, ddof=0)
    factor = np.linalg.cholesky(total)
    noise = rng.standard_normal((*shape, n, dim))
    scatter = factor @ (np.swapaxes(noise, -1, -2) @ noise / n) @ factor.T
    covariance = total + narrow * (scatter - total)
    mean = data.mean(axis=0) + narrow * rng.standard_normal((*shape, dim)) @ factor.T / n**0.5
    scale = np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1))
    correlation = covariance / (scale[..., :, None] * scale[..., None, :])
    head = ("chain", "draw")
    return xr.Dataset(
        {
            "mean": ((*head, "variable"), mean),
            "scale": ((*head, "variable"), scale),
            "correlation_cholesky": (
                (*head, "variable", "variable_"),
                np.linalg.cholesky(correlation),
            ),
            "covariance": ((*head, "variable", "variable_"), covariance),
        }
    )


def bivariate() -> CaseResult:
    """All outcomes, a refusal, a failure, every kind of method, unequal numbers of draws."""
    rng = np.random.default_rng(7)
    model = Gaussian(dim=2)
    data = model.simulate(rng, model.truth, 80).assign_coords(variable=["length", "width"])
    y = data["y"].values
    quantities = ["mean", "covariance"]
    nuts = from_draws(posterior_of(y, rng, (4, 500)), quantities)
    climb = -120 + 20 * (1 - 0.7 ** np.arange(60.0))
    estimates = {
        "expectation_maximisation": from_point(
            nuts,
            shift=-0.1,
            record=xr.Dataset(
                {"climb": ("iteration", climb)},
                attrs={"restarts": 8, "reached": 8, "measured_rate": 0.7, "predicted_rate": 0.7},
            ),
        ),
        "laplace[numpyro]": from_draws(posterior_of(y, rng, (4, 1000)), quantities, sampler=False),
        "maximum_likelihood[numpyro]": from_point(
            nuts,
            record=xr.Dataset(
                {"restart_log_likelihood": ("restart", -100 - np.array([0, 0, 0, 1e-9, 3.0]))},
                attrs={
                    "compile": 0.4,
                    "run": 0.1,
                    "restarts": 5,
                    "reached": 4,
                    "runner_up": -103.0,
                },
            ),
        ),
        "maximum_likelihood[pymc]": from_point(nuts),
        "nuts[numpyro]": nuts,
        "nuts[pymc]": from_draws(posterior_of(y, rng, (4, 600)), quantities),
        "statsmodels": from_point(nuts, missing=("covariance",)),
        "gaussian_vi[numpyro, full_rank]": from_draws(
            posterior_of(y, rng, (1, 2000)),
            quantities,
            sampler=False,
            problems=("the ELBO still rose at the end",),
        ),
        "gaussian_vi[numpyro, mean_field]": from_draws(
            posterior_of(y, rng, (1, 2500), narrow=0.4),
            quantities,
            sampler=False,
            record=xr.Dataset(
                {"elbo": ("step", -130 + 30 * (1 - np.exp(-np.arange(2000) / 200)))},
                attrs={"compile": 1.0, "run": 2.0},
            ),
        ),
    }
    fits = keyed(estimates)
    table = pd.DataFrame(list(graded(model, data, fits)))
    return CaseResult(
        slug="gaussian-simulated",
        model=model,
        data_name="simulated",
        columns=("length", "width"),
        data=data,
        seed=3,
        profile="quick",
        estimates=fits,
        figures={"posterior_agreement": table},
        refusals={METHODS["exact_posterior"]: "gaussian is not conjugate"},
        failures={"maximum_a_posteriori": "undefined: every start diverged"},
        verdicts={
            "same_model": (Verdict("log prior mean: pymc − numpyro", 1e-15, 0.0, 0.0, 1e-9),),
            "same_maximum": (
                Verdict("mean[0]: statsmodels − maximum_likelihood[numpyro]", 1.0, 1.0, 0.0, 0.01),
                Verdict("mean[1]: statsmodels − maximum_likelihood[numpyro]", 2.0, 1.0, 0.0, 0.01),
            ),
            "posterior_agreement": (
                Verdict(
                    "{quantity} of {parameter}: {method} − {reference}",
                    0.05,
                    0.12,
                    0.001,
                    0.006,
                    cause="mean-field Gaussian: sd is 1/√Λ_jj",
                    predicted=0.051,
                    prediction_error=0.006,
                    quantity="sd",
                    parameter="mean[0]",
                    method="gaussian_vi[numpyro, mean_field]",
                    reference="nuts[numpyro]",
                ),
                Verdict("mean of mean[0]: nuts[pymc] − nuts[numpyro]", 1.01, 1.0, 0.02, 0.02),
                not_comparable(
                    "gaussian_vi[numpyro, full_rank] against nuts[numpyro]", "not converged"
                ),
            ),
            "cramer_rao": (),
            "bic": (Verdict("bic: maximum_likelihood[pymc]", 220.1, 220.1, 0.0, 0.01),),
        },
        titles={
            "same_model": "The PyMC and the NumPyro program are one model",
            "same_maximum": "Every route to the maximum of the likelihood ends at the same point",
            "posterior_agreement": "Samplers of one posterior agree",
            "cramer_rao": "No unbiased estimator beats the bound",
            "bic": "BIC approximates the evidence",
        },
        seconds=12.5,
        key="0" * 64,
    )


def hostile() -> CaseResult:
    """Every name that a user can choose, chosen badly; and no sampler that can be relied on."""
    result = bivariate()
    chosen = ("laplace[numpyro]", "nuts[numpyro]", "maximum_likelihood[pymc]")
    estimates = {
        called(HOSTILE + name, METHODS[name].kind): replace(
            result.estimates[METHODS[name]], problems=(HOSTILE,)
        )
        for name in chosen
    }
    long = "x" * 10_000 + HOSTILE
    return replace(
        result,
        slug="hostile",
        data_name=HOSTILE,
        columns=(HOSTILE, long),
        estimates=estimates,
        refusals={called(HOSTILE, "optimum"): long},
        failures={"$\\frac{": HOSTILE},
        verdicts={
            **result.verdicts,
            "posterior_agreement": (not_comparable("=cmd|' /C calc'!A0", HOSTILE),),
        },
        titles={**result.titles, "posterior_agreement": HOSTILE},
        data=result.data.assign_coords(variable=[HOSTILE, "\x1b[31m"]),
    )


def conditional() -> CaseResult:
    """A model that cannot simulate whole data sets, and a fit whose draws do not vary."""
    rng = np.random.default_rng(2)
    model = RandomEffects(within="known")
    data = model.simulate(rng, model.truth, 9)
    head = ("chain", "draw")
    posterior = xr.Dataset(
        {
            "mu": (head, rng.normal(1.0, 0.5, (4, 250))),
            "tau": (head, rng.gamma(4.0, 0.3, (4, 250))),
        }
    )
    still = 0.0 * posterior + 1.0
    return replace(
        bivariate(),
        slug="random-effects",
        model=model,
        data_name="schools",
        columns=(),
        data=data,
        estimates={
            NUTS: from_draws(posterior, ["mu", "tau"]),
            METHODS["laplace[numpyro]"]: from_draws(still, ["mu", "tau"], sampler=False),
        },
        refusals={},
        failures={},
        verdicts={"same_model": (Verdict("log prior mu: pymc − numpyro", 0.0, 0.0, 0.0, 1e-9),)},
    )


def unfitted() -> CaseResult:
    """The gate stayed shut."""
    return replace(
        bivariate(),
        slug="unfitted",
        data_name="unfitted",
        columns=(),
        estimates={},
        verdicts={"same_model": (Verdict("log prior mean: pymc − numpyro", 0.1, 0.0, 0.0, 1e-9),)},
    )


# ---------------------------------------------------------------- reading what was written


@dataclass
class Page:
    """What a browser would see of a page."""

    text: str
    tags: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    tables: list[list[list[str]]] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Page:
        page = cls(path.read_text(encoding="utf-8"))
        _Reader(page).feed(page.text)
        return page

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def images(self) -> list[tuple[str, bytes]]:
        found = []
        for image in self.all("img"):
            head, _, body = image["src"].partition(";base64,")
            found.append((head.removeprefix("data:image/"), base64.b64decode(body)))
        return found


class _Reader(html.parser.HTMLParser):
    def __init__(self, page: Page) -> None:
        super().__init__(convert_charrefs=True)
        self.page = page
        self.cell: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.page.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag == "table":
            self.page.tables.append([])
        elif tag == "tr":
            self.page.tables[-1].append([])
        elif tag in ("td", "th"):
            self.cell = []

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self.cell is not None:
            self.page.tables[-1][-1].append(" ".join("".join(self.cell).split()))
            self.cell = None

    def handle_data(self, data: str) -> None:
        if self.cell is not None:
            self.cell.append(data)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def contents(out: Path) -> dict[str, str]:
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


def stored(result: CaseResult, out: Path) -> CaseResult:
    """The case with its fits in a store beside the report."""
    files = {}
    for place, (method, fit) in enumerate(result.estimates.items()):
        files[method] = out / "fits" / f"{result.slug}-{place}" / "fit.nc"
        files[method].parent.mkdir(parents=True)
        files[method].write_bytes(to_netcdf(fit))
    return replace(result, files=files)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of four cases."""
    out = tmp_path_factory.mktemp("report") / "out"
    results = [bivariate(), hostile(), conditional(), unfitted()]
    page, screens = _report.write([stored(result, out) for result in results], out, COMMAND)
    assert len(screens) == len(results)
    assert page == out / "index.html"
    return out


@pytest.fixture(scope="module")
def pages(written: Path) -> dict[str, Page]:
    return {path.stem: Page.read(path) for path in sorted(written.glob("*.html"))}


# ---------------------------------------------------------------- files


def test_the_tidy_tables_have_the_columns_of_the_contract(written: Path) -> None:
    header = {
        path.name: path.read_text(encoding="utf-8").splitlines()[0].split(",")
        for path in written.glob("*.csv")
    }
    assert header == {
        "estimates.csv": [
            "model",
            "data",
            "method",
            "engine",
            "parameter",
            "estimate",
            "sd",
            "estimate_error",
            "sd_error",
            "sd_kind",
            *("q05", "q25", "q50", "q75", "q95"),
            "status",
            "problems",
        ],
        "grades.csv": ["model", "data", *Grade._fields],
        "criteria.csv": ["model", "data", "method", "criterion", "value", "error", "k", "n"],
        "verdicts.csv": [
            "comparison",
            "model",
            "data",
            "about",
            "claim",
            "quantity",
            "parameter",
            "method",
            "reference",
            "n",
            "observed",
            "expected",
            "error",
            "bound",
            "verdict",
            "cause",
        ],
    }


def test_the_tables_hold_every_estimate_refusal_failure_and_verdict(written: Path) -> None:
    result = bivariate()
    estimates = [
        row
        for row in rows_of(written / "estimates.csv")
        if row["data"] == "simulated[length, width]"
    ]
    assert Counter(row["status"] for row in estimates) == {
        "ok": 8 * 6,
        "problems": 6,
        "refused": 1,
        "failed": 1,
    }
    (row,) = [
        row
        for row in estimates
        if row["method"] == "gaussian_vi[numpyro, mean_field]"
        and row["parameter"] == "covariance[1, 0]"
    ]
    assert row["engine"] == "numpyro"
    fit = result.estimates[METHODS["gaussian_vi[numpyro, mean_field]"]]
    assert float(row["estimate"]) == float(fit.location.value["covariance"][1, 0])
    assert float(row["sd_error"]) == float(fit.sd.error["covariance"][1, 0])
    assert fit.draws is not None
    drawn = fit.draws["posterior"]["covariance"].to_numpy()[..., 1, 0]
    kept = {level: float(row[f"q{level:02}"]) for level in (5, 25, 50, 75, 95)}
    assert kept == {level: np.percentile(drawn, level) for level in kept}
    rows = [
        row
        for row in rows_of(written / "verdicts.csv")
        if row["data"] == "simulated[length, width]"
    ]
    assert Counter(row["verdict"] for row in rows) == Counter(
        verdict.outcome for verdicts in result.verdicts.values() for verdict in verdicts
    )
    (explained,) = [row for row in rows if row["verdict"] == "EXPLAINED"]
    assert explained["cause"] == "mean-field Gaussian: sd is 1/√Λ_jj; predicted 0.051"


def test_criteria_follow_from_the_likelihood_fits_alone(written: Path) -> None:
    rows = {
        (row["method"], row["criterion"]): row
        for row in rows_of(written / "criteria.csv")
        if row["data"] == "simulated[length, width]"
    }
    assert {method for method, _ in rows} == {
        "expectation_maximisation",
        "maximum_likelihood[numpyro]",
        "maximum_likelihood[pymc]",
        "statsmodels",
    }
    bic = rows["statsmodels", "bic"]
    assert (bic["k"], bic["n"]) == ("5", "80")
    assert float(bic["value"]) == pytest.approx(200 + 5 * np.log(80))
    assert float(rows["statsmodels", "aic"]["value"]) == pytest.approx(210)


def test_what_a_comparison_publishes_joins_the_criteria() -> None:
    orders = [1, 2, 3]
    table = pd.DataFrame(
        {
            "method": [f"order {order}" for order in orders] + ["statsmodels"],
            "criterion": ["bic", "bic", "bic (singular)", "aic"],
            "value": [230.0, 210.0, 220.0, 999.0],
            "error": [0.0, 0.0, 0.0, 0.0],
            "k": [2, 5, 8, 5],
            "n": [80, 80, 80, 80],
        }
    )
    rows = _tables.criteria_rows(replace(bivariate(), figures={"bic": table}))
    assert [row["method"] for row in rows if row["criterion"] == "bic (singular)"] == ["order 3"]
    (aic,) = [row for row in rows if (row["method"], row["criterion"]) == ("statsmodels", "aic")]
    assert aic["value"] == 999.0
    picture = _curves.orders(rows)
    assert picture is not None
    assert "BIC by order" in picture.alt
    assert _curves.orders(rows[:6]) is None


def test_one_sentence_names_the_choice_of_every_criterion() -> None:
    chosen = {"AIC": 4, "BIC": 3, "the evidence among 1, 2, 3": 3}
    rows = [
        {"method": f"choice of {name}", "criterion": "order", "value": order}
        for name, order in chosen.items()
    ]
    told = "AIC: order 4; BIC and the evidence (among 1, 2, 3): order 3."
    assert _model._choices(rows) == told
    alone = [
        {"method": "statsmodels", "criterion": name, "value": 2.5, "error": 0.0}
        for name in ("aic", "bic")
    ]
    assert _model._choices(alone) == "The model has no order to choose. AIC 2.50, BIC 2.50."


def test_any_other_table_of_a_comparison_is_shown_with_it() -> None:
    table = pd.DataFrame({"units": [10, 100], "where": ["a", HOSTILE]})
    result = replace(unfitted(), figures={"same_model": table})
    (section, *_) = sections(_facts.facts(result), COMMAND)
    (shown,) = [found for found in section.tables if found.title.endswith("its table")]
    assert [cell.text for cell in shown.rows[1]] == ["100", HOSTILE]
    assert _facts.as_json(_facts.facts(result), COMMAND)["tables"]["same_model"][0]["units"] == 10


def test_text_that_a_spreadsheet_would_run_is_quoted_and_numbers_are_not(written: Path) -> None:
    row = {
        "a": "=1+1",
        "b": -1.5,
        "c": "@x",
        "d": "+1",
        "e": "-1",
        "f": -2,
        "g": "plain",
        "h": "\t=",
    }
    text = _tables.csv_text(tuple(row), [row])
    assert text == "a,b,c,d,e,f,g,h\n'=1+1,-1.5,'@x,'+1,'-1,-2,plain,'\t=\n"
    assert _tables.csv_text(("x",), [{"x": np.float64(0.5)}]) == "x\n0.5\n"
    for path in written.glob("*.csv"):
        for record in rows_of(path):
            for column, cell in record.items():
                if cell.startswith(("=", "+", "-", "@")):
                    assert float(cell), column


def test_json_has_everything_and_no_nan(written: Path) -> None:
    content = json.loads((written / "results.json").read_text(), parse_constant=pytest.fail)
    assert content["command"] == COMMAND
    case = content["cases"][0]
    assert case["hyper_parameters"]["dim"] == 2
    assert case["reference"] == "nuts[numpyro]"
    assert case["counts"] == {
        "AGREE": 3,
        "CONSISTENT": 0,
        "EXPLAINED": 1,
        "DIFFER": 1,
        "UNSURE": 1,
        "NOT COMPARABLE": 1,
    }
    assert case["provenance"]["precision"] == "float64"
    assert {"numpy", "jax", "pymc"} <= case["provenance"]["versions"].keys()
    assert case["not_applicable"] == ["cramer_rao"]


def test_every_fit_is_linked_where_it_is_stored(written: Path, pages: dict[str, Page]) -> None:
    result = bivariate()
    links = [a["href"] for a in pages[result.slug].all("a") if a["href"].endswith(".nc")]
    assert len(links) == len(result.estimates)
    fits = [from_netcdf((written / link).read_bytes()) for link in links]
    for fit, expected in zip(fits, result.estimates.values(), strict=True):
        assert (fit.draws is None) == (expected.draws is None)
        if fit.draws is not None and expected.draws is not None:
            xr.testing.assert_identical(fit.draws["posterior"].ds, expected.draws["posterior"].ds)
    assert [path for path in written.rglob("*.nc") if "fits" not in path.parts] == []


NUMBER = re.compile(r"−?\d+(\.\d+)?(e[−+]?\d+)?")


def numbers_in(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [x for item in value.values() for x in numbers_in(item)]
    if isinstance(value, list):
        return [x for item in value for x in numbers_in(item)]
    return [float(value)] if isinstance(value, int | float) else []


def orphans(page: Page, known: np.ndarray) -> list[str]:
    """Numbers in a page's tables that no file has, to the digits shown."""
    missing = []
    for table in page.tables:
        for row in table[1:]:
            for cell in row[1:]:
                parts = [part.strip().rstrip("%") for part in cell.split("±")]
                if not all(NUMBER.fullmatch(part) for part in parts):
                    continue
                for part in parts:
                    mantissa, _, exponent = part.replace("−", "-").partition("e")
                    places = len(mantissa.partition(".")[2])
                    unit = 10.0 ** (int(exponent or 0) - places)
                    value = float(part.replace("−", "-"))
                    # a percentage is a share in the files
                    near = [np.min(np.abs(known - v)) for v in (value, value / 100)]
                    if min(near[0], near[1] * 100) > 0.51 * unit:
                        missing.append(cell)
    return missing


def test_every_number_in_a_table_is_in_a_file(written: Path, pages: dict[str, Page]) -> None:
    content = json.loads((written / "results.json").read_text())
    case = content["cases"][0]
    found = numbers_in(case)
    for row in case["verdicts"]:
        if row["observed"] is not None:
            found.append(row["observed"] - row["expected"])
    found += [row["ratio"] for row in case["agreement"] if row["ratio"]]
    known = np.array(found)
    page = pages["gaussian-simulated"]
    assert sum(len(table) for table in page.tables) > 120
    assert orphans(page, known) == []
    planted = Page(page.text, tables=[[["method", "seconds"], ["nuts", "123.4567"]]])
    assert orphans(planted, known) == ["123.4567"]


# ---------------------------------------------------------------- safety of what is there


def test_a_failure_leaves_the_earlier_report_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    _report.write([unfitted()], out, "first")
    before = contents(out)

    def full(*_: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device", str(out / "results.json"))

    for name, failure in (("index_page", full), ("case_page", lambda *_: 1 / 0)):
        with monkeypatch.context() as patch:
            patch.setattr(_report, name, failure)
            expected = StoreError if failure is full else ZeroDivisionError
            with pytest.raises(expected) as caught:
                _report.write([replace(unfitted(), seed=4)], out, "second")
        assert contents(out) == before
        assert [path.name for path in out.iterdir() if path.name.startswith(".")] == [".concord"]
        if failure is full:
            assert "No space left" in str(caught.value)
            assert "bytes are free" in str(caught.value)
    _report.write([replace(unfitted(), seed=4)], out, "second")
    assert contents(out) != before  # the comparison above can fail


def test_what_a_killed_process_left_is_cleared(tmp_path: Path) -> None:
    left = tmp_path / ".tmp-999999999-abcdefgh"
    left.mkdir()
    (left / "half.html").write_text("half")
    (tmp_path / "unfitted").mkdir()
    (tmp_path / "notes.txt").write_text("the user's")
    _report.write([unfitted()], tmp_path, "x")
    assert not left.exists()
    assert (tmp_path / "notes.txt").read_text() == "the user's"


@pytest.mark.parametrize("slug", ["../up", "", "index", "A b", "a/b", "x" * 200, "fits"])
def test_a_page_never_leaves_its_directory(slug: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="page name"):
        _report.write([replace(unfitted(), slug=slug)], tmp_path / "out", "x")
    assert not (tmp_path / "out").exists()


def test_two_cases_never_share_a_page(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="page name"):
        _report.write([unfitted(), unfitted()], tmp_path / "out", "x")


@pytest.mark.parametrize(
    "text", [HOSTILE, "../../etc/passwd", "", "x" * 10_000, "\x00", "nuts[pymc]"]
)
def test_file_names_of_fits_are_plain(text: str) -> None:
    first = _files.slug(text)
    assert re.fullmatch(r"[a-z0-9_-]{1,100}", first)
    assert _files.slug(text, [first]) != first


def test_nothing_global_is_changed(written: Path) -> None:
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    before, backend = dict(mpl.rcParams), mpl.get_backend()
    figure = plt.figure()
    try:
        known = _facts.facts(conditional())
        assert _drawn.forest(known.found, known.drawn, known.notable)
        assert plt.get_fignums() == [figure.number]
    finally:
        plt.close(figure)
    assert dict(mpl.rcParams) == before
    assert mpl.get_backend() == backend
    assert plt.get_fignums() == []


def test_the_same_results_give_the_same_files(written: Path, tmp_path: Path) -> None:
    _report.write([stored(conditional(), tmp_path)], tmp_path, COMMAND)
    name = f"{conditional().slug}.html"
    assert (tmp_path / name).read_bytes() == (written / name).read_bytes()


def test_an_unchanged_page_is_not_drawn_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = unfitted()
    for _ in range(2):  # the second page knows of an earlier run
        _report.write([case], tmp_path, "x")
    before = contents(tmp_path)
    path = tmp_path / "unfitted.html"
    with monkeypatch.context() as patch:
        patch.setattr(_report, "case_page", lambda *_: pytest.fail("drawn again"))
        _report.write([case], tmp_path, "x")
    assert contents(tmp_path) == before
    drawn: list[str] = []
    monkeypatch.setattr(_report, "case_page", lambda *_: drawn.append("page") or "new")
    for change in (
        lambda: path.write_text(path.read_text().replace("unfitted", "trusted", 1)),
        lambda: path.write_text("garbage"),
        path.unlink,
    ):
        change()
        _report.write([case], tmp_path, "x")
    _report.write([replace(case, key="1" * 64)], tmp_path, "x")
    _report.write([replace(case, key="1" * 64)], tmp_path, "y")
    assert len(drawn) == 5


# ---------------------------------------------------------------- changes


def test_the_next_report_says_what_changed(tmp_path: Path) -> None:
    case = unfitted()
    _report.write([case], tmp_path, "x")
    assert "There is no earlier run" in (tmp_path / "unfitted.html").read_text()
    _report.write([case], tmp_path, "x")
    assert "0 verdicts changed" in (tmp_path / "unfitted.html").read_text()
    moved = Verdict("log prior mean: pymc − numpyro", 0.3, 0.0, 0.0, 1e-9)
    _report.write([replace(case, verdicts={"same_model": (moved,)})], tmp_path, "x")
    page = (tmp_path / "unfitted.html").read_text()
    assert "1 verdict changed" in page
    assert "0.1 → 0.3" in page
    (tmp_path / "verdicts.csv").write_text("not, a table\n")
    _report.write([case], tmp_path, "x")
    assert "There is no earlier run" in (tmp_path / "unfitted.html").read_text()


# ---------------------------------------------------------------- pages


def test_a_page_loads_nothing_and_runs_nothing(pages: dict[str, Page]) -> None:
    assert set(pages) == {
        "index",
        "studies",
        "gaussian-simulated",
        "hostile",
        "random-effects",
        "unfitted",
    }
    for page in pages.values():
        assert len(page.text.encode()) < 5e6
        tags = {tag for tag, _ in page.tags}
        assert not tags & {"script", "link", "iframe", "object", "embed", "base", "form", "video"}
        for _, attributes in page.tags:
            assert not [name for name in attributes if name.startswith("on") or name == "style"]
        assert all(image["src"].startswith("data:image/") for image in page.all("img"))
        for link in page.all("a"):
            assert re.fullmatch(
                r"#[a-z]+|[a-z0-9_-]+(/[a-z0-9_-]+)*\.(html|csv|json|nc)", link["href"]
            )
        (style,) = re.findall(r"<style>(.*?)</style>", page.text, re.DOTALL)
        assert "url(" not in style
        assert "@import" not in style
        (policy,) = [
            meta["content"]
            for meta in page.all("meta")
            if meta.get("http-equiv") == "Content-Security-Policy"
        ]
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        assert policy == (
            f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; "
            "form-action 'none'"
        )


def test_links_lead_to_files_and_anchors_that_exist(written: Path, pages: dict[str, Page]) -> None:
    for page in pages.values():
        anchors = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
        for link in page.all("a"):
            target = link["href"]
            assert target[1:] in anchors if target.startswith("#") else (written / target).is_file()


def test_hostile_names_are_shown_and_never_obeyed(pages: dict[str, Page]) -> None:
    page = pages["hostile"]
    assert "&lt;img src=x onerror=alert(1)&gt;" in page.text
    assert "<img src=x" not in page.text
    assert page.text.count("</script>") == 0
    for other in pages.values():
        assert not re.search(
            "[\x00-\x08\x0b-\x1f\x7f\u200e\u200f\u202a-\u202e\u2066-\u2069]", other.text
        )
        assert max(map(len, re.findall(r">([^<]*)<", other.text))) < 9_000
    assert "x" * 2_000 not in page.text
    for kind, image in page.images():
        if kind == "svg+xml":
            ElementTree.fromstring(image)


def test_the_first_screen_answers(pages: dict[str, Page]) -> None:
    page = pages["gaussian-simulated"]
    (answer,) = re.findall(r'<p class="headline">(.*?)</p>', page.text)
    assert answer.startswith("YES: maximum likelihood will do. Its worst 95 % interval holds")
    for count in ("3 agree", "1 explained", "1 differ", "1 unsure", "1 not comparable"):
        assert count in page.text
    assert "same maximum: mean[1]: statsmodels" in page.text  # a difference stands above the answer
    lines = {row[0]: row for row in page.tables[0]}
    assert lines["nuts[numpyro]"][-2] == "the reference"
    assert lines["gaussian_vi[numpyro, mean_field]"][-2].startswith("NO: ")
    assert lines["gaussian_vi[numpyro, full_rank]"][-2] == (
        "not judged: the ELBO still rose at the end"
    )


def test_sections_come_in_order_with_question_and_verdict(pages: dict[str, Page]) -> None:
    titles = re.findall(r"<h2[^>]*>(\d)\. ", pages["gaussian-simulated"].text)
    assert titles == list("12345678")
    for name in ("gaussian-simulated", "hostile", "random-effects", "unfitted"):
        assert pages[name].text.count('class="question"') == 8
        assert pages[name].text.count('class="verdict"') == 8
    assert "def numpyro(self, data: xr.Dataset)" in pages["gaussian-simulated"].text
    assert "def pymc(self, data: xr.Dataset)" in pages["gaussian-simulated"].text
    assert "NOTHING WAS FITTED" in pages["unfitted"].text
    assert "89 % equal-tailed" in pages["gaussian-simulated"].text
    assert "sampling approximation" in pages["gaussian-simulated"].text


def test_calibration_is_the_seventh_question_where_it_was_studied(tmp_path: Path) -> None:
    case = stored(conditional(), tmp_path)
    place = {"method": NUTS.name, "n": 8, "quantity": "coverage of the 90 % interval"}
    numbers = {"value": 0.9, "error": 0.01, "theory": 0.9}
    model = _tables.model_title(case.model)
    rows = [
        {"study": study, "model": one, **place, "parameter": name, **numbers, "verdict": outcome}
        for study, one, name, outcome in (
            ("coverage", model, "mu", "AGREE"),
            ("coverage", model, "tau", "DIFFER"),
            ("bic_consistency", model, "", "AGREE"),  # of no interval
            ("coverage", "another", "mu", "AGREE"),
        )
    ]
    with _files.published(tmp_path) as stage:
        _files.put(stage, {"study.csv": _tables.csv_text(_study.COLUMNS, rows)})
    _report.write([case], tmp_path, COMMAND)
    page = Page.read(tmp_path / f"{case.slug}.html")
    assert re.findall(r"<h2[^>]*>(\d)\. ", page.text) == list("123456789")
    assert "7. Calibration" in page.text
    assert "1 of 2 statements hold in data sets that the model simulated" in page.text
    # a study that is made later draws the page anew
    with _files.published(tmp_path) as stage:
        _files.put(stage, {"study.csv": _tables.csv_text(_study.COLUMNS, rows[:1])})
    _report.write([case], tmp_path, COMMAND)
    assert "1 of 1 statements" in (tmp_path / f"{case.slug}.html").read_text()


def test_every_two_samplers_show_what_would_have_been_seen() -> None:
    result = bivariate()
    (row,) = _facts.facts(result).rows["samplers"]
    assert {row["method"], row["other"]} == {"nuts[numpyro]", "nuts[pymc]"}
    error = np.hypot(1 / 2000**0.5, 1 / 2400**0.5)  # of independent draws, in sd
    assert row["seen"] == pytest.approx(3.29 * error, rel=0.1)
    nuts, pymc = (result.estimates[METHODS[name]] for name in ("nuts[numpyro]", "nuts[pymc]"))
    away = replace(pymc, location=replace(pymc.location, value=nuts.location.value + nuts.sd.value))
    moved = {**result.estimates, METHODS["nuts[pymc]"]: away}
    (row,) = _headline.pairs(replace(result, estimates=moved))
    assert row["difference"] == pytest.approx(1.0)


def test_how_the_data_were_read_is_on_the_page() -> None:
    read = "bp.csv was read so: decimal commas; the unit 'mmHg' left out"
    result = conditional()
    data = result.data.assign_attrs(read=read).assign_coords(clinic_label=["Bath", "Ely"])
    known = _facts.facts(replace(result, data=data))
    told = {section.anchor: section for section in sections(known, COMMAND)}
    assert list(told["model"].notes) == [read, "clinic: 0 is Bath, 1 is Ely"]
    rows = told["provenance"].tables[0].rows
    assert ("data", read) in [tuple(cell.text for cell in row) for row in rows]


def test_a_standardised_run_is_said_to_be_one() -> None:
    result = conditional()
    data = result.data.assign(y=result.data["y"].assign_attrs(original_sd=2.0))
    warning, *_ = _facts.facts(replace(result, data=data)).screen.warnings
    assert "the data were standardised" in warning


def test_pages_are_accessible_in_structure(pages: dict[str, Page]) -> None:
    for page in pages.values():
        assert page.all("html")[0]["lang"] == "en"
        assert re.search(r"<title>\S.*</title>", page.text)
        for landmark in ("header", "main", "footer"):
            assert len(page.all(landmark)) == 1
        levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
        assert levels.count(1) == 1
        assert all(b - a <= 1 for a, b in pairwise(levels))
        assert all(header["scope"] in ("row", "col") for header in page.all("th"))
        told = [one["aria-label"] for one in page.all("div") if one.get("role") == "img"]
        assert len(told) == len(page.all("figure"))
        assert all(len(text) > 20 for text in told)
        assert all(image["alt"] == "" for image in page.all("img"))  # told of the whole figure
        assert len(page.all("caption")) == len(page.tables)
        anchors = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
        assert len(anchors) == len(set(anchors))


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_has_contrast_in_light_and_dark(pages: dict[str, Page]) -> None:
    schemes = re.findall(r":root \{(.*?)\}", pages["index"].text, re.DOTALL)
    assert len(schemes) == 2
    for scheme in schemes:
        colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", scheme))
        for ground in ("ground", "soft"):
            for name in ("text", "quiet", "link", "agree", "explained", "differ", "unsure", "none"):
                pair = sorted((luminance(colours[name]), luminance(colours[ground])))
                assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5, (name, ground)


# ---------------------------------------------------------------- figures


def svg(panel: _canvas.Panel) -> bytes:
    return base64.b64decode(panel.uri.partition(",")[2])


def intervals(picture: _canvas.Picture) -> int:
    """Lines that a figure really draws."""
    roots = [ElementTree.fromstring(svg(panel)) for panel in picture.panels]
    return sum(
        1
        for root in roots
        for element in root.findall(".//*[@id]")
        if element.attrib["id"].startswith("line2d")
        and any(
            len(path.attrib.get("d", "")) > 8
            for path in element.iter()
            if path.tag.endswith("path")
        )
    )


def test_no_figure_is_empty(pages: dict[str, Page]) -> None:
    from matplotlib.image import imread

    wanted = {"gaussian-simulated": 11, "hostile": 3, "random-effects": 9}
    for name, least in wanted.items():
        images = pages[name].images()
        assert len(images) >= least
        for kind, image in images:
            if kind == "svg+xml":
                root = ElementTree.fromstring(image)
                drawn = [
                    element.attrib["d"]
                    for element in root.iter()
                    if element.tag.endswith("}path") and len(element.attrib.get("d", "")) > 20
                ]
                assert len(drawn) >= (4 if 'id="axes_1"' in image.decode() else 1)  # or a legend
            else:
                pixels = imread(io.BytesIO(image), format="png")[..., :3]
                assert np.mean(pixels.min(axis=-1) < 0.9) > 0.01


def shown(picture: _canvas.Picture) -> str:
    """The text of a figure."""
    elements = [
        one for panel in picture.panels for one in ElementTree.fromstring(svg(panel)).iter()
    ]
    return "\n".join(element.text or "" for element in elements if element.tag.endswith("}text"))


def test_a_ladder_has_a_panel_for_each_statistic_and_a_line_for_each_estimator() -> None:
    index = [
        (statistic, estimator, f"q[{i}]", n)
        for statistic in ("variance / bound", "bias / sd", "posterior sd / bound")
        for estimator in ("maximum_likelihood", "laplace")
        for i in range(8)
        for n in (50, 100, 200)
    ]
    columns = dict(
        zip(
            ("statistic", "estimator", "quantity", "n"),
            map(list, zip(*index, strict=True)),
            strict=True,
        )
    )
    numbers = {"value": 1.1, "error": 0.01, "theory": float("nan")}
    table = pd.DataFrame(columns | {name: [value] * len(index) for name, value in numbers.items()})
    picture = _curves.ladder("study", table)
    text = shown(picture)
    for statistic in ("variance / bound", "bias / sd", "posterior sd / bound"):
        assert text.count(statistic) == 1
    for i in range(8):  # six quantities are drawn, by two estimators
        assert text.count(f"q[{i}], laplace") == (i < 6)
    assert "2 more quantities are in the table" in picture.caption
    # a line for each of six quantities by two estimators in three panels; theory is unknown
    unknown = intervals(picture)
    with_theory = _curves.ladder("study", table.assign(theory=table["value"]))
    assert intervals(with_theory) == unknown + 3 * 2 * 6
    # whichever comparison publishes such a table, its section shows it
    places = {"cramer_rao": "fisher", "posterior_agreement": "agreement"}
    known = _facts.facts(replace(bivariate(), figures=dict.fromkeys(places, table)))
    anchored = {section.anchor: section for section in sections(known, COMMAND)}
    for name, anchor in places.items():
        assert f"ladder-{name}" in [figure.name for figure in anchored[anchor].pictures]
        assert [t for t in anchored[anchor].tables if t.title.endswith("its table")]


def test_the_graph_has_the_parents_of_every_site() -> None:
    result = conditional()
    found, observed = _figures.parents(result.model, result.data)
    assert found == {"mu": (), "tau": (), "y": ("mu", "tau")}
    assert observed == {"y"}
    conjugate = ConjugateGaussian()
    data = conjugate.simulate(np.random.default_rng(0), conjugate.truth, 9)
    found, _ = _figures.parents(conjugate, data)
    assert found["mu"] == ("sigma2",)  # σ² scales the prior of μ, and not the reverse
    assert _figures.levels(found) == {"sigma2": 0, "mu": 1, "y": 2}
    cycle = {"a": ("b",), "b": ("a",), "y": ("a", "b")}
    assert _figures.levels(cycle) == {"a": 0, "b": 1, "y": 2}


def test_models_of_the_same_data_are_compared_and_others_are_not() -> None:
    def with_terms(result: CaseResult, location: float) -> _facts.Facts:
        fit = result.estimates[NUTS]
        assert fit.draws is not None
        n = len(result.data["y"])
        terms = np.random.default_rng(0).normal(location, 0.1, (4, 250, n))
        tree = xr.DataTree.from_dict(
            {
                **{name: fit.draws[name].to_dataset() for name in fit.draws.children},
                "log_likelihood": xr.Dataset({"y": (("chain", "draw", "unit"), terms)}),
            }
        )
        return _facts.facts(replace(result, estimates={NUTS: replace(fit, draws=tree)}))

    good, bad = with_terms(bivariate(), -1.0), with_terms(bivariate(), -2.0)
    bad = replace(bad, result=replace(bad.result, model=Gaussian(dim=2, mean_scale=7.0)))
    ((_, table),) = _facts.same_data([good, bad, with_terms(conditional(), -1.0)])
    assert list(table.index) == ["gaussian(dim=2)", "gaussian(dim=2, mean_scale=7.0)"]
    assert table["elpd_diff"].iloc[1] == pytest.approx(-80, rel=0.01)
    (shown_table,) = _model.same_data([("simulated", table)])
    assert shown_table.rows[0][0].text == "gaussian(dim=2)"
    assert len(shown_table.rows) == 2
    (row,) = bivariate().data["y"].dims[:1]
    alone = replace(bivariate(), data=bivariate().data.isel({row: [0]}))
    assert with_terms(alone, -1.0).loo is None  # nothing would be left


def test_every_method_has_its_interval_although_draws_are_unequal() -> None:
    result = bivariate()
    sizes = {fit.draws["posterior"].sizes["draw"] for fit in result.estimates.values() if fit.draws}
    assert len(sizes) > 3  # chains and draws differ, which ArviZ would join to NaN
    known = _facts.facts(result)
    assert {draws.shape[0] for draws in known.drawn.draws.values()} == {2000, 2400, 2500, 4000}
    picture = _drawn.forest(known.found, known.drawn, known.notable)
    assert picture is not None
    drawn = intervals(picture)
    pairs = len(result.estimates) * len(known.notable)
    points = 3  # statsmodels has no standard error of the covariances
    assert drawn >= 2 * (pairs - points)
    # the planted bug: methods that are lost on the way
    alone = replace(known.drawn, methods=(NUTS,))
    empty = _drawn.forest(known.found, alone, known.notable)
    assert empty is not None
    assert intervals(empty) < drawn / 2


def test_a_method_without_draws_is_drawn_as_its_normal_law_and_marked() -> None:
    result = bivariate()
    names = list(scalars(result.model, result.estimates[NUTS]))
    drawn = _draws.comparable(result, names)
    assert set(map(label, drawn.normal)) == {
        "expectation_maximisation",
        "maximum_likelihood[numpyro]",
        "maximum_likelihood[pymc]",
        "statsmodels",
    }
    assert drawn.unreliable == {METHODS["gaussian_vi[numpyro, full_rank]"]}
    method = METHODS["maximum_likelihood[pymc]"]
    fit = result.estimates[method]
    place = [list(map(str, fit.covariance["quantity"].values)).index(name) for name in names]
    mean, sd = flat(fit.location.value)[place], flat(fit.sd.value)[place]
    np.testing.assert_allclose(drawn.moments(method), (mean, sd))
    ends = drawn.quantiles(method, (0.025, 0.5, 0.975))
    np.testing.assert_allclose(ends, [mean - 1.959964 * sd, mean, mean + 1.959964 * sd])
    assert np.all(drawn.moments(METHODS["statsmodels"])[1][2:] == 0)  # undefined: a point
    own = drawn.quantiles(NUTS, (0.5,))
    np.testing.assert_allclose(own, np.median(drawn.draws[NUTS], axis=0)[None])


def test_a_large_model_shows_the_scalars_on_which_methods_differ() -> None:
    names = tuple(f"q[{i}]" for i in range(40))
    moved = {
        "q[17]": {"shift": 2.0},
        "q[33]": {"ratio": 0.2},
        "q[34]": {"shift": float("nan"), "ratio": float("nan")},
    }
    same = {"shift": 0.0, "ratio": 1.0}
    rows = [{"parameter": name, **same, **moved.get(name, {})} for name in names]
    found = _headline.Agreement(NUTS, names, rows)
    assert {"q[17]", "q[33]"} <= set(_headline.notable(found, 5))
    assert _headline.notable(found, 40) == names


def test_convergence_before_alignment_is_shown_where_labels_can_switch() -> None:
    result = bivariate()
    nuts = result.estimates[NUTS]
    record = nuts.record.assign_attrs(rhat_unaligned=1.523, ess_unaligned=7.0)
    switching = {**result.estimates, NUTS: replace(nuts, record=record)}
    for estimates, shown in ((result.estimates, False), (switching, True)):
        known = _facts.facts(replace(result, estimates=estimates))
        tables = _runs.trust(known).tables
        (table,) = [table for table in tables if table.title == "Convergence of the samplers"]
        assert (table.columns[-2:] == ("R-hat unaligned", "ESS unaligned")) is shown
        assert len(table.columns) == len(table.rows[0])
        assert ("1.5230" in [cell.text for cell in table.rows[0]]) is shown


def test_the_exact_posterior_is_the_reference_where_there_is_one() -> None:
    result = bivariate()
    nuts = result.estimates[NUTS]
    assert _headline.agreement(result).reference == NUTS
    exact = METHODS["exact_posterior"]
    known = replace(result, estimates={**result.estimates, exact: from_point(nuts)})
    assert _headline.agreement(known).reference == exact
    sick = {**result.estimates, NUTS: replace(nuts, problems=("R-hat 1.2",))}
    found = _headline.agreement(replace(result, estimates=sick))
    assert found.reference == METHODS["nuts[pymc]"]


# ---------------------------------------------------------------- does it fit


def test_replicates_come_from_whole_simulations_or_given_what_is_known() -> None:
    whole = _draws.replicates(bivariate(), NUTS)
    assert not isinstance(whole, str), whole
    assert {name: array.shape for name, array in whole.replicated.items()} == {
        "length": (100, 80),
        "width": (100, 80),
    }
    given = _draws.replicates(conditional(), NUTS)
    assert not isinstance(given, str), given
    assert {name: array.shape for name, array in given.replicated.items()} == {"y": (100, 9)}
    # the known standard errors 1 … 3 make the third row vary less than the fifth
    deviation = given.replicated["y"].std(axis=0)
    assert deviation[0] < deviation[4]


def test_replicates_are_as_long_as_the_data_and_drawn_jointly() -> None:
    data = Chain().simulate(np.random.default_rng(1), Chain().truth, 50)
    posterior = xr.Dataset({"mu": (("chain", "draw"), np.ones((4, 250)))})
    estimates = {NUTS: from_draws(posterior, ["mu"])}
    found = _draws.replicates(
        replace(bivariate(), model=Chain(), data=data, estimates=estimates), NUTS
    )
    assert not isinstance(found, str), found
    x, y = found.replicated["x"], found.replicated["y"]
    assert x.shape == y.shape == (100, 50)
    assert abs((y - x).std() - 1) < 0.1  # standard error 0.01; about the data it would be 1.7


def test_a_single_observation_is_replicated_as_one_row() -> None:
    def program(n, y=None) -> None:
        p = numpyro.sample("p", dist.Beta(1, 1))
        numpyro.sample("y", dist.Binomial(n, p), obs=y)

    model = adopt(numpyro=program, data={"n": 20, "y": 7})
    posterior = xr.Dataset({"p": (("chain", "draw"), np.full((4, 250), 0.35))})
    given = {"model": model, "data": model.data, "estimates": {NUTS: from_draws(posterior, ["p"])}}
    found = _draws.replicates(replace(bivariate(), **given), NUTS)
    assert not isinstance(found, str), found
    assert found.observed["y"].tolist() == [7]
    assert found.replicated["y"].shape == (100, 1)
    assert abs(found.replicated["y"].mean() - 7) < 1  # standard error 0.2


def test_data_that_do_not_fit_are_said_so() -> None:
    result = bivariate()
    found = _draws.replicates(result, NUTS)
    assert not isinstance(found, str)
    shares = [row["share_below"] for row in _tables.predictive_rows(found)]
    assert np.mean([0.005 < share < 0.995 for share in shares]) > 0.7
    wrong = replace(found, observed={n: 3 * array + 5 for n, array in found.observed.items()})
    shares = [row["share_below"] for row in _tables.predictive_rows(wrong)]
    assert np.mean([0.025 < share < 0.975 for share in shares]) < 0.5


@pytest.mark.parametrize("filler", [0.0, np.nan])
def test_masked_values_are_no_data_that_could_misfit(filler: float) -> None:
    def program(y: np.ndarray, seen: np.ndarray) -> None:
        law = dist.Normal(numpyro.sample("mu", dist.Normal(50.0, 1.0)), 1.0)
        with numpyro.plate("rows", len(y)), numpyro.handlers.mask(mask=seen):
            numpyro.sample("y", law, obs=y)

    seen = np.arange(40) % 4 > 0
    y = np.where(seen, 50 + np.random.default_rng(0).normal(size=40), filler)
    model = cc.adopt(numpyro=program, data={"y": y, "seen": seen})
    posterior = xr.Dataset({"mu": (("chain", "draw"), np.full((4, 250), 50.0))})
    estimates = {NUTS: from_draws(posterior, ["mu"])}
    result = replace(bivariate(), model=model, data=model.data, estimates=estimates)
    found = _draws.replicates(result, NUTS)
    assert not isinstance(found, str), found
    assert found.replicated["y"].shape == (100, 30)
    rows = list(_tables.predictive_rows(found))
    assert all(0.005 < row["share_below"] < 0.995 for row in rows), rows


def test_rows_of_unequal_known_variance_are_standardised_before_they_are_drawn() -> None:
    unequal = _draws.replicates(conditional(), NUTS)
    assert not isinstance(unequal, str), unequal
    drawn = _figures.predictive(unequal)
    assert drawn is not None
    assert "standardised" in drawn.caption
    same = _draws.replicates(bivariate(), NUTS)
    assert not isinstance(same, str), same
    plain = _figures.predictive(same)
    assert plain is not None
    assert "standardised" not in plain.caption


# ---------------------------------------------------------------- numbers and names


@pytest.mark.parametrize(
    ("value", "error", "expected"),
    [
        (3.14159, 0.0157, "3.142 ± 0.016"),
        (-3.14159, 0.157, "−3.14 ± 0.16"),
        (1234.5678, 20.0, "1235 ± 20"),
        (1.23456e-9, 1e-11, "1.235e−09 ± 1.0e−11"),
        (2.5, 0.0, "2.5"),
        (float("nan"), 0.1, "–"),
        (float("-inf"), 0.1, "−∞"),
        (float("inf"), 0.0, "∞"),
        (0.0, 0.0, "0"),
        (0.0, 0.02, "0.000 ± 0.020"),
        (1.0, float("nan"), "1"),
        (1e300, 1e-20, "1.000000000e+300 ± 1.0e−20"),
    ],
)
def test_numbers_have_the_digits_their_error_bears_out(
    value: float, error: float, expected: str
) -> None:
    assert with_error(value, error) == expected
    assert expected.startswith(number(value, error))


def test_names_are_made_visible_and_short() -> None:
    assert visible("a\u202eb\x1b\n") == "a\\u202eb\\u001b\n"
    assert len(short("x" * 10_000, 50)) == 50
    assert short("x" * 50, 50) == "x" * 50


def test_the_index_counts_and_links_every_case(pages: dict[str, Page]) -> None:
    page = pages["index"]
    grades, table = page.tables
    assert grades[0] == [
        "model",
        "simulated",
        HOSTILE.replace("\u202e", "\\u202e"),
        *("schools", "unfitted"),
    ]
    assert [row[0] for row in grades[1:]] == ["gaussian(dim=2)", "random_effects"]
    assert re.fullmatch(r"gaussian-simulated: \d+ ok( \d+ careful)?( \d+ no)?", grades[1][1])
    assert [row[1:] for row in table[1:]] == [
        ["9", "3", "0", "1", "1", "1", "1"],
        ["3", "3", "0", "0", "1", "0", "1"],
        ["2", "1", "0", "0", "0", "0", "0"],
        ["0", "0", "0", "0", "1", "0", "0"],
    ]
    links = {link["href"] for link in page.all("a")}
    assert {"gaussian-simulated.html", "hostile.html", "results.json"} <= links
    assert _page.MEANINGS.keys() == set(_headline.OUTCOMES)


def test_a_program_that_raises_costs_its_graph_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ValueError("an invalid parameter")

    monkeypatch.setattr(_model, "parents", broken)
    unread = {"same_model": (not_comparable("the two programs", "ValueError: invalid"),)}
    result: Any = SimpleNamespace(model=None, data=None, verdicts=unread)
    assert _model._graph(result) is None
    # where the gate has read the programs, a graph that fails is a bug and is seen
    result.verdicts = {"same_model": (*unread["same_model"], Verdict("x", 1.0, 1.0, 0.0, 1e-9))}
    with pytest.raises(ValueError, match="an invalid parameter"):
        _model._graph(result)
