"""A scratch project for tests of the command line: a model file that brings methods of its own.

The model file replaces the methods and comparisons that the folder scan finds by tiny ones, in
the run and in its workers alike, and a stub writes the report.  How the methods behave is read
from files in a control directory, so that a test can change it between two runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]

MODEL = '''
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, final

import jax.numpy as jnp
import numpy as np
import xarray as xr

import importlib.util
import sys

import comparisons.claims
import inference.engines
import inference.methods
from models.spec import Model, Parameter

HERE = Path(__file__).parent
inference.methods.__path__[:] = [str(HERE / "methods")]
inference.engines.__path__[:] = []
comparisons.claims.__path__[:] = [str(HERE / "statements")]
spec = importlib.util.spec_from_file_location("comparisons.report.pages.write", HERE / "report.py")
sys.modules[spec.name] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules[spec.name])


@final
@dataclass(frozen=True)
class Toy(Model):
    """A location."""

    scale: float = 1.0
    name: ClassVar[str] = "toy"

    @property
    def parameters(self):
        return (Parameter("mu", "real"),)

    @property
    def truth(self):
        return {"mu": jnp.asarray(0.0)}

    def simulate(self, rng, values, n):
        return xr.Dataset({"y": ("obs", rng.normal(0.0, self.scale, n))})

    def start(self, rng, data):
        return {"mu": jnp.asarray(rng.normal())}

    def numpyro(self, data): ...

    def pymc(self, data): ...
'''

METHOD = '''
"""Behaves as a control file says."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, final

import numpy as np
import xarray as xr

from inference.estimate import Estimate, Quantity
from inference.method import Method
from models.errors import FitError

CONTROL = Path(__file__).parents[1] / "control"


@final
@dataclass(frozen=True)
class Fake(Method):
    """Averages."""

    step: Literal["one", "two", "three"] = "one"
    draws: int = 4
    name: ClassVar[str] = "fake"
    target: ClassVar[Literal["likelihood", "posterior"]] = "posterior"
    kind: ClassVar[str] = "optimum"

    def refusal(self, model):
        return ""

    def fit(self, model, data, rng):
        with (CONTROL / "log").open("a") as log:
            log.write(f"{self.step} {os.getpid()}\\n")
        control = CONTROL / self.step
        order = control.read_text().split() if control.exists() else ["average"]
        match order[0]:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "kill-once":
                control.unlink()
                os.kill(os.getpid(), signal.SIGKILL)
            case "wait":
                time.sleep(600)
            case "fail":
                raise FitError("it was told to fail")
            case "break":
                raise ZeroDivisionError("a bug")
        size = 300_000 if order[0] == "large" else 3
        value = xr.Dataset({"mu": float(np.mean(data["y"].data)) + rng.normal()})
        zero = xr.zeros_like(value)
        draws = xr.Dataset({"mu": (("chain", "draw"), rng.normal(size=(2, size)))})
        flat = ["mu"]
        covariance = xr.DataArray(
            [[1.0]],
            dims=("quantity", "quantity_"),
            coords={"quantity": flat, "quantity_": flat},
        )
        return Estimate(
            Quantity(value, zero),
            Quantity(zero + 1, zero),
            float("nan"),
            xr.DataTree.from_dict({"/posterior": draws}),
            (),
            value,
            covariance,
            "posterior_sd",
            xr.Dataset(attrs={"run": 0.5}),
        )
'''

GATE = '''
"""Both programs are one model."""

from comparisons.verdict import Verdict


def compare(case):
    yield Verdict("log density", 1.0, 1.0, 0.0, 1e-9)
'''

STATEMENT = '''
"""All methods average alike."""

from comparisons.verdict import Verdict
from inference.method import label
from pathlib import Path

CONTROL = Path(__file__).parents[1] / "control"


