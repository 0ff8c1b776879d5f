"""The public face of Concord: `import concord as cc`.

Names are loaded when they are first used, so that importing costs next to nothing, and importing
changes nothing: no flag of JAX, PyTensor or ArviZ, no environment variable.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import comparisons as comparisons
    import inference as inference
    import models as models
    from comparisons import *  # noqa: F403  pyright: ignore[reportWildcardImportFromLibrary]
    from inference import *  # noqa: F403  pyright: ignore[reportWildcardImportFromLibrary]
    from models import *  # noqa: F403  pyright: ignore[reportWildcardImportFromLibrary]

_PACKAGES = ("models", "inference", "comparisons")


def _shadowed() -> str:
    """Which package of another project stands in the place of ours, and what to do; "" if none."""
    here = Path(__file__).resolve().parent
    for name in _PACKAGES:
        spec = find_spec(name)
        origin = spec.origin if spec else None
        if origin is None and spec and spec.submodule_search_locations:
            origin = str(Path(next(iter(spec.submodule_search_locations))) / "__init__.py")
        if origin is None or Path(origin).resolve().parent.parent != here:
            found = f"{origin} is imported in its place" if origin else "it is not there"
            return (
                f"Concord's package `{name}` is {here / name}, but {found}: its folder comes "
                f"first in sys.path. Start Python in another folder, or rename that `{name}`."
            )
    return ""


if _problem := _shadowed():
    raise ImportError(_problem)

try:
    __version__ = version("concord")
except PackageNotFoundError:  # run from its sources, not installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> object:
    """A public name of one of the three packages, or a package itself."""
    if name in _PACKAGES:
        return import_module(name)
    if not name.startswith("_"):
        packages = [import_module(package) for package in _PACKAGES]
        # those that list the name come first: else every registry would be scanned for it
        for package in sorted(packages, key=lambda package: name not in package.__all__):
            if name in package.__all__ or name[0].isupper():
                try:
                    return getattr(package, name)
                except AttributeError:
                    continue
    raise AttributeError(f"module 'concord' has no attribute {name!r}; see dir(concord)")


def __dir__() -> list[str]:
    """Every public name."""
    names = {name for package in map(import_module, _PACKAGES) for name in package.__all__}
    return sorted({*_PACKAGES, *names, "__version__"})
