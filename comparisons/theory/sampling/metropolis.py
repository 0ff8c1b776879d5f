"""Random-walk Metropolis: x′ ~ N(x, 2hI), accepted with probability min{1, p(x′)/p(x)}.

Exact in the limit; needs the density up to a constant.
Reference: Metropolis, Rosenbluth, Rosenbluth, Teller & Teller (1953), J. Chem. Phys. 21.
"""

from dataclasses import dataclass
from typing import ClassVar, final

from comparisons.theory.sampling import Chain


@final
@dataclass(frozen=True)
class Metropolis(Chain):
    """Random-walk Metropolis."""

    step: float = 1.5

    drift: ClassVar[bool] = False
