"""Data of another size for a user's programs: their own rows, or groups of rows, over again.

Units are taken without replacement in one random order that never changes, and over again when all
are: ladders are nested, and of a multiple of their number each comes equally often.  The units are
the rows or, where latent variables are integrated out, the groups of rows that share some; each
group that is taken is a new one, and so are the labels within it.
"""

from collections.abc import Iterable, Mapping

import numpy as np


def resized(
    arrays: Mapping[str, np.ndarray], unit: np.ndarray, n: int, sizes: Iterable[int]
) -> tuple[dict[str, np.ndarray], np.ndarray, tuple[str, ...]]:
    """The data of n units, with new rows and labels.

    Args:
        arrays: all data, by name: what has a row for each unit's rows, or for each label, goes by
            them; an integer that counts either counts the new ones.
        unit: the unit of each row, 0 … U−1; −1 where it is of none.
        n: how many units.
        sizes: of the dims of latent variables, which labels may index.

    Returns:
        Arrays by name, the old row of each new one, and the names of arrays with new labels.
    """
    count = int(unit.max()) + 1
    taken = np.resize(np.random.default_rng(0).permutation(count), n)
    grouped = count < np.sum(unit >= 0)
    parts = [np.flatnonzero(unit == one) for one in np.sort(taken)]
    rows, copy = np.concatenate(parts), np.repeat(np.arange(n), list(map(len, parts)))
    sources: dict[int, np.ndarray] = {len(unit): rows}
    found: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        if grouped and _labels(array, unit, sizes):
            pairs = np.stack([copy, array[rows]], axis=1)
            old, new = np.unique(pairs, axis=0, return_inverse=True)
            found[name] = new.reshape(-1).astype(array.dtype)
            sources.setdefault(int(array.max()) + 1, old[:, 1])
    labels = tuple(found)
    for name, array in arrays.items():
        if name in labels:
            continue
        found[name] = array
        if array.ndim and array.shape[0] in sources:
            found[name] = array[sources[array.shape[0]]]
        elif not array.ndim and array.dtype.kind in "iu" and int(array) in sources:
            found[name] = np.asarray(len(sources[int(array)]), array.dtype)
    return {name: found[name] for name in arrays}, rows, labels


def _labels(array: np.ndarray, unit: np.ndarray, sizes: Iterable[int]) -> bool:
    """Whether an array numbers what a latent variable has values for, each within one unit."""
    if array.shape != unit.shape or array.dtype.kind not in "iu":
        return False
    codes = np.unique(array)
    within = np.unique(np.stack([array, unit]), axis=1).shape[1] == codes.size
    return within and np.array_equal(codes, np.arange(codes.size)) and codes.size in set(sizes)
