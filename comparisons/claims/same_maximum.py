"""Every route to the maximum of the likelihood ends at the same point.

The likelihood has one (non-degenerate) global maximum; gradient optimisation of either program,
EM, a closed form and statsmodels can differ only by numerical error.  EM stops short of the
maximum by rate/(1 − rate) times its last step, and its rate is the largest eigenvalue of
complete⁻¹ missing information.
References: Wu (1983), Ann. Statist. 11; Louis (1982), JRSS B 44.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from comparisons.policy import EM_RATE, LOG_LIKELIHOOD, OPTIMUM, STANDARD_ERROR
from comparisons.reference import shared, unreliable
from comparisons.verdict import Verdict, not_comparable
from models.programs.precision import float64

if TYPE_CHECKING:
    from collections.abc import Iterator

    from comparisons.case import Case


@float64
def compare(case: Case) -> Iterator[Verdict]:
    """Each maximum-likelihood estimate against the highest one that can be relied on."""
    fits = case.estimates("likelihood")
    reliable = {name: fit for name, fit in fits.items() if not fit.problems}
    for name, fit in fits.items():
        if fit.problems:
            yield not_comparable(f"maximum of the likelihood: {name}", unreliable(name, fit))
    if not reliable:
        return
    # the highest one whose standard errors are defined gives the units
    usable = [
        name
        for name, fit in reliable.items()
        if all(np.isfinite(part.data).all() for part in fit.sd.value.data_vars.values())
    ] or list(reliable)
    best = max(usable, key=lambda name: reliable[name].log_likelihood)
    for name, fit in reliable.items():
        if name != best:
            yield Verdict(
                f"log-likelihood: {name} − {best}",
                fit.log_likelihood,
                reliable[best].log_likelihood,
                error=0.0,
                bound=LOG_LIKELIHOOD,
            )
            for scalar, one, other in shared(case.model, fit, reliable[best]):
                yield Verdict(
                    f"{scalar}: {name} − {best}",
                    one.location,
                    other.location,
                    error=0.0,
                    bound=OPTIMUM * other.sd,
                )
                if np.isfinite(one.sd):
                    yield Verdict(
                        f"standard error of {scalar}: {name} − {best}",
                        one.sd,
                        other.sd,
                        error=0.0,
                        bound=STANDARD_ERROR * other.sd,
                    )
        if "predicted_rate" in fit.record.attrs:
            yield Verdict(
                f"rate of convergence: {name}, measured − largest missing-information eigenvalue",
                float(fit.record.attrs["measured_rate"]),
                float(fit.record.attrs["predicted_rate"]),
                error=0.0,
                bound=EM_RATE,
            )
