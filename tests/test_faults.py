"""Kills, interruptions, damage and full disks: finished work is kept, nothing half-done is seen."""

from __future__ import annotations

import json
import os
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
    assert found["failures"] == {
        "fake[two]": "ZeroDivisionError: a bug",
        "fake[three]": "the worker was killed (signal 9) twice",
    }
    assert found["estimates"] == {"fake[one]": expected["estimates"]["fake[one]"]}
    assert found["outcomes"]["same_average"] == ["AGREE"]
    assert project.fitted() == ["one", "one", "two", "three", "two", "three", "two"]
    for name, reason in found["failures"].items():
        assert f"error: toy-my-data {name}: {reason}" in done.stderr


def test_a_case_that_kills_every_worker_at_its_start_is_an_error(project: Scratch) -> None:
    # the run itself imports the model file too, and lives
    lethal = "import os, sys\nif 'comparisons._run' not in sys.modules: os._exit(7)\n"
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


def test_a_directory_that_cannot_be_made_is_named(project: Scratch) -> None:
    (project.path / "a report").write_text("a file")
    done = project.run()
    assert done.returncode == 2
    assert f"{project.path / 'a report'}" in done.stderr
    assert "bytes are free" in done.stderr
    assert project.fitted() == []
