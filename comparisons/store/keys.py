"""Content keys: what a number depends on, as one SHA-256.

A key is the digest of the canonical JSON of settings, of library versions and of an entry's import
closure: the code of every module that the entry's module imports, directly or through others, read
off the syntax trees.  Comments and docstrings change no number and no key.

* `from package import name` leads to the module that defines the name, also where the package
  exports it lazily; a package's `__init__` counts only for what it defines itself.
* A package that a module imports at its head and hands on as a value is a registry that it scans,
  and counts with all of its entries.  One that a function imports is looked names up in.
* Of a user's file, every module that it imports from beside it or from another place that is no
  library counts too.
"""

import ast
import dataclasses
import hashlib
import inspect
import json
import os
import platform
import sys
import sysconfig
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np

from models.errors import ConfigError

LIBRARIES = (
    "arviz",
    "arviz-base",
    "arviz-stats",
    "blackjax",
    "equinox",
    "jax",
    "jaxlib",
    "numba",
    "numpy",
    "numpyro",
    "nutpie",
    "optax",
    "pymc",
    "pytensor",
    "scipy",
    "statsmodels",
    "xarray",
)
"""Distributions whose versions can change a number."""
_ROOT = Path(__file__).parents[2]
_OURS = ("models", "inference", "comparisons", "concord")
_PLUMBING = ("comparisons/store", "comparisons/report", "comparisons/runs")  # makes no number
_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")  # fields that hold statements


def canonical(value: object) -> Any:
    """`value` in plain JSON types, equal for equal values (1 and 1.0 alike)."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if value is None or isinstance(value, bool | int | str | float):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        settings = {f.name: canonical(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"class": type(value).__qualname__, "settings": settings}
    if isinstance(value, Mapping):
        return {str(key): canonical(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [canonical(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((canonical(item) for item in value), key=json.dumps)
    if type(value).__module__.partition(".")[0] in {"numpy", "jax", "jaxlib"}:
        array = np.asarray(value)
        return {"shape": list(array.shape), "values": canonical(array.ravel().tolist())}
    raise ConfigError(
        f"a setting of type {type(value).__name__} has no content key: {value!r:.80}. "
        "Expected numbers, strings, arrays, frozen dataclasses, tuples or mappings of them."
    )


def digest(description: object) -> str:
    """SHA-256 of the canonical JSON of a description, 64 hexadecimal digits."""
    text = json.dumps(canonical(description), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def versions() -> dict[str, str]:
    """Versions of Python, of the processor family and of every library that can change a number."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


class _Name(NamedTuple):
    """A dotted name that a module uses; `level` as in `ast.ImportFrom`."""

    dotted: str
    level: int = 0
    scanned: bool = False  # whether all of it counts, if it is a package


class _Source(NamedTuple):
    digest: str
    names: frozenset[_Name]
    exports: Mapping[str, _Name]  # imports by the name that they bind, also for type checkers


class _File(NamedTuple):
    digest: str
    imported: frozenset[Path]  # files, but for plumbing


@final
class Sources:
    """Import closures within the project, and of users' files, remembered once they are known."""

    def __init__(self, root: Path = _ROOT) -> None:
        """Sources of the project whose packages lie in `root`."""
        self._root = root
        self._packages = tuple(str(root / name) for name in _OURS)
        self._plumbing = tuple(f"{root / room}{os.sep}" for room in _PLUMBING)
        self._known: dict[Path, _File] = {}

    def digest(self, *entries: type | Path) -> str:
        """SHA-256 of the code of the import closures of classes (with their bases) and files."""
        found: dict[str, str] = {}
        for entry in entries:
            if isinstance(entry, Path):
                found.update(self._digests(entry))
                continue
            for cls in entry.__mro__:
                if cls.__module__.partition(".")[0] in sys.stdlib_module_names:
                    continue
                path = _file(cls)
                if path is None:  # a class of a notebook has no file, but its cell is its source
                    found[cls.__qualname__] = _parsed(_cell(cls)).digest
                elif not _library(path) or self._ours(path):
                    found.update(self._digests(path))
        return digest(found)

    def closure(self, path: Path) -> frozenset[Path]:
        """The files that the numbers of a file depend on, itself among them."""
        found: set[Path] = set()
        waiting = {path}
        while waiting:
            one = waiting.pop()
            found.add(one)
            if one not in self._known:
                self._known[one] = self._read(one)
            waiting |= self._known[one].imported - found
        return frozenset(found)

    def _read(self, path: Path) -> _File:
        code, ours = _parsed(_text(path)), self._ours(path)
        imported: set[Path] = set()
        for name in code.names:
            if not ours or name.level or name.dotted.startswith(_OURS):
                imported.update(self._resolved(name, path))
        plumbing = {one for one in imported if str(one).startswith(self._plumbing)}
        return _File(code.digest, frozenset(imported - plumbing))

    def _digests(self, path: Path) -> Iterator[tuple[str, str]]:
        for one in self.closure(path):
            name = str(one.relative_to(self._root)) if self._ours(one) else one.name
            yield name, self._known[one].digest

    def _ours(self, path: Path) -> bool:
        return str(path).startswith(self._packages)

    def _resolved(self, name: _Name, importer: Path) -> list[Path]:
        """The files that a name leads to; none if it is a library's."""
        parts = name.dotted.split(".") if name.dotted else []
        if name.level:
            bases = [importer.parents[name.level - 1]]
        elif parts[0] in _OURS:
            bases = [self._root]
        else:
            bases = [] if self._ours(importer) else [importer.parent, *_places()]
        return next(filter(None, (list(self._below(b, parts, name.scanned)) for b in bases)), [])

    def _below(self, base: Path, parts: list[str], scanned: bool) -> Iterator[Path]:
        folder = base
        for part in parts:
            init = folder / "__init__.py"
            if (folder / part / "__init__.py").is_file():
                folder /= part
                if not self._ours(folder):  # a user's package may do anything when imported
                    yield folder / "__init__.py"
            elif (folder / f"{part}.py").is_file():
                yield folder / f"{part}.py"
                return
            elif init.is_file() and not part.startswith("__"):
                export = _parsed(_text(init)).exports.get(part)
                yield from [init] if export is None else self._resolved(export, init)
                return
            else:
                return
        if scanned:
            yield from (path for path in folder.glob("*.py") if path.name != "__init__.py")


