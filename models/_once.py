"""Compilation of what runs a few times only: what the compiler would gain costs more than it."""

from __future__ import annotations

from functools import partial

import jax

once = partial(
    jax.jit,
    compiler_options={
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
    },
)
"""`jax.jit` that compiles a third faster, to what runs a third slower."""
