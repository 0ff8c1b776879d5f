"""Order statistics of k independent normals, normalised and ready to be sampled in both languages.

For μ_1 < … < μ_k the density is k! ∏_j N(μ_j | m, s²): iid normals, sorted.  A mere `ordered`
transform of iid normals lacks the factor k! and draws unordered values from the prior.
Reference: David & Nagaraja (2003), Order Statistics, §2.2.
"""

from math import lgamma
from typing import Any, ClassVar, final

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions import constraints
from scipy.special import ndtri


@final
class OrderedNormal(dist.Distribution):
    """NumPyro distribution of `count` sorted iid normals; event shape (count,)."""

    arg_constraints: ClassVar[dict[str, Any]] = {
        "loc": constraints.real,
        "scale": constraints.positive,
    }
    support = constraints.ordered_vector
    pytree_data_fields = ("loc", "scale")
    pytree_aux_fields = ("count",)

    def __init__(self, loc: float, scale: float, count: int) -> None:
        self.loc, self.scale, self.count = jnp.asarray(loc), jnp.asarray(scale), count
        dist.Distribution.__init__(self, batch_shape=(), event_shape=(count,))

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        draws = dist.Normal(self.loc, self.scale).sample(key, (*sample_shape, self.count))
        return jnp.sort(draws, axis=-1)

    def log_prob(self, value: Array) -> Array:
        terms = dist.Normal(self.loc, self.scale).log_prob(value)
        return jnp.sum(terms, axis=-1) + lgamma(self.count + 1)


def pymc_ordered_normal(name: str, loc: float, scale: float, count: int, dims: str) -> Any:
    """The same law as a PyMC variable of the model in context.

    Args:
        name: of the variable.
        loc: mean of the normals.
        scale: standard deviation of the normals.
        count: how many there are.
        dims: the dimension of the variable.

    Returns:
        The variable, shape (count,).
    """
    import pymc as pm
    import pytensor.tensor as pt
    from pymc.distributions.shape_utils import rv_size_is_none
    from pymc.distributions.transforms import ordered

    def draw(loc: Any, scale: Any, size: Any) -> Any:
        shape = [count] if rv_size_is_none(size) else pt.concatenate([size, [count]])
        return pt.sort(pm.Normal.dist(loc, scale, size=shape), axis=-1)

    def logp(value: Any, loc: Any, scale: Any) -> Any:
        return pm.logp(pm.Normal.dist(loc, scale), value).sum(-1) + lgamma(count + 1)

    def middle(rv: Any, _: Any, *law: Any) -> Any:
        """Where PyMC's own methods start: at quantiles, since equal values are no ordered point."""
        return pt.broadcast_to(law[0] + law[1] * quantiles, rv.shape)

    quantiles = ndtri((np.arange(count) + 0.5) / count)
    return pm.CustomDist(
        name,
        loc,
        scale,
        dist=draw,
        logp=logp,
        support_point=middle,
        signature="(),()->(k)",
        transform=ordered,
        dims=dims,
    )
