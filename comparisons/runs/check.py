"""A staged self-check of a model before a long run: are the two programs one model?

Each stage needs the one before; the first that fails is named, with what to change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from comparisons.case import Case
from comparisons.claims import GATE
from comparisons.runs.selection import chosen
from models.data.dataset import as_dataset
from models.errors import ConcordError, DataError, ModelError
from models.programs.density import density
from models.programs.readings import outside_support
from models.spec import Parameter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import xarray as xr

    from models.programs.density import Density
    from models.spec import Model, Values

ROWS = 40
"""Size of the simulated data set where no data are given."""


def stages(model: Model, data: xr.Dataset | None, seed: int) -> Iterator[tuple[str, str]]:
    """Runs the stages one by one.

    Args:
        model: the model.
        data: data on which to check it; simulated at its truth if None.
        seed: the seed of every random stream.

    Yields:
        (stage, what was found), as each passes.

    Raises:
        ModelError: a stage fails; names the stage and what was expected.
    """
    rng = np.random.default_rng(seed)
    yield "parameter table", _guarded("parameter table", lambda: _table(model))
    given = data is not None
    if data is None:
        data = _guarded("simulate", lambda: _simulated(model, rng))
        yield "simulate", f"{dict(data.sizes)} simulated at the model's truth"
    found = data
    start = _guarded("start", lambda: _start(model, found, rng))
    yield "start", ", ".join(f"{name} {jnp.shape(value)}" for name, value in start.items())
    if given:
        yield "data", _guarded("data", lambda: _supported(model, found))
    numpyro = _guarded("NumPyro program", lambda: density(model, found, "numpyro"))
    yield "NumPyro program", f"{numpyro.size} free parameters, names agree with the table"
    pymc = _guarded("PyMC program", lambda: density(model, found, "pymc"))
    yield "PyMC program", f"{pymc.size} free parameters, names agree with the table"
    for language, program in (("NumPyro", numpyro), ("PyMC", pymc)):
        stage = f"finite {language} density at the start"
        yield stage, _guarded(stage, lambda program=program: _finite(program, start))
    yield "same model", _guarded("same model", lambda: _same(model, found, seed))


def _guarded[T](stage: str, attempt: Callable[[], T]) -> T:
    try:
        return attempt()
    except ConcordError as error:
        raise ModelError(f"{stage}: {error}") from error
    except Exception as error:  # whatever a user's program raises
        raise ModelError(f"{stage}: {type(error).__name__}: {error}{_site(error)}") from error


def _site(error: Exception) -> str:
    """Where in a user's file an exception comes from."""
    from comparisons.runs.user_model import user_line

    where = user_line(error)
    return f" (at {where})" if where else ""


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


def _simulated(model: Model, rng: np.random.Generator) -> xr.Dataset:
    return as_dataset(model.simulate(rng, model.truth, ROWS), model, name="simulated data")


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


def _supported(model: Model, data: xr.Dataset) -> str:
    problem = outside_support(model, data)
    if problem:
        raise DataError(problem)
    return f"{dict(data.sizes)}, inside of the support"


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
    case = Case(model, data, seed, methods=())
    verdicts = list(chosen()[GATE].compare(case))
    for verdict in verdicts:
        if verdict.outcome != "AGREE":
            numbers = f"{verdict.observed!r} against {verdict.expected!r}"
            raise ModelError(f"{verdict.outcome}: {verdict.about}: {verdict.cause or numbers}")
    return f"all {len(verdicts)} statements agree"
