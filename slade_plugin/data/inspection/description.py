"""Describe a data set in numbers, as JSON and as Markdown."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from slade_plugin.data.datasets.published_counts import PublishedCounts
from slade_plugin.data.files.image_list import ImageList
from slade_plugin.data.inspection.checks import Check
from slade_plugin.data.inspection.file_probe import FileProbe

_BINS = 10
_BAR = 40  # characters
_SHOWN = 20  # files of a check in Markdown; all are in the JSON
_STATES = {"ok": "ok", "note": "note", "problem": "PROBLEM"}


def describe(
    name: str, images: ImageList, published: PublishedCounts | None, probes: Sequence[FileProbe]
) -> dict[str, Any]:
    """Collect the facts.

    Args:
        name: Of the data set.
        images: N images.
        published: The published counts.
        probes: N, one an image.

    Returns:
        Facts that JSON can hold.
    """
    sizes = np.bincount(images.labels)
    read = [probe for probe in probes if probe.kind]
    return {
        "data_set": name,
        "root": str(images.root),
        "classes": len(images.class_names),
        "images": len(images),
        "published": published._asdict() if published else None,
        "fingerprint": images.fingerprint,
        "boxes": images.boxes is not None,
        "roles": _roles(images),
        "images_per_class": {**_spread(sizes), "histogram": _histogram(sizes)},
        "kinds": dict(Counter(probe.kind for probe in read).most_common()),
        "width": _spread([probe.width for probe in read]),
        "height": _spread([probe.height for probe in read]),
        "bytes": {**_spread(images.sizes), "sum": int(images.sizes.clip(0).sum())},
        "images_of_class": dict(zip(images.class_names, sizes.tolist(), strict=True)),
    }


def description_to_markdown(facts: Mapping[str, Any]) -> str:
    """Format the facts of `describe` as a page."""
    published = facts["published"] or {"classes": "", "images": "", "source": "none"}
    per_class = facts["images_per_class"]
    by_size = sorted(facts["images_of_class"].items(), key=lambda item: (-item[1], item[0]))
    rows = [("bytes", facts["bytes"]), ("width", facts["width"]), ("height", facts["height"])]
    lines = [
        f"# {facts['data_set']}",
        "",
        f"In `{facts['root']}`, {facts['bytes']['sum'] / 1e6:.1f} MB, bounding boxes: "
        f"{'yes' if facts['boxes'] else 'no'}. Fingerprint `{facts['fingerprint']}`.",
        "",
        f"| | found | published ({published['source']}) |",
        "|---|---|---|",
        f"| classes | {facts['classes']} | {published['classes']} |",
        f"| images | {facts['images']} | {published['images']} |",
        *(f"| {k}: classes, images | {a}, {b} | |" for k, (a, b) in facts["roles"].items()),
        "",
        "## Images per class",
        "",
        f"Least {per_class['least']}, median {per_class['median']:g}, most {per_class['most']}.",
        "",
        "```",
        *_bars(per_class["histogram"]),
        "```",
        "",
        f"Most: {_named(by_size[:5])}. Least: {_named(by_size[::-1][:5])}.",
        "",
        "## Files",
        "",
        "| | least | median | most |",
        "|---|---|---|---|",
        *(f"| {n} | {s['least']} | {s['median']:g} | {s['most']} |" for n, s in rows if s),
        "",
        "Kinds: " + (", ".join(f"{k} {n}" for k, n in facts["kinds"].items()) or "none") + ".",
    ]
    return "\n".join(lines) + "\n"


def checks_to_text(checks: Sequence[Check]) -> str:
    """Format one line per check, with the files it is about."""
    lines = []
    for check in checks:
        lines.append(f"- {_STATES[check.state]} {check.name}: {check.text}")
        lines += [f"  - {file}" for file in check.files[:_SHOWN]]
        if len(check.files) > _SHOWN:
            lines.append(f"  - and {len(check.files) - _SHOWN} more (--out FILE.json has them all)")
    return "\n".join(lines) + "\n"


def _roles(images: ImageList) -> dict[str, tuple[int, int]]:
    """Count classes and images by role."""
    if images.roles is None:
        return {}
    return {
        role: (len(np.unique(images.labels[images.roles == role])), int(count))
        for role, count in zip(*np.unique(images.roles, return_counts=True), strict=True)
    }


def _spread(numbers: npt.ArrayLike) -> dict[str, Any]:
    numbers = np.asarray(numbers)
    if not numbers.size:
        return {}
    middle = float(np.median(numbers))
    return {"least": int(numbers.min()), "median": middle, "most": int(numbers.max())}


def _histogram(sizes: npt.NDArray[np.int64]) -> list[dict[str, int]]:
    """Count classes by their number of images, in at most `_BINS` integer ranges."""
    low, high = int(sizes.min()), int(sizes.max())
    step = -(-(high - low + 1) // _BINS)
    edges = np.arange(low, high + step + 1, step)
    counts, _ = np.histogram(sizes, bins=edges - 0.5)
    return [
        {"from": int(edge), "to": int(edge) + step - 1, "classes": int(count)}
        for edge, count in zip(edges, counts, strict=False)
    ]


def _bars(histogram: Sequence[Mapping[str, int]]) -> list[str]:
    highest = max(row["classes"] for row in histogram)
    return [
        f"{row['from']:>7} to {row['to']:<7} {row['classes']:>7} "
        f"{'#' * round(_BAR * row['classes'] / highest)}".rstrip()
        for row in histogram
    ]


def _named(classes: Sequence[tuple[str, int]]) -> str:
    return ", ".join(f"{name} ({number})" for name, number in classes)
