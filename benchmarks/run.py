"""Every promise of speed, both sides measured in one run; the table goes to `README.md` here.

Each file beside this one that has no underscore is a benchmark, but for `engines.py` and
`power.py`: its docstring says what is measured, its `rows()` measures (its `planted()`: what finds
planted errors, and how soon).
Usage: `python benchmarks/run.py [NAME …]`.  It takes some minutes; nothing else should run
meanwhile.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import platform
import sys
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

BEGIN, END = "<!-- measured -->", "<!-- end -->"
HEADER = ("work", "against", "here", "there", "compilation, once", "measured", "goal")


def main() -> None:
    """Measures, prints the table and, if all of it was measured, writes it to the page."""
    here = Path(__file__)
    others = (here.name, "engines.py", "power.py")  # which write pages of their own
    names = [p.stem for p in sorted(here.parent.glob("[!_]*.py")) if p.name not in others]
    machine = (
        f"{os.cpu_count()} processors, {platform.machine()}, Python {platform.python_version()}"
    )
    rows, planted = [_line(HEADER), _rule(HEADER)], []
    for name in sys.argv[1:] or names:
        # each in a process of its own, so that none meets what another has left behind
        process = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=process) as alone:
            for lines, found in zip(
                (rows, planted), alone.submit(_measured, name).result(), strict=True
            ):
                lines += found
                print(*found, sep="\n", flush=True)
    if sys.argv[1:]:
        return
    measured = "\n".join(
        [f"Measured with {machine}, JAX {version('jax')}.", "", *rows, "", *planted]
    )
    page = here.with_name("README.md")
    head, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    page.write_text(
        f"{head}{BEGIN}\n\n{measured}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8"
    )


def _measured(name: str) -> tuple[list[str], list[str]]:
    """Lines of both tables by a benchmark."""
    import jax

    jax.config.update("jax_enable_x64", True)
    module = vars(importlib.import_module(name))
    rows = [_line(row.cells()) for row in module["rows"]()] if "rows" in module else []
    if "planted" not in module:
        return rows, []
    header = module["HEADER"]
    return rows, [_line(header), _rule(header), *map(_line, module["planted"]())]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _rule(cells: Sequence[str]) -> str:
    return f"|{'---|' * len(cells)}"


if __name__ == "__main__":
    main()
