from typing import Any

import pytest

from slade_plugin.base.errors import ConfigError
from slade_plugin.method.pseudo_labels.settings import PseudoLabelSettings

K_MEANS = {"KMeans": {"num_clusters": 4}}


def test_a_full_entry() -> None:
    entry = {"clusterer": K_MEANS, "min_cluster_size": 3, "folder": "a", "last_folder": "b"}
    assert PseudoLabelSettings.from_config(entry).settings() == entry


def test_defaults() -> None:
    settings = PseudoLabelSettings.from_config({"clusterer": K_MEANS})
    assert (settings.min_cluster_size, settings.folder, settings.last_folder) == (2, None, None)


@pytest.mark.parametrize(
    ("given", "chosen"),
    [
        ({"TrueLabels": {}, "KMeans": {"num_clusters": None}}, {"TrueLabels": {}}),
        ({"TrueLabels": None, "KMeans": {"num_clusters": None}}, {"TrueLabels": None}),
        ({"KMeans": {"num_clusters": None}}, {"KMeans": {"num_clusters": None}}),
        ({"A": {"x": None}, "B": {"y": None}}, {"A": {"x": None}, "B": {"y": None}}),
        ({"A": {"x": 1}, "B": {"y": 2}}, {"A": {"x": 1}, "B": {"y": 2}}),
    ],
)
def test_a_class_with_null_settings_alone_is_no_second_choice(given: Any, chosen: Any) -> None:
    assert PseudoLabelSettings.from_config({"clusterer": given}).clusterer == chosen


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({}, "pseudo_labels: clusterer is None; expected a mapping such as"),
        ({"clusterer": "KMeans"}, "clusterer is 'KMeans'; expected a mapping"),
        ({"clusterer": K_MEANS, "min_cluster_size": 1}, "min_cluster_size is 1; expected an integ"),
        ({"clusterer": K_MEANS, "folder": 3}, "folder is 3; expected a str or null"),
        ({"clusterer": K_MEANS, "num_clusters": 3}, "no entry 'num_clusters'.*below its class"),
    ],
)
def test_a_wrong_entry_is_named(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        PseudoLabelSettings.from_config(entry)
    assert "config_general" in str(caught.value)
