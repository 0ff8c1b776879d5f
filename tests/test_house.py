"""The house keeps its own rules: sizes, docstrings, words, and one public face."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("models", "inference", "comparisons")
LINES_OF_A_FUNCTION, LINES_OF_A_FILE = 50, 400
LINES_IN_ALL = 33_192
"""The goal is 25,000: a change may lower this, and none may raise it."""
ARGUMENTS = 4
"""A public function with so many arguments says what each of them is."""


@cache
def files() -> dict[str, str]:
    """The source of every product file, by its path from the root."""
    paths = [ROOT / "concord.py", *(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))]
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in sorted(paths)}


def functions() -> list[tuple[str, ast.FunctionDef]]:
    """Every function of the product, as (place, definition)."""
    return [
        (f"{path}:{node.lineno} {node.name}", node)
        for path, source in files().items()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef)
    ]


def arguments(node: ast.FunctionDef) -> list[str]:
    names = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    return [name for name in names if name not in ("self", "cls")]


def documented_elsewhere(node: ast.FunctionDef) -> bool:
    """A method is documented where it is declared; a command by the help of its options."""
    commands = {"app.command", "app.callback"}
    return not ast.get_docstring(node) or any(
        isinstance(decorator, ast.Call) and ast.unparse(decorator.func) in commands
        for decorator in node.decorator_list
    )


def test_functions_are_short() -> None:
    long = [
        place
        for place, node in functions()
        if (node.end_lineno or 0) - node.lineno + 1 > LINES_OF_A_FUNCTION
    ]
    assert not long


def test_files_are_short_and_the_whole_stays_within_its_budget() -> None:
    lines = {path: source.count("\n") for path, source in files().items()}
    assert not {path: count for path, count in lines.items() if count > LINES_OF_A_FILE}
    assert sum(lines.values()) <= LINES_IN_ALL


def test_docstrings_say_what_an_argument_is() -> None:
    silent = [
        place
        for place, node in functions()
        if not node.name.startswith("_")
        and len(arguments(node)) >= ARGUMENTS
        and not documented_elsewhere(node)
        and "Args:" not in (ast.get_docstring(node) or "")
    ]
    assert not silent


def test_docstrings_do_not_begin_with_of_or_what() -> None:
    begun = [
        f"{path}: {text.splitlines()[0]}"
        for path, source in files().items()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        if (text := ast.get_docstring(node)) and text.split(maxsplit=1)[0] in ("Of", "What")
    ]
    assert not begun


def test_no_private_module_is_imported_from_outside_of_its_folder() -> None:
    trespassing = []
    for path, source in files().items():
        home = ".".join(Path(path).parent.parts)
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and node.module:
                modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            else:
                continue
            for module in modules:
                if module.split(".")[0] not in ROOMS:
                    continue
                parts = module.split(".")
                private = [i for i, part in enumerate(parts) if part.startswith("_")]
                if private and ".".join(parts[: private[0]]) != home:
                    trespassing.append(f"{path}: {module}")
    assert not trespassing


def test_importing_the_public_face_loads_nothing_and_changes_nothing() -> None:
    script = (
        "import os, sys, time; before = dict(os.environ); began = time.perf_counter()\n"
        "import concord as cc\n"
        "loaded = {'jax', 'numpyro', 'pymc', 'arviz', 'pandas', 'xarray'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
        "assert dict(os.environ) == before\n"
        "assert cc.__version__[0].isdigit()\n"
        "assert not {name for name in dir(cc) if not hasattr(cc, name)}\n"
        "import jax; assert not jax.config.jax_enable_x64\n"
    )
    plain = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, cwd=ROOT, env=plain)


def test_a_shadowing_package_is_named(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "__init__.py").touch()
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.append({str(ROOT)!r}); import concord"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert str(tmp_path / "models" / "__init__.py") in done.stderr.splitlines()[-1]
    assert "rename" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_documents_name_public_modules_only(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.lstrip().startswith(("from ", "import "))]
    assert not [line for line in lines if "._" in line]
