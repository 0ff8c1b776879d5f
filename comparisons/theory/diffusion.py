"""To guess the noise of every noised law is to learn its score, whose flow is a likelihood.

With x_t = α x + σ ε, ε ~ N(0, I_D), p_t the law of x_t, and a guess ε̂(x_t, t) = −σ s(x_t, t),

    E‖ε̂ − ε‖² = σ² E_{p_t}‖s − ∇ log p_t‖² + D − σ² I(p_t),    I(p) = E_p‖∇ log p‖²,

whatever the guess, because E[ε | x_t] = −σ ∇ log p_t: the objective of denoising diffusion is
Vincent's at every noise level.  Along dx/dt = −½β (x + ∇ log p_t), the probability flow, draws of
p_t stay draws of p_t, and log p_t changes by minus the divergence of the velocity, so that

    log p_t₀(x) = log N(x_1 | 0, I) + ∫ div dx/dt dt    up to KL(p_1 ‖ N(0, I)).

Here nature is a mixture of normals, and so are its noised laws; the guess is a network that has
learnt nothing, for which the first line must hold, too.
References: Ho, Jain & Abbeel (2020), NeurIPS 33; Vincent (2011), Neural Comput. 23, app. A; Song et
al. (2021), ICLR, app. D.
"""

from typing import final

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from comparisons.exhibits import Curves, Exhibits
from comparisons.theory._claims import equal, mean
from comparisons.theory._plane import NATURE, NEGLIGIBLE, draws, moments
from comparisons.theory.densities import everywhere, gradient, log_density_at, mesh, perceptron
from comparisons.theory.densities.diffusion import FIRST, Denoiser, along_the_flow, levels
from models.programs.keys import key_of
from models.spec import Values

TIMES = (0.02, 0.1, 0.4, 0.8)
DRAWS = 400_000  # draws over which the objective is averaged
BLOCKS = 40  # parts of them, whose standard deviation gives the error of the average
SMALL = 0.01  # relative difference that does not matter
AXIS = np.arange(-8.0, 8.0, 0.04)
"""Of the quadrature: every noised law has variances of 1 on average."""
POINTS = 4_000  # draws of the first law whose likelihood the flow is asked for
MEAN, SD = moments()[0], float(np.sqrt(np.trace(moments()[1]) / 2))
"""Nature's mean, and the standard deviation of a coordinate on average."""


@final
class Exact:
    """The scores of the noised laws."""

    def score(self, x: Array, t: Array) -> Array:
        """∇ log p_t of one point, shape (2,)."""
        return jax.grad(lambda x: log_density_at(NATURE, noised(t))(x[None])[0])(x)


def show(rng: np.random.Generator, effort: int) -> Exhibits:
    """The objective at some noise levels, then the flow of the exact scores."""
    guess = Denoiser(perceptron(key_of(rng), 6, 2, 32))
    clean = (draws(rng, DRAWS * effort) - MEAN) / SD

    @jax.jit
    def objective(t: float, x: Array, noise: Array) -> Array:
        alpha, sigma = levels(jnp.asarray(t))
        guessed = jax.vmap(lambda x: guess.noise(x, jnp.asarray(t)))(alpha * x + sigma * noise)
        return jnp.mean((guessed - noise) ** 2)

    statement = "The diffusion objective is the noised law's Fisher divergence up to a constant."
    measured, theory = [], []
    for t in TIMES:
        parts = [objective(t, x, rng.standard_normal(x.shape)) for x in np.split(clean, BLOCKS)]
        found, expected = mean(np.array(parts)), by_quadrature(guess, t)
        measured.append(found.value)
        theory.append(expected)
        about = f"E‖ε̂ − ε‖²/D at t = {t:g}, by draws / by quadrature"
        yield equal(statement, about, found, expected, SMALL * expected)
    title, x = "the objective of a network that has learnt nothing", "time of the diffusion"
    known = {"by quadrature": (TIMES, theory)}
    yield Curves(title, x, "E‖ε̂ − ε‖²/D", {"by draws": (TIMES, measured)}, known)
    alpha, sigma = (float(level) for level in levels(jnp.asarray(FIRST)))
    x = alpha * clean[:POINTS] + sigma * rng.standard_normal((POINTS, 2))
    known = everywhere(log_density_at(NATURE, noised(jnp.asarray(FIRST))), x)
    away = everywhere(lambda x: along_the_flow(Exact(), x), x) - known
    statement = "Along the probability flow of the exact scores points have their law's likelihood."
    about = "largest |log p by the flow − log p|, nats"
    yield equal(statement, about, np.abs(away).max(), 0.0, NEGLIGIBLE)


def noised(t: Array) -> Values:
    """The parameters of p_t, of nature in units in which its variance is 1 on average."""
    alpha, sigma = levels(t)
    scale = jnp.sqrt((alpha * NATURE.truth["scale"] / SD) ** 2 + sigma**2)
    mean = alpha * (NATURE.truth["mean"] - MEAN) / SD
    return {**NATURE.truth, "mean": mean, "scale": scale}


def by_quadrature(guess: Denoiser, t: float) -> float:
    """(σ² E‖s − ∇ log p_t‖² + D − σ² I(p_t))/D."""
    points, time = mesh(AXIS, AXIS), jnp.asarray(t)
    log_density = log_density_at(NATURE, noised(time))
    mass = np.exp(everywhere(log_density, points)) * (AXIS[1] - AXIS[0]) ** 2
    true = everywhere(gradient(log_density), points)
    learnt = everywhere(jax.vmap(lambda x: guess.score(x, time)), points)
    away = mass @ ((learnt - true) ** 2).sum(axis=1)
    information = mass @ (true**2).sum(axis=1)
    return float(1 + levels(time)[1] ** 2 * (away - information) / 2)
