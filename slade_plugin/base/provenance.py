"""Provenance of a run's numbers: versions, commit, machine, command line."""

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import slade_plugin
from slade_plugin.base import plugins
from slade_plugin.base.errors import ExperimentError
from slade_plugin.base.files import write_json
from slade_plugin.base.machine import usable_cores

ENVIRONMENT_FILE = "environment.json"
_CPUINFO = Path("/proc/cpuinfo")

_PACKAGES = (
    "torch", "torchvision", "numpy", "scipy", "scikit-learn", "faiss-gpu", "matplotlib", "pillow",
    "powerful-benchmarker", "pytorch-metric-learning", "record-keeper",
    "easy-module-attribute-getter", "lightly", "timm",
)  # fmt: skip


def describe_environment() -> dict[str, Any]:
    """Collect versions, git commit, machine and command line of this process, ready for JSON."""
    return {
        "slade_plugin": slade_plugin.__version__,
        "git_commit": _git_commit(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "machine": {
            "processor": platform.machine(),
            "cpu": _cpu_model(),
            "cores": os.cpu_count(),
            "usable_cores": usable_cores(),
            "torch_threads": torch.get_num_threads(),
            "threads_wait": os.environ.get("OMP_WAIT_POLICY"),
            "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        },
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "plugins": dict(plugins.loaded),
    }


@contextmanager
def environment_recorded(folder: Path) -> Iterator[None]:
    """Add this process to a plain experiment's environment.json, however it ends.

    Self-training runs record it in pipeline.json.
    """
    try:
        yield
    finally:
        # A refused run leaves no record, and failing to write one must not hide why a run ended.
        with suppress(ExperimentError, OSError, ValueError):
            if (folder / "configs").is_dir():
                path = folder / ENVIRONMENT_FILE
                entries = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
                write_json(path, [*entries, describe_environment()])


def _cpu_model() -> str | None:
    """Read the CPU's name on Linux; None if unknown."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", _CPUINFO.read_text(encoding="utf-8"), re.M)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """Read the commit of the checkout, marked if files differ from it; None once installed."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return commit + ("+changes" if _git(root, "status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(root: Path, *args: str) -> str:
    command = ["git", "-C", str(root), *args]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
