import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from slade_plugin.base.errors import ConfigError, DataError
from slade_plugin.data.datasets.comp_cars import CompCars
from tests.car_trees import MODELS, cells, comp_cars

NAMES = [
    "ABT A8",
    "Audi A5 coupe",
    "Aston Martin V8 Vantage",
    "Aston Martin Rapide",
    "Citroën C-Élysée",
    "Dorcen 2004",  # its cell is empty
]
SIZES = [6, 6, 6, 6, 4, 2]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only."""
    root = tmp_path_factory.mktemp("root")
    comp_cars(root / "compcars" / "data", SIZES)
    return root


@pytest.fixture
def data(original: Path, tmp_path: Path) -> Path:
    """One to spoil."""
    return Path(shutil.copytree(original / "compcars" / "data", tmp_path / "compcars" / "data"))


def test_a_class_is_a_model_whatever_its_year(original: Path) -> None:
    cars = CompCars(original)
    assert cars.class_names == NAMES
    assert np.bincount(cars.labels).tolist() == SIZES
    assert cars.published is not None
    assert cars.matched is not None
    assert (cars.published[:2], cars.matched[:2]) == ((431, 30955), (145, 16537))
    for path, label in zip(cars.image_list.paths, cars.labels, strict=True):
        image, make, model, year, _ = path.split("/")
        assert image == "image"
        assert year in ("2012", "2014", "unknown")
        assert list(MODELS)[label] == int(model)
        assert MODELS[int(model)][0] == int(make)


def test_only_images_of_the_lists_are_taken(original: Path) -> None:
    cars = CompCars(original)
    folder = original / "compcars" / "data" / "image"
    on_disk = {f"image/{path.relative_to(folder).as_posix()}" for path in folder.rglob("*.jpg")}
    unlisted = on_disk - set(cars.image_list.paths)
    assert len(unlisted) == len(NAMES) + 1, "one a model, and one ._ file"


def test_boxes_are_read_where_they_are_wanted(data: Path) -> None:
    cars = CompCars(data, np.asarray, crop_to_bounding_box=True)
    assert cars.image_list.boxes is not None
    np.testing.assert_array_equal(np.unique(cars.image_list.boxes, axis=0), [[4, 3, 36, 27]])
    assert cars[0]["data"].max(axis=2).min() > 100, "nothing of the black frame"
    assert cars.fingerprint != CompCars(data).fingerprint
    label = data / "label" / Path(*Path(cars.image_list.paths[3]).parts[1:]).with_suffix(".txt")
    del cars
    for content in ("", "4\n1\n", "4\n1\n5 4 36\n", "4\n1\na b c d\n"):
        label.write_text(content)
        with pytest.raises(DataError, match=rf"{label.name} cannot be read: .+; expected the li"):
            CompCars(data, crop_to_bounding_box=True)
    shutil.rmtree(data / "label")
    with pytest.raises(DataError, match=r"cannot be read: .*No such file.* crop_to_bounding_box"):
        CompCars(data, crop_to_bounding_box=True)
    whole = CompCars(data, np.asarray)
    assert whole.image_list.boxes is None
    assert whole[0]["data"].shape == (30, 40, 3)


@pytest.mark.parametrize("below", ["compcars/data/data", "compcars", "data", "", "compcars/data"])
def test_known_places_hold_the_same(below: str, original: Path, tmp_path: Path) -> None:
    shutil.copytree(original / "compcars" / "data", tmp_path / below, dirs_exist_ok=True)
    assert CompCars(tmp_path).fingerprint == CompCars(original).fingerprint


def test_the_pool_nearest_to_the_published_one_is_found_and_printed(
    original: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch, caplog.at_level(logging.INFO):
        patch.setattr(CompCars, "matched", CompCars.matched._replace(classes=5, images=28))
        cars = CompCars(original, min_images_per_class="match")
    assert cars.class_names == NAMES[:5]
    assert np.bincount(cars.labels).tolist() == SIZES[:5]
    assert "classes of at least 3 images: 5 classes, 28 images; published: 5 classes" in caplog.text
    assert CompCars(original, min_images_per_class=5).class_names == NAMES[:4]


def test_models_can_be_left_out_by_name(original: Path) -> None:
    cars = CompCars(original, excluded_classes=["Audi A5 coupe", "Citroën C-Élysée"])
    assert cars.class_names == [name for name in NAMES if name[:2] not in ("Au", "Ci")]
    with pytest.raises(ConfigError, match=r"'Audi A5 Coupe' \(did you mean 'Audi A5 coupe'\?\)"):
        CompCars(original, excluded_classes=["Audi A5 Coupe"])


def test_a_name_comes_once(data: Path) -> None:
    makes, models = [""] * 163, ["Rapide"] * 2004
    makes[78 - 1] = "Aston Martin"
    models[2004 - 1] = ""
    content = {"make_names": cells(makes, (-1, 1)), "model_names": cells(models, (-1, 1))}
    savemat(data / "misc" / "make_model_name.mat", content)
    names = CompCars(data).class_names
    assert names[2:4] == ["Aston Martin Rapide", "Aston Martin Rapide (1102)"]
    assert names[-1] == "2004"
    assert len(set(names)) == len(names)


def test_empty_lists_are_refused(data: Path) -> None:
    for path in (data / "train_test_split" / "classification").iterdir():
        path.write_text("\n")
    with pytest.raises(DataError, match=r"numbers of images, labels .* are \[0, 0\]"):
        CompCars(data)


def test_a_missing_file_is_named_with_the_places_and_the_way_out(
    data: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"CompCars: image, .*looked in .*x.compcars.data.*agreem"):
        CompCars(tmp_path / "x")
    (data / "train_test_split" / "classification" / "test.txt").unlink()
    with pytest.raises(DataError, match=r"CompCars: train_test.*/test\.txt in .*data not found"):
        CompCars(tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1/3/2012", r"train\.txt, line 14: 3 columns .* expected 4 \(make, model, year, file\)"),
        ("Audi/17/2012/a.jpg", "'Audi'; expected lines such as 78/1/2014/"),
        ("164/1500/2012/a.jpg", r"make ids of the lists are 1 to 164, make_names holds 163"),
        ("1/2005/2012/a.jpg", r"model ids of the lists are 3 to 2005, model_names holds 2004"),
        ("1/0/2012/a.jpg", r"model ids of the lists are 0 to 2004"),
        ("1/3/2012/a.jpg", r"1 of 31 listed images are missing .*1.3.2012.a\.jpg"),
        (None, "1 images are listed more than once"),
    ],
)
def test_a_damaged_list_is_named(line: str | None, message: str, data: Path) -> None:
    path = data / "train_test_split" / "classification" / "train.txt"
    assert len(path.read_text().splitlines()) == 15
    lines = path.read_text().splitlines()
    lines.insert(13, lines[0] if line is None else line)
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=message):
        CompCars(data)


@pytest.mark.parametrize("variant", ["CompCars/data/data", "archive/compcars", "image in image"])
def test_other_copies_hold_the_same(variant: str, data: Path, original: Path) -> None:
    root = data.parent.parent
    if variant == "image in image":
        (data / "image").rename(data / "x")
        (data / "image").mkdir()
        (data / "x").rename(data / "image" / "image")
    else:
        (root / variant).parent.mkdir(parents=True)
        data.rename(root / variant)
    found, expected = CompCars(root), CompCars(original)
    np.testing.assert_array_equal(found.labels, expected.labels)
    assert found.image_list.sizes.min() > 0
