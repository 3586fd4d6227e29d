"""Building, from the packages to the data set, with a renderer that paints plain colors; the last
test renders, where the machine has OpenGL.
"""

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from slade_plugin.base.errors import DataError
from slade_plugin.base.files import sha256_of_file
from slade_plugin.data.datasets import Furniture, furniture_building
from slade_plugin.data.datasets.furniture_building import build, split
from slade_plugin.data.rendering.furniture_packages import read_packages
from slade_plugin.data.rendering.furniture_rendering import SceneRenderer
from tests.furniture_packages import Painter, write_packages


@pytest.fixture
def painter(monkeypatch: pytest.MonkeyPatch) -> type[Painter]:
    class Fresh(Painter):
        painted = 0

    monkeypatch.setattr(furniture_building, "SceneRenderer", Fresh)
    return Fresh


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    return write_packages(tmp_path / "packages")


@pytest.mark.usefixtures("painter")
def test_what_is_built_is_read(packages: Path, tmp_path: Path) -> None:
    path = build(packages, tmp_path, views=3, size=32)
    assert path == tmp_path / "furniture" / "v1_3_views_32_px.json"
    labeled = Furniture(tmp_path, views=3, size=32)
    pool = Furniture(tmp_path, subset="unlabeled", views=3, size=32)
    assert sorted(labeled.class_names) == ["Scopia/thing1", "Scopia/thing2", "Scopia/thing3"]
    # Not the person, and nothing of the library whose license is unknown.
    assert sorted(pool.class_names) == [f"KatorLegaz/thing{n}" for n in (1, 2, 3)]
    assert labeled.labels.tolist() == pool.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert labeled.images.shape == (18, 32, 32, 3)
    # The files beside the finished ones are gone.
    assert {file.suffix for file in path.parent.iterdir()} == {".json", ".npy"}


@pytest.mark.usefixtures("painter")
def test_the_manifest_names_packages_versions_and_the_author_of_each_model(
    packages: Path, tmp_path: Path
) -> None:
    manifest = json.loads(build(packages, tmp_path, 2, 32).read_text())
    assert (manifest["views"], manifest["size"], manifest["renderer"]) == (2, 32, "a brush")
    assert manifest["packages"]["sweethome3d"] == {
        "version": "9.9-2",
        "sha256": sha256_of_file(packages / "sweethome3d_9.9-2_all.deb"),
    }
    assert set(manifest["versions"]) == {"numpy", "pillow"}
    by_name = {entry["name"]: entry for entry in manifest["classes"]["labeled"]}
    assert by_name["Scopia/thing2"] == {
        "name": "Scopia/thing2",
        "images": 2,
        "title": "Café 2",
        "category": "Kitchen",
        "author": "Maker of Scopia",
        "license": "CC-BY-3.0",
        "source": "http://www.blendswap.com/blends/view/1234",
    }
    assert [entry["name"] for entry in manifest["beside"]] == ["KatorLegaz/thing4"]
    assert manifest["beside"][0]["license"] == "CC-BY-3.0-US"


@pytest.mark.usefixtures("painter")
def test_an_image_shows_its_own_model(packages: Path, tmp_path: Path) -> None:
    """The painter's colors are the extents, so that of `thingN`, 1 wide and N high, is known."""
    build(packages, tmp_path, views=4, size=32)
    for subset in ("labeled", "unlabeled"):
        dataset = Furniture(tmp_path, subset=subset, views=4, size=32)
        for item in dataset:  # type: ignore[attr-defined]
            wide, high, _ = np.asarray(item["data"]).mean(axis=(0, 1))
            height = int(dataset.class_names[item["label"]][-1])
            turned = height == 2  # by its rotation, it is 2 wide and 2 high
            assert (high > wide + 5) == (height > 1 and not turned)


