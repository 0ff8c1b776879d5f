"""Kills, interruptions, damage and full disks: finished work is kept, nothing half-done is seen."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import scratch
from scratch import Scratch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.faults


def results(project: Scratch) -> list[dict[str, Any]]:
    return json.loads((project.out / "results.json").read_text())


def wait_for(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    """Whether a process has ended; one that its parent has not yet waited for has."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def contents(project: Scratch) -> dict[str, bytes]:
    """The report and the store, but for the log of the workers."""
    found = (path for path in project.out.rglob("*") if path.is_file() and path.name != "run.log")
    return {str(path.relative_to(project.out)): path.read_bytes() for path in found}


@pytest.fixture
def project(tmp_path: Path) -> Scratch:
    return scratch.make(tmp_path)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Scratch:
    """A project whose run nothing disturbed."""
    project = scratch.make(tmp_path_factory.mktemp("undisturbed"))
    assert project.run().returncode == 0
    return project


@pytest.fixture
def waiting(project: Scratch) -> Iterator[subprocess.Popen[str]]:
    """A run that has finished one fit and hangs in the next."""
    project.order("two", "wait")
    with subprocess.Popen(
        project.command(),
        cwd=project.path,
        env=project.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        try:
            wait_for(lambda: "two" in project.fitted() or process.poll() is not None)
            assert process.poll() is None, process.stderr
            yield process
        finally:
            process.kill()


def test_an_interrupted_run_keeps_its_fits_and_resumes(
    project: Scratch, waiting: subprocess.Popen[str], undisturbed: Scratch
) -> None:
    second = project.run()
    assert second.returncode == 3
    assert str(project.out / ".lock") in second.stderr
    waiting.send_signal(signal.SIGINT)
    waiting.send_signal(signal.SIGINT)
    output, errors = waiting.communicate(timeout=30)
    assert waiting.returncode == 130
    assert output == ""
    assert "after 1 of 3 fits" in errors
    assert "the same command resumes" in errors
    assert "Traceback" not in errors
    assert all(map(gone, project.workers()))
    (project.control / "two").unlink()
    assert project.run().returncode == 0
    assert project.fitted() == ["one", "two", "two", "three"]
    assert results(project) == results(undisturbed)


def test_termination_is_an_interruption(project: Scratch, waiting: subprocess.Popen[str]) -> None:
    waiting.terminate()
    _, errors = waiting.communicate(timeout=30)
    assert waiting.returncode == 130
    assert "the same command resumes" in errors
    assert all(map(gone, project.workers()))


def test_a_killed_run_leaves_no_process_and_resumes(
    project: Scratch, waiting: subprocess.Popen[str], undisturbed: Scratch
) -> None:
    half_written = project.out / "fits" / f".tmp-{waiting.pid}-half-written"
    half_written.mkdir()
    waiting.kill()
    waiting.communicate(timeout=30)
    wait_for(lambda: all(map(gone, project.workers())))
    (project.control / "two").unlink()
    assert project.run().returncode == 0
    assert project.fitted() == ["one", "two", "two", "three"]
    assert results(project) == results(undisturbed)
    assert not half_written.exists()


def test_failing_and_lethal_fits_leave_the_others(project: Scratch, undisturbed: Scratch) -> None:
    project.order("one", "kill-once")
    project.order("two", "break")
    project.order("three", "kill")
    done = project.run("--methods", "fake", "--only", "same_average")
    assert done.returncode == 4
    (found,) = results(project)
    (expected,) = results(undisturbed)
    method = project.path / "methods" / "fake.py"
    killing = 'case "kill":'
    line = f"{method}:{1 + method.read_text().splitlines().index(f'            {killing}') + 1}"
    assert found["failures"] == {
        "fake[two]": "ZeroDivisionError: a bug",
        "fake[three]": f"{line}: the worker was killed (signal 9) twice",
    }
    assert found["estimates"] == {"fake[one]": expected["estimates"]["fake[one]"]}
    assert found["outcomes"]["same_average"] == ["AGREE"]
    assert project.fitted() == ["one", "one", "two", "three", "two", "three", "two"]
    for name, reason in found["failures"].items():
        assert f"error: toy-my-data {name}: {reason}" in done.stderr


def test_a_case_that_kills_every_worker_at_its_start_is_an_error(project: Scratch) -> None:
    # the run itself imports the model file too, and lives
    lethal = "import os, sys\nif 'comparisons.runs.run' not in sys.modules: os._exit(7)\n"
    model = project.path / "my_model.py"
    model.write_text(lethal + model.read_text())
    done = project.run()
    assert done.returncode == 4
    assert "no case could be run" in done.stderr
    assert "the worker ended (exit status 7) twice during the start" in done.stderr


def test_a_damaged_fit_is_told_once_and_fitted_again(undisturbed: Scratch) -> None:
    before, begun = results(undisturbed), len(undisturbed.fitted())
    path = undisturbed.out / before[0]["files"]["fake[two]"]
    content = bytearray(path.read_bytes())
    content[-800] ^= 4
    path.write_bytes(content)
    done = undisturbed.run()
    assert done.returncode == 0
    assert done.stderr.count("corrupt") == 2  # what it was, and where it is now
    assert undisturbed.fitted()[begun:] == ["two"]
    assert results(undisturbed) == before
    assert len(list(undisturbed.out.glob("fits/*.corrupt-1"))) == 1


def test_a_full_disk_is_an_error_and_the_previous_report_stays(undisturbed: Scratch) -> None:
    before = {p.name: p.read_bytes() for p in undisturbed.out.iterdir() if p.suffix == ".html"}
    undisturbed.order("one", "large")
    done = subprocess.run(
        ["bash", "-c", 'ulimit -f 1000; exec "$@"', "-", *undisturbed.command("--seed", "1")],
        cwd=undisturbed.path,
        env=undisturbed.environment(),
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    (undisturbed.control / "one").unlink()
    assert done.returncode == 2
    assert "File too large" in done.stderr
    assert "bytes are free" in done.stderr
    assert str(undisturbed.out) in done.stderr
    assert not list(undisturbed.out.glob("fits/.tmp-*"))
    after = {p.name: p.read_bytes() for p in undisturbed.out.iterdir() if p.suffix == ".html"}
    assert before == after != {}


def test_a_bare_environment_and_a_closed_pipe_change_nothing(undisturbed: Scratch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            undisturbed.command("--jobs", "3"),
            cwd=undisturbed.path,
            env=undisturbed.environment() | {"LC_ALL": "C", "NO_COLOR": "1", "TERM": "dumb"},
            stdout=writing,
            stderr=subprocess.PIPE,
            timeout=120,
            check=False,
        )
    finally:
        os.close(writing)
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
    assert b"\x1b" not in done.stderr


def test_a_directory_made_read_only_keeps_the_previous_report(undisturbed: Scratch) -> None:
    before, begun = contents(undisturbed), len(undisturbed.fitted())
    # to the superuser permissions are nothing, unless that capability is dropped
    ordinary = os.geteuid() != 0
    drop = [] if ordinary else ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    if drop and shutil.which(drop[0]) is None:
        pytest.skip("permissions do not bind the superuser, and there is no setpriv")
    folders = (undisturbed.out / "fits", undisturbed.out)
    for folder in folders:
        folder.chmod(0o555)
    try:
        tried = subprocess.run([*drop, "touch", str(undisturbed.out / "x")], capture_output=True)
        if tried.returncode == 0:
            pytest.skip("permissions do not bind here")
        done = subprocess.run(
            [*drop, *undisturbed.command("--seed", "2")],
            cwd=undisturbed.path,
            env=undisturbed.environment(),
            capture_output=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert done.returncode == 2
    assert "Permission denied" in done.stderr
    assert str(undisturbed.out) in done.stderr
    assert "bytes are free" in done.stderr
    assert "Traceback" not in done.stderr
    assert undisturbed.fitted()[begun:] in ([], ["one"])  # the first that cannot be kept ends it
    assert contents(undisturbed) == before != {}


@pytest.mark.parametrize("killed", [True, False], ids=["a new worker", "the same worker"])
def test_a_directory_that_vanishes_is_an_error_and_the_command_repairs_it(
    project: Scratch, undisturbed: Scratch, killed: bool
) -> None:
    method = project.path / "methods" / "fake.py"
    endless, until = "time.sleep(600)", "while control.exists(): time.sleep(0.02)"
    assert endless in method.read_text()
    method.write_text(method.read_text().replace(endless, until))
    project.order("two", "wait")
    with subprocess.Popen(
        project.command("--jobs", "2"),
        cwd=project.path,
        env=project.environment(),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        wait_for(lambda: "two" in project.fitted() or process.poll() is not None)
        shutil.rmtree(project.out)
        (project.control / "two").unlink()
        if killed:
            for worker in project.workers():
                os.kill(worker, signal.SIGKILL)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert output == ""
    assert str(project.out) in errors
    assert "Traceback" not in errors
    assert all(map(gone, project.workers()))
    assert not list(project.out.glob("*.html"))
    if killed:
        return
    assert project.run().returncode == 0
    # the key of a fit knows its source, so only the names of the files differ
    ((found,), (expected,)) = results(project), results(undisturbed)
    assert {**found, "files": expected["files"]} == expected


ALLOCATES = """
        import resource
        import psutil
        used = psutil.Process().memory_info().vms
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, resource.RLIM_INFINITY))
        np.ones(2**28)
"""


def test_a_model_that_runs_out_of_memory_leaves_the_other_fits(
    project: Scratch, undisturbed: Scratch
) -> None:
    model, method = project.path / "my_model.py", project.path / "methods" / "fake.py"
    start, bug = "    def start(self, rng, data):\n", 'raise ZeroDivisionError("a bug")'
    assert start in model.read_text()
    assert bug in method.read_text()
    model.write_text(model.read_text().replace(start, start + ALLOCATES))
    method.write_text(method.read_text().replace(bug, "model.start(rng, data)"))
    project.order("two", "break")
    done = project.run("--methods", "fake", "--only", "same_average")
    assert done.returncode == 4
    (found,) = results(project)
    (expected,) = results(undisturbed)
    assert list(found["failures"]) == ["fake[two]"]
    assert "MemoryError: Unable to allocate 2.00 GiB" in found["failures"]["fake[two]"]
    # the same worker goes on, with the little memory that is left
    assert len(project.workers()) == 1
    assert found["estimates"].keys() == {"fake[one]", "fake[three]"}
    assert found["estimates"].items() <= expected["estimates"].items()
    assert f"error: toy-my-data fake[two]: {found['failures']['fake[two]']}" in done.stderr


def test_hostile_metadata_is_set_aside_and_fitted_again(undisturbed: Scratch) -> None:
    (found,), begun = results(undisturbed), len(undisturbed.fitted())
    aside = len(list(undisturbed.out.glob("fits/*.corrupt-*")))
    hostile = {
        "fake[one]": '{"content": 1e999, "sha256": [1]}',
        "fake[two]": '{"content": {"<script>alert(1)</script>": "../../../etc/passwd"}}',
        "fake[three]": '{"content": ' + "[" * 100_000,
    }
    for name, text in hostile.items():
        (undisturbed.out / found["files"][name]).with_name("meta.json").write_text(text)
    mark = undisturbed.out / ".report.json"
    outside = {"files": {"../../control/log": "0", "/etc/passwd": "0"}}
    mark.write_text(json.dumps(json.loads(mark.read_text()) | outside))
    done = undisturbed.run()
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "<script>" not in done.stderr
    assert done.stdout.strip() == str(undisturbed.out / "index.html")
    assert undisturbed.fitted()[begun:] == ["one", "two", "three"]
    assert results(undisturbed) == [found]
    assert len(list(undisturbed.out.glob("fits/*.corrupt-*"))) == aside + 3


@pytest.mark.parametrize("page", ["/etc/passwd", 5, ["index.html"]])
def test_a_hostile_mark_of_the_report_leads_nowhere(undisturbed: Scratch, page: object) -> None:
    path = undisturbed.out / ".report.json"
    kept = path.read_text()
    path.write_text(json.dumps(json.loads(kept) | {"page": page}))
    try:
        assert undisturbed.run().stdout.strip() == str(undisturbed.out / "index.html")
    finally:
        path.write_text(kept)


def test_a_directory_that_cannot_be_made_is_named(project: Scratch) -> None:
    (project.path / "a report").write_text("a file")
    done = project.run()
    assert done.returncode == 2
    assert f"{project.path / 'a report'}" in done.stderr
    assert "bytes are free" in done.stderr
    assert project.fitted() == []
