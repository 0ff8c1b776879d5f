"""Fisher information at a point, by four estimators, and Louis' identity.

With scores s_i = ∇ log p(x_i | θ(u)) in the unconstrained space of `models.programs.density`:

    observed   J = −∇²ℓ                     the default: tracks the data at hand
    expected   N·I = N·E[s sᵀ]              the Cramér–Rao bound; exact, or by simulated scores
    opg        B = Σ s_i s_iᵀ               equals J in expectation when the model is right
    sandwich   J B⁻¹ J, of covariance       stays right when the model is wrong
               J⁻¹ B J⁻¹

At a stationary point all of these are tensors, so the delta method carries their inverses to the
reported quantities.  By Louis' identity J = complete − missing, where complete = −∂²Q(u' | u)/∂u'²
and missing = ∂²Q(u' | u)/∂u'∂u at u' = u; the largest eigenvalue of complete⁻¹ missing is the
linear rate of EM.
References: Efron & Hinkley (1978), Biometrika 65; White (1982), Econometrica 50; Louis (1982), JRSS
B 44; Dempster, Laird & Rubin (1977), JRSS B 39; Trefethen & Weideman (2014), SIAM Review 56 (the
trapezoidal rule converges exponentially for smooth densities that vanish at both ends).
"""

from functools import partial
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array

from inference.information.derivatives import derivatives, scores
from models.capabilities import HasEM, HasExpectedInformation, HasUnits
from models.errors import ConfigError, FitError, ModelError
from models.programs.adopted.model import AdoptedModel
from models.programs.compilation import once
from models.programs.density import Density, density, replicable, units
from models.programs.differentiation import jacobian
from models.programs.precision import float64
from models.spec import Model, Values

type Estimator = Literal["observed", "expected", "opg", "sandwich"]

_UNITS = 20_000
"""Units simulated where the expected information is neither a formula nor an integral."""


