"""Expectation-maximisation: θ' = argmax_θ' Q(θ' | θ), Q = E[log p(x, z | θ') | x, θ].

Every step raises ℓ.  Near the fixed point the error shrinks by the largest eigenvalue of
complete⁻¹ missing information, so the measured rate must equal Louis' one; when EM stops, it is
rate/(1 − rate) times its last step short of the optimum.  Towards an edge of parameter space the
rate tends to 1, and the steps never end: there Newton's method takes over.
References: Dempster, Laird & Rubin (1977), JRSS B 39; Louis (1982), JRSS B 44.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from inference.estimate import Estimate
from inference.information.derivatives import derivatives
from inference.information.edges import edges
from inference.information.matrices import Louis, louis, observed
from inference.method import Kind, Method
from inference.optimisation.newton import negative, polish
from inference.optimisation.standard_errors import estimate_at
from inference.optimisation.starts import (
    degenerate,
    em_step,
    promising,
    reached,
    refuse_undefined,
    runner_up,
)
from inference.posterior.labels import canonical
from models.capabilities import HasEM
from models.errors import FitError
from models.programs.density import Density, density
from models.settings import Count
from models.spec import Model

_SHORT = 1e-6  # remaining distance, in standard errors, at which the iteration stops
_CHUNK, _SLOW = 50, 1_000
"""Iterations between two looks at that, and after which a climb may be one to an edge."""
_ROUNDING = 1e-8
"""Step, in standard errors, above which rounding does not spoil its ratio to the one before."""


class _Climb(NamedTuple):
    u: jax.Array
    log_likelihood: np.ndarray
    rate: float
    shortfall: float  # how far the last point is from the fixed point, in standard errors


@final
@dataclass(frozen=True)
class ExpectationMaximisation(Method):
    """EM from many starts, closed-form E and M steps.

    Attributes:
        restarts: number of data-driven starts.
        iterations: most iterations per start.
    """

    restarts: Count = 8
    iterations: Count = 20_000

    name: ClassVar[str] = "expectation_maximisation"
    target: ClassVar[Literal["likelihood", "posterior"]] = "likelihood"
    kind: ClassVar[Kind] = "optimum"
    profiles: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "quick": {"restarts": 4},
        "thorough": {"restarts": 50},
    }

    def refusal(self, model: Model) -> str:
        return "" if isinstance(model, HasEM) else f"{model.name} has no closed-form E and M steps"

    def fit(self, model: Model, data: xr.Dataset, rng: np.random.Generator) -> Estimate:
        refuse_undefined(model, data)
        if not isinstance(model, HasEM):
            raise FitError(self.refusal(model))
        started = time.perf_counter()
        target = density(model, data)
        steps = _steps(model, target)
        first = target.unconstrain(model.start(np.random.default_rng(0), data))
        jax.block_until_ready(steps(first))
        ready = time.perf_counter()
        starts = promising(target, rng, self.restarts, ends=False)
        ends = [self._climb(target, steps, jnp.asarray(start)) for start in starts]
        fine = [end for end in ends if end is not None]
        fine = [end for end in fine if not degenerate(model, data, target.constrain(end.u))]
        if not fine:
            raise FitError(
                f"undefined: all {self.restarts} starts of EM ended in a degenerate optimum"
            )
        climbs = sorted(fine, key=lambda climb: -climb.log_likelihood[-1])
        # information belongs to one labelling: that of the estimate
        values = canonical(model, target.constrain(climbs[0].u))
        predicted = louis(model, target, target.unconstrain(values))
        record = self._record(climbs, predicted)
        record.attrs |= {"compile": ready - started, "run": time.perf_counter() - ready}
        return estimate_at(
            model,
            data,
            values,
            information=predicted.complete - predicted.missing,
            problems=self._problems(climbs[0], record.attrs["reached"]),
            sd_kind="louis",
            record=record,
        )

    def _record(self, climbs: list[_Climb], predicted: Louis) -> xr.Dataset:
        """How the climbs went, best first."""
        best, ends = climbs[0], np.array([climb.log_likelihood[-1] for climb in climbs])
        return xr.Dataset(
            {
                "climb": ("iteration", best.log_likelihood),
                "restart_log_likelihood": ("restart", ends),
                "louis_complete": (("coordinate", "coordinate_"), predicted.complete),
                "louis_missing": (("coordinate", "coordinate_"), predicted.missing),
            },
            attrs={
                "restarts": self.restarts,
                "reached": reached(ends),
                "degenerate": self.restarts - len(climbs),
                "runner_up": runner_up(ends),
                "iterations": best.log_likelihood.size - 1,
                "measured_rate": best.rate,
                "predicted_rate": predicted.rate,
                "shortfall": best.shortfall,
            },
        )

    def _problems(self, best: _Climb, count: int) -> list[str]:
        """Why the best climb, whose optimum `count` starts reached, must not be relied on."""
        problems = []
        if not best.shortfall < 1e-3:
            problems.append(
                f"EM stopped {best.shortfall:.1e} standard errors short of its fixed point "
                f"after {best.log_likelihood.size - 1} iterations"
            )
        if count < 2:
            problems.append(f"only {count} of {self.restarts} starts reached this optimum")
        return problems

    def _climb(
        self, target: Density, steps: Callable[[Any], tuple[Any, Any]], start: Any
    ) -> _Climb | None:
        """Iterates until what is left is negligible; None if it leaves the finite numbers."""
        u, climb = start, []
        while True:
            path, values = (np.asarray(part) for part in steps(u))
            if not (np.isfinite(values).all() and np.isfinite(path).all()):
                return None
            u = jnp.asarray(path[-1])
            rate, last = _rate(path, observed(target, u))
            known = 0.0 if np.isnan(rate) else rate
            shortfall = last * known / (1 - known) if known < 1 else np.inf
            climb.extend(values[:-1])
            if shortfall < _SHORT or len(climb) >= self.iterations:
                return _Climb(u, np.array([*climb, values[-1]]), rate, shortfall)
            if len(climb) == _SLOW and (end := _edge(target, path[-1])) is not None:
                return _Climb(jnp.asarray(end[0]), np.array([*climb, end[1]]), rate, 0.0)


def _edge(target: Density, u: np.ndarray) -> tuple[np.ndarray, float] | None:
    """The edge to which Newton's method leads, and ℓ there; None where it ends inside."""
    minus = negative(derivatives(target, "likelihood").value_and_gradient)
    end = polish(minus, lambda v: observed(target, jnp.asarray(v)), u)
    found = edges(target.model, target, end, observed(target, jnp.asarray(end)), "likelihood")
    return (end, -minus(end)[0]) if found.where else None


