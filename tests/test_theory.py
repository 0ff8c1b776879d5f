"""Theory entries: what they show is kept, a failure is data, one row per claim."""

from __future__ import annotations

import csv
import inspect
import json
import math
import re
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import pytest

from comparisons import theory
from comparisons.exhibits import Curves, Table
from comparisons.report.pages.theory import write
from comparisons.runs import theory as _theory
from comparisons.runs.executor import Here
from comparisons.store.entries import Store
from comparisons.theory._claims import Measured, at_least, equal
from comparisons.verdict import Verdict
from models.errors import FitError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from comparisons.exhibits import Shown


def entry(name: str, bias: float = 0.0, *, fails: bool = False) -> ModuleType:
    module = ModuleType(name, f"The mean of {name}.\n\nReference: none.")
    module.__file__ = __file__

    def show(rng: np.random.Generator, effort: int) -> Iterator[Shown]:
        size = 10_000 * effort
        mean = float(rng.normal(bias, size=size).mean())
        statement = "Normal draws have mean zero."
        yield Verdict("mean", mean, 0, size**-0.5, 0.1, statement=statement)
        if fails:
            raise RuntimeError("it broke")
        yield Curves("Error", "N", "error", {"a": ([1.0, 10.0], [1.0, 0.1])}, {}, "xy")
        yield Table("Costs", ("name", "cost"), (("x", 1.5), ("y", math.nan)))

    module.__file__ = theory.__file__
    module.show = show  # pyright: ignore[reportAttributeAccessIssue]
    return module


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    modules = {"a": entry("a"), "b": entry("b", fails=True), "c": entry("c", bias=0.3)}
    monkeypatch.setattr(_theory, "catalogue", lambda: modules)


def shown(path: Path, told: list[tuple[str, str]]) -> list[_theory.Demonstration]:
    return _theory.demonstrations(
        0, 1, Store(path), Here(), lambda event, name, _: told.append((event, name))
    )


def test_what_was_shown_is_kept_and_what_failed_is_not(three: None, tmp_path: Path) -> None:
    first, second = [], []
    once, again = shown(tmp_path, first), shown(tmp_path, second)
    assert first == [
        ("fit", "a"), ("fitted", "a"), ("fit", "b"), ("failed", "b"), ("fit", "c"), ("fitted", "c"),
    ]  # fmt: skip
    assert second == [("stored", "a"), ("stored", "c"), ("fit", "b"), ("failed", "b")]
    assert [once[0].claims, once[2].claims] == [again[0].claims, again[2].claims]


def test_a_failure_keeps_what_came_before_and_is_a_claim_of_its_own(
    three: None, tmp_path: Path
) -> None:
    _, broken, _ = shown(tmp_path, [])
    assert broken.failure == "RuntimeError: it broke"
    assert [claim.outcome for claim in broken.claims] == ["AGREE", "NOT COMPARABLE"]


def test_numbers_depend_on_the_name_the_seed_and_the_effort_alone(three: None) -> None:
    def number(name: str, seed: int, effort: int) -> float:
        return _theory.content(name, seed, effort)["shown"][0]["observed"]

    assert number("a", 0, 1) == number("a", 0, 1)
    assert len({number("a", 0, 1), number("c", 0, 1), number("a", 1, 1), number("a", 0, 4)}) == 4


def test_a_bias_is_caught_and_told(three: None, tmp_path: Path) -> None:
    found = shown(tmp_path / "store", [])
    page = write(found, tmp_path, "the command")
    with (tmp_path / "theory.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["verdict"] for row in rows] == ["AGREE", "AGREE", "NOT COMPARABLE", "DIFFER"]
    assert [row["comparison"] for row in rows] == ["a", "b", "b", "c"]
    assert rows[0]["claim"] == "Normal draws have mean zero (mean)"
    text = page.read_text(encoding="utf-8")
    assert "2 of 4 claims hold" in text
    assert "Normal draws have mean zero" in text
    assert (
        len(re.findall(r"<summary>[^<]*: (all hold|1 not shown to hold) \(\d rows?\)", text)) == 3
    )
    assert text.count('class="number">bound</th>') == 3
    assert "b: RuntimeError: it broke" in text
    assert all(f'href="theory-{name}.html"' in text for name in "abc")
    entry_page = (tmp_path / "theory-a.html").read_text(encoding="utf-8")
    assert "<img" in entry_page
    assert 'href="theory.html"' in entry_page
    kept = json.loads((tmp_path / "theory.json").read_text(encoding="utf-8"))
    assert kept[0]["shown"][2]["rows"] == [["x", 1.5], ["y", None]]
    listed = (tmp_path / "studies.html").read_text(encoding="utf-8")
    assert 'href="theory.html"' in listed


def test_every_entry_states_its_theorem() -> None:
    for name, module in _theory.catalogue().items():
        first, _, rest = (inspect.getdoc(module) or "").partition("\n")
        assert first.endswith("."), name
        assert "Reference" in rest, name
        assert list(inspect.signature(module.show).parameters) == ["rng", "effort"], name


def test_a_number_needs_a_bound_or_an_error() -> None:
    with pytest.raises(FitError, match="needs a bound"):
        equal("One is one.", "one", 1.0, 1.0, 0.0)
    assert equal("One is one.", "one", Measured(1.0, 0.1), 1.0, 1.0).outcome == "AGREE"
    assert at_least("One is no less than one.", "one", 1.0, 1.0, 0.1).outcome == "AGREE"
    assert at_least("One is no less than two.", "one", 1.0, 2.0, 0.1).outcome == "DIFFER"
