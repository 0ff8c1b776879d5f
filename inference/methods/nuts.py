"""The No-U-Turn sampler: NumPyro's kernel in our loop, or PyMC's step class with a JAX gradient.

Hamiltonian dynamics that stop when they turn back on themselves.  Both engines draw from
exp(log posterior(u)) in the unconstrained space of their own program, log-Jacobian included, with
step size and mass matrix adapted while warming up.  `numpyro`: NumPyro's program and kernel.
`pymc`: PyMC's program, transforms and NUTS step, with the gradient of its graph compiled by JAX,
because PyMC's own backend compiles for up to minutes where JAX takes seconds.  Chains run in
threads, one compiled function for all, each from its own data-driven start; the mass matrix is
dense while there are ten warm-up draws per coordinate to estimate it from.
References: Hoffman & Gelman (2014), JMLR 15; Betancourt (2017), arXiv:1701.02434.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from annotated_types import Ge

from inference.estimate import Estimate
from inference.information.derivatives import derivatives
from inference.method import Kind, Method, from_field
from inference.posterior.draws import estimate_from_draws, natural
from inference.threads import one_blas_thread
from inference.threads import pool as threads
from models.errors import ConcordError, ConfigError, FitError
from models.programs.compilation import once
from models.programs.density import density
from models.programs.keys import key_of
from models.programs.pymc import pymc_program
from models.settings import Count, check_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.programs.density import Density
    from models.spec import Model

_ATTEMPTS = 100
"""Starts tried for each chain until the density and its gradient are finite."""
_CANDIDATES = 10
"""Starts of which each chain at a temperature takes the highest."""


class _Run(NamedTuple):
    """What an engine returns; arrays of shape (chain, draw, …), times in seconds."""

    points: np.ndarray
    stats: dict[str, np.ndarray]
    compile: float
    warm_up: float
    run: float


@final
@dataclass(frozen=True)
class NUTS(Method):
    """Draws from the posterior by the No-U-Turn sampler.

    Attributes:
        engine: whose program, transforms and sampler: `numpyro` or `pymc`.
        chains: independent chains.
        warm_up: draws of each chain spent on adaptation and dropped.
        draws: draws kept of each chain.
        target_accept: mean acceptance probability the step size is adapted to.
    """

    engine: Literal["numpyro", "pymc"] = "numpyro"
    chains: Annotated[int, Ge(2)] = 4
    warm_up: Count = 1_000
    draws: Annotated[int, Ge(4)] = 10_000
    target_accept: float = 0.9

    name: ClassVar[str] = "nuts"
    target: ClassVar[Literal["likelihood", "posterior"]] = "posterior"
    kind: ClassVar[Kind] = "sampler"
    library = language = from_field("engine")
    profiles: ClassVar[Mapping[str, Mapping[str, object]]] = {
        # a draw of PyMC's sampler, which is Python, costs as much as a hundred of NumPyro's
        "quick": {"warm_up": 500, "draws": 4_000, "pymc": {"draws": 500}},
        "standard": {"pymc": {"draws": 2_500}},
        "thorough": {"warm_up": 2_000, "draws": 20_000},
    }

    def __post_init__(self) -> None:
        check_settings(self)
        if not 0 < self.target_accept < 1:
            raise ConfigError(
                f"nuts.target_accept is {self.target_accept}; expected between 0 and 1"
            )

    def refusal(self, model: Model) -> str:
        return ""

    def fit(self, model: Model, data: xr.Dataset, rng: np.random.Generator) -> Estimate:
        engine = _numpyro if self.engine == "numpyro" else _pymc
        try:
            target = density(model, data, self.engine)
            began = time.perf_counter()
            starts = _starts(model, data, target, rng, self.chains)
            ready = time.perf_counter()
            with one_blas_thread():
                found = engine(self, model, data, target, starts, rng)
        except ConcordError:
            raise
        except Exception as error:
            raise FitError(
                f"the {self.engine} sampler failed on {model.name}: {type(error).__name__}: {error}"
            ) from error
        draws = natural(target, found.points)
        record = xr.Dataset(
            attrs={
                "compile": found.compile + ready - began,
                "warm_up": found.warm_up,
                "run": found.run,
            }
        )
        return estimate_from_draws(model, data, draws, sample_stats=found.stats, record=record)


def _starts(
    model: Model, data: xr.Dataset, target: Density, rng: np.random.Generator, chains: int
) -> list[np.ndarray]:
    """A data-driven start for each chain, in the chart.

    Raises:
        FitError: the density or its gradient is not finite at any start of a chain.
    """
    value_and_gradient = derivatives(target, "posterior").value_and_gradient
    starts = []
    for stream in rng.spawn(chains):
        for _ in range(_ATTEMPTS):
            start = target.unconstrain(model.start(stream, data))
            value, gradient = value_and_gradient(start)
            if jnp.isfinite(value) and jnp.isfinite(gradient).all():
                starts.append(np.asarray(start))
                break
        else:
            raise FitError(
                f"{model.name}: the log posterior or its gradient is not finite at any of "
                f"{_ATTEMPTS} data-driven starts"
            )
    return starts


def tempered(
    method: NUTS, model: Model, data: xr.Dataset, rng: np.random.Generator, temperature: float
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Draws from the posterior with the likelihood to the power 1/temperature, by NumPyro's kernel.

    Each chain begins at the highest of several data-driven starts: between modes that are apart
    no chain goes from one to the other, and most starts of a mixture are in some poor one.

    Returns:
        The draws, shape (chain, draw, k), in the chart, and the sampler's statistics.

    Raises:
        FitError: the density or its gradient is not finite at any start.
    """
    target = density(model, data)
    value_and_gradient = derivatives(target, "posterior").value_and_gradient
    candidates = _starts(model, data, target, rng, method.chains * _CANDIDATES)
    heights = [float(value_and_gradient(jnp.asarray(start))[0]) for start in candidates]
    best = np.reshape(heights, (method.chains, _CANDIDATES)).argmax(axis=1)
    starts = [candidates[chain * _CANDIDATES + i] for chain, i in enumerate(best)]
    hot = replace(target, log_likelihood=lambda u: target.log_likelihood(u) / temperature)
    with one_blas_thread():
        run = _numpyro(method, model, data, hot, starts, rng)
    return run.points, run.stats