source_digest = Sources().digest  # `Sources.digest` of this installation


def _file(cls: type) -> Path | None:
    try:
        path = Path(inspect.getfile(cls))
    except (OSError, TypeError):
        return None
    return path if path.is_file() else None


def _cell(cls: type) -> str:
    try:
        return textwrap.dedent(inspect.getsource(cls))
    except (OSError, TypeError) as error:
        raise ConfigError(
            f"{cls.__qualname__} has no source that could be hashed, so its fits cannot be kept. "
            "Define it in a file, or use a Case without a store."
        ) from error


def _library(path: Path) -> bool:
    standard = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")]
    installed = {"site-packages", "dist-packages"} & set(path.parts)
    return bool(installed) or any(path.is_relative_to(folder) for folder in standard)


def _places() -> list[Path]:
    """Where a user's file may import from, but for libraries."""
    places = [Path(place).absolute() for place in sys.path]
    return [place for place in places if place.is_dir() and not _library(place)]


def _text(path: Path) -> str:
    return path.read_text("utf-8", errors="replace")


@cache
def _parsed(text: str) -> _Source:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):  # nobody imports it: it bears the name of what somebody does
        return _Source(hashlib.sha256(text.encode()).hexdigest(), frozenset(), {})
    exports = {alias: name for alias, name, _ in _imports(tree.body, types=True)}
    imports = list(_imports(tree.body))
    known = {alias: name._replace(scanned=head) for alias, name, head in imports}
    names = {name for _, name, _ in imports} | set(_used(tree, known))
    code = ast.dump(_Stripped().visit(tree))
    return _Source(hashlib.sha256(code.encode()).hexdigest(), frozenset(names), exports)


class _Stripped(ast.NodeTransformer):
    """Removes docstrings, also those of attributes."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        match node.value:
            case ast.Constant(str()):
                return None
        return node


def _imports(
    body: Iterable[ast.stmt], *, types: bool = False, head: bool = True
) -> Iterator[tuple[str, _Name, bool]]:
    """Imports, also for type checkers if asked: (name here, what it is, if at the head)."""
    for statement in body:
        match statement:
            case ast.Import(names):
                for one in names:
                    yield one.name, _Name(one.name), head
                    top = one.name.partition(".")[0]
                    yield one.asname or top, _Name(one.name if one.asname else top), head
            case ast.ImportFrom(module, names, level):
                for one in names:
                    dotted = f"{module}.{one.name}" if module else one.name
                    yield one.asname or one.name, _Name(dotted, level), head
            case ast.If(ast.Name("TYPE_CHECKING"), inside, otherwise):
                yield from _imports(
                    [*(inside if types else ()), *otherwise], types=types, head=head
                )
            case _:
                function = isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef)
                for block in _BLOCKS:
                    inside = getattr(statement, block, ())
                    yield from _imports(inside, types=types, head=head and not function)


def _used(node: ast.AST, known: Mapping[str, _Name]) -> Iterator[_Name]:
    """The imported names that code uses, each with all of its attributes."""
    attributes, root = [], node
    while isinstance(root, ast.Attribute):
        attributes.append(root.attr)
        root = root.value
    if isinstance(root, ast.Name) and root.id in known:
        name = known[root.id]
        yield name._replace(dotted=".".join([name.dotted, *reversed(attributes)]))
        return
    for child in ast.iter_child_nodes(node):
        yield from _used(child, known)
