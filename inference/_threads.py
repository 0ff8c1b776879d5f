"""One BLAS thread at a time: a BLAS with threads of its own fights those that run the chains.

On two busy cores a triangular solve of a few hundred rows was up to 20 times slower with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threadpoolctl import threadpool_limits


def one_blas_thread() -> threadpool_limits:
    """A context in which linear algebra runs in the thread that asks for it."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(limits=1, user_api="blas")
