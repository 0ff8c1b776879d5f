"""A model's PyMC program: its graphs, as functions that JAX can trace, and what it draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from jax import Array

from models.programs.precision import keeping_the_switch
from models.spec import Model, Values


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

    def load() -> Any:
        from pymc.sampling import jax

        return jax

    jax_sampling = keeping_the_switch(load)
    return jax_sampling.get_jaxified_graph(inputs=list(inputs), outputs=list(outputs))


def log_jacobians(
    variables: Sequence[Any], values: Mapping[Any, Any], transforms: Mapping[Any, Any]
) -> list[Any]:
    """Graphs of the log-Jacobian of each variable, a scalar.

    It is not the difference of two log priors, in which it would be lost where these are large.
    """
    import pytensor.tensor as pt

    return [
        pt.constant(np.float64(0))
        if transforms[v] is None
        else transforms[v].log_jac_det(values[v], *v.owner.inputs).sum()
        for v in variables
    ]


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


def pymc_prior(
    model: Model, data: xr.Dataset, rng: np.random.Generator, count: int
) -> dict[str, np.ndarray]:
    """Draws of every parameter from the program's prior, shape (count, …).

    Args:
        model: the model.
        data: the data.
        rng: the stream of the draws.
        count: number of draws.
    """
    program = pymc_program(model, data)
    names = [parameter.name for parameter in model.parameters]
    with float64_constants():
        variables = _batched([program[name] for name in names], count)
    draws = sampler([], variables, int(rng.integers(2**31)))()
    return dict(zip(names, map(np.asarray, draws), strict=True))


def _batched(variables: Sequence[Any], count: int) -> list[Any]:
    """The variables with a leading dimension of independent joint draws.

    Roots are resized and everything that depends on them is vectorised, so that one call of the
    compiled function makes all draws.
    """
    from pymc.distributions.shape_utils import change_dist_size
    from pytensor.graph.replace import vectorize_graph
    from pytensor.graph.traversal import ancestors

    among = set(variables)
    batch = {
        variable: change_dist_size(variable, (count,), expand=True)
        for variable in variables
        if not among & (set(ancestors([variable])) - {variable})
    }
    rest = [variable for variable in variables if variable not in batch]
    dependent = dict(zip(rest, vectorize_graph(rest, replace=batch), strict=True)) if rest else {}
    return [{**batch, **dependent}[variable] for variable in variables]


def pymc_rows(
    model: Model, data: xr.Dataset, points: Sequence[Values], rng: np.random.Generator
) -> list[dict[str, np.ndarray]]:
    """At each point, one simulated data set of every observed site, by name.

    Args:
        model: the model.
        data: what the draws are shaped like.
        points: parameters on the natural scale.
        rng: the stream of the draws.
    """
    from pytensor.graph.replace import clone_replace

    program = pymc_program(model, data)
    inputs = {site: site.type() for site in program.free_RVs}
    observed = clone_replace(program.observed_RVs, inputs)
    draw = sampler(list(inputs.values()), observed, int(rng.integers(2**31)))
    names = [site.name for site in program.observed_RVs]
    found = (draw(*(np.asarray(values[site.name]) for site in inputs)) for values in points)
    return [dict(zip(names, map(np.asarray, rows), strict=True)) for rows in found]
