"""The folder is the registry: a new file in it is held to every law, with no other edit."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import models
import models.catalogue
from models import Model, Parameter
from models.data.undefined import undefined
from models.registry import subclasses

ROOT = Path(__file__).parents[1]
PLUGIN = """
import models.catalogue

models.catalogue.__path__.append({folder!r})
"""
LAWS = ("test_laws.py", "test_same_model.py::test_the_gate_passes", "test_engines.py")


def test_the_model_of_the_readme_is_an_entry_that_passes_every_law(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (source,) = [block for block in blocks if "class Waiting(Model)" in block]
    folder = tmp_path / "catalogue"
    folder.mkdir()
    (folder / "waiting.py").write_text(source)
    (tmp_path / "beside.py").write_text(PLUGIN.format(folder=str(folder)))
    paths = [f"tests/{law}" for law in LAWS]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "beside", "-k", "waiting", *paths]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider"],
        cwd=ROOT,
        env=env | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    # five laws of every model, one of every class, the gate, and the programs in three libraries
    assert passed, done.stdout
    assert int(passed[1]) >= 10, done.stdout  # more where further libraries are installed


def test_every_public_name_is_there_and_every_model_is_public() -> None:
    for name in models.__all__:
        assert getattr(models, name).__name__ == name
    assert dir(models) == models.__all__
    for cls in subclasses(models.catalogue, Model).values():
        assert cls.__name__ in models.__all__
    with pytest.raises(AttributeError, match="see dir"):
        _ = models.Nothing


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"k": 0}, "k is 0; expected an integer of at least 1"),
        ({"k": 1.5}, "k is 1.5; expected an integer of at least 1"),
        ({"k": True}, "k is True; expected an integer of at least 1"),
        ({"mean_scale": 0.0}, "mean_scale is 0.0; expected > 0 and finite"),
        ({"mean_scale": "a"}, "mean_scale is 'a'; expected > 0 and finite"),
        ({"mean_loc": float("nan")}, "mean_loc is nan; expected a finite number"),
        ({"covariance": "x"}, "covariance is 'x'; expected full, diagonal, spherical or tied"),
    ],
)
def test_settings_outside_of_their_range_are_refused(settings: Any, told: str) -> None:
    with pytest.raises(models.ConfigError, match=f"gaussian_mixture.{re.escape(told)}"):
        models.GaussianMixture(**settings)


def test_a_parameter_of_no_known_support_is_refused() -> None:
    with pytest.raises(models.ModelError, match="'positiv' is not one of real, positive"):
        Parameter("sigma", "positiv")  # pyright: ignore[reportArgumentType]


def test_counts_have_no_scale_that_equal_ones_would_leave_undetermined() -> None:
    model = models.Poisson()
    for counts in ([3.0], [2.0, 2.0, 2.0]):
        assert undefined(models.load_data(counts, model), model) == ""
    assert undefined(models.load_data([2.0, 2.0], models.Gaussian()), models.Gaussian())
