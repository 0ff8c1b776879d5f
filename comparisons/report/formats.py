"""Numbers and names as a reader sees them: as many digits as the error bears out."""

import math
import re
import unicodedata
from collections.abc import Iterable

_MINUS = re.compile(r"(?<![\w.)\[\]-])-(?=[\d.∞])|(?<=\de)-(?=\d)")
_OPG = re.compile(r"\bopg\b(?!\])")
_NOTHING = 1e-8  # an error far below any size that prints
_SHORTEST = 0.001  # seconds
_LONGEST = 160  # characters of a name or a sentence: a hostile one must not fill a page


def number(value: float, error: float = 0.0) -> str:
    """A number with two digits of its error, or four of its own where that is 0 or NaN."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if isinstance(value, int):
        return readable(f"{value:,}")
    exact = value == 0 and error < _NOTHING
    return "0" if exact else readable(format(value, _format(value, error)))


def with_error(value: float, error: float) -> str:
    """`3.142 ± 0.016`; the number alone where it has no error."""
    shown = number(value, error)
    if not math.isfinite(value) or not 0 < error < math.inf:
        return shown
    pattern = _format(value, error)
    return f"{shown} ± {readable(format(error, pattern if pattern.endswith('f') else '.1e'))}"


def _format(value: float, error: float) -> str:
    if not 0 < error < math.inf:
        return ".4g"
    size = max(abs(value), error)
    if not 1e-4 <= size < 1e6 or error < 1e-8:
        return f".{max(0, math.floor(min(8, math.log10(size / error)))) + 1}e"
    return f".{max(0, 1 - math.floor(math.log10(error)))}f"


def estimate(value: float, error: float, scale: float) -> str:
    """A number with its error; an exact one with digits down to a hundredth of its scale."""
    return with_error(value, error) if error > 0 else number(value, scale / 10)


def seconds(value: float) -> str:
    """A duration in seconds: two digits below ten seconds, none above."""
    if value < _SHORTEST:
        return f"< {_SHORTEST:g}"
    return "–" if math.isnan(value) else f"{value:.2g}" if value < 10 else f"{value:,.0f}"


def readable(text: str) -> str:
    """Text with minus signs before its numbers, and without names of our own for things."""
    return _OPG.sub("outer-product (OPG)", _MINUS.sub("−", text))


def listed(names: Iterable[str]) -> str:
    """Names in a row, of more than four the first three."""
    every = list(names)
    more = f" and {len(every) - 3} more" if len(every) > 4 else ""
    return ", ".join(every[:3] if more else every) + more


def percent(share: float) -> str:
    """A share in percent."""
    return "–" if math.isnan(share) else f"{100 * share:.1f} %"


def visible(text: str) -> str:
    """Text whose control and direction characters are spelled out instead of obeyed."""
    if text.isprintable():
        return text
    hidden = ("Cc", "Cf", "Cs", "Co")
    return "".join(
        f"\\u{ord(one):04x}" if one not in "\n\t" and unicodedata.category(one) in hidden else one
        for one in text
    )


def short(text: str, length: int = _LONGEST) -> str:
    """Visible text of at most `length` characters, with an ellipsis where it was cut."""
    return visible(text if len(text) <= length else text[: length - 1] + "…")
