"""What a cache gives is what decoding and resizing gives; what it does when it is broken."""

import gc
import pickle
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from easy_module_attribute_getter.custom_transforms import ConvertToBGR
from PIL import Image
from sklearn.datasets import load_sample_images
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.transforms import v2

from slade_plugin.base.errors import ConfigError, DataError
from slade_plugin.data.datasets.image_files import ImageFiles
from slade_plugin.data.files import image_cache
from slade_plugin.data.files.image_decoding import MAX_ASPECT
from slade_plugin.data.files.image_list import ImageList

SHORT_SIDE = 40
# Width, height. The last is a JPEG that is decoded at half its size.
SIZES = [(96, 64), (64, 96), (41, 40), (40, 40), (30, 20), (1, 60), (320, 250)]


class Photographs(ImageFiles):
    """JPEG files in the root, all of one class but the last."""

    @classmethod
    def find(cls, root: Path, **options: Any) -> ImageList:
        paths = sorted(path.name for path in root.glob("*.jpg"))
        labels = np.arange(len(paths)) // (len(paths) - 1)
        boxes = np.tile([0.0, 0, 50, 60], (len(paths), 1))
        return ImageList(root, np.array(paths), labels, ["most", "last"], boxes)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    photograph = Image.fromarray(load_sample_images().images[0])
    for number, size in enumerate(SIZES):
        photograph.resize(size).save(folder / f"{number}.jpg")
    return folder


