"""What the parsers of student, pseudo labels and SwAV share."""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slade_plugin.base.errors import ConfigError
from slade_plugin.data.split_managers.unlabeled_pool_split_manager import UnlabeledPoolSplitManager
from slade_plugin.host.api_parsers import (
    APISladePseudoLabels,
    APISladeSelfSupervised,
    APISladeStudent,
)
from slade_plugin.host.api_parsers.api_with_pool import APIWithPool

PARSERS = [APISladePseudoLabels, APISladeSelfSupervised, APISladeStudent]


@pytest.mark.parametrize("cls", PARSERS)
def test_all_three_have_the_pool(
    cls: type, experiment_args: Callable[..., Namespace], make_parser: Any, tmp_path: Path
) -> None:
    assert APIWithPool in cls.__mro__
    parser = make_parser(experiment_args(tmp_path), cls)
    parser.transforms = parser.get_transforms()
    parser.split_manager = parser.get_split_manager()
    assert isinstance(parser.split_manager, UnlabeledPoolSplitManager)
    assert np.array_equal(parser.get_true_labels(), np.repeat(np.arange(8), 12))


def test_only_the_student_is_a_student() -> None:
    assert [cls for cls in PARSERS if issubclass(cls, APISladeStudent)] == [APISladeStudent]


@pytest.mark.parametrize("cls", PARSERS)
def test_a_missing_pool_is_named(
    cls: type, experiment_args: Callable[..., Namespace], make_parser: Any, tmp_path: Path
) -> None:
    parser = make_parser(experiment_args(tmp_path, unlabeled_dataset=None), cls)
    with pytest.raises(ConfigError, match="there is no unlabeled_dataset"):
        parser.default_kwargs_split_manager()


def test_equal_labels_are_none(
    experiment_args: Callable[..., Namespace], make_parser: Any, tmp_path: Path
) -> None:
    one = {"Blobs": {"subset": "unlabeled", "classes": 1}}
    parser = make_parser(experiment_args(tmp_path, unlabeled_dataset=one), APISladePseudoLabels)
    parser.transforms = parser.get_transforms()
    parser.split_manager = parser.get_split_manager()
    assert parser.get_true_labels() is None
