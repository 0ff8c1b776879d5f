"""A user's code that ends, hangs or crashes its process: exit code 2, with its file and line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import scratch

pytestmark = pytest.mark.faults

PROGRAM = """
import ctypes, os, posix, signal, sys, threading, time
import numpyro, numpyro.distributions as dist
{first}
def model(y):
    {inside}
    mu = numpyro.sample("mu", dist.Normal(0, 10))
    numpyro.sample("y", dist.Normal(mu, 1), obs=y)
"""


def check(path: Path, first: str, inside: str, *more: str) -> subprocess.CompletedProcess[str]:
    """Checks a program with a line in its file and a line inside of it."""
    (path / "port.py").write_text(PROGRAM.format(first=first, inside=inside))
    (path / "data.csv").write_text("y\n1.5\n2.25\n0.5\n")
    program = ["--numpyro", "port.py:model", "--data", "data.csv"]
    return subprocess.run(
        [sys.executable, "-P", "-m", "comparisons", "check", *program, *more],
        cwd=path,
        env=scratch.Scratch(path).environment(),
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


LINES = {"first": 4, "inside": 6}


@pytest.mark.parametrize(
    ("where", "line", "told"),
    [
        ("first", "sys.exit(0)", "SystemExit: 0"),
        ("first", "os._exit(0)", "the process ended (exit status 0)"),
        ("first", "os.execv('/bin/true', ['true'])", "the process ended (exit status 0)"),
        ("first", "class Other(BaseException): pass\nraise Other('no')", "Other: no"),
        ("first", "ctypes.string_at(0)", "the process was killed (signal 11)"),
        ("inside", "sys.exit(0)", "SystemExit: 0"),
        ("inside", "os._exit(0)", "the process ended (exit status 0)"),
        ("inside", "os.kill(os.getpid(), 9)", "the process was killed (signal 9)"),
    ],
)
def test_leaving_is_an_error_with_its_line(
    tmp_path: Path, where: str, line: str, told: str
) -> None:
    done = check(tmp_path, **{"first": "", "inside": "pass", where: line})
    assert done.returncode == 2, done.stderr
    assert told in done.stderr
    assert f"port.py:{LINES[where] + line.count(chr(10))}" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_leaving_unnoticed_by_python_is_no_success(tmp_path: Path) -> None:
    done = check(tmp_path, "posix._exit(0)", "pass")
    assert done.returncode == 2
    assert f"during the import of {tmp_path / 'port.py'}" in done.stderr


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ("first", "while True: pass"),
        ("inside", "time.sleep(1000)"),
        ("inside", "while True:\n        try: time.sleep(0.1)\n        except BaseException: pass"),
    ],
)
def test_an_endless_program_meets_the_limit(tmp_path: Path, where: str, line: str) -> None:
    lines = {"first": "", "inside": "pass", where: line}
    done = check(tmp_path, lines["first"], lines["inside"], "--timeout", "5")
    assert done.returncode == 2
    assert "took longer than 5 s" in done.stderr
    assert "--timeout" in done.stderr
    assert f"port.py:{LINES[where]}" in done.stderr or f"port.py:{LINES[where] + 1}" in done.stderr


@pytest.mark.parametrize(
    "line",
    [
        "os.fork()",
        "threading.Timer(0.5, time.sleep, (1000,)).start()",
        "print('printed by the file')",
        "signal.signal(signal.SIGUSR1, signal.SIG_IGN)",
    ],
)
def test_forks_threads_and_output_change_no_result(tmp_path: Path, line: str) -> None:
    done = check(tmp_path, line, "print('printed by the program')")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("ok  ") == 4
    assert "printed" not in done.stdout
    assert "printed by the program" in done.stderr


INTERRUPTED = """
import os, signal, sys, threading, time
from comparisons.runs.signals import polled
from comparisons.runs.supervisor import supervised
waiting = os.getpid()
def work():
    threading.Thread(target=time.sleep, args=(60,)).start()  # keeps the process
    with polled():  # as a run is: it ends by itself
        os.kill(waiting, signal.SIGINT)
        time.sleep(0.5)
    print("interrupted after 2 of 3 fits", file=sys.stderr)
    raise SystemExit(130)
sys.exit(supervised(work))
"""


def test_an_interruption_that_was_told_is_not_told_again() -> None:
    command = [sys.executable, "-P", "-c", INTERRUPTED]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=30, check=False)
    assert (done.returncode, done.stderr) == (130, "interrupted after 2 of 3 fits\n")
