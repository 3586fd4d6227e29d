"""Does the runs of a study, several at a time, each in a process of its own.

A run holds the lock of its folder as long as its process lives, even if the study was killed, so
two studies at once never do the same run twice.
"""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from slade_plugin.files import write_json
from slade_plugin.studies.plan import Run

RUN_PY = (sys.executable, "-c", "import sys; from slade_plugin.cli import main; sys.exit(main())")
_POLL_S = 0.2
_GRACE_S = 30.0  # from the signal that asks a run to stop to the one that ends it


@dataclass(frozen=True)
class Failure:
    """A run that is not finished, and why."""

    run: Run
    reason: str


def execute(
    runs: Iterable[Run],
    jobs: int = 1,
    gpus: Sequence[str] = (),
    program: Sequence[str] = RUN_PY,
) -> list[Failure]:
    """Does all runs that are not finished, in their order as far as their teachers allow.

    Args:
        runs: The runs; equal ones are done once. A teacher's run comes before those that take it.
        jobs: How many at a time.
        gpus: Each job sees one of these; none for what the environment says.
        program: What stands for run.py.

    Returns:
        The runs that failed and those that wait for them; all others are finished.

    Raises:
        KeyboardInterrupt: When interrupted, after the running processes were stopped.
    """
    execution = _Execution([run for run in dict.fromkeys(runs) if not run.finished], jobs)
    with _noted_interrupts() as interrupts:
        try:
            while execution.goes_on() and not interrupts:
                execution.collect()
                execution.start(gpus, program)
                time.sleep(_POLL_S)
        finally:
            _stop([process for process, _, _ in execution.running.values()])
    if interrupts:
        raise KeyboardInterrupt
    return execution.failures


class _Execution:
    """What waits, runs and has failed."""

    def __init__(self, waiting: list[Run], jobs: int) -> None:
        self.waiting = waiting
        self.jobs = jobs
        self.running: dict[int, tuple[subprocess.Popen[bytes], Run, float]] = {}  # by job
        self.failures: list[Failure] = []
        self.total, self.started, self.idle = len(waiting), 0, False

    def goes_on(self) -> bool:
        return bool(self.waiting or self.running)

    def collect(self) -> None:
        """Takes note of what has ended, here or by another study."""
        for job, (process, run, started) in list(self.running.items()):
            if process.poll() is None:
                continue
            del self.running[job]
            minutes = (time.monotonic() - started) / 60
            result = f"done in {minutes:.1f} min"
            if process.returncode != 0 or not run.finished:
                result = f"ended with exit code {process.returncode}; its log is {run.log}"
                self.failures.append(Failure(run, result))
            print(f"{run.title}: {result}", flush=True)
        failed = {failure.run for failure in self.failures}
        for run in self.waiting:
            if run.teacher and run.teacher in failed:
                reason = f"has no teacher, since {run.teacher.title} failed"
                self.failures.append(Failure(run, reason))
        failed |= {failure.run for failure in self.failures}
        self.waiting = [r for r in self.waiting if r not in failed and not r.finished]

    def start(self, gpus: Sequence[str], program: Sequence[str]) -> None:
        """Gives each free job the next run that has its teacher."""
        for run in [run for run in self.waiting if not run.teacher or run.teacher.finished]:
            job = next((job for job in range(self.jobs) if job not in self.running), None)
            lock = None if job is None else _lock(run)
            if job is None or lock is None:
                continue  # no job is free, or another study is at this run
            with lock:
                self.waiting.remove(run)
                if run.finished:  # by another study, a moment ago
                    continue
                self.started += 1
                print(f"[{self.started}/{self.total}] {run.title} ...", flush=True)
                gpu = gpus[job % len(gpus)] if gpus else None
                process = _start(run, program, lock, self.jobs, gpu)
            self.running[job] = (process, run, time.monotonic())
        if self.waiting and not self.running and not self.idle:
            self.idle = True
            print(f"waiting for another study, which is at {self.waiting[0].title}", flush=True)


@contextmanager
def _noted_interrupts() -> Iterator[list[int]]:
    """Notes Ctrl-C and SIGTERM instead of raising in the middle of starting or asking a process.

    It also makes runs listen to the interrupt where a shell started the study deaf to it.
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


def _lock(run: Run) -> IO[bytes] | None:
    """The locked file of a run's folder; None while another process holds it."""
    run.folder.mkdir(parents=True, exist_ok=True)
    file = open(run.folder / "lock", "ab")  # closed by whoever takes it
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _start(
    run: Run, program: Sequence[str], lock: IO[bytes], jobs: int, gpu: str | None
) -> subprocess.Popen[bytes]:
    write_json(run.folder / "run.json", run.description())
    environment = dict(os.environ)
    if gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = gpu
    elif jobs > 1:
        environment.setdefault("OMP_NUM_THREADS", "1")
    with open(run.log, "ab") as log:
        return subprocess.Popen(
            [*program, *run.command()],
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment,
            pass_fds=(lock.fileno(),),
            start_new_session=True,  # a Ctrl-C reaches it through _stop, once
        )


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Interrupts processes with their children, as Ctrl-C does; ends those that do not listen."""
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
