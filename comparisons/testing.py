"""Assertions for the test suites of others: are two programs, or two posteriors, the same?

`assert_same_model` is the gate `same_model` on one model; `assert_same_posterior` holds the means
and standard deviations of two posteriors to the rule of every verdict, with both Monte Carlo
errors, so that it neither fails by chance (α = 0.001 a row) nor passes for want of draws.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import xarray as xr

from comparisons.case import Case
from comparisons.claims import same_model
from comparisons.policy import POSTERIOR
from comparisons.reference import Scalar, unreliable
from comparisons.verdict import Verdict, not_comparable
from inference.estimate import Estimate
from inference.posterior.diagnostics import gate, moments
from models.errors import ConfigError
from models.programs.adopt import adopt
from models.programs.density import flat_names
from models.programs.precision import float64

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from models.spec import Model

ROWS = 60
"""Rows simulated where no data are given."""


@float64
def assert_same_model(
    model: Model | None = None,
    data: object = None,
    seed: int = 0,
    *,
    pymc: object = None,
    numpyro: Callable[..., object] | None = None,
    names: Mapping[str, str] | None = None,
) -> None:
    """Asserts that a PyMC and a NumPyro program are one model.

    Args:
        model: a model of the catalogue or of your own class; else pass both programs.
        data: for a model anything `as_dataset` accepts, simulated at its truth if None; for
            programs a mapping or a frame, whose names are their arguments.
        seed: of the points at which the programs are compared, and of simulated data.
        pymc: a built `pm.Model`, or a function of the data that returns one.
        numpyro: a NumPyro function of the data.
        names: which name of one program is which of the other, where they differ.

    Raises:
        AssertionError: lists every term on which the programs differ, with the point and both
            values.
        ConfigError: one program only.
        DataError: the data do not suit the model.
        ModelError: a program does not run, or lacks a parameter.
    """
    if model is None:
        if pymc is None or numpyro is None:
            raise ConfigError("there is nothing to compare: pass a model, or pymc= and numpyro=")
        model = adopt(pymc, numpyro, data, names=names)
    elif data is None:
        data = model.simulate(np.random.default_rng(seed), model.truth, ROWS)
    _assert_agreement(repr(model), same_model.compare(Case(model, data, seed, methods=())))


@float64
def assert_same_posterior(a: Estimate | xr.DataTree, b: Estimate | xr.DataTree) -> None:
    """Asserts that two posteriors have the same means and standard deviations.

    Args:
        a: an estimate, or an ArviZ tree with a group `posterior`, dims (chain, draw, …).
        b: the one it is held against; names and shapes must be those of `a`.

    Raises:
        AssertionError: lists every row that is not AGREE, UNSURE ones with how many draws would
            decide them, and every reason why a posterior cannot be relied on.
    """
    _assert_agreement("posterior", _posterior_rows(_moments(a), _moments(b)))


class _Moments(NamedTuple):
    """Means and standard deviations with their Monte Carlo errors, by flat name; and problems."""

    scalars: dict[str, Scalar]
    problem: str


def _moments(posterior: Estimate | xr.DataTree) -> _Moments:
    if isinstance(posterior, Estimate):
        quantities = (posterior.location, posterior.sd)
        parts = [part for quantity in quantities for part in (quantity.value, quantity.error)]
        arrays = [{str(name): part[name].data for name in part.data_vars} for part in parts]
        columns = [np.concatenate([np.ravel(x) for x in array.values()]) for array in arrays]
        names, problem = flat_names(arrays[0]), unreliable("it", posterior)
    else:
        group = posterior["posterior"].to_dataset()
        drawn = {
            str(name): np.asarray(array.transpose("chain", "draw", ...).data, float)
            for name, array in group.data_vars.items()
        }
        flat = np.concatenate([x.reshape(*x.shape[:2], -1) for x in drawn.values()], axis=2)
        names = flat_names({name: x[0, 0] for name, x in drawn.items()})
        stats = posterior["sample_stats"].to_dataset() if "sample_stats" in posterior else {}
        kept = {str(name): np.asarray(stats[name].data) for name in stats}
        columns, problem = moments(flat), "; ".join(gate(flat, names, kept))
    rows = (Scalar(*row) for row in zip(*(map(float, c) for c in columns), strict=True))
    return _Moments(dict(zip(names, rows, strict=True)), problem)


def _posterior_rows(a: _Moments, b: _Moments) -> Iterator[Verdict]:
    for side, found in (("first", a), ("second", b)):
        if found.problem:
            yield not_comparable(f"the {side} posterior", found.problem)
    for name in sorted(a.scalars.keys() ^ b.scalars.keys()):
        side = "first" if name in a.scalars else "second"
        yield not_comparable(name, f"only the {side} posterior has it")
    for name, one in a.scalars.items():
        if (other := b.scalars.get(name)) is not None:
            bound = POSTERIOR * other.sd
            verdict = partial(Verdict, "{quantity} of {parameter}", bound=bound, parameter=name)
            error = float(np.hypot(one.location_error, other.location_error))
            yield verdict(one.location, other.location, error, quantity="mean")
            error = float(np.hypot(one.sd_error, other.sd_error))
            yield verdict(one.sd, other.sd, error, quantity="sd")


def _assert_agreement(about: str, verdicts: Iterable[Verdict]) -> None:
    rows = list(verdicts)
    bad = [row for row in rows if row.outcome != "AGREE"]
    if bad:
        lines = "\n".join(f"  {_line(row)}" for row in bad)
        raise AssertionError(f"{about}: {len(bad)} of {len(rows)} rows do not agree\n{lines}")


def _line(row: Verdict) -> str:
    numbers = ""
    if row.outcome != "NOT COMPARABLE":
        numbers = (
            f": {row.observed:.6g} against {row.expected:.6g}, error {row.error:.2g}, "
            f"bound {row.bound:.2g}"
        )
    reason = row.remedy or row.cause
    return f"{row.outcome}  {row.about}{numbers}" + (f" ({reason})" if reason else "")
