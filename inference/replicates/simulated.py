"""Simulated data sets, one for each replicate, all at once.

A NumPyro program whose observed sites are the measured variables draws data, too: with its
parameters at θ and nothing observed, its sites are a data set from p(· | θ), and a compiled call
makes a batch of them.  One that observes functions of the data, such as contrasts, or by laws that
look at them cannot, nor can one whose covariates vary; then `simulate` makes the sets one by one.
A user's own programs draw their data with the covariates as they are.
Either way a set depends on the seed, n and the replicate's index alone, so that batches of any size
have the same.
Reference: Salmon et al. (2011), Parallel random numbers: as easy as 1, 2, 3, SC11.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any, final

import jax
import numpy as np
import xarray as xr
from jax import Array

from inference.replicates.everywhere import everywhere
from models.errors import ModelError
from models.programs.adopted.model import AdoptedModel
from models.programs.numpyro import numpyro_data, observed_sites
from models.spec import Model, Values

_MOST = 125  # most data sets per call
_LOOKS, _LONG = 12, 200
"""Simulated sets, and units of each, by which a design is told from covariates that vary."""
_DATA, _AFTER = 0, 2  # streams of a replicate; 1 is the prior draw of a study that makes one


@final
@dataclass(frozen=True, eq=False)
class Batch:
    """Simulated data sets of one shape, one for each replicate.

    Attributes:
        n: units of each.
        indices: numbers of the replicates.
        seed: of all streams.
        template: a data set like them.
        stacked: variables of the sets, with a leading axis of replicates: those of a user's own
            programs that are observed, of any other model all.
        points: the parameters at which each was drawn.
    """

    n: int
    indices: Sequence[int]
    seed: int
    template: xr.Dataset
    stacked: dict[str, np.ndarray]
    points: Sequence[Values]

    @property
    def count(self) -> int:
        """Number of replicates."""
        return len(self.indices)

    @cached_property
    def sets(self) -> list[xr.Dataset]:
        """The data sets, whose arrays are parts of the stacked ones."""
        found = []
        for i in range(self.count):
            data = self.template.copy()
            for name, arrays in self.stacked.items():
                data.variables[name].data = arrays[i]
            found.append(data)
        return found

    @cached_property
    def streams(self) -> list[np.random.Generator]:
        """Each replicate's own, for whatever is drawn after its data."""
        return [_stream(self.seed, self.n, index, _AFTER) for index in self.indices]

    @cached_property
    def varying(self) -> tuple[str, ...]:
        """The measured variables; the others, such as a group's index, are the same in each set."""
        return tuple(
            name
            for name, array in self.stacked.items()
            if array.dtype.kind == "f" or (array != self.template[name].data).any()
        )

    @cached_property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """The measured variables, each with a leading axis of replicates."""
        return tuple(self.stacked[name] for name in self.varying)


class Template:
    """A data set for all of its shape with the same fixed variables: a key of what is compiled."""

    def __init__(self, dataset: xr.Dataset, varying: tuple[str, ...]) -> None:
        self.dataset = dataset
        self.varying = varying

    def __hash__(self) -> int:
        return hash(self.varying)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Template) or self.dataset.sizes != other.dataset.sizes:
            return False
        fixed = [name for name in self.dataset if name not in self.varying]
        return self.varying == other.varying and all(
            np.array_equal(self.dataset[name].data, other.dataset[name].data) for name in fixed
        )

    def filled(self, arrays: tuple[Array, ...]) -> xr.Dataset:
        """The set with the varying variables replaced."""
        new = dict(zip(self.varying, arrays, strict=True))
        every = self.dataset.items()
        return xr.Dataset({n: (one.dims, new.get(str(n), one.data)) for n, one in every})


def simulated(
    model: Model, values: Values | Sequence[Values], n: int, indices: Sequence[int], seed: int
) -> Batch:
    """The data sets of some replicates; each depends on the seed, n and its own index alone.

    Args:
        model: what the data come from.
        values: where; one for each replicate where they differ.
        n: units of each set.
        indices: numbers of the replicates.
        seed: of all streams.

    Raises:
        ModelError: the sets differ in their variables, types or shapes.
    """
    # converted once, not once per replicate
    points: list[Any] = [
        {name: np.asarray(array) for name, array in at.items()}
        for at in ([values] if isinstance(values, dict) else values)
    ]
    if isinstance(values, dict):
        points *= len(indices)
    template, draw = _sampler(model, n)
    if draw is None:
        stacked = _one_by_one(model, template, points, n, indices, seed)
    else:
        many = {name: np.stack([at[name] for at in points]) for name in points[0]}
        stacked = draw(many, indices, seed)
    return Batch(n, indices, seed, template, stacked, points)


type _Draw = Callable[[Any, Sequence[int], int], dict[str, np.ndarray]]
"""(values of each replicate, indices, seed) ↦ variables of the sets."""


