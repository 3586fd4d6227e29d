import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from slade_plugin.base.errors import ExperimentError, PseudoLabelError
from slade_plugin.base.files import sha256_of_file, write_json
from slade_plugin.method.pseudo_labels import record
from slade_plugin.method.pseudo_labels.record import (
    PseudoLabels,
    load_pseudo_labels,
    pool_fingerprint,
    record_paths,
    save_pseudo_labels,
)

SCHEME = "Test50_50_Partitions4_0"
IDS = np.array([2, 0, 0, 2, 1, 2])
MANIFEST = {
    "teacher_sha256": "t" * 64,
    "pool_sha256": "p" * 64,
    "num_clusters": 5,
    "min_cluster_size": 2,
    "seed": 3,
    "agreement": {"NMI": 0.5},
}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_pseudo_labels(PseudoLabels(IDS, MANIFEST), tmp_path, SCHEME)
    return tmp_path


def edit_manifest(folder: Path, **changes: Any) -> None:
    """Changes entries behind the record's back; None removes one."""
    path = record_paths(folder, SCHEME)[1]
    manifest = json.loads(path.read_text()) | changes
    write_json(path, {k: v for k, v in manifest.items() if v is not None})


# ---- on disk ------------------------------------------------------------------------------------


def test_round_trip(saved: Path) -> None:
    loaded = load_pseudo_labels(saved, SCHEME, {"teacher_sha256": "t" * 64, "num_images": 6})
    np.testing.assert_array_equal(loaded.cluster_ids, IDS)
    assert loaded.cluster_ids.dtype == IDS.dtype
    assert MANIFEST.items() <= loaded.manifest.items()
    assert loaded.manifest["split_scheme"] == SCHEME
    assert loaded.manifest["ids_sha256"] == sha256_of_file(record_paths(saved, SCHEME)[0])
    assert sorted(p.name for p in saved.iterdir()) == [f"{SCHEME}.json", f"{SCHEME}.npy"]


def test_a_number_that_is_none_is_null_on_disk(tmp_path: Path) -> None:
    """Without a pair in one cluster there is no pair precision; the hash is of what is written."""
    manifest = MANIFEST | {"agreement": {"pair_precision": float("nan"), "NMI": 0.5}}
    save_pseudo_labels(PseudoLabels(IDS, manifest), tmp_path, SCHEME)
    assert "NaN" not in record_paths(tmp_path, SCHEME)[1].read_text()
    loaded = load_pseudo_labels(tmp_path, SCHEME)
    assert loaded.manifest["agreement"] == {"pair_precision": None, "NMI": 0.5}


