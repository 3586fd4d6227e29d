"""Show one experiment, or two on the same queries, as an HTML page: `slade-bench report`.

    slade-bench report experiments/slade_seed0
    slade-bench report experiments/contrastive_seed0 experiments/slade_seed0 --out both.html

The folder of a self-training run shows its stages and compares the teacher with the last student.
The report is a single HTML file that loads nothing else.
"""

import argparse
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slade_plugin.base.errors import ExperimentError
from slade_plugin.base.files import write_text
from slade_plugin.base.provenance import describe_environment
from slade_plugin.commands.arguments import check_at_least, command_parser
from slade_plugin.commands.outputs import check_outputs
from slade_plugin.experiments.report.curves import plot_curves
from slade_plugin.experiments.report.embedded_split import EmbeddedSplit, embed_split
from slade_plugin.experiments.report.page import figure_uri, grid, summarize, thumbnail
from slade_plugin.experiments.report.projection import METHODS, choose_method, plot_embeddings
from slade_plugin.experiments.report.retrieval import (
    Retrieval,
    check_same_queries,
    choose_queries,
    retrieve,
)
from slade_plugin.experiments.report.trained_stages import ShownExperiment, select_experiments
from slade_plugin.retrieval.pages import render_page
from slade_plugin.stages.table import METRICS, build_rows, read_experiment, with_interval


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    print(write_report(argument_parser().parse_args(argv)))
    return 0


def argument_parser() -> argparse.ArgumentParser:
    """Return the argument parser of the command."""
    top = command_parser("report", __doc__)
    add: Any = top.add_argument
    add("experiments", nargs="+", type=Path, metavar="EXPERIMENT", help="one folder or two")
    add("--out", type=Path, metavar="FILE.html", help="default: report.html in the (last) folder")
    add("--dataset_root", default="datasets", help="as in run.py (default: datasets)")
    add("--split", default="test", choices=["train", "val", "test"], help="default: test")
    add("--split_scheme", help="split scheme of the models (default: the first)")
    add("--queries", type=int, default=8, help="queries per group (default: 8); 0: no grids")
    add("--top", type=int, default=8, help="nearest images per query (default: 8)")
    add(
        "--embeddings", default="tsne", choices=[*METHODS, "none"],
        help="picture of the embeddings, the slowest part (default: tsne)",
    )  # fmt: skip
    return top


def write_report(args: argparse.Namespace) -> Path:
    """Write the report.

    Args:
        args: The parsed command line.

    Returns:
        The file.

    Raises:
        SladeError: If the experiments do not fit together; nothing is written.
    """
    out = args.out or args.experiments[-1] / "report.html"
    check_at_least("--queries", args.queries, 0)
    check_at_least("--top", args.top, 1)
    shown, compared = select_experiments(args.experiments)
    check_outputs([out], [".html"])
    method, reduce = (None, None) if args.embeddings == "none" else choose_method(args.embeddings)
    splits = embed_same(compared, args)
    retrievals = {title: retrieve(split, args.top) for title, split in splits.items()}
    last = splits[compared[-1].title]
    embeddings = figure_uri(plot_embeddings(splits, reduce)) if reduce else None
    figures = {e.title: plot_curves(e.folder) for e in shown}
    text = render_page(
        "experiments/report/page.html",
        title=" and ".join(path.resolve().name for path in args.experiments),
        models=[experiment.title for experiment in compared],
        split=args.split,
        split_scheme=last.split_scheme,
        summary=summarize(retrievals),
        metrics=list(METRICS.values()),
        scores=score_rows(shown),
        grids=grids(last, retrievals, args.queries, args.top),
        embeddings=embeddings,
        embedding_method=method,
        curves={title: figure_uri(figure) for title, figure in figures.items() if figure},
        origin=origin(shown),
    )
    write_text(out, text)
    return out


def embed_same(
    compared: Sequence[ShownExperiment], args: argparse.Namespace
) -> dict[str, EmbeddedSplit]:
    """Embed the split with each model.

    Raises:
        SladeError: If a model or its data is missing, or the images differ.
    """
    splits: dict[str, EmbeddedSplit] = {}
    for experiment in compared:
        split = embed_split(experiment.folder, args.split, args.split_scheme, args.dataset_root)
        for other in splits.values():
            check_same_queries(other, split)
        splits[experiment.title] = split
    return splits


def grids(
    split: EmbeddedSplit, retrievals: dict[str, Retrieval], queries: int, top: int
) -> dict[str, list[dict[str, Any]]]:
    """Map the title of each group of queries to its grid; empty for 0 queries."""
    if not queries:
        return {}
    scores = [retrieval.average_precision for retrieval in retrievals.values()]
    chosen = choose_queries(scores[-1], scores[0] if len(scores) > 1 else None, queries)
    thumbnails = functools.cache(functools.partial(thumbnail, split))  # shared by the grids
    return {title: grid(split, retrievals, rows, top, thumbnails) for title, rows in chosen.items()}


def score_rows(experiments: Sequence[ShownExperiment]) -> list[dict[str, Any]]:
    """Return the recorded scores; a split that was not evaluated has no row."""
    found = []
    for experiment in experiments:
        for split in ("val", "test"):
            try:
                results = read_experiment(experiment.folder, [split])
            except ExperimentError:
                continue
            *schemes, mean = build_rows({experiment.title: results})
            values = []
            for metric in METRICS:
                half = mean.get(f"{metric}_interval95")
                values.append(with_interval(mean[metric], half))
            row = {"experiment": experiment.title, "split": split, "schemes": len(schemes)}
            found.append({**row, "values": values})
    return found


def origin(experiments: Sequence[ShownExperiment]) -> dict[str, str]:
    """Describe where the pictures come from."""
    environment = describe_environment()
    folders = {f"folder of {e.title}": str(e.folder) for e in experiments}
    return {
        **folders,
        "slade-plugin": environment["slade_plugin"],
        "commit of the report": environment["git_commit"] or "unknown",
    }