def _dense(method: NUTS, target: Density) -> bool:
    return method.warm_up >= 10 * target.size


def _in_threads[T](work: Callable[[int], T], count: int) -> list[T]:
    with threads(count) as pool:
        return list(pool.map(work, range(count)))


def _tree_depth(steps: np.ndarray) -> np.ndarray:
    """Doublings of a trajectory of so many leapfrog steps."""
    return np.ceil(np.log2(steps + 1)).astype(int)


# --- NumPyro ------------------------------------------------------------------------------------


def _numpyro(
    method: NUTS,
    model: Model,
    data: xr.Dataset,
    target: Density,
    starts: list[np.ndarray],
    rng: np.random.Generator,
) -> _Run:
    """NumPyro's kernel, advanced by one compiled block of draws that warm-up and run share."""
    from numpyro import infer

    def potential(u: jax.Array) -> jax.Array:
        return -(jnp.sum(target.log_likelihood(u)) + target.log_prior(u) + target.log_jacobian(u))

    kernel = infer.NUTS(
        potential_fn=potential,
        target_accept_prob=method.target_accept,
        dense_mass=_dense(method, target),
    )

    @once
    def initial(key: jax.Array, start: jax.Array) -> Any:
        return kernel.init(key, method.warm_up, start, (), {})

    block = math.gcd(method.warm_up, method.draws)

    @jax.jit
    def advance(state: Any) -> Any:
        def one(state: Any, _: None) -> Any:
            state = kernel.sample(state, (), {})
            kept = (state.z, state.energy, state.num_steps, state.accept_prob, state.diverging)
            return state, kept

        return jax.lax.scan(one, state, length=block)

    began = time.perf_counter()
    keys = jax.random.split(key_of(rng), method.chains)
    states = [initial(key, jnp.asarray(start)) for key, start in zip(keys, starts, strict=True)]
    compiled = advance.lower(states[0]).compile()
    ready = time.perf_counter()

    def warm(chain: int) -> Any:
        state = states[chain]
        for _ in range(method.warm_up // block):
            state, _ = compiled(state)
        return jax.block_until_ready(state)

    def run(chain: int) -> list[np.ndarray]:
        state, blocks = warmed[chain], []
        for _ in range(method.draws // block):
            state, kept = compiled(state)
            blocks.append([np.asarray(part) for part in kept])
        return [np.concatenate(parts) for parts in zip(*blocks, strict=True)]

    warmed = _in_threads(warm, method.chains)
    warm_end = time.perf_counter()
    chains = _in_threads(run, method.chains)
    points, energy, steps, accepted, diverging = (
        np.stack(parts) for parts in zip(*chains, strict=True)
    )
    stats = {
        "energy": energy,
        "diverging": diverging,
        "n_steps": steps,
        "tree_depth": _tree_depth(steps),
        "acceptance_rate": accepted,
    }
    end = time.perf_counter()
    return _Run(points, stats, ready - began, warm_end - ready, end - warm_end)


# --- PyMC ---------------------------------------------------------------------------------------


@final
class _Gradient:
    """A log density and its gradient by JAX, in the form in which PyMC's step methods take one."""

    _raveled_inputs = True
    _extra_vars_shared: ClassVar[dict[str, object]] = {}
    dtype = "float64"

    def __init__(self, target: Density) -> None:
        self._compiled = derivatives(target, "posterior").value_and_gradient

    def _pytensor_function(self, u: Any) -> tuple[float, np.ndarray]:
        value, gradient = self._compiled(u)
        return float(value), np.asarray(gradient)


def _pymc(
    method: NUTS,
    model: Model,
    data: xr.Dataset,
    target: Density,
    starts: list[np.ndarray],
    rng: np.random.Generator,
) -> _Run:
    """PyMC's NUTS step, as `pm.sample` drives it, on the chart of PyMC's program."""
    import pymc as pm
    from pymc.blocking import RaveledVars
    from pymc.step_methods.hmc.quadpotential import QuadPotentialDiagAdapt, QuadPotentialFullAdapt

    began = time.perf_counter()
    program = pymc_program(model, data)
    gradient = _Gradient(target)
    layout = (("u", (target.size,), target.size, np.dtype("float64")),)
    # PyMC counts the coordinates by an initial point; its own would compile the whole program
    variables = [variable.name for variable in program.value_vars]
    sizes = [target.size - len(variables) + 1] + [1] * (len(variables) - 1)
    counted = {name: np.zeros(size) for name, size in zip(variables, sizes, strict=True)}

    def sampler(start: np.ndarray, stream: np.random.Generator) -> Any:
        momentum, choice = stream.spawn(2)
        potential, scale = (
            (QuadPotentialFullAdapt, np.eye(target.size))
            if _dense(method, target)
            else (QuadPotentialDiagAdapt, np.ones(target.size))
        )
        with warnings.catch_warnings():
            # it is what `pm.sample(init="adapt_full")` uses, and calls itself experimental
            warnings.simplefilter("ignore", UserWarning)
            metric = potential(target.size, start.copy(), scale, 10, rng=momentum)
        return pm.NUTS(
            model=program,
            logp_dlogp_func=gradient,
            potential=metric,
            target_accept=method.target_accept,
            initial_point=counted,
            rng=choice,
        )

    steps = [
        sampler(start, stream)
        for start, stream in zip(starts, rng.spawn(method.chains), strict=True)
    ]
    states = [RaveledVars(start, layout) for start in starts]
    ready = time.perf_counter()

    def warm(chain: int) -> None:
        with np.errstate(all="ignore"):  # a divergent trajectory overflows, and says so itself
            for _ in range(method.warm_up):
                states[chain], _ = steps[chain].astep(states[chain])
        steps[chain].stop_tuning()

    def run(chain: int) -> tuple[np.ndarray, list[dict[str, Any]]]:
        points, stats = np.empty((method.draws, target.size)), []
        with np.errstate(all="ignore"):
            for draw in range(method.draws):
                states[chain], (stat,) = steps[chain].astep(states[chain])
                points[draw] = states[chain].data
                stats.append(stat)
        return points, stats

    _in_threads(warm, method.chains)
    warm_end = time.perf_counter()
    chains = _in_threads(run, method.chains)
    names = {
        "energy": "energy",
        "diverging": "diverging",
        "tree_size": "n_steps",
        "depth": "tree_depth",
        "mean_tree_accept": "acceptance_rate",
    }
    stats = {
        ours: np.array([[stat[theirs] for stat in kept] for _, kept in chains])
        for theirs, ours in names.items()
    }
    points = np.stack([points for points, _ in chains])
    end = time.perf_counter()
    return _Run(points, stats, ready - began, warm_end - ready, end - warm_end)
