"""False alarms on right fits of right models, and the share of planted bugs that is caught.

Right: data sets are simulated from the model that is fitted, at the parameters named below, and
every method of the quick profile in NumPyro's language fits each, but for stochastic gradients,
which are not right after 10,000 steps.  A right fit has no DIFFER.
Planted: on the first data sets of each family every method has copies that are wrong in a known
way.  A bug is caught where a verdict on the copy is DIFFER or the fit is called unreliable, and
missed where all verdicts hold.  Wrong programs are planted in the test suite.
Usage: `python benchmarks/power.py [--count 500] [--planted 20] [--processes 2] [FAMILY …]`; what is
finished is kept in `.concord/power`, and the next call goes on from there.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import xarray as xr

import concord as cc
from comparisons.case import usual_methods
from comparisons.verdict import OUTCOMES
from inference.method import Method, derived, label
from inference.optimisation.standard_errors import estimate_of
from inference.posterior.draws import estimate_from_draws
from models.programs.density import density

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from inference.estimate import Estimate
    from models.spec import Model

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_num_cpu_devices", 4)  # one for each chain
KEPT = Path(".concord/power")
# data are arguments of what is compiled, so that the code of one data set serves the next
jax.config.update("jax_use_simplified_jaxpr_constants", True)
jax.config.update("jax_compilation_cache_dir", str((KEPT / "compiled").absolute()))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
PAGE = Path(__file__).with_name("power.md")
RIGHT = tuple(
    method
    for method in usual_methods("quick")
    if method.language != "pymc" and not (method.shipped and method.kind != "sampler")
)

# --- right models and data ------------------------------------------------------------------------


def normal(x: Any, y: Any) -> None:
    """A regression with two predictors."""
    a, sd = numpyro.sample("a", dist.Normal(0, 5)), numpyro.sample("sd", dist.HalfNormal(5))
    b = numpyro.sample("b", dist.Normal(0, 5).expand([2]))
    numpyro.sample("y", dist.Normal(a + x @ b, sd), obs=y)


def counts(x: Any, y: Any) -> None:
    """A Poisson regression with one predictor."""
    a, b = numpyro.sample("a", dist.Normal(0, 3)), numpyro.sample("b", dist.Normal(0, 3))
    numpyro.sample("y", dist.Poisson(jnp.exp(a + b * x)), obs=y)


def simulated(model: Model, n: int, rng: np.random.Generator) -> dict[str, Any]:
    """Data of a model of the catalogue at its own truth."""
    return {"model": model, "data": model.simulate(rng, model.truth, n)}


def regression(rng: np.random.Generator) -> dict[str, Any]:
    """60 rows of the regression."""
    x = rng.standard_normal((60, 2))
    y = 1 + x @ [0.5, -1] + rng.normal(0, 0.8, 60)
    return {"numpyro": normal, "data": {"x": x, "y": y}}


def poisson_regression(rng: np.random.Generator) -> dict[str, Any]:
    """80 rows of the Poisson regression."""
    x = rng.standard_normal(80)
    return {"numpyro": counts, "data": {"x": x, "y": rng.poisson(np.exp(0.5 + 0.4 * x))}}


FAMILIES: Mapping[str, Callable[[np.random.Generator], dict[str, Any]]] = {
    "Gaussian, N = 20": partial(simulated, cc.Gaussian(), 20),
    "Gaussian, N = 40": partial(simulated, cc.Gaussian(), 40),
    "Gaussian, N = 200": partial(simulated, cc.Gaussian(), 200),
    "mixture, k = 2, N = 200": partial(simulated, cc.GaussianMixture(k=2), 200),
    "mixture, k = 3, N = 300": partial(simulated, cc.GaussianMixture(k=3), 300),
    "factor model, N = 200": partial(simulated, cc.FactorAnalysis(), 200),
    "random effects, 8 groups": partial(simulated, cc.RandomEffects(), 8),
    "random effects, 20 groups": partial(simulated, cc.RandomEffects(), 20),
    "regression, N = 60": regression,
    "Poisson regression, N = 80": poisson_regression,
}

# --- planted bugs ---------------------------------------------------------------------------------

type Draws = dict[str, np.ndarray]  # by parameter, shape (chain, draw, …)


_memo: dict[tuple[Method, int], Estimate] = {}


@dataclass(frozen=True)
class Planted(Method):
    """A fit with a bug: that of another method, changed.

    Attributes:
        right: the method whose fit is changed, and for which it is taken.
        bug: its name in `BUGS`.
    """

    right: Method
    bug: str

    name = derived(lambda self: f"{self.right.name} with {self.bug}")
    target = derived(lambda self: self.right.target)
    kind = derived(lambda self: self.right.kind)
    language = derived(lambda self: self.right.language)
    family = derived(lambda self: self.right.family)

    def refusal(self, model: Model) -> str:
        return self.right.refusal(model)

    def fit(self, model: Model, data: xr.Dataset, rng: np.random.Generator) -> Estimate:
        """The other method's fit with the bug."""
        key, change = (self.right, id(data)), BUGS[self.bug][1]
        if key not in _memo:
            _memo[key] = self.right.fit(model, data, rng)
        found = _memo[key]
        target = density(model, data, self.language)
        if found.draws is None:
            values = {str(name): jnp.asarray(x.data) for name, x in found.point.items()}
            u = np.array(target.unconstrain(values))
            curvature = jax.hessian(lambda u: -target.log_likelihood(u).sum())(u)
            values = target.constrain(jnp.asarray(change(u, np.diag(curvature) ** -0.5)))
            return estimate_of(model, data, values, found.covariance.data, sd_kind=found.sd_kind)
        group = found.draws["posterior"].to_dataset()
        draws = {one.name: group[one.name].to_numpy() for one in model.parameters}
        points = change(np.array(jax.vmap(jax.vmap(target.unconstrain))(draws)))
        flat = jax.jit(jax.vmap(jax.vmap(target.constrain)))(jnp.asarray(points))
        stats = None
        if self.kind == "sampler":
            stats = {str(n): x.to_numpy() for n, x in found.draws["sample_stats"].items()}
        values = {str(name): np.asarray(x) for name, x in flat.items()}
        return estimate_from_draws(model, data, values, record=xr.Dataset(), sample_stats=stats)


