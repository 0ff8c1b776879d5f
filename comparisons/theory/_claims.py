"""Claims of the theory as verdicts: numbers measured, with their errors, and those predicted."""

from collections.abc import Sequence
from functools import partial
from typing import Literal, NamedTuple, Self, SupportsFloat

import numpy as np

from comparisons.exhibits import Numbers
from comparisons.replicated import ladder
from comparisons.replicated.ladder import Rung, line
from comparisons.verdict import Verdict, not_comparable
from models.errors import FitError

COUNT = 0.5  # difference of two whole numbers that are the same
SHARE = 0.01  # difference of a share that does not matter


class Measured(NamedTuple):
    """A number and its Monte Carlo standard error, in the same units."""

    value: float
    error: float = 0.0

    def per(self, unit: float) -> Self:
        """The same in another unit."""
        return self._replace(value=float(self.value / unit), error=float(self.error / abs(unit)))

    def less(self, shift: float) -> Self:
        """The difference from a number without error."""
        return self._replace(value=float(self.value - shift))


def mean(values: np.ndarray) -> Measured:
    """The mean of independent replicates, shape (R,)."""
    return Measured(float(values.mean()), float(values.std(ddof=1) / np.sqrt(values.size)))


def slope(x: np.ndarray, y: np.ndarray, error: np.ndarray | float = 0.0) -> Measured:
    """The slope of a straight line by least squares through points of so large errors in y."""
    return Measured(*line(x, y, error))


def power(sizes: Sequence[int], values: Sequence[Measured]) -> Measured:
    """The slope of log |value| against log size, weighted by inverse squares of relative errors."""
    return Measured(*ladder.slope([Rung(n, *one) for n, one in zip(sizes, values, strict=True)]))


def order(sizes: Numbers, errors: Numbers) -> float:
    """The slope of log error against log size between the last two; NaN if the sign changes."""
    ratio = errors[-2] / errors[-1]
    return float(np.log(ratio) / np.log(sizes[-2] / sizes[-1])) if ratio > 0 else float("nan")


def equal(
    statement: str,
    about: str,
    found: Measured | SupportsFloat,
    expected: float,
    bound: float,
    relation: Literal["equal", "at_least"] = "equal",
) -> Verdict:
    """The claim that a number is what theory predicts.

    Args:
        statement: a sentence of the theory that can be true or false, without the numbers.
        about: what is compared, with units.
        found: the number measured; alone it has no error.
        expected: the prediction, same units.
        bound: the largest difference that does not matter in practice, same units.
        relation: what is claimed; see `Verdict`.

    Raises:
        FitError: neither an error nor a bound says how far off the number may be.
    """
    value, error = found if isinstance(found, Measured) else (found, 0.0)
    if bound == error == 0:
        raise FitError(f"{about}: a number without an error needs a bound")
    numbers = float(value), float(expected), float(error), float(bound)
    return Verdict(about, *numbers, relation, statement=statement)


at_least = partial(equal, relation="at_least")
"""The claim that a number is no less than another, or not by more than a bound."""


def missing(statement: str, about: str, problems: Sequence[str]) -> Verdict:
    """The claim that could not be checked, and why."""
    return not_comparable(about, "; ".join(problems), statement=statement)
