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
from typing import NamedTuple, final

import numpy as np

from models.errors import DataError

MISSING = frozenset({"", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"})

_SAME = {
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d", "-"),
    **dict.fromkeys("\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009", " "),
    **dict.fromkeys("\u200a\u202f\u205f\u3000", " "),
    **dict.fromkeys("\u2018\u2019\u02bc", "'"),
    **{"\u066b": ".", "\uff0e": ".", "\uff0c": ",", "\u066c": "'", "\uff0b": "+"},
    **{"\uff05": "%", "\u066a": "%", "\u200e": "", "\u200f": "", "\ufeff": "", "\u200b": ""},
}
_SHARES = {"%": -2, "‰": -3}
_CURRENCY = (
    "(?:[A-Z]{0,2}[$£¥\u20a0-\u20cf\uff04\uffe1\uffe5]|(?:USD|EUR|GBP|JPY|CHF|CNY|INR)(?= ))"
)
_CELL = re.compile(
    rf"(?P<sign>[+-]?) ?(?P<before>{_CURRENCY})? ?(?P<minus>-?)"
    r"(?P<digits>\d+(?:[ '.,]\d+)*[.,]?|[.,]\d+)(?:[eEdD](?P<power>[+-]?\d{1,4}))?"
    r"(?P<after> ?(?:[^\W\d_]|[%‰$\"'\u00a2-\u00a5\u00b0\u00b5\u20a0-\u20cf])\S{0,15})?"
)
_DATE = re.compile(r"\d{1,4}([-/.])\d{1,2}\1\d{1,4}([T ].*)?")
_DOTTED = re.compile(r"[1-9]\d{0,2}(\.\d{3})+")
_TOTAL = re.compile(
    r"((grand|sub)[ -]?)?(total|totals|sum|sums|mean|average|summe|gesamt|somme|moyenne|totaal)\W*",
    re.IGNORECASE,
)
_CODES = {-1, -9, -(2**15), -(2**31), 2**15 - 1, 2**31 - 1}
_FAR, _FEW = 2, 5
"""A code is so many ranges away from the others; so few rows have no total."""


@final
class Place(NamedTuple):
    """Where a column stands: the file, its name, its number and the line of each row."""

    path: object
    name: str
    number: int
    lines: list[int]

    def at(self, row: int) -> str:
        """`path:line:column: column 'name'`, the start of a message."""
        return f"{self.path}:{self.lines[row]}:{self.number}: column {self.name!r}"


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
    found = _CELL.fullmatch(_plain(cell))
    return found is not None and not found["after"] and not found["before"]


def read_column(place: Place, cells: list[str], *, required: bool) -> Column:
    """A column of numbers, or of text where most cells are none.

    Args:
        place: where it stands.
        cells: its cells, without the spaces around them.
        required: whether it is one of those that were asked for, of which no cell may be missing.

    Raises:
        DataError: a cell cannot be read, or in more than one way; a required one is missing.
    """
    absent = np.array([cell in MISSING for cell in cells])
    if required and absent.any():
        raise DataError(missing_text(place.at(int(np.argmax(absent))), absent))
    if absent.all():
        return Column(np.full(len(cells), np.nan))
    found = _exactly(cells, absent)
    if found is None:
        found = _as_written(place, cells, absent)
    if found.values.dtype == object or _are_dates(found.values):
        return _text(place, cells, required=required)
    _refuse_codes(place, cells, found.values)
    _refuse_total(place, cells, found.values)
    return found


def missing_text(where: str, missing: np.ndarray) -> str:
    """The complaint about missing values."""
    count = int(missing.sum())
    return (
        f"{where} has {count} missing value{'s' if count > 1 else ''}, the first one here; "
        "expected none: drop or impute them"
    )


def refuse_thousands(place: Place, cells: list[str]) -> None:
    """Refuses a column of 1.234 in a file whose other numbers have decimal commas."""
    dotted = [i for i, cell in enumerate(cells) if "." in cell]
    if dotted and all(_DOTTED.fullmatch(cells[i].lstrip("+-")) for i in dotted):
        raise DataError(_ambiguous(place, dotted[0], cells[dotted[0]]))


def refuse_total(path: object, names: list[str], rows: list[list[str]], line: int) -> None:
    """Refuses a last row that is labelled as a total or a mean of those above.

    Args:
        path: of the file.
        names: the column names.
        rows: all rows.
        line: the line of the last one.
    """
    for j, cell in enumerate(rows[-1] if len(rows) > 1 else ()):
        if _TOTAL.fullmatch(cell) and cell not in [row[j] for row in rows[:-1]]:
            raise DataError(
                f"{path}:{line}:{j + 1}: column {names[j]!r}: is the last row, labelled {cell!r}, "
                "a summary of those above? Delete it, or give it another label"
            )


def _exactly(cells: list[str], absent: np.ndarray) -> Column | None:
    """The column as Python reads it; None if a cell is anything but a plain number."""
    try:
        values = np.array(
            [np.nan if gone else float(c) for c, gone in zip(cells, absent, strict=True)]
        )
    except ValueError:
        return None
    plain = not any("_" in cell or not cell.isascii() for cell in cells)
    if not plain or not np.isfinite(values[~absent]).all():
        return None
    return Column(values if absent.any() else _whole(cells, values))


def _whole(texts: list[str], values: np.ndarray) -> np.ndarray:
    """Values as int64, if all of their texts are integers."""
    try:
        return np.array([int(text) for text in texts], dtype=np.int64)
    except (ValueError, OverflowError):
        return values


def _plain(cell: str) -> str:
    """A cell with the digits, signs and spaces of ASCII."""
    if cell.isascii():
        return cell
    return "".join(
        str(unicodedata.decimal(c)) if c.isdecimal() else _SAME.get(c, c) for c in cell
    ).strip()


def _as_written(place: Place, cells: list[str], absent: np.ndarray) -> Column:
    """The column by the one way in which people write all of its numbers; else as text."""
    plain = [_plain(cell) for cell in cells]
    matched = [None if gone else _CELL.fullmatch(c) for c, gone in zip(plain, absent, strict=True)]
    present = [i for i, gone in enumerate(absent.tolist()) if not gone]
    good = [i for i in present if matched[i]]
    found = {i: match for i in good if (match := matched[i])}
    units = Counter(_unit(match) for match in found.values())
    unit, count = units.most_common(1)[0] if units else (("", ""), 0)
    if 2 * count <= len(present):
        return Column(np.array(cells, dtype=object))
    for i in present:
        if i not in found:
            raise DataError(_no_number(place, i, cells[i]))
        if (other := _unit(found[i])) != unit:
            told = " and ".join(f"{''.join(one) or 'no unit'}" for one in (unit, other))
            raise DataError(
                f"{place.at(i)}: {cells[i][:40]!r}: some cells have {told}; bring all to one unit"
            )
    decimal = _decimal(place, cells, {i: match["digits"] for i, match in found.items()})
    power = _SHARES.get(unit[1], 0)
    texts = [_ascii(match, decimal, power) for match in found.values()]
    values = np.full(len(cells), np.nan)
    values[present] = [float(text) for text in texts]
    if beyond := np.flatnonzero(np.isinf(values)).tolist():
        raise DataError(
            f"{place.at(beyond[0])}: {cells[beyond[0]][:40]!r} is beyond the range of float64"
        )
    whole = values if absent.any() else _whole(texts, values)
    return Column(whole, _notes(found, cells, plain, unit, decimal), decimal)


def _unit(found: re.Match[str]) -> tuple[str, str]:
    return found["before"] or "", (found["after"] or "").strip()


def _decimal(place: Place, cells: list[str], digits: dict[int, str]) -> str:
    """The decimal mark by which all numbers can be read, and only it."""
    readings = {mark: {i: _number(d, mark) for i, d in digits.items()} for mark in ".,"}
    able = [mark for mark, found in readings.items() if None not in found.values()]
    if len(able) == 1:
        return able[0]
    point, comma = readings["."], readings[","]
    if not able:
        failures = [
            [i for i, number in found.items() if number is None] for found in (point, comma)
        ]
        first = min(failures, key=len)[0]
        raise DataError(_no_number(place, first, cells[first]))
    apart = [i for i in digits if "," in digits[i] and float(point[i] or 0) != float(comma[i] or 0)]
    if apart:
        raise DataError(_ambiguous(place, apart[0], cells[apart[0]]))
    return "."


def _number(digits: str, decimal: str) -> str | None:
    """Digits with that decimal mark as Python writes them; None if they are no such number."""
    thousands = "," if decimal == "." else "."
    whole, _, fraction = digits.partition(decimal)
    if fraction and not fraction.isdigit():
        return None
    if whole and not whole.isdigit():
        marks = set(whole) - set("0123456789")
        first, *rest = re.split(r"\D", whole)
        grouped = first[0] != "0" and len(first) < 4 and all(len(part) == 3 for part in rest)
        if len(marks) > 1 or not marks <= {thousands, " ", "'"} or not grouped:
            return None
    return f"{re.sub(r'\D', '', whole) or '0'}{'.' if decimal in digits else ''}{fraction}"


def _ascii(found: re.Match[str], decimal: str, power: int) -> str:
    """A number as Python writes it."""
    sign = "-" if "-" in found["sign"] + found["minus"] else ""
    exponent = int(found["power"] or 0) + power
    number = _number(found["digits"], decimal)
    return f"{sign}{number}e{exponent}" if exponent or found["power"] else f"{sign}{number}"


def _notes(
    found: dict[int, re.Match[str]],
    cells: list[str],
    plain: list[str],
    unit: tuple[str, str],
    decimal: str,
) -> tuple[str, ...]:
    """How the numbers of a column are written, where that is not plain."""
    digits = [match["digits"] for match in found.values()]
    thousands = "[ ',]" if decimal == "." else "[ '.]"
    first = next(iter(found))
    share = _ascii(found[first], decimal, _SHARES.get(unit[1], 0))
    share = f"{unit[1]} as shares ({cells[first][:40]} is {float(share):g})"
    told = {
        "decimal commas": decimal == ",",
        "separators of thousands": any(re.search(thousands, one) for one in digits),
        share: unit[1] in _SHARES,
        f"the unit {''.join(unit)!r} left out": any(unit) and unit[1] not in _SHARES,
        "exponents with D": any(re.search(r"\d[dD][+-]?\d", plain[i]) for i in found),
        "digits or signs that are not of ASCII": any(
            plain[i] != cells[i] and not re.fullmatch(r"[\x00-\x7f]*", cells[i][:1] + cells[i][-1:])
            for i in found
        ),
    }
    return tuple(text for text, holds in told.items() if holds)


def _no_number(place: Place, row: int, cell: str) -> str:
    word = cell.strip("+-").lower()
    kind = "finite number" if word in ("inf", "infinity") else "number"
    return (
        f"{place.at(row)}: {cell[:40]!r} is not a {kind}, as most cells of this column are; "
        "correct it, or leave it empty if it is missing"
    )


def _ambiguous(place: Place, row: int, cell: str) -> str:
    digits = re.sub(r"[.,]", "", cell)[:40]
    point = re.sub(r"[.,]", ".", cell)[:40]
    return f"{place.at(row)}: {cell[:40]!r} may be {point} or {digits}; write which it is"


def _are_dates(values: np.ndarray) -> bool:
    """Whether whole numbers are dates, year, month and day in eight digits."""
    if values.dtype.kind != "i" or values.min() < 18000101 or values.max() > 21991231:
        return False
    try:
        return all(datetime.strptime(str(value), "%Y%m%d") for value in np.unique(values)[:100])
    except ValueError:
        return False


def _text(place: Place, cells: list[str], *, required: bool) -> Column:
    present = [i for i, cell in enumerate(cells) if cell not in MISSING]
    dates = all(_DATE.fullmatch(cells[i]) or cells[i].isdecimal() for i in present)
    if required and dates:
        raise DataError(
            f"{place.at(present[0])}: holds dates such as {cells[present[0]]!r}; expected numbers "
            "or labels: write days since a date, or choose another column"
        )
    return Column(np.array([cell or None for cell in cells], dtype=object))


def _refuse_codes(place: Place, cells: list[str], values: np.ndarray) -> None:
    """Refuses 99, −999 and the like, where they lie far outside of all other values."""
    known = np.unique(values[np.isfinite(values)])
    codes = {float(v) for v in known if _is_code(float(v))}
    rest = known[[float(v) not in codes for v in known]]
    if not codes or rest.size < 2:
        return
    low, high = rest[0], rest[-1]
    for i, value in enumerate(values):
        far = max(low - value, value - high) > _FAR * (high - low)
        if far and float(value) in codes and not re.search("[eEdD]", cells[i]):
            count = int((values == value).sum())
            raise DataError(
                f"{place.at(i)}: {cells[i]} in {count} of {len(cells)} rows, far outside of the "
                f"rest ({low:g} … {high:g}): a code for missing? Then delete those rows, or choose "
                f"other columns with --column; if it is a number, write {cells[i]}e0"
            )


def _is_code(value: float) -> bool:
    digits = f"{abs(value):.10g}".replace(".", "")
    repeated = len(digits) > 1 and len(set(digits)) == 1 and digits[0] in "789"
    return repeated or value in _CODES


def _refuse_total(place: Place, cells: list[str], values: np.ndarray) -> None:
    """Refuses a last value that is the sum of those above."""
    above, last = np.abs(values[:-1]), values[-1]
    if (
        np.count_nonzero(above) < _FEW
        or not np.isfinite(values).all()
        or re.search("[eEdD]", cells[-1])
    ):
        return
    total = float(np.sum(values[:-1], dtype=float))
    if abs(last) > above.max() and abs(last - total) <= 1e-9 * abs(total):
        raise DataError(
            f"{place.at(values.size - 1)}: {cells[-1]} is the sum of the {above.size} values "
            f"above: a total? Then delete the row; if it is one of them, write {cells[-1]}e0"
        )
