"""From settings to cases: names are looked up, models built, data read, all before any fit.

A plan's `spec` is plain JSON, so that a worker process rebuilds the same case from it.
"""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final, get_type_hints

import numpy as np
from pydantic import PydanticSchemaGenerationError, TypeAdapter, ValidationError

import models.catalogue
from comparisons.case import Case, all_methods, usual_methods
from comparisons.runs import selection as _catalogue
from comparisons.runs.environment import memory_limit
from comparisons.runs.programs import (
    absolute_data,
    adopted,
    adopted_class,
    at_truth,
    programs_spec,
)
from comparisons.runs.settings import explained
from comparisons.runs.user_model import user_class
from inference.catalogue import catalogue
from inference.method import Method, label
from inference.posterior.draws import CHAINS, thinning
from models.capabilities import HasExamples, HasOwnPrograms
from models.data.files import bundled_names
from models.data.load import data_name, load_data
from models.errors import ConfigError, DataError, did_you_mean, refuse
from models.programs.adopted.classes import missing
from models.programs.density import units
from models.programs.support import outside_support
from models.registry import lookup, subclasses
from models.spec import Model

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import xarray as xr

    from comparisons.case import Progress
    from comparisons.runs.settings import CaseSettings, Settings
    from comparisons.store.entries import Store
    from inference.method import Profile


_ANYWHERE = 2**28
"""Bytes below which nothing is looked at: to find out how many there are takes most of a second."""


@final
@dataclass(frozen=True)
class Plan:
    """A case to be run.

    Attributes:
        slug: unique name of its page.
        model: the model.
        data_name: what the data are called.
        data: the data, validated.
        spec: how to build the case, in plain JSON types.
    """

    slug: str
    model: Model
    data_name: str
    data: xr.Dataset
    spec: Mapping[str, Any]

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
    """The cases of a run.

    Args:
        settings: what was asked for.
        mistakes: what is known to be wrong with it already, to be told with what is found here.

    Raises:
        ConfigError: lists every unknown name and every unusable value.
        DataError: a data set cannot be used.
        ModelError: a user's model file cannot be used.
    """
    mistakes = list(mistakes)
    wanted: list[tuple[str, Model, str, tuple[str, ...], tuple[str, ...]]] = []
    own: list[dict[str, Any]] = []
    for number, case in enumerate(settings.cases):
        path = f"cases[{number}]" if len(settings.cases) > 1 else ""
        if case.pymc or case.numpyro:
            own += [_collected(mistakes, path, lambda case=case: programs_spec(case)) or {}]
            continue
        if not case.model:
            mistakes.append(f"{path}.model: missing; or name your own pymc or numpyro program")
            continue
        found = _collected(mistakes, path, lambda case=case: _studies(case)) or []
        wanted += [(*one, case.latent) for one in found]
    if not settings.cases and not mistakes:
        wanted = [(*one, ()) for one in _every_example(settings.profile)]
    _collected(mistakes, "", lambda: _catalogue.chosen(settings.only))
    chosen = (settings.profile, settings.methods, settings.settings)
    methods = _collected(mistakes, "", lambda: chosen_methods(*chosen))
    refuse(mistakes)
    common = settings.model_dump(
        mode="json", include={"methods", "only", "profile", "seed", "standardise", "settings"}
    )
    found = []
    for reference, model, data, columns, latent in wanted:
        spec = {"model": reference, "set": dumped(model), "data": data, "columns": list(columns)}
        spec |= {**common, "latent": list(latent)}
        found.append(plan(spec, _slug(model, data, [p.slug for p in found])))
        if ":" in reference or data not in bundled_names():  # the bundled ones suit the catalogue
            _refuse_outside_support(found[-1])
        refuse_memory(found[-1], methods or ())
    for spec in own:
        found.append(_adopted_plan({**spec, **common}, [p.slug for p in found]))
        refuse_memory(found[-1], methods or ())
    return found


def plan(spec: Mapping[str, Any], slug: str) -> Plan:
    """The plan of a spec, in the process that planned it or in a worker.

    Raises:
        ConfigError: a name or a value of the spec cannot be used.
        DataError: the data cannot be used.
        ModelError: the user's model file cannot be used.
    """
    if "programs" in spec:
        return _adopted_plan(spec, (), slug)
    model = built(model_class(spec["model"]), spec["set"])
    name = data_name(spec["data"])
    if missing(model) or spec["latent"]:
        model = adopted_class(model, spec)
        return Plan(slug, model, name, model.data, spec)
    data = load_data(spec["data"], model, tuple(spec["columns"]), standardised=spec["standardise"])
    return Plan(slug, model, name, data, spec)


def studied_spec(case: CaseSettings) -> dict[str, Any]:
    """How to build the model of a study in any process, in plain JSON types.

    Raises:
        ConfigError: a model, a program or a hyper-parameter cannot be used.
        ModelError: the user's file cannot be used.
    """
    if case.pymc or case.numpyro:
        return programs_spec(case)
    given = {"data": case.data and absolute_data(case.data), "columns": list(case.columns)}
    values = dumped(built(model_class(case.model), case.set))
    return {"model": absolute(case.model), "set": values, "latent": list(case.latent), **given}


