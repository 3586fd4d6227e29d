"""Check the records of a leaderboard beyond their form: protocol, choice of models, effort."""

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from slade_plugin.base.errors import ExperimentError
from slade_plugin.experiments.leaderboard.ranking import Record, protocol_key
from slade_plugin.experiments.results.found import (
    CONCATENATED,
    SEPARATED,
    SPLIT_OF_SEED,
    Experiment,
)
from slade_plugin.experiments.results.verification import read_record, read_runs, verify_record
from slade_plugin.stages.table import MAIN_METRIC

LEAST_RUNS = 2
LARGEST = 250_000  # bytes of a record
_BEST = re.compile(r"trunk_best(\d+)\.pth")
_MODEL = re.compile(r"(trunk|embedder)_best\d+\.pth")
_SAME = 1e-5  # percent: validation curves are rounded

Problems = dict[Path, list[str]]


def read_records(folder: Path) -> tuple[dict[Path, Record], Problems]:
    """Read and check the records of a leaderboard.

    Args:
        folder: Holds one folder per record. Files beside them are ignored.

    Returns:
        Folder to record, and folder to problems; a record with problems may be missing from the
        first.

    Raises:
        ExperimentError: If there is no such folder.
    """
    if not folder.is_dir():
        raise ExperimentError(f"there is no folder {folder}; expected one with records.")
    records: dict[Path, Record] = {}
    problems: Problems = {}
    for path in sorted(p for p in folder.iterdir() if p.is_dir()):
        found = _form(path)
        if not found:
            records[path] = record = read_record(path)
            found = list(check_record(path, record))
        if found:
            problems[path] = found
    for path, text in _between(records):
        problems.setdefault(path, []).append(text)
    return records, problems


def check_record(folder: Path, record: Record) -> Iterator[str]:
    """Yield what speaks against a record whose form is right.

    Args:
        folder: Its folder.
        record: Its content, which passed `verify_record`.
    """
    seeds = [run["seed"] for run in record["runs"] if run["seed"] is not None]
    if len(record["runs"]) < LEAST_RUNS:
        yield f"it has {len(record['runs'])} run; expected {LEAST_RUNS} or more, for an interval"
    if len(set(seeds)) < len(seeds):
        yield f"its seeds are {seeds}; expected each once"
    yield from _budget(record["budget"], seeds)
    yield from _protocol(record)
    for run, experiment in zip(record["runs"], read_runs(folder, record), strict=True):
        texts = [*_choice(experiment), *_best_epochs(run), *_scores(run)]
        yield from (f"{run['folder']}: {text}" for text in texts)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if size > LARGEST:
        yield f"it has {size} bytes; expected at most {LARGEST}, as slade-bench record writes it"


def _form(folder: Path) -> list[str]:
    try:
        checks = verify_record(folder)
    except ExperimentError as error:
        return [str(error)]
    return [f"{name}: {text}" for name, texts in checks for text in texts]


def _budget(budget: Mapping[str, Any] | None, seeds: Collection[int]) -> Iterator[str]:
    if budget is None:
        yield (
            "the effort of tuning is not stated; expected slade-bench record --budget, such as "
            '"12 trials on val"'
        )
        return
    if budget["trials"] and budget["split"] != "val":
        yield f"its best trial was chosen on {budget['split']}; expected val"
    if "tried" not in budget:
        return
    tried = budget["tried"]
    if len(tried) != budget["trials"]:
        yield f"it lists {len(tried)} trials and states {budget['trials']}; expected all of them"
    if both := sorted({trial["seed"] for trial in tried} & {*seeds}):
        yield f"trials and runs share the seeds {both}; expected trials with seeds of their own"


