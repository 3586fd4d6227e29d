"""The stage between teacher and student: one checked record a split scheme, made once."""

import json
import shutil
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from powerful_benchmarker.architectures.misc_models import MLP
from torch import nn

from slade_plugin.base.errors import ConfigError, DataError, ExperimentError, PseudoLabelError
from slade_plugin.host.api_parsers import APISladePseudoLabels
from slade_plugin.host.checkpoints.teacher import Teacher
from slade_plugin.host.testers import SladeTester
from slade_plugin.method.clusterers import Clustering, KMeans, UnlabeledPool
from slade_plugin.method.pseudo_labels.record import (
    load_pseudo_labels,
    pool_fingerprint,
    record_paths,
)

SCHEMES = ["Test50_50_Partitions2_0", "Test50_50_Partitions2_1"]


@pytest.fixture
def stage(
    tmp_path: Path,
    teacher_experiment: Path,
    experiment_args: Callable[..., Namespace],
    make_parser: Callable[..., Any],
) -> Callable[..., dict[str, Any]]:
    """Runs the stage into `tmp_path / "records"`, with some other entries in its config."""

    def run(teacher: Path = teacher_experiment, k: int = 8, **changes: Any) -> dict[str, Any]:
        clusterer = {"KMeans": {"num_clusters": k, "num_restarts": 30}}
        settings = {"folder": str(tmp_path / "records"), "clusterer": clusterer}
        settings |= changes.pop("pseudo_labels", {})
        args = experiment_args(
            tmp_path / "student",
            pseudo_labels=settings,
            teacher_experiment=str(teacher),
            **changes,
        )
        return make_parser(args, APISladePseudoLabels).run()

    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_every_split_scheme_gets_a_record_and_nothing_else_is_left(
    stage: Callable[..., Any], tmp_path: Path, teacher_experiment: Path, blobs: Any
) -> None:
    manifests = stage()
    assert list(manifests) == SCHEMES
    folder = tmp_path / "records"
    expected = {p.name for name in SCHEMES for p in record_paths(folder, name)}
    assert set(contents(folder)) == expected
    assert [p.name for p in tmp_path.iterdir()] == ["records"]
    for name, manifest in manifests.items():
        assert load_pseudo_labels(folder, name).manifest == manifest
        assert manifest["teacher_sha256"] == Teacher(teacher_experiment, name).sha256()
        assert manifest["pool_sha256"] == pool_fingerprint(blobs(subset="unlabeled"))
        assert manifest["teacher_experiment"] == str(teacher_experiment)
        assert manifest["teacher_model"].startswith("best")
        assert (manifest["num_clusters"], manifest["num_images"]) == (8, 96)


def test_separable_blobs_are_found(stage: Callable[..., Any]) -> None:
    for manifest in stage().values():
        agreement = manifest["agreement"]
        assert agreement == pytest.approx(dict.fromkeys(agreement, 1.0))


def test_the_ids_are_those_of_the_best_teacher_of_each_split_scheme(
    stage: Callable[..., Any],
    tmp_path: Path,
    teacher_experiment: Path,
    blobs: Any,
    tiny_trunk: Callable[[], nn.Module],
) -> None:
    """Worked again from the files: k-means of the tester's embeddings, with the run's seed."""
    stage(k=20, seed=3)
    tester = SladeTester(batch_size=32, dataloader_num_workers=0)
    for name in SCHEMES:
        models = {"trunk": tiny_trunk(), "embedder": MLP([16, 8])}
        Teacher(teacher_experiment, name).load_into(models, "cpu")
        embeddings = tester.embed_pool(
            blobs(subset="unlabeled"), *models.values(), tmp_path / "embeddings.npy"
        )
        clusterer = KMeans(num_clusters=20, num_restarts=30)
        expected = clusterer.cluster(UnlabeledPool(lambda x=embeddings: x, None, 3))
        found = load_pseudo_labels(tmp_path / "records", name)
        np.testing.assert_array_equal(found.cluster_ids, expected.cluster_ids)
        assert found.manifest["clusterer"] == {
            "KMeans": {"num_clusters": 20, "num_iterations": 50, "num_restarts": 30, "seed": 3}
        }


