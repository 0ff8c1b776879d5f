"""A model's NumPyro program: its sites, its density and what it draws."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
import xarray as xr
from jax import Array

from models.programs.compilation import once
from models.spec import Arrays, Model, Values

_BATCH = 1_000
"""Prior draws made at a time, so that the samplers' loops stay in the cache."""


def numpyro_trace(model: Model, data: xr.Dataset, values: Values) -> dict[str, Any]:
    """The program's sites at given values."""
    from numpyro import handlers

    program = handlers.substitute(handlers.seed(model.numpyro, rng_seed=0), data=values)
    return handlers.trace(program).get_trace(data)


def observed_sites(model: Model, data: xr.Dataset, values: Values) -> dict[str, dict[str, Any]]:
    """Every observed site at given values; empty if the program has factors, too."""
    sites = _sampled(numpyro_trace(model, data, values))
    if any(is_factor(site) for site in sites.values()):
        return {}
    return {name: site for name, site in sites.items() if site["is_observed"]}


def numpyro_terms(model: Model, data: xr.Dataset, values: Values) -> tuple[Values, Values]:
    """Log prior by site, and log-likelihood by observed site, elementwise, on the natural scale."""
    prior: Values = {}
    likelihood: Values = {}
    for name, site in _sampled(numpyro_trace(model, data, values)).items():
        observed = site["is_observed"] and not is_factor(site)
        (likelihood if observed else prior)[name] = site["fn"].log_prob(site["value"])
    return prior, likelihood


def _sampled(trace: dict[str, Any]) -> dict[str, Any]:
    return {name: site for name, site in trace.items() if site["type"] == "sample"}


def is_factor(site: Mapping[str, Any]) -> bool:
    """Whether a sampled site is a factor."""
    from numpyro.distributions import Unit

    return isinstance(base(site["fn"]), Unit)


def base(law: Any) -> Any:
    """The distribution that others are wrapped around."""
    *_, innermost = layers(law)
    return innermost


def layers(law: Any) -> Iterator[Any]:
    """A distribution, and those that it is wrapped around."""
    yield law
    if hasattr(law, "base_dist"):
        yield from layers(law.base_dist)


def numpyro_prior(model: Model, data: xr.Dataset, keys: Array) -> Arrays:
    """A draw of every parameter from the program's prior for each of the keys."""
    from numpyro import handlers

    def draw(key: Array) -> Values:
        trace = handlers.trace(handlers.seed(model.numpyro, rng_seed=key)).get_trace(data)
        return {parameter.name: trace[parameter.name]["value"] for parameter in model.parameters}

    batch = once(jax.vmap(draw))
    parts = [batch(keys[first : first + _BATCH]) for first in range(0, len(keys), _BATCH)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def numpyro_data(model: Model, data: xr.Dataset, values: Values, key: Array) -> Values:
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
