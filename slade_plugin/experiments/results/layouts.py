"""Format a summary as a table for the terminal, Markdown, CSV, JSON or LaTeX."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tabulate import tabulate

from slade_plugin.base.csv_text import csv_text
from slade_plugin.base.files import finite
from slade_plugin.stages.table import metric_titles, with_interval

Rows = Sequence[Mapping[str, Any]]

EXPLANATION = (
    "Percent. Mean ± half width of its 95 % interval (Student's t), in brackets the standard "
    "error; over runs where there are several (each the mean of its split schemes), otherwise over "
    "the split schemes of the one run. separated: the model of each split scheme by itself; "
    "concatenated: the embeddings of all of them side by side."
)
_POSTER = " Published: the SLADE poster, CVPR 2021; the difference is ours minus theirs."
_FACTS = ("dataset", "method", "split", "embedding", "dim", "seeds", "split_schemes", "over")
_NUMBERS = ("mean", "standard_error", "interval95", "published", "difference")


def explain(rows: Rows) -> str:
    """Return the explanation of the numbers."""
    return EXPLANATION + (_POSTER if _with_published(rows) else "")


def to_terminal(rows: Rows) -> str:
    """Return a table with aligned columns."""
    return f"{_table(rows, 'simple')}\n\n{explain(rows)}\n"


def to_markdown(rows: Rows) -> str:
    """Return a table in GitHub's Markdown."""
    return f"{_table(rows, 'github')}\n\n{explain(rows)}\n"


def to_latex(rows: Rows) -> str:
    """Return a LaTeX tabular for the package booktabs."""
    comment = "% " + explain(rows)
    return f"{comment}\n% Needs \\usepackage{{booktabs}}.\n{_table(rows, 'latex_booktabs')}\n"


def to_csv(rows: Rows) -> str:
    """Return one line per row, with every number in its own column."""
    metrics = list(metric_titles(m for row in rows for m in row["metrics"]))
    columns = [f"{metric}_{number}" for metric in metrics for number in _NUMBERS]
    lines = []
    for row in rows:
        facts = {fact: row[fact] for fact in (*_FACTS, "poster_row")}
        facts["seeds"] = " ".join(str(seed) for seed in row["seeds"])
        numbers = [row["metrics"].get(m, {}).get(number) for m in metrics for number in _NUMBERS]
        lines.append([*facts.values(), *numbers])
    return csv_text([*_FACTS, "poster_row", *columns], lines)


def to_json(rows: Rows) -> str:
    """Return all rows, with the values behind each mean."""
    content = {"unit": "percent", "explanation": explain(rows), "rows": rows}
    return json.dumps(finite(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


LAYOUTS: dict[str, Callable[[Rows], str]] = {
    "terminal": to_terminal,
    "markdown": to_markdown,
    "csv": to_csv,
    "json": to_json,
    "latex": to_latex,
}
SUFFIXES = {".md": "markdown", ".csv": "csv", ".json": "json", ".tex": "latex", ".txt": "terminal"}


def _table(rows: Rows, form: str) -> str:
    titles = metric_titles(m for row in rows for m in row["metrics"])
    compared = _with_published(rows)
    header = ["data set", "method", "split", "embedding", "runs x splits"]
    for metric, title in titles.items():
        header += [title] + ([f"{title} published", "difference"] if metric in compared else [])
    lines = []
    for row in rows:
        dim = f" {row['dim']}-d" if row["dim"] else ""
        poster = f" = {row['poster_row']}" if row["poster_row"] else ""
        line = [row["dataset"], row["method"] + poster, row["split"], row["embedding"] + dim]
        line.append(f"{len(row['seeds'])} x {row['split_schemes']}")
        for metric in titles:
            numbers = row["metrics"].get(metric, {})
            line.append(_cell(numbers))
            if metric in compared:
                line.append(f"{numbers['published']:.2f}" if "published" in numbers else "")
                line.append(f"{numbers['difference']:+.2f}" if "published" in numbers else "")
        lines.append(line)
    return tabulate(lines, header, tablefmt=form, disable_numparse=True)


def _with_published(rows: Rows) -> set[str]:
    return {m for row in rows for m, numbers in row["metrics"].items() if "published" in numbers}


def _cell(numbers: Mapping[str, Any]) -> str:
    if not numbers:
        return ""
    error = f" ({numbers['standard_error']:.2f})" if "interval95" in numbers else ""
    return with_interval(numbers["mean"], numbers.get("interval95")) + error
