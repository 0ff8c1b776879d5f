"""The density of a model, read off its two programs.

For parameters θ on the natural scale, a chart u ↦ θ(u) from ℝᵏ and data x = (x_1, …, x_N),

    log posterior(u) = Σ_i log p(x_i | θ(u)) + log π(θ(u)) + log |∂θ/∂u| − log Z,

and the three terms are kept apart: `log_likelihood` (one entry per exchangeable unit), `log_prior`
(natural scale, no Jacobian) and `log_jacobian`.  There is no other density in the project.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, final

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from models.capabilities import HasQuantities, HasUnits
from models.errors import ConfigError, ModelError
from models.programs.precision import float64_is_on, keeping_the_switch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jax import Array

    from models.spec import Model, Parameter, Values

type Language = Literal["numpyro", "pymc"]


@final
@dataclass(frozen=True, eq=False)
class Density:
    """One program's density on one data set; every function is pure and traceable by JAX.

    Attributes:
        coordinates: the parameter that each coordinate of u belongs to, length k.
        log_likelihood: u ↦ log p(x_i | θ(u)), shape (N,), nats, constants kept.
        log_prior: u ↦ log π(θ(u)), a scalar; no Jacobian.
        log_jacobian: u ↦ log |∂θ/∂u|, a scalar.
        constrain: u ↦ θ(u), the values of every parameter.
        unconstrain: θ ↦ u.
    """

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
    """Refuses single precision.

    Raises:
        ConfigError: JAX computes in float32; says which call to make.
    """
    if not float64_is_on():
        raise ConfigError(
            "JAX computes in float32, where optima and Hessians are not exact enough. "
            'Call jax.config.update("jax_enable_x64", True) before any computation.'
        )


_recent: OrderedDict[tuple[Any, ...], tuple[Any, Density]] = OrderedDict()


def density(model: Model, data: xr.Dataset, language: Language = "numpyro") -> Density:
    """The density of a model's program on one data set.

    The latest ones are kept, so that the methods of one case share their compiled functions.

    Raises:
        ConfigError: JAX is in float32.
        ModelError: the program's sites are not the parameter table's.
    """
    require_float64()
    key = (model, language, id(data))
    if key not in _recent:
        build = _from_numpyro if language == "numpyro" else _from_pymc
        # the data set is kept with its density, so its id is not reused
        _recent[key] = (data, build(model, data))
        while len(_recent) > 16:
            _recent.popitem(last=False)
    _recent.move_to_end(key)
    return _recent[key][1]


def quantities(model: Model, values: Values) -> Values:
    """What is reported and compared: identified functions of the parameters, in table order."""
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
    first = next(iter(data.data_vars.values()))
    return int(first.shape[0])


# --- NumPyro ------------------------------------------------------------------------------------


def numpyro_trace(model: Model, data: xr.Dataset, values: Values) -> dict[str, Any]:
    """The NumPyro program's sites at given values."""
    from numpyro import handlers

    program = handlers.substitute(handlers.seed(model.numpyro, rng_seed=0), data=values)
    return handlers.trace(program).get_trace(data)


def observed_sites(model: Model, data: xr.Dataset, values: Values) -> dict[str, dict[str, Any]]:
    """Every observed site at given values; empty if the program has factors, too."""
    from numpyro.distributions import Unit

    sites = numpyro_trace(model, data, values)
    sampled = {name: site for name, site in sites.items() if site["type"] == "sample"}
    if any(isinstance(site["fn"], Unit) for site in sampled.values()):
        return {}
    return {name: site for name, site in sampled.items() if site["is_observed"]}


def numpyro_data(model: Model, data: xr.Dataset, values: Values, key: Array) -> dict[str, Array]:
    """What the observed sites draw at given values, shaped like the data."""
    from numpyro import handlers

    program = handlers.substitute(handlers.seed(model.numpyro, rng_seed=key), data=values)
    sites = handlers.trace(handlers.uncondition(program)).get_trace(data).values()
    drawn = {site["name"]: site["value"] for site in sites if site["type"] == "sample"}
    return {name: array for name, array in drawn.items() if name not in values}


