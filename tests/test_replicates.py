"""Many fits at once are the fits one by one, whatever the size of the batch."""

from __future__ import annotations

import numpy as np
import pytest

from inference import _replicates
from inference._replicates import replicate
from models.gaussian import Gaussian


def test_estimates_and_standard_errors_are_the_closed_form() -> None:
    model, n = Gaussian(), 40
    found = replicate(model, model.truth, n, 7, np.random.default_rng(3))
    assert found.converged.all()
    for index, stream in enumerate(np.random.default_rng(3).spawn(7)):
        if index == 0:
            model.simulate(stream, model.truth, n)
        y = model.simulate(stream.spawn(1)[0], model.truth, n)["y"].data
        np.testing.assert_allclose(found.estimate[index], [y.mean(), y.std()], rtol=1e-7)
        errors = y.std() / np.sqrt([n, 2 * n])
        np.testing.assert_allclose(found.standard_error[index], errors, rtol=1e-6)


def test_numbers_depend_on_the_replicate_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Gaussian()
    few = replicate(model, model.truth, 40, 7, np.random.default_rng(3))
    many = replicate(model, model.truth, 40, 120, np.random.default_rng(3))
    monkeypatch.setattr(_replicates, "_BATCH", 4)
    small = replicate(model, model.truth, 40, 7, np.random.default_rng(3))
    for one, prefix, other in zip(few, many, small, strict=True):
        np.testing.assert_array_equal(one, prefix[:7])
        np.testing.assert_allclose(one, other, rtol=1e-12)
