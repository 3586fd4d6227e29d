"""Config names become lists of files, and a file may bring others."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from slade_plugin.base.errors import ConfigError
from slade_plugin.config.composition import (
    available_configs,
    compose,
    config_root,
    load_config,
    read_areas,
    requested_names,
)
from slade_plugin.runner import SladeRunner

AREAS = ["config_a", "config_b"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two areas: `config_a/one` brings `two` of its own area and `extra` of the other."""
    write(tmp_path, "config_foldernames", {"config_foldernames": AREAS, "config_a": ["default"],
                                           "config_b": "default"})  # fmt: skip
    for area in AREAS:
        write(tmp_path, f"{area}/default", {"key": 0})
    write(tmp_path, "config_a/one", {"brings": {"config_a": "two", "config_b": ["extra"]}})
    write(tmp_path, "config_a/two", {"brings": {"config_b": ["deep"]}})
    for name in ("extra", "deep", "mine"):
        write(tmp_path, f"config_b/{name}", {"key": 1})
    return tmp_path


def write(root: Path, name: str, content: Any) -> None:
    path = root / f"{name}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(content), encoding="utf-8")


def test_a_bare_name_means_the_default_and_that_file(root: Path) -> None:
    assert requested_names("two", "config_a") == ["default", "two"]
    assert compose(root, AREAS, {"config_a": "two"})["config_a"] == ["default", "two"]


def test_the_default_is_not_listed_twice() -> None:
    assert requested_names("default", "config_a") == ["default"]


def test_a_list_is_taken_as_it_is(root: Path) -> None:
    """As in the host: without the default in the list there is no default."""
    composed = compose(root, AREAS, {"config_a": ["two"], "config_b": ["mine", "extra"]})
    assert composed["config_a"] == ["two"]
    assert composed["config_b"] == ["deep", "mine", "extra"]


def test_an_area_left_out_is_its_default(root: Path) -> None:
    assert compose(root, AREAS, {}) == {"config_a": ["default"], "config_b": ["default"]}


def test_order_is_default_then_brought_then_the_users(root: Path) -> None:
    composed = compose(root, AREAS, {"config_a": "one", "config_b": "mine"})
    assert composed["config_a"] == ["default", "two", "one"]
    assert composed["config_b"] == ["default", "deep", "extra", "mine"]


def test_what_a_data_set_brings_comes_last(root: Path) -> None:
    """Though its area is the first, and whatever the method's area is called."""
    areas = ["config_dataset", *AREAS]
    write(root, "config_dataset/default", {"key": 0})
    write(root, "config_dataset/photographs", {"brings": {"config_b": ["mine"]}})
    composed = compose(root, areas, {"config_dataset": "photographs", "config_a": "one"})
    assert composed["config_b"] == ["default", "deep", "extra", "mine"]
    assert list(composed) == areas


def test_a_data_set_adapts_a_method_wherever_it_is_loaded(root: Path) -> None:
    """`slow` follows `two` and so yields to `one`, which is built on `two`."""
    areas = ["config_dataset", *AREAS]
    write(root, "config_dataset/default", {"key": 0})
    write(root, "config_dataset/photographs", {"brings": {"config_a": [{"two": "slow"}]}})
    write(root, "config_a/slow", {"key": 1})
    wanted = {"config_dataset": "photographs"}
    composed = compose(root, areas, {**wanted, "config_a": "one"})
    assert composed["config_a"] == ["default", "two", "slow", "one"]
    assert compose(root, areas, wanted)["config_a"] == ["default"]
    write(root, "config_dataset/photographs", {"brings": {"config_a": [{"two": 3}]}})
    with pytest.raises(ConfigError, match=r"photographs\.yaml brings 3 of config_a; expected"):
        compose(root, areas, wanted)


def test_further_files_come_after_the_methods_and_before_the_data_set_s(root: Path) -> None:
    """Where a stage's settings bring files: `pipeline: teacher: brings`."""
    areas = ["config_dataset", *AREAS]
    write(root, "config_dataset/default", {"key": 0})
    write(root, "config_dataset/photographs", {"brings": {"config_b": ["mine"]}})
    write(root, "config_b/further", {"key": 1})
    requested = {"config_dataset": "photographs", "config_a": "one"}
    composed = compose(root, areas, requested, {"config_b": ["further"]})
    assert composed["config_b"] == ["default", "deep", "extra", "further", "mine"]
    with pytest.raises(ConfigError, match=r"pipeline: teacher brings files of 'config_c'"):
        compose(root, areas, requested, {"config_c": ["further"]})


def test_the_order_of_the_keys_of_brings_does_not_matter(root: Path) -> None:
    """`one` builds on `two`, so what `two` brings comes first, wherever config_a is written."""
    expected = compose(root, AREAS, {"config_a": "one"})
    text = "brings:\n  config_b: [extra]\n  config_a: [two]\n"
    (root / "config_a" / "one.yaml").write_text(text, encoding="utf-8")
    assert compose(root, AREAS, {"config_a": "one"}) == expected


def test_a_file_brought_twice_is_loaded_once(root: Path) -> None:
    composed = compose(root, AREAS, {"config_a": ["default", "one", "two"]})
    assert composed["config_a"] == ["default", "two", "one"]
    assert composed["config_b"] == ["default", "deep", "extra"]


