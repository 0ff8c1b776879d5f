"""Maximum likelihood where it is a formula: the sample mean, 1/N variances, principal axes.

The referee of every iterative optimiser: it has no tolerance and no start.
"""

import time
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import numpy as np
import xarray as xr

from inference.estimate import Estimate
from inference.method import Kind, Method
from inference.optimisation.standard_errors import estimate_at
from inference.optimisation.starts import refuse_undefined
from models.capabilities import HasClosedFormMaximum
from models.errors import FitError
from models.programs.density import density
from models.spec import Model


@final
@dataclass(frozen=True)
class ClosedForm(Method):
    """The closed-form maximum of the likelihood."""

    name: ClassVar[str] = "closed_form"
    target: ClassVar[Literal["likelihood", "posterior"]] = "likelihood"
    kind: ClassVar[Kind] = "exact"

    def refusal(self, model: Model) -> str:
        if isinstance(model, HasClosedFormMaximum):
            return ""
        return f"the maximum likelihood of {model.name} is not a formula"

    def fit(self, model: Model, data: xr.Dataset, rng: np.random.Generator) -> Estimate:
        refuse_undefined(model, data)
        if not isinstance(model, HasClosedFormMaximum):
            raise FitError(self.refusal(model))
        started = time.perf_counter()
        try:
            with np.errstate(all="ignore"):
                values = model.maximum_likelihood(data)
        except np.linalg.LinAlgError as error:
            raise FitError("undefined: the sample covariance is singular") from error
        if not np.isfinite(density(model, data).unconstrain(values)).all():
            raise FitError("undefined: the likelihood grows without bound as a scale goes to 0")
        record = xr.Dataset(attrs={"run": time.perf_counter() - started})
        return estimate_at(model, data, values, record=record)