def _rate(path: np.ndarray, information: np.ndarray) -> tuple[float, float]:
    """Ratio of successive steps, and the last step, both in standard errors."""
    step = np.diff(path, axis=0)
    size = np.sqrt(np.abs(np.einsum("ij,jk,ik->i", step, information, step)))
    # the last step above rounding, where the slowest direction dominates
    above = np.flatnonzero(size[1:] > _ROUNDING) + 1
    if not above.size:  # one step led to the end, or none is above rounding
        return 0.0 if size[0] > _ROUNDING else float("nan"), float(size[-1])
    return float(size[above[-1]] / size[above[-1] - 1]), float(size[-1])


def _steps(model: Any, target: Density) -> Callable[[Any], tuple[Any, Any]]:
    """u ↦ `_CHUNK` EM steps: the points, shape (chunk + 1, k), and their log-likelihoods."""

    def step(u: Any, _: None) -> tuple[Any, tuple[Any, Any]]:
        return em_step(model, target, u), (u, jnp.sum(target.log_likelihood(u)))

    def chunk(u: Any) -> tuple[Any, Any]:
        last, (path, values) = jax.lax.scan(step, u, None, length=_CHUNK)
        value = jnp.sum(target.log_likelihood(last))
        return jnp.vstack([path, last]), jnp.append(values, value)

    return jax.jit(chunk)
