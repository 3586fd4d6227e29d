"""Find experiments on disk, group those of one method, and read their scores."""

import glob
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from slade_plugin.base.differences import differences
from slade_plugin.base.errors import ExperimentError
from slade_plugin.config import former_keys
from slade_plugin.config.composition import AREAS_FILE
from slade_plugin.config.compute_settings import ComputeSettings
from slade_plugin.config.experiment_folder import (
    read_saved_config,
    read_state,
    split_scheme_folders,
    why_unfinished,
)
from slade_plugin.config.saved_paths import resolve_folders
from slade_plugin.experiments.results.ensemble import read_ensemble
from slade_plugin.experiments.results.searches import describe_search, is_search, tuned_experiments
from slade_plugin.host.api_parsers.data_record import read_data_record
from slade_plugin.stages.kinds import (
    BASELINE,
    PLAIN,
    STUDENT,
    TEACHER,
    SavedStage,
    identify_experiment,
)
from slade_plugin.stages.table import read_experiment

SPLITS = ("val", "test")
SEPARATED, CONCATENATED = "separated", "concatenated"

# Paths, logging and evaluated splits are not part of a method.
_NO_METHOD = frozenset(
    f"""{AREAS_FILE} brings pipeline seed teacher_experiment splits_to_eval log_data_to_tensorboard
    save_figures_on_tensorboard save_lists_in_db skip_eval_if_already_done check_untrained_accuracy
    skip_ensemble_eval_if_already_done override_required_compatible_factories""".split()
)
SPLIT_OF_SEED = "the seed of the run"  # each seed draws its own classes
_WITH_FOLDER = ("pseudo_labels", "self_supervised")
_FOLDERS = ("folder", "last_folder")

# split -> separated or concatenated -> metric -> split scheme -> percent
Scores = dict[str, dict[str, dict[str, dict[str, float]]]]


@dataclass(frozen=True)
class Experiment:
    """An experiment of the host: a plain one, or a stage of self-training.

    Attributes:
        folder: Its path.
        config: Its saved config, all areas in one mapping.
        fixed_splits: Whether all runs of its method share one `random_seed`, also the run whose
            seed happens to equal it (`as_one_method`).
    """

    folder: Path
    config: Mapping[str, Any]
    fixed_splits: bool = False

    @cached_property
    def saved_as(self) -> SavedStage:
        """Its kind: a plain experiment, or a stage of a run."""
        return identify_experiment(self.folder, self.config)

    @property
    def stage(self) -> str:
        """Its name among the stages of its run, such as `round2/student`; empty outside a run."""
        return self.saved_as.name

    @property
    def seed(self) -> int | None:
        """Its seed; None for one of the host, which seeds nothing."""
        return self.config.get("seed")

    @property
    def dataset(self) -> str:
        """Class name of its data set."""
        return first_key(self.config.get("dataset"))

    @property
    def split_manager(self) -> Mapping[str, Any]:
        """Its entry of the config; a `random_seed` drawn by the run's seed is `SPLIT_OF_SEED`."""
        entry = self.config.get("split_manager") or {}
        name = first_key(entry)
        settings = entry.get(name) or {}
        if self.fixed_splits or self.seed is None or settings.get("random_seed") != self.seed:
            return entry
        return {**entry, name: {**settings, "random_seed": SPLIT_OF_SEED}}

    @property
    def schemes(self) -> list[Path]:
        """Folders of its split schemes."""
        return split_scheme_folders(self.folder, "saved_csvs")

    @property
    def dim(self) -> int | None:
        """Size of an embedding; None if the config does not give it."""
        embedder = (self.config.get("models") or {}).get("embedder") or {}
        sizes = next(iter(embedder.values()), None) or {}
        layers = sizes.get("layer_sizes") if isinstance(sizes, Mapping) else None
        if layers or first_key(embedder) != "Identity":
            return layers[-1] if layers else None
        loss = next(iter((self.losses.get("metric_loss") or {}).values()), None) or {}
        return loss.get("embedding_size")  # only a classifier gives the size of the trunk's output

    @property
    def loss(self) -> str:
        """Name of its last loss config, or of a loss given on the command line."""
        names = self.config.get(AREAS_FILE, {})
        chosen = [
            name
            for area in ("config_loss", "config_loss_and_miners")
            for name in names.get(area) or []
            if name != "default"
        ]
        return chosen[-1] if chosen else first_key(self.losses.get("metric_loss"))

    @property
    def losses(self) -> Mapping[str, Any]:
        """Its losses by key."""
        return self.config.get("loss_funcs") or {}

    @property
    def title(self) -> str:
        """Title for tables: its loss, and its stage unless it is the student of a single round."""
        return self.loss if self.stage in ("", STUDENT) else f"{self.loss} ({self.stage})"

    @cached_property
    def state(self) -> Mapping[str, Any]:
        """pipeline.json of its run; empty outside a run."""
        run = self.saved_as.run
        return {} if run is None else read_state(run, "stages")

    @cached_property
    def data(self) -> Mapping[str, str]:
        """Hashes of its images when it was trained, `labeled` and `pool`; empty if unknown."""
        return read_data_record(self.folder) or self.state.get("data") or {}

    @cached_property
    def with_fixed_splits(self) -> "Experiment":
        """The same experiment with `fixed_splits`."""
        return replace(self, fixed_splits=True)

    @cached_property
    def method(self) -> dict[str, Any]:
        """Its config and its teacher's without seed and paths: equal for one method."""
        method = {key: value for key, value in self.config.items() if key not in _NO_METHOD}
        if "split_manager" in method:
            method["split_manager"] = self.split_manager
        for key in _WITH_FOLDER:
            if isinstance(method.get(key), Mapping):
                method[key] = {k: v for k, v in method[key].items() if k not in _FOLDERS}
        if ComputeSettings.from_config(method.get("compute")) == ComputeSettings():
            method.pop("compute", None)  # as if it were not there
        given = self.config.get("teacher_experiment")
        if given and self.saved_as.is_student:
            method[TEACHER] = self.teacher.method if self.teacher else given
        return method

    @cached_property
    def teacher(self) -> "Experiment | None":
        """A student's teacher at its saved path, or moved together with the student."""
        given = self.config.get("teacher_experiment")
        if not given or not self.saved_as.is_student:  # other experiments do not use it
            return None
        folder = Path(given)
        if not (folder / "configs" / f"{AREAS_FILE}.yaml").is_file():
            return None
        return replace(read_saved(folder), fixed_splits=self.fixed_splits)

    def why_unfinished(self) -> str | None:
        """Return why its scores are not final; None if they are."""
        if self.state and not self.state["stages"].get(self.stage, {}).get("done"):
            return "its run has not finished this stage"
        return why_unfinished(self.folder, self.config)

    @cached_property
    def scores(self) -> Scores:
        """Its scores in percent; splits that were not evaluated are absent."""
        scores: Scores = {}
        for split in SPLITS:
            found = {}
            try:
                found[SEPARATED] = read_experiment(self.folder, [split])[split]
            except ExperimentError:
                pass  # the caller reports the missing split
            concatenated = read_ensemble(self.folder, split, first_key(self.config.get("ensemble")))
            if concatenated:
                found[CONCATENATED] = {m: {"all": value} for m, value in concatenated.items()}
            if found:
                scores[split] = found
        return scores


