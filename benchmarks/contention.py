"""Steps per second of a student alone, next to busy processes and on one core.

OpenMP's threads may spin while they wait. Alone that saves a little; beside a busy process the one
they wait for has no core, and they keep it from getting one. Each policy has a process of its
own, whose environment sets it; they take turns, so that other work on the machine affects all
of them alike. One core is a CPU quota (cgroup v1 or v2) or, without the permission to make a
cgroup, the affinity of the process.

Goal: beside one busy process at least 40 % of the speed alone.

    python -m benchmarks.contention --json contention.json
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.paired_timing import check_at_least
from benchmarks.student_step import make_trainers
from slade_plugin.base.files import write_json
from slade_plugin.base.machine import usable_cores
from slade_plugin.base.provenance import describe_environment

GOAL = 0.4
_CORES = str(len(os.sched_getaffinity(0)))
# The plugin's own choice; what libgomp does by itself, with its own spin count; one thread.
POLICIES: dict[str, dict[str, str]] = {
    "plugin": {},
    "spinning threads": {"OMP_NUM_THREADS": _CORES, "GOMP_SPINCOUNT": "300000"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
SITUATIONS = ("alone", "1 busy process", "2 busy processes", "one core")
_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
_BUSY = "while True: pass"
_CGROUPS = Path("/sys/fs/cgroup")


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print a table and write JSON.

    Returns:
        Steps per second by situation and policy, all repetitions.

    Raises:
        ConfigError: If a number of the command line is too small.
        ExperimentError: If the JSON file cannot be written.
    """
    args = _parser().parse_args(argv)
    check_at_least({"steps": 1, "repeat": 1}, steps=args.steps, repeat=args.repeat)
    if args.child:
        _serve(args.steps, args.seconds)
        return {}
    policies = list(POLICIES)
    if args.smoke:
        args.seconds, args.repeat, policies = 0.0, 1, policies[:1]
    rates: dict[str, dict[str, list[float]]]
    rates = {situation: {policy: [] for policy in policies} for situation in SITUATIONS}
    flags = ["--steps", str(args.steps), "--seconds", str(args.seconds)]

    def measure(students: Mapping[str, Any], situations: Sequence[str]) -> None:
        for _ in range(args.repeat):
            for busy, situation in enumerate(situations):
                for policy, student in students.items():
                    with busy_processes(busy):
                        rates[situation][policy].append(_ask(student))

    with students_of(policies, flags) as students:
        measure(students, SITUATIONS[:-1])
    with one_core() as (how, prefix), students_of(policies, flags, prefix) as students:
        measure(students, SITUATIONS[-1:])
    for line in to_markdown(rates):
        print(line)
    print(f"{usable_cores()} cores, one core by {how}; goal beside one busy process {GOAL:.0%}")
    if args.json:
        content = {"benchmark": "contention", "goal": GOAL, "one_core_by": how, "rates": rates}
        settings = {**vars(args), "json": None}
        write_json(
            args.json,
            {**content, "settings": settings, "environment": describe_environment()},
        )
    return rates


def _serve(least_steps: int, seconds: float) -> None:
    """Print the rate of some steps for each line of the input."""
    _, student = make_trainers("conv4", 32, torch.device("cpu"))
    for _ in range(2):
        student.forward_and_backward()
    for _ in sys.stdin:
        started, steps = time.perf_counter(), 0
        while steps < least_steps or time.perf_counter() - started < seconds:
            student.forward_and_backward()
            steps += 1
        print(steps / (time.perf_counter() - started), flush=True)


def _ask(student: Any) -> float:
    print(file=student.stdin, flush=True)
    return float(student.stdout.readline())


@contextlib.contextmanager
def students_of(
    policies: Sequence[str], flags: Sequence[str], prefix: Sequence[str] = ()
) -> Iterator[dict[str, Any]]:
    """Start a waiting process per policy, with no other thread settings in its environment."""
    others = {name: value for name, value in os.environ.items() if name not in _VARIABLES}
    command = [*prefix, sys.executable, "-m", "benchmarks.contention", "--child", *flags]
    with contextlib.ExitStack() as stack:
        students = {}
        for policy in policies:
            student = subprocess.Popen(
                command,
                env=others | POLICIES[policy],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            students[policy] = stack.enter_context(student)  # closes its input, and so ends it
        for student in students.values():
            _ask(student)  # until it is ready
        yield students


@contextlib.contextmanager
def busy_processes(number: int) -> Iterator[None]:
    """Start processes that compute forever."""
    busy = [subprocess.Popen([sys.executable, "-S", "-c", _BUSY]) for _ in range(number)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


@contextlib.contextmanager
def one_core(cgroups: Path = _CGROUPS) -> Iterator[tuple[str, list[str]]]:
    """Limit processes to one core.

    Args:
        cgroups: Where the hierarchies of cgroups are mounted.

    Yields:
        What sets the limit, and the words before a command that is to run under it.
    """
    version1 = (cgroups / "cpu").is_dir()
    group = (cgroups / "cpu" if version1 else cgroups) / f"slade_contention_{os.getpid()}"
    file, limit = ("cpu.cfs_quota_us", "100000") if version1 else ("cpu.max", "100000 100000")
    try:
        group.mkdir()
        (group / file).write_text(limit)
    except OSError:
        how, prefix = "affinity", ["taskset", "--cpu-list", str(min(os.sched_getaffinity(0)))]
    else:
        join = f'echo $$ > "{group}/cgroup.procs" && exec "$@"'
        how, prefix = f"a quota (cgroup v{1 if version1 else 2})", ["sh", "-c", join, "sh"]
    try:
        yield how, prefix
    finally:
        with contextlib.suppress(FileNotFoundError):
            group.rmdir()


def to_markdown(rates: Mapping[str, Mapping[str, Sequence[float]]]) -> list[str]:
    """Format medians in steps per second, with their share of the speed alone."""
    policies = list(rates["alone"])
    lines = [f"| steps/s | {' | '.join(policies)} |", "|---" * (len(policies) + 1) + "|"]
    for situation, found in rates.items():
        cells = []
        for policy in policies:
            rate, alone = (statistics.median(r[policy]) for r in (found, rates["alone"]))
            cells.append(f"{rate:.1f} ({rate / alone:.0%})")
        lines.append(f"| {situation} | {' | '.join(cells)} |")
    return lines


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.contention")
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement")
    parser.add_argument("--steps", type=int, default=3, help="of each measurement, at least")
    parser.add_argument("--repeat", type=int, default=2, help="measurements of each kind")
    parser.add_argument("--smoke", action="store_true", help="a few steps under one policy")
    parser.add_argument("--json", type=Path, help="where to write the result")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
