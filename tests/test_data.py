"""Whatever data a user brings: one answer from every container, a sentence for every mistake."""

from __future__ import annotations

import decimal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
import pandas as pd
import polars as pl
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import models.data.column
import models.data.dataset
import models.data.undefined
import models.data.variables
from models.catalogue.gaussian import Gaussian
from models.data.dataset import as_dataset, content_hash, coords, standardise
from models.data.files import bundled, bundled_names, read
from models.data.undefined import undefined
from models.errors import ConfigError, DataError, ModelError
from models.spec import Model

X = np.array([1.5, -2.0, 4.0, 8.25])
TABLE = np.arange(12.0).reshape(6, 2) ** 2


@dataclass(frozen=True)
class Fake(Model):
    """A schema without a density: checking data must never reach a program."""

    name: ClassVar[str] = "fake"
    free_dims: ClassVar[tuple[str, ...]] = ("variable",)

    @property
    def parameters(self) -> tuple:
        return ()

    @property
    def truth(self) -> dict:
        return {}

    def simulate(self, rng: np.random.Generator, values: Any, n: int) -> xr.Dataset:
        return xr.Dataset({"y": (("obs", "variable"), rng.normal(size=(n, 3)))})

    def start(self, rng: np.random.Generator, data: xr.Dataset) -> dict:
        raise AssertionError

    def numpyro(self, data: xr.Dataset) -> None:
        raise AssertionError

    def pymc(self, data: xr.Dataset) -> Any:
        raise AssertionError


class Scalar(Fake):
    def simulate(self, rng: np.random.Generator, values: Any, n: int) -> xr.Dataset:
        return xr.Dataset({"y": ("obs", rng.normal(size=n))})


@dataclass(frozen=True)
class Columns(Fake):
    """Columns of a fixed number, as `Gaussian(dim=…)`."""

    dim: int = 3
    free_dims: ClassVar[tuple[str, ...]] = ()

    def simulate(self, rng: np.random.Generator, values: Any, n: int) -> xr.Dataset:
        return xr.Dataset({"y": (("obs", "variable"), rng.normal(size=(n, self.dim)))})


@dataclass(frozen=True)
class Factors(Fake):
    order: int = 1
    orders: ClassVar[tuple[int, ...]] = (1, 2)

    def with_order(self, order: int) -> Factors:
        return Factors(order)


@dataclass(frozen=True)
class Components(Scalar):
    labels: int = 3

    def label_features(self, values: Any) -> Any:
        raise AssertionError

    def relabel(self, values: Any, permutation: Any) -> Any:
        raise AssertionError


class KnownNoise(Fake):
    def simulate(self, rng: np.random.Generator, values: Any, n: int) -> xr.Dataset:
        return xr.Dataset({"y": ("group", rng.normal(size=n)), "sigma": ("group", np.ones(n))})


