"""What a Dask worker runs; it imports nothing of ours before the environment is set.

JAX takes its precision from the environment when it is first imported.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from comparisons.runs.environment import prepare

if TYPE_CHECKING:
    from comparisons.runs.batches import Measured

_ONE_AT_A_TIME = threading.Lock()
"""Threads of a worker take turns: NumPyro keeps the handlers of all of them on one stack."""


def batch(spec: str, source: str, work: tuple[int, int, int]) -> Measured:
    """Measures a batch.

    Args:
        spec: what `comparisons.runs.batches.from_spec` reads.
        source: digest of the code, libraries and settings that the numbers must come from.
        work: the fields of a `comparisons.runs.batches.Work`.

    Raises:
        ConfigError: JAX was loaded here in single precision, or the source is another one.
    """
    prepare()
    from comparisons.runs.batches import Work, description, from_spec, measured
    from models.programs.density import require_float64

    require_float64()
    module, setting = from_spec(spec)
    _require(description(module, setting), source)
    with _ONE_AT_A_TIME:
        return measured(module, setting, Work(*work))


def demonstration(name: str, seed: int, effort: int, source: str) -> tuple[dict[str, Any], float]:
    """What a theory entry shows, and the seconds it took; see `comparisons.runs.theory.content`.

    Raises:
        ConfigError: JAX was loaded here in single precision, or the source is another one.
    """
    prepare()
    from comparisons.runs import theory as _theory

    _require(_theory.source(name), source)
    with _ONE_AT_A_TIME:
        began = time.perf_counter()
        return _theory.content(name, seed, effort), time.perf_counter() - began


def _require(description: dict[str, object], source: str) -> None:
    from comparisons.store.keys import digest
    from models.errors import ConfigError

    if digest(description) != source:
        raise ConfigError(
            "a Dask worker has another version of this package, of the model's file, of Python or "
            "of a library than this machine, and would give other numbers; install the same there"
        )
