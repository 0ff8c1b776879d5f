"""Score matching finds ∇ log p without the density: its objectives differ by constants alone.

For any smooth s, with the Fisher divergence ½E_p‖s − ∇log p‖² and information I(p) = E_p‖∇log p‖²,

    Hyvärinen   E_p[½(vᵀs)² + vᵀ(∇s)v] = ½E_p‖s − ∇log p‖² − ½ I(p),      v random signs,
    Vincent     ½E‖s(x + σε) + ε/σ‖²   = ½E_p̃‖s − ∇log p̃‖² − ½ I(p̃) + D/(2σ²),   p̃ = p ∗ N(0, σ²I),

so the objective that needs only draws and the one that needs the unknown score have the same
minimiser.  Here nature and its smoothed law are mixtures of normals with known scores; the right
sides are integrals by quadrature, the left sides means over draws.
References: Hyvärinen (2005), JMLR 6, thm. 1; Vincent (2011), Neural Comput. 23, app. A.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from comparisons.exhibits import Claim, Curves
from comparisons.theory._plane import NATURE, draws, grid
from comparisons.theory.densities._fitted import everywhere
from comparisons.theory.densities._model import log_density_at
from comparisons.theory.densities.score_matching import (
    NOISE,
    ScoreMatching,
    denoising_loss,
    sliced_loss,
)
from comparisons.verdict import Verdict, not_comparable
from models.programs.keys import key_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from comparisons.exhibits import Shown
    from comparisons.theory.densities._fitted import Fitted

TRAIN = 4_000
FRESH = 800_000
"""Draws over which the objectives are averaged."""
BLOCKS = 50
"""Parts of them, whose spread gives the error of the average."""
RELATIVE = 0.05
"""Share of the information I(p) that does not matter: the project's bound for spreads."""
LEARNT = 0.8
"""Least share of I(p) that a learnt score has to account for.  It is a judgement, not a theorem:
a score of zero accounts for none, and a score wrong by a fifth of a standard deviation of the law
in each coordinate leaves 0.04."""
PLACES = 101


def show(rng: np.random.Generator, effort: int) -> Iterator[Shown]:
    """Two objectives, each against the divergence it stands for, and the scores they learn."""
    box = grid()
    train, fresh = draws(rng, TRAIN * effort), draws(rng, FRESH)
    smooth = {**NATURE.truth, "scale": jnp.sqrt(NATURE.truth["scale"] ** 2 + NOISE**2)}
    lines = {}
    row = np.stack([np.linspace(-4.0, 12.0, PLACES), np.full(PLACES, 1.6)], axis=1)
    targets = {ScoreMatching("sliced"): NATURE.truth, ScoreMatching("denoising"): smooth}
    for estimator, values in targets.items():
        objective = estimator.objective
        of = log_density_at(NATURE, values)
        true = jax.grad(lambda x, of=of: jnp.sum(of(x)))
        density = np.exp(everywhere(of, box.points))
        score = everywhere(true, box.points)
        information = box.integral(density * (score**2).sum(axis=1))
        fit = estimator.fit(train, rng, effort)
        if fit.problems or fit.score is None:
            statement = f"{objective} score matching has converged"
            yield Claim(statement, not_comparable(f"∇ log p: {objective}", fit.problems[0]))
            continue
        away = ((everywhere(fit.score, box.points) - score) ** 2).sum(axis=1)
        left = box.integral(density * away)
        constant = 1 / NOISE**2 if objective == "denoising" else 0.0
        measured, error = objective_mean(objective, fit, fresh, rng)
        yield Claim(
            f"the {objective} objective is the Fisher divergence up to a constant",
            Verdict(
                f"{objective} objective by draws / by quadrature, in units of ½ I(p)",
                2 * measured / information,
                (left - information + 2 * constant) / information,
                2 * error / information,
                RELATIVE,
            ),
        )
        yield Claim(
            f"{objective} score matching learns the score",
            Verdict(
                f"1 − E‖s − ∇log p‖²/I(p) by quadrature: {objective}",
                1 - left / information, LEARNT, 0.0, 0.0, relation="at_least",
            ),
        )  # fmt: skip
        lines[objective] = everywhere(fit.score, row)[:, 0], everywhere(true, row)[:, 0]
    place = [float(x) for x in row[:, 0]]
    yield Curves(
        "the learnt score along a line through the mode on the right",
        "x₁",
        "∂ log p/∂x₁",
        {name: (place, [float(v) for v in one]) for name, (one, _) in lines.items()},
        {f"true, {name}": (place, [float(v) for v in one]) for name, (_, one) in lines.items()},
    )


def objective_mean(
    objective: str, fit: Fitted, fresh: np.ndarray, rng: np.random.Generator
) -> tuple[float, float]:
    """An objective's mean over draws and its standard error."""
    if fit.score is None:
        raise TypeError("a score is needed")
    of = fit.score
    loss = {"denoising": denoising_loss, "sliced": sliced_loss}[objective]
    parts = jnp.asarray(fresh.reshape(BLOCKS, -1, 2))
    keys = jax.random.split(key_of(rng), BLOCKS)
    compiled = jax.jit(lambda key, x: loss(lambda one: of(one[None])[0], key, x))
    means = np.array([float(compiled(key, x)) for key, x in zip(keys, parts, strict=True)])
    return float(means.mean()), float(means.std(ddof=1) / np.sqrt(BLOCKS))