class Grouped(Fake):
    group_variables = ("group",)

    def simulate(self, rng: np.random.Generator, values: Any, n: int) -> xr.Dataset:
        return xr.Dataset(
            {"y": ("obs", rng.normal(size=2 * n)), "group": ("obs", np.arange(2 * n) // 2)}
        )


class Regression(Fake):
    def simulate(self, rng: np.random.Generator, values: Any, n: int) -> xr.Dataset:
        x = rng.normal(size=(n, 2))
        return xr.Dataset({"x": (("obs", "variable"), x), "y": ("obs", x.sum(axis=1))})


def refused(data: Any, model: Model, *parts: str, columns: tuple[str, ...] = ()) -> None:
    """The data are refused with a message that has all the parts."""
    with pytest.raises(DataError) as caught:
        as_dataset(data, model, columns, "mine")
    message = str(caught.value)
    assert message.startswith("mine")
    for part in parts:
        assert part in message, message


# ---------------------------------------------------------------- missing and unusable values

MISSING = {
    "nan in an array": np.array([1.0, np.nan, 3.0]),
    "nan in a list": [1.0, float("nan"), 3.0],
    "None in a list": [1.0, None, 3.0],
    "None in an object array": np.array([1.0, None, 3.0], dtype=object),
    "pandas NA in a list": [1.0, pd.NA, 3.0],
    "NaT in a list": [1.0, pd.NaT, 3.0],
    "nan as a decimal": [decimal.Decimal(1), decimal.Decimal("NaN"), 1],
    "masked array": np.ma.array([1.0, 2.0, 3.0], mask=[0, 1, 0]),
    "masked integers": np.ma.array([1, 2, 3], mask=[0, 1, 0]),
    "masked element of a list": [1.0, np.ma.masked, 3.0],
    "nan under a mask elsewhere": np.ma.array([1.0, np.nan, 3.0], mask=False),
    "Series": pd.Series([1.0, None, 3.0]),
    "nullable integers": pd.Series([1, None, 3], dtype="Int64"),
    "Arrow floats": pd.Series([1.0, None, 3.0], dtype="float64[pyarrow]"),
    "DataFrame": pd.DataFrame({"a": [1.0, np.nan, 3.0]}),
    "polars Series": pl.Series("a", [1, None, 3]),
    "polars DataFrame": pl.DataFrame({"a": [1.0, None, 3.0]}),
    "DataArray": xr.DataArray([1.0, np.nan, 3.0]),
    "dict": {"a": [1.0, None, 3.0]},
    "dict of a masked array": {"a": np.ma.array([1.0, 2.0, 3.0], mask=[0, 1, 0])},
}


@pytest.mark.parametrize("data", MISSING.values(), ids=MISSING.keys())
def test_missing_values_are_refused(data: Any) -> None:
    refused(data, Scalar(), "1 missing value", "row 1 ", "drop or impute")


def test_a_mask_survives_a_list_of_rows() -> None:
    row = np.ma.array([1.0, 2.0, 3.0], mask=[0, 1, 0])
    refused([row, row], Fake(), "2 missing values", "rows 0, 1 ")


def test_many_missing_values_are_counted_and_the_first_rows_named() -> None:
    values = np.ones((20, 3))
    values[4:13, 1] = np.nan
    frame = pd.DataFrame(values, columns=["a", "b", "c"])
    refused(frame, Fake(), "column 'b'", "9 missing values", "rows 4, 5, 6, 7, 8, …")


def test_every_bad_column_is_named_at_once() -> None:
    frame = pd.DataFrame({"a": [1.0, np.nan], "b": [1.0, 2.0], "c": [np.inf, 1.0]})
    refused(frame, Fake(), "column 'a' has 1 missing", "column 'c' has 1 infinite")


UNUSABLE = {
    "inf": (pd.DataFrame({"a": [1.0, np.inf]}), "infinite", "row 1"),
    "-inf": (pl.DataFrame({"a": [1.0, -np.inf]}), "infinite", "row 1"),
    "complex": (pd.DataFrame({"a": [1.0, 2j]}), "complex", "real numbers"),
    "complex without imaginary part": ({"a": np.array([1.0 + 0j])}, "complex", "row 0"),
    "complex in a list": ({"a": [1.0, 2.0, 1j]}, "complex", "row 2"),
    "bool": (pd.DataFrame({"a": [True, False]}), "truth values", "row 0"),
    "bool among numbers": ({"a": [1, 2, True]}, "truth values", "row 2"),
    "text": (pd.DataFrame({"a": ["1", "2"]}), "text", "'1'"),
    "text among numbers": ({"a": [1.0, "two"]}, "text", "'two' in row 1"),
    "bytes": ({"a": np.array([b"1"])}, "bytes", "row 0"),
    "categories": (pd.DataFrame({"a": pd.Categorical(["u", "v"])}), "categories", "numbers"),
    "categories of numbers": (pd.DataFrame({"a": pd.Categorical([1, 2])}), "categories", "numbers"),
    "polars categories": (
        pl.DataFrame({"a": pl.Series(["u"], dtype=pl.Categorical)}),
        "categories",
        "numbers",
    ),
    "dates": (pd.DataFrame({"a": pd.to_datetime(["2020-01-01"])}), "dates", "2020"),
    "dates with a time zone": (
        pd.DataFrame({"a": pd.to_datetime(["2020-01-01"]).tz_localize("UTC")}),
        "Timestamp",
        "2020",
    ),
    "durations": ({"a": np.array([3], dtype="m8[s]")}, "time differences", "row 0"),
    "huge integers": ({"a": [10**400]}, "float64", "rescale"),
    "nested": (pd.DataFrame({"a": [[1, 2], [3]]}), "lists", "row 0"),
    "dicts": ({"a": [{}]}, "dict", "row 0"),
}


@pytest.mark.parametrize(("data", "kind", "where"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_unusable_values_are_refused_naming_the_column(data: Any, kind: str, where: str) -> None:
    refused(data, Scalar(), "column 'a'", kind, where)


@pytest.mark.parametrize("data", [[[1, 2], [3]], [[1, 2], 3], ([1.0], [1.0, 2.0])])
def test_ragged_rows_are_refused(data: Any) -> None:
    refused(data, Fake(), "ragged", "one length")


def test_a_ragged_dict_names_both_lengths() -> None:
    refused({"a": [1, 2], "b": [1, 2, 3]}, Fake(), "a: 2", "b: 3")


# ------------------------------------------------------------------------------------- shapes

EMPTY = [[], np.empty(0), np.empty((0, 1)), pd.DataFrame(), pd.DataFrame({"a": []}), {}]


@pytest.mark.parametrize("data", [*EMPTY, xr.DataArray(np.empty(0)), pl.DataFrame({"a": []})])
def test_empty_data_are_refused(data: Any) -> None:
    refused(data, Scalar(), "empty", "y (obs) of shape (any)")


def test_no_columns_are_refused() -> None:
    refused(np.empty((5, 0)), Fake(), "empty", "(5, 0)", "y (obs, variable) of shape (any, any)")


@pytest.mark.parametrize("data", [None, "mine.csv", {1.0, 2.0}, 3.0, np.float64(3), object()])
def test_what_is_no_array_is_refused(data: Any) -> None:
    refused(data, Scalar(), type(data).__name__)


def test_wrong_number_of_dimensions_names_both_shapes() -> None:
    refused(np.ones((2, 3, 4)), Fake(), "(2, 3, 4)", "(obs, variable)")
    refused(np.ones(7), Fake(), "(7,)", "y (obs, variable)", "two dimensions")
    refused(np.ones(7), Columns(), "(7,)", "(any, 3)")


def test_transposed_data_are_recognised() -> None:
    refused(np.ones((3, 9)), Columns(), "(3, 9)", "(any, 3)", "transposed", "(obs, variable)")
    refused(np.ones((1, 9)), Scalar(), "(1, 9)", "transposed")


def test_named_dims_are_transposed_by_name() -> None:
    block = xr.DataArray(TABLE.T, dims=("variable", "obs"))
    assert (as_dataset(block, Fake())["y"].values == TABLE).all()


def test_a_wrong_number_of_columns_says_both_and_hints_at_dim() -> None:
    refused(np.ones((9, 5)), Columns(), "5 columns", "(any, 3)", "--set dim=5", "--column")
    refused(pd.DataFrame(np.ones((9, 2)), columns=["u", "v"]), Columns(), "'u', 'v'", "dim=2")
    with pytest.raises(DataError) as caught:
        as_dataset(np.ones((9, 5)), Scalar())
    assert "--set" not in str(caught.value)


# ---------------------------------------------------------------------------- column binding


def test_one_of_several_columns_must_be_chosen() -> None:
    frame = bundled("faithful")
    refused(
        frame,
        Gaussian(),
        "'eruptions', 'waiting'",
        "choose one (on the command line: --column)",
        "--set dim=2",
    )
    chosen = as_dataset(frame, Gaussian(), ("waiting",))
    assert (chosen["y"].values == frame["waiting"]).all()
    assert chosen["y_column"].item() == "waiting"


def test_columns_are_bound_in_the_chosen_order() -> None:
    data = as_dataset(bundled("iris"), Columns(dim=2), ("Petal.Width", "Sepal.Length"))
    assert coords(data)["variable"].tolist() == ["Petal.Width", "Sepal.Length"]
    assert data["y"].values[0].tolist() == [0.2, 5.1]


def test_columns_that_are_not_numbers_matter_only_when_needed() -> None:
    iris = bundled("iris")
    assert as_dataset(iris, Gaussian(dim=4)).sizes["variable"] == 4
    assert as_dataset(iris[["Species", "Petal.Width"]], Scalar()).sizes["obs"] == 150
    refused(iris, Columns(dim=5), "column 'Species' holds text", "'setosa'")
    refused(iris, Scalar(), "column 'Species' holds text", columns=("Species",))
    holes = iris.assign(hole=np.nan)
    assert as_dataset(holes, Scalar(), ("Petal.Width",)).sizes["obs"] == 150


def test_an_unknown_column_lists_the_valid_ones() -> None:
    with pytest.raises(ConfigError, match=r"unknown column 'eruption'.*'eruptions'.*waiting"):
        as_dataset(bundled("faithful"), Scalar(), ("eruption",))


def test_a_column_chosen_or_named_twice_is_refused() -> None:
    refused(bundled("faithful"), Fake(), "twice", columns=("waiting", "waiting"))
    refused(pd.DataFrame(np.ones((3, 2)), columns=["a", "a"]), Fake(), "'a'", "twice")


def test_positions_choose_columns_without_names() -> None:
    assert (as_dataset(TABLE, Scalar(), ("1",))["y"].values == TABLE[:, 1]).all()


def test_several_variables_bind_by_name() -> None:
    schools = bundled("eight_schools")
    for data in (
        schools,
        schools[["sigma", "y"]],
        schools.assign(extra=1.0),
        schools.to_dict("list"),
        pl.from_pandas(schools),
        xr.Dataset.from_dataframe(schools),
    ):
        bound = as_dataset(data, KnownNoise())
        assert (bound["y"].values == schools["y"]).all()
        assert (bound["sigma"].values == schools["sigma"]).all()
        assert bound["sigma"].dims == ("group",)


def test_several_variables_bind_in_the_chosen_order() -> None:
    frame = bundled("eight_schools").rename(columns={"y": "effect", "sigma": "error"})
    refused(frame, KnownNoise(), "'effect', 'error'", "y, sigma", "--column")
    bound = as_dataset(frame, KnownNoise(), ("error", "effect"))
    assert (bound["y"].values == frame["error"]).all()
    assert bound["y_column"].item() == "error"
    refused(frame, KnownNoise(), "1 column", "needs 2", columns=("effect",))
    assert (as_dataset(TABLE, KnownNoise())["sigma"].values == TABLE[:, 1]).all()


def test_series_in_a_dict_align_by_their_index() -> None:
    y = pd.Series([1.0, 2.0], index=["a", "b"])
    sigma = pd.Series([20.0, 10.0], index=["b", "a"])
    bound = as_dataset({"y": y, "sigma": sigma}, KnownNoise())
    assert bound["sigma"].sel(group="b").item() == 20.0


def test_a_block_and_a_column_bind_together() -> None:
    x, y = np.ones((4, 5)), np.arange(4.0)
    by_name = as_dataset({"y": y, "x": x}, Regression())
    assert by_name.sizes == {"obs": 4, "variable": 5}
    frame = pd.DataFrame(np.column_stack([x, y]), columns=[*"abcdz", "target"])
    dealt = as_dataset(frame, Regression(), tuple(frame.columns))
    assert (dealt["y"].values == y).all()
    assert coords(dealt)["variable"].tolist() == list("abcdz")
    refused({"x": x, "y": y[:3]}, Regression(), "x: 4", "y: 3")


LABELS = {
    "text": ["b", "a", "b", "c"],
    "integers": [20, 10, 20, 30],
    "whole floats": [20.0, 10.0, 20.0, 30.0],
    "categories": pd.Series(["b", "a", "b", "c"], dtype="category"),
    "polars categories": pl.Series(["b", "a", "b", "c"], dtype=pl.Categorical),
    "dates": np.array(["2021", "2020", "2021", "2022"], dtype="M8[Y]"),
    "wide integers": [2**70 + 1, 2**70, 2**70 + 1, 3 * 2**70],
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS.keys())
def test_labels_become_codes_and_are_kept(labels: Any) -> None:
    data = as_dataset({"y": X, "group": labels}, Grouped())
    assert data["group"].values.tolist() == [1, 0, 1, 2]
    kept = data["group_label"].values
    assert [str(kept[g]) for g in data["group"].values] == [
        str(int(c) if isinstance(c, float) else c) for c in list(labels)
    ]
    again = as_dataset(data, Grouped())
    assert again.identical(data)


def test_labels_do_not_depend_on_the_order_of_rows() -> None:
    groups = np.array(["b", "a", "c", "b"])
    order = [2, 0, 3, 1]
    data = as_dataset({"y": X, "group": groups}, Grouped())
    permuted = as_dataset({"y": X[order], "group": groups[order]}, Grouped())
    assert permuted["group_label"].equals(data["group_label"])
    assert (permuted["group"].values == data["group"].values[order]).all()


def test_bad_labels_are_refused() -> None:
    refused({"y": X, "group": [0.5, 1, 2, 3]}, Grouped(), "0.5", "row 0", "strings or integers")
    refused({"y": X, "group": ["a", None, "b", "c"]}, Grouped(), "1 missing value", "row 1")
    refused({"y": X, "group": [1, "1", 2, 2]}, Grouped(), "read the same")
    refused({"y": X, "group": [[1], [2], [3], [4, 5]]}, Grouped(), "ragged")


# ------------------------------------------------------------------- the same answer for all

VALUES = arrays(
    np.float64,
    st.tuples(st.integers(1, 6), st.integers(2, 4)),
    elements=st.integers(-1000, 1000).map(float),
)


@settings(max_examples=40, deadline=None)
@given(VALUES)
def test_containers_without_names_give_the_same_answer(values: np.ndarray) -> None:
    expected = as_dataset(values, Fake())
    strided = np.repeat(values, 2, axis=0)[::2]
    read_only = values.copy()
    read_only.setflags(write=False)
    n, d = values.shape
    containers = (
        values.astype(np.float32),
        values.astype(np.int16),
        values.astype(">f8"),
        values.astype(">i4"),
        values.astype(np.longdouble),
        values.astype(object),
        np.asfortranarray(values),
        np.ma.array(values, mask=False),
        strided,
        values[::-1][::-1],
        read_only,
        values.tolist(),
        [tuple(map(int, row)) for row in values],
        jnp.asarray(values),
        pd.DataFrame(values),
        pd.DataFrame(values).astype("Int64"),
        xr.DataArray(values),
        xr.DataArray(values, dims=("obs", "variable")),
        xr.DataArray(values, coords={"obs": np.arange(n), "variable": np.arange(d)}),
        xr.Dataset({"y": (("obs", "variable"), values)}),
        xr.Dataset({"other": (("row", "column"), values)}),
        {"y": values},
        expected,
    )
    for data in containers:
        result = as_dataset(data, Fake())
        assert result.identical(expected)
        assert content_hash(result) == content_hash(expected)
        assert result["y"].dtype == np.dtype("float64")
        assert result["y"].values.flags.c_contiguous


@settings(max_examples=40, deadline=None)
@given(VALUES)
def test_tables_with_names_give_the_same_answer(values: np.ndarray) -> None:
    names = ["a", "b", "c", "d"][: values.shape[1]]
    frame = pd.DataFrame(values, columns=names)
    expected = as_dataset(frame, Fake())
    assert (expected["y"].values == values).all()
    assert coords(expected)["variable"].tolist() == names
    containers = (
        frame.astype("float32"),
        frame.astype("int64[pyarrow]"),
        pl.DataFrame(values, schema=names),
        pl.DataFrame(values, schema=names).cast(pl.Int32),
        {name: frame[name] for name in names},
        {name: values[:, j].tolist() for j, name in enumerate(names)},
        np.rec.fromarrays(list(values.T), names=names),
        xr.DataArray(values, dims=("obs", "variable"), coords={"variable": names}),
        xr.Dataset({name: ("obs", values[:, j]) for j, name in enumerate(names)}),
        expected,
    )
    for data in containers:
        result = as_dataset(data, Fake())
        assert result.identical(expected)
        assert content_hash(result) == content_hash(expected)


@pytest.mark.parametrize(
    "data",
    [
        pd.Series(X, name="length"),
        pd.DataFrame({"length": X}),
        pl.Series("length", X),
        xr.DataArray(X, dims="obs", name="length"),
        {"length": X.tolist()},
        pd.DataFrame({"length": X, "text": "t"}),
    ],
)
def test_a_single_column_keeps_its_name(data: Any) -> None:
    result = as_dataset(data, Scalar())
    assert result["y_column"].item() == "length"
    assert result.drop_attrs().identical(as_dataset(pd.Series(X, name="length"), Scalar()))
    assert as_dataset(result, Scalar()).identical(result)
    bare = as_dataset(X, Scalar())
    assert (result["y"].values == bare["y"].values).all()
    assert "y_column" not in bare.coords


def test_the_index_is_kept() -> None:
    frame = pd.DataFrame({"a": X, "b": X, "c": X}, index=["n", "e", "s", "w"])
    labelled = as_dataset(frame, Fake())
    assert coords(labelled)["obs"].tolist() == ["n", "e", "s", "w"]
    assert as_dataset(labelled, Fake()).identical(labelled)
    filtered = as_dataset(pd.Series(X)[X > 0], Scalar())
    assert coords(filtered)["obs"].tolist() == [0, 2, 3]
    dated = as_dataset(pd.Series(X, index=pd.date_range("2020", periods=4)), Scalar())
    assert coords(dated)["obs"].dtype.kind == "M"
    nested = pd.Series(X, index=pd.MultiIndex.from_product([["u", "v"], [1, 2]]))
    assert coords(as_dataset(nested, Scalar()))["obs"].tolist()[0] == "u, 1"


def test_a_repeated_index_is_kept_beside_the_rows() -> None:
    data = as_dataset(pd.Series(X, index=["a", "a", "b", "c"]), Scalar())
    assert coords(data)["obs"].tolist() == [0, 1, 2, 3]
    assert data["obs_label"].values.tolist() == ["a", "a", "b", "c"]
    assert as_dataset(data, Scalar()).identical(data)


def test_missing_labels_of_rows_are_no_index() -> None:
    data = as_dataset(pd.Series(X, index=[1.0, np.nan, np.nan, 2.0]), Scalar())
    assert coords(data)["obs"].tolist() == [0, 1, 2, 3]


def test_inputs_are_copied_and_never_changed() -> None:
    array = X.copy()
    data = as_dataset(array, Scalar())
    array[0] = 99
    assert data["y"].values[0] == X[0]
    assert not data["y"].values.flags.writeable
    frame = pd.DataFrame({"a": X, "b": X, "c": X})
    before = frame.copy(deep=True)
    standardise(as_dataset(frame, Fake()))
    pd.testing.assert_frame_equal(frame, before)


def test_what_a_model_simulates_is_accepted() -> None:
    for model in (Gaussian(), Gaussian(dim=4), KnownNoise(), Grouped(), Regression()):
        simulated = model.simulate(np.random.default_rng(1), model.truth, 12)
        assert as_dataset(simulated, model).equals(simulated)


def test_a_broken_simulation_is_the_models_fault() -> None:
    class Raises(Fake):
        def simulate(self, rng: np.random.Generator, values: Any, n: int) -> xr.Dataset:
            raise ZeroDivisionError("by nought")

    class Text(Fake):
        def simulate(self, rng: np.random.Generator, values: Any, n: int) -> xr.Dataset:
            return xr.Dataset({"y": ("obs", ["a"] * n)})

    class Nothing(Fake):
        def simulate(self, rng: np.random.Generator, values: Any, n: int) -> xr.Dataset:
            return xr.Dataset()

    for model, part in ((Raises(), "by nought"), (Text(), "'y'"), (Nothing(), "at least one")):
        with pytest.raises(ModelError, match=part) as caught:
            as_dataset(X, model)
        assert "fake.simulate" in str(caught.value)


# ------------------------------------------------------------------------------ extreme sizes


@pytest.mark.parametrize("size", [1e300, 1e-300, 1e308, 5e-324, 1e100, 1e-100])
def test_extreme_values_are_refused_and_can_be_standardised(size: float) -> None:
    refused(pd.DataFrame({"a": X / 10 * size}), Scalar(), "column 'a'", "rescale", "--standardise")
    if size > 1e-307:  # below, float64 itself has lost the digits
        data = as_dataset(X / 10 * size, Scalar(), standardised=True)
        np.testing.assert_allclose(data["y"].values, (X - X.mean()) / X.std(), rtol=1e-12)
        assert data["y"].attrs["original_sd"] == pytest.approx(X.std() / 10 * size, rel=1e-12)


def test_small_values_among_ordinary_ones_are_fine() -> None:
    assert as_dataset([0.0, 1e-300, 1.0], Scalar()).sizes["obs"] == 3
    assert as_dataset(np.zeros(3), Scalar()).sizes["obs"] == 3


def test_standardise_keeps_what_undoes_it() -> None:
    data = as_dataset(bundled("iris"), Gaussian(dim=4))
    scaled = standardise(data)
    np.testing.assert_allclose(scaled["y"].mean("obs"), 0, atol=1e-14)
    np.testing.assert_allclose(scaled["y"].std("obs"), 1, rtol=1e-14)
    restored = (
        scaled["y"].values * scaled["y"].attrs["original_sd"] + scaled["y"].attrs["original_mean"]
    )
    np.testing.assert_allclose(restored, data["y"].values, rtol=1e-14)
    assert coords(scaled)["variable"].tolist() == coords(data)["variable"].tolist()
    assert not scaled["y"].values.flags.writeable
    assert "original_mean" not in data["y"].attrs


def test_standardise_refuses_what_it_would_spoil() -> None:
    with pytest.raises(DataError, match=r"y, sigma.*units"):
        standardise(as_dataset(bundled("eight_schools"), KnownNoise()))
    with pytest.raises(DataError, match=r"'?b'?.*constant"):
        standardise(as_dataset(pd.DataFrame({"a": X, "b": np.full(4, 0.1), "c": X}), Fake()))


# ------------------------------------------------------------------------------ content hash


def test_the_hash_sees_values_names_dims_and_coordinates_only() -> None:
    frame = pd.DataFrame({"a": X, "b": X**2, "c": X**3}, index=list("nesw"))
    data = as_dataset(frame, Fake())
    base = content_hash(data)
    assert len(base) == 64
    different = (
        as_dataset(frame.rename(columns={"b": "B"}), Fake()),
        as_dataset(frame.rename(index={"n": "N"}), Fake()),
        as_dataset(frame.reset_index(drop=True), Fake()),
        as_dataset(frame.iloc[::-1], Fake()),
        as_dataset(frame.assign(a=frame["a"] * (1 + 2.3e-16)), Fake()),
        data.rename(obs="row"),
        data.rename(y="z"),
    )
    hashes = {base, *(content_hash(other) for other in different)}
    assert len(hashes) == 1 + len(different)
    noted = data.assign_attrs(source="here")
    noted["y"].attrs["units"] = "cm"
    assert content_hash(noted) == base


def test_the_hash_is_the_same_on_every_platform() -> None:
    data = as_dataset({"y": [0.5, -2.0], "group": ["b", "a"]}, Grouped())
    swapped = data.assign(
        y=("obs", data["y"].values.astype(">f8")), group=("obs", data["group"].values.astype(">i4"))
    )
    assert content_hash(swapped) == content_hash(data)
    assert content_hash(as_dataset([-0.0, 1.0], Scalar())) == content_hash(
        as_dataset([0, 1], Scalar())
    )
    pinned = "4747ae062cc48db7a74d89508eeaebc27d3f5567e0c3847236c58418198b0518"
    assert content_hash(data) == pinned


# ----------------------------------------------------------- undefined maximum likelihood


def _undefined(data: Any, model: Model) -> str:
    return undefined(as_dataset(data, model), model)


def test_ordinary_data_leave_maximum_likelihood_defined() -> None:
    assert _undefined(bundled("faithful")[["eruptions"]], Gaussian()) == ""
    assert _undefined(bundled("iris"), Gaussian(dim=4)) == ""
    assert _undefined(bundled("fa_sim6"), Factors()) == ""
    assert _undefined(bundled("galaxies"), Components()) == ""
    assert _undefined(bundled("eight_schools"), KnownNoise()) == ""
    assert _undefined({"y": X, "group": list("aabb")}, Grouped()) == ""


def test_too_few_observations() -> None:
    assert "N = 1" in _undefined([3.0], Scalar())
    assert "N = 2" in _undefined([3.0, 4.0], Components(3))
    assert "K = 3" in _undefined([3.0, 4.0], Components(3))
    assert "2 distinct points" in _undefined([3.0, 4.0] * 9, Components(3))


@pytest.mark.parametrize("value", [0.0, 0.1, 1e9 / 3, -7.0])
def test_constant_data(value: float) -> None:
    assert "all 11 observations of y are equal" in _undefined(np.full(11, value), Scalar())
    rows = np.tile([value, 1.0, 2.0], (11, 1))
    assert "equal" in _undefined(rows, Columns())


def test_a_constant_column_is_named() -> None:
    frame = bundled("iris").assign(same=0.1)
    columns = ("Sepal.Length", "same", "Petal.Width")
    assert "'same' is constant" in undefined(as_dataset(frame, Columns(), columns), Columns())


def test_collinear_columns_name_the_null_direction() -> None:
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"x1": rng.normal(size=50), "x2": rng.normal(size=50)})
    doubled = frame.assign(x3=2 * frame["x2"])
    assert "x3 − 2·x2 is constant" in _undefined(doubled, Columns())
    summed = frame.assign(x3=1e6 * (0.5 * frame["x1"] - frame["x2"]) + 7)
    assert "x3 − 5e+05·x1 + 1e+06·x2 is constant" in _undefined(summed, Columns())
    nearly = doubled.assign(x3=doubled["x3"] + 1e-3 * rng.normal(size=50))
    assert _undefined(nearly, Columns()) == ""


def test_fewer_rows_than_columns() -> None:
    rng = np.random.default_rng(4)
    message = _undefined(rng.normal(size=(3, 3)), Columns())
    assert "N = 3 observations cannot determine 3 columns" in message
    assert "y[2]" in message
    assert _undefined(rng.normal(size=(4, 3)), Columns()) == ""


def test_factors_bear_relations_among_more_columns_than_they_explain() -> None:
    rng = np.random.default_rng(5)
    frame = pd.DataFrame(rng.normal(size=(50, 4)), columns=list("abcd"))
    related = frame.assign(e=frame["a"] + frame["b"])
    assert _undefined(related, Factors(1)) == ""
    assert "e − a − b" in _undefined(related, Factors(2))
    assert _undefined(rng.normal(size=(10, 30)), Factors(2)) == ""
    assert "N = 3" in _undefined(rng.normal(size=(3, 30)), Factors(2))


def test_groups_that_do_not_vary() -> None:
    assert "every 'group' has one row" in _undefined({"y": X, "group": list("abcd")}, Grouped())
    still = {"y": [1.0, 1.0, 2.0, 2.0], "group": list("aabb")}
    assert "no 'group' varies within itself" in _undefined(still, Grouped())
    assert "equal" in _undefined({"y": [1.0] * 4, "group": list("aabb")}, Grouped())


# -------------------------------------------------------------------------------------- files


def _file(folder: Path, text: str | bytes, name: str = "mine.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1,x\n2.5,y\n",
        "\ufeffa,b\n1,x\n2.5,y\n",
        "a,b\r\n1,x\r\n2.5,y",
        '"a","b"\n"1","x"\n\n 2.5 , y \n',
        "a, b\n1, x\n2.5, y\n\n\n",
        "a,b\n+1.0,x\n25e-1,y\n",
    ],
)
def test_csv_dialects_read_alike(tmp_path: Path, text: str) -> None:
    frame = read(_file(tmp_path, text))
    assert frame["a"].tolist() == [1.0, 2.5]
    assert frame["b"].tolist() == ["x", "y"]


def test_integers_missing_cells_and_row_names(tmp_path: Path) -> None:
    frame = read(_file(tmp_path, ",n,x,label\nrow1,3,,NA\nrow2,4,NA,\nrow3,5,,b\n"))
    assert frame["n"].dtype == np.dtype("int64")
    assert frame["x"].isna().all()
    assert frame["label"].tolist()[0] == "NA"
    assert frame["label"].isna().tolist() == [False, True, False]
    assert frame.index.tolist() == ["row1", "row2", "row3"]
    assert list(frame.columns) == ["n", "x", "label"]


BAD_FILES = {
    "empty": ("", ":1:", "empty"),
    "only blank lines": ("\n\n", ":1:", "empty"),
    "header only": ("a,b\n", ":1:", "no rows"),
    "two separators": ("a,b;c,d\n1,2;3,4\n", ":1:1:", "commas and semicolons"),
    "too many cells": ("a,b\n1,2\n\n3,4,5\n", ":4:3:", "3 cells"),
    "too few cells": ("a,b\n1,2\n3\n", ":3:2:", "1 cells"),
    "open quote": ('a,b\n1,2\n"3,4\n', ":3:", "quotes"),
    "stray quote": ('a,b\n"1"x,2\n', ":2:", "quotes"),
    "repeated name": ("a,b,a\n1,2,3\n", ":1:3:", "'a' is used twice"),
    "unnamed column": ("a,,b\n1,2,3\n", ":1:2:", "without a name"),
    "no header": ("1.5,2.5\n3.5,4.5\n", ":1:1:", "names"),
    "bad cell": ('a,b\n1,2\n"1\n",3\n3,7x9\n', ":5:2:", "'7x9'"),
    "thousands": ('a,b\n1,2\n2,3\n3,"1,234"\n', ":4:2:", "'1,234'"),
    "underscores": ("a\n1\n2\n1_000\n", ":4:1:", "'1_000'"),
    "UTF-16 without its mark": ("a,b\n1,2\n".encode("utf-16-le"), ":1:", "zero byte"),
    "half of UTF-16": ("a,b\n1,2\n".encode("utf-16")[:-1], ":", "save the file as UTF-8"),
    "ZIP": (b"PK\x03\x04...", ":", "a ZIP archive"),
    "half of gzip": (b"\x1f\x8b\x08", ":", "gzip"),
}


@pytest.mark.parametrize(("text", "where", "what"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_bad_files_are_located(tmp_path: Path, text: str | bytes, where: str, what: str) -> None:
    path = _file(tmp_path, text, "with spaces, ü.csv")
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}{where}"), str(caught.value)
    assert what in str(caught.value)


def test_only_the_wanted_columns_must_be_sound(tmp_path: Path) -> None:
    path = _file(tmp_path, "a,b,c\n1,1,u\n2,2,v\n,oops,w\n4,4,x\n")
    assert read(path, ("c",))["c"].tolist() == list("uvwx")
    with pytest.raises(DataError, match=r":4:1: column 'a' has 1 missing value,.*drop or impute"):
        read(path, ["a"])
    with pytest.raises(DataError, match=r":4:2: column 'b': 'oops' is not a number"):
        read(path, ["b"])
    with pytest.raises(ConfigError, match="unknown column 'd'"):
        read(path, ["d"])


def test_parquet(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1.0, None], "b": [1, 2]}, index=["u", "v"])
    path = tmp_path / "mine.parquet"
    frame.to_parquet(path)
    pd.testing.assert_frame_equal(read(path), frame)
    assert list(read(path, ["b"]).columns) == ["b"]
    with pytest.raises(DataError, match=r"mine.parquet:2:1: column 'a' has 1 missing"):
        read(path, ["a"])
    with pytest.raises(ConfigError, match="unknown column"):
        read(path, ["c"])
    with pytest.raises(DataError, match="not a readable Parquet file"):
        read(_file(tmp_path, b"PAR1 no", "no.parquet"))
    frame.iloc[:0].to_parquet(path)
    with pytest.raises(DataError, match="no rows"):
        read(path)


