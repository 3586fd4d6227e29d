import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from slade_plugin.base.errors import ConfigError
from slade_plugin.commands import study
from slade_plugin.experiments.studies import execution, ray_execution
from slade_plugin.experiments.studies.ray_execution import execute, problem_here, versions
from tests.study_runs import ORDER, alive, meanwhile, process_stat, runs_of, wait_for

ROOT = Path(__file__).resolve().parents[3]
# Ray leaves the log files of its client server open.
LOGS_OF_RAY = pytest.mark.filterwarnings(
    "ignore:.*/logs/ray_client_server:pytest.PytestUnraisableExceptionWarning"
)


@contextmanager
def started_cluster(**head: Any) -> Iterator[Cluster]:
    """A real one, with two workers."""
    folder = tempfile.mkdtemp(prefix="ray")  # short, since sockets lie in it
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_TMPDIR", folder)
        head |= {"num_cpus": 2, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            yield cluster
        finally:
            cluster.shutdown()
            shutil.rmtree(folder)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with started_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def client_address() -> Iterator[str]:
    """Of another, for clients that are no part of it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with started_cluster(ray_client_server_port=port):
        yield f"ray://127.0.0.1:{port}"


@pytest.fixture(autouse=True)
def _fast_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "_POLL_S", 0.02)


def test_a_killed_worker_s_run_is_done_again_and_a_failed_one_is_not(
    cluster: Cluster, tmp_path: Path, stub_runs: Any
) -> None:
    """Two workers: one is killed and one run fails; the run that needs the killed one waits."""
    stub_runs.behave(whole="wait", apart=7)

    def kill() -> None:
        wait_for(lambda: len(stub_runs.calls()) == 2 and any(tmp_path.rglob("waiting")))
        (pid,) = [call["pid"] for call in stub_runs.calls() if call["loss"] == "whole"]
        stub_runs.behave(apart=7)
        os.kill(int(process_stat(pid)[1]), signal.SIGKILL)
        wait_for(lambda: not alive(pid))  # it does not outlive its worker

    runs = runs_of(tmp_path, 0)
    with meanwhile(kill):
        (failure,) = execute(runs, stub_runs.program, cluster.address)
    assert failure.run.setting == "apart"
    assert failure.reason == f"ended with exit code 7; its log is {failure.run.log}"
    assert sorted(stub_runs.order()[:2]) == [(0, "apart"), (0, "whole")]
    assert stub_runs.order()[2:] == [(0, "whole"), (0, "low")]
    again = stub_runs.calls()[2]["flags"]
    assert again[-2:] == ["--resume_training", "latest"]
    assert runs[0].log.read_text() == 2 * "log of whole\n"
    assert [run.finished for run in runs] == [True, True, False]
    assert not list(tmp_path.rglob(".shared-*"))


def test_workers_import_neither_torch_nor_the_host() -> None:
    """They stay idle beside run.py, one for each CPU, and have to be there in a moment."""
    code = (
        "import sys, slade_plugin.experiments.studies.ray_execution;"
        "import slade_plugin.experiments.studies.evaluated_run;"
        "print([m for m in ('torch', 'pytorch_metric_learning') if m in sys.modules])"
    )
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_nothing_is_asked_of_ray_if_all_is_done(tmp_path: Path, stub_runs: Any) -> None:
    runs = runs_of(tmp_path, 0)
    assert execution.execute(runs, program=stub_runs.program) == []
    assert execute(runs, stub_runs.program, "no-such-host:1") == []


def test_other_versions_and_folders_that_are_not_shared_are_named(tmp_path: Path) -> None:
    here = versions()
    assert problem_here(here, [str(tmp_path)]) == ""
    other = problem_here(here | {"slade-plugin": "9.9"}, [])
    assert f"has slade-plugin {here['slade-plugin']}, and the machine of the command 9.9" in other
    assert "code and configs" in problem_here(here | {"code and configs of slade-plugin": "f"}, [])
    absent = problem_here(here, [str(tmp_path), str(tmp_path / "absent")])
    assert f"has no {tmp_path / 'absent'}; expected a folder that all machines share" in absent


def test_no_cluster_is_a_mistake(tmp_path: Path, stub_runs: Any) -> None:
    for address in ("127.0.0.1:1", "ray://127.0.0.1:1"):
        with pytest.raises(ConfigError, match=f"--executor {address}: .*Expected a Ray cluster"):
            execute(runs_of(tmp_path, 0), stub_runs.program, address)
    assert stub_runs.calls() == []


# ---- slower --------------------------------------------------------------------------------------


@pytest.mark.long
@LOGS_OF_RAY
@pytest.mark.parametrize(
    ("behaviour", "client"), [("wait", False), ("wait", True), ("deaf", False)]
)
def test_an_interrupt_reaches_the_runs_and_the_next_start_goes_on(
    cluster: Cluster,
    client_address: str,
    tmp_path: Path,
    stub_runs: Any,
    monkeypatch: pytest.MonkeyPatch,
    behaviour: str,
    client: bool,
) -> None:
    address = client_address if client else cluster.address
    monkeypatch.setattr(ray_execution, "_STOP_S", 2 if behaviour == "deaf" else 45)
    stub_runs.behave(whole=behaviour)

    def interrupt() -> None:
        wait_for(lambda: sum(path.name == "waiting" for path in tmp_path.rglob("*")) == 2)
        os.kill(os.getpid(), signal.SIGINT)

    runs = runs_of(tmp_path, 0, 1)
    with meanwhile(interrupt), pytest.raises(KeyboardInterrupt):
        execute(runs, stub_runs.program, address)
    wait_for(lambda: not any(alive(call["pid"]) for call in stub_runs.calls()))
    stopped = sum(path.name == "interrupted" for path in tmp_path.rglob("*"))
    assert stopped == (2 if behaviour == "wait" else 0)
    stub_runs.behave()
    before = len(stub_runs.calls())
    assert execute(runs, stub_runs.program, address, jobs=1) == []
    left = [(0, "whole"), (0, "low"), *((1, name) for name in ORDER)]  # another worker did "apart"
    assert stub_runs.order()[before:] == left
    resumed = [call for call in stub_runs.calls()[before:] if call["loss"] == "whole"]
    assert ["--resume_training" in call["flags"] for call in resumed] == [True, True]


@pytest.mark.slow
def test_a_second_machine_with_a_gpu_is_shared_by_two_runs(
    cluster: Cluster, tmp_path: Path, stub_runs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The GPU is only said to be there, so what is shown is what runs are told."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    stub_runs.behave(whole="wait", apart="wait")

    def let_go() -> None:
        wait_for(lambda: len(stub_runs.calls()) == 2)
        (stub_runs.folder / "go").touch()

    node = cluster.add_node(num_cpus=4, num_gpus=1)
    try:
        runs = runs_of(tmp_path, 0)
        with meanwhile(let_go):
            assert execute(runs, stub_runs.program, cluster.address, cpus=2, gpus=0.5) == []
    finally:
        cluster.remove_node(node)
    assert {call["CUDA_VISIBLE_DEVICES"] for call in stub_runs.calls()} == {"0"}
    assert {call["OMP_NUM_THREADS"] for call in stub_runs.calls()} == {"2"}


@pytest.mark.slow
def test_machines_that_cannot_take_runs_are_refused_before_any(
    cluster: Cluster, tmp_path: Path, stub_runs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = runs_of(tmp_path, 0)
    with pytest.raises(
        ConfigError, match=r"--gpus_per_run 3; expected at most what one .* has: .* 2 and"
    ):
        execute(runs, stub_runs.program, cluster.address, gpus=3)
    found = versions()
    monkeypatch.setattr(ray_execution, "versions", lambda: found | {"torch": "9.9"})
    with pytest.raises(ConfigError, match=r"has torch .*, and the machine of the command 9\.9"):
        execute(runs, stub_runs.program, cluster.address)
    assert stub_runs.calls() == []


@pytest.mark.long
@LOGS_OF_RAY
def test_tables_are_those_of_the_local_executor(
    bench: Any, client_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole studies and rows of real trainings, bit for bit; on Ray by a client of the cluster."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(
        "{datasets: {glyphs: }, first: slade, settings: "
        "{basis: --config_loss slade_basis, slade: --config_loss slade}}"
    )
    data = ["--dataset_root", str(bench.dataset_root)]
    config, student = bench.tiny_student().split(" --", 1)
    assert config == "--config_loss slade"
    for name, executor in (("local", "local"), ("ray", client_address)):
        words = ["--seeds", "1", "--jobs", "2", "--executor", executor, "--folder", name]
        words += ["--out", f"{name}_page"]
        assert study.main(["mine.yaml", *words, "--", *data, *f"--{student}".split()]) == 0
        table = ["main_table_glyphs", *words, "--only", "fast_ap"]
        assert study.main([*table, "--", *data, *bench.tiny().split()]) == 0
    local, on_ray = Path("local"), Path("ray")
    assert len(list(local.rglob("table.json"))) == 2
    assert len(list(local.rglob("evaluated.json"))) == 1
    assert bench.records(local) == bench.records(on_ray)
    assert bench.tensors(local) == bench.tensors(on_ray)
    for path in local.rglob("table.*"):
        assert path.read_bytes() == (on_ray / path.relative_to(local)).read_bytes()
    rows, same = (
        re.findall(
            r"^\| setting \| MAP@R.*(?:\n\|.*)+", Path(f"{name}_page/mine.md").read_text(), re.M
        )
        for name in ("local", "ray")
    )
    assert rows == same != []
