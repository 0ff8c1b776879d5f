"""The Gaussian mixture, labels marginalised: p(x) = Σ_j w_j N(x | μ_j, Σ_j).

Univariate means carry the law of sorted iid normals (density × k!), which removes the k! label
permutations; multivariate components stay exchangeable and are aligned after the fit.  The
likelihood is unbounded where a component collapses on a point: its "maximum" is the best
non-degenerate local one.
Reference: McLachlan & Peel (2000), Finite Mixture Models, ch. 2-3; Day (1969), Biometrika 56.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import xarray as xr

from models.catalogue._ordered import OrderedNormal, pymc_ordered_normal
from models.data.dataset import coords
from models.errors import FitError
from models.settings import Count, Finite, Positive
from models.spec import Model, Parameter, Values

if TYPE_CHECKING:
    from collections.abc import Callable

    import pymc as pm
    from jax import Array

_COLLAPSED = 1e-3
"""A component's sd relative to the pooled one below which it is degenerate."""
_BLOCK = 8_000
"""Rows of which an E step makes logits, responsibilities and sums while a cache holds them."""
_WIDE = 32
"""Features a row from which that is faster: narrower ones are read as fast as they are copied."""


@final
@dataclass(frozen=True)
class GaussianMixture(Model):
    """Mixture of `k` Gaussians in `dim` dimensions.

    Attributes:
        k: number of components.
        dim: number of columns D.
        covariance: `full` and `diagonal` are each component's own; `tied` is one full matrix and
            `spherical` one variance σ²I, shared by all components (mclust's VVV, VVI, EEE, EII).
        mean_loc, mean_scale: prior Normal of each mean, units of the data.
        scale_scale: prior HalfNormal scale of each standard deviation, units of the data.
        weight_concentration: prior Dirichlet concentration of the weights.
        correlation_concentration: prior LKJ concentration of each correlation matrix.
    """

    k: Count = 2
    dim: Count = 1
    covariance: Literal["full", "diagonal", "spherical", "tied"] = "full"
    mean_loc: Finite = 0.0
    mean_scale: Positive = 10.0
    scale_scale: Positive = 10.0
    weight_concentration: Positive = 2.0
    correlation_concentration: Positive = 1.0

    name: ClassVar[str] = "gaussian_mixture"

    @classmethod
    def examples(cls) -> tuple[tuple[Model, str, tuple[str, ...]], ...]:
        return (
            (
                cls(k=2, mean_loc=3.0, mean_scale=2.0, scale_scale=1.0),
                "faithful",
                ("eruptions",),
            ),
            (
                cls(k=2, dim=2, mean_loc=0.0, mean_scale=100.0, scale_scale=20.0),
                "faithful",
                ("eruptions", "waiting"),
            ),
            (cls(k=3, mean_loc=20.0, mean_scale=10.0, scale_scale=5.0), "galaxies", ("y",)),
        )

    # --- tables -------------------------------------------------------------------------------

    @property
    def _own(self) -> bool:
        """Whether each component has its own covariance."""
        return self.covariance in ("full", "diagonal")

    @property
    def _correlated(self) -> bool:
        return self.dim > 1 and self.covariance in ("full", "tied")

    @property
    def _scale_dims(self) -> tuple[str, ...]:
        own = ("component",) if self._own else ()
        each = ("variable",) if self.dim > 1 and self.covariance != "spherical" else ()
        return own + each

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        weights = (Parameter("weights", "simplex", ("component",)),) if self.k > 1 else ()
        if self.dim == 1:
            means = Parameter("mu", "ordered", ("component",))
            return (*weights, means, Parameter("sigma", "positive", self._scale_dims))
        rows = (
            *weights,
            Parameter("mean", "real", ("component", "variable")),
            Parameter("scale", "positive", self._scale_dims),
        )
        if not self._correlated:
            return rows
        own = ("component",) if self._own else ()
        dims = (*own, "variable", "variable_")
        return (*rows, Parameter("correlation_cholesky", "correlation_cholesky", dims))

    @property
    def quantity_table(self) -> tuple[Parameter, ...]:
        if self.dim == 1:
            return self.parameters
        weights = (Parameter("weights", "simplex", ("component",)),) if self.k > 1 else ()
        own = ("component",) if self._own else ()
        return (
            *weights,
            Parameter("mean", "real", ("component", "variable")),
            Parameter("covariance", "covariance", (*own, "variable", "variable_")),
        )

    def quantities(self, values: Values) -> Values:
        if self.dim == 1:
            return values
        factor = self._factor(values)
        shown = {"weights": values["weights"]} if self.k > 1 else {}
        covariance = factor @ jnp.swapaxes(factor, -1, -2)
        return {**shown, "mean": values["mean"], "covariance": covariance}

    @property
    def truth(self) -> Values:
        weights = np.arange(self.k, 0, -1) + 1.0
        values = {"weights": jnp.asarray(weights / weights.sum())} if self.k > 1 else {}
        centers = 4.0 * np.arange(self.k)
        scales = np.linspace(1.0, 1.5, self.k)
        if self.dim == 1:
            sigma = scales if self._own else 1.0
            return {**values, "mu": jnp.asarray(centers), "sigma": jnp.asarray(sigma)}
        # neighbours differ along alternating axes, so that no direction is shared by all
        mean = np.stack(
            [np.roll(np.linspace(1.0, 0.2, self.dim), j) * centers[j] for j in range(self.k)]
        )
        values["mean"] = jnp.asarray(mean)
        each = np.linspace(1.0, 1.3, self.dim)
        shape = {"full": scales[:, None] * each, "diagonal": scales[:, None] * each, "tied": each}
        values["scale"] = jnp.asarray(shape.get(self.covariance, np.asarray(1.0)))
        if self._correlated:
            correlation = 0.7 * np.eye(self.dim) + 0.3
            cholesky = np.linalg.cholesky(correlation)
            copies = (self.k, 1, 1) if self._own else (1, 1)
            values["correlation_cholesky"] = jnp.asarray(np.tile(cholesky, copies))
        return values

    # --- data ---------------------------------------------------------------------------------

    def simulate(self, rng: np.random.Generator, values: Values, n: int) -> xr.Dataset:
        weights = np.asarray(values["weights"]) if self.k > 1 else np.ones(1)
        component = rng.choice(self.k, size=n, p=weights / weights.sum())
        if self.dim == 1:
            sigma = np.broadcast_to(np.asarray(values["sigma"]), self.k)
            y = rng.normal(np.asarray(values["mu"])[component], sigma[component])
            return xr.Dataset({"y": ("obs", y)})
        factor = np.broadcast_to(np.asarray(self._factor(values)), (self.k, self.dim, self.dim))
        noise = np.einsum("nij,nj->ni", factor[component], rng.standard_normal((n, self.dim)))
        y = np.asarray(values["mean"])[component] + noise
        return xr.Dataset({"y": (("obs", "variable"), y)})

    def start(self, rng: np.random.Generator, data: xr.Dataset) -> Values:
        """Centres by k-means++ (every other draw: random rows), scales of the nearest rows."""
        y = np.asarray(data["y"].data).reshape(data.sizes["obs"], self.dim)
        pooled = y.std(axis=0)
        standard = (y - y.mean(axis=0)) / np.where(pooled > 0, pooled, 1.0)
        chosen = _spread_out(rng, standard, self.k, greedy=bool(rng.integers(2)))
        distance = ((standard[:, None] - standard[chosen]) ** 2).sum(axis=2)
        nearest = distance.argmin(axis=1)
        share = np.bincount(nearest, minlength=self.k) + 1.0
        mean = y[chosen] + 0.1 * pooled * rng.standard_normal((self.k, self.dim))
        scale = np.stack(
            [
                y[nearest == j].std(axis=0) if (nearest == j).sum() > 2 else pooled
                for j in range(self.k)
            ]
        )
        scale = np.maximum(scale, 0.1 * np.where(pooled > 0, pooled, 1.0))
        order = np.argsort(mean[:, 0]) if self.dim == 1 else np.arange(self.k)
        # plain arrays: to make JAX ones would cost as much as all of the above
        values: dict[str, Any] = {"weights": (share / share.sum())[order]} if self.k > 1 else {}
        if self.dim == 1:
            sigma = scale[order, 0] if self._own else scale.mean()
            values |= {"mu": mean[order, 0], "sigma": np.asarray(sigma)}
            return values
        reduced = {"tied": scale.mean(axis=0), "spherical": np.asarray(scale.mean())}
        values |= {"mean": mean, "scale": reduced.get(self.covariance, scale)}
        if self._correlated:
            copies = (self.k, 1, 1) if self._own else (1, 1)
            values["correlation_cholesky"] = np.tile(np.eye(self.dim), copies)
        return values

    # --- the two programs ---------------------------------------------------------------------

    def numpyro(self, data: xr.Dataset) -> None:
        y = jnp.asarray(data["y"].data)
        values: Values = {}
        if self.k > 1:
            concentration = jnp.full(self.k, self.weight_concentration)
            values["weights"] = numpyro.sample("weights", dist.Dirichlet(concentration))
        scale_prior = dist.HalfNormal(self.scale_scale)
        if self.dim == 1:
            values["mu"] = numpyro.sample(
                "mu", OrderedNormal(self.mean_loc, self.mean_scale, self.k)
            )
            shape = (self.k,) if self._own else ()
            values["sigma"] = numpyro.sample("sigma", scale_prior.expand(shape))
        else:
            shape = tuple({"component": self.k, "variable": self.dim}[d] for d in self._scale_dims)
            mean_prior = dist.Normal(self.mean_loc, self.mean_scale)
            values["mean"] = numpyro.sample("mean", mean_prior.expand((self.k, self.dim)))
            values["scale"] = numpyro.sample("scale", scale_prior.expand(shape))
            if self._correlated:
                correlation = dist.LKJCholesky(self.dim, self.correlation_concentration)
                copies = (self.k,) if self._own else ()
                values["correlation_cholesky"] = numpyro.sample(
                    "correlation_cholesky", correlation.expand(copies)
                )
        with numpyro.plate("obs", y.shape[0]):
            numpyro.sample("y", self._mixture(values), obs=y)

    def pymc(self, data: xr.Dataset) -> pm.Model:
        import pymc as pm
        import pytensor.tensor as pt

        labels = {**coords(data), "component": np.arange(self.k)}
        if self._correlated:
            labels["variable_"] = labels["variable"]
        with pm.Model(coords=labels) as program:
            if self.k > 1:
                concentration = np.full(self.k, self.weight_concentration)
                weights = pm.Dirichlet("weights", concentration, dims="component")
            else:
                weights = np.ones(1)
            if self.dim == 1:
                mu = pymc_ordered_normal(
                    "mu", self.mean_loc, self.mean_scale, self.k, dims="component"
                )
                sigma = pm.HalfNormal("sigma", self.scale_scale, dims=self._scale_dims)
                sigma = sigma if self._own else pt.full((self.k,), sigma)
                pm.NormalMixture("y", weights, mu, sigma, observed=data["y"].data, dims="obs")
                return program
            dims = ("component", "variable")
            mean: Any = pm.Normal("mean", self.mean_loc, self.mean_scale, dims=dims)
            scale: Any = pm.HalfNormal("scale", self.scale_scale, dims=self._scale_dims)
            own: Any = scale if self._own else pt.stack([scale] * self.k)
            if self._correlated:
                copies = (self.k,) if self._own else ()
                shared: Any = pm.LKJCorr(
                    "correlation_cholesky",
                    n=self.dim,
                    eta=self.correlation_concentration,
                    shape=(*copies, self.dim, self.dim),
                )
                cholesky: Any = shared if self._own else pt.stack([shared] * self.k)
                factors = [own[j][:, None] * cholesky[j] for j in range(self.k)]
            else:
                factors = [pt.eye(self.dim) * own[j] for j in range(self.k)]
            components = [pm.MvNormal.dist(mean[j], chol=factors[j]) for j in range(self.k)]
            if self.k == 1:
                pm.MvNormal(
                    "y", mean[0], chol=factors[0], observed=data["y"].data, dims=("obs", "variable")
                )
            else:
                pm.Mixture(
                    "y", weights, components, observed=data["y"].data, dims=("obs", "variable")
                )
        return program

    def _factor(self, values: Values) -> Array:
        """Cholesky factors, shape (k, D, D), or (D, D) where the covariance is shared."""
        scale = values["scale"]
        if self._correlated:
            return scale[..., None] * values["correlation_cholesky"]
        if self.covariance == "spherical":
            return scale * jnp.eye(self.dim)
        return scale[..., None] * jnp.eye(self.dim)

    def _mixture(self, values: Values) -> Any:
        weights = values["weights"] if self.k > 1 else jnp.ones(1)
        if self.dim == 1:
            sigma = jnp.broadcast_to(values["sigma"], (self.k,))
            components: Any = dist.Normal(values["mu"], sigma)
        else:
            factor = jnp.broadcast_to(self._factor(values), (self.k, self.dim, self.dim))
            components = dist.MultivariateNormal(values["mean"], scale_tril=factor)
        return dist.MixtureSameFamily(dist.Categorical(probs=weights), components)

    # --- components ---------------------------------------------------------------------------

    def responsibilities(self, values: Values, data: xr.Dataset) -> Array:
        """P(component | row) under the mixture that the NumPyro program observes."""
        y = jnp.asarray(data["y"].data)
        return jax.nn.softmax(self._mixture(values).component_log_probs(y), axis=-1)

    def degeneracy(self, values: Values, data: xr.Dataset) -> str:
        y = np.asarray(data["y"].data).reshape(data.sizes["obs"], self.dim)
        n = y.shape[0]
        weights = np.asarray(values["weights"]) if self.k > 1 else np.ones(1)
        fewest = 2 if self.dim == 1 else self.dim + 1
        if not all(np.isfinite(np.asarray(value)).all() for value in values.values()):
            return "the climb left the finite numbers"
        if (weights * n).min() < fewest:
            j = int(weights.argmin())
            return (
                f"component {j} holds {weights[j] * n:.2g} of {n} rows, fewer than {fewest}: "
                "degenerate"
            )
        if self.dim == 1:
            smallest = np.min(np.asarray(values["sigma"])) / y.std()
        else:
            standard = np.asarray(self._factor(values)) / y.std(axis=0)[:, None]
            smallest = np.linalg.svd(standard, compute_uv=False).min()
        if smallest < _COLLAPSED:
            return (
                f"a component's standard deviation is {smallest:.1e} of the pooled one, "
                f"below {_COLLAPSED:g}: collapsed on a point or a plane"
            )
        return ""

    @property
    def labels(self) -> int:
        return self.k

    def label_features(self, values: Values) -> Array:
        return values["mu"][:, None] if self.dim == 1 else values["mean"]

    def relabel(self, values: Values, permutation: Array) -> Values:
        """Permutes every array that has a component dimension."""
        dims = {p.name: p.dims for p in (*self.parameters, *self.quantity_table)}
        return {
            name: array[permutation] if "component" in dims[name] else array
            for name, array in values.items()
        }

    @property
    def order(self) -> int:
        return self.k

    @property
    def orders(self) -> tuple[int, ...]:
        return tuple(sorted({1, 2, 3, 4, self.k}))

    def with_order(self, order: int) -> GaussianMixture:
        return replace(self, k=order)

    @property
    def referee_refusal(self) -> str:
        if self.dim == 1 and self._own:
            return ""
        return "the statsmodels referee covers univariate mixtures with a sigma per component"

    def referee(self, data: xr.Dataset) -> tuple[Values, Values, float]:
        """statsmodels: GenericLikelihoodModel with a scipy density and numerical derivatives."""
        from scipy.special import logsumexp
        from scipy.stats import norm
        from statsmodels.base.model import GenericLikelihoodModel

        y, k = np.asarray(data["y"].data), self.k

        class Mixture(GenericLikelihoodModel):
            def loglikeobs(self, params: np.ndarray) -> np.ndarray:
                weights = _softmax(params[: k - 1])
                mean, scale = params[k - 1 : 2 * k - 1], np.exp(params[2 * k - 1 :])
                return logsumexp(norm.logpdf(y[:, None], mean, scale) + np.log(weights), axis=1)

        names = [f"p{i}" for i in range(3 * k - 1)]
        fits = []
        for seed in range(8):
            start = self.start(np.random.default_rng(seed), data)
            weights = np.asarray(start["weights"]) if k > 1 else np.ones(1)
            chart = [np.log(weights[1:] / weights[0]), start["mu"], np.log(start["sigma"])]
            model = Mixture(y, np.ones((y.size, 1)), extra_params_names=names)
            model.exog_names[:] = names
            with warnings.catch_warnings():
                # statsmodels warns of every start; only the one that is kept is judged
                warnings.simplefilter("ignore")
                fit = model.fit(
                    np.concatenate(chart), method="bfgs", gtol=1e-6, maxiter=500, disp=0
                )
            params = np.asarray(fit.params)
            values = {"mu": params[k - 1 : 2 * k - 1], "sigma": np.exp(params[2 * k - 1 :])}
            if k > 1:
                values["weights"] = _softmax(params[: k - 1])
            values = {name: jnp.asarray(value) for name, value in values.items()}
            if fit.mle_retvals["converged"] and not self.degeneracy(values, data):
                fits.append((float(fit.llf), values, np.asarray(fit.bse)))
        if not fits:
            raise FitError("no start of statsmodels converged to a non-degenerate optimum")
        log_likelihood, values, error = max(fits, key=lambda fit: fit[0])
        sigma_error = jnp.asarray(error[2 * k - 1 :]) * values["sigma"]
        errors = {"mu": jnp.asarray(error[k - 1 : 2 * k - 1]), "sigma": sigma_error}
        order = jnp.argsort(values["mu"])
        return self.relabel(values, order), self.relabel(errors, order), log_likelihood

    # --- EM -----------------------------------------------------------------------------------

    def e_step(self, values: Values, data: xr.Dataset) -> dict[str, Array]:
        """Expected count, sum and sum of outer products of each component, of centred rows.

        Q is linear in the statistics, so that its derivatives by them are the coefficients of a
        row's features in the logits of its components.
        """
        nothing = self._unpacked(jnp.zeros((self.k, 1 + self.dim + len(self._pairs[0]))))
        natural = jax.grad(self.complete_log_likelihood, argnums=1)(values, nothing, data)
        i, j = self._pairs
        square = natural["square"]
        folded = jnp.where(i == j, square[:, i, j], square[:, i, j] + square[:, j, i])
        coefficients = jnp.concatenate([natural["count"][:, None], natural["sum"], folded], axis=1)
        y = data["y"].data.reshape(data.sizes["obs"], self.dim) - self._centre(data)
        if self.dim == 1:
            return self._unpacked(_power_sums(y[:, 0], coefficients))
        # of plain arrays they are plain arrays, which are made once and not at every step
        numbers = jnp if isinstance(y, jax.Array) else np
        features = numbers.concatenate([numbers.ones((len(y), 1)), y, y[:, i] * y[:, j]], axis=1)
        return self._unpacked(_by_blocks(partial(_feature_sums, coefficients), features))

    @property
    def _pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Places of the products among a row's features."""
        return np.triu_indices(self.dim)

    def _centre(self, data: xr.Dataset) -> Any:
        """Means of the columns: sums of squares about them keep their digits."""
        return data["y"].data.reshape(data.sizes["obs"], self.dim).mean(axis=0)

    def _unpacked(self, sums: Array) -> dict[str, Array]:
        """Statistics from the sums of features by component."""
        i, j = self._pairs
        upper = sums[:, 1 + self.dim :]
        square = jnp.zeros((self.k, self.dim, self.dim)).at[:, i, j].set(upper)
        square = square.at[:, j, i].set(upper)
        return {"count": sums[:, 0], "sum": sums[:, 1 : 1 + self.dim], "square": square}

    def m_step(self, statistics: dict[str, Array], data: xr.Dataset) -> Values:
        count = statistics["count"]
        away = statistics["sum"] / count[:, None]
        moment = statistics["square"] / count[:, None, None]
        covariance = moment - away[:, :, None] * away[:, None, :]
        mean = self._centre(data) + away
        share = count / count.sum()
        if not self._own:
            covariance = jnp.einsum("k,kij->ij", share, covariance)
        values = {"weights": share} if self.k > 1 else {}
        variance = jnp.diagonal(covariance, axis1=-2, axis2=-1)
        if self.dim == 1:
            values |= {"mu": mean[:, 0], "sigma": jnp.sqrt(variance[..., 0])}
            # the ordered chart has one label permutation; the M step may leave it
            return self.relabel(values, jnp.argsort(mean[:, 0]))
        values["mean"] = mean
        if self.covariance == "spherical":
            return {**values, "scale": jnp.sqrt(variance.mean())}
        values["scale"] = jnp.sqrt(variance)
        if self._correlated:
            outer = values["scale"][..., :, None] * values["scale"][..., None, :]
            values["correlation_cholesky"] = jnp.linalg.cholesky(covariance / outer)
        return values

    def complete_log_likelihood(
        self, values: Values, statistics: dict[str, Array], data: xr.Dataset
    ) -> Array:
        """Q = Σ_j n_j log w_j + Σ_j E[log N(x | μ_j, Σ_j)] from the sufficient statistics."""
        count = statistics["count"]
        weights = values["weights"] if self.k > 1 else jnp.ones(1)
        if self.dim == 1:
            mean = values["mu"][:, None]
            factor = jnp.broadcast_to(values["sigma"], (self.k,))[:, None, None]
        else:
            mean = values["mean"]
            factor = jnp.broadcast_to(self._factor(values), (self.k, self.dim, self.dim))
        mean = mean - self._centre(data)
        cross = statistics["sum"][:, :, None] * mean[:, None, :]
        scatter = (
            statistics["square"]
            - cross
            - jnp.swapaxes(cross, 1, 2)
            + count[:, None, None] * mean[:, :, None] * mean[:, None, :]
        )
        half = jax.vmap(lambda f, s: jax.scipy.linalg.solve_triangular(f, s, lower=True))(
            factor, scatter
        )
        full = jax.vmap(lambda f, h: jax.scipy.linalg.solve_triangular(f, h.T, lower=True))(
            factor, half
        )
        log_determinant = 2 * jnp.log(jnp.diagonal(factor, axis1=1, axis2=2)).sum(axis=1)
        gaussian = count * (self.dim * jnp.log(2 * jnp.pi) + log_determinant)
        quadratic = jnp.trace(full, axis1=1, axis2=2)
        return jnp.sum(count * jnp.log(weights)) - 0.5 * jnp.sum(gaussian + quadratic)


