"""Theory's predictions for approximate posteriors, in numbers.

With Λ the precision of the unconstrained posterior and G = ∂q/∂u:

* mean-field Gaussian VI has covariance diag(1/Λ_jj) there, so sd(q) = √(G diag(1/Λ_jj) Gᵀ);
* the posterior covariance is (J + P)⁻¹ to first order, J from the data and P from the prior;
* the posterior mean of q is q(û) + G δ + ½ tr(∇²q Σ), δ = ½ Σ ∇tr(∇²f Σ) the shift of the mean
  off the mode of f, and that of a Gaussian with another covariance S is the same with S for the
  last Σ of both terms: mean-field VI curves both with diag(1/Λ_jj), in the space of its program;
* the optimum of ℓ, or of ℓ + log π, is where Newton's method leads from û.
No prediction looks at the fit that it is held against.
References: MacKay (2003), Information Theory, §33.5; Tierney & Kadane (1986), JASA 81.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from inference.information.delta import quantity_covariance, standard_deviations
from inference.information.derivatives import derivatives, quantity_jacobian
from inference.information.inversion import invert
from inference.method import variants
from inference.methods.laplace import Laplace, mean_shift
from inference.optimisation.newton import climb
from models.errors import FitError
from models.programs.density import (
    Language,
    density,
    flatten,
    languages,
    names_of_entries,
    quantities,
    quantity_table,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from comparisons.case import Case
    from inference.estimate import Estimate
    from inference.information.derivatives import Objective
    from inference.method import Method
    from models.programs.density import Density
    from models.spec import Model, Values


class Optimum(NamedTuple):
    """An optimum and the sd that J⁻¹ gives it, by flat name of the quantity."""

    location: dict[str, float]
    sd: dict[str, float]


class MeanField(NamedTuple):
    """Mean-field VI in one unconstrained space, by flat name of the quantity."""

    sd: dict[str, float]
    full_sd: dict[str, float]
    """The sd of the posterior itself, to the same order in the same space."""
    mean_minus: dict[str, float]
    """Posterior mean less that of mean-field VI."""


class Predictions(NamedTuple):
    """By flat name of the quantity, on the natural scale."""

    full_sd: dict[str, float]
    mean_minus_laplace: Mapping[Language, dict[str, float]]
    """Posterior mean less the mean of the Laplace approximation, by language as below."""
    mean: dict[str, float]
    """Posterior mean."""
    mean_field: Mapping[Language, MeanField]
    """By the language whose space is meant; without those in which no mode was found."""
    likelihood: Optimum | None
    """Maximum of the likelihood; None where Newton's method does not lead to one."""
    joint: Optimum | None
    """Maximum of likelihood times prior, on the natural scale."""


@lru_cache(maxsize=8)
def predictions(case: Case) -> Predictions | None:
    """First-order theory at the mode of the Laplace approximation; None if there is none.

    The approximation is made even where it is not among the case's own methods.

    Raises:
        StoreError: the store cannot be read or written.
    """
    laplace = _laplace(case)
    if laplace is None:
        return None
    target = density(case.model, case.data)
    mode = np.asarray(laplace.record["mode"].data)
    values = target.constrain(jnp.asarray(mode))
    covariance = np.asarray(laplace.record["mode_covariance"].data)
    here = _Expansion(case.model, target, mode, covariance)
    at_mode = np.asarray(flatten(quantities(case.model, values)))
    fields: dict[Language, MeanField] = {}
    shifts: dict[Language, dict[str, float]] = {}
    for language in languages(case.model):
        one = _expansion(case, language, values)
        if one is not None:
            fields[language] = MeanField(*(here.named(found) for found in one.mean_field()))
            shifts[language] = here.named(one.shift(one.covariance))
    return Predictions(
        full_sd=here.named(here.deviation(covariance)),
        mean_minus_laplace=shifts,
        mean=here.named(at_mode + here.shift(covariance) + here.curvature(covariance)),
        mean_field=fields,
        likelihood=_optimum(here, "likelihood"),
        joint=_optimum(here, "joint"),
    )


def _laplace(case: Case) -> Estimate | None:
    """The Laplace approximation in the default space; None if it cannot be relied on."""
    default = languages(case.model)[0]
    all_ = (*case.methods, *variants(Laplace, case.profile))
    chosen = (m for m in all_ if isinstance(m, Laplace) and m.language == default)
    try:
        fit = case.fit(next(chosen))
    except FitError:
        return None
    return None if fit.problems else fit


def mean_field(theory: Predictions, method: Method) -> MeanField | None:
    """The prediction for a method; None unless it is mean-field VI."""
    if method.kind != "variational" or method.family != "mean_field" or method.language is None:
        return None
    return theory.mean_field.get(method.language)


