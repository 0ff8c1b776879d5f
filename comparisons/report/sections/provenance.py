"""Section 9: what it takes to make the case again, and what changed since the last run."""

from collections import Counter

from comparisons.report.facts import Facts, provenance
from comparisons.report.sections.parts import Column, Section, table, words


def section(known: Facts, command: str) -> Section:
    """The run, the versions and the changes."""
    facts = provenance(known.result, command)
    versions = facts.pop("versions")
    changed = [change for change in known.changes or () if change[1] != "unchanged"]
    told = [(key.replace("_", " "), str(value)) for key, value in facts.items()]
    tables = [
        table("The run", told, _columns("what", "value")),
        table("Versions", versions.items(), _columns("distribution", "version"), folded=True),
        table(
            "What changed since the last run", changed, _columns("statement", "change", "numbers")
        ),
    ]
    question, verdict = "How was this made, and what changed?", _verdict(known.changes)
    return Section("provenance", "Provenance", question, verdict, tables=tables)


def _verdict(changes: tuple[tuple[str, str, str], ...] | None) -> str:
    if changes is None:
        return "There is no earlier run here to compare with."
    counts = Counter(change for _, change, _ in changes)
    moved = counts["changed"]
    return (
        f"Since the last run {moved} verdict{'s' if moved != 1 else ''} changed; "
        f"{counts['cannot tell']} cannot be told apart from Monte Carlo error; "
        f"{counts['unchanged']} are unchanged."
    )


def _columns(*names: str) -> dict[str, Column]:
    """Columns of rows that are tuples of texts."""
    return {name: words(place) for place, name in enumerate(names)}