def test_what_the_user_names_again_is_not_moved_back(root: Path) -> None:
    """`--config_general [default, slade]` with slade_basis: slade stays before slade_basis."""
    composed = compose(root, AREAS, {"config_a": "one", "config_b": ["default", "mine", "deep"]})
    assert composed["config_b"] == ["default", "deep", "extra", "mine"]


def test_the_shipped_slade_is_built_up_from_its_rungs() -> None:
    root = config_root()
    composed = compose(root, read_areas(root), {"config_loss": "slade"})
    rungs = ["default", "slade_pseudo_label", "slade_basis", "slade"]
    assert composed["config_loss"] == rungs
    assert composed["config_general"][:2] == ["default", "slade"]
    assert composed["config_eval"] == ["default", "slade"]
    assert "slade_basis" in composed["config_optimizers"]


def test_unknown_name_gets_the_nearest_one(root: Path) -> None:
    message = r"config_b has no config 'mien' in .*config_b \(did you mean 'mine'\?\); it has deep,"
    with pytest.raises(ConfigError, match=message):
        compose(root, AREAS, {"config_b": "mien"})


def test_a_file_that_brings_a_missing_one_is_named(root: Path) -> None:
    write(root, "config_a/bad", {"brings": {"config_b": "gone"}})
    with pytest.raises(ConfigError, match="config_b has no config 'gone'"):
        compose(root, AREAS, {"config_a": "bad"})


@pytest.mark.parametrize("value", [True, None, 3, [], [1], {"a": 1}, ["default", None]])
def test_anything_but_names_is_refused(root: Path, value: Any) -> None:
    with pytest.raises(ConfigError, match=r"--config_a is .*; expected a name or a list of names"):
        compose(root, AREAS, {"config_a": value})


def test_a_circle_of_files_is_shown(root: Path) -> None:
    write(root, "config_b/deep", {"brings": {"config_a": "one"}})
    way = "config_a/one -> config_a/two -> config_b/deep -> config_a/one"
    with pytest.raises(ConfigError, match=f"config_a/one.yaml brings itself: {way}"):
        compose(root, AREAS, {"config_a": "one"})


@pytest.mark.parametrize(
    ("brings", "message"),
    [
        (["two"], "brings is .*; expected areas and their files"),
        ({"config_c": "x"}, r"brings files of 'config_c' \(did you mean 'config_[ab]'\?\)"),
        ({"config_b": 3}, "brings 3 of config_b; expected the names of files"),
        ({"config_b": None}, "brings None of config_b; expected the names of files"),
        ({"config_b": [{"x": "y"}]}, r"brings \[\{.*\}\] of config_b; expected the names of files"),
    ],
)
def test_a_malformed_brings_is_refused(root: Path, brings: Any, message: str) -> None:
    write(root, "config_a/bad", {"brings": brings})
    with pytest.raises(ConfigError, match=f"config_a/bad.yaml.*{message}"):
        compose(root, AREAS, {"config_a": "bad"})


@pytest.mark.parametrize("content", [b"a: b: c", b"{", b"\xff\xfe\xff"])
def test_a_file_that_is_no_yaml_is_named(root: Path, content: bytes) -> None:
    (root / "config_a" / "bad.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"(?s)config_a/bad\.yaml cannot be read: .*; expected"):
        load_config(root, "config_a", "bad")


@pytest.mark.parametrize("content", [None, ["a"], "text"])
def test_a_file_without_keys_is_named(root: Path, content: Any) -> None:
    write(root, "config_a/bad", content)
    with pytest.raises(ConfigError, match=r"bad\.yaml holds \w+; expected keys and values"):
        load_config(root, "config_a", "bad")


def test_an_area_may_be_one_file_as_in_the_host(root: Path) -> None:
    """The host takes config_a.yaml beside the folder, whatever names are asked for."""
    write(root, "config_a", {"key": 7, "brings": {"config_b": "mine"}})
    assert load_config(root, "config_a", "anything")["key"] == 7
    assert compose(root, AREAS, {"config_a": "x"})["config_b"] == ["default", "mine"]


def test_available_configs_are_sorted(root: Path) -> None:
    assert available_configs(root, "config_b") == ["deep", "default", "extra", "mine"]
    assert available_configs(root, "config_c") == []


def test_areas_are_read_in_order(root: Path) -> None:
    assert read_areas(root) == AREAS


def test_a_root_without_its_areas_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no config_foldernames\.yaml; expected a config"):
        read_areas(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"config_foldernames": "config_a"}, "config_foldernames is 'config_a'; expected a list"),
        ({"other": 1}, "config_foldernames is None; expected a list of areas"),
        ({"config_foldernames": ["config_a"]}, r"lacks config_a; expected its files"),
        ({"config_foldernames": ["config_a"], "config_a": 3}, "--config_a is 3"),
    ],
)
def test_a_malformed_areas_file_is_refused(root: Path, content: Any, message: str) -> None:
    write(root, "config_foldernames", content)
    with pytest.raises(ConfigError, match=message):
        read_areas(root)


def test_the_shipped_configs_are_found_beside_the_package() -> None:
    assert (config_root() / "config_foldernames.yaml").is_file()
    assert Path(SladeRunner().root_config_folder) == config_root()


def test_installed_configs_are_found_inside_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site-packages" / "slade_plugin"
    monkeypatch.setattr(
        "slade_plugin.config.composition.__file__", str(package / "config" / "composition.py")
    )
    assert config_root() == package / "bench_configs"
