"""``slade-bench data`` on a small data set, from the words of the command to the exit code."""

import hashlib
import json
import shutil
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from slade_plugin import cli
from slade_plugin.base.errors import ConfigError
from slade_plugin.commands import data
from slade_plugin.data import datasets
from slade_plugin.data.datasets.image_files import ImageFiles
from slade_plugin.data.datasets.published_counts import PublishedCounts
from slade_plugin.data.downloads.fetching import Archive
from slade_plugin.data.files.image_list import ImageList
from slade_plugin.host.registry import REGISTRY
from tests.car_trees import cars196_one_list, comp_cars
from tests.clothes_trees import fashion200k, in_shop

NUMBERS = {"ant": 1, "bee": 3, "moth \u03a9": 4}


class Bugs(ImageFiles):
    """A data set in ROOT/bugs: names.txt and a folder a class."""

    published = PublishedCounts(3, 8, "their authors")
    matched = PublishedCounts(2, 7, "a paper")
    how_to_get = "Ask their authors."

    @classmethod
    def find(cls, root: Path, **options: Any) -> ImageList:
        folder = cls.locate(root, ["names.txt"], "bugs")
        names = (folder / "names.txt").read_text(encoding="utf-8").splitlines()
        paths = [f"{name}/{i}.jpg" for name in names for i in range(NUMBERS[name])]
        labels = np.repeat(np.arange(len(names)), [NUMBERS[name] for name in names])
        boxes = np.tile([1.0, 1, 40, 30], (len(paths), 1))
        return ImageList(folder, np.array(paths), labels, names, boxes)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset root with a whole `Bugs`, which the command knows."""
    monkeypatch.setattr(datasets, "Bugs", Bugs, raising=False)
    folder = tmp_path / "root" / "bugs"
    rng = np.random.default_rng(0)
    for name, number in NUMBERS.items():
        (folder / name).mkdir(parents=True)
        for i in range(number):
            pixels = rng.integers(0, 256, (32, 48, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.jpg")
    (folder / "names.txt").write_text("\n".join(NUMBERS), encoding="utf-8")
    return tmp_path / "root"


@pytest.fixture
def call(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """`call("verify", ...)` gives exit code, stdout and stderr of `slade-bench data verify ...`."""

    def run(*words: str | Path) -> tuple[int, str, str]:
        argv = ["slade-bench", "data", *map(str, words)]
        workers = [] if words[0] == "download" else ["--workers", "0"]
        monkeypatch.setattr(sys, "argv", [*argv, *workers])
        code = cli.main()
        return code, *capsys.readouterr()

    return run


Call = Callable[..., tuple[int, str, str]]


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def test_the_data_sets_are_those_of_the_registry() -> None:
    registered = {
        cls.__name__ for kind, cls in REGISTRY if kind == "dataset" and issubclass(cls, ImageFiles)
    }
    assert set(data.image_data_sets()) == registered


# ---- verify -------------------------------------------------------------------------------------


def test_a_whole_data_set_passes_every_check(root: Path, call: Call, tmp_path: Path) -> None:
    code, out, err = call("verify", "bugs", root, "--full", "--manifest", tmp_path / "m.json")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "# Bugs",
        "",
        f"In `{root / 'bugs'}`.",
        "",
        "## Checks",
        "",
        "- ok counts: 3 classes, 8 images, as published (their authors)",
        "- ok files: all 8 can be decoded",
        "- ok boxes: each has an area inside its image",
        "- ok duplicates: no two files are equal",
        f"- ok hashes: 8 of 8 files hashed and written to {tmp_path / 'm.json'}",
        "",
        "All is well.",
    ]
    code, out, _ = call("verify", "Bugs", root, "--manifest", tmp_path / "m.json")
    assert code == 0
    assert "- ok hashes: 8 of 8 files hashed, none has changed" in out


def test_what_is_damaged_is_named_and_gives_exit_code_1(
    root: Path, call: Call, tmp_path: Path
) -> None:
    manifest = tmp_path / "m.json"
    assert call("verify", "Bugs", root, "--full", "--manifest", manifest)[0] == 0
    cut(root / "bugs" / "bee" / "1.jpg")
    (root / "bugs" / "bee" / "2.jpg").unlink()
    shutil.copy(root / "bugs" / "ant" / "0.jpg", root / "bugs" / "moth \u03a9" / "0.jpg")
    words = ("verify", "Bugs", root, "--manifest", manifest)
    code, out, _ = call(*words, "--full", "--out", tmp_path / "r.json")
    assert code == 1
    assert "PROBLEM files: 2 of 8 cannot be decoded" in out
    assert "  - bee/1.jpg: image file is truncated" in out
    assert "  - bee/2.jpg: No such file or directory" in out
    assert "note duplicates: 1 files are copies of another one, in 1 groups; 1 groups span" in out
    assert "PROBLEM hashes: 3 of 8 files are not those of the manifest" in out
    assert "2 of 5 checks found a problem." in out
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["checks"][4]["files"] == [
        "bee/1.jpg: changed", "bee/2.jpg: changed", "moth \u03a9/0.jpg: changed"
    ]  # fmt: skip
    # Without decoding a cut file passes, and the text says what was not done.
    assert "1 of 8 cannot be read as images by their headers (--decode" in call(*words)[1]


def test_other_counts_are_a_problem(root: Path, call: Call) -> None:
    (root / "bugs" / "names.txt").write_text("ant\nbee")
    code, out, _ = call("verify", "Bugs", root)
    assert code == 1
    assert "PROBLEM counts: 2 classes, 4 images; published: 3 classes, 8 images" in out


def test_options_of_the_data_set(root: Path, call: Call, caplog: pytest.LogCaptureFixture) -> None:
    code, out, _ = call("verify", "Bugs", root, "--options", "{min_images_per_class: match}")
    assert code == 0
    assert "2 classes, 7 images; nothing to compare with" in out
    assert "classes of at least 2 images: 2 classes, 7 images; published: 2" in caplog.text
    _, out, _ = call("verify", "Bugs", root, "--options", "{crop_to_bounding_box: true}")
    assert "3 classes, 8 images, as published" in out
    _, out, _ = call("verify", "Bugs", root, "--options", "{excluded_classes: [bee]}")
    assert "2 classes, 5 images; nothing to compare with" in out


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory, make_birds: Callable[..., Path]) -> Path:
    """A dataset root with all data sets of the paper, small, in their true layouts. Read only."""
    root = make_birds(tmp_path_factory.mktemp("trees"), classes=3, images=2)
    cars196_one_list(root / "cars196", 2)
    comp_cars(root / "compcars" / "data", [2] * 6)
    in_shop(root / "in_shop")
    fashion200k(root / "fashion200k")
    return root


@pytest.mark.parametrize("name", sorted(data.image_data_sets().keys() - {"FolderImages"}))
def test_the_data_sets_of_the_paper_in_small(
    name: str, trees: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All is well but the counts."""
    cls = data.image_data_sets()[name]
    code, out, _ = call("verify", name, trees, "--full")
    assert [line for line in out.splitlines() if "PROBLEM" in line] == (
        [f"- PROBLEM counts: {found(cls, trees)}; published: {cls.published[0]} classes, "
         f"{cls.published[1]} images ({cls.published[2]})"]
        if cls.published
        else []
    )  # fmt: skip
    assert code == (1 if cls.published else 0)
    monkeypatch.setattr(cls, "published", None)
    code, out, _ = call("verify", name, trees)
    assert code == 0
    assert f"- ok counts: {found(cls, trees)}; nothing to compare with" in out
    assert cls.how_to_get


