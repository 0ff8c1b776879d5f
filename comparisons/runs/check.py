"""A staged self-check of a model before a long run: are the two programs one model?

Each stage needs the one before; the first that fails is named, with what to change.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Unpack, final

import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr

from comparisons.case import Case
from comparisons.claims import GATE
from comparisons.policy import TOLERANCE
from comparisons.runs.console import tell_reading
from comparisons.runs.plan import built, chosen, model_class
from comparisons.runs.programs import guarded, parts, user_program
from comparisons.runs.programs import table as table_of
from comparisons.runs.settings import CaseSettings
from models.data.dataset import as_dataset, load_data
from models.data.files import data_name, opened
from models.errors import ConcordError, ConfigError, DataError, ModelError
from models.notebook import table
from models.programs.adopt import Reading, adopt
from models.programs.adopted.classes import adopt_class, asked, missing, reason_to_adopt
from models.programs.adopted.model import AdoptedModel
from models.programs.density import Density, Language, density, languages, units
from models.programs.precision import float64
from models.programs.support import outside_support
from models.settings import check_seed
from models.spec import Model, Parameter, Values

ROWS = 40  # size of the simulated data set where no data are given


def staged(case: CaseSettings, seed: int) -> Iterator[tuple[str, str]]:
    """The stages of what the command line names: (stage, what was found), as each passes."""
    read = partial(table_of, columns=case.columns)
    if case.pymc or case.numpyro:
        given = {"pymc": case.pymc, "numpyro": case.numpyro}
        programs = {one: user_program(*parts(text)) for one, text in given.items() if text}
        how: Any = {"names": case.names, **case.reading}
        data = read(case.data) if case.data else None
        tell_reading(data)
        yield from _adopted_stages(lambda: adopt(**programs, data=data, **how), seed)
        return
    instance = built(model_class(case.model), case.set)
    yield "import", repr(instance)
    if not (missing(instance) or asked(case.reading)):
        read = partial(load_data, model=instance, columns=case.columns)
    data = read(case.data) if case.data else None
    tell_reading(data)
    yield from stages(instance, data, seed, **case.reading)


def stages(
    model: Model, data: Any, seed: int, **reading: Unpack[Reading]
) -> Iterator[tuple[str, str]]:
    """Runs the stages: (stage, what was found), as each passes; an error names the one that fails.

    Args:
        model: the model.
        data: data on which to check it; simulated at its truth if None.
        seed: the seed of every random stream.
        reading: how programs are read, as `adopt_class` takes it.
    """
    if (absent := missing(model)) or asked(reading):
        if absent:
            yield "class", f"{', '.join(absent)}: left out, and read off the rest where needed"
        yield from _adopted_stages(lambda: adopt_class(model, data, **reading), seed)
        return
    rng = np.random.default_rng(seed)
    yield "parameter table", guarded("parameter table", lambda: _table(model))
    given = data is not None
    if data is None:
        rows, told = partial(model.simulate, rng, model.truth, ROWS), "simulated data"
        data = guarded("simulate", lambda: as_dataset(rows(), model, name=told))
        yield "simulate", f"{dict(data.sizes)} simulated at the model's truth"
    found = data
    if reason := reason_to_adopt(model, found):
        yield "own programs", f"read as they are: {reason}"
        yield from _adopted_stages(lambda: adopt_class(model, found), seed)
        return
    start = guarded("start", lambda: _start(model, found, rng))
    yield "start", ", ".join(f"{name} {jnp.shape(value)}" for name, value in start.items())
    if given:
        if problem := guarded("data", lambda: outside_support(model, found)):
            raise DataError(f"data: {problem}")
        yield "data", f"{dict(found.sizes)}, inside of the support"
    both: tuple[tuple[str, Language], ...] = (("NumPyro", "numpyro"), ("PyMC", "pymc"))
    programs: dict[str, Density] = {}
    for name, language in both:
        stage = f"{name} program"
        programs[name] = guarded(stage, partial(density, model, found, language))
        yield stage, f"{programs[name].size} free parameters, names agree with the table"
    for name, program in programs.items():
        stage = f"finite {name} density at the start"
        yield stage, guarded(stage, partial(_finite, program, start))
    yield "same model", guarded("same model", lambda: _same(model, found, seed))


def _adopted_stages(adopted: Callable[[], AdoptedModel], seed: int) -> Iterator[tuple[str, str]]:
    model = guarded("programs", adopted)
    sizes = ", ".join(f"{p.name} ({p.support})" for p in model.parameters)
    yield "programs", f"{model!r}; {sizes}"
    if "labels" in model.data.attrs:
        yield "labels", model.data.attrs["labels"]
    for language in languages(model):
        stage, program = f"finite {language} density", model.adopted.programs[language]
        points = guarded(stage, partial(program.starts, np.random.default_rng(0)))
        yield stage, f"{program.size} coordinates, finite at {len(points)} starting points"
    if len(model.languages) == 1:
        yield "same model", "one program only: there is nothing to hold it against"
    else:
        pair = model.adopted.pair
        if pair is not None and pair.guessed:
            listed = ", ".join(f"{name} = {pair.names[name]}" for name in pair.guessed)
            yield "names", f"guessed by shape: {listed}; say so with names= if that is right"
        yield "same model", guarded("same model", lambda: _same(model, model.data, seed))
    problem = guarded("likelihood", lambda: model.likelihood_problem)
    count = units(model, model.data)
    told = f"{count} units" if count > 1 else "one term for all rows, one unit"
    yield "likelihood", problem or f"{told}; every parameter is in it"


def _table(model: Model) -> str:
    rows = model.parameters
    if not rows or not all(isinstance(row, Parameter) for row in rows):
        raise ModelError(f"expected a tuple of Parameter, at least one; got {rows!r:.80}")
    names = [row.name for row in rows]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ModelError(f"{', '.join(repeated)} appear twice; names must differ")
    if set(model.truth) != set(names):
        raise ModelError(f"truth gives {sorted(model.truth)}; the table declares {sorted(names)}")
    return ", ".join(f"{row.name} ({row.support})" for row in rows)


def _start(model: Model, data: xr.Dataset, rng: np.random.Generator) -> Values:
    start = model.start(rng, data)
    names = {row.name for row in model.parameters}
    if set(start) != names:
        raise ModelError(f"start gives {sorted(start)}; the table declares {sorted(names)}")
    for row in model.parameters:
        value = np.asarray(start[row.name])
        if value.ndim != len(row.dims):
            raise ModelError(f"{row.name} has shape {value.shape}; its dims are {row.dims}")
        if not np.isfinite(value).all():
            raise ModelError(f"{row.name} is {value}; expected finite values")
    return start


def _finite(program: Density, start: Values) -> str:
    point = program.unconstrain(start)
    terms = {
        "log prior": float(program.log_prior(point)),
        "log-likelihood": float(jnp.sum(program.log_likelihood(point))),
        "log Jacobian": float(program.log_jacobian(point)),
    }
    for name, value in terms.items():
        if not np.isfinite(value):
            point_text = ", ".join(f"{k} = {np.asarray(v).tolist()}" for k, v in start.items())
            raise ModelError(f"the {name} is {value} at {point_text}; expected a finite number")
    return ", ".join(f"{name} {value:.6g}" for name, value in terms.items())


def _same(model: Model, data: xr.Dataset, seed: int) -> str:
    verdicts = list(chosen()[GATE].compare(Case(model, data, seed, methods=())))
    for verdict in verdicts:
        if verdict.outcome != "AGREE":
            numbers = f"{verdict.observed!r} against {verdict.expected!r}"
            raise ModelError(f"{verdict.outcome}: {verdict.about}: {verdict.cause or numbers}")
    limits = [v.cause for v in verdicts if v.bound > TOLERANCE and v.error == 0 and v.cause]
    return "; ".join([f"all {len(verdicts)} statements agree", *limits])


@final
@dataclass(frozen=True)
class Checked:
    """The stages of a check."""

    rows: tuple[tuple[str, str, str, float], ...]
    """(stage, `ok` or `failed`, what was found, seconds); those after a failure are not run."""

    @property
    def passed(self) -> bool:
        """Whether no stage failed."""
        return all(status == "ok" for _, status, _, _ in self.rows)

    def table(self) -> pd.DataFrame:
        """One row for each stage."""
        return pd.DataFrame(list(self.rows), columns=["stage", "status", "found", "seconds"])

    def __repr__(self) -> str:
        """One line for each stage."""
        return "\n".join(f"{status}  {stage}: {found}" for stage, status, found, _ in self.rows)

    def _repr_html_(self) -> str:
        """The same as a table, for a notebook."""
        rows = [(stage, status, found, f"{s:.1f}") for stage, status, found, s in self.rows]
        title = "passed" if self.passed else "failed"
        return table(title, (), ("stage", "status", "found", "seconds"), rows)


@float64
def check(
    model: Model | None = None,
    data: object = None,
    *,
    pymc: object = None,
    numpyro: Callable[..., object] | None = None,
    names: Mapping[str, str] | None = None,
    seed: int = 0,
    **reading: Unpack[Reading],
) -> Checked:
    """Checks in stages whether programs can be evaluated and are one model; fits nothing.

    Args:
        model: a model of the catalogue or of your own class; else pass `pymc`, `numpyro` or both.
        data: as `compare` takes them; a model's own simulation if None.
        pymc: a built `pm.Model`, or a function of the data that returns one.
        numpyro: a NumPyro function of the data.
        names: which name of one program is which of the other, where they differ.
        seed: of the points at which the programs are compared.
        reading: `latent`, `likelihood` and `allow_constant`, as `models.adopt` takes them.

    Returns:
        The stages. A stage that fails is its last row, not an error.
    """
    check_seed(seed)
    rows: list[tuple[str, str, str, float]] = []
    began = time.perf_counter()
    try:
        name, data = data_name(data), opened(data)
        if model is None:
            tell_reading(data)
            adopting = partial(adopt, pymc, numpyro, data, names=names, **reading)
            found = _adopted_stages(adopting, seed)
        elif any(one is not None for one in (pymc, numpyro, names)):
            raise ConfigError("pass a model, or pymc= and numpyro= with names=")
        else:
            if data is not None and not missing(model):
                data = as_dataset(data, model, name=name)
            tell_reading(data)
            found = stages(model, data, seed, **reading)
        for stage, text in found:
            rows.append((stage, "ok", text, time.perf_counter() - began))
            began = time.perf_counter()
    except ConcordError as error:
        stage, colon, text = str(error).partition(": ")
        stage, text = (stage, text) if colon else ("model", stage)
        rows.append((stage, "failed", text, time.perf_counter() - began))
    return Checked(tuple(rows))
