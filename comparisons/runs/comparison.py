"""One model on one data set, by every method, in memory: for notebooks.

What the command line does with a store, workers and pages, this does in the process it is called
from, and gives back tables.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from math import nan
from operator import attrgetter
from pathlib import Path
from typing import Any, Unpack, final

import pandas as pd
import xarray as xr

from comparisons.case import Case, Progress
from comparisons.claims import GATE
from comparisons.distances import Calibrated, between
from comparisons.grades import Grade, graded, intervals
from comparisons.reference import scalars
from comparisons.report.files import report_names, slug
from comparisons.report.first_screen import FirstScreen, first_screen
from comparisons.report.headline import ENGINE, engines
from comparisons.runs import signals
from comparisons.runs.console import complain, tell_reading
from comparisons.runs.flow import case_result, closed, compared, tabulated
from comparisons.runs.place import place, publish
from comparisons.runs.plan import chosen, named, refuse_memory
from comparisons.runs.programs import guarded
from comparisons.runs.progress import ENDED
from comparisons.runs.settings import settings as settings_of
from comparisons.verdict import Verdict, at_tolerance
from inference.estimate import Estimate
from inference.method import Method, Profile, label
from models.data.files import data_name, opened
from models.errors import ConfigError, ModelError, did_you_mean, refuse, shown
from models.notebook import table
from models.programs.adopt import Reading
from models.programs.adopted.classes import chosen as chosen_model
from models.programs.density import quantity_table
from models.programs.precision import float64
from models.settings import sequence
from models.spec import Model


@final
@dataclass(eq=False, repr=False)
class Comparison:
    """Every fit of a case and every verdict on them.

    Attributes:
        case: the model, the data, the seed and the fits.
        claims: the verdicts of each claim, by its name.
        seconds: how long it took.
        problems: why a claim could not be checked, by its name.
    """

    case: Case
    claims: Mapping[str, Sequence[Verdict]]
    seconds: float
    problems: Mapping[str, str]

    def __getitem__(self, method: Method | str) -> Estimate:
        """The estimate of a method, by itself, its label or its name: the first that answers to it.

        Raises:
            ConfigError: no such method.
            FitError: the method refuses the model, or its fit failed.
        """
        if not isinstance(method, Method | str):
            raise ConfigError(f"a method is {shown(method)}; expected its name, as 'nuts'")
        if method in self.case.methods:
            return self.case.fit(method)
        asked = label(method) if isinstance(method, Method) else method
        methods = {word: m for m in reversed(self.case.methods) for word in (m.name, label(m))}
        if asked not in methods:
            raise ConfigError(f"unknown method {asked!r}.{did_you_mean(asked, methods)}")
        return self.case.fit(methods[asked])

    @cached_property
    def _grades(self) -> list[Grade]:
        return graded(self.case.model, self.case.data, self.case.estimates())

    @property
    def first_screen(self) -> FirstScreen:
        """The first screen: may the cheap answer be used on these data."""
        title = f"{self.case.model.name} · {self.case.data_name}"
        given = (self.case.estimates(), self.claims, self._grades)
        return first_screen(self.case.model, title, *given, failures=self.case.failed)

    def table(self) -> pd.DataFrame:
        """One row for each method and parameter, in the units of the data.

        Means (or optima) and standard deviations (or errors) with their Monte Carlo errors, the
        95 % interval, what it holds of the reference posterior, and the grade; these two are NaN
        and "" where there is no reference, and of it.
        """
        known = {(g.method, g.parameter): (g.holds, g.mark) for g in self._grades}
        rows = []
        for method, fit in self.case.estimates().items():
            own = scalars(self.case.model, fit)
            for name, ends in intervals(fit, own).items():
                grade = known.get((label(method), name), (nan, ""))
                rows.append((label(method), name, *own[name], *ends, *grade))
        columns = ["mean", "mean_error", "sd", "sd_error", "low", "high", "holds", "grade"]
        table = pd.DataFrame(rows, columns=["method", "parameter", *columns])
        return table.set_index(["method", "parameter"])

    def engines(self) -> pd.DataFrame:
        """One row for each library's own fit: how far from its own target, its grade, its cost."""
        rows = engines(self.case.estimates(), self.case.failed, self.claims, self._grades)
        return pd.DataFrame(rows, columns=list(ENGINE)).set_index("engine")

    def verdicts(self) -> pd.DataFrame:
        """One row for each claim that was checked."""
        fields = ["about", "outcome", "observed", "expected", "error", "bound", "cause"]
        told = attrgetter(*fields)
        rows = [(name, *told(row)) for name, verdicts in self.claims.items() for row in verdicts]
        return pd.DataFrame(rows, columns=["claim", *fields]).rename(columns={"outcome": "verdict"})

    def idata(self, method: Method | str) -> xr.DataTree:
        """The draws of a method, as ArviZ has them.

        Raises:
            ConfigError: no method with that label, or it has no draws.
        """
        draws = self[method].draws
        if draws is None:
            raise ConfigError(f"{method} has no draws: it is an optimum")
        return draws

    def idatas(self) -> dict[str, xr.DataTree]:
        """The draws of every method that has some, by label, as `az.plot_forest` takes them."""
        fits = self.case.estimates().items()
        return {label(method): fit.draws for method, fit in fits if fit.draws is not None}

    @float64
    def report(self, out: str | Path, *, force: bool = False) -> Path:
        """Writes the pages of the case and keeps its fits beside them, as the command line does.

        Args:
            out: the directory, made if it is not there.
            force: whether to write into a directory that is somebody else's, where files with the
                names of the report's are then replaced and no others.

        Returns:
            The path of the first page.

        Raises:
            ConfigError: the directory is somebody else's, or `out` no path.
            InUseError: a run writes to the directory.
            StoreError: the directory cannot be written.
        """
        case, problems = self.case, dict(self.problems)
        page = slug(f"{case.model.name}-{case.data_name}")
        if not isinstance(out, str | Path):
            raise ConfigError(f"out is {shown(out)}; expected a directory, as report('out')")
        settings, mistakes = settings_of({"out": str(out), "jobs": 1, "force": force})
        refuse(mistakes)
        with place(settings, report_names([page]), 1) as (output, store, _):
            for method, fit in case.estimates().items():
                case.keep(store, method, fit)
            modules = chosen(tuple(self.claims))
            record = {
                "fits": list(map(label, case.estimates())),
                "failures": case.failed,
                "problems": problems,
                "tables": tabulated(case, modules, lambda *_: None, problems),
                "verdicts": {n: list(map(asdict, found)) for n, found in self.claims.items()},
                "seconds": self.seconds,
                "used": [],
            }
            result = case_result(page, (), case, record, store)
            return publish([result], output.path, "cc.compare(…).report(…)")[0]

    def distances(self, first: Method | str, second: Method | str) -> pd.DataFrame:
        """One row for each distance between the draws of two methods, in the second's sds.

        Beside each what it is between halves of the second's own draws: a distance of equal laws is
        not 0 at a finite number of draws.

        Raises:
            ConfigError: no such method.
            FitError: a method has no draws, or too few that are independent.
        """
        one, other = self[first], self[second]
        names = [label(m) if isinstance(m, Method) else m for m in (first, second)]
        rng = self.case.rng("distances", *names)
        rows = pd.DataFrame(between(one, other, rng), columns=Calibrated._fields)
        return rows.set_index("name")

    def plot(self) -> Any:
        """The forest of all methods with draws, an ArviZ PlotCollection.

        Raises:
            ConfigError: no method has draws.
        """
        import arviz_plots as azp

        if not (draws := self.idatas()):
            raise ConfigError("no method has draws to plot: compare with a sampler, such as NUTS")
        names = [parameter.name for parameter in quantity_table(self.case.model)]
        return azp.plot_forest(draws, combined=True, var_names=names)

    def __repr__(self) -> str:
        """The first screen, and how many verdicts of each kind there are."""
        counts = self.verdicts()["verdict"].value_counts()
        listed = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
        return f"{self.first_screen.text()}\nverdicts: {listed or 'none'}"

    def _repr_html_(self) -> str:
        """The first screen as a table."""
        screen = self.first_screen
        head, *rows = screen.rows
        lines = (*screen.warnings, screen.sentence, *screen.notes)
        return table(screen.title, lines, head, rows)


