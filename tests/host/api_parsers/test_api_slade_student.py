"""A student is an ordinary experiment of the host, from its own folder alone."""

import json
import logging
import shutil
import sqlite3
from argparse import Namespace
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_metric_learning.utils.common_functions as pml_cf
import torch
from powerful_benchmarker.api_parsers import BaseAPIParser

from slade_plugin.base.errors import ConfigError, ExperimentError, PseudoLabelError
from slade_plugin.host.api_parsers import APISladePseudoLabels, APISladeStudent
from slade_plugin.host.checkpoints import checkpoint_files
from slade_plugin.host.checkpoints.teacher import Teacher
from slade_plugin.host.factories import SladeSplitManagerFactory
from slade_plugin.method.pseudo_labels.record import (
    PseudoLabels,
    load_pseudo_labels,
    record_paths,
    save_pseudo_labels,
)
from slade_plugin.stages.preflight import preflight

C, K = 2, 8  # labeled training classes of a fold, pseudo labels
CLUSTERER = {"KMeans": {"num_clusters": K}}
SCHEMES = ["Test50_50_Partitions2_0", "Test50_50_Partitions2_1"]
FOLDS = {
    "test_size": 0.5,
    "test_start_idx": 0.5,
    "num_training_partitions": 2,
    "num_training_sets": 2,
}


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_files, "flush_to_disk", lambda path: None)


@pytest.fixture
def one_scheme(tmp_path: Path, experiment_args: Callable[..., Namespace]) -> dict[str, Any]:
    """The entry for the first split scheme alone, where one will do."""
    split_manager = experiment_args(tmp_path).split_manager
    split_manager["ClassDisjointSplitManager"]["num_training_sets"] = 1
    return {"split_manager": split_manager}


@pytest.fixture
def student(
    tmp_path: Path,
    pseudo_label_folder: Path,
    experiment_args: Callable[..., Namespace],
    make_parser: Callable[..., Any],
) -> Callable[..., Any]:
    """Makes the API parser of a student, with some other entries in its config."""

    def make(folder: Path | None = None, records: Path | None = None, **changes: Any) -> Any:
        labels = {"folder": str(records or pseudo_label_folder), "clusterer": CLUSTERER}
        settings = {"pseudo_labels": labels} | changes
        return make_parser(experiment_args(folder or tmp_path / "student", **settings))

    return make


def set_up(parser: Any, scheme: int = 0) -> Any:
    """As far as the host goes before it trains one split scheme."""
    parser.transforms = parser.get_transforms()
    parser.split_manager = parser.get_split_manager()
    parser.make_sub_experiment_dirs()
    parser.curr_split_count = scheme
    parser.split_manager.set_curr_split_scheme(SCHEMES[scheme])
    parser.set_curr_folders()
    parser.set_models_optimizers_losses()
    return parser


def weights(parser: Any) -> dict[str, torch.Tensor]:
    """Without the names that DataParallel adds."""
    return {
        f"{part}.{key.removeprefix('module.')}": value
        for part, model in parser.models.items()
        for key, value in model.state_dict().items()
    }


