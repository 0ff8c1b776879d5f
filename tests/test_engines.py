"""Every engine on every program of the folder, and each held to what it promises.

An engine is the library's own call, so it is tested on a handful of steps: that it takes the plain
program, that its variables become the model's parameters, that its failures are data.  What it is
held to is shown by planted fits: right ones hold, wrong ones get the verdict and cause meant for
them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from catalogue import at_truth, called
from numpyro.distributions.transforms import LowerCholeskyAffine
from numpyro.infer import Predictive, autoguide

import concord as cc
import models.catalogue
from comparisons.case import Case, usual_methods
from comparisons.claims import own_target
from comparisons.report.sections.runs import engines_table
from comparisons.targets import EVERY_DIRECTION, highest_mode, most_off
from inference import engine as engines
from inference import method as methods
from inference.catalogue import catalogue
from inference.engine import Engine, Found, LibraryError, flat
from inference.engines.blackjax_nuts import BlackjaxNUTS
from inference.engines.blackjax_pathfinder import BlackjaxPathfinder
from inference.engines.numpyro_delta import NumpyroDelta
from inference.engines.numpyro_laplace import NumpyroLaplace
from inference.engines.numpyro_nuts import NumpyroNUTS
from inference.engines.numpyro_svi import NumpyroSVI
from inference.engines.nutpie_nuts import NutpieNUTS
from inference.engines.pymc_advi import PymcADVI
from inference.engines.pymc_extras_dadvi import PymcExtrasDADVI
from inference.engines.pymc_extras_find_map import PymcExtrasFindMAP
from inference.engines.pymc_extras_laplace import PymcExtrasLaplace
from inference.engines.pymc_extras_pathfinder import PymcExtrasPathfinder
from inference.engines.pymc_find_map import PymcFindMAP
from inference.engines.pymc_nuts import PymcNUTS
from inference.method import Profile, label
from models.programs.density import density
from models.registry import subclasses
from models.spec import Model

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pymc as pm

    from inference.estimate import Estimate
    from inference.method import Method

FEW = 20
ENTRIES = [cls() for cls in subclasses(models.catalogue, Model).values()]
"""The smallest variant of each: what a program does not share with it, the gate and laws see."""
NUMPYRO = (
    NumpyroNUTS(chains=2, warm_up=FEW, draws=FEW),
    NumpyroSVI("AutoNormal", draws=FEW),
    NumpyroDelta(),
)
GUIDES = (
    NumpyroSVI("AutoMultivariateNormal", draws=FEW),
    NumpyroSVI("AutoLowRankMultivariateNormal", draws=FEW),
    NumpyroSVI("AutoIAFNormal", draws=FEW),
    NumpyroSVI("AutoNormal", "decayed", draws=FEW),
    NumpyroLaplace(),
)
PYMC = (
    PymcNUTS(chains=2, warm_up=FEW, draws=FEW),
    PymcADVI("mean_field", draws=FEW),
    PymcFindMAP(),
)
EXTRAS = (
    PymcExtrasFindMAP(),
    PymcExtrasLaplace(),
    PymcExtrasDADVI(draws=FEW),
    PymcExtrasPathfinder(draws=FEW),
)
ON_THE_DENSITY = (
    NutpieNUTS(program="numpyro", chains=2, warm_up=FEW, draws=FEW),
    BlackjaxNUTS(chains=2, warm_up=FEW, draws=FEW),
    BlackjaxPathfinder(draws=FEW),
)

each = pytest.mark.parametrize("model", ENTRIES, ids=called)


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A handful of steps; PyMC's functions run by Python, as compiling them would take minutes."""
    import pytensor

    for schedule in engines.STEPS:
        monkeypatch.setitem(engines.STEPS, schedule, FEW)
    with pytensor.config.change_flags(mode="FAST_COMPILE", cxx=""):
        yield


def fitted(engine: Method, model: Model) -> Estimate:
    return engine.fit(model, at_truth(model, 30), np.random.default_rng(1))


