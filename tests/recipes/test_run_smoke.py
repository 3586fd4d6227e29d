"""Every loss config trains, and the rungs of the ladder differ by their own term only."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from slade_plugin.runner import config_root

ROOT = config_root()
LOSSES = sorted(path.stem for path in (ROOT / "config_loss").glob("*.yaml"))
STUDENTS = [name for name in LOSSES if name.startswith("slade")]
PLAIN = [name for name in LOSSES if name not in STUDENTS]
SMALL_TRUNK = "--models {trunk~OVERRIDE~: {conv4: {hidden_size: 8}}}"

# Where a config comes from, not what it says.
PROVENANCE = {"brings", "dict_of_yamls", "config_loss", "config_general", "config_optimizers"}
BASIS = {
    "loss_funcs/basis_loss": "added",
    "optimizers/basis_loss_optimizer": "added",
    "trainer/SladeStudent/loss_weights/basis_loss": "added",
    "trainer/SladeStudent/basis_warmup_iterations": "changed",
}
PAIRWISE = {
    "loss_funcs/basis_loss/FeatureBasisLoss/pairwise_loss": "added",
    "loss_funcs/basis_loss/FeatureBasisLoss/pairwise_scale": "added",
}
MINER = {
    "mining_funcs/unlabeled_tuple_miner/PseudoLabelPairMiner": "removed",
    "mining_funcs/unlabeled_tuple_miner/BasisSimilarityMiner": "added",
}


def differences(old: Any, new: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """Every place at which two nested configs differ, and how."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}, key=str):
            place = f"{where}/{key}".lstrip("/")
            if key not in old:
                yield place, "added"
            elif key not in new:
                yield place, "removed"
            else:
                yield from differences(old[key], new[key], place)
    elif old != new:
        yield where, "changed"


@pytest.fixture(scope="module")
def rungs(bench: Any) -> dict[str, dict[str, dict[str, Any]]]:
    """The merged configs of every student config, by stage, under one experiment name."""
    return {
        name: {
            stage: {k: v for k, v in vars(args).items() if k not in PROVENANCE}
            for stage, args in bench.stages(f"--config_loss {name} --experiment_name x").items()
        }
        for name in STUDENTS
    }


@pytest.mark.parametrize(
    ("lower", "upper", "expected"),
    [
        ("slade_pseudo_label", "slade_basis", BASIS),
        ("slade_basis", "slade", MINER),
        ("slade_pseudo_label", "slade", BASIS | MINER),
        ("slade", "slade_local_ce", PAIRWISE),
        ("slade", "slade_global_ce", PAIRWISE),
        ("slade_basis", "slade_oracle", {"pseudo_labels/source": "changed"}),
    ],
)
def test_a_rung_adds_its_own_term_only(
    lower: str, upper: str, expected: dict[str, str], rungs: dict[str, Any]
) -> None:
    """Key by key: data, models, lengths, batches, rates, seeds, pseudo labels are the same."""
    found = dict(differences(rungs[lower]["student"], rungs[upper]["student"]))
    assert found == expected


@pytest.mark.parametrize("name", STUDENTS)
def test_teacher_and_baseline_are_the_same_for_every_rung(name: str, rungs: dict[str, Any]) -> None:
    for stage in ("teacher", "baseline"):
        assert rungs[name][stage] == rungs["slade"][stage]


@pytest.mark.parametrize("name", STUDENTS)
def test_the_teachers_loss_is_the_students_on_labeled_images(
    name: str, rungs: dict[str, Any]
) -> None:
    """So that a gain is not a better margin."""
    losses = [rungs[name][stage]["loss_funcs"]["metric_loss"] for stage in ("teacher", "student")]
    assert losses[0] == losses[1]
    assert losses[1] == rungs[name]["student"]["loss_funcs"]["unlabeled_metric_loss"]


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_loss_trains(name: str, bench: Any, tmp_path: Path) -> None:
    """With the embedder as shipped, since some losses are told its size."""
    tiny = bench.tiny()
    models = tiny[tiny.index("--models") : tiny.index("--log_data")]
    flags = f"--config_loss {name} {tiny.replace(models, SMALL_TRUNK + ' ')}"
    outcome = bench(flags, root=tmp_path)
    assert outcome.code == 0, outcome.err
    folder = tmp_path / f"{name}_seed0"
    (losses,) = (rows for t, rows in bench.records(folder).items() if t.endswith("loss_histories"))
    assert len(losses) == 1
    assert losses[0]["total_loss"] >= 0
    optimizers = yaml.safe_load((folder / "configs" / "config_optimizers.yaml").read_text())
    for part in optimizers["optimizers"]:
        assert any(folder.rglob(f"{part}_1.pth")), part


def test_thresholds_may_be_quantiles(bench: Any, tmp_path: Path) -> None:
    miner = "{require_agreement: false, positive_threshold: {quantile: 0.9}, " \
        "negative_threshold: {quantile: 0.5}}"  # fmt: skip
    flags = f"--mining_funcs {{unlabeled_tuple_miner: {{BasisSimilarityMiner: {miner}}}}}"
    outcome = bench(bench.tiny_student(), flags, "--pipeline {baseline: false}", root=tmp_path)
    assert outcome.code == 0, outcome.err
    student = bench.records(tmp_path / "slade_seed0" / "student")
    (rows,) = (rows for t, rows in student.items() if t.endswith("BasisSimilarityMiner"))
    # Of the 120 pairs of 16 images the upper tenth and the lower half, in both directions.
    assert (rows[0]["num_pos_pairs"], rows[0]["num_neg_pairs"]) == (24, 120)


@pytest.mark.parametrize("name", STUDENTS)
def test_a_student_trains(name: str, bench: Any, tmp_path: Path) -> None:
    flags = f"{bench.tiny_student(name)} --pipeline {{baseline: false}}"
    outcome = bench(flags, root=tmp_path)
    assert outcome.code == 0, outcome.err
    folder = tmp_path / f"{name}_seed0"
    rows = json.loads((folder / "results" / "table.json").read_text())["rows"]
    assert {(row["experiment"], row["split"]) for row in rows} == {
        (experiment, split) for experiment in ("teacher", "student") for split in ("val", "test")
    }
    student = bench.records(folder / "student")
    (losses,) = (rows for t, rows in student.items() if t.endswith("loss_histories"))
    assert ("basis_loss" in losses[0]) is (name != "slade_pseudo_label")
    (miner,) = (t for t in student if "unlabeled_tuple_miner" in t)
    mining = yaml.safe_load((folder / "student" / "configs" / "config_loss.yaml").read_text())
    (class_name,) = mining["mining_funcs"]["unlabeled_tuple_miner"]
    assert miner.endswith(class_name)
    if name == "slade_oracle":  # its pairs are all those of one class and no others
        columns = [f"{sign}_{share}" for sign in ("positive", "negative")
                   for share in ("precision", "recall")]  # fmt: skip
        assert [student[miner][0][column] for column in columns] == [1, 1, 1, 1]
        assert "the true labels of the pool (oracle)" in outcome.out
