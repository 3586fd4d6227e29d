import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from slade_plugin.data.datasets.published_counts import PublishedCounts
from slade_plugin.data.files.image_list import ImageList
from slade_plugin.data.inspection.checks import Check
from slade_plugin.data.inspection.description import (
    _histogram,
    checks_to_text,
    describe,
    description_to_markdown,
)
from slade_plugin.data.inspection.file_probe import FileProbe

PROBES = [
    FileProbe("JPEG RGB", 12, 8),
    FileProbe("JPEG L", 10, 40),
    FileProbe("JPEG RGB", 14, 9, "cut"),
    FileProbe(error="no image"),
]


def test_facts_by_hand(drawn: Callable[..., ImageList]) -> None:
    images = drawn(ant=1, bee=3)
    facts = describe("Ants", images, PublishedCounts(2, 5, "a paper"), PROBES)
    assert (facts["classes"], facts["images"], facts["boxes"]) == (2, 4, True)
    assert facts["published"] == {"classes": 2, "images": 5, "source": "a paper"}
    assert facts["images_of_class"] == {"ant": 1, "bee": 3}
    assert facts["kinds"] == {"JPEG RGB": 2, "JPEG L": 1}
    assert facts["width"] == {"least": 10, "median": 12.0, "most": 14}
    assert facts["bytes"]["sum"] == sum(images.path(i).stat().st_size for i in range(4))
    histogram = facts["images_per_class"]["histogram"]
    assert histogram == [
        {"from": 1, "to": 1, "classes": 1},
        {"from": 2, "to": 2, "classes": 0},
        {"from": 3, "to": 3, "classes": 1},
    ]
    assert json.loads(json.dumps(facts)) == facts


def test_the_page_says_the_facts(drawn: Callable[..., ImageList]) -> None:
    images = drawn(ant=1, bee=3)
    page = description_to_markdown(
        describe("Ants", images, PublishedCounts(2, 5, "a paper"), PROBES)
    )
    for line in (
        "| | found | published (a paper) |",
        "| classes | 2 | 2 |",
        "| images | 4 | 5 |",
        "Least 1, median 2, most 3.",
        "      1 to 1             1 ########################################",
        "      2 to 2             0",
        "Most: bee (3), ant (1). Least: ant (1), bee (3).",
        "| height | 8 | 9 | 40 |",
        "Kinds: JPEG RGB 2, JPEG L 1.",
    ):
        assert line in page.splitlines()
    assert "published (none)" in description_to_markdown(describe("A", images, None, PROBES))


def test_roles_are_counted(drawn: Callable[..., ImageList]) -> None:
    images = replace(drawn(ant=1, bee=3), roles=np.array(["train", "train", "query", "train"]))
    facts = describe("Ants", images, None, PROBES)
    assert facts["roles"] == {"query": (1, 1), "train": (2, 3)}
    assert "| train: classes, images | 2, 3 | |" in description_to_markdown(facts)


def test_nothing_readable_is_still_described(drawn: Callable[..., ImageList]) -> None:
    images = drawn(ant=1)
    page = description_to_markdown(describe("A", images, None, [FileProbe(error="no image")]))
    assert "Kinds: none." in page
    assert "width" not in page


@pytest.mark.parametrize("sizes", [[1], [4, 4], [1, 2, 900], list(range(1, 62)), [41, 60]])
def test_the_histogram_counts_each_class_once(sizes: list[int]) -> None:
    rows = _histogram(np.array(sizes))
    assert len(rows) <= 10
    assert rows[0]["from"] == min(sizes)
    for row in rows:
        inside = [size for size in sizes if row["from"] <= size <= row["to"]]
        assert row["classes"] == len(inside)
    assert sum(row["classes"] for row in rows) == len(sizes)


def test_checks_as_lines() -> None:
    many = Check("files", "problem", "25 are bad", [f"{n}.jpg: cut" for n in range(25)])
    lines = checks_to_text([Check("counts", "ok", "2 classes"), many]).splitlines()
    assert lines[:3] == ["- ok counts: 2 classes", "- PROBLEM files: 25 are bad", "  - 0.jpg: cut"]
    assert lines[-2:] == ["  - 19.jpg: cut", "  - and 5 more (--out FILE.json has them all)"]
