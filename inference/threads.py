"""How many threads compute: those of a pool, and one of linear algebra at a time.

A BLAS with threads of its own fights those that run the chains: on two busy cores a triangular
solve of a few hundred rows was up to 20 times slower with them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from models.errors import ConcordError, FitError
from models.programs.precision import float64_in_this_thread

if TYPE_CHECKING:
    from threadpoolctl import threadpool_limits


THREADS = "CONCORD_THREADS"
"""Environment variable: threads of this process, where several share the machine."""


def pool(most: int | None = None) -> ThreadPoolExecutor:
    """Threads in float64: one for each processor, unless the environment or `most` says fewer."""
    count = int(os.environ.get(THREADS, 0)) or os.cpu_count() or 1
    return ThreadPoolExecutor(min(count, most or count), initializer=float64_in_this_thread)


def one_blas_thread() -> threadpool_limits:
    """A context in which linear algebra runs in the thread that asks for it."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(limits=1, user_api="blas")


@contextmanager
def fitting(what: str) -> Iterator[None]:
    """One thread of BLAS for a fit; what a user's programs raise in it becomes a FitError."""
    try:
        with one_blas_thread():
            yield
    except ConcordError:
        raise
    except Exception as error:
        raise FitError(f"{what} failed: {type(error).__name__}: {error}") from error
