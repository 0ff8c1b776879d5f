"""Laplace: N(û, H⁻¹) at the mode û of the unconstrained posterior, pushed through the transform.

The mode is of ℓ + log π + log-Jacobian, and H is minus its Hessian.  The evidence that goes with it
is log Z ≈ f(û) + (k/2) log 2π − ½ log |H|.  Its error is O(1/N): the mean is off the mode by
½ H⁻¹ ∇ tr(H' Σ) to first order.  All of it
depends on the unconstrained space, and the two languages have different ones.
References: Tierney & Kadane (1986), JASA 81; Kass & Raftery (1995), JASA 90.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, final

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from annotated_types import Ge

from inference.estimate import Estimate
from inference.information.derivatives import Objective, derivatives
from inference.information.inversion import invert
from inference.method import Kind
from inference.optimisation.starts import Search
from inference.posterior.draws import CHAINS, estimate_from_draws
from inference.posterior.importance import over_gaussian
from inference.posterior.points import to_natural
from models.errors import FitError
from models.programs.density import density
from models.spec import Model


@final
@dataclass(frozen=True)
class Laplace(Search):
    """Gaussian approximation at the mode of the unconstrained posterior of one program.

    Attributes:
        draws: draws per pseudo-chain, of which there are four.
    """

    draws: Annotated[int, Ge(4)] = 10_000

    name: ClassVar[str] = "laplace"
    target: ClassVar[Literal["likelihood", "posterior"]] = "posterior"
    kind: ClassVar[Kind] = "laplace"
    objective: ClassVar[Objective] = "posterior"
    profiles: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "quick": {"restarts": 10, "draws": 4_000},
        "thorough": {"restarts": 100, "draws": 20_000},
    }

    def fit(self, model: Model, data: xr.Dataset, rng: np.random.Generator) -> Estimate:
        values, problems, record = self.optimum(model, data, rng)
        target = density(model, data, self.engine)
        mode = np.asarray(target.unconstrain(values))
        hessian = -np.asarray(derivatives(target, "posterior").hessian(jnp.asarray(mode)))
        inverse = invert(model, target, jnp.asarray(mode), hessian)
        if inverse.problem or inverse.boundary.any():
            raise FitError(inverse.problem or "the posterior mode is on a boundary")
        ends = mode + np.diag(2 * np.sqrt(np.diag(inverse.covariance)))
        back = jax.vmap(lambda end: target.unconstrain(target.constrain(end)))(jnp.asarray(ends))
        if not np.allclose(back, ends, rtol=0.01, atol=1.0):
            told = "its Gaussian reaches to where float64 cannot tell a parameter from its limit"
            raise FitError(f"the data determine too little: {told}")
        factor = np.linalg.cholesky(inverse.covariance)
        noise = rng.standard_normal((CHAINS, self.draws, target.size))
        draws = to_natural(target, mode + noise @ factor.T)
        top = float(derivatives(target, "posterior").value_and_gradient(jnp.asarray(mode))[0])
        record = record.assign(
            mode=("coordinate", mode),
            mode_covariance=(("coordinate", "coordinate_"), inverse.covariance),
        )
        record.attrs["log_evidence"] = (
            top + 0.5 * target.size * np.log(2 * np.pi) + float(np.log(np.diag(factor)).sum())
        )
        record.attrs["khat"] = over_gaussian(target, mode, inverse.covariance, rng)[1]
        return estimate_from_draws(model, data, draws, record=record, problems=problems)