def assert_drawn(model: Model, draws: Mapping[str, Any]) -> None:
    """Finite values of every parameter, in order where they have one."""
    for parameter in model.parameters:
        array = np.asarray(draws[parameter.name])
        assert np.isfinite(array).all(), parameter.name
        if parameter.support == "ordered":
            assert (np.diff(array, axis=-1) > 0).all(), parameter.name


def assert_fitted(model: Model, fit: Estimate) -> None:
    """Numbers for every quantity, of a fit that tells how long it took."""
    for name, array in fit.location.value.items():
        assert np.isfinite(array).all(), name
    assert_drawn(model, fit.point)
    if fit.draws is not None:
        assert_drawn(model, fit.draws["posterior"])
    assert np.isfinite(fit.record.get("loss", 0.0)).all()
    assert fit.record.attrs["run"] > 0


@pytest.mark.usefixtures("unoptimised", "few_steps")
@each
def test_numpyro(model: Model) -> None:
    data = at_truth(model, 30)
    assert_drawn(model, Predictive(model.numpyro, num_samples=FEW)(jax.random.key(0), data))
    for engine in NUMPYRO:
        assert_fitted(model, fitted(engine, model))


@pytest.mark.usefixtures("few_steps")
@each
def test_pymc(model: Model) -> None:
    import pymc as pm

    with model.pymc(at_truth(model, 30)):
        assert_drawn(model, pm.sample_prior_predictive(draws=FEW, random_seed=1)["prior"])
        by_default(model)
    for engine in PYMC:
        assert_fitted(model, fitted(engine, model))


@pytest.mark.usefixtures("unoptimised", "few_steps")
@pytest.mark.parametrize("engine", GUIDES, ids=label)
def test_every_guide_and_schedule(engine: Engine) -> None:
    model = models.catalogue.gaussian.Gaussian()
    first, again = (fitted(engine, model) for _ in range(2))
    assert_fitted(model, first)
    assert first.location.value.equals(again.location.value)  # the same seed, the same result
    assert not np.isnan(first.record.attrs["khat"])


@pytest.mark.usefixtures("few_steps")
@pytest.mark.parametrize("engine", EXTRAS, ids=label)
def test_pymc_extras(engine: Engine) -> None:
    pytest.importorskip(engine.library)
    model = models.catalogue.gaussian.Gaussian()
    fit = fitted(engine, model)
    assert_fitted(model, fit)
    assert fit.record.attrs["claims"] == "success of its optimiser" or "path" in label(engine)
    if engine.kind != "optimum":
        assert not np.isnan(fit.record.attrs["khat"])


@pytest.mark.slow
@pytest.mark.usefixtures("few_steps")
@each
def test_pymc_extras_on_every_model(model: Model) -> None:
    """A failure is its result, and told."""
    pytest.importorskip("pymc_extras")
    for engine in EXTRAS[:2]:  # the others take minutes where nothing is compiled
        try:
            fit = fitted(engine, model)
        except cc.FitError as error:
            assert str(error).startswith(f"{label(engine)} failed: ")  # noqa: PT017
        else:
            if not fit.problems:
                assert_fitted(model, fit)


@pytest.mark.usefixtures("unoptimised")
@pytest.mark.parametrize("engine", ON_THE_DENSITY, ids=label)
@each
def test_engines_on_the_density(model: Model, engine: Engine) -> None:
    pytest.importorskip(engine.library)
    assert_fitted(model, fitted(engine, model))


def test_nutpie_samples_as_pymc_calls_it() -> None:
    pytest.importorskip("nutpie")
    model = models.catalogue.gaussian.Gaussian()
    few = NutpieNUTS(chains=2, warm_up=FEW, draws=FEW)
    assert_fitted(model, fitted(few, model))


def test_a_data_driven_start_is_taken() -> None:
    """Where a library's own start fails, the second run is from the one that is given."""
    model = models.catalogue.gaussian.Gaussian()
    data, rng = at_truth(model, 30), np.random.default_rng(0)
    start = dict(model.truth)
    for engine in (*EXTRAS[:1], *ON_THE_DENSITY):
        if not methods.not_installed(type(engine)):
            assert engine.call(model, data, rng, start).runs, label(engine)


# --- what is not installed ------------------------------------------------------------------------


