"""Every method there is, from its two registries: exact solvers, then the libraries' own fits."""

import inference.engines
import inference.methods
from inference.method import Method
from models.registry import subclasses


def catalogue() -> dict[str, type[Method]]:
    """Every method's class by its name."""
    registries = (inference.methods, inference.engines)
    return {
        name: cls for registry in registries for name, cls in subclasses(registry, Method).items()
    }
