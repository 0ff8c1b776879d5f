"""A model of the repository as a density of points: of the plane, or of the line."""

from typing import Any

import numpy as np
import xarray as xr

from comparisons.theory.densities._quadrature import Pointwise
from models.programs.density import replicable
from models.spec import Model, Values


def as_data(points: Any) -> xr.Dataset:
    """Points, shape (M, 2) or (M,), as the data set of a model with one column of them."""
    return xr.Dataset({"y": (("obs", "variable")[: points.ndim], points)})


TEMPLATE = as_data(np.array([[0.0, 0.0], [0.0, 1.0], [2.0, 0.0]]))
"""Any data of two columns: they give a program its shapes."""
LINE = as_data(np.array([0.0, 1.0, 2.0]))
"""Any data of one column of numbers."""


def log_density_at(model: Model, values: Values, template: xr.Dataset = TEMPLATE) -> Pointwise:
    """x ↦ log p(x | θ), shape (M,), of points as the template has them, off the NumPyro program."""
    density, log_likelihood = replicable(model, template)
    u = density.unconstrain(values)
    return lambda x: log_likelihood(as_data(x), u)


def model_size(model: Model) -> int:
    """How many parameters the program of a model of the plane has."""
    return replicable(model, TEMPLATE)[0].size
