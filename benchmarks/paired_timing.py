"""Time two pieces of work in turn, so that other load affects both alike."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch

from slade_plugin.base.errors import ConfigError
from slade_plugin.base.files import write_json
from slade_plugin.base.provenance import describe_environment


def time_in_turn(
    bare: Callable[[], object], plugin: Callable[[], object], device: torch.device, pairs: int
) -> tuple[list[float], list[float]]:
    """Run bare, plugin, bare, plugin, ... in this process.

    Args:
        bare: One run of what the plugin is compared with.
        plugin: One run of the plugin.
        device: Waited for before and after each run, as a GPU works on by itself.
        pairs: How often each is run; at least 1.

    Returns:
        (pairs,) seconds of each bare run and of each run of the plugin.
    """
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(pairs):
        for work, times in zip((bare, plugin), seconds, strict=True):
            times.append(seconds_of(work, device))
    return seconds


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Return the wall-clock seconds of one run, including pending work of the device."""
    _wait(device)
    started = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - started


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Return minimum, median and maximum."""
    return {"min": min(seconds), "median": median(seconds), "max": max(seconds)}


def comparison(
    bare: Sequence[float], plugin: Sequence[float], goal: float | None
) -> dict[str, Any]:
    """Return the two times and the plugin's relative overhead, ready for JSON.

    Args:
        bare: (n,) seconds.
        plugin: (n,) seconds, each measured right after the bare run of the same place.
        goal: Largest ratio aimed at; None if this setting has none.
    """
    ratios = [theirs / ours for ours, theirs in zip(bare, plugin, strict=True)]
    return {
        "seconds": {"bare": spread(bare), "plugin": spread(plugin)},
        "ratio_of_medians": median(plugin) / median(bare),
        "median_of_ratios": median(ratios),
        "ratios": ratios,
        "goal": goal,
    }


def report(name: str, settings: dict[str, Any], results: dict[str, Any], path: Path | None) -> None:
    """Print the result; write it as JSON if a path is given.

    Raises:
        ExperimentError: If the file cannot be written.
    """
    for what, times in results["seconds"].items():
        numbers = ", ".join(f"{key} {1000 * value:.2f}" for key, value in times.items())
        print(f"{what:>8} (ms): {numbers}")
    goal = "" if results["goal"] is None else f"; goal: at most {results['goal']}"
    print(
        f"   ratio: of medians {results['ratio_of_medians']:.3f}, median of the pairs' "
        f"{results['median_of_ratios']:.3f}{goal}"
    )
    if path is not None:
        content = {"benchmark": name, "settings": settings, **results}
        write_json(path, content | {"environment": describe_environment()})


def check_at_least(least: dict[str, int], **values: int) -> None:
    """Check numbers of the command line.

    Raises:
        ConfigError: Naming every number that is too small.
    """
    problems = [
        f"--{name} is {values[name]}; expected an integer >= {low}"
        for name, low in least.items()
        if values[name] < low
    ]
    if problems:
        raise ConfigError("; ".join(problems) + ". Change it on the command line.")


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
