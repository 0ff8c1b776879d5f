"""Are two posteriors the same, whoever drew them: means and standard deviations, row by row.

Of draws with standard deviation σ and effective number n, the mean has Monte Carlo error σ/√n and
the sd about σ/√(2n). A number of the first posterior is held against that of the second by the rule
of every verdict (`comparisons.verdict`), with error √(e₁² + e₂²) and a share of the second
posterior's sd as bound: neither chance nor a want of draws decides.
Reference: Vehtari, Gelman, Simpson, Carpenter & Bürkner (2021), Bayesian Analysis 16.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
import pandas as pd
import xarray as xr

from comparisons.reference import same_moments
from comparisons.verdict import OUTCOMES, Verdict, at_tolerance, not_comparable
from inference.estimate import Estimate, Scalar
from inference.posterior.diagnostics import gate, moments, not_finite
from models.errors import DataError
from models.programs.density import flat_names

type Posterior = Estimate | xr.DataTree | str | PathLike[str]
"""An estimate, an ArviZ tree with a group `posterior`, or the path of one as netCDF."""

_FEWEST = 4
"""Draws of a chain below which no Monte Carlo error is defined."""
_REPEATED = 0.1
"""Share of draws that were there before, beyond which they are no evidence of their own: a repeat
in a row is a rejected proposal, and a few others are the work of single precision."""


@final
@dataclass(frozen=True, repr=False)
class SamePosterior:
    """Two posteriors side by side.

    Attributes:
        rows: a verdict on mean and sd of every number that both have; NOT COMPARABLE for the
            numbers that one has alone, and for why a posterior cannot be relied on.
    """

    rows: tuple[Verdict, ...]

    @property
    def passed(self) -> bool:
        """Whether something was compared and nothing is DIFFER."""
        outcomes = {row.outcome for row in self.rows}
        return "DIFFER" not in outcomes and not outcomes <= {"NOT COMPARABLE"}

    def table(self) -> pd.DataFrame:
        """One row for each verdict, numbers in the units of the parameter."""
        columns = ["parameter", "quantity", "first", "second", "error", "bound", "verdict", "cause"]
        rows = []
        for row in self.rows:
            numbers = row.observed, row.expected, row.error, row.bound
            about, why = row.parameter or row.about, row.remedy or row.cause
            rows.append((about, row.quantity, *numbers, row.outcome, why))
        return pd.DataFrame(rows, columns=columns)

    def __repr__(self) -> str:
        """How many verdicts of each kind there are."""
        outcomes = [row.outcome for row in self.rows]
        counts = [f"{outcomes.count(one)} {one}" for one in OUTCOMES if one in outcomes]
        return f"SamePosterior: {', '.join(counts)}"

    def _repr_html_(self) -> str:
        """The table of verdicts, for a notebook."""
        numbers = "{:.4g}".format
        return f"<div>{self!r}</div>{self.table().to_html(index=False, float_format=numbers)}"


def same_posterior(first: Posterior, second: Posterior, *, tolerance: float = 1.0) -> SamePosterior:
    """Holds two posteriors against each other: those of two languages, versions or machines.

    Chains and draws may differ in number. Names are matched by the labels of their entries where
    both have them, else by position.

    Args:
        first: an estimate, an ArviZ tree with a group `posterior` whose variables have the dims
            (chain, draw, …), or the path of one as netCDF.
        second: the one that it is held against.
        tolerance: factor on the bounds, a tenth of the second posterior's sd.

    Returns:
        The verdicts. A posterior that is not to be relied on is one of them.

    Raises:
        DataError: a file cannot be read, or a posterior has no draws.
    """
    rows = _rows(_side(first, "first"), _side(second, "second"))
    return SamePosterior(at_tolerance(rows, tolerance))


class _Side(NamedTuple):
    """Means and standard deviations of a posterior, and why it cannot be relied on."""

    templates: dict[str, xr.DataArray]
    """One value of each variable, for its shape and labels."""
    scalars: dict[str, list[Scalar]]
    """Entries of each variable, in order."""
    problem: str


def _rows(a: _Side, b: _Side) -> Iterator[Verdict]:
    first, second = _named(a, b), _named(b, a)
    for side, which in ((a, "first"), (b, "second")):
        if side.problem:
            yield not_comparable(f"the {which} posterior", side.problem)
    for names, others, which in ((first, second, "first"), (second, first, "second")):
        for name in sorted(names.keys() - others.keys()):
            yield not_comparable(name, f"only the {which} posterior has it")
    for name, one in first.items():
        if other := second.get(name):
            claim = "{quantity} of {parameter}"
            yield from same_moments(one, other, other.sd, claim=claim, parameter=name)


def _named(side: _Side, other: _Side) -> dict[str, Scalar]:
    """Scalars by flat name; entries that one side alone has labels for go by these on both."""
    found = {}
    for variable, template in side.templates.items():
        names = flat_names({variable: template})
        theirs = other.templates.get(variable)
        counted = names == flat_names({variable: template.data})
        if counted and theirs is not None and theirs.shape == template.shape:
            names = flat_names({variable: theirs})
        found |= dict(zip(names, side.scalars[variable], strict=True))
    return found


def _side(source: Posterior, which: str) -> _Side:
    """A posterior's numbers, whatever it is kept in."""
    if isinstance(source, Estimate):
        templates = {str(name): array for name, array in source.location.value.items()}
        scalars = {name: list(source.scalars(name).values()) for name in templates}
        return _Side(templates, scalars, "; ".join(source.problems))
    group, sample_stats = _draws(source, f"the {which} posterior")
    drawn = {str(n): x.transpose("chain", "draw", ...) for n, x in group.items()}
    templates = {name: array[0, 0] for name, array in drawn.items()}
    parts = [_wide(x.to_numpy()) for x in drawn.values()]
    flat, names = np.concatenate(parts, axis=2), flat_names(templates)
    if flat.shape[1] < _FEWEST:
        columns = [np.full(len(names), np.nan)] * 4
        found = [f"it has {flat.shape[1]} draws a chain; expected at least {_FEWEST}"]
    else:
        columns = moments(flat)
        found = [*not_finite(flat, names), *_repeated(flat), *gate(flat, names, sample_stats)]
    rows = iter([Scalar(*row) for row in np.stack(columns, axis=1).tolist()])
    scalars = {name: [next(rows) for _ in range(one.size)] for name, one in templates.items()}
    return _Side(templates, scalars, "; ".join(found))


