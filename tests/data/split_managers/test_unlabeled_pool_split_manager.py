"""The splits are the host's, whichever of its managers makes them; an overlap is an error."""

import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from powerful_benchmarker.split_managers import (
    BaseSplitManager,
    ClassDisjointSplitManager,
    ClosedSetSplitManager,
    IndexSplitManager,
    MLRCSplitManager,
    PredefinedSplitManager,
)
from torch.utils.data import Subset

import slade_plugin
from slade_plugin.base.errors import DataError
from slade_plugin.data.split_managers.unlabeled_pool_split_manager import UnlabeledPoolSplitManager

SPLITS = ("train", "val", "test")
FOLDS = {
    "test_size": 0.5,
    "test_start_idx": 0.5,
    "num_training_partitions": 2,
    "num_training_sets": 2,
    "data_and_label_getter_keys": ["data", "label"],
}
HELPERS: dict[str, tuple[type, dict[str, Any]]] = {
    "class disjoint": (ClassDisjointSplitManager, FOLDS),
    "MLRC": (MLRCSplitManager, FOLDS),
    "closed set": (ClosedSetSplitManager, FOLDS | {"shuffle": True, "random_seed": 3}),
    "index": (IndexSplitManager, FOLDS),
    "predefined": (PredefinedSplitManager, {"data_and_label_getter_keys": ["data", "label"]}),
}


def datasets_of(blobs: Any) -> dict[str, dict[str, Any]]:
    """As the host's factory makes them: one instance a transform and split."""
    return {t: {s: blobs(transform=t) for s in SPLITS} for t in ("train", "eval")}


def split_by(helper: Any, datasets: Any) -> Any:
    helper.create_split_schemes(datasets)
    return helper


def splits_of(manager: Any) -> dict[tuple[str, str, str], list[int]]:
    """Which images are in which split; where there are no indices, all of them."""
    found = {}
    for scheme in manager.split_scheme_names:
        manager.set_curr_split_scheme(scheme)
        for transform in ("train", "eval"):
            for split, dataset in manager.get_dataset_dict(transform).items():
                indices = getattr(dataset, "indices", range(len(dataset)))
                found[scheme, transform, split] = [int(i) for i in indices]
    return found


@pytest.mark.parametrize("name", HELPERS)
def test_splits_are_exactly_the_helpers(name: str, blobs: Any) -> None:
    cls, settings = HELPERS[name]
    plain = split_by(cls(**settings), datasets_of(blobs))
    ours = UnlabeledPoolSplitManager(split_by(cls(**settings), datasets_of(blobs)), {})

    expected = splits_of(plain)
    assert splits_of(ours) == expected
    assert len({split for _, _, split in expected}) == 3
    for scheme in plain.split_scheme_names:
        plain.set_curr_split_scheme(scheme)
        ours.set_curr_split_scheme(scheme)
        assert ours.curr_split_scheme_name == scheme
        for split in SPLITS:
            np.testing.assert_array_equal(
                ours.get_labels("train", split), plain.get_labels("train", split)
            )
            assert ours.get_label_set("eval", split) == plain.get_label_set("eval", split)
            assert ours.get_num_labels("eval", split) == plain.get_num_labels("eval", split)


@pytest.mark.parametrize("name", HELPERS)
def test_names_and_getters_are_the_helpers(name: str, blobs: Any) -> None:
    cls, settings = HELPERS[name]
    helper = split_by(cls(**settings), datasets_of(blobs))
    ours = UnlabeledPoolSplitManager(helper, {})
    assert ours.get_split_scheme_name(1) == helper.get_split_scheme_name(1)
    assert ours.collate_fn is None
    assert ours.split_names == helper.split_names
    assert ours.num_split_schemes == helper.num_split_schemes
    assert ours.data_and_label_getter({"data": 1, "label": 2, "pool_index": 3}) == (1, 2)


def test_the_helper_follows_the_current_scheme(blobs: Any) -> None:
    """One holder: whoever asks the host's manager gets the same scheme."""
    helper = split_by(ClassDisjointSplitManager(**FOLDS), datasets_of(blobs))
    ours = UnlabeledPoolSplitManager(helper, {})
    ours.set_curr_split_scheme(ours.split_scheme_names[1])
    assert helper.curr_split_scheme_name == ours.split_scheme_names[1]
    assert helper.get_dataset("train", "val") is ours.get_dataset("train", "val")


class Careless(BaseSplitManager):
    """A manager of someone else that checks nothing."""

    def __init__(self, indices: dict[str, list[int]]) -> None:
        super().__init__()
        self.indices = indices

    def _create_split_schemes(self, datasets: Any) -> Any:
        return OrderedDict(
            scheme=OrderedDict(
                (t, OrderedDict((s, Subset(datasets[t][s], i)) for s, i in self.indices.items()))
                for t in datasets
            )
        )

    def split_assertions(self) -> None:
        pass


