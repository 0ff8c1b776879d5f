"""Maximum a posteriori on the natural scale: argmax ℓ(θ) + log π(θ), prior but no Jacobian.

Under a Gaussian prior it is maximum likelihood with an L2 penalty.  The mode of the unconstrained
posterior is another estimator (see `laplace`).  Its standard errors are those of the
curvature of the penalised likelihood.
Reference: Gelman et al. (2013), Bayesian Data Analysis, §13.1-13.2.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import numpy as np
import xarray as xr

from inference.estimate import Estimate
from inference.method import Kind, Method, derived
from inference.optimisation.starts import Search, optimum_estimate
from models.settings import Count
from models.spec import Model


@final
@dataclass(frozen=True)
class MaximumAPosteriori(Method):
    """Many-start optimisation of likelihood times prior on the natural scale.

    Attributes:
        engine: whose program, unconstrained space and gradients the optimiser uses.
        restarts: number of data-driven starts.
    """

    engine: Literal["numpyro", "pymc"] = "numpyro"
    restarts: Count = 20

    name: ClassVar[str] = "maximum_a_posteriori"
    target: ClassVar[Literal["likelihood", "posterior"]] = "posterior"
    kind: ClassVar[Kind] = "optimum"
    language = derived(lambda self: self.engine)
    profiles: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "quick": {"restarts": 10},
        "thorough": {"restarts": 100},
    }

    def refusal(self, model: Model) -> str:
        return ""

    def fit(self, model: Model, data: xr.Dataset, rng: np.random.Generator) -> Estimate:
        search = Search("joint", self.engine, self.restarts)
        return optimum_estimate(model, data, rng, search, "curvature")