def numpyro_terms(
    model: Model, data: xr.Dataset, values: Values
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Log prior by site, and log-likelihood by observed site, elementwise, on the natural scale."""
    from numpyro.distributions import Unit

    prior: dict[str, Array] = {}
    likelihood: dict[str, Array] = {}
    for name, site in numpyro_trace(model, data, values).items():
        if site["type"] != "sample":
            continue
        observed = site["is_observed"] and not isinstance(site["fn"], Unit)
        (likelihood if observed else prior)[name] = site["fn"].log_prob(site["value"])
    return prior, likelihood


def _from_numpyro(model: Model, data: xr.Dataset) -> Density:
    from numpyro.distributions import biject_to
    from numpyro.distributions.distribution import validation_enabled

    # At a start nothing is sampled, which would compile every operation of every sampler, and
    # unchecked, which would compile every comparison: a start outside a support has no density.
    with validation_enabled(False):
        trace = numpyro_trace(model, data, model.start(np.random.default_rng(0), data))
    sites = {
        name: site
        for name, site in trace.items()
        if site["type"] == "sample" and not site["is_observed"]
    }
    _check_names(model, "NumPyro", sites)
    names = [parameter.name for parameter in model.parameters]
    transforms = {name: biject_to(sites[name]["fn"].support) for name in names}
    shapes = [transforms[name].inverse_shape(jnp.shape(sites[name]["value"])) for name in names]
    split = partial(_split, names=names, shapes=shapes)

    @jax.jit
    def constrain(u: Array) -> Values:
        return {name: transforms[name](part) for name, part in split(u).items()}

    @jax.jit
    def unconstrain(values: Values) -> Array:
        parts = [jnp.ravel(transforms[name].inv(jnp.asarray(values[name]))) for name in names]
        return jnp.concatenate(parts)

    def log_likelihood(u: Array) -> Array:
        return per_unit(model, data, list(numpyro_terms(model, data, constrain(u))[1].values()))

    def log_prior(u: Array) -> Array:
        terms = numpyro_terms(model, data, constrain(u))[0]
        return sum((jnp.sum(term) for term in terms.values()), jnp.zeros(()))

    def log_jacobian(u: Array) -> Array:
        total = jnp.zeros(())
        for name, part in split(u).items():
            transform = transforms[name]
            total += jnp.sum(transform.log_abs_det_jacobian(part, transform(part)))
        return total

    coordinates = _coordinates(names, shapes)
    return Density(coordinates, log_likelihood, log_prior, log_jacobian, constrain, unconstrain)


def replicable(
    model: Model, template: xr.Dataset
) -> tuple[Density, Callable[[xr.Dataset, Array], Array]]:
    """The density of a template, and (data, u) ↦ log p(x_i | θ(u)) for data shaped like it.

    The data may be traced, so that many simulated sets are fitted by one compiled function.
    """
    of = density(model, template)

    def log_likelihood(data: xr.Dataset, u: Array) -> Array:
        terms = numpyro_terms(model, data, of.constrain(u))[1]
        return per_unit(model, data, list(terms.values()))

    return of, log_likelihood


# --- PyMC ---------------------------------------------------------------------------------------


def pymc_program(model: Model, data: xr.Dataset) -> Any:
    """The PyMC program, built so that Python numbers stay float64 (PyTensor's default rounds)."""
    import pytensor

    with pytensor.config.change_flags(cast_policy="numpy+floatX"):
        return model.pymc(data)


def jaxify(inputs: Sequence[Any], outputs: Sequence[Any]) -> Callable[..., tuple[Array, ...]]:
    """A PyTensor graph as a JAX function of its inputs, in the order given."""

    def load() -> Any:
        from pymc.sampling import jax

        return jax

    jax_sampling = keeping_the_switch(load)
    return jax_sampling.get_jaxified_graph(inputs=list(inputs), outputs=list(outputs))


def _from_pymc(model: Model, data: xr.Dataset) -> Density:
    import pytensor

    program = pymc_program(model, data)
    variables = {variable.name: variable for variable in program.free_RVs}
    _check_names(model, "PyMC", variables)
    with pytensor.config.change_flags(cast_policy="numpy+floatX"):
        free = [variables[parameter.name] for parameter in model.parameters]
        inputs = [program.rvs_to_values[variable] for variable in free]
        likelihood = jaxify(
            inputs, program.logp(vars=program.observed_RVs, jacobian=False, sum=False)
        )
        priors = [*free, *program.potentials]
        prior = jaxify(inputs, [program.logp(vars=priors, jacobian=j) for j in (False, True)])
        natural = jaxify(inputs, program.replace_rvs_by_values(free))
    names = [variable.name for variable in free]
    # any valid point gives the shapes; PyMC's own initial point would compile the whole program
    somewhere = model.start(np.random.default_rng(0), data)
    forward = pymc_forward(program, free, somewhere)
    arrays = [jnp.asarray(somewhere[name], float) for name in names]
    shapes = [part.shape for part in jax.eval_shape(forward, *arrays)]

    def parts(u: Array) -> list[Array]:
        return list(_split(u, names=names, shapes=shapes).values())

    @jax.jit
    def constrain(u: Array) -> Values:
        return dict(zip(names, natural(*parts(u)), strict=True))

    @jax.jit
    def unconstrain(values: Values) -> Array:
        parts = forward(*(jnp.asarray(values[name], float) for name in names))
        return jnp.concatenate([jnp.ravel(part) for part in parts])

    def log_likelihood(u: Array) -> Array:
        return per_unit(model, data, list(likelihood(*parts(u))))

    def log_prior(u: Array) -> Array:
        return prior(*parts(u))[0]

    def log_jacobian(u: Array) -> Array:
        without, with_jacobian = prior(*parts(u))
        return with_jacobian - without

    coordinates = _coordinates(names, shapes)
    return Density(coordinates, log_likelihood, log_prior, log_jacobian, constrain, unconstrain)


def pymc_forward(program: Any, free: Sequence[Any], values: Values) -> Callable[..., Any]:
    """Arrays on the natural scale, one per variable ↦ the program's unconstrained coordinates.

    `values` only gives the shapes.
    """
    import pytensor.tensor as pt

    symbols, outputs = [], []
    for variable in free:
        symbol = pt.as_tensor(np.asarray(values[variable.name], float)).type()
        transform = program.rvs_to_transforms[variable]
        symbols.append(symbol)
        outputs.append(
            symbol if transform is None else transform.forward(symbol, *variable.owner.inputs)
        )
    return jaxify(symbols, outputs)


# --- shared -------------------------------------------------------------------------------------


def _coordinates(names: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> tuple[str, ...]:
    pairs = zip(names, shapes, strict=True)
    return tuple(name for name, shape in pairs for _ in range(int(np.prod(shape))))


def _split(u: Array, names: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> Values:
    """A flat point as named arrays."""
    stops = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
    return {
        name: jnp.reshape(part, shape)
        for name, part, shape in zip(names, jnp.split(u, stops), shapes, strict=True)
    }


def per_unit(model: Model, data: xr.Dataset, terms: Sequence[Array]) -> Array:
    """Elementwise log-likelihood terms summed to one number per exchangeable unit, shape (N,).

    Raises:
        ModelError: a term has no leading dimension of rows.
    """
    total = None
    for term in terms:
        if jnp.ndim(term) == 0:
            raise ModelError(
                f"model {model.name}: an observed site has a scalar log-likelihood; "
                "expected one number per row of the data"
            )
        rows = jnp.sum(jnp.reshape(term, (term.shape[0], -1)), axis=1)
        if isinstance(model, HasUnits):
            index = model.units(data)
            rows = jax.ops.segment_sum(rows, index, num_segments=units(model, data))
        total = rows if total is None else total + rows
    if total is None:
        raise ModelError(f"model {model.name}: the program has no observed site")
    return total


def _check_names(model: Model, language: str, found: dict[str, Any]) -> None:
    declared = {parameter.name for parameter in model.parameters}
    if declared != set(found):
        raise ModelError(
            f"model {model.name}: the {language} program samples {sorted(found)}, "
            f"the parameter table declares {sorted(declared)}"
        )


# --- borders ------------------------------------------------------------------------------------


def flat_names(values: Values) -> list[str]:
    """Names of the scalars in order: `mu`, `weights[0]`, `covariance[0, 1]`."""
    names = []
    for name, array in values.items():
        shape = jnp.shape(array)
        names += [
            f"{name}[{', '.join(map(str, index))}]" if index else name
            for index in np.ndindex(shape)
        ]
    return names


def flatten(values: Values) -> Array:
    """All scalars in the order of `flat_names`, shape (m,)."""
    return jnp.concatenate([jnp.ravel(jnp.asarray(array)) for array in values.values()])


def labelled(table: Sequence[Parameter], data: xr.Dataset, values: Mapping[str, Any]) -> xr.Dataset:
    """Arrays as a Dataset with the table's dims and the data's coords."""
    variables, coords = {}, {}
    for parameter in table:
        array = np.asarray(values[parameter.name])
        if array.ndim != len(parameter.dims):
            raise ModelError(
                f"parameter {parameter.name}: its table row has dims {parameter.dims}, "
                f"its value has shape {array.shape}"
            )
        variables[parameter.name] = (parameter.dims, array)
        for dim in parameter.dims:
            source = dim.rstrip("_")
            if source in data.coords:
                coords[dim] = data.coords[source].data
    return xr.Dataset(variables, coords)