def _protocol(record: Record) -> Iterator[str]:
    protocol = record["protocol"]
    needed = {key: protocol[key] for key in ("data set", "trunk", "embedding")}
    needed |= {key: protocol["evaluation"].get(key) for key in ("tester", "ensemble")}
    needed["split_manager"] = splits = protocol["splits"].get("split_manager")
    missing = [key for key, value in needed.items() if not value]
    if missing:
        yield f"its protocol lacks {', '.join(missing)}; expected the entries of a trained config"
    settings = next(iter((splits or {}).values()), None) or {}
    if settings.get("shuffle") and settings.get("random_seed") is None:
        yield "its splits are drawn without a random_seed, so nobody can draw them again"
    runs = record["runs"]
    if len({run["data"]["labeled"] for run in runs}) > 1:
        yield "its runs have different labeled images; expected one data set"
    tests = {by_split["test"]["sha256"] for run in runs for by_split in run["classes"].values()}
    if len(tests) > 1 and settings.get("random_seed") != SPLIT_OF_SEED:
        yield "its runs have different test classes; expected new ones only for each seed"


def _choice(experiment: Experiment | None) -> Iterator[str]:
    """Yield the parts of an experiment and its teachers that choose by another split than val."""
    places = (("hook_container", "validation_split_name"), ("aggregator", "split_to_aggregate"))
    while experiment is not None:
        for key, name in places:
            settings = next(iter((experiment.config.get(key) or {}).values()), None) or {}
            if settings.get(name, "val") != "val":
                yield (
                    f"{experiment.folder.name}/configs choose by {settings[name]} ({key}: {name}); "
                    "expected val"
                )
        experiment = experiment.teacher


def _best_epochs(run: Mapping[str, Any]) -> Iterator[str]:
    """Yield the split schemes whose model is not the best one on val."""
    for scheme, files in run["weights"].items():
        best = next((found[1] for found in map(_BEST.fullmatch, files) if found), None)
        curve = {e: x for e, x in run["validation"].get(scheme, {}).items() if int(e) > 0}
        if best not in curve:
            yield f"{scheme}: its model is of epoch {best}, which was not validated while training"
        elif curve[best] < max(curve.values()):
            epoch = max(curve, key=lambda e: curve[e])
            yield f"{scheme}: its model is of epoch {best}, but epoch {epoch} is better on val"


def _scores(run: Mapping[str, Any]) -> Iterator[str]:
    """Yield the scores that are missing or impossible."""
    needed = {"classes": run["classes"]} | {
        f"MAP@R on {split}": run["scores"].get(split, {}).get(SEPARATED, {}).get(MAIN_METRIC, {})
        for split in ("val", "test")
    }
    for name, by_scheme in needed.items():
        if lacking := sorted({*run["weights"]} - {*by_scheme}):
            yield f"no {name} of {', '.join(lacking)}"
    for split, by_kind in run["scores"].items():
        for kind in (SEPARATED, CONCATENATED):
            metrics = by_kind.get(kind, {})
            for scheme, value in metrics.get(MAIN_METRIC, {}).items():
                if value > metrics.get("r_precision", {}).get(scheme, value) + _SAME:
                    yield f"{split} {kind} {scheme}: MAP@R is above R-precision, its upper bound"


def _between(records: Mapping[Path, Record]) -> Iterator[tuple[Path, str]]:
    """Yield the records that repeat an earlier one."""
    models: dict[frozenset[str], Path] = {}
    titles: dict[tuple[str, str], Path] = {}
    for path, record in records.items():
        files = (of for run in record["runs"] for of in run["weights"].values())
        # Both parts: methods may share a frozen trunk.
        own = {frozenset(of[name] for name in of if _MODEL.fullmatch(name)) for of in files}
        own.discard(frozenset())
        same = sorted({models[model].name for model in own if model in models})
        if same:
            yield (
                path,
                f"it has the models of {', '.join(same)}: the same runs, or settings without "
                "effect; expected models of its own",
            )
        models |= dict.fromkeys(own, path)
        first = titles.setdefault((protocol_key(record), record["method"]), path)
        if first != path:
            yield (
                path,
                f"{first.name} has the same title and protocol; expected another one "
                "(slade-bench record --name)",
            )
