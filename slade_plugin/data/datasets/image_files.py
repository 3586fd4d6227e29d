"""``ImageFiles``: data sets that lie on disk as image files, in the host's form."""

import copy
import hashlib
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch.utils.data import Dataset

from slade_plugin.base.errors import ConfigError, DataError
from slade_plugin.base.warning import warn_once
from slade_plugin.data.files.image_cache import CacheSettings, ImageCache
from slade_plugin.data.files.image_decoding import read_rgb
from slade_plugin.data.files.image_list import (
    ImageList,
    drop_classes,
    drop_small_classes,
    drop_small_classes_to_match,
    names_from_file,
)

logger = logging.getLogger(__name__)

MATCH = "match"

# The host builds one instance for each transform and split: they share one list while any lives.
_shared: "WeakValueDictionary[tuple[Any, ...], ImageList]" = WeakValueDictionary()
_reported: set[tuple[Any, ...]] = set()


class PublishedCounts(NamedTuple):
    """What a data set's authors say of its size.

    Attributes:
        classes: Number of classes.
        images: Number of images.
        source: Where that is said.
    """

    classes: int
    images: int
    source: str


class ImageFiles(Dataset[dict[str, Any]], ABC):
    """One data set of image files, in the host's form. Subclasses find the files.

    An image that cannot be decoded is named once in a warning and the next readable image of its
    class (and role) stands in for it, up to ``max_unreadable`` different files; then it is an
    error. Each worker process counts for itself. Evaluation sees the stand-ins too, so leave it at
    0 for numbers to report.

    Args:
        root: The host's ``dataset_root``; ``find`` says where below it the files may lie.
        transform: Applied to the PIL image (mode "RGB").
        download: Ignored, the host passes it.
        crop_to_bounding_box: Cuts each image to its box before the transform.
        min_images_per_class: Classes of fewer images are left out, after the excluded ones.
            "match" takes the threshold that comes nearest to the counts in ``matched``.
        excluded_classes: Names of classes to leave out, or a file with one name a line.
        max_unreadable: How many files may be skipped as said above.
        cache: ``{short_side: 256}``: images are decoded and shrunk once and then read from one
            file; see ``image_cache``.

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
    """Sentences that say where to get the files and where to put them."""

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
    ) -> None:
        """Finds and filters the images; opens none, but to build a cache."""
        self.transform = transform
        self.crop_to_bounding_box = crop_to_bounding_box
        self.max_unreadable = max_unreadable
        self._unreadable: set[int] = set()

        if isinstance(excluded_classes, str | os.PathLike):
            excluded_classes = names_from_file(excluded_classes)
        self._check_options(min_images_per_class)
        key = (
            *(type(self), os.path.abspath(root), *self.find_options().items()),
            *(min_images_per_class, tuple(excluded_classes or ())),
        )
        images = _shared.get(key)
        if images is None:
            images = self._found(Path(root), min_images_per_class, excluded_classes or ())
            _shared[key] = images
        self.image_list = images
        if crop_to_bounding_box and images.boxes is None:
            raise ConfigError(
                f"{self._name}: crop_to_bounding_box is true, but these files come without boxes. "
                "Take it out of config_dataset."
            )
        self.cache: ImageCache | None = None
        if cache is not None:
            settings = CacheSettings.from_config(cache)
            settings.check_fits(transform)
            self.cache = ImageCache(self, root, settings)
            self._check_unreadable(self.cache.unreadable())

    @classmethod
    @abstractmethod
    def find(cls, root: Path, **options: Any) -> ImageList:
        """Lists all images below ``root``, before any filter.

        Args:
            root: As given to the constructor.
            **options: What `find_options` gives.

        Raises:
            DataError: If files are missing; it says which and where it looked.
        """

    def find_options(self) -> dict[str, Any]:
        """Hashable options of a subclass that `find` takes; set before ``super().__init__``."""
        return {}

    @classmethod
    def locate(
        cls, root: str | os.PathLike[str], needed: Sequence[str | tuple[str, ...]], *folders: str
    ) -> Path:
        """The first folder that holds all that is needed.

        Args:
            root: The host's ``dataset_root``.
            needed: Files or folders it must hold, relative to it; of a tuple at least one.
            *folders: Where it may be, relative to the root, most usual first; "" is the root. A
                folder doubled by unpacking (``data/data``) is found as well.

        Raises:
            DataError: If there is none; it names what is missing, and every place it looked at.
        """
        places = []
        for folder in folders:
            place = Path(root, folder)
            places += [place, place / place.name]
        choices = {" or ".join(n): n for n in ((n,) if isinstance(n, str) else n for n in needed)}
        missing = {
            place: [
                name for name, n in choices.items() if not any(os.path.exists(place / x) for x in n)
            ]
            for place in places
        }
        for place, names in missing.items():
            if not names:
                return place
        best = min(places, key=lambda place: len(missing[place]))
        looked = "; ".join(map(str, places))
        partly = ", ".join(missing[best]) + (f" in {best}" if missing[best] != [*choices] else "")
        raise DataError(
            f"{cls.__name__}: {partly} not found; looked in {looked} (folders that may not be read "
            f"look empty). {cls.how_to_get} If the files are elsewhere, change dataset_root "
            "(--dataset_root)."
        )

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
        """(N,) train, query or gallery, where the data set fixes that; else None."""
        return self.image_list.roles

    @property
    def fingerprint(self) -> str:
        """A hash that changes with the files, the labels and the crop."""
        if not self.crop_to_bounding_box:
            return self.image_list.fingerprint
        boxes = np.asarray(self.image_list.boxes, "<f8").tobytes()
        return hashlib.sha256(self.image_list.fingerprint.encode() + boxes).hexdigest()

    def __len__(self) -> int:
        """Number of images."""
        return len(self.image_list)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns {"data": the transformed image, "label": int}."""
        label = int(self.labels[index])  # raises the IndexError that ends a loop
        image: Any = self.read(int(index) % len(self))
        if self.transform is not None:
            image = self.transform(image)
        return {"data": image, "label": label}

    def keep(self, mask: npt.ArrayLike) -> Self:
        """The same data set with only the images where ``mask`` (N,) is true.

        Raises:
            DataError: If none is left.
        """
        part = copy.copy(self)
        part.image_list = self.image_list.keep(mask)
        part.cache = None if self.cache is None else self.cache.keep(mask)
        part._unreadable = set()
        return part

    def decode(self, index: int) -> Image.Image:
        """One image as RGB, from its file.

        Raises:
            DataError: If it cannot be decoded.
        """
        boxes = self.image_list.boxes if self.crop_to_bounding_box else None
        return read_rgb(self.image_list.path(index), None if boxes is None else boxes[index])

    def read(self, index: int) -> Image.Image:
        """One image as RGB, or the next readable one of its class; see the class.

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

    def _check_unreadable(self, places: list[int]) -> None:
        """Refuses more files than may be skipped where a cache knows them before any training."""
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
        """Notes an unreadable file; past the limit, raises."""
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

    def _check_options(self, min_images_per_class: Any) -> None:
        """Refuses options of the wrong type or range."""
        problems = []
        number = isinstance(min_images_per_class, int) and min_images_per_class >= 1
        if not number and (min_images_per_class != MATCH or self.matched is None):
            expected = "an integer >= 1" + (f" or {MATCH}" if self.matched is not None else "")
            problems.append(
                f"min_images_per_class is {min_images_per_class!r}; expected {expected}"
            )
        if not isinstance(self.max_unreadable, int) or self.max_unreadable < 0:
            problems.append(f"max_unreadable is {self.max_unreadable!r}; expected an integer >= 0")
        if not isinstance(self.crop_to_bounding_box, bool):
            problems.append(
                f"crop_to_bounding_box is {self.crop_to_bounding_box!r}; expected true or false"
            )
        if problems:
            raise ConfigError(f"{self._name}: {'; '.join(problems)} (config_dataset).")

    def _found(
        self, root: Path, min_images_per_class: int | str, excluded_classes: Sequence[str]
    ) -> ImageList:
        """The filtered list; its files were there a moment ago."""
        images = self.find(root, **self.find_options())
        self._report(images)
        if excluded_classes:
            images = drop_classes(images, excluded_classes)
        if isinstance(min_images_per_class, int):
            images = self._without_small_classes(images, min_images_per_class)
        elif self.matched is not None:
            images, _ = drop_small_classes_to_match(
                images, self.matched.classes, self.matched.images
            )
        missing = np.flatnonzero(images.sizes < 0)
        if len(missing):
            raise DataError(
                f"{self._name}: {len(missing)} of {len(images)} listed images are missing or "
                f"cannot be reached, for example {images.path(int(missing[0]))}. Unpack it "
                "again, or mend the permissions of its folders."
            )
        return images

    def _without_small_classes(self, images: ImageList, least: int) -> ImageList:
        """Leaves out classes of fewer images, and says so once in a process."""
        small = np.flatnonzero(np.bincount(images.labels) < least)
        if not len(small):
            return images
        warn_once(
            f"{self._name}: {len(small)} of {len(images.class_names)} classes have fewer than "
            f"{least} images and are left out, for example {images.class_names[small[0]]!r} "
            "(min_images_per_class in config_dataset)."
        )
        return drop_small_classes(images, least)

    def _report(self, images: ImageList) -> None:
        """Says once in a process whether the counts are the published ones."""
        key = (type(self), images.root, len(images))
        if self.published is None or key in _reported:
            return
        _reported.add(key)
        classes, number, source = self.published
        found = f"{self._name}: {len(images)} images of {len(images.class_names)} classes"
        if (len(images.class_names), len(images)) == (classes, number):
            logger.info("%s in %s, as published", found, images.root)
        else:
            logger.warning(
                "%s in %s; published are %d images of %d classes (%s)",
                *(found, images.root, number, classes, source),
            )
