"""The reference is chosen by what a method declares itself to be, never by its name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import pytest
import xarray as xr

from comparisons.case import Case
from comparisons.claims import posterior_agreement
from comparisons.reference import reference, reference_posterior, samplers
from comparisons.report.facts import facts
from comparisons.report.headline import agreement
from comparisons.report.result import CaseResult
from inference.method import Kind, Method, label
from inference.methods.closed_form import ClosedForm
from inference.methods.exact_posterior import ExactPosterior
from inference.posterior.draws import estimate_from_draws
from models.catalogue.gaussian import ConjugateGaussian
from models.errors import FitError

if TYPE_CHECKING:
    from inference.estimate import Estimate
    from models.spec import Model

MODEL = ConjugateGaussian()
DATA = MODEL.simulate(np.random.default_rng(0), MODEL.truth, 200)


@dataclass(frozen=True)
class Walker(Method):
    """A sampler of nobody's catalogue: independent draws from a known normal law.

    Attributes:
        stuck: whether it says that it has not converged.
    """

    stuck: bool = False

    name: ClassVar[str] = "svi_of_pymc"
    target: ClassVar[Literal["likelihood", "posterior"]] = "posterior"
    kind: ClassVar[Kind] = "sampler"
    library: ClassVar[str] = "mine"

    def refusal(self, model: Model) -> str:
        return ""

    def fit(self, model: Model, data: xr.Dataset, rng: np.random.Generator) -> Estimate:
        exact = MODEL.exact_posterior(data)
        draws = {
            name: rng.normal(law.mean(), np.sqrt(law.var()), (4, 2_500))
            for name, law in exact.items()
        }
        fit = estimate_from_draws(model, data, draws, record=xr.Dataset())
        return replace(fit, problems=("the chains disagree",) * self.stuck)


def test_a_sampler_under_another_name_becomes_the_reference() -> None:
    case = Case(MODEL, DATA, methods=(ClosedForm(), Walker()))
    found = reference_posterior(case)
    assert found[0] == Walker()
    assert found[1] is case.fit(Walker())
    rows = list(posterior_agreement.compare(case))
    assert {(row.method, row.reference) for row in rows} == {
        (label(Walker()), "importance sampling")
    }
    assert {(row.quantity, row.parameter) for row in rows} == {
        (quantity, name) for quantity in ("mean", "sd") for name in ("mu", "sigma2")
    }


def test_one_that_has_not_converged_does_not() -> None:
    case = Case(MODEL, DATA, methods=(Walker(stuck=True),))
    assert case.fit(Walker(stuck=True)).problems
    with pytest.raises(FitError, match="no sampler"):
        reference_posterior(case)
    case = Case(MODEL, DATA, methods=(Walker(stuck=True), Walker()))
    assert reference(case.estimates()) == Walker()
    assert list(samplers(case.estimates())) == [Walker()]


def test_the_exact_posterior_goes_before_any_sampler() -> None:
    case = Case(MODEL, DATA, methods=(Walker(), ExactPosterior()))
    assert reference(case.estimates()) == ExactPosterior()


def test_it_is_the_reference_of_the_headline() -> None:
    case = Case(MODEL, DATA, methods=(ClosedForm(), Walker()))
    result = CaseResult(
        slug="known",
        model=MODEL,
        data_name="data",
        columns=(),
        data=case.data,
        seed=0,
        profile="quick",
        estimates=case.estimates(),
        refusals={},
        failures={},
        verdicts={},
        titles={},
        seconds=0.0,
    )
    found = agreement(result)
    assert found.reference == Walker()
    assert {row["method"] for row in found.rows} == {label(ClosedForm())}
    assert facts(result).screen.lines[0].method == label(Walker())
