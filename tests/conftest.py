"""Every test runs in float64, as every comparison does."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if "PYTEST_XDIST_WORKER" in os.environ:
    # before JAX counts the processors: each of them has a test process of its own
    os.environ.setdefault("PJRT_NPROC", "1")

import jax
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_num_cpu_devices", 4)


@pytest.fixture(scope="module")
def unoptimised() -> Iterator[None]:
    """Compiles in less time, for laws whose programs run a few times each.

    What was compiled before is dropped, and so is what is compiled here: JAX does not tell them
    apart.
    """
    jax.clear_caches()
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    jax.clear_caches()
