"""The environment that the libraries underneath read, set before any of them is imported.

The command line and its worker processes share it; importing `comparisons` changes nothing.
"""

import os
import tempfile
import zlib
from contextlib import suppress
from pathlib import Path

ZSTANDARD = b"\x28\xb5\x2f\xfd"  # begins what JAX compresses, where that library is installed


def prepare() -> None:
    """Sets precision, devices and compilation caches; what the user has set is kept.

    float64 is not a choice.  One thread for linear algebra: its result depends on their number.
    """
    caches = cache_directory()
    # PyTensor splits its flags like a shell's words
    escaped = str(caches / "pytensor").replace("\\", "\\\\").replace('"', '\\"')
    flags = {
        "base_compiledir": f'"{escaped}"',
        "cast_policy": "numpy+floatX",  # Python numbers would become float32 constants
        "numba__fastmath": "False",  # else a cold and a warm cache give different draws
    }
    own = ",".join(f"{name}={value}" for name, value in flags.items())
    theirs = os.environ.get("PYTENSOR_FLAGS", "")
    os.environ["PYTENSOR_FLAGS"] = f"{own},{theirs}" if theirs else own
    os.environ["JAX_ENABLE_X64"] = "1"
    for name, value in {
        "JAX_CPU_ENABLE_ASYNC_DISPATCH": "0",  # a small call costs half as much in its own thread
        "JAX_NUM_CPU_DEVICES": "4",  # one for each chain
        "JAX_COMPILATION_CACHE_DIR": str(caches / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "OMP_NUM_THREADS": "1",
    }.items():
        os.environ.setdefault(name, value)
    with suppress(OSError):  # JAX warns where it cannot use the cache
        _heal(caches / "jax")


def cache_directory() -> Path:
    """The user's cache directory for this program; a private temporary one if there is none."""
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return _writable(Path(base).absolute() / "concord")
    except (OSError, RuntimeError):  # RuntimeError: there is no home directory
        pass
    try:
        shared = _writable(Path(tempfile.gettempdir()) / f"concord-{os.getuid()}")
        # compiled code is loaded from here: it must be nobody else's
        if shared.stat().st_uid == os.getuid() and shared.stat().st_mode & 0o022 == 0:
            return shared
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="concord-"))


def _heal(cache: Path) -> None:
    """Removes compiled code that a kill or a full disk cut short: JAX warns of it in every run.

    Only what was written since the last look is read.
    """
    cache.mkdir(exist_ok=True)
    looked = cache / ".looked"
    since = looked.stat().st_mtime_ns if looked.exists() else 0
    for entry in cache.glob("*-cache"):
        with suppress(FileNotFoundError):  # another command has removed it
            if entry.stat().st_mtime_ns >= since and _cut_short(entry.read_bytes()):
                entry.unlink()
    looked.touch()


def _cut_short(code: bytes) -> bool:
    try:
        return not code.startswith(ZSTANDARD) and not zlib.decompress(code)
    except zlib.error:
        return True


def memory_limit() -> int:
    """Bytes that Dask takes a process to have: the machine's, or less in a container's bounds."""
    from distributed.system import memory_limit as of_machine_or_container

    return of_machine_or_container()


def _writable(path: Path) -> Path:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path):
        return path
