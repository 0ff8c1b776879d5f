"""Maximum a posteriori on the natural scale: argmax ℓ(θ) + log π(θ), prior but no Jacobian.

Under a Gaussian prior it is maximum likelihood with an L2 penalty.  The mode of the unconstrained
posterior is another estimator (see `laplace`).  Its standard errors are those of the
curvature of the penalised likelihood.
Reference: Gelman et al. (2013), Bayesian Data Analysis, §13.1-13.2.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, final

from inference.information.derivatives import Objective
from inference.optimisation.starts import Optimiser


@final
@dataclass(frozen=True)
class MaximumAPosteriori(Optimiser):
    """Many-start optimisation of likelihood times prior on the natural scale.

    Its settings are those of `Search`.
    """

    name: ClassVar[str] = "maximum_a_posteriori"
    target: ClassVar[Literal["likelihood", "posterior"]] = "posterior"
    objective: ClassVar[Objective] = "joint"
