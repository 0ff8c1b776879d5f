"""Which components of a user's mixture can change places, found by values and not by names.

Components of a mixture, or states of a chain, are exchangeable if a permutation π of them, done to
every parameter that has an entry for each, leaves the density of every unit and the prior alone,

    p(x_i | θ_π) = p(x_i | θ) for each i,   π(θ_π) = π(θ)   at every θ,

which is asked at random θ of a transposition and of a cycle: the two generate all of Π.  Where the
likelihood alone does not change, the prior says which is which, and of the equal maxima of the
likelihood that of the highest prior stands for all.
Reference: Stephens (2000), Dealing with label switching in mixture models, JRSS B 62.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations, islice, permutations, product
from typing import NamedTuple, final

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from models.spec import Values

_MOST = 10  # components that are looked for, and parameters that may have an entry for each
_ORDERED = 5  # components of all whose orders the prior's height is asked, at most
_TRIED = 200  # choices of parameters, at most
_ROUNDING = 1e-9  # relative difference of two sums of the same terms in another order


@final
class Exchange(NamedTuple):
    """Components that can change places.

    Attributes:
        size: how many; 1 if there are none.
        axes: by parameter that has an entry for each of them, the axes of these entries.
        log_prior: of values of the parameters, if it is what tells them apart; else None.
    """

    size: int = 1
    axes: Mapping[str, tuple[int, ...]] = {}
    log_prior: Callable[[Values], Array] | None = None

    def relabel(self, values: Values, permutation: ArrayLike) -> Values:
        """The same point with component `permutation[j]` as component j."""
        moved = dict(values)
        for name, axes in self.axes.items():
            for axis in axes:
                moved[name] = jnp.take(moved[name], jnp.asarray(permutation), axis=axis)
        return moved

    def ordered(self, values: Values) -> Values:
        """The same point, its components in the order of their first feature."""
        if self.size == 1:
            return values
        return self.relabel(values, jnp.argsort(self.features(values)[:, 0]))

    def features(self, values: Values) -> Array:
        """Features of each component, shape (components, features), first its place."""
        if self.log_prior is not None:
            orders = jnp.array(list(permutations(range(self.size))))
            heights = jnp.stack([self.log_prior(self.relabel(values, order)) for order in orders])
            best = jnp.argmax(jnp.where(jnp.isnan(heights), -jnp.inf, heights))
            return jnp.argsort(orders[best])[:, None]
        single = {name: axes[0] for name, axes in self.axes.items() if len(axes) == 1}
        found = [jnp.moveaxis(values[name], axis, 0) for name, axis in single.items()]
        if not found:  # a matrix from each to each
            name, axes = next(iter(self.axes.items()))
            found = [jnp.moveaxis(jnp.diagonal(values[name], axis1=axes[0], axis2=axes[1]), -1, 0)]
        return jnp.concatenate([jnp.reshape(x, (self.size, -1)) for x in found], axis=1)


def exchange(
    shapes: Mapping[str, tuple[int, ...]],
    log_likelihood: Callable[[Values], Array],
    log_prior: Callable[[Values], Array],
    points: Sequence[Values],
) -> Exchange:
    """The components of a model that can change places, the most parameters at once.

    Args:
        shapes: of the parameters, those first by which components are to be ordered.
        log_likelihood: values of the parameters ↦ log p(x_i | θ), shape (N,).
        log_prior: values of the parameters ↦ log π(θ), on their natural scale.
        points: values at which both are finite and no two components are alike, two at least.
    """

    def equal(term: Callable[[Values], Array], one: Values, other: Values) -> bool:
        return np.allclose(term(other), term(one), rtol=_ROUNDING, atol=_ROUNDING)

    def same(term: Callable[[Values], Array], found: Exchange) -> bool:
        cycle, swap = np.roll(np.arange(found.size), 1), np.r_[1, 0, 2 : found.size]
        every = product(points, (swap, cycle))
        return all(equal(term, point, found.relabel(point, moved)) for point, moved in every)

    for found in islice(_candidates(shapes), _TRIED):
        # of hyper-parameters and imputed outcomes, which are not in it, a likelihood says nothing
        others = ({**points[0], name: points[1][name]} for name in found.axes)
        if any(equal(log_likelihood, points[0], other) for other in others):
            continue
        if same(log_likelihood, found) and same(log_prior, found):
            return found
        if found.size <= _ORDERED and same(log_likelihood, found):
            return found._replace(log_prior=log_prior)
    return Exchange()


def _candidates(shapes: Mapping[str, tuple[int, ...]]) -> Iterator[Exchange]:
    """Every choice of parameters that have as many entries, many parameters first."""
    for size in sorted({n for shape in shapes.values() for n in shape if 1 < n <= _MOST}):
        axes = {n: tuple(i for i, m in enumerate(s) if m == size) for n, s in shapes.items()}
        names = [name for name, own in axes.items() if own]
        for some in range(len(names), 0, -1) if len(names) <= _MOST else (len(names),):
            for chosen in combinations(names, some):
                yield Exchange(size, {name: axes[name] for name in chosen})
                if any(len(axes[name]) > 1 for name in chosen):
                    yield Exchange(size, {name: axes[name][:1] for name in chosen})
