"""Write a leaderboard record of a method: its scores and everything needed to repeat them."""

import json
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from slade_plugin.base.csv_text import csv_text
from slade_plugin.base.errors import ConfigError, ExperimentError
from slade_plugin.base.files import (
    atomic_folder,
    sha256_of_file,
    write_json,
    write_manifest,
    write_text,
)
from slade_plugin.base.provenance import ENVIRONMENT_FILE
from slade_plugin.config.experiment_folder import evaluate_command, latest_epoch
from slade_plugin.experiments.results.data_splits import DataSplits
from slade_plugin.experiments.results.found import (
    CONCATENATED,
    SEPARATED,
    Experiment,
    Group,
)
from slade_plugin.experiments.results.protocol import protocol
from slade_plugin.experiments.results.searches import count_trials
from slade_plugin.experiments.results.summary import summarize
from slade_plugin.method.pseudo_labels.record import record_paths
from slade_plugin.stages.kinds import BASELINE, PLAIN, PSEUDO_LABELS, STUDENT, TEACHER, stage_name
from slade_plugin.stages.table import METRICS, read_curve, with_interval

FORMAT = 2
RECORD, RESULTS, LABELS = "record.json", "results.csv", "pseudo_labels.json"
SCHEMA_PATH = Path(__file__).with_name("record.schema.json")

# What a pseudo-label manifest holds about this machine, or once per cluster.
_NOT_KEPT = ("cluster_sizes", "teacher_experiment", "manifest_sha256")
_BUDGET = re.compile(r"(\d+) trials?(?: on (\w+))?(?:[:,;] *(.+))?")
# Folders before the last part of an absolute path, alone or within a word.
_FOLDERS = re.compile(r"(?<![\w.~:/])/(?:[^/\s,:{}\[\]'\"]+/)+")
_STATES = re.compile("_(optimizer|scheduler)_|^training_state_")
_ROW = ("split", "embedding", "dim", "seeds", "split_schemes", "over", "metrics")