def _wide(array: np.ndarray) -> np.ndarray:
    """Draws in float64, shape (chain, draw, m); rounding alone does not make a constant vary."""
    flat = array.reshape(*array.shape[:2], -1).astype(float)
    eps = np.finfo(array.dtype).eps if array.dtype.kind == "f" else 0.0
    with np.errstate(invalid="ignore"):
        still = np.ptp(flat, axis=(0, 1)) <= 8 * eps * abs(flat).max(axis=(0, 1))
    return np.where(still, flat[0, 0], flat)


def _repeated(flat: np.ndarray) -> list[str]:
    """The sentence about draws that were there before, if they are many.

    Of scalars, shape (chain, draw, m); whole numbers may well repeat.
    """
    kept = flat[..., (flat % 1 != 0).any(axis=(0, 1))]
    if not kept.shape[2]:
        return []
    chains = [chain[np.r_[True, (np.diff(chain, axis=0) != 0).any(axis=1)]] for chain in kept]
    draws = [draw.tobytes() for chain in chains for draw in chain]
    before = len(draws) - len(set(draws))
    if before <= _REPEATED * len(draws):
        return []
    told = f"{before} of its draws were there before, so that errors are larger than they seem"
    return [f"{told}: keep each chain once, and give each its own seed"]


def _draws(source: object, whose: str) -> tuple[xr.Dataset, dict[str, np.ndarray]]:
    """The group `posterior` of a tree or file, numeric variables only, and its sample_stats."""
    if isinstance(source, str | PathLike):
        whose, source = str(source), _read(Path(source))
    if not isinstance(source, xr.DataTree):
        raise DataError(
            f"{whose} is of type {type(source).__name__}; expected an estimate, a DataTree or the "
            'path of a netCDF file: wrap draws as arviz.from_dict({"posterior": draws})'
        )
    if "posterior" not in source.children:
        raise DataError(
            f"{whose} has no group posterior; it has {', '.join(source.children) or 'no groups'}: "
            "give one that holds posterior draws"
        )
    group = source["posterior"].to_dataset()
    group = group[[name for name, array in group.items() if array.dtype.kind in "biuf"]]
    for name, array in group.items():
        if not {"chain", "draw"} <= set(array.dims) or not array.size:
            raise DataError(
                f"{whose}: {name} has dims {dict(array.sizes)}; expected (chain, draw, …), with "
                "draws: rename its dims"
            )
    if not group.data_vars:
        raise DataError(f"{whose}: the group posterior has no variables: store draws in it")
    stats = source["sample_stats"].to_dataset() if "sample_stats" in source.children else {}
    return group, {
        name: np.asarray(stats[name].transpose("chain", "draw"))
        for name in ("diverging", "energy")
        if name in stats and set(stats[name].dims) == {"chain", "draw"}
    }


def _read(path: Path) -> xr.DataTree:
    """The groups of a netCDF file, of which those with draws are read."""
    try:
        if not path.is_file():
            raise DataError(f"{path}: no such file; check the path")
        with xr.open_datatree(path, engine="h5netcdf", decode_times=False) as tree:
            groups = {str(name): tree[name].to_dataset() for name in tree.children}
            for name in groups.keys() & {"posterior", "sample_stats"}:
                groups[name].load()
            return xr.DataTree.from_dict(groups)
    except DataError:
        raise
    except Exception as error:  # whatever the libraries make of a file that is no netCDF or damaged
        raise DataError(
            f"{path}: cannot be read as netCDF ({type(error).__name__}: {error}): write it anew "
            "with its to_netcdf"
        ) from error
