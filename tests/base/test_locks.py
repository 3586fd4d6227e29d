"""One process at a time in a folder, tried with real processes."""

import logging
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slade_plugin.base.errors import ExperimentError
from slade_plugin.base.locks import LOCK_FILE, locked

Hold = Callable[[Path], "subprocess.Popen[str]"]


def try_to_hold(folder: Path) -> None:
    with locked(folder):
        pass


def test_a_second_process_is_refused_and_told_who_holds_it(hold: Hold, tmp_path: Path) -> None:
    holder = hold(tmp_path / "one")
    with pytest.raises(ExperimentError) as caught:
        try_to_hold(tmp_path / "one")
    message = str(caught.value)
    assert f"in use by process {holder.pid} on {platform.node()}, started " in message
    assert time.strftime("started %Y-%m-") in message
    assert str(tmp_path / "one") in message
    try_to_hold(tmp_path / "two")


@pytest.mark.parametrize("end", ["kill", "finish"])
def test_a_lock_ends_with_its_holder(hold: Hold, tmp_path: Path, end: str) -> None:
    holder = hold(tmp_path / "one")
    if end == "kill":
        holder.send_signal(signal.SIGKILL)
    else:
        assert holder.stdin is not None
        holder.stdin.close()
    holder.wait()
    assert (tmp_path / "one" / LOCK_FILE).exists() == (end == "kill")
    try_to_hold(tmp_path / "one")


@pytest.mark.parametrize("other", ["run", "run/student", "run/round2/student", "run2", "."])
def test_a_pipeline_holds_its_stages_and_a_stage_its_pipeline(
    hold: Hold, tmp_path: Path, other: str
) -> None:
    hold(tmp_path / "run")
    if other == "run2":
        try_to_hold(tmp_path / other)
        return
    with pytest.raises(ExperimentError, match=r"in use .*by process"):
        try_to_hold(tmp_path / other)


_PARENT = """
import os, subprocess, sys, time
from slade_plugin.base.locks import locked
with locked(sys.argv[1]):
    if sys.argv[2] == "fork":
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
    elif sys.argv[2] == "worker":
        import multiprocessing
        worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        worker.start()
        child = worker.pid
    else:
        child = subprocess.Popen(["sleep", "60"], close_fds=False).pid
    print(child, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("how", ["fork", "worker", "exec"])
def test_a_child_that_outlives_its_parent_holds_nothing(tmp_path: Path, how: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(tmp_path), how], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        try:
            with pytest.raises(ExperimentError, match=f"process {parent.pid} on"):
                try_to_hold(tmp_path)
            parent.kill()
            parent.wait()
            os.kill(child, 0)  # it lives
            try_to_hold(tmp_path)
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_process_holds_what_lies_in_its_own_folder(tmp_path: Path) -> None:
    with locked(tmp_path / "search", "search"), locked(tmp_path / "search" / "trial0"):
        assert [p.name for p in tmp_path.rglob("*")] == ["search", LOCK_FILE]
    assert list(tmp_path.iterdir()) == []


def test_what_was_written_stays(tmp_path: Path) -> None:
    with locked(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "file").touch()
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a", "b", "file"]


def test_a_block_that_fails_gives_the_lock_back(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "a"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_locks")
def test_without_support_for_locks_a_warning_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), locked(tmp_path / "a"):
        pass
    assert "a second process in this folder would go unnoticed" in caplog.text


def test_a_full_disk_is_one_message(small_disk: Any) -> None:
    small_disk.leave(0)
    with pytest.raises(ExperimentError, match=r"cannot write .*: (No space left|File too large)"):
        try_to_hold(small_disk.folder)
    assert not (small_disk.folder / LOCK_FILE).exists()


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ExperimentError, match="file is not a writable folder"):
        try_to_hold(tmp_path / "file" / "experiment")
