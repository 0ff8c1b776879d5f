"""Samplers agree on what no permutation of labels can change.

The likelihood of a mixture is the same under each of the k! permutations π of its components, so
that a mean of a component's parameters depends on how draws were labelled.  A function with
f(π θ) = f(θ) has one posterior whatever the labelling: the log density log p(x_i | θ), what tells
components apart (their means) in order of size, and the co-clustering of two rows,
P(z_i = z_j | x, θ) = Σ_c r_ic r_jc with responsibilities r.  These have to pass the convergence
gate, which labelled quantities need not.
References: Stephens (2000), JRSS B 62; Jasra, Holmes & Stephens (2005), Statistical Science 20.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from comparisons.policy import LABEL_FREE
from comparisons.reference import Case, one_fact, same_moments
from comparisons.verdict import Verdict, not_comparable
from inference.estimate import Scalar
from inference.method import label
from inference.posterior.diagnostics import gate, moments, not_finite
from models.capabilities import HasComponents, HasLabels, HasUnits
from models.programs.compilation import once
from models.programs.density import density
from models.programs.precision import float64
from models.spec import Model, Values

ROWS = 5
"""Rows whose density and co-clustering are looked at, evenly spaced by the first column."""


@float64
def compare(case: Case) -> Iterator[Verdict]:
    """Mean and sd of each label-free quantity: every sampler against the first."""
    model = case.model
    if not isinstance(model, HasLabels) or not isinstance(model, HasComponents):
        return
    if model.labels < 2 or isinstance(model, HasUnits):
        return
    found, least, shipped = {}, {}, set[str]()
    for method, fit in case.estimates("posterior").items():
        if fit.draws is None or "sample_stats" not in fit.draws.children:
            continue
        # not the fit's own problems, which are those of quantities that have labels
        least, flat = label_free(model, case.data, fit.draws["posterior"].to_dataset())
        stats = {str(n): x.to_numpy() for n, x in fit.draws["sample_stats"].data_vars.items()}
        names = list(least)
        if problems := [*not_finite(flat, names), *gate(flat, names, stats)]:
            cause = f"{label(method)}: {'; '.join(problems)}"
            yield not_comparable("label-free quantities", cause, method=label(method))
        else:
            shipped |= {label(method)} if method.shipped else set()
            found[label(method)] = [Scalar(*row) for row in np.stack(moments(flat), 1).tolist()]
    for other in list(found)[1:]:
        fields = {"method": other, "reference": next(iter(found))}
        rows = zip(least.items(), found[other], found[fields["reference"]], strict=True)
        told = [
            replace(row, bound=max(enough, row.bound), resolution=max(enough, row.resolution))
            for (name, enough), one, its in rows
            for row in same_moments(one, its, its.sd, parameter=name, **fields)
        ]
        yield from one_fact(told) if other in shipped else told


def label_free(
    model: Model, data: xr.Dataset, posterior: xr.Dataset
) -> tuple[dict[str, float], np.ndarray]:
    """Draws of the numbers of a mixture that labels cannot change, dims (chain, draw, …).

    Returns:
        By name, the largest difference that does not matter however little a quantity varies; and
        the draws in that order, shape (chain, draw, quantity).
    """
    assert isinstance(model, HasLabels)
    assert isinstance(model, HasComponents)
    values: Any = {p.name: jnp.asarray(posterior[p.name].data) for p in model.parameters}
    y = next(iter(data.data_vars.values()))
    order = np.argsort(np.asarray(y.data).reshape(y.shape[0], -1)[:, 0], kind="stable")
    rows = order[np.linspace(0, order.size - 1, min(ROWS, order.size)).round().astype(int)]
    few = data.isel({str(y.dims[0]): rows})
    target = density(model, few)
    first, second = np.triu_indices(rows.size, 1)
    components, features = model.label_features(model.truth).shape

    def label_free_of(values: Values) -> jax.Array:
        share = model.responsibilities(values, few)
        return jnp.concatenate(
            [
                target.log_likelihood(target.unconstrain(values)),
                jnp.sort(model.label_features(values), axis=0).ravel(),
                jnp.sum(share[first] * share[second], axis=1),
            ]
        )

    least = {f"log density of row {i}": 0.0 for i in rows}
    for place, j in np.ndindex(components, features):
        least[f"feature {j} of the components, number {place + 1} by size"] = 0.0
    for i, j in zip(rows[first], rows[second], strict=True):
        least[f"P(rows {i} and {j} are of one component)"] = LABEL_FREE
    return least, np.asarray(once(jax.vmap(jax.vmap(label_free_of)))(values))
