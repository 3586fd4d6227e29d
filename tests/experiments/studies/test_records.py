import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slade_plugin.experiments.results.verification import verify_record
from slade_plugin.experiments.studies.plan import MARKERS, Run, plan_runs
from slade_plugin.experiments.studies.records import write_records
from slade_plugin.experiments.studies.study import Setting, Space, Study
from slade_plugin.experiments.studies.tuning import Trial
from tests.made_experiments import make_experiment

__all__ = ["make_experiment"]

STUDY = Study(
    "s",
    {"dots": ()},
    "slade",
    (
        Setting("slade", ("--config_loss", "slade"), own_teacher=True, own_baseline=True),
        Setting("rate=x", ("--config_loss", "a"), own_teacher=True, plain=True,
                tune={"dots": {"rate": Space(1, 2)}}),
        Setting("unfinished", ("--config_loss", "b"), own_teacher=True, plain=True),
        Setting("on_rate", ("--config_loss", "c"), own_teacher=True, plain=True, tuned_as="rate=x"),
    ),
    trials={"glyphs": 2},
)  # fmt: skip
DATASET = {"Glyphs": {"letters_per_script": 8, "instances_per_face": 1}}


@pytest.fixture
def runs(
    make_experiment: Callable[..., Path], finished: Path, tmp_path: Path
) -> dict[tuple[str, int, str], Run]:
    """A real pipeline and a made plain experiment, in the places of their runs."""
    planned = plan_runs(STUDY, tmp_path / "runs", [0])
    for (_, seed, name), run in planned.items():
        run.folder.mkdir(parents=True)
        if name == "slade":
            run.experiment.symlink_to(finished)
        elif name != "unfinished":
            make_experiment(
                run.experiment, {"val": (1, 2), "test": (3, 4)}, seed=seed, dataset=DATASET
            )
        if name != "unfinished":
            (run.folder / MARKERS["test"]).write_text("{}")
    return dict(planned)


def test_every_finished_row_has_a_record(runs: Any, bench: Any, tmp_path: Path) -> None:
    """Named after data set, setting and stage; tuned settings and those on top list the trials."""
    board = tmp_path / "board"
    given = {"trials": 0, "split": None, "note": "defaults"}
    trial_run = Run(tmp_path, "dots", 100, "rate=x_trial0", ())
    trials = [
        Trial("dots", "rate=x", {"rate": "1.5"}, trial_run, 3.0),
        Trial("dots", "rate=x", {"rate": "1.2"}, trial_run, 5.5),
        Trial("dots", "other", {"rate": "1.2"}, trial_run, 9.0),
    ]
    written = write_records(STUDY, runs, board, bench.dataset_root, given, trials)
    names = [
        "dots_slade",
        "dots_slade_teacher",
        "dots_slade_baseline",
        "dots_rate_x",
        "dots_on_rate",
    ]
    assert written == [board / name for name in names]
    records = [json.loads((path / "record.json").read_text()) for path in written]
    assert [(r["method"], r["of"]) for r in records] == [
        ("slade", "student"), ("slade (teacher)", "teacher"), ("slade (baseline)", "baseline"),
        ("rate=x", "baseline"), ("on_rate", "baseline"),
    ]  # fmt: skip
    tried = [
        {"values": {"rate": "1.5"}, "seed": 100, "score": 3.0},
        {"values": {"rate": "1.2"}, "seed": 100, "score": 5.5},
    ]
    own = {"trials": 2, "split": "val", "note": "study s", "tried": tried}
    assert [r["budget"] for r in records] == [given, given, given, own, own]
    assert not any(problems for _, problems in verify_record(board / "dots_rate_x"))
    assert write_records(STUDY, runs, board, bench.dataset_root) == []


def test_runs_with_one_random_seed_share_their_splits(
    make_experiment: Callable[..., Path], bench: Any, tmp_path: Path
) -> None:
    """Also the run whose seed equals it: the record must not say that each seed draws its own."""
    plain = Setting("a", ("--config_loss", "a"), own_teacher=True, plain=True)
    study = Study("s", {"dots": ()}, "a", (plain,))
    planned = plan_runs(study, tmp_path / "runs", [0, 1])
    splits = {"test_size": 0.5, "test_start_idx": 0.5, "shuffle": True, "random_seed": 0}
    folds = {"num_training_partitions": 2, "num_training_sets": 2}
    manager = {"ClassDisjointSplitManager": {**splits, **folds}}
    for (_, seed, _), run in planned.items():
        scores = {"val": (1, 2), "test": (3, 4)}
        make_experiment(run.experiment, scores, seed=seed, dataset=DATASET, split_manager=manager)
        (run.folder / MARKERS["test"]).write_text("{}")
    [path] = write_records(study, planned, tmp_path / "board", bench.dataset_root)
    protocol = json.loads((path / "record.json").read_text())["protocol"]
    settings = protocol["splits"]["split_manager"]["ClassDisjointSplitManager"]
    assert settings["random_seed"] == 0
    assert not any(problems for _, problems in verify_record(path))
