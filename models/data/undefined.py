"""What in the data themselves leaves a likelihood without a maximum."""

from __future__ import annotations

import numpy as np


def undefined_in_groups(rows: np.ndarray, group: np.ndarray, called: str) -> str:
    """Groups of one row, or without any variation, leave the scale within them no estimate.

    Args:
        rows: observations, shape (N, D).
        group: the group of each, integers from 0, shape (N,).
        called: the name of the grouping.
    """
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


def undefined_by_relation(rows: np.ndarray, called: list[str], width: int) -> str:
    """A linear relation among `width` columns or fewer makes their covariance singular.

    Args:
        rows: observations, none of the columns constant, shape (N, D).
        called: names of the columns.
        width: the largest number of columns among which a relation matters.
    """
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
        terms = [(1.0, j)] + [
            (-w * unit[j] / unit[i], i)
            for w, i, kept in zip(weights, independent, used, strict=True)
            if kept
        ]
        few = f"N = {n} observations cannot determine {d} columns: " if n <= d else ""
        return f"{few}{_direction(terms, called)} is constant, so the covariance is singular"
    return ""


def _direction(terms: list[tuple[float, int]], called: list[str]) -> str:
    """A null direction in words: `x1 − 2·x2`."""
    text = ""
    for weight, j in terms[:6]:
        size = f"{abs(weight):.4g}"
        sign = ("−" if weight < 0 else "") if not text else (" − " if weight < 0 else " + ")
        text += sign + ("" if size == "1" else f"{size}·") + called[j]
    return text + (" …" if len(terms) > 6 else "")
