"""A user's own model: `my_model.py:MyModel`, imported only because the user named it."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import inspect
import os
import sys
from functools import cache
from typing import TYPE_CHECKING, Any

from comparisons.runs import signals, supervisor
from models.errors import ConfigError, ModelError, did_you_mean
from models.spec import PROGRAMS, Model, defines

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

_PREFIX = "user_model_"


def user_class(path: Path, name: str) -> type[Model]:
    """The model class `name` in the file `path`.

    Raises:
        ConfigError: no such file, or no such class in it.
        ModelError: the file raises, or the class is no concrete model.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; expected a Python file with a model class")
    module = _module(path.resolve())
    found = vars(module).get(name)
    if not inspect.isclass(found):
        classes = [
            key
            for key, value in vars(module).items()
            if inspect.isclass(value) and issubclass(value, Model) and value is not Model
        ]
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
    """The function or built model called `name` in the file `path`.

    Raises:
        ConfigError: no such file, or nothing of that name in it.
        ModelError: the file raises.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; expected a Python file with your program")
    found = vars(_module(path.resolve()))
    if name not in found:
        own = [key for key in found if not key.startswith("_")]
        raise ConfigError(f"{path}: there is no {name!r}.{did_you_mean(name, own)}")
    return found[name]


@cache
def _module(path: Path) -> ModuleType:
    # not the file's own name: a user's `random.py` must not stand in for the standard library's
    name = f"{_PREFIX}{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None or specification.loader is None:
        raise ConfigError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module  # dataclasses look their module up
    process = os.getpid()
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
