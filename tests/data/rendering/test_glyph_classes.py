import unicodedata
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from slade_plugin.base.errors import DataError
from slade_plugin.data.rendering import glyph_classes
from slade_plugin.data.rendering.glyph_classes import (
    Face,
    GlyphClass,
    candidate_letters,
    compare_letters,
    draw_glyph,
    draw_glyphs,
    find_classes,
    load_faces,
    script_of,
)


@pytest.fixture(scope="module")
def faces() -> tuple[Face, ...]:
    return load_faces()


@pytest.fixture(scope="module")
def candidates(faces: tuple[Face, ...]) -> dict[str, list[str]]:
    return candidate_letters(faces)


@pytest.fixture(scope="module")
def glyphs(
    faces: tuple[Face, ...], candidates: dict[str, list[str]]
) -> dict[tuple[str, str], Image.Image]:
    return draw_glyphs([letter for found in candidates.values() for letter in found], faces)


@pytest.fixture(scope="module")
def classes(
    faces: tuple[Face, ...],
    candidates: dict[str, list[str]],
    glyphs: dict[tuple[str, str], Image.Image],
) -> tuple[list[GlyphClass], list[GlyphClass]]:
    return find_classes(candidates, glyphs, faces)


def bar(width: int, height: int) -> Image.Image:
    return Image.new("L", (width, height), 255)


def test_a_missing_font_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matplotlib, "get_data_path", lambda: str(tmp_path))
    with pytest.raises(DataError, match=r"DejaVuSans\.ttf, which is missing"):
        load_faces()


def test_computer_modern_is_trusted_for_ascii_only(faces: tuple[Face, ...]) -> None:
    letters = {face.name: face.letters for face in faces}
    assert "a" in letters["cmr10"]
    assert all(ord(letter) < 128 for letter in letters["cmr10"])
    assert "é" in letters["DejaVuSans"]


@pytest.mark.parametrize(
    ("character", "script"),
    [
        ("a", "LATIN"),
        ("Ж", "CYRILLIC"),
        ("ა", "GEORGIAN"),
        ("ʰ", None),  # modifier letter
        ("\u0301", None),  # combining acute
        ("ʀ", None),  # small capital
        ("7", None),
        ("א", None),  # Hebrew
    ],
)
def test_script_of(character: str, script: str | None) -> None:
    assert script_of(character) == script


def test_candidates_are_drawn_by_enough_faces(
    faces: tuple[Face, ...], candidates: dict[str, list[str]]
) -> None:
    for script, letters in candidates.items():
        assert letters == sorted(set(letters))
        for letter in letters:
            drawn_by = sum(letter in face.letters for face in faces)
            assert drawn_by >= glyph_classes.MIN_FACES[script]


def test_letters_per_script_limits_each_script(faces: tuple[Face, ...]) -> None:
    few = candidate_letters(faces, letters_per_script=3)
    assert few["LATIN"] == ["A", "B", "C"]
    assert {len(letters) for letters in few.values()} == {3}


def test_every_candidate_has_ink(
    faces: tuple[Face, ...],
    candidates: dict[str, list[str]],
    glyphs: dict[tuple[str, str], Image.Image],
) -> None:
    """A font may map a code point to an empty glyph; none of ours does."""
    for letters in candidates.values():
        for letter in letters:
            for face in faces:
                assert ((letter, face.name) in glyphs) == (letter in face.letters)
    assert all(glyph.getextrema()[1] > 200 for glyph in glyphs.values())


def test_space_has_no_ink(faces: tuple[Face, ...]) -> None:
    assert draw_glyph(" ", faces[0]) is None


def test_shapes_are_compared_up_to_size_face_by_face(faces: tuple[Face, ...]) -> None:
    """Letters a and b are alike in 1 of 2 faces, a and c in none, b and c in 1 of 1 shared."""
    one, two = faces[:2]
    shapes = {
        ("a", one.name): bar(40, 10),
        ("a", two.name): bar(40, 10),
        ("b", one.name): bar(20, 5),
        ("b", two.name): bar(10, 40),
        ("c", two.name): bar(8, 32),
    }
    same, identical = compare_letters("abc", shapes, (one, two))
    expected = [[True, True, False], [True, True, True], [False, True, True]]
    np.testing.assert_array_equal(same, expected)
    np.testing.assert_array_equal(identical, expected)


