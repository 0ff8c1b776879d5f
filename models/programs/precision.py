"""float64 without a global switch: our computations run in it, the user's process stays as it is.

Optima, Hessians and the gate need more digits than float32 has (a gradient stalls at 1e-3 there).
JAX's switch is a setting of the thread; what we compute runs under it, in whichever thread. So does
the silence of NumPy's floating point: what is not finite is judged where it is used, in words.
"""

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np


def _switch() -> Any:
    import jax  # here, so that what only declares a computation does not load it

    return jax.enable_x64


@contextmanager
def _computing() -> Iterator[None]:
    with _switch()(True), np.errstate(all="ignore"):
        yield


def float64[**P, T](function: Callable[P, T]) -> Callable[P, T]:
    """The function, run in float64; a generator is in float64 only while it runs."""
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def generator(*args: P.args, **kwargs: P.kwargs) -> Iterator[Any]:
            items, end = cast("Iterator[Any]", function(*args, **kwargs)), object()
            step = _computing()(lambda: next(items, end))
            while (item := step()) is not end:
                yield item

        return cast("Callable[P, T]", generator)

    return _computing()(function)


def float64_in_this_thread() -> None:
    """Puts the calling thread in float64 for the rest of its life: for threads of our own."""
    _switch().set_local(True)


def float64_is_on() -> bool:
    """Whether the calling thread computes in float64."""
    return bool(_switch().value)


@contextmanager
def keeping_the_switch() -> Iterator[None]:
    """Undoes what is done to the process's switch within (PyMC's JAX module flips it)."""
    before = _switch().get_global()
    try:
        yield
    finally:
        _switch().set_global(before)
