"""A study whose runs a stub stands for, and what the tests of its execution wait for."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from slade_plugin.experiments.studies.plan import Run, plan_runs
from slade_plugin.experiments.studies.study import Setting, Study

STUDY = Study(
    "s",
    {"dots": ()},
    "whole",
    (
        Setting("low", ("--config_loss", "low")),
        Setting("whole", ("--config_loss", "whole"), own_teacher=True, own_baseline=True),
        Setting("apart", ("--config_loss", "apart"), own_teacher=True),
    ),
)
ORDER = ["whole", "low", "apart"]


def runs_of(folder: Path, *seeds: int) -> list[Run]:
    return list(plan_runs(STUDY, folder, seeds).values())


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@contextmanager
def meanwhile(do: Callable[[], None]) -> Iterator[None]:
    """Something that happens while the study runs, which needs the main thread for signals."""
    thread = threading.Thread(target=do)
    thread.start()
    yield
    thread.join()


def alive(pid: int) -> bool:
    return process_stat(pid)[:1] not in ([], ["Z"])  # a zombie waits for whoever adopted it


def process_stat(pid: int) -> list[str]:
    """State, parent, ... of a process; empty once it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
