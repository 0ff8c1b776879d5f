"""The graph of a model: what the factor of each site depends on, read off the NumPyro program."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.extend.core import Var

from models.capabilities import HasOwnPrograms
from models.programs.numpyro import numpyro_terms
from models.spec import Model, Values


def parents(model: Model, data: xr.Dataset) -> tuple[dict[str, tuple[str, ...]], frozenset[str]]:
    """The parameters that each site's density depends on beside its own value; what is observed.

    Nothing is computed: the traced program is walked from each density back to the parameters.
    """
    if isinstance(model, HasOwnPrograms):
        program = model.adopted.named
        start = {site.name: jnp.zeros(site.unconstrained) for site in program.sites}

        def terms(parts: Values) -> tuple[Values, Values]:
            found = program.at(program.join(parts))
            return found.prior, {**found.likelihood, **found.factors}

    else:
        start = model.start(np.random.default_rng(0), data)

        def terms(parts: Values) -> tuple[Values, Values]:
            return numpyro_terms(model, data, parts)

    traced, (prior, likelihood) = jax.make_jaxpr(terms, return_shape=True)(start)
    sites = [*sorted(prior), *sorted(likelihood)]
    parameters = dict(zip(traced.jaxpr.invars, sorted(start), strict=True))
    found = {}
    for site, term in zip(sites, traced.jaxpr.outvars, strict=True):
        needed = {term} if isinstance(term, Var) else set()
        for equation in reversed(traced.jaxpr.eqns):
            if needed.intersection(equation.outvars):
                needed.update(v for v in equation.invars if isinstance(v, Var))
        found[site] = tuple(
            name for variable, name in parameters.items() if variable in needed and name != site
        )
    return found, frozenset(likelihood)


def levels(graph: Mapping[str, tuple[str, ...]]) -> dict[str, int]:
    """How many arrows at most lead to each site."""
    found: dict[str, int] = {}
    while len(found) < len(graph):
        for site, above in graph.items():
            if site not in found and found.keys() >= set(above):
                found[site] = 1 + max((found[name] for name in above), default=-1)
    return found
