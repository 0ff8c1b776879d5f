"""The work of a Dask worker, which sets the environment before JAX and PyTensor are imported."""

import contextlib
import faulthandler
import gc
import json
import os
import pkgutil
import threading
import traceback
from pathlib import Path
from typing import Any

from comparisons.runs import supervisor
from comparisons.runs.environment import prepare
from models.errors import ConcordError, ConfigError, FitError, told

_ONE_AT_A_TIME = threading.Lock()
"""Threads of a worker take turns: NumPyro keeps the handlers of all of them on one stack."""


def perform(
    call: str, arguments: tuple[Any, ...], skip: dict[str, str], events: str, log: str
) -> Any:
    """Calls a function with its arguments, `skip` and `tell`.

    Args:
        call: `module:function`.
        arguments: its positional arguments.
        skip: why a part of the work, by name, is not to be attempted.
        events: a file that takes what is told, one JSON line each; written to without buffers, so
            that it says what a worker was at when it died.  "": nowhere.
        log: a file that takes what libraries print; "" if that is not to be redirected.
    """
    prepare()
    if log:
        _redirect(log)
    import dask

    from models.programs.density import require_float64

    if not gc.get_freeze_count():
        # what the imports made stays: looking through it cost a tenth of the time spent compiling;
        # once, since what a later call froze of an earlier fit would never be freed
        gc.freeze()

    def tell(event: str, name: str, seconds: float = 0.0) -> None:
        line = json.dumps([event, name, seconds]) + "\n"
        if events:
            with contextlib.suppress(OSError), Path(events).open("a", encoding="utf-8") as file:
                file.write(line)

    # here xarray would write through locks of the cluster, which know of no file in memory
    with _ONE_AT_A_TIME, dask.config.set(scheduler="synchronous"):
        tell("began", str(os.getpid()))
        if log:
            faulthandler.enable()  # a crash leaves its place there
            supervisor.watch_leaving(lambda place: tell("left", place))
        require_float64()
        try:
            return pkgutil.resolve_name(call)(*arguments, skip=skip, tell=tell)
        except BaseException as error:
            if not isinstance(error, ConcordError):
                traceback.print_exc()
            raise in_words(error) from None


def in_words(error: BaseException) -> ConcordError:
    """An error of ours as it is; any other, which one process alone may be able to read, as one."""
    if isinstance(error, ConcordError):
        return error
    place = supervisor.raised_at(error)
    return FitError(f"{told(error)}{f' (at {place})' if place else ''}")


def require_same(description: object, expected: str) -> None:
    """Refuses a worker whose numbers would be others."""
    from comparisons.store.keys import digest

    if digest(description) != expected:
        raise ConfigError(
            "a Dask worker has another version of this package, of the model's file, of Python or "
            "of a library than this machine, and would give other numbers; install the same there"
        )


def _redirect(log: str) -> None:
    with contextlib.suppress(OSError):
        target = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        for descriptor in (1, 2):
            os.dup2(target, descriptor)
        os.close(target)