def test_what_is_not_installed_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, concord: Any
) -> None:
    model = models.catalogue.gaussian.Gaussian()
    monkeypatch.setattr(methods, "find_spec", lambda name: None if name == "nutpie" else name)
    told = "nutpie is not installed: pip install 'concord[nutpie]'"
    assert methods.not_installed(NutpieNUTS) == told
    assert not methods.not_installed(BlackjaxNUTS)
    with pytest.raises(cc.FitError) as caught:
        fitted(NutpieNUTS(), model)
    assert str(caught.value) == f"nutpie_nuts[pymc]: {told}"
    case = Case(model, at_truth(model, 30), methods=(NutpieNUTS(),))
    assert case.refusals == {NutpieNUTS(): told}
    assert told in concord("list", "methods")[1]
    code, _, complaint = concord("run", "gaussian", "--methods", "nutpie_nuts")
    assert code == 2
    assert f"nutpie_nuts: {told}" in " ".join(complaint.split())
    assert NutpieNUTS() not in usual_methods("thorough")


@pytest.mark.usefixtures("few_steps")
@pytest.mark.parametrize("family", ["mean_field", "full_rank"])
def test_every_advi(family: Any) -> None:
    model = models.catalogue.gaussian.Gaussian()
    for schedule in ("default", "decayed"):
        assert_fitted(model, fitted(PymcADVI(family, schedule, draws=FEW), model))


@pytest.mark.slow
def test_pymc_samples_as_it_compiles_by_default() -> None:
    model = models.catalogue.gaussian_mixture.GaussianMixture()
    with model.pymc(at_truth(model, 30)):
        by_default(model)
    assert_fitted(model, fitted(PYMC[0], model))


def by_default(model: Model) -> None:
    """`pm.sample()` as it is: where nutpie is installed, it means that."""
    import pymc as pm

    chain = {"draws": FEW, "tune": FEW, "chains": 1, "random_seed": 3}
    assert_drawn(model, pm.sample(**chain)["posterior"])


# --- own programs ---------------------------------------------------------------------------------

X = np.linspace(-1, 1, 40)
FRAME = {"x": X, "y": 1.0 + 2.0 * X + 0.3 * np.sin(40 * X)}


def line(x: Any, y: Any = None) -> None:
    a = numpyro.sample("a", dist.Normal(0, 5))
    b = numpyro.sample("b", dist.Normal(0, 5))
    s = numpyro.sample("s", dist.HalfNormal(1))
    numpyro.sample("y", dist.Normal(a + b * x, s), obs=y)


def other_line(x: Any, y: Any) -> pm.Model:
    """The same law with the intercept at x = 1: its `a` is a deterministic."""
    import pymc as pm

    with pm.Model() as built:
        end = pm.Normal("end", 0, 5)
        b = pm.Normal("b", 0, 5)
        s = pm.HalfNormal("s", 1)
        pm.Deterministic("a", end - b)
        pm.Normal("y", end + b * (x - 1), s, observed=y)
    return built


@pytest.mark.usefixtures("few_steps")
def test_own_programs_with_variables_of_their_own() -> None:
    model = cc.adopt(numpyro=line, pymc=other_line, data=FRAME)
    data: Any = model.data
    for engine in (NumpyroSVI(draws=FEW), PymcFindMAP()):
        fit = engine.fit(model, data, np.random.default_rng(0))
        assert set(fit.location.value) == {p.name for p in model.parameters}
    found = PymcFindMAP().fit(model, data, np.random.default_rng(0)).location.value
    assert float(found["b"]) == pytest.approx(2.0, abs=0.1)
    assert float(found["a"]) == pytest.approx(1.0, abs=0.1)


def groups(g: Any, y: Any = None) -> None:
    tau = numpyro.sample("tau", dist.HalfNormal(1))
    with numpyro.plate("groups", 4):
        a = numpyro.sample("a", dist.Normal(0, tau))
    numpyro.sample("y", dist.Normal(a[g], 1), obs=y)


