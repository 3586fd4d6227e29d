import io
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from slade_plugin.data.files.image_decoding import read_rgb
from slade_plugin.data.leakage.perceptual_hash import hash_images, near_identical, perceptual_hash

PHOTOGRAPHS = [Image.fromarray(array) for array in load_sample_images().images]
FAR = 20  # of 64; unrelated images differ in about 32


def bits(first: Image.Image, second: Image.Image) -> int:
    hashes = [perceptual_hash(image) for image in (first, second)]
    return int(np.unpackbits(hashes[0] ^ hashes[1]).sum())


def encoded(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


@pytest.mark.parametrize("photograph", PHOTOGRAPHS)
def test_the_same_photograph_in_another_form_is_near(photograph: Image.Image) -> None:
    assert bits(photograph, encoded(photograph, quality=20)) <= 2
    assert bits(photograph, photograph.reduce(3)) <= 2
    assert bits(photograph, photograph.convert("L")) <= 2


def test_other_photographs_are_far() -> None:
    first, second = PHOTOGRAPHS
    assert bits(first, second) > FAR
    assert bits(first, first.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) > FAR


def test_the_bits_are_frequencies_above_their_median() -> None:
    """A half-wave along x is the one low frequency of the image, besides those it leaves behind."""
    wave = 127.5 + 127 * np.cos(np.pi * (np.arange(32) + 0.5) / 32)
    image = Image.fromarray(np.tile(wave, (32, 1)).astype(np.uint8))
    found = np.unpackbits(perceptual_hash(image)).reshape(8, 8)
    assert found[0, 0] == 1
    assert found[0, 1] == 1
    assert found.sum() <= 32


def test_an_image_of_one_colour_has_no_hash() -> None:
    assert perceptual_hash(Image.new("RGB", (50, 40), "red")) is None
    assert perceptual_hash(Image.new("L", (1, 1))) is None


def test_near_identical_agrees_with_counting_bits() -> None:
    rng = np.random.default_rng(0)
    others = rng.integers(0, 256, size=(30, 8), dtype=np.uint8)
    hashes = others[rng.integers(0, 30, size=50)]
    hashes = hashes ^ np.packbits(rng.random((50, 64)) < 0.08, axis=1)
    distance = np.unpackbits(hashes[:, None] ^ others[None], axis=2).sum(axis=2)
    assert {0 < d <= 5 for d in distance.min(axis=1)} == {True, False}

    def rows(values: np.ndarray) -> np.ndarray:
        return np.insert(values, 0, 1, axis=1)

    nearest, differing = near_identical(rows(hashes), rows(others), 5)
    near = distance.min(axis=1) <= 5
    assert (nearest >= 0).tolist() == near.tolist()
    np.testing.assert_array_equal(differing[near], distance.min(axis=1)[near])
    found = distance[np.flatnonzero(near), nearest[near]]
    np.testing.assert_array_equal(found, differing[near])
    assert (differing[~near] == -1).all()


def test_images_without_a_hash_are_near_nothing() -> None:
    row = np.array([[1, *range(8)]], dtype=np.uint8)
    without = row.copy()
    without[0, 0] = 0
    assert near_identical(row, row, 0)[0].tolist() == [0]
    assert near_identical(without, row, 64)[0].tolist() == [-1]
    assert near_identical(row, without, 64)[0].tolist() == [-1]
    places, _ = near_identical(np.vstack([without, row]), np.vstack([without, row]), 0)
    assert places.tolist() == [-1, 1]


def test_files_that_cannot_be_decoded_have_no_hash(tmp_path: Path) -> None:
    PHOTOGRAPHS[0].reduce(8).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    Image.new("RGB", (9, 9)).save(tmp_path / "c.png")
    hashes = hash_images(
        [partial(read_rgb, tmp_path / name) for name in ("a.png", "b.png", "c.png")], "these"
    )
    assert hashes[:, 0].tolist() == [1, 0, 0]
    np.testing.assert_array_equal(hashes[0, 1:], perceptual_hash(PHOTOGRAPHS[0].reduce(8)))
