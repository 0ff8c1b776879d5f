"""How many threads compute: those of a pool, and one of linear algebra at a time.

A BLAS with threads of its own fights those that run the chains: on two busy cores a triangular
solve of a few hundred rows was up to 20 times slower with them.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threadpoolctl import threadpool_limits


THREADS = "CONCORD_THREADS"
"""Environment variable: threads of this process, where several share the machine."""


def pool() -> ThreadPoolExecutor:
    """Threads for batches of replicates, one for each processor unless the environment says so."""
    return ThreadPoolExecutor(int(os.environ.get(THREADS, 0)) or os.cpu_count())


def one_blas_thread() -> threadpool_limits:
    """A context in which linear algebra runs in the thread that asks for it."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(limits=1, user_api="blas")
