import numpy as np
import pytest
from PIL import Image

from slade_plugin.data.rendering.glyph_classes import Face, GlyphClass, draw_glyph, load_faces
from slade_plugin.data.rendering.glyph_rendering import (
    DISTORTION,
    Distortion,
    distort,
    image_rng,
    render_class,
)


@pytest.fixture(scope="module")
def faces() -> tuple[Face, ...]:
    return load_faces()


def bar(width: int, height: int) -> Image.Image:
    return Image.new("L", (width, height), 255)


def test_an_image_depends_on_nothing_but_letter_face_and_instance(faces: tuple[Face, ...]) -> None:
    glyph_a, glyph_b = (draw_glyph(letter, faces[0]) for letter in "ab")
    assert glyph_a is not None
    assert glyph_b is not None
    glyphs = {("a", faces[0].name): glyph_a, ("b", faces[0].name): glyph_b}
    item = GlyphClass(name="", script="LATIN", letters="a")
    few = render_class(item, glyphs, faces[:1], 2)
    render_class(GlyphClass(name="", script="LATIN", letters="b"), glyphs, faces[:1], 2)
    more = render_class(item, glyphs, faces[:1], 4)
    np.testing.assert_array_equal(few, more[:2])
    assert len({image.tobytes() for image in more}) == 4


def test_seed_letter_face_and_instance_each_change_the_draw() -> None:
    draws = {
        float(image_rng(letter, face, instance).random())
        for letter in "ab"
        for face in ("one", "two")
        for instance in (0, 1)
    }
    assert len(draws) == 8


def test_letters_of_one_class_take_turns(faces: tuple[Face, ...]) -> None:
    face = faces[0]
    glyphs = {("a", face.name): bar(40, 10), ("b", face.name): bar(10, 40)}
    item = GlyphClass(name="", script="LATIN", letters="ab")
    images = render_class(item, glyphs, (face,), 3)
    for image, letter, instance in zip(images, "aba", range(3), strict=True):
        expected = distort(glyphs[letter, face.name], image_rng(letter, face.name, instance))
        np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize("size", [(200, 20), (20, 200), (90, 90), (8, 8)])
def test_no_letter_is_cut_off(size: tuple[int, int]) -> None:
    """Without noise and blur, the border of one pixel is paper in every image."""
    clean = Distortion(noise=(0, 0), blur=(0, 0), contrast=(100, 100))
    for instance in range(30):
        image = distort(bar(*size), np.random.default_rng(instance), clean)
        inner = image.copy()
        inner[1:-1, 1:-1] = image[0, 0]
        assert (inner == image[0, 0]).all()
        assert np.ptp(image) > 30  # the letter itself is there


def test_without_distortion_a_square_stays_a_centred_square() -> None:
    """A square of 64 pixels at half scale is 32 pixels; the margin of 8 shrinks it to 16."""
    none = Distortion(
        rotation=0,
        shear=0,
        pixels_per_em=(32, 32),
        stretch=0,
        contrast=(200, 200),
        noise=(0, 0),
        blur=(0, 0),
        margin=8,
    )
    image = distort(bar(64, 64), np.random.default_rng(0), none).astype(int)
    is_letter = np.zeros((32, 32), dtype=bool)
    is_letter[8:24, 8:24] = True
    assert np.ptp(image[is_letter]) == 0
    assert np.ptp(image[~is_letter]) == 0
    assert abs(image[16, 16] - image[0, 0]) == 200


def test_ink_is_as_often_darker_as_brighter() -> None:
    images = [distort(bar(30, 30), np.random.default_rng(i), DISTORTION) for i in range(60)]
    brighter = [float(np.median(image[13:19, 13:19])) for image in images]
    paper = [float(np.median(image[0])) for image in images]
    assert 10 < sum(a > b for a, b in zip(brighter, paper, strict=True)) < 50
    assert all(image.shape == (32, 32) and image.dtype == np.uint8 for image in images)
