"""Data that leave a likelihood without a maximum, whatever the method."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from models.capabilities import HasEquivariances, HasGroups, HasLabels, HasOrder, HasOwnPrograms
from models.data.dataset import column_names

if TYPE_CHECKING:
    import xarray as xr

    from models.spec import Model


def undefined(data: xr.Dataset, model: Model) -> str:
    """Why maximum likelihood is undefined for these data, as a sentence; "" if nothing is known.

    Read off the data where it can be: it speaks of data with one measurement, whose scale the
    model estimates by what it declares. A singular covariance counts for columns along a dim called
    `variable`; a model of order q whose columns are free (q factors, noise of its own in every
    column) is undone only by a relation among q + 1 columns or fewer.
    """
    if isinstance(model, HasOwnPrograms):
        return ""  # of whose scales nothing is known
    if isinstance(model, HasEquivariances) and not any(e.locations for e in model.equivariances):
        return ""  # it has no scale of its own
    groups = model.group_variables if isinstance(model, HasGroups) else ()
    names = [key for key in data.data_vars if key not in groups]
    if len(names) != 1 or data[names[0]].dtype.kind != "f":
        return ""
    variable = data[names[0]]
    values = np.asarray(variable.values)
    called = column_names(data, names[0])
    rows = values.reshape(values.shape[0], -1)
    if problem := _too_few(rows, model):
        return problem
    constant = np.ptp(rows, axis=0) <= 4 * np.finfo(float).eps * np.abs(rows).max(axis=0)
    if constant.all():
        return (
            f"all {rows.shape[0]} observations of {', '.join(called[:4])} are equal, so the "
            "likelihood grows without bound as the scale goes to 0"
        )
    for group in groups:
        if problem := _undefined_in_groups(rows, np.asarray(data[group].values), group):
            return problem
    if variable.dims[1:] != ("variable",):
        return ""
    if constant.any():
        which = called[int(np.argmax(constant))]
        return f"column {which!r} is constant, so its scale has no positive estimate"
    width = rows.shape[1]
    if isinstance(model, HasOrder) and "variable" in model.free_dims:
        width = model.order + 1
    return _undefined_by_relation(rows, called, width)


def _too_few(rows: np.ndarray, model: Model) -> str:
    """Fewer rows, or distinct ones, than a scale or the components of a mixture need."""
    if rows.shape[0] == 1:
        return "a single observation (N = 1) leaves every scale undetermined"
    if isinstance(model, HasLabels):
        distinct = np.unique(rows, axis=0).shape[0]
        if rows.shape[0] < model.labels:
            return f"N = {rows.shape[0]} observations are fewer than K = {model.labels} components"
        if distinct < model.labels:
            return f"{distinct} distinct points are fewer than K = {model.labels} components"
    return ""


def _undefined_in_groups(rows: np.ndarray, group: np.ndarray, called: str) -> str:
    """Groups of one row, or without any variation, leave the scale within them no estimate."""
    sizes = np.bincount(group)
    if sizes.max() == 1:
        return f"every {called!r} has one row: variation within and between cannot be told apart"
    order = np.argsort(group, kind="stable")
    starts = np.unique(group[order], return_index=True)[1]
    within = np.maximum.reduceat(rows[order], starts) - np.minimum.reduceat(rows[order], starts)
    if not within.any():
        return (
            f"no {called!r} varies within itself, so the likelihood grows without bound as the "
            "scale within goes to 0"
        )
    return ""


def _undefined_by_relation(rows: np.ndarray, called: list[str], width: int) -> str:
    """A linear relation among `width` columns or fewer makes their covariance singular."""
    n, d = rows.shape
    centred = rows / np.abs(rows).max(axis=0)
    centred = centred - centred.mean(axis=0)
    scale = np.linalg.norm(centred, axis=0)
    triangle = np.linalg.qr(centred / scale, mode="r")
    # the square of this bound is where a covariance matrix is singular to working precision
    bound = np.sqrt(d * np.finfo(float).eps)
    if n > d and np.linalg.svd(triangle, compute_uv=False)[-1] > bound:
        return ""
    independent: list[int] = []
    for j in range(d):
        weights = np.linalg.lstsq(triangle[:, independent], triangle[:, j], rcond=None)[0]
        if np.linalg.norm(triangle[:, j] - triangle[:, independent] @ weights) > bound:
            independent.append(j)
            continue
        used = np.abs(weights) > bound
        if used.sum() + 1 > width:
            continue
        unit = scale * np.abs(rows).max(axis=0)
        others = np.array(independent, dtype=int)[used]
        factors = -weights[used] * unit[j] / unit[others]
        terms = [(1.0, j), *zip(factors.tolist(), others.tolist(), strict=True)]
        few = f"N = {n} observations cannot determine {d} columns: " if n <= d else ""
        return f"{few}{_direction(terms, called)} is constant, so the covariance is singular"
    return ""


def _direction(terms: list[tuple[float, int]], called: list[str]) -> str:
    """A null direction in words: `x1 − 2·x2`."""
    text = ""
    for weight, j in terms[:6]:
        size = f"{abs(weight):.4g}"
        text += f"{' − ' if weight < 0 else ' + '}{'' if size == '1' else f'{size}·'}{called[j]}"
    return text.removeprefix(" + ") + (" …" if len(terms) > 6 else "")
