"""Data that leave little or nothing to estimate, for every model: a sentence or numbers, never NaN.

A warning is an error of every test, so that no library's reaches a terminal.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr

import concord as cc
from models.data.undefined import undefined
from models.errors import DataError, FitError
from tests.catalogue import called

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("unoptimised")
N = 12
HELD = ("group", "sigma")
"""What says how rows were measured stays as it is."""

MODELS = [
    *(cc.Gaussian(1), cc.Gaussian(2), cc.ConjugateGaussian()),
    *(cc.GaussianMixture(2, 1), cc.GaussianMixture(2, 2)),
    *(cc.FactorAnalysis(), cc.ProbabilisticPCA(), cc.Poisson()),
    *(cc.RandomEffects(), cc.RandomEffects("unknown"), cc.RidgeRegression()),
]


def constant(a: np.ndarray) -> np.ndarray:
    return np.full_like(a, a.flat[0])


def scaled(size: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda a: a if a.dtype.kind in "iu" else a * size


def far(a: np.ndarray) -> np.ndarray:
    return a + (10**9 if a.dtype.kind in "iu" else 1e9)


def outlying(a: np.ndarray) -> np.ndarray:
    return np.concatenate([a[:1] + 10**6, a[1:]]).astype(a.dtype)


def still(a: np.ndarray) -> np.ndarray:
    return np.c_[a[:, :1] * 0 + 3, a[:, 1:]] if a.ndim == 2 else a


def collinear(a: np.ndarray) -> np.ndarray:
    return np.c_[a[:, :1], 2 * a[:, :1], a[:, 2:]] if a.ndim == 2 and a.shape[1] > 1 else a


TOO = (scaled(1e150), scaled(1e-150))
KINDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "constant": constant,
    "zero": np.zeros_like,
    "one": lambda a: a[:1],
    "fewer rows than columns": lambda a: a[:2],
    "duplicated": lambda a: a[np.arange(len(a)) % 2],
    "too large": TOO[0],
    "too small": TOO[1],
    "1e70": scaled(1e70),
    "far": far,
    "outlier": outlying,
    "one column constant": still,
    "collinear": collinear,
}


SLOW = ("1e70", "outlier")
QUICK = [(cc.ConjugateGaussian(), "duplicated"), (cc.Gaussian(1), "1e70")]
"""Whose units' scores are 0 in the variance; whose coordinates have no digits in common."""
PAIRS = [
    *((cc.Gaussian(2), "fewer rows than columns"), (cc.GaussianMixture(2, 1), "outlier")),
    (cc.FactorAnalysis(), "duplicated"),
    *((cc.ProbabilisticPCA(), "one column constant"), (cc.Poisson(), "zero")),
    *((cc.RandomEffects(), "constant"), (cc.RandomEffects("unknown"), "outlier")),
    *((cc.RidgeRegression(), "far"), (cc.RidgeRegression(), "collinear")),
]


def changed(model: Any, kind: str) -> xr.Dataset | dict[str, np.ndarray]:
    """Data that the model simulates, of that kind."""
    drawn = model.simulate(np.random.default_rng(5), model.truth, N)
    rows = KINDS[kind](np.arange(N)) if kind in ("one", "duplicated") else np.arange(N)
    rows = rows[:2] if kind == "fewer rows than columns" else rows
    change = KINDS[kind] if rows.size == N and kind != "duplicated" else (lambda a: a)
    arrays = {str(n): a.values[rows] for n, a in drawn.data_vars.items()}
    return {n: a if n in HELD else change(a) for n, a in arrays.items()}


def loaded(model: Any, kind: str) -> xr.Dataset | None:
    """The same as the model reads them; None where they are to be refused."""
    arrays = changed(model, kind)
    given = arrays if len(arrays) > 1 else next(iter(arrays.values()))
    if any(a.dtype.kind == "f" and KINDS[kind] in TOO for n, a in arrays.items() if n not in HELD):
        with pytest.raises(DataError, match="rescale"):
            cc.load_data(given, model)
        return None
    return cc.load_data(given, model)


def refused_in_words(told: str) -> None:
    assert not re.search(r"Error|Warning|nan\b|Traceback", told), told
    assert len(told.split()) > 3


@pytest.mark.parametrize(
    "kind",
    [pytest.param(k, marks=pytest.mark.exhaustive if k in SLOW else ()) for k in KINDS],
)
@pytest.mark.parametrize("model", MODELS, ids=called)
def test_maximum_likelihood_is_finite_or_refused_in_words(
    model: Any, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    data = loaded(model, kind)
    if data is None:
        return
    try:
        fit = cc.MaximumLikelihood(restarts=1).fit(model, data, np.random.default_rng(0))
    except FitError as reason:
        refused_in_words(str(reason))
    else:
        assert undefined(data, model) == ""
        assert np.isfinite(fit.log_likelihood)
        for name, value in fit.location.value.items():
            assert np.isfinite(value).all(), name
            assert fit.problems or np.isfinite(fit.sd.value[name]).all(), name
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("model", "kind"),
    [*QUICK, *(pytest.param(*pair, marks=pytest.mark.exhaustive) for pair in PAIRS)],
    ids=lambda one: one if isinstance(one, str) else called(one),
)
def test_no_verdict_rests_on_what_is_not_there(
    model: Any, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    data = loaded(model, kind)
    if data is None:
        return
    methods = (cc.ClosedForm(), cc.MaximumLikelihood(restarts=2), cc.MaximumAPosteriori(restarts=2))
    methods += (
        cc.Laplace(restarts=2, draws=200),
        cc.NUTS(warm_up=50, draws=50),
        cc.ExactPosterior(),
    )
    found = cc.compare(model, data, methods=methods, progress=False)
    rows = found.verdicts()
    held = rows[rows["verdict"].isin(["AGREE", "CONSISTENT", "EXPLAINED"])]
    assert np.isfinite(held[["observed", "expected"]].astype(float)).all(axis=None)
    assert not (rows["verdict"] == "DIFFER").any(), rows[rows["verdict"] == "DIFFER"].to_string()
    for told in (*found.case.failures.values(), *found.problems.values()):
        refused_in_words(told)
    assert found.table() is not None
    assert repr(found)
    assert capfd.readouterr() == ("", "")
