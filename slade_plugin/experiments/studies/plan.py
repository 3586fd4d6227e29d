"""Read what a study compares from YAML and plan its runs.

Runs are keyed by their flags: two settings, of one study or of several, that run the same command
share one folder and so one run.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from string import Template
from types import MappingProxyType
from typing import Any

import yaml

from slade_plugin.base.command_line import TEXT_FLAGS
from slade_plugin.base.errors import ConfigError
from slade_plugin.base.suggestions import nearest
from slade_plugin.config.experiment_folder import STATE_FILE
from slade_plugin.stages.kinds import BASELINE, STUDENT, TEACHER

# Paths are not part of a run's key or of a reported command.
PLACES = ("--dataset_root", "--pytorch_home", "--debug")
# Flags that the study itself passes to run.py.
RESERVED = (
    "--seed", "--experiment_name", "--root_experiment_folder", "--resume_training",
    "--teacher_experiment", "--evaluate", "--evaluate_ensemble", "--reproduce_results",
)  # fmt: skip
_KEYS = (
    "datasets", "first", "settings", "controls", "plain", "reference", "poster", "flags",
    "new_splits", "first_seed", "tuning",
)  # fmt: skip
_AREAS = ("settings", "controls", "plain")
_OF_SETTING = ("flags", "teacher", "baseline", "datasets", "tuned_as")
_OF_PLAIN = ("flags", "datasets", "tune", "tuned_as")
_NAME = re.compile(r"\w[\w.+=-]*")


# (data set, setting) -> parameter -> its value in the flags
Values = Mapping[tuple[str, str], Mapping[str, str]]


@dataclass(frozen=True)
class Space:
    """The range of a parameter that is tuned.

    Attributes:
        low: Lowest value.
        high: Highest value.
        log: Whether the trials are spread over its logarithm.
    """

    low: float
    high: float
    log: bool = False

    @classmethod
    def read(cls, where: str, value: Any) -> "Space":
        """Read `[low, high]` or `[low, high, log]`.

        Raises:
            ConfigError: If it is malformed or empty.
        """
        match value:
            case [int() | float() as low, int() | float() as high] if low < high:
                return cls(low, high)
            case [int() | float() as low, int() | float() as high, "log"] if 0 < low < high:
                return cls(low, high, log=True)
        raise ConfigError(
            f"{where} is {value!r}; expected [LOW, HIGH] or [LOW, HIGH, log], ascending, and "
            "positive for log."
        )

    def at(self, share: float) -> str:
        """Return the value at a share of the range, 0 to 1, with three digits."""
        if self.log:
            return f"{self.low * (self.high / self.low) ** share:.3g}"
        return f"{self.low + (self.high - self.low) * share:.3g}"


@dataclass(frozen=True)
class Setting:
    """A row of the table: flags of run.py under a name.

    Attributes:
        name: Its name in tables and on the command line.
        flags: Words of run.py's command line.
        own_teacher: Whether it trains its own teacher instead of using that of `first`.
        own_baseline: Whether it trains its own baseline, as long as its teacher and students.
        control: Whether it is listed last and not compared with the row above.
        baseline_of: Name of the setting whose baseline it is compared with, if equally long; empty
            for its own. The second choice is that of `first`.
        plain: Whether it is a plain experiment rather than self-training.
        of_dataset: Data set to additional flags.
        tune: Parameter, such as `rate` for `$rate` in the flags, to its range.
        tuned_as: The tuned setting whose values fill its flags; empty for its own.
    """

    name: str
    flags: tuple[str, ...] = ()
    own_teacher: bool = False
    own_baseline: bool = False
    control: bool = False
    baseline_of: str = ""
    plain: bool = False
    of_dataset: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tune: Mapping[str, Space] = field(default_factory=dict)
    tuned_as: str = ""


@dataclass(frozen=True)
class Study:
    """A study.

    Attributes:
        name: Name of its file.
        datasets: Name to flags.
        first: The setting that trains teacher and baseline of each data set and seed.
        settings: All settings in the order of the table, controls last.
        flags: Flags of every run.
        ablation: Number of the ablation of the poster that `poster` names; 0 for its main table.
        reference: The setting that all others are compared with; empty for `first`.
        poster: Row of the page (a setting, `teacher` or `SETTING: teacher`) to its name there.
        new_splits: Whether each seed also draws its own train, val and test classes; if not, all
            seeds share those of the data set.
        first_seed: The lowest seed. Studies that choose a setting and studies that report it have
            different seeds, so that no split serves both.
        trials: Number of trials of each setting that is tuned; 0 if none is.
        tuning_seed: Seed of all trials.
    """

    name: str
    datasets: Mapping[str, tuple[str, ...]]
    first: str
    settings: tuple[Setting, ...]
    flags: tuple[str, ...] = ()
    ablation: int = 0
    reference: str = ""
    poster: Mapping[str, str] = field(default_factory=dict)
    new_splits: bool = False
    first_seed: int = 0
    trials: int = 0
    tuning_seed: int = 0

    @property
    def compared_with(self) -> str:
        """Name of the setting that all others are compared with."""
        return self.reference or self.first

    @property
    def evaluated(self) -> bool:
        """Whether its runs need more evaluation than run.py does.

        The poster's numbers are of concatenated models, and a plain experiment evaluates val alone.
        """
        return bool(self.poster) or any(setting.plain for setting in self.settings)

    def row(self, setting: str, stage: str) -> str:
        """Return the name of a row of the page: `slade`, `teacher`, `swav: baseline`.

        Args:
            setting: Name of the setting.
            stage: Row of its run's table; the student has the name of the setting.
        """
        if stage == STUDENT:
            return setting
        return stage if setting == self.first else f"{setting}: {stage}"

    @classmethod
    def load(cls, path: Path) -> "Study":
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
            return cls._read(path.stem, content)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None

    @classmethod
    def _read(cls, name: str, content: Any) -> "Study":
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
            _check_known(
                f"{setting.name} has baseline", setting.baseline_of, expected, with_baseline
            )
        reference = content.get("reference", "")
        if "reference" in content and reference not in names:
            raise ConfigError(
                f"reference is {reference!r}; expected one of settings or controls: "
                f"{', '.join(names)}."
            )
        new_splits, first_seed = content.get("new_splits", False), content.get("first_seed", 0)
        if type(new_splits) is not bool or type(first_seed) is not int or first_seed < 0:
            raise ConfigError(
                f"new_splits is {new_splits!r} and first_seed {first_seed!r}; expected true or "
                "false, and a seed of at least 0."
            )
        return cls(
            name=name,
            new_splits=new_splits,
            first_seed=first_seed,
            **_tuning(content.get("tuning"), settings),
            datasets={k: _words(f"datasets: {k}", v) for k, v in datasets.items()},
            first=first,
            settings=tuple(settings),
            reference=reference,
            flags=_words("flags", content.get("flags")),
            **_poster(content.get("poster"), rows),
        )

    def selected(
        self,
        datasets: Sequence[str] = (),
        only: Sequence[str] = (),
        without: Sequence[str] = (),
    ) -> "Study":
        """Return the study with some data sets and settings.

        `first` is kept if another setting uses its teacher, and a tuned setting if another one
        uses its values.

        Args:
            datasets: Names; empty for all.
            only: Settings to keep; empty for all.
            without: Settings to leave out.

        Raises:
            ConfigError: If a name is unknown, or no setting is left.
        """
        names = [setting.name for setting in self.settings]
        for flag, given, known in (
            ("--datasets", datasets, list(self.datasets)),
            ("--only", only, names),
            ("--without", without, names),
        ):
            unknown = [name for name in given if name not in known]
            if unknown:
                raise ConfigError(
                    f"{flag} {', '.join(unknown)}{nearest(unknown[0], known)}; study {self.name} "
                    f"has: {', '.join(known)}."
                )
        kept = {*(only or names)} - {*without}
        if not kept:
            raise ConfigError(f"--without {', '.join(without)} leaves no setting; expected some.")
        kept |= {s.tuned_as for s in self.settings if s.name in kept and s.tuned_as}
        if any(not s.own_teacher for s in self.settings if s.name in kept):
            kept |= {self.first}
        return replace(
            self,
            datasets={k: v for k, v in self.datasets.items() if k in (datasets or self.datasets)},
            settings=tuple(s for s in self.settings if s.name in kept),
        )

    def seeds(self, count: int) -> range:
        """Return its first `count` seeds."""
        return range(self.first_seed, self.first_seed + count)

    def flags_of(self, seed: int) -> tuple[str, ...]:
        """Return the flags of every run with a seed."""
        if not self.new_splits:
            return self.flags
        split = f"{{shuffle: true, random_seed: {seed}}}"
        return _words("flags", [shlex.join(self.flags), f"--split_manager~APPLY~2 '{split}'"])

    def setting(self, name: str) -> Setting:
        """Return the setting with a name."""
        return next(s for s in self.settings if s.name == name)


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
    """

    folder: Path
    dataset: str
    seed: int
    setting: str
    flags: tuple[str, ...]
    places: tuple[str, ...] = ()
    teacher: "Run | None" = None
    plain: bool = False

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
        """Its scores; the file exists once it is finished."""
        return self.experiment / "results" / "table.json"

    @property
    def finished(self) -> bool:
        """Whether it is finished."""
        return self.table.is_file()

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
        }


