"""Streaming summaries of columns over replicates: their moments, in fixed memory.

Moments are sums of powers about the mean up to the fourth, with covariances.
Reference: Pébay (2008), Formulas for Robust, One-Pass Parallel Computation of Covariances and
Arbitrary-Order Statistical Moments, SAND2008-6212.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np


class Moments(NamedTuple):
    """Columns over replicates: sums of powers about the mean.

    Rows with a NaN are left out, and counted; rows of +∞ were not asked for, and are not.
    """

    replicates: int
    left_out: int
    mean: np.ndarray
    second: np.ndarray
    """Sums of products of deviations, shape (m, m); their diagonal alone of columns by level."""
    third: np.ndarray
    """Empty of columns by level, as is the fourth."""
    fourth: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray) -> Self:
        """The moments of an array with one row per replicate.

        Its shape is (R,) or (R, m); or (R, m, levels), of which no two are studied together.
        """
        by_level = np.ndim(rows) > 2
        rows = np.asarray(rows, float).reshape(len(rows), int(np.prod(np.shape(rows)[1:])))
        good = rows[np.isfinite(rows).all(axis=1)]
        left_out = len(rows) - len(good) - int(np.isposinf(rows).all(axis=1).sum())
        mean = good.mean(axis=0) if len(good) else np.zeros(rows.shape[1])
        away = good - mean
        powers = [(away**2).sum(axis=0), *np.empty((2, 0))]
        if not by_level:
            powers = [away.T @ away, (away**3).sum(axis=0), (away**4).sum(axis=0)]
        return cls(len(good), left_out, mean, *powers)

    @classmethod
    def read(cls, parts: Sequence[Any]) -> Self:
        """From what `plain` gave."""
        return cls(parts[0], parts[1], *(np.asarray(part, float) for part in parts[2:]))

    @property
    def plain(self) -> list[Any]:
        """As lists and numbers."""
        return [part.tolist() if isinstance(part, np.ndarray) else part for part in self]

    def merged(self, other: Self) -> Self:
        """Those of both together."""
        left_out = self.left_out + other.left_out
        if not self.replicates or not other.replicates:
            return (self if self.replicates else other)._replace(left_out=left_out)
        n = self.replicates + other.replicates
        mean = self.mean + (other.mean - self.mean) * other.replicates / n
        both = zip(self._about(mean), other._about(mean), strict=True)
        second, third, fourth = (one + its for one, its in both)
        return type(self)(n, left_out, mean, second, third, fourth)

    def _about(self, place: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The sums of powers about another place than the mean."""
        n, d = self.replicates, self.mean - place
        if self.second.ndim == 1:
            return self.second + n * d**2, self.third, self.fourth
        square = np.diag(self.second)
        third = self.third + 3 * d * square + n * d**3
        fourth = self.fourth + 4 * d * self.third + 6 * d**2 * square + n * d**4
        return self.second + n * np.outer(d, d), third, fourth

    @property
    def covariance(self) -> np.ndarray:
        """Unbiased, shape (m, m)."""
        return self.second / max(self.replicates - 1, 1)

    @property
    def deviation(self) -> np.ndarray:
        """Standard deviations, shape (m,)."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def error(self) -> np.ndarray:
        """Standard errors of the means."""
        return self.deviation / np.sqrt(self.replicates)

    @property
    def relative(self) -> np.ndarray:
        """Relative standard errors of the variances, √((κ − 1)/R) with κ the kurtosis."""
        with np.errstate(invalid="ignore", divide="ignore"):  # a constant has none
            kurtosis = self.fourth * self.replicates / np.diag(self.second) ** 2
        return np.sqrt(np.maximum(kurtosis - 1, 0) / self.replicates)
