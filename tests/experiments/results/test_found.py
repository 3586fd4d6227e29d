import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from slade_plugin.base.errors import ExperimentError
from slade_plugin.experiments.results.found import (
    Experiment,
    Group,
    find_experiments,
    group_experiments,
    read_method,
    read_saved,
)

Make = Callable[..., Path]
SCORES = {"val": (10.0, 20.0), "test": (30.0, 40.0)}


def grouped(*folders: Path) -> tuple[list[Group], list[str]]:
    return group_experiments(find_experiments(folders))


# ---- finding ------------------------------------------------------------------------------------


def test_the_stages_of_a_pipeline_are_found(finished: Path) -> None:
    experiments = find_experiments([finished.parent])
    stages = {experiment.stage: experiment for experiment in experiments}
    assert sorted(stages) == ["baseline", "student", "teacher"]
    student = stages["student"]
    assert (student.title, student.dataset, student.dim, student.seed) == ("slade", "Glyphs", 16, 0)
    assert stages["teacher"].title == "contrastive (teacher)"
    assert student.saved_as.run == finished.resolve()
    assert [scheme.name[-1] for scheme in student.schemes] == ["0", "1"]


def test_a_folder_given_twice_counts_once(finished: Path) -> None:
    found = find_experiments([finished, finished / "student", finished.parent])
    assert sorted(e.stage for e in found) == ["baseline", "student", "teacher"]


def test_a_plain_experiment_of_the_host_is_found(make_experiment: Make, tmp_path: Path) -> None:
    """The host seeds nothing, and without configs by name its loss speaks for itself."""
    make_experiment(tmp_path / "deep" / "plain", SCORES, loss="default")
    (experiment,) = find_experiments([tmp_path])
    assert (experiment.stage, experiment.seed, experiment.state) == ("", None, {})
    assert experiment.title == "ContrastiveLoss"


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_a_folder_without_experiments_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ExperimentError, match=f"{name}.*; expected"):
        find_experiments([tmp_path / name])


def test_what_training_went_on_with_is_part_of_the_config(
    make_experiment: Make, tmp_path: Path
) -> None:
    folder = make_experiment(tmp_path / "e", SCORES)
    changed = folder / "configs" / "resume_training_config_diffs_1"
    changed.mkdir()
    (changed / "config_all.yaml").write_text("num_epochs_train: 7\n")
    assert read_saved(folder).config["num_epochs_train"] == 7


def test_a_damaged_state_is_an_error(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "teacher" / "configs", tmp_path / "teacher" / "configs")
    (tmp_path / "pipeline.json").write_text("{")
    (teacher,) = find_experiments([tmp_path])
    with pytest.raises(ExperimentError, match=r"pipeline\.json cannot be read"):
        _ = teacher.stage


@pytest.mark.parametrize(
    ("embedder", "dim"),
    [({"MLP": {"layer_sizes": [64, 32]}}, 32), ({"Identity": {}}, 2048), ({"Other": {}}, None)],
)
def test_the_size_of_an_embedding(embedder: dict[str, Any], dim: int | None) -> None:
    losses = {"metric_loss": {"ProxyNCALoss": {"embedding_size": 2048}}}
    config = {"models": {"embedder": embedder}, "loss_funcs": losses}
    assert Experiment(Path("e"), config).dim == dim


# ---- what is one method -------------------------------------------------------------------------


def test_seeds_of_one_config_are_one_method(make_experiment: Make, tmp_path: Path) -> None:
    for seed in (1, 0):
        make_experiment(
            tmp_path / f"s{seed}", SCORES, seed=seed, log_data_to_tensorboard=bool(seed)
        )
    make_experiment(tmp_path / "other", SCORES, seed=0, num_epochs_train=1)
    groups, notes = grouped(tmp_path)
    assert sorted([e.seed for e in group.experiments] for group in groups) == [[0], [0, 1]]
    assert notes == []
    assert {group.title for group in groups} == {
        "contrastive [num_epochs_train=1]",
        "contrastive [num_epochs_train=2]",
    }


@pytest.mark.parametrize("fixed", [True, False])
def test_splits_of_one_seed_or_of_each_run_are_one_method(
    make_experiment: Make, tmp_path: Path, fixed: bool
) -> None:
    """Of a run whose seed and random_seed are 0, the other runs tell which it is."""
    for seed in (0, 1, 2):
        settings = {"ClassDisjointSplitManager": {"random_seed": 0 if fixed else seed}}
        make_experiment(tmp_path / f"s{seed}", SCORES, seed=seed, split_manager=settings)
    make_experiment(
        tmp_path / "other", SCORES, seed=4,
        split_manager={"ClassDisjointSplitManager": {"random_seed": 1}},
    )  # fmt: skip
    groups, _ = grouped(tmp_path)
    (method, other) = sorted(groups, key=lambda group: -len(group.experiments))
    assert ([e.seed for e in method.experiments], len(other.experiments)) == ([0, 1, 2], 1)
    [seeds] = {str(e.split_manager) for e in method.experiments}
    assert ("the seed of the run" in seeds) is not fixed


