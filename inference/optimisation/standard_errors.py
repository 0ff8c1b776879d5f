"""From a point to an estimate: its standard errors, and the boundary where they are undefined."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array

from inference.estimate import Estimate, Quantity, named_covariance
from inference.information.delta import quantity_covariance
from inference.information.derivatives import Objective, derivatives
from inference.information.edges import edges
from inference.information.inversion import invert
from inference.posterior.draws import by_name
from inference.posterior.labels import canonical
from models.capabilities import HasCautions
from models.programs.density import (
    Density,
    Language,
    density,
    flat_names,
    flatten,
    labelled,
    names_of_entries,
    quantities,
    quantity_table,
)
from models.spec import Model, Values


def estimate_at(
    model: Model,
    data: xr.Dataset,
    values: Values,
    *,
    information: np.ndarray | None = None,
    objective: Objective = "likelihood",
    problems: Sequence[str] = (),
    sd_kind: str = "observed",
    record: xr.Dataset | None = None,
) -> Estimate:
    """An estimate at a point, its standard errors from an information matrix.

    Args:
        model: the model.
        data: the data.
        values: the point, on the natural scale.
        information: in the unconstrained space of the NumPyro program, shape (k, k); by default
            minus the Hessian of the objective there.
        objective: what is largest at the point.
        problems: what is known to be wrong already.
        sd_kind: what the estimate calls its standard errors.
        record: how the fit went.
    """
    values = canonical(model, values)
    target = density(model, data)
    u = _inside(target, values)
    if information is None:
        information = -np.asarray(derivatives(target, objective).hessian(u))
    edge = edges(model, target, np.asarray(u), information, objective)
    inverse = invert(model, target, u, information, edge.coordinates)
    names = names_of_entries(quantity_table(model), data, quantities(model, values))
    without = np.array([name in edge.where for name in names])
    covariance = quantity_covariance(model, target, u, inverse)
    covariance = np.where(without | without[:, None], np.nan, covariance)
    record = xr.Dataset() if record is None else record
    if isinstance(model, HasCautions) and (sentence := model.caution(values, data)):
        record.attrs["note"] = f"at the maximum {sentence}"
    problems = tuple(filter(None, (*problems, inverse.problem, edge.problem)))
    return estimate_of(
        model, data, values, covariance, problems=problems, sd_kind=sd_kind, record=record
    )


def estimate_of(
    model: Model,
    data: xr.Dataset,
    values: Values,
    covariance: np.ndarray | None = None,
    *,
    language: Language | None = None,
    problems: tuple[str, ...] = (),
    **rest: Any,
) -> Estimate:
    """An estimate at a point, with a covariance that is known.

    Args:
        model: the model.
        data: the data.
        values: the point, on the natural scale.
        covariance: of the scalars that are reported, shape (m, m); undefined if None.
        language: whose program says what ℓ is there.
        problems: why it must not be relied on.
        rest: the other fields of an `Estimate`.
    """
    target, reported = density(model, data, language), quantities(model, values)
    value_and_gradient = derivatives(target, "likelihood").value_and_gradient
    return exact_estimate(
        model,
        data,
        reported,
        np.full((flatten(reported).size,) * 2, np.nan) if covariance is None else covariance,
        log_likelihood=float(value_and_gradient(_inside(target, values))[0]),
        point=labelled(model.parameters, data, values),
        problems=problems,
        **rest,
    )


def _inside(target: Density, values: Values) -> Array:
    """The coordinates of a point; on an end of a support, those of the last number before it."""
    u = target.unconstrain(values)
    return jnp.where(jnp.isinf(u), 36 * jnp.sign(u), u)  # log odds of a probability below 1


def exact_estimate(
    model: Model, data: xr.Dataset, reported: Values, covariance: np.ndarray, **rest: Any
) -> Estimate:
    """An estimate without Monte Carlo error and without draws.

    Args:
        model: the model.
        data: the data.
        reported: the quantities, on the natural scale, in the order of their table.
        covariance: of their scalars, shape (m, m); NaN where undefined.
        rest: the other fields of an `Estimate`.
    """
    table = quantity_table(model)
    deviations = by_name(np.sqrt(np.diag(covariance)), reported)
    location, sd = labelled(table, data, reported), labelled(table, data, deviations)
    return Estimate(
        location=Quantity(location, xr.zeros_like(location)),
        sd=Quantity(sd, xr.zeros_like(sd)),
        draws=None,
        covariance=named_covariance(covariance, flat_names(location)),
        **rest,
    )
