"""The fits of pymc-extras, for the engines that are one function or another."""

from abc import abstractmethod
from typing import Any, ClassVar

import xarray as xr
from numpy.random import Generator

from inference.engine import Found, PymcEngine, library_call
from inference.method import Profile
from models.spec import Model, Values


class PymcExtrasEngine(PymcEngine):
    """An engine of pymc-extras', run where it is asked for."""

    library: ClassVar[str] = "pymc_extras"
    extra: ClassVar[str] = "extras"
    begins: ClassVar[Profile | None] = None
    runs: int = 1

    @abstractmethod
    def tree(self, seed: int) -> Any:
        """The return value of the library's function, in the context of a program."""

    def call(self, model: Model, data: xr.Dataset, rng: Generator, start: Values | None) -> Found:
        trees = []
        for stream in rng.spawn(self.runs):
            with library_call(), model.pymc(data) as program:
                for name, x in (start or {}).items():
                    program.set_initval(program[name], x)
                trees.append(self.tree(self.seed(stream)))
        first = (0, 0) if self.kind == "optimum" else 0
        groups = [{str(n): x.values[first] for n, x in tree["posterior"].items()} for tree in trees]
        if "pathfinder" in trees[0]:
            return Found(groups, khat=float(trees[0]["pathfinder"]["pareto_k"]))
        ended = bool(trees[0]["optimizer_result"]["success"])
        return Found(groups, claims="success of its optimiser" if ended else "")
