"""Every error the suite raises on purpose: what happened, where, what was expected, what to do."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class ConcordError(Exception):
    """Base of every error raised on purpose; its message is a sentence for the user."""


class DataError(ConcordError, ValueError):
    """The data cannot be used: names the file, row and column, and what would be accepted.

    Attributes:
        columns: the columns of a table that are to blame, where they are known.
    """

    columns: tuple[str, ...] = ()


class ConfigError(ConcordError, ValueError):
    """A setting cannot be used: names its path and the nearest valid value."""


class ModelError(ConcordError):
    """A model breaks its contract: names the check, the site and the first offending point."""


class FitError(ConcordError):
    """A fit could not produce an estimate at all; lesser troubles are an estimate's problems."""


class StoreError(ConcordError):
    """The store cannot read or write: names the path and the free space."""


def refuse(mistakes: Sequence[str]) -> None:
    """Raises all mistakes at once, if there are any.

    Raises:
        ConfigError: one line per mistake.
    """
    if len(mistakes) == 1:
        raise ConfigError(mistakes[0])
    if mistakes:
        lines = "".join(f"\n  {mistake}" for mistake in mistakes)
        raise ConfigError(f"{len(mistakes)} mistakes:{lines}")


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """` Did you mean 'x'? Valid: …`, for the end of a message."""
    names = list(valid)
    near = get_close_matches(name, names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"{hint} Valid: {', '.join(names) or 'none'}."


def told(error: Exception) -> str:
    """An error as one line: the message of one of ours, else its type and first line."""
    if isinstance(error, ConcordError):
        return str(error)
    first = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