@float64
def fisher_information(
    model: Model,
    data: xr.Dataset,
    values: Values,
    *,
    estimator: Estimator = "observed",
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """The Fisher information of the data about the unconstrained coordinates of the parameters.

    Args:
        model: the model.
        data: the data, as `models.load_data` returns them.
        values: where, by parameter name, on the natural scale.
        estimator: `observed`, `expected`, `opg` or `sandwich`; see the head of this file.
        rng: draws the data by which an expected information without a closed form is estimated;
            a fixed stream by default.

    Returns:
        Shape (k, k), in the order and space of `density(model, data).coordinates`.

    Raises:
        ConfigError: there is no such estimator.
        FitError: the expected information is not to be had.
    """
    if estimator not in get_args(Estimator.__value__):
        valid = ", ".join(get_args(Estimator.__value__))
        raise ConfigError(f"estimator is {estimator!r}; expected one of {valid}")
    target = density(model, data)
    u = target.unconstrain({name: jnp.asarray(array) for name, array in values.items()})
    if estimator == "observed":
        return observed(target, u)
    if estimator == "expected":
        return expected(model, target, u, rng or np.random.default_rng(0)).matrix
    outer = outer_product(target, u)
    if estimator == "opg":
        return outer
    information = observed(target, u)
    return information @ np.linalg.solve(outer, information)


def observed(target: Density, u: Array) -> np.ndarray:
    """J(u) = −∇²ℓ(u), shape (k, k)."""
    return -np.asarray(derivatives(target, "likelihood").hessian(u))


def outer_product(target: Density, u: Array) -> np.ndarray:
    """Σ s_i s_iᵀ, shape (k, k)."""
    score = np.asarray(scores(target)(u))
    return score.T @ score


class Expected(NamedTuple):
    """The expected information, and the scores by which it was found where it is not exact."""

    matrix: np.ndarray  # N·I, shape (k, k)
    scores: np.ndarray
    """Scores of simulated units, with mean outer product I, shape (units, k); none if exact."""


def expected(model: Model, target: Density, u: Array, rng: np.random.Generator) -> Expected:
    """N·I(u): in closed form, by quadrature for independent univariate rows, else by simulation.

    Args:
        model: the model.
        target: its density on data, whose number of units and design count.
        u: where, shape (k,).
        rng: draws units from the model at u.

    Raises:
        FitError: the data have a design, and the model declares no closed form given it.
    """
    data, none = target.data, np.empty((0, target.size))
    if isinstance(model, HasExpectedInformation):
        return Expected(np.asarray(declared(model, target, u)), none)
    if isinstance(model, AdoptedModel):
        per_unit = _scores_at_design(model, data, target.constrain(u), rng)
    elif len(data.data_vars) > 1:
        raise FitError(
            f"{model.name}: the expected information given {', '.join(map(str, data.data_vars))} "
            "is not declared, and simulated data would have another design; "
            "see HasExpectedInformation"
        )
    elif (integral := _by_quadrature(model, target, u, rng)) is not None:
        return Expected(units(model, data) * integral, none)
    else:
        per_unit = simulated_scores(model, target.constrain(u), rng)
    return Expected(units(model, data) * per_unit.T @ per_unit / len(per_unit), per_unit)


def declared(model: HasExpectedInformation, target: Density, u: Array) -> Array:
    """N·I(u) of a density's data by the model's closed form, carried to u, (k, k); traceable."""

    def coordinates(v: Array) -> Array:
        return model.information_coordinates(target.constrain(v), target.data)

    turn = jax.jacfwd(coordinates)(u)
    return turn.T @ model.expected_information(target.constrain(u), target.data) @ turn


class Louis(NamedTuple):
    """Complete and missing information, each of shape (k, k), and the rate of EM they predict."""

    complete: np.ndarray
    missing: np.ndarray
    rate: float


def louis(model: Model, target: Density, u: Array) -> Louis:
    """Louis' decomposition at a fixed point of EM: information about u, shape (k,).

    Raises:
        FitError: the model has no EM.
    """
    if not isinstance(model, HasEM):
        raise FitError(f"model {model.name} has no E and M steps")

    def q(new: Array, old: Array) -> Array:
        statistics = model.e_step(target.constrain(old), target.data)
        return model.complete_log_likelihood(target.constrain(new), statistics, target.data)

    curvatures = once(jax.jacfwd(jax.grad(q, argnums=0), argnums=(0, 1)))
    curvature, missing = map(np.asarray, curvatures(u, u))
    complete = -curvature
    rate = float(np.max(np.linalg.eigvals(np.linalg.solve(complete, missing)).real))
    return Louis(complete, missing, rate)


def simulated_scores(model: Model, values: Values, rng: np.random.Generator) -> np.ndarray:
    """Scores of units drawn from a model without a design, (units, k): mean outer product I."""
    replica = density(model, model.simulate(rng, values, _UNITS))
    return np.asarray(scores(replica)(replica.unconstrain(values)))


def _scores_at_design(
    model: AdoptedModel, data: xr.Dataset, values: Values, rng: np.random.Generator
) -> np.ndarray:
    """Scores of the units of data sets simulated at the data's own design, shape (sets · N, k)."""
    space, log_likelihood = replicable(model, data)
    u = space.unconstrain(values)
    sets = max(20, _UNITS // jax.eval_shape(partial(log_likelihood, data), u).size)
    try:
        many = {k: np.broadcast_to(x, (sets, *jnp.shape(x))) for k, x in values.items()}
        drawn = model.simulated_sets(rng, many, data)
    except ModelError as error:
        raise FitError(f"the expected information needs simulated data: {error}") from error
    dims = {name: data[name].dims for name in drawn}

    def one(arrays: dict[str, Array]) -> Array:
        made = data.assign({name: (dims[name], array) for name, array in arrays.items()})
        return jacobian(lambda v: log_likelihood(made, v))(u)

    scores_of_sets = jax.jit(lambda arrays: jax.lax.map(one, arrays, batch_size=20))(drawn)
    return np.asarray(scores_of_sets).reshape(-1, u.size)


def _by_quadrature(
    model: Model, target: Density, u: Array, rng: np.random.Generator
) -> np.ndarray | None:
    """∫ s sᵀ p dx by the trapezoidal rule; None unless rows are single numbers and ∫ p dx is 1."""
    variables = list(target.data.data_vars.values())
    if len(variables) != 1 or variables[0].ndim != 1 or isinstance(model, HasUnits):
        return None
    values = target.constrain(u)
    name, dim = variables[0].name, variables[0].dims[0]
    sample = np.asarray(model.simulate(rng, values, 2_000)[name].data)
    if sample.dtype.kind != "f":
        return None
    width = np.ptp(sample)
    nodes = np.linspace(sample.min() - width, sample.max() + width, 40_001)
    grid = density(model, xr.Dataset({name: (dim, nodes)}))
    v = grid.unconstrain(values)

    def both(at: Array) -> tuple[Array, Array]:
        log_density = grid.log_likelihood(at)
        return log_density, log_density

    score, log_density = map(np.asarray, once(jacobian(both, has_aux=True))(v))
    weight = np.exp(log_density) * (nodes[1] - nodes[0])
    if not abs(weight.sum() - 1) < 1e-8:
        return None
    return (score * weight[:, None]).T @ score
