"""The modes of a posterior in its unconstrained space, with the curvature at each.

Reference: Nocedal & Wright (2006), Numerical Optimization, ch. 3, 6.
"""

import jax.numpy as jnp
import numpy as np

from inference.information.derivatives import derivatives
from inference.optimisation.newton import bfgs, climb, negative
from inference.optimisation.starts import measures
from inference.posterior.importance import Mode
from inference.posterior.labels import canonical, exchangeable
from models.capabilities import HasSigns
from models.programs.density import Density
from models.spec import Model

_SAME = 1e-3
"""Difference of the log density of two modes, in nats, within which they are one."""
_NEAR = 0.1
"""Distance of two ends, in standard deviations, within which they may be one."""
_MOST = 8
"""Modes, at most."""


def modes(model: Model, target: Density, rng: np.random.Generator, starts: int) -> list[Mode]:
    """Distinct maxima of the log posterior that some starts lead to, eight at most, highest first.

    Where signs or labels can be changed, those of one value are copies, of which one is kept.

    Args:
        model: the model.
        target: its density on the data.
        rng: draws the starts.
        starts: how many.
    """
    compiled = derivatives(target, "posterior")
    minus = negative(compiled.value_and_gradient)
    symmetric = isinstance(model, HasSigns) or exchangeable(model)
    found: list[Mode] = []

    def same(mode: Mode, u: np.ndarray, value: float) -> bool:
        if abs(mode.value - value) > _SAME:
            return False
        off = u - mode.u
        return symmetric or bool(off @ np.linalg.solve(mode.covariance, off) < _NEAR**2)

    for stream in rng.spawn(starts):
        u = np.asarray(target.unconstrain(model.start(stream, target.data)))
        unit = measures(model, target, np.asarray(compiled.hessian(jnp.asarray(u))))
        end = bfgs(minus, u, 1e-3, unit=unit)
        if end is None or any(same(mode, end.x, -end.fun) for mode in found):
            continue
        values = canonical(model, target.constrain(jnp.asarray(end.x)))
        top = climb(compiled, np.asarray(target.unconstrain(values)))
        if top is None:
            continue
        value = float(compiled.value_and_gradient(jnp.asarray(top[0]))[0])
        if not any(same(mode, top[0], value) for mode in found):
            found.append(Mode(top[0], value, np.linalg.inv(top[1])))
    return sorted(found, key=lambda mode: -mode.value)[:_MOST]
