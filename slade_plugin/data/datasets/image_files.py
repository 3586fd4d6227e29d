"""``ImageFiles``: the base of data sets that lie on disk as image files."""

import copy
import hashlib
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch.utils.data import Dataset

from slade_plugin.base.errors import ConfigError, DataError
from slade_plugin.data.datasets.image_options import check_options
from slade_plugin.data.datasets.published_counts import PublishedCounts
from slade_plugin.data.files.cache_settings import CacheSettings
from slade_plugin.data.files.distinct_files import count_distinct_files
from slade_plugin.data.files.image_cache import ImageCache, target_side
from slade_plugin.data.files.image_filters import (
    check_files_exist,
    drop_and_name_small_classes,
    drop_classes,
    drop_small_classes_to_match,
    names_from_file,
)
from slade_plugin.data.files.image_list import ImageList
from slade_plugin.data.files.locating import Needed, find_folder

logger = logging.getLogger(__name__)

# The host builds one instance for each transform and split: they share one list while any lives.
_shared: "WeakValueDictionary[tuple[Any, ...], ImageList]" = WeakValueDictionary()


class ImageFiles(Dataset[dict[str, Any]], ABC):
    """One data set of image files, in the host's form. Subclasses find the files.

    An image that cannot be decoded is named once in a warning and the next readable image of its
    class (and role) stands in for it, up to ``max_unreadable`` different files; then it is an
    error. Each worker process counts for itself. Evaluation sees the stand-ins too, so leave it at
    0 for numbers to report.

    Args:
        root: The host's ``dataset_root``.
        transform: Applied to the PIL image (mode "RGB").
        download: Ignored, the host passes it.
        crop_to_bounding_box: Cuts each image to its box before the transform.
        min_images_per_class: Classes of fewer images are left out, after the excluded ones.
            "match" takes the threshold that comes nearest to the counts in ``matched``.
        excluded_classes: Names of classes to leave out, or a file with one name per line.
        max_unreadable: How many files may be skipped, see above.
        cache: ``{short_side: 256}``: images are decoded and shrunk once and then read from one
            file; see ``image_cache``.
        value_range: The values of black and white in gray images of more than 8 bits; None = as
            the format fixes them, see ``value_ranges``.

    Attributes:
        labels: (N,) int64, 0 to K - 1, all K present.
        class_names: K names; entry k belongs to label k.
        image_list: The files.
        fingerprint: A hash that changes with the files, the labels and the crop.

    Raises:
        ConfigError: If an option does not fit the data set.
        DataError: If files are missing or a list file is damaged.
    """

    published: ClassVar[PublishedCounts | None] = None
    """Of the whole data set, before any filter."""
    matched: ClassVar[PublishedCounts | None] = None
    """Of a published filtered version; what ``min_images_per_class: match`` comes near to."""
    how_to_get: ClassVar[str] = ""
    """Instructions for getting the files and where to put them."""
    folder_stems: ClassVar[tuple[str, ...]] = ()
    """Beginnings of folder names of other copies; see `find_folder`."""
    classes_named_by_user: ClassVar[bool] = False
    """Whether two class names that look alike are likely to be one class."""

    def __init__(
        self,
        root: str | os.PathLike[str],
        transform: Callable[[Image.Image], Any] | None = None,
        download: bool = False,
        *,
        crop_to_bounding_box: bool = False,
        min_images_per_class: int | str = 1,
        excluded_classes: Sequence[str] | str | None = None,
        max_unreadable: int = 0,
        cache: Mapping[str, Any] | None = None,
        value_range: Sequence[float] | None = None,
    ) -> None:
        """Find and filter the images; open them only to build a cache."""
        self.transform = transform
        self.crop_to_bounding_box = crop_to_bounding_box
        self.max_unreadable = max_unreadable
        self._unreadable: set[int] = set()

        self.value_range = value_range
        self._check_options(min_images_per_class, excluded_classes)
        if isinstance(excluded_classes, str):
            excluded_classes = names_from_file(excluded_classes)
        black_and_white = None if value_range is None else (value_range[0], value_range[1])
        key = (
            *(type(self), os.path.abspath(root), *self.find_options().items()),
            *(min_images_per_class, tuple(excluded_classes or ()), black_and_white),
        )
        images = _shared.get(key)
        if images is None:
            images = self._found(Path(root), min_images_per_class, excluded_classes or ())
            images = replace(images, value_range=black_and_white)
            _shared[key] = images
        self.image_list = images
        if crop_to_bounding_box and images.boxes is None:
            raise ConfigError(
                f"{self._name}: crop_to_bounding_box is true, but these files come without boxes. "
                "Take it out of config_dataset."
            )
        self.cache: ImageCache | None = None
        self._short_side = target_side(transform)
        if cache is not None:
            settings = CacheSettings.from_config(cache)
            settings.check_fits(transform)
            self._short_side = settings.short_side
            self.cache = ImageCache(self, root, settings)
            self._check_unreadable(self.cache.unreadable())

    @classmethod
    @abstractmethod
    def find(cls, root: Path, **options: Any) -> ImageList:
        """List all images below ``root``, before any filter.

        Args:
            root: As given to the constructor.
            **options: What `find_options` gives.

        Raises:
            DataError: If files are missing; names them and the places searched.
        """

    def find_options(self) -> dict[str, Any]:
        """Hashable options of a subclass that `find` takes; set before ``super().__init__``."""
        return {}

    @classmethod
    def locate(cls, root: str | os.PathLike[str], needed: Needed, *folders: str) -> Path:
        """Find the first folder with everything needed; see `find_folder`."""
        name, how = cls.__name__, cls.how_to_get
        return find_folder(name, Path(root), needed, folders, cls.folder_stems, how)

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """(N,) labels, 0 to K - 1."""
        return self.image_list.labels

    @property
    def class_names(self) -> list[str]:
        """K names; entry k belongs to label k."""
        return self.image_list.class_names

    @property
    def roles(self) -> npt.NDArray[np.str_] | None:
        """(N,) train, query or gallery if the data set fixes it, otherwise None."""
        return self.image_list.roles

    @property
    def fingerprint(self) -> str:
        """A hash that changes with the files, the labels and the crop."""
        if not self.crop_to_bounding_box:
            return self.image_list.fingerprint
        boxes = np.asarray(self.image_list.boxes, "<f8").tobytes()
        return hashlib.sha256(self.image_list.fingerprint.encode() + boxes).hexdigest()

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.image_list)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return {"data": the transformed image, "label": int}."""
        label = int(self.labels[index])  # raises the IndexError that ends a loop
        image: Any = self.read(int(index) % len(self))
        if self.transform is not None:
            image = self.transform(image)
        return {"data": image, "label": label}

    def keep(self, mask: npt.ArrayLike) -> Self:
        """Return the same data set with only the images where ``mask`` (N,) is true.

        Raises:
            DataError: If none is left.
        """
        part = copy.copy(self)
        part.image_list = self.image_list.keep(mask)
        part.cache = None if self.cache is None else self.cache.keep(mask)
        part._unreadable = set()
        return part

    def decode(self, index: int) -> Image.Image:
        """Decode one image as RGB from its file, for the size cache or transform resize it to.

        Raises:
            DataError: If it cannot be decoded.
        """
        return self.image_list.decode(index, self.crop_to_bounding_box, self._short_side)

    def read(self, index: int) -> Image.Image:
        """Read one image as RGB, or the next readable one of its class; see the class.

        Raises:
            DataError: If more files than ``max_unreadable`` cannot be decoded, or a whole class.
        """
        source = self.decode if self.cache is None else self.cache.read
        for place in self._index_and_stand_ins(index):
            if place in self._unreadable:
                continue
            try:
                return source(place)
            except DataError as error:
                self._skip(place, error)
        raise DataError(
            f"{self._name}: no image of class {self.class_names[self.labels[index]]!r} can be "
            "decoded; expected at least one. Replace the files named above, or leave the class out "
            "(excluded_classes in config_dataset)."
        )

    def count_distinct(self, limit: int) -> int:
        """Count different images up to a limit: by pixels with a cache, otherwise by files."""
        if self.cache is not None:
            return min(self.cache.count_distinct(), limit)
        return count_distinct_files(self.image_list, limit)

    def _check_unreadable(self, places: list[int]) -> None:
        """Refuse too many unreadable files before training, if a cache knows them."""
        if len(places) > self.max_unreadable:
            raise DataError(
                f"{self._name}: {len(places)} of {len(self)} images cannot be decoded, for example "
                f"{self.image_list.path(places[0])}; max_unreadable is {self.max_unreadable}. "
                "Replace or delete them (slade-bench data verify names them all), or raise "
                "max_unreadable (config_dataset)."
            )

    def _index_and_stand_ins(self, index: int) -> Iterator[int]:
        yield index
        alike = self.labels == self.labels[index]
        if self.roles is not None:  # a gallery image in the place of a query would find itself
            alike &= self.roles == self.roles[index]
        places = np.flatnonzero(alike)
        yield from np.roll(places, -int(np.searchsorted(places, index)))[1:].tolist()

    def _skip(self, index: int, error: DataError) -> None:
        """Record an unreadable file; raise past the limit."""
        if len(self._unreadable) >= self.max_unreadable:
            skipped = ", ".join(str(self.image_list.paths[k]) for k in sorted(self._unreadable))
            raise DataError(
                f"{error} max_unreadable is {self.max_unreadable}"
                + (f", and skipped were already: {skipped}." if skipped else ".")
            ) from error
        self._unreadable.add(index)
        logger.warning(
            "%s; skipped (%d of at most %d in this process): %s",
            self._name,
            len(self._unreadable),
            self.max_unreadable,
            error,
        )

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _check_options(self, min_images_per_class: Any, excluded_classes: Any) -> None:
        """Reject options of the wrong type or range."""
        check_options(
            self._name,
            can_match=self.matched is not None,
            crop_to_bounding_box=self.crop_to_bounding_box,
            min_images_per_class=min_images_per_class,
            excluded_classes=excluded_classes,
            max_unreadable=self.max_unreadable,
            value_range=self.value_range,
        )

    def _found(
        self, root: Path, min_images_per_class: int | str, excluded_classes: Sequence[str]
    ) -> ImageList:
        """List the files that exist, filtered."""
        images = self.find(root, **self.find_options())
        if self.published is not None:
            self.published.compare(self._name, images)
        if excluded_classes:
            images = drop_classes(images, excluded_classes)
        if isinstance(min_images_per_class, int):
            images = drop_and_name_small_classes(self._name, images, min_images_per_class)
        elif self.matched is not None:
            images, _ = drop_small_classes_to_match(
                images, self.matched.classes, self.matched.images
            )
        check_files_exist(self._name, images)
        return images
