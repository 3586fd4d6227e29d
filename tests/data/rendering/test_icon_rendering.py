import numpy as np
import pytest

from slade_plugin.data.rendering.icon_concepts import Drawing
from slade_plugin.data.rendering.icon_rendering import distinct, render, repeats


def drawing(body: str, view_box: tuple[float, float, float, float] = (0, 0, 24, 24)) -> Drawing:
    return Drawing("aa", "test", body, view_box)


def test_a_square_fills_the_image_up_to_the_margin() -> None:
    image = render(drawing('<rect x="4.5" y="6" width="12" height="12" fill="currentColor"/>'))
    assert image is not None
    assert (image.shape, image.dtype) == ((32, 32), np.uint8)
    expected = np.full((32, 32), 255)
    expected[2:30, 2:30] = 0
    np.testing.assert_array_equal(image, expected)


def test_proportions_are_kept_and_the_drawing_is_centred() -> None:
    image = render(drawing('<rect x="1" y="1" width="16" height="8"/>'))
    assert image is not None
    rows, columns = np.nonzero(image < 128)
    assert (columns.min(), columns.max()) == (2, 29)
    assert (rows.min(), rows.max()) == (9, 22)


@pytest.mark.parametrize("scale", [0.5, 1, 40])
def test_neither_the_scale_nor_the_place_of_the_view_box_matters(scale: float) -> None:
    circle = (
        '<circle cx="{0}" cy="{0}" r="{1}" fill="none" stroke="currentColor" stroke-width="{1}"/>'
    )
    base = render(drawing(circle.format(12, 4)))
    moved = render(
        drawing(
            circle.format(10 * scale, 4 * scale),
            (-2 * scale, -2 * scale, 24 * scale, 24 * scale),
        )
    )
    assert base is not None
    assert moved is not None
    assert np.abs(base.astype(int) - moved).max() <= 2


def test_a_small_drawing_in_a_large_view_box_is_as_sharp() -> None:
    """It is rendered again, larger; scaled up, its edges would be grey."""
    dot = render(drawing('<rect x="12" y="12" width="1" height="1"/>'))
    assert dot is not None
    assert set(np.unique(dot)) == {0, 255}


def test_colours_become_grey_and_white_parts_are_no_ink() -> None:
    image = render(
        drawing(
            '<rect width="24" height="24" fill="#fff"/><rect width="8" height="8" fill="#888"/>'
        )
    )
    assert image is not None
    assert image[16, 16] == 0x88
    assert image[0, 0] == 255


@pytest.mark.parametrize("body", ["", "<g/>", '<rect width="9" height="9" fill="#fff"/>', "<path"])
def test_what_shows_nothing_is_none(body: str) -> None:
    assert render(drawing(body)) is None


def noise(count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, 32, 32), dtype=np.uint8)


def test_near_duplicates_are_dropped_after_the_first() -> None:
    images = noise(3)
    brighter = (images[1] // 2 + 100).astype(np.uint8)  # correlates 1
    stack = np.stack([images[0], images[1], brighter, images[2], images[0]])
    np.testing.assert_array_equal(distinct(stack), [0, 1, 3])


def test_repeats_of_other_images_are_found() -> None:
    images = noise(1003)  # more than one piece
    others = np.stack([images[1001], images[3]])
    np.testing.assert_array_equal(np.flatnonzero(repeats(images, others)), [3, 1001])
