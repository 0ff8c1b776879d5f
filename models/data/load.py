"""Data from wherever they are, validated for a model, in one call."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.data.dataset import as_dataset
from models.data.files import bundled, bundled_names, read
from models.settings import sequence

if TYPE_CHECKING:
    from collections.abc import Iterable

    import xarray as xr

    from models.spec import Model


def load_data(
    source: Any, model: Model, columns: Iterable[str] = (), *, standardised: bool = False
) -> xr.Dataset:
    """Data as the model's programs read them.

    Args:
        source: the name of a bundled data set, the path of a CSV or Parquet file, or the data:
            whatever `models.data.dataset.as_dataset` takes.
        model: what the data are for.
        columns: names of the columns to use, in the order of the model's variables; all if empty.
        standardised: whether to bring every column to mean zero and standard deviation one.

    Returns:
        A validated Dataset, float64 and read-only, with the model's variables and dims.

    Raises:
        DataError: the data cannot be used: says what, where, what was expected and what to do.
        ConfigError: a column that the data do not have.
    """
    columns = sequence("columns", columns, str, "('height',)")
    found = opened(source, columns)
    return as_dataset(found, model, columns, data_name(source), standardised=standardised)


def opened(source: Any, columns: Iterable[str] = ()) -> Any:
    """The table of a bundled data set or a file; anything else as it is."""
    if not isinstance(source, str | Path):
        return source
    return bundled(str(source)) if str(source) in bundled_names() else read(source, columns)


def data_name(source: Any) -> str:
    """The name of a bundled data set, or of a file without its folder and suffixes."""
    if not isinstance(source, str | Path):
        return "data"
    name = str(source)
    return name if name in bundled_names() else Path(name.removesuffix(".gz")).stem