def test_views_depend_on_the_name_alone(
    packages: Path, painter: type[Painter], tmp_path: Path
) -> None:
    few, many = (build(packages, tmp_path / str(views), views, 32) for views in (2, 4))
    first, second = (
        Furniture(path.parents[1], views=views, size=32) for path, views in ((few, 2), (many, 4))
    )
    assert first.class_names == second.class_names
    np.testing.assert_array_equal(
        first.images.reshape(-1, 2, 32, 32, 3),
        np.asarray(second.images).reshape(-1, 4, 32, 32, 3)[:, :2],
    )


def test_an_interrupted_build_is_resumed(
    packages: Path, painter: type[Painter], tmp_path: Path
) -> None:
    whole = build(packages, tmp_path / "whole", 2, 32)
    assert painter.painted == 12
    painter.stop_at = 12 + 7  # in the fourth class
    with pytest.raises(KeyboardInterrupt):
        build(packages, tmp_path / "halves", 2, 32)
    assert not (tmp_path / "halves" / "furniture" / whole.name).exists()
    (parts,) = (tmp_path / "halves" / "furniture").iterdir()
    assert len(list(parts.iterdir())) == 3
    (parts / "1.npy").write_bytes(b"half of a file")
    painter.stop_at = 10**9
    painter.painted = 0
    halves = build(packages, tmp_path / "halves", 2, 32)
    assert painter.painted == 12 - 4
    assert halves.read_bytes() == whole.read_bytes()


def test_a_complete_build_is_not_repeated_unless_the_packages_change(
    packages: Path, painter: type[Painter], tmp_path: Path
) -> None:
    build(packages, tmp_path, 2, 32)
    assert build(packages, tmp_path, 2, 32).exists()
    assert painter.painted == 12
    for deb in packages.iterdir():
        deb.unlink()
    write_packages(packages, models=4)
    build(packages, tmp_path, 2, 32)
    assert len(Furniture(tmp_path, views=2, size=32).class_names) == 4


def test_blank_views_are_drawn_again(
    packages: Path, painter: type[Painter], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([True, True, False] * 100)
    monkeypatch.setattr(furniture_building, "is_blank", lambda _: next(answers))
    build(packages, tmp_path, 2, 32)
    assert painter.painted == 3 * 12
    monkeypatch.setattr(furniture_building, "is_blank", lambda _: True)
    build(packages, tmp_path, 2, 48)  # what is always blank is kept in the end
    assert painter.painted == (3 + furniture_building.ATTEMPTS) * 12


@pytest.mark.usefixtures("painter")
def test_other_versions_are_reported(
    packages: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        build(packages, tmp_path, 2, 32)
    assert "9.9-1" in caplog.text
    assert "1.8-1" in caplog.text


def test_classes_are_in_a_random_order_that_the_catalog_does_not_change(packages: Path) -> None:
    models = read_packages(write_packages(packages.parent / "more", models=9)).models
    parts = split(models)
    names = [model.identifier for model in parts["labeled"]]
    assert names != sorted(names)
    again = split(models[::-1])
    assert [m.identifier for m in again["labeled"]] == names
    with pytest.raises(DataError, match="9 labeled and 0 pool classes"):
        split([model for model in models if model.collection == "Scopia"])


@pytest.mark.slow
def test_rendered_for_real(packages: Path, tmp_path: Path) -> None:
    try:
        SceneRenderer(32)
    except DataError as error:
        pytest.skip(f"no OpenGL here: {error}")
    first, second = (build(packages, tmp_path / name, 6, 64) for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    assert json.loads(first.read_text())["renderer"].startswith("llvmpipe")
    dataset = Furniture(tmp_path / "a", views=6, size=64)
    centers = [np.asarray(item["data"])[24:40, 24:40] for item in dataset]  # type: ignore[attr-defined]
    red, _, blue = np.mean(centers, axis=(0, 1, 2))
    assert blue > red + 20  # the boxes are blue, the walls are not
    assert min(center.std() for center in centers) > 3
