"""Read the configs of a study as run.py does, to find mistakes before the first run.

Equal flags do not imply equal configs, since a default may have changed after a run was made. This
is noted, not forbidden; the reader decides whether it matters.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import yaml

from slade_plugin import compat
from slade_plugin.base.command_line import command_line
from slade_plugin.base.differences import differences
from slade_plugin.base.errors import ConfigError, SladeError
from slade_plugin.config import former_keys
from slade_plugin.config.experiment_folder import is_pipeline_folder, read_state
from slade_plugin.experiments.studies.plan import Run
from slade_plugin.host.validation import check_args
from slade_plugin.runner import SladeRunner
from slade_plugin.stages.kinds import BASELINE, PLAIN, TEACHER
from slade_plugin.stages.pipeline import Pipeline

T = TypeVar("T")

_TRANSFORMS = "config_transforms"

# Entries that differ between the runs of one setting by design, and the names of the files that
# were merged, since the merged values are compared.
_IGNORED = (
    "seed", "teacher_experiment", "folder", "last_folder", "brings", "config_foldernames",
)  # fmt: skip


def check_configs(runs: Iterable[Run]) -> list[str]:
    """Read the config of every setting and compare it with the saved one of its runs.

    The baseline of a given teacher has that teacher's config, as the host saved it. It is not
    compared; the run that trained the teacher is.

    Args:
        runs: The runs of a study.

    Returns:
        A note for each setting and data set with a run on disk whose config differs.

    Raises:
        ConfigError: If run.py would reject a setting.
    """
    runs = list(dict.fromkeys(runs))
    plans = read_each(runs, read_plan)
    notes: dict[str, str] = {}
    for run in runs:
        saved, now = _saved_plan(run), plans[run.flags]
        for area in (area for stage in saved.values() for area in stage.values()):
            former_keys.translate(area)
        found = [
            f"{where} was {old!r} and is now {new!r}"
            for stage in saved
            if stage in now and not (stage == BASELINE and TEACHER not in saved)
            for where, old, new in differences(
                _compared(saved[stage], run.plain), _compared(now[stage], run.plain), stage
            )
        ]
        if found:
            notes.setdefault(
                f"{run.dataset} {run.setting}",
                f"{run.dataset} {run.setting} was made with a different config: "
                + "; ".join(found),
            )
    return list(notes.values())


def _saved_plan(run: Run) -> dict[str, Any]:
    """Return the config of each experiment of a run as it was made; empty if it was not started."""
    if is_pipeline_folder(run.experiment):
        return dict(read_state(run.experiment, "plan")["plan"])
    configs = sorted((run.experiment / "configs").glob("config_*.yaml"))
    saved = {p.stem: yaml.safe_load(p.read_text(encoding="utf-8")) or {} for p in configs}
    return {PLAIN: saved} if run.plain and saved else {}


def _compared(areas: Mapping[str, Any], plain: bool) -> Any:
    """Return the areas to compare: the host adds to the saved transforms of a plain experiment."""
    return {k: v for k, v in _of_setting(areas).items() if not (plain and k == _TRANSFORMS)}


def read_each(runs: Iterable[Run], read: Callable[[Run], T]) -> dict[tuple[str, ...], T]:
    """Map flags to what `read` returns for their run; equal flags are read once.

    Args:
        runs: The runs of a study.
        read: `read_plan` or `read_stages`.

    Raises:
        ConfigError: If run.py would reject one.
    """
    found: dict[tuple[str, ...], T] = {}
    for run in runs:
        if run.flags not in found:
            try:
                found[run.flags] = read(run)
            except SladeError as error:
                raise ConfigError(f"{run.setting} on {run.dataset}: {error}") from error
    return found


def read_plan(run: Run) -> dict[str, Any]:
    """Return the merged, checked config of the stages of a run, as if it trained its own teacher.

    Raises:
        SladeError: If run.py would reject it, or its kind differs from that in the study.
    """
    plan = read_stages(run)
    if (PLAIN in plan) != run.plain:
        raise ConfigError(
            f"{' '.join(run.flags)} is {'' if run.plain else 'not '}self-training; expected it "
            f"under {'settings or controls' if run.plain else 'plain'} of the study."
        )
    return {name: _of_setting(args.dict_of_yamls) for name, args in plan.items()}


def read_stages(run: Run) -> dict[str, Any]:
    """Return the merged, checked args of each experiment of a run; a plain one is under `PLAIN`.

    Raises:
        SladeError: If run.py would reject it.
    """
    with command_line(*run.flags, *run.places, "--seed", str(run.seed)):
        compat.apply()
        runner = SladeRunner()
        runner.set_YR()
        reader = runner.reader_for(runner.YR)
        args = runner.read(reader)
        plan = Pipeline(runner, reader).args if vars(args).get("pipeline") else {PLAIN: args}
        for args in plan.values():
            check_args(args, runner.pytorch_getter)
    return plan


def _of_setting(config: Any) -> Any:
    """Return a config as in JSON, without the ignored entries."""
    if isinstance(config, Mapping):
        return {str(k): _of_setting(v) for k, v in config.items() if k not in _IGNORED}
    if isinstance(config, list | tuple):
        return [_of_setting(value) for value in config]
    return json.loads(json.dumps(config, default=str))
