"""A case as the report is given it: its record, and its estimates read when asked for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

import pandas as pd
import xarray as xr

from comparisons.verdict import Verdict
from inference.estimate import Estimate
from inference.method import Method
from models.spec import Model


@final
@dataclass(frozen=True)
class CaseResult:
    """Everything the report says about a case."""

    slug: str  # unique name of its page, of lower-case letters, digits, `_` and `-`
    model: Model
    data_name: str
    columns: tuple[str, ...]  # those used; empty where all were
    data: xr.Dataset
    seed: int
    profile: str
    estimates: Mapping[Method, Estimate]  # read from the store when asked for
    refusals: Mapping[Method, str]  # why a method cannot fit the model
    failures: Mapping[str, str]  # why a fit failed, by label, and of what model if of another one
    verdicts: Mapping[str, tuple[Verdict, ...]]  # empty where a comparison does not apply
    titles: Mapping[str, str]  # the first line of each comparison's statement, by name
    seconds: float  # that it took when it was computed
    figures: Mapping[str, pd.DataFrame] = field(default_factory=dict)  # further tables
    key: str = ""  # equal for equal content, so that an unchanged page is not written again
    files: Mapping[Method, Path] = field(default_factory=dict)  # the netCDF file of each fit
