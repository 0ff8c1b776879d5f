"""Maximum likelihood: θ̂ = argmax Σ_i log p(x_i | θ), no prior, no Jacobian.

Consistent, asymptotically normal and efficient: √N(θ̂ − θ₀) → N(0, I(θ₀)⁻¹).  Its standard errors
come from the observed information.
Reference: van der Vaart (1998), Asymptotic Statistics, ch. 5.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, final

from inference.information.derivatives import Objective
from inference.optimisation.starts import Optimiser


@final
@dataclass(frozen=True)
class MaximumLikelihood(Optimiser):
    """Many-start optimisation of the likelihood.

    Its settings are those of `Search`.
    """

    name: ClassVar[str] = "maximum_likelihood"
    target: ClassVar[Literal["likelihood", "posterior"]] = "likelihood"
    objective: ClassVar[Objective] = "likelihood"
