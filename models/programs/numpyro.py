"""A model's NumPyro program: its sites, its density and what it draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array

from models.programs.compilation import once
from models.programs.form import Program, Terms, check_names
from models.programs.keys import key_of
from models.spec import Model, Values

if TYPE_CHECKING:
    from models.programs.density import Density

_BATCH = 1_000
"""Prior draws made at a time, so that the samplers' loops stay in the cache."""


# --- sites ----------------------------------------------------------------------------------------


def numpyro_trace(model: Model, data: xr.Dataset, values: Values) -> dict[str, Any]:
    """The program's sites at given values."""
    from numpyro import handlers

    program = handlers.substitute(handlers.seed(model.numpyro, rng_seed=0), data=values)
    return handlers.trace(program).get_trace(data)


def observed_sites(model: Model, data: xr.Dataset, values: Values) -> dict[str, dict[str, Any]]:
    """Every observed site at given values; empty if the program has factors, too."""
    sites = _sampled(numpyro_trace(model, data, values))
    if any(_is_factor(site) for site in sites.values()):
        return {}
    return {name: site for name, site in sites.items() if site["is_observed"]}


def numpyro_terms(
    model: Model, data: xr.Dataset, values: Values
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Log prior by site, and log-likelihood by observed site, elementwise, on the natural scale."""
    prior: dict[str, Array] = {}
    likelihood: dict[str, Array] = {}
    for name, site in _sampled(numpyro_trace(model, data, values)).items():
        observed = site["is_observed"] and not _is_factor(site)
        (likelihood if observed else prior)[name] = site["fn"].log_prob(site["value"])
    return prior, likelihood


def _sampled(trace: dict[str, Any]) -> dict[str, Any]:
    return {name: site for name, site in trace.items() if site["type"] == "sample"}


def _as_wide(site: dict[str, Any]) -> Any:
    """Its law for all rows: without a plate it may be that of one, seen by all."""
    law, shape = site["fn"], jnp.shape(site["value"])
    rows = shape[: len(shape) - law.event_dim]
    return (
        law if law.batch_shape == rows else law.expand(jnp.broadcast_shapes(rows, law.batch_shape))
    )


def _is_factor(site: dict[str, Any]) -> bool:
    from numpyro.distributions import Unit

    return isinstance(site["fn"], Unit)


# --- density --------------------------------------------------------------------------------------


def numpyro_functions(model: Model, data: xr.Dataset) -> Program:
    """The program's functions of its unconstrained space.

    Raises:
        ModelError: the program's sites are not the parameter table's.
    """
    from numpyro.distributions import biject_to
    from numpyro.distributions.distribution import validation_enabled

    # At a start nothing is sampled, which would compile every operation of every sampler, and
    # unchecked, which would compile every comparison: a start outside a support has no density.
    with validation_enabled(False):
        trace = numpyro_trace(model, data, model.start(np.random.default_rng(0), data))
    sites = {name: site for name, site in _sampled(trace).items() if not site["is_observed"]}
    check_names(model, "NumPyro", sites)
    names = [parameter.name for parameter in model.parameters]
    transforms = {name: biject_to(sites[name]["fn"].support) for name in names}

    def constrain(parts: Values) -> Values:
        return {name: transforms[name](part) for name, part in parts.items()}

    def unconstrain(values: Values) -> Values:
        return {name: transforms[name].inv(jnp.asarray(values[name])) for name in names}

    def log_likelihood(parts: Values) -> list[Array]:
        return list(numpyro_terms(model, data, constrain(parts))[1].values())

    def log_prior(parts: Values) -> Array:
        terms = numpyro_terms(model, data, constrain(parts))[0]
        return sum((jnp.sum(term) for term in terms.values()), jnp.zeros(()))

    def log_jacobian(parts: Values) -> Array:
        terms = (transforms[n].log_abs_det_jacobian(x, transforms[n](x)) for n, x in parts.items())
        return sum(map(jnp.sum, terms), jnp.zeros(()))

    shapes = {n: transforms[n].inverse_shape(jnp.shape(sites[n]["value"])) for n in names}
    return Program(shapes, constrain, unconstrain, log_likelihood, log_prior, log_jacobian)


def numpyro_reading(
    model: Model, data: xr.Dataset, space: Density, *, derivatives: bool
) -> Callable[[Array], Terms]:
    """The program's terms as a function of a point u of its unconstrained space, shape (k,).

    Args:
        model: the model.
        data: the data.
        space: the density of the model's NumPyro program.
        derivatives: whether gradients and Jacobians are among the terms.
    """
    from numpyro.distributions import biject_to

    names = [parameter.name for parameter in model.parameters]

    def read(u: Array) -> Terms:
        values = space.constrain(u)
        prior, likelihood = numpyro_terms(model, data, values)
        priors = [jnp.sum(prior.pop(name)) for name in names]
        other = sum(map(jnp.sum, prior.values()), jnp.zeros(()))
        gradients, jacobians = [], []
        if derivatives:
            gradients.append(jax.grad(space.log_prior)(u))
            gradients.append(jax.grad(lambda v: jnp.sum(space.log_likelihood(v)))(u))
            sites = numpyro_trace(model, data, values)
            for name in names:
                transform = biject_to(sites[name]["fn"].support)
                own = transform.inv(jnp.asarray(values[name]))
                jacobians.append(jnp.sum(transform.log_abs_det_jacobian(own, values[name])))
        return priors, other, list(likelihood.values()), gradients, jacobians

    return read


# --- draws ----------------------------------------------------------------------------------------


def numpyro_prior(model: Model, data: xr.Dataset, keys: Array) -> dict[str, np.ndarray]:
    """A draw of every parameter from the program's prior for each of the keys."""
    from numpyro import handlers

    def draw(key: Array) -> Values:
        trace = handlers.trace(handlers.seed(model.numpyro, rng_seed=key)).get_trace(data)
        return {parameter.name: trace[parameter.name]["value"] for parameter in model.parameters}

    batch = once(jax.vmap(draw))
    parts = [batch(keys[first : first + _BATCH]) for first in range(0, len(keys), _BATCH)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def numpyro_data(model: Model, data: xr.Dataset, values: Values, key: Array) -> dict[str, Array]:
    """Draws of the observed sites, by name, at given values; traceable by JAX.

    Args:
        model: the model.
        data: what the draws are shaped like.
        values: the parameters, on the natural scale.
        key: the stream of the draws.
    """
    from numpyro import handlers

    program = handlers.substitute(handlers.seed(model.numpyro, rng_seed=key), data=values)
    drawn = _sampled(handlers.trace(handlers.uncondition(program)).get_trace(data))
    return {name: site["value"] for name, site in drawn.items() if name not in values}


def numpyro_rows(
    model: Model, data: xr.Dataset, points: Sequence[Values], rng: np.random.Generator
) -> list[dict[str, np.ndarray]]:
    """At each point, one simulated data set of every observed site, by name.

    Args:
        model: the model.
        data: what the draws are shaped like.
        points: parameters on the natural scale.
        rng: the stream of the draws.
    """

    @once
    def draw(values: Values, key: Array) -> Values:
        sites = _sampled(numpyro_trace(model, data, values))
        return {
            name: _as_wide(site).sample(key)
            for name, site in sites.items()
            if site["is_observed"] and not _is_factor(site)
        }

    drawn = [draw(values, key_of(rng)) for values in points]
    return [{name: np.asarray(array) for name, array in rows.items()} for rows in drawn]
