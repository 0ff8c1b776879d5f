"""`pymc_extras.fit_laplace()`: a Gaussian where its BFGS ends, with the running inverse Hessian.

It maximises on the natural scale, without the Jacobian, and puts its Gaussian into the
unconstrained space.
Reference: Tierney & Kadane (1986), JASA 81.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, final

from inference.engines._pymc_extras import PymcExtrasEngine
from inference.method import Kind


@final
@dataclass(frozen=True)
class PymcExtrasLaplace(PymcExtrasEngine):
    """pymc-extras' Laplace approximation, `fit_laplace()`, with 10,000 draws."""

    name: ClassVar[str] = "pymc_extras_laplace"
    kind: ClassVar[Kind] = "laplace"

    def tree(self, seed: int) -> Any:
        from pymc_extras.inference import fit_laplace

        return fit_laplace(random_seed=seed, progressbar=False, draws=10_000)
