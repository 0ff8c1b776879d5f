"""Content keys: an entry's key changes with every module that it imports, and with no other."""

from __future__ import annotations

import shutil
from pathlib import Path

import grimp
import pytest

from comparisons.runs.programs import user_class
from comparisons.store.keys import Sources, source_digest
from inference.methods.laplace import Laplace
from models.catalogue.gaussian import Gaussian

ROOT = Path(__file__).parents[1]
PACKAGES = ("models", "inference", "comparisons")
REGISTRIES = (
    "models/catalogue",
    "inference/methods",
    "inference/engines",
    "comparisons/claims",
    "comparisons/studies",
    "comparisons/theory",
)
PLUMBING = ("comparisons.store", "comparisons.report", "comparisons.runs")
SCANNED = {
    "comparisons.theory.access": "comparisons.theory.densities",
    "comparisons.theory.samplers": "comparisons.theory.sampling",
}
"""Entries that run whatever stands in a registry."""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("copy")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("*.pyc"))
    return root


def entries(root: Path) -> list[Path]:
    found = (path for name in REGISTRIES for path in sorted((root / name).glob("[!_]*.py")))
    return list(found)


def module(path: Path, root: Path) -> str:
    return ".".join(path.relative_to(root).with_suffix("").parts)


def upstream(graph: grimp.ImportGraph, start: str, *, packages: bool) -> set[str]:
    """Modules that import-linter's graph reaches from one without going through plumbing.

    It knows which package a name comes from, not which of the package's modules: with `packages`
    it goes through all that they import, without through none of it.
    """
    found, waiting = set(), {start}
    while waiting:
        one = waiting.pop()
        found.add(one)
        if is_package(one) and not packages:
            continue
        near = graph.find_modules_directly_imported_by(one)
        if registry := SCANNED.get(one):
            near |= {m for m in graph.find_children(registry) if not graph.find_children(m)}
        waiting |= {m for m in near if not m.startswith(PLUMBING)} - found
    return {one for one in found if not is_package(one)}


def is_package(name: str) -> bool:
    return (ROOT / name.replace(".", "/")).is_dir()


def test_a_touched_module_changes_exactly_the_keys_of_those_who_import_it(copy: Path) -> None:
    graph = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=True, cache_dir=None)
    least, most = (
        {path: upstream(graph, module(path, copy), packages=packages) for path in entries(copy)}
        for packages in (False, True)
    )
    sources = Sources(copy)
    before = {path: sources.digest(path) for path in least}
    assert len(set(before.values())) == len(before)
    for touched in sorted(copy.rglob("*.py")):
        name, text = module(touched, copy), touched.read_text("utf-8")
        if touched.name == "__init__.py":
            continue
        touched.write_text(text + "\n_TOUCHED = True\n", "utf-8")
        sources._known.pop(touched, None)
        changed = {path for path in before if sources.digest(path) != before[path]}
        touched.write_text(text, "utf-8")
        sources._known.pop(touched, None)
        assert {path for path, closure in least.items() if name in closure} <= changed, name
        assert changed <= {path for path, closure in most.items() if name in closure}, name


@pytest.mark.parametrize(
    ("entry", "used", "unused"),
    [
        # each of these once served old numbers, or computed everything anew for nothing
        ("comparisons/claims/label_free.py", "comparisons/policy.py", "comparisons/claims/bic.py"),
        (
            "comparisons/studies/coverage.py",
            "inference/replicates/gaussian_vi.py",
            "comparisons/studies/calibration.py",
        ),
        (
            "comparisons/claims/same_model.py",
            "models/capabilities.py",
            "comparisons/runs/progress.py",
        ),
        ("inference/methods/laplace.py", "inference/estimate.py", "comparisons/claims/bic.py"),
        ("inference/methods/laplace.py", "inference/method.py", "inference/methods/nuts.py"),
    ],
)
def test_what_is_and_what_is_not_in_a_closure(entry: str, used: str, unused: str) -> None:
    closure = Sources().closure(ROOT / entry)
    assert ROOT / used in closure
    assert ROOT / unused not in closure


def test_comments_and_docstrings_change_no_key(tmp_path: Path) -> None:
    path = tmp_path / "entry.py"
    keys = []
    for text in (
        "def f(x):\n    return x + 1\n",
        '"""A title."""\n\n\ndef f(x):\n    """Adds."""\n    # one more\n    return x + 1\n',
        "def f(x):\n    return x + 2\n",
    ):
        path.write_text(text)
        keys.append(Sources().digest(path))
    assert keys[0] == keys[1] != keys[2]


USER = """
from dataclasses import dataclass
from typing import final

import helper
from base import Base
from concord_of_mine.deep import SCALE


@final
@dataclass(frozen=True)
class Mine(Base):
    name = "mine"

    def numpyro(self, data):
        from late import late
"""
BASE = "from models.spec import Model\n\n\nclass Base(Model):\n"
ABSTRACT = ("parameters", "truth", "simulate", "start", "pymc")


def test_a_users_file_counts_with_all_that_it_imports_from_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "mine.py": USER,
        "helper.py": "import second\n",
        "second.py": "",
        "late.py": "late = 1\n",
        "base.py": BASE + "".join(f"    {name} = None\n" for name in ABSTRACT),
        "concord_of_mine/__init__.py": "",
        "concord_of_mine/deep.py": "from .side import SCALE\n",
        "concord_of_mine/side.py": "SCALE = 1.0\n",
        "unrelated.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    cls = user_class(tmp_path / "mine.py", "Mine")
    before = Sources().digest(cls)
    for name, text in files.items():
        (tmp_path / name).write_text(text + "\nTOUCHED = 1\n")
        changed = Sources().digest(cls) != before
        (tmp_path / name).write_text(text)
        assert changed == (name != "unrelated.py"), name


def test_a_draft_beside_a_users_file_may_bear_the_name_of_a_library(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import calendar\n")
    (tmp_path / "calendar.py").write_text("for each month (")
    before = Sources().digest(tmp_path / "mine.py")
    (tmp_path / "calendar.py").write_text("\0")
    assert Sources().digest(tmp_path / "mine.py") != before


def test_the_public_face_leads_to_where_a_name_is_defined(tmp_path: Path) -> None:
    path = tmp_path / "entry.py"
    for text in (
        "import models\nmodel = models.Gaussian()\n",
        "from models import Gaussian as G\nmodel = G()\n",
        "def f():\n    from models import Gaussian\n",
    ):
        path.write_text(text)
        closure = Sources().closure(path)
        assert ROOT / "models/catalogue/gaussian.py" in closure
        assert ROOT / "models/catalogue/gaussian_mixture.py" not in closure


def test_a_class_counts_with_its_file() -> None:
    files = [ROOT / "inference/methods/laplace.py", ROOT / "inference/method.py"]
    assert source_digest(Laplace) == source_digest(*files)
    assert source_digest(Laplace) != source_digest(Gaussian)
