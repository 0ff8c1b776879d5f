"""Louis' identity: the observed information is the complete less the missing one.

J = complete − missing, complete = −∂²Q(u' | u)/∂u'², missing = ∂²Q(u' | u)/∂u'∂u at u' = u; the
largest eigenvalue of complete⁻¹ missing is the linear rate of EM.
References: Louis (1982), JRSS B 44; Dempster, Laird & Rubin (1977), JRSS B 39.
"""

from typing import NamedTuple

import jax
import numpy as np
from jax import Array

from models.capabilities import HasEM
from models.errors import FitError
from models.programs.compilation import once
from models.programs.density import Density
from models.spec import Model


class Louis(NamedTuple):
    """Complete and missing information, each of shape (k, k), and the rate of EM they predict."""

    complete: np.ndarray
    missing: np.ndarray
    rate: float


def louis(model: Model, target: Density, u: Array) -> Louis:
    """Louis' decomposition at a fixed point of EM: information about u, shape (k,).

    Raises:
        FitError: the model has no EM.
    """
    if not isinstance(model, HasEM):
        raise FitError(f"model {model.name} has no E and M steps")

    data = target.data

    def q(new: Array, old: Array) -> Array:
        statistics = model.e_step(target.constrain(old), data)
        return model.complete_log_likelihood(target.constrain(new), statistics, data)

    curvatures = once(jax.jacfwd(jax.grad(q, argnums=0), argnums=(0, 1)))
    curvature, missing = map(np.asarray, curvatures(u, u))
    complete = -curvature
    rate = float(np.max(np.linalg.eigvals(np.linalg.solve(complete, missing)).real))
    return Louis(complete, missing, rate)
