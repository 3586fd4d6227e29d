from pathlib import Path

import pytest
import yaml

from slade_plugin.base.errors import ConfigError
from slade_plugin.experiments.studies.study import Space
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


def test_a_part_of_a_study_keeps_the_baseline_that_a_setting_names(tmp_path: Path) -> None:
    """Otherwise it would be compared with that of `first`."""
    own = {"flags": "--config_loss a", "teacher": "own"}
    controls = {"long": own | {"baseline": True}, "on_long": own | {"baseline": "long"}}
    study = load_study(tmp_path, controls=controls)
    assert [s.name for s in study.selected(only=["on_long"]).settings] == ["long", "on_long"]


@pytest.mark.parametrize("value", [4e-5, 2e-06, 0.00035, 1.5e-7, 3.0, 1e7])
def test_a_tuned_value_is_a_number_in_yaml(value: float) -> None:
    """4e-05 would be text."""
    for scale in ("", "log"):
        assert yaml.safe_load(Space(value, 2 * value, scale).at(0)) == pytest.approx(value)


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
