"""The folder is the registry: every `x.py` in it is an entry, every `_x.py` is not."""

import importlib
import inspect
import pkgutil
from types import ModuleType

from models.errors import ConfigError, did_you_mean, shown


def entries(package: ModuleType) -> dict[str, ModuleType]:
    """The entry modules of a package by name, alphabetical."""
    names = sorted(
        module.name
        for module in pkgutil.iter_modules(package.__path__)
        if not (module.ispkg or module.name.startswith("_"))
    )
    return {name: importlib.import_module(f"{package.__name__}.{name}") for name in names}


def subclasses[T](package: ModuleType, base: type[T]) -> dict[str, type[T]]:
    """The concrete subclasses of `base` that the package's entries define, by their `name`."""
    return {
        cls.name: cls  # pyright: ignore[reportAttributeAccessIssue]
        for module in entries(package).values()
        for name, cls in inspect.getmembers(module, inspect.isclass)
        if issubclass(cls, base) and cls.__module__ == module.__name__
        if not name.startswith("_") and not inspect.isabstract(cls)
    }


def lookup[T](kind: str, name: str, valid: dict[str, T]) -> T:
    """The entry called `name`; another one is refused with the valid names and the nearest."""
    if isinstance(name, str) and name in valid:
        return valid[name]
    raise ConfigError(f"unknown {kind} {shown(name)}.{did_you_mean(name, valid)}")
