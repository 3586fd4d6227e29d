"""Read a study from its YAML file."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

import yaml

from slade_plugin.base.errors import ConfigError
from slade_plugin.experiments.results.poster import ablation_settings, poster_rows
from slade_plugin.experiments.studies.flags import flag_words
from slade_plugin.experiments.studies.study import Setting, Space, Study
from slade_plugin.stages.kinds import BASELINE, TEACHER

_KEYS = (
    "datasets", "first", "settings", "controls", "plain", "reference", "poster", "flags",
    "new_splits", "first_seed", "tuning",
)  # fmt: skip
_AREAS = ("settings", "controls", "plain")
_OF_SETTING = ("flags", "teacher", "baseline", "datasets", "tuned_as")
_OF_PLAIN = ("flags", "datasets", "tune", "tuned_as")
_NAME = re.compile(r"\w[\w.+=-]*")


def read_study(path: Path) -> Study:
    """Read a study file.

    Raises:
        ConfigError: If it is missing or malformed.
    """
    if not path.is_file():
        names = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml"))) or "none"
        raise ConfigError(
            f"there is no study {path.stem!r} in {path.parent}; expected one of: {names}."
        )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}; expected keys and values.") from error
    try:
        return _read(path.stem, content)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _read(name: str, content: Any) -> Study:
    content = _mapping("the study", content, _KEYS)
    datasets = _named("datasets", content.get("datasets"))
    first = content.get("first")
    settings = [
        setting
        for area in _AREAS
        if content.get(area) or (area == "settings" and not content.get("plain"))
        for setting in _settings(area, content.get(area), datasets, first)
    ]
    names = [setting.name for setting in settings]
    rows = [*names, TEACHER, *(f"{name}: {TEACHER}" for name in names)]
    twice = sorted({n for n in names if names.count(n) > 1} | {BASELINE, TEACHER} & {*names})
    if twice:
        raise ConfigError(
            f"{', '.join(twice)} names more than one row; expected each name of settings, "
            "controls and plain once, and neither baseline nor teacher."
        )
    rungs = [setting.name for setting in settings if not setting.control] or names
    if first not in rungs:
        raise ConfigError(f"first is {first!r}; expected one of settings: {', '.join(rungs)}.")
    with_baseline = [setting.name for setting in settings if setting.own_baseline]
    for setting in settings:
        expected = "true, false or a setting that trains one"
        _check_known(f"{setting.name} has baseline", setting.baseline_of, expected, with_baseline)
    reference = content.get("reference", "")
    if "reference" in content and reference not in names:
        raise ConfigError(
            f"reference is {reference!r}; expected one of settings or controls: {', '.join(names)}."
        )
    new_splits, first_seed = content.get("new_splits", False), content.get("first_seed", 0)
    if type(new_splits) is not bool or type(first_seed) is not int or first_seed < 0:
        raise ConfigError(
            f"new_splits is {new_splits!r} and first_seed {first_seed!r}; expected true or "
            "false, and a seed of at least 0."
        )
    study = Study(
        name=name,
        new_splits=new_splits,
        first_seed=first_seed,
        **_tuning(content.get("tuning"), settings, datasets),
        datasets={k: flag_words(f"datasets: {k}", v) for k, v in datasets.items()},
        first=first,
        settings=tuple(settings),
        reference=reference,
        flags=flag_words("flags", content.get("flags")),
        **_poster(content.get("poster"), rows),
    )
    _check_parameters(study)
    return study


def _settings(
    area: str, value: Any, datasets: Mapping[str, Any], first: Any = None
) -> list[Setting]:
    settings = []
    for name, content in _named(area, value).items():
        where = f"{area}: {name}"
        if not isinstance(content, dict):
            content = {"flags": content}
        plain = area == "plain"
        content = _mapping(where, content, _OF_PLAIN if plain else _OF_SETTING)
        own = name == first or plain
        teacher = "own" if own else content.get("teacher", "first")
        baseline = content.get("baseline", own and not plain)
        if teacher not in ("first", "own") or not isinstance(baseline, bool | str):
            raise ConfigError(
                f"{where} has teacher {teacher!r} and baseline {baseline!r}; expected first or "
                "own, and true, false or the name of a setting that trains one."
            )
        settings.append(
            Setting(
                name,
                flags=flag_words(where, content.get("flags")),
                own_teacher=teacher == "own",
                own_baseline=baseline is True,
                control=area != "settings",
                baseline_of=baseline if isinstance(baseline, str) else "",
                plain=plain,
                tune=_spaces(f"{where}: tune", content.get("tune"), datasets),
                tuned_as=content.get("tuned_as", ""),
                of_dataset={
                    dataset: flag_words(f"{where}: datasets: {dataset}", flags)
                    for dataset, flags in _mapping(
                        f"{where}: datasets", content.get("datasets", {}), list(datasets)
                    ).items()
                },
            )
        )
    return settings


def _spaces(where: str, value: Any, datasets: Mapping[str, Any]) -> dict[str, dict[str, Space]]:
    """Read ranges: one for all data sets, or one for each by name."""
    if not value:
        return {}
    found: dict[str, dict[str, Space]] = {name: {} for name in datasets}
    for key, ranges in _named(where, value).items():
        for name, of in _of_datasets(f"{where}: {key}", ranges, datasets).items():
            found[name][key] = Space.read(f"{where}: {key}", of)
    return found


def _of_datasets(where: str, value: Any, datasets: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of each data set: one for all, or one for each by name."""
    of = value if isinstance(value, dict) else dict.fromkeys(datasets, value)
    if {*of} != {*datasets}:
        raise ConfigError(
            f"{where} has values for {', '.join(map(str, of))}; expected one value, or one for "
            f"each of {', '.join(datasets)}."
        )
    return of


