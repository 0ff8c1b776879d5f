"""Every test runs in float64, as every comparison does."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if "PYTEST_XDIST_WORKER" in os.environ:
    # before JAX counts the processors: each of them has a test process of its own
    os.environ.setdefault("PJRT_NPROC", "1")

from comparisons.runs import command_line, environment

# before JAX is imported: what any process has compiled is read, by commands and notebooks too, from
# a cache that is not the user's own
os.environ["XDG_CACHE_HOME"] = str(Path(__file__).parents[1] / ".pytest_cache")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(environment.cache_directory() / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import jax
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_num_cpu_devices", 4)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--times", type=int, default=10, help="kills, and interruptions, to make")


@pytest.fixture
def times(request: pytest.FixtureRequest) -> int:
    """How often a command is killed or interrupted: `make faults` asks for a hundred times."""
    return request.config.getoption("--times")


@pytest.fixture(scope="module")
def unoptimised() -> Iterator[None]:
    """Compiles in less time, for laws whose programs run a few times each.

    What was compiled before is dropped, and so is what is compiled here: JAX does not tell them
    apart.
    """
    jax.clear_caches()
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    jax.clear_caches()


@pytest.fixture
def concord(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """Runs the command line in this process: (exit code, standard output, standard error).

    It starts in the test's own folder and leaves this process's environment and signals alone.
    """
    monkeypatch.setattr(environment, "prepare", lambda: None)
    monkeypatch.setattr("signal.signal", lambda number, handler: None)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["concord", *arguments])
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        code = ended.value.code or 0
        assert isinstance(code, int)
        return code, *capsys.readouterr()

    return call
