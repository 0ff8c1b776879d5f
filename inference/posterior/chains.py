"""Markov chains in threads: where they start, how they are tuned, and NumPyro's kernel in our loop.

One compiled block of draws, of a length that divides both, advances every chain through warm-up and
run.
References: Hoffman & Gelman (2014), JMLR 15; Betancourt (2017), arXiv:1701.02434.
"""

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from inference.information.derivatives import derivatives, log_posterior
from inference.threads import pool
from models.errors import FitError
from models.programs.compilation import once
from models.programs.density import Density
from models.programs.keys import key_of
from models.spec import Model

_ATTEMPTS = 100
"""Starts tried for each chain until the density and its gradient are finite."""


class Tuning(NamedTuple):
    """How chains run."""

    chains: int
    warm_up: int
    """Draws of each chain spent on adaptation and dropped."""
    draws: int
    """Draws kept of each chain."""
    target_accept: float
    """Mean acceptance probability the step size is adapted to."""

    def dense(self, size: int) -> bool:
        """Whether there are enough warm-up draws for a dense mass matrix of so many coordinates."""
        return self.warm_up >= 10 * size


class Run(NamedTuple):
    """The outcome of an engine; arrays of shape (chain, draw, …), times in seconds."""

    points: np.ndarray
    """In the unconstrained space, shape (chain, draw, k)."""
    stats: dict[str, np.ndarray]
    """By ArviZ's names."""
    compile: float
    warm_up: float
    run: float


def starting_points(
    model: Model, target: Density, rng: np.random.Generator, count: int
) -> list[np.ndarray]:
    """Data-driven starts in the unconstrained space.

    Args:
        model: the model.
        target: the density of one of the model's programs.
        rng: draws the starts.
        count: how many.

    Raises:
        FitError: the density or its gradient is not finite at any of a hundred for one of them.
    """
    value_and_gradient = derivatives(target, "posterior").value_and_gradient
    found = []
    for stream in rng.spawn(count):
        for _ in range(_ATTEMPTS):
            start = target.unconstrain(model.start(stream, target.data))
            value, gradient = value_and_gradient(start)
            if jnp.isfinite(value) and jnp.isfinite(gradient).all():
                found.append(np.asarray(start))
                break
        else:
            raise FitError(
                f"{model.name}: the log posterior or its gradient is not finite at any of "
                f"{_ATTEMPTS} data-driven starts"
            )
    return found


def _in_threads[T](work: Callable[[int], T], count: int) -> list[T]:
    """Calls it with 0, 1, …, count − 1."""
    with pool(count) as threads:
        return list(threads.map(work, range(count)))


def numpyro_chains(
    target: Density, starts: list[np.ndarray], tuning: Tuning, rng: np.random.Generator
) -> Run:
    """Draws from a density by NumPyro's No-U-Turn kernel.

    Args:
        target: a density; its log-likelihood may be that of another temperature.
        starts: where each chain begins, in its unconstrained space.
        tuning: how the chains run.
        rng: seeds them.
    """
    block = math.gcd(tuning.warm_up, tuning.draws)
    initial, advance = _kernel(target, tuning, block)
    began = time.perf_counter()
    keys = jax.random.split(key_of(rng), tuning.chains)
    states = [initial(key, jnp.asarray(start)) for key, start in zip(keys, starts, strict=True)]
    compiled = advance.lower(states[0]).compile()

    def run(chain: int, draws: int) -> list[np.ndarray]:
        blocks = []
        for _ in range(draws // block):
            states[chain], kept = compiled(states[chain])
            blocks.append([np.asarray(part) for part in kept])
        return [np.concatenate(parts) for parts in zip(*blocks, strict=True)]

    ready = time.perf_counter()
    _in_threads(lambda chain: run(chain, tuning.warm_up), tuning.chains)
    warm = time.perf_counter()
    chains = _in_threads(lambda chain: run(chain, tuning.draws), tuning.chains)
    end = time.perf_counter()
    points, energy, steps, accepted, diverging = map(np.stack, zip(*chains, strict=True))
    stats = sample_stats(energy, steps, accepted, diverging)
    return Run(points, stats, ready - began, warm - ready, end - warm)


def sample_stats(
    energy: np.ndarray, steps: np.ndarray, accepted: np.ndarray, diverging: np.ndarray
) -> dict[str, np.ndarray]:
    """NumPyro's fields by ArviZ's names, and `tree_depth`, each of shape (chain, draw).

    Args:
        energy: of the Hamiltonian.
        steps: leapfrog steps of the trajectory.
        accepted: its mean acceptance probability.
        diverging: whether its energy error exploded.
    """
    return {
        "energy": energy,
        "diverging": diverging,
        "n_steps": steps,
        # doublings of a trajectory of so many leapfrog steps
        "tree_depth": np.ceil(np.log2(steps + 1)).astype(int),
        "acceptance_rate": accepted,
    }


def _kernel(target: Density, tuning: Tuning, block: int) -> tuple[Callable[..., Any], Any]:
    """(key, start) ↦ state, and state ↦ the state after a block of draws, with the draws."""
    from numpyro import infer

    kernel = infer.NUTS(
        potential_fn=lambda u: -log_posterior(target, u),
        target_accept_prob=tuning.target_accept,
        dense_mass=tuning.dense(target.size),
    )

    @once
    def initial(key: jax.Array, start: jax.Array) -> Any:
        return kernel.init(key, tuning.warm_up, start, (), {})

    @jax.jit
    def advance(state: Any) -> Any:
        def one(state: Any, _: None) -> Any:
            state = kernel.sample(state, (), {})
            kept = (state.z, state.energy, state.num_steps, state.accept_prob, state.diverging)
            return state, kept

        return jax.lax.scan(one, state, length=block)

    return initial, advance
