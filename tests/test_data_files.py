"""Files as people have them: read where there is one reading, which is told; else refused by place.

The plain file's values are the right ones.
"""

from __future__ import annotations

import gzip
import os
import socket
from typing import TYPE_CHECKING

import numpy as np
import pytest

import concord as cc
from models.data.files import read
from models.errors import ConfigError, DataError

if TYPE_CHECKING:
    from pathlib import Path

HEIGHTS = [14.14, 7.54, 11.02, 13.34, 1214.62, 16.08]
WIDTHS = [0, 1, 2, 3, 4, 5]


def written(*cells: str, names: str = "height", quoted: bool = False) -> str:
    """A column, a cell on each line."""
    return "\n".join([names, *(f'"{cell}"' if quoted else cell for cell in cells), ""])


def table(separator: str = ",", end: str = "\n", decimal: str = ".", after: str = "") -> str:
    """The two columns with a name each."""
    rows = zip(map(str, HEIGHTS), map(str, WIDTHS), strict=True)
    lines = [("height", "width"), *((height.replace(".", decimal), w) for height, w in rows)]
    return "".join(separator.join(line) + after + end for line in lines)


def saved(folder: Path, content: str | bytes, name: str = "mine.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


TABLES = {
    "semicolons": (table(";"), "separated by semicolons"),
    "semicolons, decimal commas": (table(";", decimal=","), "'height' with decimal commas"),
    "tabs": (table("\t"), "separated by tabs"),
    "tabs, decimal commas": (table("\t", decimal=","), "'height' with decimal commas"),
    "bars": (table("|"), "separated by bars"),
    "spaces": (table("   ", after="  "), "separated by spaces"),
    "Excel's first line": ("sep=;\r\n" + table(";", "\r\n"), "'sep=;'"),
    "byte-order mark": ("\ufeff" + table(end="\r\n"), "byte-order mark, lines that end in CR LF"),
    "UTF-16": (table().encode("utf-16"), "UTF-16"),
    "UTF-16, big end first": (b"\xfe\xff" + table().encode("utf-16-be"), "UTF-16"),
    "lines that end in CR": (table(end="\r"), "lines that end in CR"),
    "gzip": (gzip.compress(table().encode()), "decompressed by gzip"),
    "comments": ("# of 2024\n" + table() + "# the end\n", "without the comments in lines 1, 9"),
    "a title": ("Heights of 2024\n" + table(), "without the title in line 1"),
    "titles with commas": ("Heights,\n,\n" + table(), "without the titles in lines 1, 2"),
    "blank lines": (table() + "\n\n\n", "without the blank rows in lines 8, 9, 10"),
    "lines of commas": (table() + ",\n,\n", "without the blank rows in lines 8, 9"),
    "a separator at every end": (table(after=","), "the separators after the last column"),
    "three at every end": (table(after=",,,"), "the separators after the last column"),
    "one at the end of rows": (
        table(after=",").replace("width,", "width"),
        "the separators after the last column",
    ),
    "one at the end of a row": (
        table().replace("11.02,2", "11.02,2,"),
        "the separators after the last column",
    ),
    "invisible characters": ("\u200b" + table().replace("11.02", "11\u00ad.02\u2060"), ""),
    "spaces around": (table(" , "), ""),
}


@pytest.mark.parametrize(("content", "told"), TABLES.values(), ids=TABLES.keys())
def test_a_table_is_read_as_the_plain_one(tmp_path: Path, content: str | bytes, told: str) -> None:
    frame = read(saved(tmp_path, content))
    assert frame.columns.tolist() == ["height", "width"]
    assert frame["height"].tolist() == HEIGHTS
    assert frame["width"].tolist() == WIDTHS
    how = frame.attrs.get("read", "")
    assert told in how
    assert "\n" not in how
    assert how.startswith("mine.csv was read so: ") or not told


@pytest.mark.parametrize("name", ["mine.tsv", "mine.txt", "mine.csv.gz", "mine.CSV"])
def test_the_suffix_does_not_decide_how_it_is_read(tmp_path: Path, name: str) -> None:
    content = gzip.compress(table("\t").encode()) if name.endswith("gz") else table("\t").encode()
    assert read(saved(tmp_path, content, name))["height"].tolist() == HEIGHTS


NUMBERS = {
    "decimal commas": (["1,5", "-0,25", "3"], [1.5, -0.25, 3], "decimal commas"),
    "thousands, points": (["1,234.5", "12,345,678.25", "3"], [1234.5, 12345678.25, 3], "thousands"),
    "thousands, commas": (["1.234,5", "2.000.000", "3"], [1234.5, 2e6, 3], "decimal commas"),
    "thousands, spaces": (["1 234", "12 345,5", "3"], [1234, 12345.5, 3], "thousands"),
    "thousands, thin spaces": (["1\u2009234", "12\u202f345.5"], [1234, 12345.5], "thousands"),
    "thousands, no-break spaces": (["1\u00a0234", "2"], [1234, 2], "thousands"),
    "thousands, apostrophes": (["1'234.5", "12’345"], [1234.5, 12345], "thousands"),
    "a group that is none": (["1,234", "3,45"], [1.234, 3.45], "decimal commas"),
    "a leading zero": (["0,234", "0,345"], [0.234, 0.345], "decimal commas"),
    "no leading zero": ([",5", "-,25", "1,5"], [0.5, -0.25, 1.5], "decimal commas"),
    "percent": (["14.14%", "7.54 %"], [0.1414, 0.0754], "% as shares (14.14% is 0.1414)"),
    "units": (["14.14 cm", "7.54cm"], [14.14, 7.54], "the unit 'cm' left out"),
    "degrees": (["14,1 °C", "7,5 °C"], [14.1, 7.5], "the unit '°C' left out"),
    "squared": (["14.1 kg/m²", "7.5 kg/m²"], [14.1, 7.5], "the unit 'kg/m²' left out"),
    "euros": (["1.200,50 €", "7,54 €"], [1200.5, 7.54], "the unit '€' left out"),
    "dollars": (["$1,200.50", "-$7.54"], [1200.5, -7.54], "the unit '$' left out"),
    "currency codes": (["USD 14.14", "USD 7.54"], [14.14, 7.54], "the unit 'USD' left out"),
    "minus": (["−14.14", "−7.54"], [-14.14, -7.54], "not of ASCII"),
    "full width": (["１４．１４", "－７．５４"], [14.14, -7.54], "not of ASCII"),
    "Arabic digits": (["١٤٫١٤", "٧٫٥٤"], [14.14, 7.54], "not of ASCII"),
    "thousands as in India": (
        ["1,00,000", "12,34,567.5", "500"],
        [1e5, 1234567.5, 500],
        "thousands",
    ),
    "Fortran": (["1.5D+02", "-2.5d-01"], [150.0, -0.25], "exponents with D"),
    "plus": (["+1.5", "+2.5"], [1.5, 2.5], ""),
}


@pytest.mark.parametrize(("cells", "values", "told"), NUMBERS.values(), ids=NUMBERS.keys())
def test_numbers_are_read_as_people_write_them(
    tmp_path: Path, cells: list[str], values: list[float], told: str
) -> None:
    frame = read(saved(tmp_path, written(*cells, quoted=True)), ["height"])
    assert frame["height"].tolist() == values
    assert told in frame.attrs.get("read", "")


def test_text_in_latin_1_is_read_and_told(tmp_path: Path) -> None:
    frame = read(saved(tmp_path, "größe,wo\n1.5,Köln\n2.5,Ulm\n".encode("latin-1")))
    assert frame.columns.tolist() == ["größe", "wo"]
    assert frame["wo"].tolist() == ["Köln", "Ulm"]
    assert "Latin-1" in frame.attrs["read"]


def test_row_names_as_r_writes_them(tmp_path: Path) -> None:
    frame = read(saved(tmp_path, '"x" "y"\n"1" 1.5 2\n"2" 2.5 3\n', "mine.txt"))
    assert frame.columns.tolist() == ["x", "y"]
    assert frame.index.tolist() == [1, 2]
    assert frame["y"].tolist() == [2, 3]


def test_what_is_no_number_stays_text(tmp_path: Path) -> None:
    for cells in (
        *(["A1", "A2"], ["12 Main St", "7 High St"], ["10:30", "11:30"], ["#1", "#2"]),
        *(["1½", "2½"], ["1²", "2²"], ["1.5x10^3", "2.5x10^3"], ["3万", "4万"]),
        *(["01.02.2024", "02.02.2024"], ["1.2.3.4", "1.2.3.5"], ["030 123", "040 456"]),
    ):
        frame = read(saved(tmp_path, written(*cells)))
        assert frame["height"].tolist() == cells


REFUSED = {
    "thousands or decimals": (["1,234", "2,345"], ":2:1:", "may be 1.234 or 1234"),
    "a point among commas": (["1,5", "2,5", "3.25"], ":4:1:", "'3.25' is not a number"),
    "percent in some": (["14%", "2.5", "7%"], ":3:1:", "% and no unit"),
    "two units": (["14 cm", "2 cm", "7 in"], ":4:1:", "bring all to one unit"),
    "a half": (["1½", "2.5", "3"], ":2:1:", "'1½' is not a number"),
    "two signs": (["--5", "2.5", "3"], ":2:1:", "'--5' is not a number"),
    "an error of Excel": (["1.5", "#DIV/0!", "3"], ":3:1:", "'#DIV/0!' is not a number"),
    "another": (["#N/A", "1.5", "3"], ":2:1:", "'#N/A' is not a number"),
    "dash": (["1.5", "-", "3.5"], ":3:1:", "leave it empty"),
    "question mark": (["1.5", "2.5", "?"], ":4:1:", "'?' is not a number"),
    "n/a": (["n/a", "1.5", "2.5"], ":2:1:", "'n/a' is not a number"),
    "point": (["1.5", ".", "3.5"], ":3:1:", "'.' is not a number"),
    "infinite": (["1.5", "2.5", "-inf"], ":4:1:", "is not a finite number"),
    "too large": (["1", "2", "9" * 5000], ":4:1:", "beyond the range"),
    "nan": (["1.5", "nan", "3.5"], ":3:1:", "1 missing value"),
    "blank": (["1.5", "", "3.5"], ":3:1:", "1 missing value"),
    "-999": (["1.5", "-999", "3.5"], ":3:1:", "-999 in 1 of 3 rows"),
    "999.0": (["1.5", "2.5", "999.0"], ":4:1:", "write 999.0e0"),
    "99": (["1", "2", "99", "99"], ":4:1:", "99 in 2 of 4 rows"),
    "-9": (["1", "0", "-9", "1"], ":4:1:", "a code for missing?"),
    "-1": (["15", "-1", "35", "20"], ":3:1:", "-1 in 1 of 4 rows"),
    "-99": (["150", "-99", "0", "20"], ":3:1:", "-99 in 1 of 4 rows"),
    "9999": (["10", "5000", "9999", "7"], ":4:1:", "a code for missing?"),
    "a sum": ([*map(str, HEIGHTS), f"{sum(HEIGHTS):.2f}"], ":8:1:", "the sum of the 6 values"),
    "a total": ([*map(str, HEIGHTS), "Total"], ":8:1:", "labelled 'Total'"),
    "a mean": (["1", "2", "mean", "1.5", "sd"], ":4:1:", "labelled 'mean'"),
    "a total first": (["Insgesamt", "1", "2"], ":2:1:", "labelled 'Insgesamt'"),
    "dates with points": (["01.02.2024", "02.02.2024"], ":2:1:", "dates such as '01.02.2024'"),
    "dates": (["01/02/2024", "02/02/2024"], ":2:1:", "dates such as '01/02/2024'"),
    "dates in digits": (["20240131", "20240201"], ":2:1:", "dates such as '20240131'"),
    "no names": (["1.5", "2.5"], ":1:1:", "add a first line of names"),
}


@pytest.mark.parametrize(("cells", "where", "told"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_read_in_one_way_is_refused(
    tmp_path: Path, cells: list[str], where: str, told: str
) -> None:
    names = "14.14" if told.startswith("add") else "height"
    path = saved(tmp_path, written(*cells, names=names, quoted="," in cells[0]))
    with pytest.raises(DataError) as caught:
        read(path, [names])
    assert str(caught.value).startswith(f"{path}{where}")
    assert told in str(caught.value)


def test_a_file_of_decimal_commas_has_no_thousands_that_look_like_decimals(tmp_path: Path) -> None:
    path = saved(tmp_path, "x;y\n1.234;1,5\n2.345;2,5\n")
    with pytest.raises(DataError, match=r":2:1: column 'x': '1.234' may be 1.234 or 1234"):
        read(path)


def test_thousands_of_a_spreadsheet_without_decimals_are_asked_for(tmp_path: Path) -> None:
    path = saved(tmp_path, "x;where\n1.234;a\n12.345;b\n12;c\n")
    with pytest.raises(DataError, match=r"'1.234' may be 1.234 or 1234; write 1.2340 or 1234"):
        read(path, ["x"])
    for text in ("x;y\n1.234;0.5\n12.345;7\n", "x,y\n1.234,a\n12.345,b\n"):
        assert read(saved(tmp_path, text), ["x"])["x"].tolist() == [1.234, 12.345]


def test_a_label_that_most_rows_have_is_no_total(tmp_path: Path) -> None:
    read(saved(tmp_path, "kind,x\nmean,1.5\nmean,2.5\nother,3.5\n"))


def test_a_number_that_looks_like_a_code_can_be_meant(tmp_path: Path) -> None:
    for cells in (["-1", "0", "1", "2"], ["1", "-1", "1", "-1"], ["-1.5", "-1", "2", "3"]):
        assert read(saved(tmp_path, written(*cells)))["height"].tolist() == list(map(float, cells))
    assert read(saved(tmp_path, written("1.5", "-999e0", "3.5")))["height"].min() == -999
    ages = written("21", "45", "63", "72", "99")
    assert read(saved(tmp_path, ages))["height"].max() == 99


def test_decimal_commas_that_are_not_quoted_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r":2:2: 2 cells.*are these decimal commas\?"):
        read(saved(tmp_path, "x\n1,5\n2,5\n"))


# --- how it is told -----------------------------------------------------------------------------


def test_a_command_says_once_how_it_read(tmp_path: Path, concord) -> None:
    saved(tmp_path, "name;when;height\na;2024-01-01;1,5\nb;2024-01-02;2,5\nc;2024-01-03;4\n")
    for arguments in (
        ("check",),
        ("run", "--methods", "closed_form", "--only", "same_maximum", "--jobs", "1"),
    ):
        code, _, errors = concord(arguments[0], "gaussian", "--data", "mine.csv", *arguments[1:])
        assert code == 0
        assert errors.count("separated by semicolons; 'height' with decimal commas") == 1
        assert errors.count("mine: left out 'name', 'when'") == 1


def test_a_missing_value_is_told_by_its_line(tmp_path: Path, concord) -> None:
    saved(tmp_path, "name,height\na,1.5\nb,\nc,4\n")
    code, _, errors = concord("check", "gaussian", "--data", "mine.csv")
    assert code == 2
    assert "mine.csv:3:2: column 'height' has 1 missing value" in errors


def test_a_column_that_numbers_the_rows_is_no_measurement(tmp_path: Path) -> None:
    data = cc.load_data(saved(tmp_path, "id,height\n1,1.5\n2,2.5\n3,4\n"), cc.Gaussian())
    assert data["y"].values.tolist() == [1.5, 2.5, 4.0]
    assert "left out 'id'" in data.attrs["read"]


def test_a_path_is_read_in_python_and_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(tmp_path, table(";", decimal=",").replace("1214", "14"))
    with pytest.raises(DataError, match="2 numeric columns"):
        cc.compare(cc.Gaussian(), str(path), methods=())
    path = saved(tmp_path, written("14,14", "7,54", "11,02", quoted=True))
    method = cc.ClosedForm()
    found = cc.compare(cc.Gaussian(), path, methods=(method,), claims=("same_maximum",))
    mean = found[method].scalars("mu")["mu"].location
    assert mean == pytest.approx(np.mean([14.14, 7.54, 11.02]))
    assert capsys.readouterr().err.count("decimal commas") == 1
    assert found.case.data_name == "mine"


# --- kinds and sizes, before anything is opened or made -------------------------------------------


def test_what_is_no_file_is_never_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, concord
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    os.mkfifo("pipe.csv")
    (tmp_path / "zero.csv").symlink_to("/dev/zero")
    (tmp_path / "folder.csv").mkdir()
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket.csv")
        for name, kind in {
            "pipe.csv": "a pipe",
            "zero.csv": "a device",
            "folder.csv": "a directory",
            "socket.csv": "a socket",
        }.items():
            with pytest.raises(DataError, match=f"{name}: is {kind}; expected"):
                read(name)
            code, _, errors = concord("run", "gaussian", "--config", name)
            assert code == 2
            assert f"{name}: is {kind}; expected a TOML file" in errors


def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path, concord) -> None:
    for name, size in (("large.csv", 20 * 2**30), ("large.toml", 3 * 2**30)):
        with (tmp_path / name).open("wb") as stream:
            stream.truncate(size)
    with pytest.raises(DataError, match=r"holds 20.0 GiB or more, and at most 1 GiB are read"):
        read(tmp_path / "large.csv")
    code, _, errors = concord("run", "gaussian", "--config", "large.toml")
    assert code == 2
    assert "at most 1 MiB are read" in errors


@pytest.mark.parametrize(
    ("model", "setting"),
    [
        ("gaussian_mixture", "k"),
        ("gaussian_mixture", "dim"),
        ("gaussian", "dim"),
        ("factor_analysis", "factors"),
        ("ridge_regression", "predictors"),
    ],
)
def test_sizes_of_models_are_refused_in_words(model: str, setting: str, concord) -> None:
    code, _, errors = concord("check", model, "--set", f"{setting}={10**9}")
    assert code == 2
    assert f"{model}.{setting} is 1000000000; expected an integer of at most 1,000" in errors


def test_the_same_is_refused_in_python() -> None:
    for value in (10**9, 10**5_000, 2.5, True, "3"):
        with pytest.raises(ConfigError, match=r"gaussian_mixture\.k is .*expected an integer"):
            cc.GaussianMixture(k=value)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match="choose a smaller k or fewer columns"):
        cc.GaussianMixture(k=1_000, dim=1_000)
    for methods, told in (
        ((cc.NUTS,), r"write NUTS\(\)"),
        ("nutz", "unknown method 'nutz'. Did you mean 'nuts'"),
        (3, "methods is 3"),
    ):
        with pytest.raises(ConfigError, match=told):
            cc.compare(cc.Gaussian(), [1.0, 2.0, 4.0], methods=methods)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--n", str(10**12)), "at most 10,000,000"),
        (("--replicates", str(10**15)), "10000000"),
        (("--n", "9" * 5_000), "at most 10,000,000"),
        (("--set", "dim=" + "9" * 5_000), "thousands of digits"),
        (("--set", "dim=" + "[" * 5_000 + "]" * 5_000), "nested too deeply"),
    ],
)
def test_numbers_beyond_reason_are_usage_errors(
    arguments: tuple[str, str], told: str, concord
) -> None:
    code, _, errors = concord("study", "coverage", "--model", "gaussian", *arguments)
    assert code == 2
    assert told in errors
    assert len(errors) < 2_000