def test_what_is_integrated_out_is_for_samplers() -> None:
    data = {"g": np.repeat(np.arange(4), 5), "y": np.sin(np.arange(20.0))}
    model = cc.adopt(numpyro=groups, data=data, latent=("a",))
    assert "fits a, too" in NumpyroSVI().refusal(model)
    assert NumpyroNUTS().refusal(model) == ""


# --- failures are data ----------------------------------------------------------------------------


def test_a_start_that_is_the_cause_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def call(self: NumpyroNUTS, model: Model, data: Any, rng: Any, start: Any) -> Any:
        if start is None:
            raise LibraryError("RuntimeError: Cannot find valid initial parameters.")
        if self.chains == 3:
            raise LibraryError("ValueError: nor there")
        return start

    monkeypatch.setattr(NumpyroNUTS, "call", call)
    told = "numpyro_nuts failed: RuntimeError: Cannot find valid initial parameters."
    model = models.catalogue.gaussian.Gaussian()
    for chains, found in ((3, ": ValueError: nor there"), (4, " it runs")):
        with pytest.raises(cc.FitError) as caught:
            fitted(NumpyroNUTS(chains=chains), model)
        assert str(caught.value) == f"{told}; from a data-driven start{found}"


def broken(*_: Any) -> None:
    raise FloatingPointError("planted")