@dataclass
class Group:
    """Experiments of one method on one data set, which differ in their seeds.

    Attributes:
        title: Title for tables.
        experiments: Ordered by seed, one per seed.
    """

    title: str
    experiments: list[Experiment] = field(default_factory=list)

    @property
    def first(self) -> Experiment:
        """The first experiment, for its config."""
        return self.experiments[0]


def first_key(config: Any) -> str:
    """Return the name in an entry {NAME: {...}} of the host's form; empty if there is none."""
    return str(next(iter(config or {}), ""))


def read_saved(folder: Path) -> Experiment:
    """Read the saved config of an experiment.

    Raises:
        ExperimentError: If a config is missing or damaged.
    """
    config = read_saved_config(folder)
    former_keys.translate(config)
    return Experiment(folder, config | resolve_folders(config, folder))


def find_experiments(folders: Iterable[Path]) -> list[Experiment]:
    """Find all experiments in and below some folders: plain ones and the stages of pipelines.

    In a hyperparameter search, only `tuned_experiments` count.

    Args:
        folders: Where to search. Experiments in overlapping folders count once.

    Raises:
        ExperimentError: If a folder is missing, or one holds no experiment.
    """
    found: dict[Path, Experiment] = {}
    for given in folders:
        if not given.is_dir():
            raise ExperimentError(f"there is no folder {given}; expected one with experiments.")
        searches = find_searches([given])
        roots = [given, *(folder for search in searches for folder in tuned_experiments(search))]
        walked = (path for root in roots for path in _walk(root) if path not in searches)
        here = {path.resolve(): path for path in walked}
        if not here and searches:
            raise ExperimentError(
                f"{'; '.join(map(describe_search, searches))}. Expected a finished one."
            )
        if not here:
            raise ExperimentError(
                f"{given} holds no experiment; expected configs/{AREAS_FILE}.yaml in it or below "
                "it, as in every run of the benchmarker."
            )
        for resolved, path in here.items():
            found.setdefault(resolved, read_saved(path))
    return list(found.values())


def find_searches(folders: Iterable[Path]) -> list[Path]:
    """Find the folders of all hyperparameter searches in and below some folders."""
    return [path for folder in folders for path in _walk(folder) if is_search(path)]


