"""The report of a study: Markdown to read, JSON with every score."""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slade_plugin.errors import ExperimentError
from slade_plugin.files import atomic_write, write_json
from slade_plugin.results.table import METRICS
from slade_plugin.self_training.pipeline import STATE_FILE
from slade_plugin.studies.plan import Run, Study
from slade_plugin.studies.scores import read_scores, summarise

MAIN_METRIC = "mean_average_precision_at_r"


def write_report(
    study: Study, runs: Mapping[tuple[str, int, str], Run], out: Path, command: str
) -> str:
    """Writes NAME.md and NAME.json from the runs that are finished.

    Args:
        study: The study.
        runs: What `plan_runs` gave.
        out: Folder.
        command: What makes these numbers, for the reader.

    Returns:
        The Markdown.

    Raises:
        ExperimentError: If no setting is finished.
    """
    scores = {dataset: read_scores(study, runs, dataset) for dataset in study.datasets}
    if not any(s.rungs or s.controls for s in scores.values()):
        raise ExperimentError(
            f"study {study.name} has no setting with all seeds finished; expected one. Run it "
            "without --report, or with fewer --seeds."
        )
    used = [
        run for (dataset, _, name), run in runs.items() if name not in scores[dataset].unfinished
    ]
    environment = describe_runs(used)
    seeds = sorted({seed for _, seed, _ in runs})
    parts = [
        f"# Study: {study.name}",
        f"`{command}`",
        "; ".join(f"{name}: {', '.join(values)}" for name, values in environment.items()) + ".",
        f"Percent; mean over {len(seeds)} seeds of the mean over split schemes, ± half width of "
        "the 95 % interval (Student's t). Differences, relative gains and shares are taken seed "
        "by seed.",
    ]
    summary: dict[str, Any] = {}
    for dataset, found in scores.items():
        parts.append(f"## {dataset}")
        if found.unfinished:
            names = ", ".join(found.unfinished)
            parts.append(f"Not finished and left out: {names}.")
        for split in ("test", "val"):
            for metric, title in METRICS.items():
                rows = summarise(found, study.first, split, metric)
                summary.setdefault(dataset, {}).setdefault(split, {})[metric] = rows
                if rows:
                    parts.append(f"### {title} on {split}\n\n{to_markdown(rows, metric, study)}")
    text = "\n\n".join(parts) + "\n"
    out.mkdir(parents=True, exist_ok=True)
    with atomic_write(out / f"{study.name}.md") as file:
        file.write(text.encode())
    content = {
        "command": command,
        "environment": environment,
        "datasets": {name: shlex.join(flags) for name, flags in study.datasets.items()},
        "settings": {s.name: shlex.join((*study.flags, *s.flags)) for s in study.settings},
        "unfinished": {dataset: found.unfinished for dataset, found in scores.items()},
        "summary": summary,
        "scores": {d: {**found.rungs, **found.controls} for d, found in scores.items()},
    }
    write_json(out / f"{study.name}.json", content)
    return text


def describe_runs(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Versions, commits and machine kinds that the runs noted of themselves, each once."""
    found: dict[str, set[str]] = {}
    for run in runs:
        state = json.loads((run.experiment / STATE_FILE).read_text(encoding="utf-8"))
        for entry in state["environment"]:
            machine = entry["machine"]
            for name, value in {
                "slade-plugin": entry["slade_plugin"],
                "commit": entry["git_commit"],
                "Python": entry["python"],
                "torch": entry["packages"]["torch"],
                "machine": f"{machine['cores']} cores {machine['processor']}, "
                f"{machine['torch_threads']} threads a run, GPU {machine['gpu']}",
            }.items():
                found.setdefault(name, set()).add(str(value))
    return {name: sorted(values) for name, values in found.items()}


def to_markdown(rows: Sequence[Mapping[str, Any]], metric: str, study: Study) -> str:
    """The tables of `summarise`'s rows: rungs, then controls."""
    columns = {"mean": METRICS[metric], "to_baseline": "minus baseline"}
    if metric == MAIN_METRIC:
        columns["gain"] = "relative to it"
    tables = []
    for control in (False, True):
        chosen = [row for row in rows if row["control"] == control]
        if not chosen:
            continue
        shown = dict(columns)
        if control:
            shown["to_first"] = f"minus {study.first}"
        else:
            shown["to_previous"] = "minus the row above"
        if metric == MAIN_METRIC and any("gap_closed" in row for row in rows):
            shown["gap_closed"] = "of the gap to the oracle"
        head = ["control" if control else "setting", *shown.values()]
        lines = [head, ["---"] * len(head)]
        lines += [[row["setting"], *(_cell(row, key) for key in shown)] for row in chosen]
        tables.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join(tables)


def _cell(row: Mapping[str, Any], key: str) -> str:
    if key not in row:
        return ""
    digits, unit = (1, " %") if key in ("gain", "gap_closed") else (2, "")
    sign = "" if key in ("mean", "gap_closed") else "+"
    half = row.get(f"{key}_interval95")
    interval = "" if half is None else f" ± {half:.{digits}f}"
    return f"{row[key]:{sign}.{digits}f}{interval}{unit}"
