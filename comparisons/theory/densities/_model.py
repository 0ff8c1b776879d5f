"""A model of the repository as a density of points: of the plane, or of the line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from comparisons.theory.densities._fitted import Fitted
from models.programs.density import replicable

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax import Array

    from models.spec import Model, Values


def as_data(points: Any) -> xr.Dataset:
    """Points, shape (M, 2) or (M,), as the data set of a model with one column of them."""
    return xr.Dataset({"y": (("obs", "variable")[: points.ndim], points)})


TEMPLATE = as_data(np.array([[0.0, 0.0], [0.0, 1.0], [2.0, 0.0]]))
"""Any data of two columns: they give a program its shapes."""
LINE = as_data(np.array([0.0, 1.0, 2.0]))
"""Any data of one column of numbers."""


def log_density_at(
    model: Model, values: Values, template: xr.Dataset = TEMPLATE
) -> Callable[[Array], Array]:
    """x ↦ log p(x | θ), shape (M,), of points as the template has them, off the NumPyro program."""
    of, log_likelihood = replicable(model, template)
    u = of.unconstrain(values)
    return lambda x: log_likelihood(as_data(x), u)


def density_of(model: Model, values: Values, access: str) -> Fitted:
    """What values of a model's parameters give: everything, exactly."""
    log_density = log_density_at(model, values)
    return Fitted(
        access,
        log_density,
        score=jax.grad(lambda x: jnp.sum(log_density(x))),
        sample=lambda rng, n: np.asarray(model.simulate(rng, values, n)["y"].data),
        parameters=replicable(model, TEMPLATE)[0].size,
    )
