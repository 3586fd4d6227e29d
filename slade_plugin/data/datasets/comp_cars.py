"""``CompCars``: photographs of car models, the unlabeled pool for Cars-196.

    image/<make id>/<model id>/<year>/<hash>.jpg       136,726 images
    label/<the same>.txt                               viewpoint; number of boxes; x1 y1 x2 y2
    misc/make_model_name.mat                           make_names, model_names: entry 1 is id 1
    train_test_split/classification/{train,test}.txt   the 30,955 images of 431 models used here

A class is a model, whatever its year. SLADE's pool is a part of these 30,955 images, chosen by a
rule that is not published; ``min_images_per_class: match`` comes as near as it can. Some models are
among the test classes of Cars-196.
"""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from slade_plugin.base.errors import DataError
from slade_plugin.data.datasets.image_files import ImageFiles
from slade_plugin.data.datasets.published_counts import PublishedCounts
from slade_plugin.data.files.image_list import ImageList, remap_labels
from slade_plugin.data.files.list_files import read_rows
from slade_plugin.data.files.locating import prefix_of
from slade_plugin.data.files.matlab_files import read_texts

_NAMES = "misc/make_model_name.mat"
_LISTS = tuple(f"train_test_split/classification/{part}.txt" for part in ("train", "test"))


class CompCars(ImageFiles):
    """The web photographs of CompCars that its classification task uses, 431 models."""

    published: ClassVar[PublishedCounts | None] = PublishedCounts(
        431, 30_955, "Yang et al., CVPR 2015, Part-I"
    )
    matched: ClassVar[PublishedCounts | None] = PublishedCounts(
        145, 16_537, "Duan et al., CVPR 2021"
    )
    how_to_get: ClassVar[str] = (
        "Sign the agreement at mmlab.ie.cuhk.edu.hk/datasets/comp_cars to get it. Unpack it "
        "in DATASET_ROOT/compcars, so that there is DATASET_ROOT/compcars/data/image."
    )

    folder_stems: ClassVar[tuple[str, ...]] = ("compcars",)

    def find_options(self) -> dict[str, Any]:
        """Whether to read the boxes, which lie in one small file per image."""
        return {"boxes": self.crop_to_bounding_box}

    @classmethod
    def find(cls, root: Path, *, boxes: bool = False, **options: Any) -> ImageList:
        """Read the lists of the classification task.

        Args:
            root: Holds ``compcars/data``, or is one of these folders; ``data/data`` will do.
            boxes: Whether to read the bounding boxes.
            **options: None.

        Returns:
            The images in the order of the lists, train first; classes in the order of model ids.

        Raises:
            DataError: If a file is missing or does not fit the others.
        """
        needed = ["image", _NAMES, *_LISTS]
        data = cls.locate(root, needed, "compcars/data", "compcars", "data", "")
        columns = "make model year file"
        rows = [r for name in _LISTS for r in read_rows(data / name, columns, separator="/")]
        paths = ["/".join(row) for row in rows]
        try:
            make_of = {int(model): int(make) for make, model, _, _ in rows}
            labels, models = remap_labels([int(model) for _, model, _, _ in rows])
        except ValueError as error:
            raise DataError(
                f"{data / _LISTS[0].rpartition('/')[0]}: {error}; expected lines such as "
                "78/1/2014/3ac218c0c6c378.jpg, make and model being numbers. Get the files again."
            ) from error
        images = prefix_of(data, ["image/", "image/image/"], paths)
        names = _class_names(data / _NAMES, {int(model): make_of[int(model)] for model in models})
        return ImageList(
            data,
            np.array([f"{images}{path}" for path in paths]),
            labels,
            names,
            _read_boxes(data / "label", paths) if boxes else None,
        )


def _class_names(path: Path, make_of: dict[int, int]) -> list[str]:
    """Make and model of each model id in ``make_of``, which gives the make id; each name once."""
    make_names, model_names = (read_texts(path, name) for name in ("make_names", "model_names"))
    ids = [*make_of.values()], [*make_of]
    for what, there, wanted in zip(("make", "model"), (make_names, model_names), ids, strict=True):
        if min(wanted, default=1) < 1 or max(wanted, default=1) > len(there):
            raise DataError(
                f"{path}: {what} ids of the lists are {min(wanted)} to {max(wanted)}, {what}_names "
                f"holds {len(there)}; expected ids from 1 to that. Take all files from one copy."
            )
    names = []
    for model_id, make_id in make_of.items():
        make, model = make_names[make_id - 1], model_names[model_id - 1]
        # Some names hold the make already, some cells are empty.
        name = model if make and model.startswith(make) else f"{make} {model or model_id}".strip()
        names.append(name if name not in names else f"{name} ({model_id})")
    return names


def _read_boxes(folder: Path, paths: list[str]) -> npt.NDArray[np.float64]:
    """Read (N, 4) boxes, in pixels."""
    boxes = []
    for path in paths:
        file = folder / Path(path).with_suffix(".txt")
        try:
            _viewpoint, _number, box, *_ = file.read_text(encoding="utf-8").split("\n")
            x1, y1, x2, y2 = (float(text) for text in box.split())
        except (OSError, ValueError) as error:
            raise DataError(
                f"{file} cannot be read: {error}; expected the lines viewpoint, number of boxes "
                "and x1 y1 x2 y2. Get it again, or take crop_to_bounding_box out of config_dataset."
            ) from error
        # The first pixel is 1 and the last one belongs to the box.
        boxes.append((x1 - 1, y1 - 1, x2, y2))
    return np.array(boxes)