def write_record(
    group: Group, folder: Path, dataset_root: Path, budget: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Write the folder of a record. It holds no weights, no pseudo labels and no absolute paths.

    Args:
        group: Runs of one method, finished and evaluated on test.
        folder: The new folder; it must not exist yet.
        dataset_root: Root of the data, read for their hash and for the classes of each split.
        budget: The effort of tuning (`read_budget`); by default that of the search that the runs
            belong to, if any.

    Returns:
        The record.

    Raises:
        ExperimentError: If the folder exists, a run lacks test scores, a file is missing, or the
            data are not those of the training.
    """
    if folder.exists():
        raise ExperimentError(f"{folder} exists; expected a new folder for the record.")
    lacking = [e.folder for e in group.experiments if SEPARATED not in e.scores.get("test", {})]
    if lacking:
        raise ExperimentError(
            f"{lacking[0]} was not evaluated on test; expected test scores of every run. "
            f"Evaluate it: {evaluate_command(lacking[0], 'test')}"
        )
    data = DataSplits(dataset_root)
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
                    "validation": _validation(experiment),
                    "weights": {scheme.name: _weights(scheme) for scheme in experiment.schemes},
                    "data": data.hashes(experiment),
                    "classes": data.classes(experiment),
                    "training": [_training(e) for e in _with_teachers(experiment)],
                    "environment": portable(_environment(experiment)),
                    "reproduce": _commands(experiment, place, f"<NAME>_{Path(place).name}"),
                }
            )
        rows = summarize([group])
        text = benchmark_columns(group.title, group.first.dataset, rows)
        write_text(temporary / RESULTS, text)
        files = sorted(path for path in temporary.rglob("*") if path.is_file())
        kind = group.first.saved_as.kind
        record = {
            "format": FORMAT,
            "method": group.title,
            "of": BASELINE if kind == PLAIN else kind,
            "poster_row": rows[0]["poster_row"],
            "dataset": group.first.dataset,
            "protocol": portable(protocol(group.first)),
            "budget": dict(budget) if budget else search_budget(group.first.folder),
            "results": [{key: row[key] for key in _ROW} for row in rows],
            "runs": runs,
            "files": {p.relative_to(temporary).as_posix(): sha256_of_file(p) for p in files},
        }
        write_manifest(temporary / RECORD, record)
    return record


def read_budget(text: str) -> dict[str, Any]:
    """Read the effort of tuning, such as `12 trials on val` or `0 trials: values of the paper`.

    Returns:
        `trials`; `split`, on which the best one was chosen, None without trials; `note`.

    Raises:
        ConfigError: If the text has another form.
    """
    found = _BUDGET.fullmatch(text.strip())
    if found is None or (int(found[1]) > 0) != bool(found[2]):
        raise ConfigError(
            f"--budget is {text!r}; expected the number of trials and the split that chose the "
            'best one, and a note if needed: "12 trials on val", "0 trials: values of the paper".'
        )
    return {"trials": int(found[1]), "split": found[2], "note": found[3] or ""}


def search_budget(experiment: Path) -> dict[str, Any] | None:
    """Return the effort of the search that an experiment belongs to; None without a search."""
    for folder in experiment.resolve().parents[:3]:  # such as search/trial0/round2/student
        if trials := count_trials(folder):
            return {"trials": trials, "split": "val", "note": "--bayes_opt_iters"}
    return None


def portable(content: Any) -> Any:
    """Reduce every absolute path in nested content to its last part."""
    if isinstance(content, Mapping):
        return {key: portable(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [portable(value) for value in content]
    if not isinstance(content, str):
        return content
    return Path(content).name if content.startswith("/") else _FOLDERS.sub("", content)


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
            text = with_interval(numbers["mean"], numbers.get("interval95")) if numbers else ""
            line[f"{kind.capitalize()}{dim} {METRICS[metric]}"] = text
    return csv_text([*line], [[*line.values()]])


def _with_teachers(experiment: Experiment) -> list[Experiment]:
    """Return an experiment after its teachers, in the order of their training.

    Raises:
        ExperimentError: If a student's teacher is missing.
    """
    if not experiment.saved_as.is_student:
        return [experiment]
    if experiment.teacher is None:
        raise ExperimentError(
            f"the teacher of {experiment.folder} is missing: "
            f"{experiment.config.get('teacher_experiment')}; expected its folder. Restore it."
        )
    return [*_with_teachers(experiment.teacher), experiment]


def _copy_inputs(experiment: Experiment, place: Path) -> None:
    """Copy an experiment's configs and the facts of its pseudo labels, and its teacher's."""
    saved = experiment.folder / "configs"
    for path in sorted(saved.rglob("*.yaml")):
        config = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        changed = portable(config)
        if config.get("teacher_experiment") and experiment.saved_as.is_student:
            changed["teacher_experiment"] = TEACHER  # where it is in the record
        copy = place / "configs" / path.relative_to(saved)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if changed == config:
            shutil.copyfile(path, copy)
        else:
            write_text(copy, yaml.safe_dump(changed, sort_keys=False))
    if experiment.saved_as.is_student:
        manifests = {}
        for scheme in experiment.schemes:
            path = record_paths(scheme, scheme.name)[1]
            try:
                manifest = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise ExperimentError(
                    f"{path} cannot be read: {error}; expected the facts of the pseudo labels "
                    "that the student was trained on. Restore them."
                ) from error
            manifests[scheme.name] = {k: v for k, v in manifest.items() if k not in _NOT_KEPT}
        write_json(place / LABELS, manifests)
    if experiment.teacher is not None:
        _copy_inputs(experiment.teacher, place / TEACHER)


def _training(experiment: Experiment) -> dict[str, Any]:
    """Return stage, epochs and steps of an experiment; steps are None if an epoch has no number."""
    config = experiment.config
    epochs = config["num_epochs_train"]
    if isinstance(epochs, Mapping) or config.get("patience") is not None:
        epochs = max(latest_epoch(scheme / "saved_models") for scheme in experiment.schemes)
    trainer = next(iter((config.get("trainer") or {}).values()), None) or {}
    per_epoch = trainer.get("iterations_per_epoch")
    steps = epochs * per_epoch if per_epoch else None
    return {"stage": experiment.saved_as.kind, "epochs": epochs, "steps": steps}


def _validation(experiment: Experiment) -> dict[str, dict[str, float]]:
    """Return what the best epoch was chosen by: split scheme to epoch to percent."""
    hooks = next(iter((experiment.config.get("hook_container") or {}).values()), None) or {}
    metric = hooks.get("primary_metric", next(iter(METRICS)))
    return {
        scheme.name: {str(e): round(x, 6) for e, x in read_curve(scheme, "val", metric).items()}
        for scheme in experiment.schemes
    }


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
        trained = [portable(e["command"]) for e in _environment(experiment)[:1]]
        return [shlex.join(["python", *command]) for command in trained]
    chain = _with_teachers(experiment)
    commands: list[str] = []
    before = last = given = ""
    for number in range(len(chain)):
        saved = "/".join(["<RECORD>", place, *[TEACHER] * (len(chain) - 1 - number)])
        own = name
        if len(chain) > 1:
            own += f"/{stage_name(STUDENT, number) if number else TEACHER}"
        if number:
            labels = f"{name}/{stage_name(PSEUDO_LABELS, number)}"
            folders = f"folder: experiments/{labels}"
            folders += f", last_folder: experiments/{last}" if last else ""
            given = (
                f" --merge_argparse_when_resuming --teacher_experiment experiments/{before}"
                f" --pseudo_labels {{{folders}}}"
            )
            commands.append(
                f"python run.py --experiment_name {labels} --reproduce_results {saved}{given}"
                " --api_parser~OVERRIDE~ {APISladePseudoLabels: {}}"
            )
            last = labels
        start = f"python run.py --experiment_name {own}"
        commands += [
            f"{start} --reproduce_results {saved}{given}",
            f"{start} --evaluate --splits_to_eval [val, test]",
        ]
        before = own
    return commands


def _weights(scheme: Path) -> dict[str, str]:
    """Hash the files of the best model, without the states of optimizers and schedulers."""
    models = scheme / "saved_models"
    epoch = latest_epoch(models, best=True)
    files = sorted(models.glob(f"*_best{epoch}.pth"))
    return {p.name: sha256_of_file(p) for p in files if not _STATES.search(p.name)}


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
