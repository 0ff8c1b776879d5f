"""Functions of the libraries that are less exact than float64, and exact ones in their place.

A difference that such a function explains is no difference of the models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NamedTuple, final

import jax.numpy as jnp
from jax import Array
from jax.scipy.special import gammaln


@final
class Inexact(NamedTuple):
    """A function of a library with a better one.

    Attributes:
        called: whose it is and how inexact, as messages say it.
        modules: where the function is looked up.
        function: its name there.
        exact: what stands in for it.
    """

    called: str
    modules: tuple[str, ...]
    function: str
    exact: Callable[..., Any]


def _betaln(a: Array, b: Array) -> Array:
    return gammaln(a) + gammaln(b) - gammaln(jnp.asarray(a) + b)


INEXACT = (
    Inexact(
        "JAX's betaln, which is accurate to 6e-7",
        ("numpyro.distributions.conjugate", "numpyro.distributions.continuous"),
        "betaln",
        _betaln,
    ),
    Inexact(
        "the jitter of 1e-6 that PyMC adds to the diagonal of a Gaussian process",
        ("pymc.gp.gp", "pymc.gp.util"),
        "stabilize",
        lambda K, jitter=0.0: K,
    ),
)


@contextmanager
def replaced(inexact: Inexact) -> Iterator[None]:
    """The exact function in the place of the library's, while programs are traced or built."""
    modules = list(map(import_module, inexact.modules))
    kept = [getattr(module, inexact.function, None) for module in modules]
    try:
        for module in modules:
            setattr(module, inexact.function, inexact.exact)
        yield
    finally:
        for module, function in zip(modules, kept, strict=True):
            if function is None:
                delattr(module, inexact.function)
            else:
                setattr(module, inexact.function, function)
