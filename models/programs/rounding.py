"""Monte Carlo arithmetic: by how much rounding changes a computed number.

Every operation's result x becomes x (1 + 2⁻⁵² ξ), where ξ, between −1 and 1, depends on the bits of
x, on the operation and on the run: differences of numbers that nearly cancel stray as far as they
are off.  Operations that are exact stay so: moves and choices, and sums and products of whole
numbers.  A loop that runs until it has converged counts as one operation.
Reference: Parker (1997), Monte Carlo Arithmetic, UCLA, CSD-970002.
"""

import operator
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend.core import ClosedJaxpr, Literal

_MOVES = (
    "abs argmax argmin broadcast_in_dim ceil clamp concatenate convert_element_type copy copy_p "
    "cummax cummin dynamic_slice dynamic_update_slice expand_dims floor gather max min neg pad "
    "reduce_max reduce_min rem reshape rev round scatter select_n sign slice sort split squeeze "
    "stack stop_gradient transpose unstack"
)
_EXACT = frozenset(_MOVES.split())
_WHOLE = frozenset(("add", "add_any", "integer_pow", "mul", "square", "sub"))
"""Exact, entry by entry, where all that goes in is a whole number."""
_SUMS = frozenset(("cumsum", "dot_general", "reduce_sum", "scatter-add"))
"""Exact where all entries of all that goes in are whole numbers."""
_INSIDE = ("jaxpr", "call_jaxpr", "fun_jaxpr")
"""Parameters in which an operation has those that it consists of."""
_LOOPS = frozenset(("cond", "while", "custom_linear_solve", "linear_solve"))
_ODD = 0x9E3779B97F4A7C15  # 2⁶⁴ over the golden ratio


def perturbed[**P](function: Callable[P, Any], *examples: Any) -> Callable[..., Any]:
    """The function with every operation rounded at random: (run, *arguments) ↦ its value.

    Args:
        function: of arrays, to a tree of arrays.
        *examples: arguments of the shapes that it will be called with.

    Returns:
        A function of a whole number, which names the run, and of such arguments.
    """
    traced, shapes = jax.make_jaxpr(function, return_shape=True)(*examples)
    tree = jax.tree.structure(shapes)

    def run(number: Array, *arguments: Any) -> Any:
        found = _run(traced, jax.tree.leaves(arguments), jnp.uint64(number), count(1))
        return jax.tree.unflatten(tree, found)

    return run


def _run(program: ClosedJaxpr, arguments: list[Any], run: Array, places: Iterator[int]) -> Any:
    known = dict(zip(program.jaxpr.constvars, program.consts, strict=True))
    known |= zip(program.jaxpr.invars, arguments, strict=True)
    for line in program.jaxpr.eqns:
        given = [v.val if isinstance(v, Literal) else known[v] for v in line.invars]
        known |= zip(line.outvars, _line(line, given, run, places), strict=True)
    return [v.val if isinstance(v, Literal) else known[v] for v in program.jaxpr.outvars]


def _line(line: Any, given: list[Any], run: Array, places: Iterator[int]) -> list[Any]:
    """The results of one operation."""
    name, params = line.primitive.name, line.params
    inside = next((params[key] for key in _INSIDE if key in params), None)
    if inside is not None and name not in _LOOPS:
        closed = inside if isinstance(inside, ClosedJaxpr) else ClosedJaxpr(inside, ())
        if name == "scan":
            return _scan(line, closed, given, run, places)
        return _run(closed, given, run, places)
    found = line.primitive.bind(*given, **line.primitive.get_bind_params(params))
    several = found if line.primitive.multiple_results else [found]
    if name in _EXACT:
        return several
    whole = _whole(name, given)
    return [_rounded(x, run, next(places), whole) for x in several]


def _scan(
    line: Any, body: ClosedJaxpr, given: list[Any], run: Array, places: Iterator[int]
) -> list[Any]:
    """The loop, whose body is rounded at random; an operation alike in each of its rounds."""
    ranks = _ranks(line.invars), _ranks(line.outvars)
    inner = _ranks(body.jaxpr.invars), _ranks(body.jaxpr.outvars)
    # what is taken or given round by round has an axis more outside
    taken, kept = (sum(map(operator.eq, *pair)) for pair in zip(ranks, inner, strict=True))
    place = next(places)

    def step(carry: list[Any], x: list[Any]) -> tuple[list[Any], list[Any]]:
        within = (place * 1_000 + i for i in count(1))
        found = _run(body, [*given[: taken - kept], *carry, *x], run, within)
        return found[:kept], found[kept:]

    initial, rounds = given[taken - kept : taken], given[taken:]
    loop = {name: line.params[name] for name in ("length", "reverse")}
    last, every = jax.lax.scan(step, initial, rounds, **loop)
    return [*last, *every]


def _ranks(variables: list[Any]) -> list[int]:
    return [variable.aval.ndim for variable in variables]


def _whole(name: str, given: list[Any]) -> Any:
    """Where an operation is exact since whole numbers go in."""
    if name not in _WHOLE | _SUMS:
        return False
    flags = [jnp.asarray(x) == jnp.floor(x) for x in given]
    if name in _SUMS:
        flags = [jnp.all(flag) for flag in flags]
    exact = flags[0]
    for flag in flags[1:]:
        exact &= flag
    return exact


def _rounded(x: Any, run: Array, place: int, whole: Any) -> Any:
    """Numbers in float64 rounded at random, but where they are whole; any others as they are."""
    if getattr(x, "dtype", None) != jnp.float64:
        return x
    bits = jax.lax.bitcast_convert_type(x, jnp.uint64)
    bits = (bits ^ (run * jnp.uint64(place))) * jnp.uint64(_ODD)  # of which the upper are mixed
    share = (bits >> jnp.uint64(11)).astype(jnp.float64) * 2.0**-52 - 1.0
    return jnp.where(whole, x, x * (1 + jnp.finfo(jnp.float64).eps * share))