def plan_runs(
    study: Study,
    folder: Path,
    seeds: Iterable[int],
    extra: Sequence[str] = (),
    kind: type[Run] = Run,
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
        kind: Class of the runs.
        values: Values of the parameters of tuned settings; without them, flags hold the names.

    Returns:
        (data set, seed, setting) to its run; several may share one run.

    Raises:
        ConfigError: If a flag of `extra` cannot be read or is the study's own.
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
                run = kind(path, dataset, seed, setting.name, own, places, teacher, setting.plain)
                run = shared.setdefault(path, run)
                runs[dataset, seed, setting.name] = run
                if setting.name == study.first:
                    first = run
    return runs


def _joined(
    setting: Setting, sources: Iterable[Sequence[str]], teacher: Run | None
) -> dict[str, tuple[str, ...]]:
    """Merge flags as in `plan_runs`, sorted so that equal flags have one key."""
    flags: dict[str, Any] = {}
    for source in sources:
        for flag, value in _values(source).items():
            if teacher and flag.startswith("--teacher.") and source is not setting.flags:
                continue  # for the run that trained it; run.py refuses it with a given teacher
            flags[flag] = _merged(flags.get(flag), value)
    if not setting.own_baseline and not setting.plain:
        given = flags.setdefault("--pipeline", {})
        if not isinstance(given, dict):
            raise ConfigError(f"{setting.name}: --pipeline is {given}; expected {{KEY: VALUE}}.")
        flags["--pipeline"] = {**given, BASELINE: False}
    # The host's keywords (KEY~APPLY~2) may depend on order among flags of one key.
    ordered = sorted(flags.items(), key=lambda item: item[0].partition("~")[0])
    return {flag: _as_words(flag, value) for flag, value in ordered}


def _values(words: Sequence[str]) -> dict[str, Any]:
    """Map each flag to its value: parsed YAML if in braces, otherwise plain text."""
    texts: dict[str, list[str]] = {}
    current: list[str] | None = None
    for word in words:
        if word.startswith("--"):
            flag, equals, value = word.partition("=")
            if flag in RESERVED:
                raise ConfigError(f"{flag}: the study sets this flag itself; expected other flags.")
            if flag in texts:
                raise ConfigError(f"{flag} is given twice; expected it once.")
            current = texts[flag] = [value] if equals else []
        elif current is not None:
            current.append(word)
        else:
            raise ConfigError(f"{word!r} follows no flag; expected --FLAG before it.")
    return {flag: _value(flag, " ".join(parts)) for flag, parts in texts.items()}


def _value(flag: str, text: str) -> Any:
    if flag in TEXT_FLAGS or not text.startswith("{"):
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"{flag} is {text!r}: {error}; expected {{KEY: VALUE}} with a space after each colon."
        ) from error


