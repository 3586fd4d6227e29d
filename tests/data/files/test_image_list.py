import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slade_plugin.base.errors import ConfigError, DataError
from slade_plugin.data.files.image_list import (
    ImageList,
    drop_classes,
    drop_missing,
    drop_small_classes,
    drop_small_classes_to_match,
    names_from_file,
    remap_labels,
)

# Class sizes 1, 2, 3, 4: 10 images.
LABELS = [0, 1, 1, 2, 2, 2, 3, 3, 3, 3]
NAMES = ["one", "two", "three", "four"]


def listed(root: Path = Path("/data"), **changes: Any) -> ImageList:
    content = {
        "paths": np.array([f"{label}/{k}.jpg" for k, label in enumerate(LABELS)]),
        "labels": np.array(LABELS),
        "class_names": NAMES,
        "boxes": np.arange(40.0).reshape(10, 4),
    }
    return ImageList(root, **(content | changes))


def on_disk(root: Path) -> ImageList:
    images = listed(root)
    for number, path in enumerate(images.paths):
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_bytes(b"x" * number)
    return images


def test_keep_makes_labels_dense_and_takes_names_and_boxes_along() -> None:
    images = listed()
    part = images.keep(images.labels % 2 == 1)
    assert part.labels.tolist() == [0, 0, 1, 1, 1, 1]
    assert part.class_names == ["two", "four"]
    assert part.paths.tolist() == ["1/1.jpg", "1/2.jpg", *(f"3/{k}.jpg" for k in range(6, 10))]
    assert part.boxes is not None
    assert part.boxes[0].tolist() == [4, 5, 6, 7]
    assert part.path(0) == Path("/data/1/1.jpg")
    assert part.roles is None


def test_roles_go_along_and_count_in_the_fingerprint(tmp_path: Path) -> None:
    roles = ["train"] * 6 + ["query", "gallery"] * 2
    images = on_disk(tmp_path)
    shop = ImageList(tmp_path, images.paths, images.labels, NAMES, roles=np.array(roles))
    part = shop.keep(shop.labels >= 2)
    assert part.roles is not None
    assert part.roles.tolist() == roles[3:]
    others = [
        images,
        ImageList(tmp_path, images.paths, images.labels, NAMES, None, shop.roles[::-1]),
    ]
    assert shop.fingerprint not in [other.fingerprint for other in others]
    with pytest.raises(DataError, match=r"are \[10, 10, 3\]; expected equal"):
        listed(boxes=None, roles=np.array(roles[:3]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": np.array(LABELS[:-1])}, r"are \[10, 9, 10\]; expected equal"),
        ({"paths": np.array(["a.jpg"] * 10)}, "9 images are listed more than once, .* a.jpg"),
        ({"labels": np.array(LABELS) + 1}, "4 different labels from 1 to 4 for 4 class names"),
        ({"class_names": [*NAMES, "five"]}, "expected labels 0 to 4, each with an image"),
        ({"paths": [], "labels": [], "class_names": [], "boxes": None}, "equal ones above 0"),
    ],
)
def test_a_list_that_does_not_fit_together_is_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        listed(**changes)


def test_an_empty_selection_is_refused() -> None:
    with pytest.raises(DataError, match="none of 10 images is left"):
        listed().keep(np.zeros(10))


def test_sparse_ids_become_dense_in_the_order_of_the_ids() -> None:
    labels, ids = remap_labels([817, 295, 1010, 295])
    assert labels.tolist() == [1, 0, 2, 0]
    assert labels.dtype == np.int64
    assert ids.tolist() == [295, 817, 1010]


def test_fingerprint_depends_on_content_and_not_on_the_place(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for root in (here, there):
        root.mkdir()
    images = on_disk(here)
    print_ = images.fingerprint
    assert on_disk(there).fingerprint == print_
    assert pickle.loads(pickle.dumps(images)).fingerprint == print_
    changed = [
        listed(here, class_names=["One", *NAMES[1:]]),
        listed(here, labels=np.array([1, 0, *LABELS[2:]])),
        listed(here, paths=np.array([*images.paths[:-1], "3/other.jpg"])),
        images.keep(images.labels > 0),
    ]
    (there / images.paths[3]).write_bytes(b"xyzzy")
    fingerprints = {x.fingerprint for x in [*changed, listed(there)]}
    assert len(fingerprints) == 5
    assert print_ not in fingerprints


def test_missing_files_are_left_out_and_named(tmp_path: Path) -> None:
    images = on_disk(tmp_path)
    assert drop_missing(images) == (images, [])
    assert images.sizes.tolist() == list(range(10))
    (tmp_path / "0/0.jpg").unlink()
    (tmp_path / "2/3.jpg").unlink()
    rest, missing = drop_missing(listed(tmp_path))
    assert missing == ["0/0.jpg", "2/3.jpg"]
    assert rest.class_names == NAMES[1:]
    assert rest.sizes.tolist() == [1, 2, 4, 5, 6, 7, 8, 9]


def test_small_and_named_classes_are_left_out() -> None:
    assert drop_small_classes(listed(), 3).class_names == ["three", "four"]
    assert drop_classes(listed(), ["four", "one"]).class_names == ["two", "three"]
    with pytest.raises(DataError, match="none of 10 images is left"):
        drop_small_classes(listed(), 5)
    with pytest.raises(
        ConfigError, match=r"1 of 2 excluded classes .*'fuor' \(did you mean 'four'"
    ):
        drop_classes(listed(), ["one", "fuor"])


@pytest.mark.parametrize(
    ("classes", "images", "threshold"),
    [(4, 10, 1), (3, 9, 2), (2, 7, 3), (1, 4, 4), (1, 1, 4), (100, 1000, 1), (2, 8, 3)],
)
def test_the_threshold_nearest_to_published_counts_is_taken_and_said(
    classes: int, images: int, threshold: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "slade_plugin"):
        rest, chosen = drop_small_classes_to_match(listed(), classes, images)
    assert chosen == threshold
    assert rest.paths.tolist() == drop_small_classes(listed(), threshold).paths.tolist()
    assert f"at least {threshold} images: {len(rest.class_names)} classes" in caplog.text


def test_names_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes("\ufeffAigle\u00e9\r\n\n two words \n".encode())
    assert names_from_file(path) == ["Aigle\u00e9", "two words"]
    with pytest.raises(ConfigError, match=r"excluded_classes: .*other\.txt cannot be read"):
        names_from_file(tmp_path / "other.txt")


def test_a_hundred_thousand_images_are_no_effort(tmp_path: Path) -> None:
    """Fails by running for minutes if a step is quadratic."""
    count = 100_000
    labels = np.arange(count) // 10
    paths = np.char.add(np.char.add(labels.astype(str), "/"), np.arange(count).astype(str))
    images = ImageList(tmp_path, paths, labels, [f"class {k}" for k in range(count // 10)])
    assert len(drop_classes(images, images.class_names[:5000])) == count // 2
    assert drop_small_classes_to_match(images, 1, 1)[1] == 1
