import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from slade_plugin.base.errors import DataError
from slade_plugin.data.datasets.cars196_files import Cars196Files
from tests.car_trees import BOX, CARS, cars196_one_list, cars196_two_lists, cells, colour, structs


@pytest.fixture(scope="module")
def one_list(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only."""
    return cars196_one_list(tmp_path_factory.mktemp("root") / "cars196").parent


@pytest.fixture(scope="module")
def two_lists(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only."""
    return cars196_two_lists(tmp_path_factory.mktemp("root") / "stanford_cars").parent


def double(folder: Path) -> None:
    """Puts each image folder into one of its own name, as Kaggle does."""
    for images in [path for path in folder.glob("car*_*") if path.is_dir()]:
        images.rename(folder / "x")
        images.mkdir()
        (folder / "x").rename(images / images.name)


def painted_class(image: np.ndarray) -> int:
    """The class whose colour an image has."""
    distances = [np.linalg.norm(image.mean((0, 1)) - 225 * colour(k + 1)) for k in range(len(CARS))]
    return int(np.argmin(distances))


@pytest.mark.parametrize("layout", ["one_list", "two_lists"])
def test_each_image_has_its_class(layout: str, request: pytest.FixtureRequest) -> None:
    cars = Cars196Files(request.getfixturevalue(layout), np.asarray, crop_to_bounding_box=True)
    assert cars.class_names == list(CARS)
    assert np.bincount(cars.labels).tolist() == [6] * len(CARS)
    assert cars.published is not None
    assert cars.published[:2] == (196, 16185)
    for item in cars:
        image = item["data"]
        assert image.shape == (BOX[3] - BOX[1] + 1, BOX[2] - BOX[0] + 1, 3)
        assert image.max(axis=2).min() > 40, "nothing of the black frame"
        grey = np.ptp(image, axis=2).max() == 0
        assert grey or painted_class(image) == item["label"]


def test_without_the_box_the_frame_is_there(one_list: Path) -> None:
    image = Cars196Files(one_list, np.asarray)[0]["data"]
    assert image.shape == (30, 40, 3)
    assert image[0].max() < 50


def test_both_layouts_hold_the_same_classes(one_list: Path, two_lists: Path) -> None:
    old, new = Cars196Files(one_list).image_list, Cars196Files(two_lists).image_list
    assert old.paths[:2].tolist() == ["car_ims/000001.jpg", "car_ims/000002.jpg"]
    assert new.paths[[0, 24]].tolist() == ["cars_train/00001.jpg", "cars_test/00001.jpg"]
    assert old.class_names == new.class_names
    np.testing.assert_array_equal(np.sort(old.labels), np.sort(new.labels))
    assert old.boxes is not None
    np.testing.assert_array_equal(old.boxes, new.boxes)
    np.testing.assert_array_equal(np.unique(old.boxes, axis=0), [[4, 3, 36, 27]])


@pytest.mark.parametrize(
    ("layout", "variant"),
    [
        ("one_list", "the folder itself"),
        ("one_list", "doubled by unpacking"),
        ("one_list", "doubled image folder"),
        ("two_lists", "doubled image folders"),
        ("two_lists", "devkit in the folder of its archive"),
        ("two_lists", "labels of test in the devkit"),
        ("two_lists", "labels of test with (1)"),
        ("two_lists", "annotations beside the doubled image folders"),
        ("two_lists", "annotations inside the image folders"),
        ("two_lists", "names in cars_annos.mat"),
        ("two_lists", "archive"),
        ("one_list", "Stanford-Cars/versions/2"),
        ("two_lists", "Cars/data"),
    ],
)
def test_known_variants_hold_the_same(
    layout: str, variant: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    original = request.getfixturevalue(layout)
    folder = tmp_path / ("cars196" if layout == "one_list" else "stanford_cars")
    shutil.copytree(original / folder.name, folder)
    root, labels = tmp_path, folder / "cars_test_annos_withlabels.mat"
    if variant == "the folder itself":
        root = folder
    elif variant == "doubled by unpacking":
        folder.rename(tmp_path / "x")
        folder.mkdir()
        (tmp_path / "x").rename(folder / folder.name)
    elif variant.startswith("doubled image folder"):
        double(folder)
    elif variant == "devkit in the folder of its archive":
        (folder / "car_devkit").mkdir()
        (folder / "devkit").rename(folder / "car_devkit" / "devkit")
    elif variant == "labels of test in the devkit":
        labels.rename(folder / "devkit" / labels.name)
    elif variant == "annotations beside the doubled image folders":
        double(folder)
        for path in (folder / "devkit").iterdir():
            path.rename(folder / path.name)
        (folder / "devkit").rmdir()
    elif variant == "annotations inside the image folders":
        for path in (folder / "devkit").iterdir():
            path.rename(folder / "cars_train" / path.name)
        labels.rename(folder / "cars_test" / labels.name)
    elif variant == "names in cars_annos.mat":
        (folder / "devkit" / "cars_meta.mat").rename(folder / "cars_annos.mat")
    elif variant == "archive" or "/" in variant:
        place = tmp_path / (variant if "/" in variant else f"archive/{folder.name}")
        place.parent.mkdir(parents=True)
        folder.rename(place)
    else:
        labels.rename(labels.with_stem(f"{labels.stem} (1)"))
    expected, found = Cars196Files(original), Cars196Files(root)
    np.testing.assert_array_equal(found.labels, expected.labels)
    assert found.class_names == expected.class_names
    assert [path.name for path in map(Path, found.image_list.paths)] == [
        path.name for path in map(Path, expected.image_list.paths)
    ]


def test_a_missing_file_is_named_with_the_places_and_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"car_ims, cars_annos\.mat not found; looked in .*cars196.*stanford_cars"
    ):
        Cars196Files(tmp_path)
    folder = cars196_two_lists(tmp_path / "cars196", per_class=2)
    (folder / "cars_test_annos_withlabels.mat").unlink()
    with pytest.raises(DataError, match=r"hold no cars_test_annos_withlabels\*\.mat; expected"):
        Cars196Files(tmp_path)
    (folder / "devkit" / "cars_meta.mat").unlink()
    with pytest.raises(DataError, match=r"no cars_meta\*\.mat and no cars_test_.* car_devkit\.tgz"):
        Cars196Files(tmp_path)
    shutil.rmtree(folder / "cars_test")
    with pytest.raises(DataError, match=r"cars_test in .*cars196 not found"):
        Cars196Files(tmp_path)


def test_lists_of_two_copies_are_refused(tmp_path: Path) -> None:
    folder = cars196_two_lists(tmp_path / "cars196", per_class=2)
    savemat(folder / "devkit" / "cars_meta.mat", {"class_names": cells(CARS[:5], (1, -1))})
    with pytest.raises(DataError, match="class ids are 1 to 8 for the 5 class_names"):
        Cars196Files(tmp_path)
    fields = ["bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname"]
    annotations = structs(fields, [(1, 1, 2, 2, 0, "00001.jpg")])
    savemat(folder / "devkit" / "cars_train_annos.mat", {"annotations": annotations})
    with pytest.raises(DataError, match="class ids are 0 to 8"):
        Cars196Files(tmp_path)


def test_an_empty_list_is_refused(tmp_path: Path) -> None:
    folder = cars196_one_list(tmp_path / "cars196", per_class=2)
    fields = ["bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "relative_im_path"]
    content = {"annotations": structs(fields, []), "class_names": cells(CARS, (1, -1))}
    savemat(folder / "cars_annos.mat", content)
    with pytest.raises(DataError, match=r"numbers of images, labels .* are \[0, 0, 0\]"):
        Cars196Files(tmp_path)


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    folder = cars196_one_list(tmp_path / "cars196", per_class=2)
    (folder / "car_ims" / "000003.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 16 listed images are missing .*000003\.jpg"):
        Cars196Files(tmp_path)


def test_images_of_one_layout_with_the_list_of_the_other(tmp_path: Path) -> None:
    """The usual copy of Kaggle without the devkit."""
    folder = cars196_two_lists(tmp_path / "cars196", per_class=2)
    shutil.rmtree(folder / "devkit")
    (folder / "cars_test_annos_withlabels.mat").unlink()
    one = cars196_one_list(tmp_path / "other", per_class=2)
    (one / "cars_annos.mat").rename(folder / "cars_annos.mat")
    with pytest.raises(
        DataError,
        match=r"no cars_train_annos\*\.mat and no cars_test_annos_withlabels\*\.mat; .*Unpack car",
    ):
        Cars196Files(tmp_path)
