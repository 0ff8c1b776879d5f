"""The LKJ law of a Cholesky factor in PyMC: the density is NumPyro's, draws have its marginals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

from models.catalogue._correlation import pymc_cholesky_correlation

if TYPE_CHECKING:
    import pymc as pm

each = pytest.mark.parametrize(("count", "eta"), [(2, 1.0), (2, 2.5), (3, 0.6), (4, 1.3)])


def program(count: int, eta: float, copies: tuple[int, ...] = ()) -> pm.Model:
    import pymc as pm

    with pm.Model() as model:
        pymc_cholesky_correlation("factor", count, eta, copies)
    return model


@each
def test_the_density_is_that_of_numpyro(count: int, eta: float) -> None:
    import pymc as pm

    law = dist.LKJCholesky(count, eta)
    factors = law.sample(jax.random.key(1), (3,))
    expected = np.asarray(law.log_prob(factors))
    found = pm.logp(program(count, eta, (3,))["factor"], np.asarray(factors)).eval()
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.statistical
@each
def test_draws_have_the_marginals_of_the_law(count: int, eta: float) -> None:
    """Each correlation is 2 Beta(a, a) − 1 with a = η − 1 + D/2; 1e-6 over all pairs."""
    import pymc as pm

    factors = pm.draw(program(count, eta)["factor"], 20_000, random_seed=1)
    correlation = factors @ np.swapaxes(factors, -1, -2)
    np.testing.assert_allclose(np.diagonal(correlation, axis1=-2, axis2=-1), 1, rtol=1e-12)
    a = eta - 1 + count / 2
    pairs = [(i, j) for i in range(count) for j in range(i)]
    for i, j in pairs:
        p_value = stats.kstest(correlation[:, i, j], stats.beta(a, a, -1, 2).cdf).pvalue
        assert p_value > 1e-6 / len(pairs), (i, j)
