"""The assertions offered to other test suites, and what a notebook shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import xarray as xr

from comparisons import testing
from comparisons.case import Case
from comparisons.runs.plan import chosen
from inference.methods.closed_form import ClosedForm
from inference.posterior.draws import estimate_from_draws
from models.catalogue.gaussian import Gaussian
from models.spec import Model, Parameter, Values

if TYPE_CHECKING:
    import pymc as pm

    from inference.estimate import Estimate


@final
@dataclass(frozen=True)
class Location(Model):
    """A normal location; the planted bug doubles the variance of the PyMC program only."""

    bug: bool = False
    note: str = "<img src=x onerror=alert(1)>"

    name: ClassVar[str] = "location"

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return (Parameter("mu", "real"),)

    @property
    def truth(self) -> Values:
        return {"mu": jnp.asarray(1.0)}

    def simulate(self, rng: np.random.Generator, values: Values, n: int) -> xr.Dataset:
        return xr.Dataset({"y": ("obs", rng.normal(float(values["mu"]), 1.0, n))})

    def start(self, rng: np.random.Generator, data: xr.Dataset) -> Values:
        return {"mu": jnp.asarray(rng.choice(data["y"].data))}

    def numpyro(self, data: xr.Dataset) -> None:
        y = jnp.asarray(data["y"].data)
        mu = numpyro.sample("mu", dist.Normal(0.0, 10.0))
        with numpyro.plate("obs", y.shape[0]):
            numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)

    def pymc(self, data: xr.Dataset) -> pm.Model:
        import pymc as pm

        with pm.Model() as program:
            mu = pm.Normal("mu", 0.0, 10.0)
            pm.Normal("y", mu, 2.0**0.5 if self.bug else 1.0, observed=data["y"].data)
        return program


def test_equal_programs_pass() -> None:
    testing.assert_same_model(Location(), [0.5, 1.0, 2.5])


def test_different_programs_are_listed() -> None:
    with pytest.raises(AssertionError, match="DIFFER  log likelihood") as caught:
        testing.assert_same_model(Location(bug=True))
    assert "log prior" not in str(caught.value)


def draws(seed: int, *, sd: float = 1.0, shift: float = 0.0, size: int = 20_000) -> xr.DataTree:
    rng = np.random.default_rng(seed)
    shape = (4, size // 4)
    group = xr.Dataset(
        {
            "mu": (("chain", "draw"), shift + sd * rng.standard_normal(shape)),
            "beta": (("chain", "draw", "j"), rng.standard_normal((*shape, 2))),
        }
    )
    return xr.DataTree.from_dict({"posterior": group})


def test_equal_posteriors_pass() -> None:
    testing.assert_same_posterior(draws(0), draws(1))


@pytest.mark.parametrize(
    ("other", "row"),
    [
        (draws(1, sd=1.2), "DIFFER  sd of mu"),
        (draws(1, shift=0.2), "DIFFER  mean of mu"),
        (draws(1, shift=0.22, size=500), "UNSURE  mean of mu.* times as many draws"),
        (draws(1, size=80), "NOT COMPARABLE  the first posterior .*ESS"),
    ],
)
def test_what_does_not_agree_is_listed(other: xr.DataTree, row: str) -> None:
    with pytest.raises(AssertionError, match=row):
        testing.assert_same_posterior(other, draws(0))


def test_other_names_are_listed() -> None:
    tree = draws(0)
    less = xr.DataTree.from_dict({"posterior": tree["posterior"].to_dataset()[["mu"]]})
    with pytest.raises(AssertionError, match=r"beta\[1\] \(only the second posterior has it\)"):
        testing.assert_same_posterior(less, tree)


def estimate(seed: int, sd: float, problems: tuple[str, ...] = ()) -> Estimate:
    model = Location()
    data = model.simulate(np.random.default_rng(0), model.truth, 10)
    mu = np.random.default_rng(seed).normal(1.0, sd, (4, 20_000))
    return estimate_from_draws(model, data, {"mu": mu}, record=xr.Dataset(), problems=problems)


def test_estimates_are_compared_by_the_same_rule() -> None:
    testing.assert_same_posterior(estimate(1, 0.3), estimate(2, 0.3))
    with pytest.raises(AssertionError, match="DIFFER  sd of mu"):
        testing.assert_same_posterior(estimate(1, 0.36), estimate(2, 0.3))
    with pytest.raises(AssertionError, match="did not converge"):
        testing.assert_same_posterior(estimate(1, 0.3, ("did not converge",)), estimate(2, 0.3))


def test_it_is_no_comparison() -> None:
    assert "testing" not in chosen()


def test_a_model_shows_its_formula_and_its_parameters() -> None:
    shown = Gaussian()._repr_html_()
    assert "x_i ~ N(μ, σ²)" in shown
    assert "<td>sigma</td><td>positive</td>" in shown


def test_nothing_shown_is_markup_of_the_user() -> None:
    assert "<img" not in Location()._repr_html_()
    case = Case(Location(), [0.5, 1.0], data_name="<script>", methods=())
    assert "<script>" not in case._repr_html_()


def test_a_case_and_an_estimate_show_their_state() -> None:
    case = Case(Gaussian(), [0.5, 1.0, 2.5], methods=(ClosedForm(),))
    assert "not fitted yet" in case._repr_html_()
    shown = case.fit(ClosedForm())._repr_html_()
    assert "<td>mu</td><td>1.33333</td>" in shown
    assert "<td>fitted</td>" in case._repr_html_()
    assert "chains &lt; 2" in estimate(0, 1.0, ("chains < 2",))._repr_html_()
