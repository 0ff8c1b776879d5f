"""The calculus of verdicts: an equivalence test with both numbers' Monte Carlo errors.

With difference d = observed − expected, combined standard error e, practical bound b, the finest
difference r that must be seen, and z the two-sided normal quantile of the false-alarm rate 0.001:

* AGREE            |d| + z·e ≤ b            inside the bound even at the far end of the interval
* CONSISTENT       |d| ≤ z·e ≤ r            no difference seen, and one of r would have been
* EXPLAINED        neither, but a named theory predicts most of d and its value agrees
* DIFFER           |d| − z·e > b            outside the bound even at the near end, and more than
                                            noise parts it from what a named theory predicts
* UNSURE           the rest: says how many times more draws would decide
* NOT COMPARABLE   an input is missing, degenerate, not converged or undefined

Rows that are judged together, all of which must hold, share one false-alarm rate (`together`).
References: Schuirmann (1987), two one-sided tests, J. Pharmacokinet. Biopharm. 15, 657-680; Holm
(1979), Scand. J. Statist. 6, 65-70.
"""

import re
from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass, replace
from math import ceil, inf, isfinite, nan
from numbers import Real
from statistics import NormalDist
from typing import Any, Literal, final, get_args

from comparisons.policy import FAMILY, PRACTICAL, Z
from models.errors import ConfigError, shown

type Outcome = Literal["AGREE", "CONSISTENT", "EXPLAINED", "DIFFER", "UNSURE", "NOT COMPARABLE"]

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome.__value__)
"""Every outcome, in the order in which they are counted."""
HOLDS: tuple[Outcome, ...] = OUTCOMES[:3]
"""The outcomes of a claim that holds."""

AGAINST = "{quantity} of {parameter}: {method} − {reference}"
"""The claim that a number of a method is that of another."""
PARTED = "{quantity}: {method} − {reference}"
"""The same of a number that is of no one parameter."""
_FIELD = re.compile(r"\{(quantity|parameter|method|reference|n)\}")


