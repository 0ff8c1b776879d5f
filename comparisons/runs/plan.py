"""From settings to cases: names are looked up, models built, data read, all before any fit.

A plan's `spec` is plain JSON, so that a worker process rebuilds the same case from it.
"""

import dataclasses
import inspect
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, get_type_hints

import numpy as np
import xarray as xr
from pydantic import PydanticSchemaGenerationError, TypeAdapter, ValidationError

import comparisons.claims
import models.catalogue
from comparisons.case import Case, Progress, all_methods, usual_methods
from comparisons.claims import GATE
from comparisons.report.files import slug
from comparisons.runs.environment import memory_limit
from comparisons.runs.programs import adopted, adopted_class, at_truth, parts, user_class
from comparisons.runs.settings import CaseSettings, Settings, explained
from comparisons.store.entries import Store
from inference.catalogue import catalogue
from inference.method import Method, Profile, label, not_installed
from inference.posterior.draws import CHAINS, thinning
from models.capabilities import HasExamples
from models.data.dataset import load_data
from models.data.files import bundled_names, data_name
from models.errors import ConfigError, DataError, did_you_mean, refuse
from models.programs.adopted.classes import asked, missing
from models.programs.adopted.model import AdoptedModel
from models.programs.density import units
from models.programs.support import outside_support
from models.registry import entries, lookup, subclasses
from models.spec import Model

_ANYWHERE = 2**28  # bytes that there are: to find out how many takes most of a second


class Plan(NamedTuple):
    """A case to be run."""

    slug: str  # unique name of its page
    model: Model
    data_name: str
    data: xr.Dataset
    spec: Mapping[str, Any]  # how to build the case, in plain JSON types

    def case(self, store: Store | None = None, progress: Progress | None = None) -> Case:
        """The case itself, with nothing fitted yet."""
        profile: Profile = self.spec["profile"]
        return Case(
            self.model,
            self.data,
            self.spec["seed"],
            data_name=self.data_name,
            profile=profile,
            methods=chosen_methods(profile, self.spec["methods"], self.spec["settings"]),
            store=store,
            progress=progress,
        )


def plans(settings: Settings, mistakes: Sequence[str] = ()) -> list[Plan]:
    """The cases of a run; refused with `mistakes`, which are known already, and all found here."""
    mistakes = list(mistakes)
    specs: list[dict[str, Any]] = []
    for number, case in enumerate(settings.cases):
        path = f"cases[{number}]" if len(settings.cases) > 1 else ""
        specs += _collected(mistakes, path, lambda case=case: _specs(case.refused())) or []
    if not settings.cases and not mistakes:
        specs = _every_example(settings.profile)
    _collected(mistakes, "", lambda: chosen(settings.only))
    asked = (settings.profile, settings.methods, settings.settings)
    methods = _collected(mistakes, "", lambda: chosen_methods(*asked))
    refuse(mistakes)
    common = settings.model_dump(
        mode="json", include={"methods", "only", "profile", "seed", "standardise", "settings"}
    )
    found: list[Plan] = []
    for spec in specs:
        found.append(plan({**spec, **common}, taken=[one.slug for one in found]))
        # the bundled data sets suit the catalogue
        if ":" in spec.get("model", "") or spec["data"] not in bundled_names():
            _refuse_outside_support(found[-1])
        refuse_memory(found[-1], methods or ())
    return found


def plan(spec: Mapping[str, Any], page: str = "", taken: Sequence[str] = ()) -> Plan:
    """The plan of a spec; where it was planned already, with the name that its page has there."""
    name = data_name(spec["data"]) if spec["data"] else "own-data"
    model = adopted(spec) if "programs" in spec else built(model_class(spec["model"]), spec["set"])
    page = page or slug(f"{model.name}{_changed(model)}-{name}", taken)
    if missing(model) or ("model" in spec and asked(spec["reading"])):
        model = adopted_class(model, spec)
    if isinstance(model, AdoptedModel):
        if spec.get("standardise"):
            raise ConfigError("--standardise is for the catalogue: standardise the file's columns")
        return Plan(page, model, name, model.data, spec)
    data = load_data(spec["data"], model, tuple(spec["columns"]), standardised=spec["standardise"])
    return Plan(page, model, name, data, spec)


