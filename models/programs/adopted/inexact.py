"""Functions of the libraries that are less exact than float64, and exact ones in their place.

A difference that such a function explains is no difference of the models.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pkgutil import resolve_name
from typing import Any
from unittest.mock import patch

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import gammaincc, gammaln, log_ndtr


def _lkj_constant(eta: Any, n: int) -> Any:
    """−log ∫ |R|^(η − 1) dR over the correlation matrices R, in nats.

    Reference: Lewandowski, Kurowicka & Joe (2009), J. Multivariate Analysis 100, equation (11).
    """
    import pytensor.tensor as pt

    gammaln: Any = pt.gammaln
    k = np.arange(1, n)
    parts = 0.5 * k * np.log(np.pi) + gammaln(eta + 0.5 * (n - 1 - k))
    return (n - 1) * gammaln(eta + 0.5 * (n - 1)) - parts.sum()


_SURVIVAL: Mapping[str, Callable[[Any, Array], Array]] = {
    "Exponential": lambda law, x: -law.rate * x,
    "Gamma": lambda law, x: jnp.log(gammaincc(law.concentration, law.rate * x)),
    "LogNormal": lambda law, x: log_ndtr((law.loc - jnp.log(x)) / law.scale),
    "Normal": lambda law, x: log_ndtr((law.loc - x) / law.scale),
    "Weibull": lambda law, x: -((x / law.scale) ** law.concentration),
}
"""log (1 − F(x)) of laws for which it has a form of its own."""


def _log_survival(law: Any, x: Array) -> Array:
    if found := _SURVIVAL.get(type(law).__name__):
        return found(law, x)
    if type(law).__name__ in ("Cauchy", "Laplace", "Logistic", "SoftLaplace", "StudentT"):
        return jnp.log(law.cdf(2 * law.loc - x))
    return jnp.log1p(-law.cdf(x))


def _right_censored(self: Any, value: Array) -> Array:
    tail = _log_survival(self.base_dist, jnp.asarray(value))
    return jnp.where(self.censored, tail, self.base_dist.log_prob(value))


def _truncated(self: Any, value: Array) -> Array:
    """Between two bounds of a symmetric law: both as seen from the lower tail."""
    law, low, high = self.base_dist, self.low, self.high
    above = low > law.loc
    upper = jnp.where(above, low, 2 * law.loc - high)
    lower = jnp.where(above, high, 2 * law.loc - low)
    most, least = _log_survival(law, upper), _log_survival(law, lower)
    within = (value >= low) & (value <= high)
    density = law.log_prob(value) - most - jnp.log(-jnp.expm1(least - most))
    return jnp.where(within, density, -jnp.inf)


_INEXACT: tuple[tuple[str, tuple[str, ...], str, Callable[..., Any]], ...] = (
    (
        "JAX's betaln, which is accurate to about 1e-6",
        ("numpyro.distributions.conjugate", "numpyro.distributions.continuous"),
        "betaln",
        lambda a, b: gammaln(a) + gammaln(b) - gammaln(jnp.asarray(a) + b),
    ),
    (
        "NumPyro's RightCensoredDistribution, whose F(x) is at most 1 − 2⁻⁵²",
        ("numpyro.distributions.censored:RightCensoredDistribution",),
        "log_prob",
        _right_censored,
    ),
    (
        "NumPyro's truncated distributions, which subtract probabilities near one",
        ("numpyro.distributions.truncated:TwoSidedTruncatedDistribution",),
        "log_prob",
        _truncated,
    ),
    (
        "the jitter of 1e-6 that PyMC adds to the diagonal of a Gaussian process",
        ("pymc.gp.gp", "pymc.gp.util"),
        "stabilize",
        lambda K, jitter=0.0: K,
    ),
    (
        "PyMC's normalising constant of the LKJ law, whose sign is wrong",
        ("pymc.distributions.multivariate",),
        "_lkj_normalizing_constant",
        _lkj_constant,
    ),
)
"""What is inexact and how, as messages say it; the modules or classes, as `module:name`, in which
the function is looked up; its name there; an exact one."""


@contextmanager
def all_exact() -> Iterator[set[str]]:
    """Exact functions in the places of the library's, while programs are traced or built.

    Yields:
        The functions that were called meanwhile, as messages say it.
    """
    used: set[str] = set()
    with ExitStack() as restored:
        for called, owners, name, exact in _INEXACT:
            noted = _noted(called, exact, used)
            for owner in map(resolve_name, owners):
                restored.enter_context(patch.object(owner, name, noted, create=True))
        yield used


def _noted(called: str, exact: Callable[..., Any], used: set[str]) -> Callable[..., Any]:
    def noted(*args: Any, **kwargs: Any) -> Any:
        used.add(called)
        return exact(*args, **kwargs)

    return noted