def test_alike_in_less_than_half_of_the_faces_is_not_the_same(faces: tuple[Face, ...]) -> None:
    shapes = {("a", face.name): bar(40, 10) for face in faces[:3]}
    shapes |= {("b", face.name): bar(10, 40) for face in faces[:3]}
    shapes["b", faces[0].name] = bar(40, 10)
    same, identical = compare_letters("ab", shapes, faces[:3])
    assert not same[0, 1]
    assert identical[0, 1]


def test_known_lookalikes_are_dropped_or_merged(
    classes: tuple[list[GlyphClass], list[GlyphClass]],
) -> None:
    labeled, pool = classes
    labeled_letters = "".join(item.letters for item in labeled)
    pool_letters = "".join(item.letters for item in pool)
    assert set("AaBcCoO") <= set(labeled_letters)
    for name in (
        "GREEK CAPITAL LETTER ALPHA",
        "GREEK SMALL LETTER OMICRON",
        "GREEK LETTER YOT",
        "CYRILLIC CAPITAL LETTER A",
        "CYRILLIC SMALL LETTER IE",
        "CYRILLIC SMALL LETTER PALOCHKA",  # like l in some faces only
        "ARMENIAN SMALL LETTER OH",
    ):
        assert unicodedata.lookup(name) not in pool_letters, name
    assert set("ΩЖխა") <= set(pool_letters)
    group = {letter: item for item in pool for letter in item.letters}
    assert group["Π"] == group["П"]  # Greek and Cyrillic
    assert "\u03ac" in group  # alpha with tonos, and the polytonic one is left out
    assert "\u1f71" not in group


def test_no_pool_class_is_drawn_like_a_labeled_class(
    classes: tuple[list[GlyphClass], list[GlyphClass]],
    faces: tuple[Face, ...],
    glyphs: dict[tuple[str, str], Image.Image],
) -> None:
    """Another measure than the one that found the classes: equal bytes at one font size."""
    labeled, pool = classes
    for face in faces:
        drawn = [
            {
                (glyph.size, glyph.tobytes())
                for item in subset
                for letter in item.letters
                if (glyph := glyphs.get((letter, face.name)))
            }
            for subset in (labeled, pool)
        ]
        assert drawn[0].isdisjoint(drawn[1]), face.name


def test_sizes_of_the_subsets(classes: tuple[list[GlyphClass], list[GlyphClass]]) -> None:
    labeled, pool = classes
    assert 300 <= len(labeled) <= 420
    assert 380 <= len(pool) <= 450
    assert {item.script for item in labeled} == {"LATIN"}
    assert {item.script for item in pool} == {"GREEK", "CYRILLIC", "ARMENIAN", "GEORGIAN"}
    for subset in classes:
        letters = [letter for item in subset for letter in item.letters]
        assert len(letters) == len(set(letters))


def test_every_class_has_enough_faces(
    classes: tuple[list[GlyphClass], list[GlyphClass]],
    faces: tuple[Face, ...],
    glyphs: dict[tuple[str, str], Image.Image],
) -> None:
    """Eight faces and three instances are 24 images."""
    for subset in classes:
        for item in subset:
            drawn_in = {
                face.name
                for face in faces
                if any((letter, face.name) in glyphs for letter in item.letters)
            }
            assert len(drawn_in) >= 8, item


def test_class_order_is_random_but_does_not_change(
    classes: tuple[list[GlyphClass], list[GlyphClass]],
    candidates: dict[str, list[str]],
    glyphs: dict[tuple[str, str], Image.Image],
    faces: tuple[Face, ...],
) -> None:
    few = {script: letters[:9] for script, letters in candidates.items()}
    assert find_classes(few, glyphs, faces) == find_classes(few, glyphs, faces)
    for subset in classes:
        codes = np.array([ord(item.letters[0]) for item in subset])
        assert abs(np.corrcoef(codes, np.arange(len(codes)))[0, 1]) < 0.2
