import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from slade_plugin.experiments.studies import execution
from slade_plugin.experiments.studies.execution import execute
from tests.study_runs import ORDER, alive, meanwhile, runs_of, wait_for


@pytest.fixture(autouse=True)
def _fast_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "_POLL_S", 0.005)


def test_every_run_is_done_seed_by_seed(tmp_path: Path, stub_runs: Any) -> None:
    runs = runs_of(tmp_path, 1, 4)
    assert execute(runs, program=stub_runs.program) == []
    assert stub_runs.order() == [(seed, name) for seed in (1, 4) for name in ORDER]
    assert [call["flags"] for call in stub_runs.calls()] == [
        run.command()[: -len(["--resume_training", "latest"])] for run in runs
    ]
    assert runs[0].log.read_text() == "log of whole\n"
    assert json.loads((runs[1].folder / "run.json").read_text()) == runs[1].description()


def test_a_run_starts_as_soon_as_a_job_is_free_and_its_teacher_is_there(
    tmp_path: Path, stub_runs: Any
) -> None:
    """While the teacher is trained, the other jobs do what does not need it."""
    stub_runs.behave(whole="wait")
    before: list[str] = []

    def let_go() -> None:
        wait_for(lambda: any(run.finished for run in runs) and len(stub_runs.calls()) == 2)
        before.extend(name for _, name in stub_runs.order())
        (stub_runs.folder / "go").touch()

    runs = runs_of(tmp_path, 0)
    with meanwhile(let_go):
        assert execute(runs, jobs=3, program=stub_runs.program) == []
    assert sorted(before) == ["apart", "whole"]
    assert stub_runs.order()[-1] == (0, "low")


def test_finished_runs_are_left_and_stopped_ones_go_on(tmp_path: Path, stub_runs: Any) -> None:
    runs = runs_of(tmp_path, 0)
    execute(runs[:1], program=stub_runs.program)
    runs[1].experiment.mkdir(parents=True)
    (runs[1].experiment / "pipeline.json").write_text("{}")
    execute(runs, program=stub_runs.program)
    assert stub_runs.order() == [(0, name) for name in ORDER]
    resumed = ["--resume_training" in call["flags"] for call in stub_runs.calls()]
    assert resumed == [False, True, False]
    assert execute(runs, program=stub_runs.program) == []
    assert len(stub_runs.calls()) == 3


def test_a_failed_run_stops_only_what_needs_it(tmp_path: Path, stub_runs: Any) -> None:
    stub_runs.behave(whole=7)
    failures = execute(runs_of(tmp_path, 0), jobs=2, program=stub_runs.program)
    whole, low = failures
    assert (whole.run.setting, low.run.setting) == ("whole", "low")
    assert whole.reason == f"ended with exit code 7; its log is {whole.run.log}"
    assert low.reason == "has no teacher, since dots seed0 whole failed"
    assert {name for _, name in stub_runs.order()} == {"whole", "apart"}
    stub_runs.behave()
    assert execute(runs_of(tmp_path, 0), program=stub_runs.program) == []
    assert stub_runs.order()[2:] == [(0, "whole"), (0, "low")]


def test_a_run_without_a_table_has_failed(tmp_path: Path, stub_runs: Any) -> None:
    stub_runs.behave(apart=0)
    (failure,) = execute(runs_of(tmp_path, 0), program=stub_runs.program)
    assert failure.run.setting == "apart"
    assert "exit code 0" in failure.reason


@pytest.mark.parametrize(
    ("jobs", "gpus", "devices", "threads"),
    [
        (1, [], {None}, {"1"}),
        (2, [], {None}, {"1"}),
        (2, ["0", "3"], {"0", "3"}, {None}),
        (1, ["5", "6"], {"5"}, {None}),
        (3, ["7"], {"7"}, {None}),
    ],
)
def test_jobs_share_cores_and_gpus(
    tmp_path: Path,
    stub_runs: Any,
    monkeypatch: pytest.MonkeyPatch,
    jobs: int,
    gpus: list[str],
    devices: set[str],
    threads: set[str],
) -> None:
    """One thread a run without GPUs, however many share the cores; each GPU is used."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    execute(runs_of(tmp_path, 0, 1), jobs, gpus, stub_runs.program)
    assert {call["CUDA_VISIBLE_DEVICES"] for call in stub_runs.calls()} == devices
    assert {call["OMP_NUM_THREADS"] for call in stub_runs.calls()} == threads


# ---- the end of a study, and two at once ---------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "number"), [("wait", "SIGINT"), ("wait", "SIGTERM"), ("deaf", "SIGINT")]
)
def test_an_interrupt_reaches_the_runs_and_the_next_start_goes_on(
    tmp_path: Path,
    stub_runs: Any,
    monkeypatch: pytest.MonkeyPatch,
    behaviour: str,
    number: str,
) -> None:
    """A run that does not listen is ended after a while; nothing outlives the study."""
    monkeypatch.setattr(execution, "_GRACE_S", 0.2 if behaviour == "deaf" else 30)
    stub_runs.behave(whole=behaviour)

    def interrupt() -> None:
        wait_for(lambda: sum(path.name == "waiting" for path in tmp_path.rglob("*")) == 2)
        os.kill(os.getpid(), getattr(signal, number))

    with meanwhile(interrupt), pytest.raises(KeyboardInterrupt):
        execute(runs_of(tmp_path, 0, 1), 2, program=stub_runs.program)
    assert not any(alive(call["pid"]) for call in stub_runs.calls())
    stopped = sum(path.name == "interrupted" for path in tmp_path.rglob("*"))
    assert stopped == (2 if behaviour == "wait" else 0)
    stub_runs.behave()
    before = len(stub_runs.calls())
    assert execute(runs_of(tmp_path, 0, 1), program=stub_runs.program) == []
    resumed = [call for call in stub_runs.calls()[before:] if call["loss"] == "whole"]
    assert ["--resume_training" in call["flags"] for call in resumed] == [True, True]


@pytest.mark.usefixtures("no_locks")
def test_without_locks_runs_are_executed_with_a_warning(
    tmp_path: Path, stub_runs: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert execute(runs_of(tmp_path, 0)[:1], program=stub_runs.program) == []
    assert "cannot be locked (No locks available)" in caplog.text


def test_two_studies_never_do_a_run_twice(tmp_path: Path, stub_runs: Any) -> None:
    """Even if one was killed and its run goes on: the run itself holds the lock."""
    stub_runs.behave(whole="wait")
    whole, *others = runs_of(tmp_path, 0)
    lock = execution.lock_run(whole)
    assert lock is not None
    with lock:
        process = execution.start_process(whole, stub_runs.program, lock, os.environ)
    wait_for(lambda: len(stub_runs.calls()) == 1)

    def let_go() -> None:
        wait_for(lambda: any(run.finished for run in others))
        (stub_runs.folder / "go").touch()
        process.wait()

    with meanwhile(let_go):
        assert execute([whole, *others], program=stub_runs.program) == []
    assert stub_runs.order() == [(0, "whole"), (0, "apart"), (0, "low")]
