"""A claim of the theory: the number that it predicts and the one measured, as a verdict."""

from typing import Any, SupportsFloat

from comparisons.theory._estimates import Measured
from comparisons.verdict import Verdict, not_comparable


def equal(
    statement: str,
    about: str,
    found: Measured | SupportsFloat,
    expected: float,
    bound: float,
    **explained: Any,
) -> Verdict:
    """The claim that a number is what theory predicts.

    Args:
        statement: a sentence of the theory that can be true or false, without the numbers.
        about: what is compared, with units.
        found: the number measured; alone it has no error.
        expected: the prediction, same units.
        bound: the largest difference that does not matter in practice, same units.
        **explained: `cause` and `predicted` of a departure that theory predicts, too.
    """
    value, error = found if isinstance(found, Measured) else (found, 0.0)
    numbers = float(value), float(expected), float(error), float(bound)
    return Verdict(about, *numbers, **explained, statement=statement)


def at_least(
    statement: str, about: str, found: Measured | SupportsFloat, least: float, slack: float = 0.0
) -> Verdict:
    """The claim that a number is no less than another.

    Args:
        statement: a sentence of the theory that can be true or false, without the numbers.
        about: what is compared, with units.
        found: the number measured; alone it has no error.
        least: what it is to reach, same units.
        slack: how far below does not matter in practice, same units.
    """
    return equal(statement, about, found, least, slack, relation="at_least")


def missing(statement: str, about: str, cause: str) -> Verdict:
    """The claim that could not be checked, and why."""
    return not_comparable(about, cause, statement=statement)
