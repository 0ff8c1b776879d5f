"""A NumPyro program for several engines: its guides on their way up the ELBO, and its density."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array, random

from inference.engine import STEPS, Found, NumpyroEngine, flat, library_call, rate_left
from models.programs.keys import key_of
from models.spec import Model, Values

_RATE = 1e-2  # what tutorials give Adam
_FLOWS = ("AutoIAFNormal",)  # whose law is not Gaussian in the unconstrained space


class Guide(NumpyroEngine):
    """A guide on its way up the ELBO: `SVI(program, guide, Adam(rate), Trace_ELBO())`.

    Attributes:
        guide: its class, of `numpyro.infer.autoguide`.
        schedule: of the rate, which falls if that is `decayed`.
        runs: fits, each with a key of its own, under one compilation.
        samples: draws from each fitted guide; with 0 its median is taken instead.
    """

    guide: Any
    schedule: Any = "adam"
    runs: Any = 1
    samples: Any = 0

    def call(
        self, model: Model, data: xr.Dataset, rng: np.random.Generator, start: Values | None
    ) -> Found:
        key, decayed = key_of(rng), self.schedule == "decayed"
        with library_call():
            from numpyro.infer import psis_diagnostic

            keys = random.split(key, self.runs) if self.runs > 1 else key[None]
            fits, samples = zip(*map(random.split, keys), strict=True)
            each = [_made(model, self.guide, start, decayed) for _ in keys]
            first = [svi.init(key, data) for (_, svi), key in zip(each, fits, strict=True)]
            states = jax.tree.map(lambda *leaves: jnp.stack(leaves), *first)
            fitted, svi = each[0]

            def run(state: Any) -> Any:
                key, steps = random.key(0), STEPS[self.schedule]
                # the key is not used where the state is given
                return svi.run(key, steps, data, progress_bar=False, init_state=state)

            found = jax.jit(jax.vmap(run))(states)
            sites = []
            for place, key in enumerate(samples):
                params = jax.tree.map(lambda leaf, place=place: leaf[place], found.params)
                if count := self.samples:
                    drawn = fitted.sample_posterior(key, params, data, sample_shape=(count,))
                else:
                    drawn = fitted.median(params)
                sites.append(jax.tree.map(np.asarray, drawn))
            losses, khat = np.asarray(found.losses[0]), None
            if self.guide in _FLOWS:
                params = jax.tree.map(lambda leaf: leaf[0], found.params)
                law, how = (params, model.numpyro, fitted, data), {"chunk_size": 1_000}
                khat = psis_diagnostic(samples[0], *law, num_particles=self.samples, **how)
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
