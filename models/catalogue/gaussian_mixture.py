"""The Gaussian mixture, labels marginalised: p(x) = Σ_j w_j N(x | μ_j, Σ_j).

Univariate means carry the law of sorted iid normals (density × k!), which removes the k! label
permutations; multivariate components stay exchangeable and are aligned after the fit.  The
likelihood is unbounded where a component collapses on a point: its "maximum" is the best
non-degenerate local one.
Reference: McLachlan & Peel (2000), Finite Mixture Models, ch. 2-3; Day (1969), Biometrika 56.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import xarray as xr

from models.capabilities import Equivariance
from models.catalogue._correlation import pymc_cholesky_correlation
from models.catalogue._mixture import clustered, component_sums, expected_deviance
from models.catalogue._normal import spread
from models.catalogue._ordered import OrderedNormal, pymc_ordered_normal
from models.data.dataset import coords
from models.errors import ConfigError
from models.settings import MOST, Finite, Positive, Size
from models.spec import Model, Parameter, Values

if TYPE_CHECKING:
    import pymc as pm
    from jax import Array

_COLLAPSED, _THIN = 1e-3, 0.02
"""A component's sd relative to the pooled one below which it is degenerate, and near a spike."""


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

    k: Size = 2
    dim: Size = 1
    covariance: Literal["full", "diagonal", "spherical", "tied"] = "full"
    mean_loc: Finite = 0.0
    mean_scale: Positive = 10.0
    scale_scale: Positive = 10.0
    weight_concentration: Positive = 2.0
    correlation_concentration: Positive = 1.0

    name: ClassVar[str] = "gaussian_mixture"
    equivariances: ClassVar[tuple[Equivariance, ...]] = (
        Equivariance("y", ("y", "mu", "mean"), {"sigma": 1, "scale": 1}),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if (numbers := self.k * self.dim**2) > MOST:  # more than memory is meant for
            raise ConfigError(
                f"{self.k} covariance matrices of {self.dim} columns hold {numbers:,} numbers; "
                f"expected at most {MOST:,}: choose a smaller k or fewer columns"
            )

    @classmethod
    def examples(cls) -> tuple[tuple[Model, str, tuple[str, ...]], ...]:
        return (
            (cls(k=2, mean_loc=3.0, mean_scale=2.0, scale_scale=1.0), "faithful", ("eruptions",)),
            (cls(dim=2, mean_scale=100.0, scale_scale=20.0), "faithful", ("eruptions", "waiting")),
            (cls(k=3, mean_loc=20.0, mean_scale=10.0, scale_scale=5.0), "galaxies", ("y",)),
        )

    @property
    def _own(self) -> bool:
        """Whether each component has its own covariance."""
        return self.covariance in ("full", "diagonal")

    @property
    def _copies(self) -> tuple[int, ...]:
        return (self.k,) if self._own else ()

    @property
    def _correlated(self) -> bool:
        return self.dim > 1 and self.covariance in ("full", "tied")

    @property
    def _scale_dims(self) -> tuple[str, ...]:
        each = ("variable",) if self.dim > 1 and self.covariance != "spherical" else ()
        return self._matrix_dims[:-2] + each

    @property
    def _matrix_dims(self) -> tuple[str, ...]:
        return (*(("component",) if self._own else ()), "variable", "variable_")

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        weights = (Parameter("weights", "simplex", ("component",)),) if self.k > 1 else ()
        if self.dim == 1:
            means = Parameter("mu", "ordered", ("component",))
            return (*weights, means, Parameter("sigma", "positive", self._scale_dims))
        mean = Parameter("mean", "real", ("component", "variable"))
        scale = Parameter("scale", "positive", self._scale_dims)
        correlation = Parameter("correlation_cholesky", "correlation_cholesky", self._matrix_dims)
        return (*weights, mean, scale, *((correlation,) if self._correlated else ()))

    def _values(self, weights: Any, mean: Any, scale: Any, correlation: Any) -> dict[str, Any]:
        """The point of these weights, (k,), means, (k, D), scales and factors of correlations."""
        shares = {"weights": weights} if self.k > 1 else {}
        if self.dim == 1:
            return {**shares, "mu": mean[:, 0], "sigma": scale.reshape(self._copies)}
        correlations = {"correlation_cholesky": correlation} if self._correlated else {}
        return {**shares, "mean": mean, "scale": scale, **correlations}

    @property
    def quantity_table(self) -> tuple[Parameter, ...]:
        if self.dim == 1:
            return self.parameters
        covariance = Parameter("covariance", "covariance", self._matrix_dims)
        return (*(p for p in self.parameters if p.name in ("weights", "mean")), covariance)

    def quantities(self, values: Values) -> Values:
        if self.dim == 1:
            return values
        factor = self._factor(values)
        return {**values, "covariance": factor @ jnp.swapaxes(factor, -1, -2)}

    @property
    def truth(self) -> Values:
        weights = np.arange(self.k, 0, -1) + 1.0
        # neighbours differ along alternating axes, so that no direction is shared by all
        axes = [np.roll(np.linspace(1.0, 0.2, self.dim), j) for j in range(self.k)]
        mean = np.stack([4.0 * j * axis for j, axis in enumerate(axes)])
        each = np.linspace(1.0, 1.3, self.dim)
        shared = {"tied": each, "spherical": np.asarray(1.0)}
        scale = shared.get(self.covariance, np.linspace(1.0, 1.5, self.k)[:, None] * each)
        cholesky = np.linalg.cholesky(0.7 * np.eye(self.dim) + 0.3)
        correlation = np.tile(cholesky, (*self._copies, 1, 1))
        values = self._values(weights / weights.sum(), mean, scale, correlation)
        return {name: jnp.asarray(value) for name, value in values.items()}

    def simulate(self, rng: np.random.Generator, values: Values, n: int) -> xr.Dataset:
        plain: Any = {name: np.asarray(value) for name, value in values.items()}
        weights = np.asarray(self._weights(plain))
        component = rng.choice(self.k, size=n, p=weights / weights.sum())
        factor = np.broadcast_to(self._factor(plain), (self.k, self.dim, self.dim))
        noise = np.einsum("nij,nj->ni", factor[component], rng.standard_normal((n, self.dim)))
        y = self.label_features(plain)[component] + noise
        return xr.Dataset({"y": ("obs", y[:, 0]) if self.dim == 1 else (("obs", "variable"), y)})

    def start(self, rng: np.random.Generator, data: xr.Dataset) -> Values:
        """Means by k-means++ (every other draw: random rows), scales of the nearest rows."""
        share, mean, scale = clustered(rng, np.asarray(self._rows(data)), self.k)
        order = np.argsort(mean[:, 0]) if self.dim == 1 else np.arange(self.k)
        shared = {"tied": scale.mean(axis=0), "spherical": np.asarray(scale.mean())}
        identity = np.tile(np.eye(self.dim), (*self._copies, 1, 1))
        scales = shared.get(self.covariance, scale[order])
        # plain arrays: to make JAX ones would cost as much as all of the above
        return self._values((share / share.sum())[order], mean[order], scales, identity)

    def numpyro(self, data: xr.Dataset) -> None:
        y = jnp.asarray(data["y"].data)
        values: Values = {}
        if self.k > 1:
            concentration = jnp.full(self.k, self.weight_concentration)
            values["weights"] = numpyro.sample("weights", dist.Dirichlet(concentration))
        scale_prior = dist.HalfNormal(self.scale_scale)
        if self.dim == 1:
            mean_prior = OrderedNormal(self.mean_loc, self.mean_scale, self.k)
            values["mu"] = numpyro.sample("mu", mean_prior)
            values["sigma"] = numpyro.sample("sigma", scale_prior.expand(self._copies))
        else:
            shape = tuple({"component": self.k, "variable": self.dim}[d] for d in self._scale_dims)
            mean_prior = dist.Normal(self.mean_loc, self.mean_scale)
            values["mean"] = numpyro.sample("mean", mean_prior.expand((self.k, self.dim)))
            values["scale"] = numpyro.sample("scale", scale_prior.expand(shape))
            if self._correlated:
                correlation = dist.LKJCholesky(self.dim, self.correlation_concentration)
                name = "correlation_cholesky"
                values[name] = numpyro.sample(name, correlation.expand(self._copies))
        with numpyro.plate("obs", y.shape[0]):
            numpyro.sample("y", self._mixture(values), obs=y)

    def pymc(self, data: xr.Dataset) -> pm.Model:
        import pymc as pm
        import pytensor.tensor as pt

        labels = {**coords(data), "component": np.arange(self.k)}
        if self._correlated:
            labels["variable_"] = labels["variable"]
        with pm.Model(coords=labels) as program:
            weights: Any = np.ones(1)
            if self.k > 1:
                concentration = np.full(self.k, self.weight_concentration)
                weights = pm.Dirichlet("weights", concentration, dims="component")
            if self.dim == 1:
                prior = self.mean_loc, self.mean_scale, self.k
                mu = pymc_ordered_normal("mu", *prior, dims="component")
                sigma = pm.HalfNormal("sigma", self.scale_scale, dims=self._scale_dims)
                sigma = sigma if self._own else pt.full((self.k,), sigma)
                pm.NormalMixture("y", weights, mu, sigma, observed=data["y"].data, dims="obs")
                return program
            dims = ("component", "variable")
            mean: Any = pm.Normal("mean", self.mean_loc, self.mean_scale, dims=dims)
            scale: Any = pm.HalfNormal("scale", self.scale_scale, dims=self._scale_dims)
            own: Any = scale if self._own else pt.stack([scale] * self.k)
            if self._correlated:
                shared: Any = pymc_cholesky_correlation(
                    "correlation_cholesky", self.dim, self.correlation_concentration, self._copies
                )
                cholesky: Any = shared if self._own else pt.stack([shared] * self.k)
                factors = [own[j][:, None] * cholesky[j] for j in range(self.k)]
            else:
                factors = [pt.eye(self.dim) * own[j] for j in range(self.k)]
            observed = {"observed": data["y"].data, "dims": ("obs", "variable")}
            if self.k == 1:
                pm.MvNormal("y", mean[0], chol=factors[0], **observed)
            else:
                each = [pm.MvNormal.dist(mean[j], chol=factors[j]) for j in range(self.k)]
                pm.Mixture("y", weights, each, **observed)
        return program

    def _weights(self, values: Values) -> Array:
        return values["weights"] if self.k > 1 else jnp.ones(1)

    def _factor(self, values: Values) -> Array:
        """Cholesky factors, shape (k, D, D), or (D, D) where the covariance is shared."""
        if self.dim == 1:
            return values["sigma"][..., None, None]
        scale = values["scale"]
        if self.covariance == "spherical":
            return scale * jnp.eye(self.dim)
        cholesky = values["correlation_cholesky"] if self._correlated else jnp.eye(self.dim)
        return scale[..., None] * cholesky

    def _components(self, values: Values) -> tuple[Array, Array]:
        """Means, shape (k, D), and Cholesky factors, shape (k, D, D)."""
        shape = (self.k, self.dim, self.dim)
        return self.label_features(values), jnp.broadcast_to(self._factor(values), shape)

    def _mixture(self, values: Values) -> Any:
        mean, factor = self._components(values)
        if self.dim == 1:
            components: Any = dist.Normal(mean[:, 0], factor[:, 0, 0])
        else:
            components = dist.MultivariateNormal(mean, scale_tril=factor)
        return dist.MixtureSameFamily(dist.Categorical(probs=self._weights(values)), components)

    def responsibilities(self, values: Values, data: xr.Dataset) -> Array:
        """P(component | row) under the mixture that the NumPyro program observes."""
        y = jnp.asarray(data["y"].data)
        return jax.nn.softmax(self._mixture(values).component_log_probs(y), axis=-1)

    def degeneracy(self, values: Values, data: xr.Dataset) -> str:
        y = np.asarray(self._rows(data))
        n = y.shape[0]
        weights = np.asarray(self._weights(values))
        fewest = 2 if self.dim == 1 else self.dim + 1
        if not all(np.isfinite(np.asarray(value)).all() for value in values.values()):
            return "the climb left the finite numbers"
        if (weights * n).min() < fewest:
            held = f"{weights.min() * n:.2g} of {n} rows, fewer than {fewest}"
            return f"component {weights.argmin()} holds {held}: degenerate"
        if (smallest := self._thinnest(values, y)) < _COLLAPSED:
            told = f"a component's standard deviation is {smallest:.1e} of the pooled one, below"
            return f"{told} {_COLLAPSED:g}: collapsed on a point or a plane"
        return ""

    def caution(self, values: Values, data: xr.Dataset) -> str:
        if (smallest := self._thinnest(values, np.asarray(self._rows(data)))) >= _THIN:
            return ""
        return f"a component's sd is {smallest:.1e} of the pooled one: near a spike on a few rows"

    def _thinnest(self, values: Values, y: np.ndarray) -> float:
        """The smallest standard deviation of a component in any direction, of the pooled one."""
        return float(np.linalg.svd(self._factor(values) / spread(y)[:, None])[1].min())

    @property
    def labels(self) -> int:
        return self.k

    def label_features(self, values: Values) -> Array:
        return values["mu"][:, None] if self.dim == 1 else values["mean"]

    def relabel(self, values: Values, permutation: Array) -> Values:
        """Permutes every array that has a component dimension."""
        dims = {p.name: p.dims for p in (*self.parameters, *self.quantity_table)}
        return {n: x[permutation] if "component" in dims[n] else x for n, x in values.items()}

    @property
    def order(self) -> int:
        return self.k

    @property
    def orders(self) -> tuple[int, ...]:
        return tuple(sorted({1, 2, 3, 4, self.k}))

    def with_order(self, order: int) -> GaussianMixture:
        return replace(self, k=order)

    def e_step(self, values: Values, data: xr.Dataset) -> dict[str, Array]:
        """Expected count, sum and sum of outer products of each component, of centred rows.

        Q is linear in the statistics, so that its derivatives by them are the coefficients of a
        row's features in the logits of its components.
        """
        k, d = self.k, self.dim
        nothing = {"count": jnp.zeros(k), "sum": jnp.zeros((k, d)), "square": jnp.zeros((k, d, d))}
        natural = jax.grad(self.complete_log_likelihood, argnums=1)(values, nothing, data)
        return component_sums(self._rows(data) - self._column_means(data), natural)

    def _rows(self, data: xr.Dataset) -> Any:
        return data["y"].data.reshape(data.sizes["obs"], self.dim)

    def _column_means(self, data: xr.Dataset) -> Any:
        """Sums of squares about these keep their digits."""
        return self._rows(data).mean(axis=0)

    def m_step(self, statistics: dict[str, Array], data: xr.Dataset) -> Values:
        count = statistics["count"]
        away = statistics["sum"] / count[:, None]
        moment = statistics["square"] / count[:, None, None]
        covariance = moment - away[:, :, None] * away[:, None, :]
        mean = self._column_means(data) + away
        share = count / count.sum()
        if not self._own:
            covariance = jnp.einsum("k,kij->ij", share, covariance)
        variance = jnp.diagonal(covariance, axis1=-2, axis2=-1)
        scale = jnp.sqrt(variance.mean() if self.covariance == "spherical" else variance)
        correlation = None
        if self._correlated:
            outer = scale[..., :, None] * scale[..., None, :]
            correlation = jnp.linalg.cholesky(covariance / outer)
        values = self._values(share, mean, scale, correlation)
        # ordered means have one label permutation; the M step may leave it
        return self.relabel(values, jnp.argsort(mean[:, 0])) if self.dim == 1 else values

    def complete_log_likelihood(
        self, values: Values, statistics: dict[str, Array], data: xr.Dataset
    ) -> Array:
        """Q = Σ_j n_j log w_j + Σ_j E[log N(x | μ_j, Σ_j)] from the sufficient statistics."""
        mean, factor = self._components(values)
        deviance = expected_deviance(statistics, mean - self._column_means(data), factor)
        log_weights = jnp.log(self._weights(values))
        return jnp.sum(statistics["count"] * log_weights) - 0.5 * jnp.sum(deviance)
