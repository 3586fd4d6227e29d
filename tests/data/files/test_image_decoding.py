import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile
from PIL.PngImagePlugin import PngInfo
from sklearn.datasets import load_sample_images

from slade_plugin.base.errors import DataError
from slade_plugin.data.files.image_decoding import MAX_ASPECT, read_rgb, reduction

RED, WHITE = (255, 0, 0), (255, 255, 255)


def corners(image: Image.Image) -> list[str]:
    """Which of red, green, blue and grey lies in the corners, row by row."""
    names = {0: "r", 1: "g", 2: "b"}
    width, height = image.size
    found = []
    for y in (height // 8, height - 1 - height // 8):
        for x in (width // 8, width - 1 - width // 8):
            pixel = np.array(image.getpixel((x, y)), dtype=int)
            found.append("." if np.ptp(pixel) < 60 else names[int(pixel.argmax())])
    return found


def four_colours(width: int = 24, height: int = 16) -> Image.Image:
    """Red and green above, blue and grey below."""
    array = np.full((height, width, 3), 128, np.uint8)
    h, w = height // 2, width // 2
    array[:h, :w], array[:h, w:], array[h:, :w] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    return Image.fromarray(array)


def saved(folder: Path, image: Image.Image, name: str = "image.png", **options: Any) -> Path:
    image.save(folder / name, **options)
    return folder / name


def test_an_rgb_image_is_read_as_it_is(tmp_path: Path) -> None:
    image = read_rgb(saved(tmp_path, four_colours()))
    assert image.mode == "RGB"
    np.testing.assert_array_equal(image, four_colours())


def test_the_reader_is_the_host_s_on_an_ordinary_photograph(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8))
    path = saved(tmp_path, image, "image.jpg", quality=90)
    np.testing.assert_array_equal(read_rgb(path), Image.open(path).convert("RGB"))


@pytest.mark.parametrize("name", ["image.png", "image.jpg"])
def test_grey_becomes_rgb(tmp_path: Path, name: str) -> None:
    image = read_rgb(saved(tmp_path, Image.new("L", (9, 7), 100), name))
    assert image.mode == "RGB"
    assert image.size == (9, 7)
    assert image.getpixel((4, 4)) == (100, 100, 100)


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    image = read_rgb(saved(tmp_path, Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "image.jpg"))
    np.testing.assert_allclose(image.getpixel((4, 4)), RED, atol=6)


def test_sixteen_bits_keep_their_range(tmp_path: Path) -> None:
    array = np.array([[0, 257, 65535]], dtype=np.uint16)
    image = read_rgb(saved(tmp_path, Image.fromarray(array)))
    assert np.asarray(image)[0, :, 0].tolist() == [0, 1, 255]


def test_one_bit_and_palette_become_rgb(tmp_path: Path) -> None:
    assert read_rgb(saved(tmp_path, Image.new("1", (2, 2), 1))).getpixel((1, 1)) == WHITE
    palette = four_colours().quantize(4)
    assert palette.mode == "P"
    np.testing.assert_array_equal(
        read_rgb(saved(tmp_path, palette, "image.gif")), palette.convert("RGB")
    )


def test_what_is_transparent_lies_on_white(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    clear.putpixel((0, 0), (*RED, 255))
    for image in (clear, clear.quantize(4)):
        read = read_rgb(saved(tmp_path, image))
        assert (read.getpixel((0, 0)), read.getpixel((3, 3))) == (RED, WHITE)
    grey = read_rgb(saved(tmp_path, Image.new("LA", (4, 4), (0, 0))))
    assert grey.getpixel((0, 0)) == WHITE
    keyed = read_rgb(saved(tmp_path, Image.new("RGB", (4, 4), RED), transparency=RED))
    assert keyed.getpixel((0, 0)) == WHITE


# Value of the tag -> where the corners of the stored image come to lie when it is shown upright,
# read off the tag's definition: (side of row 0, side of column 0), e.g. 6 = (right, top).
ORIENTED = {
    1: ["r", "g", "b", "."],
    2: ["g", "r", ".", "b"],
    3: [".", "b", "g", "r"],
    4: ["b", ".", "r", "g"],
    5: ["r", "b", "g", "."],
    6: ["b", "r", ".", "g"],
    7: [".", "g", "b", "r"],
    8: ["g", ".", "r", "b"],
}


@pytest.mark.parametrize("name", ["image.jpg", "image.png"])
@pytest.mark.parametrize("orientation", ORIENTED)
def test_images_are_upright(tmp_path: Path, orientation: int, name: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = read_rgb(saved(tmp_path, four_colours(), name, exif=exif))
    assert corners(image) == ORIENTED[orientation]
    assert image.size == ((24, 16) if orientation < 5 else (16, 24))


def test_the_box_is_in_pixels_of_the_stored_file(tmp_path: Path) -> None:
    """The upper left, red quarter, whatever the orientation makes of it."""
    for orientation in (1, 6):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = saved(tmp_path, four_colours(), exif=exif)
        image = read_rgb(path, [0.5, 0, 11.2, 8])
        assert image.size == ((12, 8) if orientation == 1 else (8, 12))
        assert image.getcolors() == [(96, RED)]


def test_a_box_is_clipped_and_an_empty_one_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, four_colours())
    assert read_rgb(path, [-5, 8, 12, 900]).size == (12, 8)
    for box in ([24, 0, 30, 8], [5, 5, 5, 9], [9, 5, 5, 9]):
        with pytest.raises(DataError, match=r"image\.png .*bounding box"):
            read_rgb(path, box)


def test_one_pixel_is_an_image(tmp_path: Path) -> None:
    assert read_rgb(saved(tmp_path, Image.new("RGB", (1, 1), RED))).getpixel((0, 0)) == RED


def test_broken_exif_data_does_not_spoil_an_image(tmp_path: Path) -> None:
    path = saved(tmp_path, four_colours(), exif=b"Exif\0\0broken by an editor")
    with pytest.raises(SyntaxError), Image.open(path) as image:
        image.getexif()
    assert corners(read_rgb(path)) == ORIENTED[1]


PHOTOGRAPH = load_sample_images().images[0]  # 640 x 427


@pytest.mark.parametrize(
    ("short_side", "box", "size"),
    [
        (None, None, (640, 427)),
        (72, None, (640, 427)),
        (71, None, (320, 214)),  # 427 > 2 x 3 x 71
        (17, None, (80, 54)),
        (1, None, (80, 54)),  # a JPEG decoder divides by 8 at most
        (17, [10.0, 20, 210, 120], (200, 100)),  # the box decides
        (16, [10.0, 20, 210, 120], (100, 50)),
    ],
)
def test_a_jpeg_is_decoded_near_the_size_it_is_resized_to(
    short_side: int | None, box: list[float] | None, size: tuple[int, int], tmp_path: Path
) -> None:
    path = saved(tmp_path, Image.fromarray(PHOTOGRAPH), "image.jpg", quality=95)
    image = read_rgb(path, box, short_side=short_side)
    assert image.size == size
    small, whole = (
        np.asarray(read.resize((20, 14)), dtype=float) for read in (image, read_rgb(path, box))
    )
    assert np.abs(small - whole).mean() < 2.5
    other = saved(tmp_path, Image.fromarray(PHOTOGRAPH), "image.png")
    assert read_rgb(other, short_side=short_side).size == (640, 427)


def header(kind: str, width: int, height: int) -> bytes:
    """A file that claims to be that large and holds no pixels."""
    if kind == "png":
        chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13)
        return start + chunk + struct.pack(">I", zlib.crc32(chunk)) + struct.pack(">I", 9) + b"IDAT"
    if kind == "gif":
        frame = b"," + struct.pack("<HHHHBB", 0, 0, width, height, 0, 8)
        return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + frame
    if kind == "bmp":
        return b"BM" + struct.pack("<IIIIiiHHIIIIII", 0, 0, 54, 40, width, height, 1, 24, *[0] * 6)
    if kind == "ppm":
        return b"P6 %d %d 255\n" % (width, height)
    buffer = io.BytesIO()
    four_colours().save(buffer, "JPEG", progressive=kind == "progressive jpg")
    content = buffer.getvalue()
    frame = content.index(b"\xff\xc2" if "prog" in kind else b"\xff\xc0") + 5
    return content[:frame] + struct.pack(">HH", height, width) + content[frame + 4 :]


@pytest.mark.parametrize("kind", ["png", "gif", "bmp", "ppm", "progressive jpg"])
def test_what_cannot_be_decoded_smaller_is_refused_by_its_header(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """26 million pixels are (20 x 256)^2; a larger target allows more."""
    monkeypatch.setattr(ImageFile.ImageFile, "load", pytest.fail)
    (tmp_path / "image").write_bytes(header(kind, 8000, 8000))
    for short_side in (None, 32, 256, 399):
        with pytest.raises(DataError, match=r"it has 8000 x 8000 pixels; expected at most \d\d mi"):
            read_rgb(tmp_path / "image", short_side=short_side)
    with pytest.raises(pytest.fail.Exception):
        read_rgb(tmp_path / "image", short_side=400)


@pytest.mark.parametrize("short_side", [None, 32, 256, 4000])
def test_a_large_jpeg_is_decoded_smaller_whatever_its_target(
    short_side: int | None, tmp_path: Path
) -> None:
    (tmp_path / "image").write_bytes(header("jpg", 9000, 9000))
    with Image.open(tmp_path / "image") as image:
        assert reduction(image, short_side) == {None: 2, 32: 8, 256: 8, 4000: 1}[short_side]


@pytest.mark.parametrize("kind", ["png", "jpg", "gif"])
def test_no_format_is_read_beyond_pillow_s_own_limit(kind: str, tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(header(kind, 60_000, 60_000))
    with pytest.raises(DataError, match=r"Image size .3600000000 pixels. exceeds limit"):
        read_rgb(tmp_path / "image", short_side=64)


PEAK = """
import sys
from slade_plugin.data.files.image_decoding import read_rgb

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if "VmHWM" in line)

read_rgb(sys.argv[2])
before = peak()
print(read_rgb(sys.argv[1], short_side=72).size, (peak() - before) // 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "size", "name", "megabytes"),
    [
        ("RGB", (4000, 3000), "image.jpg", 8),
        ("L", (5100, 5100), "image.png", 150),
        ("F", (2500, 2500), "image.tif", 90),
    ],
)
def test_the_memory_of_an_image_is_bounded(
    mode: str, size: tuple[int, int], name: str, megabytes: int, tmp_path: Path
) -> None:
    """Measured: 2, 124 and 52 MB."""
    path = saved(tmp_path, Image.new(mode, size, 0), name)
    small = saved(tmp_path, Image.new(mode, (20, 20), 0), f"small_{name}")
    command = [sys.executable, "-c", PEAK, path, small]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert int(found.split()[-1]) < megabytes


def damaged(kind: str) -> bytes:
    buffer = io.BytesIO()
    four_colours(64, 64).save(buffer, "PNG" if "png" in kind else "JPEG")
    content = buffer.getvalue()
    return {
        "truncated jpg": content[: len(content) // 2],
        "truncated png": content[: len(content) // 2],
        "header only": content[:20],
        "empty": b"",
        "text": b"<html>404 not found</html>",
    }[kind]


@pytest.mark.parametrize(
    "kind",
    ["truncated jpg", "truncated png", "header only", "empty", "text"],
)
def test_a_damaged_file_is_named(tmp_path: Path, kind: str) -> None:
    (tmp_path / "image").write_bytes(damaged(kind))
    with pytest.raises(DataError, match=r"/image cannot be decoded: .*max_unreadable"):
        read_rgb(tmp_path / "image")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing\.jpg cannot be decoded: .*No such file"):
        read_rgb(tmp_path / "nothing.jpg")


@pytest.mark.parametrize("size", [(12000, 1), (1, 12000), (60000, 3), (900, 40)])
@pytest.mark.parametrize("name", ["image.png", "image.jpg"])
def test_a_long_image_is_cut_to_its_middle(
    size: tuple[int, int], name: str, tmp_path: Path
) -> None:
    """What a transform may enlarge is bounded by its short side, whatever the file."""
    position = np.arange(max(size)) * 255 // max(size)  # brighter from one end to the other
    rows = np.tile(position, (min(size), 1)).astype(np.uint8)
    array = rows if size[0] > size[1] else rows.T
    image = read_rgb(
        saved(tmp_path, Image.fromarray(array), name, **({"quality": 100} if "jpg" in name else {}))
    )
    assert min(image.size) == min(size)
    assert max(image.size) == MAX_ASPECT * min(size)
    assert abs(np.asarray(image).mean() - 127) < 2


def test_a_long_box_is_cut_and_an_image_at_the_limit_is_not(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (10, 10 * MAX_ASPECT, 3), dtype=np.uint8)
    path = saved(tmp_path, Image.fromarray(array))
    np.testing.assert_array_equal(read_rgb(path), array)
    middle = slice(5 * MAX_ASPECT - MAX_ASPECT // 2, 5 * MAX_ASPECT + MAX_ASPECT // 2)
    np.testing.assert_array_equal(read_rgb(path, [0, 3, 10 * MAX_ASPECT, 4]), array[3:4, middle])


@pytest.mark.parametrize("name", ["image.gif", "image.tif", "image.webp", "image.png"])
def test_of_many_frames_one_is_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in (RED, *[WHITE, (0, 0, 9)] * 20)]
    path = saved(tmp_path, frames[0], name, save_all=True, append_images=frames[1:])
    with Image.open(path) as image:
        assert image.n_frames == 41
        monkeypatch.setattr(type(image), "seek", pytest.fail)
    image = read_rgb(path)
    assert image.size == (8, 8)
    np.testing.assert_allclose(image.getpixel((4, 4)), RED, atol=3)


def test_a_tall_transparent_image_is_the_same_in_pieces(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (600, 40, 4), dtype=np.uint8)
    whole = Image.fromarray(pixels)
    white = Image.new("RGBA", whole.size, "white")
    np.testing.assert_array_equal(
        read_rgb(saved(tmp_path, whole)), Image.alpha_composite(white, whole).convert("RGB")
    )


def test_compressed_text_in_a_file_does_not_fill_the_memory(tmp_path: Path) -> None:
    info = PngInfo()
    info.add_text("note", "x" * (2 << 20), zip=True)
    path = saved(tmp_path, four_colours(), pnginfo=info)
    assert path.stat().st_size < 20_000
    with pytest.raises(DataError, match=r"Decompressed data too large|MAX_TEXT_CHUNK"):
        read_rgb(path)
