"""What each program says at points of the natural scale, term by term, for the gate to compare.

A reading is everything the gate asks of a program: log prior by parameter, log-likelihood by unit,
their gradients in the NumPyro chart, the program's own unconstrained coordinates with their
log-Jacobians, and draws from the prior and of the rows.  JAX differentiates the NumPyro program,
PyTensor the PyMC one, and the chain rule brings both into one chart.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast, final

import jax
import jax.numpy as jnp
import numpy as np

from models._density import (
    density,
    jaxify,
    numpyro_terms,
    numpyro_trace,
    per_unit,
    pymc_forward,
    pymc_program,
)
from models._random import key_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import xarray as xr
    from jax import Array

    from models._spec import Model, Values

type Terms = dict[str, Array]

_once = partial(
    jax.jit,
    compiler_options={
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
    },
)
"""Compiles for a single call: what the compiler would gain is less than what it would cost."""


@final
@dataclass(frozen=True, eq=False)
class Reading:
    """One program on one data set; arrays of points have a leading point dimension.

    Attributes:
        terms: points u in the NumPyro chart, shape (p, k) ↦ by name: `log prior <parameter>` and
            `log prior (other factors)`, shape (p,); `log likelihood`, shape (p, N); `gradient of
            the log prior` and `gradient of the log likelihood`, shape (p, k).
        coordinates: the same points ↦ by parameter: its unconstrained coordinates in the program's
            own chart, shape (p, …), and their log-Jacobian, shape (p,).
        prior_draws: (rng, count) ↦ draws of every parameter, shape (count, …).
    """

    terms: Callable[[Array], Terms]
    coordinates: Callable[[Array], dict[str, tuple[Array, Array]]]
    prior_draws: Callable[[np.random.Generator, int], dict[str, np.ndarray]]


def read_numpyro(model: Model, data: xr.Dataset) -> Reading:
    """The NumPyro program's reading."""
    from numpyro.distributions import biject_to

    of = density(model, data)
    names = [parameter.name for parameter in model.parameters]

    def one(u: Array) -> Terms:
        values = of.constrain(u)
        prior, likelihood = numpyro_terms(model, data, values)
        terms = {f"log prior {name}": jnp.sum(prior.pop(name)) for name in names}
        terms["log prior (other factors)"] = sum(map(jnp.sum, prior.values()), jnp.zeros(()))
        terms["log likelihood"] = per_unit(model, data, list(likelihood.values()))
        terms["gradient of the log prior"] = jax.grad(of.log_prior)(u)
        terms["gradient of the log likelihood"] = jax.grad(lambda v: jnp.sum(of.log_likelihood(v)))(
            u
        )
        return terms

    def coordinates(point: Array) -> dict[str, tuple[Array, Array]]:
        values = of.constrain(point)
        sites = numpyro_trace(model, data, values)
        found = {}
        for name in names:
            transform = biject_to(sites[name]["fn"].support)
            u = transform.inv(jnp.asarray(values[name]))
            found[name] = u, jnp.sum(transform.log_abs_det_jacobian(u, values[name]))
        return found

    def prior_draws(rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
        keys = jax.random.split(key_of(rng), count)
        return numpyro_prior(model, data, keys)

    return Reading(_once(jax.vmap(one)), _once(jax.vmap(coordinates)), prior_draws)


def numpyro_prior(model: Model, data: xr.Dataset, keys: Array) -> dict[str, np.ndarray]:
    """A draw of every parameter from the NumPyro program's prior for each of the keys."""
    from numpyro import handlers

    def draw(key: Array) -> Values:
        trace = handlers.trace(handlers.seed(model.numpyro, rng_seed=key)).get_trace(data)
        return {parameter.name: trace[parameter.name]["value"] for parameter in model.parameters}

    return {name: np.asarray(array) for name, array in _once(jax.vmap(draw))(keys).items()}


def read_pymc(model: Model, data: xr.Dataset) -> Reading:
    """The PyMC program's reading."""
    import pytensor
    import pytensor.tensor as pt
    from pymc.model.transform.conditioning import remove_value_transforms

    of = density(model, data)
    program = pymc_program(model, data)
    names = [parameter.name for parameter in model.parameters]
    free = [program[name] for name in names]
    with pytensor.config.change_flags(cast_policy="numpy+floatX"):
        natural = remove_value_transforms(program)
        inputs = [natural.rvs_to_values[natural[name]] for name in names]
        priors = [
            term.sum()
            for term in natural.logp(
                vars=[natural[name] for name in names], jacobian=False, sum=False
            )
        ]
        potentials = list(natural.potentials)
        others = [natural.logp(vars=potentials, jacobian=False)] if potentials else []
        rows = natural.logp(vars=natural.observed_RVs, jacobian=False, sum=False)
        prior = pt.add(pt.constant(np.float64(0)), *priors, *others)
        likelihood = pt.add(pt.constant(np.float64(0)), *[term.sum() for term in rows])
        gradients = [
            cast("list[Any]", pytensor.grad(total, inputs, disconnected_inputs="ignore"))
            for total in (prior, likelihood)
        ]
        other = pt.add(pt.constant(np.float64(0)), pt.constant(np.float64(0)), *others)
        function = jaxify(inputs, [*priors, other, *rows, *gradients[0], *gradients[1]])
        values_of = [program.rvs_to_values[variable] for variable in free]
        with_jacobian: Any = program.logp(vars=free, jacobian=True, sum=False)
        without: Any = program.logp(vars=free, jacobian=False, sum=False)
        jacobians = jaxify(
            values_of, [a.sum() - b.sum() for a, b in zip(with_jacobian, without, strict=True)]
        )
        forward = pymc_forward(program, free, model.start(np.random.default_rng(0), data))
    k, m = len(names), len(rows)

    def one(u: Array) -> Terms:
        values, back = jax.vjp(of.constrain, u)
        out = function(*(values[name] for name in names))
        terms = dict(zip([f"log prior {name}" for name in names], out[:k], strict=True))
        terms["log prior (other factors)"] = out[k]
        terms["log likelihood"] = per_unit(model, data, list(out[k + 1 : k + 1 + m]))
        start = k + 1 + m
        for title, part in (
            ("gradient of the log prior", out[start : start + k]),
            ("gradient of the log likelihood", out[start + k :]),
        ):
            cotangent = {
                name: jnp.reshape(g, jnp.shape(values[name])).astype(float)
                for name, g in zip(names, part, strict=True)
            }
            terms[title] = back(cotangent)[0]
        return terms

    def coordinates(point: Array) -> dict[str, tuple[Array, Array]]:
        values = of.constrain(point)
        points = forward(*(values[name] for name in names))
        return dict(zip(names, zip(points, jacobians(*points), strict=True), strict=True))

    def prior_draws(rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
        with pytensor.config.change_flags(cast_policy="numpy+floatX"):
            draws = _draw(_batched(free, count), rng)
        return dict(zip(names, draws, strict=True))

    return Reading(_once(jax.vmap(one)), _once(jax.vmap(coordinates)), prior_draws)


def numpyro_rows(
    model: Model, data: xr.Dataset, values: Values, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """One simulated data set of every observed site of the NumPyro program, at given values."""
    from numpyro.distributions import Unit

    def draw(key: Array) -> Values:
        return {
            name: site["fn"].sample(key)
            for name, site in numpyro_trace(model, data, values).items()
            if site["type"] == "sample" and site["is_observed"] and not isinstance(site["fn"], Unit)
        }

    drawn = _once(draw)(key_of(rng))
    return {name: np.asarray(array) for name, array in drawn.items()}


def pymc_rows(
    model: Model, data: xr.Dataset, values: Values, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """One simulated data set of every observed site of the PyMC program, at given values."""
    import pytensor
    import pytensor.tensor as pt
    from pytensor.graph.replace import clone_replace

    program = pymc_program(model, data)
    observed = program.observed_RVs
    fixed = {site: pt.as_tensor(np.asarray(values[site.name])) for site in program.free_RVs}
    with pytensor.config.change_flags(cast_policy="numpy+floatX"):
        draws = _draw(clone_replace(observed, fixed), rng)
    return dict(zip([site.name for site in observed], draws, strict=True))


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


def _draw(variables: Sequence[Any], rng: np.random.Generator) -> list[np.ndarray]:
    """One joint draw; compiled by JAX, or run by Python what JAX cannot express.

    Without a C compiler, since a draw made once is not worth half a minute of compiling it.
    """
    import pymc as pm
    import pytensor

    seed = int(rng.integers(2**31))
    with warnings.catch_warnings():
        # JAX mode says that it copies the generators; the seed is ours either way
        warnings.filterwarnings("ignore", message="The RandomType SharedVariables")
        try:
            draws = pm.draw(list(variables), random_seed=seed, mode="JAX")
        except (NotImplementedError, TypeError):
            with pytensor.config.change_flags(cxx=""):
                draws = pm.draw(list(variables), random_seed=seed, mode="FAST_COMPILE")
    return [np.asarray(draw) for draw in draws]
