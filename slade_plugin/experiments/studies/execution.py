"""Run a study, several runs at a time, each in a separate process.

`execute` uses this machine; `execute_on` takes other workers, such as those of
`slade_plugin.experiments.studies.ray_execution`.

A run holds the lock of its folder as long as its process lives, even if the study was killed, so
two studies at once never do the same run twice.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Generic, Protocol, TypeVar

from slade_plugin.base.files import write_json
from slade_plugin.base.locks import lock_file
from slade_plugin.base.machine import restore_environment
from slade_plugin.experiments.studies.evaluated_run import PROGRAM
from slade_plugin.experiments.studies.plan import Run

_POLL_S = 0.2
_GRACE_S = 30.0  # between the signal that asks a run to stop and the one that kills it


@dataclass(frozen=True)
class Failure:
    """A run that failed, and the reason."""

    run: Run
    reason: str


class Task(Protocol):
    """A started run."""

    def poll(self) -> int | str | None:
        """Return the exit code, or why there is none; None while it runs."""


T = TypeVar("T", bound=Task)


class Workers(Protocol[T]):
    """Where runs are executed."""

    def room(self) -> int:
        """Return how many runs can be executed at a time."""

    def start(self, run: Run, lock: IO[bytes], job: int) -> T:
        """Start a run.

        Args:
            run: The run.
            lock: The locked file of its folder; the caller closes it afterwards.
            job: Number of the job, from 0.
        """

    def stop(self, tasks: Sequence[T]) -> None:
        """Interrupt tasks, as Ctrl-C does, and wait until they have ended."""


def execute(
    runs: Iterable[Run],
    jobs: int = 1,
    gpus: Sequence[str] = (),
    program: Sequence[str] = PROGRAM,
) -> list[Failure]:
    """Execute all unfinished runs on this machine.

    Args:
        runs: As for `execute_on`.
        jobs: How many at a time.
        gpus: Each job sees one of these; empty to leave the environment unchanged. Runs then have
            one thread each unless OMP_NUM_THREADS is set: the number of threads changes the scores
            slightly, and the number of jobs must not.
        program: The program of a run.

    Returns:
        As `execute_on`.

    Raises:
        KeyboardInterrupt: When interrupted, after the running processes were stopped.
    """
    restore_environment()
    return execute_on(_Processes(jobs, gpus, program), runs)


def execute_on(workers: Workers[T], runs: Iterable[Run]) -> list[Failure]:
    """Execute all unfinished runs in order, as far as their teachers allow.

    Args:
        workers: Where to execute them.
        runs: The runs; equal ones are executed once. A teacher's run precedes those that use it.

    Returns:
        The runs that failed and those that need them; all others are finished.

    Raises:
        KeyboardInterrupt: When interrupted, after the running processes were stopped.
    """
    execution = _Execution(workers, [run for run in dict.fromkeys(runs) if not run.finished])
    with noted_interrupts() as interrupts:
        try:
            while execution.has_work() and not interrupts:
                execution.collect()
                execution.start()
                time.sleep(_POLL_S)
        finally:
            workers.stop([task for task, _, _ in execution.running.values()])
    if interrupts:
        raise KeyboardInterrupt
    return execution.failures


class _Execution(Generic[T]):
    """The waiting, running and failed runs."""

    def __init__(self, workers: Workers[T], waiting: list[Run]) -> None:
        self.workers = workers
        self.waiting = waiting
        self.running: dict[int, tuple[T, Run, float]] = {}  # by job
        self.failures: list[Failure] = []
        self.total, self.started, self.idle = len(waiting), 0, False

    def has_work(self) -> bool:
        return bool(self.waiting or self.running)

    def collect(self) -> None:
        """Record the runs that have ended, here or in another study."""
        for job, (task, run, started) in list(self.running.items()):
            ended = task.poll()
            if ended is None:
                continue
            del self.running[job]
            minutes = (time.monotonic() - started) / 60
            result = f"done in {minutes:.1f} min"
            if ended != 0 or not run.finished:
                how = ended if isinstance(ended, str) else f"ended with exit code {ended}"
                result = f"{how}; its log is {run.log}"
                self.failures.append(Failure(run, result))
            print(f"{run.title}: {result}", flush=True)
        failed = {failure.run for failure in self.failures}
        for run in self.waiting:
            if run.teacher and run.teacher in failed:
                reason = f"has no teacher, since {run.teacher.title} failed"
                self.failures.append(Failure(run, reason))
        failed |= {failure.run for failure in self.failures}
        self.waiting = [r for r in self.waiting if r not in failed and not r.finished]

    def start(self) -> None:
        """Give each free job the next run whose teacher is ready."""
        jobs = range(self.workers.room()) if self.waiting else range(0)
        for run in [run for run in self.waiting if not run.teacher or run.teacher.finished]:
            job = next((job for job in jobs if job not in self.running), None)
            lock = None if job is None else lock_run(run)
            if job is None or lock is None:
                continue  # no job is free, or another study executes this run
            with lock:
                self.waiting.remove(run)
                if run.finished:  # by another study, a moment ago
                    continue
                self.started += 1
                print(f"[{self.started}/{self.total}] {run.title} ...", flush=True)
                task = self.workers.start(run, lock, job)
            self.running[job] = (task, run, time.monotonic())
        if self.waiting and not self.running and not self.idle:
            self.idle = True
            print(f"waiting for another study, which runs {self.waiting[0].title}", flush=True)


@dataclass(frozen=True)
class _Processes:
    """Processes on this machine; arguments as for `execute`."""

    jobs: int
    gpus: Sequence[str]
    program: Sequence[str]

    def room(self) -> int:
        return self.jobs

    def start(self, run: Run, lock: IO[bytes], job: int) -> subprocess.Popen[bytes]:
        environment = dict(os.environ)
        if self.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = self.gpus[job % len(self.gpus)]
        else:
            environment.setdefault("OMP_NUM_THREADS", "1")
        return start_process(run, self.program, lock, environment)

    def stop(self, tasks: Sequence[subprocess.Popen[bytes]]) -> None:
        stop_processes(tasks)


@contextmanager
def noted_interrupts() -> Iterator[list[int]]:
    """Record Ctrl-C and SIGTERM instead of raising while a process is started or polled.

    This also restores the interrupt if a shell started the study with it ignored.
    """
    noted: list[int] = []
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda received, _: noted.append(received))
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def lock_run(run: Run) -> IO[bytes] | None:
    """Return the locked file of a run's folder; None while another process holds it."""
    run.folder.mkdir(parents=True, exist_ok=True)
    path = run.folder / "lock"
    file = open(path, "ab")  # the caller closes it
    if lock_file(file, path):
        return file
    file.close()
    return None


def start_process(
    run: Run,
    program: Sequence[str],
    lock: IO[bytes],
    environment: Mapping[str, str],
    cwd: str | None = None,
) -> subprocess.Popen[bytes]:
    """Start the program of a run, which then holds the lock even if the caller closes it.

    Args:
        run: The run.
        program: The program of a run.
        lock: The result of `lock_run`.
        environment: Environment of the process.
        cwd: Its working directory; the caller's by default.
    """
    write_json(run.folder / "run.json", run.description())
    with open(run.log, "ab") as log:
        return subprocess.Popen(
            [*program, *run.command()],
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment,
            cwd=cwd,
            pass_fds=(lock.fileno(),),
            start_new_session=True,  # Ctrl-C reaches it only through stop_processes
        )


def stop_processes(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Interrupt processes and their children, as Ctrl-C does; kill those that do not end."""
    for process in processes:
        _signal(process, signal.SIGINT)
    deadline = time.monotonic() + _GRACE_S
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            _signal(process, signal.SIGKILL)
            process.wait()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    if process.poll() is None:
        os.killpg(process.pid, number)
