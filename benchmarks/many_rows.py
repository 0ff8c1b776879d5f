"""A logistic regression with a million rows: log-likelihood, score, information and its sandwich.

The program is a user's own, adopted as it stands.  By hand the same program is conditioned on its
data and `numpyro.infer.util.log_density` compiled and differentiated by JAX, with flat priors in
the place of its own, since that density has no other way to leave them out; the scores of single
rows, which it does not give, are derivatives of NumPyro's Bernoulli law.  Both sides give the same
numbers, to 1e-9 relative.
"""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from _row import Row, compiled, timed
from numpyro.infer.util import log_density

import concord as cc
from inference.information.derivatives import derivatives
from inference.information.matrices import observed, outer_product
from models.programs.density import density

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROWS, COLUMNS, REPEATS = 1_000_000, 10, 5
GIGABYTES = 4


def regression(x: Any, y: Any = None) -> None:
    """The program, as its user writes it."""
    b = numpyro.sample("b", dist.Normal(0, 5).expand([x.shape[1]]).to_event(1))
    a = numpyro.sample("a", dist.Normal(0, 5))
    numpyro.sample("y", dist.Bernoulli(logits=a + x @ b), obs=y)


def rows() -> Iterator[Row]:
    """Each quantity against the same by hand; all of them against ten times a tenth of the rows."""
    many, few = _data(ROWS), _data(ROWS // 10)
    with jax.enable_x64():
        here, there, point = _here(many), _by_hand(many), jnp.linspace(-0.5, 0.5, COLUMNS + 1)
        for name, work in here.items():
            np.testing.assert_allclose(work(point), there[name](point), rtol=1e-9, atol=1e-6)
        fewer = _here(few)
        for name in here:
            compilation = compiled(lambda name=name: fewer[name](point))
            seconds = [_best(side[name], point) for side in (here, there)]
            title = f"{name} of a regression, {ROWS:,} rows × {COLUMNS}"
            yield Row(title, "by hand, with NumPyro and JAX", *seconds, compilation, 1 / 1.05)
        together = [sum(_best(work, point) for work in side.values()) for side in (here, fewer)]
    # in KiB, of this process, which has made nothing else but the same by hand
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    title = f"all of them, {ROWS:,} rows; both sides took {peak:.1f} of {GIGABYTES} GiB"
    yield Row(title, f"ten times {ROWS // 10:,} rows", together[0], 10 * together[1], 0.0, 1 / 1.05)


def _data(n: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, COLUMNS))
    chance = 1 / (1 + np.exp(-x @ np.linspace(-0.5, 0.5, COLUMNS)))
    return {"x": x, "y": (rng.random(n) < chance).astype(int)}


def _here(data: dict[str, np.ndarray]) -> dict[str, Callable[[Any], Any]]:
    model = cc.adopt(numpyro=regression, data=data)
    target = density(model, model.data)
    both = derivatives(target, "likelihood").value_and_gradient
    # the intercept is last in either space
    return {
        "log-likelihood and score": lambda u: _flat(both(u)),
        "observed information": lambda u: observed(target, u),
        "outer product of scores": lambda u: outer_product(target, u),
    }


def _by_hand(data: dict[str, np.ndarray]) -> dict[str, Callable[[Any], Any]]:
    x, y = jnp.asarray(data["x"]), jnp.asarray(data["y"])

    def flat() -> None:
        wide = dist.ImproperUniform(dist.constraints.real_vector, (), (COLUMNS,))
        b = numpyro.sample("b", wide)
        a = numpyro.sample("a", dist.ImproperUniform(dist.constraints.real, (), ()))
        numpyro.sample("y", dist.Bernoulli(logits=a + x @ b), obs=y)

    def value(u: Any) -> Any:
        return log_density(flat, (), {}, {"b": u[:-1], "a": u[-1]})[0]

    def squares(u: Any) -> Any:
        scores = jax.jacfwd(lambda u: dist.Bernoulli(logits=u[-1] + x @ u[:-1]).log_prob(y))(u)
        return scores.T @ scores

    both, hessian, outer = map(jax.jit, (jax.value_and_grad(value), jax.hessian(value), squares))
    return {
        "log-likelihood and score": lambda u: _flat(both(u)),
        "observed information": lambda u: -np.asarray(hessian(u)),
        "outer product of scores": lambda u: np.asarray(outer(u)),
    }


def _flat(found: tuple[Any, Any]) -> np.ndarray:
    return np.append(found[0], found[1])


def _best(work: Callable[[Any], Any], point: Any) -> float:
    return min(timed(lambda: work(point)) for _ in range(REPEATS))