def _scaled(factor: float, points: np.ndarray) -> np.ndarray:
    middle = points.mean((0, 1))
    return middle + factor * (points - middle)


def _moved(by: float, points: np.ndarray) -> np.ndarray:
    return points + by * points.std((0, 1))


def _uncorrelated(points: np.ndarray) -> np.ndarray:
    """Draws of the same margins, each coordinate in an order of its own."""
    rng, found = np.random.default_rng(0), points.reshape(-1, points.shape[-1]).copy()
    for column in found.T:
        rng.shuffle(column)
    return found.reshape(points.shape)


def _shared_key(points: np.ndarray) -> np.ndarray:
    """The first chain four times."""
    return np.repeat(points[:1], len(points), axis=0)


def _one_stuck(points: np.ndarray) -> np.ndarray:
    found = points.copy()
    found[0] = found[0, :1] + 0.01 * (found[0] - found[0, :1])
    return found


def _cut(points: np.ndarray) -> np.ndarray:
    """The tails beyond 1.2 standard deviations at 1.2."""
    middle, sd = points.mean((0, 1)), points.std((0, 1))
    return np.clip(points, middle - 1.2 * sd, middle + 1.2 * sd)


BUGS: Mapping[str, tuple[str, Callable[..., np.ndarray]]] = {
    "an optimum 0.2 sd off": ("maximum_likelihood", lambda u, sd: u + 0.2 * sd),
    "an optimum 0.5 sd off in one coordinate": (
        "maximum_likelihood",
        lambda u, sd: u + 0.5 * sd * (np.arange(u.size) == 0),
    ),
    "a mode 0.3 sd off": ("laplace", partial(_moved, 0.3)),
    "half the Hessian": ("laplace", partial(_scaled, 2**0.5)),
    "twice the Hessian": ("laplace", partial(_scaled, 0.5**0.5)),
    "a variational mean 0.3 sd off": ("gaussian_vi[mean_field]", partial(_moved, 0.3)),
    "variational sds × 0.7": ("gaussian_vi[mean_field]", partial(_scaled, 0.7)),
    "full rank, sds × 1.3": ("gaussian_vi[full_rank]", partial(_scaled, 1.3)),
    "full rank without correlations": ("gaussian_vi[full_rank]", _uncorrelated),
    "a sampler 0.25 sd off": ("nuts", partial(_moved, 0.25)),
    "a sampler's sds × 1.25": ("nuts", partial(_scaled, 1.25)),
    "a sampler's sds × 0.8": ("nuts", partial(_scaled, 0.8)),
    "a sampler without tails": ("nuts", _cut),
    "a sampler without correlations": ("nuts", _uncorrelated),
    "four chains of one key": ("nuts", _shared_key),
    "a chain that stands still": ("nuts", _one_stuck),
}


