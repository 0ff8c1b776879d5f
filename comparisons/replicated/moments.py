"""Streaming summaries of columns over replicates: moments and quantiles, in fixed memory.

Moments are sums of powers about the mean up to the fourth, with covariances.  Quantiles come from
counts in bins of |x| whose ends grow by the factor γ, so that any quantile is known to the relative
error (γ − 1)/(γ + 1) whatever the scale of x.  Counts are integers: their sums are exact in any
order.
References: Pébay (2008), Formulas for Robust, One-Pass Parallel Computation of Covariances and
Arbitrary-Order Statistical Moments, SAND2008-6212; Masson, Rim & Lee (2019), DDSketch, Proc. VLDB
Endow. 12.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np

_GROWTH = 1.01
"""γ."""
_ENDS = round(np.log(1e12) / np.log(_GROWTH))
"""Bins of |x| on either side of 1; what is beyond 10^∓12 counts in the last ones."""
_SPAN = 4 * _ENDS + 3
"""Bins of a column: of negative numbers, of 0 and of positive ones."""


class Moments(NamedTuple):
    """Columns over replicates: sums of powers about the mean, and counts of a quantile sketch.

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
    bins: np.ndarray
    """Bins of the sketch that are not empty, those of column j from j · _SPAN; none without."""
    counts: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, *, sketch: bool = False) -> Self:
        """The moments of an array with one row per replicate; with a sketch for quantiles if asked.

        Its shape is (R,) or (R, m); or (R, m, levels), of which no two are studied together.
        """
        by_level = np.ndim(rows) > 2
        rows = np.asarray(rows, float).reshape(len(rows), int(np.prod(np.shape(rows)[1:])))
        good = rows[np.isfinite(rows).all(axis=1)]
        left_out = len(rows) - len(good) - int(np.isposinf(rows).all(axis=1).sum())
        mean = good.mean(axis=0) if len(good) else np.zeros(rows.shape[1])
        away, counted = good - mean, _counted(good) if sketch else np.empty((2, 0), int)
        powers = [(away**2).sum(axis=0), *np.empty((2, 0))]
        if not by_level:
            powers = [away.T @ away, (away**3).sum(axis=0), (away**4).sum(axis=0)]
        return cls(len(good), left_out, mean, *powers, *counted)

    @classmethod
    def read(cls, parts: Sequence[Any]) -> Self:
        """From what `plain` gave."""
        kinds = [float] * 4 + [int] * 2
        arrays = [np.asarray(part, kind) for part, kind in zip(parts[2:], kinds, strict=True)]
        return cls(parts[0], parts[1], *arrays)

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
        bins, place = np.unique(np.concatenate([self.bins, other.bins]), return_inverse=True)
        counts = np.zeros(bins.size, int)
        np.add.at(counts, place, np.concatenate([self.counts, other.counts]))
        return type(self)(n, left_out, mean, second, third, fourth, bins, counts)

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

    def quantile(self, which: int, level: float) -> tuple[float, float]:
        """A quantile of a column from its sketch, and its standard error.

        The error is half the distance between the quantiles at `level` ± √(p (1 − p)/R), together
        with the width of a bin.
        """
        first, last = np.searchsorted(self.bins, (which * _SPAN, (which + 1) * _SPAN))
        below = self.counts[first:last].cumsum()
        aside = np.sqrt(level * (1 - level) / self.replicates)
        ranks = np.clip(np.array([level, level - aside, level + aside]), 0, 1) * self.replicates
        bins = self.bins[first:last][np.searchsorted(below[:-1], ranks)] - which * _SPAN
        place = bins - (_SPAN - 1) // 2
        # as far, relatively, from both ends of a bin; of 0, 0
        size = 2 / (_GROWTH + 1) * _GROWTH ** (np.abs(place) - _ENDS - 1.0)
        value, low, high = np.sign(place) * size
        return float(value), float(np.hypot((high - low) / 2, (_GROWTH - 1) / 2 * value))


def _counted(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bins that rows are in, over all columns, and how many are in each."""
    with np.errstate(divide="ignore"):
        power = np.log(np.abs(rows)) / np.log(_GROWTH)
    size = np.clip(np.ceil(power), -_ENDS, _ENDS) + _ENDS + 1
    bins = (np.sign(rows) * size).astype(int) + (_SPAN - 1) // 2
    return np.unique(bins + _SPAN * np.arange(rows.shape[1]), return_counts=True)