def saved_weights(folder: Path) -> dict[str, Any]:
    """Every tensor of every checkpoint, as lists."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [plain(v) for v in value]
        return value.tolist() if torch.is_tensor(value) else value

    paths = sorted(folder.rglob("*.pth"))
    return {str(p.relative_to(folder)): plain(torch.load(p)) for p in paths}


def accuracies(folder: Path, scheme: str, split: str = "VAL") -> dict[int, float]:
    """Epoch -> MAP@R as recorded."""
    with closing(sqlite3.connect(folder / scheme / "saved_csvs" / "logs.db")) as db:
        query = "SELECT name FROM sqlite_master WHERE name LIKE 'accuracies%'"
        [name] = [n for (n,) in db.execute(query) if n.endswith(f"_{split}")]
        rows = db.execute(f"SELECT epoch, mean_average_precision_at_r_level0 FROM {name}")
        return {int(epoch): value for epoch, value in rows.fetchall()}


# ---- a whole run --------------------------------------------------------------------------------


def test_a_student_is_trained_resumed_and_evaluated_from_its_own_folder(
    student: Callable[..., Any], tmp_path: Path, pseudo_label_folder: Path
) -> None:
    """The pseudo-label stage may be gone by then."""
    records = tmp_path / "records"
    shutil.copytree(pseudo_label_folder, records)
    mean, sem = student(records=records).run()
    assert 0 < mean <= 1
    assert sem >= 0
    folder = tmp_path / "student"
    for scheme in SCHEMES:
        for ours, theirs in zip(
            record_paths(folder / scheme, scheme), record_paths(records, scheme), strict=True
        ):
            assert ours.read_bytes() == theirs.read_bytes()
        assert set(accuracies(folder, scheme)) == {1, 2}
    assert list(folder.rglob("*.part")) == []
    shutil.rmtree(records)

    gone = {"pseudo_labels": {"folder": None, "clusterer": CLUSTERER}}
    student(**gone, resume_training="latest", num_epochs_train=3).run()
    for scheme in SCHEMES:
        assert set(accuracies(folder, scheme)) == {1, 2, 3}

    student(**gone, evaluate=True, splits_to_eval=["val", "test"]).run()
    for scheme in SCHEMES:
        best, _ = pml_cf.latest_version(str(folder / scheme / "saved_models"), best=True)
        assert set(accuracies(folder, scheme, "TEST")) == {best}


def test_equal_seeds_give_equal_students(
    student: Callable[..., Any], tmp_path: Path, one_scheme: dict[str, Any]
) -> None:
    """Every tensor of every checkpoint, and every recorded accuracy."""
    found = []
    for name in ("a", "b"):
        student(tmp_path / name, seed=7, **one_scheme).run()
        folder = tmp_path / name
        found.append((saved_weights(folder), accuracies(folder, SCHEMES[0])))
    assert len(found[0][0]) > 10
    assert found[0] == found[1]
    other = weights(set_up(student(tmp_path / "c", seed=8)))["trunk.linear.weight"]
    assert not torch.equal(other, weights(set_up(student(seed=7)))["trunk.linear.weight"])


def test_the_student_runs_on_glyphs(
    tmp_path: Path,
    glyphs_root: Path,
    experiment_args: Callable[..., Namespace],
    make_parser: Callable[..., Any],
) -> None:
    """Images, the small convolutional trunk, a teacher and a student, in seconds."""
    size = {"letters_per_script": 6, "instances_per_face": 1}
    split_manager = {
        "ClassDisjointSplitManager": {
            "test_size": 0.33,  # 2 of 6 classes
            "test_start_idx": 0.5,
            "num_training_partitions": 2,
            "num_training_sets": 1,
            "data_and_label_getter_keys": ["data", "label"],
        }
    }
    images = {
        "dataset": {"Glyphs": {"subset": "labeled", **size}},
        "unlabeled_dataset": {"Glyphs": {"subset": "unlabeled", **size}},
        "dataset_root": str(glyphs_root),
        "models": {
            "trunk": {"conv4": {"hidden_size": 4}},
            "embedder": {"MLP": {"layer_sizes": [8]}},
        },
        "split_manager": split_manager,
        "pseudo_labels": {
            "folder": str(tmp_path / "records"),
            "clusterer": {"KMeans": {"num_clusters": 10}},
        },
        "teacher_experiment": str(tmp_path / "teacher"),
        "num_epochs_train": 1,
    }
    teacher = experiment_args(tmp_path / "teacher", student=False, **images)
    make_parser(teacher, BaseAPIParser).run()
    make_parser(experiment_args(tmp_path / "x", **images), APISladePseudoLabels).run()
    make_parser(experiment_args(tmp_path / "student", **images)).run()
    [scheme] = (p.parent.name for p in (tmp_path / "student").glob("Test*/saved_models"))
    assert set(accuracies(tmp_path / "student", scheme)) == {1}
    manifest = load_pseudo_labels(tmp_path / "student" / scheme, scheme).manifest
    assert 0 <= manifest["agreement"]["NMI"] <= 1


# ---- parts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("labeled", [None, "ProxyAnchorLoss", "NormalizedSoftmaxLoss"])
def test_optimizers_hold_exactly_what_can_be_trained(
    labeled: str | None,
    student: Callable[..., Any],
    experiment_args: Callable[..., Namespace],
    tmp_path: Path,
) -> None:
    """Trap A7 of the host: parameters without an optimizer are never trained, without a word."""
    config = experiment_args(tmp_path)
    if labeled:
        arguments = {"embedding_size": 8} | (
            {"temperature": 0.1} if labeled == "NormalizedSoftmaxLoss" else {}
        )
        config.loss_funcs["metric_loss"] = {labeled: arguments}
        with pytest.raises(ConfigError, match=r"has 1 trainable parameter.*add metric_loss_optim"):
            set_up(student(loss_funcs=config.loss_funcs))
        config.optimizers["metric_loss_optimizer"] = {"Adam": {"lr": 0.01}}
    parser = set_up(student(loss_funcs=config.loss_funcs, optimizers=config.optimizers))
    parts = {**parser.models, **parser.loss_funcs, **parser.mining_funcs}
    parameters = [p for part in parts.values() for p in part.parameters() if p.requires_grad]
    groups = [g for o in parser.trainer.optimizers.values() for g in o.param_groups]
    held = [p for group in groups for p in group["params"]]
    assert len(held) == len({id(p) for p in held})
    assert {id(p) for p in held} == {id(p) for p in parameters}
    assert any(p is parser.loss_funcs["basis_loss"].W_a for p in held)
    own = list(parser.loss_funcs["metric_loss"].parameters())
    assert len(own) == (1 if labeled else 0)


@pytest.mark.parametrize("scheme", [0, 1])
def test_trap_09_labels_of_both_kinds_never_meet(student: Callable[..., Any], scheme: int) -> None:
    parser = set_up(student(), scheme)
    assert parser.split_manager.get_label_set("train", "train") == ({2, 3}, {0, 1})[scheme]
    trainer = parser.trainer
    assert trainer.num_classes == parser.loss_funcs["basis_loss"].num_classes == C
    trainer.initialize_dataloader()
    seen: tuple[set[int], set[int]] = (set(), set())
    for _ in range(20):
        _, labels, _, pseudo_labels, pool_index = trainer.get_batch()
        seen[0].update(labels.tolist())
        seen[1].update(pseudo_labels.tolist())
        ids = parser.pseudo_labels.cluster_ids[pool_index]
        assert pseudo_labels.tolist() == (ids + C).tolist()
    assert seen == (set(range(C)), set(range(C, C + K)))


def test_the_two_split_schemes_have_records_of_their_own(student: Callable[..., Any]) -> None:
    for scheme in (0, 1):
        parser = set_up(student(), scheme)
        assert parser.pseudo_labels.manifest["split_scheme"] == SCHEMES[scheme]


def test_images_of_small_clusters_take_no_part(
    student: Callable[..., Any], tmp_path: Path, pseudo_label_folder: Path
) -> None:
    """Trap 11: with 13 images asked for and 12 in every cluster, none would be left."""
    parser = set_up(student())
    assert len(parser.pseudo_labeled_dataset) == 96
    assert len(parser.trainer.true_labels) == 96
    shutil.copytree(pseudo_label_folder, tmp_path / "records")
    for path in (tmp_path / "records").glob("*.json"):
        manifest = json.loads(path.read_text()) | {"min_cluster_size": 13}
        del manifest["manifest_sha256"]
        path.write_text(json.dumps(manifest))
    with pytest.raises(PseudoLabelError, match="fewer than two clusters have 13 images"):
        set_up(student(tmp_path / "other", records=tmp_path / "records"))


def test_a_pool_without_labels_is_taken(
    student: Callable[..., Any], full_getter: Any, blobs: Any, tmp_path: Path
) -> None:
    class NamelessBlobs(blobs):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.size = len(self.labels)
            self.fingerprint = "nameless"
            del self.labels

        def __len__(self) -> int:
            return self.size

        def __getitem__(self, index: int) -> dict[str, Any]:
            return {"data": self.points[index]}

    full_getter.register("dataset", NamelessBlobs)
    (tmp_path / "records").mkdir()
    ids = np.arange(96) % K
    manifest = {"num_clusters": K, "min_cluster_size": 2, "pool_sha256": "nameless"}
    for scheme in SCHEMES:
        save_pseudo_labels(PseudoLabels(ids, manifest), tmp_path / "records", scheme)
    pool = {"NamelessBlobs": {"subset": "unlabeled"}}
    parser = set_up(student(records=tmp_path / "records", unlabeled_dataset=pool))
    assert parser.trainer.true_labels is None
    parser.trainer.train(1, 1)
    assert np.isnan(parser.mining_funcs["unlabeled_tuple_miner"].positive_precision)


@pytest.mark.parametrize(
    ("manager", "settings"),
    [
        ("ClassDisjointSplitManager", FOLDS),
        ("MLRCSplitManager", FOLDS),
        ("ClosedSetSplitManager", {**FOLDS, "shuffle": True}),  # drawn by the run's seed
        ("IndexSplitManager", {**FOLDS, "shuffle": True, "random_seed": 3}),
        (
            "ClassDisjointSplitManager",
            {**FOLDS, "helper_split_manager": {"MLRCSplitManager": FOLDS}},
        ),
        ("PredefinedSplitManager", {}),
    ],
)
def test_the_pool_goes_beside_any_split_manager_of_the_host(
    manager: str,
    settings: dict[str, Any],
    experiment_args: Callable[..., Namespace],
    make_parser: Callable[..., Any],
    tmp_path: Path,
) -> None:
    """Train, val and test are those of a baseline, and a student can be built on them."""
    keys = {"data_and_label_getter_keys": ["data", "label"]}
    found = []
    for student, cls in ((False, BaseAPIParser), (True, APISladeStudent)):
        spec = {manager: {**settings, **keys}}
        dataset = {"Blobs": {"per_class": 40}}  # enough of each class in splits by image, too
        args = experiment_args(tmp_path, student=student, dataset=dataset, split_manager=spec)
        parser = make_parser(args, cls)
        preflight(parser)
        splits = parser.split_manager
        schemes = {}
        for scheme in splits.split_scheme_names:
            splits.set_curr_split_scheme(scheme)
            schemes[scheme] = {
                (transform, name): [int(i) for i in getattr(split, "indices", range(len(split)))]
                for transform in ("train", "eval")
                for name, split in splits.get_dataset_dict(transform).items()
            }
        found.append(schemes)
    assert found[0] == found[1]
    assert all(
        {name for _, name in scheme} == {"train", "val", "test"} for scheme in schemes.values()
    )
    assert len(splits.get_unlabeled_dataset("train")) == 96


def test_the_hosts_split_manager_factory_gives_way(
    student: Callable[..., Any],
    experiment_args: Callable[..., Namespace],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    factories = experiment_args(tmp_path).factories | {"split_manager": {"SplitManagerFactory": {}}}
    with caplog.at_level(logging.WARNING):
        parser = student(factories=factories)
    assert isinstance(parser.factories["split_manager"], SladeSplitManagerFactory)
    assert "SladeSplitManagerFactory is required" in caplog.text


def test_what_belongs_to_a_split_scheme_is_forgotten_after_it(
    student: Callable[..., Any],
) -> None:
    parser = set_up(student())
    parser.delete_old_objects()
    for name in ("pseudo_labels", "pseudo_labeled_dataset", "trainer", "models"):
        assert not hasattr(parser, name)


# ---- where a student starts ---------------------------------------------------------------------


def test_a_student_starts_where_the_teacher_ended_if_asked_to(
    student: Callable[..., Any], tmp_path: Path, teacher_experiment: Path
) -> None:
    teacher = {"student_initialization": "teacher", "teacher_experiment": str(teacher_experiment)}
    for scheme in (0, 1):
        found = weights(set_up(student(tmp_path / "warm", **teacher), scheme))
        cold = weights(set_up(student(tmp_path / "cold"), scheme))
        paths = Teacher(teacher_experiment, SCHEMES[scheme]).paths
        expected = {f"{p}.{k}": v for p, f in paths.items() for k, v in torch.load(f).items()}
        assert list(found) == list(expected) == list(cold)
        assert all(torch.equal(found[k], expected[k]) for k in expected)
        assert not torch.equal(cold["trunk.linear.weight"], expected["trunk.linear.weight"])


def test_the_optimizers_hold_the_weights_that_were_taken_over(
    student: Callable[..., Any], teacher_experiment: Path
) -> None:
    teacher = {"student_initialization": "teacher", "teacher_experiment": str(teacher_experiment)}
    parser = set_up(student(**teacher))
    before = parser.models["trunk"].module.linear.weight.detach().clone()
    parser.trainer.train(1, 1)
    assert not torch.equal(parser.models["trunk"].module.linear.weight, before)


def test_a_resumed_student_is_not_the_teacher_again(
    student: Callable[..., Any],
    teacher_experiment: Path,
    tmp_path: Path,
    one_scheme: dict[str, Any],
) -> None:
    start = {"student_initialization": "teacher", "teacher_experiment": str(teacher_experiment)}
    student(**start, **one_scheme).run()
    found = weights(set_up(student(**start, **one_scheme, resume_training="latest")))
    folder = tmp_path / "student" / SCHEMES[0] / "saved_models"
    latest = torch.load(folder / "trunk_2.pth")
    assert torch.equal(found["trunk.linear.weight"], latest["linear.weight"])


def test_an_unknown_start_is_refused(student: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match=r"'techer'; expected one of pretrained, teacher"):
        set_up(student(student_initialization="techer"))


def test_a_start_from_no_teacher_is_refused(student: Callable[..., Any]) -> None:
    with pytest.raises(ExperimentError, match="teacher_experiment is null"):
        set_up(student(student_initialization="teacher"))


# ---- trap 10 ------------------------------------------------------------------------------------


def test_trap_10_the_best_student_is_chosen_among_its_own_epochs(
    student: Callable[..., Any],
    tmp_path: Path,
    teacher_experiment: Path,
    one_scheme: dict[str, Any],
) -> None:
    """A teacher whose epoch 99 scored 100 %, and a student that starts from it."""
    teacher = tmp_path / "teacher"
    shutil.copytree(teacher_experiment, teacher)
    scheme = SCHEMES[0]
    models = teacher / scheme / "saved_models"
    _, suffix = pml_cf.latest_version(str(models), best=True)
    for path in models.glob(f"*_{suffix}.pth"):
        shutil.copy(path, path.with_name(path.name.replace(str(suffix), "best99")))
    with closing(sqlite3.connect(teacher / scheme / "saved_csvs" / "logs.db")) as db, db:
        query = "SELECT name FROM sqlite_master WHERE name LIKE 'accuracies%VAL'"
        [(name,)] = db.execute(query).fetchall()
        columns = "epoch, mean_average_precision_at_r_level0, best_epoch"
        db.execute(f"INSERT INTO {name} ({columns}) VALUES (99, 1.0, 99)")
    assert Teacher(teacher, scheme).suffix == "best99"
    before = {p: p.read_bytes() for p in teacher.rglob("*") if p.is_file()}

    start = {"student_initialization": "teacher", "teacher_experiment": str(teacher)}
    student(**start, **one_scheme).run()
    own = accuracies(tmp_path / "student", scheme)
    assert set(own) == {1, 2}
    models = tmp_path / "student" / scheme / "saved_models"
    best, _ = pml_cf.latest_version(str(models), best=True)
    assert best == max(own, key=lambda epoch: own[epoch])
    assert {p: p.read_bytes() for p in teacher.rglob("*") if p.is_file()} == before


# ---- records that do not fit --------------------------------------------------------------------


def test_no_folder_of_pseudo_labels_is_named(student: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match="pseudo_labels: folder is null"):
        set_up(student(pseudo_labels={"folder": None, "clusterer": CLUSTERER}))


def test_a_folder_without_records_is_named(student: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(PseudoLabelError, match=r"are missing: .*nowhere"):
        set_up(student(records=tmp_path / "nowhere"))


def test_a_record_of_another_pool_is_refused(student: Callable[..., Any]) -> None:
    pool = {"Blobs": {"subset": "unlabeled", "per_class": 11}}
    with pytest.raises(PseudoLabelError, match="was made for pool_sha256"):
        set_up(student(unlabeled_dataset=pool))


def test_a_missing_pool_is_named(student: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match=r"no unlabeled_dataset; .*config_dataset"):
        set_up(student(unlabeled_dataset=None))


def test_a_stop_while_the_record_is_copied_is_made_good(
    student: Callable[..., Any], tmp_path: Path
) -> None:
    """The ids come first; without the manifest they are copied again."""
    own = tmp_path / "student" / SCHEMES[0]
    own.mkdir(parents=True)
    record_paths(own, SCHEMES[0])[0].write_bytes(b"half")
    parser = set_up(student())
    assert parser.pseudo_labels.manifest["num_images"] == 96
    load_pseudo_labels(own, SCHEMES[0])


def test_a_damaged_own_record_is_named(student: Callable[..., Any], tmp_path: Path) -> None:
    set_up(student())
    ids = record_paths(tmp_path / "student" / SCHEMES[0], SCHEMES[0])[0]
    ids.write_bytes(ids.read_bytes()[:-1])
    with pytest.raises(PseudoLabelError, match=rf"student/{SCHEMES[0]}/.* is damaged"):
        set_up(student())