def test_a_loaded_record_can_be_saved_again(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    loaded = load_pseudo_labels(saved, SCHEME)
    save_pseudo_labels(loaded, tmp_path / "copy", SCHEME)
    again = load_pseudo_labels(tmp_path / "copy", SCHEME)
    assert again.manifest == loaded.manifest
    np.testing.assert_array_equal(again.cluster_ids, IDS)


@pytest.mark.parametrize("place", [0, 70, -1])
def test_one_changed_byte_of_the_ids_is_found(saved: Path, place: int) -> None:
    path = record_paths(saved, SCHEME)[0]
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(PseudoLabelError, match=rf"{SCHEME}.npy is damaged: .*Remove .*json"):
        load_pseudo_labels(saved, SCHEME)


def test_a_cut_file_of_ids_is_found(saved: Path) -> None:
    path = record_paths(saved, SCHEME)[0]
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(PseudoLabelError, match="npy is damaged"):
        load_pseudo_labels(saved, SCHEME)


@pytest.mark.parametrize("content", ["", '{"format": 1, "num_', "[1, 2]", "null", "{}", "\x00\xff"])
def test_a_manifest_that_is_none_is_found(saved: Path, content: str) -> None:
    record_paths(saved, SCHEME)[1].write_text(content, encoding="latin-1")
    with pytest.raises(PseudoLabelError, match=rf"{SCHEME}.json .*Remove"):
        load_pseudo_labels(saved, SCHEME)


@pytest.mark.parametrize(
    "changes",
    [
        {"min_cluster_size": 3},
        {"min_cluster_size": None},
        {"num_clusters": 6},
        {"num_clusters": None},
        {"seed": 4},
        {"agreement": {"NMI": 0.9}},
        {"extra": 1},
    ],
)
def test_a_changed_manifest_is_found(saved: Path, changes: dict[str, Any]) -> None:
    edit_manifest(saved, **changes)
    with pytest.raises(PseudoLabelError, match=rf"{SCHEME}.json is damaged.*Remove"):
        load_pseudo_labels(saved, SCHEME)


def test_a_missing_record_is_named(tmp_path: Path) -> None:
    with pytest.raises(PseudoLabelError, match=rf"are missing: .*{SCHEME}.json"):
        load_pseudo_labels(tmp_path, SCHEME)


def test_ids_without_manifest_are_not_read(saved: Path) -> None:
    """Half a record: the ids are written first."""
    record_paths(saved, SCHEME)[1].unlink()
    with pytest.raises(PseudoLabelError, match=rf"are missing: .*{SCHEME}.json"):
        load_pseudo_labels(saved, SCHEME)


def test_a_manifest_without_ids_is_named(saved: Path) -> None:
    record_paths(saved, SCHEME)[0].unlink()
    with pytest.raises(PseudoLabelError, match=rf"are missing: .*{SCHEME}.npy"):
        load_pseudo_labels(saved, SCHEME)


def test_a_stop_between_ids_and_manifest_leaves_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(record, "write_manifest", stop)
    with pytest.raises(KeyboardInterrupt):
        save_pseudo_labels(PseudoLabels(IDS, MANIFEST), tmp_path, SCHEME)
    assert [p.name for p in tmp_path.iterdir()] == [f"{SCHEME}.npy"]
    with pytest.raises(PseudoLabelError, match="are missing"):
        load_pseudo_labels(tmp_path, SCHEME)
    monkeypatch.undo()
    save_pseudo_labels(PseudoLabels(IDS[::-1], MANIFEST), tmp_path, SCHEME)
    np.testing.assert_array_equal(load_pseudo_labels(tmp_path, SCHEME).cluster_ids, IDS[::-1])


def test_new_ids_under_an_old_manifest_are_found(saved: Path) -> None:
    """As if a second run had been stopped after its ids."""
    np.save(record_paths(saved, SCHEME)[0], IDS[::-1])
    with pytest.raises(PseudoLabelError, match="npy is damaged"):
        load_pseudo_labels(saved, SCHEME)


@pytest.mark.parametrize(
    ("key", "value"),
    [("teacher_sha256", "u" * 64), ("pool_sha256", "q" * 64), ("num_clusters", 6)],
)
def test_a_record_of_something_else_is_refused(saved: Path, key: str, value: Any) -> None:
    expected = MANIFEST | {key: value}
    with pytest.raises(PseudoLabelError, match=rf"made for {key} .*; expected '?{value}"):
        load_pseudo_labels(saved, SCHEME, expected)


def test_a_record_of_another_split_scheme_is_refused(saved: Path) -> None:
    """Renamed by hand: the manifest knows better."""
    for path, other in zip(record_paths(saved, SCHEME), record_paths(saved, "other"), strict=True):
        path.rename(other)
    with pytest.raises(PseudoLabelError, match=rf"split_scheme '{SCHEME}'; expected 'other'"):
        load_pseudo_labels(saved, "other")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match=r"Cannot write .*missing"):
        save_pseudo_labels(PseudoLabels(IDS, MANIFEST), tmp_path / "missing", SCHEME)


# ---- what the student gets ----------------------------------------------------------------------


def test_pseudo_labels_are_shifted_past_the_classes_and_lone_images_left_out() -> None:
    """Clusters 0 to 4 hold 2, 1, 3, 0 and 0 images; with 10 classes they are 10 to 14."""
    places, labels = PseudoLabels(IDS, MANIFEST).for_training(num_classes=10)
    assert places.tolist() == [0, 1, 2, 3, 5]
    assert labels.tolist() == [12, 10, 10, 12, 12]


