"""`SVI(program, guide, Adam)`: stochastic variational inference as NumPyro's users call it.

A guide is fitted to the posterior by noisy gradients of the ELBO.  `adam` is what tutorials do, a
fixed rate of 0.01 for 10,000 steps; `decayed` goes on to 20,000 and lets the rate fall a
thousandfold over 10,000 more.  Several runs with keys of their own tell the optimiser's noise.
References: Hoffman, Blei, Wang & Paisley (2013), JMLR 14; Kingma & Ba (2015), ICLR.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, final

from inference.engine import Law
from inference.engines._numpyro import Guide
from inference.method import Profile, derived
from inference.posterior.draws import CHAINS

_FAMILIES = {"AutoNormal": "mean_field", "AutoMultivariateNormal": "full_rank"}
"""Of the guides whose best member is known; the others run in the profile `thorough`."""
_FIRST = ("AutoNormal", "adam")  # what the profile `quick` runs


@final
@dataclass(frozen=True)
class NumpyroSVI(Guide, Law):
    """NumPyro's own SVI, `SVI(program, AutoNormal(program), Adam(0.01), Trace_ELBO())`; see `Law`.

    Attributes:
        guide: the class of the guide, of `numpyro.infer.autoguide`.
        schedule: `adam`, a fixed rate for 10,000 steps, or `decayed`, for 30,000.
    """

    guide: Literal[
        "AutoNormal", "AutoMultivariateNormal", "AutoLowRankMultivariateNormal", "AutoIAFNormal"
    ] = "AutoNormal"
    schedule: Literal["adam", "decayed"] = "adam"

    name: ClassVar[str] = "numpyro_svi"
    family = derived(lambda self: _FAMILIES.get(self.guide, ""))
    samples = derived(lambda self: CHAINS * self.draws)

    @derived
    def begins(self) -> Profile:
        if (self.guide, self.schedule) == _FIRST:
            return "quick"
        return "standard" if self.family else "thorough"
