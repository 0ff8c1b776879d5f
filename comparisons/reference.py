"""Which fit the others are held against, and the distinct scalars of an estimate.

The reference is the exact posterior if there is one, else the first sampler whose diagnostics pass:
what a verdict or a headline rests on is chosen here, by what a method declares to be.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from comparisons.policy import CONSTANT, POSTERIOR, RESOLUTION
from comparisons.verdict import AGAINST, Verdict
from inference.estimate import Estimate, Scalar
from inference.method import Method
from inference.posterior.labels import fold
from inference.posterior.points import to_natural, to_unconstrained
from models.capabilities import HasSigns
from models.errors import FitError
from models.programs.adopted.model import AdoptedModel
from models.programs.density import Density, quantity_table
from models.spec import Model, Values

if TYPE_CHECKING:
    from comparisons import case as cases

type Case = cases.Case
"""For annotations alone, so that no content key of a claim or study holds all methods."""

NO_SAMPLER = "no sampler of the posterior converged"
"""Why there is no reference."""


def scalars(model: Model, estimate: Estimate) -> dict[str, Scalar]:
    """By flat name: the lower triangle of a covariance only, and no constants."""
    found = {}
    for parameter in quantity_table(model):
        entries = estimate.scalars(parameter.name).items()
        shape = estimate.location.value[parameter.name].shape
        for index, (name, scalar) in zip(np.ndindex(shape), entries, strict=True):
            above = parameter.support == "covariance" and index[-1] > index[-2]
            if scalar.sd != 0 and not above:
                found[name] = scalar
    return found


def shared(model: Model, a: Estimate, b: Estimate) -> Iterator[tuple[str, Scalar, Scalar]]:
    """The scalars that both estimates report."""
    first, second = scalars(model, a), scalars(model, b)
    for name in first:
        if name in second:
            yield name, first[name], second[name]


def same_moments(one: Scalar, other: Scalar, unit: float, **fields: Any) -> Iterator[Verdict]:
    """Mean and sd under a law at test and another, with differences measured in an sd."""
    fields = {"claim": AGAINST, "resolution": RESOLUTION * unit, **fields}
    constant = one.sd == other.sd == 0
    bound = CONSTANT * max(1.0, abs(other.location)) if constant else POSTERIOR * unit
    for quantity, i in (("mean", 0), ("sd", 2)):
        error = float(np.hypot(one[i + 1], other[i + 1]))
        numbers = {"observed": one[i], "expected": other[i], "error": error}
        yield Verdict(**numbers, bound=bound, quantity=quantity, **fields)


def one_fact(verdicts: list[Verdict]) -> Iterator[Verdict]:
    """The farthest of the rows of each quantity that DIFFER, and how many more there are."""
    for quantity in ("mean", "sd"):
        rows = [verdict for verdict in verdicts if verdict.quantity == quantity]
        off = [verdict for verdict in rows if verdict.outcome == "DIFFER"]
        yield from (verdict for verdict in rows if verdict not in off)
        if off:
            more = f"{len(off) - 1} more like it" if len(off) > 1 else ""
            yield replace(max(off, key=lambda verdict: verdict.bounds_off), cause=more)


def positions(estimate: Estimate) -> dict[str, int]:
    """Place of each flat name in the estimate's covariance."""
    return {str(name): i for i, name in enumerate(estimate.covariance["quantity"].data)}


def samplers(fits: Mapping[Method, Estimate]) -> dict[Method, Estimate]:
    """The samplers of the posterior that can be relied on."""
    return {
        method: fit
        for method, fit in fits.items()
        if method.kind == "sampler" and not fit.problems and fit.draws is not None
    }


def exact_posterior(method: Method) -> bool:
    """Whether a method computes the posterior itself, without draws."""
    return method.kind == "exact" and method.target == "posterior"