def test_the_same_seed_twice_counts_once(make_experiment: Make, tmp_path: Path) -> None:
    """A copy would make the interval narrower; runs of the host have no seed and differ."""
    for name in ("a", "b"):
        make_experiment(tmp_path / name, SCORES, seed=3)
        make_experiment(tmp_path / f"host_{name}", SCORES, num_epochs_train=1)
    groups, notes = grouped(tmp_path)
    assert sorted(len(group.experiments) for group in groups) == [1, 2]
    assert len(notes) == 1
    assert f"{tmp_path / 'b'} is left out: it repeats {tmp_path / 'a'}" in notes[0]


def test_students_of_other_teachers_are_other_methods(
    make_experiment: Make, tmp_path: Path
) -> None:
    for epochs in (1, 2):
        teacher = make_experiment(tmp_path / f"t{epochs}", SCORES, num_epochs_train=epochs)
        for seed in (0, 1):
            make_experiment(
                tmp_path / f"s{epochs}{seed}", SCORES, loss="slade", seed=seed,
                teacher_experiment=str(teacher), pseudo_labels={"folder": f"p{epochs}{seed}"},
                trainer={"SladeStudent": {}},
            )  # fmt: skip
    groups, _ = grouped(*sorted(tmp_path.glob("s*")))
    assert [[e.seed for e in group.experiments] for group in groups] == [[0, 1], [0, 1]]
    assert [g.title for g in groups] == [f"slade [num_epochs_train={n}]" for n in (1, 2)]


def test_a_moved_student_finds_its_teacher(finished: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    for stage in ("teacher", "student"):
        shutil.copytree(finished / stage / "configs", moved / stage / "configs")
    shutil.copy(finished / "pipeline.json", moved)
    path = moved / "student" / "configs" / "config_general.yaml"
    config = yaml.safe_load(path.read_text())
    config["teacher_experiment"] = "/gone/teacher"
    path.write_text(yaml.safe_dump(config))
    by_stage = {e.stage: e for e in find_experiments([moved])}
    assert by_stage["student"].method["teacher"] == by_stage["teacher"].method


# ---- what counts --------------------------------------------------------------------------------


def test_scores_by_hand(make_experiment: Make, tmp_path: Path) -> None:
    folder = make_experiment(tmp_path / "e", {"val": (10, 20)}, ensemble={"test": 50})
    scores = read_saved(folder).scores
    assert sorted(scores) == ["test", "val"]
    assert list(scores["val"]["separated"]["r_precision"].values()) == pytest.approx([20, 30])
    assert scores["test"] == {
        "concatenated": {
            "mean_average_precision_at_r": {"all": pytest.approx(50)},
            "r_precision": {"all": pytest.approx(60)},
            "precision_at_1": {"all": pytest.approx(70)},
        }
    }


def test_an_experiment_that_is_not_done_is_left_out(make_experiment: Make, tmp_path: Path) -> None:
    make_experiment(tmp_path / "training", SCORES, num_epochs_train=4)
    make_experiment(tmp_path / "nothing", {})
    groups, notes = grouped(tmp_path)
    assert groups == []
    assert "epoch 2 of 4" in "".join(notes)
    assert "no split was evaluated" in "".join(notes)
    make_experiment(tmp_path / "half" / "e", {"test": (30.0,)})
    assert "it has 1 of 2 split schemes" in grouped(tmp_path / "half")[1][0]
    # With patience a run may end at any epoch.
    make_experiment(tmp_path / "patient", SCORES, num_epochs_train=4, patience=1)
    assert len(grouped(tmp_path)[0]) == 1


def test_a_stage_that_is_not_done_is_left_out(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    state = json.loads((finished / "pipeline.json").read_text())
    del state["stages"]["student"]["done"]
    (tmp_path / "run" / "pipeline.json").write_text(json.dumps(state))
    groups, notes = grouped(tmp_path)
    assert [g.first.stage for g in groups] == ["baseline", "teacher"]
    assert "has not finished" in notes[0]


def test_a_method_may_be_given_as_a_list(make_experiment: Make, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 0), ("c", 2)):
        make_experiment(tmp_path / name, SCORES, seed=seed)
    group = read_method(str(tmp_path / "[ab]"), str(tmp_path / "c"))
    assert [experiment.seed for experiment in group.experiments] == [0, 1, 2]
    with pytest.raises(ExperimentError, match="nowhere matches nothing; expected"):
        read_method(str(tmp_path / "a"), "nowhere")


def test_a_folder_above_a_pattern_may_have_brackets(make_experiment: Make, tmp_path: Path) -> None:
    for folder, seed in (("run[1]", 0), ("run[1]", 1), ("run1", 2)):
        make_experiment(tmp_path / folder / f"s{seed}", SCORES, seed=seed)
    group = read_method(str(tmp_path / "run[1]" / "s*"))
    assert [experiment.seed for experiment in group.experiments] == [0, 1]
