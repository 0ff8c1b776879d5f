"""An estimator over replicated data sets at the truth, held against the Cramér–Rao bound there.

For an unbiased estimator T of quantities with Jacobian G, Var T ≥ B = G (N·I(θ₀))⁻¹ Gᵀ.
Reference: Lehmann & Casella (1998), Theory of Point Estimation, §2.5-2.6.
"""

from typing import Any, NamedTuple

import numpy as np
from jax import Array

from comparisons.policy import EFFICIENCY, POSTERIOR
from comparisons.reference import Case, positions, scalars, values_at
from comparisons.replicated.ladder import Rung
from comparisons.replicated.moments import Moments
from comparisons.verdict import Verdict
from inference.estimate import Estimate
from inference.information.delta import bound_error
from inference.information.derivatives import quantity_jacobian
from inference.information.inversion import invert
from inference.information.matrices import Expected, expected, simulated_scores
from inference.posterior.labels import canonical
from models.capabilities import HasExpectedInformation
from models.errors import FitError
from models.programs.adopted.model import AdoptedModel
from models.programs.density import Density, density, units
from models.spec import Model

SMALLEST = "smallest eigenvalue of B^(−½) Var B^(−½)"


class Bound(NamedTuple):
    """(N·I)⁻¹ of the m quantities."""

    covariance: np.ndarray
    """Shape (m, m)."""
    deviation: np.ndarray
    """Square roots of its diagonal; 0 for a constant."""
    uncertain: np.ndarray
    """Relative Monte Carlo error of the diagonal; 0 where the information is exact."""
    information: np.ndarray
    """N·I in the unconstrained space, shape (k, k)."""
    inverse: np.ndarray
    """Its inverse."""


def bound_at(model: Model, target: Density, u: Array, information: Expected, edge: str) -> Bound:
    """The bound on the covariance of the quantities at a point.

    Args:
        model: the model.
        target: its density.
        u: the point, shape (k,).
        information: the expected one there.
        edge: the sentence about a point on a boundary.

    Raises:
        FitError: the information is singular, or the point is on a boundary.
    """
    inverse = invert(model, target, u, information.matrix)
    if inverse.problem or inverse.boundary.any():
        raise FitError(inverse.problem or edge)
    jacobian = np.asarray(quantity_jacobian(model, target)(u))
    covariance = jacobian @ inverse.covariance @ jacobian.T
    uncertain = bound_error(jacobian, inverse.covariance, information.scores)
    deviation = np.sqrt(np.diag(covariance))
    return Bound(covariance, deviation, uncertain, information.matrix, inverse.covariance)


def cramer_rao_bound(model: Model, n: int, rng: np.random.Generator) -> Bound:
    """The bound on the covariance of the quantities at the model's truth."""
    target = density(model, model.simulate(rng, model.truth, n))
    u = target.unconstrain(model.truth)
    information = expected(model, target, u, rng)
    try:
        return bound_at(model, target, u, information, "a parameter is on its boundary")
    except FitError as error:
        told = f"{model.name} has no Cramér–Rao bound at its truth: {error}"
        raise FitError(told) from error


def declared(case: Case, top: Estimate, deviation: np.ndarray) -> list[Verdict]:
    """The expected information that a model declares, against the scores of simulated units.

    A verdict on each of the standard errors that it gives at a maximum of the likelihood, shape
    (m,); none where nothing is declared, or the data have a design that simulated ones would not.
    """
    model, data = case.model, case.data
    if isinstance(model, AdoptedModel) or not isinstance(model, HasExpectedInformation):
        return []
    if len(data.data_vars) != 1:
        return []
    target = density(model, data)
    u = target.unconstrain(canonical(model, values_at(top)))
    scores = simulated_scores(model, target.constrain(u), case.rng("simulated scores"))
    information = Expected(units(model, data) * scores.T @ scores / len(scores), scores)
    try:
        found = bound_at(model, target, u, information, "on a boundary")
    except FitError:
        return []
    fields: dict[str, Any] = {"quantity": "expected standard error"}
    fields["reference"] = "by the scores of simulated units"
    verdicts = []
    for scalar in scalars(model, top):
        i = positions(top)[scalar]
        if (sd := float(found.deviation[i])) > 0:
            numbers = float(deviation[i]), sd, sd * float(found.uncertain[i]) / 2, POSTERIOR * sd
            claim = "{quantity} of {parameter}: as declared − {reference}"
            verdicts.append(Verdict(claim, *numbers, parameter=scalar, **fields))
    return verdicts


class Sampling(NamedTuple):
    """An estimator over data sets of n units; its statistics are of a quantity, by its place."""

    n: int
    errors: Moments
    """Moments of estimate − truth of the m quantities; columns after them are not looked at."""
    bound: Bound
    standard_errors: Moments | None = None

    def sd(self, place: int) -> Rung:
        """The standard deviation."""
        sd = float(self.errors.deviation[place])
        return Rung(self.n, sd, sd * float(self.errors.relative[place]) / 2)

    def bias(self, place: int) -> Rung:
        """The mean error in standard deviations."""
        errors = self.errors
        shift = float(errors.mean[place]) / float(errors.deviation[place])
        return Rung(self.n, shift, errors.replicates**-0.5)

    def variance(self, place: int) -> Rung:
        """The variance over its bound."""
        ratio = (self.sd(place).value / float(self.bound.deviation[place])) ** 2
        relative, fixed = self.errors.relative[place], float(self.bound.uncertain[place])
        return Rung(self.n, ratio, ratio * float(np.hypot(relative, fixed)), ratio * fixed)

    def over_bound(self, place: int) -> Rung:
        """The standard deviation over its bound."""
        square = self.variance(place)
        ratio = square.value**0.5
        return Rung(self.n, ratio, square.error / ratio / 2, square.fixed / ratio / 2)

    def own_error(self, place: int) -> Rung:
        """The mean standard error over the standard deviation, their errors as if independent."""
        assert self.standard_errors is not None
        _, sd, uncertain, _ = self.sd(place)
        found = self.standard_errors.mean, self.standard_errors.error
        ratio, error = (float(part[place]) / sd for part in found)
        return Rung(self.n, ratio, float(np.hypot(error, ratio * uncertain / sd)))

    def smallest(self) -> tuple[Rung, float]:
        """Smallest eigenvalue of B^(−½) Var B^(−½) on the range of B; where it lies if Var T = B.

        The latter by Marchenko & Pastur (1967), Math. USSR-Sbornik 1.
        """
        bound, size = self.bound, len(self.bound.covariance)
        scale = np.where(bound.deviation > 0, bound.deviation, 1.0)
        value, vector = np.linalg.eigh(bound.covariance / np.outer(scale, scale))
        inside = value > 1e-10 * value[-1]
        basis = vector[:, inside] / np.sqrt(value[inside]) / scale[:, None]
        covariance = self.errors.covariance[:size, :size]
        smallest = float(np.linalg.eigvalsh(basis.T @ covariance @ basis)[0])
        varies = bound.deviation > 0
        error = np.hypot(self.errors.relative[:size], bound.uncertain)[varies].max()
        fixed = smallest * float(bound.uncertain[varies].max())
        expected_value = (1 - np.sqrt(inside.sum() / self.errors.replicates)) ** 2
        return Rung(self.n, smallest, float(error), fixed), expected_value


def at_least(claim: str, rung: Rung, expected: float, **fields: Any) -> Verdict:
    """The verdict on a variance over its bound."""
    numbers = rung.value, expected, rung.error, EFFICIENCY
    return Verdict(claim, *numbers, "at_least", n=rung.n, fixed=rung.fixed, **fields)
