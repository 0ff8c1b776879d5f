"""`AutoDelta`: NumPyro's maximum a posteriori on the natural scale, where Adam stops."""

from dataclasses import dataclass
from typing import ClassVar, final

from inference.engines._numpyro import Guide
from inference.method import Kind, Profile


@final
@dataclass(frozen=True)
class NumpyroDelta(Guide):
    """NumPyro's own MAP, `AutoDelta`, by Adam(0.01)."""

    name: ClassVar[str] = "numpyro_delta"
    kind: ClassVar[Kind] = "optimum"
    begins: ClassVar[Profile | None] = "standard"
    guide = "AutoDelta"
