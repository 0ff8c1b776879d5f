"""The entry of the command line: one process works, this one waits for it and for signals."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from comparisons.runs import supervisor

if TYPE_CHECKING:
    from typing import Never


def main() -> Never:
    """Runs the command line and ends the process with its exit code."""
    if "--debug" in sys.argv:
        _work()
    raise SystemExit(supervisor.supervised(_work))


def _work() -> Never:
    from comparisons.runs.command_line import main

    main()


if __name__ == "__main__":
    main()
