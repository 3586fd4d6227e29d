import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from slade_plugin.base import machine
from slade_plugin.base.machine import prepare_process, restore_environment, usable_cores

ROOT = Path(__file__).resolve().parents[2]
V2 = "30 25 0:26 {within} {mount} rw - cgroup2 cgroup2 rw\n"
V1 = "31 25 0:27 {within} {mount} rw - cgroup cgroup rw,{controllers}\n"


def quotas(root: Path, cgroup: str, mounts: str, files: dict[str, str]) -> list[float]:
    """What is read of a made-up machine."""
    files = {"proc/self/cgroup": cgroup, "proc/self/mountinfo": mounts, **files}
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return list(machine._quotas(root))


def test_a_quota_of_version_2_and_that_of_its_parent(tmp_path: Path) -> None:
    files = {"cg/a/b/cpu.max": "150000 100000\n", "cg/a/cpu.max": "50000 100000\n"}
    mounts = V2.format(within="/", mount="/cg")
    assert quotas(tmp_path, "0::/a/b\n", mounts, files) == [1.5, 0.5]


def test_no_limit(tmp_path: Path) -> None:
    files = {
        "cg/cpu.max": "max 100000\n",
        "cpu/cpu.cfs_quota_us": "-1\n",
        "cpu/cpu.cfs_period_us": "100000\n",
    }
    mounts = V2.format(within="/", mount="/cg")
    mounts += V1.format(within="/", mount="/cpu", controllers="cpu,cpuacct")
    assert quotas(tmp_path, "4:cpu,cpuacct:/\n0::/\n", mounts, files) == []


def test_a_quota_of_version_1(tmp_path: Path) -> None:
    """The set of CPUs has a hierarchy of its own, whose name begins alike."""
    files = {
        "set/x/cpu.cfs_quota_us": "100000",
        "cpu/x/cpu.cfs_quota_us": "300000\n",
        "cpu/x/cpu.cfs_period_us": "100000\n",
    }
    mounts = V1.format(within="/", mount="/set", controllers="cpuset")
    mounts += V1.format(within="/", mount="/cpu", controllers="cpu,cpuacct")
    assert quotas(tmp_path, "5:cpuset:/\n4:cpu,cpuacct:/x\n", mounts, files) == [3.0]


@pytest.mark.parametrize("within", ["/docker/1f", "/"])
def test_a_container_sees_its_own_group_as_the_mount(tmp_path: Path, within: str) -> None:
    """Its path may be the one outside, of which there is no folder inside."""
    files = {"cg/cpu.max": "200000 100000\n"}
    mounts = V2.format(within=within, mount="/cg")
    assert quotas(tmp_path, "0::/docker/1f\n", mounts, files) == [2.0]


def test_a_system_without_cgroups(tmp_path: Path) -> None:
    assert list(machine._quotas(tmp_path)) == []


def test_the_cores_are_those_of_affinity_and_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    for found, expected in ([], 8), ([12.0], 8), ([4.0, 2.5], 2), ([0.5], 1):
        monkeypatch.setattr(machine, "_quotas", lambda found=found: found)
        assert usable_cores() == expected


@pytest.fixture
def before_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch is not loaded yet, 2 of 8 cores may be used; the memory of the tests is left alone."""
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(machine, "_quotas", lambda: [2.0])
    monkeypatch.setattr(machine, "_keep_freed_memory", lambda: None)
    monkeypatch.setattr(machine, "_added", set())


@pytest.mark.usefixtures("before_torch")
@pytest.mark.parametrize(
    ("given", "added"),
    [
        ({}, {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"}),
        ({"OMP_NUM_THREADS": "8"}, {"OMP_WAIT_POLICY": "PASSIVE"}),
        ({"MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "ACTIVE"}, {}),
        ({"GOMP_SPINCOUNT": "9"}, {"OMP_NUM_THREADS": "2"}),
        ({"KMP_BLOCKTIME": "0"}, {"OMP_NUM_THREADS": "2"}),
    ],
)
def test_the_user_s_environment_wins(given: dict[str, str], added: dict[str, str]) -> None:
    environment = dict(given)
    prepare_process(environment)
    assert environment == {**given, **added}
    prepare_process(environment)  # commands pass two doors
    restore_environment(environment)
    assert environment == given


@pytest.mark.usefixtures("before_torch")
def test_without_a_quota_the_libraries_count_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """They tell cores from hyperthreads, too."""
    monkeypatch.setattr(machine, "_quotas", lambda: [])
    environment: dict[str, str] = {}
    prepare_process(environment)
    assert environment == {"OMP_WAIT_POLICY": "PASSIVE"}


def test_later_than_torch_is_too_late() -> None:
    environment: dict[str, str] = {}
    prepare_process(environment)
    assert environment == {}


DOORS = {
    "run.py": "import runpy, sys; sys.argv = ['run.py', '--list']; runpy.run_path('run.py', "
    "run_name='__main__')",
    "slade-bench": "import sys; sys.argv = ['slade-bench', '--help']\n"
    "from slade_plugin.cli import main; main()",
    "study": "import sys; sys.argv = ['slade-bench', 'study', 'ladder', '--dry-run', '--no-probe', "
    "'--seeds', '1', '--datasets', 'glyphs']\n"
    "from slade_plugin.cli import main; main()",
    "benchmarks": "import benchmarks.student_step",
}


@pytest.mark.slow
@pytest.mark.parametrize("door", DOORS)
def test_every_door_decides_before_torch_is_loaded(door: str) -> None:
    """At the moment of torch's first import, where the process ends, the policy is set."""
    watch = (
        "import json, os, sys\n"
        "class Watch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name in ('torch', 'numpy', 'faiss'):\n"
        "            seen.setdefault(name, os.environ.get('OMP_WAIT_POLICY'))\n"
        "        if name == 'torch':\n"
        "            print('\\n' + json.dumps(seen), flush=True)\n"
        "            os._exit(0)\n"
        "seen = {}\n"
        "sys.meta_path.insert(0, Watch())\n"
        "import atexit; atexit.register(lambda: print('\\n' + json.dumps(seen)))\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OMP_WAIT")}
    done = subprocess.run(
        [sys.executable, "-c", watch + DOORS[door]],
        cwd=ROOT,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    seen = json.loads(done.stdout.splitlines()[-1])
    assert set(seen.values()) <= {"PASSIVE"}, done.stderr
    assert ("torch" in seen) == (door != "slade-bench"), done.stderr


def test_freed_memory_is_kept() -> None:
    """Taking and freeing 24 MiB again and again costs new pages only once."""
    code = (
        "import ctypes, resource\n"
        "from slade_plugin.base import machine\n"
        "machine.prepare_process({})\n"
        "libc = ctypes.CDLL(None)\n"
        "libc.malloc.restype = libc.memset.restype = ctypes.c_void_p\n"
        "def take():\n"
        "    blocks = [libc.malloc(ctypes.c_size_t(1 << 23)) for _ in range(3)]\n"
        "    for b in blocks: libc.memset(ctypes.c_void_p(b), 1, ctypes.c_size_t(1 << 23))\n"
        "    for b in blocks: libc.free(ctypes.c_void_p(b))\n"
        "take()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(20): take()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 1000  # 20 x 6144 without