def test_a_record_that_fits_is_left_as_it_is(
    stage: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifests = stage()
    before = contents(tmp_path / "records")
    monkeypatch.setattr(SladeTester, "embed_pool", None)
    assert stage() == manifests
    assert contents(tmp_path / "records") == before


def test_only_what_is_missing_is_made(stage: Callable[..., Any], tmp_path: Path) -> None:
    """As after a stop: ids without a manifest are half a record."""
    stage()
    folder = tmp_path / "records"
    before = contents(folder)
    record_paths(folder, SCHEMES[1])[1].unlink()
    record_paths(folder, SCHEMES[1])[0].write_bytes(b"half")
    stage()
    after = contents(folder)
    assert {n: c for n, c in after.items() if not n.startswith(SCHEMES[1])} == {
        n: c for n, c in before.items() if not n.startswith(SCHEMES[1])
    }
    ids = record_paths(folder, SCHEMES[1])[0].name
    assert after[ids] == before[ids]


def test_a_damaged_record_is_named_not_made_again(
    stage: Callable[..., Any], tmp_path: Path
) -> None:
    stage()
    ids = record_paths(tmp_path / "records", SCHEMES[0])[0]
    ids.write_bytes(ids.read_bytes()[:-1])
    with pytest.raises(PseudoLabelError, match=rf"{ids.name} is damaged"):
        stage()


def test_records_of_another_teacher_are_refused(
    stage: Callable[..., Any], tmp_path: Path, teacher_experiment: Path
) -> None:
    stage()
    other = tmp_path / "other teacher"
    shutil.copytree(teacher_experiment, other)
    teacher = Teacher(other, SCHEMES[0])
    teacher.paths["trunk"].write_bytes(teacher.paths["trunk"].read_bytes() + b" ")
    with pytest.raises(PseudoLabelError, match="was made for teacher_sha256"):
        stage(teacher=other)


def test_records_of_another_pool_or_k_are_refused(stage: Callable[..., Any]) -> None:
    stage()
    with pytest.raises(PseudoLabelError, match=r"was made for clusterer .*8,.*; expected .*9,"):
        stage(k=9)
    with pytest.raises(PseudoLabelError, match=r"was made for clusterer .*'seed': 0"):
        stage(seed=1)
    pool = {"Blobs": {"subset": "unlabeled", "per_class": 13}}
    with pytest.raises(PseudoLabelError, match="was made for pool_sha256"):
        stage(unlabeled_dataset=pool)


@pytest.fixture
def nameless(full_getter: Any, blobs: Any) -> dict[str, Any]:
    """A pool whose classes are not known."""

    class NamelessBlobs(blobs):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.size = len(self.labels)
            del self.labels

        def __len__(self) -> int:
            return self.size

        def __getitem__(self, index: int) -> dict[str, Any]:
            return {"data": self.points[index]}

    full_getter.register("dataset", NamelessBlobs)
    return {"NamelessBlobs": {"subset": "unlabeled"}}


def test_a_pool_without_labels_has_no_agreement(
    stage: Callable[..., Any], nameless: dict[str, Any]
) -> None:
    manifests = stage(unlabeled_dataset=nameless)
    assert all("agreement" not in manifest for manifest in manifests.values())


ORACLE = {"clusterer": {"TrueLabels": {}}}


def test_the_oracle_s_record_holds_the_true_labels_and_says_so(
    stage: Callable[..., Any], tmp_path: Path, blobs: Any
) -> None:
    """Neither a teacher nor k has a part in it."""
    manifests = stage(pseudo_labels=ORACLE, teacher=tmp_path / "nobody")
    pool = blobs(subset="unlabeled")
    classes = np.unique(pool.labels)
    assert list(manifests) == SCHEMES
    for name, manifest in manifests.items():
        record = load_pseudo_labels(tmp_path / "records", name)
        np.testing.assert_array_equal(classes[record.cluster_ids], pool.labels)
        assert manifest["clusterer"] == {"TrueLabels": {}}
        assert manifest["num_clusters"] == len(classes)
        assert manifest["pool_sha256"] == pool_fingerprint(pool)
        assert not {"teacher_sha256", "backend", "agreement"} & manifest.keys()
    assert stage(pseudo_labels=ORACLE, teacher=tmp_path / "nobody") == manifests


def test_clusters_and_true_labels_are_not_taken_for_each_other(
    stage: Callable[..., Any], tmp_path: Path
) -> None:
    stage()
    with pytest.raises(PseudoLabelError, match=r"was made for clusterer .*expected .'TrueLabels'"):
        stage(pseudo_labels=ORACLE)
    shutil.rmtree(tmp_path / "records")
    stage(pseudo_labels=ORACLE)
    with pytest.raises(PseudoLabelError, match="was made for"):
        stage()


def test_an_oracle_without_true_labels_is_refused(
    stage: Callable[..., Any], nameless: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="the pool has no labels"):
        stage(pseudo_labels=ORACLE, unlabeled_dataset=nameless)
    assert list(tmp_path.iterdir()) == []


def test_true_labels_change_nothing_but_the_agreement(
    stage: Callable[..., Any], tmp_path: Path, full_getter: Any, blobs: Any
) -> None:
    class RenamedBlobs(blobs):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.labels = np.random.default_rng(0).permutation(self.labels)

    full_getter.register("dataset", RenamedBlobs)
    stage()
    before = contents(tmp_path / "records")
    shutil.rmtree(tmp_path / "records")
    manifests = stage(unlabeled_dataset={"RenamedBlobs": {"subset": "unlabeled"}})
    ids = [record_paths(tmp_path / "records", name)[0].name for name in SCHEMES]
    after = contents(tmp_path / "records")
    assert [after[name] for name in ids] == [before[name] for name in ids]
    assert all(manifest["agreement"]["AMI"] < 0.2 for manifest in manifests.values())


def test_a_pool_that_does_not_fit_is_refused_before_it_is_embedded(
    stage: Callable[..., Any], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="num_clusters is 97"):
        stage(k=97)
    assert list(tmp_path.iterdir()) == []


def test_the_embeddings_are_removed_when_something_fails(
    stage: Callable[..., Any], tmp_path: Path, full_getter: Any
) -> None:
    class Failing(KMeans):
        def cluster(self, pool: UnlabeledPool) -> Clustering:
            assert len(pool.embeddings) == 96
            raise ConfigError("no clusters")

    full_getter.register("clusterer", Failing)
    with pytest.raises(ConfigError, match="no clusters"):
        stage(pseudo_labels={"clusterer": {"Failing": {"num_clusters": 8}}})
    assert contents(tmp_path / "records") == {}


def test_a_full_disk_is_named(
    stage: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format, "open_memmap", full)
    with pytest.raises(PseudoLabelError, match=r"cannot write .* to .*: .*No space left"):
        stage()
    assert contents(tmp_path / "records") == {}


def test_a_teacher_that_embeds_to_nan_is_an_error(
    stage: Callable[..., Any], full_getter: Any, blobs: Any
) -> None:
    class DamagedBlobs(blobs):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.points[5] = float("nan")

    full_getter.register("dataset", DamagedBlobs)
    with pytest.raises(DataError, match="pool images 0 to 31 are not finite"):
        stage(unlabeled_dataset={"DamagedBlobs": {"subset": "unlabeled"}})


def test_a_missing_teacher_is_named(stage: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match="there is no teacher experiment"):
        stage(teacher=tmp_path / "nobody")


def test_the_manifest_is_readable_json(stage: Callable[..., Any], tmp_path: Path) -> None:
    stage()
    content = record_paths(tmp_path / "records", SCHEMES[0])[1].read_text()
    manifest = SimpleNamespace(**json.loads(content))
    assert sum(manifest.cluster_sizes) == manifest.num_images == 96
    assert manifest.embedding_seconds >= 0
    assert "faiss" in manifest.backend


# ---- other clusterers ---------------------------------------------------------------------------


def test_a_clusterer_may_find_its_number_and_leave_noise_out(
    stage: Callable[..., Any], tmp_path: Path
) -> None:
    """HDBSCAN on blobs of which some images lie far out: these are counted and left out."""
    manifests = stage(
        unlabeled_dataset={"Blobs": {"subset": "unlabeled", "noise": 0.4}},
        pseudo_labels={"clusterer": {"HDBSCAN": {"min_cluster_size": 4}}},
    )
    for name, manifest in manifests.items():
        assert manifest["clusterer"]["HDBSCAN"]["min_cluster_size"] == 4
        assert 0 < manifest["noise_images"] < 96
        record = load_pseudo_labels(tmp_path / "records", name)
        assert (record.cluster_ids == -1).sum() == manifest["noise_images"]
        keep, labels = record.for_training(10)
        assert len(keep) == 96 - manifest["noise_images"]
        assert labels.min() == 10


def test_embeddings_are_for_a_clusterer_that_says_it_reads_them(
    stage: Callable[..., Any], full_getter: Any
) -> None:
    class Liar(KMeans):
        reads_embeddings = False

    full_getter.register("clusterer", Liar)
    with pytest.raises(PseudoLabelError, match="Liar asked for embeddings, but its reads_embed"):
        stage(pseudo_labels={"clusterer": {"Liar": {"num_clusters": 3}}})


# ---- the round before ---------------------------------------------------------------------------


def test_a_later_round_is_compared_with_the_last_one(
    stage: Callable[..., Any], tmp_path: Path, pseudo_label_folder: Path
) -> None:
    """k-means from another seed finds the same blobs under other ids: no image has moved."""
    manifests = stage(seed=5, pseudo_labels={"last_folder": str(pseudo_label_folder)})
    for name, manifest in manifests.items():
        ids = [load_pseudo_labels(f, name) for f in (tmp_path / "records", pseudo_label_folder)]
        assert (ids[0].cluster_ids != ids[1].cluster_ids).any()
        assert manifest["last_round"] == {
            "ids_sha256": ids[1].manifest["ids_sha256"],
            "NMI": pytest.approx(1.0),
            "moved": pytest.approx(0.0),
        }


def test_the_first_round_is_compared_with_nothing(stage: Callable[..., Any]) -> None:
    assert all("last_round" not in manifest for manifest in stage().values())


def test_a_damaged_last_round_is_named(
    stage: Callable[..., Any], tmp_path: Path, pseudo_label_folder: Path
) -> None:
    folder = shutil.copytree(pseudo_label_folder, tmp_path / "last")
    (folder / f"{SCHEMES[0]}.npy").write_bytes(b"x")
    with pytest.raises(PseudoLabelError, match=rf"last/{SCHEMES[0]}\.npy is damaged"):
        stage(pseudo_labels={"last_folder": str(folder)})
