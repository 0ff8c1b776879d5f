"""A plain NumPyro function as a program: traced anew at every point, with live transforms.

Each latent site is replaced by the image of its coordinates under the bijection to its *current*
support; NumPyro's own substitution does so, inside of `scan` as well, and leaves each log-Jacobian
as a factor site `_{name}_log_det`.  Discrete latent variables are summed out by enumeration.
"""

from __future__ import annotations

import operator
import re
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from numpyro import handlers
from numpyro.distributions import biject_to, constraints
from numpyro.infer.initialization import init_to_uniform
from numpyro.infer.util import _unconstrain_reparam
from numpyro.primitives import Messenger

from models.errors import ModelError
from models.programs.adopted.program import Site, Terms, UserProgram, support_of
from models.programs.form import joined, total
from models.programs.numpyro import base, is_factor, layers
from models.spec import Arrays, Values

_CENSORED = (
    dist.IntervalCensoredDistribution,
    dist.LeftCensoredDistribution,
    dist.RightCensoredDistribution,
)
_FEW, _BATCH = 8, 128
"""Draws per call: of few, and of more."""
_NUMBERS = 250_000
"""Most numbers per call, unless one draw has more."""


@final
class NumpyroProgram(UserProgram):
    """A NumPyro function with its data bound."""

    language = "numpyro"

    def __init__(self, bound: Callable[[], Any]) -> None:
        """Runs the function once, its data bound, and looks at its sites."""
        self._bound, self._batch = bound, jax.jit(jax.vmap(self._draw))
        # a function that is traced may be the first to ask
        with jax.ensure_compile_time_eval(), _traceable():
            start = init_to_uniform(radius=0.5)
            trace = _traced(handlers.seed(bound, 0), substitute_fn=start)
        sampled = {n: s for n, s in trace.items() if s["type"] == "sample"}
        self._flat = tuple(n for n, s in trace.items() if s["type"] == "param")
        self.factors = tuple(n for n, s in sampled.items() if is_factor(s))
        seen = {n: s for n, s in sampled.items() if s["is_observed"] and n not in self.factors}
        hidden = {n: s for n, s in sampled.items() if not s["is_observed"]}
        self.discrete = tuple(n for n, s in hidden.items() if s["fn"].support.is_discrete)
        self._refuse(trace, seen, hidden)
        latent = [n for n in hidden if n not in self.discrete]
        self.sites = (
            *(_site(n, sampled[n], sampled[n]["fn"].support) for n in latent),
            *(_site(n, trace[n], _constraint(trace[n])) for n in self._flat),
        )
        self.observed = {n: np.asarray(s["value"]) for n, s in seen.items()}
        self.dims = {n: tuple(f.name for f in s["cond_indep_stack"]) for n, s in seen.items()}
        scales = {n: s["scale"] for n, s in seen.items() if s["scale"] is not None}
        self.weighted = tuple(n for n, scale in scales.items() if np.any(np.asarray(scale) != 1))
        self.lawless = _lawless(seen, self.weighted)
        masks = {n: _masked(s["fn"], self.observed[n].shape) for n, s in seen.items()}
        self.masked = {name: mask for name, mask in masks.items() if mask.any()}
        deterministic = [n for n, s in trace.items() if s["type"] == "deterministic"]
        self.deterministics = {n: jnp.shape(trace[n]["value"]) for n in deterministic}
        improper = [n for n in latent if isinstance(base(sampled[n]["fn"]), dist.ImproperUniform)]
        self.improper = (*improper, *self._flat)
        self._enumerated = self._enumeration(sampled) if self.discrete else None
        with _traceable():
            jax.eval_shape(self.at, jnp.zeros(self.size))

    def _refuse(
        self, trace: Mapping[str, Any], seen: Mapping[str, Any], hidden: Mapping[str, Any]
    ) -> None:
        """Refuses programs that have no density, or none that could be evaluated."""
        if not trace:
            told = "use no generator or async function, and pass a PyMC model as pymc="
            raise ModelError(f"the NumPyro program samples nothing when it is called: {told}")
        if not seen and not self.factors:
            raise ModelError(
                f"the NumPyro program observes nothing, {', '.join(hidden) or 'no site'} is "
                "latent: pass the data to `obs=`, and name the argument in data="
            )
        for name, site in seen.items():
            law, given = site["fn"].shape(), jnp.shape(site["value"])
            aligned = zip_longest(law[::-1], given[::-1], fillvalue=1)
            unequal = [(n, m) for n, m in aligned if n != m]
            if len({n > m for n, m in unequal}) > 1 or any(min(both) > 1 for both in unequal):
                raise ModelError(
                    f"{name} is observed with shape {given} and its law has shape {law}; expected "
                    "one shape, or each value would meet each row: give both the same dimensions"
                )
        for name, site in trace.items():
            if site["type"] == "plate" and site["args"][1] not in (None, site["args"][0]):
                raise ModelError(
                    f"the plate {name} is subsampled, so its density is random; fit all data"
                )
        if endless := [n for n in self.discrete if not hidden[n]["fn"].has_enumerate_support]:
            raise ModelError(
                f"{', '.join(endless)} is discrete without finite support: sum it out yourself"
            )
        for name in self.discrete:
            values = np.asarray(hidden[name]["fn"].enumerate_support(expand=False))
            if values.ndim and not np.array_equal(values.ravel(), np.arange(values.size)):
                first = f"NumPyro sums {name} out over 0, 1, …, but its support begins with"
                raise ModelError(f"{first} {values.ravel()[0]}: sample it from 0 on, and add that")

    def _enumeration(self, sampled: Mapping[str, Any]) -> Callable[..., Any]:
        try:
            from numpyro.contrib.funsor import config_enumerate, enum
        except ImportError as error:
            raise ModelError(
                f"{', '.join(self.discrete)} is discrete and latent; summing it out needs funsor: "
                "pip install 'concord[extras]'"
            ) from error
        for name, site in sampled.items():
            plated = {frame.dim for frame in site["cond_indep_stack"]}
            # the first axis of a site of `scan` is its steps
            shape = site["fn"].batch_shape["_control_flow_done" in site :]
            if any(n > 1 and i not in plated for i, n in enumerate(shape, -len(shape))):
                raise ModelError(
                    f"to sum {', '.join(self.discrete)} out, each axis of {name} (shape {shape}) "
                    "needs `with numpyro.plate(…)` or .to_event(1)"
                )
        # below every axis: an axis without a plate would pass for the labels
        depth = max(len(s["fn"].batch_shape) for s in sampled.values())
        return enum(config_enumerate(self._bound), -depth - 1)

    def again(self) -> NumpyroProgram:
        return self  # it is traced anew at every point

    def at(self, u: Array | Values, observed: Mapping[str, Array] | None = None) -> Terms:
        parts, jacobians = self.split(u), {name: jnp.zeros(()) for name in self.names}

        def substitute(site: dict[str, Any]) -> Any:
            name = site["name"]
            if site["type"] == "param" and name in parts:
                transform = biject_to(_constraint(site))
                value = transform(parts[name])
                jacobians[name] = jnp.sum(transform.log_abs_det_jacobian(parts[name], value))
                return value
            return _unconstrain_reparam(parts, site) if site["type"] == "sample" else None

        trace = _traced(handlers.seed(self._bound, 0), observed, substitute_fn=substitute)
        for name in self.names:
            if found := trace.pop(f"_{name}_log_det", None):
                jacobians[name] = jnp.sum(found["fn"].log_prob(found["value"]))
        values = {name: trace[name]["value"] for name in self.names}
        known = {n: trace[n]["value"] for n in self.deterministics if n in trace}
        return Terms(values, known, *self._terms(trace, values, observed), jacobians)

    def _terms(
        self, trace: Mapping[str, Any], values: Values, observed: Mapping[str, Array] | None
    ) -> tuple[Values, Values, Values]:
        """Log prior, log-likelihood and factors of a trace, elementwise by site."""
        sites = {n: s for n, s in trace.items() if s["type"] == "sample" and n not in self.discrete}
        terms = {name: _log_prob(site) for name, site in sites.items()}
        factors = {name: terms.pop(name) for name in self.factors}
        likelihood = {name: terms.pop(name) for name in self.observed}
        prior = {**{name: jnp.zeros(()) for name in self._flat}, **terms}
        if self._enumerated is not None:
            likelihood = self._marginal(values, total(prior) + total(factors), observed)
        return prior, likelihood, factors

    def _marginal(
        self, values: Values, rest: Array, observed: Mapping[str, Array] | None
    ) -> Values:
        """The log-likelihood with the discrete latent variables summed out, a scalar."""
        from numpyro.contrib.funsor import log_density

        with _JaxObservations(observed or {}):
            program = handlers.substitute(self._enumerated, data=values)
            try:
                found, _ = log_density(program, (), {}, {})
            except ValueError as error:
                needed = "each axis needs `with numpyro.plate(…)` or .to_event(1)"
                names = ", ".join(self.discrete)
                raise ModelError(f"to sum {names} out, {needed}: {error}") from error
        return {next(iter(self.observed), "likelihood"): found - rest}

    def unconstrain(self, values: Mapping[str, Array]) -> Array:
        trace = _traced(handlers.seed(self._bound, 0), data=dict(values))
        sites = ((name, trace[name]) for name in self.names)
        parts = {n: biject_to(_constraint(s)).inv(jnp.asarray(s["value"], float)) for n, s in sites}
        return joined(parts, self.names)

    def drawn(self, seeds: np.ndarray, values: Arrays) -> Arrays:
        numbers = max(1, sum(array.size for array in self.observed.values()))
        batch = int(np.clip(_NUMBERS // numbers, 1, _BATCH if len(seeds) > _FEW else _FEW))
        # full batches, so that nothing compiles twice: the last draw fills the last of them
        places = np.minimum(np.arange(-(-len(seeds) // batch) * batch), len(seeds) - 1)
        parts = [
            jax.device_get(self._batch(*jax.tree.map(operator.itemgetter(at), (values, seeds))))
            for at in places.reshape(-1, batch)
        ]
        return {n: np.concatenate([part[n] for part in parts])[: len(seeds)] for n in parts[0]}

    def _draw(self, values: Values, seed: Array) -> Values:
        """One joint draw with some latent variables held."""
        key, other = jax.random.split(jax.random.key(seed))

        def substitute(site: dict[str, Any]) -> Any:
            name = site["name"]
            if name not in self.observed:
                return values.get(name)
            # as wide as the data: without a plate a site is so only through broadcasting
            own = jax.random.fold_in(other, list(self.observed).index(name))
            law, shape = site["fn"], self.observed[name].shape
            rows = shape[: len(shape) - law.event_dim]
            return law.expand(jnp.broadcast_shapes(rows, law.batch_shape)).sample(own)

        program = handlers.uncondition(handlers.seed(self._bound, key))
        trace = _traced(program, substitute_fn=substitute)
        names = [name for name in (*self.names, *self.observed) if name not in values]
        return {name: trace[name]["value"] for name in names}


def _traced(
    program: Callable[[], Any], observed: Mapping[str, Array] | None = None, **substituted: Any
) -> dict[str, Any]:
    """The sites of a program, with values substituted and perhaps other data."""
    with _JaxObservations(observed or {}):
        return handlers.trace(handlers.substitute(program, **substituted)).get_trace()


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


def _lawless(seen: Mapping[str, Any], weighted: Sequence[str]) -> str:
    """Why draws at observed sites are no data like these, as a sentence; "" if they are."""
    for name, site in seen.items():
        if any(isinstance(law, _CENSORED) for law in layers(site["fn"])):
            return f"NumPyro draws {name} without the censoring that its density has"
        if name in weighted:
            return f"{name} is weighted, and a weighted likelihood has no law of its own"
    return ""


def _masked(law: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Which values of this shape a law's masks hide."""
    found = np.zeros(shape, bool)
    for one in layers(law):
        if isinstance(one, dist.MaskedDistribution):
            mask = ~np.asarray(one._mask)
            mask = mask.reshape(*mask.shape, *(1,) * one.event_dim * (mask.ndim > 0))
            if np.broadcast_shapes(mask.shape, shape) == shape:  # else a value has several terms
                found |= mask
    return found


def _log_prob(site: Mapping[str, Any]) -> Array:
    known = [site["intermediates"]] if site["intermediates"] else []
    term = site["fn"].log_prob(site["value"], *known)
    return term if site["scale"] is None else site["scale"] * term


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
    plates = sorted(site.get("cond_indep_stack", ()), key=lambda frame: frame.dim)
    dims = tuple(frame.name for frame in plates)
    return Site(name, shape, tuple(unconstrained), support_of(support), dims)


def _constraint(site: Mapping[str, Any]) -> Any:
    if site["type"] == "param":
        return site["kwargs"].get("constraint", constraints.real)
    return site["fn"].support