def compare(case):
    with (CONTROL / "compared").open("a") as log:
        log.write("average\\n")
    order = (CONTROL / "average").read_text() if (CONTROL / "average").exists() else ""
    if order == "break":
        raise ZeroDivisionError("a bug")
    for method, estimate in case.estimates().items():
        name = label(method)
        bound = 0.0 if order == "differ" else 1e9
        yield Verdict(f"mu: {name}", float(estimate.location.value["mu"]), 0.0, 0.0, bound)
'''

REPORT = """
import json
from pathlib import Path

from comparisons.report.files import published, put
from inference.method import label


def write(results, out, command):
    control = Path(__file__).parent / "control"
    with (control / "written").open("a") as log:
        log.write("page\\n")
    found = [
        {
            "slug": result.slug,
            "estimates": {
                label(m): float(e.location.value["mu"]) for m, e in result.estimates.items()
            },
            "files": {label(m): str(p.relative_to(out)) for m, p in result.files.items()},
            "failures": dict(result.failures),
            "refusals": {label(m): reason for m, reason in result.refusals.items()},
            "outcomes": {n: [v.outcome for v in vs] for n, vs in result.verdicts.items()},
            "causes": {n: [v.cause for v in vs] for n, vs in result.verdicts.items()},
            "titles": dict(result.titles),
        }
        for result in results
    ]
    texts = {"results.json": json.dumps(found), "index.html": "<!doctype html>"}
    with published(out) as stage:
        put(stage, texts)
    return out / "index.html", []
"""


@dataclass(frozen=True)
class Scratch:
    """A directory with a model file, its methods, data and a control directory."""

    path: Path

    @property
    def out(self) -> Path:
        return self.path / "a report" / "µ"

    @property
    def control(self) -> Path:
        return self.path / "control"

    def command(self, *more: str) -> list[str]:
        """The command that fits the toy model; further arguments go last."""
        model, data = str(self.path / "my_model.py") + ":Toy", str(self.path / "my data.csv")
        return [
            *(sys.executable, "-m", "comparisons", "run", model),
            *("--data", data, "--out", str(self.out), *more),
        ]

    def environment(self) -> dict[str, str]:
        """Without the user's own settings."""
        kept = ("PATH", "LD_LIBRARY_PATH", "XDG_CACHE_HOME")
        return {
            **{name: os.environ[name] for name in kept if name in os.environ},
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(self.path),
        }

    def run(self, *more: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs the command to its end."""
        return subprocess.run(
            self.command(*more),
            cwd=self.path,
            env=self.environment() | environment,
            capture_output=True,
            encoding="utf-8",
            timeout=300,
            check=False,
        )

    def fitted(self) -> list[str]:
        """The fits begun so far, in order of time."""
        return [line.split()[0] for line in self.lines("log")]

    def workers(self) -> set[int]:
        """The processes that have fitted anything."""
        return {int(line.split()[1]) for line in self.lines("log")}

    def lines(self, name: str) -> list[str]:
        path = self.control / name
        return path.read_text().splitlines() if path.exists() else []

    def order(self, name: str, what: str) -> None:
        """Tells a method or the comparison what to do."""
        (self.control / name).write_text(what)

    def edit(self, statement: str) -> None:
        """Changes the source of a comparison, though not what it does."""
        path = self.path / "statements" / statement
        path.write_text(path.read_text() + "EDITED = True\n")


def make(path: Path) -> Scratch:
    """A scratch project in a directory."""
    for folder in ("control", "methods", "statements"):
        (path / folder).mkdir(parents=True)
    (path / "my_model.py").write_text(MODEL)
    (path / "methods" / "fake.py").write_text(METHOD)
    (path / "statements" / "same_model.py").write_text(GATE)
    (path / "statements" / "same_average.py").write_text(STATEMENT)
    (path / "report.py").write_text(REPORT)
    rows = "".join(f"{x}\n" for x in (1.5, 2.25, 0.5, 3.0, 2.0))
    (path / "my data.csv").write_text("length\n" + rows)
    return Scratch(path)
