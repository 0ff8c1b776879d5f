"""Every route to the maximum of the likelihood ends at the same point.

The likelihood has one (non-degenerate) global maximum; gradient optimisation of either program,
EM, a closed form and statsmodels can differ only by numerical error.  EM stops short of the
maximum by rate/(1 − rate) times its last step, and its rate is the largest eigenvalue of
complete⁻¹ missing information.
References: Wu (1983), Ann. Statist. 11; Louis (1982), JRSS B 44.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from comparisons.policy import EM_RATE, LOG_LIKELIHOOD, OPTIMUM, STANDARD_ERROR
from comparisons.reference import Case, shared, unreliable
from comparisons.verdict import AGAINST, PARTED, Verdict, not_comparable
from inference.estimate import Estimate
from inference.method import label
from models.programs.precision import float64
from models.spec import Model


@float64
def compare(case: Case) -> Iterator[Verdict]:
    """Each maximum-likelihood estimate against the highest one that can be relied on."""
    fits = case.estimates("likelihood")
    reliable = {method: fit for method, fit in fits.items() if not fit.problems}
    for method, fit in fits.items():
        name = label(method)
        if cause := unreliable(name, fit):
            yield not_comparable("maximum of the likelihood: {method}", cause, method=name)
    if not reliable:
        return
    # the highest one whose standard errors are defined gives the units
    usable = [
        method
        for method, fit in reliable.items()
        if all(np.isfinite(part.data).all() for part in fit.sd.value.data_vars.values())
    ] or list(reliable)
    best = max(usable, key=lambda method: reliable[method].log_likelihood)
    for method, fit in reliable.items():
        sides: dict[str, Any] = {"method": label(method), "reference": label(best)}
        if method != best:
            yield from _pair(case.model, fit, reliable[best], sides)
        if "predicted_rate" in (told := fit.record.attrs):
            sides["reference"] = "largest missing-information eigenvalue"
            yield Verdict(
                "{quantity}: {method}, measured − {reference}",
                float(told["measured_rate"]),
                float(told["predicted_rate"]),
                error=0.0,
                bound=EM_RATE,
                cause="a rate is measured where steps are larger than rounding",
                quantity="rate of convergence",
                **sides,
            )


def _pair(model: Model, fit: Estimate, top: Estimate, sides: dict[str, Any]) -> Iterator[Verdict]:
    """Log-likelihood, point and standard errors of one fit against those of the best."""
    numbers = fit.log_likelihood, top.log_likelihood, 0.0, LOG_LIKELIHOOD
    yield Verdict(PARTED, *numbers, quantity="log-likelihood", **sides)
    claim = "{parameter}: {method} − {reference}"
    for scalar, one, other in shared(model, fit, top):
        fields = {"parameter": scalar, **sides}
        numbers = one.location, other.location, 0.0, OPTIMUM * other.sd
        yield Verdict(claim, *numbers, quantity="estimate", **fields)
        if np.isfinite(one.sd):
            numbers = one.sd, other.sd, 0.0, STANDARD_ERROR * other.sd
            yield Verdict(AGAINST, *numbers, quantity="standard error", **fields)
