"""The density of a model, read off its two programs.

For parameters θ, their unconstrained coordinates u ∈ ℝᵏ and data x = (x_1, …, x_N),

    log posterior(u) = Σ_i log p(x_i | θ(u)) + log π(θ(u)) + log |∂θ/∂u| − log Z,

and the three terms are kept apart: `log_likelihood` (one entry per exchangeable unit), `log_prior`
(natural scale, no Jacobian) and `log_jacobian`.  There is no other density in the project.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, Literal, final, get_args

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array

from models.capabilities import HasQuantities, HasUnits
from models.errors import ConfigError, ModelError
from models.programs.adopted.functions import Adopted, functions
from models.programs.adopted.model import AdoptedModel
from models.programs.adopted.pair import Pair, pair
from models.programs.adopted.program import UserProgram, program_of
from models.programs.form import Program, total
from models.programs.numpyro import numpyro_terms
from models.programs.precision import float64_is_on
from models.spec import Arrays, Model, Parameter, Values

type Language = Literal["numpyro", "pymc"]
_SPELLED = {"numpyro": "NumPyro", "pymc": "PyMC"}


@final
@dataclass(frozen=True, eq=False)
class Density:
    """One program's density on one data set; every function is pure and traceable by JAX.

    Attributes:
        model: the model.
        data: the data, which name the entries of arrays.
        coordinates: the parameter that each coordinate of u belongs to, length k.
        log_likelihood: u ↦ log p(x_i | θ(u)), shape (N,), nats, constants kept.
        log_prior: u ↦ log π(θ(u)), a scalar; no Jacobian.
        log_jacobian: u ↦ log |∂θ/∂u|, a scalar.
        constrain: u ↦ θ(u), the values of every parameter.
        unconstrain: θ ↦ u.
    """

    model: Model
    data: xr.Dataset
    coordinates: tuple[str, ...]
    log_likelihood: Callable[[Array], Array]
    log_prior: Callable[[Array], Array]
    log_jacobian: Callable[[Array], Array]
    constrain: Callable[[Array], Values]
    unconstrain: Callable[[Values], Array]

    @property
    def size(self) -> int:
        """k, the number of free parameters."""
        return len(self.coordinates)


def require_float64() -> None:
    """Refuses single precision by a ConfigError that says which call to make."""
    if not float64_is_on():
        raise ConfigError(
            "JAX computes in float32, where optima and Hessians are not exact enough. "
            'Call jax.config.update("jax_enable_x64", True) before any computation.'
        )


_recent: OrderedDict[tuple[Any, ...], tuple[Any, Density]] = OrderedDict()


def density(model: Model, data: xr.Dataset, language: Language | None = None) -> Density:
    """The density of a model's program on one data set; by default NumPyro's where there is one.

    The latest ones are kept, so that the methods of one case share their compiled functions.

    Raises:
        ConfigError: JAX is in float32.
        ModelError: see `functions_of`.
    """
    require_float64()
    language = language or languages(model)[0]
    key = (model, language, id(data))
    if key not in _recent:
        program = functions_of(model, data, language)
        found = Density(
            model,
            data,
            program.coordinates,
            log_likelihood=lambda u: per_unit(model, data, program.log_likelihood(u)),
            log_prior=lambda u: total(program.log_prior(u)),
            log_jacobian=lambda u: total(program.log_jacobian(u)),
            constrain=jax.jit(program.constrain),
            unconstrain=jax.jit(program.unconstrain),
        )
        _recent[key] = (data, found)  # the data set is kept, too, so its id is not reused
        while len(_recent) > 16:
            _recent.popitem(last=False)
    _recent.move_to_end(key)
    return _recent[key][1]


def languages(model: Model) -> tuple[Language, ...]:
    """The languages in which a model has a program; the first is read by default."""
    if isinstance(model, AdoptedModel):
        return tuple(one for one in get_args(Language.__value__) if one in model.languages)
    return get_args(Language.__value__)


def program_on(model: Model, data: xr.Dataset, language: Language) -> UserProgram:
    """A program of a model, with data: its sites, its terms and what it draws.

    Raises:
        ModelError: the program's sites are not the parameter table's.
    """
    program = program_of(language, partial(getattr(model, language), data))
    table = sorted(parameter.name for parameter in model.parameters)
    if table != sorted(program.names):
        raise ModelError(
            f"model {model.name}: the {_SPELLED[language]} program samples "
            f"{sorted(program.names)}, the parameter table declares {table}"
        )
    return program


def pair_of(model: Model, data: xr.Dataset) -> Pair | None:
    """Both programs of a model, matched; None of one alone."""
    if isinstance(model, AdoptedModel):
        return model.adopted.pair
    return pair(program_on(model, data, "numpyro"), program_on(model, data, "pymc"))


def functions_of(model: Model, data: xr.Dataset, language: Language) -> Program:
    """A program's functions, their coordinates in the order of the parameter table.

    Raises:
        ModelError: the program's sites are not the parameter table's.
    """
    if isinstance(model, AdoptedModel):
        return model.functions(data, language)
    program = program_on(model, data, language)
    order = [parameter.name for parameter in model.parameters]
    return functions(Adopted({language: program}, None), program, order=order)


def quantities(model: Model, values: Values) -> Values:
    """Identified functions of the parameters, which are reported and compared, in table order."""
    reported = model.quantities(values) if isinstance(model, HasQuantities) else values
    # compiled functions return dictionaries in the order of their keys
    return {parameter.name: reported[parameter.name] for parameter in quantity_table(model)}


def quantity_table(model: Model) -> tuple[Parameter, ...]:
    """Names, supports and dims of what is reported."""
    return model.quantity_table if isinstance(model, HasQuantities) else model.parameters


def units(model: Model, data: xr.Dataset) -> int:
    """N, the number of exchangeable units."""
    if isinstance(model, HasUnits):
        return int(np.max(model.units(data))) + 1
    return int(next(iter(data.data_vars.values())).shape[0])


def per_unit(model: Model, data: xr.Dataset, terms: Sequence[Array]) -> Array:
    """Elementwise log-likelihood terms summed to one number per exchangeable unit, shape (N,)."""
    index = model.units(data) if isinstance(model, HasUnits) else None
    rows = []
    for term in terms:
        if jnp.ndim(term) == 0:
            raise ModelError(
                f"model {model.name}: an observed site has a scalar log-likelihood; "
                "expected one number per row of the data"
            )
        row = jnp.sum(jnp.reshape(term, (term.shape[0], -1)), axis=1)
        if index is not None:
            row = jax.ops.segment_sum(row, index, num_segments=units(model, data))
        rows.append(row)
    if not rows:
        raise ModelError(f"model {model.name}: the program has no observed site")
    return sum(rows[1:], rows[0])


def replicable(
    model: Model, template: xr.Dataset
) -> tuple[Density, Callable[[xr.Dataset, Array], Array]]:
    """The density of a template, and (data, u) ↦ log p(x_i | θ(u)) for data shaped like it.

    The data may be traced, so that many simulated sets are fitted by one compiled function.
    """
    space = density(model, template)

    def log_likelihood(data: xr.Dataset, u: Array) -> Array:
        if isinstance(model, AdoptedModel):
            terms = model.functions(data, languages(model)[0]).log_likelihood(u)
        else:
            terms = list(numpyro_terms(model, data, space.constrain(u))[1].values())
        return per_unit(model, data, terms)

    return space, log_likelihood


# --- a program's own variables --------------------------------------------------------------------


def parameters_of(model: Model, language: Language, sites: Mapping[str, Any]) -> Arrays:
    """Draws of all parameters from those of a program's variables, shape (chain, draw, …)."""
    adopted = model.adopted if isinstance(model, AdoptedModel) else None
    program = adopted.programs[language] if adopted else None
    names = program.names if program else [parameter.name for parameter in model.parameters]
    if missing := [name for name in names if name not in sites]:
        raise ModelError(f"{language} returned no {', '.join(missing)}")
    kept = {name: np.asarray(sites[name], float) for name in names}
    if adopted is None or program is None:
        return kept

    def one(values: Values) -> Values:
        terms, pair = program.at(program.unconstrain(values)), adopted.pair
        return pair.parameters(terms) if pair and program is pair.one else terms.values

    found = jax.jit(jax.vmap(jax.vmap(one)))(kept)
    return {name: np.asarray(x) for name, x in found.items()}


