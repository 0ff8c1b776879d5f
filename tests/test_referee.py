"""statsmodels, which shares no code with ours, finds our maxima, their heights and their errors.

Held against a formula where the maximum is one, and otherwise against maximum likelihood, whose
Newton decrement is below 1e-4 standard errors.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from catalogue import at_truth, called, variants

from inference.methods.maximum_likelihood import MaximumLikelihood
from inference.methods.statsmodels_referee import StatsmodelsReferee
from models.capabilities import HasClosedFormMaximum, HasComponents, HasReferee
from models.catalogue.factor_analysis import FactorAnalysis
from models.catalogue.gaussian import Gaussian
from models.catalogue.random_effects import RandomEffects
from models.data.dataset import as_dataset
from models.data.files import bundled
from models.programs.density import density, flat_names, flatten, quantities

if TYPE_CHECKING:
    from inference.estimate import Estimate
    from models.spec import Model

LOCATION = 1e-4
"""Standard errors.  statsmodels stops where the mean score of a row is 1e-6, or nearly so where it
differentiates numerically: 1e-6 √N of a standard error for parameters of unit information, with
weaker directions a few times more."""
HEIGHT = 1e-8
"""Nats: half the square of the distance, and the rounding of a sum of 1e2 terms, 1e-12."""
ERROR = 1e-4
"""Relative.  Second differences with steps of ε^(1/4) are exact to √ε = 1e-8 of the largest term of
the information, and by √N and the condition number more in its inverse."""

# the likelihood does not know the priors, by which alone some variants differ
COVERED = {
    called(model): model
    for model in variants()
    if isinstance(model, HasReferee) and not model.referee_refusal
}


@cache
def judged(model: Model) -> Estimate:
    return StatsmodelsReferee().fit(model, at_truth(model), np.random.default_rng(0))


@cache
def maximum(model: Any) -> tuple[dict[str, float], dict[str, float], float]:
    """Every flat quantity at the maximum, its standard error where that is cheap, the height."""
    data = at_truth(model)
    if not isinstance(model, HasClosedFormMaximum):
        fit = MaximumLikelihood(restarts=2).fit(model, data, np.random.default_rng(1))
        assert not fit.problems
        return _flat(fit.location.value), _flat(fit.sd.value), fit.log_likelihood
    values = model.maximum_likelihood(data)
    of = density(model, data)
    height = float(np.sum(of.log_likelihood(of.unconstrain(values))))
    reported = quantities(model, values)
    # the means come first, and at the maximum nothing is correlated with them
    assert isinstance(model, Gaussian)
    variance = np.diag(np.linalg.inv(model.expected_information(values, data)))
    names = flat_names(reported)
    errors = dict(zip(names[: model.dim], np.sqrt(variance[: model.dim]), strict=True))
    return dict(zip(names, np.asarray(flatten(reported)), strict=True)), errors, height


def _flat(values: Any) -> dict[str, float]:
    arrays = {str(name): array.data for name, array in values.items()}
    return dict(zip(flat_names(arrays), np.asarray(flatten(arrays)), strict=True))


def disagreements(model: Model, fit: Estimate) -> list[str]:
    """What statsmodels says otherwise than we do."""
    location, error, height = maximum(model)
    found = list(fit.problems)
    if not abs(fit.log_likelihood - height) < HEIGHT:
        found.append("log-likelihood")
    theirs, sd = _flat(fit.location.value), _flat(fit.sd.value)
    assert theirs.keys() == location.keys()
    for name, value in theirs.items():
        # where no standard error is at hand, √N of the size of the quantity stands for it
        scale = error.get(name, abs(location[name]) / 8)
        if not abs(value - location[name]) <= LOCATION * scale:
            found.append(name)
        if np.isfinite(sd[name]) and not abs(sd[name] / error[name] - 1) < ERROR:
            found.append(f"standard error of {name}")
    return found


@pytest.mark.parametrize("model", COVERED.values(), ids=COVERED)
def test_statsmodels_finds_our_maximum(model: Model) -> None:
    assert disagreements(model, judged(model)) == []


def test_what_statsmodels_covers() -> None:
    classes = {type(model) for model in COVERED.values()}
    assert classes == {FactorAnalysis, Gaussian, RandomEffects}
    for model in COVERED.values():
        sd = list(_flat(judged(model).sd.value).values())
        assert np.isfinite(sd).any() == (not isinstance(model, FactorAnalysis))


@pytest.mark.parametrize(("part", "caught"), [("value", "sigma"), ("error", "standard error")])
def test_a_divisor_of_n_less_one_is_caught(
    monkeypatch: pytest.MonkeyPatch, part: str, caught: str
) -> None:
    right, model = Gaussian.referee, Gaussian()

    def wrong(self: Gaussian, data: Any) -> Any:
        values, errors, height = right(self, data)
        larger = np.sqrt(data.sizes["obs"] / (data.sizes["obs"] - 1))
        if part == "value":
            return {**values, "sigma": larger * values["sigma"]}, errors, height
        return values, {"mu": larger * errors["mu"]}, height

    monkeypatch.setattr(Gaussian, "referee", wrong)
    fit = StatsmodelsReferee().fit(model, at_truth(model), np.random.default_rng(0))
    (found,) = disagreements(model, fit)
    assert found.startswith(caught)


def test_a_point_is_known_where_the_parameters_are_what_is_reported() -> None:
    for model in COVERED.values():
        point = judged(model).point
        full = {p.name for p in model.parameters} <= set(judged(model).location.value)
        assert set(point.data_vars) == ({p.name for p in model.parameters} if full else set())
        if full and isinstance(model, HasComponents):
            values = {str(name): array.data for name, array in point.items()}
            share = model.responsibilities(values, at_truth(model))
            np.testing.assert_allclose(np.sum(share, axis=1), 1.0, rtol=1e-12)


def test_factoring_is_the_same_at_every_call() -> None:
    model = FactorAnalysis(2)
    first = judged.__wrapped__(model)
    for _ in range(2):
        again = judged.__wrapped__(model)
        assert first.location.value.identical(again.location.value)
        assert first.log_likelihood == again.log_likelihood


def test_a_unique_variance_that_vanishes_is_a_problem() -> None:
    model = FactorAnalysis(1)
    columns = ("Sepal.Length", "Sepal.Width", "Petal.Length", "Petal.Width")
    data = as_dataset(bundled("iris"), model, columns)
    fit = StatsmodelsReferee().fit(model, data, np.random.default_rng(0))
    assert fit.problems == ("statsmodels warns: Fitting did not converge",)
