"""The data of an experiment are known by their content."""

import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from powerful_benchmarker.api_parsers import BaseAPIParser

from slade_plugin.base.errors import ExperimentError
from slade_plugin.host.api_parsers import APISladeStudent
from slade_plugin.host.api_parsers.data_record import (
    RECORD,
    check_data,
    data_hashes,
    read_data_record,
    record_data,
)


@pytest.fixture
def make(experiment_args: Callable[..., Namespace], make_parser: Any, tmp_path: Path) -> Any:
    """Makes the parser of an experiment in `tmp_path` with its split manager."""

    def make(cls: type = APISladeStudent, **changes: Any) -> Any:
        args = experiment_args(tmp_path, student=cls is APISladeStudent, **changes)
        parser = make_parser(args, cls)
        parser.transforms = parser.get_transforms()
        parser.split_manager = parser.get_split_manager()
        return parser

    return make


def blobs(subset: str, **changes: Any) -> dict[str, Any]:
    return {"Blobs": {"subset": subset, **changes}}


def test_a_hash_of_each_data_set(make: Any) -> None:
    """A pool only where there is one; another one changes its own hash alone."""
    student = data_hashes(make().split_manager)
    assert student.keys() == {"labeled", "pool"}
    assert data_hashes(make(BaseAPIParser).split_manager) == {"labeled": student["labeled"]}
    other = data_hashes(make(unlabeled_dataset=blobs("unlabeled", per_class=9)).split_manager)
    assert other["labeled"] == student["labeled"]
    assert other["pool"] != student["pool"]


def test_other_data_are_refused(make: Any, tmp_path: Path) -> None:
    record_data(make())
    before = (tmp_path / RECORD).read_text()
    make()
    make(BaseAPIParser)  # no pool to compare
    for key, name, flag in (
        ("dataset", "labeled", "--labeled"),
        ("unlabeled_dataset", "pool", "--unlabeled"),
    ):
        entry = blobs("labeled" if key == "dataset" else "unlabeled", per_class=10)
        with pytest.raises(ExperimentError, match=rf"the hash of {name} was .*{flag} PATH"):
            make(**{key: entry})
    record_data(make())
    assert (tmp_path / RECORD).read_text() == before  # written once


def test_a_reproduction_is_compared_with_its_original(make: Any, tmp_path: Path) -> None:
    parser = make(BaseAPIParser)
    original = tmp_path / "original"
    original.mkdir()
    (original / RECORD).write_text(json.dumps({"labeled": "0" * 64}))
    check_data(parser, parser.split_manager)
    parser.args.reproduce_results = str(original)
    with pytest.raises(ExperimentError, match=f"the data of {original} have changed"):
        check_data(parser, parser.split_manager)


def test_training_leaves_the_record(
    teacher_experiment: Path, experiment_args: Any, make_parser: Any
) -> None:
    parser = make_parser(experiment_args(teacher_experiment, student=False), BaseAPIParser)
    parser.transforms = parser.get_transforms()
    assert read_data_record(teacher_experiment) == data_hashes(parser.get_split_manager())


def test_records_of_earlier_versions_and_damaged_ones(tmp_path: Path) -> None:
    assert read_data_record(tmp_path) == {}
    for damage in ("", "3", "{"):
        (tmp_path / RECORD).write_text(damage)
        with pytest.raises(ExperimentError, match="is damaged"):
            read_data_record(tmp_path)
