"""Threads, waiting policy and memory of a process, set before torch loads.

libgomp, OpenBLAS and MKL read the environment once, on load, so every entry point calls
`prepare_process` first: ``cli.main``, the package of the commands, the benchmarks. Data-loader
workers are forked from there; the runs of a study have their own entry point.

- **Cores.** The libraries respect a process's affinity but not its container's CPU quota: with 2 of
  64 cores they start 64 threads. A smaller quota therefore sets the number of threads.
- **Waiting.** OpenMP threads spin while they wait for each other. Next to another busy process the
  awaited thread has no core, and spinning keeps it from getting one.
- **Memory.** glibc returns freed memory to the system at once, and the system clears it before
  reuse. A step of a small network frees everything, which took a third of its time. Up to
  `_KEPT_BYTES` are kept instead.

No numbers change, except that the number of threads changes the last digits, as always.
"""

import ctypes
import os
import sys
from collections.abc import Iterator, MutableMapping
from pathlib import Path

_THREADS, _WAITING = "OMP_NUM_THREADS", "OMP_WAIT_POLICY"
# The user's setting of any of these wins.
_SET_BY_USER = {
    _THREADS: (_THREADS, "MKL_NUM_THREADS"),
    _WAITING: (_WAITING, "GOMP_SPINCOUNT", "KMP_BLOCKTIME"),
}

# From glibc's malloc.h; 32 MiB is the maximum of the first.
_M_MMAP_THRESHOLD, _LARGEST_THRESHOLD = -3, 1 << 25
_M_TRIM_THRESHOLD, _KEPT_BYTES = -1, 1 << 28

_added: set[str] = set()


def prepare_process(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set threads, waiting and memory, unless torch is loaded or the user has set them.

    Args:
        environment: Environment variables of this process.
    """
    if "torch" in sys.modules:
        return
    cores = usable_cores()
    wanted = {_WAITING: "PASSIVE"}
    if cores < len(os.sched_getaffinity(0)):
        wanted[_THREADS] = str(cores)
    for name, value in wanted.items():
        if not any(other in environment for other in _SET_BY_USER[name]):
            environment[name] = value
            _added.add(name)
    _keep_freed_memory()


def restore_environment(environment: MutableMapping[str, str] = os.environ) -> None:
    """Undo the changes of `prepare_process`, so that child processes decide for themselves.

    The libraries of this process have already read them.
    """
    while _added:
        environment.pop(_added.pop(), None)


def usable_cores() -> int:
    """Count the cores this process may use, by affinity and CPU quotas of its cgroups."""
    return max(1, min([len(os.sched_getaffinity(0)), *map(int, _quotas())]))


def _keep_freed_memory() -> None:
    """Set two thresholds of glibc; do nothing with another C library."""
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_M_MMAP_THRESHOLD, _LARGEST_THRESHOLD)
        set_option(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def _quotas(root: Path = Path("/")) -> Iterator[float]:
    """Yield the core limits of this process's cgroup and its parents; nothing if unlimited.

    Args:
        root: Root of /proc and the mounts.
    """
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
        mounts = (root / "proc/self/mountinfo").read_text().splitlines()
    except OSError:  # no Linux, or hidden
        return
    # "hierarchy:controllers:path"; version 2 has no controllers here.
    paths = {kind: path for _, kind, path in (line.split(":", 2) for line in groups)}
    for line in mounts:
        # "... root mount-point options [tags] - type source options"
        own, _, rest = line.partition(" - ")
        within, mounted = own.split()[3:5]
        kind, _, options = rest.split(" ", 2)
        if kind == "cgroup2":
            path = paths.get("")
        elif kind == "cgroup" and "cpu" in options.split(","):
            path = next((p for k, p in paths.items() if "cpu" in k.split(",")), None)
        else:
            continue
        top = root / mounted.lstrip("/")
        # A container may see its own group as the mount, under the path it has outside.
        inside = os.path.relpath(path or "/", within)
        folder = top if inside.startswith("..") else top / inside
        for group in (folder, *folder.parents):
            yield from _quota_of(group)
            if group == top:
                break


def _quota_of(group: Path) -> Iterator[float]:
    """Yield the core limit of one cgroup; "max 100000" and -1 mean unlimited."""
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            quota, period = " ".join((group / name).read_text() for name in names).split()
        except (OSError, ValueError):
            continue
        if quota != "max" and int(quota) > 0:
            yield int(quota) / int(period)
