"""Cars-196 and CompCars in small: true folders, file names, columns and quirks; invented pixels.

An image is a noisy plane in its class's colour, so that a few steps of training have something to
learn. The frame outside the bounding box is black.
"""

import colorsys
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat

WIDTH, HEIGHT = 40, 30
BOX = (5, 4, 36, 27)  # x1, y1, x2, y2; the first pixel is 1 and the last belongs to the box
CARS = (  # of the 196 names
    "AM General Hummer SUV 2000",
    "Acura RL Sedan 2012",
    "Audi A5 Coupe 2012",
    "BMW M3 Coupe 2012",
    "Ram C/V Cargo Van Minivan 2012",
    "Tesla Model S Sedan 2012",
    "Volvo 240 Sedan 1993",
    "smart fortwo Convertible 2012",
)
MODELS = {  # model id: make id, make, name in the file (as there, some with and some without make)
    3: (1, "ABT", "ABT A8"),
    17: (2, "Audi", "Audi A5 coupe"),
    1101: (78, "Aston Martin", "V8 Vantage"),
    1102: (78, "Aston Martin", "Rapide"),
    1909: (161, "Citroën", "C-Élysée"),
    2004: (163, "Dorcen", ""),  # cells may be empty
}


def colour(class_id: int) -> np.ndarray:
    """The colour of a class, (3,), 0 to 1; classes next to each other differ much."""
    return np.array(colorsys.hsv_to_rgb(class_id * 0.381966 % 1, 1, 1))


def write_image(path: Path, class_id: int, number: int, mode: str = "RGB") -> None:
    """A JPEG of 40 x 30 pixels."""
    rng = np.random.default_rng([class_id, number])
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    inside = pixels[BOX[1] - 1 : BOX[3], BOX[0] - 1 : BOX[2]]
    inside[:] = 200 * colour(class_id) + rng.integers(0, 55, inside.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path, quality=95)


def structs(fields: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> np.ndarray:
    """A struct array as MATLAB saves it, (1, N)."""
    array = np.empty((1, len(rows)), dtype=[(field, object) for field in fields])
    for i, row in enumerate(rows):
        array[0, i] = row
    return array


def cells(texts: Sequence[str], shape: tuple[int, int]) -> np.ndarray:
    """A cell array of texts; an empty text is an empty cell."""
    array = np.empty(len(texts), dtype=object)
    array[:] = [text or np.zeros((0, 0)) for text in texts]
    return array.reshape(shape)


_BOX_FIELDS = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")
_BOX_VALUES = tuple(np.uint8(v) if v < 256 else np.uint16(v) for v in BOX)


def cars196_one_list(folder: Path, per_class: int = 6) -> Path:
    """``car_ims`` and ``cars_annos.mat``, as the host's loader reads them."""
    rows = []
    for class_id in range(1, len(CARS) + 1):
        for number in range(per_class):
            name = f"car_ims/{len(rows) + 1:06d}.jpg"
            grey = len(rows) % 9 == 8  # a few of the true images are grey
            write_image(folder / name, class_id, number, "L" if grey else "RGB")
            official_test = np.uint8(number % 2)
            rows.append((name, *_BOX_VALUES, np.uint8(class_id), official_test))
    fields = ("relative_im_path", *_BOX_FIELDS, "class", "test")
    names = cells(CARS, (1, -1))
    savemat(folder / "cars_annos.mat", {"annotations": structs(fields, rows), "class_names": names})
    (folder / "car_ims" / "._000001.jpg").write_bytes(b"\x00\x05\x16\x07")  # left by macOS
    return folder


def cars196_two_lists(folder: Path, per_class: int = 6, doubled: bool = False) -> Path:
    """The newer layout: ``devkit``, ``cars_train``, ``cars_test``; labels of test beside them."""
    devkit = folder / "devkit"
    devkit.mkdir(parents=True)
    for part, label_file in (
        ("train", devkit / "cars_train_annos.mat"),
        ("test", folder / "cars_test_annos_withlabels.mat"),
    ):
        images = folder / f"cars_{part}" / (f"cars_{part}" if doubled else "")
        rows = []
        numbers = range(per_class // 2) if part == "train" else range(per_class // 2, per_class)
        for number in numbers:  # here the classes are mixed
            for class_id in range(1, len(CARS) + 1):
                name = f"{len(rows) + 1:05d}.jpg"
                write_image(images / name, class_id, number)
                rows.append((*_BOX_VALUES, np.uint8(class_id), name))
        fields = (*_BOX_FIELDS, "class", "fname")
        savemat(label_file, {"annotations": structs(fields, rows)})
        if part == "test":
            unlabeled = [(*row[:4], row[5]) for row in rows]
            content = {"annotations": structs((*_BOX_FIELDS, "fname"), unlabeled)}
            savemat(devkit / "cars_test_annos.mat", content)
    savemat(devkit / "cars_meta.mat", {"class_names": cells(CARS, (1, -1))})
    return folder


def comp_cars(data: Path, per_model: Sequence[int] = (6, 6, 6, 6, 4, 2)) -> Path:
    """``image``, ``label``, ``misc`` and ``train_test_split`` in the folder ``data``."""
    lists: dict[str, list[str]] = {"train": [], "test": [], "unlisted": []}
    for (model_id, (make_id, _, _)), count in zip(MODELS.items(), per_model, strict=True):
        for number in range(count + 1):
            year = ("2012", "2014", "unknown")[number % 3]
            stem = hashlib.md5(f"{model_id} {number}".encode()).hexdigest()[:14]
            path = f"{make_id}/{model_id}/{year}/{stem}"
            write_image(data / "image" / f"{path}.jpg", 100 + model_id, number)
            label = data / "label" / f"{path}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            viewpoint = (-1, 1, 2, 3, 4, 5)[number % 6]
            label.write_text(f"{viewpoint}\n1\n{' '.join(map(str, BOX))}\n")
            # The lists hold 30,955 of the 136,726 images of the whole set.
            part = "unlisted" if number == count else ("train", "test")[number % 2]
            lists[part].append(f"{path}.jpg")
    first = data / "image" / lists["train"][0]
    first.with_name(f"._{first.name}").write_bytes(b"\x00\x05\x16\x07")  # left by macOS
    split = data / "train_test_split" / "classification"
    split.mkdir(parents=True)
    for part in ("train", "test"):
        (split / f"{part}.txt").write_text("".join(f"{path}\n" for path in lists[part]))
    makes, models = [""] * 163, [""] * 2004
    for model_id, (make_id, make, model) in MODELS.items():
        makes[make_id - 1], models[model_id - 1] = make, model
    (data / "misc").mkdir()
    savemat(
        data / "misc" / "make_model_name.mat",
        {"make_names": cells(makes, (-1, 1)), "model_names": cells(models, (-1, 1))},
    )
    (data / "misc" / "attributes.txt").write_text(
        "model_id maximum_speed displacement door_number seat_number type\n3 250 4.2 4 5 3\n"
    )
    return data
