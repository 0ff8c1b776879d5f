"""Hierarchies, mixtures and odd supports, as their users write them, pass as one model."""

from __future__ import annotations

import adopted_structures as structures
import adopted_supports as supports
import numpy as np
import numpyro
import pytest
from adopted_pairs import some
from adopted_structures import Kind

import concord as cc

pytestmark = [
    pytest.mark.usefixtures("unoptimised"),
    pytest.mark.filterwarnings("ignore:Data in y contains missing values"),
]
KINDS = {**structures.HIERARCHIES, **structures.MIXTURES, **supports.OTHERS}
EVERY_TIME = {
    *("schools, centred and not", "crossed groups", "covariance, packed"),
    *("none against labels", "missing, imputed", "two observed sites"),
    *("CustomDist, logp", "param", "bounds that are parameters", "factor and potential"),
}
"""Kinds that together see every branch of adoption; the exhaustive tests see the others."""


@pytest.mark.parametrize("name", some(KINDS, EVERY_TIME))
def test_both_programs_are_one_model(name: str) -> None:
    KINDS[name].holds()


def test_the_program_of_either_language_names_its_latent_variables() -> None:
    built = structures.schools_pymc_noncentred(structures.errors, structures.effects)
    assert "latent=('theta_raw',)" in cc.adopt(pymc=built).likelihood_problem


def test_a_built_model_is_compared_as_far_as_its_constants_go() -> None:
    data = structures.schools
    built = structures.schools_pymc(data["se"], data["y"])
    said = "limited by the float32 constants"
    Kind(structures.schools_numpyro, built, data, ("theta",), said).holds()


def test_a_built_model_of_plain_laws_is_exact() -> None:
    built = supports.missing_pymc(**supports.holes)
    Kind(supports.missing_numpyro, built, supports.holes, ("y_unobserved",)).holds()


def test_a_constant_of_a_library_does_not_hide_a_difference() -> None:
    def wrong(y):
        with numpyro.handlers.scale(scale=1.01):
            structures.covariance_numpyro(y)

    checked = cc.check(numpyro=wrong, pymc=structures.covariance_pymc, data={"y": np.eye(3)})
    assert not checked.passed
    assert "DIFFER" in repr(checked)
