"""nutpie's No-U-Turn sampler, of a PyMC program by `pm.sample`, of a NumPyro one by `from_pyfunc`.

Compiled by Numba, as PyMC ships it: a warm compile cache gives other draws of the same seed.
Reference: Hoffman & Gelman (2014), JMLR 15.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.flatten_util import ravel_pytree
from numpy.random import Generator

from inference.engine import Found, PymcEngine, Sampler, library_call
from inference.engines._numpyro import unconstrained
from inference.method import Profile, derived
from models.programs.keys import key_of
from models.programs.precision import float64
from models.spec import Model, Values

_ARVIZ = {"depth": "tree_depth", "mean_tree_accept": "acceptance_rate"}  # its names by nutpie's
_STATS = ("energy", "diverging", "n_steps", *_ARVIZ)


@final
@dataclass(frozen=True)
class NutpieNUTS(Sampler):
    """nutpie's NUTS: `pm.sample(nuts_sampler="nutpie", cores=1)`, `nutpie.sample(cores=1)`.

    Attributes:
        program: whose program it samples.
    """

    program: Literal["pymc", "numpyro"] = "pymc"

    name: ClassVar[str] = "nutpie_nuts"
    library: ClassVar[str] = "nutpie"
    extra: ClassVar[str] = "nutpie"
    language = derived(lambda self: self.program)
    begins: ClassVar[Profile | None] = None

    def call(self, model: Model, data: xr.Dataset, rng: Generator, start: Values | None) -> Found:
        run: dict[str, Any] = {"draws": self.draws, "tune": self.warm_up, "chains": self.chains}
        run["cores"], seed = 1, PymcEngine.seed(rng)
        with library_call():
            if self.program == "numpyro":
                import nutpie  # pyright: ignore[reportMissingImports]

                program = unconstrained(model, data, start, key_of(rng)[None])
                compiled = _compiled(*program, here=start is not None)
                tree = nutpie.sample(compiled, **run, seed=seed, progress_bar=False)
            else:
                import pymc as pm

                with model.pymc(data):
                    run |= {"quiet": True, "compute_convergence_checks": False, "initvals": start}
                    tree = pm.sample(**run, nuts_sampler="nutpie", random_seed=seed)
        stats = {_ARVIZ.get(n, n): np.asarray(tree["sample_stats"][n]) for n in _STATS}
        return Found([{str(n): x.values for n, x in tree["posterior"].items()}], stats=stats)


def _compiled(starts: Any, density: Any, variables: Any, *, here: bool) -> Any:
    """A program as nutpie takes it, which calls it in threads; from its first start if `here`."""
    from nutpie.compiled_pyfunc import from_pyfunc  # pyright: ignore[reportMissingImports]

    first, point = ravel_pytree(jax.tree.map(lambda x: x[0], starts))
    slope = jax.jit(jax.value_and_grad(lambda u: density(point(u))))
    sites = jax.jit(lambda u: variables(point(u)))
    shapes = {name: x.shape for name, x in jax.eval_shape(sites, first).items()}

    @float64
    def log_density(u: Any) -> tuple[float, np.ndarray]:
        value, gradient = slope(jnp.asarray(u))
        return float(value), np.asarray(gradient)

    @float64
    def expand(u: Any) -> dict[str, np.ndarray]:
        return {name: np.asarray(x, float) for name, x in sites(jnp.asarray(u)).items()}

    return from_pyfunc(
        first.size,
        lambda: log_density,
        lambda *_: expand,
        [np.dtype("float64")] * len(shapes),
        list(shapes.values()),
        list(shapes),
        make_initial_point_fn=(lambda _: np.asarray(first)) if here else None,
    )