@pytest.mark.parametrize(("size", "kept"), [(2, [0, 0, 2, 2, 2]), (1, [0, 0, 1, 2, 2, 2])])
def test_the_smallest_cluster_is_the_manifests(size: int, kept: list[int]) -> None:
    pseudo_labels = PseudoLabels(IDS, MANIFEST | {"min_cluster_size": size})
    assert sorted(pseudo_labels.for_training(0)[1].tolist()) == kept


@pytest.mark.parametrize("ids", [[0, 1, 2, 3], [0, 0, 1, 2]])
def test_fewer_than_two_clusters_of_two_are_refused(ids: list[int]) -> None:
    """One pseudo label alone makes no negative pair, none no batch."""
    with pytest.raises(PseudoLabelError, match="fewer than two clusters have 2 images"):
        PseudoLabels(np.array(ids), MANIFEST).for_training(3)


@pytest.mark.parametrize("ids", [[0, -2], [0, 5], [], [[0, 1], [1, 0]]])
def test_trap_09_ids_out_of_range_are_refused(ids: Any) -> None:
    with pytest.raises(PseudoLabelError, match="expected a flat array of ids from 0 to 4"):
        PseudoLabels(np.array(ids, dtype=np.int64), MANIFEST)


# ---- fingerprint --------------------------------------------------------------------------------


def test_a_pools_own_fingerprint_is_taken() -> None:
    assert pool_fingerprint(SimpleNamespace(fingerprint="abc")) == "abc"


def test_the_fingerprint_changes_with_class_length_and_labels() -> None:
    class Pool:
        def __init__(self, size: int, labels: Any = None) -> None:
            self.size = size
            if labels is not None:
                self.labels = labels

        def __len__(self) -> int:
            return self.size

    class OtherPool(Pool):
        pass

    pools = [Pool(3), Pool(4), OtherPool(3), Pool(3, [0, 1, 1]), Pool(3, [0, 1, 2])]
    assert len({pool_fingerprint(pool) for pool in pools}) == len(pools)
    assert pool_fingerprint(Pool(3, [0, 1, 1])) == pool_fingerprint(Pool(3, np.array([0, 1, 1])))


# ---- noise --------------------------------------------------------------------------------------


def test_noise_is_saved_and_takes_no_part(tmp_path: Path) -> None:
    ids = np.array([0, -1, 1, 0, 1, -1])
    record = PseudoLabels(ids, {"num_clusters": 2, "min_cluster_size": 2})
    save_pseudo_labels(record, tmp_path, SCHEME)
    loaded = load_pseudo_labels(tmp_path, SCHEME)
    np.testing.assert_array_equal(loaded.cluster_ids, ids)
    keep, labels = loaded.for_training(num_classes=10)
    assert keep.tolist() == [0, 2, 3, 4]
    assert labels.tolist() == [10, 11, 10, 11]


# ---- records of earlier versions ----------------------------------------------------------------

K_MEANS = {"num_clusters": 2, "num_iterations": 50, "num_restarts": 1, "seed": 7}


@pytest.mark.parametrize(
    ("former", "clusterer"),
    [(K_MEANS, {"KMeans": K_MEANS}), ({"source": "true_labels"}, {"TrueLabels": {}})],
)
def test_a_record_without_clusterer_is_of_the_former_form(
    tmp_path: Path, former: dict[str, Any], clusterer: dict[str, Any]
) -> None:
    manifest = {"num_clusters": 2, "min_cluster_size": 2, **former}
    save_pseudo_labels(PseudoLabels(np.array([0, 1, 0, 1]), manifest), tmp_path, SCHEME)
    load_pseudo_labels(tmp_path, SCHEME, {"clusterer": clusterer})
    other = {"KMeans": {**K_MEANS, "num_restarts": 2}}
    with pytest.raises(PseudoLabelError, match="was made for clusterer"):
        load_pseudo_labels(tmp_path, SCHEME, {"clusterer": other})
