import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from slade_plugin.base.errors import DataError
from slade_plugin.data.files.image_decoding import read_rgb
from slade_plugin.data.files.value_ranges import Storage, has_gray_levels

# 256 values from black to white, and the gray levels they stand for.
RAMP = np.arange(256).reshape(16, 16)
PHOTOMETRIC = 262


def saved(folder: Path, values: Any, name: str, **options: Any) -> Path:
    Image.fromarray(values).save(folder / name, **options)
    return folder / name


def gray(path: Path, value_range: Any = None) -> np.ndarray:
    """The gray levels, whose three channels are equal."""
    pixels = np.asarray(read_rgb(path, value_range=value_range))
    assert np.ptp(pixels, axis=2).max() == 0
    return pixels[..., 0]


@pytest.mark.parametrize(
    ("values", "name", "value_range"),
    [
        ((RAMP * 257).astype(np.uint16), "full_16_bit.png", None),
        ((RAMP * 257).astype(np.uint16), "full_16_bit.tif", None),
        ((RAMP * 257).astype(np.uint16), "full_16_bit.pgm", None),
        ((RAMP / 255).astype(np.float32), "float_0_1.tif", None),
        (RAMP.astype(np.float32), "float_0_255.tif", [0, 255]),
        ((RAMP * 257).astype(np.float32), "float_0_65535.tif", [0, 65535]),
        ((RAMP / 255 * 2 - 1).astype(np.float32), "float_signed.tif", [-1, 1]),
        ((RAMP * 16).astype(np.uint16), "12_bits_in_16.png", [0, 4080]),
        ((RAMP * 257).astype(np.int32), "int_32.tif", [0, 65535]),
        ((RAMP * 1000 - 500).astype(np.int32), "int_signed.tif", [-500, 254500]),
    ],
)
def test_a_known_range_becomes_256_levels(
    values: Any, name: str, value_range: Any, tmp_path: Path
) -> None:
    np.testing.assert_array_equal(gray(saved(tmp_path, values, name), value_range), RAMP)


