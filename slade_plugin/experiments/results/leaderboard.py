"""Write a leaderboard record of a method: its scores and everything needed to repeat them."""

import csv
import io
import json
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slade_plugin.base.errors import ExperimentError
from slade_plugin.base.files import atomic_folder, atomic_write, sha256_of_file, write_manifest
from slade_plugin.base.provenance import ENVIRONMENT_FILE
from slade_plugin.config.experiment_folder import latest_epoch
from slade_plugin.experiments.results.found import (
    CONCATENATED,
    SEPARATED,
    Experiment,
    Group,
    first_key,
)
from slade_plugin.experiments.results.protocol import protocol
from slade_plugin.experiments.results.summary import summarize
from slade_plugin.method.pseudo_labels.record import pool_fingerprint, record_paths
from slade_plugin.stages.kinds import STUDENT, TEACHER
from slade_plugin.stages.table import METRICS

FORMAT = 1
RECORD, RESULTS, SCHEMA = "record.json", "results.csv", "record.schema.json"
SCHEMA_PATH = Path(__file__).with_name("leaderboard_record.schema.json")

_ROW = ("split", "embedding", "dim", "seeds", "split_schemes", "over", "metrics")


def write_record(group: Group, folder: Path, dataset_root: Path) -> dict[str, Any]:
    """Write the folder of a record.

    Args:
        group: Runs of one method, finished and evaluated on test.
        folder: The new folder; it must not exist yet.
        dataset_root: Root of the data, read only if their hash was not recorded.

    Returns:
        The record.

    Raises:
        ExperimentError: If the folder exists, a run lacks test scores, or a file is missing.
    """
    if folder.exists():
        raise ExperimentError(f"{folder} exists; expected a new folder for the record.")
    lacking = [e.folder for e in group.experiments if SEPARATED not in e.scores.get("test", {})]
    if lacking:
        raise ExperimentError(
            f"{lacking[0]} was not evaluated on test; expected test scores of every run. "
            "Evaluate it: run.py --experiment_name <name> --evaluate --splits_to_eval [test]"
        )
    data = [_data(experiment, dataset_root) for experiment in group.experiments]
    with atomic_folder(folder) as temporary:
        runs = []
        for number, experiment in enumerate(group.experiments):
            seed = experiment.seed
            place = f"experiments/{f'seed{seed}' if seed is not None else f'run{number}'}"
            _copy_inputs(experiment, temporary / place)
            runs.append(
                {
                    "seed": seed,
                    "folder": place,
                    "scores": experiment.scores,
                    "weights": {scheme.name: _weights(scheme) for scheme in experiment.schemes},
                    "data": data[number],
                    "environment": _environment(experiment),
                    "reproduce": _commands(experiment, place, f"<NAME>_{Path(place).name}"),
                }
            )
        rows = summarize([group])
        shutil.copyfile(SCHEMA_PATH, temporary / SCHEMA)
        with atomic_write(temporary / RESULTS) as file:
            file.write(benchmark_columns(group.title, group.first.dataset, rows).encode())
        files = sorted(path for path in temporary.rglob("*") if path.is_file())
        record = {
            "format": FORMAT,
            "method": group.title,
            "poster_row": rows[0]["poster_row"],
            "dataset": group.first.dataset,
            "protocol": protocol(group.first),
            "results": [{key: row[key] for key in _ROW} for row in rows],
            "runs": runs,
            "files": {p.relative_to(temporary).as_posix(): sha256_of_file(p) for p in files},
        }
        write_manifest(temporary / RECORD, record)
    return record


