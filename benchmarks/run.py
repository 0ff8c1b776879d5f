"""Two promises measured side by side in one run; the tables go to `benchmarks/README.md`.

1. Repeated sampling: maximum likelihood with standard errors on many simulated data sets of a
   mixture takes at most 1/20 of the time of a loop over statsmodels' `GenericLikelihoodModel`.
2. Overhead: the method `nuts` takes at most 5 % more time than NumPyro called directly with the
   same settings on the same data.

Usage: `python benchmarks/run.py`.  It takes some minutes; nothing else should run meanwhile.
"""

from __future__ import annotations

import os
import platform
import time
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np
from scipy.special import logsumexp
from scipy.stats import norm

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_num_cpu_devices", 4)  # one for each chain of the direct run

from inference._replicates import replicate, simulated  # noqa: E402 - after the switch
from inference.nuts import NUTS  # noqa: E402
from models._data import as_dataset, bundled  # noqa: E402
from models.gaussian_mixture import GaussianMixture  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr

REPLICATES, UNITS, LOOP = 2_000, 200, 30
REPEATS = 3
BEGIN, END = "<!-- measured -->", "<!-- end -->"


def timed(work: Callable[[], object]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


# --- 1. repeated sampling -------------------------------------------------------------------------


def statsmodels_fit(y: np.ndarray, start: np.ndarray) -> None:
    """One mixture of two normals: BFGS, then standard errors from a numerical Hessian."""
    from statsmodels.base.model import GenericLikelihoodModel

    class Mixture(GenericLikelihoodModel):
        def loglikeobs(self, params: np.ndarray) -> np.ndarray:
            log_weights = -np.logaddexp(0, [params[0], -params[0]])
            density = norm.logpdf(y[:, None], params[1:3], np.exp(params[3:]))
            return logsumexp(density + log_weights, axis=1)

    model = Mixture(y, np.ones((y.size, 1)), extra_params_names=[f"p{i}" for i in range(5)])
    model.exog_names[:] = [f"p{i}" for i in range(5)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.asarray(model.fit(start, method="bfgs", maxiter=500, disp=0).bse)


def repeated() -> list[tuple[str, str]]:
    """2,000 fits here, and the same data sets and starts in a loop."""
    model = GaussianMixture(2)

    def ours(count: int) -> Callable[[], object]:
        return lambda: replicate(model, simulated(model, model.truth, UNITS, range(count), 0))

    first = timed(ours(50))
    again = timed(ours(50))
    here = timed(ours(REPLICATES))
    cases = []
    batch = simulated(model, model.truth, UNITS, range(LOOP), 0)
    for data, rng in zip(batch.sets, batch.streams, strict=True):
        start = {name: np.asarray(x) for name, x in model.start(rng, data).items()}
        odds = np.log(start["weights"][1] / start["weights"][0])
        chart = np.concatenate([[odds], start["mu"], np.log(start["sigma"])])
        cases.append((np.asarray(data["y"].data), chart))
    loop = timed(lambda: [statsmodels_fit(*case) for case in cases]) / LOOP * REPLICATES
    return [
        (f"here, {REPLICATES:,} replicates, simulation and starts included", f"{here:.2f} s"),
        ("compilation, once", f"{first - again:.1f} s"),
        (f"statsmodels loop, fits only, {LOOP} timed and scaled", f"{loop:.0f} s"),
        ("ratio", f"1/{loop / here:.0f} (goal 1/20 or less)"),
        ("ratio, compilation included", f"1/{loop / (here + first - again):.0f}"),
    ]


# --- 2. overhead ----------------------------------------------------------------------------------


def direct(
    model: GaussianMixture, data: xr.Dataset, method: NUTS, seed: int
) -> tuple[float, float]:
    """NumPyro as its manual has it: seconds of sampling, and with compilation."""
    from numpyro import infer

    # the data are closed over: as an argument they would be compiled anew in each run
    program = partial(model.numpyro, data)
    kernel = infer.NUTS(program, target_accept_prob=method.target_accept, dense_mass=True)
    chains = infer.MCMC(
        kernel,
        num_warmup=method.warm_up,
        num_samples=method.draws,
        num_chains=method.chains,
        chain_method="parallel",
        progress_bar=False,
    )
    total = timed(lambda: jax.block_until_ready(_run(chains, seed)))
    sampling = timed(lambda: jax.block_until_ready(_run(chains, seed + 1)))
    return sampling, total


def _run(chains: object, seed: int) -> object:
    chains.run(jax.random.key(seed))  # pyright: ignore[reportAttributeAccessIssue]
    return chains.get_samples()  # pyright: ignore[reportAttributeAccessIssue]


def overhead() -> list[tuple[str, str]]:
    """The method `nuts` against NumPyro called directly; medians over seeds, in turns."""
    model = GaussianMixture(k=2, mean_loc=3.0, mean_scale=2.0, scale_scale=1.0)
    data = as_dataset(bundled("faithful"), model, ("eruptions",))
    method = NUTS()
    # machinery that is imported or compiled once per process is nobody's overhead
    NUTS(warm_up=20, draws=20).fit(model, data, np.random.default_rng(0))
    ours, theirs = [], []
    for seed in range(REPEATS):
        began = time.perf_counter()
        record = method.fit(model, data, np.random.default_rng(seed)).record.attrs
        total = time.perf_counter() - began
        ours.append((total - record["compile"], total))
        theirs.append(direct(model, data, method, 10 * seed))
    (run, total), (run_direct, total_direct) = np.median(ours, axis=0), np.median(theirs, axis=0)
    return [
        ("nuts: warm-up, sampling and collecting", f"{run:.2f} s"),
        ("NumPyro called directly: warm-up and sampling", f"{run_direct:.2f} s"),
        ("overhead", f"{100 * (run / run_direct - 1):+.0f} % (goal +5 % or less)"),
        ("nuts, compilation included", f"{total:.2f} s"),
        ("NumPyro called directly, compilation included", f"{total_direct:.2f} s"),
        ("overhead, compilation included", f"{100 * (total / total_direct - 1):+.0f} %"),
    ]


# --- the page -------------------------------------------------------------------------------------


def main() -> None:
    """Measures, prints the tables and writes them between the markers of the page."""
    machine = (
        f"{os.cpu_count()} processors, {platform.machine()}, Python {platform.python_version()}"
    )
    parts = [f"Measured with {machine}, JAX {jax.__version__}."]
    for title, rows in (
        (f"Mixture of two normals, {UNITS} rows a data set", repeated()),
        ("NUTS on Old Faithful eruptions, 4 chains of 1,000 + 1,000", overhead()),
    ):
        parts.append(f"| {title} | |\n|---|---|\n" + "\n".join(f"| {a} | {b} |" for a, b in rows))
    measured = "\n\n".join(parts)
    print(measured)
    page = Path(__file__).with_name("README.md")
    head, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    tail = rest.partition(END)[2]
    page.write_text(f"{head}{BEGIN}\n\n{measured}\n\n{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
