"""A case of a user's own programs: `port.py:build` and `port.py:model`, on a table of theirs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import models.programs.adopt as _adopt
from comparisons.runs.user_model import user_program
from comparisons.store.keys import digest, source_digest
from models.data.files import bundled, bundled_names, read
from models.errors import ConfigError
from models.programs.adopt import adopt
from models.programs.adopted.classes import adopt_class

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
        "data": _absolute_data(case.data),
        "columns": list(case.columns),
    }


def adopted(spec: Mapping[str, Any]) -> AdoptedModel:
    """The model of a spec.

    Raises:
        ConcordError: a file, a program, a name or the data cannot be used.
    """
    programs = {name: user_program(*parts(text)) for name, text in spec["programs"].items()}
    frame = None if spec["data"] is None else table(spec["data"], tuple(spec["columns"]))
    model = adopt(**programs, data=frame, names=spec["names"], latent=spec["latent"])
    files = {parts(text)[0] for text in spec["programs"].values()}
    source = source_digest(Path(str(_adopt.__file__)), *sorted(files))
    return model.known_as(model.name, source)


def adopted_class(
    model: Model, source: str | None, columns: tuple[str, ...], latent: Sequence[str]
) -> AdoptedModel:
    """A class of which something is left out, with a table.

    Args:
        model: the class's instance.
        source: a bundled data set or a file; drawn by the class itself if None.
        columns: those to use; all if empty.
        latent: variables to integrate out of the likelihood.

    Raises:
        ConcordError: the table, a name in it, or a program cannot be used.
    """
    found = adopt_class(model, table(source, columns) if source else None, latent=latent)
    return found.known_as(model.name, digest([repr(model), *latent, source_digest(type(model))]))


def table(source: str, columns: tuple[str, ...] = ()) -> pd.DataFrame:
    """A bundled data set or a file, some of its columns if any are named.

    Raises:
        ConfigError: a column that it does not have.
        DataError: the file cannot be read.
    """
    frame = bundled(source) if source in bundled_names() else read(source, columns)
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


def _absolute_data(data: str | None) -> str | None:
    return data if data is None or data in bundled_names() else str(Path(data).absolute())
