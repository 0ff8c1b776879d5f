"""A model's PyMC program: its density, as functions that JAX can trace, and what it draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array

from models.programs.form import Program, Terms, check_names
from models.programs.precision import keeping_the_switch
from models.spec import Model, Values

if TYPE_CHECKING:
    from models.programs.density import Density


# --- graphs ---------------------------------------------------------------------------------------


def pymc_program(model: Model, data: xr.Dataset) -> Any:
    """The program, built so that Python numbers stay float64."""
    with float64_constants():
        return model.pymc(data)


def float64_constants() -> Any:
    """A context in which PyTensor keeps Python numbers as they are; by default it rounds them."""
    import pytensor

    return pytensor.config.change_flags(cast_policy="numpy+floatX")


def jaxified(inputs: Sequence[Any], outputs: Sequence[Any]) -> Callable[..., tuple[Array, ...]]:
    """A PyTensor graph as a JAX function of its inputs, in the order given."""

    def load() -> Any:
        from pymc.sampling import jax

        return jax

    jax_sampling = keeping_the_switch(load)
    return jax_sampling.get_jaxified_graph(inputs=list(inputs), outputs=list(outputs))


def log_jacobians(
    variables: Sequence[Any], values: Mapping[Any, Any], transforms: Mapping[Any, Any]
) -> list[Any]:
    """Graphs of the log-Jacobian of each variable, a scalar.

    It is not the difference of two log priors, in which it would be lost where these are large.
    """
    import pytensor.tensor as pt

    return [
        pt.constant(np.float64(0))
        if transforms[v] is None
        else transforms[v].log_jac_det(values[v], *v.owner.inputs).sum()
        for v in variables
    ]


def _log_jacobians(program: Any, free: Sequence[Any]) -> list[Any]:
    graphs = log_jacobians(free, program.rvs_to_values, program.rvs_to_transforms)
    return program.replace_rvs_by_values(graphs)


def _forward(program: Any, free: Sequence[Any], values: Values) -> Callable[..., Any]:
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
    return jaxified(symbols, outputs)


# --- density --------------------------------------------------------------------------------------


def pymc_functions(model: Model, data: xr.Dataset) -> Program:
    """The program's functions of its unconstrained space.

    Raises:
        ModelError: the program's sites are not the parameter table's.
    """
    program = pymc_program(model, data)
    check_names(model, "PyMC", [variable.name for variable in program.free_RVs])
    names = [parameter.name for parameter in model.parameters]
    free = [program[name] for name in names]
    inputs = [program.rvs_to_values[variable] for variable in free]
    with float64_constants():
        likelihood = jaxified(
            inputs, program.logp(vars=program.observed_RVs, jacobian=False, sum=False)
        )
        priors = [*free, *program.potentials]
        prior = jaxified(inputs, [program.logp(vars=priors, jacobian=False)])
        jacobians = jaxified(inputs, _log_jacobians(program, free))
        natural = jaxified(inputs, program.replace_rvs_by_values(free))
    # any valid point gives the shapes; PyMC's own initial point would compile the whole program
    somewhere = model.start(np.random.default_rng(0), data)
    forward = _forward(program, free, somewhere)

    def constrain(parts: Values) -> Values:
        return dict(zip(names, natural(*parts.values()), strict=True))

    def unconstrain(values: Values) -> Values:
        arrays = (jnp.asarray(values[name], float) for name in names)
        return dict(zip(names, forward(*arrays), strict=True))

    def log_likelihood(parts: Values) -> list[Array]:
        return list(likelihood(*parts.values()))

    def log_prior(parts: Values) -> Array:
        return prior(*parts.values())[0]

    def log_jacobian(parts: Values) -> Array:
        return sum(jacobians(*parts.values()), jnp.zeros(()))

    parts = jax.eval_shape(unconstrain, somewhere)  # in the order of its keys
    shapes = {name: parts[name].shape for name in names}
    return Program(shapes, constrain, unconstrain, log_likelihood, log_prior, log_jacobian)


def pymc_reading(
    model: Model, data: xr.Dataset, space: Density, *, derivatives: bool
) -> Callable[[Array], Terms]:
    """The program's terms as a function of a point u of NumPyro's unconstrained space, shape (k,).

    Args:
        model: the model.
        data: the data.
        space: the density of the model's NumPyro program.
        derivatives: whether gradients and Jacobians are among the terms.
    """
    program = pymc_program(model, data)
    names = [parameter.name for parameter in model.parameters]
    function, rows = _natural_terms(program, names, derivatives=derivatives)
    jacobians = _jacobians(model, data, program, space) if derivatives else None
    k = len(names)

    def read(u: Array) -> Terms:
        values = space.constrain(u)
        out = list(function(*(values[name] for name in names)))
        priors, other, likelihood, natural = (
            out[:k],
            out[k],
            out[k + 1 :][:rows],
            out[k + 1 + rows :],
        )
        if jacobians is None:
            return priors, other, likelihood, [], []
        _, back = jax.vjp(space.constrain, u)
        gradients = []
        for part in (natural[:k], natural[k:]):
            pairs = zip(names, part, strict=True)
            cotangent = {n: jnp.reshape(g, jnp.shape(values[n])).astype(float) for n, g in pairs}
            gradients.append(back(cotangent)[0])
        return priors, other, likelihood, gradients, jacobians(u)

    return read


def _natural_terms(
    program: Any, names: Sequence[str], *, derivatives: bool
) -> tuple[Callable[..., tuple[Array, ...]], int]:
    """Terms as a function of values on the natural scale, one by name, and how many sites it sees.

    In order: log prior by parameter, everything else but the likelihood, log-likelihood by site,
    and with derivatives the gradient of the log prior by parameter, then of the log-likelihood.
    """
    import pytensor
    import pytensor.tensor as pt
    from pymc.model.transform.conditioning import remove_value_transforms

    with float64_constants():
        natural = remove_value_transforms(program)
        free = [natural[name] for name in names]
        inputs = [natural.rvs_to_values[variable] for variable in free]
        zero = pt.constant(np.float64(0))
        priors = [term.sum() for term in natural.logp(vars=free, jacobian=False, sum=False)]
        potentials = list(natural.potentials)
        others = [natural.logp(vars=potentials, jacobian=False)] if potentials else []
        rows = natural.logp(vars=natural.observed_RVs, jacobian=False, sum=False)
        outputs = [*priors, pt.add(zero, zero, *others), *rows]
        if derivatives:
            prior, likelihood = (
                pt.add(zero, *priors, *others),
                pt.add(zero, *(t.sum() for t in rows)),
            )
            for total in (prior, likelihood):
                gradient = pytensor.grad(total, inputs, disconnected_inputs="ignore")
                outputs += cast("list[Any]", gradient)
        return jaxified(inputs, outputs), len(rows)


def _jacobians(
    model: Model, data: xr.Dataset, program: Any, space: Density
) -> Callable[[Array], list[Array]]:
    """u ↦ each parameter's log-Jacobian, carried from the program's own coordinates v into u."""
    names = [parameter.name for parameter in model.parameters]
    free = [program[name] for name in names]
    with float64_constants():
        inputs = [program.rvs_to_values[variable] for variable in free]
        own = jaxified(inputs, _log_jacobians(program, free))
        forward = _forward(program, free, model.start(np.random.default_rng(0), data))

    def change(u: Array) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        values = space.constrain(u)
        v = tuple(forward(*(values[name] for name in names)))
        return v, v

    def carried(u: Array) -> list[Array]:
        terms = []
        derivatives, v = jax.jacfwd(change, has_aux=True)(u)
        for name, jacobian, derivative in zip(names, own(*v), derivatives, strict=True):
            columns = np.flatnonzero(np.array(space.coordinates) == name)
            block = jnp.reshape(derivative, (-1, space.size))[:, columns]
            square = block.shape[0] == block.shape[1]
            terms.append(jacobian + (jnp.linalg.slogdet(block)[1] if square else jnp.nan))
        return terms

    return carried


# --- draws ----------------------------------------------------------------------------------------


def pymc_prior(
    model: Model, data: xr.Dataset, rng: np.random.Generator, count: int
) -> dict[str, np.ndarray]:
    """Draws of every parameter from the program's prior, shape (count, …).

    Args:
        model: the model.
        data: the data.
        rng: the stream of the draws.
        count: number of draws.
    """
    program = pymc_program(model, data)
    names = [parameter.name for parameter in model.parameters]
    with float64_constants():
        [draws] = _draw(_batched([program[name] for name in names], count), rng, [], [[]])
    return dict(zip(names, draws, strict=True))


def pymc_rows(
    model: Model, data: xr.Dataset, points: Sequence[Values], rng: np.random.Generator
) -> list[dict[str, np.ndarray]]:
    """At each point, one simulated data set of every observed site, by name.

    Args:
        model: the model.
        data: what the draws are shaped like.
        points: parameters on the natural scale.
        rng: the stream of the draws.
    """
    from pytensor.graph.replace import clone_replace

    program = pymc_program(model, data)
    observed = program.observed_RVs
    inputs = {site: site.type() for site in program.free_RVs}
    arrays = [[np.asarray(values[site.name]) for site in inputs] for values in points]
    with float64_constants():
        drawn = _draw(clone_replace(observed, inputs), rng, list(inputs.values()), arrays)
    names = [site.name for site in observed]
    return [dict(zip(names, rows, strict=True)) for rows in drawn]


def _batched(variables: Sequence[Any], count: int) -> list[Any]:
    """The variables with a leading dimension of independent joint draws.

    Roots are resized and everything that depends on them is vectorised, so that one call of the
    compiled function makes all draws.
    """
    from pymc.distributions.shape_utils import change_dist_size
    from pytensor.graph.replace import vectorize_graph
    from pytensor.graph.traversal import ancestors

    among = set(variables)
    batch = {
        variable: change_dist_size(variable, (count,), expand=True)
        for variable in variables
        if not among & (set(ancestors([variable])) - {variable})
    }
    rest = [variable for variable in variables if variable not in batch]
    dependent = dict(zip(rest, vectorize_graph(rest, replace=batch), strict=True)) if rest else {}
    return [{**batch, **dependent}[variable] for variable in variables]


def _draw(
    variables: Sequence[Any],
    rng: np.random.Generator,
    inputs: Sequence[Any],
    points: Sequence[Sequence[np.ndarray]],
) -> list[list[np.ndarray]]:
    """A joint draw at each point of the inputs.

    Run by Python on NumPy's generators: compiling the samplers would take many times as long.
    """
    import pymc as pm
    import pytensor

    seed = int(rng.integers(2**31))
    with pytensor.config.change_flags(cxx=""):
        function = pm.compile(list(inputs), list(variables), random_seed=seed, mode="FAST_COMPILE")
        return [[np.asarray(draw) for draw in function(*point)] for point in points]
