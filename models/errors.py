"""Every error the suite raises on purpose: what happened, where, what was expected, what to do."""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
"""Control characters, marks that turn the direction of writing, and bytes that are no text."""
_LONGEST, _LAST = 1_600, 400
"""Characters of a line of a message, and those that its end keeps."""
_NAMES = 30
"""Names that a message lists."""


class ConcordError(Exception):
    """Base of every error raised on purpose; its message is a sentence for the user."""

    def __str__(self) -> str:
        """The message as it can be printed: its end says what to do."""
        return printable(super().__str__())


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
    """Raises all mistakes at once, a line for each, if there are any."""
    if mistakes:
        head = [f"{len(mistakes)} mistakes:"] if len(mistakes) > 1 else []
        raise ConfigError("\n  ".join([*head, *mistakes]))


def did_you_mean(name: object, valid: Iterable[str]) -> str:
    """` Did you mean 'x'? Valid: …`, for the end of a message."""
    names = [text[:80] for text in valid]
    near = get_close_matches(name[:80], names, n=1) if isinstance(name, str) else ()
    hint = f" Did you mean {near[0]!r}?" if near else ""
    more = ", …" if len(names) > _NAMES else ""
    return f"{hint} Valid: {', '.join(names[:_NAMES]) or 'none'}{more}."


def listing(items: Iterable[object], most: int = 12) -> str:
    """The first few of several things, as a message shows them: `'a', 'b', …`."""
    found = list(items)
    return ", ".join(map(repr, found[:most])) + (", …" if len(found) > most else "")


def printable(text: str) -> str:
    """A text whose control characters are escaped, and whose lines are of a length to be read."""
    lines = [_UNSEEN.sub(lambda found: ascii(found[0])[1:-1], one) for one in text.split("\n")]
    return "\n".join(
        line if len(line) <= _LONGEST else f"{line[: _LONGEST - _LAST]} … {line[-_LAST:]}"
        for line in lines
    )


def shown(value: object) -> str:
    """A value that cannot be used, as a message shows it."""
    try:
        text = repr(value)
    except Exception:  # an integer of too many digits, or whatever a user's class raises
        return f"a value of type {type(value).__name__} that is too long to show"
    return text if len(text) <= 80 else f"{text[:79]}…"


def told(error: BaseException) -> str:
    """An error as one line: the message of one of ours, else its type and first line."""
    if isinstance(error, ConcordError):
        return str(error)
    first = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