def model_spec(case: CaseSettings) -> dict[str, Any]:
    """How to build the model of a case in any process, in plain JSON types."""
    data = case.data
    if data and data not in bundled_names():
        data = str(Path(data).absolute())
    spec = {"data": data, "columns": list(case.columns), "reading": case.reading}
    if case.pymc or case.numpyro:
        given = {"pymc": case.pymc, "numpyro": case.numpyro}
        named = {name: parts(text) for name, text in given.items() if text}
        programs = {name: f"{path.absolute()}:{what}" for name, (path, what) in named.items()}
        return {**spec, "programs": programs, "names": dict(case.names)}
    values = dumped(built(model_class(case.model), case.set))
    path, colon, name = case.model.rpartition(":")
    model = f"{Path(path).absolute()}:{name}" if colon else case.model
    return {**spec, "model": model, "set": values}


def studied_model(spec: Mapping[str, Any], truth: Mapping[str, Any] | None = None) -> Model:
    """The model of a `model_spec`, at a truth."""
    if "programs" in spec:
        return at_truth(adopted(spec), truth)
    model = built(model_class(spec["model"]), spec["set"])
    own = missing(model) or asked(spec["reading"]) or spec["data"]
    return at_truth(adopted_class(model, spec) if own else model, truth)


def model_class(reference: str) -> type[Model]:
    """The class of a catalogue name or of `file.py:Class`."""
    path, colon, class_name = reference.rpartition(":")
    if colon and path.endswith(".py"):
        return user_class(Path(path), class_name)
    if reference.endswith(".py"):
        raise ConfigError(f"{reference}: name the class too, as in {reference}:MyModel")
    return lookup("model", reference, subclasses(models.catalogue, Model))


def built[T](cls: type[T], values: Mapping[str, Any]) -> T:
    """An instance of a dataclass, its fields typed by their annotations."""
    hints = get_type_hints(cls)
    known = [f.name for f in _fields(cls) if f.init]
    where = cls.__name__
    mistakes: list[str] = []
    typed: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            mistakes.append(f"{where}.{name}: unknown name.{did_you_mean(name, known)}")
            continue
        try:
            text = json.dumps(value, default=str)
            typed[name] = TypeAdapter(hints[name]).validate_json(text, strict=True)
        except ValidationError as error:
            mistakes += explained(error, f"{where}.{name}")
        except PydanticSchemaGenerationError:
            mistakes.append(f"{where}.{name}: a {hints[name]} cannot be set from text")
    refuse(mistakes)
    try:
        return cls(**typed)
    except (TypeError, ValueError) as error:
        raise ConfigError(str(error)) from error


def dumped(instance: Any) -> dict[str, Any]:
    """The fields of a dataclass in plain JSON types; `built` reads them back."""
    hints = get_type_hints(type(instance))
    return {
        f.name: TypeAdapter(hints[f.name]).dump_python(getattr(instance, f.name), mode="json")
        for f in _fields(instance)
        if f.init
    }


def _fields(instance: Any) -> tuple[dataclasses.Field[Any], ...]:
    """Fields of a dataclass; none of a user's class that is no such."""
    return dataclasses.fields(instance) if dataclasses.is_dataclass(instance) else ()


def chosen_methods(
    profile: Profile, names: Sequence[str], settings: Mapping[str, Mapping[str, Any]]
) -> tuple[Method, ...]:
    """The methods named, by name or label, with their settings; the usual ones if none is named."""
    labels = {label(method): method for method in all_methods(profile)}
    usual = set(usual_methods(profile))
    _refuse_unknown("method", (*names, *settings), dict.fromkeys([*catalogue(), *labels]))
    found: list[Method] = []
    for name, method in labels.items():
        if not {name, method.name} & set(names) if names else method not in usual:
            continue
        changes = {**settings.get(method.name, {}), **settings.get(name, {})}
        if changes:
            method = built(type(method), dumped(method) | changes)
        found.append(method)
    lacking = ((method.name, not_installed(type(method))) for method in found)
    refuse([f"{name}: {missing}" for name, missing in dict(lacking).items() if missing])
    return tuple(found)


def named(profile: Profile, methods: Any) -> Any:
    """Methods as they are given, those that are given by name at the settings of the profile."""
    given = [methods] if isinstance(methods, str) else methods
    names = [one for one in given if isinstance(one, str)] if isinstance(given, Sequence) else []
    if not names:
        return methods
    return (*(m for m in given if m not in names), *chosen_methods(profile, names, {}))


