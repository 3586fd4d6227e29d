"""Check a record of `experiments.results.record`, and compare it with a second run."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema

from slade_plugin.base.differences import differences
from slade_plugin.base.errors import ExperimentError
from slade_plugin.base.files import MANIFEST_HASH, manifest_hash, sha256_of_file
from slade_plugin.experiments.results.found import (
    SEPARATED,
    Experiment,
    Group,
    as_one_method,
    read_saved,
)
from slade_plugin.experiments.results.protocol import protocol
from slade_plugin.experiments.results.record import (
    RECORD,
    RESULTS,
    SCHEMA_PATH,
    benchmark_columns,
    portable,
)
from slade_plugin.experiments.results.summary import numbers_of
from slade_plugin.stages.table import MAIN_METRIC

_SAME = 1e-9  # percent: largest effect of the order of summation on a mean

# (check, problems)
Checks = list[tuple[str, list[str]]]


def read_record(folder: Path) -> dict[str, Any]:
    """Read the record of a folder.

    Raises:
        ExperimentError: If it is missing or not a JSON object.
    """
    path = folder / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExperimentError(
            f"{path} cannot be read: {error}; expected a folder that slade-bench record wrote."
        ) from error
    if not isinstance(record, dict):
        raise ExperimentError(f"{path} is not a record; expected one of slade-bench record.")
    return record


def verify_record(folder: Path) -> Checks:
    """Check everything that can be checked without training.

    Args:
        folder: Folder of a record.

    Returns:
        Each check with its problems. If the record does not match its schema, nothing else is
        checked.

    Raises:
        ExperimentError: If there is no record.
    """
    record = read_record(folder)
    schema = json.loads(SCHEMA_PATH.read_text(encoding="utf-8"))
    errors = jsonschema.Draft7Validator(schema).iter_errors(record)
    problems = [f"{'/'.join(map(str, e.absolute_path)) or 'record'}: {e.message}" for e in errors]
    checks = [(f"{RECORD} matches its schema", problems)]
    if problems:
        return checks
    same = record[MANIFEST_HASH] == manifest_hash(record)
    checks.append((f"{RECORD} is unchanged", [] if same else ["the hash of its content differs"]))
    checks.append(("files are whole", _check_files(folder, record["files"])))
    checks.append(("means and errors follow from the scores", _check_numbers(record)))
    columns = benchmark_columns(record["method"], record["dataset"], record["results"])
    path = folder / RESULTS
    same = path.is_file() and path.read_text(encoding="utf-8") == columns
    checks.append((f"{RESULTS} agrees with the record", [] if same else ["it differs"]))
    checks.append(("configs are those of the runs", _check_configs(folder, record)))
    return checks


def compare_runs(record: Mapping[str, Any], group: Group, tolerance: float = 0.0) -> Checks:
    """Compare the scores of a record with those of a second run, seed by seed.

    Args:
        record: The result of `read_record`.
        group: The second run.
        tolerance: Largest allowed difference of a score, in percentage points.
    """
    checks: Checks = []
    by_seed = {e.seed: e for e in group.experiments}
    for run in record["runs"]:
        if run["seed"] not in by_seed:
            checks.append((f"seed {run['seed']} again", ["there is no second run with this seed"]))
            continue
        again = by_seed[run["seed"]]
        old, new = _flat(run["scores"]), _flat(again.scores)
        # The second run may lack optional scores, but not the main ones.
        places = [p for p in old if p in new or p.startswith("test/separated")]
        wrong = [
            f"{place}: {old[place]} on record, {new.get(place)} now"
            for place in places
            if place not in new or abs(old[place] - new[place]) > tolerance
        ]
        checks.append((f"seed {run['seed']} again, {len(places)} scores ({again.folder})", wrong))
    return checks


def _check_files(folder: Path, files: Mapping[str, str]) -> list[str]:
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {RECORD}
    problems = [f"{name} is missing" for name in sorted({*files} - found)]
    problems += [f"{name} is not on record" for name in sorted(found - {*files})]
    for name in sorted(found & {*files}):
        if sha256_of_file(folder / name) != files[name]:
            problems.append(f"{name} has changed")
    return problems


def _check_numbers(record: Mapping[str, Any]) -> list[str]:
    problems = []
    for row in record["results"]:
        split, kind = row["split"], row["embedding"]
        for metric, numbers in row["metrics"].items():
            runs = [
                run["scores"][split][kind][metric]
                for run in record["runs"]
                if metric in run["scores"].get(split, {}).get(kind, {})
            ]
            expected = numbers_of(runs) if runs else {}
            for key in ("mean", "standard_error", "interval95"):
                given, right = numbers.get(key), expected.get(key)
                if (given is None) != (right is None) or (
                    given is not None and right is not None and abs(given - right) > _SAME
                ):
                    problems.append(f"{split} {kind} {metric}: {key} is {given}, not {right}")
    return problems


def read_runs(folder: Path, record: Mapping[str, Any]) -> list[Experiment]:
    """Return the experiments of a record, with their configs and those of their teachers.

    Raises:
        ExperimentError: If a config is missing or damaged.
    """
    return as_one_method([read_saved(folder / run["folder"]) for run in record["runs"]])


def _check_configs(folder: Path, record: Mapping[str, Any]) -> list[str]:
    try:
        experiments = read_runs(folder, record)
    except ExperimentError as error:
        return [str(error)]
    problems = []
    for run, experiment in zip(record["runs"], experiments, strict=True):
        measured = portable(protocol(experiment))
        schemes = sorted(run["scores"]["test"].get(SEPARATED, {}).get(MAIN_METRIC, {}))
        measured["splits"]["split_schemes"] = schemes
        found = {"dataset": experiment.dataset, "seed": experiment.seed, "protocol": measured}
        given = {key: record[key] for key in ("dataset", "protocol")} | {"seed": run["seed"]}
        problems += [
            f"{run['folder']}/configs: {where} is {value!r}; on record {written!r}"
            for where, written, value in differences(given, found)
        ]
        if experiment.method != experiments[0].method:
            problems.append(f"{run['folder']}/configs are of another method than those before")
    return problems


def _flat(scores: Mapping[str, Any], where: str = "") -> dict[str, float]:
    flat: dict[str, float] = {}
    for key, value in scores.items():
        place = f"{where}/{key}".lstrip("/")
        flat |= _flat(value, place) if isinstance(value, Mapping) else {place: value}
    return flat
