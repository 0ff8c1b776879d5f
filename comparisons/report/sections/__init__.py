"""The sections of a page, one file for each: question, verdict, figures, tables."""

from comparisons.report.facts import Facts
from comparisons.report.sections import (
    agreement,
    cost,
    fisher,
    fit,
    model,
    order,
    provenance,
    trust,
)
from comparisons.report.sections.parts import Section


def sections(known: Facts, command: str) -> list[Section]:
    """Every section of the page, in the order of the report."""
    told = (model, trust, agreement, fisher, order, fit, cost)
    every = [*(module.section(known) for module in told), provenance.section(known, command)]
    return [
        section._replace(
            pictures=[picture for picture in section.pictures if picture],
            tables=[table for table in section.tables if table.rows],
        )
        for section in every
    ]
