"""A file of text as a sheet of cells: its encoding, its separator, what stands around the table.

Whatever is not plain (UTF-8, commas, names in the first line) is read where it can be read in one
way only, and noted.  Lines and columns count from 1, as in an editor.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, final

from models.data.cells import MISSING, is_number
from models.data.opening import LARGEST, too_large
from models.errors import DataError, listing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "spaces"}
_HEAD = 500
"""Rows by which a separator is told."""
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig", "as UTF-8 with a byte-order mark"),
    (codecs.BOM_UTF32_LE, "utf-32", "as UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32", "as UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16", "as UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "as UTF-16"),
)
_OTHERS = {
    b"PK\x03\x04": "a ZIP archive, such as an Excel workbook",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"PAR1": "a Parquet file, which is named .parquet",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ": "compressed by xz",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
    b"\x89HDF": "an HDF5 file",
    b"%PDF": "a PDF file",
}
_TOTAL = re.compile(
    r"((grand|sub)[ -]?)?(totals?|sums?|mean|median|average|summe|gesamt|insgesamt|mittelwert|"
    r"durchschnitt|somme|moyenne|totaal|suma|promedio)\W*",
    re.IGNORECASE,
)
_COMMENT = re.compile(r" *#(?!N/A|[A-Z]+(/0)?[!?])")
"""Not `#N/A`, `#DIV/0!` and the like, which are cells without a number."""
_INVISIBLE = dict.fromkeys(map(ord, "\u00ad\u200b\u200e\u200f\u2060\ufeff"))
_GROUPS = re.compile(r"\d{1,3}( \d{3})+")
_SPACED = re.compile(r'("[^"\r\n]*")|[ \t]+(?=[\r\n]|\Z)|(?<![^\r\n])[ \t]+|([ \t]+)')
"""A quoted cell; spaces at an end of a line; those between cells."""


@final
class Row(NamedTuple):
    """The line on which a row starts, and its cells: none in a line that is blank."""

    line: int
    cells: list[str]


@final
@dataclass
class Sheet:
    """The cells of a file.

    Attributes:
        rows: the names of the columns, and those below.
        hidden: lines that are comments.
        notes: how it was read, where that is not plain.
    """

    rows: list[Row] = field(default_factory=list)
    hidden: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def leave_out(self, rows: list[Row], what: str) -> None:
        """Leaves rows out and notes it."""
        if rows:
            lines = [row.line for row in rows]
            self.notes.append(_left_out(lines, what))
            gone = set(lines)
            self.rows = [row for row in self.rows if row.line not in gone]


def sheet(path: Path, raw: bytes) -> Sheet:
    """The cells of a file of text, of which these are the bytes.

    Raises:
        DataError: there is no reading of it, or more than one; starts with path:line:column.
    """
    text, notes = _decoded(path, raw)
    first = text.partition("\n")[0].strip()
    named = first[4:] if first[:4].lower() == "sep=" and len(first) == 5 else ""
    separator = named or _separator(path, text)
    if separator != ",":
        notes.append(f"separated by {_SEPARATORS.get(separator, repr(separator))}")
    found = _parsed(path, text, separator)
    if len(found.hidden) > 1 and len(_filled(found.rows)) == 1 and not named:
        found = _parsed(path, text, separator, comments=False)  # labels such as #1, #2
    if named:
        found.rows = found.rows[1:]
        notes.append(f"its line {first!r}")
    if found.hidden:
        notes.append(_left_out(found.hidden, "comment"))
    found.notes = notes
    _trim(found)
    _trim_ends(found, separator)
    if not found.rows:
        raise DataError(f"{path}:1: is empty; expected a line of column names, then rows")
    _check_names(path, found)
    _check_widths(path, found.rows)
    return found


def refuse_total(path: Path, rows: list[Row]) -> None:
    """Refuses rows, half of all at most, that are labelled as a total or a mean of others."""
    for j, name in enumerate(rows[0].cells):
        found = [row for row in rows[1:] if row.cells[j] and _TOTAL.fullmatch(row.cells[j])]
        if found and 2 * len(found) < len(rows):
            raise DataError(
                f"{path}:{found[0].line}:{j + 1}: column {name!r}: is the row labelled "
                f"{found[0].cells[j]!r} a summary of others? Delete it, or give it another label"
            )


def _decoded(path: Path, raw: bytes) -> tuple[str, list[str]]:
    """The text of a file, and how it was made of its bytes."""
    notes = []
    if raw.startswith(b"\x1f\x8b"):
        raw = _decompressed(path, raw)
        notes.append("decompressed by gzip")
    for start, kind in _OTHERS.items():
        if raw.startswith(start):
            raise DataError(f"{path}: is {kind}; expected text: save the table as CSV")
    encoding, note = next(((e, n) for mark, e, n in _MARKS if raw.startswith(mark)), ("utf-8", ""))
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        if encoding != "utf-8":
            told = f"its byte-order mark says {encoding}, but it is not"
            raise DataError(f"{path}:{line}: {told}; save the file as UTF-8") from None
        text, note = raw.decode("cp1252", errors="replace"), "as Windows-1252 (Latin-1)"
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(f"{path}:{line}: holds a zero byte, so it is no text; save it as UTF-8 CSV")
    end = "CR LF" if "\r\n" in text else "CR" if "\r" in text else ""
    if end and (note or end == "CR"):
        note += f"{', ' if note else 'with '}lines that end in {end}"
    return text.translate(_INVISIBLE), [*notes, note] if note else notes


def _decompressed(path: Path, raw: bytes) -> bytes:
    try:
        with gzip.open(io.BytesIO(raw)) as stream:
            found = stream.read(LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        told = "begins like a gzip file and cannot be decompressed"
        raise DataError(f"{path}: {told} ({error}); expected text: make it again") from None
    if len(found) > LARGEST:
        raise DataError(f"{path}: decompressed it {too_large(len(found), LARGEST)}")
    return found


def _left_out(lines: list[int], what: str) -> str:
    many = "s" if len(lines) > 1 else ""
    return f"without the {what}{many} in line{many} {listing(lines, 3)}"


def _filled(rows: list[Row]) -> list[Row]:
    """The rows that are not blank."""
    return [row for row in rows if any(row.cells)]


def _parsed(
    path: Path, text: str, separator: str, *, comments: bool = True, most: int | None = None
) -> Sheet:
    """Rows of text, the blank ones as rows without cells; runs of spaces separate like tabs."""
    found, number, start, fresh = Sheet(), 0, 1, True
    if separator == " ":
        separator = "\t"
        text = _SPACED.sub(lambda found: found[1] or ("\t" if found[2] else ""), text)

    def lines() -> Iterator[str]:
        nonlocal number, start, fresh
        for line in io.StringIO(text, newline=""):
            number += 1
            if fresh and comments and _COMMENT.match(line):
                found.hidden.append(number)
                continue
            start, fresh = (number if fresh else start), False
            yield line

    reader = csv.reader(lines(), delimiter=separator, strict=True, skipinitialspace=True)
    try:
        for row in reader:
            found.rows.append(Row(start, [cell.strip() for cell in row]))
            fresh = True
            if most and len(found.rows) == most:
                break
    except csv.Error as error:
        raise DataError(f"{path}:{start}: malformed CSV: {error}; check the quotes") from None
    return found


def _separator(path: Path, text: str) -> str:
    """The separator of the cells: the one character by which all rows are of one length."""
    fitting: dict[str, int] = {}
    for separator in _SEPARATORS:
        if separator == " " and fitting:
            break
        try:
            rows = _filled(_parsed(path, text, separator, most=_HEAD).rows)
        except DataError:
            continue
        begins = _beginning(rows)
        if _is_table(rows, begins) and (separator != " " or _are_numbers(text, rows, begins)):
            fitting[separator] = begins
    least = min(fitting.values(), default=0)
    best = [separator for separator, begins in fitting.items() if begins == least]
    if best[:2] == [",", ";"]:
        raise DataError(
            f"{path}:1:1: commas and semicolons both separate the cells of all rows alike; write "
            "numbers with a decimal point, or leave one of the two out"
        )
    line = next((line for line in text.splitlines()[:50] if line.strip(" #")), "")
    marks = [mark for mark in (",", ";", "\t", "|") if mark in line]
    return best[-1] if best else (marks or [","])[0]


def _is_table(rows: list[Row], begins: int) -> bool:
    """Whether rows are of one length, of more than one cell, under names of about that length."""
    widths = {len(row.cells) for row in rows[begins + 1 :]}
    if len(widths) != 1 or (width := widths.pop()) < 2:
        return False
    names = len(rows[begins].cells)
    return names > 1 and abs(names - width) <= 1


def _are_numbers(text: str, rows: list[Row], begins: int) -> bool:
    """Whether cells between spaces are numbers throughout, and not parts of one."""
    cells = [cell for row in rows[1:] for cell in row.cells[1:]]
    lines = [line.strip() for line in text.splitlines()[1:_HEAD]]
    groups = all(_GROUPS.fullmatch(line) for line in lines if line)
    return not (begins or groups) and all(cell in MISSING or is_number(cell) for cell in cells)


def _beginning(rows: list[Row]) -> int:
    """The place of the names: 0, or that after the titles above a table of several columns."""
    lengths = Counter(len(row.cells) for row in rows[1:])
    if not lengths or lengths.most_common(1)[0][0] < 2:
        return 0
    begins = next((i for i, row in enumerate(rows) if any(row.cells[1:])), 0)
    return 0 if all(is_number(cell) for cell in rows[begins].cells) else begins


def _trim(found: Sheet) -> None:
    """Leaves out what is no row: blank ones, and titles above the names."""
    filled = _filled(found.rows)
    end = filled[-1].line if filled else 0
    tail = [row for row in found.rows if row.line > end]
    if len(tail) > 1 or any(row.cells for row in tail):
        found.leave_out(tail, "blank row")
    titles = _beginning(filled)
    if titles:
        found.leave_out([row for row in found.rows if row.line < filled[titles].line], "title")
    first = filled[titles].line if filled else 0
    found.rows = [row for row in found.rows if first <= row.line <= end]
    if any(len(row.cells) > 1 for row in found.rows):
        blank = [row for row in found.rows if row.cells in ([], [""])]
        found.leave_out(blank, "blank row")
    else:  # in a table of one column a blank line is a cell that is missing
        found.rows = [Row(row.line, row.cells or [""]) for row in found.rows]


def _trim_ends(found: Sheet, separator: str) -> None:
    """Leaves out separators after the last column; names a first column of row names."""
    used = max((j for row in found.rows for j, cell in enumerate(row.cells, 1) if cell), default=0)
    if any(len(row.cells) > max(used, 1) for row in found.rows):
        found.rows = [Row(row.line, row.cells[:used]) for row in found.rows]
        found.notes.append("without the separators after the last column")
    names, *rows = [row.cells for row in found.rows] or [[]]
    if separator != "," and {len(cells) for cells in rows} == {len(names) + 1}:  # as R writes it
        names.insert(0, "")
        found.notes.append("with row names before the first column")


def _check_names(path: Path, found: Sheet) -> None:
    """Refuses names that are none, missing or used twice."""
    line, names = found.rows[0]
    where = f"{path}:{line}"
    if len(found.rows) == 1:
        raise DataError(f"{where}: holds column names and no rows; expected at least one row")
    numbers = [j for j, name in enumerate(names) if is_number(name)]
    broken = [j for j in numbers if not names[j].isdecimal()]  # years may be names
    if broken or (len(numbers) == len(names) and names != [str(j) for j in range(len(names))]):
        j = (broken or numbers)[0]
        hint = " (or delete the # before them)" if found.hidden else ""
        such = ",".join(f"x{i + 1}" for i in range(min(len(names), 4)))
        raise DataError(
            f"{where}:{j + 1}: a number, {names[j][:40]!r}, where a column name is expected; add a "
            f"first line of names{hint}, such as {such}"
        )
    seen = set[str]()
    for j, name in enumerate(names):
        if not name and j:
            raise DataError(f"{where}:{j + 1}: a column without a name; name it")
        if name in seen:
            raise DataError(f"{where}:{j + 1}: the column name {name!r} is used twice; rename one")
        seen.add(name)


def _check_widths(path: Path, rows: list[Row]) -> None:
    """Refuses rows that have more or fewer cells than there are names."""
    expected = len(rows[0].cells)
    for line, cells in rows:
        if len(cells) != expected:
            comma = len(cells) in (expected + 1, 2 * expected) and all(map(is_number, cells))
            hint = "; are these decimal commas? quote the numbers or write points" if comma else ""
            raise DataError(
                f"{path}:{line}:{min(len(cells), expected) + 1}: {len(cells)} cells; expected "
                f"{expected}, as in the line of names: check separators and quotes{hint}"
            )
