"""Compilation of what is called once or twice: optimising it would take longer than it saves."""

from functools import partial

import jax

once = partial(
    jax.jit,
    compiler_options={
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
    },
)
"""`jax.jit` in two thirds of the time, to programs twice as slow; never within another `jit`."""