def somewhere(
    model: Model, data: xr.Dataset, language: Language, rng: np.random.Generator
) -> dict[str, Array]:
    """A start of the suite's own: values of a program's variables with a finite density.

    Args:
        model: the model.
        data: the data.
        language: whose program.
        rng: draws it.
    """
    if isinstance(model, AdoptedModel):
        program = model.adopted.programs[language]
        return dict(program.at(program.starts(rng)[0]).values)
    return dict(model.start(rng, data))


# --- borders ------------------------------------------------------------------------------------


def flat_names(values: Mapping[Any, Any]) -> list[str]:
    """Names of the scalars in order: `mu`, `weights[0]`, `covariance[0, 1]`; `beta[age]` by labels.

    The entries of an `xr.DataArray` go by the coordinates of its dims.
    """
    return [
        f"{name}[{', '.join(map(str, entry))}]" if entry else name
        for name, array in values.items()
        for entry in _entries(array)
    ]


def _entries(array: Any) -> Iterator[tuple[Any, ...]]:
    """Labels of every entry of an array, in order; indices along dims without distinct labels."""
    axes: list[Sequence[Any]] = [range(size) for size in np.shape(array)]
    for axis, dim in enumerate(array.dims if isinstance(array, xr.DataArray) else ()):
        if dim in array.coords and array.indexes[dim].is_unique:
            axes[axis] = array.indexes[dim].tolist()
    return product(*axes)


def names_of_entries(
    table: Sequence[Parameter], data: xr.Dataset, values: Mapping[str, Any]
) -> list[str]:
    """The same of plain arrays, whose entries go by the labels that the data have."""
    rows = {parameter.name: parameter for parameter in table}
    return flat_names(labelled([rows[name] for name in values], data, values))


def flatten(values: Values) -> Array:
    """All scalars in the order of `flat_names`, shape (m,)."""
    return jnp.concatenate([jnp.ravel(jnp.asarray(array)) for array in values.values()])


def labelled(table: Sequence[Parameter], data: xr.Dataset, values: Mapping[str, Any]) -> xr.Dataset:
    """Arrays as a Dataset with the table's dims and the data's labels, of groups and columns."""
    variables, coords = {}, {}
    for parameter in table:
        array = np.asarray(values[parameter.name])
        if array.ndim != len(parameter.dims):
            raise ModelError(
                f"parameter {parameter.name}: its table row has dims {parameter.dims}, "
                f"its value has shape {array.shape}"
            )
        variables[parameter.name] = (parameter.dims, array)
        for dim, size in zip(parameter.dims, array.shape, strict=True):
            for source in (dim.rstrip("_"), f"{dim.rstrip('_')}_label"):
                if source in data.coords and data.coords[source].shape == (size,):
                    coords[dim] = data.coords[source].data
    return xr.Dataset(variables, coords)
