"""Run a study on a Ray cluster of one or more machines; each run is a task.

A worker of Ray starts the same process as the executor of one machine, wherever CPUs and the run's
share of a GPU are free. All machines share the folder of the runs; the machine that executes a run
locks it. If a worker is killed, its run.py ends too, and Ray repeats the task, which resumes from
the run's last checkpoint.

This module needs the extra ``ray``. Every worker imports it, so it imports neither torch nor the
host.
"""

import _thread
import hashlib
import logging
import os
import platform
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import slade_plugin
from slade_plugin.base.errors import ConfigError, ExperimentError
from slade_plugin.base.machine import restore_environment
from slade_plugin.experiments.studies.evaluated_run import PROGRAM
from slade_plugin.experiments.studies.execution import (
    Failure,
    execute_on,
    lock_run,
    noted_interrupts,
    start_process,
    stop_processes,
)
from slade_plugin.experiments.studies.plan import Run

_INSTALL = "Expected the same slade-plugin on all machines; install it, and start Ray again."

_RETRIES = 10  # worker processes or machines that a run may lose
_POLL_S = 0.2
_CONNECT_S = 20.0
_STOP_S = 45.0  # longer than a worker waits for its process to stop

# Runs between a worker and its run.py: the run ends whenever its worker does, or it would keep the
# lock. Workers of Ray block SIGINT, and their processes inherit that.
_TIED = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


def execute(
    runs: Iterable[Run],
    program: Sequence[str] = PROGRAM,
    address: str | None = None,
    jobs: int | None = None,
    cpus: float = 1,
    gpus: float | None = None,
) -> list[Failure]:
    """Execute all unfinished runs as tasks of a Ray cluster.

    Args:
        runs: As for `execution.execute_on`.
        program: The program of a run: a Python interpreter, replaced by each machine's own, and its
            arguments.
        address: ray://HOST:PORT or HOST:PORT; None for the cluster of RAY_ADDRESS or of this
            machine, which is started if there is none.
        jobs: How many at a time; None for as many as the cluster has room for.
        cpus: CPUs and threads of each run.
        gpus: GPUs of each run, such as 0.5 for two runs on one; None for 1, or 0 if no machine of
            the cluster has one.

    Returns:
        As `execution.execute_on`.

    Raises:
        ConfigError: If there is no such cluster, or its machines cannot take the runs.
        ExperimentError: If the cluster was lost.
        KeyboardInterrupt: When interrupted, after the running tasks were stopped.
    """
    waiting = [run for run in dict.fromkeys(runs) if not run.finished]
    if not waiting:
        return []
    restore_environment()  # otherwise Ray copies our changes
    with _connected(address):
        try:
            workers = _RayWorkers(jobs, cpus, gpus, program)
            workers.check(waiting[0].folder)
            return execute_on(workers, waiting)
        except (RayError, ConnectionError) as error:
            raise ExperimentError(
                f"the Ray cluster was lost: {error}. Restore it, then rerun the same command to "
                "resume."
            ) from error


@contextmanager
def _connected(address: str | None) -> Iterator[None]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    before = signal.getsignal(signal.SIGTERM)
    try:
        if address:  # Ray would wait for minutes
            host, _, port = address.removeprefix("ray://").rpartition(":")
            socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()
        ray.init(
            address, include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING
        )
    except (ImportError, OSError, RuntimeError, ValueError, RayError) as error:
        raise ConfigError(
            f"--executor {address or 'ray'}: {error}. Expected a Ray cluster that can be reached, "
            f"of Ray {ray.__version__} and Python {platform.python_version()}: `ray start --head` "
            "on one machine, `ray start --address HOST:6379` on the others, and RAY_AUTH_MODE as "
            "there."
        ) from error
    finally:
        signal.signal(signal.SIGTERM, before)  # Ray's own would end this process at once
    try:
        yield
    finally:
        ray.shutdown()


