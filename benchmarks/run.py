"""Every promise of speed, both sides measured in one run; the table goes to `README.md` here.

Each file beside this one that has no underscore is a benchmark: its docstring says what is
measured, its `rows()` measures (its `planted()`: what finds planted errors, and how soon).
Usage: `python benchmarks/run.py [NAME …]`.  It takes some minutes; nothing else should run
meanwhile.
"""

from __future__ import annotations

import importlib
import os
import platform
import sys
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_num_cpu_devices", 4)  # one for each chain of the direct run

BEGIN, END = "<!-- measured -->", "<!-- end -->"
HEADER = ("work", "against", "here", "there", "compilation, once", "measured", "goal")


def main() -> None:
    """Measures, prints the table and, if all of it was measured, writes it to the page."""
    here = Path(__file__)
    names = [p.stem for p in sorted(here.parent.glob("[!_]*.py")) if p != here]
    machine = (
        f"{os.cpu_count()} processors, {platform.machine()}, Python {platform.python_version()}"
    )
    lines = [
        f"Measured with {machine}, JAX {jax.__version__}.", "",
        f"| {' | '.join(HEADER)} |", f"|{'---|' * len(HEADER)}",
    ]  # fmt: skip
    modules = [importlib.import_module(name) for name in sys.argv[1:] or names]
    for module in (module for module in modules if "rows" in vars(module)):
        for row in module.rows():
            lines.append(f"| {' | '.join(row.cells())} |")
            print(lines[-1], flush=True)
    for module in (module for module in modules if "planted" in vars(module)):
        lines += ["", f"| {' | '.join(module.HEADER)} |", f"|{'---|' * len(module.HEADER)}"]
        for cells in module.planted():
            lines.append(f"| {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    if sys.argv[1:]:
        return
    page = here.with_name("README.md")
    head, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    measured = "\n".join(lines)
    page.write_text(
        f"{head}{BEGIN}\n\n{measured}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
