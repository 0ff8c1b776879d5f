"""A guide of NumPyro's climbing its ELBO, for the engines that are one guide or another."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array

from inference.engine import STEPS, library_call, rate_left
from models.spec import Model, Values

_RATE = 1e-2
"""What tutorials give Adam."""


class Climb:
    """`SVI(program, guide, Adam(rate), Trace_ELBO())`, run with several keys."""

    def __init__(
        self, model: Model, data: xr.Dataset, guide: str, schedule: str, start: Values | None
    ) -> None:
        """Keeps what is to be run: a class of `numpyro.infer.autoguide`, and `adam` or `decayed`.

        It starts at values of the program's variables; where NumPyro starts if None.
        """
        self._model, self._data, self._guide = model, data, guide
        self._steps = STEPS[schedule]
        decayed = schedule == "decayed"
        self._rate: Any = (lambda step: _RATE * rate_left(step)) if decayed else _RATE
        self._start = started("init_loc_fn", start)

    def runs(self, keys: Array, draws: int) -> tuple[list[dict[str, np.ndarray]], np.ndarray]:
        """Fits a new guide with each key, side by side under one compilation, and draws from it.

        With 0 draws the guide's median is taken instead.

        Returns:
            The program's variables by run, shape (draw, …), and the loss of the first by step.
        """
        with library_call():
            climbs, samples = zip(*(jax.random.split(key) for key in keys), strict=True)
            made = [self._made() for _ in keys]
            first = [svi.init(key, self._data) for (_, svi), key in zip(made, climbs, strict=True)]
            states = jax.tree.map(lambda *leaves: jnp.stack(leaves), *first)
            guide, svi = made[0]

            def run(state: Any) -> Any:
                key = jax.random.key(0)  # not used where the state is given
                return svi.run(key, self._steps, self._data, progress_bar=False, init_state=state)

            found = jax.jit(jax.vmap(run))(states)
            sites = []
            for place, key in enumerate(samples):
                params = jax.tree.map(lambda leaf, place=place: leaf[place], found.params)
                drawn = (
                    guide.sample_posterior(key, params, self._data, sample_shape=(draws,))
                    if draws
                    else guide.median(params)
                )
                sites.append(jax.tree.map(np.asarray, drawn))
            return sites, np.asarray(found.losses[0])

    def _made(self) -> tuple[Any, Any]:
        """A guide of its own, which starts on its own, and its SVI."""
        from numpyro.infer import SVI, Trace_ELBO, autoguide
        from numpyro.optim import Adam

        guide = getattr(autoguide, self._guide)(self._model.numpyro, **self._start)
        return guide, SVI(self._model.numpyro, guide, Adam(self._rate), Trace_ELBO())


def started(keyword: str, start: Values | None) -> dict[str, Any]:
    """The argument that makes NumPyro start somewhere; none for where it starts by itself."""
    from numpyro.infer import init_to_value

    return {} if start is None else {keyword: init_to_value(values=start)}