@float64
def compare(
    model: Model | None = None,
    data: object = None,
    *,
    pymc: object = None,
    numpyro: Callable[..., object] | None = None,
    names: Mapping[str, str] | None = None,
    methods: Sequence[Method | str] | None = None,
    claims: Sequence[str] = (),
    profile: Profile = "quick",
    tolerance: float = 1.0,
    seed: int = 0,
    progress: bool = True,
    **reading: Unpack[Reading],
) -> Comparison:
    """Fits a model to data by every method and checks every claim, in this process.

    Args:
        model: a model of the catalogue or of your own class; else pass `pymc`, `numpyro` or both.
        data: an array, frame or dataset that suits the model; a mapping or frame whose names are
            the programs' arguments; or a bundled data set or a file by its name.
        pymc: a built `pm.Model`, or a function of the data that returns one.
        numpyro: a NumPyro function of the data.
        names: which name of one program is which of the other, where they differ.
        methods: the methods, or their names as in `nuts`; all of the profile by default.
        claims: names of the claims to check besides the gate; all by default.
        profile: how long the methods run: `quick`, `standard` or `thorough`.
        tolerance: factor on the practical bound of every claim; the gate has none.
        seed: of every random stream.
        progress: whether standard error is told of every fit.
        reading: `latent`, `likelihood` and `allow_constant`, as `models.adopt` takes them.

    Returns:
        The fits and the verdicts. A fit or a claim that fails is a reason in it, not an error.

    Raises:
        ConfigError: an unknown claim, profile or name, a negative seed, no model or method for it.
        DataError: the data do not suit the model.
        ModelError: a program cannot be evaluated, or the two are not shown to be one model.
    """
    programs = {"pymc": pymc, "numpyro": numpyro, "names": names}
    told = {"data_name": data_name(data), "profile": profile, "methods": named(profile, methods)}
    data, tell = opened(data), _tell if progress else signals.check
    find = partial(chosen_model, model, data, programs, **reading)
    model, began = guarded("programs", find), time.perf_counter()
    case = Case(model, data, seed, **told, progress=tell)
    found, problems = _found(case, claims, tolerance, tell)
    return Comparison(case, found, time.perf_counter() - began, problems)


