"""Runs of self-training that several tests look at."""

import shutil
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def command(bench: Any) -> str:
    """The command of `finished`."""
    return bench.tiny_student(schemes=2, epochs=2, iterations=2)


@pytest.fixture(scope="session")
def short(bench: Any) -> str:
    """What the moments of interruption are tried on: teacher and student, every loop twice."""
    return bench.tiny_student(schemes=2, epochs=2, iterations=2) + " --pipeline {baseline: false}"


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """The finished pipeline elsewhere, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "experiments" / finished.name))


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """(stage, "train" or "evaluate") of every experiment that is started from here on."""
    from slade_plugin.runner import SladeRunner

    seen = []
    original = SladeRunner.start_experiment

    def start(self: Any, args: Any, *rest: Any, **kwargs: Any) -> Any:
        what = "evaluate" if args.evaluate else "train"
        seen.append((Path(args.experiment_folder).name, what))
        return original(self, args, *rest, **kwargs)

    monkeypatch.setattr(SladeRunner, "start_experiment", start)
    return seen


@pytest.fixture
def teacher(finished: Path, tmp_path: Path) -> Path:
    """A trained teacher to be changed."""
    return shutil.copytree(finished / "teacher", tmp_path / "teachers" / "mine")


@pytest.fixture(scope="session")
def rounds(bench: Any) -> str:
    """Two rounds, the student of the second starting from that of the first."""
    tiny = bench.tiny_student(schemes=1, epochs=2, iterations=2)
    return f"{tiny} --rounds 2 --student_initialization teacher"


@pytest.fixture(scope="session")
def two_rounds(bench: Any, rounds: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two rounds. Read only."""
    root = tmp_path_factory.mktemp("rounds")
    outcome = bench(rounds, root=root)
    assert outcome.code == 0, outcome.err
    (root / "out.txt").write_text(outcome.out)
    return root / "slade_seed0"
