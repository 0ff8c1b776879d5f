"""Quadratures against closed forms, both optima, and the entry's planted bugs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.stats import norm

from comparisons.theory import divergences
from comparisons.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from comparisons.exhibits import Shown


def verdicts(shown: Iterator[Shown]) -> list[Verdict]:
    return [one for one in shown if isinstance(one, Verdict)]


@pytest.mark.statistical
def test_every_claim_holds() -> None:
    found = verdicts(divergences.show(np.random.default_rng(1), 1))
    assert len(found) == 22
    assert {verdict.outcome for verdict in found} == {"AGREE"}


def test_the_divergence_of_normals_is_its_closed_form() -> None:
    p, q = jnp.array([1.0, 0.3]), jnp.array([-0.5, 0.1])
    found = divergences.divergence(divergences.normal(p), divergences.normal(q))
    closed = q[1] - p[1] + (jnp.exp(2 * p[1]) + 1.5**2) / (2 * jnp.exp(2 * q[1])) - 0.5
    assert float(found) == pytest.approx(float(closed), abs=1e-12)


def test_the_target_is_a_law_with_the_stated_moments() -> None:
    weight = jnp.exp(divergences.log_target(divergences.NODES)) * divergences.STEP
    assert float(weight.sum()) == pytest.approx(1, abs=1e-12)
    assert float(weight @ divergences.NODES**2) == pytest.approx(10, abs=1e-11)


def test_derivatives_of_the_overlap() -> None:
    def value(place: float) -> float:
        weight = np.exp(norm.logpdf(divergences.NODES, place)) * divergences.STEP
        return float(weight @ np.logaddexp(0.0, -2 * divergences.MODE * divergences.NODES))

    small, step = divergences.overlap(), 1e-3
    up, here, down = (value(divergences.MODE + away) for away in (step, 0.0, -step))
    assert small.value == pytest.approx(here, abs=1e-14)
    # differences of a smooth function are off by step² times a higher derivative of order 1
    assert small.first == pytest.approx((up - down) / (2 * step), abs=step**2)
    assert small.second == pytest.approx((up - 2 * here + down) / step**2, abs=step**2)


def test_the_modes_apart_leave_nothing_to_first_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(divergences, "MODE", 5.0)
    law = divergences.nearest(divergences.reverse, 4.0)
    assert law is not None
    place, scale = divergences.on_one_mode()
    small = divergences.overlap()
    # first-order terms are below 1e-4 here, and so second-order ones below 1e-6
    assert abs(small.first) + abs(small.second) < 1e-4
    np.testing.assert_allclose([law[0], np.exp(law[1])], [place, scale], atol=1e-6)


def test_arguments_the_wrong_way_round_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    forward, reverse = divergences.forward, divergences.reverse
    monkeypatch.setattr(divergences, "forward", reverse)
    monkeypatch.setattr(divergences, "reverse", forward)
    covers = divergences.nearest(divergences.forward, 1.0)
    seeks = divergences.nearest(divergences.reverse, 2.0)
    assert covers is not None
    assert seeks is not None
    wrong = [v.about for v in verdicts(divergences._compared(covers, seeks))]
    found = [v.outcome for v in verdicts(divergences._compared(covers, seeks))]
    assert found[wrong.index("mass of the reverse optimum beyond 0")] == "DIFFER"
    assert found[wrong.index("KL(q ‖ p) at the optimum of KL(q ‖ p), nats")] == "DIFFER"


def test_one_optimum_for_both_directions_is_caught() -> None:
    covers = divergences.nearest(divergences.forward, 1.0)
    assert covers is not None
    found = verdicts(divergences._compared(covers, covers))
    assert [v.outcome for v in found if "other direction" in v.about] == ["DIFFER"] * 2


def test_other_shares_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(divergences, "SHARES", (0.01, 0.99))
    covers = divergences.nearest(divergences.forward, 1.0)
    seeks = divergences.nearest(divergences.reverse, 2.0)
    assert covers is not None
    assert seeks is not None
    right = divergences._nearest_between
    wrong = {
        "the wrong way round": lambda share: 1 - share,
        "twice as far from the end": lambda share: 2 * share - round(share),
    }
    for bug in wrong.values():
        moved = {bug(share): share for share in divergences.SHARES}
        laws = {moved[share]: law for share, law in right(list(moved)).items()}
        monkeypatch.setattr(divergences, "_nearest_between", lambda _, laws=laws: laws)
        found = verdicts(divergences._interpolated(covers, seeks))
        deviations = [v.outcome for v in found if "standard deviation of least" in v.about]
        assert deviations == ["DIFFER"] * 2


def test_one_half_forgotten_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = divergences.jensen_shannon
    monkeypatch.setattr(divergences, "jensen_shannon", lambda p, q, share=0.5: 2 * right(p, q))
    found = {v.about[:11]: v.outcome for v in verdicts(divergences._jensen_shannon())}
    assert found["JSD of the "] == "DIFFER"
    assert found["log 2 − the"] == "DIFFER"
