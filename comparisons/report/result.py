"""A case as the report is given it: its record, and its estimates read when asked for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

import xarray as xr

from comparisons.verdict import Verdict
from inference.estimate import Estimate
from inference.method import Method
from models.spec import Model


@final
@dataclass(frozen=True)
class CaseResult:
    """Everything the report says about a case.

    Attributes:
        slug: unique name of its page, of lower-case letters, digits, `_` and `-`.
        columns: the columns used; empty where all were.
        profile: quick, standard or thorough.
        estimates: by method; read from the store when asked for.
        refusals: why a method cannot fit the model.
        failures: why a fit failed, by label of the method, and of what model if of another one.
        verdicts: by name of the comparison; empty where it does not apply.
        titles: the first line of each comparison's statement, by name.
        seconds: time it took when it was computed.
        figures: further tables for the report.
        key: content key; equal for equal content, so an unchanged page need not be written again.
        files: the netCDF file of each fit.
    """

    slug: str
    model: Model
    data_name: str
    columns: tuple[str, ...]
    data: xr.Dataset
    seed: int
    profile: str
    estimates: Mapping[Method, Estimate]
    refusals: Mapping[Method, str]
    failures: Mapping[str, str]
    verdicts: Mapping[str, tuple[Verdict, ...]]
    titles: Mapping[str, str]
    seconds: float
    figures: Mapping[str, xr.Dataset] = field(default_factory=dict)
    key: str = ""
    files: Mapping[Method, Path] = field(default_factory=dict)
