"""Steps a second of a student alone, beside busy processes and under a CPU quota.

OpenMP's threads may spin while they wait. Alone that saves a little; beside a busy process the one
they wait for has no core, and they keep it from getting one. Each row is a process of its own, with
the environment that it names; rows take turns, so that what else the machine does hits all alike.

Goal: beside one busy process at least 40 % of the speed alone.
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from slade_plugin.base.files import write_json
from slade_plugin.base.machine import restore_environment, usable_cores
from slade_plugin.base.provenance import describe_environment

GOAL = 0.4
# What the plugin chooses; what the libraries do by themselves; one thread.
POLICIES: dict[str, dict[str, str]] = {
    "plugin": {},
    "spinning": {"OMP_WAIT_POLICY": "ACTIVE"},
    "libgomp's default": {"GOMP_SPINCOUNT": "300000"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
_BUSY = "while True: pass"
_CGROUPS = Path("/sys/fs/cgroup")


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measures and prints a table.

    Returns:
        Steps a second by situation and policy, all repetitions.
    """
    args = _parser().parse_args(argv)
    if args.child:
        print(steps_per_second(args.seconds))
        return {}
    restore_environment()
    situations = [*(f"{n} busy" for n in range(3)), "1 core of affinity", "quota of 1 core"]
    rates: dict[str, dict[str, list[float]]] = {}
    for _ in range(args.repeat):
        for situation in situations:
            for policy, variables in POLICIES.items():
                rate = _measure(situation, variables, args.seconds)
                if rate is not None:
                    rates.setdefault(situation, {}).setdefault(policy, []).append(rate)
    for line in to_markdown(rates):
        print(line)
    if args.json:
        write_json(args.json, {"rates": rates, "environment": describe_environment()})
    return rates


def steps_per_second(seconds: float) -> float:
    """Steps of the student of `benchmarks.student_step` with conv4, for so many seconds."""
    import time

    import torch

    from benchmarks.student_step import make_trainers

    _, student = make_trainers("conv4", 32, torch.device("cpu"))
    for _ in range(5):
        student.forward_and_backward()
    started, steps = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        student.forward_and_backward()
        steps += 1
    return steps / (time.perf_counter() - started)


@contextlib.contextmanager
def busy_processes(number: int) -> Iterator[None]:
    """So many processes that compute without end."""
    busy = [subprocess.Popen([sys.executable, "-S", "-c", _BUSY]) for _ in range(number)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def _measure(situation: str, variables: Mapping[str, str], seconds: float) -> float | None:
    """One rate in a process of its own; None if the situation cannot be made here."""
    command = [sys.executable, "-m", "benchmarks.contention", "--child", "--seconds", str(seconds)]
    environment = {**os.environ, **variables}
    if situation.endswith("busy"):
        with busy_processes(int(situation.split()[0])):
            return _rate(command, environment)
    if situation == "1 core of affinity":
        core = str(min(os.sched_getaffinity(0)))
        return _rate(["taskset", "--cpu-list", core, *command], environment)
    with _quota_group() as join:
        return None if join is None else _rate(["sh", "-c", join, "sh", *command], environment)


@contextlib.contextmanager
def _quota_group() -> Iterator[str | None]:
    """A cgroup with the time of one core, as shell text that joins it; None without permission."""
    group, quota, tasks = _CGROUPS / "cpu" / "slade_contention", "cpu.cfs_quota_us", "tasks"
    value = "100000"
    if not (_CGROUPS / "cpu").is_dir():  # version 2
        group, quota, tasks = _CGROUPS / "slade_contention", "cpu.max", "cgroup.procs"
        value = "100000 100000"
    try:
        group.mkdir()
    except OSError:
        yield None
        return
    try:
        (group / quota).write_text(value)
        yield f'echo $$ > {group / tasks} && exec "$@"'
    finally:
        group.rmdir()


def _rate(command: Sequence[str], environment: Mapping[str, str]) -> float:
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return float(done.stdout.splitlines()[-1])


def to_markdown(rates: Mapping[str, Mapping[str, Sequence[float]]]) -> list[str]:
    """Medians, with the share of the speed alone."""
    lines = [f"| situation | {' | '.join(POLICIES)} |", "|---" * (len(POLICIES) + 1) + "|"]
    alone = {policy: statistics.median(found) for policy, found in rates["0 busy"].items()}
    for situation, found in rates.items():
        cells = [
            f"{statistics.median(found[policy]):.1f} "
            f"({statistics.median(found[policy]) / alone[policy]:.0%})"
            for policy in POLICIES
        ]
        lines.append(f"| {situation} | {' | '.join(cells)} |")
    share = statistics.median(rates["1 busy"]["plugin"]) / alone["plugin"]
    return [*lines, f"{usable_cores()} usable cores; beside one {share:.0%}, goal {GOAL:.0%}"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.contention")
    parser.add_argument("--seconds", type=float, default=10, help="of each measurement")
    parser.add_argument("--repeat", type=int, default=3, help="measurements of each kind")
    parser.add_argument("--json", type=Path, help="where to write the result")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
