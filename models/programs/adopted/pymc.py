"""A plain PyMC model as a program: one graph for all of its terms, evaluated by JAX.

A built model holds Python numbers in the smallest type that fits them, float32 or int8, of which
PyTensor then takes float32 logarithms; they are widened to what they were meant to be.  A function
that builds a model is called so that they never become small.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from traceback import walk_tb
from typing import Any, final
from warnings import catch_warnings, filterwarnings

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from models.errors import ModelError, told
from models.programs.adopted.program import Site, Terms, UserProgram, support_of
from models.programs.form import joined
from models.programs.pymc import float64_constants, jaxified, sampler
from models.spec import Arrays, Values

_LOGGER = logging.getLogger("pytensor.graph.rewriting.basic")
_WIDER = {"float16": "float64", "float32": "float64", "int8": "int64", "int16": "int64"}


@final
class PymcProgram(UserProgram):
    """A PyMC model, built."""

    language = "pymc"

    def __init__(self, build: Callable[[], Any], *, built: bool = False) -> None:
        """Builds the graph of all terms, of a model that was `built` before or is built now."""
        self._build, self._built, self._shared = build, built, ()
        with float64_constants():
            _refuse(first := _called(build))
            self.model = model = _summed(first)
            self.discrete = tuple(v.name for v in first.free_RVs if v.name not in model.named_vars)
            wide = _widened(model) if built else {}
            self.narrow = wide is None
            try:
                self._graph(model, wide or {})
            except NotImplementedError as error:
                raise ModelError(
                    f"{told(error)}: JAX cannot evaluate the PyMC model, only PyMC's own engines "
                    "can; write it with functions of pytensor.tensor"
                ) from error
        self.factors = tuple(variable.name for variable in model.potentials)
        self.observed = {v.name: _constant(model.rvs_to_values[v]) for v in model.observed_RVs}
        self.dims = {
            n: (*model.named_vars_to_dims.get(n, ()), *self._shared) for n in self.observed
        }
        laws = {v.name: type(v.owner.op).__name__ for v in self._free}
        self.improper = tuple(name for name, law in laws.items() if "Flat" in law or "ICAR" in law)
        self.unordered = tuple(s.name for s in self.sites if s.support == "ordered")
        self._with_observed: Callable[..., Any] | None = None
        self._samplers: dict[tuple[str, ...], tuple[Any, Any]] = {}

    def _graph(self, model: Any, wide: Mapping[Any, Any]) -> None:
        """The functions of all terms, of natural values and of coordinates, and the sites."""

        def new(variables: Sequence[Any]) -> list[Any]:
            return [wide.get(v, v) for v in variables]

        self._free, self._seen = new(model.free_RVs), new(model.observed_RVs)
        self._potentials = new(model.potentials)
        variables = [*model.free_RVs, *model.observed_RVs]
        both = list(zip(variables, new(variables), strict=True))
        self._to_value = {v: model.rvs_to_values[old] for old, v in both}
        self._transform = {v: model.rvs_to_transforms.get(old) for old, v in both}
        self._inputs = [self._to_value[v] for v in self._free]
        self._terms_at = jaxified(self._inputs, self._outputs(self._to_value))
        self._forward = self._forward_transforms()
        self.sites = self._sites(model)
        self._deterministic = self._functions(new(model.deterministics))
        zeros = [jnp.zeros(site.unconstrained) for site in self.sites]
        shapes = {n: jax.eval_shape(f, *zeros)[0].shape for n, f in self._deterministic.items()}
        self.deterministics = shapes

    def _outputs(self, to_value: Mapping[Any, Any]) -> list[Any]:
        """Log prior, log-likelihood, log-Jacobians, potentials and natural values."""
        import pytensor.tensor as pt
        from pymc.logprob.basic import transformed_conditional_logp

        with catch_warnings():
            # labels of several outcomes are summed out over these together, in the first's term
            filterwarnings("ignore", "There are multiple dependent variables")
            terms = transformed_conditional_logp(
                [*self._free, *self._seen],
                rvs_to_values=dict(to_value),
                rvs_to_transforms=dict(self._transform),
                jacobian=False,
            )
        for i, v in enumerate(self._seen, len(self._free)):
            if terms[i].ndim == 0 < v.ndim and isinstance(terms[i], pt.TensorConstant):
                terms[i] = pt.zeros(to_value[v].shape)  # its rows are in the first's term
                self._shared = ("summed labels",)
        # not as the difference of two log priors, in which they would be lost where these are large
        jacobians = [
            self._transform[v].log_jac_det(to_value[v], *v.owner.inputs).sum()
            if self._transform[v] is not None
            else pt.constant(np.float64(0))
            for v in self._free
        ]
        return [*terms, *self._by_values([*jacobians, *self._potentials, *self._free], to_value)]

    def _by_values(self, graphs: list[Any], to_value: Mapping[Any, Any]) -> list[Any]:
        """Graphs of random variables as graphs of their unconstrained values."""
        from pymc.logprob.utils import replace_rvs_by_values

        values, transforms = dict(to_value), dict(self._transform)
        found = replace_rvs_by_values(graphs, rvs_to_values=values, rvs_to_transforms=transforms)
        return list(found)

    def _forward_transforms(self) -> Callable[..., Any]:
        """Natural values ↦ unconstrained ones, with supports at the values of the others."""
        from pytensor.graph.replace import graph_replace

        symbols = {v: v.type(name=v.name) for v in self._free}
        outputs = [
            s if self._transform[v] is None else self._transform[v].forward(s, *v.owner.inputs)
            for v, s in symbols.items()
        ]
        if not outputs:
            return lambda *_: ()
        replaced = graph_replace(outputs, symbols, strict=False)
        return jaxified(list(symbols.values()), replaced)

    def _sites(self, model: Any) -> tuple[Site, ...]:
        shapes = [_shape(v) for v in self._free]
        values = [jnp.zeros(shape) for shape in shapes]
        parts = jax.eval_shape(self._forward, *values) if values else ()
        return tuple(
            Site(
                v.name,
                shape,
                tuple(part.shape),
                support_of(self._transform[v]),
                tuple(map(str, model.named_vars_to_dims.get(v.name, ()))),
            )
            for v, shape, part in zip(self._free, shapes, parts, strict=True)
        )

    def _functions(self, variables: Sequence[Any]) -> dict[str, Callable[..., Any]]:
        """Each as a function of its own: one that JAX does not know sinks no other."""
        found = {}
        for variable in variables:
            with suppress(NotImplementedError):
                graphs = self._by_values([variable], self._to_value)
                found[variable.name] = jaxified(self._inputs, graphs)
        return found

    def again(self) -> PymcProgram:
        return PymcProgram(self._build, built=self._built)

    def at(self, u: Array | Values, observed: Mapping[str, Array] | None = None) -> Terms:
        parts = list(self.split(u).values())
        terms_at = self._terms_at if observed is None else self._observing(observed)
        out, names = iter(terms_at(*parts)), self.names
        groups = (names, self.observed, names, self.factors, names)
        prior, likelihood, jacobians, factors, values = (
            {name: next(out) for name in group} for group in groups
        )
        known = {name: function(*parts)[0] for name, function in self._deterministic.items()}
        return Terms(values, known, prior, likelihood, factors, jacobians)

    def _observing(self, observed: Mapping[str, Array]) -> Callable[..., Any]:
        """The terms with other data in the place of the observed ones."""
        import pytensor.tensor as pt

        if self._with_observed is None:
            arrays = {v: self.observed[v.name] for v in self._seen}
            symbols = {
                v: pt.tensor(v.name, dtype=a.dtype, shape=a.shape) for v, a in arrays.items()
            }
            # also within a trace, whose constants must outlive it
            with float64_constants(), jax.ensure_compile_time_eval():
                outputs = self._outputs({**self._to_value, **symbols})
                inputs = [*self._inputs, *symbols.values()]
                self._with_observed = jaxified(inputs, outputs)
        compiled = self._with_observed
        data = [jnp.asarray(observed.get(n, own)) for n, own in self.observed.items()]
        return lambda *parts: compiled(*parts, *data)

    def unconstrain(self, values: Mapping[str, Array]) -> Array:
        parts = self._forward(*(jnp.asarray(values[name], float) for name in self.names))
        return joined(dict(zip(self.names, parts, strict=True)), self.names)

    def drawn(self, seeds: np.ndarray, values: Arrays) -> Arrays:
        held = tuple(name for name in self.names if name in values)
        points = [[values[name][i] for name in held] for i in range(len(seeds))]
        try:
            if held not in self._samplers:
                self._samplers[held] = self._sampler(held)
            draw, reseed = self._samplers[held]
            found = []
            for seed, point in zip(seeds, points, strict=True):
                reseed(int(seed))
                found.append([np.asarray(one) for one in draw(*point)])
        except Exception as error:  # PyMC's distributions and a user's own raise anything
            raise ModelError(f"the PyMC program cannot draw: {told(error)}") from error
        names = [name for name in (*self.names, *self.observed) if name not in held]
        return dict(zip(names, map(np.stack, zip(*found, strict=True)), strict=True))

    def _sampler(self, held: tuple[str, ...]) -> tuple[Callable[..., Any], Callable[[int], None]]:
        """A joint draw with some variables held, and what sets its stream."""
        from pymc.pytensorf import reseed_rngs
        from pytensor.graph.replace import clone_replace
        from pytensor.tensor.random.type import RandomType

        symbols = {v: v.type() for v in self.model.free_RVs if v.name in held}
        every = (*self.model.free_RVs, *self.model.observed_RVs)
        drawn = clone_replace([v for v in every if v not in symbols], symbols)
        function = sampler(list(symbols.values()), drawn)
        streams = [v for v in function.get_shared() if isinstance(v.type, RandomType)]
        return function, lambda seed: reseed_rngs(streams, seed)


def _refuse(model: Any) -> None:
    """Refuses what is no model, or one without a density that could be evaluated."""
    from pymc import Model
    from pymc.distributions.simulator import SimulatorRV
    from pytensor.graph.traversal import ancestors
    from pytensor.tensor.random.type import RandomType

    if not isinstance(model, Model):
        kind = type(model).__name__
        raise ModelError(f"the PyMC program returned {kind}; end it with `return model`")
    if not model.observed_RVs and not model.potentials:
        raise ModelError("the PyMC model observes nothing: pass the data to `observed=`")
    for v in model.observed_RVs:
        if isinstance(getattr(v.owner, "op", None), SimulatorRV):
            raise ModelError(f"{v.name} is a pm.Simulator: its density is random")
        origins = ancestors([model.rvs_to_values[v]])
        if any(isinstance(a.type, RandomType) for a in origins):
            raise ModelError(
                f"{v.name} observes a pm.Minibatch: its density is random; pass all data"
            )


def _called(build: Callable[[], Any]) -> Any:
    """The model that a function builds."""
    try:
        return build()
    except AssertionError as error:  # which NumPyro raises outside inference
        frames = [frame.f_globals["__name__"] for frame, _ in walk_tb(error.__traceback__)]
        if frames[-1].startswith("numpyro."):
            raise ModelError("the PyMC program samples by NumPyro: pass it as numpyro=") from error
        raise


def _summed(model: Any) -> Any:
    """The model with its discrete latent variables summed out.

    Those that nothing depends on, such as missing outcomes, have probabilities that sum to one.
    """
    from pymc.model.fgraph import fgraph_from_model, model_from_fgraph
    from pytensor.graph.traversal import ancestors

    found = [v for v in model.free_RVs if not v.dtype.startswith("float")]
    if not found:
        return model
    above = {a for v in model.basic_RVs + model.potentials for a in ancestors([v]) if a is not v}
    try:
        if ends := [v for v in found if v not in above]:
            graph, copies = fgraph_from_model(model)
            gone = {copies[v] for v in ends}
            for output in [v for v in graph.outputs if gone & set(ancestors([v]))]:
                graph.remove_output(graph.outputs.index(output))
            return _summed(model_from_fgraph(graph))
        from pymc_extras import marginalize

        _LOGGER.disabled = True  # what it cannot do PyTensor would tell as a traceback besides
        return marginalize(model, found)
    except (ImportError, NotImplementedError, ValueError) as error:
        how = "needs pymc-extras: pip install 'concord[extras]'"
        if not isinstance(error, ImportError):
            how = "is beyond pymc-extras here. Give each row a label of its own, z[i] and not "
            how += f"z[group[i]], or write the sum with pm.Mixture or pm.logsumexp ({told(error)})"
        names = ", ".join(v.name for v in found)
        raise ModelError(f"{names}: discrete and latent; summing out {how}") from error
    finally:
        _LOGGER.disabled = False


def _widened(model: Any) -> dict[Any, Any] | None:
    """Its variables with every small constant at full precision; None where PyTensor cannot."""
    import pytensor.tensor as pt
    from pytensor.graph.basic import Constant
    from pytensor.graph.replace import clone_replace
    from pytensor.graph.traversal import ancestors

    variables = [*model.basic_RVs, *model.deterministics, *model.potentials]
    small: dict[Any, Any] = {
        c: pt.constant(np.asarray(c.data, _WIDER[c.type.dtype]), name=c.name)
        for c in ancestors(variables)
        if isinstance(c, Constant) and getattr(c.type, "dtype", "") in _WIDER
    }
    if not small:
        return {}
    try:
        wide = clone_replace(variables, small, rebuild_strict=False)
    except (AssertionError, TypeError, ValueError):
        return None  # symbolic distributions; compared at the precision of float32 constants
    for old, new in zip(variables, wide, strict=True):
        new.name = old.name
    return dict(zip(variables, wide, strict=True))


def _shape(variable: Any) -> tuple[int, ...]:
    """Shape of a random variable, by PyTensor's Python mode where its type does not say it."""
    import pytensor

    if None not in variable.type.shape:
        return tuple(map(int, variable.type.shape))
    with pytensor.config.change_flags(cxx=""):
        size = pytensor.function([], variable.shape, mode="FAST_COMPILE", on_unused_input="ignore")
        return tuple(int(n) for n in np.asarray(size()))


def _constant(value: Any) -> np.ndarray:
    """The array that an observed variable holds."""
    if hasattr(value, "data"):
        return np.asarray(value.data)
    if hasattr(value, "get_value"):
        return np.asarray(value.get_value())
    return np.asarray(value.eval(mode="FAST_COMPILE"))
