"""A study: several settings x several seeds, resumable, ending in one table.

    python -m slade_plugin.study ladder --seeds 5 --jobs 2

Each run is a `run.py` of its own process; a run that has its table is not done again, one that was
stopped goes on. Rungs of one seed share the teacher, so their differences are paired.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from slade_plugin.errors import ConfigError, ExperimentError, SladeError
from slade_plugin.files import atomic_write, write_json
from slade_plugin.results.table import METRICS, mean_and_interval
from slade_plugin.self_training.pipeline import STATE_FILE

# setting -> seed -> split -> metric -> mean over split schemes, percent
Scores = dict[str, dict[int, dict[str, dict[str, float]]]]


@dataclass(frozen=True)
class Study:
    """What a study compares.

    Attributes:
        name: Name of its file in bench_configs/studies.
        rungs: config_loss names from the lowest rung; the last one also trains teacher and
            baseline.
        controls: config_loss names of students that are no rung; they run last.
        flags: Further flags of run.py for every run.
    """

    name: str
    rungs: tuple[str, ...]
    controls: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()

    @classmethod
    def load(cls, path: Path) -> "Study":
        """Reads a study file.

        Raises:
            ConfigError: If it is missing or malformed.
        """
        if not path.is_file():
            names = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml")))
            raise ConfigError(f"there is no study {path.stem!r}; expected one of {names}.")
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise ConfigError(f"{path} is no YAML: {error}; expected keys and values.") from error
        known = ("rungs", "controls", "flags")
        lists = {k: v or [] for k, v in content.items()} if isinstance(content, dict) else {}
        valid = not set(lists) - set(known) and all(isinstance(v, list) for v in lists.values())
        if not valid or not lists.get("rungs"):
            raise ConfigError(
                f"{path} holds {content!r}; expected rungs (a list of config_loss names) and, if "
                "need be, the lists controls and flags."
            )
        return cls(path.stem, *(tuple(map(str, lists.get(key, ()))) for key in known))

    def without(self, names: Sequence[str]) -> "Study":
        """The study with some settings left out.

        Raises:
            ConfigError: If a name is no setting of the study or its last rung, which trains the
                teacher of all others.
        """
        free = (*self.rungs[:-1], *self.controls)
        for name in names:
            if name not in free:
                raise ConfigError(
                    f"--without {name}: expected settings of the study other than its last rung, "
                    f"of {', '.join(free)}."
                )
        return replace(
            self,
            rungs=tuple(r for r in self.rungs if r not in names),
            controls=tuple(c for c in self.controls if c not in names),
        )

    def environment(self, folder: Path, seeds: Sequence[int]) -> dict[str, Any]:
        """What the runs recorded of themselves; `git_commit` names every commit among them."""
        found = []
        for seed in seeds:
            for path, _ in self.commands(seed, folder):
                state = json.loads((path / STATE_FILE).read_text(encoding="utf-8"))
                found += state["environment"]
        commits = sorted({str(e["git_commit"]) for e in found})
        return {**found[0], "command": None, "git_commit": ", ".join(commits)}

    def commands(self, seed: int, folder: Path) -> list[tuple[Path, list[str]]]:
        """The runs of one seed in order: experiment folder and flags of run.py."""
        *lower, top = self.rungs
        runs = [(folder / f"seed{seed}" / top, ["--config_loss", top])]
        teacher = folder / f"seed{seed}" / top / "teacher"
        for rung in (*lower, *self.controls):
            flags = ["--teacher_experiment", str(teacher), "--pipeline", "{baseline: false}"]
            runs.append((folder / f"seed{seed}" / rung, ["--config_loss", rung, *flags]))
        return [
            (
                path,
                [
                    *flags, "--seed", str(seed), "--root_experiment_folder", str(path.parent),
                    "--experiment_name", path.name, *self.flags,
                ],
            )
            for path, flags in runs
        ]  # fmt: skip

    def scores(self, folder: Path, seeds: Sequence[int]) -> Scores:
        """Reads what the runs left behind.

        Raises:
            ExperimentError: If a table is missing.
        """
        scores: Scores = {}
        for seed in seeds:
            for path, _ in self.commands(seed, folder):
                table = path / "results" / "table.json"
                if not table.is_file():
                    raise ExperimentError(f"{table} is missing; expected a finished run.")
                for row in json.loads(table.read_text(encoding="utf-8"))["rows"]:
                    name = path.name if row["experiment"] == "student" else row["experiment"]
                    if row["split_scheme"] == "mean":
                        by_split = scores.setdefault(name, {}).setdefault(seed, {})
                        by_split[row["split"]] = {m: row[m] for m in METRICS}
        order = ["baseline", "teacher", *self.rungs, *self.controls]
        return {name: scores[name] for name in order if name in scores}


def run_setting(path: Path, flags: list[str], run: Callable[[list[str], Path], int]) -> None:
    """Does one run unless it has its table; goes on with it if it was stopped.

    Args:
        path: Its experiment folder, `<study>/seed<N>/<setting>`.
        flags: Of run.py.
        run: Takes flags of run.py and a log file, returns an exit code.

    Raises:
        ExperimentError: If the run fails.
    """
    if (path / "results" / "table.json").is_file():
        return
    resume = ["--resume_training", "latest"] if (path / STATE_FILE).is_file() else []
    log = path.parents[1] / "logs" / f"{path.parent.name}_{path.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    print(f"{path.parent.name}: {path.name} ...", flush=True)
    code = run([*flags, *resume], log)
    if code != 0:
        raise ExperimentError(f"{path} ended with exit code {code}; its log is {log}.")


def run_study(
    study: Study, seeds: Sequence[int], folder: Path, jobs: int, run: Callable[..., int]
) -> None:
    """Does all runs that are not done yet, setting by setting, `jobs` seeds at a time.

    Raises:
        ExperimentError: If a run fails; runs of other seeds end first.
    """
    for commands in zip(*(study.commands(seed, folder) for seed in seeds), strict=True):
        with ThreadPoolExecutor(max_workers=jobs) as pool:
            futures = [pool.submit(run_setting, path, flags, run) for path, flags in commands]
        for future in futures:
            future.result()


def run_command(flags: list[str], log: Path, threads: int = 1) -> int:
    """One `run.py` as a process of its own; its output goes to a log file."""
    command = [sys.executable, "-c", "import sys; from slade_plugin.cli import main; "
               "sys.exit(main())", *flags]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with open(log, "ab") as file:
        return subprocess.run(
            command, stdout=file, stderr=subprocess.STDOUT, env=environment, check=False
        ).returncode


def summarise(scores: Scores, split: str, metric: str) -> list[dict[str, Any]]:
    """Mean and 95 % interval over seeds, and paired differences with theirs.

    Args:
        scores: What `Study.scores` gives.
        split: "val" or "test".
        metric: Key of METRICS.

    Returns:
        A row a setting: mean, half width of its interval, the difference to the baseline and to
        the setting above it in the list (paired by seed, where they have the same seeds), each
        with its half width; no half width for a single seed.
    """
    rows: list[dict[str, Any]] = []
    values = {
        name: np.array([by_seed[s][split][metric] for s in sorted(by_seed)])
        for name, by_seed in scores.items()
    }
    previous = None
    for name, x in values.items():
        row: dict[str, Any] = {"setting": name, "seeds": len(x)}
        row |= _mean_with_interval("mean", "interval95", x)
        others = {"to_baseline": "baseline", "to_previous": previous}
        for key, other in others.items():
            if other in values and other != name and scores[other].keys() == scores[name].keys():
                row |= _mean_with_interval(key, f"{key}_interval95", x - values[other])
        rows.append(row)
        previous = name
    return rows


def _mean_with_interval(key: str, interval: str, values: np.ndarray) -> dict[str, float]:
    mean, half = mean_and_interval(list(values))
    return {key: mean} if np.isnan(half) else {key: mean, interval: half}


def to_markdown(rows: Sequence[Mapping[str, Any]], metric: str) -> str:
    """A Markdown table of `summarise`'s rows, in percent."""
    lines = [
        f"| setting | {METRICS[metric]} | minus baseline | minus the row above | seeds |",
        "|---|---|---|---|---|",
    ]

    def cell(row: Mapping[str, Any], key: str, interval: str, sign: str) -> str:
        if key not in row:
            return ""
        half = f" ± {row[interval]:.2f}" if interval in row else ""
        return f"{row[key]:{sign}.2f}{half}"

    for row in rows:
        cells = [
            row["setting"],
            cell(row, "mean", "interval95", ""),
            cell(row, "to_baseline", "to_baseline_interval95", "+"),
            cell(row, "to_previous", "to_previous_interval95", "+"),
            str(row["seeds"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def write_report(
    study: Study, scores: Scores, out: Path, command: str, environment: Mapping[str, Any]
) -> str:
    """Writes NAME.md and NAME.json: all metrics on val and test, command, versions, machine."""
    out.mkdir(parents=True, exist_ok=True)
    machine = environment["machine"]
    parts = [
        f"# Study: {study.name}",
        f"`{command}`",
        f"slade-plugin {environment['slade_plugin']}, commit {environment['git_commit']}, torch "
        f"{environment['packages']['torch']}, {machine['cores']} cores {machine['processor']}, "
        f"GPU: {machine['gpu']}. Percent; mean over seeds of the mean over split schemes, ± half "
        "width of the 95 % interval (Student's t); differences are paired by seed.",
    ]
    summary: dict[str, Any] = {}
    for split in ("test", "val"):
        for metric in METRICS:
            rows = summarise(scores, split, metric)
            summary.setdefault(split, {})[metric] = rows
            parts.append(f"## {METRICS[metric]} on {split}\n\n{to_markdown(rows, metric)}")
    text = "\n\n".join(parts) + "\n"
    with atomic_write(out / f"{study.name}.md") as file:
        file.write(text.encode())
    write_json(
        out / f"{study.name}.json",
        {"command": command, "environment": environment, "summary": summary, "scores": scores},
    )
    return text


def main() -> int:
    """Runs a study from the command line."""
    from slade_plugin.runner import config_root

    parser = argparse.ArgumentParser(prog="python -m slade_plugin.study", description=__doc__)
    parser.add_argument("study", help="name of a file in bench_configs/studies")
    parser.add_argument("--seeds", type=int, default=5, help="seeds 0 to N-1")
    parser.add_argument("--jobs", type=int, default=1, help="seeds at a time, one thread each")
    parser.add_argument("--without", action="append", default=[], help="a setting to leave out")
    parser.add_argument("--folder", type=Path, default=Path("studies"), help="where the runs go")
    parser.add_argument("--out", type=Path, default=Path("docs/results"), help="for the tables")
    args = parser.parse_args()
    try:
        for flag, value in (("--seeds", args.seeds), ("--jobs", args.jobs)):
            if value < 1:
                raise ConfigError(f"{flag} is {value}; expected 1 or more.")
        study = Study.load(config_root() / "studies" / f"{args.study}.yaml")
        study = study.without(args.without)
        folder = args.folder.resolve() / study.name
        run_study(study, range(args.seeds), folder, args.jobs, run_command)
        command = f"python -m slade_plugin.study {study.name} --seeds {args.seeds}"
        command += f" --jobs {args.jobs}" + " --without ".join(["", *args.without])
        scores = study.scores(folder, range(args.seeds))
        environment = study.environment(folder, range(args.seeds))
        print(write_report(study, scores, args.out, command, environment))
    except SladeError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
