"""Ranges of settings, written once: in the annotation of the field that holds the setting.

k: Count = 2                         an integer of at least 1
draws: Annotated[int, Ge(4)] = 100   an integer of at least 4
scale: Positive = 1.0                above 0 and finite
kind: Literal["a", "b"] = "a"        one of these
"""

from dataclasses import fields
from functools import cache
from math import inf
from numbers import Integral, Real
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Lt

from models.errors import ConfigError

Count = Annotated[int, Ge(1)]
Positive = Annotated[float, Gt(0), Lt(inf)]
Share = Annotated[float, Gt(0), Lt(1)]
Finite = Annotated[float, Gt(-inf), Lt(inf)]


def check_settings(instance: Any) -> None:
    """Refuses settings of a dataclass that are outside of the range of their annotation.

    Fields whose annotation is neither a `Literal` nor an `Annotated` number are not looked at.

    Args:
        instance: a dataclass, whose class has a `name`.

    Raises:
        ConfigError: names the first such setting, its value and what would be accepted.
    """
    hints = _hints(type(instance))
    for field in fields(instance):
        value = getattr(instance, field.name)
        if expected := _expected(hints.get(field.name), value):
            shown = repr(value) if isinstance(value, str) else value
            raise ConfigError(f"{type(instance).name}.{field.name} is {shown}; expected {expected}")


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
        return "" if value in get_args(hint) else f"{', '.join(first)} or {last}"
    if get_origin(hint) is not Annotated:
        return ""
    kind, *bounds = get_args(hint)
    number = isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
    if number and all(_within(value, bound) for bound in bounds):
        return ""
    if kind is int:
        return f"an integer of at least {bounds[0].ge}"
    if Lt(1) in bounds:
        return "between 0 and 1"
    return "> 0 and finite" if Gt(0) in bounds else "a finite number"


def _within(value: Any, bound: Any) -> bool:
    match bound:
        case Ge(lowest):
            return value >= lowest
        case Gt(lowest):
            return value > lowest
        case Lt(highest):
            return value < highest
    return True
