"""What a study compares: settings of run.py, on data sets, over seeds."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from slade_plugin.base.errors import ConfigError
from slade_plugin.base.suggestions import nearest
from slade_plugin.experiments.studies.flags import flag_words
from slade_plugin.stages.kinds import STUDENT


@dataclass(frozen=True)
class Space:
    """The range of a parameter that is tuned.

    Attributes:
        low: Lowest value.
        high: Highest value.
        scale: "log" spreads the trials over the logarithm, "int" takes integers.
    """

    low: float
    high: float
    scale: str = ""

    @classmethod
    def read(cls, where: str, value: Any) -> "Space":
        """Read `[low, high]`, `[low, high, log]` or `[low, high, int]`.

        Raises:
            ConfigError: If it is malformed or empty.
        """
        match value:
            case [int() | float() as low, int() | float() as high] if low < high:
                return cls(low, high)
            case [int() | float() as low, int() | float() as high, "log"] if 0 < low < high:
                return cls(low, high, "log")
            case [int() as low, int() as high, "int"] if low < high:
                return cls(low, high, "int")
        raise ConfigError(
            f"{where} is {value!r}; expected [LOW, HIGH], [LOW, HIGH, log] or [LOW, HIGH, int], "
            "ascending, positive for log and whole for int."
        )

    def at(self, share: float) -> str:
        """Return the value at a share of the range, 0 to 1: three digits, or an integer."""
        if self.scale == "log":
            return _digits(self.low * (self.high / self.low) ** share)
        value = self.low + (self.high - self.low) * share
        return str(round(value)) if self.scale == "int" else _digits(value)


def _digits(value: float) -> str:
    """Format with three digits, as YAML reads numbers: 4e-05 would be text, 4.0e-05 is not."""
    digits, e, exponent = f"{value:.3g}".partition("e")
    return f"{digits}.0{e}{exponent}" if e and "." not in digits else digits + e + exponent


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
        tune: Data set to parameter, such as `rate` for `$rate` in the flags, to its range.
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
    tune: Mapping[str, Mapping[str, Space]] = field(default_factory=dict)
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
        trials: Data set to the number of trials of each tuned setting; empty if none is tuned.
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
    trials: Mapping[str, int] = field(default_factory=dict)
    tuning_seed: int = 0

    @property
    def compared_with(self) -> str:
        """Name of the setting that all others are compared with."""
        return self.reference or self.first

    def row(self, setting: str, stage: str) -> str:
        """Return the name of a row of the page: `slade`, `teacher`, `swav: baseline`.

        Args:
            setting: Name of the setting.
            stage: Row of its run's table; the student has the name of the setting.
        """
        if stage == STUDENT:
            return setting
        return stage if setting == self.first else f"{setting}: {stage}"

    def selected(
        self,
        datasets: Sequence[str] = (),
        only: Sequence[str] = (),
        without: Sequence[str] = (),
    ) -> "Study":
        """Return the study with some data sets and settings.

        `first` is kept if another setting uses its teacher, and a setting whose tuned values or
        baseline another one uses.

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
        used = [(s.tuned_as, s.baseline_of) for s in self.settings if s.name in kept]
        kept |= {name for names in used for name in names}
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
        return flag_words("flags", [shlex.join(self.flags), f"--split_manager~APPLY~2 '{split}'"])
