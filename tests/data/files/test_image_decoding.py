import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from slade_plugin.base.errors import DataError
from slade_plugin.data.files.image_decoding import MAX_ASPECT, read_rgb

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


class TestHuge:
    @pytest.fixture(autouse=True)
    def small_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 64)

    @pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
    def test_a_large_jpeg_is_decoded_at_half_its_size(self, tmp_path: Path) -> None:
        path = saved(tmp_path, four_colours(96, 64), "image.jpg")
        image = read_rgb(path)
        assert image.size == (48, 32)
        assert corners(image) == ORIENTED[1]
        np.testing.assert_allclose(
            np.asarray(read_rgb(path, [0, 0, 40, 24])).mean((0, 1)), RED, atol=3
        )
        assert read_rgb(path, [0, 0, 48, 32]).size == (24, 16)

    @pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
    @pytest.mark.parametrize("name", ["image.png", "image.tif", "image.webp", "image.gif"])
    def test_any_other_large_file_is_refused(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(DataError, match=r"it has 96 x 64 pixels; expected at most .* a JPEG"):
            read_rgb(saved(tmp_path, four_colours(96, 64), name))

    @pytest.mark.parametrize("name", ["image.png", "image.jpg"])
    def test_beyond_twice_the_limit_it_is_refused(self, tmp_path: Path, name: str) -> None:
        path = saved(tmp_path, four_colours(96, 96), name)
        with pytest.raises(DataError, match=r"image\..* cannot be decoded: Image size \(9216 "):
            read_rgb(path)


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
