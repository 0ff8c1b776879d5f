"""A case remembers its fits, its streams depend on content alone, and failures are data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, final

import jax
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from comparisons.case import Case
from comparisons.runs.flow import case_result, run_case, stored_record
from comparisons.store.entries import Store
from comparisons.verdict import Verdict
from inference.estimate import Estimate, Quantity
from inference.method import Kind, Method, label
from models.catalogue.gaussian import Gaussian
from models.errors import ConfigError, FitError, StoreError
from models.programs.precision import float64_is_on

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from models.spec import Model

BEGUN: list[str] = []
"""Every fit begun since the test began, by label."""

DATA = np.array([1.0, 2.5, 2.0, 4.0])


@final
@dataclass(frozen=True)
class Draw(Method):
    """One random number."""

    step: Literal["one", "two"] = "one"
    scale: float = 1.0
    name: ClassVar[str] = "draw"
    target: ClassVar[Literal["likelihood", "posterior"]] = "posterior"
    kind: ClassVar[Kind] = "optimum"

    def refusal(self, model: Model) -> str:
        return ""

    def fit(self, model: Model, data: xr.Dataset, rng: np.random.Generator) -> Estimate:
        BEGUN.append(label(self))
        value = xr.Dataset({"mu": self.scale * rng.normal()})
        zero = xr.zeros_like(value)
        covariance = xr.DataArray([[1.0]], dims=("quantity", "quantity_"))
        return Estimate(
            Quantity(value, zero), Quantity(zero, zero), 0.0, None, (), value, covariance, "none"
        )


@final
@dataclass(frozen=True)
class Troubled(Method):
    """Refuses, fails or breaks."""

    trouble: Literal["refuses", "fails", "breaks"]
    name: ClassVar[str] = "troubled"
    target: ClassVar[Literal["likelihood", "posterior"]] = "likelihood"
    kind: ClassVar[Kind] = "optimum"

    def refusal(self, model: Model) -> str:
        return "it refuses everything" if self.trouble == "refuses" else ""

    def fit(self, model: Model, data: xr.Dataset, rng: np.random.Generator) -> Estimate:
        BEGUN.append(label(self))
        if self.trouble == "fails":
            raise FitError("it never works")
        raise ZeroDivisionError("a bug\nwith details")


DRAWS = (Draw("one"), Draw("two"))
ALL = (*DRAWS, Troubled("refuses"), Troubled("fails"), Troubled("breaks"))


@pytest.fixture(autouse=True)
def _nothing_begun() -> Iterator[None]:
    BEGUN.clear()
    yield
    BEGUN.clear()


def a_case(**options) -> Case:
    return Case(Gaussian(), DATA, 3, **{"methods": ALL, **options})


def test_a_fit_is_made_once() -> None:
    case = a_case()
    assert case.fit(Draw("one")) is case.fit(Draw("one"))
    assert BEGUN == ["draw[one]"]
    case.fit(Draw("one", scale=2.0))
    assert BEGUN == ["draw[one]", "draw[one]"]


def test_a_stored_fit_is_not_made_again(tmp_path: Path) -> None:
    first = a_case(store=Store(tmp_path)).fit(Draw("one"))
    second = a_case(store=Store(tmp_path)).fit(Draw("one"))
    assert BEGUN == ["draw[one]"]
    xr.testing.assert_identical(first.location.value, second.location.value)


@pytest.mark.parametrize(
    "other",
    [
        lambda store: Case(Gaussian(), DATA, 4, methods=ALL, store=store),
        lambda store: Case(Gaussian(mean_scale=9.0), DATA, 3, methods=ALL, store=store),
        lambda store: Case(Gaussian(), DATA + 1, 3, methods=ALL, store=store),
    ],
    ids=["seed", "model", "data"],
)
def test_what_a_fit_depends_on_changes_its_number_and_its_place(other, tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = a_case(store=store).fit(Draw("one")).location.value
    second = other(store).fit(Draw("one")).location.value
    assert len(BEGUN) == 2
    assert float(first["mu"]) != float(second["mu"])


def test_a_change_of_source_or_version_changes_the_place(monkeypatch, tmp_path: Path) -> None:
    store = Store(tmp_path)
    a_case(store=store).fit(Draw("one"))
    monkeypatch.setattr("comparisons.case.versions", lambda: {"numpy": "0.1"})
    a_case(store=store).fit(Draw("one"))
    monkeypatch.undo()
    monkeypatch.setattr("comparisons.case.source_digest", lambda *sources: "edited")
    a_case(store=store).fit(Draw("one"))
    assert len(BEGUN) == 3


def test_streams_depend_on_content_alone() -> None:
    def number(case: Case, *words: str) -> float:
        return float(case.rng(*words).random())

    case = a_case()
    assert number(case, "a", "b") == number(a_case(data_name="other", methods=()), "a", "b")
    assert number(case, "a") == number(Case(Gaussian(mean_loc=0), list(DATA), 3, methods=()), "a")
    others = [number(case, "a", "c"), number(case, "ab"), number(case, "a b"), number(case)]
    assert len({number(case, "a", "b"), *others}) == 5
    # order and selection change no number
    alone = a_case(methods=(Draw("two"),)).fit(Draw("two")).location.value
    xr.testing.assert_identical(alone, a_case().estimates()[Draw("two")].location.value)


def test_estimates_leave_out_refusals_and_failures() -> None:
    case = a_case()
    assert list(case.estimates()) == list(DRAWS)
    assert list(case.estimates("posterior")) == list(DRAWS)
    assert list(case.estimates("likelihood")) == []
    assert case.refusals == {Troubled("refuses"): "it refuses everything"}
    assert case.failures == {
        Troubled("fails"): "it never works",
        Troubled("breaks"): "ZeroDivisionError: a bug",
    }


def test_failures_are_remembered_but_never_stored(tmp_path: Path) -> None:
    case = a_case(store=Store(tmp_path))
    for _ in range(2):
        with pytest.raises(FitError, match="it never works"):
            case.fit(Troubled("fails"))
        with pytest.raises(FitError, match="refuses everything"):
            case.fit(Troubled("refuses"))
    assert BEGUN == ["troubled[fails]"]
    assert not list(tmp_path.iterdir())


def test_a_sibling_shares_all_but_the_model(tmp_path: Path) -> None:
    case = a_case(store=Store(tmp_path), profile="quick")
    other = case.sibling(Gaussian(mean_scale=2.0))
    assert case.sibling(Gaussian(mean_scale=2.0)) is other
    assert other.sibling(Gaussian()) is case
    assert (other.seed, other.profile, other.methods) == (case.seed, "quick", case.methods)
    with pytest.raises(FitError):
        other.fit(Troubled("fails"))
    assert list(case.failed) == ["troubled[fails] of mean_scale=2.0"]
    assert list(other.failures) == [Troubled("fails")]
    assert not case.failures
    # by what sets it apart from the case's own model, whichever sibling is asked
    third = other.sibling(Gaussian(mean_loc=1.0, mean_scale=2.0))
    assert third._name(Draw("one")).endswith(" of mean_loc=1.0, mean_scale=2.0")
    case.fit(Draw("one"))
    other.fit(Draw("one"))
    a_case(store=Store(tmp_path)).sibling(other.model).fit(Draw("one"))
    assert BEGUN == ["troubled[fails]", "draw[one]", "draw[one]"]


def test_progress_is_told_of_every_fit(tmp_path: Path) -> None:
    events: list[tuple[str, str]] = []

    def listen(event: str, name: str, seconds: float) -> None:
        assert seconds >= 0
        events.append((event, name))

    a_case(
        store=Store(tmp_path), methods=(Draw("one"), Troubled("fails")), progress=listen
    ).estimates()
    a_case(store=Store(tmp_path), methods=DRAWS[:1], progress=listen).estimates()
    assert events == [
        ("fit", "draw[one]"),
        ("fitted", "draw[one]"),
        ("fit", "troubled[fails]"),
        ("failed", "troubled[fails]"),
        ("stored", "draw[one]"),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"seed": -1}, "seed"), ({"seed": 1.5}, "seed"), ({"profile": "fast"}, "profile")],
)
def test_unusable_settings_are_refused(options, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Case(Gaussian(), DATA, **options, methods=ALL)


# --- the flow of a case -------------------------------------------------------------------------


class Statement:
    """A comparison for tests, in the place of a module."""

    def __init__(self, name: str, *verdicts: Verdict | Exception, fits: bool = False) -> None:
        self.__name__ = name
        self.__doc__ = f"Statement {name}.\n\nAnd its conditions."
        self.__file__ = __file__
        self.verdicts = verdicts
        self.fits = fits
        self.compared = 0

    def compare(self, case: Case) -> Iterator[Verdict]:
        self.compared += 1
        if self.fits:
            case.estimates()
        for verdict in self.verdicts:
            if isinstance(verdict, Exception):
                raise verdict
            yield verdict


AGREES = Verdict("x", 1.0, 1.0, 0.0, 0.1)
DIFFERS = Verdict("x", 2.0, 1.0, 0.0, 0.1)


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> dict[str, Statement]:
    found = {
        "same_model": Statement("same_model", AGREES),
        "breaks": Statement("breaks", AGREES, ZeroDivisionError("a bug")),
        "differs": Statement("differs", DIFFERS, fits=True),
        "silent": Statement("silent"),
    }
    monkeypatch.setattr("comparisons.runs.flow.chosen", lambda only: found)
    monkeypatch.setattr("comparisons.case.source_digest", lambda *sources: "source")
    return found


def run(case: Case, store: Store, skip: dict[str, str] | None = None):
    record = run_case(case, (), store, lambda *event: None, skip or {})
    return json.loads(json.dumps(record))


def result(case: Case, store: Store, record):
    return case_result("a-case", ["x"], case, record, store)


def outcomes(found) -> dict[str, list[str]]:
    return {name: [v.outcome for v in verdicts] for name, verdicts in found.verdicts.items()}


def test_a_case_runs_from_gate_to_record(statements, tmp_path: Path) -> None:
    store = Store(tmp_path)
    case = a_case(store=store)
    found = result(case, store, run(case, store))
    assert outcomes(found) == {
        "same_model": ["AGREE"],
        "breaks": ["NOT COMPARABLE"],
        "differs": ["DIFFER"],
        "silent": [],
    }
    assert "ZeroDivisionError: a bug" in found.verdicts["breaks"][0].cause
    assert found.titles["silent"] == "Statement silent"
    assert list(found.estimates) == list(DRAWS)
    assert set(found.failures) == {"troubled[fails]", "troubled[breaks]"}
    assert all(path.is_file() for path in found.files.values())
    xr.testing.assert_identical(
        found.estimates[Draw("one")].location.value, case.fit(Draw("one")).location.value
    )


@pytest.mark.parametrize(
    "gate", [DIFFERS, Verdict("x", float("nan"), 1.0, 0.0, 0.1), ZeroDivisionError("a bug")]
)
def test_a_closed_gate_fits_nothing(gate, statements, tmp_path: Path) -> None:
    statements["same_model"].verdicts = (AGREES, gate)
    store = Store(tmp_path)
    found = result(a_case(), store, run(a_case(), store))
    assert BEGUN == []
    assert not found.estimates
    for name in ("breaks", "differs", "silent"):
        assert outcomes(found)[name] == ["NOT COMPARABLE"]
        assert "not shown to be one model" in found.verdicts[name][0].cause
    assert statements["differs"].compared == 0


def test_a_table_that_kills_its_workers_is_left_out(statements, tmp_path: Path) -> None:
    statements["differs"].table = lambda case: pytest.fail("it was attempted once more")
    store = Store(tmp_path)
    record = run(a_case(store=store), store, {"table of differs": "the worker died twice"})
    assert record["tables"] == {}
    assert record["problems"]["differs"] == "the worker died twice"
    assert "table of differs" not in record["failures"]
    assert record["verdicts"]["differs"]


def test_tables_are_made_in_float64_whatever_is_stored(statements, tmp_path: Path) -> None:
    del statements["breaks"]
    statements["differs"].table = lambda case: pd.DataFrame({"on": [float64_is_on()]})
    case = a_case(store=Store(tmp_path))
    with jax.enable_x64(False):
        record = run(case, Store(tmp_path))
    assert record["tables"]["differs"]["on"] == [True]


def test_an_unchanged_case_is_not_computed_again(statements, tmp_path: Path) -> None:
    del statements["breaks"]
    store = Store(tmp_path)
    record = run(a_case(methods=DRAWS, store=store), store)
    again = stored_record(a_case(methods=DRAWS), (), store)
    assert again == record
    first, second = (result(a_case(methods=DRAWS), store, r) for r in (record, again))
    assert first.key == second.key
    # a damaged fit is found although nothing else changed
    next(iter(first.files.values())).write_bytes(b"")
    with pytest.warns(UserWarning, match="corrupt"):
        assert stored_record(a_case(methods=DRAWS), (), store) is None
    run(a_case(methods=DRAWS, store=store), store)
    assert BEGUN == ["draw[one]", "draw[two]", "draw[one]"]
    assert [s.compared for s in statements.values()] == [1, 1, 1]
    vanished = first.files[Draw("two")]
    vanished.unlink()
    with pytest.warns(UserWarning, match="missing"), pytest.raises(StoreError, match="vanished"):
        first.estimates[Draw("two")]


def test_a_case_with_failures_is_tried_again(statements, tmp_path: Path) -> None:
    store = Store(tmp_path)
    for _ in range(2):
        run(a_case(store=store), store)
        assert stored_record(a_case(), (), store) is None
    assert BEGUN.count("draw[one]") == 1
    assert BEGUN.count("troubled[fails]") == 2
    assert {name: s.compared for name, s in statements.items()} == {
        "same_model": 1,
        "breaks": 2,  # what failed is not kept
        "differs": 1,
        "silent": 1,
    }


def test_what_killed_two_workers_is_left_out(statements, tmp_path: Path) -> None:
    store = Store(tmp_path)
    skip = {"draw[one]": "killed twice", "differs": "killed twice too"}
    found = result(a_case(), store, run(a_case(), store, skip))
    assert found.failures["draw[one]"] == "killed twice"
    assert "draw[one]" not in BEGUN
    assert found.verdicts["differs"][0].cause == "killed twice too"
