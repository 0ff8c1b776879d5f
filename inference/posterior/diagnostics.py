"""Whether draws may be relied on, and how far off their moments are.

A Markov chain is held to R-hat < 1.01, bulk and tail ESS ≥ 400, no divergence and E-BFMI ≥ 0.3.
References: Vehtari, Gelman, Simpson, Carpenter & Bürkner (2021), Bayesian Analysis 16 (R-hat, ESS,
MCSE); Betancourt (2016), arXiv:1604.00695 (E-BFMI).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

R_HAT, ESS, E_BFMI = 1.01, 400, 0.3  # the convergence gate
DIVERGENT, AROUND, MOVED = 0.001, 100, 0.1
"""Largest share of divergent transitions that may be of no matter; so many draws on either side of
one are its place; largest distance in sd by which a mean moves without them."""
SAME = 0.9  # correlation of the draws of two chains, of every scalar, beyond which they are one
_AXES: dict[str, Any] = {"chain_axis": 0, "draw_axis": 1}


def gate(
    flat: np.ndarray, names: Sequence[str], sample_stats: Mapping[str, np.ndarray]
) -> tuple[str, ...]:
    """Why the draws of a Markov chain must not be relied on, one sentence each.

    By the reported scalars, shape (chain, draw, m), with their flat names, of which those that
    never move are not judged, and by the sampler's statistics under ArviZ's names.
    """
    from arviz_stats.base.array import array_stats

    found = []
    moves = np.flatnonzero(_moving(flat))
    if moves.size:
        r_hat, bulk, tail = _diagnostics(flat[..., moves])
        if not r_hat.max() < R_HAT:
            worst = int(r_hat.argmax())
            found.append(
                f"the chains disagree: R-hat of {names[moves[worst]]} is {r_hat[worst]:.3f}; "
                f"expected below {R_HAT}"
            )
        for part, size in (("bulk", bulk), ("tail", tail)):
            if not size.min() >= ESS:
                worst = int(size.argmin())
                found.append(
                    f"too few effective draws: {part} ESS of {names[moves[worst]]} is "
                    f"{size[worst]:.0f}; expected at least {ESS}"
                )
        found += _alike(flat[..., moves])
    problem, _ = divergences(flat, sample_stats)
    found += [problem] if problem else []
    if "energy" in sample_stats:
        fraction: Any = array_stats.bfmi(np.asarray(sample_stats["energy"]), **_AXES)
        fraction = np.asarray(fraction)
        if not fraction.min() >= E_BFMI:
            found.append(
                f"the energy is explored too slowly: E-BFMI of chain {int(fraction.argmin())} is "
                f"{fraction.min():.2f}; expected at least {E_BFMI}"
            )
    return tuple(found)


def divergences(flat: np.ndarray, sample_stats: Mapping[str, np.ndarray]) -> tuple[str, str]:
    """Whether divergent transitions matter: few ones do not where no mean rests on their places.

    A problem of the scalars, shape (chain, draw, m), that names the remedy, and a note where there
    is none; "" for either.
    """
    from scipy.ndimage import maximum_filter1d

    diverging = np.asarray(sample_stats.get("diverging", np.zeros(flat.shape[:2])), bool)
    if not (count := int(diverging.sum())):
        return "", ""
    told = f"{count:,} of {diverging.size:,} transitions diverged"
    moves = _moving(flat)
    away = ~maximum_filter1d(diverging, 2 * AROUND + 1, axis=1)
    if count <= DIVERGENT * diverging.size and moves.any() and away.any():
        every = flat[..., moves]
        off = abs(every[away].mean(axis=0) - every.mean(axis=(0, 1))) / every.std(axis=(0, 1))
        if off.max() < MOVED:
            return "", f"{told}; without the draws around them no mean moves by {MOVED} sd"
    return (
        f"{told}; expected at most {100 * DIVERGENT:g} % and nothing that rests on their places: "
        "raise target_accept, or write a hierarchy in its non-centred form"
    ), ""


def _alike(flat: np.ndarray) -> list[str]:
    """The sentence about two chains that run side by side, as those of one key do."""
    deviation = flat.std(axis=1, keepdims=True)
    off = flat - flat.mean(axis=1, keepdims=True)
    # a chain that is stuck runs beside none
    standard = np.divide(off, deviation, out=np.zeros_like(off), where=deviation > 0)
    together = np.einsum("adm,bdm->abm", standard, standard).min(axis=2) / flat.shape[1]
    others = np.triu(together, 1)
    first, second = np.unravel_index(np.argmax(others), others.shape)
    if not others[first, second] > SAME:
        return []
    told = f"the correlation of their draws is {others[first, second]:.2f}"
    return [f"chains {first} and {second} are one chain: {told}; give each a key of its own"]


def not_finite(flat: np.ndarray, names: Sequence[str]) -> tuple[str, ...]:
    """The sentence about draws that are not finite numbers, if there are any."""
    bad = ~np.isfinite(flat)
    if not bad.any():
        return ()
    first = int(bad.any(axis=(0, 1)).argmax())
    return (f"{names[first]} is not a finite number in {int(bad[..., first].sum())} draws",)


def _moving(flat: np.ndarray) -> np.ndarray:
    """Which scalars are finite and vary beyond rounding, shape (m,)."""
    rows = flat.reshape(-1, flat.shape[-1])
    with np.errstate(invalid="ignore"):
        varies = np.ptp(rows, axis=0) > 1e-12 * abs(rows).max(axis=0)
    return np.isfinite(rows).all(axis=0) & varies


def _diagnostics(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """R-hat, bulk ESS and tail ESS of every scalar, each of shape (m,)."""
    from arviz_stats.base.array import array_stats

    r_hat = array_stats.rhat(flat, **_AXES)
    bulk = array_stats.ess(flat, method="bulk", **_AXES)
    tail = array_stats.ess(flat, method="tail", prob=(0.05, 0.95), **_AXES)
    return np.asarray(r_hat), np.asarray(bulk), np.asarray(tail)


def worst(flat: np.ndarray, suffix: str = "") -> dict[str, float]:
    """The largest R-hat and the smallest ESS of what moves, named with a suffix; else nothing."""
    moves = _moving(flat)
    if not moves.any():
        return {}
    r_hat, *sizes = _diagnostics(flat[..., moves])
    return {f"rhat{suffix}": float(r_hat.max()), f"ess{suffix}": float(np.min(sizes))}


def moments(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Mean, its Monte Carlo error, sd and its error of scalars, shape (chain, draw, m).

    What never moves has no error; what is not finite has an undefined one.
    """
    from arviz_stats.base.array import array_stats

    moves = _moving(flat)
    errors = np.where(np.isfinite(flat).all(axis=(0, 1)), 0.0, np.nan)[None].repeat(2, axis=0)
    if moves.any():
        for row, method in zip(errors, ("mean", "sd"), strict=True):
            row[moves] = array_stats.mcse(flat[..., moves], method=method, **_AXES)
    with np.errstate(invalid="ignore"):
        mean, deviation = flat.mean(axis=(0, 1)), flat.std(axis=(0, 1), ddof=1)
    return mean, errors[0], np.where(moves | np.isnan(deviation), deviation, 0.0), errors[1]
