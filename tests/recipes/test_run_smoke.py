"""Every loss config trains, and the rungs of the ladder differ by their own term only."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from slade_plugin.config.composition import config_root

ROOT = config_root()
FILES = sorted(path.stem for path in (ROOT / "config_loss").glob("*.yaml"))
LOSSES = [name for name in FILES if not name.endswith("_search")]  # run in tests/experiments/search
STUDENTS = [name for name in LOSSES if name.startswith("slade")]
PLAIN = [name for name in LOSSES if name not in (*STUDENTS, "fine_tuning")]  # that adapts slade
SMALL_TRUNK = "--models {trunk~OVERRIDE~: {conv4: {hidden_size: 8}}}"

# Where a config comes from, not what it says.
PROVENANCE = {"brings", "dict_of_yamls", "config_loss", "config_general", "config_optimizers"}
BASIS = {
    "loss_funcs/basis_loss": "added",
    "optimizers/basis_loss_optimizer": "added",
    "trainer/SladeStudent/loss_weights/basis_loss": "added",
    "trainer/SladeStudent/basis_warmup_iterations": "changed",
}
PAIRWISE_LOSS = "loss_funcs/basis_loss/FeatureBasisLoss/pairwise_loss"
CLUSTERER = "pseudo_labels/clusterer"
ORACLE = {f"{CLUSTERER}/KMeans": "removed", f"{CLUSTERER}/TrueLabels": "added"}


def pairwise(choice: str) -> dict[str, str]:
    return {
        f"{PAIRWISE_LOSS}/SimilarityDistribution": "removed",
        f"{PAIRWISE_LOSS}/{choice}": "added",
    }


# Students with another ranking loss, and so with another teacher: D^l, D^u.
RANKING_LOSSES = {
    "slade_ms": ("MultiSimilarityLoss", "MultiSimilarityLoss"),
    "slade_normalized_softmax": ("NormalizedSoftmaxLoss", "ContrastiveLoss"),
    "slade_proxy_anchor": ("ProxyAnchorLoss", "ContrastiveLoss"),
    "slade_proxy_nca": ("ProxyNCALoss", "ContrastiveLoss"),
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
        ("slade", "slade_local_ce", pairwise("LocalCE")),
        ("slade", "slade_global_ce", pairwise("GlobalCE")),
        ("slade_basis", "slade_oracle", ORACLE),
    ],
)
def test_a_rung_adds_its_own_term_only(
    lower: str, upper: str, expected: dict[str, str], rungs: dict[str, Any]
) -> None:
    """Key by key: data, models, lengths, batches, rates, seeds, pseudo labels are the same."""
    found = dict(differences(rungs[lower]["student"], rungs[upper]["student"]))
    assert found == expected


@pytest.mark.parametrize("name", [n for n in STUDENTS if n not in RANKING_LOSSES])
def test_teacher_and_baseline_are_the_same_for_every_rung(name: str, rungs: dict[str, Any]) -> None:
    for stage in ("teacher", "baseline"):
        assert dict(differences(rungs["slade"][stage], rungs[name][stage])) == {}


@pytest.mark.parametrize("name", STUDENTS)
def test_the_teachers_loss_is_the_students_on_labeled_images(
    name: str, rungs: dict[str, Any]
) -> None:
    """So that a gain is not a better margin."""
    stages = [rungs[name][stage] for stage in ("teacher", "baseline", "student")]
    losses = [stage["loss_funcs"]["metric_loss"] for stage in stages]
    assert losses[0] == losses[1] == losses[2]
    assert stages[0]["sampler"] == stages[2]["sampler"]
    own_miner = [stage["mining_funcs"].get("tuple_miner") for stage in stages]
    assert own_miner[0] == own_miner[1] == own_miner[2]
    unlabeled = stages[2]["loss_funcs"]["unlabeled_metric_loss"]
    names = tuple(next(iter(loss)) for loss in (losses[2], unlabeled))
    assert names == RANKING_LOSSES.get(name, ("ContrastiveLoss", "ContrastiveLoss"))
    assert (losses[2] == unlabeled) is (names[0] == names[1])
    length = ("num_epochs_train", "save_interval")
    assert [stages[0][k] for k in length] == [rungs["slade"]["teacher"][k] for k in length]


@pytest.mark.parametrize("name", STUDENTS)
def test_the_rates_of_all_stages_are_of_one_kind(name: str, rungs: dict[str, Any]) -> None:
    """So that a gain is not a better schedule."""
    rates = [
        entry["scheduler_by_epoch"]
        for stage in ("teacher", "student", "baseline")
        for entry in rungs[name][stage]["optimizers"].values()
    ]
    assert rates == [{"FinalStepLR": {"share": 0.25, "factor": 0.1}}] * len(rates)


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


# Of the 120 pairs of 16 images, in both directions: the upper tenth and the lower half; before
# mining starts, all by pseudo label, four of a cluster.
@pytest.mark.parametrize(("start", "expected"), [(0, [1, 24, 120]), (0.5, [0, 48, 192])])
def test_thresholds_may_be_quantiles_and_mining_may_start_late(
    start: float, expected: list[int], bench: Any, tmp_path: Path
) -> None:
    miner = "{require_agreement: false, positive_threshold~OVERRIDE~: {Quantile: {q: 0.9}}, " \
        f"negative_threshold~OVERRIDE~: {{Quantile: {{q: 0.5}}}}, start: {start}}}"  # fmt: skip
    flags = f"--mining_funcs {{unlabeled_tuple_miner: {{BasisSimilarityMiner: {miner}}}}}"
    outcome = bench(bench.tiny_student(), flags, "--pipeline {baseline: false}", root=tmp_path)
    assert outcome.code == 0, outcome.err
    student = bench.records(tmp_path / "slade_seed0" / "student")
    (rows,) = (rows for t, rows in student.items() if t.endswith("BasisSimilarityMiner"))
    found = [rows[0][key] for key in ("mining_active", "num_pos_pairs", "num_neg_pairs")]
    assert found == expected


LOSSES_OF_PAIRS = {  # a loss that makes triplets of the pairs, one that needs both kinds of them
    "TripletMarginLoss": "{margin: 0.3}",
    "NTXentLoss": "{temperature: 0.1}",
}
LOSSES_OF_CLASSES = {
    "NormalizedSoftmaxLoss": "{embedding_size: 16, temperature: 0.1}",
    "ProxyNCALoss": "{embedding_size: 16, softmax_scale: 10}",
}


@pytest.mark.parametrize("labeled", [*LOSSES_OF_PAIRS, *LOSSES_OF_CLASSES])
def test_a_student_trains_with_other_losses_of_the_host(
    labeled: str, bench: Any, tmp_path: Path
) -> None:
    """By flags alone: pair and triplet losses for D^l and D^u, losses of classes for D^l."""
    arguments = (LOSSES_OF_PAIRS | LOSSES_OF_CLASSES)[labeled]
    losses = f"metric_loss~OVERRIDE~: {{{labeled}: {arguments}}}"
    optimizers = ""
    if labeled in LOSSES_OF_PAIRS:
        losses += f", unlabeled_metric_loss~OVERRIDE~: {{{labeled}: {arguments}}}"
    else:
        optimizers = "--optimizers {metric_loss_optimizer: {Adam: {lr: 0.01}}}"
    basis = "basis_loss: {FeatureBasisLoss: {embedding_size: 16}}"
    flags = bench.tiny_student(iterations=3).replace(
        f"--loss_funcs {{{basis}}}", f"--loss_funcs {{{losses}, {basis}}} {optimizers}"
    )
    outcome = bench(flags, "--pipeline {baseline: false}", root=tmp_path)
    assert outcome.code == 0, outcome.err
    folder = tmp_path / "slade_seed0" / "student"
    (rows,) = (r for t, r in bench.records(folder).items() if t.endswith("loss_histories"))
    assert len(rows) == 3
    assert rows[0]["metric_loss"] > 0
    assert len({row["metric_loss"] for row in rows}) == 3
    parts = {path.name for path in folder.rglob("*_1.pth")}
    trained = {"basis_loss"} | ({"metric_loss"} if labeled in LOSSES_OF_CLASSES else set())
    for name in ("basis_loss", "metric_loss"):
        assert (f"{name}_optimizer_1.pth" in parts) is (name in trained)


@pytest.mark.parametrize("name", STUDENTS)
def test_a_student_trains(name: str, bench: Any, tmp_path: Path) -> None:
    """With the embedder as shipped, since some losses are told its size."""
    tiny = bench.tiny_student(name)
    models = tiny[tiny.index("--models") : tiny.index("--log_data")]
    flags = tiny.replace(models, SMALL_TRUNK + " ").partition("--loss_funcs")[0]
    flags += " --pipeline {baseline: false}"
    outcome = bench(flags, root=tmp_path)
    assert outcome.code == 0, outcome.err
    folder = tmp_path / f"{name}_seed0"
    rows = json.loads((folder / "results" / "table.json").read_text())["rows"]
    assert {(row["experiment"], row["split"]) for row in rows} == {
        (experiment, split) for experiment in ("teacher", "student") for split in ("val", "test")
    }
    student = bench.records(folder / "student")
    (losses,) = (rows for t, rows in student.items() if t.endswith("loss_histories"))
    assert ("basis_loss" in losses[0]) is not name.endswith("pseudo_label")
    (miner,) = (t for t in student if "unlabeled_tuple_miner" in t)
    mining = yaml.safe_load((folder / "student" / "configs" / "config_loss.yaml").read_text())
    (class_name,) = mining["mining_funcs"]["unlabeled_tuple_miner"]
    assert miner.endswith(class_name)
    if name.endswith("oracle"):  # its pairs are all those of one class and no others
        columns = [f"{sign}_{share}" for sign in ("positive", "negative")
                   for share in ("precision", "recall")]  # fmt: skip
        assert [student[miner][0][column] for column in columns] == [1, 1, 1, 1]
        assert "the true labels of the pool (oracle)" in outcome.out
