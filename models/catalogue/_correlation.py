"""The LKJ law of the Cholesky factor of a correlation matrix, as a PyMC variable.

Row i (of 1, …, D) of the factor L is a direction uniform on its sphere, scaled to a squared length
Beta(i'/2, η + (D − 1 − i')/2) with i' = i − 1, and a diagonal entry that makes it a unit vector.
The density about the entries below the diagonal is ∏_i L_ii^(D − i + 2η − 2) times a constant.

PyMC 6.3's own `LKJCorr` leaves the factor's Jacobian ∏_i L_ii^(D − i) out and has another constant;
6.4 mends both, but what `concord[extras]` needs is of 6.3.
Reference: Lewandowski, Kurowicka & Joe (2009), Journal of Multivariate Analysis 100, §3.2.
"""

from functools import partial
from typing import Any, cast

import numpy as np


def _draw(count: int, eta: Any, size: Any) -> Any:
    import pymc as pm
    import pytensor.tensor as pt
    from pymc.distributions.shape_utils import rv_size_is_none

    batch: Any = np.zeros(0, int) if rv_size_is_none(size) else size
    free = np.arange(1, count)
    wide = pm.Normal.dist(size=pt.concatenate([batch, [count - 1, count]]))
    below = wide * np.tri(count - 1, count)
    square = pm.Beta.dist(
        free / 2, eta + (count - 1 - free) / 2, size=pt.concatenate([batch, [count - 1]])
    )[..., None]
    rows = (square / (below**2).sum(-1, keepdims=True)) ** 0.5 * below
    rows += (1 - square) ** 0.5 * np.eye(count - 1, count, k=1)
    first = 0 * rows[..., :1, :] + np.eye(1, count)
    factor = cast("Any", pt.concatenate([first, rows], axis=-2))
    # JAX compiles the derivative of a diagonal only where its length is known
    return pt.specify_shape(factor, (*[None] * (factor.ndim - 2), count, count))


def _log_density(count: int, value: Any, eta: Any) -> Any:
    import pytensor.tensor as pt

    free = np.arange(1, count)
    half = eta + (count - 1 - free) / 2
    constants = cast("Any", pt.gammaln(half + free / 2)) - pt.gammaln(half)
    constant = (constants - free / 2 * np.log(np.pi)).sum()
    exponents = 2 * eta - 2 + count - np.arange(1, count + 1)
    diagonal = pt.diagonal(value, axis1=-2, axis2=-1)
    return constant + (exponents * pt.log(diagonal)).sum(-1)


def pymc_cholesky_correlation(
    name: str, count: int, concentration: float, copies: tuple[int, ...] = ()
) -> Any:
    """A variable of the model in context, what `LKJCholesky` is in NumPyro.

    Args:
        name: of the variable.
        count: D, at least 2.
        concentration: η; 1 is uniform over correlation matrices.
        copies: the shape of independent ones.

    Returns:
        The variable, shape (*copies, D, D), lower triangular.
    """
    import pymc as pm
    import pytensor.tensor as pt
    from pymc.distributions.transforms import CholeskyCorrTransform

    return pm.CustomDist(
        name,
        concentration,
        dist=partial(_draw, count),
        logp=partial(_log_density, count),
        support_point=lambda rv, *_: pt.broadcast_to(pt.eye(count), rv.shape),
        signature="()->(n,n)",
        transform=CholeskyCorrTransform(count, upper=False),
        shape=(*copies, count, count),
    )