def _tell(event: str, name: str, seconds: float) -> None:
    signals.check()
    if event in ENDED:
        complain(f"{name}: {ENDED[event] or f'{seconds:.1f} s'}")


@signals.kept()
def _found(
    case: Case, claims: Sequence[str], tolerance: float, tell: Progress
) -> tuple[dict[str, Sequence[Verdict]], dict[str, str]]:
    """The verdicts of the gate and, if it is open, of every claim; and why one failed."""
    at_tolerance((), tolerance)  # refused before anything is fitted
    tell_reading(case.data)
    if case.methods and len(case.refusals) == len(case.methods):
        why = "; ".join(f"{label(method)}: {reason}" for method, reason in case.refusals.items())
        raise ConfigError(f"no method that was asked for fits this model ({why}): leave it out")
    refuse_memory(case, case.methods)
    modules = chosen(sequence("claims", claims, str, "('own_target',)"))
    gate = list(modules.pop(GATE).compare(case))
    if cause := closed(gate):
        raise ModelError(cause)
    case.estimates()
    found: dict[str, Sequence[Verdict]] = {GATE: gate}
    problems: dict[str, str] = {}
    for name, module in modules.items():
        began = time.perf_counter()
        verdicts, problem = compared(case, module)
        tell("fitted", f"claim {name}", time.perf_counter() - began)
        found[name] = at_tolerance(verdicts, tolerance)
        if problem:
            problems[name] = problem
    return found, problems
