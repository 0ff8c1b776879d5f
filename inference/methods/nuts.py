"""The No-U-Turn sampler: NumPyro's kernel in our loop, on the density of either program.

Hamiltonian dynamics that stop when they turn back on themselves.  Draws are from
exp(log posterior(u)) in the unconstrained space of the program that `engine` names, log-Jacobian
included, with step size and mass matrix adapted while warming up.  Chains run in threads, one
compiled function for all, each from its own data-driven start; the mass matrix is dense while there
are ten warm-up draws per coordinate to estimate it from.  The libraries' own calls are engines
(`inference.engines`).
References: Hoffman & Gelman (2014), JMLR 15; Betancourt (2017), arXiv:1701.02434.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, final

import numpy as np
import xarray as xr
from annotated_types import Ge

from inference.estimate import Estimate
from inference.method import Kind, Method, derived
from inference.posterior.chains import Tuning, numpyro_chains, starting_points
from inference.posterior.draws import estimate_from_draws
from inference.posterior.points import to_natural
from inference.threads import one_blas_thread
from models.errors import ConcordError, FitError
from models.programs.density import density
from models.settings import Count, Share
from models.spec import Model


@final
@dataclass(frozen=True)
class NUTS(Method):
    """Draws from the posterior by the No-U-Turn sampler.

    Attributes:
        engine: whose program and transforms: `numpyro` or `pymc`.
        chains: independent chains.
        warm_up: draws of each chain spent on adaptation and dropped.
        draws: draws kept of each chain.
        target_accept: mean acceptance probability the step size is adapted to.
    """

    engine: Literal["numpyro", "pymc"] = "numpyro"
    chains: Annotated[int, Ge(2)] = 4
    warm_up: Count = 1_000
    draws: Annotated[int, Ge(4)] = 10_000
    target_accept: Share = 0.9

    name: ClassVar[str] = "nuts"
    target: ClassVar[Literal["likelihood", "posterior"]] = "posterior"
    kind: ClassVar[Kind] = "sampler"
    library: ClassVar[str] = "numpyro"
    language = derived(lambda self: self.engine)
    profiles: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "quick": {"warm_up": 500, "draws": 4_000},
        "thorough": {"warm_up": 2_000, "draws": 20_000},
    }

    def fit(self, model: Model, data: xr.Dataset, rng: np.random.Generator) -> Estimate:
        tuning = Tuning(self.chains, self.warm_up, self.draws, self.target_accept)
        try:
            target = density(model, data, self.engine)
            began = time.perf_counter()
            starts = starting_points(model, target, rng, self.chains)
            ready = time.perf_counter()
            with one_blas_thread():
                found = numpyro_chains(target, starts, tuning, rng)
        except ConcordError:
            raise
        except Exception as error:  # of the model's programs, which a user wrote
            raise FitError(
                f"sampling from the {self.engine} program of {model.name} failed: "
                f"{type(error).__name__}: {error}"
            ) from error
        seconds = found.seconds | {"compile": found.seconds["compile"] + ready - began}
        record = xr.Dataset(attrs=seconds)
        draws = to_natural(target, found.points)
        return estimate_from_draws(model, data, draws, sample_stats=found.stats, record=record)
