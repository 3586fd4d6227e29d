"""In-shop and Fashion200k in small: true folders, file names, columns and quirks; invented pixels.

An image is a noisy plane near its item's colour, so that scores are neither those of chance nor 1.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tests.car_trees import colour

# Items in the order of their ids; train and test lie between each other, as in the true file.
TRAIN_ITEMS, TEST_ITEMS = (1, 3, 4, 6, 7, 9, 11, 12), (2, 5, 8, 10)
LONE_ITEM = 13  # a training item of one image
PER_TRAIN_ITEM, QUERIES, GALLERY = 6, 2, 3
VIEWS = ("1_front", "2_side", "3_back", "4_full", "7_additional")

SUBCATEGORIES = {  # list -> folder of the images
    "dress": "dresses/casual_and_day_dresses",
    "jacket": "jackets/blazers_and_suit_jackets",
    "pants": "pants/harem_pants",
    "skirt": "skirts/knee_length_skirts",
    "top": "tops/sleeveless_and_tank_tops",
}
PER_POOL_ITEM = (8, 8, 8, 8, 8, 8, 8, 8, 4, 1)  # two items a list


def write_image(path: Path, item: int, number: int, size: tuple[int, int] = (24, 32)) -> None:
    """A JPEG of width x height pixels."""
    rng = np.random.default_rng([item, number])
    pixels = 128 + 90 * colour(item) + rng.normal(0, 40, 3) + rng.normal(0, 20, (*size[::-1], 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=95)


def in_shop(
    folder: Path, partition: str = "Eval", images: str = "Img/img", lone_item: bool = True
) -> Path:
    """``list_eval_partition.txt`` in the folder ``partition`` and the images in ``images``."""
    roles = {item: ["train"] * PER_TRAIN_ITEM for item in TRAIN_ITEMS}
    roles |= {item: ["query"] * QUERIES + ["gallery"] * GALLERY for item in TEST_ITEMS}
    if lone_item:
        roles[LONE_ITEM] = ["train"]
    rows = []
    for item, statuses in roles.items():
        kind = "WOMEN/Dresses" if item % 3 else "MEN/Denim"
        for number, status in enumerate(statuses):
            name = f"{number // len(VIEWS) + 1:02d}_{VIEWS[number % len(VIEWS)]}.jpg"
            place = f"{kind}/id_{item:08d}/{name}"
            write_image(folder / images / place, item, number)
            rows.append(f"{'img/' + place:<72}{f'id_{item:08d}':<12}   {status}")
    (folder / images / "WOMEN" / "._Dresses").write_bytes(b"\x00\x05\x16\x07")  # left by macOS
    (folder / partition).mkdir(parents=True, exist_ok=True)
    (folder / partition / "list_eval_partition.txt").write_text(
        "\n".join([str(len(rows)), "image_name item_id evaluation_status", *rows, ""])
    )
    return folder


def fashion200k(folder: Path, per_item: Sequence[int] = PER_POOL_ITEM) -> Path:
    """``labels`` and ``women``; of each item of 8 the last listed image is missing."""
    (folder / "labels").mkdir(parents=True)
    items = iter(enumerate(per_item))
    for category, place in SUBCATEGORIES.items():
        lines: dict[str, list[str]] = {"train": [], "test": []}
        for subset in lines:
            for index, count in (next(items),):
                item = 51727804 + 9973 * index
                for number in range(count):
                    path = f"women/{place}/{item}/{item}_{number}.jpeg"
                    if not (count == 8 and number == 7):
                        write_image(folder / path, 100 + index, number)
                    text = f"green robe d'été {category}" if number % 2 else f"blue {category}"
                    lines[subset].append(f"{path}\t{-1.78 + index:.2f}\t{text}\n")
        for subset, content in lines.items():
            name = folder / "labels" / f"{category}_{subset}_detect_all.txt"
            name.write_text("".join(content), encoding="utf-8")
            name.with_name(f"._{name.name}").write_bytes(b"\x00\x05\x16\x07")  # left by macOS
    return folder