def chosen(names: Sequence[str] = ()) -> dict[str, ModuleType]:
    """The comparisons named, all if none is, alphabetical; the gate is always first."""
    modules = entries(comparisons.claims).items()
    claims = {name: module for name, module in modules if "compare" in vars(module)}
    _refuse_unknown("comparison", names, claims)
    rest = [name for name in claims if name != GATE and (not names or name in names)]
    return {name: claims[name] for name in (GATE, *rest)}


def _refuse_unknown(kind: str, names: Iterable[str], valid: Collection[str]) -> None:
    unknown = [name for name in names if name not in valid]
    refuse([f"unknown {kind} {name!r}.{did_you_mean(name, valid)}" for name in unknown])


def title(entry: ModuleType | type) -> str:
    """The first line of an entry's statement."""
    return (inspect.getdoc(entry) or entry.__name__).partition("\n")[0].rstrip(".")


def _specs(case: CaseSettings) -> list[dict[str, Any]]:
    """The case as it is, or one for each example of a model without data."""
    if case.pymc or case.numpyro:
        return [model_spec(case)]
    cls = model_class(case.model)
    if case.data is None:
        return _examples(case, cls)
    path = Path(case.data)
    if case.data not in bundled_names() and not path.suffix and not path.exists():
        raise ConfigError(
            f"unknown data set {case.data!r}.{did_you_mean(case.data, bundled_names())} "
            "A file is named by its path, ending in .csv or .parquet."
        )
    return [model_spec(case)]


def _every_example(profile: str) -> list[dict[str, Any]]:
    """The bundled studies of the catalogue; in a quick run one of every model."""
    found = []
    for name, cls in subclasses(models.catalogue, Model).items():
        if issubclass(cls, HasExamples):
            examples = _examples(CaseSettings(model=name), cls)
            found += examples[:1] if profile == "quick" else examples
    return found


def _examples(case: CaseSettings, cls: type[Model]) -> list[dict[str, Any]]:
    if not issubclass(cls, HasExamples):
        raise ConfigError(f"{cls.__name__} comes with no data of its own: name some with --data")
    found = []
    for model, data, columns in cls.examples():
        if isinstance(model, cls):
            example = {"set": dumped(model) | case.set, "data": data, "columns": columns}
            found.append(model_spec(case.model_copy(update=example)))
    return found


def _collected[T](mistakes: list[str], path: str, attempt: Callable[[], T]) -> T | None:
    """The attempt's result; a ConfigError becomes one more mistake, or several."""
    try:
        return attempt()
    except ConfigError as error:
        several = str(error).split("\n  ")[1:] or [str(error)]
        mistakes += [f"{path}: {mistake}" if path else mistake for mistake in several]
        return None


def _refuse_outside_support(plan: Plan) -> None:
    if isinstance(plan.model, AdoptedModel):
        return
    try:
        problem = outside_support(plan.model, plan.data)
    except Exception:  # whatever a user's program raises: the gate names it, and where
        return
    if problem:
        raise DataError(f"{plan.data_name}: {problem}")


def refuse_memory(plan: Plan | Case, methods: Sequence[Method]) -> None:
    """Refuses what cannot fit in memory, in float64, with a few copies.

    Counted are every parameter of all draws, and for Markov chains the log-likelihood of each unit
    at the draws that keep it.
    """
    numbers = sum(int(np.size(value)) for value in plan.model.truth.values())
    n = units(plan.model, plan.data)
    for method in methods:
        settings = dataclasses.asdict(method)  # pyright: ignore[reportArgumentType]
        draws = settings.get("draws", 0) * settings.get("chains", CHAINS)
        pointwise = draws // thinning(draws, n) * n if "chains" in settings else 0
        needed = 8 * (8 * draws * numbers + 3 * pointwise)
        if needed > _ANYWHERE and needed > (total := memory_limit()):
            raise ConfigError(
                f"{label(method)} on {plan.data_name}: {draws:,} draws of {numbers:,} numbers and "
                f"{pointwise:,} log-likelihoods of single units need about "
                f"{needed / 2**30:,.0f} GiB and there are {total / 2**30:,.0f} GiB. "
                "Use fewer draws or a shorter profile."
            )


def _changed(model: Model) -> str:
    """The settings of a model of the catalogue that are not the usual ones, for its slug."""
    if isinstance(model, AdoptedModel):
        return ""
    usual = {f.name: f.default for f in _fields(model)}
    return "".join(
        f"-{name}{value}"
        for name, value in dumped(model).items()
        if usual[name] != value and isinstance(value, int | str) and not isinstance(value, bool)
    )
