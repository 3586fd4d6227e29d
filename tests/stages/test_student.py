"""The student of each round: its config, its records, its start."""

from pathlib import Path
from typing import Any

import pytest
import torch

from slade_plugin.host.checkpoints.teacher import Teacher
from slade_plugin.method.pseudo_labels.record import load_pseudo_labels
from tests.pipeline_runs import (
    SCHEMES,
)


def test_the_student_is_told_where_teacher_and_pseudo_labels_are(bench: Any) -> None:
    student = bench.stages(
        "--config_loss slade --pseudo_labels {clusterer: {KMeans: {num_clusters: 7}}}"
    )["student"]
    assert student.teacher_experiment == str(Path("experiments/slade_seed0/teacher").resolve())
    folder = Path("experiments/slade_seed0/pseudo_labels").resolve()
    assert student.pseudo_labels["folder"] == str(folder)
    assert student.pseudo_labels["clusterer"]["KMeans"]["num_clusters"] == 7
    assert "num_restarts" in student.pseudo_labels["clusterer"]["KMeans"]  # the other settings stay


def test_a_later_round_differs_in_its_teacher_and_its_folders(bench: Any) -> None:
    """The student of a round is the teacher of the next; everything else is as in round 1."""
    stages = bench.stages("--config_loss slade --rounds 3")
    assert list(stages) == ["teacher", "student", "round2/student", "round3/student", "baseline"]
    root = Path("experiments/slade_seed0").resolve()
    for number in (2, 3):
        args = stages[f"round{number}/student"]
        last = root if number == 2 else root / "round2"
        assert args.teacher_experiment == str(last / "student")
        assert args.pseudo_labels == stages["student"].pseudo_labels | {
            "folder": str(root / f"round{number}" / "pseudo_labels"),
            "last_folder": str(last / "pseudo_labels"),
        }
        assert args.experiment_name == f"slade_seed0/round{number}/student"
        assert args.experiment_folder == f"experiments/slade_seed0/round{number}/student"
        differing = {k for k, v in vars(args).items() if v != getattr(stages["student"], k)}
        assert differing == {
            "teacher_experiment", "pseudo_labels", "experiment_name", "experiment_folder",
            "place_to_save_configs", "dict_of_yamls",
        }  # fmt: skip


def test_the_student_has_its_own_copy_of_its_pseudo_labels(finished: Path) -> None:
    for scheme in SCHEMES:
        for suffix in ("json", "npy"):
            name = f"{scheme}.{suffix}"
            own = finished / "student" / scheme / name
            assert own.read_bytes() == (finished / "pseudo_labels" / name).read_bytes()


def test_the_loss_records_of_the_student_hold_every_term(bench: Any, finished: Path) -> None:
    for scheme in SCHEMES:
        rows = bench.records(finished / "student" / scheme)["saved_csvs/logs.db: loss_histories"]
        assert len(rows) == 4  # two epochs of two iterations
        for row in rows:
            terms = {k: v for k, v in row.items() if k != "id"}
            assert set(terms) == {
                "metric_loss", "unlabeled_metric_loss", "basis_loss", "total_loss",
            }  # fmt: skip
            assert terms["basis_loss"] > 0


def test_the_second_round_learns_from_the_first_student(bench: Any, two_rounds: Path) -> None:
    """Its pseudo labels are those of the best student, and its weights start there."""
    first = Teacher(two_rounds / "student", SCHEMES[0])
    second = load_pseudo_labels(two_rounds / "round2" / "pseudo_labels", SCHEMES[0])
    assert second.manifest["teacher_sha256"] == first.sha256()
    own = load_pseudo_labels(two_rounds / "round2" / "student" / SCHEMES[0], SCHEMES[0])
    assert own.manifest == second.manifest
    models = two_rounds / "round2" / "student" / SCHEMES[0] / "saved_models"
    for part in ("trunk", "embedder"):
        start = torch.load(models / f"{part}_best0.pth", weights_only=True)
        teachers = torch.load(first.paths[part], weights_only=True)
        assert all(torch.equal(start[key], teachers[key]) for key in teachers)


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--models {trunk~OVERRIDE~: {conv4: {hidden_size: 4}}}",
         "has shape (8, 1, 3, 3) in the file, expected (4, 1, 3, 3)"),
        ("--models {embedder~OVERRIDE~: {MLP: {layer_sizes: [16, 16]}}}",
         "does not fit MLP: 'net.1.weight' is not in the file"),
        ("--split_manager~APPLY~2 {num_training_partitions: 4, num_training_sets: 1}",
         "another split_manager: ClassDisjointSplitManager/num_training_partitions is 2 there"),
        ("--split_manager~OVERRIDE~ {ClosedSetSplitManager: {random_seed: 0, test_size: 0.5, "
         "num_training_partitions: 2, num_training_sets: 1}}",
         "another split_manager: ClassDisjointSplitManager is"),
    ],
)  # fmt: skip
def test_a_student_that_does_not_fit_the_teacher_is_refused(
    flag: str,
    message: str,
    bench: Any,
    finished: Path,
    trained: list[Any],
    tmp_path: Path,
) -> None:
    key = flag.split()[0].split("~")[0]
    command = bench.tiny_student(schemes=2, epochs=2, iterations=2)
    if key == "--models":
        start = command.index("--models")
        command = command[:start] + command[command.index("--log_data") :]
        both = {"trunk": "conv4: {hidden_size: 8}", "embedder": "MLP: {layer_sizes: [16]}"}
        rest = next(part for part in both if f"{part}~" not in flag)
        flag = flag[:-1] + f", {rest}~OVERRIDE~: {{{both[rest]}}}}}"
    outcome = bench(command, flag, f"--teacher_experiment {finished / 'teacher'}", root=tmp_path)
    assert outcome.code == 2
    assert message in outcome.err
    assert trained == []
    assert list(tmp_path.iterdir()) == []
