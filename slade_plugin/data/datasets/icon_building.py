"""Build the ``Icons`` data set from the npm package ``@iconify/json``.

    npm pack @iconify/json@2.2.535
    tar xzf iconify-json-*.tgz package/package.json package/json
    slade-bench build icons package --dataset_root datasets

Ours, not the paper's. It takes a few minutes on one core, needs ``resvg-py`` and writes what
``data.datasets.icons`` reads. The same package and the same versions of the libraries give
the same bytes; the manifest records both, the icon sets with their licenses, and every icon's name.
"""

import importlib.metadata
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from slade_plugin.base.errors import DataError
from slade_plugin.data.datasets.icons import RECIPE_VERSION, STEM, folder_of
from slade_plugin.data.datasets.stored_images import SUBSETS, check_writable, store
from slade_plugin.data.rendering import icon_rendering
from slade_plugin.data.rendering.icon_concepts import (
    PACKAGE,
    PACKAGE_VERSION,
    Drawing,
    find_concepts,
    read_package,
)

logger = logging.getLogger(__name__)

SEED = 20220
MIN_LABELED = 25
"""Minimum number of images of a labeled class. A random half of such concepts become one."""
MIN_POOL = 10
"""Minimum number of images of a class of the pool, for all other concepts."""

UInt8Array = npt.NDArray[np.uint8]
IconClass = tuple[str, list[Drawing], UInt8Array]
"""Concept, its drawings, their images: (N, 32, 32)."""


def build(package: Path, dataset_root: Path) -> Path:
    """Render the icons and store both subsets.

    Args:
        package: The unpacked npm package, with ``package.json`` and ``json/*.json``.
        dataset_root: The host's; files go to ``dataset_root/icons``.

    Returns:
        The manifest's path.

    Raises:
        DataError: If resvg-py is missing, the package is not one or holds too little, or the folder
            is not writable.
        ExperimentError: If the disk is full.
    """
    icon_rendering.check_renderer()
    folder = folder_of(dataset_root)
    check_writable("Icons", folder)  # before the work, not after it
    version, icon_sets = read_package(package)
    if version != PACKAGE_VERSION:
        logger.warning(
            "Icons: this is %s %s; the published numbers are of %s",
            PACKAGE,
            version,
            PACKAGE_VERSION,
        )
    concepts = find_concepts(icon_sets, MIN_POOL)
    found = split(render_concepts(concepts), MIN_LABELED, MIN_POOL)
    classes = {
        subset: [
            {
                "name": concept,
                "images": len(images),
                "icons": [f"{drawing.set_prefix}:{drawing.name}" for drawing in drawings],
            }
            for concept, drawings, images in members
        ]
        for subset, members in zip(SUBSETS, found, strict=True)
    }
    used = Counter(
        drawing.set_prefix
        for members in found
        for _, drawings, _ in members
        for drawing in drawings
    )
    facts = {
        "recipe_version": RECIPE_VERSION,
        "seed": SEED,
        "package": {"name": PACKAGE, "version": version},
        "versions": {
            name: importlib.metadata.version(name) for name in ("numpy", "pillow", "resvg-py")
        },
        "counts": {subset: counts(classes[subset]) for subset in SUBSETS},
        "icon_sets": [
            _source(icon_set, used) for icon_set in icon_sets if used[icon_set["prefix"]]
        ],
    }
    labeled, pool = found
    return store("Icons", folder, STEM, _stacked(labeled + pool), facts, classes)


def render_concepts(concepts: Mapping[str, Sequence[Drawing]]) -> list[IconClass]:
    """Render every drawing; leave out blank ones and near duplicates within a concept."""
    rendered = []
    total = sum(map(len, concepts.values()))
    with tqdm(total=total, desc="Rendering icons", unit="icon", disable=None) as bar:
        for concept, drawings in concepts.items():
            pairs = [(drawing, icon_rendering.render(drawing)) for drawing in drawings]
            bar.update(len(drawings))
            seen = [(drawing, image) for drawing, image in pairs if image is not None]
            if seen:
                images = np.stack([image for _, image in seen])
                kept = icon_rendering.distinct(images)
                rendered.append((concept, [seen[place][0] for place in kept], images[kept]))
    return rendered


def split(
    rendered: Sequence[IconClass], min_labeled: int, min_pool: int
) -> tuple[list[IconClass], list[IconClass]]:
    """Return (labeled classes, pool classes), each in a seeded random order.

    Labeled are half of the concepts with at least ``min_labeled`` images, at random; the pool takes
    all others with at least ``min_pool``, not counting pool images that are near duplicates of a
    labeled one: a few sets draw two concepts alike.

    Raises:
        DataError: If a part would be empty.
    """
    large = _shuffled("split", [item for item in rendered if len(item[2]) >= min_labeled])
    labeled = large[: len(large) // 2]
    names = {concept for concept, _, _ in labeled}
    others = [item for item in rendered if item[0] not in names and len(item[2]) >= min_pool]
    pool = []
    if labeled and others:
        new = ~icon_rendering.repeats(_stacked(others), _stacked(labeled))
        ends = np.cumsum([len(images) for _, _, images in others])
        for (concept, drawings, images), is_new in zip(
            others, np.split(new, ends[:-1]), strict=True
        ):
            if is_new.sum() >= min_pool:
                kept = [drawings[place] for place in np.flatnonzero(is_new)]
                pool.append((concept, kept, images[is_new]))
    if not labeled or not pool:
        raise DataError(
            f"Icons: {len(labeled)} labeled and {len(pool)} pool classes out of {len(rendered)} "
            f"concepts; expected some of both (>= {min_labeled} and >= {min_pool} images a "
            f"concept). Is the package whole? It should be {PACKAGE} {PACKAGE_VERSION}."
        )
    return _shuffled("order", labeled), _shuffled("order", pool)


def _stacked(classes: Sequence[IconClass]) -> UInt8Array:
    """Return the images of all classes: (N, 32, 32)."""
    return np.concatenate([images for _, _, images in classes])


def _shuffled(purpose: str, classes: Sequence[IconClass]) -> list[IconClass]:
    """Order the classes by a seeded hash of their names: random, yet stable."""
    return sorted(
        classes, key=lambda item: (crc32(f"{SEED} {purpose} {item[0]}".encode()), item[0])
    )


def counts(classes: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Count classes and images, with the minimum, median and maximum per class."""
    images = [entry["images"] for entry in classes]
    return {
        "classes": len(images),
        "images": sum(images),
        "min": min(images),
        "median": int(np.median(images)),
        "max": max(images),
    }


def _source(icon_set: Mapping[str, Any], used: Mapping[str, int]) -> dict[str, Any]:
    """Describe a set: author, license and number of images."""
    info = icon_set["info"]
    return {
        "prefix": icon_set["prefix"],
        "name": info.get("name"),
        "version": info.get("version"),
        "author": info.get("author", {}).get("name"),
        "url": info.get("author", {}).get("url"),
        "license": info["license"]["spdx"],
        "images": used[icon_set["prefix"]],
    }
