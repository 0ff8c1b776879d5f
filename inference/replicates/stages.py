"""The computations of one replicate, batched over many and compiled for data sets of one shape.

A replicate is its measured variables, `arrays`, and a point u of the unconstrained space of the
model's first program.  A stage is a function (stages, …) of one replicate, traceable by JAX.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, final

import jax
import numpy as np
import xarray as xr
from jax import Array

from inference.posterior.labels import canonical
from inference.replicates.simulated import Batch, Template
from models.programs.density import Density, flatten, quantities, replicable
from models.spec import Model


@final
class Stages:
    """All that replicates of n units each have in common.

    Attributes:
        model: the model.
        n: the units of each.
        target: its density on the template.
    """

    def __init__(self, model: Model, n: int, template: Template) -> None:
        self.model, self.n, self._template = model, n, template
        self.target, self._log_likelihood = replicable(model, template.dataset)
        self._compiled: dict[tuple[Any, ...], Callable[..., Any]] = {}

    def batched(self, stage: Callable[..., Any], *settings: Any) -> Callable[..., Any]:
        """A stage, (stages, *settings, …) of one replicate, compiled once for many."""
        key = (stage, *settings)
        if key not in self._compiled:
            self._compiled[key] = jax.jit(jax.vmap(partial(stage, self, *settings)))
        return self._compiled[key]

    def data(self, arrays: tuple[Array, ...]) -> xr.Dataset:
        """The data set of one replicate; traceable."""
        return self._template.filled(arrays)

    def density(self, arrays: tuple[Array, ...]) -> Density:
        """The density of one replicate; traceable."""
        data = self.data(arrays)
        return replace(
            self.target, data=data, log_likelihood=lambda u: self._log_likelihood(data, u)
        )

    def reported(self, u: Array) -> Array:
        """The flat quantities of one point, shape (m,); traceable."""
        return flatten(quantities(self.model, canonical(self.model, self.target.constrain(u))))

    def flat(self, points: np.ndarray) -> Any:
        """Several points of each replicate, (R, S, k) ↦ flat quantities of each, (R, S, m)."""
        return self.batched(_flat)(points)


def _flat(stages: Stages, points: Array) -> Array:
    return jax.vmap(stages.reported)(points)


_stages = lru_cache(maxsize=16)(Stages)


def compiled(model: Model, batch: Batch) -> Stages:
    """The stages for data sets shaped like those of a batch."""
    return _stages(model, batch.n, Template(batch.template, batch.varying))