def _walk(folder: Path) -> Iterator[Path]:
    """Yield experiments, and searches as a whole."""
    for parent, names, _ in os.walk(folder):
        names.sort()
        path = Path(parent)
        if (path / "configs" / f"{AREAS_FILE}.yaml").is_file() or is_search(path):
            names.clear()  # an experiment contains no other one
            yield path


def group_experiments(experiments: Iterable[Experiment]) -> tuple[list[Group], list[str]]:
    """Group experiments by method.

    Args:
        experiments: The result of `find_experiments`.

    Returns:
        The groups, baselines and teachers before students, and notes on the experiments that were
        left out.
    """
    groups: list[Group] = []
    notes = []
    for experiment in experiments:
        reason = experiment.why_unfinished()
        if reason or not experiment.scores:
            reason = reason or "no split was evaluated at its best epoch"
            notes.append(f"{experiment.folder} is left out: {reason}")
            continue
        joined = (
            (group, _alike([*group.experiments, experiment], fixed_splits))
            for fixed_splits in (False, True)
            for group in groups
        )
        group, found = next(((g, found) for g, found in joined if found), (None, []))
        if group is None:
            groups.append(Group(experiment.title, [experiment]))
            continue
        same = [e for e in group.experiments if e.seed == experiment.seed is not None]
        if same:
            notes.append(
                f"{experiment.folder} is left out: it repeats {same[0].folder} with the same seed"
            )
            continue
        group.experiments = found
    for group in groups:
        group.experiments.sort(key=lambda e: (e.seed is None, e.seed or 0))
    order = {BASELINE: 0, TEACHER: 1, PLAIN: 2, STUDENT: 3}
    groups.sort(key=lambda g: (g.first.dataset, order[g.first.saved_as.kind]))
    _tell_apart(groups)
    return groups, notes


def as_one_method(experiments: Sequence[Experiment]) -> list[Experiment]:
    """Return experiments as runs of one method, with `fixed_splits` if only that makes them alike.

    A `random_seed` of 0 may be drawn by the run's seed 0, or be fixed: the other runs tell.
    Experiments of several methods are returned as they are.
    """
    return _alike(experiments, False) or _alike(experiments, True) or [*experiments]


def _alike(experiments: Sequence[Experiment], fixed_splits: bool) -> list[Experiment]:
    found = [e.with_fixed_splits if fixed_splits else e for e in experiments]
    # With the last one, which is new to a group: that of another method differs at once.
    return found if all(e.method == found[-1].method for e in found) else []


def read_method(*patterns: str) -> Group:
    """Read the runs of one method.

    Args:
        *patterns: Folders of experiments, or patterns (``*``) for its runs.

    Raises:
        ExperimentError: If one matches nothing, or they match several methods or runs that do not
            count.
    """
    folders: list[Path] = []
    for pattern in patterns:
        # A name may contain brackets.
        literal = pattern.replace("[", "[[]")
        found = [pattern] if Path(pattern).exists() else glob.glob(literal) or glob.glob(pattern)
        if not found:
            raise ExperimentError(
                f"{pattern} matches nothing; expected an experiment or a pattern."
            )
        folders += sorted(map(Path, found))
    groups, notes = group_experiments(find_experiments(folders))
    if len(groups) > 1:
        named = ", ".join(f"{group.title} ({group.first.folder})" for group in groups)
        raise ExperimentError(
            f"{' '.join(patterns)} holds {len(groups)} methods: {named}; expected one. Give the "
            "folder of one experiment, or a quoted pattern that only matches runs of one method."
        )
    if notes:
        raise ExperimentError(f"{'; '.join(notes)}. Expected only runs that count.")
    return groups[0]


def _tell_apart(groups: list[Group]) -> None:
    """Append to equal titles their differences, at most three values."""
    by_title: dict[tuple[str, str], list[Group]] = {}
    for group in groups:
        by_title.setdefault((group.first.dataset, group.title), []).append(group)
    for same in by_title.values():
        methods = [group.first.method for group in same]
        keys = dict.fromkeys(k for other in methods for k, *_ in differences(methods[0], other))
        for group in same if keys else ():
            values = ((k.rpartition("/")[2], _at(group.first.method, k)) for k in keys)
            texts = [f"{k}={'{...}' if isinstance(v, Mapping) else v}" for k, v in values]
            shown = list(dict.fromkeys(texts))  # those of a student and its teacher are often equal
            group.title += f" [{', '.join(shown[:3])}{', ...' if len(shown) > 3 else ''}]"


def _at(config: Any, where: str) -> Any:
    for key in where.split("/"):
        if not isinstance(config, Mapping) or key not in config:
            return "absent"
        config = config[key]
    return config
