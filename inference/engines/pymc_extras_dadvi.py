"""`pymc_extras.fit_dadvi()`: a mean field fitted to the ELBO of thirty fixed draws.

The draws stay the same, so that an optimiser ends; several runs tell the error that they make.
Reference: Giordano, Ingram & Broderick (2024), JMLR 25.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, final

from inference.engine import Law
from inference.engines._pymc_extras import PymcExtrasEngine
from inference.posterior.draws import CHAINS


@final
@dataclass(frozen=True)
class PymcExtrasDADVI(PymcExtrasEngine, Law):
    """pymc-extras' deterministic ADVI, `fit_dadvi()`; its settings are those of `Law`."""

    name: ClassVar[str] = "pymc_extras_dadvi"
    family: ClassVar[str] = "mean_field"  # pyright: ignore[reportIncompatibleVariableOverride]

    def tree(self, seed: int) -> Any:
        from pymc_extras.inference import fit_dadvi

        return fit_dadvi(random_seed=seed, progressbar=False, n_draws=CHAINS * self.draws)
