"""The report: every number in a file, nothing empty, nothing hostile, the old one safe on failure."""

from __future__ import annotations

import base64
import csv
import hashlib
import html.parser
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot as plt

import comparisons._report as report
from comparisons._case import CaseResult
from comparisons._report import _answer, _draws, _figures, _numbers, _page, _tables
from comparisons._verdict import Verdict, not_comparable
from inference._estimate import Estimate, Quantity
from models._errors import StoreError
from models.gaussian import Gaussian
from models.random_effects import RandomEffects

HOSTILE = '"><img src=x onerror=alert(1)></script>‮=1+1'


# ---------------------------------------------------------------- synthetic results


def names_of(values: xr.Dataset) -> list[str]:
    return [
        f"{name}[{', '.join(map(str, index))}]" if index else str(name)
        for name, array in values.data_vars.items()
        for index in np.ndindex(array.shape)
    ]


def flat(values: xr.Dataset) -> np.ndarray:
    return np.concatenate([np.ravel(array.values) for array in values.data_vars.values()])


def from_draws(
    posterior: xr.Dataset,
    quantities: list[str],
    *,
    sampler: bool = True,
    problems: tuple[str, ...] = (),
    record: xr.Dataset | None = None,
) -> Estimate:
    chosen = posterior[quantities]
    center, spread = chosen.mean(("chain", "draw")), chosen.std(("chain", "draw"))
    count = chosen.sizes["chain"] * chosen.sizes["draw"]
    array = np.concatenate(
        [chosen[name].values.reshape(count, -1) for name in quantities], axis=1
    )
    names = names_of(center)
    groups: dict[str, xr.Dataset] = {"posterior": posterior}
    if sampler:
        shape = (chosen.sizes["chain"], chosen.sizes["draw"])
        rng = np.random.default_rng(1)
        groups["sample_stats"] = xr.Dataset(
            {
                "energy": (("chain", "draw"), rng.normal(size=shape)),
                "diverging": (("chain", "draw"), np.zeros(shape, bool)),
            }
        )
    return Estimate(
        center=Quantity(center, spread / count**0.5),
        spread=Quantity(spread, spread / (2 * count) ** 0.5),
        log_likelihood=-100.0,
        draws=xr.DataTree.from_dict({f"/{name}": group for name, group in groups.items()}),
        problems=problems,
        point=center,
        covariance=xr.DataArray(
            np.cov(array, rowvar=False).reshape(len(names), len(names)),
            dims=("quantity", "quantity_"),
            coords={"quantity": names, "quantity_": names},
        ),
        spread_kind="posterior_sd",
        record=record
        if record is not None
        else xr.Dataset(attrs={"compile": 1.5, "warm_up": 0.4, "run": 0.6}),
    )


def from_point(
    like: Estimate,
    *,
    shift: float = 0.0,
    scale: float = 1.0,
    missing: tuple[str, ...] = (),
    problems: tuple[str, ...] = (),
    record: xr.Dataset | None = None,
) -> Estimate:
    """An estimate without draws, `shift` spreads away from another, its spread `scale` times."""
    center = like.center.value + shift * like.spread.value
    spread = scale * like.spread.value
    for name in missing:
        spread[name] = xr.full_like(spread[name], np.nan)
    covariance = like.covariance * scale**2
    return replace(
        like,
        center=Quantity(center, xr.zeros_like(center)),
        spread=Quantity(spread, xr.zeros_like(spread)),
        draws=None,
        problems=problems,
        covariance=covariance.where(
            np.isfinite(flat(spread))[:, None] & np.isfinite(flat(spread))[None, :]
        ),
        spread_kind="observed",
        record=record if record is not None else xr.Dataset(attrs={"compile": 0.2, "run": 0.05}),
    )


def posterior_of(
    data: np.ndarray, rng: np.random.Generator, shape: tuple[int, int], narrow: float = 1.0
) -> xr.Dataset:
    """Draws of the parameters and quantities of a bivariate Gaussian."""
    n, dim = data.shape
    total = np.cov(data, rowvar=False, ddof=0)
    factor = np.linalg.cholesky(total)
    noise = rng.standard_normal((*shape, n, dim))
    scatter = factor @ (np.swapaxes(noise, -1, -2) @ noise / n) @ factor.T
    covariance = total + narrow * (scatter - total)
    mean = data.mean(axis=0) + narrow * rng.standard_normal((*shape, dim)) @ factor.T / n**0.5
    scale = np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1))
    correlation = covariance / (scale[..., :, None] * scale[..., None, :])
    head = ("chain", "draw")
    return xr.Dataset(
        {
            "mean": ((*head, "variable"), mean),
            "scale": ((*head, "variable"), scale),
            "correlation_cholesky": (
                (*head, "variable", "variable_"),
                np.linalg.cholesky(correlation),
            ),
            "covariance": ((*head, "variable", "variable_"), covariance),
        }
    )