def test_paths_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"gone.csv: no such file"):
        read(tmp_path / "gone.csv")
    with pytest.raises(DataError, match=r"gone.parquet: no such file"):
        read(tmp_path / "no" / "gone.parquet")
    with pytest.raises(DataError, match=r"table.xlsx: cannot read .xlsx"):
        read(_file(tmp_path, "", "table.xlsx"))
    for name in ("folder.csv", "folder.parquet"):
        (tmp_path / name).mkdir()
        with pytest.raises(DataError, match="is a directory"):
            read(tmp_path / name)

    def forbid(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = _file(tmp_path, "a\n1\n")
    monkeypatch.setattr(Path, "open", forbid)
    monkeypatch.setattr(Path, "read_bytes", forbid)
    with pytest.raises(DataError, match=r"mine.csv: no permission"):
        read(path)


def test_bundled_data() -> None:
    shapes = {
        "eight_schools": (8, 2),
        "fa_sim6": (500, 6),
        "faithful": (272, 2),
        "galaxies": (82, 1),
        "iris": (150, 5),
    }
    assert bundled_names() == tuple(shapes)
    for name, shape in shapes.items():
        assert bundled(name).shape == shape
    assert bundled("galaxies")["y"][77] == 26.960
    with pytest.raises(ConfigError, match=r"unknown data set 'galaxy'.*galaxies"):
        bundled("galaxy")
    folder = Path(models.data.dataset.__file__).parent / "sets"
    sources = (folder / "README.md").read_text()
    assert all(f"| {path.name} |" in sources for path in folder.glob("*.csv"))


# ------------------------------------------------------------------------ the gates have power


def test_a_checker_that_lets_nan_through_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models.data.variables, "measurements", lambda raw: np.asarray(raw, float))
    monkeypatch.setattr(models.data.variables, "extreme", lambda values: "")
    with pytest.raises(pytest.fail.Exception):
        test_missing_values_are_refused([1.0, np.nan, 3.0])


def test_a_checker_that_drops_masks_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models.data.column, "plain_array", np.asarray)
    with pytest.raises(pytest.fail.Exception):
        test_missing_values_are_refused(MISSING["masked array"])


def test_a_reader_of_strings_as_numbers_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        models.data.variables, "measurements", lambda raw: np.asarray(raw).astype(float)
    )
    with pytest.raises(pytest.fail.Exception):
        test_unusable_values_are_refused_naming_the_column({"a": ["1", "2"]}, "text", "'1'")


def test_a_hash_of_machine_bytes_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        models.data.dataset, "_canonical", lambda v: (str(v.dtype.kind), v.tobytes())
    )
    with pytest.raises(AssertionError):
        test_the_hash_is_the_same_on_every_platform()


def test_a_blind_test_of_collinearity_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models.data.undefined, "_undefined_by_relation", lambda *_: "")
    with pytest.raises(AssertionError):
        test_collinear_columns_name_the_null_direction()


def test_checking_data_loads_no_engine() -> None:
    engines = {"jax", "numpyro", "pymc", "arviz", "polars"}
    script = f"import sys, models.data.dataset; print(*{engines} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