def planted() -> list[Planted]:
    """A method for each bug."""
    found = []
    for bug, (name, _) in BUGS.items():
        named, _, family = name.partition("[")
        (right,) = (
            method
            for method in RIGHT
            if method.name == named
            and (not family or method.family == family[:-1])
            and method.language in ("numpyro", None)
        )
        found.append(Planted(right, bug))
    return found


# --- the runs -------------------------------------------------------------------------------------


def run(family: str, index: int, wrong: bool) -> dict[str, Any]:
    """What is found on one data set, in plain JSON types.

    Args:
        family: of `FAMILIES`.
        index: of the data set, from which its seed is made.
        wrong: whether every bug is planted beside the right fits.
    """
    given = FAMILIES[family](np.random.default_rng([index, list(FAMILIES).index(family)]))
    bugs = planted() if wrong else []
    _memo.clear()
    found = cc.compare(**given, methods=(*RIGHT, *bugs), seed=index)
    verdicts = [verdict for rows in found.claims.values() for verdict in rows]
    names = {label(bug): bug.bug for bug in bugs}
    right = [v for v in verdicts if v.method not in names and v.reference not in names]
    fits, caught = found.case.estimates(), {}
    for bug in (method for method in fits if isinstance(method, Planted)):
        outcomes = {v.outcome for v in verdicts if v.method == label(bug)}
        seen = "unreliable" if fits[bug].problems else "missed"
        caught[bug.bug] = next((one for one in ("DIFFER", "UNSURE") if one in outcomes), seen)
    return {
        "index": index,
        "outcomes": Counter(verdict.outcome for verdict in right),
        "differ": [f"{v.about}: {v.cause}" for v in right if v.outcome == "DIFFER"],
        "failed": [f"{label(m)}: {why}" for m, why in found.case.failures.items()],
        "problems": dict(found.problems),
        "unreliable": [label(m) for m, fit in fits.items() if m in RIGHT and fit.problems],
        "caught": caught,
        "seconds": found.seconds,
    }


def kept(family: str) -> list[dict[str, Any]]:
    """What earlier runs found of a family."""
    path = KEPT / f"{list(FAMILIES).index(family)}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def main() -> None:
    """Runs what is missing and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("families", nargs="*", default=list(FAMILIES))
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--planted", type=int, default=20)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    KEPT.mkdir(parents=True, exist_ok=True)
    tasks = []
    for family in given.families:
        done = {row["index"] for row in kept(family)}
        tasks += [(i, family) for i in range(given.count) if i not in done]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(given.processes, mp_context=spawn, max_tasks_per_child=40) as pool:
        runs = {pool.submit(run, f, i, i < given.planted): f for i, f in sorted(tasks)}
        for count, future in enumerate(as_completed(runs), 1):
            family = runs[future]
            with (KEPT / f"{list(FAMILIES).index(family)}.jsonl").open("a") as file:
                file.write(json.dumps(future.result()) + "\n")
            print(f"[{count}/{len(runs)}] {family}", file=sys.stderr, flush=True)
    PAGE.write_text("\n".join(lines()) + "\n", encoding="utf-8")
    print(PAGE.read_text(encoding="utf-8"))


def lines() -> Iterator[str]:
    """The page: false alarms by family, then bugs by family."""
    found = {family: kept(family) for family in FAMILIES}
    libraries = ", ".join(f"{name} {version(name)}" for name in ("jax", "numpyro"))
    yield f"# Power\n\n{str(__doc__).partition('Usage')[0].strip()}\n\n`make power`; {libraries}.\n"
    heads = ("data sets", "verdicts", *OUTCOMES, "sets with a DIFFER", "fits called unreliable")
    yield f"| right fits | {' | '.join(heads)} |\n|{'---|' * (1 + len(heads))}"
    for family, rows in found.items():
        total = sum((Counter(row["outcomes"]) for row in rows), Counter())
        cells = [len(rows), total.total(), *(total[outcome] for outcome in OUTCOMES)]
        cells += [sum(map(bool, (row["differ"] for row in rows)))]
        cells += [sum(len(row["unreliable"]) for row in rows)]
        yield f"| {family} | {' | '.join(f'{cell:,}' for cell in cells)} |"
    yield f"\n| planted | {' | '.join(FAMILIES)} |\n|{'---|' * (1 + len(FAMILIES))}"
    for bug in BUGS:
        cells = []
        for rows in found.values():
            told = Counter(row["caught"][bug] for row in rows if bug in row["caught"])
            seen = told["DIFFER"] + told["unreliable"]
            rest = ", ".join(f"{told[word]} {word}" for word in ("UNSURE", "missed") if told[word])
            cells.append(f"{seen} of {told.total()}{f' ({rest})' * bool(rest)}" if told else "–")
        yield f"| {bug} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
