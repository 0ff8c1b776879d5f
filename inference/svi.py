"""Variational inference: the Gaussian q in the unconstrained chart that maximises the ELBO.

    ELBO(m, C) = E_z[f(m + C z)] + log |det C| + const,  z ~ N(0, I),  f = ℓ + log π + log-Jacobian,

with C diagonal (mean field) or lower triangular (full rank).  The expectation is taken over one
fixed set of base points whose mean is 0 and covariance I exactly, so the ELBO is deterministic: a
quasi-Newton method finds its optimum to any precision, there is no learning rate to tune, and for
a Gaussian posterior the optimum is exact (sd 1/√Λ_jj under mean field).  What the finite set of
base points leaves is measured: the ELBO's Monte Carlo error and the PSIS k̂ of q.
References: Kucukelbir et al. (2017), JMLR 18; Giordano, Ingram & Broderick (2024), Black box
variational inference with a deterministic objective, JMLR 25; Yao et al. (2018), ICML.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from scipy.optimize import minimize
from scipy.stats import norm, qmc

from inference._draws import estimate_from_draws
from inference._estimate import Estimate, Method
from inference._information import derivatives
from inference._optimum import optimise
from models._density import density
from models._errors import FitError

if TYPE_CHECKING:
    from collections.abc import Callable

    from models._density import Density
    from models._spec import Model

_CHAINS = 4
_FLAT = 1e-4
"""Gradient of the ELBO, in posterior standard deviations, below which it is at its optimum."""


@final
@dataclass(frozen=True)
class SVI(Method):
    """Gaussian variational inference.

    Attributes:
        engine: whose program and unconstrained chart.
        family: independent coordinates, or a full covariance.
        points: base points of the ELBO's expectation; a power of 2.
        restarts: data-driven starts of the search for the posterior mode that q starts from.
        draws: draws from q per pseudo-chain, of which there are four.
    """

    engine: Literal["numpyro", "pymc"] = "numpyro"
    family: Literal["mean_field", "full_rank"] = "mean_field"
    points: int = 1024
    restarts: int = 5
    draws: int = 5_000

    name: ClassVar[str] = "svi"
    target: ClassVar[Literal["likelihood", "posterior"]] = "posterior"
    profiles: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "quick": {"points": 512, "draws": 2_500},
        "thorough": {"points": 8192, "restarts": 20},
    }

    def refusal(self, model: Model) -> str:
        return ""

    def fit(self, model: Model, data: xr.Dataset, rng: np.random.Generator) -> Estimate:
        began = time.perf_counter()
        of = density(model, data, self.engine)
        start = optimise(model, data, of, "posterior", rng, self.restarts)
        curvature = -np.asarray(derivatives(of, "posterior").hessian(jnp.asarray(start.u)))
        diagonal = np.diag(curvature)
        if not (diagonal > 0).all():
            raise FitError("the posterior is flat or unbounded where the search for its mode ended")
        initial = np.concatenate([start.u, -0.5 * np.log(diagonal)])
        if self.family == "full_rank":
            initial = np.concatenate([initial, np.zeros(of.size * (of.size - 1) // 2)])
        base = _base_points(self.points, of.size, rng)
        elbo = _elbo(of, base, self.family)
        jax.block_until_ready(elbo(jnp.asarray(initial)))
        ready = time.perf_counter()
        path: list[float] = []

        def negative(parameters: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = elbo(jnp.asarray(parameters))
            if not np.isfinite(value):
                return 1e300, np.zeros_like(parameters)
            path.append(float(value))
            return -float(value), -np.asarray(gradient)

        end = minimize(
            negative,
            initial,
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": 5_000, "maxfun": 10_000, "gtol": 1e-7, "ftol": 1e-15, "maxcor": 50},
        )
        location, factor = _unpack(jnp.asarray(end.x), of.size, self.family)
        residual = float(np.abs(end.jac[: of.size] * np.asarray(jnp.diag(factor))).max())
        problems = []
        if not residual < _FLAT:
            problems.append(
                f"the ELBO is not at its optimum: a step of {residual:.1e} posterior standard "
                "deviations still raises it"
            )
        noise = jnp.asarray(rng.standard_normal((_CHAINS, self.draws, of.size)))
        points = location + noise @ factor.T
        draws = jax.jit(jax.vmap(jax.vmap(of.constrain)))(points)
        terms = _log_ratio(of, points.reshape(-1, of.size), location, factor)
        record = xr.Dataset(
            {
                "elbo": ("step", np.array(path)),
                "q_loc": ("coordinate", np.asarray(location)),
                "q_covariance": (("coordinate", "coordinate_"), np.asarray(factor @ factor.T)),
            },
            attrs={
                "compile": ready - began,
                "run": time.perf_counter() - ready,
                "elbo": float(terms.mean()),
                "elbo_error": float(terms.std() / np.sqrt(terms.size)),
                "khat": _k_hat(terms),
                "gradient": residual,
            },
        )
        return estimate_from_draws(
            model,
            data,
            {name: np.asarray(array) for name, array in draws.items()},
            record=record,
            problems=problems,
        )


def _base_points(count: int, k: int, rng: np.random.Generator) -> jnp.ndarray:
    """Scrambled Sobol normals with mean 0 and covariance I exactly, shape (2·count, k)."""
    uniform = qmc.Sobol(k, rng=rng).random(count)
    half = norm.ppf(np.clip(uniform, 1e-12, 1 - 1e-12))
    points = np.concatenate([half, -half])
    factor = np.linalg.cholesky(points.T @ points / points.shape[0])
    return jnp.asarray(np.linalg.solve(factor, points.T).T)


def _unpack(parameters: Any, k: int, family: str) -> tuple[Any, Any]:
    """Location and lower-triangular scale factor from the flat variational parameters."""
    location, scale = parameters[:k], jnp.exp(parameters[k : 2 * k])
    if family == "mean_field":
        return location, jnp.diag(scale)
    below = jnp.zeros((k, k)).at[jnp.tril_indices(k, -1)].set(parameters[2 * k :])
    # rows in units of their own scale keep the problem well conditioned
    return location, scale[:, None] * (jnp.eye(k) + below)


def _elbo(of: Density, base: Any, family: str) -> Callable[[Any], tuple[Any, Any]]:
    """Variational parameters ↦ ELBO and its gradient, compiled."""
    k = of.size
    entropy = 0.5 * k * (1 + np.log(2 * np.pi))

    def height(u: Any) -> Any:
        return jnp.sum(of.log_likelihood(u)) + of.log_prior(u) + of.log_jacobian(u)

    def value(parameters: Any) -> Any:
        location, factor = _unpack(parameters, k, family)
        points = location + base @ factor.T
        return jnp.mean(jax.vmap(height)(points)) + jnp.sum(parameters[k : 2 * k]) + entropy

    return jax.jit(jax.value_and_grad(value))


def _log_ratio(of: Density, points: Any, location: Any, factor: Any) -> np.ndarray:
    """log f(u) − log q(u) at draws from q; its mean is the ELBO."""

    def one(u: Any) -> Any:
        standard = jax.scipy.linalg.solve_triangular(factor, u - location, lower=True)
        log_q = -0.5 * jnp.sum(standard**2) - jnp.sum(jnp.log(jnp.diag(factor)))
        height = jnp.sum(of.log_likelihood(u)) + of.log_prior(u) + of.log_jacobian(u)
        return height - log_q + 0.5 * of.size * jnp.log(2 * jnp.pi)

    return np.asarray(jax.jit(lambda all_: jax.lax.map(one, all_, batch_size=200))(points))


def _k_hat(log_ratio: np.ndarray) -> float:
    from arviz_stats.base import array_stats

    return float(array_stats.psislw(log_ratio, axis=-1)[1])