def studied_model(spec: Mapping[str, Any], truth: Mapping[str, Any] | None = None) -> Model:
    """The model of a `studied_spec`, at a truth.

    Args:
        spec: how to build it.
        truth: values of some parameters of a user's own programs.

    Raises:
        ConcordError: it cannot be built, or has no such truth.
    """
    if "programs" in spec:
        return at_truth(adopted(spec), truth)
    model = built(model_class(spec["model"]), spec["set"])
    own = missing(model) or spec["latent"] or spec["data"]
    return at_truth(adopted_class(model, spec) if own else model, truth)


def _adopted_plan(spec: Mapping[str, Any], taken: Sequence[str], slug: str = "") -> Plan:
    model = adopted(spec)
    name = data_name(spec["data"]) if spec["data"] else "own-data"
    return Plan(slug or unique(f"{model.name}-{name}", taken), model, name, model.data, spec)


def model_class(reference: str) -> type[Model]:
    """The class of a catalogue name or of `file.py:Class`.

    Raises:
        ConfigError: no such model.
        ModelError: the user's file cannot be used.
    """
    path, colon, class_name = reference.rpartition(":")
    if colon and path.endswith(".py"):
        return user_class(Path(path), class_name)
    if reference.endswith(".py"):
        raise ConfigError(f"{reference}: name the class too, as in {reference}:MyModel")
    return lookup("model", reference, subclasses(models.catalogue, Model))


def absolute(reference: str) -> str:
    """The same reference to a model from any working directory."""
    path, colon, class_name = reference.rpartition(":")
    return f"{Path(path).absolute()}:{class_name}" if colon else reference


def built[T](cls: type[T], values: Mapping[str, Any]) -> T:
    """An instance of a dataclass, its fields typed by their annotations.

    Raises:
        ConfigError: lists every unknown field and every value of a wrong type or out of range.
    """
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
    """The methods named, by name or label, with their settings; the usual ones if none is named.

    Raises:
        ConfigError: lists every unknown name or setting.
    """
    everything, usual = all_methods(profile), set(usual_methods(profile))
    methods = catalogue()
    labels = {label(method): method for method in everything}
    valid = dict.fromkeys([*methods, *labels])
    mistakes = [
        f"unknown method {name!r}.{did_you_mean(name, valid)}"
        for name in (*names, *settings)
        if name not in valid
    ]
    refuse(mistakes)
    found: list[Method] = []
    for name, method in labels.items():
        if not {name, method.name} & set(names) if names else method not in usual:
            continue
        changes = {**settings.get(method.name, {}), **settings.get(name, {})}
        if changes:
            method = built(type(method), dumped(method) | changes)
        found.append(method)
    return tuple(found)


def _studies(case: CaseSettings) -> list[tuple[str, Model, str, tuple[str, ...]]]:
    cls = model_class(case.model)
    reference = absolute(case.model)
    if case.data is None:
        return _studies_of_examples(reference, cls, case.set)
    data = case.data
    if data not in bundled_names():
        if not Path(data).suffix and not Path(data).exists():
            raise ConfigError(
                f"unknown data set {data!r}.{did_you_mean(data, bundled_names())} "
                "A file is named by its path, ending in .csv or .parquet."
            )
        data = str(Path(data).absolute())
    return [(reference, built(cls, case.set), data, case.columns)]


def _every_example(profile: str) -> list[tuple[str, Model, str, tuple[str, ...]]]:
    """The bundled studies of the catalogue; in a quick run one of every model."""
    found = []
    for name, cls in subclasses(models.catalogue, Model).items():
        if issubclass(cls, HasExamples):
            examples = _studies_of_examples(name, cls, {})
            found += examples[:1] if profile == "quick" else examples
    return found


def _studies_of_examples(
    reference: str, cls: type[Model], values: Mapping[str, Any]
) -> list[tuple[str, Model, str, tuple[str, ...]]]:
    if not issubclass(cls, HasExamples):
        raise ConfigError(f"{cls.__name__} comes with no data of its own: name some with --data")
    return [
        (reference, built(cls, dumped(model) | dict(values)), data, columns)
        for model, data, columns in cls.examples()
        if isinstance(model, cls)
    ]


def _collected[T](mistakes: list[str], path: str, attempt: Callable[[], T]) -> T | None:
    """The attempt's result; a ConfigError becomes one more mistake, or several."""
    try:
        return attempt()
    except ConfigError as error:
        several = str(error).split("\n  ")[1:] or [str(error)]
        mistakes += [f"{path}: {mistake}" if path else mistake for mistake in several]
        return None


def _refuse_outside_support(plan: Plan) -> None:
    if isinstance(plan.model, HasOwnPrograms):
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

    Raises:
        ConfigError: says how much is needed and how much there is.
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


def _slug(model: Model, source: str, taken: Sequence[str]) -> str:
    defaults = {f.name: f.default for f in _fields(model)}
    changed = "".join(
        f"-{name}{value}"
        for name, value in dumped(model).items()
        if defaults[name] != value and isinstance(value, int | str) and not isinstance(value, bool)
    )
    return unique(f"{model.name}{changed}-{data_name(source)}", taken)


def unique(words: str, taken: Sequence[str]) -> str:
    """The name of a page, of lower-case letters, digits, `_` and `-`, that is not taken yet."""
    text = re.sub(r"[^a-z0-9_]+", "-", words.lower())
    stem = text[:80].strip("-") or "case"
    number, slug = 1, stem
    while slug in taken:
        number += 1
        slug = f"{stem}-{number}"
    return slug
