"""Only what we wrote is replaced or removed, links are never followed, and nothing is half-done."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest
import scratch

from comparisons.report.files import published, put
from comparisons.runs.place import InUseError, held, note_used, used
from comparisons.store.output import LIST, Output, kind, read
from models.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAMES = ("index.html", "verdicts.csv")


def enter(out: Path, *, force: bool = False, names: tuple[str, ...] = NAMES) -> None:
    with held(out, force=force) as output:
        output.claim(names)


def write(out: Path, text: str = "new", names: tuple[str, ...] = NAMES) -> None:
    with published(out) as stage:
        put(stage, dict.fromkeys(names, text))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """A directory with a report of ours."""
    out = tmp_path / "ours"
    enter(out)
    write(out, "old")
    return out


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """A file of somebody else's, outside of every output directory."""
    path = tmp_path / "precious"
    path.write_text("precious")
    return path


# ---------------------------------------------------------------- a directory of somebody else


@pytest.mark.parametrize("name", ["notes.txt", ".git", "index.html", "fits", "nobody\x1b[31m's"])
def test_a_directory_that_is_not_ours_is_refused_and_stays_as_it_is(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / name).mkdir()
    (tmp_path / "site" / name / "theirs").touch()
    with pytest.raises(ConfigError, match="--force") as caught:
        enter(tmp_path / "site")
    assert str(tmp_path / "site") in str(caught.value)
    assert repr(name) in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert names(tmp_path / "site") == [name]


def test_many_files_are_told_as_a_few(tmp_path: Path) -> None:
    for name in "abcdefgh":
        (tmp_path / name).touch()
    with pytest.raises(ConfigError, match="'a', 'b', 'c' and 5 more"):
        enter(tmp_path)


@pytest.mark.parametrize("there", [(), (".lock",), (".lock", f"fits/{'a' * 64}/fit.nc")])
def test_what_is_empty_or_a_mere_store_becomes_ours(there: tuple[str, ...], tmp_path: Path) -> None:
    for name in there:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    enter(tmp_path)
    enter(tmp_path)
    write(tmp_path)
    assert {*NAMES, LIST} <= set(names(tmp_path))


def test_a_forced_directory_keeps_all_but_what_bears_our_names(tmp_path: Path, capsys) -> None:
    (tmp_path / "pages").mkdir()
    for name in ("index.html", "notes.txt", "pages/draws.nc", "about.html"):
        (tmp_path / name).write_text("theirs")
    enter(tmp_path, force=True)
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"{tmp_path / 'index.html'}: a file that concord has not written is replaced" in told
    write(tmp_path)
    assert (tmp_path / "index.html").read_text() == "new"
    for name in ("notes.txt", "pages/draws.nc", "about.html"):
        assert (tmp_path / name).read_text() == "theirs"
    enter(tmp_path)  # ours from now on
    assert not capsys.readouterr().err


