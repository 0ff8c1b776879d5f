"""Where the climb to a mixture's maximum starts: rows of the data, and the rows nearest to each.

Reference: Arthur & Vassilvitskii (2007), k-means++, SODA.
"""

import numpy as np

from models.catalogue._normal import spread


def clustered(
    rng: np.random.Generator, rows: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Components about k jittered rows, by k-means++ or, every other time, at random.

    Args:
        rng: the stream of the draws.
        rows: the data, shape (N, D).
        k: number of components.

    Returns:
        How many rows are nearest to each component, and one, shape (k,), and the means and the
        standard deviations of the components, shape (k, D).
    """
    pooled, positive = rows.std(axis=0), spread(rows)
    standard = (rows - rows.mean(axis=0)) / positive
    chosen = _distant(rng, standard, k, greedy=bool(rng.integers(2)))
    nearest = ((standard[:, None] - standard[chosen]) ** 2).sum(axis=2).argmin(axis=1)
    share = np.bincount(nearest, minlength=k) + 1.0
    mean = rows[chosen] + 0.1 * pooled * rng.standard_normal((k, rows.shape[1]))
    own = (rows[nearest == j] for j in range(k))
    scale = np.stack([near.std(axis=0) if len(near) > 2 else pooled for near in own])
    return share, mean, np.maximum(scale, 0.1 * positive)


def _distant(rng: np.random.Generator, rows: np.ndarray, k: int, *, greedy: bool) -> np.ndarray:
    """Indices of k rows: k-means++ (far from each other with high probability) or uniform."""
    if not greedy:
        return rng.choice(rows.shape[0], size=k, replace=rows.shape[0] < k)
    chosen = [int(rng.integers(rows.shape[0]))]
    for _ in range(k - 1):
        distance = ((rows[:, None] - rows[chosen]) ** 2).sum(axis=2).min(axis=1)
        total = distance.sum()
        weights = distance / total if total > 0 else None
        chosen.append(int(rng.choice(rows.shape[0], p=weights)))
    return np.array(chosen)
