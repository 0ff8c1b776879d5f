"""Ranges of settings, written once: in the annotation of the field that holds the setting.

k: Size = 2                          an integer from 1 to 1,000, of which arrays are made
restarts: Count = 2                  an integer of at least 1
draws: Annotated[int, Ge(4)] = 100   an integer of at least 4
scale: Positive = 1.0                above 0 and finite
kind: Literal["a", "b"] = "a"        one of these
"""

import operator
from collections.abc import Iterable
from dataclasses import astuple, fields
from functools import cache
from math import inf
from numbers import Integral, Real
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt

from models.errors import ConfigError, shown

MOST = 10_000_000
"""The largest integer where its annotation does not say: arrays of that length are made."""

_HOLDS = {Ge: operator.ge, Gt: operator.gt, Le: operator.le, Lt: operator.lt}

Size = Annotated[int, Ge(1), Le(1_000)]
Count = Annotated[int, Ge(1)]
Positive = Annotated[float, Gt(0), Lt(inf)]
Share = Annotated[float, Gt(0), Lt(1)]
Finite = Annotated[float, Gt(-inf), Lt(inf)]


def check_settings(instance: Any) -> None:
    """Refuses settings of a dataclass that are outside of the range of their annotation.

    Fields whose annotation is neither a `Literal` nor an `Annotated` number are not looked at.
    """
    hints = _hints(type(instance))
    for field in fields(instance):
        value = getattr(instance, field.name)
        if expected := _expected(hints.get(field.name), value):
            where = f"{type(instance).name}.{field.name}"
            raise ConfigError(f"{where} is {shown(value)}; expected {expected}")


def check_seed(seed: Any) -> None:
    """Refuses what is no integer of 63 bits."""
    whole = isinstance(seed, Integral) and not isinstance(seed, bool)
    if not whole or not 0 <= int(seed) < 2**63:
        raise ConfigError(f"seed is {shown(seed)}; expected an integer of at least 0, as seed=1")


def sequence[T](name: str, values: object, kind: type[T], example: str) -> tuple[T, ...]:
    """Several values of a kind, as an argument of a call.

    Args:
        name: of the argument.
        values: what was given.
        kind: what each is to be an instance of.
        example: what could be given.

    Raises:
        ConfigError: it is no sequence of such.
    """
    scalar = isinstance(values, str | bytes) or getattr(values, "ndim", 1) == 0
    if isinstance(values, Iterable) and not scalar:
        found: tuple[Any, ...] = tuple(values)
        wrong = [value for value in found if not isinstance(value, kind)]
        if not wrong:
            return found
        if isinstance(wrong[0], type) and issubclass(wrong[0], kind):
            made = f"{wrong[0].__name__}()"
            raise ConfigError(f"{name} holds the class {wrong[0].__name__}; write {made}")
        raise ConfigError(f"{name} holds {shown(wrong[0])}; expected {name}={example}")
    raise ConfigError(f"{name} is {shown(values)}; expected {name}={example}")


@cache
def _hints(cls: type) -> dict[str, Any]:
    try:
        return get_type_hints(cls, include_extras=True)
    except NameError:  # a name that is imported for the type checker only
        return {}


def _expected(hint: Any, value: Any) -> str:
    """The description of an acceptable value; "" if the value is one."""
    if get_origin(hint) is Literal:
        *first, last = map(str, get_args(hint))
        known = isinstance(value, str | int | bool | None) and value in get_args(hint)
        return "" if known else f"{', '.join(first)} or {last}"
    if get_origin(hint) is not Annotated:
        return ""
    kind, *bounds = get_args(hint)
    number = isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
    most: Any = next((bound.le for bound in bounds if isinstance(bound, Le)), MOST)
    if number and kind is int and not _within(value, Le(most)):
        return f"an integer of at most {most:,}"
    if number and all(_within(value, bound) for bound in bounds):
        return ""
    if kind is int:
        return f"an integer of at least {bounds[0].ge}"
    if Lt(1) in bounds:
        return "between 0 and 1"
    return "> 0 and finite" if Gt(0) in bounds else "a finite number"


def _within(value: Any, bound: Any) -> bool:
    try:
        float(value)
    except OverflowError:  # an integer may be finite and beyond float64
        return False
    holds = _HOLDS.get(type(bound))  # of what else an annotation says nothing is asked
    return holds is None or holds(value, astuple(bound)[0])
