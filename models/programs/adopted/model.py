"""An adopted model: a user's own programs, with their data, as a model of this suite.

What a model of the catalogue declares is read off the programs: parameters with their supports and
dims, starts with a finite density, simulation by the program itself, a point at which to study it.
What a class of the user's gives of these is taken from there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array

from models.errors import ConfigError, ModelError, did_you_mean, shown
from models.programs.adopted.arguments import source
from models.programs.adopted.functions import functions
from models.programs.adopted.own import Own
from models.programs.adopted.program import Site
from models.programs.form import Program
from models.spec import Arrays, Model, Parameter, Values

if TYPE_CHECKING:
    import pymc as pm


_LOOKS = 8
"""Points at which it is asked how far Laplace's method is off."""
_DISTORTED = 0.1
"""Its sd between draws, nats, above which a posterior mean may be off by as many of its sds."""


@final
@dataclass(eq=False, init=False, repr=False)
class AdoptedModel(Model):
    """A user's own programs with their data; of such models name and source tell them apart.

    Attributes:
        name: what reports call it.
        source: a digest of the programs and of how they are read.
        languages: those of its programs; the first is read unless another is asked for.
        data: what the programs observe and the numbers they are given, by name.
        size: the n of its data: units, or all rows where they are one.
        grows: whether it can have data of another size.
        measured: the names of what is observed in its data.
        adopted: the programs, matched.
        draws_by_itself: whether its programs draw its data, not a class of the user's.
        integrated: the latent variables that are integrated out.
    """

    name: str  # pyright: ignore[reportIncompatibleVariableOverride, reportGeneralTypeIssues]
    source: str

    def __init__(self, name: str, source: str, own: Own, told: Mapping[str, Any]) -> None:
        """`told` are the `parameters`, `truth`, `start`, `simulate` that a user's class gives."""
        self.name = name  # pyright: ignore[reportIncompatibleVariableOverride]
        self.source, self._own, self._told = source, own, told
        self.adopted, self.data, self.size = own.adopted, own.data, own.size
        self.languages = tuple(own.adopted.programs)
        self.draws_by_itself = "simulate" not in told
        self.grows = own.grows or not self.draws_by_itself
        self.measured = own.measured
        hidden = (site for site in own.adopted.named.sites if site not in own.adopted.sites)
        self.integrated = tuple(map(_parameter, hidden))

    def __repr__(self) -> str:
        """Its name and the languages in which it is written."""
        return f"{self.name} ({', '.join(self.languages)})"

    def known_as(
        self, name: str, source: str, truth: Mapping[str, Any] | None = None
    ) -> AdoptedModel:
        """The same under another name and digest, at a truth if given; its rest is at the mode."""
        told = {} if truth is None else {"truth": self._point(truth)}
        return AdoptedModel(name, source, self._own, {**self._told, **told})

    def with_class(self, model: Model, names: Sequence[str]) -> AdoptedModel:
        """The same model; an instance of a user's class gives some parts, such as `truth`."""
        told: dict[str, Any] = {name: getattr(model, name) for name in names}
        sites = {site.name for site in self.adopted.sites}
        declared = {parameter.name for parameter in told.get("parameters", ())}
        if "parameters" in told and declared != sites:
            raise ModelError(
                f"{self.name}: parameters declares {', '.join(sorted(declared))}; its programs "
                f"sample {', '.join(sorted(sites))}: give the table their names, or leave it out"
            )
        if "truth" in told:
            latent = self.adopted.latent
            told["truth"] = self._point({n: x for n, x in told["truth"].items() if n not in latent})
        return AdoptedModel(self.name, self.source, self._own, {**self._told, **told})

    def _point(self, values: Mapping[str, Any]) -> Values:
        """Values of all parameters, those that are not given at the mode."""
        shapes = {site.name: site.shape for site in self.adopted.sites}
        for name, value in values.items():
            if name not in shapes:
                raise ConfigError(f"truth: there is no {name!r}.{did_you_mean(name, shapes)}")
            if np.shape(value) != shapes[name]:
                told = f"has shape {np.shape(value)}; expected {shapes[name]}"
                raise ConfigError(f"truth: {name} {told}")
        rest = {} if set(values) == set(shapes) else self._own.mode
        point = {n: jnp.asarray(values[n] if n in values else rest[n], float) for n in shapes}
        try:
            inside = np.isfinite(self.adopted.named.unconstrain(point)).all()
        except ValueError:  # NumPyro validates the arguments of its laws
            inside = False
        if not inside:
            raise ConfigError(f"truth: {shown(dict(values))} holds what no prior can draw")
        return point

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return self._told.get("parameters") or tuple(map(_parameter, self.adopted.sites))

    @property
    def truth(self) -> Values:
        return self._own.exchange.ordered(self._told.get("truth") or self._own.mode)

    def start(self, rng: np.random.Generator, data: xr.Dataset) -> Values:
        if "start" in self._told:
            return self._told["start"](rng, data)
        points = self._own.starts
        return self._own.parameters_at(jnp.asarray(points[rng.integers(len(points))]))

    def simulate(self, rng: np.random.Generator, values: Values, n: int) -> xr.Dataset:
        """Other data for the same units; for another number of them see `sizes`."""
        own = self._own.sized(n, None if self.draws_by_itself else self._drawn_by_class)
        if self.draws_by_itself:
            one = {name: np.asarray(x)[None] for name, x in values.items()}
            sets = self.simulated_sets(rng, one, own.data)
            return own.data.assign({k: (own.data[k].dims, x[0]) for k, x in sets.items()})
        drawn = self._told["simulate"](rng, values, n)
        if varying := [k for k in own.covariates if not np.array_equal(drawn[k], own.data[k])]:
            raise ModelError(
                f"{', '.join(varying)} differs between two sets that {self.name}.simulate draws: "
                "keep it the same for the same n, or give the class both programs, parameters, "
                "start and truth"
            )
        return own.data.assign({k: (own.data[k].dims, drawn[k].data) for k in own.measured})

    def _drawn_by_class(self, n: int) -> Arrays:
        drawn = self._told["simulate"](np.random.default_rng(0), self.truth, n)
        return {str(name): array.values for name, array in drawn.data_vars.items()}

    def simulated_sets(
        self,
        rng: np.random.Generator | np.ndarray,
        values: Mapping[str, Any],
        data: xr.Dataset | None = None,
    ) -> Arrays:
        """A draw of what the programs observe at each of many points, shape (points, …).

        `rng` is the stream of all draws or a seed of each; shapes and covariates are those of the
        data, or its own if None. Latent variables that are integrated out are drawn anew.
        """
        own = self._own.like(data)
        program, sites = own.adopted.drawing()
        if why := [p.lawless for p in own.adopted.programs.values() if p.lawless]:
            raise ModelError(why[0])
        if factors := own.adopted.likelihood.get(program.language):
            raise ModelError(f"{', '.join(factors)} is likelihood that cannot be drawn from")
        held = {
            site.name: np.reshape(values[name], (-1, *site.shape)) for name, site in sites.items()
        }
        count = len(next(iter(held.values())))
        seeds = rng if isinstance(rng, np.ndarray) else rng.integers(2**63, size=count)
        drawn = program.draws(seeds, held)
        columns = {own.column_of[site]: drawn[site] for site in program.observed}
        kinds = {name: own.data[name].dtype for name in columns}  # integers may be of a real law
        return {n: x if x.dtype.kind == "f" else x.astype(kinds[n]) for n, x in columns.items()}

    @property
    def masked(self) -> Arrays:
        """Which values of its data are masked, by name, where some are."""
        own, programs = self._own, self.adopted.programs.values()
        return {own.column_of[site]: x for one in programs for site, x in one.masked.items()}

    def prior_draws(self, rng: np.random.Generator | np.ndarray, count: int) -> Arrays:
        """Draws of the parameters, shape (count, …); none where the prior cannot be drawn from."""
        seeds = rng if isinstance(rng, np.ndarray) else rng.integers(2**63, size=count)
        drawn = self.adopted.named.prior_draws(seeds)
        return {} if isinstance(drawn, str) else {p.name: drawn[p.name] for p in self.parameters}

    @property
    def prior_problem(self) -> str:
        """Why its prior cannot be drawn from, as a sentence; "" if it can."""
        drawn = self.adopted.named.prior_draws(np.arange(1))
        return drawn if isinstance(drawn, str) else ""

    @property
    def evidence_problem(self) -> str:
        """Why its prior leaves the evidence without a meaning, as a sentence; "" if it does not."""
        named = self.adopted.named
        loose = (*named.improper, *self.adopted.prior_factors(named), *named.unordered)
        told = f"the prior of {', '.join(loose)} is improper or may be unnormalised: no evidence"
        return told if loose else ""

    def source_of(self, language: str) -> str:
        """The text of a program; "" without one."""
        return source(self._own.calls[language]) if language in self.languages else ""

    def numpyro(self, data: xr.Dataset) -> Any:
        return self._own.like(data).call("numpyro", data)

    def pymc(self, data: xr.Dataset) -> pm.Model:
        return self._own.like(data).call("pymc", data)

    def functions(self, data: xr.Dataset, language: str) -> Program:
        """A program's functions of its unconstrained space, on data of the same shape."""
        if language not in self.languages:
            raise ModelError(f"{self.name} has no {language} program; it has {self.languages[0]}")
        own = self._own.like(data)
        program = own.adopted.programs[language]
        observed = {site: data[own.column_of[site]].data for site in program.observed}
        other = None if data is own.data else observed
        return functions(own.adopted, program, own.rows_of[language], other)

    def caution(self, values: Values, data: xr.Dataset) -> str:
        found = self.functions(data, self.languages[0])
        off, error = found.shortfall(found.unconstrain(values))
        told = f"importance sampling adds {off:.2g} ± {error:.1g} nats to Laplace's approximation"
        return f"{told} of the log-likelihood" if abs(off) > 1e-6 else ""

    def distortion(self, points: Mapping[str, Any], data: xr.Dataset) -> str:
        if not self.adopted.latent:
            return ""
        found = self.functions(data, self.languages[0])
        count = len(next(iter(points.values())))
        chosen = np.linspace(0, count - 1, min(count, _LOOKS)).astype(int)
        at = [{name: jnp.asarray(x[i]) for name, x in points.items()} for i in chosen]
        off, error = np.array([found.shortfall(found.unconstrain(one)) for one in at]).T
        moved = float(np.sqrt(max(0.0, off.var() - np.mean(error**2))))
        latent = ", ".join(self.adopted.latent)
        told = f"Laplace's approximation over {latent} is off by amounts that differ by {moved:.2g}"
        return f"{told} nats (sd) between its draws" if moved > _DISTORTED else ""

    def units(self, data: xr.Dataset) -> np.ndarray:
        return np.arange(self._own.like(data).units)

    def refusal(self, language: str | None, target: str, kind: str) -> str:
        if language is not None and language not in self.languages:
            return f"there is no {language} program"
        if target == "likelihood" or kind == "optimum" or kind == "laplace":
            return self.likelihood_problem
        return ""

    @property
    def labels(self) -> int:
        """How many components of a mixture the likelihood cannot tell apart; 1 of what is none."""
        return self._own.exchange.size

    @property
    def exchanged(self) -> tuple[str, ...]:
        """The parameters with an entry for each of these, if the prior cannot either."""
        found = self._own.exchange
        return () if found.log_prior else tuple(found.axes)

    def label_features(self, values: Values) -> Array:
        return self._own.exchange.features(values)

    def relabel(self, values: Values, permutation: Array) -> Values:
        return self._own.exchange.relabel(values, permutation)

    @property
    def likelihood_problem(self) -> str:
        """Why its likelihood must not be maximised, as a sentence; "" if it may."""
        return self._own.likelihood_problem


def _parameter(site: Site) -> Parameter:
    """A site as a row of the parameter table."""
    return Parameter(site.name, site.support, site.axes)