def _expansion(case: Case, language: Language, values: Values) -> _Expansion | None:
    """The expansion about the mode in one program's space, looked for from some values."""
    target = density(case.model, case.data, language)
    start = np.asarray(target.unconstrain(values))
    found = climb(derivatives(target, "posterior"), start)
    if found is None:
        return None
    return _Expansion(case.model, target, found[0], np.linalg.inv(found[1]))


class _Expansion(NamedTuple):
    """The posterior about its mode in one space; results are of the flat quantities, shape (m,)."""

    model: Model
    target: Density
    mode: np.ndarray
    covariance: np.ndarray

    def named(self, values: np.ndarray) -> dict[str, float]:
        """Numbers of the flat quantities, by name."""
        at_mode = self.target.constrain(jnp.asarray(self.mode))
        reported = quantities(self.model, at_mode)
        names = names_of_entries(quantity_table(self.model), self.target.data, reported)
        return dict(zip(names, map(float, values), strict=True))

    @property
    def jacobian(self) -> np.ndarray:
        return np.asarray(quantity_jacobian(self.model, self.target)(jnp.asarray(self.mode)))

    def deviation(self, covariance: np.ndarray) -> np.ndarray:
        """Standard deviations that a covariance in the space gives."""
        return standard_deviations(self.jacobian, covariance)

    def shift(self, covariance: np.ndarray) -> np.ndarray:
        """G δ, curved with a covariance in the space."""
        return self.jacobian @ mean_shift(self.target, self.mode, self.covariance, covariance)

    def curvature(self, covariance: np.ndarray) -> np.ndarray:
        """½ tr(∇²q S), by second derivatives along the columns of the Cholesky factor of S."""
        columns = jnp.asarray(np.linalg.cholesky(covariance).T)
        along = _second_derivatives(self.model, self.target)
        return 0.5 * np.asarray(along(jnp.asarray(self.mode), columns)).sum(axis=0)

    def mean_field(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Standard deviations of mean-field VI and of the posterior, and how their means differ."""
        independent = np.diag(1 / np.diag(np.linalg.inv(self.covariance)))
        full, alone = (self.shift(s) + self.curvature(s) for s in (self.covariance, independent))
        return self.deviation(independent), self.deviation(self.covariance), full - alone


def _optimum(near: _Expansion, objective: Objective) -> Optimum | None:
    """The optimum that Newton's method leads to from the mode; None without one inside."""
    model, target = near.model, near.target
    found = climb(derivatives(target, objective), near.mode)
    if found is None:
        return None
    at, information = jnp.asarray(found[0]), found[1]
    inverse = invert(model, target, at, information)
    if inverse.problem or inverse.boundary.any():
        return None
    deviation = np.sqrt(np.diag(quantity_covariance(model, target, at, inverse)))
    reported = flatten(quantities(model, target.constrain(at)))
    return Optimum(near.named(np.asarray(reported)), near.named(deviation))


@lru_cache(maxsize=64)
def _second_derivatives(model: Model, target: Density) -> Callable[..., jax.Array]:
    """(u, directions) ↦ the second derivative of the flat quantities along each direction."""

    def reported(at: jax.Array) -> jax.Array:
        return flatten(quantities(model, target.constrain(at)))

    def along(u: jax.Array, direction: jax.Array) -> jax.Array:
        def slope(at: jax.Array) -> jax.Array:
            return jax.jvp(reported, (at,), (direction,))[1]

        return jax.jvp(slope, (u,), (direction,))[1]

    return jax.jit(jax.vmap(along, in_axes=(None, 0)))


def prior_information(target: Density, at: jax.Array) -> np.ndarray:
    """P = −∇²(log π + log-Jacobian) in the unconstrained space, shape (k, k)."""
    both = np.asarray(derivatives(target, "posterior").hessian(at))
    return np.asarray(derivatives(target, "likelihood").hessian(at)) - both


def through(
    case: Case, at: jax.Array, information: np.ndarray, theory: Predictions
) -> dict[str, float]:
    """Posterior sd if this were the information about the data at the maximum: (I + P)⁻¹.

    P is that of the prior and the Jacobian at the same point; what (J + P)⁻¹ gives there carries
    the result over to the posterior mode, so that I = J predicts `theory.full_sd`.

    Args:
        case: the case.
        at: the maximum of the likelihood in the unconstrained space, shape (k,).
        information: I there, shape (k, k).
        theory: the predictions for the case.

    Returns:
        The sd by flat name of the quantity.
    """
    target = density(case.model, case.data)
    prior = prior_information(target, at)
    data = -np.asarray(derivatives(target, "likelihood").hessian(at))
    jacobian = np.asarray(quantity_jacobian(case.model, target)(at))

    with np.errstate(invalid="ignore", divide="ignore"):  # a constant has sd 0
        before, after = (
            standard_deviations(jacobian, np.linalg.inv(precision + prior))
            for precision in (data, information)
        )
        ratio = after / before
    return {
        name: float(sd * r) for (name, sd), r in zip(theory.full_sd.items(), ratio, strict=True)
    }
