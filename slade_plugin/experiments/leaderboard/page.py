"""Write rankings as one HTML page, Markdown or CSV. The page needs no network."""

import base64
import hashlib
import io
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import matplotlib as mpl
import yaml
from tabulate import tabulate

from slade_plugin.base.csv_text import csv_text
from slade_plugin.experiments.leaderboard.ranking import Ranking, Row
from slade_plugin.experiments.results.comparison import ALPHA
from slade_plugin.experiments.results.record import RECORD
from slade_plugin.experiments.studies.plot import plot_scores
from slade_plugin.retrieval.pages import render_page
from slade_plugin.stages.table import MAIN_METRIC, METRICS, with_interval

TITLE = "Leaderboard"
EXPLANATION = (
    "Percent on test, of the separate models: mean over runs ± half width of the 95 % interval "
    "(Student's t); each run is the mean of its split schemes. Only records with the same data, "
    "splits, trunk, embedding, transforms and evaluation are in one list. A record's rank is one "
    "more than the number of records that are significantly better in MAP@R, so records with one "
    "rank (=) are tied. Differences are tested by a paired t-test over common seeds, or by Welch's "
    "t-test (unpaired) where two records share fewer than two; p is corrected for all comparisons "
    f"of the list (Holm) and significant below {ALPHA}. Steps are those of a method and its "
    "teachers; tuning is the number of trials and the split that chose the best one."
)
_QUOTED = (
    "Published numbers; protocols, trunks and dimensions differ, so they are neither ranked nor "
    "tested."
)

# A click on a heading sorts by its column, a second one the other way round.
_SCRIPT = """
for (const button of document.querySelectorAll("th button")) button.onclick = () => {
  const head = button.parentElement, body = head.closest("table").tBodies[0];
  const sign = head.ariaSort === "ascending" ? -1 : 1;
  const key = row => row.cells[head.cellIndex].dataset.key;
  const compare = (a, b) => a === "" || b === "" ? (a === "") - (b === "")
    : sign * (isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b);
  for (const other of head.parentElement.cells) other.ariaSort = null;
  head.ariaSort = sign > 0 ? "ascending" : "descending";
  body.append(...[...body.rows].sort((a, b) => compare(key(a), key(b))));
};
"""


def to_csv(rankings: Sequence[Ranking], out: Path) -> str:
    """Return one line per row, every number in its own column.

    Args:
        rankings: The result of `rank_records`.
        out: The file to be written; paths of records start at its folder.
    """
    lines = [
        {"list": ranking.title, **facts(row), "record": row.folder and _link(row.folder, out)}
        for ranking in rankings
        for row in ranking.rows
    ]
    columns = [*dict.fromkeys(name for line in lines for name in line)]
    return csv_text(columns, [[line.get(name) for name in columns] for line in lines])


def to_markdown(rankings: Sequence[Ranking], out: Path) -> str:
    """Return a section per ranking; takes the arguments of `to_csv`."""
    parts = [f"# {TITLE}", EXPLANATION]
    for ranking in rankings:
        lines = []
        for row in ranking.rows:
            line = {name: text for name, text, _ in _cells(row)}
            if row.folder:
                line["method"] = f"[{line['method']}]({_link(row.folder, out)})"
            lines.append(line)
        table = tabulate(lines, "keys", tablefmt="github", disable_numparse=True)
        parts += [f"## {ranking.title}", _note(ranking), table]
    return "\n\n".join(parts) + "\n"


def to_html(rankings: Sequence[Ranking], out: Path) -> str:
    """Return a page with tables to be sorted and a figure each; takes the arguments of `to_csv`."""
    digest = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
    lists = [
        {
            "title": ranking.title,
            "note": _note(ranking),
            "figure": _figure(ranking),
            "protocol": yaml.safe_dump(dict(ranking.protocol), sort_keys=False)
            if ranking.protocol
            else "",
            "columns": [name for name, *_ in _cells(ranking.rows[0])],
            "rows": [
                {"link": row.folder and _link(row.folder, out), "cells": _cells(row)}
                for row in ranking.rows
            ],
        }
        for ranking in rankings
    ]
    return render_page(
        "experiments/leaderboard/page.html",
        title=TITLE,
        explanation=EXPLANATION,
        lists=lists,
        script=_SCRIPT,
        script_hash=f"sha256-{digest}",
    )


