"""Whatever is brought, what is raised is an error of ours: a short message that can be printed.

The inputs are the same in every run: some hundred of each kind, and thousands in the slow tier.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

import concord as cc
from comparisons.case import Case
from comparisons.runs.plan import built, chosen_methods, model_class
from comparisons.runs.settings import numbers, parse_set, read_toml
from comparisons.runs.settings import settings as settings_of
from models.data.files import read
from models.errors import ConcordError, refuse

if TYPE_CHECKING:
    from collections.abc import Callable

UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
FEW, MANY = 50, 1_200


def survives(call: Callable[[], Any]) -> None:
    """A call returns, or raises an error of ours that can be printed and read."""
    try:
        call()
    except ConcordError as error:
        message = str(error)
        message.encode()  # no half characters
        assert not UNPRINTABLE.search(message)
        assert message.strip()
        assert message.rstrip()[-1] not in ":;,("
        assert max(map(len, message.split("\n"))) <= 1_700


def fuzz(inputs: some.SearchStrategy[Any], check: Callable[[Any], None], many: bool) -> None:
    """Checks so many inputs, always the same ones."""

    @settings(
        max_examples=MANY if many else FEW,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs)
    def checked(one: Any) -> None:
        check(one)

    checked()


tiers = pytest.mark.parametrize("many", [False, pytest.param(True, marks=pytest.mark.exhaustive)])

ANY_TEXT = some.text(some.characters(exclude_categories=()), max_size=12)
CELLS = some.one_of(
    some.sampled_from(
        [
            *["", "1", "2.5", "-3", "1,5", "1.234", "1,234", "1.234,5", "12 %", "3 cm", "$4", "−5"],
            *["١٢", "1e5", "1d-2", "inf", "nan", "NA", "-", "?", ".", "-999", "Total", "0x1", "1d"],
            *["2024-01-01", "20240101", "#1", '"', "'", "9e999", "1e-400", "1_0", "\u202e1", "\0"],
            "\x1b[31m",
        ]
    ),
    some.text(max_size=8),
    some.floats().map(str),
    some.integers().map(str),
)


@some.composite
def tables(draw: Any) -> bytes:
    """The bytes of what is nearly a table."""
    separator = draw(some.sampled_from([",", ";", "\t", "|", " ", ", "]))
    end = draw(some.sampled_from(["\n", "\r\n", "\r", "\n\n"]))
    width = draw(some.integers(1, 3))
    rows = draw(some.lists(some.lists(CELLS, min_size=width, max_size=width), max_size=8))
    start = draw(some.sampled_from(["", "# a" + end, "sep=;" + end, "a title" + end, "\ufeff"]))
    named = draw(some.booleans())
    names = [f"c{i}" for i in range(width)] if named else draw(some.lists(CELLS, max_size=3))
    text = start + end.join(separator.join(row) for row in [names, *rows])
    encoding = draw(some.sampled_from(["utf-8", "utf-16", "latin-1", "utf-8-sig"]))
    raw = text.encode(encoding, "replace")
    return raw[: len(raw) - draw(some.sampled_from([0, 0, 0, 1, 3]))]


FILES = some.one_of(tables(), tables(), some.binary(max_size=60), some.text().map(str.encode))

WORDS = ["seed", "jobs", "methods", "cases", "model", "set", "data", "columns", "settings", "nuts"]
VALUES = ["1", "-1", "1.5", '"a"', "[1]", '["nuts"]', "{}", "{k = 2}", "true", "inf", "nan", "0x1"]
VALUES += ["[" * 3_000, "9" * 5_000, "2024-01-01", "10:30:00", "'\\u202e'", "[[", '"\\u001b[31m"']
TOML = some.lists(
    some.one_of(
        some.tuples(some.sampled_from(WORDS), some.sampled_from(VALUES)).map(" = ".join),
        some.sampled_from(["[[cases]]", "[settings.nuts]", "[set]", "# a", "a.b.c = 1", "[a"]),
        some.text(max_size=20),
    ),
    max_size=6,
).map("\n".join)

NAMES = some.one_of(some.sampled_from(["k", "dim", "covariance", "mean_loc", "no"]), ANY_TEXT)
SETS = some.tuples(NAMES, some.one_of(some.sampled_from(VALUES), CELLS, ANY_TEXT)).map("=".join)

THINGS = some.one_of(
    some.none(),
    some.booleans(),
    some.integers(),
    some.sampled_from([10**9, 10**12, 10**5_000, -(10**400), 2.5, "nuts", b"\xff", object(), int]),
    some.sampled_from([cc.NUTS, cc.Gaussian, cc.NUTS(), cc.Gaussian(), np.nan, np.int64(3)]),
    some.floats(),
    some.complex_numbers(),
    ANY_TEXT,
    some.lists(some.one_of(some.none(), some.floats(), some.text(max_size=3)), max_size=4),
    some.dictionaries(some.text(max_size=3), some.lists(some.floats(), max_size=3), max_size=2),
)


@pytest.fixture(autouse=True, scope="module")
def _limit_of_recursion() -> None:
    """PyMC raises it when it is imported, which Hypothesis does not take in a test."""
    import pymc  # noqa: F401


@tiers
def test_files(many: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mine.csv"

        def check(raw: bytes) -> None:
            path.write_bytes(raw)
            survives(lambda: read(path))
            survives(lambda: read(path, ("c0",)))
            survives(lambda: cc.load_data(path, cc.Gaussian()))

        fuzz(FILES, check, many)


@tiers
def test_settings_files(many: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.toml"

        def check(text: str) -> None:
            path.write_bytes(text.encode())
            survives(lambda: read_toml(path))
            survives(lambda: refuse(settings_of({}, path)[1]))

        fuzz(TOML, check, many)


@tiers
def test_hyper_parameters(many: bool) -> None:
    mixture = model_class("gaussian_mixture")

    def check(text: str) -> None:
        survives(lambda: built(mixture, parse_set([text])))
        survives(lambda: chosen_methods("quick", ("nuts",), {"nuts": parse_set([text])}))
        survives(lambda: refuse(numbers("--n", text)[1]))

    fuzz(SETS, check, many)


@tiers
def test_names(many: bool) -> None:
    table = {"height": [1.0, 2.5, 3.0], "\x1b[31m": [1.0, 2.0, 4.0], "x" * 100_000: [1, 2, 3]}

    def check(name: str) -> None:
        survives(lambda: cc.load_data(table, cc.Gaussian(), (name,)))
        survives(lambda: model_class(name))
        survives(lambda: chosen_methods("quick", (name,), {}))
        survives(lambda: cc.load_data(f"{name}.csv", cc.Gaussian()))
        survives(lambda: refuse(settings_of({"methods": (name,), "out": name, "seed": 0})[1]))

    fuzz(some.one_of(ANY_TEXT, some.sampled_from(list(table))), check, many)


@tiers
def test_arguments_in_python(many: bool) -> None:
    numbers_of = [1.0, 2.5, 4.0]

    def check(thing: Any) -> None:
        for cls in (cc.GaussianMixture, cc.RandomEffects, cc.Gaussian, cc.NUTS, cc.Laplace):
            for name in [field.name for field in fields(cls)]:
                survives(lambda cls=cls, name=name: cls(**{name: thing}))
        survives(lambda: cc.load_data(thing, cc.Gaussian()))
        survives(lambda: cc.load_data(numbers_of, thing))
        survives(lambda: cc.load_data(numbers_of, cc.Gaussian(), thing))
        survives(lambda: Case(cc.Gaussian(), numbers_of, methods=thing))
        survives(lambda: Case(cc.Gaussian(), numbers_of, thing, methods=()))
        survives(lambda: Case(cc.Gaussian(), numbers_of, profile=thing, methods=()))
        survives(lambda: cc.groups(thing))
        survives(lambda: cc.compare(thing, numbers_of, methods=3))
        survives(lambda: cc.compare(cc.Gaussian(), numbers_of, latent=thing, methods=3))
        survives(lambda: cc.compare(cc.Gaussian(), numbers_of, tolerance=thing, methods=3))
        data = cc.load_data(numbers_of, cc.Gaussian())
        if not isinstance(thing, np.random.Generator):
            survives(lambda: cc.ClosedForm().fit(cc.Gaussian(), data, thing))

    fuzz(THINGS, check, many)
