"""Turn the command line of a run into the config of each stage.

Flags for data, model, transforms and evaluation apply to every stage, training flags to the
student; `--teacher.KEY`, `--baseline.KEY` and `--every.KEY` reach the other stages.
"""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from easy_module_attribute_getter import utils as emag_utils

from slade_plugin.base.differences import first_difference
from slade_plugin.base.errors import ConfigError, ExperimentError
from slade_plugin.config.composition import BRINGS
from slade_plugin.config.experiment_folder import is_pipeline_folder, read_saved_config
from slade_plugin.config.keys import STAGE_PREFIXES, STUDENT_KEYS, plain_key
from slade_plugin.config.saved_paths import resolve_folders, take_locations
from slade_plugin.host.validation import check_args
from slade_plugin.method.self_supervised.settings import PLACE
from slade_plugin.stages.kinds import SELF_SUPERVISED, TEACHER, stage_name

_NONE: Mapping[str, Any] = MappingProxyType({})


class RunCommand:
    """The command line of a self-training run, read once for each stage.

    Args:
        runner: Our runner.
        reader: Its command-line reader, as for a new experiment; `resume_training` is read from
            the runner's own reader.

    Attributes:
        folder: The run's folder.
        settings: The config entry `pipeline`.
        rounds: Rounds of pseudo labels and student, at least 1.
        given_teacher: Folder of a teacher that is not trained here.
        self_supervised: The entry `self_supervised` of every stage, with the trunk folder; may be
            empty.
        configs: The merged config of each stage that is an experiment, by name.
        clusters: Description of the pseudo labels' source; empty before the pool is known.
    """

    def __init__(self, runner: Any, reader: Any) -> None:
        self.runner = runner
        self.reader = reader
        self.folder = Path(reader.args.experiment_folder)
        self.resuming = bool(runner.YR.args.resume_training)
        config = runner.read(reader)
        check_args(config, runner.pytorch_getter)
        self.settings: Mapping[str, Any] = config.pipeline
        self.rounds: int = self.settings.get("rounds", 1)
        given = getattr(config, "teacher_experiment", None)
        self.given_teacher = _find_teacher(given) if given else None
        self._check_teacher_flags()
        self.self_supervised = self._read_self_supervised(config)
        self.configs: dict[str, Any] = {}
        self.clusters = ""

    def flags(self, prefix: str) -> list[tuple[str, Any]]:
        """List the command-line values with a prefix, and strip the prefix."""
        flags = vars(self.reader.args)
        return [(k.removeprefix(prefix), v) for k, v in flags.items() if k.startswith(prefix)]

    def stage_folder(self, kind: str, number: int = 1) -> Path:
        """Return the absolute folder of a stage of this run."""
        return (self.folder / stage_name(kind, number)).resolve()

    # ---- readers ------------------------------------------------------------------------------

    def reader_for(
        self,
        name: str,
        own: Iterable[tuple[str, Any]] = (),
        settings: Mapping[str, Any] = _NONE,
        is_student: bool = False,
    ) -> Any:
        """Create a reader with the values for one stage.

        Args:
            name: Name of the stage.
            own: Values for this stage alone; they override those for every stage.
            settings: Values of the config files; any flag overrides them.
            is_student: Whether training flags apply to it.
        """
        reader = self.runner.reader_for(self.reader)
        for key in list(vars(reader.args)):
            others = not is_student and plain_key(key) in STUDENT_KEYS
            others = others or plain_key(key) == "self_supervised"  # set below
            if others or key.startswith(STAGE_PREFIXES):
                delattr(reader.args, key)
        requested = dict(self.runner.requested)
        areas = {k: v for k, v in settings.items() if k in requested}
        requested |= areas
        brings = settings.get(BRINGS) or {}
        for key in (k for k in settings if k not in areas and k != BRINGS):
            shared = getattr(reader.args, key, settings[key])
            setattr(reader.args, key, _merged(settings[key], shared))
        for key, value in [*self.flags("every."), *own]:
            if key in reader.args.config_foldernames:
                requested[key] = value
            else:
                setattr(reader.args, key, _merged(getattr(reader.args, key, None), value))
        if self.self_supervised:
            reader.args.self_supervised = dict(self.self_supervised)
        if brings or requested != self.runner.requested:
            composed = self.runner.compose(reader.args.config_foldernames, requested, brings)
            vars(reader.args).update(composed)
        vars(reader.args).update(self._places(name))
        return reader

    def read_saved(self, name: str, **flags: Any) -> Any:
        """Read the saved config of a stage, with current paths.

        Args:
            name: Name of the stage.
            **flags: Flags of the host, such as evaluate=True.
        """
        planned = self.configs[name]
        own = {"config_foldernames": planned.config_foldernames, **self._places(name)}
        args = self.runner.read(self.runner.reader_of_saved(self.reader, **own, **flags))
        take_locations(args, planned)
        return args

    def _places(self, name: str) -> dict[str, str]:
        folder = self.folder / name
        return {
            "experiment_name": f"{self.reader.args.experiment_name}/{name}",
            "experiment_folder": str(folder),
            "place_to_save_configs": str(folder / "configs"),
        }

    # ---- what all stages share ----------------------------------------------------------------

    def _check_teacher_flags(self) -> None:
        ignored = [f"--teacher.{key}" for key, _ in self.flags("teacher.")]
        if self.given_teacher and ignored:
            raise ConfigError(
                f"{', '.join(ignored)} is given together with teacher_experiment, so no teacher "
                "is trained; expected one or the other. The given teacher keeps its saved config; "
                "--baseline.KEY changes the baseline."
            )

    def _read_self_supervised(self, config: Any) -> dict[str, Any]:
        """Read the entry `self_supervised`; a given teacher's students share its starting trunk."""
        entry = dict(getattr(config, "self_supervised", None) or {})
        aimed = [f for p in STAGE_PREFIXES for f, _ in self.flags(p) if "self_supervised" in f]
        if aimed:
            raise ConfigError(
                f"{aimed[0]} applies to some stages only; expected it without the prefix, since "
                "all stages start from the same trunk."
            )
        if self.given_teacher:
            return self._teachers_self_supervised(self.given_teacher, entry)
        if not entry:
            return {}
        given = entry.get(PLACE)
        place = Path(given).resolve() if given else self.stage_folder(SELF_SUPERVISED)
        return {**entry, PLACE: str(place)}

    @staticmethod
    def _teachers_self_supervised(teacher: Path, entry: Mapping[str, Any]) -> dict[str, Any]:
        config = read_saved_config(teacher)
        saved = {**config, **resolve_folders(config, teacher)}.get("self_supervised") or {}
        given = entry.get(PLACE)  # the folder may have been moved; its files are compared
        saved = {**saved, PLACE: str(Path(given).resolve())} if saved and given else saved
        difference = first_difference(saved, {**entry, PLACE: saved.get(PLACE)})
        if entry and difference is not None:
            where, theirs, ours = difference
            raise ConfigError(
                f"self_supervised: {where} is {ours!r}, but {theirs!r} for the given teacher "
                f"{teacher}; expected the same, since its students share its starting trunk. Omit "
                "--config_self_supervised or train another teacher."
            )
        return dict(saved)


def _find_teacher(given: str) -> Path:
    folder = Path(given).resolve()
    if is_pipeline_folder(folder):
        raise ExperimentError(
            f"--teacher_experiment {given} contains several experiments; expected one of them, "
            f"{Path(given) / TEACHER}"
        )
    if not (folder / "configs").is_dir():
        raise ExperimentError(
            f"there is no teacher in {folder}; expected the folder of a trained experiment, with "
            "its configs. If it was moved, give its new path: --teacher_experiment PATH."
        )
    return folder


def _merged(old: Any, new: Any) -> Any:
    """Replace a key's value by a later one; mappings without keywords are merged."""
    both = isinstance(old, Mapping) and isinstance(new, Mapping)
    if not both or "~" in str(new):
        return new
    return emag_utils.merge_two_dicts(old, new, max_merge_depth=math.inf)
