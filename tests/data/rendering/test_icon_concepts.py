import json
from pathlib import Path
from typing import Any

import pytest

from slade_plugin.base.errors import DataError
from slade_plugin.data.rendering import icon_concepts
from slade_plugin.data.rendering.icon_concepts import (
    concept_of,
    drawings_of,
    find_concepts,
    is_taken,
    read_package,
)


def icon_set(prefix: str = "aa", names: str = "bell", **changes: Any) -> dict[str, Any]:
    """A set as the package holds it."""
    info = {"name": prefix, "category": "UI 24px", "license": {"spdx": "MIT"}, "palette": False}
    info |= changes.pop("info", {})
    icons = {name: {"body": f"<path id='{name}'/>"} for name in names.split()}
    return {"prefix": prefix, "info": info, "icons": icons, "width": 24, "height": 24, **changes}


@pytest.mark.parametrize(
    ("name", "concept"),
    [
        ("bell", "bell"),
        ("bell-outline", "bell"),
        ("bell-24-filled", "bell"),  # two styles
        ("bell-02", "bell"),  # a variant
        ("dice-2-fill", "2-dice"),  # no variant: two eyes
        ("traffic-light", "light-traffic"),  # no style
        ("gear", "cog"),
        ("envelope-open-outline", "mail-open"),  # one thing, another word
        ("circle-arrow-up", concept_of("arrow-up-circle")),  # another order
        ("magnifying-glass-20-solid", "search"),
        ("chart-bar", concept_of("bar-chart")),
        ("dashboard", None),  # ambiguous
        ("x-filled", None),  # a letter says too little
    ],
)
def test_names_become_concepts(name: str, concept: str | None) -> None:
    assert concept_of(name) == concept


def test_the_tables_do_not_contradict_each_other() -> None:
    groups = [group.split() for group in icon_concepts._ONE_PICTURE.split(";")]
    names = [{icon_concepts._in_one_order(name) for name in group} for group in groups]
    assert len(set().union(*names)) == sum(map(len, names)), "a name is in two groups"
    assert not set().union(*names) & icon_concepts._DROPPED, "a name is merged and dropped"
    # What a class is called leads to it again.
    assert [concept_of(group[0]) for group in groups] == [group[0] for group in groups]


def test_independent_permissive_one_coloured_sets_are_taken() -> None:
    assert is_taken(icon_set())
    assert not is_taken(icon_set(info={"license": {"spdx": "GPL-3.0"}}))
    assert not is_taken(icon_set(info={"license": {"spdx": "CC-BY-NC-4.0"}}))
    assert not is_taken(icon_set(info={"license": {"title": "of our own"}}))
    assert not is_taken(icon_set(info={"category": "Logos"}))
    assert not is_taken(icon_set(info={"palette": True}))
    assert not is_taken(icon_set("feather"))  # lucide is its fork


def test_a_set_draws_a_concept_once_and_the_plainest_name_wins() -> None:
    found = drawings_of(icon_set(names="bell-outline bell bell-filled notification-bell sun-line"))
    assert {concept: drawing.name for concept, drawing in found.items()} == {
        "bell": "bell",
        "sun": "sun-line",
    }


def test_animated_and_withdrawn_icons_are_left_out() -> None:
    one = icon_set(names="bell sun moon")
    one["icons"]["sun"]["hidden"] = True
    one["icons"]["moon"]["body"] = '<path><animate attributeName="d"/></path>'
    assert list(drawings_of(one)) == ["bell"]


def test_the_view_box_is_the_icon_s_or_the_set_s_or_the_format_s() -> None:
    one = icon_set(names="bell sun")
    one["icons"]["sun"] |= {"left": -1, "width": 30}
    found = drawings_of(one)
    assert found["bell"].view_box == (0, 0, 24, 24)
    assert found["sun"].view_box == (-1, 0, 30, 24)
    del one["width"], one["height"]
    assert drawings_of(one)["bell"].view_box == (0, 0, 16, 16)


def test_concepts_need_enough_sets() -> None:
    sets = [icon_set("aa", "bell sun"), icon_set("bb", "bell-line moon"), icon_set("cc", "sun")]
    found = find_concepts(sets, min_drawings=2)
    assert {
        concept: [drawing.set_prefix for drawing in drawings] for concept, drawings in found.items()
    } == {"bell": ["aa", "bb"], "sun": ["aa", "cc"]}


def write_package(folder: Path, *sets: dict[str, Any]) -> Path:
    (folder / "json").mkdir(parents=True)
    (folder / "package.json").write_text('{"name": "@iconify/json", "version": "9.9.9"}')
    for one in sets:
        (folder / "json" / f"{one['prefix']}.json").write_text(json.dumps(one))
    return folder


def test_the_package_is_read(tmp_path: Path) -> None:
    sets = icon_set("zz"), icon_set("aa"), icon_set("bx")
    version, taken = read_package(write_package(tmp_path / "package", *sets))
    assert version == "9.9.9"
    assert [one["prefix"] for one in taken] == ["aa", "zz"]


def test_what_is_not_the_package_is_answered_with_the_commands(tmp_path: Path) -> None:
    commands = "npm pack @iconify/json@.* (?s:.*)tar xzf"
    with pytest.raises(DataError, match=f"is not the unpacked npm package.*{commands}"):
        read_package(tmp_path)
    package = write_package(tmp_path / "package")
    with pytest.raises(DataError, match=f"0 icon sets, none that can be used.*{commands}"):
        read_package(package)
    (package / "json" / "aa.json").write_text("{}")
    with pytest.raises(DataError, match=r"KeyError\('info'\)"):
        read_package(package)
    (package / "json" / "aa.json").write_text("<svg/>")
    with pytest.raises(DataError, match="JSONDecodeError"):
        read_package(package)
