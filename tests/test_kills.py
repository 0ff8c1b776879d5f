"""A command, or a cell, that is stopped at any moment: it ends within seconds, and resumes.

By default a few moments of each; `make faults` tries a hundred kills and prints the seed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import psutil
import pytest
import scratch
from jupyter_client.manager import start_new_kernel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.faults

SEED = 20
SECONDS = 5.0
"""Most time that an interrupted command takes to end."""


def command(name: str, project: scratch.Scratch) -> list[str]:
    python = [sys.executable, "-P", "-m", "comparisons", name]
    study = ["asymptotics", "--model", "gaussian", "--n", "10,20", "--replicates", "1000"]
    return {
        "run": project.command(),
        "study": [*python, *study, "--jobs", "2", "--out", str(project.out)],
        "check": [*python, "gaussian"],
    }[name]


class Ended(NamedTuple):
    code: int
    output: str
    errors: str
    seconds: float
    """Since it was told to end, or since it began."""
    session: int


def ended(name: str, project: scratch.Scratch, number: int = 0, moment: float = 0.0) -> Ended:
    """A command in a session of its own; told to end that long after it can take a signal."""
    with subprocess.Popen(
        command(name, project),
        cwd=project.path,
        env=project.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    ) as process:
        while not handles(process.pid, signal.SIGTERM) and process.poll() is None:
            time.sleep(0.001)
        began = time.monotonic()
        if number:
            time.sleep(moment)
            began = time.monotonic()
            process.send_signal(number)
        output, errors = process.communicate(timeout=300)
        seconds = time.monotonic() - began
    return Ended(process.returncode, output, errors, seconds, process.pid)


def handles(pid: int, number: int) -> bool:
    """Whether a process has a handler of its own for a signal."""
    with Path(f"/proc/{pid}/status").open(encoding="ascii") as status:
        caught = next(line for line in status if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def remaining(session: int) -> list[str]:
    """The processes of a session that still run."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()))
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def tables(project: scratch.Scratch) -> dict[str, bytes]:
    """What a command has published."""
    files = [path for path in project.out.rglob("*") if path.suffix in (".csv", ".json")]
    return {
        str(path.relative_to(project.out)): path.read_bytes()
        for path in files
        if "fits" not in path.parts and not path.name.startswith(".")
    }


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., tuple[Ended, dict[str, bytes]]]:
    """What a command says and publishes that nothing stops, once for each command."""
    known: dict[str, tuple[Ended, dict[str, bytes]]] = {}

    def undisturbed(name: str) -> tuple[Ended, dict[str, bytes]]:
        if name not in known:
            project = scratch.make(tmp_path_factory.mktemp(name))
            ended(name, project)  # compiles
            known[name] = ended(name, project), tables(project)
        return known[name]

    return undisturbed


@pytest.mark.parametrize("name", ["run", "study", "check"])
def test_a_command_interrupted_at_any_moment(
    name: str, tmp_path: Path, whole: Callable[..., Any], times: int
) -> None:
    expected, published = whole(name)
    assert expected.code == 0, expected.errors
    project, interrupted = scratch.make(tmp_path), 0
    moments = np.random.default_rng(SEED).uniform(0, expected.seconds, 2 + times // 5)
    for count, moment in enumerate(moments):
        found = ended(name, project, (signal.SIGINT, signal.SIGTERM)[count % 2], moment)
        assert found.seconds < SECONDS, found.errors
        assert "Traceback" not in found.errors
        assert not remaining(found.session)
        if found.code == 0:  # it was told when all was done
            continue
        assert found.code == 130, found.errors
        assert "interrupted" in found.errors
        interrupted += 1
    assert interrupted >= len(moments) / 2
    assert ended(name, project).code == 0
    assert tables(project) == published


@pytest.mark.parametrize("name", ["run", "study"])
def test_a_command_killed_at_any_moment(
    name: str, tmp_path: Path, whole: Callable[..., Any], times: int
) -> None:
    expected, published = whole(name)
    project, killed = scratch.make(tmp_path), 0
    moments = np.random.default_rng(SEED).uniform(0, expected.seconds, times // 2)
    for moment in moments:
        found = ended(name, project, signal.SIGKILL, moment)
        killed += found.code == -signal.SIGKILL
        deadline = time.monotonic() + SECONDS
        while left := remaining(found.session):
            assert time.monotonic() < deadline, left
            time.sleep(0.01)
    assert killed >= len(moments) / 2
    assert ended(name, project).code == 0
    assert tables(project) == published != {}
    print(f"{name}: {killed} of {len(moments)} kills hit, seed {SEED}; tables byte-equal")


CELL = """
import concord as cc
import numpy as np
cc.compare(cc.Gaussian(), np.random.default_rng(1).normal(size={size}))
"""


@pytest.fixture
def kernel() -> Iterator[tuple[Any, Any]]:
    manager, client = start_new_kernel(kernel_name="python3")
    try:
        yield manager, client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_a_cell_interrupted_at_any_moment(kernel: tuple[Any, Any]) -> None:
    manager, client = kernel
    rng = np.random.default_rng(21)
    warmed = client.execute_interactive("import concord as cc; cc.compare", timeout=120)
    assert warmed["content"]["status"] == "ok"
    for size, moment in enumerate(rng.uniform(0, 4, 4), 40):
        # compiled anew for each size; an error before it must not cancel it
        request = client.execute(CELL.format(size=size), stop_on_error=False)
        time.sleep(moment)
        asked = time.monotonic()
        manager.interrupt_kernel()
        reply = client.get_shell_msg(timeout=60)
        took = time.monotonic() - asked
        assert reply["parent_header"]["msg_id"] == request
        assert took < SECONDS
        assert reply["content"]["status"] == "error"
        assert reply["content"]["ename"] == "KeyboardInterrupt"
    assert client.execute_interactive("1 + 1", timeout=30)["content"]["status"] == "ok"