def test_verdicts_under_version_control_are_ours(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("theirs")
    (tmp_path / "verdicts.csv").write_text("comparison,model,data,about,observed\n")
    enter(tmp_path)
    write(tmp_path)
    assert (tmp_path / "verdicts.csv").read_text() == "new"
    assert (tmp_path / "README.md").read_text() == "theirs"


def test_a_file_of_somebody_else_in_a_directory_of_ours_is_refused(
    ours: Path, precious: Path
) -> None:
    (ours / "study.csv").write_text("theirs")
    with pytest.raises(ConfigError, match=r"study\.csv is a file that concord has not written"):
        enter(ours, names=("study.csv",))
    with pytest.raises(ConfigError, match=r"study\.csv"):  # it may come between the two
        write(ours, names=("study.csv", "index.html"))
    assert (ours / "study.csv").read_text() == "theirs"
    assert (ours / "index.html").read_text() == "old"
    (ours / "study.csv").unlink()
    (ours / "study.csv").symlink_to(precious)
    with pytest.raises(ConfigError, match=r"study\.csv is a link"):
        enter(ours, names=("study.csv",))
    enter(ours, names=("study.csv",), force=True)
    write(ours, names=("study.csv",))
    assert kind(ours / "study.csv") == "a file"
    assert precious.read_text() == "precious"


# ---------------------------------------------------------------- links and other kinds of files


@pytest.mark.parametrize("name", [*NAMES, LIST])
def test_a_link_in_the_place_of_a_file_of_ours_is_never_followed(
    name: str, ours: Path, precious: Path
) -> None:
    (ours / name).unlink()
    (ours / name).symlink_to(precious)
    try:
        enter(ours)
        write(ours)
    except ConfigError:
        assert name == LIST  # without a list nothing is ours
    else:
        assert (ours / name).read_text() == "new"
        assert kind(ours / name) == "a file"
    assert precious.read_text() == "precious"


@pytest.mark.parametrize("name", [".lock", "fits"])
@pytest.mark.parametrize("force", [True, False])
def test_a_link_that_we_would_write_through_is_refused(
    name: str, force: bool, ours: Path, precious: Path
) -> None:
    (ours / name).unlink(missing_ok=True)
    (ours / name).symlink_to(precious)
    with pytest.raises(ConfigError, match=f"{name} is a link"):
        enter(ours, force=force)
    assert precious.read_text() == "precious"


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.mkdir()], ids=["pipe", "directory"])
def test_no_pipe_is_waited_for_and_no_directory_removed(
    make: Callable[[Path], object], ours: Path
) -> None:
    (ours / "index.html").unlink()
    make(ours / "index.html")
    if kind(ours / "index.html") == "a directory":
        (ours / "index.html" / "theirs").touch()
        with pytest.raises(ConfigError, match="Move it away"):
            enter(ours)
        assert (ours / "index.html" / "theirs").is_file()
    else:
        enter(ours)
        write(ours)
        assert (ours / "index.html").read_text() == "new"


def test_the_output_directory_itself_may_be_a_link(ours: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(ours)
    enter(tmp_path / "link")
    write(tmp_path / "link")
    assert (ours / "index.html").read_text() == "new"
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="a link to nothing"):
        enter(tmp_path / "dangling")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "socket"))
        with pytest.raises(StoreError, match="Not a directory"):
            enter(tmp_path / "socket")