@lru_cache(maxsize=32)
def _sampler(model: Model, n: int) -> tuple[xr.Dataset, _Draw | None]:
    """A data set of n units, and how its program draws more of them; None if it cannot."""
    one = model.simulate(np.random.default_rng(0), model.truth, n)
    if isinstance(model, AdoptedModel):
        return one, partial(_by_own_programs, model, one, n) if model.draws_by_itself else None
    if not _draws(model, one, model.simulate(np.random.default_rng(1), model.truth, n)):
        return one, None
    types = {name: one[name].dtype for name in observed_sites(model, one, model.truth)}

    def draw(seed: Array, index: Array, values: Values) -> dict[str, Array]:
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), n), index)
        drawn = numpyro_data(model, one, values, key)
        return {name: drawn[name].astype(dtype) for name, dtype in types.items()}

    return one, partial(_by_program, jax.jit(jax.vmap(draw)), one)


def _by_program(
    draw: Callable[..., Any], template: xr.Dataset, many: Values, indices: Sequence[int], seed: int
) -> dict[str, np.ndarray]:
    word = np.random.SeedSequence(seed).generate_state(1, np.uint64)  # of a seed of any size
    arguments = np.repeat(word, len(indices)), np.asarray(indices), many
    size = sum(array.size for array in template.data_vars.values())
    drawn = everywhere(draw, arguments, most=_MOST, numbers=size)
    arrays = {str(name): np.asarray(array.data) for name, array in template.data_vars.items()}
    same = {name: np.broadcast_to(one, (len(indices), *one.shape)) for name, one in arrays.items()}
    return same | drawn


def _by_own_programs(
    model: AdoptedModel,
    template: xr.Dataset,
    n: int,
    many: Values,
    indices: Sequence[int],
    seed: int,
) -> dict[str, np.ndarray]:
    """The data sets of a user's own programs, whose covariates are the same in each."""
    streams = [np.random.SeedSequence(seed, spawn_key=(n, index, _DATA)) for index in indices]
    seeds = np.array([one.generate_state(1, np.uint64)[0] >> 1 for one in streams], np.int64)
    return model.simulated_sets(seeds, many, template)


def _one_by_one(
    model: Model,
    template: xr.Dataset,
    points: Sequence[Values],
    n: int,
    indices: Sequence[int],
    seed: int,
) -> dict[str, np.ndarray]:
    expected = _kinds({str(name): array.data for name, array in template.data_vars.items()})
    stacked = {n: np.empty((len(indices), *shape), kind) for n, (kind, shape) in expected.items()}
    for i, (index, at) in enumerate(zip(indices, points, strict=True)):
        data = model.simulate(_stream(seed, n, index, _DATA), at, n)
        arrays = {str(name): np.asarray(data.variables[name].data) for name in data.data_vars}
        if _kinds(arrays) != expected:
            raise ModelError(
                f"{model.name}.simulate gives variables {_kinds(arrays)} after {expected}; "
                "expected the same types and shapes for the same number of units"
            )
        for name, array in arrays.items():
            stacked[name][i] = array  # while it is in the cache
    return stacked


def _kinds(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    return {name: (array.dtype.newbyteorder("="), array.shape) for name, array in arrays.items()}


def _stream(seed: int, n: int, index: int, what: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(n, index, what)))


def _draws(model: Model, one: xr.Dataset, other: xr.Dataset) -> bool:
    """Whether the program observes the measured variables, by laws that do not look at them."""
    observed = set(observed_sites(model, one, model.truth))
    if not observed or not observed <= set(one.data_vars) or not _fixed(model, observed):
        return False
    starts = [model.start(np.random.default_rng(i), data) for i, data in enumerate((one, other))]
    for values in (model.truth, *starts):  # one alone may hide what laws look at
        sites, again = (observed_sites(model, data, values) for data in (one, other))
        if not observed == sites.keys() == again.keys():
            return False
        laws = [
            tuple(jax.tree.leaves(some[name]["fn"]) for some in (sites, again)) for name in sites
        ]
        alike = [
            *((site["value"], one[name].data) for name, site in sites.items()),
            *(tuple(map(len, law)) for law in laws),
            *(pair for law in laws for pair in zip(*law, strict=False)),
        ]
        if not all(np.array_equal(*pair) for pair in alike):
            return False
    try:
        drawn = jax.eval_shape(partial(numpyro_data, model, one, model.truth), jax.random.key(0))
    except NotImplementedError:  # a law that can be evaluated, not sampled
        return False
    return all(drawn[name].shape == one[name].shape for name in observed)


def _fixed(model: Model, observed: set[str]) -> bool:
    """Whether all else in the data is a design: the same in any two sets, of parameters, too."""
    streams = np.random.default_rng(0).spawn(_LOOKS)
    first = model.simulate(streams[0], model.truth, _LONG)
    points = [model.truth, model.start(streams[1], first)]
    sets = [model.simulate(rng, points[i % 2], _LONG) for i, rng in enumerate(streams[2:])]
    design = set(first.data_vars) - observed
    return not design or all(
        first.sizes == one.sizes
        and all(np.array_equal(first[name].data, one[name].data) for name in design)
        for one in sets
    )
