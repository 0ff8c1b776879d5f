"""What a Dask worker runs; it imports nothing of ours before the environment is set.

JAX takes its precision from the environment when it is first imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from comparisons._environment import prepare

if TYPE_CHECKING:
    from comparisons._batches import Measured


def batch(spec: str, source: str, work: tuple[int, int, int]) -> Measured:
    """Measures a batch.

    Args:
        spec: what `comparisons._batches.from_spec` reads.
        source: digest of the code, libraries and settings that the numbers must come from.
        work: the fields of a `comparisons._batches.Work`.

    Raises:
        ConfigError: JAX was loaded here in single precision, or the source is another one.
    """
    prepare()
    from comparisons._batches import Work, description, from_spec, measured
    from comparisons._store import digest
    from models._density import require_float64
    from models._errors import ConfigError

    require_float64()
    module, setting = from_spec(spec)
    if digest(description(module, setting)) != source:
        raise ConfigError(
            "a Dask worker has another version of this package, of the model's file, of Python or "
            "of a library than this machine, and would give other numbers; install the same there"
        )
    return measured(module, setting, Work(*work))