def found(cls: type[ImageFiles], root: Path) -> str:
    images = cls(root).image_list
    return f"{len(images.class_names)} classes, {len(images)} images"


def test_boxes_and_roles_of_the_true_layouts(trees: Path, call: Call) -> None:
    """Boxes of CompCars are read on request; each lies in one file."""
    words = ("describe", "CompCars", trees, "--options", "{crop_to_bounding_box: true}")
    assert "- ok boxes: each has an area inside its image" in call(*words)[1]
    _, out, _ = call("describe", "InShop", trees)
    assert "| gallery: classes, images | 4, 12 | |" in out
    assert "| train: classes, images | 9, 49 | |" in out


# ---- describe -----------------------------------------------------------------------------------


def test_a_description_in_every_form(root: Path, call: Call, tmp_path: Path) -> None:
    cut(root / "bugs" / "bee" / "1.jpg")
    sheet, page, facts = (tmp_path / name for name in ("sheet.png", "page.md", "facts.json"))
    words = ("describe", "Bugs", root, "--decode")
    code, out, err = call(*words, "--contact_sheet", sheet, "--out", page)
    assert (code, err) == (0, "")
    assert page.read_text(encoding="utf-8") == out
    assert "| images | 8 | 8 |" in out
    assert "Most: moth \u03a9 (4), bee (3), ant (1)." in out
    assert "  - bee/1.jpg: image file is truncated" in out
    assert sheet.read_bytes().startswith(b"\x89PNG")
    assert call(*words, "--out", facts)[0] == 0
    content = json.loads(facts.read_text(encoding="utf-8"))
    assert content["images_of_class"] == NUMBERS
    assert content["checks"][1]["state"] == "problem"


# ---- download -----------------------------------------------------------------------------------


def test_without_a_source_the_steps_are_printed(root: Path, call: Call, tmp_path: Path) -> None:
    code, out, _ = call("download", "Bugs", tmp_path / "elsewhere")
    assert code == 1
    assert "Bugs cannot be downloaded automatically. Ask their authors." in out
    assert not (tmp_path / "elsewhere").exists()


def test_a_data_set_that_is_there_is_not_downloaded(root: Path, call: Call) -> None:
    code, out, _ = call("download", "Bugs", root)
    assert code == 0
    assert f"Bugs is in {root / 'bugs'}: 3 classes, 8 images. Next: slade-bench data verify" in out


