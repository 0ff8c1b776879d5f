"""statsmodels as referee: an implementation of the likelihood that shares no code with ours.

Where it has no standard error the sd is NaN, never ours under its name.
Reference: Seabold & Perktold (2010), statsmodels, Proc. 9th Python in Science Conf.
"""

import time
import warnings
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import jax.numpy as jnp
import numpy as np
import xarray as xr

from inference.estimate import Estimate
from inference.method import Kind, Method
from inference.optimisation.standard_errors import exact_estimate
from inference.optimisation.starts import refuse_undefined
from models.capabilities import HasReferee
from models.errors import FitError
from models.programs.density import flatten, labelled, quantity_table
from models.spec import Model


@final
@dataclass(frozen=True)
class StatsmodelsReferee(Method):
    """The model's maximum-likelihood fit by statsmodels."""

    name: ClassVar[str] = "statsmodels"
    target: ClassVar[Literal["likelihood", "posterior"]] = "likelihood"
    kind: ClassVar[Kind] = "optimum"
    library: ClassVar[str] = "statsmodels"

    def refusal(self, model: Model) -> str:
        if isinstance(model, HasReferee):
            return model.referee_refusal
        return f"statsmodels does not cover {model.name}"

    def fit(self, model: Model, data: xr.Dataset, rng: np.random.Generator) -> Estimate:
        refuse_undefined(model, data)
        if not isinstance(model, HasReferee):
            raise FitError(self.refusal(model))
        started = time.perf_counter()
        from statsmodels.tools.sm_exceptions import ConvergenceWarning

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            values, errors, log_likelihood = model.referee(data)
        warned = {str(w.message) for w in caught if issubclass(w.category, ConvergenceWarning)}
        problems = tuple(f"statsmodels warns: {message}" for message in sorted(warned))
        table = quantity_table(model)
        location = {p.name: values[p.name] for p in table}
        unknown = {name: jnp.full(jnp.shape(array), jnp.nan) for name, array in location.items()}
        sd = np.asarray(flatten({name: errors.get(name, nan) for name, nan in unknown.items()}))
        covariance = np.where(np.eye(sd.size, dtype=bool), sd**2, np.nan)
        # where what is reported are functions of the parameters, statsmodels has other ones
        known = all(p.name in values for p in model.parameters)
        return exact_estimate(
            model,
            data,
            location,
            covariance,
            log_likelihood=log_likelihood,
            point=labelled(model.parameters, data, values) if known else xr.Dataset(),
            problems=problems,
            sd_kind="statsmodels",
            record=xr.Dataset(attrs={"run": time.perf_counter() - started}),
        )
