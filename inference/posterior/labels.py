"""One labelling of exchangeable components and one sign, so that fits can be compared.

The likelihood of a mixture is the same under every permutation of its components.  A point is put
in canonical order, by the first feature of each component.  That of a factor model is the same
under a change of sign of every column of loadings.
Reference: Stephens (2000), Dealing with label switching in mixture models, JRSS B 62.
"""

from __future__ import annotations

from math import lgamma, log
from typing import TYPE_CHECKING

import jax.numpy as jnp

from models.capabilities import HasLabels, HasSigns

if TYPE_CHECKING:
    from models.spec import Model, Values


def canonical(model: Model, values: Values) -> Values:
    """The same point, components in increasing order of their first feature, signs positive."""
    if isinstance(model, HasSigns):
        return model.fold(values)
    if not isinstance(model, HasLabels) or model.labels == 1:
        return values
    return model.relabel(values, jnp.argsort(model.label_features(values)[:, 0]))


def log_modes(model: Model) -> float:
    """log of how many equal modes signs, or the labels of unordered components, make."""
    if isinstance(model, HasSigns):
        return model.signs * log(2)
    if not isinstance(model, HasLabels):
        return 0.0
    ordered = any(parameter.support == "ordered" for parameter in model.parameters)
    return 0.0 if ordered else lgamma(model.labels + 1)
