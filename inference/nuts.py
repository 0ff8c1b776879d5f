"""The No-U-Turn sampler, NumPyro's and PyMC's own, each on its own program.

Both adapt a step size and a mass matrix during warm-up; afterwards their draws are from the same
posterior, which is what makes them each other's referee.
Reference: Hoffman & Gelman (2014), JMLR 15.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from inference._draws import estimate_from_draws
from inference._estimate import Estimate, Method
from models._density import density, pymc_program
from models._errors import FitError

if TYPE_CHECKING:
    from models._spec import Model

_STATS = {
    "energy": "energy",
    "diverging": "diverging",
    "num_steps": "n_steps",
    "accept_prob": "acceptance_rate",
}


@final
@dataclass(frozen=True)
class NUTS(Method):
    """Hamiltonian Monte Carlo with self-tuned trajectories.

    Attributes:
        engine: whose sampler and program.
        chains: number of chains, each from its own data-driven start.
        warm_up: adaptation steps per chain, discarded.
        draws: draws kept per chain.
        target_accept: acceptance that the step size is tuned to.
    """

    engine: Literal["numpyro", "pymc"] = "numpyro"
    chains: int = 4
    warm_up: int = 1000
    draws: int = 1500
    target_accept: float = 0.9

    name: ClassVar[str] = "nuts"
    target: ClassVar[Literal["likelihood", "posterior"]] = "posterior"
    profiles: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "quick": {"warm_up": 500, "draws": 750},
        "thorough": {"warm_up": 2000, "draws": 5000},
    }

    def refusal(self, model: Model) -> str:
        return ""

    def fit(self, model: Model, data: xr.Dataset, rng: np.random.Generator) -> Estimate:
        starts = [model.start(stream, data) for stream in rng.spawn(self.chains)]
        seed = int(rng.integers(2**31 - 1))
        sample = _numpyro if self.engine == "numpyro" else _pymc
        try:
            draws, stats, seconds = sample(self, model, data, starts, seed)
        except (ValueError, RuntimeError, FloatingPointError) as error:
            raise FitError(f"{self.engine}'s sampler stopped: {error}") from error
        record = xr.Dataset(attrs=seconds)
        return estimate_from_draws(model, data, draws, record=record, sample_stats=stats)


def _numpyro(
    settings: NUTS, model: Model, data: xr.Dataset, starts: list[Any], seed: int
) -> tuple[dict[str, Any], dict[str, Any], dict[str, float]]:
    from numpyro.infer import MCMC
    from numpyro.infer import NUTS as Kernel

    of = density(model, data)

    def potential(u: Any) -> Any:
        return -(jnp.sum(of.log_likelihood(u)) + of.log_prior(u) + of.log_jacobian(u))

    began = time.perf_counter()
    kernel = Kernel(
        potential_fn=potential, target_accept_prob=settings.target_accept, dense_mass=True
    )
    enough = jax.local_device_count() >= settings.chains
    mcmc = MCMC(
        kernel,
        num_warmup=settings.warm_up,
        num_samples=settings.draws,
        num_chains=settings.chains,
        chain_method="parallel" if enough else "vectorized",
        progress_bar=False,
    )
    start = jnp.stack([of.unconstrain(values) for values in starts])
    if settings.chains == 1:
        start = start[0]
    key = jax.random.key(seed)
    mcmc.warmup(key, init_params=start, extra_fields=tuple(_STATS))
    warm = time.perf_counter()
    mcmc.run(mcmc.post_warmup_state.rng_key, extra_fields=tuple(_STATS))
    points = np.asarray(mcmc.get_samples(group_by_chain=True))
    done = time.perf_counter()
    fields = mcmc.get_extra_fields(group_by_chain=True)
    stats = {ours: np.asarray(fields[theirs]) for theirs, ours in _STATS.items()}
    values = jax.jit(jax.vmap(jax.vmap(of.constrain)))(jnp.asarray(points))
    # compilation is not told apart from warm-up here: JAX compiles on the first step
    seconds = {"warm_up": warm - began, "run": done - warm}
    return {name: np.asarray(array) for name, array in values.items()}, stats, seconds


def _pymc(
    settings: NUTS, model: Model, data: xr.Dataset, starts: list[Any], seed: int
) -> tuple[dict[str, Any], dict[str, Any], dict[str, float]]:
    import pymc as pm

    program = pymc_program(model, data)
    logging.getLogger("pymc").setLevel(logging.ERROR)
    began = time.perf_counter()
    with program, warnings.catch_warnings():
        # convergence is judged by our own gate; JAX mode says that it copies the generators
        warnings.simplefilter("ignore")
        tree: Any = pm.sample(
            draws=settings.draws,
            tune=settings.warm_up,
            chains=settings.chains,
            cores=1,
            nuts_sampler="pymc",
            nuts={"target_accept": settings.target_accept},
            initvals=[{n: np.asarray(v) for n, v in values.items()} for values in starts],
            random_seed=seed,
            progressbar=False,
            compute_convergence_checks=False,
            compile_kwargs={"mode": "JAX"},
        )
    done = time.perf_counter()
    stats = tree["sample_stats"]
    names = {
        "energy": "energy",
        "diverging": "diverging",
        "n_steps": "n_steps",
        "acceptance_rate": "acceptance_rate",
    }
    sampling = float(tree["posterior"].attrs.get("sampling_time", done - began))
    seconds = {"compile": max(done - began - sampling, 0.0), "run": sampling}
    draws = {p.name: tree["posterior"][p.name].values for p in model.parameters}
    return draws, {o: stats[t].values for t, o in names.items() if t in stats}, seconds
