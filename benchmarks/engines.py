"""What PyMC's and NumPyro's own fits do on the bundled cases: the table of the project's README.

For each engine of the standard profile and the first bundled data set of each model: the largest
distance from its own target in standard deviations (more than noise in bold), its grade against the
posterior, and seconds cold, compilation included, and again in the same process.
Usage: `python benchmarks/engines.py [MODEL …]`; minutes for each model, every one by default, and
nothing else should run.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from importlib.metadata import version
from math import isnan, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

import concord as cc
import models.catalogue
from inference.catalogue import catalogue
from inference.method import label, variants
from models.capabilities import HasExamples
from models.data.dataset import as_dataset
from models.data.files import bundled
from models.registry import subclasses
from models.spec import Model

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import xarray as xr

    from inference.method import Method

jax.config.update("jax_num_cpu_devices", 4)  # one for each chain
BEGIN, END = "<!-- engines -->", "<!-- end of engines -->"
EVERY = [method for cls in catalogue().values() for method in variants(cls, "standard")]
SHIPPED = [method for method in EVERY if method.shipped and method.begins in ("quick", "standard")]
BESIDE = [method for method in EVERY if label(method) in ("nuts[numpyro]", "laplace[numpyro]")]


def main() -> None:
    """Measures, prints the table and writes it to the README."""
    classes = subclasses(models.catalogue, Model)
    names = sys.argv[1:] or [name for name, cls in classes.items() if issubclass(cls, HasExamples)]
    found = {name: column(classes[name]) for name in names}
    machine = f"{os.cpu_count()} processors, {platform.machine()}"
    libraries = ", ".join(f"{name} {version(name)}" for name in ("pymc", "numpyro", "jax"))
    text = "\n".join([f"Measured with {machine}, {libraries}.", "", *lines(found)])
    print(text)
    page = Path(__file__).parents[1] / "README.md"
    head, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    page.write_text(f"{head}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")


def column(cls: type[Model]) -> dict[str, str]:
    """A cell for each engine on the first bundled data set of a model."""
    assert issubclass(cls, HasExamples)
    model, source, columns = next(iter(cls.examples()))
    data = as_dataset(bundled(source), model, columns)
    found = cc.compare(
        model,
        data,
        methods=(*BESIDE, *SHIPPED),
        profile="standard",
        claims=("posterior_agreement", "own_target"),
    )
    print(found, flush=True)
    rows = found.engines()
    return {
        label(method): cell(rows.loc[label(method)], again(method, model, data))
        for method in SHIPPED
        if label(method) in rows.index
    }


def cell(row: Any, warm: float) -> str:
    """Fit error, grade and seconds of an engine on a case."""
    if row.trouble:
        return row.trouble
    off = "–" if isnan(row.off) else f"{float(f'{row.off:.2g}'):g} sd"
    off = f"**{off}**" if row.outcome == "DIFFER" else off
    grade = f", {row.mark}" if row.mark else ""
    rate = "" if isnan(row.ess_per_second) else f", {row.ess_per_second:.0f} ESS/s"
    return f"{off}{grade}; {row.seconds:.1f} / {warm:.1f} s{rate}"


def again(method: Method, model: Model, data: xr.Dataset) -> float:
    """Seconds of the same fit once more; NaN where it fails."""
    began = time.perf_counter()
    try:
        method.fit(model, data, np.random.default_rng(1))
    except cc.ConcordError:
        return nan
    return time.perf_counter() - began


def lines(found: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """The table, a row for each engine and a column for each case."""
    yield f"| | {' | '.join(found)} |"
    yield f"|{'---|' * (1 + len(found))}"
    for method in SHIPPED:
        told = (column.get(label(method), "–") for column in found.values())
        yield f"| `{label(method)}` | {' | '.join(told)} |"


if __name__ == "__main__":
    main()
