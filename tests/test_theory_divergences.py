"""Quadratures against closed forms, both optima, and the entry's planted bugs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.stats import norm

from comparisons.theory import divergences
from comparisons.theory._minima import minimum
from comparisons.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from comparisons.exhibits import Shown


def verdicts(shown: Iterator[Shown]) -> list[Verdict]:
    return [one for one in shown if isinstance(one, Verdict)]


@pytest.mark.statistical
def test_every_claim_holds() -> None:
    found = verdicts(divergences.show(np.random.default_rng(1), 1))
    assert len(found) == 15
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
    law = minimum(divergences.reverse, np.array([4.0, 0.5]))
    place, scale = divergences.on_one_mode()
    small = divergences.overlap()
    # first-order terms are below 1e-4 here, and so second-order ones below 1e-6
    assert abs(small.first) + abs(small.second) < 1e-4
    np.testing.assert_allclose([law[0], np.exp(law[1])], [place, scale], atol=1e-6)


def test_arguments_the_wrong_way_round_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    forward, reverse = divergences.forward, divergences.reverse
    monkeypatch.setattr(divergences, "forward", reverse)
    monkeypatch.setattr(divergences, "reverse", forward)
    found = verdicts(divergences.compared(*divergences.optima()))
    outcomes = {verdict.about: verdict.outcome for verdict in found}
    assert outcomes["mass of the reverse optimum beyond 0"] == "DIFFER"
    assert outcomes["KL(q ‖ p) at the optimum of KL(q ‖ p), nats"] == "DIFFER"


def test_one_optimum_for_both_directions_is_caught() -> None:
    covers, _ = divergences.optima()
    found = verdicts(divergences.compared(covers, covers))
    assert [v.outcome for v in found if "other direction" in v.about] == ["DIFFER"] * 2