def test_a_download_ends_in_files_that_pass(
    root: Path, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive is there already; `tests/data/downloads` fetch from a server."""
    other = tmp_path / "other"
    other.mkdir()
    path = other / "bugs.tgz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(root / "bugs", "bugs")
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    archive = Archive("http://127.0.0.1:9/", "bugs.tgz", len(content), digest, "", "bugs")
    monkeypatch.setitem(data.ARCHIVES, "Bugs", archive)
    code, out, err = call("download", "Bugs", other)
    assert (code, err) == (0, "")
    assert f"Bugs is in {other / 'bugs'}" in out
    assert call("verify", "Bugs", other, "--full")[0] == 0
    path.write_bytes(content[:-1])
    shutil.rmtree(other / "bugs")
    code, _, err = call("download", "Bugs", other)
    assert code == 2
    assert "DataError: " in err
    assert "has SHA-256" in err


# ---- mistakes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["Bug", "ROOT"], "unknown data set of image files: 'Bug' (did you mean 'Bugs'?)"),
        (["Glyphs", "ROOT"], "unknown data set of image files: 'Glyphs'"),
        (["Bugs", "ROOT/no"], "DataError: Bugs: names.txt not found; looked in ROOT/no/bugs"),
        (
            ["Bugs", "ROOT", "--out", "ROOT/a.txt"],
            "--out is ROOT/a.txt; expected a file that ends in .md",
        ),
        (["Bugs", "ROOT", "--out", "ROOT/no/a.md"], "expected a writable folder ROOT/no"),
        (["Bugs", "ROOT", "--options", "{crop: 1}"], "--options: Bugs takes no argument 'crop'"),
        (["Bugs", "ROOT", "--options", "{crop"], "--options is '{crop'; expected a YAML mapping"),
        (["Bugs", "ROOT", "--options", "7"], "--options is '7'; expected a YAML mapping"),
        (["Bugs", "ROOT", "--options", "{root: x}"], "--options: 'root' does not apply here"),
    ],
)
@pytest.mark.parametrize("command", ["verify", "describe"])
def test_mistakes_give_exit_code_2(
    command: str, words: list[str], message: str, root: Path, call: Call
) -> None:
    code, out, err = call(command, *(word.replace("ROOT", str(root)) for word in words))
    assert (code, out) == (2, "")
    assert message.replace("ROOT", str(root)) in err


def test_no_workers_below_none(root: Path) -> None:
    with pytest.raises(ConfigError, match="--workers is -1; expected 0 or more"):
        data.main(["verify", "Bugs", str(root), "--workers", "-1"])


def test_a_damaged_manifest_is_refused_before_any_image_is_read(
    root: Path, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m.json").write_text("{")
    monkeypatch.delattr(data, "probe_files")
    code, _, err = call("verify", "Bugs", root, "--manifest", tmp_path / "m.json")
    assert code == 2
    assert "m.json is not a manifest of hashes" in err


def test_a_folder_that_cannot_be_read_is_an_error(
    root: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Permissions mean nothing to root, who runs many a container, so the refusal is made."""

    def refuse(self: Path, *args: Any, **kwargs: Any) -> str:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_text", refuse)
    code, _, err = call("verify", "Bugs", root)
    assert code == 2
    assert f"DataError: {root / 'bugs' / 'names.txt'}: Permission denied; expected" in err


def test_unknown_words_end_with_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        data.main(["check", "Bugs", "."])
    assert ended.value.code == 2
    assert "invalid choice: 'check'" in capsys.readouterr().err


def test_an_interrupt_says_so(root: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(data, "probe_files", interrupt)
    code, _, err = call("verify", "Bugs", root)
    assert code == 130
    assert "Interrupted." in err


def test_class_names_that_look_alike_end_it(tmp_path: Path, call: Call) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    for name, pixels in zip(("Cup", "cup"), noise, strict=True):
        (tmp_path / name).mkdir()
        Image.fromarray(pixels).save(tmp_path / name / "1.png")
    code, out, _ = call("verify", "FolderImages", tmp_path)
    assert code == 1
    assert "PROBLEM class names" in out
    assert "'Cup' = 'cup'" in out
    (tmp_path / "mug").mkdir()
    (tmp_path / "Cup" / "1.png").rename(tmp_path / "mug" / "1.png")
    (tmp_path / "Cup").rmdir()
    code, out, _ = call("verify", "FolderImages", tmp_path, "--decode")
    assert code == 0
    assert "class names" not in out


def test_float_images_need_a_range(tmp_path: Path, call: Call) -> None:
    ramp = np.arange(64, dtype=np.float32).reshape(8, 8)
    for name in ("cup", "mug"):
        (tmp_path / name).mkdir()
        Image.fromarray(ramp).save(tmp_path / name / "1.tif")
    code, out, _ = call("verify", "FolderImages", tmp_path, "--decode")
    assert code == 1
    assert "cup/1.tif: its values (F;32F) are 0 to 63; expected 0 to 1" in out
    options = "{value_range: [0, 63]}"
    code, out, _ = call("verify", "FolderImages", tmp_path, "--decode", "--options", options)
    assert code == 0
