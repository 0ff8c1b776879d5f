"""One labelling of exchangeable components, so that fits can be compared.

The likelihood of a mixture is the same under every permutation of its components.  A point is put
in canonical order, by the first feature of each component.
Reference: Stephens (2000), Dealing with label switching in mixture models, JRSS B 62.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp

from models._spec import HasLabels

if TYPE_CHECKING:
    from models._spec import Model, Values


def canonical(model: Model, values: Values) -> Values:
    """The same point with components in increasing order of their first feature."""
    if not isinstance(model, HasLabels) or model.labels == 1:
        return values
    return model.relabel(values, jnp.argsort(model.label_features(values)[:, 0]))