@pytest.mark.parametrize(
    ("indices", "names"),
    [
        (
            {"train": [0, 1, 2], "val": [2, 3], "test": [4]},
            "train and in val, for example number 2",
        ),
        ({"train": [0, 1], "val": [2, 3], "test": [4, 1]}, "train and in test, for example num"),
        ({"train": [0, 1], "val": [2, 3], "test": [3, 2]}, "2 images are in val and in test"),
    ],
)
def test_trap_a16_an_overlap_is_refused(
    indices: dict[str, list[int]], names: str, blobs: Any
) -> None:
    with pytest.raises(DataError, match=names):
        UnlabeledPoolSplitManager(split_by(Careless(indices), datasets_of(blobs)), {})


def test_whole_data_sets_of_equal_content_are_warned_of(
    blobs: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """All that the host's factory can give its PredefinedSplitManager."""
    names = {"train": "a", "val": "b", "test": "c"}
    for fingerprints, warnings in ((names, 0), (names | {"test": "a"}, 2)):
        datasets = datasets_of(blobs)
        for splits in datasets.values():
            for name, split in splits.items():
                split.fingerprint = fingerprints[name]
        caplog.clear()
        UnlabeledPoolSplitManager(split_by(PredefinedSplitManager(), datasets), {})
        assert len(caplog.records) == warnings
    assert "(eval): some of train, val, test are the same images" in caplog.text


def test_splits_without_overlap_are_taken(blobs: Any) -> None:
    indices = {"train": [0, 1], "val": [2, 3], "test": [4]}
    ours = UnlabeledPoolSplitManager(split_by(Careless(indices), datasets_of(blobs)), {})
    assert splits_of(ours)["scheme", "eval", "val"] == [2, 3]


def test_trap_a16_an_overlap_is_refused_without_asserts_too() -> None:
    """Under `python -O`; the host's base class and neighbours are replaced, to load no torch."""
    code = """
import sys, types
assert False, "python -O should have removed this"
class Base:
    def __init__(self, **kwargs): pass
host = types.ModuleType("powerful_benchmarker.split_managers")
host.BaseSplitManager = Base
sys.modules["powerful_benchmarker"] = types.ModuleType("powerful_benchmarker")
sys.modules["powerful_benchmarker.split_managers"] = host
name = "slade_plugin.data.split_managers.query_gallery_split_manager"
sys.modules[name] = types.SimpleNamespace(QueryGallerySplitManager=None)
parts = dict.fromkeys(["LeakageReport", "LeakageSettings", "find_leaks"])
sys.modules["slade_plugin.data.leakage"] = types.SimpleNamespace(**parts)
from slade_plugin.base.errors import DataError
from slade_plugin.data.split_managers.unlabeled_pool_split_manager import UnlabeledPoolSplitManager
split = lambda *indices: types.SimpleNamespace(indices=list(indices))
helper = types.SimpleNamespace(
    split_scheme_holder=types.SimpleNamespace(
        split_schemes={"scheme": {"train": {"train": split(0, 1), "test": split(1, 2)}}}
    ),
)
try:
    UnlabeledPoolSplitManager(helper, {})
except DataError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-O", "-B", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(slade_plugin.__file__).parents[1],
    )
    assert "1 images are in train and in test, for example number 1" in done.stdout


def test_a_labeled_class_of_one_image_is_refused(blobs: Any) -> None:
    """Blobs of 12 images a class: train holds classes 0 and 1, of the latter only its first."""
    indices = {"train": list(range(13)), "val": [20, 21], "test": [30, 31]}
    ours = UnlabeledPoolSplitManager(split_by(Careless(indices), datasets_of(blobs)), {})
    with pytest.raises(DataError, match=r"1 of 2 training classes .*for example label 1\b"):
        ours.check_labeled_classes()


def test_labeled_classes_of_two_images_are_taken(blobs: Any) -> None:
    """Whatever val and test hold: they have lone classes here."""
    indices = {"train": [0, 1, 12, 13], "val": [24], "test": [36]}
    ours = UnlabeledPoolSplitManager(split_by(Careless(indices), datasets_of(blobs)), {})
    ours.check_labeled_classes()


def test_the_pool_is_given_once_a_transform_and_split_by_none(blobs: Any) -> None:
    pools = {t: blobs(subset="unlabeled", transform=t) for t in ("train", "eval")}
    helper = split_by(ClassDisjointSplitManager(**FOLDS), datasets_of(blobs))
    ours = UnlabeledPoolSplitManager(helper, pools)
    for scheme in ours.split_scheme_names:
        ours.set_curr_split_scheme(scheme)
        assert ours.get_unlabeled_dataset("train") is pools["train"]
        assert ours.get_unlabeled_dataset("eval") is pools["eval"]