def _power_sums(y: Array, coefficients: Array) -> Array:
    """Σ_i P(j | y_i) (1, y_i, y_i²) by component, in one pass over the rows."""

    def sums(share: Array) -> Array:
        return jnp.stack([share.sum(), (share * y).sum(), (share * y**2).sum()])

    logits = [a + y * (b + y * c) for a, b, c in coefficients]
    if len(logits) == 2:  # half the work
        second = sums(jax.nn.sigmoid(logits[1] - logits[0]))
        return jnp.stack([sums(jnp.ones_like(y)) - second, second])
    top = reduce(jnp.maximum, logits)
    odds = [jnp.exp(logit - top) for logit in logits]
    scale = 1 / sum(odds)
    return jnp.stack([sums(scale * one) for one in odds])


def _feature_sums(coefficients: Array, features: Array) -> Array:
    """Σ_i P(j | row i) features_i by component, as two matrix products."""
    if len(coefficients) == 2:  # half the work
        odds = features @ (coefficients[1] - coefficients[0])
        second = jax.nn.sigmoid(odds) @ features
        return jnp.stack([features.sum(axis=0) - second, second])
    share = jax.nn.softmax(features @ coefficients.T, axis=1)
    # twice as fast by rows of the transpose, if that is really made first
    return jax.lax.optimization_barrier(share.T) @ features


