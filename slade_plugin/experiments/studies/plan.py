"""Plan the runs of a study.

Runs are keyed by their flags: two settings, of one study or of several, that run the same command
share one folder and so one run.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from types import MappingProxyType
from typing import Any

from slade_plugin.base.errors import ConfigError
from slade_plugin.config.experiment_folder import STATE_FILE
from slade_plugin.experiments.studies.flags import as_words, flag_values, merged_values
from slade_plugin.experiments.studies.study import Setting, Study
from slade_plugin.stages.kinds import BASELINE, TEACHER

# Paths are not part of a run's key or of a reported command.
PLACES = ("--dataset_root", "--pytorch_home", "--debug")
MARKERS = {"val": "trained.json", "test": "evaluated.json"}  # by evaluation, once it is done

# (data set, setting) -> parameter -> its value in the flags
Values = Mapping[tuple[str, str], Mapping[str, str]]


@dataclass(frozen=True)
class Run:
    """One run of run.py: a setting on a data set with a seed.

    Attributes:
        folder: Its folder, named after its flags; run.py writes `experiment` in it.
        dataset: Name of the data set.
        seed: Its seed.
        setting: Name of the setting, the first one if several share the run.
        flags: Flags that decide the outcome, together with the seed and the teacher.
        places: Flags that only give paths.
        teacher: The run whose teacher it uses; None if it trains its own.
        plain: Whether it is a plain experiment rather than self-training.
        evaluation: What follows run.py's own evaluation: "test" of test, also as an ensemble; "val"
            nothing, for a trial, which is judged by its best epoch; "" nothing.
    """

    folder: Path
    dataset: str
    seed: int
    setting: str
    flags: tuple[str, ...]
    places: tuple[str, ...] = ()
    teacher: "Run | None" = None
    plain: bool = False
    evaluation: str = ""

    @property
    def experiment(self) -> Path:
        """The folder that run.py writes."""
        return self.folder / "experiment"

    @property
    def log(self) -> Path:
        """The output of run.py."""
        return self.folder / "log.txt"

    @property
    def table(self) -> Path:
        """The scores of a pipeline; the file exists once it is trained."""
        return self.experiment / "results" / "table.json"

    @property
    def finished(self) -> bool:
        """Whether it is trained and evaluated."""
        marker = MARKERS.get(self.evaluation)
        return (self.folder / marker if marker else self.table).is_file()

    @property
    def title(self) -> str:
        """Its title in messages."""
        return f"{self.dataset} seed{self.seed} {self.setting}"

    def command(self) -> list[str]:
        """Return the words of run.py's command line; they resume an interrupted run."""
        words = [*self.flags, *self.places, "--seed", str(self.seed)]
        words += ["--root_experiment_folder", str(self.folder)]
        words += ["--experiment_name", self.experiment.name]
        if self.teacher:
            words += ["--teacher_experiment", str(self.teacher.experiment / TEACHER)]
        if (self.experiment / STATE_FILE).is_file():
            words += ["--resume_training", "latest"]
        return words

    def description(self) -> dict[str, Any]:
        """Return the content of run.json."""
        return {
            "dataset": self.dataset,
            "seed": self.seed,
            "flags": shlex.join(self.flags),
            "teacher": self.teacher.folder.name if self.teacher else None,
            "evaluation": self.evaluation,
        }


def plan_runs(
    study: Study,
    folder: Path,
    seeds: Iterable[int],
    extra: Sequence[str] = (),
    values: Values = MappingProxyType({}),
) -> dict[tuple[str, int, str], Run]:
    """Plan all runs of a study in the order of their start.

    The order is seed by seed, so that an interrupted study has complete seeds, and `first` precedes
    the settings that use its teacher.

    Args:
        study: The study.
        folder: The folder of runs: `folder/DATASET/seedN/KEY`. Studies with one folder share runs.
        seeds: Seeds of the runs.
        extra: Additional flags for every run. If study, data set, setting and `extra` have the same
            flag, mappings are merged; otherwise the last value counts.
        values: Values of the parameters of tuned settings; without them, flags hold the names.

    Returns:
        (data set, seed, setting) to its run; several may share one run.

    Raises:
        ConfigError: If a flag of `extra` cannot be read or is the study's own, or a setting has
            flags of a teacher that it does not train.
    """
    order = sorted(study.settings, key=lambda setting: setting.name != study.first)
    runs: dict[tuple[str, int, str], Run] = {}
    for seed in seeds:
        for dataset, of_dataset in study.datasets.items():
            shared: dict[Path, Run] = {}
            first: Run | None = None
            for setting in order:
                teacher = None if setting.own_teacher else first
                of_setting = (setting.flags, setting.of_dataset.get(dataset, ()))
                flags = _joined(
                    setting, [study.flags_of(seed), of_dataset, *of_setting, extra], teacher
                )
                places = tuple(w for k, ws in flags.items() if k in PLACES for w in (k, *ws))
                chosen = values.get((dataset, setting.tuned_as or setting.name), {})
                own = tuple(
                    Template(w).safe_substitute(chosen) if chosen else w
                    for k, ws in flags.items()
                    if k not in PLACES
                    for w in (k, *ws)
                )
                path = folder / dataset / f"seed{seed}" / _key(own, teacher)
                # run.py evaluates neither concatenated models nor plain experiments on test
                evaluation = "test" if study.poster or setting.plain else ""
                key = dataset, seed, setting.name
                run = Run(path, *key, own, places, teacher, setting.plain, evaluation)
                run = shared.setdefault(path, run)
                runs[key] = run
                if setting.name == study.first:
                    first = run
    return runs


def _joined(
    setting: Setting, sources: Iterable[Sequence[str]], teacher: Run | None
) -> dict[str, tuple[str, ...]]:
    """Merge flags as in `plan_runs`, sorted so that equal flags have one key."""
    flags: dict[str, Any] = {}
    for source in sources:
        for flag, value in flag_values(source).items():
            if teacher and flag.startswith("--teacher."):
                if source is setting.flags:
                    raise ConfigError(
                        f"{setting.name} has {flag}, but uses a teacher that another run trains; "
                        "expected teacher: own, or the flag in datasets or flags of the study."
                    )
                continue  # for the run that trained it
            flags[flag] = merged_values(flags.get(flag), value)
    if not setting.own_baseline and not setting.plain:
        given = flags.setdefault("--pipeline", {})
        if not isinstance(given, dict):
            raise ConfigError(f"{setting.name}: --pipeline is {given}; expected {{KEY: VALUE}}.")
        flags["--pipeline"] = {**given, BASELINE: False}
    # The host's keywords (KEY~APPLY~2) may depend on order among flags of one key.
    ordered = sorted(flags.items(), key=lambda item: item[0].partition("~")[0])
    return {flag: as_words(flag, value) for flag, value in ordered}


def _key(flags: Sequence[str], teacher: Run | None) -> str:
    """Return the name of a run's folder: a readable word and a hash of what decides its outcome."""
    content = json.dumps([flags, teacher.folder.name if teacher else None])
    digest = hashlib.sha256(content.encode()).hexdigest()[:10]
    loss = flag_values(flags).get("--config_loss", "run")
    return f"{re.sub(r'[^a-zA-Z0-9_]+', '-', loss).strip('-')}-{digest}"
