"""A guide of NumPyro's climbing its ELBO, for the engines that are one guide or another."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array

from inference.engine import STEPS, library_call, rate_left
from models.spec import Model, Values

_RATE = 1e-2  # what tutorials give Adam


def climbs(
    model: Model,
    data: xr.Dataset,
    guide: str,
    start: Values | None,
    keys: Array,
    *,
    draws: int,
    decayed: bool = False,
) -> tuple[list[dict[str, np.ndarray]], np.ndarray]:
    """`SVI(program, guide, Adam(rate), Trace_ELBO())` with each key, under one compilation.

    The program's variables by fit, shape (draw, …), and the loss of the first by step.

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
        fits, samples = zip(*(jax.random.split(key) for key in keys), strict=True)
        each = [_made(model, guide, start, decayed) for _ in keys]
        first = [svi.init(key, data) for (_, svi), key in zip(each, fits, strict=True)]
        states = jax.tree.map(lambda *leaves: jnp.stack(leaves), *first)
        fitted, svi = each[0]

        def run(state: Any) -> Any:
            key, steps = jax.random.key(0), STEPS["decayed" if decayed else "adam"]
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
        return sites, np.asarray(found.losses[0])


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
