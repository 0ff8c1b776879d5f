"""`pm.fit(method="advi")` and `"fullrank_advi"`: PyMC's variational inference as its users call it.

`default` is what `pm.fit` does when told nothing else: 10,000 steps of windowed Adagrad.  `decayed`
is Adam at 0.05 for 20,000 steps, whose rate falls a thousandfold over 10,000 more.  Several runs
with seeds of their own tell the optimiser's noise.
Reference: Kucukelbir, Tran, Ranganath, Gelman & Blei (2017), JMLR 18.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import numpy as np
import xarray as xr
from numpy.random import Generator

from inference.engine import STEPS, Found, Law, PymcEngine, flat, library_call, rate_left
from inference.method import derived
from inference.posterior.draws import CHAINS
from models.spec import Model, Values

_RATE, _EVERY = 0.05, 100  # the first learning rate, and the steps after which it is set anew
_USUAL = ("mean_field", "default")
_CALLS = {"mean_field": "advi", "full_rank": "fullrank_advi"}


@final
@dataclass(frozen=True)
class PymcADVI(PymcEngine, Law):
    """PyMC's own ADVI, `pm.fit(method="advi")` or `"fullrank_advi"`; see `Law`.

    Attributes:
        family: `mean_field` or `full_rank`.
        schedule: `default`, or `decayed`, whose learning rate falls.
    """

    family: Literal["mean_field", "full_rank"] = "mean_field"  # pyright: ignore[reportIncompatibleVariableOverride]
    schedule: Literal["default", "decayed"] = "default"

    name: ClassVar[str] = "pymc_advi"
    begins = derived(
        lambda self: "standard" if (self.family, self.schedule) == _USUAL else "thorough"
    )

    def call(self, model: Model, data: xr.Dataset, rng: Generator, start: Values | None) -> Found:
        import pymc as pm

        drawn, losses = [], []
        for stream in rng.spawn(self.runs):
            with library_call(), model.pymc(data):
                found = pm.fit(
                    STEPS[self.schedule],
                    method=_CALLS[self.family],
                    random_seed=self.seed(stream),
                    start=start,
                    progressbar=False,
                    **(_decayed() if self.schedule == "decayed" else {}),
                )
                tree = found.sample(CHAINS * self.draws, random_seed=self.seed(stream))
            drawn.append({str(name): x.values[0] for name, x in tree["posterior"].items()})
            losses.append(np.asarray(found.hist))
        return Found(drawn, losses[0], claims=flat(losses[0]))


def _decayed() -> dict[str, Any]:
    """Optimiser of the schedule whose rate falls, by the library's own callbacks."""
    import pymc as pm
    import pytensor

    rate = pytensor.shared(np.float64(_RATE))

    def fall(_: object, __: object, step: int) -> None:
        if step % _EVERY == 0:
            rate.set_value(np.float64(_RATE * rate_left(step)))

    return {"obj_optimizer": pm.adam(learning_rate=rate), "callbacks": [fall]}
