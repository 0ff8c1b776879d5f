"""The calculus of verdicts: every outcome, its boundary, its remedy and its false-alarm rate."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import binom

from comparisons.policy import PRACTICAL, Z
from comparisons.verdict import HOLDS, Verdict, at_tolerance, not_comparable, together
from models.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

numbers = st.floats(-1e6, 1e6)
sizes = st.floats(0, 1e6)


def verdict(
    observed: float, error: float, *, bound: float = 1.0, predicted: float | None = None
) -> Verdict:
    return Verdict("x", observed, 0.0, error, bound, predicted=predicted, resolution=2.5 * bound)


@pytest.mark.parametrize(
    ("observed", "error", "outcome"),
    [
        (0.0, 0.0, "AGREE"),
        (0.5, 0.1, "AGREE"),
        (1.0, 0.0, "AGREE"),
        (-1.0, 0.0, "AGREE"),
        (1.0, 1e-9, "UNSURE"),
        (np.nextafter(1.0, 2.0), 0.0, "DIFFER"),
        (0.5, 0.2, "CONSISTENT"),
        (0.0, 2.5 / Z, "CONSISTENT"),
        (0.0, 1.001 * 2.5 / Z, "UNSURE"),
        (0.7, 0.2, "UNSURE"),
        (1.5, 0.2, "UNSURE"),
        (1.5, 0.1, "DIFFER"),
        (-1.5, 0.1, "DIFFER"),
        (0.0, 1 / Z, "AGREE"),
    ],
)
def test_outcomes_and_their_boundaries(observed: float, error: float, outcome: str) -> None:
    assert verdict(observed, error).outcome == outcome


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_not_comparable(place: int, value: float) -> None:
    parts = [1.0, 1.0, 0.1, 0.5]
    parts[place] = value
    assert Verdict("x", *parts).outcome == "NOT COMPARABLE"


def test_not_comparable_says_why() -> None:
    found = not_comparable("sd of mu", "nuts did not converge")
    assert (found.outcome, found.about, found.cause, found.remedy) == (
        "NOT COMPARABLE",
        "sd of mu",
        "nuts did not converge",
        "",
    )


def test_the_sentence_is_composed_of_the_fields() -> None:
    claim = "{quantity} of {parameter}: {method} − {reference}, N = {n} {x}"
    sides = {"method": "nuts[pymc]", "reference": "{n}"}
    found = Verdict(claim, 1.0, 1.0, 0.1, 0.5, quantity="sd", parameter="mu[0]", n=5, **sides)
    assert found.about == "sd of mu[0]: nuts[pymc] − {n}, N = 5 {x}"
    assert Verdict(**asdict(found)) == found
    assert not_comparable(claim, "x", **sides).about == " of : nuts[pymc] − {n}, N = None {x}"


@given(numbers, numbers, sizes, sizes)
def test_the_rule_is_the_equivalence_test(a: float, b: float, error: float, bound: float) -> None:
    found = Verdict("x", a, b, error, bound, resolution=2.5 * bound)
    near, far = abs(a - b) - Z * error, abs(a - b) + Z * error
    assert (found.outcome == "AGREE") == (far <= bound)
    assert (found.outcome == "DIFFER") == (near > bound)
    if found.outcome not in ("AGREE", "DIFFER"):
        unseen = abs(a - b) <= Z * error <= 2.5 * bound
        assert found.outcome == ("CONSISTENT" if unseen else "UNSURE")


@given(numbers, numbers, sizes, sizes)
def test_both_sides_count_alike(a: float, b: float, error: float, bound: float) -> None:
    assert Verdict("x", a, b, error, bound).outcome == Verdict("x", b, a, error, bound).outcome


@given(numbers, sizes, st.floats(1, 1e3))
def test_more_error_never_turns_doubt_into_certainty(a: float, error: float, by: float) -> None:
    before, after = verdict(a, error).outcome, verdict(a, by * error).outcome
    assert after in (before, "UNSURE", "CONSISTENT")
    assert after != "AGREE" or before == "AGREE"


@given(st.floats(-3, 3), st.floats(1e-3, 10))
def test_the_remedy_of_unsure_decides(observed: float, error: float) -> None:
    found = verdict(observed, error)
    assume(found.outcome == "UNSURE")
    matched = re.search(r"about ([\d,]+) times", found.remedy)
    if matched is None:
        # so near to the bound that even a thousand times as many would not decide
        assert verdict(observed, error / math.sqrt(PRACTICAL)).outcome == "UNSURE"
        return
    times = int(matched[1].replace(",", ""))
    # one part in 10⁹ for rounding at the very boundary
    decided = verdict(observed, error / math.sqrt(times) * (1 - 1e-9)).outcome
    assert decided in ("AGREE", "CONSISTENT", "DIFFER")
    if times > 2:
        # nor is the number needlessly large: half of it does not decide
        assert verdict(observed, error / math.sqrt(times / 2)).outcome == "UNSURE"


def test_where_only_agreement_counts_none_seen_is_not_enough() -> None:
    """A coverage of 0.84 for 0.90 by 300 data sets: nothing that agrees, nor that may end early."""
    found = Verdict("x", 0.84, 0.90, 0.0212, 0.03)
    assert found.outcome == "UNSURE"
    assert "times as many" in found.remedy


def test_no_draws_are_advised_against_an_error_that_is_not_from_draws() -> None:
    found = Verdict("a claim", 0.09, 0.0, error=0.02, bound=0.1, fixed=0.019)
    assert found.outcome == "UNSURE"
    assert "more of them do not decide" in found.remedy
    assert "times as many" in replace(found, fixed=0.01).remedy


def test_only_unsure_has_a_remedy() -> None:
    assert verdict(0.0, 0.1).remedy == ""
    assert verdict(9.0, 0.1).remedy == ""


def test_no_number_of_draws_decides_on_the_bound() -> None:
    assert "no practical number of draws" in verdict(1.0, 0.1).remedy
    assert "no practical number of draws" in verdict(1.001, 0.1).remedy
    assert "times as many" in verdict(1.02, 0.1).remedy


def test_an_error_far_above_the_bound_is_told_in_numbers() -> None:
    # (Z · 100/2.5)² times as many bring Z errors down to what would have been seen
    assert verdict(0.0, 100.0).remedy == "about 17,325 times as many draws would decide"


def test_a_tolerance_scales_what_matters_and_what_must_be_seen() -> None:
    rows = [verdict(1.5, 0.1), verdict(0.9, 0.5)]
    assert [row.outcome for row in at_tolerance(rows, 1.0)] == ["DIFFER", "CONSISTENT"]
    assert [row.outcome for row in at_tolerance(rows, 2.0)] == ["AGREE", "CONSISTENT"]
    assert [row.outcome for row in at_tolerance(rows, 0.5)] == ["DIFFER", "UNSURE"]
    assert [at_tolerance(rows, t)[0].bounds_off for t in (0.5, 2.0)] == [rows[0].bounds_off] * 2
    for tolerance in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ConfigError, match="expected > 0 and finite"):
            at_tolerance(rows, tolerance)


def test_rows_that_are_judged_together_share_one_false_alarm_rate() -> None:
    """Normal differences of equal numbers: a family of 20 rows is rejected twice in 10,000."""
    rng = np.random.default_rng(0)
    rows, families = 20, 5_000
    off = np.abs(rng.standard_normal((families, rows))) * 0.5
    alone = sum(verdict(d, 0.5).outcome not in HOLDS for d in off.ravel())
    judged = [together(verdict(d, 0.5) for d in family) for family in off[:500]]
    assert alone > 60  # 100 expected of one row at a time, sd 10
    assert all(row.outcome in HOLDS for family in judged for row in family)
    assert together([verdict(0.3, 0.03)])[0].outcome == "AGREE"
    assert together([verdict(1.3, 0.03)] * 20)[0].outcome == "DIFFER"


@pytest.mark.parametrize(
    ("predicted", "outcome"), [(3.0, "EXPLAINED"), (None, "DIFFER"), (-3.0, "DIFFER")]
)
def test_a_theory_explains_only_the_size_it_predicts(predicted: float | None, outcome: str) -> None:
    assert verdict(3.0, 0.1, predicted=predicted).outcome == outcome


def test_a_prediction_of_the_wrong_size_explains_nothing() -> None:
    assert verdict(3.0, 0.0, predicted=6.0).outcome == "DIFFER"


def test_the_error_of_the_prediction_counts() -> None:
    vague = Verdict("x", 3.0, 0.0, 0.0, 1.0, predicted=4.0, prediction_error=2.0)
    assert vague.outcome == "EXPLAINED"
    sharp = Verdict("x", 3.0, 0.0, 0.0, 1.0, predicted=4.0, prediction_error=0.5)
    assert sharp.outcome == "DIFFER"


def test_a_theory_that_predicts_no_departure_explains_none() -> None:
    vague = Verdict("x", 3.0, 0.0, 0.0, 1.0, predicted=0.0, prediction_error=5.0)
    assert vague.outcome == "DIFFER"


def test_a_departure_that_noise_alone_parts_from_its_prediction_is_unsure() -> None:
    """The sd of a heavy tail of which some draws are seen, and by importance sampling none."""
    seen = Verdict("x", 0.290, 0.163, 0.027, 0.016, predicted=0.215, prediction_error=0.02)
    assert seen.outcome == "UNSURE"
    assert seen.remedy == "about 60 times as many draws would decide"
    assert replace(seen, predicted=0.163).outcome == "DIFFER"  # predicts nothing
    assert replace(seen, error=0.003).outcome == "DIFFER"


def test_a_prediction_does_not_touch_what_agrees() -> None:
    assert verdict(0.5, 0.1, predicted=99.0).outcome == "AGREE"


@pytest.mark.parametrize(
    ("observed", "outcome"), [(99.0, "AGREE"), (0.0, "AGREE"), (-0.9, "UNSURE"), (-2.0, "DIFFER")]
)
def test_at_least_is_one_sided(observed: float, outcome: str) -> None:
    found = Verdict("x", observed, 0.0, 0.1, 1.0, relation="at_least")
    assert found.outcome == outcome


def by_rule(observed: float, error: float) -> bool:
    return verdict(observed, error).outcome == "DIFFER"


def without_error(observed: float, error: float) -> bool:
    """A planted bug: the Monte Carlo error is forgotten."""
    return not abs(observed) <= 1.0


def false_alarms_are_rare(says_differ: Callable[[float, float], bool]) -> bool:
    """Whether a true difference on the bound, the worst case, is a false alarm at most at α/2."""
    trials, error = 20_000, 0.3
    drawn = np.random.default_rng(0).normal(1.0, error, trials)
    alarms = sum(says_differ(float(observed), error) for observed in drawn)
    # rate 0.0005: the upper tail of the interval, whose two-sided rate is 0.001
    return bool(binom.ppf(1e-4, trials, 0.0005) <= alarms <= binom.ppf(1 - 1e-4, trials, 0.0005))


def test_the_false_alarm_rate_is_the_named_one() -> None:
    assert false_alarms_are_rare(by_rule)


def test_a_rule_that_forgets_the_error_is_caught() -> None:
    assert not false_alarms_are_rare(without_error)


def test_agreement_is_as_rarely_wrong() -> None:
    trials, error = 20_000, 0.3
    drawn = np.random.default_rng(1).normal(1.0, error, trials)
    agreed = sum(verdict(float(observed), error).outcome == "AGREE" for observed in drawn)
    # here the bound is just over three errors wide on either side, so agreement is hardly reachable
    assert agreed <= binom.ppf(1 - 1e-4, trials, 0.0005)
