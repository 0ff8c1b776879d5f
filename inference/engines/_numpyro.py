"""A NumPyro program for other engines: its guides climbing their ELBO, and its density."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array, random

from inference.engine import STEPS, Found, flat, library_call, rate_left
from models.spec import Model, Values

_RATE = 1e-2  # what tutorials give Adam
_FLOWS = ("AutoIAFNormal",)  # whose law is not Gaussian in the unconstrained space


def climbs(
    model: Model,
    data: xr.Dataset,
    guide: str,
    start: Values | None,
    keys: Array,
    *,
    draws: int,
    decayed: bool = False,
) -> Found:
    """`SVI(program, guide, Adam(rate), Trace_ELBO())` with each key, under one compilation.

    Args:
        model: the model.
        data: the data.
        guide: a class of `numpyro.infer.autoguide`.
        start: values of the program's variables; where NumPyro starts if None.
        keys: one for each fit.
        draws: from each fitted guide; with 0 its median is taken instead.
        decayed: whether the rate falls.
    """
    with library_call():
        from numpyro.infer import psis_diagnostic

        fits, samples = zip(*(random.split(key) for key in keys), strict=True)
        each = [_made(model, guide, start, decayed) for _ in keys]
        first = [svi.init(key, data) for (_, svi), key in zip(each, fits, strict=True)]
        states = jax.tree.map(lambda *leaves: jnp.stack(leaves), *first)
        fitted, svi = each[0]

        def run(state: Any) -> Any:
            key, steps = random.key(0), STEPS["decayed" if decayed else "adam"]
            # the key is not used where the state is given
            return svi.run(key, steps, data, progress_bar=False, init_state=state)

        found = jax.jit(jax.vmap(run))(states)
        sites = []
        for place, key in enumerate(samples):
            params = jax.tree.map(lambda leaf, place=place: leaf[place], found.params)
            if draws:
                drawn = fitted.sample_posterior(key, params, data, sample_shape=(draws,))
            else:
                drawn = fitted.median(params)
            sites.append(jax.tree.map(np.asarray, drawn))
        losses, khat = np.asarray(found.losses[0]), None
        if guide in _FLOWS:
            params = jax.tree.map(lambda leaf: leaf[0], found.params)
            law = params, model.numpyro, fitted, data
            khat = psis_diagnostic(samples[0], *law, num_particles=draws, chunk_size=1_000)
        return Found(sites, losses, claims=flat(losses), khat=khat)


def _made(model: Model, guide: str, start: Values | None, decayed: bool) -> tuple[Any, Any]:
    """A guide of its own, which starts on its own, and its SVI."""
    from numpyro.infer import SVI, Trace_ELBO, autoguide
    from numpyro.optim import Adam

    rate: Any = (lambda step: _RATE * rate_left(step)) if decayed else _RATE
    own = getattr(autoguide, guide)(model.numpyro, **started("init_loc_fn", start))
    return own, SVI(model.numpyro, own, Adam(rate), Trace_ELBO())


def started(keyword: str, start: Values | None) -> dict[str, Any]:
    """The argument that makes NumPyro start somewhere; none for where it starts by itself."""
    from numpyro.infer import init_to_value

    return {} if start is None else {keyword: init_to_value(values=start)}


def unconstrained(
    model: Model, data: xr.Dataset, start: Values | None, keys: Array
) -> tuple[Any, Callable[[Any], Array], Callable[[Any], dict[str, Array]]]:
    """A program as functions of a point: where NumPyro would start, log density, variables.

    Args:
        model: the model.
        data: the data.
        start: values of the program's variables; where NumPyro starts if None.
        keys: one for each start.
    """
    from numpyro.infer.util import initialize_model

    where = started("init_strategy", start)
    found = initialize_model(keys, model.numpyro, model_args=(data,), **where)
    return found.param_info.z, lambda z: -found.potential_fn(z), found.postprocess_fn
