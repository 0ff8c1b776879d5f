"""One large mixture: a step of EM against scikit-learn's, from the same start.

Both run as many steps from the same start and end at the same log-likelihood, to 1e-10 relative.
"""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from _row import Row, compiled, timed

from models.catalogue.gaussian_mixture import GaussianMixture
from models.programs.density import density

if TYPE_CHECKING:
    from collections.abc import Iterator

STEPS, REPEATS = 20, 5
SIZES = ((1_000_000, 1, 2, 25), (200_000, 8, 8, 18))


def rows() -> Iterator[Row]:
    """The two sizes.

    Raises:
        RuntimeError: the two sides do not end at the same log-likelihood.
    """
    for n, dim, k, goal in SIZES:
        rng = np.random.default_rng(0)
        means = rng.normal(0.0, 3.0, (k, dim))
        y = means[rng.integers(k, size=n)] + rng.standard_normal((n, dim))
        model = GaussianMixture(k, dim=dim)
        start: Any = {"weights": np.full(k, 1 / k)}
        if dim == 1:
            means = np.sort(means, axis=0)
            data = xr.Dataset({"y": ("obs", y[:, 0])})
            start |= {"mu": means[:, 0], "sigma": np.ones(k)}
        else:
            data = xr.Dataset({"y": (("obs", "variable"), y)})
            correlation = np.tile(np.eye(dim), (k, 1, 1))
            start |= {
                "mean": means,
                "scale": np.ones((k, dim)),
                "correlation_cholesky": correlation,
            }
        start = jax.tree.map(jnp.asarray, start)

        @jax.jit
        def steps(values: Any, model: Any = model, data: Any = data) -> Any:
            def step(_: int, at: Any) -> Any:
                return model.m_step(model.e_step(at, data), data)

            return jax.lax.fori_loop(0, STEPS, step, values)

        ours = partial(_finished, steps, start)
        compilation = compiled(ours)
        # in turns, so that both sides meet the same machine
        sides = ours, partial(_sklearn, y, means, 1), partial(_sklearn, y, means, 1 + STEPS)
        seconds = [[timed(side) for side in sides] for _ in range(REPEATS)]
        run, few, many = np.min(seconds, axis=0)
        # what scikit-learn does once and not per step goes with the difference of two runs
        here, there = run / STEPS, (many - few) / STEPS
        target = density(model, data)
        ours = float(target.log_likelihood(target.unconstrain(steps(start))).sum())
        theirs = n * _sklearn(y, means, STEPS).score(y)
        if abs(ours - theirs) > 1e-10 * abs(theirs):
            raise RuntimeError(f"log-likelihoods after {STEPS} steps: {ours!r} and {theirs!r}")
        work = f"one mixture, a step of EM, (N, D, k) = ({n:,}, {dim}, {k})"
        yield Row(work, "scikit-learn `GaussianMixture`", here, there, compilation, goal)


def _finished(steps: Any, values: Any) -> Any:
    return jax.block_until_ready(steps(values))


def _sklearn(y: np.ndarray, means: np.ndarray, steps: int) -> Any:
    from sklearn.mixture import GaussianMixture as Theirs

    k, dim = means.shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged
        return Theirs(
            k,
            tol=0.0,
            max_iter=steps,
            reg_covar=0.0,
            weights_init=np.full(k, 1 / k),
            means_init=means,
            precisions_init=np.tile(np.eye(dim), (k, 1, 1)),
            init_params="random_from_data",
        ).fit(y)
