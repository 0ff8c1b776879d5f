"""The entry of the command line: one process works, this one waits for it and for signals."""

import sys
from typing import Never

from comparisons.runs import supervisor


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