def _tuning(value: Any, settings: Sequence[Setting], datasets: Mapping[str, Any]) -> dict[str, Any]:
    """Read the study's `tuning`."""
    tuned = [setting.name for setting in settings if setting.tune]
    for setting in settings:
        _check_known(f"{setting.name} is tuned_as", setting.tuned_as, "a setting with tune", tuned)
    if value is None and not tuned:
        return {}
    found = _mapping("tuning", value, ("trials", "seed"))
    trials = _of_datasets("tuning: trials", found.get("trials"), datasets)
    seed: Any = found.get("seed")
    whole = all(type(n) is int for n in (*trials.values(), seed))
    if not whole or min(trials.values()) < 1 or seed < 0 or not tuned:
        raise ConfigError(
            f"tuning has trials {found.get('trials')!r} and seed {seed!r}, for the settings "
            f"{', '.join(tuned) or 'none'}; expected at least one trial, a seed of at least 0 and "
            "a setting under plain with tune: {NAME: [LOW, HIGH]}."
        )
    return {"trials": trials, "tuning_seed": seed}


def _check_parameters(study: Study) -> None:
    """Refuse a parameter in flags without a range, and a range that no flag uses."""
    spaces = {setting.name: setting.tune for setting in study.settings}
    for setting in study.settings if study.trials else ():
        if setting.tune and setting.tuned_as:
            raise ConfigError(
                f"{setting.name} has tune and is tuned_as {setting.tuned_as}; expected one of them."
            )
        for dataset, of_dataset in study.datasets.items():
            own = setting.of_dataset.get(dataset, ())
            words = (*study.flags, *of_dataset, *setting.flags, *own)
            used = {name for word in words for name in Template(word).get_identifiers()}
            known = {*spaces[setting.tuned_as or setting.name].get(dataset, ())}
            if not used <= known or (setting.tune and used != known):
                raise ConfigError(
                    f"{setting.name} on {dataset} has {_parameters(used)} in its flags and "
                    f"{_parameters(known)} in tune; expected the same. A range is used as $NAME."
                )


def _parameters(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "no parameter"


def _poster(value: Any, rows: Sequence[str]) -> dict[str, Any]:
    """Read the study's `ablation` and `poster`."""
    if value is None:
        return {}
    content = _mapping("poster", value, ("ablation", "rows"))
    ablation, names = content.get("ablation", 0), content.get("rows")
    known = ablation_settings(ablation) if ablation else list(poster_rows())
    if not known or not isinstance(names, dict) or not {*names} <= {*rows} or not names:
        raise ConfigError(
            f"poster has ablation {ablation!r} and rows {names!r}; expected ablation 1 to 4, or "
            "none for the main table, and ROW: NAME IN THE POSTER with rows of "
            f"{', '.join(rows)}."
        )
    wrong = [str(name) for name in names.values() if name not in known]
    if wrong:
        table = f"ablation {ablation}" if ablation else "the main table"
        raise ConfigError(
            f"poster: rows names {', '.join(wrong)}; {table} has: {', '.join(known)}."
        )
    return {"ablation": ablation, "poster": names}


def _check_known(what: str, name: str, expected: str, known: Sequence[str]) -> None:
    """Refuse the name of another setting that is not one of `known`; empty names none."""
    if name and name not in known:
        names = ", ".join(known) or "there is none"
        raise ConfigError(f"{what} {name!r}; expected {expected}: {names}.")


def _mapping(where: str, value: Any, known: Sequence[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{where} is {value!r}; expected the keys {', '.join(known)}.")
    unknown = [str(key) for key in value if key not in known]
    if unknown:
        raise ConfigError(f"{where} holds {', '.join(unknown)}; expected {', '.join(known)}.")
    return value


def _named(where: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        raise ConfigError(f"{where} is {value!r}; expected at least one NAME: FLAGS.")
    names = {str(key): content for key, content in value.items()}
    for name in names:
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"{where} holds the name {name!r}; expected letters, digits and any of _.+=-"
            )
    return names