class _RayWorkers:
    """The workers of the connected cluster; arguments as for `execute`."""

    def __init__(
        self, jobs: int | None, cpus: float, gpus: float | None, program: Sequence[str]
    ) -> None:
        self.jobs, self.cpus, self.program = jobs, cpus, program
        has_gpus = any(node["Resources"].get("GPU") for node in ray.nodes() if node["Alive"])
        self.gpus = float(has_gpus) if gpus is None else gpus
        self.versions, self.cwd = versions(), os.getcwd()

    def check(self, folder: Path) -> None:
        """Check that each machine with room can execute runs.

        Args:
            folder: Folder of a run, made if it is missing.

        Raises:
            ConfigError: If a machine cannot, or none has room.
        """
        nodes = [node for node in ray.nodes() if self._room_of(node)]
        if not nodes:
            has = [
                f"{node['NodeManagerHostname']} {node['Resources'].get('CPU', 0):g} and "
                f"{node['Resources'].get('GPU', 0):g}"
                for node in ray.nodes()
                if node["Alive"]
            ]
            raise ConfigError(
                f"--cpus_per_run is {self.cpus:g} and --gpus_per_run {self.gpus:g}; expected at "
                f"most what one machine of the Ray cluster has: {', '.join(has)}."
            )
        folder.mkdir(parents=True, exist_ok=True)
        ask = ray.remote(num_cpus=0, max_retries=_RETRIES)(problem_here)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".shared-") as token:
            paths = (self.cwd, token.name)
            places = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in nodes]
            try:
                problems = ray.get(
                    [
                        ask.options(scheduling_strategy=place).remote(self.versions, paths)
                        for place in places
                    ]
                )
            except (RayError, ImportError, AttributeError) as error:
                problems = [f"{_last_line(error)}. {_INSTALL}"]
        problem = next(filter(None, problems), "")
        if problem:
            raise ConfigError(f"Ray: {problem}")
        print(f"Ray has room for {self.room()} runs at a time (machines: {len(nodes)})", flush=True)

    def room(self) -> int:
        # At least 1: after a machine is lost, Ray keeps a task until there is room for it.
        room = max(1, sum(self._room_of(node) for node in ray.nodes()))
        return room if self.jobs is None else min(room, self.jobs)

    def _room_of(self, node: Mapping[str, Any]) -> int:
        wanted = {"CPU": self.cpus, "GPU": self.gpus}
        has = node["Resources"] if node["Alive"] else {}
        return min(int(has.get(k, 0) / share + 1e-6) for k, share in wanted.items() if share)

    def start(self, run: Run, lock: IO[bytes], job: int) -> "_RayTask":
        """Submit the run to Ray, whose worker takes the lock once ours is closed."""
        task = ray.remote(
            num_cpus=self.cpus, num_gpus=self.gpus, max_retries=_RETRIES, retry_exceptions=False
        )(do_run)
        named = task.options(name=run.title)
        return _RayTask(run, named.remote(run, self.program, self.versions, self.cwd))

    def stop(self, tasks: Sequence["_RayTask"]) -> None:
        """Cancel tasks, which interrupts their processes; then kill workers that do not end."""
        left = [task.reference for task in tasks]
        for force in (False, True):
            for reference in left:
                ray.cancel(reference, force=force)
            if left:
                _, left = ray.wait(left, num_returns=len(left), timeout=_STOP_S)


@dataclass(frozen=True)
class _RayTask:
    """A run submitted to Ray."""

    run: Run
    reference: Any

    def poll(self) -> int | str | None:
        if not ray.wait([self.reference], timeout=0)[0]:
            return None
        try:
            ended: int | str = ray.get(self.reference)
        except RayError as error:
            return f"was lost by Ray: {_last_line(error)}"
        # A network file system may show the worker's files here a little later.
        return None if ended == 0 and not self.run.finished else ended


def _last_line(error: Exception) -> str:
    """Return the message without the worker's traceback."""
    return str(error).strip().splitlines()[-1].strip()


# ---- in a worker ---------------------------------------------------------------------------------


def versions() -> dict[str, str]:
    """Return what must be equal on all machines besides Python and Ray, which Ray compares."""
    package = Path(slade_plugin.__file__).parent
    code = hashlib.sha256()
    for folder, prefix in ((package, ""), (package.parent / "bench_configs", "bench_configs/")):
        for path in sorted(p for p in folder.rglob("*") if p.suffix in (".py", ".yaml")):
            code.update(f"{prefix}{path.relative_to(folder)}".encode() + path.read_bytes())
    return {
        "slade-plugin": slade_plugin.__version__,
        "code and configs of slade-plugin": code.hexdigest()[:12],
        "torch": version("torch"),
    }


def problem_here(expected: Mapping[str, str], paths: Iterable[str]) -> str:
    """Return why this machine cannot execute runs.

    Args:
        expected: The `versions` of the machine of the command.
        paths: Files and folders that must exist here too.

    Returns:
        The first reason; empty if there is none.
    """
    host, found = platform.node(), versions()
    for name, value in expected.items():
        if found[name] != value:
            return (
                f"{host} has {name} {found[name]}, and the machine of the command {value}. "
                f"{_INSTALL}"
            )
    for path in paths:
        if not os.path.exists(path):
            return f"{host} has no {path}; expected a folder that all machines share at one path."
    return ""


def do_run(run: Run, program: Sequence[str], expected: Mapping[str, str], cwd: str) -> int | str:
    """Execute a run in the main thread of a worker of Ray.

    Args:
        run: The run.
        program: As for `execute`.
        expected: The `versions` of the machine of the command.
        cwd: The working directory of the command.

    Returns:
        The exit code of its process, 0 only if the run is finished, or why there is none.
    """
    problem = problem_here(expected, (cwd, str(run.folder)))
    if problem:
        return f"was not started: {problem}"
    tied = (sys.executable, "-I", "-c", _TIED, str(os.getpid()), sys.executable, *program[1:])
    process = None
    with noted_interrupts() as interrupts:
        while process is None and not interrupts:
            # The caller holds it for a moment, a killed worker's process for seconds, and another
            # study that was faster for long.
            lock = lock_run(run)
            if lock is None:
                time.sleep(_POLL_S)
                continue
            with lock:
                if run.finished:
                    return 0
                process = start_process(run, tied, lock, os.environ, cwd)
        try:
            while process is not None and process.poll() is None and not interrupts:
                time.sleep(_POLL_S)
        finally:
            stop_processes([process] if process else [])
    if interrupts or process is None:
        _thread.interrupt_main(signal.Signals(interrupts[0]))  # again, to Ray's own handler
        raise KeyboardInterrupt
    ended = f"ended with exit code {process.returncode}"
    return ended if process.returncode == 0 and not run.finished else process.returncode
