"""Every practical bound and level by which something is judged.

A bound is the largest difference that does not matter in practice, in the units that it names; a
level is the probability of a false alarm, or of what an interval holds.
"""

from __future__ import annotations

Z = 3.2905267314919255
"""Two-sided normal quantile at a false-alarm rate of 0.001."""

PRACTICAL = 1_000
"""More than so many times the draws, for a difference next to the bound, is no advice."""
