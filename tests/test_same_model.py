"""The gate passes for every model of the folder, and catches and names every planted bug."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import partial
from math import inf, isnan, nan
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, final

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import xarray as xr
from catalogue import FURTHER, at_truth, called, variants
from wrapper import Chain, Wrapped

from comparisons import gate
from comparisons.claims import GATE
from comparisons.gate import (
    DRAWS,
    ROW_POINTS,
    _densities,
    _distributions,
    _near,
    difference_of_densities,
    differences,
)
from comparisons.policy import TOLERANCE
from comparisons.runs.run import case_errors, conclude
from comparisons.same_density import Looked, _where
from comparisons.verdict import Verdict
from models import (
    ConjugateGaussian,
    FactorAnalysis,
    Gaussian,
    GaussianMixture,
    Poisson,
    ProbabilisticPCA,
    RandomEffects,
    RidgeRegression,
)
from models.data.dataset import as_dataset, coords
from models.errors import ConfigError
from models.programs.adopted.pair import GRADIENT, JOINT, REST, Pair, Sides
from models.programs.density import flat_names, pair_of
from models.programs.keys import key_of
from models.programs.numpyro import numpyro_prior
from models.programs.pymc import pymc_prior
from models.programs.support import outside_support
from models.spec import Model, Parameter

if TYPE_CHECKING:
    from collections.abc import Callable


FEW_DRAWS = 10_000
"""Draws by which the gate is tried on every variant, for time: moments far off still differ."""
POINTS = 6
"""Points at which planted bugs are looked for: enough, since each is wrong everywhere."""
ROWS_TERM = f"moments of rows simulated at {ROW_POINTS} points drawn from the prior"


def parted(model: Model, data: xr.Dataset, *, unsure: bool = False) -> dict[str, str]:
    """The terms on which the two programs differ, and where; moments may be unsure if told so."""
    found = differences(model, data, np.random.default_rng(3))
    passing = {"AGREE", "UNSURE"} if unsure else {"AGREE"}
    return {v.quantity: v.cause for v in found if v.outcome not in passing}


def parted_densities(model: Model, data: xr.Dataset) -> dict[str, str]:
    """The same without draws from the two programs, at a few points near the data."""
    pair = matched(model, data)
    points = _near(model, data, pair.one, np.random.default_rng(3), POINTS)
    found = _densities(model, data, pair, points)
    return {v.quantity: v.cause for v in found if v.outcome != "AGREE"}


def matched(model: Model, data: xr.Dataset) -> Pair:
    """Both programs of a model."""
    pair = pair_of(model, data)
    assert pair is not None
    return pair


def float_settings(model: Any) -> dict[str, float]:
    """The hyper-parameters of the priors, by name."""
    values = {field.name: getattr(model, field.name) for field in fields(model)}
    return {name: value for name, value in values.items() if isinstance(value, float)}


def moved(model: Any) -> Model:
    """The same model with none of its hyper-parameters at its default."""
    return replace(
        model,
        **{
            name: value + 0.7 if name.endswith("loc") else 1.3 * value
            for name, value in float_settings(model).items()
        },
    )


STUDIED = [model for model in variants() if model not in FURTHER]
MOVED = [moved(model) for model in (*FURTHER, GaussianMixture(1), Gaussian(4))]
# of its prior draws a quarter have a weight that is 0 to within rounding
SPARSE = GaussianMixture(3, weight_concentration=0.1)
EACH = {called(model): model for model in [*STUDIED, *MOVED, SPARSE]}


@pytest.mark.parametrize("model", EACH.values(), ids=EACH.keys())
def test_the_gate_passes(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "DRAWS", FEW_DRAWS)
    assert parted(model, at_truth(model, 12), unsure=True) == {}


def test_observed_variables_that_depend_on_one_another_are_drawn_jointly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gate, "DRAWS", FEW_DRAWS)
    assert parted(Chain(), at_truth(Chain(), 12), unsure=True) == {}


# --- planted bugs ---------------------------------------------------------------------------------


def sd_for_variance(data: xr.Dataset) -> Any:
    import pymc as pm

    model = ConjugateGaussian()
    with pm.Model(coords=coords(data)) as program:
        sigma2 = pm.InverseGamma("sigma2", alpha=model.shape, beta=model.rate)
        mu = pm.Normal("mu", model.loc, pm.math.sqrt(sigma2 / model.precision))
        pm.Normal("y", mu, sigma2, observed=data["y"].data, dims="obs")
    return program


def gaussian(
    data: xr.Dataset,
    *,
    scale: float = 10.0,
    half: bool = False,
    no_jacobian: bool = False,
    softplus: bool = False,
    shift: int = 0,
    lost: int = 0,
) -> Any:
    import pymc as pm
    from pymc.distributions.transforms import LogExpM1, LogTransform

    class NoJacobian(LogTransform):
        def log_jac_det(self, value: Any, *inputs: Any) -> Any:
            return 0.0 * value

    y = np.roll(data["y"].data, shift)
    with pm.Model(coords=coords(data)) as program:
        mu = pm.Normal("mu", 0.0, scale)
        if half:
            sigma = pm.HalfFlat("sigma")
            pm.Potential("prior", pm.logp(pm.Normal.dist(0.0, 10.0), sigma))
        elif no_jacobian:
            sigma = pm.HalfNormal("sigma", 10.0, default_transform=NoJacobian())
        elif softplus:
            sigma = pm.HalfNormal("sigma", 10.0, default_transform=LogExpM1())
        else:
            sigma = pm.HalfNormal("sigma", 10.0)
        # the unbiased variance where the likelihood has the other one
        sd = sigma * np.sqrt(y.size / (y.size - lost))
        pm.Normal("y", mu, sd, observed=y, dims="obs")
    return program


def mixture(
    data: xr.Dataset,
    *,
    swapped: bool = False,
    unnormalised: bool = False,
    no_jacobian: bool = False,
) -> Any:
    import pymc as pm
    from pymc.distributions.transforms import SimplexTransform, ordered

    from models.catalogue._ordered import pymc_ordered_normal

    class NoJacobian(SimplexTransform):
        def log_jac_det(self, value: Any, *inputs: Any) -> Any:
            return 0.0 * value[..., 0]

    chart = {"default_transform": NoJacobian()} if no_jacobian else {}
    with pm.Model(coords={**coords(data), "component": [0, 1]}) as program:
        weights = pm.Dirichlet("weights", np.full(2, 2.0), dims="component", **chart)
        if unnormalised:
            mu = pm.Normal("mu", 0.0, 10.0, dims="component", transform=ordered)
        else:
            mu = pymc_ordered_normal("mu", 0.0, 10.0, 2, dims="component")
        sigma = pm.HalfNormal("sigma", 10.0, dims="component")
        used = weights[::-1] if swapped else weights
        pm.NormalMixture("y", used, mu, sigma, observed=data["y"].data, dims="obs")
    return program


PLANTED: list[tuple[str, Model, Callable[[Any], Any], set[str]]] = [
    (
        "standard deviation for variance",
        ConjugateGaussian(),
        sd_for_variance,
        {"log likelihood y", JOINT},
    ),
    (
        "prior scale × 1.05",
        Gaussian(),
        partial(gaussian, scale=10.5),
        {"log prior mu", JOINT},
    ),
    (
        "dropped Jacobian",
        Gaussian(),
        partial(gaussian, no_jacobian=True),
        {"log Jacobian sigma", JOINT},
    ),
    (
        "dropped Jacobian of a simplex, whose charts differ",
        GaussianMixture(2),
        partial(mixture, no_jacobian=True),
        {"log Jacobian weights", JOINT},
    ),
    (
        "factor 2 of a half-normal",
        Gaussian(),
        partial(gaussian, half=True),
        {"log prior sigma", JOINT},
    ),
    (
        "K! of an ordered prior",
        GaussianMixture(2),
        partial(mixture, unnormalised=True),
        {"log prior mu", JOINT},
    ),
    (
        "swapped weights",
        GaussianMixture(2),
        partial(mixture, swapped=True),
        {"log likelihood y", JOINT},
    ),
    (
        "index off by one",
        Gaussian(),
        partial(gaussian, shift=1),
        {"observed data", "log likelihood y"},
    ),
    (
        "n − 1 for n",
        Gaussian(),
        partial(gaussian, lost=1),
        {"log likelihood y", JOINT},
    ),
]


@pytest.mark.parametrize(
    ("model", "program", "terms"), [row[1:] for row in PLANTED], ids=[row[0] for row in PLANTED]
)
def test_planted_bugs_are_caught_and_named(
    model: Model, program: Callable[[Any], Any], terms: set[str]
) -> None:
    found = parted_densities(Wrapped(model, program), at_truth(model, 12))
    assert set(found) == terms
    for term, where in found.items():
        assert where.startswith("y differs in 12 of 12" if term == "observed data" else term)
        assert "numpyro" in where
        assert "pymc" in where


def test_a_prior_that_only_draws_otherwise_is_caught() -> None:
    # iid normals, merely transformed: the density can be mended, but the draws are not sorted
    model = GaussianMixture(2)
    data = at_truth(model, 12)
    rng = np.random.default_rng(3)
    unsorted = Wrapped(model, partial(mixture, unnormalised=True))
    ours = numpyro_prior(model, data, jax.random.split(key_of(rng), FEW_DRAWS))
    theirs = pymc_prior(unsorted, data, rng, FEW_DRAWS)
    assert _distributions("prior moments", ours, theirs).outcome == "DIFFER"


def test_rows_that_simulate_makes_otherwise_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Gaussian.simulate

    def variance_for_deviation(
        self: Gaussian, rng: np.random.Generator, values: Any, n: int
    ) -> xr.Dataset:
        return right(self, rng, {**values, "sigma": values["sigma"] ** 2}, n)

    data = at_truth(Gaussian(), 12)
    monkeypatch.setattr(Gaussian, "simulate", variance_for_deviation)
    monkeypatch.setattr(gate, "DRAWS", FEW_DRAWS)
    assert list(parted(Gaussian(), data, unsure=True)) == [
        "moments of rows made by simulate at a point drawn from the prior"
    ]


def test_other_charts_are_no_difference() -> None:
    model = Wrapped(Gaussian(), partial(gaussian, softplus=True))
    assert parted_densities(model, at_truth(model, 12)) == {}


def test_jacobians_are_not_lost_beside_large_log_priors() -> None:
    # on columns of such scales the log prior of the covariance is 1e14, and its last digit 0.02
    model = Gaussian(dim=2)
    data = at_truth(model, 12)
    data = data.assign(y=(data["y"].dims, data["y"].data * [1e-8, 1e8]))
    assert parted_densities(model, data) == {}


def test_draws_a_twentieth_too_wide_are_caught() -> None:
    # densities that are right, and draws that are not
    def program(data: xr.Dataset) -> Any:
        import pymc as pm

        def normal(value: Any, loc: Any, scale: Any) -> Any:
            return pm.logp(pm.Normal.dist(loc, scale), value)

        def wide(loc: Any, scale: Any, size: Any) -> Any:
            return pm.Normal.dist(loc, 1.05 * scale, size=size)

        with pm.Model(coords=coords(data)) as built:
            mu = pm.CustomDist("mu", 0.0, 10.0, dist=wide, logp=normal)
            sigma = pm.HalfNormal("sigma", 10.0)
            y = data["y"].data
            pm.CustomDist("y", mu, sigma, dist=wide, logp=normal, observed=y, dims="obs")
        return built

    found = parted(Wrapped(Gaussian(), program), at_truth(Gaussian(), 12))
    assert set(found) == {"prior moments", ROWS_TERM}
    assert found["prior moments"] == "largest at mu[0]"


@pytest.mark.parametrize(
    ("law", "expected"),
    [
        ("standard_normal", "DIFFER"),
        ("standard_exponential", "DIFFER"),
        # the heaviest tail of the models: never AGREE
        ("standard_cauchy", "UNSURE"),
    ],
)
def test_moments_see_a_scale_that_is_a_twentieth_too_large(law: str, expected: str) -> None:
    rng = np.random.default_rng(5)
    a, b = (np.abs(getattr(rng, law)((DRAWS, 20))) for _ in range(2))
    assert _distributions("moments", {"x": a}, {"x": b}).outcome == "AGREE"
    assert _distributions("moments", {"x": a}, {"x": 1.05 * b}).outcome == expected


# --- what is not finite ---------------------------------------------------------------------------


@pytest.mark.parametrize(("ours", "theirs"), [(nan, 1.0), (1.0, nan), (nan, nan), (-inf, -inf)])
def test_what_is_not_finite_is_a_difference(ours: float, theirs: float) -> None:
    model = Gaussian()
    data = at_truth(model, 12)
    sides = Sides(jnp.array([0.0, ours]), jnp.array([0.0, theirs]))
    slope = Sides(jnp.zeros((2, 2)), jnp.zeros((2, 2)))
    terms = {**dict.fromkeys(("log prior mu", REST, JOINT), sides), GRADIENT: slope}
    looked = Looked(matched(model, data), np.zeros((2, 2)), lambda _: terms, inside=True)
    assert looked.parted == ["log prior mu", JOINT]
    assert looked.compared["log prior mu"].worst == inf
    values = f"numpyro {ours:g}, pymc {theirs:g} (relative difference inf) at mu = 0, sigma = 1"
    if ours == theirs or (isnan(ours) and isnan(theirs)):
        values = f"both programs give {ours} at mu = 0, sigma = 1; is it outside of the support?"
    assert _where(looked, "log prior mu", flat_names) == f"log prior mu: {values}"


def test_a_draw_that_is_not_finite_is_a_difference() -> None:
    a, b = np.zeros((5, 2)), np.zeros((5, 2))
    b[3, 1] = nan
    found = _distributions("prior moments", {"mu": a}, {"mu": b})
    assert found.observed == inf
    assert found.cause == "mu: 1 of 5 draws of pymc are not finite"


def test_a_prior_without_density_is_no_agreement() -> None:
    model = Gaussian()
    object.__setattr__(model, "mean_scale", inf)  # what the model itself refuses
    found = parted(Wrapped(model), at_truth(Gaussian(), 12))
    assert {"points drawn from the prior", "log prior mu", "prior moments"} <= set(found)
    assert found["points drawn from the prior"].startswith("0 of 1000 prior draws are valid")


@pytest.mark.parametrize(
    "model",
    [
        Gaussian(),
        ConjugateGaussian(),
        GaussianMixture(),
        FactorAnalysis(),
        Poisson(),
        ProbabilisticPCA(),
        RandomEffects(),
        RidgeRegression(),
    ],
    ids=called,
)
def test_hyper_parameters_are_finite(model: Any) -> None:
    for name in float_settings(model):
        for value in (inf, -inf, nan):
            with pytest.raises(ConfigError, match=f"{model.name}.{name} is {value}; expected"):
                replace(model, **{name: value})


# --- the short form, and what a closed gate means -------------------------------------------------


def test_the_short_form_sees_densities() -> None:
    model = GaussianMixture(2)
    data = at_truth(model, 12)
    rng = np.random.default_rng(3)
    assert difference_of_densities(model, data, rng) == ""
    swapped = Wrapped(model, partial(mixture, swapped=True))
    found = difference_of_densities(swapped, data, rng)
    assert found.startswith("log likelihood y differs: log likelihood y, row")


@pytest.mark.parametrize(
    ("verdict", "code"),
    [
        (Verdict("x", 1.0, 1.0, 0.0, 0.1), 0),
        (Verdict("x", 2.0, 1.0, 0.0, 0.1), 1),
        (Verdict("x", 1.0, 1.0, 0.1, 0.1), 4),
        (Verdict("x", inf, 1.0, 0.0, 0.1), 4),
    ],
    ids=lambda value: getattr(value, "outcome", str(value)),
)
def test_a_closed_gate_is_no_success(
    verdict: Verdict, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    result: Any = SimpleNamespace(slug="a-case", verdicts={GATE: (verdict,)})
    record = {"failures": {}, "problems": {}}
    errors = case_errors([result], {"a-case": record}, {})
    assert conclude([verdict], errors) == code
    assert ("not fitted" in capsys.readouterr().err) == bool(code)


@pytest.mark.parametrize(
    ("model", "rows"),
    [(Gaussian(), [3.0, 3.0]), (ConjugateGaussian(), [2.5]), (GaussianMixture(k=2), [2.5])],
)
def test_data_without_spread_pass_the_gate(
    model: Model, rows: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    # a scale starts at 0 there, so that only draws from the prior are points to compare at
    monkeypatch.setattr(gate, "DRAWS", FEW_DRAWS)
    found = list(differences(model, as_dataset(rows, model), np.random.default_rng(0)))
    assert max(one.observed for one in found if one.error == 0) <= TOLERANCE
    assert "at 32 points" in found[0].cause


# --- rows outside of the support ------------------------------------------------------------------


@final
@dataclass(frozen=True)
class Sites(Model):
    """Observed sites of several kinds, of which the NumPyro program alone is looked at."""

    kind: str = "positive"
    name: ClassVar[str] = "sites"
    free_dims: ClassVar[tuple[str, ...]] = ("variable",)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return (Parameter("rate", "positive"),)

    @property
    def truth(self) -> dict[str, Any]:
        return {"rate": jnp.asarray(1.0)}

    def simulate(self, rng: np.random.Generator, values: Any, n: int) -> xr.Dataset:
        return xr.Dataset({"y": (("obs", "variable"), rng.exponential(1.0, (n, 2)))})

    def start(self, rng: np.random.Generator, data: xr.Dataset) -> dict[str, Any]:
        return {"rate": jnp.asarray(float(data["y"].mean()) * rng.uniform(1, 2))}

    def numpyro(self, data: xr.Dataset) -> None:
        rate, y = numpyro.sample("rate", dist.Exponential(1.0)), jnp.asarray(data["y"].data)
        law: Any = dist.Exponential(rate)
        match self.kind:
            case "masked":
                law = law.mask(y >= 0)
            case "bounded":  # at 0 and at a level that depends on the parameter
                law = dist.Uniform(0.0, rate)
            case "event":
                law = law.expand([2]).to_event(1)
            case "auxiliary":
                numpyro.sample("sum", dist.Exponential(rate), obs=jnp.sum(y))
                law = dist.Normal(0.0, rate)
            case "factor":
                numpyro.factor("penalty", -rate)
        numpyro.sample("y", law, obs=y)

    def pymc(self, data: xr.Dataset) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("kind", "rows", "told"),
    [
        (
            "positive",
            [-1, 1, -2, 1],
            "in 2 of 4 rows, rows 0, 2 (counted from 0); expected Positive",
        ),
        ("positive", [-9, -9, -9, 1], "in 3 of 4 rows"),  # of which the start is no rate
        ("factor", [1, -1], "in 1 of 2 rows, row 1"),
        ("event", [1, 1, -1], "in 1 of 3 rows, row 2 (counted from 0); expected Positive"),
        ("masked", [-1, 1, 1], ""),
        ("auxiliary", [-1, -1, 1], ""),
        ("bounded", [-0.1, 1, 1], "in 1 of 3 rows, row 0"),
        ("bounded", [1, 1.3, 1.1], ""),  # inside at one of the starts
    ],
)
def test_rows_outside_of_the_support_are_told(kind: str, rows: list[float], told: str) -> None:
    y = np.repeat(np.asarray(rows, float)[:, None], 2, axis=1)
    found = outside_support(Sites(kind), xr.Dataset({"y": (("obs", "variable"), y)}))
    assert (told in found) if told else found == ""
