import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from slade_plugin.base import plugins
from slade_plugin.base.errors import ConfigError
from slade_plugin.base.files import sha256_of_file
from slade_plugin.base.plugins import installed_plugins, load_plugin, plugin_names


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Writes a module into the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(plugins, "loaded", {})

    def make(name: str, text: str) -> Path:
        monkeypatch.delitem(sys.modules, name, raising=False)
        path = tmp_path / f"{name}.py"
        path.write_text(text, encoding="utf-8")
        return path

    return make


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (None, []),
        ("a", ["a"]),
        ("a,b.c", ["a", "b.c"]),
        (["a,b", "c", "a"], ["a", "b", "c"]),
        (["[a,", "b]"], ["a", "b"]),
    ],
)
def test_names_are_read_in_every_form(given: Any, names: list[str]) -> None:
    assert plugin_names(given) == names


@pytest.mark.parametrize("given", [True, {"a": 1}, [1]])
def test_what_is_no_name_is_refused(given: Any) -> None:
    with pytest.raises(ConfigError, match=r"plugins is .*; expected names of modules"):
        plugin_names(given)


def test_a_module_of_the_current_folder_is_loaded_and_noted(write: Any) -> None:
    path = write("plugin_one", "class Mine:\n    pass\n\nREGISTRY = [('loss', Mine)]\n")
    ((kind, cls),) = load_plugin("plugin_one")
    assert (kind, cls.__name__) == ("loss", "Mine")
    assert plugins.loaded == {"plugin_one": sha256_of_file(path)}


def test_a_missing_module_is_named_with_what_to_do(write: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no plugin 'plugin_none'") as caught:
        load_plugin("plugin_none")
    assert str(tmp_path) in str(caught.value)
    assert "--evaluate" in str(caught.value)
    with pytest.raises(ConfigError, match=r"there is no plugin 'plugin_none\.deeper'"):
        load_plugin("plugin_none.deeper")


def test_what_a_module_itself_lacks_passes_through(write: Any) -> None:
    write("plugin_two", "import a_package_that_is_not_there\n")
    with pytest.raises(ModuleNotFoundError, match="a_package_that_is_not_there"):
        load_plugin("plugin_two")


@pytest.mark.parametrize(
    "text", ["", "REGISTRY = 3", "REGISTRY = ['loss']", "REGISTRY = [('loss', 'Mine')]"]
)
def test_a_module_without_a_proper_registry_is_refused(text: str, write: Any) -> None:
    write("plugin_three", text)
    with pytest.raises(ConfigError, match="'plugin_three' has no valid REGISTRY"):
        load_plugin("plugin_three")


def test_entry_points_are_found_by_their_group(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [metadata.EntryPoint("b", "package.b", plugins.GROUP)]
    asked = []

    def entry_points(group: str) -> list[metadata.EntryPoint]:
        asked.append(group)
        return points * 2

    monkeypatch.setattr(metadata, "entry_points", entry_points)
    assert installed_plugins() == ["package.b"]
    assert asked == ["slade_plugin.plugins"]
