"""Metropolis-adjusted Langevin: x′ ~ N(x + h ∇log p(x), 2hI), accepted or not as Hastings has it.

Exact in the limit whatever the step: acceptance removes the bias of the discretised diffusion.
Reference: Roberts & Tweedie (1996), Bernoulli 2.
"""

from typing import final

from comparisons.theory.sampling import Chain


@final
class AdjustedLangevin(Chain):
    """Metropolis-adjusted Langevin."""