@final
@dataclass(frozen=True, slots=True)
class Verdict:
    """One checked statement.

    Attributes:
        claim: what is compared, a sentence in which `{quantity}`, `{parameter}`, `{method}`,
            `{reference}` and `{n}` stand for the fields of that name.
        observed: the number under test.
        expected: what it should be, same units.
        error: their combined Monte Carlo standard error, same units; 0 if both are exact.
        bound: the largest difference that does not matter in practice, same units.
        relation: `equal` (|d| ≤ bound) or `at_least` (observed ≥ expected − bound).
        cause: a sentence: the theory that predicts `predicted`, or why nothing can be compared.
        predicted: what the theory named in `cause` predicts for `observed`; None if none does.
        prediction_error: how far the prediction may be off (its own error and next-order terms),
            same units.
        quantity: what was measured: `mean`, `coverage of the 90 % interval`; "" if the claim says.
        parameter: flat name of the reported quantity that it was measured of; "" if of none.
        method: label of the method under test; "" if none is.
        reference: label of the method, or name of the number, that it is held against.
        n: number of units of the data; None where it is that of the case.
        statement: the sentence of a theory of which the claim is an instance; "" without one.
        fixed: the part of `error` that more draws or replicates do not make smaller.
        z: the normal quantile of the false-alarm rate.
        resolution: the finest difference that must have been seen for none to be seen to count,
            same units; 0 where only agreement counts.
        tolerance: the factor that is in `bound` and `resolution`.
    """

    claim: str
    observed: float
    expected: float
    error: float
    bound: float
    relation: Literal["equal", "at_least"] = "equal"
    cause: str = ""
    predicted: float | None = None
    prediction_error: float = 0.0
    _: KW_ONLY
    quantity: str = ""
    parameter: str = ""
    method: str = ""
    reference: str = ""
    n: int | None = None
    statement: str = ""
    fixed: float = 0.0
    z: float = Z
    resolution: float = 0.0
    tolerance: float = 1.0

    def __post_init__(self) -> None:
        """A number that is not there is a reason, where no other is given."""
        numbers = ("observed", "expected", "error", "bound")
        missing = [name for name in numbers if not isfinite(getattr(self, name))]
        if missing and not self.cause:
            object.__setattr__(self, "cause", f"no finite number: {', '.join(missing)}")

    @property
    def about(self) -> str:
        """The claim as a sentence, with both sides named: `sd of mu: nuts[pymc] − laplace`."""
        return _FIELD.sub(lambda field: str(getattr(self, field[1])), self.claim)

    @property
    def title(self) -> str:
        """The theory's statement with what was compared, which tells it from its other claims."""
        relation = ", at least" if self.relation == "at_least" else ""
        return f"{self.statement.rstrip('.')} ({self.about}{relation})"

    @property
    def outcome(self) -> Outcome:
        """The verdict by the rules above."""
        if not all(map(isfinite, (self.observed, self.expected, self.error, self.bound))):
            return "NOT COMPARABLE"
        difference, blur = self.excess, self.z * self.error
        if difference + blur <= self.bound:
            return "AGREE"
        if difference <= blur <= self.resolution:
            return "CONSISTENT"
        left = self._unexplained
        if left < 0 and self._foreseen:
            return "EXPLAINED"
        perhaps = left < blur and self._foreseen
        return "DIFFER" if difference - blur > self.bound and not perhaps else "UNSURE"

    @property
    def remedy(self) -> str:
        """For UNSURE: how many times more draws or replicates would decide it."""
        if self.outcome != "UNSURE":
            return ""
        if 2 * self.fixed**2 > self.error**2:
            return "most of its error is not from draws, so that more of them do not decide"
        blur = self.z * self.error
        beyond = self.excess - blur > self.bound  # what a theory does not account for decides
        margin = self._unexplained if beyond else abs(self.bound - self.excess)
        factor = (blur / margin) ** 2 if margin else inf
        enough = ceil((blur / self.resolution) ** 2) if self.resolution else inf
        if enough < factor and self.excess <= blur / enough**0.5:
            factor = enough  # after which no difference is seen, and one that matters would be
        if factor > PRACTICAL and margin < 0.05 * self.bound:
            return "the difference sits on the bound: no practical number of draws decides"
        return f"about {ceil(factor):,} times as many draws would decide"

    @property
    def excess(self) -> float:
        """How far the number under test is off, which the bound is for."""
        difference = self.observed - self.expected
        return abs(difference) if self.relation == "equal" else -difference

    @property
    def _foreseen(self) -> bool:
        """Whether a theory predicts a departure, and its number may be the observed one."""
        if self.predicted is None or not abs(self.predicted - self.expected) > 0:
            return False
        left = abs(self.observed - self.predicted)
        return left <= self.z * self.error + self.prediction_error

    @property
    def _unexplained(self) -> float:
        """By how much more than half of the departure the theory is off; below 0 if it explains."""
        if self.predicted is None:
            return inf
        return abs(self.observed - self.predicted) - 0.5 * abs(self.observed - self.expected)

    @property
    def bounds_off(self) -> float:
        """The same in bounds as they are without a tolerance; 0 where it is not known."""
        return self.excess * self.tolerance / self.bound if isfinite(self.observed) else 0.0


def not_comparable(claim: str, cause: str, **fields: Any) -> Verdict:
    """A verdict that says why nothing could be compared; `fields` are further ones of Verdict."""
    return Verdict(claim, nan, nan, nan, nan, cause=cause, **fields)


def at_tolerance(verdicts: Iterable[Verdict], tolerance: float) -> tuple[Verdict, ...]:
    """Verdicts whose practical bounds are so many times as wide, and what must have been seen.

    Raises:
        ConfigError: the factor is not above 0 and finite.
    """
    if not isinstance(tolerance, Real) or not 0 < tolerance < 1e300:
        raise ConfigError(f"tolerance is {shown(tolerance)}; expected > 0 and finite")
    t = float(tolerance)
    return tuple(
        replace(row, bound=t * row.bound, resolution=t * row.resolution, tolerance=t)
        for row in verdicts
    )


def together(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """The m verdicts that a test suite demands of all at once, each at level α/m.

    A family is rejected if its smallest p-value is below α/m, which is Holm's first step.
    """
    rows = list(verdicts)
    z = NormalDist().inv_cdf(1 - FAMILY / (2 * max(1, len(rows))))
    return [replace(row, z=z) for row in rows]
