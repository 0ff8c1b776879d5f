"""Jacobians and Hessians in the direction that a program allows.

Columns of a Jacobian are Jacobian-vector products (forward), its rows vector-Jacobian products
(reverse).  Forward is the faster here, but what declares its own reverse rule alone, as JAX's
solvers of differential equations do, has no other.
Reference: Griewank & Walther (2008), Evaluating Derivatives, ch. 3.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax

_REVERSE_ONLY = "custom_vjp"
"""What JAX's complaint about a function without a forward rule names."""


def jacobian(f: Callable[..., Any], **how: Any) -> Callable[..., Any]:
    """The Jacobian of a function: forward, or reverse where that alone is declared.

    Args:
        f: the function.
        how: `argnums` and `has_aux`, as JAX has them.
    """
    forward, reverse = jax.jacfwd(f, **how), jax.jacrev(f, **how)
    return partial(_either, forward, reverse)


def hessian(f: Callable[..., Any], argnums: int = 0) -> Callable[..., Any]:
    """The Hessian of a function of scalar value, in the same way.

    Args:
        f: the function.
        argnums: which of its arguments it is of.
    """
    return jacobian(jax.grad(f, argnums), argnums=argnums)


def directional(f: Callable[..., Any], u: Any, direction: Any) -> Any:
    """The derivative of a function at a point in a direction, in the same way."""
    return _either(
        lambda v: jax.jvp(f, (v,), (direction,))[1], lambda v: jax.jacrev(f)(v) @ direction, u
    )


def _either(forward: Callable[..., Any], reverse: Callable[..., Any], *at: Any) -> Any:
    try:
        return forward(*at)
    except TypeError as error:
        if _REVERSE_ONLY not in str(error):
            raise
        return reverse(*at)
