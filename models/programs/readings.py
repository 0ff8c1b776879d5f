"""What each program says at points of the natural scale, term by term, for the gate to compare.

A reading is everything the gate asks of a program: log prior by parameter, log-likelihood by unit,
their gradients and each parameter's log-Jacobian in the NumPyro chart u, and draws from the prior
and of the rows.  JAX differentiates the NumPyro program, PyTensor the PyMC one, and the chain rule
brings both into one chart; the PyMC program's own coordinates v have a log-Jacobian that differs
from NumPyro's by theirs, log |∂θ/∂u| = log |∂θ/∂v| + log |∂v/∂u|, whatever the two charts are.

`outside_support` asks less, before any fit: which rows a program cannot have drawn at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, cast, final

import jax
import jax.numpy as jnp
import numpy as np

from models.data.column import rows_text
from models.programs.compilation import once
from models.programs.density import (
    density,
    jaxify,
    numpyro_terms,
    numpyro_trace,
    per_unit,
    pymc_forward,
    pymc_program,
)
from models.programs.keys import key_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import xarray as xr
    from jax import Array

    from models.spec import Model, Values

type Terms = dict[str, Array]

_BATCH = 1_000
"""Prior draws made at a time, so that the samplers' loops stay in the cache."""
_STARTS = 3
"""Starts at which the supports of the rows are looked at."""


@final
@dataclass(frozen=True, eq=False)
class Reading:
    """One program on one data set; arrays of points have a leading point dimension.

    Attributes:
        terms: points u in the NumPyro chart, shape (p, k) ↦ by name: `log prior <parameter>` and
            `log prior (other factors)`, shape (p,); `log likelihood`, shape (p, N); and, unless the
            program was read without derivatives, `gradient of the log prior` and `gradient of the
            log likelihood`, shape (p, k), and `log Jacobian <parameter>`, shape (p,).
        prior_draws: (rng, count) ↦ draws of every parameter, shape (count, …).
    """

    terms: Callable[[Array], Terms]
    prior_draws: Callable[[np.random.Generator, int], dict[str, np.ndarray]]


