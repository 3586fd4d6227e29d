"""Check the files of a data set; each check has one result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from slade_plugin.data.datasets.published_counts import PublishedCounts
from slade_plugin.data.files.class_spellings import describe_groups, similar_names
from slade_plugin.data.files.image_decoding import FEWEST_LEVELS, MAX_ASPECT
from slade_plugin.data.files.image_list import ImageList
from slade_plugin.data.inspection.file_probe import FileProbe


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
        name: What was checked.
        state: "problem" ends `data verify` with exit code 1; "note" does not.
        text: One line.
        files: The files it is about, with a reason where there is one.
    """

    name: str
    state: Literal["ok", "note", "problem"]
    text: str
    files: list[str] = field(default_factory=list)


def check_all(
    images: ImageList,
    published: PublishedCounts | None,
    probes: Sequence[FileProbe],
    decoded: bool,
) -> list[Check]:
    """Run the checks that need no hashes.

    Args:
        images: N images.
        published: What to compare their counts with.
        probes: N, one an image.
        decoded: Whether they come from decoding, rather than from headers.
    """
    found = check_counts(images, published), check_files(images, probes, decoded)
    others = (
        check_boxes(images, probes),
        check_shapes(probes, images),
        check_contrast(probes, images),
    )
    return [*found, *filter(None, others)]


def check_counts(images: ImageList, published: PublishedCounts | None) -> Check:
    """Compare the numbers of classes and images with the published ones."""
    found = f"{len(images.class_names)} classes, {len(images)} images"
    if published is None:
        return Check("counts", "ok", f"{found}; nothing to compare with")
    same = (len(images.class_names), len(images)) == (published.classes, published.images)
    expected = f"{published.classes} classes, {published.images} images"
    if same:
        return Check("counts", "ok", f"{found}, as published ({published.source})")
    return Check("counts", "problem", f"{found}; published: {expected} ({published.source})")


def check_class_names(images: ImageList) -> Check | None:
    """Report class names that look like spellings of one name; None without any."""
    groups = similar_names(images.class_names)
    if not groups:
        return None
    text = f"{len(groups)} have several spellings (merge_spellings of FolderImages joins them)"
    return Check("class names", "problem", text, [describe_groups([group]) for group in groups])


def check_shapes(probes: Sequence[FileProbe], images: ImageList) -> Check | None:
    """List images that are cut to their middle; None without any."""
    files = [
        f"{path}: {probe.width} x {probe.height}"
        for path, probe in zip(images.paths, probes, strict=True)
        if max(probe.width, probe.height) > MAX_ASPECT * max(min(probe.width, probe.height), 1)
    ]
    text = f"{len(files)} longer than {MAX_ASPECT} times their short side are cut to their middle"
    return Check("shapes", "note", text, files) if files else None


def check_contrast(probes: Sequence[FileProbe], images: ImageList) -> Check | None:
    """List decoded images that are nearly one color; None without any."""
    files = [
        f"{path}: {probe.levels} of 256 levels"
        for path, probe in zip(images.paths, probes, strict=True)
        if probe.levels is not None and probe.levels < FEWEST_LEVELS
    ]
    text = f"{len(files)} of {len(images)} images are nearly one color"
    return Check("contrast", "note", text, files) if files else None


def check_files(images: ImageList, probes: Sequence[FileProbe], decoded: bool) -> Check:
    """Check that every listed file exists and can be read."""
    bad = [
        f"{path}: {probe.error}"
        for path, probe in zip(images.paths, probes, strict=True)
        if probe.error
    ]
    how = "decoded" if decoded else "read as images by their headers (--decode reads all of them)"
    if not bad:
        return Check("files", "ok", f"all {len(images)} can be {how}")
    return Check("files", "problem", f"{len(bad)} of {len(images)} cannot be {how}", bad)


def check_boxes(images: ImageList, probes: Sequence[FileProbe]) -> Check | None:
    """Check that every bounding box has an area inside its image; None without boxes."""
    if images.boxes is None:
        return None
    x1, y1, x2, y2 = images.boxes.T
    size = np.array([(probe.width, probe.height) for probe in probes])
    inside = (np.minimum(x2, size[:, 0]) > np.maximum(x1, 0)) & (
        np.minimum(y2, size[:, 1]) > np.maximum(y1, 0)
    )
    bad = np.flatnonzero(~inside & (size[:, 0] > 0))
    if not len(bad):
        return Check("boxes", "ok", "each has an area inside its image")
    files = [f"{images.paths[i]}: {images.boxes[i].tolist()} in {size[i].tolist()}" for i in bad]
    return Check("boxes", "problem", f"{len(bad)} have no area inside their image", files)


def check_duplicates(groups: Sequence[Sequence[str]], images: ImageList) -> Check:
    """Note images that are the same file; published data sets have some."""
    if not groups:
        return Check("duplicates", "ok", "no two files are equal")
    labels = dict(zip(images.paths.tolist(), images.labels.tolist(), strict=True))
    across = sum(len({labels[path] for path in group}) > 1 for group in groups)
    text = (
        f"{sum(map(len, groups)) - len(groups)} files are copies of another one, in {len(groups)} "
        f"groups; {across} groups span several classes"
    )
    return Check("duplicates", "note", text, [" = ".join(group) for group in groups])


def check_hashes(manifest: Mapping[str, Any], found: Mapping[str, str], images: ImageList) -> Check:
    """Compare hashes with those of a manifest.

    Args:
        manifest: As `read_hashes` gives it.
        found: Path -> hash, of the files of the manifest that are listed today.
        images: The list of today.
    """
    expected: Mapping[str, str] = manifest["sha256"]
    bad = [f"{path}: no longer listed" for path in expected if path not in found]
    bad += [f"{path}: changed" for path in found if found[path] != expected[path]]
    if bad:
        text = f"{len(bad)} of {len(expected)} files are not those of the manifest"
        return Check("hashes", "problem", text, bad)
    if manifest["fingerprint"] != images.fingerprint:
        text = (
            f"the {len(expected)} files of the manifest are unchanged, but other paths, labels, "
            f"names or sizes are not ({manifest['images']} images then, {len(images)} now)"
        )
        return Check("hashes", "problem", text)
    return Check("hashes", "ok", f"{len(expected)} of {len(images)} files hashed, none has changed")
