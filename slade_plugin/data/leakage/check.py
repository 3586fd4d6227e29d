"""Find images of the pool that a split scheme also evaluates on, before any training.

A pool is trained on; an image of it that is a val or test image too would raise the scores. Train
images may be in the pool. All split schemes share one pool, so what any of them evaluates on is
left out.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from PIL import Image
from torch.utils.data import Subset

from slade_plugin.base.errors import DataError
from slade_plugin.base.settings import Range, Settings
from slade_plugin.data.files.image_list import ImageList
from slade_plugin.data.leakage.class_names import same_names
from slade_plugin.data.leakage.identical_files import identical_files
from slade_plugin.data.leakage.perceptual_hash import hash_images, near_identical

TRAIN = "train"

# Reports of this process: every stage builds its own split manager.
_found: dict[str, "LeakageReport"] = {}


@dataclass(frozen=True)
class LeakageSettings(Settings):
    """The entry `leakage` of config_dataset.

    Attributes:
        drop_identical: Whether images of the pool are left out whose files are byte for byte those
            of val or test images.
        near_identical_bits: Also leave out images whose perceptual hashes differ in at most that
            many of 64 bits; 0 to 16, None = no such comparison. It decodes every image once.
    """

    place: ClassVar[str] = "config_dataset"
    title: ClassVar[str] = "leakage"

    drop_identical: bool = True
    near_identical_bits: Annotated[int | None, Range(0, 16)] = None


@dataclass(frozen=True)
class LeakageReport:
    """The result of the comparison.

    Attributes:
        kept: (N,) bool, the images that stay in the pool.
        content: The content of the report file, ready for JSON.
    """

    kept: np.ndarray
    content: dict[str, Any]

    def __str__(self) -> str:
        """Summarize the report in one line."""
        content = self.content
        if "not_checked" in content:
            return f"leakage: not checked, since {content['not_checked']}"
        dropped, same = len(content["dropped"]), len(content["classes_in_both"])
        return (
            f"leakage: {dropped} of {len(self.kept)} images of the pool are val or test images too "
            f"and are left out; {same} classes of the pool have the name of a val or test class"
        )


@dataclass
class _Evaluated:
    """An image outside the train splits."""

    path: str
    size: int
    class_name: str
    decode: Callable[[], Image.Image]
    splits: set[str] = field(default_factory=set)


def find_leaks(
    schemes: Mapping[str, Mapping[str, Mapping[str, Any]]], pool: Any, settings: LeakageSettings
) -> LeakageReport | None:
    """Compare a pool with everything evaluated on, which is every split but train.

    Args:
        schemes: Split scheme -> transform -> split -> data set, as the host's `split_schemes`.
        pool: The unlabeled data set.
        settings: What to look for.

    Returns:
        A report; None for a pool without files, such as Glyphs.

    Raises:
        DataError: If no image of the pool would be left, or a file cannot be read.
    """
    images: ImageList | None = getattr(pool, "image_list", None)
    if images is None:
        return None
    evaluated: dict[Path, _Evaluated] = {}
    for split, dataset in _evaluated_splits(schemes):
        listed = _listed(dataset)
        if listed is None:
            reason = f"the labeled data set has no files (split {split})"
            return LeakageReport(np.ones(len(images), dtype=bool), {"not_checked": reason})
        labeled, places = listed
        for place in places:
            entry = _Evaluated(
                str(labeled.paths[place]),
                int(labeled.sizes[place]),
                labeled.class_names[labeled.labels[place]],
                partial(labeled.decode, int(place)),
            )
            evaluated.setdefault(labeled.path(place), entry).splits.add(split)
    inputs = [(str(path), sorted(image.splits)) for path, image in evaluated.items()]
    key = hashlib.sha256(
        repr((settings, images.root, images.fingerprint, inputs)).encode()
    ).hexdigest()
    if key not in _found:
        _found[key] = _compare(images, evaluated, settings)
    return _found[key]


def _evaluated_splits(
    schemes: Mapping[str, Mapping[str, Mapping[str, Any]]],
) -> Iterator[tuple[str, Any]]:
    """List name and data set of every split but train."""
    for transforms in schemes.values():
        for split, dataset in next(iter(transforms.values())).items():
            if split != TRAIN:
                yield split, dataset


def _listed(dataset: Any) -> tuple[ImageList, np.ndarray] | None:
    """Return the list of files that a split was cut from, and the places of its images in it."""
    if isinstance(dataset, Subset):
        whole = _listed(dataset.dataset)
        return whole and (whole[0], whole[1][np.asarray(dataset.indices, dtype=np.int64)])
    images: ImageList | None = getattr(dataset, "image_list", None)
    return None if images is None else (images, np.arange(len(images)))


def _compare(
    images: ImageList, evaluated: Mapping[Path, _Evaluated], settings: LeakageSettings
) -> LeakageReport:
    files, others = [images.path(i) for i in range(len(images))], list(evaluated)
    same = np.full(len(files), -1, dtype=np.int64)
    bits = same.copy()
    if settings.drop_identical:
        sizes = np.array([image.size for image in evaluated.values()])
        same = identical_files(files, images.sizes, others, sizes)
    if settings.near_identical_bits is not None:
        hashes = hash_images([partial(images.decode, i) for i in range(len(images))], "the pool")
        other_hashes = hash_images([e.decode for e in evaluated.values()], "val and test")
        nearest, bits = near_identical(hashes, other_hashes, settings.near_identical_bits)
        bits[same >= 0] = -1
        same = np.where(same < 0, nearest, same)
    kept = same < 0
    if not kept.any():
        raise DataError(
            f"all {len(files)} images of the pool are val or test images too, the first one "
            f"{files[0]}; expected other images. Change unlabeled_dataset in config_dataset."
        )
    dropped = []
    for place in np.flatnonzero(~kept):
        image = evaluated[others[same[place]]]
        dropped.append({
            "image": str(images.paths[place]),
            "evaluated_image": image.path,
            "splits": sorted(image.splits),
            "differing_bits": None if bits[place] < 0 else int(bits[place]),
        })  # fmt: skip
    content = {
        "settings": settings.settings(),
        "pool": {"root": str(images.root), "images": len(files), "kept": int(kept.sum())},
        "evaluated": {
            "images": len(others),
            "splits": sorted(set().union(*(image.splits for image in evaluated.values()))),
        },
        "dropped": dropped,
        "classes_in_both": _classes_in_both(images, evaluated.values()),
    }
    return LeakageReport(kept, content)


def _classes_in_both(images: ImageList, evaluated: Iterable[_Evaluated]) -> list[dict[str, Any]]:
    """List classes of the pool that are evaluated under the same name; this is allowed."""
    splits: dict[str, set[str]] = {}
    for image in evaluated:
        splits.setdefault(image.class_name, set()).update(image.splits)
    counts = dict(zip(images.class_names, np.bincount(images.labels).tolist(), strict=True))
    return [
        {
            "pool_class": name,
            "pool_images": counts[name],
            "evaluated_class": other,
            "splits": sorted(splits[other]),
        }
        for name, other in same_names(images.class_names, sorted(splits))
    ]
