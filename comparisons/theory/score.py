"""Score matching finds ∇ log p without the density: its objectives differ by constants alone.

For any smooth s, with the Fisher divergence ½E_p‖s − ∇log p‖² and information I(p) = E_p‖∇log p‖²,

    Hyvärinen   E_p[½(vᵀs)² + vᵀ(∇s)v] = ½E_p‖s − ∇log p‖² − ½ I(p),      v random signs,
    Vincent     ½E‖s(x + σε) + ε/σ‖²   = ½E_p̃‖s − ∇log p̃‖² − ½ I(p̃) + D/(2σ²),   p̃ = p ∗ N(0, σ²I),

so the objective that needs only draws and the one that needs the unknown score have the same
minimiser.  Here nature and its smoothed law are mixtures of normals with known scores; the right
sides are integrals by quadrature, the left sides means over draws.
References: Hyvärinen (2005), JMLR 6, thm. 1; Vincent (2011), Neural Comput. 23, app. A.
"""

import jax
import jax.numpy as jnp
import numpy as np

from comparisons.exhibits import Curves, Exhibits
from comparisons.policy import LIMIT_SD
from comparisons.theory._claims import SHARE, Measured, at_least, equal, mean, missing
from comparisons.theory._plane import NATURE, draws, grid
from comparisons.theory.densities import Pointwise, everywhere, gradient, log_density_at
from comparisons.theory.densities.score_matching import LOSSES, NOISE, fit
from models.programs.keys import key_of
from models.spec import Values

TRAIN = 4_000
FRESH = 800_000  # draws over which the objectives are averaged
BLOCKS = 50  # parts of them, whose standard deviation gives the error of the average
LEARNT = 0.8
"""Least share of I(p) that a learnt score has to account for.  It is a judgement, not a theorem:
a score of zero accounts for none, and a score wrong by a fifth of a standard deviation of the law
in each coordinate leaves 0.04."""


def show(rng: np.random.Generator, effort: int) -> Exhibits:
    """Two objectives, each against the divergence it stands for, and the scores they learn."""
    train, fresh = draws(rng, TRAIN * effort), draws(rng, FRESH)
    smooth = {**NATURE.truth, "scale": jnp.sqrt(NATURE.truth["scale"] ** 2 + NOISE**2)}
    row = np.stack([np.linspace(-4.0, 12.0, 101), np.full(101, 1.6)], axis=1)
    learnt, known = {}, {}
    for objective, values in {"sliced": NATURE.truth, "denoising": smooth}.items():
        fitted = fit(train, rng, effort, objective)
        if fitted.problems or fitted.score is None:
            statement = f"{objective} score matching has converged"
            yield missing(statement, f"∇ log p: {objective}", fitted.problems)
            continue
        share, information = accounted(fitted.score, values)
        constant = 1 / NOISE**2 if objective == "denoising" else 0.0
        statement = f"the {objective} objective is the Fisher divergence up to a constant"
        about = f"{objective} objective by draws / by quadrature, in units of ½ I(p)"
        found = _objective(objective, fitted.score, fresh, rng).per(information / 2)
        yield equal(statement, about, found, 2 * constant / information - share, LIMIT_SD)
        statement = f"{objective} score matching learns the score"
        about = f"1 − E‖s − ∇log p‖²/I(p) by quadrature: {objective}"
        yield at_least(statement, about, share, LEARNT, SHARE)
        true = gradient(log_density_at(NATURE, values))
        for lines, score in ((learnt, fitted.score), (known, true)):
            lines[objective] = row[:, 0], everywhere(score, row)[:, 0]
    title = "the learnt score along a line through the mode on the right"
    known = {f"true, {name}": line for name, line in known.items()}
    yield Curves(title, "x₁", "∂ log p/∂x₁", learnt, known)


def accounted(score: Pointwise, values: Values) -> tuple[float, float]:
    """1 − E‖s − ∇log p‖²/I(p), p of nature's model with these values, and I(p), by quadrature."""
    box, log_density = grid(), log_density_at(NATURE, values)
    density = np.exp(everywhere(log_density, box.points))[:, None]
    true = everywhere(gradient(log_density), box.points)
    information = box.integral(density * true**2)
    left = box.integral(density * (everywhere(score, box.points) - true) ** 2)
    return 1 - left / information, information


def _objective(
    objective: str, score: Pointwise, fresh: np.ndarray, rng: np.random.Generator
) -> Measured:
    """An objective's mean over draws."""
    parts = jnp.asarray(fresh.reshape(BLOCKS, -1, 2))
    keys = jax.random.split(key_of(rng), BLOCKS)
    compiled = jax.jit(lambda key, x: LOSSES[objective](lambda one: score(one[None])[0], key, x))
    return mean(np.array([float(compiled(key, x)) for key, x in zip(keys, parts, strict=True)]))
