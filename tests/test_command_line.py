"""The command line: names, settings, exit codes and messages."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import zlib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

import jax.numpy as jnp
import numpy as np
import psutil
import pytest
import scratch
import xarray as xr

import models.catalogue
from comparisons.report.difference import COLUMNS, differences
from comparisons.runs import environment as _environment
from comparisons.runs import plan as _plan
from comparisons.runs.check import stages
from comparisons.runs.plan import built, dumped, plan, plans
from comparisons.runs.programs import user_class
from comparisons.runs.settings import Settings, parse_set, settings, split_names
from comparisons.verdict import Verdict
from inference.methods.laplace import Laplace
from inference.methods.nuts import NUTS
from models.capabilities import HasExamples
from models.catalogue.gaussian import Gaussian
from models.catalogue.gaussian_mixture import GaussianMixture
from models.data.dataset import as_dataset
from models.errors import ConfigError, DataError, ModelError
from models.registry import subclasses
from models.spec import Model, Parameter

if TYPE_CHECKING:
    from collections.abc import Callable

    import pymc as pm


# --- help and lists -----------------------------------------------------------------------------


def test_help_needs_nothing_heavy() -> None:
    heavy = ["arviz", "jax", "numpy", "numpyro", "pandas", "pydantic", "pymc", "scipy", "xarray"]
    code = (
        "import sys; sys.argv = ['concord', '--help']\n"
        "from comparisons.runs.command_line import main\n"
        "try: main()\n"
        f"finally: print([name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=scratch.ROOT,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert done.stderr == "[]\n"
    assert "Exit codes" in done.stdout


@pytest.mark.parametrize("command", [(), ("run",), ("check",), ("list",), ("diff",)])
def test_every_help_has_an_example(command: tuple[str, ...], concord) -> None:
    code, output, _ = concord(*command, "--help")
    assert code == 0
    assert "Example" in output


def test_the_version_is_told(concord) -> None:
    code, output, _ = concord("--version")
    assert code == 0
    assert output == f"concord {version('concord')}\n"


def test_workers_are_of_this_machine_or_of_a_cluster() -> None:
    _, mistakes = settings({"jobs": 2, "scheduler": "tcp://127.0.0.1:1"})
    assert mistakes == ["--jobs is for workers of this machine, --scheduler for those of a cluster"]


def test_lists(concord) -> None:
    expected = {
        "models": "gaussian_mixture",
        "methods": "variants: ",
        "comparisons": "same_model",
        "data": "faithful                     272 rows: eruptions, waiting",
    }
    for kind, text in expected.items():
        code, output, _ = concord("list", kind)
        assert code == 0
        assert text in output
    code, output, _ = concord("list")
    assert code == 0
    assert all(f"{kind}:\n" in output and text in output for kind, text in expected.items())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("list", "modles"), "unknown list 'modles'. Did you mean 'models'?"),
        (("run", "gausian"), "unknown model 'gausian'. Did you mean 'gaussian'?"),
        (("run", "gaussian", "--data", "faithfull"), "Did you mean 'faithful'?"),
        (("run", "gaussian", "--data", "long" * 99), "File name too long"),
        (("run", f"{'long' * 99}.py:Mine"), "File name too long"),
        (("run", "gaussian", "--data", "no.csv"), "no.csv"),
        (("run", "gaussian", "--data", "faithful", "--column", "wait"), "'waiting'"),
        (("run", "gaussian", "--methods", "maximum_likelyhood"), "'maximum_likelihood'"),
        (("run", "gaussian", "--only", "same_modle"), "Did you mean 'same_model'?"),
        (("run", "gaussian", "--set", "dmi=2"), "Gaussian.dmi: unknown name. Did you mean 'dim'?"),
        (("run", "gaussian", "--set", "dim=two"), "Gaussian.dim: expected a valid integer"),
        (("run", "gaussian", "--set", "dim=0"), "gaussian.dim is 0"),
        (("run", "gaussian_mixture", "--set", "k=0"), "gaussian_mixture.k is 0"),
        (("run", "gaussian", "--set", "dim"), "expected NAME=VALUE"),
        (("run", "gaussian", "--methods", " ,"), "' ,' names nothing"),
        (("run", "gaussian", "--only", ""), "'' names nothing"),
        (("run", "gaussian", "--seed", "-1"), "--seed: expected greater than or equal to 0"),
        (("run", "gaussian", "--profile", "quik"), "Did you mean 'quick'?"),
        (("run", "gaussian", "--jobs", "0"), "--jobs"),
        (("run", "model.py"), "model.py:MyModel"),
        (("run", "model.py:MyModel"), "no such file"),
        (("run",), "name a model, such as gaussian, or your own programs with --pymc"),
        (("run", "gaussian", "--pymc", "port.py:build"), "name a model"),
        (("run", "--pymc", "port.py"), "port.py:model"),
        (("run", "--pymc", "port.py:build"), "port.py: no such file"),
        (("run", "--pymc", "port.py:build", "--names", "b"), "--names b: expected A=B"),
        (("run", "--pymc", "port.py:build", "--names", "a=b"), "--names is for two programs"),
        (("check", "gaussian", "--names", "a=b"), "--names is for two programs"),
        (("study", "coverage", "--model", "gaussian", "--names", "a=b"), "--names is for two"),
        (("run", "gaussian", "--sed", "1"), "No such option"),
        (("--seed", "1", "list", "models"), "options go after the command"),
        (("--config", "no.toml"), "no.toml"),
        (("diff", "a.csv", "b.csv"), "a.csv"),
    ],
)
def test_mistakes_exit_with_2_and_say_what_is_valid(
    arguments: tuple[str, ...], message: str, concord
) -> None:
    code, output, errors = concord(*arguments)
    assert code == 2
    assert message in errors
    assert output == ""
    assert "Traceback" not in errors
    assert not list(Path().iterdir())


# --- settings -----------------------------------------------------------------------------------


def test_all_mistakes_of_a_file_are_told_at_once(tmp_path: Path, concord) -> None:
    (tmp_path / "run.toml").write_text(
        """
        profil = "quick"
        seed = -3
        jobs = "two"
        standardise = 1
        methods = ["nutz"]
        only = ["same_modle"]

        [[cases]]
        model = "gaussian"
        set = { mean_scale = "wide", dimm = 2 }

        [[cases]]
        modle = "gaussian"

        [[cases]]
        model = "gausian"
        """
    )
    code, _, errors = concord("--config", "run.toml", "--profile", "quik")
    assert code == 2
    for message in (
        "11 mistakes:",
        "run.toml: profil: unknown name. Did you mean 'profile'?",
        "run.toml: seed: expected greater than or equal to 0; got -3",
        "run.toml: jobs: expected a valid integer; got 'two'",
        "run.toml: standardise: expected a valid boolean; got 1",
        "run.toml: cases[1].modle: unknown name. Did you mean 'model'?",
        "--profile: unknown value 'quik'. Did you mean 'quick'?",
        "cases[0]: Gaussian.mean_scale: expected a valid number; got 'wide'",
        "cases[0]: Gaussian.dimm: unknown name. Did you mean 'dim'?",
        "unknown model 'gausian'. Did you mean 'gaussian'?",
        "unknown comparison 'same_modle'. Did you mean 'same_model'?",
        "unknown method 'nutz'.",
    ):
        assert message in errors


@pytest.mark.parametrize(
    ("text", "message"),
    [("seed = 1\nseed = 2\n", "line 2"), ("seed =", "not TOML"), ("a = '\xff'", "")],
)
def test_what_is_not_toml_is_named_with_its_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text, "latin-1")
    with pytest.raises(ConfigError, match="is not TOML") as caught:
        settings({}, path)
    assert message in str(caught.value)


def test_options_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('seed = 5\nprofile = "quick"\nmethods = ["nuts"]', "utf-8-sig")
    found, mistakes = settings({"seed": 0, "methods": (), "profile": None}, path)
    assert mistakes == []
    assert (found.seed, found.profile, found.methods) == (0, "quick", ("nuts",))


def test_no_directory_bears_a_zero_byte_in_its_name(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('out = "mine\\u0000"\n')
    _, [mistake] = settings({}, tmp_path / "run.toml")
    assert "run.toml: out: " in mistake


def test_set_reads_toml_values_and_plain_text() -> None:
    assert parse_set(["k=2", "a = [1, 2.5]", "covariance=tied", "b=true", 'c="2"', "d="]) == {
        "k": 2,
        "a": [1, 2.5],
        "covariance": "tied",
        "b": True,
        "c": "2",
        "d": "",
    }
    with pytest.raises(ConfigError, match="2 mistakes"):
        parse_set(["k", "a=1", "a=2"])


def test_names_are_split_outside_brackets() -> None:
    texts = ["nuts, gaussian_vi[numpyro, full_rank]", "laplace,nuts,"]
    assert split_names(texts) == ("nuts", "gaussian_vi[numpyro, full_rank]", "laplace")


def test_hyper_parameters_are_typed_by_their_annotations() -> None:
    model = built(GaussianMixture, {"k": 3, "mean_scale": 2, "covariance": "tied"})
    assert model == GaussianMixture(k=3, mean_scale=2.0, covariance="tied")
    assert isinstance(model.mean_scale, float)
    assert built(GaussianMixture, json.loads(json.dumps(dumped(model)))) == model
    with pytest.raises(ConfigError, match="Did you mean 'tied'") as caught:
        built(GaussianMixture, {"covariance": "tyed", "k": True})
    assert "GaussianMixture.k: expected a valid integer" in str(caught.value)


# --- plans --------------------------------------------------------------------------------------


def test_everything_bundled_is_planned_and_rebuilt_from_json() -> None:
    found = plans(Settings(profile="quick"))
    slugs = [one.slug for one in found]
    assert len(set(slugs)) == len(slugs)
    catalogue = subclasses(models.catalogue, Model).items()
    studied = {name for name, cls in catalogue if issubclass(cls, HasExamples)}
    assert {one.spec["model"] for one in found} == studied
    assert all(set(slug) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-") for slug in slugs)
    for one in found:
        again = plan(json.loads(json.dumps(one.spec)), one.slug)
        assert again.model == one.model
        xr.testing.assert_identical(again.data, one.data)


def _settings(**content: Any) -> Settings:
    found, mistakes = settings(content)
    assert mistakes == []
    return found


def test_names_of_files_become_harmless_unique_slugs(tmp_path: Path) -> None:
    cases = []
    for folder, name in (("a", "../..\\x <b>'"), ("b", "X B"), ("c", "é" * 200), ("d", "x b")):
        path = tmp_path / folder / f"{name.replace('/', '_')[:100]}.csv"
        path.parent.mkdir()
        path.write_text("x\n1\n2\n4\n")
        cases.append({"model": "gaussian", "data": str(path)})
    slugs = [one.slug for one in plans(_settings(cases=cases))]
    assert slugs == [
        "gaussian-_-x-b",
        "gaussian-x-b",
        "gaussian",
        "gaussian-x-b-2",
    ]


def test_standardise_reaches_the_data() -> None:
    case = {"model": "gaussian", "data": "faithful", "columns": ["waiting"]}
    (one,) = plans(_settings(cases=[case], standardise=True))
    values = one.data["y"].values
    assert values.mean() == pytest.approx(0, abs=1e-12)
    assert values.std() == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize(
    ("method", "setting", "least"),
    [
        ("expectation_maximisation", "iterations", 1),
        ("expectation_maximisation", "restarts", 1),
        ("laplace", "draws", 4),
        ("laplace", "restarts", 1),
        ("maximum_a_posteriori", "restarts", 1),
        ("maximum_likelihood", "restarts", 1),
        ("nuts", "chains", 2),
        ("nuts", "draws", 4),
        ("nuts", "warm_up", 1),
        ("gaussian_vi", "draws", 4),
        ("gaussian_vi", "restarts", 1),
    ],
)
def test_settings_below_their_least_value_are_refused(
    method: str, setting: str, least: int
) -> None:
    chosen = _plan.chosen_methods("quick", (method,), {method: {setting: least}})
    assert {getattr(one, setting) for one in chosen} == {least}
    message = f"{method}.{setting} is {least - 1}; expected an integer of at least {least}"
    with pytest.raises(ConfigError, match=message):
        _plan.chosen_methods("quick", (), {method: {setting: least - 1}})


def test_an_unknown_setting_of_a_method_is_refused() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'draws'"):
        _plan.chosen_methods("quick", (), {"laplace": {"drows": 5}})


def test_more_draws_than_the_machine_holds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    study = _plan.Plan("a", Gaussian(), "d", as_dataset(np.arange(9.0), Gaussian()), {})
    _plan.refuse_memory(study, (NUTS(draws=1_000), Laplace(draws=1_000)))
    with pytest.raises(ConfigError, match=r"need about .* GiB and there are"):
        _plan.refuse_memory(study, (NUTS(draws=10**7, chains=10**4),))
    with pytest.raises(ConfigError, match="expected an integer of at most 10,000,000"):
        NUTS(draws=10**12)
    # four pseudo-chains of 2,000 draws of two numbers: 8 copies of 128 kB
    monkeypatch.setattr(_plan, "_ANYWHERE", 0)
    monkeypatch.setattr(_plan, "memory_limit", lambda: 10**6)
    with pytest.raises(ConfigError, match=r"8,000 draws of 2 numbers and 0 log-likelihoods"):
        _plan.refuse_memory(study, (Laplace(draws=2_000),))
    # 4,000 of the 8,000 draws of a sampler keep the log-likelihoods of 9 units
    with pytest.raises(ConfigError, match=r"8,000 draws of 2 numbers and 36,000 log-likelihoods"):
        _plan.refuse_memory(study, (NUTS(draws=2_000),))


def test_the_memory_is_what_bounds_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0 < _environment.memory_limit() <= psutil.virtual_memory().total
    monkeypatch.setattr("distributed.system.memory_limit", lambda: 5)
    assert _environment.memory_limit() == 5


# --- a user's model file ------------------------------------------------------------------------

HEAD = """
from dataclasses import dataclass
from typing import ClassVar
from models.spec import Model
"""


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("x = 1\nx / 0\n", ModelError, "my_model.py:2: ZeroDivisionError"),
        ("def f(:\n", ModelError, "my_model.py:1: SyntaxError"),
        ("import no_such_module_at_all", ModelError, "my_model.py:1: ModuleNotFoundError"),
        ("raise SystemExit(3)", ModelError, "my_model.py:1: SystemExit"),
        (HEAD + "class MyModle(Model): ...", ConfigError, "Did you mean 'MyModle'?"),
        (HEAD + "class MyModel: ...", ModelError, "my_model.py:5: MyModel is not a model"),
        (HEAD + "class MyModel(Model): ...", ModelError, "has no program; define numpyro"),
        (
            HEAD + "class MyModel(Model):\n    scale: float = 1.0\n    numpyro = None",
            ModelError,
            "not a dataclass",
        ),
    ],
)
def test_a_users_file_is_refused_with_its_line(
    text: str, error: type[Exception], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "my_model.py"
    path.write_text(text)
    with pytest.raises(error, match=r"my_model\.py") as caught:
        user_class(path, "MyModel")
    assert message in str(caught.value)


@final
@dataclass(frozen=True)
class Planted(Model):
    """A normal location, with a bug."""

    bug: Literal["", "twice", "truth", "simulate", "start", "nan", "name", "raise", "scale"] = ""
    name: ClassVar[str] = "planted"

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return (Parameter("mu", "real"),) * (2 if self.bug == "twice" else 1)

    @property
    def truth(self) -> dict[str, Any]:
        return {"nu" if self.bug == "truth" else "mu": jnp.asarray(0.5)}

    def simulate(self, rng: np.random.Generator, values: Any, n: int) -> xr.Dataset:
        if self.bug == "simulate":
            raise ZeroDivisionError("a bug")
        return xr.Dataset({"y": ("obs", rng.normal(float(values["mu"]), 1.0, n))})

    def start(self, rng: np.random.Generator, data: xr.Dataset) -> dict[str, Any]:
        return {"mu": jnp.asarray(math.inf if self.bug == "start" else rng.normal())}

    def numpyro(self, data: xr.Dataset) -> None:
        import numpyro
        import numpyro.distributions as dist

        if self.bug == "raise":
            raise ZeroDivisionError("a bug")
        mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
        with numpyro.plate("obs", data.sizes["obs"]):
            numpyro.sample("y", dist.Normal(mu, 1.0), obs=jnp.asarray(data["y"].data))
        if self.bug == "nan":
            numpyro.factor("penalty", math.nan)

    def pymc(self, data: xr.Dataset) -> pm.Model:
        import pymc as pm

        with pm.Model() as program:
            scale = 1.05 if self.bug == "scale" else 1.0
            mu = pm.Normal("nu" if self.bug == "name" else "mu", 0.0, scale)
            pm.Normal("y", mu, 1.0, observed=data["y"].data)
        return program


@pytest.mark.parametrize(
    ("bug", "passed", "message"),
    [
        ("twice", 0, "parameter table: mu appear twice"),
        ("truth", 0, r"parameter table: truth gives \['nu'\]; the table declares \['mu'\]"),
        ("simulate", 1, "simulate: ZeroDivisionError: a bug"),
        ("start", 2, "start: mu is inf; expected finite values"),
        ("raise", 3, "NumPyro program: ZeroDivisionError: a bug"),
        ("name", 4, r"PyMC program: .*samples \['nu'\]"),
        ("nan", 4, "finite numpyro density: .* penalty is nan in 1 of 1 terms"),
        ("scale", 7, "same model: DIFFER"),
    ],
)
def test_the_self_check_names_the_first_stage_that_fails(
    bug: Any, passed: int, message: str
) -> None:
    found = []
    with pytest.raises(ModelError, match=message):
        found.extend(stages(Planted(bug), None, 0))  # extend keeps what came before the error
    assert len(found) == passed


def test_the_self_check_passes_a_sound_model(concord, monkeypatch: pytest.MonkeyPatch) -> None:
    agreeing = SimpleNamespace(compare=lambda case: [Verdict("density", 1.0, 1.0, 0.0, 1e-9)])
    monkeypatch.setattr("comparisons.runs.check.chosen", lambda: {"same_model": agreeing})
    code, output, _ = concord("check", "gaussian")
    assert code == 0
    assert [line.split(":")[0] for line in output.splitlines()] == [
        "ok  import",
        "ok  parameter table",
        "ok  simulate",
        "ok  start",
        "ok  NumPyro program",
        "ok  PyMC program",
        "ok  finite NumPyro density at the start",
        "ok  finite PyMC density at the start",
        "ok  same model",
    ]


@pytest.fixture
def waiting(tmp_path: Path) -> str:
    """The model that the README shows, in a file."""
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    (code,) = [block for block in text.split("```python\n") if block.startswith("# my_model.py")]
    (tmp_path / "my_model.py").write_text(code.partition("```")[0])
    return f"{tmp_path / 'my_model.py'}:Waiting"


def test_the_model_of_the_readme_passes_the_self_check(waiting: str, concord) -> None:
    code, output, _ = concord("check", waiting)
    assert code == 0
    assert output.splitlines()[-1].startswith("ok  same model: all ")


def test_rows_outside_of_the_support_are_named_before_anything_runs(
    waiting: str, concord, tmp_path: Path
) -> None:
    (tmp_path / "mine.csv").write_text("seconds\n1\n-2\n3\n-0.5\n2\n")
    code, output, errors = concord("run", waiting, "--data", "mine.csv")
    assert (code, output) == (2, "")
    assert "mine: y is outside of the support of waiting in 2 of 5 rows, rows 1, 3" in errors
    assert not (tmp_path / "reports").exists()
    code, _, errors = concord("check", waiting, "--data", "mine.csv")
    assert (code, "data: y is outside of the support" in errors) == (2, True)
    assert concord("run", waiting, "--data", "eight_schools", "--column", "y")[0] == 2
    (tmp_path / "mine.csv").write_text("seconds\n1\n2\n3\n")
    assert plans(_settings(cases=[{"model": waiting, "data": str(tmp_path / "mine.csv")}]))


# --- runs ---------------------------------------------------------------------------------------


def test_a_run_its_repetition_and_its_exit_codes(tmp_path: Path) -> None:
    project = scratch.make(tmp_path)
    first = project.run()
    assert first.returncode == 0
    assert first.stdout == f"{project.out / 'index.html'}\n"
    assert "[1/3] toy-my-data fake[one]: " in first.stderr
    assert len(first.stderr.splitlines()) == 4  # one line for each fit, and the count
    stamps = {path: path.stat().st_mtime_ns for path in project.out.glob("fits/*/*")}
    again = project.run()
    assert (again.returncode, again.stdout) == (0, first.stdout)
    assert project.fitted() == ["one", "two", "three"]
    assert project.lines("compared") == ["average"]
    assert project.lines("written") == ["page"]
    assert stamps == {path: path.stat().st_mtime_ns for path in project.out.glob("fits/*/*")}

    project.order("average", "differ")
    project.edit("same_average.py")
    assert project.run().returncode == 1
    assert project.lines("compared") == ["average"] * 2
    project.order("average", "break")
    project.edit("same_average.py")
    broken = project.run("--debug")
    assert broken.returncode == 4
    assert "same_average: the comparison failed: ZeroDivisionError: a bug" in broken.stderr
    assert project.fitted() == ["one", "two", "three"]


OWN_CLASS = """
import concord as cc
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

