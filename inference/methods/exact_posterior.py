"""The posterior of a conjugate model: exact moments and evidence, no sampling.

The truth against which every sampler is held where it exists.
Reference: Bernardo & Smith (1994), Bayesian Theory, §5.2.
"""

import time
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import jax.numpy as jnp
import numpy as np
import xarray as xr

from inference.estimate import Estimate
from inference.method import Kind, Method
from inference.optimisation.standard_errors import estimate_of
from models.capabilities import HasExactPosterior
from models.errors import FitError
from models.programs.density import flatten, quantity_table
from models.spec import Model


@final
@dataclass(frozen=True)
class ExactPosterior(Method):
    """Exact posterior means, standard deviations and evidence of a conjugate model."""

    name: ClassVar[str] = "exact_posterior"
    target: ClassVar[Literal["likelihood", "posterior"]] = "posterior"
    kind: ClassVar[Kind] = "exact"

    def refusal(self, model: Model) -> str:
        return "" if isinstance(model, HasExactPosterior) else f"{model.name} is not conjugate"

    def fit(self, model: Model, data: xr.Dataset, rng: np.random.Generator) -> Estimate:
        if not isinstance(model, HasExactPosterior):
            raise FitError(self.refusal(model))
        started = time.perf_counter()
        marginal = model.exact_posterior(data)
        table = quantity_table(model)
        values = {p.name: jnp.asarray(marginal[p.name].mean()) for p in table}
        variance = flatten({p.name: jnp.asarray(marginal[p.name].var()) for p in table})
        # marginals only: the correlations of the exact posterior are not part of the protocol
        covariance = np.where(np.eye(variance.size, dtype=bool), variance, np.nan)
        evidence = model.exact_log_evidence(data)
        attrs = {"log_evidence": evidence, "run": time.perf_counter() - started}
        record = xr.Dataset(attrs=attrs)
        return estimate_of(model, data, values, covariance, sd_kind="posterior_sd", record=record)
