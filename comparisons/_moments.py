"""Streaming moments of columns over replicates, merged exactly.

Sums of powers about the mean up to the fourth, with covariances, so that any number of replicates
needs no more memory than one batch.
Reference: Pébay (2008), Formulas for Robust, One-Pass Parallel Computation of Covariances and
Arbitrary-Order Statistical Moments, SAND2008-6212.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np


class Moments(NamedTuple):
    """Of columns over replicates: sums of powers about the mean.

    Rows with a NaN are left out, and counted; rows of +∞ were not asked for, and are not.
    """

    replicates: int
    left_out: int
    mean: np.ndarray
    second: np.ndarray
    """Sums of products of deviations, shape (m, m)."""
    third: np.ndarray
    fourth: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray) -> Moments:
        """Of an array with one row per replicate, shape (R,) or (R, m)."""
        rows = np.asarray(rows, float)
        rows = rows.reshape(len(rows), int(np.prod(rows.shape[1:])))
        good = rows[np.isfinite(rows).all(axis=1)]
        left_out = len(rows) - len(good) - int(np.isposinf(rows).all(axis=1).sum())
        if not len(good):
            zero = np.zeros(rows.shape[1])
            return cls(0, left_out, zero, np.diag(zero), zero, zero)
        mean = good.mean(axis=0)
        away = good - mean
        powers = (away**3).sum(axis=0), (away**4).sum(axis=0)
        return cls(len(good), left_out, mean, away.T @ away, *powers)

    def merged(self, other: Moments) -> Moments:
        """Those of both together."""
        left_out = self.left_out + other.left_out
        if not self.replicates or not other.replicates:
            return (self if self.replicates else other)._replace(left_out=left_out)
        a, b = self.replicates, other.replicates
        n, d = a + b, other.mean - self.mean
        v, w = np.diag(self.second), np.diag(other.second)
        return Moments(
            n,
            left_out,
            self.mean + d * b / n,
            self.second + other.second + np.outer(d, d) * a * b / n,
            self.third + other.third + d**3 * a * b * (a - b) / n**2 + 3 * d * (a * w - b * v) / n,
            self.fourth
            + other.fourth
            + d**4 * a * b * (a * a - a * b + b * b) / n**3
            + 6 * d**2 * (a * a * w + b * b * v) / n**2
            + 4 * d * (a * other.third - b * self.third) / n,
        )

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


type Summaries = Mapping[int, Mapping[str, Moments]]
"""By number of units, then by column."""