def benchmark_columns(method: str, dataset: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return test scores as CSV, in the columns of "A Metric Learning Reality Check".

    Args:
        method: Its title.
        dataset: Its name.
        rows: The result of `summarize`.
    """
    line = {"Method": method, "Data set": dataset}
    for kind in (CONCATENATED, SEPARATED):
        row = next((r for r in rows if (r["split"], r["embedding"]) == ("test", kind)), None)
        dim = f" ({row['dim']}-dim)" if row and row["dim"] else ""
        for metric in reversed(METRICS):
            numbers = (row or {"metrics": {}})["metrics"].get(metric)
            half = f" ± {numbers['interval95']:.2f}" if numbers and "interval95" in numbers else ""
            text = f"{numbers['mean']:.2f}{half}" if numbers else ""
            line[f"{kind.capitalize()}{dim} {METRICS[metric]}"] = text
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, line, lineterminator="\n")
    writer.writeheader()
    writer.writerow(line)
    return buffer.getvalue()


def _copy_inputs(experiment: Experiment, place: Path) -> None:
    """Copy an experiment's configs and pseudo labels, and those of its teacher."""
    shutil.copytree(experiment.folder / "configs", place / "configs")
    if experiment.saved_as.is_student:
        (place / "pseudo_labels").mkdir()
        for scheme in experiment.schemes:
            for path in record_paths(scheme, scheme.name):
                if not path.is_file():
                    raise ExperimentError(
                        f"{path} is missing; expected the pseudo labels that the student was "
                        "trained on. Restore them."
                    )
                shutil.copyfile(path, place / "pseudo_labels" / path.name)
    if experiment.teacher is not None:
        _copy_inputs(experiment.teacher, place / TEACHER)


def _commands(experiment: Experiment, place: str, name: str) -> list[str]:
    """Return the commands that repeat an experiment and, before it, its teachers.

    With a self-supervised stage, this is the command of the whole run, since the record holds no
    trunks.

    Args:
        experiment: The experiment.
        place: Its folder in the record.
        name: Name of a plain experiment; otherwise the folder of the stages.
    """
    if experiment.config.get("self_supervised"):
        return [shlex.join(["python", *e["command"]]) for e in _environment(experiment)[:1]]
    places = [place]
    while experiment.teacher is not None:
        experiment = experiment.teacher
        places.insert(0, f"{places[0]}/{TEACHER}")
    names = [f"{name}/{TEACHER}", f"{name}/{STUDENT}"] if len(places) > 1 else [name]
    names += [f"{name}/round{number}/{STUDENT}" for number in range(2, len(places))]
    commands = []
    for number, (place, name) in enumerate(zip(places, names, strict=True)):
        start = f"python run.py --experiment_name {name}"
        flags = (
            f" --merge_argparse_when_resuming --teacher_experiment experiments/{names[number - 1]}"
            f" --pseudo_labels {{folder: <RECORD>/{place}/pseudo_labels}}"
        )
        commands += [
            f"{start} --reproduce_results <RECORD>/{place}{flags if number else ''}",
            f"{start} --evaluate --splits_to_eval [val, test]",
        ]
    return commands


def _weights(scheme: Path) -> dict[str, str]:
    models = scheme / "saved_models"
    epoch = latest_epoch(models, best=True)
    return {path.name: sha256_of_file(path) for path in sorted(models.glob(f"*_best{epoch}.pth"))}


def _environment(experiment: Experiment) -> list[Any]:
    if experiment.state:
        return list(experiment.state["environment"])
    path = experiment.folder / ENVIRONMENT_FILE
    if not path.is_file():
        return []  # the host records none
    try:
        return list(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ExperimentError(
            f"{path} is damaged: {error}; expected JSON. Restore it or remove it."
        ) from error


def _data(experiment: Experiment, dataset_root: Path) -> dict[str, str]:
    """Return the recorded hashes of the data, or those of the current data."""
    if experiment.state:
        return dict(experiment.state["data"])
    from slade_plugin.runner import SladeRunner

    entry = experiment.config["dataset"]
    dataset_class, params = SladeRunner().pytorch_getter.get(
        "dataset", yaml_dict=entry, return_uninitialized=True
    )
    try:
        dataset = dataset_class(root=str(dataset_root), transform=None, download=False, **params)
    except Exception as error:
        raise ExperimentError(
            f"the data of {experiment.folder} cannot be read for their hash: {first_key(entry)} "
            f"in {dataset_root}: {error}; expected --dataset_root with the data it was trained on."
        ) from error
    return {"labeled": pool_fingerprint(dataset)}
