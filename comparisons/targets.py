"""What theory predicts for approximate posteriors, in numbers.

With Λ the precision of the unconstrained posterior and G = ∂q/∂u:

* mean-field Gaussian VI has chart covariance diag(1/Λ_jj), so sd(q) = √(G diag(1/Λ_jj) Gᵀ);
* the posterior covariance is (J + P)⁻¹ to first order, J from the data and P from the prior;
* the posterior mean of q is q(û) + G δ + ½ tr(∇²q Σ), δ = ½ Σ ∇tr(∇²f Σ) the shift of the mean
  off the mode of f, and that of a Gaussian with another covariance S is the same with S for the
  last Σ of both terms: mean-field VI curves both with diag(1/Λ_jj), in the chart of its program;
* the optimum of ℓ, or of ℓ + log π, is where Newton's method leads from û.
No prediction looks at the fit that it is held against.
References: MacKay (2003), Information Theory, §33.5; Tierney & Kadane (1986), JASA 81.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

from inference.information.delta import quantity_covariance
from inference.information.derivatives import derivatives, quantity_jacobian
from inference.information.inversion import invert
from inference.method import variants
from inference.methods.laplace import Laplace, mean_shift
from models.errors import FitError
from models.programs.density import Language, density, flat_names, flatten, quantities

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from comparisons.case import Case
    from inference.information.derivatives import Objective
    from inference.method import Method
    from models.programs.density import Density
    from models.spec import Model, Values


_STEPS = 50
"""Most Newton steps, and halvings of one."""


class Optimum(NamedTuple):
    """An optimum and the spread J⁻¹ gives it, by flat name of the quantity."""

    location: dict[str, float]
    sd: dict[str, float]


class MeanField(NamedTuple):
    """What independent coordinates of one chart give, by flat name of the quantity."""

    sd: dict[str, float]
    full_sd: dict[str, float]
    """The sd of the posterior itself, to the same order in the same chart."""
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
    """By the language whose chart is meant; without those in which no mode was found."""
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
    chosen = (m for m in case.methods if isinstance(m, Laplace) and m.engine == "numpyro")
    try:
        laplace = case.fit(next(chosen, variants(Laplace, case.profile)[0]))
    except FitError:
        return None
    if laplace.problems:
        return None
    of = density(case.model, case.data)
    mode = np.asarray(laplace.record["mode"].data)
    values = of.constrain(jnp.asarray(mode))
    names = flat_names(quantities(case.model, values))

    def named(values: np.ndarray) -> dict[str, float]:
        return dict(zip(names, map(float, values), strict=True))

    def optimum(objective: Objective) -> Optimum | None:
        found = _climb(of, mode, objective)
        if found is None:
            return None
        at, information = found
        inverse = invert(case.model, of, at, information)
        if inverse.problem or inverse.boundary.any():
            return None
        deviation = np.sqrt(np.diag(quantity_covariance(case.model, of, at, inverse)))
        reported = flatten(quantities(case.model, of.constrain(at)))
        return Optimum(named(np.asarray(reported)), named(deviation))

    covariance = np.asarray(laplace.record["mode_covariance"].data)
    here = _Expansion(case.model, of, mode, covariance)
    shift = here.shift(covariance)
    at_mode = np.asarray(flatten(quantities(case.model, values)))
    fields: dict[Language, MeanField] = {}
    shifts: dict[Language, dict[str, float]] = {}
    for language in get_args(Language.__value__):
        one = _expansion(case, language, values)
        if one is not None:
            fields[language] = MeanField(*map(named, one.mean_field()))
            shifts[language] = named(one.shift(one.covariance))
    return Predictions(
        full_sd=named(here.deviation(covariance)),
        mean_minus_laplace=shifts,
        mean=named(at_mode + shift + here.curvature(covariance)),
        mean_field=fields,
        likelihood=optimum("likelihood"),
        joint=optimum("joint"),
    )


def mean_field(theory: Predictions, method: Method) -> MeanField | None:
    """The prediction for a method; None unless it is mean-field VI."""
    if method.kind != "variational" or method.family != "mean_field" or method.language is None:
        return None
    return theory.mean_field.get(method.language)


def _expansion(case: Case, language: Language, values: Values) -> _Expansion | None:
    """The expansion about the mode in one program's chart, looked for from some values."""
    of = density(case.model, case.data, language)
    found = _climb(of, np.asarray(of.unconstrain(values)), "posterior")
    if found is None:
        return None
    at, precision = found
    return _Expansion(case.model, of, np.asarray(at), np.linalg.inv(precision))


