"""A model's PyMC program: its graphs, as functions that JAX can trace, and what it draws."""

from collections.abc import Callable, Sequence
from typing import Any
from unittest.mock import patch

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array

from models.programs.precision import keeping_the_switch
from models.spec import Arrays, Model


def pymc_program(model: Model, data: xr.Dataset) -> Any:
    """The program, built so that Python numbers stay float64."""
    with float64_constants():
        return model.pymc(data)


def float64_constants() -> Any:
    """A context in which PyTensor keeps Python numbers as they are; by default it rounds them."""
    import pytensor

    return pytensor.config.change_flags(cast_policy="numpy+floatX")


def jaxified(inputs: Sequence[Any], outputs: Sequence[Any]) -> Callable[..., tuple[Array, ...]]:
    """A PyTensor graph as a JAX function of its inputs, in the order given."""
    with keeping_the_switch():
        from pymc.sampling.jax import get_jaxified_graph
    # of an array JAX's erfcx has no second derivative, of each of its elements it has
    special = jax.scipy.special
    with patch.object(special, "erfcx", jnp.vectorize(special.erfcx)):
        return get_jaxified_graph(inputs=list(inputs), outputs=list(outputs))


def sampler(inputs: Sequence[Any], variables: Sequence[Any], seed: int = 0) -> Any:
    """A joint draw as a function of the inputs, made by Python on NumPy's generators.

    Compiling the samplers would take many times as long as they run.
    """
    import pymc as pm
    import pytensor

    with pytensor.config.change_flags(cxx="", cast_policy="numpy+floatX"):
        return pm.compile(
            list(inputs),
            list(variables),
            random_seed=seed,
            mode="FAST_COMPILE",
            on_unused_input="ignore",
        )


def pymc_prior(model: Model, data: xr.Dataset, rng: np.random.Generator, count: int) -> Arrays:
    """Draws of every parameter from the program's prior, shape (count, …).

    Args:
        model: the model.
        data: the data.
        rng: the stream of the draws.
        count: number of draws.
    """
    from pymc.distributions.shape_utils import change_dist_size
    from pytensor.graph.replace import vectorize_graph
    from pytensor.graph.traversal import ancestors

    program = pymc_program(model, data)
    names = [parameter.name for parameter in model.parameters]
    variables = [program[name] for name in names]
    with float64_constants():
        # roots are resized and all else is vectorised, so that one call makes all draws
        batch = {
            variable: change_dist_size(variable, (count,), expand=True)
            for variable in variables
            if not set(variables) & (set(ancestors([variable])) - {variable})
        }
        many = vectorize_graph(variables, replace=batch)
    draws = sampler([], many, int(rng.integers(2**31)))()
    return dict(zip(names, map(np.asarray, draws), strict=True))
