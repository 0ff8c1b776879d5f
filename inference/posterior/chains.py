"""Markov chains in threads: where they start, how they are tuned, and NumPyro's kernel in our loop.

One compiled block of draws, of a length that divides both, advances every chain through warm-up and
run.
References: Hoffman & Gelman (2014), JMLR 15; Betancourt (2017), arXiv:1701.02434.
"""

import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from inference.information.derivatives import derivatives, value
from inference.threads import pool
from models.errors import FitError
from models.programs.compilation import once
from models.programs.density import Density
from models.programs.keys import key_of

FIELDS = ("energy", "num_steps", "accept_prob", "diverging")
"""Kept of every draw of NumPyro's kernel, besides the point."""
_ATTEMPTS = 100  # starts tried for each chain until the density and its gradient are finite


class Tuning(NamedTuple):
    """How chains run."""

    chains: int
    warm_up: int  # draws of each chain spent on adaptation and dropped
    draws: int  # draws kept of each chain
    target_accept: float  # mean acceptance probability the step size is adapted to


class Run(NamedTuple):
    """The draws of chains, and how long they took."""

    points: np.ndarray  # in the unconstrained space, shape (chain, draw, k)
    stats: dict[str, np.ndarray]  # (chain, draw) by ArviZ's names
    seconds: dict[str, float]  # of `compile`, `warm_up` and `run`
    more: Callable[[], Any]  # these draws and as many again as were asked for, as a Run


def starting_points(target: Density, rng: np.random.Generator, count: int) -> list[np.ndarray]:
    """Data-driven starts in the unconstrained space.

    Args:
        target: the density of one of a model's programs.
        rng: draws the starts.
        count: how many.

    Raises:
        FitError: the density or its gradient is not finite at any of a hundred for one of them.
    """
    model, value_and_gradient = target.model, derivatives(target, "posterior").value_and_gradient
    found = []
    for stream in rng.spawn(count):
        for _ in range(_ATTEMPTS):
            start = target.unconstrain(model.start(stream, target.data))
            height, gradient = value_and_gradient(start)
            if jnp.isfinite(height) and jnp.isfinite(gradient).all():
                found.append(np.asarray(start))
                break
        else:
            raise FitError(
                f"{model.name}: the log posterior or its gradient is not finite at any of "
                f"{_ATTEMPTS} data-driven starts"
            )
    return found


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

    ready, every = time.perf_counter(), range(tuning.chains)
    with pool(tuning.chains) as threads:
        list(threads.map(partial(run, draws=tuning.warm_up), every))
    spent = {"compile": ready - began, "warm_up": time.perf_counter() - ready, "run": 0.0}
    drawn: list[list[np.ndarray]] = []

    def go_on() -> Run:
        begins = time.perf_counter()
        with pool(tuning.chains) as threads:
            chains = threads.map(partial(run, draws=tuning.draws), every)
            drawn.append([np.stack(parts) for parts in zip(*chains, strict=True)])
        points, *fields = (np.concatenate(parts, axis=1) for parts in zip(*drawn, strict=True))
        spent["run"] += time.perf_counter() - begins
        return Run(points, sample_stats(dict(zip(FIELDS, fields, strict=True))), {**spent}, go_on)

    return go_on()


def sample_stats(fields: Mapping[str, ArrayLike]) -> dict[str, np.ndarray]:
    """NumPyro's `FIELDS` by ArviZ's names, and `tree_depth`, each of shape (chain, draw)."""
    energy, steps, accepted, diverging = (np.asarray(fields[name]) for name in FIELDS)
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
        potential_fn=lambda u: -value(target, "posterior", u),
        target_accept_prob=tuning.target_accept,
        dense_mass=tuning.warm_up >= 10 * target.size,
    )

    @once
    def initial(key: jax.Array, start: jax.Array) -> Any:
        return kernel.init(key, tuning.warm_up, start, (), {})

    @jax.jit
    def advance(state: Any) -> Any:
        def one(state: Any, _: None) -> Any:
            state = kernel.sample(state, (), {})
            return state, (state.z, *(getattr(state, name) for name in FIELDS))

        return jax.lax.scan(one, state, length=block)

    return initial, advance