class _Expansion(NamedTuple):
    """The posterior about its mode in one chart; results are of the flat quantities, shape (m,)."""

    model: Model
    of: Density
    mode: np.ndarray
    covariance: np.ndarray

    @property
    def jacobian(self) -> np.ndarray:
        return np.asarray(quantity_jacobian(self.model, self.of)(jnp.asarray(self.mode)))

    def deviation(self, sd: np.ndarray) -> np.ndarray:
        """Standard deviations that a covariance in the chart gives."""
        return np.sqrt(np.einsum("ij,jk,ik->i", self.jacobian, sd, self.jacobian))

    def shift(self, sd: np.ndarray) -> np.ndarray:
        """G δ, curved with a covariance in the chart."""
        return self.jacobian @ mean_shift(self.of, self.mode, self.covariance, sd)

    def curvature(self, sd: np.ndarray) -> np.ndarray:
        """½ tr(∇²q S), by second derivatives along the columns of the Cholesky factor of S."""
        columns = jnp.asarray(np.linalg.cholesky(sd).T)
        along = _second_derivatives(self.model, self.of)
        return 0.5 * np.asarray(along(jnp.asarray(self.mode), columns)).sum(axis=0)

    def mean_field(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Standard deviations of mean-field VI and of the posterior, and how their means differ."""
        independent = np.diag(1 / np.diag(np.linalg.inv(self.covariance)))
        means = [self.shift(sd) + self.curvature(sd) for sd in (self.covariance, independent)]
        return self.deviation(independent), self.deviation(self.covariance), means[0] - means[1]


@lru_cache(maxsize=64)
def _second_derivatives(model: Model, of: Density) -> Callable[..., jax.Array]:
    """(u, directions) ↦ the second derivative of the flat quantities along each direction."""

    def reported(at: jax.Array) -> jax.Array:
        return flatten(quantities(model, of.constrain(at)))

    def along(u: jax.Array, direction: jax.Array) -> jax.Array:
        def slope(at: jax.Array) -> jax.Array:
            return jax.jvp(reported, (at,), (direction,))[1]

        return jax.jvp(slope, (u,), (direction,))[1]

    return jax.jit(jax.vmap(along, in_axes=(None, 0)))


def _climb(of: Density, start: np.ndarray, objective: Objective) -> tuple[Any, np.ndarray] | None:
    """Where Newton steps, halved until they climb, lead; and −Hessian of ℓ or ℓ + log π there."""
    compiled = derivatives(of, objective)
    u = start
    height, gradient = map(np.asarray, compiled.value_and_gradient(jnp.asarray(u)))
    for _ in range(_STEPS):
        information = -np.asarray(compiled.hessian(jnp.asarray(u)))
        if not np.isfinite(information).all() or np.linalg.eigvalsh(information)[0] <= 0:
            return None
        step = np.linalg.solve(information, gradient)
        if gradient @ step < 1e-12:
            return jnp.asarray(u), information
        for _ in range(_STEPS):
            higher, slope = map(np.asarray, compiled.value_and_gradient(jnp.asarray(u + step)))
            if higher > height:
                break
            step = step / 2
        else:
            return None
        u, height, gradient = u + step, higher, slope
    return None


def prior_information(of: Density, at: jax.Array) -> np.ndarray:
    """P = −∇²(log π + log-Jacobian) in the chart, shape (k, k)."""
    both = np.asarray(derivatives(of, "posterior").hessian(at))
    return np.asarray(derivatives(of, "likelihood").hessian(at)) - both


def through(
    case: Case, at: jax.Array, information: np.ndarray, theory: Predictions
) -> dict[str, float]:
    """Posterior sd if this were the information about the data at the maximum: (I + P)⁻¹.

    P is that of the prior and the chart at the same point; what (J + P)⁻¹ gives there carries the
    result over to the posterior mode, so that I = J predicts `theory.full_sd`.
    """
    of = density(case.model, case.data)
    prior = prior_information(of, at)
    data = -np.asarray(derivatives(of, "likelihood").hessian(at))
    jacobian = np.asarray(quantity_jacobian(case.model, of)(at))

    def deviation(precision: np.ndarray) -> np.ndarray:
        return np.sqrt(np.einsum("ij,jk,ik->i", jacobian, np.linalg.inv(precision), jacobian))

    with np.errstate(invalid="ignore", divide="ignore"):  # a constant has no spread
        ratio = deviation(information + prior) / deviation(data + prior)
    return {
        name: float(sd * r) for (name, sd), r in zip(theory.full_sd.items(), ratio, strict=True)
    }
