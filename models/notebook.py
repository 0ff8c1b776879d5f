"""Values as a notebook shows them: one table, everything escaped."""

from collections.abc import Iterable, Sequence
from html import escape


def table(
    title: str, lines: Sequence[str], head: Sequence[str], rows: Iterable[Sequence[str]]
) -> str:
    """A title, some lines of text and a table as HTML; every string is escaped.

    Args:
        title: in bold, above the rest.
        lines: text under the title, a line each.
        head: the names of the columns.
        rows: the cells.

    Returns:
        One element of HTML.
    """
    text = "".join(f"<div>{escape(line)}</div>" for line in lines)
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return (
        f"<div><strong>{escape(title)}</strong>{text}"
        f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )
