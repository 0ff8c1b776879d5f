"""The No-U-Turn sampler: NumPyro's kernel in our loop, on the density of either program.

Hamiltonian dynamics that stop when they turn back on themselves.  Draws are from
exp(log posterior(u)) in the unconstrained space of the program that `engine` names, log-Jacobian
included, with step size and mass matrix adapted while warming up.  Chains run in threads, one
compiled function for all, each from its own data-driven start; the mass matrix is dense while there
are ten warm-up draws per coordinate to estimate it from.  Where transitions diverge, the chains run
again with shorter steps; where they disagree or tell too little, they go on from where they are.
The libraries' own calls are engines (`inference.engines`).
References: Hoffman & Gelman (2014), JMLR 15; Betancourt (2017), arXiv:1701.02434.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, final

import numpy as np
import xarray as xr
from annotated_types import Ge

from inference.estimate import Estimate
from inference.method import Kind, Method, derived
from inference.posterior.chains import Tuning, numpyro_chains, starting_points
from inference.posterior.diagnostics import DIVERGENT, ESS, R_HAT
from inference.posterior.draws import estimate_from_draws
from inference.posterior.points import to_natural
from inference.threads import fitting
from models.capabilities import HasDistortion
from models.programs.density import density
from models.settings import Count, Share
from models.spec import Model

SHORT_STEPS = 0.99  # mean acceptance probability of a second run, where too many diverged
TIMES = 4  # chains that tell too little go on until they have so many times the draws asked for


@final
@dataclass(frozen=True)
class NUTS(Method):
    """Draws from the posterior by the No-U-Turn sampler.

    Attributes:
        engine: whose program and transforms: `numpyro` or `pymc`.
        chains: independent chains.
        warm_up: draws of each chain spent on adaptation and dropped.
        draws: draws kept of each chain, or up to four times as many.
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
        with fitting(f"sampling from the {self.engine} program of {model.name}"):
            return self._fit(model, data, rng)

    def _fit(self, model: Model, data: xr.Dataset, rng: np.random.Generator) -> Estimate:
        tuning = Tuning(self.chains, self.warm_up, self.draws, self.target_accept)
        target, began = density(model, data, self.engine), time.perf_counter()
        starts = starting_points(target, rng, self.chains)
        found, lost = numpyro_chains(target, starts, tuning, rng), 0.0
        if found.stats["diverging"].mean() > DIVERGENT and self.target_accept < SHORT_STEPS:
            tuning, lost = tuning._replace(target_accept=SHORT_STEPS), time.perf_counter() - began
            found = numpyro_chains(target, starts, tuning, rng)
        while True:
            seconds = found.seconds | {"warm_up": found.seconds["warm_up"] + lost}
            record = xr.Dataset(attrs={**seconds, "target_accept": tuning.target_accept})
            draws, stats = to_natural(target, found.points), found.stats
            fit = estimate_from_draws(model, data, draws, sample_stats=stats, record=record)
            told = fit.record.attrs
            short = told.get("rhat", 1.0) >= R_HAT or told.get("ess", ESS) < ESS
            if not short or found.points.shape[1] >= TIMES * self.draws:
                break
            found = found.more()
        if isinstance(model, HasDistortion):
            points = {name: np.reshape(x, (-1, *x.shape[2:])) for name, x in draws.items()}
            problem = model.distortion(points, data)
            fit = replace(fit, problems=(*fit.problems, *([problem] if problem else [])))
        return fit
