"""Next-token cross-entropy is maximum likelihood, and perplexity its exponential.

A language model q(x_t | x_<t) has cross-entropy −T⁻¹ Σ_t log q(x_t | x_{t−1}) on a text: minus its
mean log-likelihood.  On a stationary Markov chain with transitions P and stationary law π it tends
to the entropy rate H = −Σ_i π_i Σ_j P_ij log P_ij plus the excess Σ_i π_i KL(P_i ‖ Q_i).  The model
with a free row of logits for each state is fitted by gradients; its minimum is the table of
observed shares, as the maximum-likelihood estimate must be.  With k = S(S − 1) free parameters
fitted to T transitions

    E excess = k/(2T) + O(T⁻²),    perplexity = exp(H + excess) → exp(H).

The quadratic approximation of the excess at the true P has expectation k/(2T) nearly exactly and
serves as a control variate.
References: Shannon (1951), Bell Syst. Tech. J. 30; Cover & Thomas (2006), §4.2; Billingsley (1961),
Statistical Inference for Markov Processes.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.special import rel_entr

from comparisons.exhibits import Curves, Exhibits
from comparisons.policy import LIMIT_SD
from comparisons.theory._claims import Measured, equal, mean
from comparisons.theory._minima import minimum, stationary
from models.programs.keys import key_of

STATES = 4
FLOOR = 0.25  # share of the uniform law in each row of P: so every transition is seen
LENGTHS = (1_000, 2_000, 4_000, 8_000)
TEXTS = 400  # simulated pairs of a text to learn from and one to be judged on, at effort 1
PERPLEXITY = 0.01  # relative difference that does not matter: a hundredth of a choice in one
ROUNDING = 1e-12


def show(rng: np.random.Generator, effort: int) -> Exhibits:
    """A random chain, texts of it, and the model fitted to them."""
    p = FLOOR / STATES + (1 - FLOOR) * rng.dirichlet(np.ones(STATES), STATES)
    law, k = stationary(p), STATES * (STATES - 1)
    rate = -float(law @ (p * np.log(p)).sum(axis=1))
    first = jnp.asarray(rng.choice(STATES, size=2 * TEXTS * effort, p=law))
    texts = np.asarray(_walk(jnp.log(p), first, key_of(rng), max(LENGTHS)))
    learnt, judged = texts[: TEXTS * effort], texts[TEXTS * effort :]
    table = counts(learnt[0])
    best, fitted = cross_entropy(table, shares(table)), cross_entropy(table, _by_gradients(table))
    statement = "the least next-token cross-entropy is reached by the maximum-likelihood shares"
    about = "cross-entropy of a text, nats per token: by gradients / of the observed shares"
    yield equal(statement, about, fitted, best, ROUNDING)
    ladder = [learn(p, law, learnt[:, : length + 1]) for length in LENGTHS]
    length, (tables, models, excess) = LENGTHS[-1], ladder[-1]
    fresh = [cross_entropy(counts(t), m) for t, m in zip(judged, models, strict=True)]
    expected = np.exp(rate + k / (2 * length))
    found = Measured(np.exp(np.mean(fresh)), mean(np.array(fresh)).error * expected)
    statement = "held-out perplexity is that of the entropy rate and the cost of the parameters"
    about = f"exp(mean cross-entropy of fresh texts) / exp(H + k/(2T)), T = {length}"
    yield equal(statement, about, found, expected, PERPLEXITY * expected)
    away = (tables - tables.sum(axis=2, keepdims=True) * p) / length
    quadratic = 0.5 * ((away**2 / p).sum(axis=2) / law).sum(axis=1)
    found = mean(1 + (excess - quadratic) * 2 * length / k)
    statement = "a model with k parameters learnt from T tokens loses k/(2T) nats per token"
    about = f"mean excess over the entropy rate in units of k/(2T), k = {k}, T = {length}"
    yield equal(statement, about, found, 1.0, LIMIT_SD)
    learnt = [np.exp(rate + excess.mean()) for _, _, excess in ladder]
    expected = np.exp(rate + k / (2 * np.array(LENGTHS)))
    theory = {
        "exp(H + k/(2T))": (LENGTHS, expected),
        "exp(H)": (LENGTHS, [np.exp(rate)] * len(LENGTHS)),
    }
    title, y = "perplexity of a learnt chain", "expected perplexity of the next token"
    yield Curves(title, "tokens learnt from", y, {"learnt": (LENGTHS, learnt)}, theory, "x")


def learn(
    p: np.ndarray, law: np.ndarray, texts: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts and model of each text, shapes (R, S, S), and its excess Σ π_i KL(P_i ‖ Q_i)."""
    tables = np.stack([counts(text) for text in texts])
    models = np.stack([shares(table) for table in tables])
    return tables, models, rel_entr(p, models).sum(axis=2) @ law


@partial(jax.jit, static_argnums=3)
def _walk(log_p: Array, first: Array, key: Array, length: int) -> Array:
    """Texts of so many transitions from their first tokens, shape (n, T + 1)."""

    def step(state: Array, key: Array) -> tuple[Array, Array]:
        state = jax.random.categorical(key, log_p[state])
        return state, state

    rest = jax.lax.scan(step, first, jax.random.split(key, length))[1]
    return jnp.concatenate([first[None], rest]).T


def counts(text: np.ndarray) -> np.ndarray:
    """How often each token followed each, shape (S, S)."""
    return np.bincount(text[:-1] * STATES + text[1:], minlength=STATES**2).reshape(STATES, STATES)


def shares(table: np.ndarray) -> np.ndarray:
    """The maximum-likelihood transitions."""
    return table / table.sum(axis=1, keepdims=True)


def cross_entropy(table: np.ndarray, q: np.ndarray) -> float:
    """−T⁻¹ Σ_t log q(x_t | x_{t−1}) of a text with these counts, nats per token."""
    return float(-(table * np.log(q)).sum() / table.sum())


def _by_gradients(table: np.ndarray) -> np.ndarray:
    """The transitions softmax(logits) of least cross-entropy."""

    def loss(flat: Array) -> Array:
        log_q = jax.nn.log_softmax(flat.reshape(table.shape), axis=1)
        return -jnp.sum(table * log_q) / table.sum()

    logits = minimum(loss, np.zeros(table.size)).reshape(table.shape)
    return np.asarray(jax.nn.softmax(logits, axis=1))
