"""One labelling of exchangeable components and one sign, so that fits can be compared.

The likelihood of a mixture is the same under every permutation of its components.  A point is put
in canonical order, by the first feature of each component; draws take the permutation π that
minimises Σ_j |f_π(j) − f_j(pivot)|² over the standardised features f of their components, an
assignment problem.  The likelihood of a factor model is the same under a change of sign of every
column of loadings.
Reference: Stephens (2000), Dealing with label switching in mixture models, JRSS B 62.
"""

from collections.abc import Mapping
from math import lgamma, log
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from scipy.optimize import linear_sum_assignment

from inference.posterior.points import each, to_natural, to_unconstrained
from models.capabilities import HasLabels, HasSigns
from models.programs.adopted.model import AdoptedModel
from models.programs.compilation import once
from models.programs.density import Density
from models.spec import Model, Values


def canonical(model: Model, values: Values) -> Values:
    """The same point, components in increasing order of their first feature, signs positive."""
    if isinstance(model, HasSigns):
        return model.fold(values)
    if not isinstance(model, HasLabels) or model.labels == 1:
        return values
    return model.relabel(values, jnp.argsort(model.label_features(values)[:, 0]))


def exchangeable(model: Model) -> bool:
    """Whether components can switch labels; an ordered parameter or a user's prior forbids it."""
    if isinstance(model, AdoptedModel):
        return bool(model.exchanged)
    ordered = any(parameter.support == "ordered" for parameter in model.parameters)
    return isinstance(model, HasLabels) and model.labels > 1 and not ordered


def log_modes(model: Model) -> float:
    """Logarithm of how many equal modes signs, or the labels of unordered components, make."""
    if isinstance(model, HasSigns):
        return model.signs * log(2)
    return lgamma(model.labels + 1) if isinstance(model, HasLabels) and exchangeable(model) else 0.0


def align(model: Model, values: Values, pivot: Values) -> Values:
    """Every draw with its components in the order of those of the pivot; arrays (s, …)."""
    assert isinstance(model, HasLabels)
    features = np.asarray(jax.vmap(model.label_features)(values))
    scale = features.std(axis=(0, 1))
    features = features / np.where(scale > 0, scale, 1.0)
    wanted = np.asarray(model.label_features(pivot)) / np.where(scale > 0, scale, 1.0)
    # cost[s, j, i] is that of taking component i of draw s as component j
    cost = ((wanted[:, None] - features[:, None]) ** 2).sum(axis=-1)
    cost = np.nan_to_num(cost, nan=0.0, posinf=0.0)
    permutation = np.stack([linear_sum_assignment(matrix)[1] for matrix in cost])
    return once(jax.vmap(model.relabel))(values, jnp.asarray(permutation))


def fold(model: HasSigns, values: Mapping[str, ArrayLike]) -> dict[str, np.ndarray]:
    """Every draw with its signs positive; arrays (s, …)."""
    return each(model.fold)(dict(values))


def one_fold(
    target: Density, points: np.ndarray, pivot: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The equal of each point in one of the folds of signs or labels, and where it is itself.

    Args:
        target: the density of a model.
        points: shape (s, k), in the unconstrained space.
        pivot: the point, shape (k,), that the labels are aligned to.
    """
    model = target.model
    if log_modes(model) == 0:
        return points, np.ones(len(points), bool)
    values: Any = {name: x[0] for name, x in to_natural(target, points[None]).items()}
    if isinstance(model, HasSigns):
        equal: Any = fold(model, values)
    else:
        equal = align(model, values, target.constrain(jnp.asarray(pivot)))
    same = [(equal[name] == x).reshape(len(points), -1).all(axis=1) for name, x in values.items()]
    return to_unconstrained(target, equal), np.logical_and.reduce(same)