class MyModel(cc.Model):
    def numpyro(self, x, y=None):
        a = numpyro.sample("a", dist.Normal(0, 1))
        b = numpyro.sample("b", dist.Normal(0, 1))
        numpyro.sample("y", dist.Poisson(jnp.exp(a + b * x)), obs=y)
"""


def test_a_class_of_one_program_is_run(
    concord: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    (tmp_path / "my_model.py").write_text(OWN_CLASS)
    rows = (f"{i / 10 - 1},{i // 5}\n" for i in range(20))
    (tmp_path / "mine.csv").write_text("x,y\n" + "".join(rows))
    methods = ("--profile", "quick", "--methods", "maximum_likelihood,laplace", "--jobs", "1")
    start = ("run", "my_model.py:MyModel", "--data", "mine.csv", "--only", "same_model")
    code, output, errors = concord(*start, *methods)
    assert code == 0, errors
    first, *_, last = output.splitlines()
    assert (first, last) == ("my_model · mine, 20 rows", str(tmp_path / "reports" / "index.html"))
    page = (tmp_path / "reports" / "my_model-mine.html").read_text()
    assert "a depends on nothing; b depends on nothing; y depends on a, b" in page


def test_a_grade_fails_a_run_only_where_that_is_asked_for(
    concord: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    (tmp_path / "mine.csv").write_text("x\n1.0\n2.0\n4.0\n")
    given = ("conjugate_gaussian", "--data", "mine.csv", "--methods", "exact_posterior,laplace")
    start = ("run", *given, "--jobs", "1", "--only", "posterior_agreement")
    assert concord(*start)[0] == 0
    code, _, errors = concord(*start, "--fail-on", "careful")
    assert code == 1
    assert "laplace[numpyro] for sigma2 is careful" in errors
    assert concord(*start, "--fail-on", "never")[0] == 2
    code, _, errors = concord(*start[:-1], "same_model", "--fail-on", "no")
    assert (code, "no method was graded" in errors) == (1, True)


def test_every_case_counts_as_graded_where_two_files_bear_one_name(
    concord: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    cases = []
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.csv").write_text("x\n1.0\n2.0\n4.0\n")
        cases.append(f'[[cases]]\nmodel = "conjugate_gaussian"\ndata = "{folder}/mine.csv"\n')
    (tmp_path / "run.toml").write_text("".join(cases))
    given = ("--config", "run.toml", "--methods", "exact_posterior,laplace", "--jobs", "1")
    code, _, errors = concord(*given, "--only", "posterior_agreement", "--fail-on", "no")
    assert (code, "no method was graded" in errors) == (0, False)


# --- the environment ----------------------------------------------------------------------------


def test_the_environment_is_set_and_the_users_own_flags_are_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cache = tmp_path / 'a "cache", µ'
    monkeypatch.setattr(_environment.os, "environ", environment := {})
    environment |= {
        "XDG_CACHE_HOME": str(cache),
        "PYTENSOR_FLAGS": "optimizer=fast_compile",
        "OMP_NUM_THREADS": "3",
        "JAX_ENABLE_X64": "0",
    }
    _environment.prepare()
    from pytensor.configparser import parse_config_string

    assert parse_config_string(environment["PYTENSOR_FLAGS"]) == {
        "base_compiledir": str(cache / "concord" / "pytensor"),
        "cast_policy": "numpy+floatX",
        "numba__fastmath": "False",
        "optimizer": "fast_compile",
    }
    assert environment["OMP_NUM_THREADS"] == "3"
    assert environment["JAX_ENABLE_X64"] == "1"
    assert environment["JAX_COMPILATION_CACHE_DIR"] == str(cache / "concord" / "jax")


def test_compiled_code_that_was_cut_short_is_removed_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(_environment.os, "environ", {"XDG_CACHE_HOME": str(tmp_path)})
    _environment.prepare()
    cache = tmp_path / "concord" / "jax"
    whole = zlib.compress(bytes(1000))
    for name, code in {"whole": whole, "cut": whole[:-3], "empty": b""}.items():
        (cache / f"{name}-cache").write_bytes(code)
    (cache / "zstandard-cache").write_bytes(_environment.ZSTANDARD + bytes(9))
    _environment.prepare()
    assert {path.name for path in cache.glob("*-cache")} == {"whole-cache", "zstandard-cache"}


def test_without_a_home_caches_are_private_and_temporary(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def homeless() -> Path:
        raise RuntimeError("no home directory")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(_environment.Path, "home", homeless)
    monkeypatch.setattr(_environment.tempfile, "tempdir", str(tmp_path))
    shared = _environment.cache_directory()
    assert shared.parent == tmp_path
    assert shared.stat().st_mode & 0o077 == 0
    assert _environment.cache_directory() == shared
    shared.chmod(0o777)  # anybody could have put compiled code there
    assert _environment.cache_directory() != shared


# --- diff ---------------------------------------------------------------------------------------


def _table(path: Path, *rows: tuple[str, str, str, str, str]) -> Path:
    lines = [",".join(COLUMNS)]
    for about, observed, error, bound, verdict in rows:
        lines.append(f"same,toy,data,{about},{observed},0,{error},{bound},{verdict},")
    path.write_text("\n".join(lines) + "\n")
    return path


CHANGES = [
    (("1.0", "0", "0.1", "AGREE"), ("1.0", "0", "0.1", "AGREE"), "unchanged"),
    (("1.0", "0.01", "0.1", "AGREE"), ("1.02", "0.01", "0.1", "AGREE"), "unchanged"),
    (("1.0", "0.01", "0.1", "AGREE"), ("1.3", "0.01", "0.1", "AGREE"), "changed"),
    (("1.0", "0.1", "0.1", "UNSURE"), ("1.3", "0.1", "0.1", "UNSURE"), "cannot tell"),
    (("1.0", "0.1", "0.1", "UNSURE"), ("1.1", "0.1", "0.1", "AGREE"), "cannot tell"),
    (("1.0", "0", "0.1", "AGREE"), ("1.05", "0", "0.1", "DIFFER"), "changed"),
    (("", "", "", "NOT COMPARABLE"), ("", "", "", "NOT COMPARABLE"), "unchanged"),
    (("nan", "0", "0.1", "NOT COMPARABLE"), ("1", "0", "0.1", "AGREE"), "changed"),
]


@pytest.mark.parametrize(("old", "new", "expected"), CHANGES)
def test_changes_are_judged_by_their_errors(old, new, expected: str, tmp_path: Path) -> None:
    paths = [_table(tmp_path / f"{n}.csv", ("x", *row)) for n, row in enumerate((old, new))]
    (found,) = differences(*paths)
    assert found.change == expected


def test_diff_counts_and_shows_what_is_not_unchanged(tmp_path: Path, concord) -> None:
    same = ("same", "1", "0", "0.1", "AGREE")
    _table(tmp_path / "old.csv", same, ("gone", "1", "0", "0.1", "AGREE"))
    _table(tmp_path / "new.csv", same, ("new", "1", "0", "0.1", "AGREE"))
    code, output, _ = concord("diff", "old.csv", "new.csv")
    assert code == 1
    assert output.splitlines() == [
        "changed: same · toy · data · gone: gone",
        "changed: same · toy · data · new: new",
        "2 changed, 0 cannot tell, 1 unchanged",
    ]
    assert concord("diff", "old.csv", "old.csv")[0] == 0


@pytest.mark.parametrize(
    "text", ["", "a,b\n1,2\n", ",".join(COLUMNS) + "\na,b,c,d,x,0,0,0,AGREE,\n"]
)
def test_what_is_no_table_of_verdicts_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=r"odd\.csv"):
        differences(path, path)
