"""Charts, flows, ranks and Kronecker blocks against closed forms, and planted bugs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
import pytest

from comparisons.theory import _natural_gradient as paths
from comparisons.theory import information as entry
from comparisons.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from comparisons.exhibits import Shown


NETWORKS = "deep linear, normal noise", "tanh, softmax"


def verdicts(shown: Iterator[Shown]) -> list[Verdict]:
    return [one for one in shown if isinstance(one, Verdict)]


def differ(found: list[Verdict]) -> list[str]:
    return [verdict.about for verdict in found if verdict.outcome == "DIFFER"]


def test_every_claim_holds() -> None:
    found = verdicts(entry.show(np.random.default_rng(1), 1))
    assert len(found) == 38
    assert [v for v in found if v.outcome != "AGREE"] == []


@pytest.mark.parametrize("chart", paths.CHARTS)
def test_charts_begin_at_one_law(chart: str) -> None:
    to_law, start = paths.CHARTS[chart]
    np.testing.assert_allclose(to_law(jnp.asarray(start)), paths.BEGIN, atol=1e-15)


def test_the_flow_begins_and_ends_where_it_should() -> None:
    np.testing.assert_allclose(paths.flow(0.0), paths.BEGIN, atol=1e-15)
    np.testing.assert_allclose(paths.flow(50.0), paths.TARGET, atol=1e-15)


@pytest.mark.parametrize("size", [3, 7])
def test_rank_counts_directions_whatever_their_units(size: int) -> None:
    rng = np.random.default_rng(size)
    score = rng.standard_normal((50, 3)) @ rng.standard_normal((3, size))
    score = np.column_stack([score * 10.0 ** -np.arange(size), np.zeros(50)])
    assert entry.rank(entry.information(score, np.full(50, 0.02))) == 3


def test_blocks_are_means_of_kronecker_products() -> None:
    rng = np.random.default_rng(2)
    a, root = rng.standard_normal((5, 3)), rng.standard_normal((5, 2, 2))
    G = root @ np.swapaxes(root, 1, 2)
    mean = np.mean([np.kron(np.outer(x, x), g) for x, g in zip(a, G, strict=True)], axis=0)
    np.testing.assert_allclose(entry.across(a, a, G), mean, atol=1e-14)
    parts = entry.kronecker(a, G) + entry._covariance(a, G)
    np.testing.assert_allclose(parts, mean, atol=1e-14)


def test_a_weight_of_the_grid_forgotten_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = entry.information
    monkeypatch.setattr(entry, "information", lambda score, w: right(score, 1.01 * w))
    wrong = differ(verdicts(entry._identities()))
    assert "gaussian: largest |E s sᵀ + E ∇² log p|" in wrong
    assert any("slope of log |KL − ½t²|" in about for about in wrong)


def test_a_metric_of_the_variance_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    bug = lambda law: jnp.diag(jnp.array([1.0, 1.0])) / law[1] ** 2  # noqa: E731
    monkeypatch.setattr(paths, "metric", bug)
    monkeypatch.setattr(paths, "COUNTS", (64, 128))
    wrong = differ(verdicts(paths.natural_gradient()))
    assert any("path and straight line" in about for about in wrong)
    assert any("one natural step" in about for about in wrong)


def test_a_hessian_that_is_off_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    hessian = paths.jax.hessian
    monkeypatch.setattr(paths.jax, "hessian", lambda f: lambda v: 1.01 * hessian(f)(v))
    wrong = differ(verdicts(paths.optimisers(np.random.default_rng(4))))
    assert "slope of log distance after a step against log distance before it" in wrong


def test_a_rank_that_counts_noise_and_scores_not_shared_are_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = entry.information

    def noisy(score: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return right(score, weight) + 0.1 * np.eye(score.shape[1])

    monkeypatch.setattr(entry, "information", noisy)
    wrong = differ(verdicts(entry._ranks(np.random.default_rng(5), 100)))
    assert sum("rank" in about for about in wrong) == 2
    assert sum("trace" in about for about in wrong) == 3  # of order 2 it is what others start from


def test_a_block_between_layers_with_lost_gradients_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    across = entry.across
    monkeypatch.setattr(entry, "across", lambda a, b, G: across(a, b, np.abs(G)))
    wrong = differ(verdicts(entry.networks(np.random.default_rng(6), 50)))
    assert {f"{name}: relative distance of the two" for name in NETWORKS} <= set(wrong)
    monkeypatch.setattr(entry, "across", lambda a, b, G: across(a, b, 1.1 * G))
    wrong = differ(verdicts(entry.networks(np.random.default_rng(6), 50)))
    assert sum("exact block diagonal" in about for about in wrong) == 2


def test_factors_in_the_wrong_order_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(a: np.ndarray, G: np.ndarray) -> np.ndarray:
        return np.kron(G.mean(axis=0), a.T @ a / len(a))

    monkeypatch.setattr(entry, "kronecker", bug)
    wrong = differ(verdicts(entry.networks(np.random.default_rng(3), 50)))
    assert any(about.startswith("deep linear") for about in wrong)
