"""A plain NumPyro function as a program: traced anew at every point, with live transforms.

Each latent site is replaced by the image of its coordinates under the bijection to its *current*
support; NumPyro's own substitution does so, inside of `scan` as well, and leaves each log-Jacobian
as a factor site `_{name}_log_det`.  Discrete latent variables are summed out by enumeration.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from numpyro import handlers
from numpyro.distributions import biject_to, constraints
from numpyro.infer.util import _unconstrain_reparam
from numpyro.primitives import Messenger

from models.errors import ModelError
from models.programs.adopted.program import Site, Terms, UserProgram, total
from models.spec import Values

_BATCH = 1_000
"""Draws made by one compiled function at a time."""


@final
class NumpyroProgram(UserProgram):
    """A NumPyro function with its data bound."""

    language = "numpyro"

    def __init__(self, bound: Callable[[], Any]) -> None:
        """Runs the function once, its data bound, and looks at its sites.

        Raises:
            ModelError: it has no density that could be evaluated; says which site is to blame.
        """
        self._bound = bound
        trace = self._first_trace()
        sampled = {n: s for n, s in trace.items() if s["type"] == "sample"}
        self._flat = tuple(n for n, s in trace.items() if s["type"] == "param")
        self.factors = tuple(n for n, s in sampled.items() if isinstance(_base(s["fn"]), dist.Unit))
        seen = {n: s for n, s in sampled.items() if s["is_observed"] and n not in self.factors}
        hidden = {n: s for n, s in sampled.items() if not s["is_observed"]}
        self.discrete = tuple(n for n, s in hidden.items() if s["fn"].support.is_discrete)
        _refuse(trace, seen, self.factors, hidden, self.discrete)
        latent = [n for n in hidden if n not in self.discrete]
        self.sites = (
            *(_site(n, sampled[n], sampled[n]["fn"].support) for n in latent),
            *(_site(n, trace[n], _constraint(trace[n])) for n in self._flat),
        )
        self.observed = {n: np.asarray(s["value"]) for n, s in seen.items()}
        self.observed_dims = {n: _plates(s) for n, s in seen.items()}
        deterministic = [n for n, s in trace.items() if s["type"] == "deterministic"]
        self.deterministics = {n: jnp.shape(trace[n]["value"]) for n in deterministic}
        improper = [n for n in latent if isinstance(_base(sampled[n]["fn"]), dist.ImproperUniform)]
        self._improper = (*improper, *self._flat)
        self._enumerated = self._enumeration(sampled) if self.discrete else None
        with _traceable():
            jax.eval_shape(self.at, jnp.zeros(self.size))

    def _first_trace(self) -> dict[str, Any]:
        from numpyro.infer.initialization import init_to_uniform

        program = handlers.substitute(
            handlers.seed(self._bound, 0), substitute_fn=init_to_uniform(radius=0.5)
        )
        with _JaxObservations({}), _traceable():
            return handlers.trace(program).get_trace()

    def _enumeration(self, sampled: Mapping[str, Any]) -> Callable[..., Any]:
        try:
            from numpyro.contrib.funsor import config_enumerate, enum
        except ImportError as error:
            raise ModelError(
                f"{', '.join(self.discrete)} is discrete and latent; summing it out needs funsor: "
                "pip install 'concord[extras]'"
            ) from error
        depth = max([0, *(-f.dim for s in sampled.values() for f in s["cond_indep_stack"])])
        return enum(config_enumerate(self._bound), -depth - 1)

    def again(self) -> NumpyroProgram:
        return self  # it is traced anew at every point

    def at(self, u: Array | Values, observed: Mapping[str, Array] | None = None) -> Terms:
        parts = self.split(u)
        flat_jacobians: Values = {}

        def substitute(site: dict[str, Any]) -> Any:
            if site["type"] == "param" and site["name"] in parts:
                transform = biject_to(_constraint(site))
                part = parts[site["name"]]
                value = transform(part)
                jacobian = jnp.sum(transform.log_abs_det_jacobian(part, value))
                flat_jacobians[site["name"]] = jacobian
                return value
            return _unconstrain_reparam(parts, site) if site["type"] == "sample" else None

        trace = self._traced(
            handlers.substitute(self._seeded(), substitute_fn=substitute), observed
        )
        jacobians = flat_jacobians
        for name in self.names:
            found = trace.pop(f"_{name}_log_det", None)
            if found is not None:
                jacobians[name] = jnp.sum(found["fn"].log_prob(found["value"]))
            jacobians.setdefault(name, jnp.zeros(()))
        groups = self._terms(trace, observed)
        values = {name: trace[name]["value"] for name in self.names}
        known = {n: trace[n]["value"] for n in self.deterministics if n in trace}
        return Terms(values, known, *groups, {name: jacobians[name] for name in self.names})

    def _terms(
        self, trace: Mapping[str, Any], observed: Mapping[str, Array] | None
    ) -> tuple[Values, Values, Values]:
        """Log prior, log-likelihood and factors of a trace, elementwise by site."""
        prior: Values = {name: jnp.zeros(()) for name in self._flat}
        likelihood: Values = {}
        factors: Values = {}
        for name, site in trace.items():
            if site["type"] != "sample" or name in self.discrete:
                continue
            term = _log_prob(site)
            if name in self.factors:
                factors[name] = term
            elif name in self.observed:
                likelihood[name] = term
            else:
                prior[name] = term
        if self._enumerated is not None:
            values = {name: trace[name]["value"] for name in self.names}
            likelihood = self._marginal(values, total(prior) + total(factors), observed)
        return prior, likelihood, factors

    def _marginal(
        self, values: Values, rest: Array, observed: Mapping[str, Array] | None
    ) -> Values:
        """The log-likelihood with the discrete latent variables summed out, a scalar."""
        from numpyro.contrib.funsor import log_density

        with _JaxObservations(observed or {}):
            program = handlers.substitute(self._enumerated, data=values)
            found, _ = log_density(program, (), {}, {})
        return {next(iter(self.observed), "likelihood"): found - rest}

    def unconstrain(self, values: Mapping[str, Array]) -> Array:
        trace = self._traced(handlers.substitute(self._seeded(), data=dict(values)), None)
        return self.join(
            {
                n: biject_to(_constraint(trace[n])).inv(jnp.asarray(trace[n]["value"], float))
                for n in self.names
            }
        )

    @property
    def prior_problem(self) -> str:
        if self._improper:
            return f"the prior of {', '.join(self._improper)} is improper: it cannot be drawn from"
        return f"draws do not see {', '.join(self.factors)}" if self.factors else ""

    def draws(self, seeds: np.ndarray, values: Mapping[str, Any]) -> dict[str, np.ndarray]:
        if not self.observed:
            raise ModelError(
                f"the data are seen by {', '.join(self.factors)} alone, which cannot be drawn from"
            )
        every = {name: np.asarray(array) for name, array in values.items()}, np.asarray(seeds)
        parts = [
            self._batch(*jax.tree.map(lambda x, at=at: x[at : at + _BATCH], every))
            for at in range(0, len(seeds), _BATCH)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    @cached_property
    def _batch(self) -> Callable[..., Values]:
        return jax.jit(jax.vmap(self._draw))

    def _draw(self, values: Values, seed: Array) -> Values:
        """One joint draw with some latent variables held."""
        key, other = jax.random.split(jax.random.key(seed))

        def substitute(site: dict[str, Any]) -> Any:
            held = values.get(site["name"])
            return self._as_observed(other, site) if held is None else held

        program = handlers.uncondition(self._seeded(key))
        trace = self._traced(handlers.substitute(program, substitute_fn=substitute), None)
        names = [name for name in (*self.names, *self.observed) if name not in values]
        return {name: trace[name]["value"] for name in names}

    def _as_observed(self, key: Array, site: dict[str, Any]) -> Any:
        """A draw as wide as the data: without a plate a site is so only through broadcasting."""
        if site["type"] != "sample" or site["name"] not in self.observed:
            return None
        law = site["fn"]
        shape = self.observed[site["name"]].shape
        batch = jnp.broadcast_shapes(shape[: len(shape) - law.event_dim], law.batch_shape)
        own = jax.random.fold_in(key, list(self.observed).index(site["name"]))
        return law.expand(batch).sample(own)

    def _seeded(self, key: Array | int = 0) -> Callable[[], Any]:
        return handlers.seed(self._bound, key)

    def _traced(
        self, program: Callable[[], Any], observed: Mapping[str, Array] | None
    ) -> dict[str, Any]:
        with _JaxObservations(observed or {}):
            return handlers.trace(program).get_trace()


@final
class _JaxObservations(Messenger):
    """Observed NumPy arrays as JAX arrays, or others in their place.

    NumPyro checks observations by NumPy where they are NumPy arrays, which a support whose bound
    is traced cannot pass.
    """

    def __init__(self, replaced: Mapping[str, Array]) -> None:
        super().__init__()
        self._replaced = replaced

    def process_message(self, msg: dict[str, Any]) -> None:
        if msg["type"] == "sample" and msg["is_observed"]:
            value = self._replaced.get(msg["name"], msg["value"])
            msg["value"] = jnp.asarray(value) if isinstance(value, np.ndarray) else value


def _log_prob(site: Mapping[str, Any]) -> Array:
    law, value = site["fn"], site["value"]
    term = (
        law.log_prob(value, site["intermediates"]) if site["intermediates"] else law.log_prob(value)
    )
    return term if site["scale"] is None else site["scale"] * term


def _refuse(
    trace: Mapping[str, Any],
    seen: Mapping[str, Any],
    factors: tuple[str, ...],
    hidden: Mapping[str, Any],
    discrete: tuple[str, ...],
) -> None:
    """Refuses programs that have no density, or none that could be evaluated."""
    if not seen and not factors:
        raise ModelError(
            f"the NumPyro program observes nothing, {', '.join(hidden) or 'no site'} is latent: "
            "pass the data to `obs=`, and name the argument in data="
        )
    for name, site in trace.items():
        if site["type"] == "plate" and site["args"][1] not in (None, site["args"][0]):
            raise ModelError(
                f"the plate {name} is subsampled, so its density is random; fit all data"
            )
    endless = [n for n in discrete if not hidden[n]["fn"].has_enumerate_support]
    if endless:
        raise ModelError(
            f"{', '.join(endless)} is discrete without finite support: sum it out yourself"
        )


@contextmanager
def _traceable() -> Iterator[None]:
    """Refuses programs that look at the value of a variable, or mix 32 bits with 64."""
    try:
        yield
    except (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError) as error:
        raise ModelError(
            f"the NumPyro program branches on, or converts, the value of a variable at "
            f"{_place(error)}: use jnp.where in the place of `if`, and jnp in that of np"
        ) from error
    except TypeError as error:
        if not {"32", "64"} <= set(re.findall(r"(?:int|float)(32|64)", str(error))):
            raise
        raise ModelError(
            f"the NumPyro program mixes 32-bit numbers with 64-bit ones at {_place(error)}; here "
            "it runs in 64 bits: leave out dtype=jnp.int32 and jnp.float32, or write int and float"
        ) from error


def _place(error: Exception) -> str:
    """Where in the user's own code something was raised."""
    own = (str(Path(__file__).parents[2]), "site-packages")
    frames = traceback.extract_tb(error.__traceback__)
    users = [f for f in frames if not any(part in f.filename for part in own)]
    return f"{users[-1].filename}:{users[-1].lineno}" if users else "an unknown line"


def _site(name: str, site: Mapping[str, Any], support: Any) -> Site:
    shape = jnp.shape(site["value"])
    unconstrained = biject_to(support).inverse_shape(shape)
    return Site(name, shape, tuple(unconstrained), _kind(support), _plates(site))


def _constraint(site: Mapping[str, Any]) -> Any:
    if site["type"] == "param":
        return site["kwargs"].get("constraint", constraints.real)
    return site["fn"].support


def _kind(support: Any) -> str:
    while hasattr(support, "base_constraint"):  # of each element
        support = support.base_constraint
    return type(support).__name__.lstrip("_").lower()


def _base(law: Any) -> Any:
    while hasattr(law, "base_dist"):
        law = law.base_dist
    return law


def _plates(site: Mapping[str, Any]) -> tuple[str, ...]:
    frames = sorted(site.get("cond_indep_stack", ()), key=lambda frame: frame.dim)
    return tuple(frame.name for frame in frames)
