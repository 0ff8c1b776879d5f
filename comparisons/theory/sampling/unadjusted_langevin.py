"""Unadjusted Langevin: x′ = x + h ∇log p(x) + √(2h) ξ, the Euler step of dX = ∇log p dt + √2 dW.

Its stationary law is off by O(h).  On N(m, σ²) it is the linear recursion v′ = (1 − h/σ²)² v + 2h
for the variance, whose fixed point is σ²/(1 − h/(2σ²)).  It asks for the score alone, which may be
a learnt one.
References: Roberts & Tweedie (1996), Bernoulli 2; Durmus & Moulines (2017), Ann. Appl. Probab. 27.
"""

from typing import ClassVar, final

from comparisons.theory.sampling import Chain


@final
class UnadjustedLangevin(Chain):
    """Unadjusted Langevin."""

    adjusted: ClassVar[bool] = False
    exact: ClassVar[bool] = False
