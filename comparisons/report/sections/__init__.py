"""The sections of a page: question, verdict, figures, tables."""

from comparisons.report.facts import Facts
from comparisons.report.sections import agreement, model, order, trust
from comparisons.report.sections.parts import Section


def sections(known: Facts, command: str) -> list[Section]:
    """Every section of the page, in the order of the report, without what has nothing to show."""
    every = (
        model.section(known),
        trust.section(known),
        agreement.section(known),
        agreement.information(known),
        order.section(known),
        order.fit(known),
        trust.cost(known),
        trust.origin(known, command),
    )
    return [
        section._replace(
            title=f"{number}. {section.title}",
            pictures=[picture for picture in section.pictures if picture],
            tables=[table for table in section.tables if table.rows],
        )
        for number, section in enumerate(every, 1)
    ]