WRITERS: dict[str, Callable[[Sequence[Ranking], Path], str]] = {
    ".html": to_html,
    ".md": to_markdown,
    ".csv": to_csv,
}


def facts(row: Row) -> dict[str, Any]:
    """Return the numbers of a row by name; None where it has none."""
    record, behind = row.record, row.behind
    runs = record.get("runs", [])
    budget = record.get("budget") or {}
    steps = [training["steps"] for training in runs[0]["training"]] if runs else [None]
    scores = {
        f"{metric}{suffix}": row.scores.get(metric, {}).get(key)
        for metric in METRICS
        for suffix, key in (("", "mean"), ("_interval95", "interval95"))
    }
    return {
        "rank": row.rank,
        "method": row.method,
        "of": record.get("of"),
        **scores,
        "difference": behind.get("difference"),
        "difference_interval95": behind.get("interval95"),
        "p_value": behind.get("p_value"),
        "test": behind.get("test"),
        "runs": len(runs) or None,
        "split_schemes": record["results"][0]["split_schemes"] if runs else None,
        "steps": None if None in steps else sum(steps),
        "trials": budget.get("trials"),
        "tuned_on": budget.get("split"),
    }


def _cells(row: Row) -> list[tuple[str, str, Any]]:
    """Return column, text and what to sort by of each cell."""
    f = facts(row)
    scores = [
        (title, with_interval(f[metric], f[f"{metric}_interval95"]), f[metric])
        for metric, title in METRICS.items()
    ]
    if not row.record:
        return [("method", row.method, row.method), *scores]
    difference = with_interval(f["difference"], f["difference_interval95"], "+")
    p_value = "" if f["p_value"] is None else f"{f['p_value']:.2g}"
    if f["test"] == "unpaired":
        p_value += " (unpaired)"
    trials = f"{f['trials']}" + (f" on {f['tuned_on']}" if f["tuned_on"] else "")
    return [
        ("rank", f"{'=' if row.shared else ''}{f['rank']}", f["rank"]),
        ("method", row.method, row.method),
        ("of", f["of"], f["of"]),
        scores[0],
        ("minus the first", difference, f["difference"] or 0.0),
        ("p", p_value, f["p_value"]),
        *scores[1:],
        ("runs x splits", f"{f['runs']} x {f['split_schemes']}", f["runs"]),
        ("steps", "" if f["steps"] is None else f"{f['steps']:,}", f["steps"]),
        ("tuning", trials, f["trials"]),
    ]


def _link(folder: Path, out: Path) -> str:
    path = os.path.relpath(folder / RECORD, out.parent)
    return quote(path.replace(os.sep, "/"))


def _note(ranking: Ranking) -> str:
    if not ranking.protocol:
        return _QUOTED
    return f"{len(ranking.rows)} records, p corrected for {ranking.comparisons} comparisons."


def _figure(ranking: Ranking) -> str:
    """Draw the scores as SVG in the colors of the page."""
    rows: list[Mapping[str, Any]] = [
        {
            "setting": row.method,
            "mean": row.scores[MAIN_METRIC]["mean"],
            "mean_interval95": row.scores[MAIN_METRIC].get("interval95", 0.0),
            "control": False,
        }
        for row in ranking.rows
        if MAIN_METRIC in row.scores
    ]
    figure = plot_scores({"": rows}, MAIN_METRIC)
    file = io.StringIO()
    # The salt makes ids, and so the page, the same each time; texts stay texts.
    with mpl.rc_context({"svg.hashsalt": ranking.title, "svg.fonttype": "none"}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    svg = re.sub(r".*?(?=<svg)", "", file.getvalue(), count=1, flags=re.DOTALL)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    return svg.replace("#000000", "currentColor").replace("#b2b2b2", "currentColor")