def reference(fits: Mapping[Method, Estimate]) -> Method | None:
    """The exact posterior if there is one, else the first sampler without problems, if any."""
    exact = (method for method, fit in fits.items() if exact_posterior(method) and not fit.problems)
    return next(exact, None) or next(iter(samplers(fits)), None)


def reference_posterior(case: Case) -> tuple[Method, Estimate]:
    """The case's reference and its fit; a FitError with the reason where there is none."""
    fits = case.estimates("posterior")
    method = reference(fits)
    if method is None:
        raise FitError(NO_SAMPLER)
    return method, fits[method]


def maximum(case: Case) -> Estimate:
    """The first estimate of maximum likelihood without problems whose point is known.

    Raises:
        FitError: there is none to rest on; says why.
    """
    for fit in case.estimates("likelihood").values():
        if not fit.problems and fit.point.data_vars:
            return fit
    reasons = [why for one, why in case.refusals.items() if one.target == "likelihood"]
    own = case.model.likelihood_problem if isinstance(case.model, AdoptedModel) else ""
    if own and own in reasons:
        raise FitError(f"there is no maximum-likelihood estimate: {own}")
    raise FitError("no maximum-likelihood estimate is reliable")


def values_at(estimate: Estimate) -> Values:
    """The values of the parameters at the estimate's point."""
    return {str(name): jnp.asarray(array.data) for name, array in estimate.point.items()}


def unreliable(name: str, estimate: Estimate) -> str:
    """Why no verdict may rest on the estimate; "" if one may."""
    return f"{name}: {'; '.join(estimate.problems)}" if estimate.problems else ""


def posterior_size(posterior: Estimate) -> float:
    """Smallest effective number of draws behind any reported mean."""
    every = (posterior.scalars(str(name)).values() for name in posterior.location.value)
    moving = (one for some in every for one in some if one.location_error > 0)
    return min((one.sd / one.location_error) ** 2 for one in moving)


def coordinate_names(target: Density) -> list[str]:
    """Flat names of a density's coordinates, by the parameters that they are of."""
    names = target.coordinates
    return [f"{n}[{names[:i].count(n)}]" if names.count(n) > 1 else n for i, n in enumerate(names)]


def parameter_draws(case: Case, fit: Estimate, target: Density) -> np.ndarray:
    """A fit's draws in the unconstrained space of a density, shape (chain, draw, k)."""
    assert fit.draws is not None
    group = fit.draws["posterior"]
    values = {p.name: np.asarray(group[p.name].data) for p in case.model.parameters}
    shape = next(iter(values.values())).shape[:2]
    flat = {name: x.reshape(-1, *x.shape[2:]) for name, x in values.items()}
    return to_unconstrained(target, flat).reshape(*shape, target.size)


def unconstrained_draws(case: Case, posterior: Estimate, target: Density) -> np.ndarray:
    """Posterior draws in the unconstrained space, of one of equal modes, shape (draws, k)."""
    draws = parameter_draws(case, posterior, target).reshape(-1, target.size)
    if not isinstance(case.model, HasSigns):
        return draws
    values = {name: x[0] for name, x in to_natural(target, draws[None]).items()}
    return to_unconstrained(target, fold(case.model, values))


def own_draws(estimate: Estimate, names: Sequence[str]) -> np.ndarray | None:
    """The estimate's draws of some scalars, shape (chain, draw, scalars); None without either."""
    if estimate.draws is None or "posterior" not in estimate.draws.children:
        return None
    posterior = estimate.draws["posterior"]
    flat: dict[str, np.ndarray] = {}
    for variable in map(str, estimate.location.value.data_vars):
        if variable not in posterior.data_vars:
            return None
        array = posterior[variable].transpose("chain", "draw", ...).to_numpy()
        columns = np.moveaxis(array.reshape(*array.shape[:2], -1), -1, 0)
        flat |= dict(zip(estimate.scalars(variable), columns, strict=True))
    if not names or not set(names) <= flat.keys():  # draws that do not vary have no scalars
        return None
    return np.stack([flat[name] for name in names], axis=-1)
