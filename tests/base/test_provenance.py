import json
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch

import slade_plugin
from slade_plugin.base import provenance
from slade_plugin.base.provenance import (
    ENVIRONMENT_FILE,
    describe_environment,
    environment_recorded,
)


def git(folder: Path, *args: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *identity, *args], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of one commit, in which the module believes to lie."""
    git(tmp_path, "init", "-q")
    (tmp_path / "a.txt").write_text("a")
    git(tmp_path, "add", "a.txt")
    git(tmp_path, "commit", "-q", "-m", "a")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "package" / "sub" / "module.py"))
    return tmp_path


def head(folder: Path) -> str:
    command = ["git", "rev-parse", "HEAD"]
    return subprocess.run(
        command, cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_everything_that_numbers_depend_on_is_there() -> None:
    found = describe_environment()
    assert json.loads(json.dumps(found)) == found
    assert found["slade_plugin"] == slade_plugin.__version__
    assert found["packages"]["torch"] == metadata.version("torch")
    assert found["packages"]["powerful-benchmarker"] == "0.9.33"
    assert found["packages"]["pytorch-metric-learning"] == "0.9.92"
    for extra in ("lightly", "timm"):  # what comes from them is in the numbers, too
        assert found["packages"][extra] == metadata.version(extra)
    assert found["machine"]["torch_threads"] == torch.get_num_threads()
    assert (found["machine"]["gpu"] is None) == (not torch.cuda.is_available())
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))


def test_the_command_line_is_there_without_the_folder_of_the_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/run.py", "--seed", "3"])
    assert describe_environment()["command"] == ["run.py", "--seed", "3"]


def test_the_commit_of_a_clean_checkout(checkout: Path) -> None:
    commit = head(checkout)
    assert len(commit) == 40
    assert describe_environment()["git_commit"] == commit


def test_a_changed_file_is_told_a_new_one_is_not(checkout: Path) -> None:
    """Experiments lie beside the code and must not mark it as changed."""
    (checkout / "experiment.txt").write_text("new")
    assert describe_environment()["git_commit"] == head(checkout)
    (checkout / "a.txt").write_text("b")
    assert describe_environment()["git_commit"] == head(checkout) + "+changes"


def test_an_installed_package_has_no_commit(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where some repository lies further up."""
    inner = checkout / "site-packages" / "slade_plugin" / "self_training" / "provenance.py"
    monkeypatch.setattr(provenance, "__file__", str(inner))
    assert describe_environment()["git_commit"] is None


def test_a_machine_without_git_has_no_commit(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    assert describe_environment()["git_commit"] is None


def test_a_package_that_is_not_installed_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "_PACKAGES", ("torch", "no-such-package"))
    assert describe_environment()["packages"]["no-such-package"] is None


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("processor : 0\nmodel name\t: Beads 7 @ 1 GHz\nmodel name\t: Other\n", "Beads 7 @ 1 GHz"),
        ("processor : 0\nBogoMIPS : 48\n", "arm"),  # not every kind of CPU has a name there
        (None, "arm"),
    ],
)
def test_the_cpu_has_its_name(
    content: str | None, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cpuinfo"
    if content:
        path.write_text(content)
    monkeypatch.setattr(provenance, "_CPUINFO", path)
    monkeypatch.setattr(platform, "processor", lambda: "arm")
    assert describe_environment()["machine"]["cpu"] == expected
    monkeypatch.setattr(platform, "processor", lambda: "")
    assert describe_environment()["machine"]["cpu"] == (expected if expected != "arm" else None)


def test_each_process_of_a_plain_experiment_is_noted(tmp_path: Path) -> None:
    with environment_recorded(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []  # refused before it began
    (tmp_path / "configs").mkdir()
    with environment_recorded(tmp_path):
        pass
    with pytest.raises(KeyboardInterrupt), environment_recorded(tmp_path):
        raise KeyboardInterrupt
    path = tmp_path / ENVIRONMENT_FILE
    assert json.loads(path.read_text()) == [describe_environment()] * 2
    path.write_text("{")  # a damaged note does not hide why the run ended
    with pytest.raises(KeyboardInterrupt), environment_recorded(tmp_path):
        raise KeyboardInterrupt
