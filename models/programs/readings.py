"""Each program at points of its parameter space, term by term, for the gate to compare.

A reading is everything the gate asks of a program: log prior by parameter, log-likelihood by unit,
their gradients and each parameter's log-Jacobian in NumPyro's unconstrained space u, and draws from
the prior.  JAX differentiates the NumPyro program, PyTensor the PyMC one, and the chain rule brings
both into one space; the PyMC program's own coordinates v have a log-Jacobian that differs from
NumPyro's by theirs, log |∂θ/∂u| = log |∂θ/∂v| + log |∂v/∂u|, whatever the two transforms are.

`outside_support` asks less, before any fit: which rows a program cannot have drawn at all.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array

from models.data.column import rows_text
from models.programs.compilation import once
from models.programs.density import density, per_unit
from models.programs.form import Terms
from models.programs.indices import beyond
from models.programs.keys import key_of
from models.programs.numpyro import numpyro_prior, numpyro_reading, numpyro_trace
from models.programs.pymc import pymc_prior, pymc_reading
from models.spec import Model, Values

_STARTS = 3
"""Starts at which the supports of the rows are looked at."""


@final
@dataclass(frozen=True, eq=False)
class Reading:
    """One program on one data set; arrays of points have a leading point dimension.

    Attributes:
        terms: points u of NumPyro's unconstrained space, shape (p, k) ↦ by name: `log prior
            <parameter>` and `log prior (other factors)`, shape (p,); `log likelihood`, shape
            (p, N); and, unless the program was read without derivatives, `gradient of the log
            prior` and `gradient of the log likelihood`, shape (p, k), and `log Jacobian
            <parameter>`, shape (p,).
        prior_draws: (rng, count) ↦ draws of every parameter, shape (count, …).
    """

    terms: Callable[[Array], dict[str, Array]]
    prior_draws: Callable[[np.random.Generator, int], dict[str, np.ndarray]]


def read_numpyro(model: Model, data: xr.Dataset, *, derivatives: bool = True) -> Reading:
    """The NumPyro program's reading."""

    def prior_draws(rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
        return numpyro_prior(model, data, jax.random.split(key_of(rng), count))

    read = numpyro_reading(model, data, density(model, data), derivatives=derivatives)
    return Reading(_named(model, data, read), prior_draws)


def read_pymc(model: Model, data: xr.Dataset, *, derivatives: bool = True) -> Reading:
    """The PyMC program's reading."""
    read = pymc_reading(model, data, density(model, data), derivatives=derivatives)
    return Reading(_named(model, data, read), partial(pymc_prior, model, data))


def _named(
    model: Model, data: xr.Dataset, read: Callable[[Array], Terms]
) -> Callable[[Array], dict[str, Array]]:
    """The terms of a program by their names in the gate, at many points."""
    names = [parameter.name for parameter in model.parameters]

    def one(u: Array) -> dict[str, Array]:
        priors, other, likelihood, gradients, jacobians = read(u)
        terms = {f"log prior {n}": term for n, term in zip(names, priors, strict=True)}
        terms["log prior (other factors)"] = other
        terms["log likelihood"] = per_unit(model, data, likelihood)
        for part, gradient in zip(("prior", "likelihood"), gradients, strict=False):
            terms[f"gradient of the log {part}"] = gradient
        for name, jacobian in zip(names, jacobians, strict=False):
            terms[f"log Jacobian {name}"] = jacobian
        return terms

    return once(jax.vmap(one))


def there_and_back(model: Model, data: xr.Dataset, values: Values) -> tuple[Array, Array, Array]:
    """Points in NumPyro's unconstrained space, and after the way to the natural scale and back.

    The third is what becomes of the step (1, …, 1) on that way; all have shape (p, k).
    """
    space = density(model, data)

    def one(values: Values) -> tuple[Array, Array, Array]:
        u = space.unconstrain(values)
        way = jax.jvp(lambda v: space.unconstrain(space.constrain(v)), (u,), (jnp.ones_like(u),))
        return u, *way

    return once(jax.vmap(one))(values)


def outside_support(model: Model, data: xr.Dataset) -> str:
    """Which rows the NumPyro program cannot have drawn, as a sentence; "" if there are none.

    Nor can the PyMC program take an index beyond what it indexes, see `models.programs.indices`.
    A support may depend on the parameters, so a row counts only if it lies outside at every one
    of a few starts. Sites without a term for each row are left to the gate.
    """
    from numpyro import validation_enabled
    from numpyro.distributions import Unit

    if problem := beyond(model, data):
        return problem
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