@pytest.mark.parametrize("part", ["replicates", "replicates/one"])
def test_no_folder_that_is_a_link_is_written_into(part: str, ours: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (ours / part).parent.mkdir(exist_ok=True)
    (ours / part).symlink_to(elsewhere)
    output = Output(ours)
    with pytest.raises(ConfigError, match="is a link"):
        output.write("replicates/one/n5.parquet", b"numbers")
    assert not list(elsewhere.iterdir())
    (ours / part).unlink()
    output.write("replicates/one/n5.parquet", b"numbers")
    assert Output(ours).intact("replicates/one/n5.parquet")
    (ours / "replicates" / "one" / "n6.parquet").write_text("theirs")
    with pytest.raises(ConfigError, match=r"n6\.parquet is a file"):
        output.write("replicates/one/n6.parquet", b"numbers")


def test_a_leftover_is_removed_and_what_only_looks_like_one_is_kept(
    ours: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "theirs").touch()
    (ours / ".tmp-999999999-abcdefgh").symlink_to(tmp_path / "elsewhere")
    for name in (".report-mine", ".tmp-mine", f".tmp-{os.getpid()}-abcdefgh"):
        (ours / name).mkdir()
    (ours / ".tmp-999999999-half-written").mkdir()
    enter(ours)
    assert [name for name in names(ours) if name.startswith((".tmp", ".rep"))] == [
        ".report-mine",
        f".tmp-{os.getpid()}-abcdefgh",
        ".tmp-mine",
    ]
    assert (tmp_path / "elsewhere" / "theirs").is_file()


# ---------------------------------------------------------------- whole or not at all


@pytest.mark.parametrize("place", range(3))
def test_what_cannot_be_published_whole_leaves_the_report_before(
    place: int, ours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in ours.iterdir()}
    moved: list[Path] = []
    replace = type(ours).replace

    def failing(path: Path, target: Path) -> Path:
        if len(moved) == place:
            moved.append(path)
            raise OSError(30, "Read-only file system", str(target))
        moved.append(path)
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(type(ours), "replace", failing)
        with pytest.raises(StoreError, match="Read-only"):
            write(ours, names=(*NAMES, "another.csv"))
    assert {path.name: path.read_bytes() for path in ours.iterdir()} == before
    write(ours, names=(*NAMES, "another.csv"))
    assert (ours / "another.csv").read_text() == "new"


def test_a_file_system_without_second_names_will_do(
    ours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    write(ours)
    assert (ours / "index.html").read_text() == "new"


def test_the_list_is_what_sha256sum_checks(ours: Path) -> None:
    program = shutil.which("sha256sum")
    if program is None:
        pytest.skip("no sha256sum")
    Output(ours).write("folder/table.csv", b"1")
    check = [program, "--quiet", "-c", LIST]
    assert subprocess.run(check, cwd=ours, check=False).returncode == 0
    (ours / "folder" / "table.csv").write_text("2")
    assert subprocess.run(check, cwd=ours, check=False, capture_output=True).returncode == 1
    assert Output(ours).damaged() == ["folder/table.csv"]


@pytest.mark.parametrize("text", ["", "\0\xff", f"{'0' * 64}  ../precious\n", "{}"])
def test_a_list_that_says_nothing_makes_nothing_ours(text: str, ours: Path) -> None:
    (ours / LIST).write_text(text, "latin-1")
    with pytest.raises(ConfigError, match="concord has not written"):
        enter(ours)
    assert (ours / "index.html").read_text() == "old"
    enter(ours, force=True)
    write(ours)
    assert (ours / "index.html").read_text() == "new"


def test_a_second_command_is_kept_out(ours: Path) -> None:
    with held(ours), pytest.raises(InUseError, match="lock"):
        enter(ours)


def test_what_pages_use_is_written_down(ours: Path) -> None:
    note_used(ours, "index.html", {"b", "a"})
    note_used(ours, "study.html", {"c"})
    note_used(ours, "index.html", {"a"})
    assert used(ours) == {"a", "c"}
    for text in ('{"used": 1}', '{"used": {"a": 1}}', "[" * 100_000, "nonsense"):
        (ours / ".report.json").write_text(text)
        assert used(ours) == set()
    assert read(ours / "nothing") is None


# ---------------------------------------------------------------- by the command line


@pytest.mark.faults
def test_a_run_refuses_heals_lists_verifies_and_prunes(tmp_path: Path) -> None:
    project = scratch.make(tmp_path)

    def store(*more: str) -> subprocess.CompletedProcess[str]:
        command = [*project.command()[:3], "store", *more, "--out", str(project.out)]
        return subprocess.run(
            command,
            cwd=project.path,
            env=project.environment(),
            capture_output=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )

    project.out.mkdir(parents=True)
    (project.out / "thesis.tex").write_text("theirs")
    refused = project.run("--jobs", "1")
    assert refused.returncode == 2
    assert "'thesis.tex'" in refused.stderr
    assert names(project.out) == ["thesis.tex"]
    assert project.run("--jobs", "1", "--force").returncode == 0
    # what is published is hashed: a damaged table is made anew, once, and nothing is fitted
    results = (project.out / "results.json").read_bytes()
    (project.out / "results.json").write_bytes(results[:-1] + b"?")
    entry = next(path for path in (project.out / "fits").iterdir() if (path / "fit.nc").exists())
    shutil.rmtree(entry)
    entry.symlink_to(tmp_path / "nothing")
    os.mkfifo(project.out / "fits" / "pipe")
    found = store("verify")
    assert found.returncode == 4
    assert f"{entry}: it is a link" in found.stdout
    assert f"{project.out / 'results.json'}: is missing or not as it was written" in found.stdout
    begun = len(project.fitted())
    healed = project.run("--jobs", "1")
    assert healed.returncode == 0
    assert healed.stderr.count("is corrupt") == 1
    assert healed.stderr.count("is not as concord wrote it") == 1
    assert (project.out / "results.json").read_bytes() == results
    assert len(project.fitted()) == begun + 1
    assert store("verify").returncode == 0
    listed = store("list").stdout
    assert listed.count("in use") == 6  # three fits, the verdicts of two statements, the results
    assert "fake[one] of toy on my data" in listed
    shutil.copytree(entry, entry.with_name("f" * 64))
    planned, done = store("prune", "--dry-run").stdout, store("prune").stdout
    assert planned.replace("would remove", "removed") == done
    assert f"{entry}.corrupt-1: set aside" in done
    assert "f" * 64 in done
    assert "pipe" in names(project.out / "fits")
    assert (project.out / "thesis.tex").read_text() == "theirs"
    last = project.run("--jobs", "1")
    assert last.returncode == 0
    assert "corrupt" not in last.stderr
    assert len(project.fitted()) == begun + 1