def read_numpyro(model: Model, data: xr.Dataset, *, derivatives: bool = True) -> Reading:
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
        if not derivatives:
            return terms
        terms["gradient of the log prior"] = jax.grad(of.log_prior)(u)
        terms["gradient of the log likelihood"] = jax.grad(lambda v: jnp.sum(of.log_likelihood(v)))(
            u
        )
        sites = numpyro_trace(model, data, values)
        for name in names:
            transform = biject_to(sites[name]["fn"].support)
            own = transform.inv(jnp.asarray(values[name]))
            jacobian = transform.log_abs_det_jacobian(own, values[name])
            terms[f"log Jacobian {name}"] = jnp.sum(jacobian)
        return terms

    def prior_draws(rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
        return numpyro_prior(model, data, jax.random.split(key_of(rng), count))

    return Reading(once(jax.vmap(one)), prior_draws)


def numpyro_prior(model: Model, data: xr.Dataset, keys: Array) -> dict[str, np.ndarray]:
    """A draw of every parameter from the NumPyro program's prior for each of the keys."""
    from numpyro import handlers

    def draw(key: Array) -> Values:
        trace = handlers.trace(handlers.seed(model.numpyro, rng_seed=key)).get_trace(data)
        return {parameter.name: trace[parameter.name]["value"] for parameter in model.parameters}

    batch = once(jax.vmap(draw))
    parts = [batch(keys[first : first + _BATCH]) for first in range(0, len(keys), _BATCH)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def numpyro_chart(model: Model, data: xr.Dataset, values: Values) -> tuple[Array, Array, Array]:
    """Points in the NumPyro chart, taken to the natural scale and back.

    Args:
        model: the model.
        data: the data.
        values: points on the natural scale, every array with a leading point dimension.

    Returns:
        Their coordinates u, shape (p, k), the same after the way there and back, and what becomes
        of the step (1, …, 1) on that way.
    """
    of = density(model, data)

    def one(values: Values) -> tuple[Array, Array, Array]:
        u = of.unconstrain(values)
        there_and_back = jax.jvp(
            lambda v: of.unconstrain(of.constrain(v)), (u,), (jnp.ones_like(u),)
        )
        return u, *there_and_back

    return once(jax.vmap(one))(values)


def outside_support(model: Model, data: xr.Dataset) -> str:
    """Which rows the NumPyro program cannot have drawn, as a sentence; "" if there are none.

    A support may depend on the parameters, so a row counts only if it lies outside at every one
    of a few starts. Sites without a term for each row are left to the gate.
    """
    from numpyro import validation_enabled
    from numpyro.distributions import Unit

    rng = np.random.default_rng(0)
    count = next(iter(data.data_vars.values())).shape[0]
    outside: dict[str, np.ndarray] = {}
    supports: dict[str, Any] = {}
    with validation_enabled(False):  # a start from such data may be no point of the model either
        for _ in range(_STARTS):
            for name, site in numpyro_trace(model, data, model.start(rng, data)).items():
                if site["type"] != "sample" or not site["is_observed"]:
                    continue
                if isinstance(site["fn"], Unit) or np.shape(site["value"])[:1] != (count,):
                    continue
                here = np.asarray(~site["fn"].support(site["value"]) & _seen(site["fn"]))
                if here.shape[:1] == (count,):
                    supports[name] = site["fn"].support
                    rows = here.reshape(count, -1).any(axis=1)
                    outside[name] = rows & outside.get(name, np.True_)
    for name, rows in outside.items():
        if rows.any():
            return (
                f"{name} is outside of the support of {model.name} in {rows.sum()} of {count} "
                f"rows, {rows_text(rows)}; expected {_called(supports[name])}: drop or correct "
                "them, or use another model"
            )
    return ""


def _seen(law: Any) -> Any:
    """Where the terms of a distribution are not masked."""
    from numpyro.distributions import MaskedDistribution

    seen: Any = True
    while hasattr(law, "base_dist"):
        if isinstance(law, MaskedDistribution):
            seen &= law._mask
        law = law.base_dist
    return seen


def _called(support: Any) -> str:
    """A support in few words."""
    while hasattr(support, "base_constraint"):  # of each element
        support = support.base_constraint
    return f"{support!s:.60}"


def read_pymc(model: Model, data: xr.Dataset, *, derivatives: bool = True) -> Reading:
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
            if derivatives
        ]
        other = pt.add(pt.constant(np.float64(0)), pt.constant(np.float64(0)), *others)
        function = jaxify(inputs, [*priors, other, *rows, *chain(*gradients)])
    log_jacobians = _pymc_jacobians(model, data, program) if derivatives else None
    k, m = len(names), len(rows)

    def one(u: Array) -> Terms:
        values = of.constrain(u)
        out = function(*(values[name] for name in names))
        terms = dict(zip([f"log prior {name}" for name in names], out[:k], strict=True))
        terms["log prior (other factors)"] = out[k]
        terms["log likelihood"] = per_unit(model, data, list(out[k + 1 : k + 1 + m]))
        if log_jacobians is None:
            return terms
        _, back = jax.vjp(of.constrain, u)
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
        return {**terms, **log_jacobians(u)}

    def prior_draws(rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
        with pytensor.config.change_flags(cast_policy="numpy+floatX"):
            [draws] = _draw(_batched(free, count), rng, [], [[]])
        return dict(zip(names, draws, strict=True))

    return Reading(once(jax.vmap(one)), prior_draws)


def _pymc_jacobians(model: Model, data: xr.Dataset, program: Any) -> Callable[[Array], Terms]:
    """u ↦ `log Jacobian <parameter>` of the PyMC program, from its chart v into NumPyro's u."""
    import pytensor

    of = density(model, data)
    names = [parameter.name for parameter in model.parameters]
    free = [program[name] for name in names]
    with pytensor.config.change_flags(cast_policy="numpy+floatX"):
        values_of = [program.rvs_to_values[variable] for variable in free]
        with_jacobian: Any = program.logp(vars=free, jacobian=True, sum=False)
        without: Any = program.logp(vars=free, jacobian=False, sum=False)
        own = jaxify(
            values_of, [a.sum() - b.sum() for a, b in zip(with_jacobian, without, strict=True)]
        )
        forward = pymc_forward(program, free, model.start(np.random.default_rng(0), data))

    def chart(u: Array) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        values = of.constrain(u)
        v = tuple(forward(*(values[name] for name in names)))
        return v, v

    def log_jacobians(u: Array) -> Terms:
        terms = {}
        derivatives, v = jax.jacfwd(chart, has_aux=True)(u)
        for name, jacobian, derivative in zip(names, own(*v), derivatives, strict=True):
            columns = np.flatnonzero(np.array(of.coordinates) == name)
            block = jnp.reshape(derivative, (-1, of.size))[:, columns]
            square = block.shape[0] == block.shape[1]
            change = jnp.linalg.slogdet(block)[1] if square else jnp.nan
            terms[f"log Jacobian {name}"] = jacobian + change
        return terms

    return log_jacobians


def numpyro_rows(
    model: Model, data: xr.Dataset, points: Sequence[Values], rng: np.random.Generator
) -> list[dict[str, np.ndarray]]:
    """At each point, one simulated data set of every observed site of the NumPyro program."""
    from numpyro.distributions import Unit

    @once
    def draw(values: Values, key: Array) -> Values:
        return {
            name: site["fn"].sample(key)
            for name, site in numpyro_trace(model, data, values).items()
            if site["type"] == "sample" and site["is_observed"] and not isinstance(site["fn"], Unit)
        }

    drawn = [draw(values, key_of(rng)) for values in points]
    return [{name: np.asarray(array) for name, array in rows.items()} for rows in drawn]


def pymc_rows(
    model: Model, data: xr.Dataset, points: Sequence[Values], rng: np.random.Generator
) -> list[dict[str, np.ndarray]]:
    """At each point, one simulated data set of every observed site of the PyMC program."""
    import pytensor
    from pytensor.graph.replace import clone_replace

    program = pymc_program(model, data)
    observed = program.observed_RVs
    inputs = {site: site.type() for site in program.free_RVs}
    arrays = [[np.asarray(values[site.name]) for site in inputs] for values in points]
    with pytensor.config.change_flags(cast_policy="numpy+floatX"):
        drawn = _draw(clone_replace(observed, inputs), rng, list(inputs.values()), arrays)
    names = [site.name for site in observed]
    return [dict(zip(names, rows, strict=True)) for rows in drawn]


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


def _draw(
    variables: Sequence[Any],
    rng: np.random.Generator,
    inputs: Sequence[Any],
    points: Sequence[Sequence[np.ndarray]],
) -> list[list[np.ndarray]]:
    """A joint draw at each point of the inputs.

    Run by Python on NumPy's generators: compiling the samplers would take many times as long.
    """
    import pymc as pm
    import pytensor

    seed = int(rng.integers(2**31))
    with pytensor.config.change_flags(cxx=""):
        function = pm.compile(list(inputs), list(variables), random_seed=seed, mode="FAST_COMPILE")
        return [[np.asarray(draw) for draw in function(*point)] for point in points]
