import json
import sys
from pathlib import Path

import numpy as np
import pytest

from slade_plugin.base.errors import DataError
from slade_plugin.data.datasets import Icons, icon_building
from slade_plugin.data.datasets.icon_building import build, render_concepts, split
from slade_plugin.data.rendering.icon_concepts import Drawing
from tests.icon_packages import CONCEPTS, body, write_package


@pytest.fixture(autouse=True)
def small_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Concepts that all twelve sets draw may be labeled; the pool takes the others."""
    monkeypatch.setattr(icon_building, "MIN_LABELED", 12)
    monkeypatch.setattr(icon_building, "MIN_POOL", 10)


def test_what_is_built_is_read(tmp_path: Path) -> None:
    manifest = json.loads(build(write_package(tmp_path / "package"), tmp_path).read_text())
    labeled, pool = Icons(tmp_path), Icons(tmp_path, subset="unlabeled")
    assert len(labeled.class_names) == 2
    assert set(labeled.class_names) < set(CONCEPTS[:4])
    assert set(pool.class_names) == set(CONCEPTS) - set(labeled.class_names)
    assert manifest["counts"] == {
        "labeled": {"classes": 2, "images": 24, "min": 12, "median": 12, "max": 12},
        "unlabeled": {"classes": 6, "images": 64, "min": 10, "median": 10, "max": 12},
    }
    assert manifest["package"] == {"name": "@iconify/json", "version": "9.9.9"}
    assert set(manifest["versions"]) == {"numpy", "pillow", "resvg-py"}
    assert manifest["icon_sets"][0] == {
        "prefix": "set00",
        "name": "Set 0",
        "version": "1.0.0",
        "author": "Somebody",
        "url": "https://example.org",
        "license": "MIT",
        "images": 8,
    }


def test_every_image_is_the_icon_that_the_manifest_names(tmp_path: Path) -> None:
    from slade_plugin.data.rendering.icon_rendering import render

    path = build(write_package(tmp_path / "package"), tmp_path)
    classes = json.loads(path.read_text())["classes"]
    for subset, entries in classes.items():
        dataset = Icons(tmp_path, subset=subset)
        named = [icon for entry in entries for icon in entry["icons"]]
        assert len(named) == len(dataset)
        for icon, item in zip(named, dataset, strict=False):
            prefix, name = icon.split(":")
            assert dataset.class_names[item["label"]] == name.removesuffix("-outline")
            place = CONCEPTS.index(name.removesuffix("-outline"))
            drawn = render(Drawing("", "", body(place, int(prefix[3:])), (0, 0, 24, 24)))
            np.testing.assert_array_equal(np.asarray(item["data"]), drawn)


def test_building_again_gives_the_same_bytes(tmp_path: Path) -> None:
    package = write_package(tmp_path / "package")
    for name in "ab":
        build(package, tmp_path / name)
    files = [sorted((tmp_path / name / "icons").iterdir()) for name in "ab"]
    assert len(files[0]) == 2
    for first, second in zip(*files, strict=True):
        assert first.name == second.name
        assert first.read_bytes() == second.read_bytes()


def stack(*seeds: int) -> np.ndarray:
    """One random image a seed."""
    return np.stack(
        [np.random.default_rng(s).integers(0, 256, (32, 32), dtype=np.uint8) for s in seeds]
    )


def concept(name: str, *seeds: int) -> icon_building.IconClass:
    drawings = [Drawing(f"set{s}", name, "", (0, 0, 1, 1)) for s in seeds]
    return name, drawings, stack(*seeds)


def test_half_of_the_large_concepts_are_labeled_whatever_their_order() -> None:
    known = [concept(f"c{n}", *range(10 * n, 10 * n + 4)) for n in range(9)]
    known += [concept("small", 200, 201), concept("single", 300)]
    labeled, pool = split(known, min_labeled=4, min_pool=2)
    assert len(labeled) == 4
    assert {name for name, _, _ in labeled + pool} == {f"c{n}" for n in range(9)} | {"small"}
    again = split(known[::-1], min_labeled=4, min_pool=2)
    assert [[item[0] for item in part] for part in again] == [
        [item[0] for item in part] for part in (labeled, pool)
    ]
    assert [item[0] for item in pool] != sorted(item[0] for item in pool)


def test_the_pool_has_no_near_duplicate_of_a_labeled_image() -> None:
    pair = [concept("a", 1, 2, 3), concept("b", 4, 5, 6)]
    [(name, _, _)], _ = split([*pair], 3, 1)
    other = "b" if name == "a" else "a"
    seeds = {"a": (1, 2, 3), "b": (4, 5, 6)}
    twin = (seeds[name][0], *seeds[other][1:])  # one drawing is borrowed
    _, [(pool_name, drawings, images)] = split(
        [concept(name, *seeds[name]), concept(other, *twin)], 3, 2
    )
    assert pool_name == other
    assert [drawing.set_prefix for drawing in drawings] == [f"set{s}" for s in twin[1:]]
    np.testing.assert_array_equal(images, stack(*twin[1:]))
    with pytest.raises(DataError, match="1 labeled and 0 pool classes"):
        split([concept(name, *seeds[name]), concept(other, *twin)], 3, 3)


def test_blank_and_borrowed_drawings_are_left_out() -> None:
    bodies = ["", '<rect width="9" height="4"/>', '<rect width="9" height="4"/>']
    bodies += ['<circle r="9" cx="12" cy="12"/>']
    drawings = [Drawing(f"set{n}", "bell", text, (0, 0, 24, 24)) for n, text in enumerate(bodies)]
    [(_, kept, images)] = render_concepts({"bell": drawings, "sun": drawings[:1]})
    assert [drawing.set_prefix for drawing in kept] == ["set1", "set3"]
    assert images.shape == (2, 32, 32)


def test_a_missing_renderer_is_named_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(DataError, match="pip install resvg-py"):
        build(tmp_path / "nothing", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_too_small_a_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(icon_building, "MIN_LABELED", 100)
    with pytest.raises(DataError, match="0 labeled and 0 pool classes out of 8 concepts"):
        build(write_package(tmp_path / "package"), tmp_path)
