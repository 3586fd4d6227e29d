"""Print the plan of a study: commands and estimated hours."""

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from slade_plugin import compat
from slade_plugin.experiments.studies.config_check import read_each, read_stages
from slade_plugin.experiments.studies.estimate import Probe, count_images, run_hours
from slade_plugin.experiments.studies.flags import to_shell
from slade_plugin.experiments.studies.plan import Run
from slade_plugin.runner import SladeRunner
from slade_plugin.stages.kinds import TEACHER


def print_plan(titles: Mapping[Run, str], probe: bool) -> None:
    """Print each run with its command and its hours.

    Args:
        titles: Runs in order, each with its title.
        probe: Whether to estimate the hours.

    Raises:
        ConfigError: If run.py would reject one of them.
    """
    compat.apply()
    getter = SladeRunner().pytorch_getter
    device = "cuda" if torch.cuda.is_available() else "cpu"
    unit, machine = "core hours", f"of {platform.machine()}; GPU hours where there is a GPU"
    if device == "cuda":
        unit, machine = "GPU hours", f"of {torch.cuda.get_device_name()}"
    timed = Probe(getter, device)  # each model once
    configs = read_each(titles, read_stages)
    total = 0.0
    for run, title in titles.items():
        # a given teacher belongs to another run
        stages = {k: v for k, v in configs[run.flags].items() if not (run.teacher and k == TEACHER)}
        cost = "done" if run.finished else ""
        if probe and not run.finished:
            images = count_images(next(iter(stages.values())), getter)
            hours = run_hours(stages, images, timed) if images else None
            cost = "unknown hours, since the sizes of its data sets, splits or epochs are unknown"
            if hours is not None:
                total += hours
                cost = f"{_bound(stages)} {_number(hours)} {unit}"
        print(f"{title}{': ' if cost else ''}{cost}", flush=True)
        print(f"    {_command(run)}")
    if total:
        print(
            f"All: {_number(total)} {unit} ({machine}). Estimated from training steps on "
            "random images; decoding, k-means and nearest-neighbor search are not counted."
        )


def _number(hours: float) -> str:
    """Format with two digits, the precision of the estimate."""
    return f"{float(f'{hours:.2g}'):,.10g}"


def _bound(stages: Mapping[str, Any]) -> str:
    stops_early = any(getattr(args, "patience", None) is not None for args in stages.values())
    return "at most" if stops_early else "about"


def _command(run: Run) -> str:
    """Return the command of the run, for this working directory."""
    return f"python run.py {to_shell(_relative(word) for word in run.command())}"


def _relative(word: str) -> str:
    """Make a path below the working directory relative; leave other words unchanged."""
    here = Path.cwd()
    below = Path(word).is_relative_to(here)
    return str(Path(word).relative_to(here)) if below else word
