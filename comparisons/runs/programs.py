"""A case of a user's own programs: `port.py:build` and `port.py:model`, on a table of theirs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import models.programs.adopt as _adopt
from comparisons.runs import supervisor
from comparisons.runs.user_model import user_program
from comparisons.store.keys import digest, source_digest
from models.capabilities import HasOwnPrograms
from models.data.files import bundled_names
from models.data.load import opened
from models.errors import ConcordError, ConfigError, ModelError
from models.programs.adopt import adopt
from models.programs.adopted.classes import adopt_class

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pandas as pd

    from comparisons.runs.settings import CaseSettings
    from models.programs.adopted.model import AdoptedModel
    from models.spec import Model


def programs_spec(case: CaseSettings) -> dict[str, Any]:
    """How to adopt the programs of a case in any process, in plain JSON types.

    Raises:
        ConfigError: a program is not named as `file.py:name`.
    """
    given = {"pymc": case.pymc, "numpyro": case.numpyro}
    return {
        "programs": {name: _absolute(text) for name, text in given.items() if text},
        "names": dict(case.names),
        "latent": list(case.latent),
        "data": case.data and absolute_data(case.data),
        "columns": list(case.columns),
    }


def guarded[T](stage: str, attempt: Callable[[], T]) -> T:
    """Runs a user's code as a stage of a check, within its limit of time.

    Args:
        stage: what the stage of a check is called, which errors begin with.
        attempt: what is tried.

    Raises:
        ConcordError: it raised; names the line of the user's file, where it is one's.
    """
    try:
        with supervisor.stage(f"the stage {stage!r}"):
            return attempt()
    except ConcordError as error:
        raise type(error)(f"{stage}: {error}") from error
    except (Exception, SystemExit) as error:  # whatever a user's program raises
        place = supervisor.raised_at(error)
        where = f" (at {place})" if place else ""
        raise ModelError(f"{stage}: {type(error).__name__}: {error}{where}") from error


def adopted(spec: Mapping[str, Any]) -> AdoptedModel:
    """The model of a spec.

    Raises:
        ConcordError: a file, a program, a name or the data cannot be used.
    """
    programs = {name: user_program(*parts(text)) for name, text in spec["programs"].items()}
    frame = None if spec["data"] is None else table(spec["data"], tuple(spec["columns"]))
    matching = {"names": spec["names"], "latent": spec["latent"]}
    model = guarded("programs", lambda: adopt(**programs, data=frame, **matching))
    files = {parts(text)[0] for text in spec["programs"].values()}
    source = source_digest(Path(str(_adopt.__file__)), *sorted(files))
    return model.known_as(model.name, digest([model.source, source]))


def adopted_class(model: Model, spec: Mapping[str, Any]) -> AdoptedModel:
    """A class of which something is left out, with a table.

    Args:
        model: the class's instance.
        spec: `data`, a bundled data set or a file, None for data that the class draws; the
            `columns` to use, all if empty; `latent`, to be integrated out of the likelihood.

    Raises:
        ConcordError: the table, a name in it, or a program cannot be used.
    """
    source, latent = spec["data"], spec["latent"]
    frame = table(source, tuple(spec["columns"])) if source else None
    found = guarded("programs", lambda: adopt_class(model, frame, latent=latent))
    return found.known_as(model.name, digest([repr(model), *latent, source_digest(type(model))]))


def at_truth(model: Model, truth: Mapping[str, Any] | None) -> Model:
    """The model at a truth.

    Args:
        model: the model.
        truth: values of some parameters; the model's own for the rest, and if None or empty.

    Raises:
        ConfigError: there is no such parameter, it has another shape, or the model has a truth of
            its own.
    """
    if not truth:
        return model
    if not isinstance(model, HasOwnPrograms):
        raise ConfigError(
            f"a truth can be given for your own programs; {model.name} is studied at its own: "
            "define `truth` in a class derived from it"
        )
    return model.known_as(model.name, model.source, truth)


def table(source: str, columns: tuple[str, ...] = ()) -> pd.DataFrame:
    """A bundled data set or a file, some of its columns if any are named.

    Raises:
        ConfigError: a column that it does not have.
        DataError: the file cannot be read.
    """
    frame = opened(source, columns)
    return frame[list(columns)] if columns else frame


def parts(reference: str) -> tuple[Path, str]:
    """The file and the name of `file.py:name`.

    Raises:
        ConfigError: it is not of that form.
    """
    path, _, name = reference.rpartition(":")
    if not path.endswith(".py") or not name:
        raise ConfigError(f"{reference}: name a file and what is in it, as in port.py:model")
    return Path(path), name


def _absolute(reference: str) -> str:
    path, name = parts(reference)
    return f"{path.absolute()}:{name}"


def absolute_data(data: str) -> str:
    """The same reference to data from any working directory."""
    return data if data in bundled_names() else str(Path(data).absolute())
