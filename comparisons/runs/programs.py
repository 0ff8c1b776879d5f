"""A user's own code: `my_model.py:MyModel`, or `port.py:build` and `port.py:model`.

A file is imported only because the user has named it.
"""

import dataclasses
import hashlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

import models.programs.adopt as _adopt
from comparisons.runs import signals, supervisor
from comparisons.store.keys import digest, source_digest
from models.data.files import opened
from models.errors import ConcordError, ConfigError, ModelError, did_you_mean, shown
from models.programs.adopt import adopt
from models.programs.adopted.classes import adopt_class
from models.programs.adopted.model import AdoptedModel
from models.spec import PROGRAMS, Model, defines


def user_class(path: Path, name: str) -> type[Model]:
    """The model class `name` in the file `path`."""
    module = vars(_module(path, "a model class"))
    found = module.get(name)
    if not inspect.isclass(found):
        classes = [
            key
            for key, value in module.items()
            if inspect.isclass(value) and issubclass(value, Model) and value is not Model
        ]
        if found is not None:
            raise ConfigError(f"{name!r} is no class: say --pymc {path}:{name}, or --numpyro")
        raise ConfigError(f"{path}: there is no class {name!r}.{did_you_mean(name, classes)}")
    where = f"{path}:{inspect.getsourcelines(found)[1]}: {name}"
    if not issubclass(found, Model):
        raise ModelError(f"{where} is not a model; derive it from models.spec.Model")
    if not any(defines(found, name) for name in PROGRAMS):
        raise ModelError(f"{where} has no program; define numpyro(self, data), pymc or both")
    if inspect.get_annotations(found).keys() - {"name"} and not dataclasses.is_dataclass(found):
        raise ModelError(f"{where} is not a dataclass; put @dataclass(frozen=True) above it")
    return found


def user_program(path: Path, name: str) -> Any:
    """The function or built model called `name` in the file `path`."""
    found = vars(_module(path, "your program"))
    if name not in found:
        own = [
            key
            for key, value in found.items()
            if not key.startswith("_") and not inspect.ismodule(value)
        ]
        raise ConfigError(f"{path}: there is no {name!r}.{did_you_mean(name, own)}")
    return found[name]


def parts(reference: str) -> tuple[Path, str]:
    """The file and the name of `file.py:name`."""
    path, _, name = reference.rpartition(":")
    if not path.endswith(".py") or not name:
        raise ConfigError(f"{reference}: name a file and what is in it, as in port.py:model")
    return Path(path), name


def guarded[T](stage: str, attempt: Callable[[], T]) -> T:
    """Runs a user's code as a stage of a check, within its limit of time; errors begin with it."""
    try:
        with supervisor.stage(f"the stage {stage!r}"):
            return attempt()
    except ConcordError as error:
        raise type(error)(f"{stage}: {error}") from error
    except (Exception, SystemExit) as error:  # whatever a user's program raises
        place = supervisor.raised_at(error)
        where = f" (at {place})" if place else ""
        raise ModelError(f"{stage}: {type(error).__name__}: {error}{where}") from error


def adopted(spec: Mapping[str, Any]) -> Model:
    """The programs of a `plan.model_spec`, with their data."""
    programs = {name: user_program(*parts(text)) for name, text in spec["programs"].items()}
    data, how = _data(spec), {"names": spec["names"], **spec["reading"]}
    model = guarded("programs", lambda: adopt(**programs, data=data, **how))
    files = {parts(text)[0] for text in spec["programs"].values()}
    source = source_digest(Path(str(_adopt.__file__)), *sorted(files))
    return model.known_as(model.name, digest([model.source, source]))


def adopted_class(model: Model, spec: Mapping[str, Any]) -> Model:
    """A class of a `plan.model_spec` of which something is left out; it draws data not given."""
    data, how = _data(spec), spec["reading"]
    found = guarded("programs", lambda: adopt_class(model, data, **how))
    return found.known_as(model.name, digest([repr(model), how, source_digest(type(model))]))


def at_truth(model: Model, truth: Mapping[str, Any] | None) -> Model:
    """The model at values of some parameters, and at its own truth for the rest."""
    if not isinstance(truth, Mapping | None):
        raise ConfigError(f"truth is {shown(truth)}; expected values by name, as {{'b': 0.4}}")
    if not truth:
        return model
    if not isinstance(model, AdoptedModel):
        raise ConfigError(
            f"a truth can be given for your own programs; {model.name} is studied at its own: "
            "define `truth` in a class derived from it"
        )
    return model.known_as(model.name, model.source, truth)


def table(source: str, columns: tuple[str, ...] = ()) -> pd.DataFrame:
    """A bundled data set or a file, some of its columns if any are named."""
    frame = opened(source, columns)
    return frame[list(columns)] if columns else frame


def _data(spec: Mapping[str, Any]) -> pd.DataFrame | None:
    return table(spec["data"], tuple(spec["columns"])) if spec["data"] else None


def _module(path: Path, what: str) -> ModuleType:
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; expected a Python file with {what}")
    return _imported(path.resolve())


@cache
def _imported(path: Path) -> ModuleType:
    # not the file's own name: a user's `random.py` must not stand in for the standard library's
    name = f"user_model_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None or specification.loader is None:
        raise ConfigError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module  # dataclasses look their module up
    process = os.getpid()
    if (folder := str(path.parent)) not in sys.path:  # last: nothing in it may shadow a library
        sys.path.append(folder)
    try:
        with supervisor.stage(f"the import of {path}"):
            specification.loader.exec_module(module)
    except BaseException as error:  # a file may raise anything, SystemExit too
        signals.check()
        line = error.lineno if isinstance(error, SyntaxError) else None
        where = f"{path}:{line}" if line else supervisor.raised_at(error) or str(path)
        del sys.modules[name]
        raise ModelError(
            f"{where}: {type(error).__name__}: {error}; the file must import without error"
        ) from error
    if os.getpid() != process:  # the file has forked: its process goes on, not this one
        os._exit(0)
    return module
