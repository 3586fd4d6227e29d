"""Paths in saved configs: stored relative to the experiment, found again after a move."""

import os
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from slade_plugin.config.saved_paths import (
    find_moved,
    path_in_run,
    resolve_folders,
    run_of,
    store_folders,
    take_given_locations,
    take_locations,
    without_locations,
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run of two rounds."""
    for name in ("teacher", "student", "pseudo_labels", "round2/student", "round2/pseudo_labels"):
        (tmp_path / "run" / name).mkdir(parents=True)
    (tmp_path / "run" / "pipeline.json").touch()
    return tmp_path / "run"


def student(run: Path, **changes: Any) -> Namespace:
    """The merged config of the second round's student."""
    values = {
        "experiment_folder": str(run / "round2" / "student"),
        "teacher_experiment": str(run / "student"),
        "pseudo_labels": {
            "folder": str(run / "round2" / "pseudo_labels"),
            "last_folder": str(run / "pseudo_labels"),
            "num_clusters": 8,
        },
        "self_supervised": {"folder": "/elsewhere", "num_epochs": 1},
        "patience": None,
    }
    args = Namespace(**values | changes)
    general = ("teacher_experiment", "pseudo_labels", "patience")
    args.dict_of_yamls = {
        "config_general": {key: getattr(args, key) for key in general},
        "config_self_supervised": {"self_supervised": args.self_supervised},
    }
    return args


STORED = {
    "config_general": {
        "teacher_experiment": "../../student",
        "pseudo_labels": {
            "folder": "../pseudo_labels",
            "last_folder": "../../pseudo_labels",
            "num_clusters": 8,
        },
        "patience": None,
    },
    "config_self_supervised": {"self_supervised": {"folder": "/elsewhere", "num_epochs": 1}},
}


def test_paths_inside_a_run_are_stored_relative(run: Path) -> None:
    args = student(run)
    assert store_folders(args, run) == STORED
    assert args.teacher_experiment == str(run / "student")  # left as it is
    assert args.dict_of_yamls["config_general"]["teacher_experiment"] == str(run / "student")


def test_outside_a_run_paths_are_absolute(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.parent)
    stored = store_folders(student(run, teacher_experiment="run/teacher"), None)
    assert stored["config_general"]["teacher_experiment"] == str(run / "teacher")
    assert stored["config_general"]["pseudo_labels"]["folder"].startswith("/")


def test_what_is_stored_is_found_again_wherever_the_run_lies(run: Path) -> None:
    moved = run.rename(run.parent / "moved")
    found = resolve_folders(STORED["config_general"], moved / "round2" / "student")
    assert found == {
        "teacher_experiment": str(moved / "student"),
        "pseudo_labels": {
            "folder": str(moved / "round2" / "pseudo_labels"),
            "last_folder": str(moved / "pseudo_labels"),
            "num_clusters": 8,
        },
    }


def test_empty_paths_stay_empty(run: Path) -> None:
    nothing = {"teacher_experiment": None, "pseudo_labels": {"folder": None}, "patience": 3}
    assert resolve_folders(nothing, run / "student") == {}
    assert resolve_folders({"pseudo_labels": None}, run / "student") == {}


def test_absolute_paths_of_earlier_versions(run: Path) -> None:
    """As they are, or where all was moved; a path that leads nowhere is left for the error."""
    before = run / "student"
    assert find_moved(str(run / "teacher"), before) == run / "teacher"
    moved = run.rename(run.parent / "moved")
    experiment = moved / "round2" / "student"
    assert find_moved(str(run / "teacher"), experiment) == moved / "teacher"
    assert find_moved(str(run / "round2" / "pseudo_labels"), experiment) == (
        moved / "round2" / "pseudo_labels"
    )
    assert find_moved("/nowhere/at/all", experiment) == Path("/nowhere/at/all")


def test_a_relative_path_of_the_user_starts_where_the_command_runs(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run.parent / "mine").mkdir()
    monkeypatch.chdir(run.parent)
    assert find_moved("mine", run / "student") == run.parent / "mine"
    assert find_moved("../gone", run / "student") == run / "gone"


def test_the_run_of_an_experiment(run: Path, tmp_path: Path) -> None:
    assert run_of(run / "teacher") == run_of(run / "round2" / "student") == run
    assert run_of(tmp_path / "plain") is None
    assert path_in_run(run / "round2" / "student", run / "pseudo_labels") == "round2/student"
    assert path_in_run(tmp_path / "other", run / "student") == str(tmp_path / "other")
    assert path_in_run(run / "teacher", tmp_path / "plain") == str(run / "teacher")


def test_settings_are_compared_without_paths() -> None:
    config = {
        "dataset": {
            "FolderImages": {"path": "/a", "root": "/b", "labeled": True},
            "Other": None,
            "More": {"excluded_classes": "/c", "cache": {"short_side": 16, "folder": "/d"}},
        },
        "unlabeled_dataset": {"Other": {"excluded_classes": ["a"], "cache": None}},
        "models": {
            "trunk": {"A": {"weights": "w.pth", "size": 3}},
            "trunk~OVERRIDE~": {"A": {"weights": "folder/w"}},
            "embedder": {
                "B": {"weights": "IMAGENET1K_V1"},
                "C": None,
                "D": {"weights": "file://w"},
            },
        },
        "teacher_experiment": "/c",
        "pseudo_labels": {"folder": "/d", "num_clusters": 8},
    }
    assert without_locations(config) == {
        "dataset": {
            "FolderImages": {"labeled": True},
            "Other": {},
            "More": {"cache": {"short_side": 16}},
        },
        "unlabeled_dataset": {"Other": {"excluded_classes": ["a"], "cache": None}},
        "models": {
            "trunk": {"A": {"size": 3}},
            "trunk~OVERRIDE~": {"A": {}},
            "embedder": {
                "B": {"weights": "IMAGENET1K_V1"},
                "C": None,
                "D": {"weights": "file://w"},
            },
        },
        "teacher_experiment": "",
        "pseudo_labels": {"folder": "", "num_clusters": 8},
    }


def test_a_saved_config_takes_the_paths_of_the_command(run: Path) -> None:
    saved = student(Path("/old"), dataset={"FolderImages": {"path": "/a", "labeled": True}})
    planned = student(run, dataset={"FolderImages": {"path": "/b", "labeled": True}})
    take_locations(saved, planned)
    for key in ("teacher_experiment", "pseudo_labels", "dataset"):
        assert getattr(saved, key) == getattr(planned, key)
    assert saved.pseudo_labels is not planned.pseudo_labels
    assert saved.experiment_folder == os.path.join("/old", "round2", "student")


def test_data_are_read_where_the_command_line_says() -> None:
    """Their place only: a saved experiment keeps its settings."""
    entry = {"FolderImages": {"path": "/a", "labeled": True}}
    args = Namespace(dataset=entry, unlabeled_dataset=None)
    flags = Namespace(dataset={"FolderImages": {"path": "/b", "labeled": False}})
    assert take_given_locations(args, flags)
    assert args.dataset == {"FolderImages": {"path": "/b", "labeled": True}}
    assert not take_given_locations(args, flags)
    assert not take_given_locations(args, Namespace(dataset={"Other": {"path": "/c"}}))
    assert args.dataset == {"FolderImages": {"path": "/b", "labeled": True}}
    assert entry["FolderImages"]["path"] == "/a"  # it may be part of what is saved


def test_weights_are_read_where_the_command_line_says() -> None:
    args = Namespace(
        models={"trunk": {"A": {"weights": "old.pth", "size": 3}}}, dataset={"B": None}
    )
    flags = Namespace(
        models={
            "trunk~OVERRIDE~": {"A": {"weights": "new.pth", "size": 4}},
            "embedder": {"C": None},
        },
        dataset={"B": {"root": "/d"}},
    )
    assert take_given_locations(args, flags)
    assert args.models == {"trunk": {"A": {"weights": "new.pth", "size": 3}}}
    assert args.dataset == {"B": {"root": "/d"}}