@pytest.fixture
def root(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # Power cuts are not tested here; waiting for the disk is most of the time.
    monkeypatch.setattr(image_cache.os, "fsync", lambda descriptor: None)
    return shutil.copytree(files, tmp_path / "images")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The indices of all images that are decoded from here on."""
    seen: list[int] = []
    original = Photographs.decode

    def decode(self: Any, index: int) -> Image.Image:
        seen.append(index)
        return original(self, index)

    monkeypatch.setattr(Photographs, "decode", decode)
    return seen


def cached(root: Path, transform: Any = None, **options: Any) -> Photographs:
    return Photographs(root, transform, cache={"short_side": SHORT_SIDE}, **options)


def file(root: Path, kind: str) -> Path:
    (path,) = (root / ".image_cache").glob(f"*.{kind}")
    return path


def pixels(dataset: Photographs) -> list[bytes]:
    return [item["data"].tobytes() for item in dataset]


def contents(root: Path) -> list[bytes]:
    return [file(root, kind).read_bytes() for kind in ("rgb", "rows", "json")]


# ---- what it gives ------------------------------------------------------------------------------


def drawn(dataset: ImageFiles) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [item["data"] for item in dataset]


CROP = transforms.RandomResizedCrop(32, scale=(0.16, 1), ratio=(0.75, 1.33))
TRAIN = [CROP, transforms.RandomHorizontalFlip(), transforms.ToTensor()]
EVAL = [transforms.CenterCrop(36), transforms.ToTensor()]


@pytest.mark.parametrize("rest", [TRAIN, EVAL], ids=["train", "eval"])
def test_behind_a_resize_to_its_size_it_changes_not_one_bit(root: Path, rest: list[Any]) -> None:
    """Smaller images, which the transform enlarges, included."""
    transform = transforms.Compose([transforms.Resize(SHORT_SIDE), *rest])
    for ours, plain in zip(
        drawn(cached(root, transform)), drawn(Photographs(root, transform)), strict=True
    ):
        assert torch.equal(ours, plain)


@pytest.mark.parametrize("flat", [0, 1])
def test_images_of_nearly_one_color_are_counted(
    flat: int, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if flat:
        Image.new("RGB", (9, 9), (3, 3, 3)).save(root / "9.jpg")
    cached(root)
    assert len(caplog.messages) == flat
    assert all(text.startswith("1 of 8 images are nearly one color") for text in caplog.messages)


def test_the_target_of_images_is_that_of_a_first_resize() -> None:
    """A crop before it would need the whole image."""
    resize = transforms.Resize(40)
    assert image_cache.target_side(resize) == 40
    assert image_cache.target_side(transforms.Compose([resize, CROP])) == 40
    assert image_cache.target_side(transforms.Compose([ConvertToBGR(), resize])) == 40
    assert image_cache.target_side(v2.Compose([v2.Resize((30, 50))])) == 50
    for without in (None, CROP, transforms.Compose([]), transforms.Compose([CROP, resize])):
        assert image_cache.target_side(without) is None


def test_behind_a_smaller_resize_it_is_shrunk_in_two_steps(root: Path) -> None:
    """Nearly the same, not the same."""
    transform = transforms.Compose([transforms.Resize(24), transforms.CenterCrop(24),
                                    transforms.ToTensor()])  # fmt: skip
    ours, plain = drawn(cached(root, transform)), drawn(Photographs(root, transform))
    differences = [float((a - b).abs().mean()) for a, b in zip(ours, plain, strict=True)]
    assert 0 < differences[0] < 0.02
    assert differences[4] == 0  # not above the short side: stored as it is


def test_without_a_resize_crops_are_taken_from_the_shrunk_image(root: Path) -> None:
    transform = transforms.Compose(TRAIN)
    ours, plain = drawn(cached(root, transform)), drawn(Photographs(root, transform))
    assert not torch.equal(ours[0], plain[0])
    assert torch.equal(ours[4], plain[4])
    assert cached(root)[0]["data"].size == (60, SHORT_SIDE)
    assert cached(root)[5]["data"].size == (1, MAX_ASPECT)


def test_a_resize_beyond_it_is_refused(root: Path) -> None:
    larger = transforms.Compose([transforms.Resize(SHORT_SIDE + 1), transforms.ToTensor()])
    with pytest.raises(ConfigError, match=r"short_side is 40.*resize to 41.*at least 41"):
        cached(root, larger)
    with pytest.raises(ConfigError, match="resize to 50"):
        cached(root, transforms.Resize((50, 60)))
    assert not (root / ".image_cache").exists()


def test_worker_processes_read_the_same(root: Path) -> None:
    dataset = cached(root, transforms.Compose([transforms.Resize(SHORT_SIDE), *EVAL]))
    alone = [dataset[i]["data"] for i in range(len(dataset))]
    both = DataLoader(dataset, batch_size=None, num_workers=2)
    for ours, theirs in zip(alone, both, strict=True):
        assert torch.equal(ours, theirs["data"])


def test_the_pixels_are_not_pickled(root: Path) -> None:
    dataset = cached(root)
    first = pixels(dataset)
    pickled = pickle.dumps(dataset)
    assert len(pickled) < file(root, "rgb").stat().st_size
    assert pixels(pickle.loads(pickled)) == first


def test_a_part_reads_its_own_images(root: Path, decoded: list[int]) -> None:
    whole = cached(root)
    decoded.clear()
    mask = np.array([False, True, False, True, True, False, True])
    part = whole.keep(mask)
    assert pixels(part) == [data for data, kept in zip(pixels(whole), mask, strict=True) if kept]
    assert pixels(part.keep([False, False, True, True])) == pixels(part)[2:]
    assert decoded == []


def test_a_crop_has_a_cache_of_its_own(root: Path) -> None:
    assert cached(root)[0]["data"].size == (60, 40)
    assert cached(root, crop_to_bounding_box=True)[0]["data"].size == (40, 48)
    assert len(list((root / ".image_cache").glob("*.json"))) == 2


# ---- building -----------------------------------------------------------------------------------


def test_it_is_built_once(root: Path, decoded: list[int]) -> None:
    first = pixels(cached(root))
    assert sorted(decoded) == list(range(len(SIZES)))
    decoded.clear()
    assert pixels(cached(root)) == first
    assert decoded == []


def test_it_lies_where_the_option_says(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "fast disk" / "cache"
    Photographs(root, cache={"short_side": 16, "folder": str(folder)})
    assert sorted(path.suffix for path in folder.iterdir()) == [".json", ".lock", ".rgb", ".rows"]
    assert not (root / ".image_cache").exists()


@pytest.fixture
def stopped(root: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Starts building, in chunks of two, and stops it at an image."""
    monkeypatch.setattr(image_cache, "_CHUNK", 2)

    def stop(at: int) -> None:
        original = Photographs.decode

        def decode(self: Any, index: int) -> Image.Image:
            if index == at:
                raise KeyboardInterrupt
            return original(self, index)

        with monkeypatch.context() as patch:
            patch.setattr(Photographs, "decode", decode)
            with pytest.raises(KeyboardInterrupt):
                cached(root)

    return stop


@pytest.mark.parametrize("at", [0, 2, 5])
def test_building_goes_on_where_it_was_stopped(
    root: Path, decoded: list[int], stopped: Callable[[int], None], at: int
) -> None:
    stopped(at)
    decoded.clear()
    ours = pixels(cached(root))
    assert sorted(decoded) == list(range(at // 2 * 2, len(SIZES)))
    whole = contents(root)
    file(root, "rgb").unlink()
    assert pixels(cached(root)) == ours
    assert contents(root) == whole


@pytest.mark.parametrize(
    ("kind", "change", "first"),
    [
        ("rgb", lambda data: data + b"half an image", 4),
        ("rgb", lambda data: data[:-1], 3),
        ("rows", lambda data: data + b"half", 4),
        ("rows", lambda data: data[:-1], 3),
        ("rows", lambda data: b"", 0),
        ("rgb", lambda data: b"", 0),
    ],
)
def test_what_a_crash_left_half_done_is_done_again(
    root: Path, decoded: list[int], stopped: Any, kind: str, change: Any, first: int
) -> None:
    stopped(5)
    path = file(root, kind)
    path.write_bytes(change(path.read_bytes()))
    decoded.clear()
    ours = pixels(cached(root))
    assert sorted(decoded) == list(range(first, len(SIZES)))
    file(root, "rgb").unlink()
    assert ours == pixels(cached(root))


def test_two_processes_build_one(
    root: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """Threads here: the lock belongs to an open file."""
    waiting, original = threading.Event(), image_cache.fcntl.flock

    def flock(lock: Any, how: int) -> None:
        waiting.set()  # the second one has met the lock of the first
        original(lock, how)

    monkeypatch.setattr(
        image_cache, "fcntl", SimpleNamespace(**{**vars(image_cache.fcntl), "flock": flock})
    )
    plain = Photographs.decode

    def decode(self: Any, index: int) -> Image.Image:
        assert waiting.wait(60)
        return plain(self, index)

    monkeypatch.setattr(Photographs, "decode", decode)
    made: list[list[bytes]] = []
    threads = [threading.Thread(target=lambda: made.append(pixels(cached(root)))) for _ in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made[0] == made[1]
    assert sorted(decoded) == list(range(len(SIZES)))
    assert "waiting for another process" in caplog.text


@pytest.mark.usefixtures("no_locks")
def test_without_locks_it_is_built_with_a_warning(root: Path, caplog: Any) -> None:
    assert len(pixels(cached(root))) == len(SIZES)
    assert "cannot be locked (No locks available)" in caplog.text


# ---- broken -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "change", "reason"),
    [
        ("json", lambda data: b"{", "is not the JSON that was written"),
        ("json", lambda data: b"[]", "is not the JSON that was written"),
        ("json", lambda data: data.replace(b'"images": 7', b'"images": 8'), "its own hash"),
        ("rgb", lambda data: data[:-1], "rgb does not have the size that was written"),
        ("rgb", None, "rgb is missing"),
        ("rows", lambda data: data[::-1], "rows does not have the content that was written"),
        ("rows", None, "rows is missing"),
    ],
)
def test_a_broken_one_is_built_again(
    root: Path, caplog: Any, kind: str, change: Any, reason: str
) -> None:
    first, whole = pixels(cached(root)), contents(root)
    path = file(root, kind)
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(path.read_bytes()))
    assert pixels(cached(root)) == first
    assert contents(root) == whole
    assert "is built again: " in caplog.text
    assert reason in caplog.text


def test_other_images_under_the_same_key_are_not_taken(root: Path, caplog: Any) -> None:
    """Their hashes may begin alike; the manifest has the whole one."""
    cached(root)
    manifest = file(root, "json")
    content = image_cache.json.loads(manifest.read_text()) | {"fingerprint": "0" * 64}
    content.pop(image_cache.MANIFEST_HASH)
    image_cache.write_manifest(manifest, content)
    cached(root)
    assert "it was made of other images" in caplog.text


def test_a_changed_bit_is_noticed_and_the_file_decoded(root: Path, caplog: Any) -> None:
    dataset = cached(root)
    first = pixels(dataset)
    path = file(root, "rgb")
    data = bytearray(path.read_bytes())
    data[60 * SHORT_SIDE * 3 + 5] ^= 1  # in the second image
    path.write_bytes(data)
    assert pixels(cached(root)) == first
    assert "is damaged at image 1, which is decoded from its file" in caplog.text
    assert caplog.text.count("damaged") == 1


def test_a_file_replaced_by_one_of_the_same_size_is_read(root: Path, caplog: Any) -> None:
    """The fingerprint knows sizes alone."""
    Image.new("RGB", (40, 40), "red").save(root / "2.jpg", "BMP")
    before = cached(root)
    assert before[2]["data"].getpixel((0, 0)) == (255, 0, 0)
    fingerprint = before.fingerprint
    del before  # while it lives, the list of its files is shared
    gc.collect()
    Image.new("RGB", (40, 40), "blue").save(root / "2.jpg", "BMP")
    after = cached(root)
    assert after.fingerprint == fingerprint
    assert after[2]["data"].getpixel((0, 0)) == (0, 0, 255)
    assert "of images changed since" in caplog.text


def test_unreadable_images_are_named_and_end_it(root: Path, caplog: Any) -> None:
    (root / "2.jpg").write_bytes((root / "2.jpg").read_bytes()[:100])
    with pytest.raises(DataError, match=r"1 of \d+ images cannot be decoded, .*2\.jpg; max_unread"):
        cached(root)
    assert "left out of the cache: " in caplog.text
    assert "2.jpg cannot be decoded" in caplog.text
    lenient = cached(root, max_unreadable=1)
    assert lenient[2]["data"].tobytes() == lenient[3]["data"].tobytes()


def test_no_room_is_said_before_it_is_full(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_cache, "_CHUNK", 2)
    with monkeypatch.context() as patch:
        patch.setattr(image_cache.shutil, "disk_usage", lambda path: SimpleNamespace(free=999))
        with pytest.raises(DataError, match=r"0\.0 GB are still to be written.*cache: {folder"):
            cached(root)
    assert len(pixels(cached(root))) == len(SIZES)


def test_a_folder_that_cannot_be_made_is_named(root: Path) -> None:
    with pytest.raises(DataError, match=r"0\.jpg.*Not a directory.*cache: {folder: \.\.\.}"):
        Photographs(root, cache={"short_side": 40, "folder": str(root / "0.jpg" / "cache")})


def test_equal_pixels_are_counted_once(root: Path) -> None:
    dataset = cached(root, max_unreadable=9)
    assert dataset.cache is not None
    different = len({bytes(image) for image in pixels(dataset)})
    assert dataset.cache.count_distinct() == different == dataset.count_distinct(1000)
    assert dataset.count_distinct(2) == 2
    assert dataset.keep(np.arange(len(dataset)) == 0).count_distinct(1000) == 1