def _merged(old: Any, new: Any) -> Any:
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    whole = {key: value for key, value in new.items() if str(key).endswith("~OVERRIDE~")}
    return {**old, **{key: _merged(old.get(key), v) for key, v in new.items()}, **whole}


def _as_words(flag: str, value: Any) -> tuple[str, ...]:
    """Return the words of a flag's value: one for a path or a name, several if equivalent.

    The keys of the runs on disk are hashes of these words.
    """
    if isinstance(value, str):
        text = value
    else:
        text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=float("inf"))
    words = text.split()
    apart = flag not in TEXT_FLAGS and " ".join(words) == text.strip()
    return tuple(words) if apart else (text.strip("\n"),)


def _key(flags: Sequence[str], teacher: Run | None) -> str:
    """Return the name of a run's folder: a readable word and a hash of what decides its outcome."""
    content = json.dumps([flags, teacher.folder.name if teacher else None])
    digest = hashlib.sha256(content.encode()).hexdigest()[:10]
    loss = _values(flags).get("--config_loss", "run")
    return f"{re.sub(r'[^a-zA-Z0-9_]+', '-', loss).strip('-')}-{digest}"


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


def _words(where: str, value: Any) -> tuple[str, ...]:
    """Read flags from one text, a list of words, or a list of texts that are merged."""
    if isinstance(value, str):
        try:
            words = shlex.split(value)
        except ValueError as error:
            raise ConfigError(f"{where} is {value!r}: {error}; expected paired quotes.") from error
    elif isinstance(value, list) and any(re.match(r"--\S+\s", str(item)) for item in value):
        merged: dict[str, Any] = {}
        for item in value:
            for flag, new in _values(_words(where, item)).items():
                merged[flag] = _merged(merged.get(flag), new)
        words = [word for flag, new in merged.items() for word in (flag, *_as_words(flag, new))]
    elif value is None or isinstance(value, list):
        words = [str(word) for word in value or ()]
        if any(isinstance(word, dict | list) for word in value or ()):
            raise ConfigError(
                f"{where} is {value!r}; expected words, so a value in braces in quotes: "
                '"{key: value}".'
            )
    else:
        raise ConfigError(f"{where} is {value!r}; expected flags of run.py, one text or a list.")
    try:
        _values(words)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    return tuple(words)


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
                flags=_words(where, content.get("flags")),
                own_teacher=teacher == "own",
                own_baseline=baseline is True,
                control=area != "settings",
                baseline_of=baseline if isinstance(baseline, str) else "",
                plain=plain,
                tune={
                    key: Space.read(f"{where}: tune: {key}", value)
                    for key, value in content.get("tune", {}).items()
                },
                tuned_as=content.get("tuned_as", ""),
                of_dataset={
                    dataset: _words(f"{where}: datasets: {dataset}", flags)
                    for dataset, flags in _mapping(
                        f"{where}: datasets", content.get("datasets", {}), list(datasets)
                    ).items()
                },
            )
        )
    return settings


