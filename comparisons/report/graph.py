"""The graph of a model: what the factor of each site depends on, read off the NumPyro program."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.interpreters.partial_eval import dce_jaxpr

from models.capabilities import HasOwnPrograms
from models.programs.numpyro import numpyro_terms
from models.spec import Model, Values


def parents(model: Model, data: xr.Dataset) -> tuple[dict[str, tuple[str, ...]], frozenset[str]]:
    """The parameters that each site's density depends on beside its own value; what is observed.

    Nothing is computed: of the traced program, what each density does not need is left out.
    """
    if isinstance(model, HasOwnPrograms):
        program = model.adopted.named
        start = {site.name: jnp.zeros(site.unconstrained) for site in program.sites}

        def terms(parts: Values) -> tuple[Values, Values]:
            found = program.at(parts)
            return found.prior, {**found.likelihood, **found.factors}

    else:
        start = model.start(np.random.default_rng(0), data)

        def terms(parts: Values) -> tuple[Values, Values]:
            return numpyro_terms(model, data, parts)

    traced, (prior, likelihood) = jax.make_jaxpr(terms, return_shape=True)(start)
    sites = [*sorted(prior), *sorted(likelihood)]
    found = {}
    for place, site in enumerate(sites):
        _, needed = dce_jaxpr(traced.jaxpr, [i == place for i in range(len(sites))])
        names = zip(sorted(start), needed, strict=True)
        found[site] = tuple(name for name, used in names if used and name != site)
    return found, frozenset(likelihood)


def levels(graph: Mapping[str, tuple[str, ...]]) -> dict[str, int]:
    """How many arrows at most lead to each site; a cycle is entered at its first one."""
    found: dict[str, int] = {}
    while left := [site for site in graph if site not in found]:
        for site in [s for s in left if found.keys() >= set(graph[s])] or left[:1]:
            found[site] = 1 + max((found.get(name, -1) for name in graph[site]), default=-1)
    return found
