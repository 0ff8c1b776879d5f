"""`AutoLaplaceApproximation`: NumPyro's Laplace approximation, whose mode is where Adam stops.

Reference: Tierney & Kadane (1986), JASA 81.
"""

from dataclasses import dataclass
from typing import ClassVar, final

from inference.engines._numpyro import Guide
from inference.method import Kind, Profile


@final
@dataclass(frozen=True)
class NumpyroLaplace(Guide):
    """NumPyro's own Laplace approximation, `AutoLaplaceApproximation`, by Adam(0.01)."""

    name: ClassVar[str] = "numpyro_laplace"
    kind: ClassVar[Kind] = "laplace"
    begins: ClassVar[Profile | None] = "standard"
    guide = "AutoLaplaceApproximation"
    samples = 10_000
