"""Maximum likelihood: θ̂ = argmax Σ_i log p(x_i | θ), no prior, no Jacobian.

Consistent, asymptotically normal and efficient: √N(θ̂ − θ₀) → N(0, I(θ₀)⁻¹).  Its standard errors
come from the observed information.
Reference: van der Vaart (1998), Asymptotic Statistics, ch. 5.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import numpy as np
import xarray as xr

from inference.estimate import Estimate
from inference.method import Kind, Method, derived
from inference.optimisation.starts import Search, optimum_estimate, refuse_undefined
from models.settings import Count
from models.spec import Model


@final
@dataclass(frozen=True)
class MaximumLikelihood(Method):
    """Many-start optimisation of the likelihood.

    Attributes:
        engine: whose program, unconstrained space and gradients the optimiser uses.
        restarts: number of data-driven starts.
    """

    engine: Literal["numpyro", "pymc"] = "numpyro"
    restarts: Count = 20

    name: ClassVar[str] = "maximum_likelihood"
    target: ClassVar[Literal["likelihood", "posterior"]] = "likelihood"
    kind: ClassVar[Kind] = "optimum"
    language = derived(lambda self: self.engine)
    profiles: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "quick": {"restarts": 10},
        "thorough": {"restarts": 100},
    }

    def refusal(self, model: Model) -> str:
        return ""

    def fit(self, model: Model, data: xr.Dataset, rng: np.random.Generator) -> Estimate:
        refuse_undefined(model, data)
        search = Search("likelihood", self.engine, self.restarts)
        return optimum_estimate(model, data, rng, search, "observed")
