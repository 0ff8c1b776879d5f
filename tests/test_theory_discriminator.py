"""The best discriminator: its closed form, and that a wrong value is caught."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from jax.nn import sigmoid

from comparisons.theory import discriminator
from comparisons.theory._claims import Measured
from comparisons.verdict import Verdict


def outcomes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(discriminator, "UPDATES", 300)
    monkeypatch.setattr(discriminator, "N", 1_000)
    shown = discriminator.show(np.random.default_rng(0), 1)
    return [one.outcome for one in shown if isinstance(one, Verdict)]


def test_newton_finds_the_share_of_p_at_every_point() -> None:
    p, q = jnp.asarray([0.5, 1e-8, 0.3, 2.0]), jnp.asarray([0.5, 0.2, 1e-9, 1.0])
    found = sigmoid(discriminator.pointwise_maximum(p, q))
    np.testing.assert_allclose(found, p / (p + q), rtol=0, atol=1e-12)


def test_all_claims_but_that_of_a_long_training_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    found = outcomes(monkeypatch)
    assert found[:4] + found[5:] == ["AGREE"] * 5


def test_a_value_without_the_other_law_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    value = discriminator.value
    monkeypatch.setattr(discriminator, "value", lambda f, p, q: value(f, p, 0 * q))
    assert outcomes(monkeypatch)[1:3] == ["DIFFER"] * 2


def test_discriminators_that_have_learnt_nothing_or_too_much_are_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nothing = lambda *_: (lambda x: 0 * x[:, 0], ())  # noqa: E731
    monkeypatch.setattr(discriminator, "trained", nothing)
    assert outcomes(monkeypatch)[3:] == ["AGREE", "DIFFER", "AGREE"]
    judged = discriminator.judged
    monkeypatch.setattr(
        discriminator, "judged", lambda *args: Measured(judged(*args).value + 0.6, 0.001)
    )
    assert outcomes(monkeypatch)[5] == "DIFFER"


def test_a_wrong_bound_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discriminator, "bound", lambda d: 2 * d - np.log(2))
    assert outcomes(monkeypatch)[1] == "DIFFER"
