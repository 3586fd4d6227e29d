from pathlib import Path

import pytest

from slade_plugin.base.errors import ConfigError
from tests.study_files import load_study


def test_a_part_of_a_study(tmp_path: Path) -> None:
    """`first` stays as long as it trains the teacher of another one."""
    study = load_study(tmp_path)
    assert list(study.selected(datasets=["blobs"]).datasets) == ["blobs"]
    for changes, names in (
        ({}, ["plain", "whole", "swav", "oracle"]),
        ({"only": ["oracle"]}, ["whole", "oracle"]),
        ({"without": ["plain", "oracle"]}, ["whole", "swav"]),
        ({"only": ["oracle", "plain"], "without": ["plain"]}, ["whole", "oracle"]),
        ({"without": ["whole"]}, ["plain", "whole", "swav", "oracle"]),
        ({"only": ["swav"]}, ["swav"]),
    ):
        assert [s.name for s in study.selected(**changes).settings] == names


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"datasets": ["birds"]}, "--datasets birds; study mine has: dots, blobs"),
        ({"only": ["who"]}, "--only who .*; study mine has: plain, whole, swav, oracle"),
        ({"only": ["swav"], "without": ["swav"]}, "--without swav leaves no setting"),
    ],
)
def test_an_unknown_part_is_refused(
    tmp_path: Path, changes: dict[str, list[str]], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_study(tmp_path).selected(**changes)
