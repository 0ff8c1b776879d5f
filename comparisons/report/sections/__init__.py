"""The sections of a page: question, finding, figures, tables."""

from comparisons.report.facts import Facts
from comparisons.report.sections import model, runs
from comparisons.report.sections.parts import Section


def sections(known: Facts, command: str) -> list[Section]:
    """Every section of the page, in the order of the report, without what has nothing to show."""
    every = (
        model.programs(known),
        runs.trust(known),
        runs.agreement(known),
        runs.information(known),
        model.order(known),
        model.fit(known),
        runs.calibration(known),
        runs.cost(known),
        runs.origin(known, command),
    )
    return [
        section._replace(
            title=f"{number}. {section.title}",
            pictures=[picture for picture in section.pictures if picture],
            tables=[table for table in section.tables if table.rows],
        )
        for number, section in enumerate(filter(None, every), 1)
    ]