def test_what_a_library_raises_is_its_failure_and_what_we_raise_is_a_bug(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = models.catalogue.gaussian.Gaussian()
    monkeypatch.setattr(type(model), "numpyro", broken)
    with pytest.raises(LibraryError) as caught:
        NumpyroNUTS().call(model, at_truth(model, 30), np.random.default_rng(0), None)
    assert "FloatingPointError: planted" in str(caught.value)
    monkeypatch.undo()
    monkeypatch.setattr(engines, "estimate_of", lambda *_, **__: 1 / 0)
    monkeypatch.setitem(engines.STEPS, "adam", FEW)
    with pytest.raises(ZeroDivisionError):
        fitted(NumpyroDelta(), model)


def test_profiles_run_what_they_should() -> None:
    ran: dict[Profile, set[str]] = {
        profile: {label(m) for m in usual_methods(profile) if isinstance(m, Engine)}
        for profile in ("quick", "standard", "thorough")
    }
    assert ran["quick"] == {"numpyro_nuts", "numpyro_svi[AutoNormal, adam]"}
    assert {"pymc_nuts", "pymc_find_map", "pymc_advi[mean_field, default]"} < ran["standard"]
    assert "pymc_advi[full_rank, decayed]" in ran["thorough"] - ran["standard"]
    assert all(
        name.startswith(cls.library) for name, cls in catalogue().items() if issubclass(cls, Engine)
    )


# --- held to what they promise --------------------------------------------------------------------


def test_a_loss_is_flat_or_not() -> None:
    noise = np.random.default_rng(0).standard_normal(10_000)
    assert flat(noise) == "a flat loss"
    assert flat(noise + np.linspace(0, 10, 10_000)) == ""
    assert flat(np.full(10_000, np.inf)) == ""


STEEP: dict[str, Any] = {"x": X + 2, "y": FRAME["y"]}


def held(model: Any, engine: Engine) -> dict[str, str]:
    """What differs from its own target, with its cause."""
    case = Case(model, model.data, 3, profile="quick", methods=(engine,))
    rows = list(own_target.compare(case))
    assert len(rows) >= 2, rows
    assert {row.outcome for row in rows} <= {"AGREE", "CONSISTENT", "DIFFER"}
    return {row.about: row.cause for row in rows if row.outcome == "DIFFER"}


def test_a_guide_without_correlation_is_not_full_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    model, engine = (
        cc.adopt(numpyro=line, data=STEEP),
        NumpyroSVI("AutoMultivariateNormal", "decayed"),
    )
    assert held(model, engine) == {}
    monkeypatch.setattr(autoguide, "AutoMultivariateNormal", autoguide.AutoNormal)
    found = held(model, engine)
    cause = next(why for name, why in found.items() if name.startswith("distance in sd of the sd"))
    assert cause.startswith("its sd is 0.")
    assert cause.endswith("the nearest Gaussian (full_rank), though it shows a flat loss")


def test_a_laplace_with_half_the_hessian_is_told_by_its_eigenvalues(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = cc.adopt(numpyro=line, data=STEEP)
    assert held(model, NumpyroLaplace()) == {}
    right = autoguide.AutoLaplaceApproximation.get_transform

    def half(self: Any, params: Any) -> Any:
        law = right(self, params)
        return LowerCholeskyAffine(law.loc, np.sqrt(2) * law.scale_tril)

    monkeypatch.setattr(autoguide.AutoLaplaceApproximation, "get_transform", half)
    found = held(model, NumpyroLaplace())
    assert "sd in every direction: numpyro_laplace − N(mode, H⁻¹)" in found
    for cause in found.values():
        assert cause.startswith("its sd in every direction is 1.4 of that of N(mode, H⁻¹): ")
        assert "its Hessian is 0.5 H" in cause


def test_draws_are_too_wide_where_their_covariance_is_not_the_targets() -> None:
    rng, k, s = np.random.default_rng(0), 6, 4_000
    root = np.eye(k) + np.tril(rng.standard_normal((k, k)), -1)
    names, covariance = list("abcdef"), root @ root.T
    for _ in range(50):  # a false alarm at one in a thousand, by a bound that is wide
        _, ratio, error = most_off(covariance, rng.standard_normal((s, k)) @ root.T, names)
        assert abs(ratio - 1) < 3.3 * error
    halved, ratio, _ = most_off(covariance / 2, rng.standard_normal((s, k)) @ root.T, names)
    assert halved == EVERY_DIRECTION
    assert ratio == pytest.approx(np.sqrt(2), rel=0.1)
    pair = np.array([[1.0, 0.9], [0.9, 1.0]])  # each sd is right, and the sum's is not
    along, ratio, _ = most_off(pair, np.zeros((s, 2)), ["a", "b"])  # draws that do not vary
    assert (along, ratio) == (EVERY_DIRECTION, pytest.approx(0.0))
    along, ratio, error = most_off(pair, rng.standard_normal((s, 2)), ["a", "b"])
    assert re.fullmatch(r"along (a − (0\.9\d·)?b|b − (0\.9\d·)?a)", along)
    assert ratio == pytest.approx(1 / np.sqrt(0.1), rel=0.1)
    assert ratio - 1 > 3.3 * error


def few_rows(y: Any) -> pm.Model:
    import pymc as pm

    with pm.Model() as built:
        s = pm.HalfNormal("s", 10)
        m = pm.Normal("m", 0, 5)
        pm.Normal("y", m, s, observed=y)
    return built


def test_a_laplace_without_the_jacobian_is_told_so() -> None:
    pytest.importorskip("pymc_extras")
    model = cc.adopt(pymc=few_rows, data={"y": np.random.default_rng(0).normal(0, 2, 10)})
    case = Case(model, model.data, 3, profile="quick", methods=(PymcExtrasLaplace(),))
    rows = {row.about: row for row in own_target.compare(case)}
    assert "mean of s, unconstrained: pymc_extras_laplace − N(mode, H⁻¹)" in rows
    told = "leaves the Jacobian out: 0.2"
    differ = [row for row in rows.values() if row.outcome == "DIFFER"]
    assert all(row.cause.startswith(told) for row in differ)
    shown = "pymc_extras_laplace shows success of its optimiser"
    assert [row.about.split(":")[0] for row in differ][-1] == shown


@pytest.mark.parametrize(
    ("better", "told"),
    [(True, "; not so from a data-driven start"), (False, "; so, too, from a data-driven start")],
)
def test_a_second_start_says_whether_the_start_was_the_cause(
    monkeypatch: pytest.MonkeyPatch, better: bool, told: str
) -> None:
    model = cc.adopt(numpyro=line, data=STEEP)
    right = NumpyroDelta().fit(model, model.data, np.random.default_rng(0))
    assert right.record.attrs["restarted"] == ""

    def call(self: Any, model: Any, data: Any, rng: Any, start: Any) -> Found:
        sites = {name: np.asarray(x.data) for name, x in right.point.items()}
        return Found(
            [sites | {"b": np.asarray(5.0)} if start is None or not better else sites],
            claims="a flat loss",
        )

    monkeypatch.setattr(NumpyroDelta, "call", call)
    found = held(model, NumpyroDelta())
    assert found
    assert all(cause.startswith("has not converged: ") for cause in found.values())
    assert all(cause.endswith(told) for cause in found.values())


def test_khat_of_a_flow_tells_a_bad_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    model, engine = cc.adopt(numpyro=line, data=STEEP), NumpyroSVI("AutoIAFNormal")
    khat = {}
    for steps in (FEW, 3_000):
        monkeypatch.setitem(engines.STEPS, "adam", steps)
        fit = engine.fit(model, model.data, np.random.default_rng(0))
        khat[steps] = fit.record.attrs["khat"]
    assert khat[3_000] < 0.7 < khat[FEW]


def test_a_map_with_the_jacobian_has_not_converged(monkeypatch: pytest.MonkeyPatch) -> None:
    model = cc.adopt(numpyro=line, data=STEEP)
    assert held(model, NumpyroDelta()) == {}
    monkeypatch.setattr(autoguide, "AutoDelta", autoguide.AutoLaplaceApproximation)
    found = held(model, NumpyroDelta())
    assert any(about.startswith("estimate of s: numpyro_delta") for about in found)
    assert all(cause.startswith("has not converged") for cause in found.values())


def test_advi_that_stops_after_500_steps_has_not_converged(monkeypatch: pytest.MonkeyPatch) -> None:
    import pytensor

    monkeypatch.setitem(engines.STEPS, "default", 500)
    model = cc.adopt(pymc=other_line, data=STEEP)
    with pytensor.config.change_flags(mode="FAST_COMPILE", cxx=""):
        found = held(model, PymcADVI())
    assert found
    assert all(cause.startswith(("has not converged", "its sd is")) for cause in found.values())


def test_every_engine_has_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def call(*_: Any) -> Any:
        raise LibraryError("RuntimeError: planted")

    monkeypatch.setattr(NumpyroDelta, "call", call)
    found = cc.compare(
        numpyro=line,
        data=STEEP,
        methods=(
            cc.NUTS(warm_up=500, draws=2_000),
            NumpyroNUTS(),
            NumpyroSVI("AutoMultivariateNormal", "decayed"),
            NumpyroDelta(),
        ),
        claims=("own_target", "posterior_agreement"),
    )
    table = found.engines()
    sampler = table.loc["numpyro_nuts"]
    assert sampler.off < 0.2
    assert sampler.claims.startswith("R-hat 1.00")
    assert sampler.ess_per_second > 0
    fitted = table.loc["numpyro_svi[AutoMultivariateNormal, decayed]"]
    assert fitted.off < 0.1
    assert fitted.claims == "a flat loss"
    own = found["numpyro_svi[AutoMultivariateNormal, decayed]"].record.attrs
    assert fitted.khat == own["khat"] < 0.7
    assert (fitted.mark, sampler.mark) == ("ok", "")
    assert table.loc["numpyro_delta"].trouble.startswith("numpyro_delta failed: RuntimeError")
    shown = engines_table(table.reset_index().to_dict("records"))
    assert len(shown.rows) == 3
    first = dict(zip(shown.columns, [cell.text for cell in shown.rows[0]], strict=True))
    assert first["engine"] == "numpyro_nuts"
    assert first["verdict"] in ("agree", "consistent")
    assert first["it shows"] == sampler.claims
    assert shown.rows[-1][2].text == table.loc["numpyro_delta"].trouble


def test_a_fit_far_away_is_held_to_the_nearest_gaussian_of_all() -> None:
    model = cc.adopt(numpyro=line, data=STEEP)
    target = density(model, model.data)
    case = Case(model, model.data, 3, profile="quick", methods=())
    spread = 0.01 * np.random.default_rng(0).standard_normal((4_000, 3))
    (top,) = highest_mode(case, target)
    found = [
        own_target._target(case, NumpyroSVI(), target, top + off + spread) for off in (0.0, 3.0)
    ]
    assert found[0] is not None
    assert found[1] is not None
    assert found[1].mean == pytest.approx(found[0].mean, abs=0.05 * found[0].sd.min())
