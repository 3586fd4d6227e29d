"""``Cars196Files``: Cars-196 on disk, in either of the two layouts it was published in.

    car_ims/000001.jpg  cars_annos.mat                       one list of all images
    cars_train/00001.jpg  cars_test/00001.jpg  devkit/       two lists, the newer layout

The two name their images differently, so the list of one is of no use for the images of the other.
Copies put the .mat files of the newer layout anywhere next to or above the images.

The official split by image is not used: metric learning splits by class, 98 classes of 8,054 images
and 98 of 8,131.
"""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np

from slade_plugin.base.errors import DataError
from slade_plugin.data.datasets.image_files import ImageFiles
from slade_plugin.data.datasets.published_counts import PublishedCounts
from slade_plugin.data.files.image_list import ImageList, remap_labels
from slade_plugin.data.files.locating import find_file, prefix_of
from slade_plugin.data.files.matlab_files import read_records, read_texts

_FOLDERS = ("cars196", "stanford_cars", "")
_BOX = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")


class Cars196Files(ImageFiles):
    """Cars-196: 16,185 photographs in 196 classes, each a make, model and year."""

    published: ClassVar[PublishedCounts | None] = PublishedCounts(
        196, 16_185, "Krause et al., 3DRR 2013"
    )
    how_to_get: ClassVar[str] = (
        "The address it was published at is gone. Put the files of a copy into "
        "DATASET_ROOT/cars196: car_ims/ and cars_annos.mat; or cars_train/, cars_test/, devkit/ "
        "and cars_test_annos_withlabels.mat. A copy in class folders is read by "
        "--config_dataset folders."
    )
    folder_stems: ClassVar[tuple[str, ...]] = ("cars", "car196", "stanfordcar", "standfordcar")

    @classmethod
    def find(cls, root: Path, **options: Any) -> ImageList:
        """Read the lists of whichever layout exists.

        Args:
            root: Holds ``cars196`` or ``stanford_cars``, or is one of them. Image folders may be
                doubled (``car_ims/car_ims``).
            **options: None.

        Returns:
            The images in the order of the lists, classes in the order of the official ids.

        Raises:
            DataError: If a file is missing or does not fit the others.
        """
        try:
            folder = cls.locate(root, ["car_ims", "cars_annos.mat"], *_FOLDERS)
        except DataError as error:
            try:
                folder = cls.locate(root, ["cars_train", "cars_test"], *_FOLDERS)
            except DataError as second:
                has_newer = any(Path(root, name, "cars_train").is_dir() for name in _FOLDERS)
                raise (second if has_newer else error) from None
        else:
            annotations = folder / "cars_annos.mat"
            return _read(folder, annotations, {annotations: ("car_ims", "relative_im_path")})
        names, train, test = _annotations(folder)
        return _read(folder, names, {train: ("cars_train", "fname"), test: ("cars_test", "fname")})


def _annotations(folder: Path) -> tuple[Path, Path, Path]:
    """Find the files with the class names and the annotations of train and test."""
    # The devkit's own cars_test_annos.mat has no classes. One mirror adds " (1)" to the other.
    patterns = ("cars_meta*.mat", "cars_train_annos*.mat", "cars_test_annos_withlabels*.mat")
    names, train, test = (find_file(folder, pattern) for pattern in patterns)
    names = names or find_file(folder, "cars_annos.mat")  # has the names of all classes too
    if names and train and test:
        return names, train, test
    found = zip(patterns, (names, train, test), strict=True)
    missing = " and no ".join(pattern for pattern, path in found if path is None)
    raise DataError(
        f"Cars196Files: {folder} and the folders in it hold no {missing}; expected them beside "
        "cars_train and cars_test, whose images have other names than those in cars_annos.mat. "
        "Unpack car_devkit.tgz there (cars_meta.mat and cars_train_annos.mat) and put "
        "cars_test_annos_withlabels.mat beside it."
    )


def _read(folder: Path, names_file: Path, lists: Mapping[Path, tuple[str, str]]) -> ImageList:
    """Read the images of one or two lists.

    Args:
        folder: The data set's.
        names_file: Holds ``class_names``.
        lists: File with ``annotations`` -> image folder and the field that names the images.
    """
    class_names = read_texts(names_file, "class_names")
    paths, ids, boxes = [], [], []
    for path, (image_folder, field) in lists.items():
        listed, classes, *box = read_records(path, "annotations", [field, "class", *_BOX])
        names = [PurePosixPath(name).name for name in listed]
        prefixes = [f"{image_folder}/", f"{image_folder}/{image_folder}/"]
        prefix = prefix_of(folder, prefixes, names)
        paths += [prefix + name for name in names]
        ids += [int(k) for k in classes]
        boxes += list(zip(*box, strict=True))
    labels, present = remap_labels(ids)
    if min(ids, default=1) < 1 or max(ids, default=1) > len(class_names):
        raise DataError(
            f"{folder}: class ids are {present[0]} to {present[-1]} for the {len(class_names)} "
            f"class_names of {names_file.name}; expected 1 to {len(class_names)}. Take all files "
            "from one copy."
        )
    return ImageList(
        folder,
        np.array(paths),
        labels,
        [class_names[k - 1] for k in present],
        # MATLAB's first pixel is 1 and the last one belongs to the box.
        np.array(boxes, dtype=np.float64).reshape(-1, 4) - [1, 1, 0, 0],
    )