def _by_blocks(function: Callable[[Any], Array], rows: Any) -> Array:
    """Σ function(block) over blocks of rows, each read once from memory."""
    count = len(rows) // _BLOCK
    if count < 2 or rows.shape[1] < _WIDE:
        return function(rows)
    blocks = rows[: count * _BLOCK].reshape(count, _BLOCK, rows.shape[1])

    def add(total: Array, block: Array) -> tuple[Array, None]:
        return total + function(block), None

    return jax.lax.scan(add, function(rows[count * _BLOCK :]), blocks)[0]


def _softmax(free: np.ndarray) -> np.ndarray:
    weights = np.exp(np.append(0.0, free))
    return weights / weights.sum()


def _spread_out(rng: np.random.Generator, rows: np.ndarray, k: int, *, greedy: bool) -> np.ndarray:
    """Indices of k rows: k-means++ (far from each other with high probability) or uniform.

    Reference: Arthur & Vassilvitskii (2007), k-means++, SODA.
    """
    if not greedy:
        return rng.choice(rows.shape[0], size=k, replace=rows.shape[0] < k)
    chosen = [int(rng.integers(rows.shape[0]))]
    for _ in range(k - 1):
        distance = ((rows[:, None] - rows[chosen]) ** 2).sum(axis=2).min(axis=1)
        total = distance.sum()
        weights = distance / total if total > 0 else None
        chosen.append(int(rng.choice(rows.shape[0], p=weights)))
    return np.array(chosen)
