"""Monte Carlo arithmetic: by how much rounding changes a computed number.

Every operation's result x becomes x (1 + 16 ε ξ), ε = 2⁻⁵², where ξ, between −1 and 1, depends on
the bits of x, on the operation and on the run: differences of numbers that nearly cancel stray as
far as they may be off, 16 times over.  Operations that are exact stay so: moves and choices, and
sums and products of whole numbers.  Comparisons, whole parts and indices are those of the numbers
as they are, so that no branch is another.  A loop that runs until it has converged, and a branch
that only one of two cases computes, count as one operation.
Reference: Parker (1997), Monte Carlo Arithmetic, UCLA, CSD-970002 (virtual precision).
"""

import operator
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend.core import ClosedJaxpr, Literal

UNITS = 16.0
"""Units in the last place, at most, by which a result is changed."""
_MOVES = (
    "abs broadcast_in_dim clamp concatenate convert_element_type copy cummax cummin "
    "dynamic_slice dynamic_update_slice expand_dims gather max min neg pad reduce_max reduce_min "
    "rem reshape rev scatter select_n slice sort split squeeze stack stop_gradient transpose "
    "unstack"
)
_EXACT = frozenset(_MOVES.split())
_STEPS = frozenset(("ceil", "floor", "round", "sign"))
"""Jump where their argument is next to a whole number, or to 0."""
_WHOLE = frozenset(("add", "add_any", "integer_pow", "mul", "square", "sub"))
"""Exact, entry by entry, where all that goes in is a whole number."""
_SUMS = frozenset(("cumsum", "dot_general", "reduce_sum", "scatter-add"))
"""Exact where all entries of all that goes in are whole numbers."""
_CALLS = frozenset(("custom_jvp_call", "custom_vjp_call", "eval_jaxpr", "jit", "remat2"))
"""Operations that are others one after another, …"""
_INSIDE = ("jaxpr", "call_jaxpr")
"""… and the parameter in which they have them."""
_ODD = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
"""The multipliers of the generator SplitMix64, which mixes the bits."""


class _Both(NamedTuple):
    """Numbers as they are, and rounded at random."""

    exact: list[Any]
    rounded: list[Any]


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
        leaves = jax.tree.leaves(arguments)
        found = _run(traced, _Both(leaves, leaves), jnp.uint64(number), count(1))
        return jax.tree.unflatten(tree, found.rounded)

    return run


def _run(program: ClosedJaxpr, given: _Both, run: Array, places: Iterator[int]) -> _Both:
    inner = program.jaxpr
    known = dict(zip(inner.constvars, ((one, one) for one in program.consts), strict=True))
    known |= zip(inner.invars, zip(*given, strict=True), strict=True)

    def both(variables: Sequence[Any]) -> _Both:
        pairs = [(v.val, v.val) if isinstance(v, Literal) else known[v] for v in variables]
        return _Both([pair[0] for pair in pairs], [pair[1] for pair in pairs])

    for line in inner.eqns:
        found = _line(line, both(line.invars), run, places)
        known |= zip(line.outvars, zip(*found, strict=True), strict=True)
    return both(inner.outvars)


def _line(line: Any, given: _Both, run: Array, places: Iterator[int]) -> _Both:
    """The results of one operation."""
    name, params = line.primitive.name, line.params
    if name == "scan":
        return _scan(line, _closed(params["jaxpr"]), given, run, places)
    if name in _CALLS:
        inside = next(params[key] for key in _INSIDE if key in params)
        return _run(_closed(inside), given, run, places)

    def bound(values: list[Any]) -> list[Any]:
        found = line.primitive.bind(*values, **line.primitive.get_bind_params(params))
        return list(found) if line.primitive.multiple_results else [found]

    exact = bound(given.exact)
    if name in _STEPS or not any(_inexact(x) for x in exact):
        return _Both(exact, exact)
    again = bound(given.rounded)
    if name not in _EXACT:
        whole = _whole(name, given.exact)
        again = [_rounded(x, run, next(places), whole) for x in again]
    return _Both(exact, [b if _inexact(b) else a for a, b in zip(exact, again, strict=True)])


def _closed(program: Any) -> ClosedJaxpr:
    return program if isinstance(program, ClosedJaxpr) else ClosedJaxpr(program, ())


def _inexact(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jnp.inexact)


def _scan(line: Any, body: ClosedJaxpr, given: _Both, run: Array, places: Iterator[int]) -> _Both:
    """The loop, whose body is rounded at random; an operation alike in each of its rounds."""
    ranks = _ranks(line.invars), _ranks(line.outvars)
    inner = _ranks(body.jaxpr.invars), _ranks(body.jaxpr.outvars)
    # what is taken or given round by round has an axis more outside
    taken, kept = (sum(map(operator.eq, *pair)) for pair in zip(ranks, inner, strict=True))
    fixed, place = taken - kept, next(places)

    def step(carry: _Both, x: _Both) -> tuple[_Both, _Both]:
        parts = zip(given, carry, x, strict=True)
        inputs = _Both(*([*every[:fixed], *held, *new] for every, held, new in parts))
        found = _run(body, inputs, run, (place * 1_000 + i for i in count(1)))
        return _Both(*(x[:kept] for x in found)), _Both(*(x[kept:] for x in found))

    initial = _Both(*(x[fixed:taken] for x in given))
    rounds = _Both(*(x[taken:] for x in given))
    loop = {name: line.params[name] for name in ("length", "reverse")}
    last, every = jax.lax.scan(step, initial, rounds, **loop)
    return _Both(*([*a, *b] for a, b in zip(last, every, strict=True)))


def _ranks(variables: list[Any]) -> list[int]:
    return [variable.aval.ndim for variable in variables]


def _whole(name: str, given: list[Any]) -> Any:
    """Where an operation is exact since whole numbers go in."""
    if name not in _WHOLE | _SUMS or jnp.iscomplexobj(given[0]):
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
    if x.dtype == jnp.complex128:
        return jax.lax.complex(*(_rounded(f(x), run, place, whole) for f in (jnp.real, jnp.imag)))
    if x.dtype != jnp.float64:
        return x
    first, second, third = map(jnp.uint64, _ODD)
    bits = jax.lax.bitcast_convert_type(x, jnp.uint64) + run * first + jnp.uint64(place) * third
    for odd in (second, third):
        bits = (bits ^ (bits >> jnp.uint64(29))) * odd
    share = (bits >> jnp.uint64(11)).astype(jnp.float64) * 2.0**-52 - 1.0
    return jnp.where(whole, x, x * (1 + UNITS * jnp.finfo(jnp.float64).eps * share))
