"""`pymc_extras.find_MAP()`: the maximum a posteriori on the natural scale, without the Jacobian."""

from dataclasses import dataclass
from typing import Any, ClassVar, final

from inference.engines._pymc_extras import PymcExtrasEngine
from inference.method import Kind


@final
@dataclass(frozen=True)
class PymcExtrasFindMAP(PymcExtrasEngine):
    """pymc-extras' MAP, `find_MAP()`: L-BFGS-B from PyMC's initial point."""

    name: ClassVar[str] = "pymc_extras_find_map"
    kind: ClassVar[Kind] = "optimum"

    def tree(self, seed: int) -> Any:
        from pymc_extras.inference import find_MAP

        return find_MAP(random_seed=seed, progressbar=False)
