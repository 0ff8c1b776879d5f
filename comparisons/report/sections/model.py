"""Section 1: the model and its two programs."""

import inspect

from comparisons.claims import GATE
from comparisons.report.facts import Facts
from comparisons.report.figures.canvas import Picture
from comparisons.report.figures.graph import graph, parents
from comparisons.report.result import CaseResult
from comparisons.report.sections.parts import Section, claims, table, words
from comparisons.report.tables import settings
from models.capabilities import HasOwnPrograms
from models.programs.density import languages, quantity_table
from models.spec import Model

_LIBRARIES = {"numpyro": "NumPyro", "pymc": "PyMC"}


def section(known: Facts) -> Section:
    """The parameters, the formulas, the graph and the programs."""
    model, cls = known.result.model, type(known.result.model)
    reported = [parameter.name for parameter in quantity_table(model)]
    parts = f"part of {', '.join(reported)}"
    parameters = {
        "parameter": words(lambda p: p.name),
        "support": words(lambda p: p.support),
        "dims": words(lambda p: ", ".join(p.dims) or "scalar"),
        "reported as": words(lambda p: "itself" if p.name in reported else parts),
    }
    hyper = {"name": words(lambda pair: pair[0].name), "value": words(lambda pair: repr(pair[1]))}
    own = isinstance(model, HasOwnPrograms)  # of which our own words would say nothing
    documents = () if own else (inspect.getdoc(cls), inspect.getdoc(inspect.getmodule(cls)))
    question = "What is fitted, and are the two programs one model?"
    told = claims(known.result, "model", "Model", question)
    if len(languages(model)) == 1:
        told = told._replace(verdict="One program only: there is nothing to hold it against.")
    return told._replace(
        pictures=[_graph(known.result), *told.pictures],
        tables=[
            table("Parameters", model.parameters, parameters),
            table("Hyper-parameters, priors included", settings(model).items(), hyper),
            *told.tables,
        ],
        notes=[text for text in documents if text],
        sources=tuple(
            (f"{_LIBRARIES[one]} program", _source(model, one)) for one in languages(model)
        ),
    )


def _graph(result: CaseResult) -> Picture | None:
    """The graph; None where the gate could not read the programs, of which it has told."""
    gate = result.verdicts.get(GATE, ())
    if gate and all(verdict.outcome == "NOT COMPARABLE" for verdict in gate):
        return None
    return graph(*parents(result.model, result.data))


def _source(model: Model, language: str) -> str:
    if isinstance(model, HasOwnPrograms) and (text := model.source_of(language)):
        return text
    try:
        return inspect.cleandoc("\n" + inspect.getsource(getattr(type(model), language)))
    except (OSError, TypeError):
        return "The source is not available: the model was not defined in a file."
