"""Write the page of a study: Markdown, up to two figures, and a CSV with every score."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from slade_plugin.base.csv_text import csv_text
from slade_plugin.base.errors import ExperimentError
from slade_plugin.base.files import atomic_write, write_text
from slade_plugin.experiments.results import layouts
from slade_plugin.experiments.studies.environments import (
    COMMIT,
    describe_runs,
    settings_to_markdown,
)
from slade_plugin.experiments.studies.flags import to_shell
from slade_plugin.experiments.studies.markdown import markdown_table
from slade_plugin.experiments.studies.mined_pairs import (
    COLUMNS,
    TENTHS,
    Parts,
    has_rounds,
    pair_parts,
)
from slade_plugin.experiments.studies.plan import Run
from slade_plugin.experiments.studies.plot import plot_pairs, plot_scores, save_png
from slade_plugin.experiments.studies.poster_comparison import compare_with_poster
from slade_plugin.experiments.studies.pseudo_label_quality import label_quality, quality_to_markdown
from slade_plugin.experiments.studies.scores import (
    ORACLE,
    DatasetScores,
    read_scores,
    summarize,
)
from slade_plugin.experiments.studies.stage_seconds import seconds_to_markdown, stage_seconds
from slade_plugin.experiments.studies.study import Study
from slade_plugin.experiments.studies.tuning import Trial, trials_to_csv, tuning_to_markdown
from slade_plugin.stages.table import MAIN_METRIC, METRICS, with_interval

T = TypeVar("T")

SPLITS = ("test", "val")
_CURVE = [(i / 20, (i + 1) / 20) for i in range(20)]


def write_page(
    study: Study,
    runs: Mapping[tuple[str, int, str], Run],
    out: Path,
    command: str,
    notes: Sequence[str] = (),
    trials: Sequence[Trial] = (),
) -> str:
    """Write NAME.md, NAME.csv, NAME.png and NAME_pairs.png from the finished runs.

    A study with tuned settings also has NAME_trials.csv.

    Args:
        study: The study.
        runs: The result of `plan_runs`.
        out: Folder of the page.
        command: The command that repeats the study, for the reader.
        notes: Remarks for the reader.
        trials: The finished trials of the tuned settings.

    Returns:
        The Markdown.

    Raises:
        ExperimentError: If no setting is finished.
    """
    scores = {dataset: read_scores(study, runs, dataset) for dataset in study.datasets}
    if not any(s.rungs or s.controls for s in scores.values()):
        raise ExperimentError(
            f"study {study.name} has no setting with all seeds finished; expected one. Run it "
            "without --no-run, or with fewer --seeds."
        )
    used = {key: run for key, run in runs.items() if key[2] not in scores[key[0]].unfinished}
    environment = describe_runs(list(used.values()))
    flags = {s.name: to_shell((*study.flags, *s.flags)) for s in study.settings}
    of_settings = {
        name: describe_runs([run for (_, _, n), run in used.items() if n == name]) for name in flags
    }
    summary = {
        dataset: {
            split: summarize(found, study.compared_with, split, MAIN_METRIC) for split in SPLITS
        }
        for dataset, found in scores.items()
    }
    tenths, curves = (
        _by_setting(study, used, partial(pair_parts, parts=parts))
        for parts in (list(TENTHS.values()), _CURVE)
    )
    seconds = _by_setting(study, used, stage_seconds)
    quality = _by_setting(study, used, label_quality)

    name_of_trials = f"{study.name}_trials.csv"
    out.mkdir(parents=True, exist_ok=True)
    main = {dataset: of["test"] for dataset, of in summary.items() if of["test"]}
    figures = {study.name: plot_scores(main, MAIN_METRIC)}
    # The oracle's pairs are all right and would compress the axis.
    drawn = {d: {k: v for k, v in of.items() if not k.endswith(ORACLE)} for d, of in curves.items()}
    if any(drawn.values()):
        figures[f"{study.name}_pairs"] = plot_pairs({d: of for d, of in drawn.items() if of})
    for name, figure in figures.items():
        with atomic_write(out / f"{name}.png") as file:
            save_png(figure, file)

    parts = [
        f"# Study: {study.name}",
        f"`{command}`",
        "; ".join(f"{k}: {', '.join(v)}" for k, v in environment.items() if k != COMMIT) + ".",
        f"{METRICS[MAIN_METRIC]} in percent: mean over {len({seed for _, seed, _ in runs})} seeds "
        "of the mean over split schemes, ± half width of the 95 % interval (Student's t). "
        "Differences, relative gains and shares are computed seed by seed. A student is compared "
        "with a baseline that is trained as long as its teacher and students together, and the gap "
        "is measured to an equally long oracle. The row above the first student is `teacher`. "
        f"[{study.name}.csv]({study.name}.csv) has every score of every seed in all metrics.",
        *(f"Note: {note}." for note in notes),
        *(f"![{name}]({name}.png)" for name in figures),
        f"## Settings\n\n{settings_to_markdown(flags, of_settings)}",
    ]
    for dataset, found in scores.items():
        parts.append(f"## {dataset}")
        if found.unfinished:
            parts.append(f"Not finished and left out: {', '.join(found.unfinished)}.")
        if trials:
            table = tuning_to_markdown(trials, dataset)
            parts.append(
                f"### Tuning\n\n{table}\n\nEvery trial: [{name_of_trials}]({name_of_trials})."
            )
        for split, rows in summary[dataset].items():
            if rows:
                table = to_markdown(rows, study)
                parts.append(f"### {METRICS[MAIN_METRIC]} on {split}\n\n{table}")
        compared = compare_with_poster(study, used, dataset)
        if compared:
            text = layouts.to_markdown(compared).strip()
            parts.append(f"### Comparison with the poster\n\n{text}")
        if dataset in tenths:
            text = pairs_to_markdown(tenths[dataset], has_rounds(used.values()))
            parts.append(f"### Selected pairs\n\n{text}")
        if dataset in quality:
            parts.append(f"### Pseudo labels\n\n{quality_to_markdown(quality[dataset])}")
        if dataset in seconds:
            parts.append(f"### Cost\n\n{seconds_to_markdown(seconds[dataset])}")
    text = "\n\n".join(parts) + "\n"
    files = {f"{study.name}.md": text, f"{study.name}.csv": scores_to_csv(scores)}
    if trials:
        files[name_of_trials] = trials_to_csv(trials)
    for name, content in files.items():
        write_text(out / name, content)
    return text


def scores_to_csv(scores: Mapping[str, DatasetScores]) -> str:
    """Return CSV with a line for each data set, row of the page, seed and split.

    Args:
        scores: Data set to its scores, percent; each is a mean over split schemes.
    """
    rows = [
        [dataset, name, seed, split, *(round(metrics[metric], 6) for metric in METRICS)]
        for dataset, found in scores.items()
        for name, by_seed in {**found.rungs, **found.controls}.items()
        for seed, by_split in by_seed.items()
        for split, metrics in by_split.items()
    ]
    return csv_text(["dataset", "row", "seed", "split", *METRICS], rows)


def _by_setting(
    study: Study, runs: Mapping[tuple[str, int, str], Run], read: Callable[[list[Run]], T]
) -> dict[str, dict[str, T]]:
    """Map data set and setting to what `read` returns for its runs, if anything."""
    found: dict[str, dict[str, T]] = {}
    for dataset in study.datasets:
        for name in (setting.name for setting in study.settings):
            values = read([run for (d, _, n), run in runs.items() if (d, n) == (dataset, name)])
            if values:
                found.setdefault(dataset, {})[name] = values
    return found


def pairs_to_markdown(pairs: Mapping[str, Parts], rounds: bool) -> str:
    """Return a table of `pair_parts` in the tenths of training.

    Args:
        pairs: Setting to its parts.
        rounds: Whether some have several rounds.
    """
    columns = [c for c in COLUMNS if any(c in parts for parts in pairs.values())]
    rows = [
        [name, *(" / ".join(map(_share_cell, parts.get(c, []))) for c in columns)]
        for name, parts in pairs.items()
    ]
    table = markdown_table(["setting", *(COLUMNS[c].title for c in columns)], rows)
    last = " Of several rounds, those of the last one's student." if rounds else ""
    return (
        "Pairs of D^u in the first / middle / last tenth of training, mean over seeds and split "
        "schemes. Precision: share of the chosen pairs that are right by the true labels; recall: "
        "share of the batch's right pairs that are chosen; %. Pairs a step, both directions "
        "counted. Lag: mean similarity of the batch's pairs of one pseudo label (mu+) or two (mu-) "
        f"minus its running mean, times 100.{last}\n\n{table}"
    )


def _share_cell(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1f}"


def to_markdown(rows: Sequence[Mapping[str, Any]], study: Study) -> str:
    """Return the tables of `summarize`'s rows: rungs, then controls."""
    columns = {"mean": METRICS[MAIN_METRIC]}
    if any("to_baseline" in row for row in rows):
        columns |= {"to_baseline": "minus baseline", "gain": "relative to it"}
    tables = []
    for control in (False, True):
        chosen = [row for row in rows if row["control"] == control]
        if not chosen:
            continue
        shown = dict(columns)
        if not control:
            shown["to_previous"] = "minus the row above"
        if any("to_reference" in row for row in chosen):
            shown["to_reference"] = f"minus {study.compared_with}"
        if any("gap_closed" in row for row in rows):
            shown["gap_closed"] = "of the gap to the oracle"
        cells = [[row["setting"], *(_cell(row, key) for key in shown)] for row in chosen]
        tables.append(markdown_table(["setting", *shown.values()], cells))
    return "\n\n".join(tables)


def _cell(row: Mapping[str, Any], key: str) -> str:
    if key not in row:
        return ""
    digits, unit = (1, " %") if key in ("gain", "gap_closed") else (2, "")
    sign = "" if key in ("mean", "gap_closed") else "+"
    return with_interval(row[key], row.get(f"{key}_interval95"), sign, digits) + unit
