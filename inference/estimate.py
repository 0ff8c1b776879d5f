"""One result type for every solver, with failure as data."""

from dataclasses import dataclass, field
from typing import NamedTuple, final

import numpy as np
import xarray as xr

from models.notebook import table
from models.programs.density import flat_names


@final
@dataclass(frozen=True, slots=True)
class Quantity:
    """Numbers with their Monte Carlo error; no number travels without it.

    Attributes:
        value: one variable per reported quantity, with named dims, on the natural scale.
        error: the Monte Carlo standard error of each; zeros where the value is exact.
    """

    value: xr.Dataset
    error: xr.Dataset


class Scalar(NamedTuple):
    """Location and sd of one reported number, each with its Monte Carlo error."""

    location: float
    location_error: float
    sd: float
    sd_error: float


def named_covariance(matrix: np.ndarray, names: list[str]) -> xr.DataArray:
    """A covariance matrix with the flat names of its rows and columns."""
    coords = {"quantity": names, "quantity_": names}
    return xr.DataArray(matrix, dims=("quantity", "quantity_"), coords=coords)


@final
@dataclass(frozen=True, slots=True)
class Estimate:
    """The outcome of one fit.

    Attributes:
        location: the estimate (an optimum, or a posterior mean) of every reported quantity.
        sd: its standard error or posterior standard deviation; NaN where undefined.
        log_likelihood: ℓ(θ̂) at `point`, nats, all constants kept.
        draws: posterior draws, ArviZ groups with dims (chain, draw); None where there are none.
        problems: why the result must not be relied on, one sentence each; empty if it may be.
        point: the parameter values at which `log_likelihood` was taken.
        covariance: covariance of the reported quantities, dims (quantity, quantity_), with the
            flat names (`mu[0]`) as coordinates; NaN where undefined.
        sd_kind: what `sd` is: `observed`, `posterior_sd`, …
        record: how the fit went: seconds of compilation, warm-up and run as attributes
            (`compile`, `warm_up`, `run`), EM's climb, restarts, ELBO path as variables.
    """

    location: Quantity
    sd: Quantity
    log_likelihood: float
    draws: xr.DataTree | None
    problems: tuple[str, ...]
    point: xr.Dataset
    covariance: xr.DataArray
    sd_kind: str
    record: xr.Dataset = field(default_factory=xr.Dataset)

    def scalars(self, variable: str) -> dict[str, Scalar]:
        """The entries of one reported quantity, in order, by flat name."""
        quantities = (self.location, self.sd)
        parts = [np.ravel(x[variable]) for one in quantities for x in (one.value, one.error)]
        rows = (Scalar(*row) for row in np.stack(parts, axis=1).tolist())
        return dict(zip(flat_names({variable: self.location.value[variable]}), rows, strict=True))

    def _repr_html_(self) -> str:
        """Every quantity with its sd and Monte Carlo errors, and the problems, for a notebook."""
        rows = [
            (name, *(f"{x:.6g}" for x in scalar))
            for variable in map(str, self.location.value)
            for name, scalar in self.scalars(variable).items()
        ]
        lines = (f"log-likelihood {self.log_likelihood:.6f} nats", *self.problems)
        head = ("quantity", "estimate", "its error", self.sd_kind, "its error")
        return table("Estimate", lines, head, rows)
