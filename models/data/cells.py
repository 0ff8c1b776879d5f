"""A column of cells, as people write numbers, to numbers: one reading for all of its cells.

Decimal points or commas, separators of thousands, percent, units, currency signs, the digits and
signs of other scripts, Fortran's exponents.  What can be read in two ways is refused, and so are
codes that seem to stand for missing values: a number that is meant is written with an exponent.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, final

import numpy as np

from models.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

MISSING = frozenset({"", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"})

_SAME = {
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d", "-"),
    **dict.fromkeys("\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009", " "),
    **dict.fromkeys("\u200a\u202f\u205f\u3000", " "),
    **dict.fromkeys("\u2018\u2019\u02bc", "'"),
    **{"\u066b": ".", "\uff0e": ".", "\uff0c": ",", "\u066c": "'", "\uff0b": "+"},
    **{"\uff05": "%", "\u066a": "%"},
}
_SHARES = {"%": -2, "‰": -3}
_CURRENCY = (
    "(?:[A-Z]{0,2}[$£¥\u20a0-\u20cf\uff04\uffe1\uffe5]|(?:USD|EUR|GBP|JPY|CHF|CNY|INR)(?= ))"
)
_CELL = re.compile(
    rf"(?![+-]\W*-)(?P<sign>[+-]?) ?(?P<before>{_CURRENCY})? ?(?P<minus>-?)"
    r"(?P<digits>\d+(?:[ '.,]\d+)*[.,]?|[.,]\d+)(?:[eEdD](?P<power>[+-]?\d{1,4}))?"
    r"(?P<after> ?(?![xX]\d)(?:[^\W\d_]|[%‰$\"'\u00a2-\u00a5\u00b0\u00b5\u20a0-\u20cf])\S{0,15})?"
)
_DIGITS = {
    decimal: re.compile(
        rf"(?P<whole>[1-9]\d{{0,2}}(?P<mark>[{thousands} '])\d{{3}}(?:(?P=mark)\d{{3}})*|{more}\d*)"
        rf"(?:[{decimal}](?P<fraction>\d*))?"
    )
    for decimal, thousands, more in ((".", ",", r"[1-9]\d?(?:,\d\d)+,\d{3}|"), (",", ".", ""))
}
"""A number by its decimal mark, its thousands separated by one mark throughout or by none, or as in
India, 1,00,000."""
_DATE = re.compile(r"\d{1,4}([-/.])\d{1,2}\1\d{1,4}([T ].*)?")
_DOTTED = re.compile(r"[1-9]\d{0,2}(\.\d{3})+")
_EXPONENT = re.compile("[eEdD]")
"""A mark of a number that is meant."""
_CODES = {-1, -9, -(2**15), -(2**31), 2**15 - 1, 2**31 - 1}
_FAR, _NEAR, _FEW = 2, 0.5, 5
"""A code is so many ranges away from others, or so few from 999 on; so few rows have no total."""


@final
class Cells(NamedTuple):
    """A column as it stands in a file: its number from 1, the lines and texts of its cells."""

    path: object
    name: str
    number: int
    lines: Sequence[int]
    texts: Sequence[str]

    def error(self, row: int, told: str) -> DataError:
        """An error that begins with `path:line:column: column 'name'`."""
        return DataError(f"{self.path}:{self.lines[row]}:{self.number}: column {self.name!r}{told}")

    def short(self, row: int) -> str:
        """A cell as a message shows it."""
        return repr(self.texts[row][:40])


@final
class Column(NamedTuple):
    """A column as it was read.

    Attributes:
        values: int64, float64 with NaN where missing, or text with None where missing.
        notes: how, where its cells are not plain.
        decimal: the decimal mark, where there is one.
    """

    values: np.ndarray
    notes: tuple[str, ...] = ()
    decimal: str = ""


def is_number(cell: str) -> bool:
    """Whether a cell is a number without a unit, with either decimal mark."""
    found = _written(_plain(cell))
    return found is not None and _unit(found) == ("", "")


def read_column(cells: Cells, *, required: bool) -> Column:
    """A column of numbers, or of text where most cells are none.

    Raises:
        DataError: a cell cannot be read, or in more than one way; a required one is missing.
    """
    absent = np.array([text in MISSING for text in cells.texts])
    if required:
        refuse_missing(cells, absent)
    if absent.all():
        return Column(np.full(absent.size, np.nan))
    found = _exactly(cells.texts, absent) or _as_written(cells, absent)
    if found.values.dtype == object or _are_dates(found.values):
        return _text(cells, required=required)
    _refuse_codes(cells, found.values)
    _refuse_sum(cells, found.values)
    return found


def refuse_missing(cells: Cells, missing: np.ndarray) -> None:
    """Refuses a column of which cells are missing."""
    if count := int(missing.sum()):
        values = f"{count} missing value{'s' if count > 1 else ''}"
        told = f" has {values}, the first one here; expected none: drop or impute them"
        raise cells.error(int(np.argmax(missing)), told)


def pointed(text: str) -> bool:
    """Whether a cell is a number with a point that cannot separate thousands."""
    found = _written(_plain(text)) if "." in text else None
    return bool(found and (found["power"] or not _DOTTED.fullmatch(found["digits"])))


def refuse_thousands(cells: Cells) -> None:
    """Refuses a column of 1.234 in a file whose numbers may have, or do have, decimal commas."""
    if not any(map(pointed, cells.texts)):
        for i, text in enumerate(cells.texts):
            if "." in text:
                raise _ambiguous(cells, i)


def _exactly(texts: Sequence[str], absent: np.ndarray) -> Column | None:
    """The column as Python reads it; None if a cell is anything but a plain number."""
    if any("_" in text or not text.isascii() for text in texts):
        return None
    try:
        values = [np.nan if gone else float(t) for t, gone in zip(texts, absent, strict=True)]
    except ValueError:
        return None
    if not np.isfinite(np.array(values)[~absent]).all():
        return None
    return Column(_narrowed(texts, values))


def _narrowed(texts: Sequence[str], values: list[float]) -> np.ndarray:
    """Values as int64, if all of their texts are integers."""
    try:
        return np.array([int(text) for text in texts], dtype=np.int64)
    except (ValueError, OverflowError):
        return np.array(values)


def _plain(cell: str) -> str:
    """A cell with the digits, signs and spaces of ASCII."""
    if cell.isascii():
        return cell
    return "".join(
        str(unicodedata.decimal(c)) if c.isdecimal() else _SAME.get(c, c) for c in cell
    ).strip()


def _as_written(cells: Cells, absent: np.ndarray) -> Column:
    """The column by the one way in which people write all of its numbers; else as text."""
    plain = {i: _plain(cells.texts[i]) for i in np.flatnonzero(~absent).tolist()}
    found = {i: match for i, text in plain.items() if (match := _written(text))}
    units = Counter(map(_unit, found.values()))
    unit, count = units.most_common(1)[0] if units else (("", ""), 0)
    if 2 * count <= len(plain):
        return Column(np.array(cells.texts, dtype=object))
    for i in plain:
        if i not in found:
            raise _no_number(cells, i)
        if (other := _unit(found[i])) != unit:
            both = " and ".join(f"{''.join(one) or 'no unit'}" for one in (unit, other))
            told = f": {cells.short(i)}: some cells have {both}; bring all to one unit"
            raise cells.error(i, told)
    decimal, numbers = _decimal(cells, {i: match["digits"] for i, match in found.items()})
    texts, values = [""] * absent.size, [np.nan] * absent.size
    for i, match in found.items():
        exponent = int(match["power"] or 0) + _SHARES.get(unit[1], 0)
        texts[i] = ("-" if "-" in match["sign"] + match["minus"] else "") + numbers[i]
        texts[i] += f"e{exponent}" if exponent or match["power"] else ""
        values[i] = float(texts[i])
        if np.isinf(values[i]):
            raise cells.error(i, f": {cells.short(i)} is beyond the range of float64")
    first = next(iter(found))
    example = f"{cells.texts[first][:40]} is {values[first]:g}"
    notes = _notes(found, cells, unit, decimal, example)
    return Column(_narrowed(texts, values), notes, decimal)


def _written(text: str) -> re.Match[str] | None:
    """The parts of a number that can be read with one decimal mark at least; no ½ is a unit."""
    found = _CELL.fullmatch(text)
    if not found or _unit(found)[1][:1].isnumeric():
        return None
    return found if any(_number(found["digits"], mark) for mark in ".,") else None


def _unit(found: re.Match[str]) -> tuple[str, str]:
    return found["before"] or "", (found["after"] or "").strip()


def _decimal(cells: Cells, digits: dict[int, str]) -> tuple[str, dict[int, str]]:
    """The only decimal mark by which all numbers can be read, and the numbers by it."""
    point, comma = ({i: _number(d, mark) for i, d in digits.items()} for mark in ".,")
    no_points, no_commas = ([i for i in digits if not read[i]] for read in (point, comma))
    if no_points and no_commas:
        raise _no_number(cells, min(no_points, no_commas, key=len)[0])
    if no_points:
        return ",", comma
    for i in digits if not no_commas else ():
        if "," in digits[i] and float(point[i]) != float(comma[i]):
            raise _ambiguous(cells, i)
    return ".", point


def _number(digits: str, decimal: str) -> str:
    """Digits with that decimal mark as Python writes them; "" if they are no such number."""
    found = _DIGITS[decimal].fullmatch(digits)
    if not found:
        return ""
    fraction = "" if found["fraction"] is None else f".{found['fraction']}"
    return (re.sub(r"\D", "", found["whole"]) or "0") + fraction


def _notes(
    found: dict[int, re.Match[str]], cells: Cells, unit: tuple[str, str], decimal: str, example: str
) -> tuple[str, ...]:
    """How the numbers of a column are written, where that is not plain."""
    thousands = "[ ',]" if decimal == "." else "[ '.]"
    changed = [cells.texts[i] for i, one in found.items() if one.string != cells.texts[i]]
    told = {
        "decimal commas": decimal == ",",
        "separators of thousands": any(re.search(thousands, m["digits"]) for m in found.values()),
        f"{unit[1]} as shares ({example})": unit[1] in _SHARES,
        f"the unit {''.join(unit)!r} left out": any(unit) and unit[1] not in _SHARES,
        "exponents with D": any(re.search(r"\d[dD][+-]?\d", m.string) for m in found.values()),
        "digits or signs that are not of ASCII": not all(
            (text[0] + text[-1]).isascii() for text in changed
        ),
    }
    return tuple(text for text, holds in told.items() if holds)


def _no_number(cells: Cells, row: int) -> DataError:
    infinite = cells.texts[row].strip("+-").lower() in ("inf", "infinity")
    return cells.error(
        row,
        f": {cells.short(row)} is not a {'finite number' if infinite else 'number'}, as most cells "
        "of this column are; correct it, or leave it empty if it is missing",
    )


def _ambiguous(cells: Cells, row: int) -> DataError:
    text = cells.texts[row][:40]
    digits, point = (re.sub(r"[.,]", mark, text) for mark in ("", "."))
    more = f"{point}0" if point == text else point
    told = f": {cells.short(row)} may be {point} or {digits}; write {more} or {digits} everywhere"
    return cells.error(row, told)


def _are_dates(values: np.ndarray) -> bool:
    """Whether whole numbers are dates, year, month and day in eight digits."""
    if values.dtype.kind != "i" or values.min() < 18000101 or values.max() > 21991231:
        return False
    try:
        return all(datetime.strptime(str(value), "%Y%m%d") for value in np.unique(values)[:100])
    except ValueError:
        return False


def _text(cells: Cells, *, required: bool) -> Column:
    present = {i: text for i, text in enumerate(cells.texts) if text not in MISSING}
    if required and all(_DATE.fullmatch(text) or text.isdecimal() for text in present.values()):
        first = next(iter(present))
        raise cells.error(
            first,
            f": holds dates such as {present[first]!r}; expected numbers or labels: write days "
            "since a date, or choose another column",
        )
    return Column(np.array([text or None for text in cells.texts], dtype=object))


def _refuse_codes(cells: Cells, values: np.ndarray) -> None:
    """Refuses 99, −999 and the like apart from all other values, and −1 among those above 0."""
    known = np.unique(values[np.isfinite(values)])
    coded = np.array([_is_code(value) for value in known.tolist()], dtype=bool)
    if not coded.any() or np.count_nonzero(~coded) < 2:
        return
    low, high = known[~coded][[0, -1]]
    ranges = np.where(np.abs(known) < 999, _FAR, _NEAR) * (high - low)
    far = np.maximum(low - known, known - high) > ranges
    negative = (known < 0) & (low >= (known >= -9))
    for i in np.flatnonzero(np.isin(values, known[coded & (far | negative)])).tolist():
        text = cells.texts[i]
        if not _EXPONENT.search(text):
            count = int((values == values[i]).sum())
            raise cells.error(
                i,
                f": {text} in {count} of {values.size} rows, apart from the rest ({low:g} … "
                f"{high:g}): a code for missing? Then delete those rows, or choose other columns "
                f"with --column; if it is a number, write {text}e0",
            )


def _is_code(value: float) -> bool:
    digits = f"{abs(value):.10g}".replace(".", "")
    repeated = len(digits) > 1 and len(set(digits)) == 1 and digits[0] in "789"
    return repeated or value in _CODES


def _refuse_sum(cells: Cells, values: np.ndarray) -> None:
    """Refuses a last value that is the sum of those above."""
    above, last, text = np.abs(values[:-1]), values[-1], cells.texts[-1]
    few = np.count_nonzero(above) < _FEW
    if few or not np.isfinite(values).all() or _EXPONENT.search(text):
        return
    total = float(np.sum(values[:-1], dtype=float))
    if abs(last) > above.max() and abs(last - total) <= 1e-9 * abs(total):
        raise cells.error(
            values.size - 1,
            f": {text} is the sum of the {above.size} values above: a total? Then delete the row; "
            f"if it is one of them, write {text}e0",
        )
