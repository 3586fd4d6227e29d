"""The tables of a study's report."""

from collections.abc import Iterable, Sequence


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in GitHub's Markdown, without padding: a changed cell changes one line.

    Args:
        head: Titles of the columns.
        rows: Cells of each row, as many as titles.
    """
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
