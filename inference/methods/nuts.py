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

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, final

import numpy as np
import xarray as xr
from annotated_types import Ge

from inference.estimate import Estimate
from inference.information.derivatives import derivatives
from inference.method import Kind, Method, from_field
from inference.posterior.chains import (
    Run,
    Tuning,
    in_threads,
    numpyro_chains,
    starting_points,
)
from inference.posterior.draws import estimate_from_draws
from inference.posterior.points import to_natural
from inference.threads import one_blas_thread
from models.errors import ConcordError, ConfigError, FitError
from models.programs.density import Density, density
from models.programs.pymc import pymc_program
from models.settings import Count, check_settings
from models.spec import Model

_STATS = {
    "energy": "energy",
    "diverging": "diverging",
    "tree_size": "n_steps",
    "depth": "tree_depth",
    "mean_tree_accept": "acceptance_rate",
}
"""ArviZ's names of PyMC's statistics."""


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
        tuning = Tuning(self.chains, self.warm_up, self.draws, self.target_accept)
        try:
            target = density(model, data, self.engine)
            began = time.perf_counter()
            starts = starting_points(model, data, target, rng, self.chains)
            ready = time.perf_counter()
            with one_blas_thread():
                if self.engine == "numpyro":
                    found = numpyro_chains(target, starts, tuning, rng)
                else:
                    found = _pymc_chains(model, data, target, starts, tuning, rng)
        except ConcordError:
            raise
        except Exception as error:  # of the model's programs, which a user wrote
            raise FitError(
                f"the {self.engine} sampler failed on {model.name}: {type(error).__name__}: {error}"
            ) from error
        record = xr.Dataset(
            attrs={
                "compile": found.compile + ready - began,
                "warm_up": found.warm_up,
                "run": found.run,
            }
        )
        draws = to_natural(target, found.points)
        return estimate_from_draws(model, data, draws, sample_stats=found.stats, record=record)


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


def _pymc_chains(
    model: Model,
    data: xr.Dataset,
    target: Density,
    starts: list[np.ndarray],
    tuning: Tuning,
    rng: np.random.Generator,
) -> Run:
    """PyMC's NUTS step, as `pm.sample` drives it, in the unconstrained space of PyMC's program."""
    from pymc.blocking import RaveledVars

    began = time.perf_counter()
    steps = _pymc_steps(model, data, target, starts, tuning, rng)
    layout = (("u", (target.size,), target.size, np.dtype("float64")),)
    states = [RaveledVars(start, layout) for start in starts]

    def run(chain: int, draws: int) -> tuple[np.ndarray, list[dict[str, Any]]]:
        points, stats = np.empty((draws, target.size)), []
        with np.errstate(all="ignore"):  # a divergent trajectory overflows, and says so itself
            for draw in range(draws):
                states[chain], (stat,) = steps[chain].astep(states[chain])
                points[draw] = states[chain].data
                stats.append(stat)
        return points, stats

    def warm(chain: int) -> None:
        run(chain, tuning.warm_up)
        steps[chain].stop_tuning()

    ready = time.perf_counter()
    in_threads(warm, tuning.chains)
    warmed = time.perf_counter()
    chains = in_threads(lambda chain: run(chain, tuning.draws), tuning.chains)
    end = time.perf_counter()
    stats = {
        ours: np.array([[stat[theirs] for stat in kept] for _, kept in chains])
        for theirs, ours in _STATS.items()
    }
    points = np.stack([points for points, _ in chains])
    return Run(points, stats, ready - began, warmed - ready, end - warmed)


def _pymc_steps(
    model: Model,
    data: xr.Dataset,
    target: Density,
    starts: list[np.ndarray],
    tuning: Tuning,
    rng: np.random.Generator,
) -> list[Any]:
    """PyMC's step method of every chain."""
    import pymc as pm
    from pymc.step_methods.hmc.quadpotential import QuadPotentialDiagAdapt, QuadPotentialFullAdapt

    program = pymc_program(model, data)
    gradient = _Gradient(target)
    # PyMC counts the coordinates by an initial point; its own would compile the whole program
    variables = [variable.name for variable in program.value_vars]
    sizes = [target.size - len(variables) + 1] + [1] * (len(variables) - 1)
    counted = {name: np.zeros(size) for name, size in zip(variables, sizes, strict=True)}
    dense = tuning.dense(target.size)
    potential = QuadPotentialFullAdapt if dense else QuadPotentialDiagAdapt
    scale = np.eye(target.size) if dense else np.ones(target.size)
    found = []
    for start, stream in zip(starts, rng.spawn(tuning.chains), strict=True):
        momentum, choice = stream.spawn(2)
        with warnings.catch_warnings():
            # it is what `pm.sample(init="adapt_full")` uses, and calls itself experimental
            warnings.simplefilter("ignore", UserWarning)
            metric = potential(target.size, start.copy(), scale.copy(), 10, rng=momentum)
        found.append(
            pm.NUTS(
                model=program,
                logp_dlogp_func=gradient,
                potential=metric,
                target_accept=tuning.target_accept,
                initial_point=counted,
                rng=choice,
            )
        )
    return found