@pytest.mark.parametrize("maximum", [1023, 4095, 65535])
def test_a_pgm_is_scaled_by_its_header(maximum: int, tmp_path: Path) -> None:
    pixels = np.array([[0, maximum // 2, maximum]]).astype(">u2")
    (tmp_path / "a.pgm").write_bytes(b"P5 3 1 %d\n" % maximum + pixels.tobytes())
    assert gray(tmp_path / "a.pgm").tolist() == [[0, 127, 255]]


def tiff(values: bytes, bits: int, photometric: int, width: int, height: int) -> bytes:
    """A little-endian TIFF of one uncompressed gray channel, by the tags of TIFF 6.0."""
    tags = [
        (256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 1),
        (PHOTOMETRIC, 3, photometric),
        (273, 4, 8), (277, 3, 1), (278, 4, height), (279, 4, len(values)),
    ]  # fmt: skip
    entries = b"".join(
        tag.to_bytes(2, "little") + kind.to_bytes(2, "little") + (1).to_bytes(4, "little")
        + value.to_bytes(4, "little")
        for tag, kind, value in tags
    )  # fmt: skip
    start = (8 + len(values)).to_bytes(4, "little")
    return b"II*\0" + start + values + len(tags).to_bytes(2, "little") + entries + bytes(4)


def test_twelve_packed_bits(tmp_path: Path) -> None:
    """Pillow calls them I;16 too; two values of 12 bits lie in three bytes."""
    (tmp_path / "a.tif").write_bytes(tiff(bytes([0x00, 0x0F, 0xFF]), 12, 1, 2, 1))
    assert gray(tmp_path / "a.tif").tolist() == [[0, 255]]


def test_white_may_be_zero(tmp_path: Path) -> None:
    values = (RAMP * 257).astype("<u2").tobytes()
    (tmp_path / "a.tif").write_bytes(tiff(values, 16, 0, 16, 16))
    np.testing.assert_array_equal(gray(tmp_path / "a.tif"), 255 - RAMP)


@pytest.mark.parametrize(
    ("values", "name", "value_range", "message"),
    [
        (RAMP.astype(np.float32), "a.tif", None,
         r"\(F;32F\) are 0 to 255; expected 0 to 1\. .*value_range: \[0, 255\]"),
        ((RAMP * 257).astype(np.float32), "a.tif", None, r"value_range: \[0, 65535\]"),
        (RAMP.astype(np.float32), "a.tif", [0, 100], "are 0 to 255; expected 0 to 100"),
        ((RAMP - 5).astype(np.float32), "a.tif", None, r"-5 to 250; .*value_range: \[-8, 255\]"),
        ((RAMP / 5000).astype(np.float32), "a.tif", None, "14 of 256 gray levels"),
        (np.full((4, 4), np.nan, np.float32), "a.tif", None, "NaN or infinite"),
        ((RAMP * 257).astype(np.int32), "a.tif", None,
         r"\(I;32S\) are 0 to 65535; expected 8 or 16 bits\. .*\[0, 65535\]"),
        ((RAMP * 16).astype(np.uint16), "a.png", None,
         r"0 to 4080, which is 16 of 256 gray levels; .*value_range: \[0, 4095\]"),
        ((RAMP * 4).astype(np.uint16), "a.png", None, r"value_range: \[0, 1023\]"),
        (RAMP.astype(np.uint16), "a.png", None, r"value_range: \[0, 255\]"),
    ],
)  # fmt: skip
def test_an_unknown_range_is_refused(
    values: Any, name: str, value_range: Any, message: str, tmp_path: Path
) -> None:
    path = saved(tmp_path, values, name)
    with pytest.raises(DataError, match=rf"{path} cannot be decoded: .*{message}"):
        read_rgb(path, value_range=value_range)


def test_the_range_is_that_of_the_whole_image_and_not_of_its_box(tmp_path: Path) -> None:
    values = RAMP.astype(np.float32)
    with pytest.raises(DataError, match="0 to 255; expected 0 to 1"):
        read_rgb(saved(tmp_path, values, "a.tif"), [0, 0, 2, 1])


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_one_value_all_over_is_the_file_s_own(dtype: Any, tmp_path: Path) -> None:
    assert not gray(saved(tmp_path, np.zeros((3, 3), dtype), "a.tif")).any()


def deep_color(values: np.ndarray) -> bytes:
    """A PNG of 16 bits a channel, which Pillow does not write."""
    import struct
    import zlib

    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(kind: bytes, content: bytes) -> bytes:
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )  # fmt: skip


@pytest.mark.parametrize(("bits", "fits"), [(16, True), (12, False), (8, False)])
def test_sixteen_bits_in_color(bits: int, fits: bool, tmp_path: Path) -> None:
    """Pillow keeps the upper 8 bits, which are black if the values fill the lower ones."""
    ramp = np.repeat(RAMP[..., None], 3, axis=2) * 2 ** (bits - 8)
    (tmp_path / "a.png").write_bytes(deep_color(ramp))
    if fits:
        np.testing.assert_array_equal(gray(tmp_path / "a.png"), RAMP)
        with pytest.raises(DataError, match="in color, where value_range is not supported"):
            read_rgb(tmp_path / "a.png", value_range=[0, 4095])
    else:
        with pytest.raises(DataError, match=r"16-bit values stay below .* so it would be black"):
            read_rgb(tmp_path / "a.png")


def test_eight_bits_are_read_as_they_are(tmp_path: Path) -> None:
    dark = np.array([[0, 1, 2]], np.uint8)
    assert gray(saved(tmp_path, dark, "a.png"), [0, 4095]).tolist() == dark.tolist()


def test_storage_is_read_before_loading() -> None:
    buffer = io.BytesIO()
    Image.fromarray((RAMP * 257).astype(np.uint16)).save(buffer, "PNG")
    with Image.open(buffer) as image:
        assert Storage.of(image) == ("I;16B", "PNG", False)
        assert not has_gray_levels(image)