def test_toml_that_cannot_be_read_is_a_usage_error(tmp_path: Path, concord) -> None:
    for content, told in (
        (b"seed = " + b"[" * 50_000, "nested too deeply"),
        (b"seed = " + b"9" * 5_000, "thousands of digits"),
        (b"seed = 1\nout = '\xff'", "line 2 is not UTF-8 text"),
    ):
        saved(tmp_path, content, "run.toml")
        code, _, errors = concord("run", "gaussian", "--config", "run.toml")
        assert code == 2
        assert told in errors


# --- what is written of a user's names ------------------------------------------------------------


def test_control_characters_and_long_names_do_not_reach_the_terminal(
    tmp_path: Path, concord
) -> None:
    saved(tmp_path, "\x1b[31mred,\u202eleft," + "x" * 100_000 + "\n1,2,3\n4,5,6\n7,8,8\n")
    for column in ("--column", "none"), ("--column", "\x1b]0;x"), ():
        code, _, errors = concord("check", "gaussian", "--data", "mine.csv", *column)
        assert code == 2
        assert not set(errors) & set("\x1b\u202e")
        assert "\\x1b[31mred" in errors
        assert len(errors) < 3_000


def test_bytes_that_are_no_text_are_a_usage_error(concord) -> None:
    code, _, errors = concord("check", "gaussian", "--column", "\udcff")
    assert code == 2
    assert "holds bytes that are not UTF-8" in errors
