"""The form in which each language's program is read, before the two are put to common use."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import final

from jax import Array

from models.errors import ModelError
from models.spec import Model, Values

type Terms = tuple[list[Array], Array, list[Array], list[Array], list[Array]]
"""At one point: the log prior of each parameter, what else the program adds, the elementwise
log-likelihood of each observed site; and, or empty, the gradients of the log prior and of the
log-likelihood, shape (k,), and the log-Jacobian of each parameter."""


@final
@dataclass(frozen=True, eq=False)
class Program:
    """A program's functions of parts, unconstrained arrays by parameter name, in table order.

    Attributes:
        shapes: the shape of each part.
        constrain: parts ↦ values on the natural scale.
        unconstrain: values ↦ parts.
        log_likelihood: parts ↦ one array of terms per observed site, nats.
        log_prior: parts ↦ log π(θ), a scalar; no Jacobian.
        log_jacobian: parts ↦ log |∂θ/∂u|, a scalar.
    """

    shapes: dict[str, tuple[int, ...]]
    constrain: Callable[[Values], Values]
    unconstrain: Callable[[Values], Values]
    log_likelihood: Callable[[Values], list[Array]]
    log_prior: Callable[[Values], Array]
    log_jacobian: Callable[[Values], Array]


def check_names(model: Model, language: str, found: Iterable[str]) -> None:
    """Holds the sites that a program samples against the parameter table.

    Raises:
        ModelError: they are not the same.
    """
    declared = {parameter.name for parameter in model.parameters}
    if declared != set(found):
        raise ModelError(
            f"model {model.name}: the {language} program samples {sorted(found)}, "
            f"the parameter table declares {sorted(declared)}"
        )