def _check_known(what: str, name: str, expected: str, known: Sequence[str]) -> None:
    """Refuse the name of another setting that is not one of `known`; empty names none."""
    if name and name not in known:
        names = ", ".join(known) or "there is none"
        raise ConfigError(f"{what} {name!r}; expected {expected}: {names}.")


def _tuning(value: Any, settings: Sequence[Setting]) -> dict[str, Any]:
    """Read the study's `tuning`."""
    tuned = [setting.name for setting in settings if setting.tune]
    for setting in settings:
        _check_known(f"{setting.name} is tuned_as", setting.tuned_as, "a setting with tune", tuned)
    if value is None and not tuned:
        return {}
    found = _mapping("tuning", value, ("trials", "seed"))
    trials, seed = found.get("trials"), found.get("seed")
    if type(trials) is not int or type(seed) is not int or trials < 1 or seed < 0 or not tuned:
        raise ConfigError(
            f"tuning has trials {trials!r} and seed {seed!r}, for the settings "
            f"{', '.join(tuned) or 'none'}; expected at least one trial, a seed of at least 0 and "
            "a setting under plain with tune: {NAME: [LOW, HIGH]}."
        )
    return {"trials": trials, "tuning_seed": seed}


def _poster(value: Any, rows: Sequence[str]) -> dict[str, Any]:
    """Read the study's `ablation` and `poster`."""
    if value is None:
        return {}
    # Imported here, since it imports torch, which Ray's workers do not need.
    from slade_plugin.experiments.results.poster import ablation_settings, poster_rows

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
