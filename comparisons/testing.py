"""Assertions for the test suites of others: are two programs, or two posteriors, the same?

`assert_same_model` is the gate `same_model` on one model; `assert_same_posterior` holds the means
and standard deviations of two posteriors to the rule of every verdict, with both Monte Carlo
errors, so that it neither fails by chance (2 in 10,000 for all rows together) nor passes for want
of draws.
"""

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from comparisons.case import Case
from comparisons.claims import same_model
from comparisons.posteriors import Posterior, same_posterior
from comparisons.verdict import HOLDS, Verdict, together
from models.errors import ConfigError
from models.programs.adopt import adopt
from models.programs.precision import float64
from models.spec import Model, refuse_other

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
    allow_constant: bool = False,
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
        allow_constant: whether the log densities of two programs may differ by one constant.

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
        model = adopt(pymc, numpyro, data, names=names, allow_constant=allow_constant)
        data = model.data
    refuse_other(model)
    if data is None:
        data = model.simulate(np.random.default_rng(seed), model.truth, ROWS)
    _assert_agreement(repr(model), same_model.compare(Case(model, data, seed, methods=())))


def assert_same_posterior(a: Posterior, b: Posterior) -> None:
    """Asserts that two posteriors have the same means and standard deviations.

    Args:
        a: an estimate, an ArviZ tree, or the path of one as netCDF; see `same_posterior`.
        b: the one it is held against; names and shapes must be those of `a`.

    Raises:
        AssertionError: lists every row that is neither AGREE nor CONSISTENT, UNSURE ones with how
            many draws would decide them, and every reason why a posterior cannot be relied on.
            All rows together do so by chance in at most two of 10,000 comparisons.
        DataError: a file cannot be read, or a posterior has no draws.
    """
    _assert_agreement("posterior", together(same_posterior(a, b).rows))


def _assert_agreement(about: str, verdicts: Iterable[Verdict]) -> None:
    rows, lines = list(verdicts), []
    for row in rows:
        if row.outcome in HOLDS:
            continue
        line = f"\n  {row.outcome}  {row.about}"
        if row.outcome != "NOT COMPARABLE":
            line += f": {row.observed:.6g} against {row.expected:.6g}, "
            line += f"error {row.error:.2g}, bound {row.bound:.2g}"
        reason = row.remedy or row.cause
        lines.append(line + (f" ({reason})" if reason else ""))
    if lines:
        told = f"{about}: {len(lines)} of {len(rows)} rows do not agree"
        raise AssertionError(told + "".join(lines))