def bivariate() -> CaseResult:
    """All outcomes, a refusal, a failure, every kind of method, unequal numbers of draws."""
    rng = np.random.default_rng(7)
    model = Gaussian(dim=2)
    data = model.simulate(rng, model.truth, 80).assign_coords(variable=["length", "width"])
    y = data["y"].values
    quantities = ["mean", "covariance"]
    nuts = from_draws(posterior_of(y, rng, (4, 500)), quantities)
    climb = -120 + 20 * (1 - 0.7 ** np.arange(60.0))
    estimates = {
        "expectation_maximisation": from_point(
            nuts,
            shift=-0.1,
            record=xr.Dataset(
                {"climb": ("iteration", climb)},
                attrs={"restarts": 8, "reached": 8, "measured_rate": 0.7, "predicted_rate": 0.7},
            ),
        ),
        "laplace": from_draws(posterior_of(y, rng, (4, 1000)), quantities, sampler=False),
        "maximum_likelihood[numpyro]": from_point(
            nuts,
            record=xr.Dataset(
                {"restart_log_likelihood": ("restart", -100 - np.array([0, 0, 0, 1e-9, 3.0]))},
                attrs={"compile": 0.4, "run": 0.1, "restarts": 5, "reached": 4, "runner_up": -103.0},
            ),
        ),
        "maximum_likelihood[pymc]": from_point(nuts),
        "nuts[numpyro]": nuts,
        "nuts[pymc]": from_draws(posterior_of(y, rng, (4, 600)), quantities),
        "statsmodels": from_point(nuts, missing=("covariance",)),
        "svi[numpyro, full_rank]": from_draws(
            posterior_of(y, rng, (1, 2000)),
            quantities,
            sampler=False,
            problems=("the ELBO still rose at the end",),
        ),
        "svi[numpyro, mean_field]": from_draws(
            posterior_of(y, rng, (1, 2500), narrow=0.4),
            quantities,
            sampler=False,
            record=xr.Dataset(
                {"elbo": ("step", -130 + 30 * (1 - np.exp(-np.arange(2000) / 200)))},
                attrs={"compile": 1.0, "run": 2.0},
            ),
        ),
    }
    return CaseResult(
        slug="gaussian-simulated",
        model=model,
        data_name="simulated",
        columns=("length", "width"),
        data=data,
        seed=3,
        profile="quick",
        estimates=estimates,
        refusals={"exact_posterior": "gaussian is not conjugate"},
        failures={"maximum_a_posteriori": "undefined: every start diverged"},
        verdicts={
            "same_model": (Verdict("log prior mean: pymc − numpyro", 1e-15, 0.0, 0.0, 1e-9),),
            "same_maximum": (
                Verdict("mean[0]: statsmodels − maximum_likelihood[numpyro]", 1.0, 1.0, 0.0, 0.01),
                Verdict("mean[1]: statsmodels − maximum_likelihood[numpyro]", 2.0, 1.0, 0.0, 0.01),
            ),
            "posterior_agreement": (
                Verdict(
                    "sd of mean[0]: svi[numpyro, mean_field] − nuts[numpyro]",
                    0.05,
                    0.12,
                    0.001,
                    0.006,
                    cause="mean-field Gaussian: sd is 1/√Λ_jj",
                    predicted=0.051,
                    prediction_error=0.006,
                ),
                Verdict("mean of mean[0]: nuts[pymc] − nuts[numpyro]", 1.01, 1.0, 0.02, 0.02),
                not_comparable("svi[numpyro, full_rank] against nuts[numpyro]", "not converged"),
            ),
            "cramer_rao": (),
            "bic": (Verdict("bic: maximum_likelihood[pymc]", 220.1, 220.1, 0.0, 0.01),),
        },
        titles={
            "same_model": "The PyMC and the NumPyro program are one model",
            "same_maximum": "Every route to the maximum of the likelihood ends at the same point",
            "posterior_agreement": "Samplers of one posterior agree",
            "cramer_rao": "No unbiased estimator beats the bound",
            "bic": "BIC approximates the evidence",
        },
        seconds=12.5,
        key="0" * 64,
    )


def hostile() -> CaseResult:
    """Every name that a user can choose, chosen badly; and no sampler that can be relied on."""
    result = bivariate()
    estimates = {
        HOSTILE + label: replace(fit, problems=(HOSTILE,)) for label, fit in result.estimates.items()
    }
    long = "x" * 10_000 + HOSTILE
    return replace(
        result,
        slug="hostile",
        data_name=HOSTILE,
        columns=(HOSTILE, long),
        estimates=estimates,
        refusals={HOSTILE: long},
        failures={"$\\frac{": HOSTILE},
        verdicts={
            **result.verdicts,
            "posterior_agreement": (not_comparable("=cmd|' /C calc'!A0", HOSTILE),),
        },
        titles={**result.titles, "posterior_agreement": HOSTILE},
        data=result.data.assign_coords(variable=[HOSTILE, "\x1b[31m"]),
    )


def conditional() -> CaseResult:
    """A model that knows one of its variables, so that it cannot simulate whole data sets."""
    rng = np.random.default_rng(2)
    model = RandomEffects(within="known")
    data = model.simulate(rng, model.truth, 9)
    head = ("chain", "draw")
    posterior = xr.Dataset(
        {
            "mu": (head, rng.normal(1.0, 0.5, (4, 250))),
            "tau": (head, rng.gamma(4.0, 0.3, (4, 250))),
        }
    )
    return replace(
        bivariate(),
        slug="random-effects",
        model=model,
        data_name="schools",
        columns=(),
        data=data,
        estimates={"nuts[numpyro]": from_draws(posterior, ["mu", "tau"])},
        refusals={},
        failures={},
        verdicts={"same_model": (Verdict("log prior mu: pymc − numpyro", 0.0, 0.0, 0.0, 1e-9),)},
    )


def unfitted() -> CaseResult:
    """The gate stayed shut."""
    return replace(
        bivariate(),
        slug="unfitted",
        estimates={},
        verdicts={"same_model": (Verdict("log prior mean: pymc − numpyro", 0.1, 0.0, 0.0, 1e-9),)},
    )
