"""Group letters of fonts into the classes of ``Glyphs``; write no files.

A class is a *shape*: two letters, of one script or two, are one class if their clean renderings
agree up to position and size in at least half of the faces that draw both. (The same letter differs
by a few units in a few faces, so "every face" would be too strict.) A pool letter that has the
shape of a labeled letter, or is drawn identically in even one face, is dropped, so the pool is
class-disjoint from the labeled data. Letters are rendered at one font size and not stretched to the
image, so ``c`` and ``C`` stay two classes.
"""

import logging
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from zlib import crc32

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont
from scipy.sparse.csgraph import connected_components

from slade_plugin.base.errors import DataError

logger = logging.getLogger(__name__)

SEED = 20220
LABELED_SCRIPTS = ("LATIN",)
POOL_SCRIPTS = ("GREEK", "CYRILLIC", "ARMENIAN", "GEORGIAN")
# Polytonic Greek: vowels that differ by breathing marks of two pixels. They would be a quarter of
# the pool's classes, and no teacher could tell them apart.
LEFT_OUT = range(0x1F00, 0x2000)
# Latin has letters to spare, so it takes only those drawn in the DejaVu *and* the STIX designs;
# the pool takes what at least two DejaVu families draw.
MIN_FACES = {"LATIN": 13, "GREEK": 8, "CYRILLIC": 8, "ARMENIAN": 8, "GEORGIAN": 8}

UNICODE_FACES = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-Oblique",
    "DejaVuSans-BoldOblique",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "DejaVuSansMono-Oblique",
    "DejaVuSansMono-BoldOblique",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerif-Italic",
    "DejaVuSerif-BoldItalic",
    "STIXGeneral",
    "STIXGeneralBol",
    "STIXGeneralItalic",
    "STIXGeneralBolIta",
)
# Computer Modern keeps its own glyphs at code points above 127, so only ASCII is trusted there.
ASCII_FACES = ("cmr10", "cmb10", "cmti10", "cmss10", "cmtt10")

GLYPH_PIXELS = 64  # font size of the clean glyphs; distorted ones are scaled down from it
COMPARE_SIZE = 32
# Share of the ink (in squares) that may differ between two drawings of the same letter, after both
# are scaled to one size. At 0.05 letters differing by a breathing mark of 3 pixels are one class,
# letters differing by the kind of accent (grave, acute) stay two.
SAME_SHAPE = 0.05
# Less than this is one drawing. Not SAME_SHAPE: in a bold face even H and Greek Pi differ by less.
IDENTICAL = 0.005

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Face:
    """One font file and the letters it draws."""

    name: str
    path: Path
    letters: frozenset[str]

    @cached_property
    def font(self) -> ImageFont.FreeTypeFont:
        """The font at ``GLYPH_PIXELS``, with the layout engine that every Pillow build has."""
        return ImageFont.truetype(
            str(self.path), GLYPH_PIXELS, layout_engine=ImageFont.Layout.BASIC
        )


@dataclass(frozen=True)
class GlyphClass:
    """One shape: letters that are drawn alike, all of one subset.

    Attributes:
        name: Unicode name of the first letter.
        script: First word of that name, e.g. "GREEK".
        letters: The letters, sorted by code point; at least one.
    """

    name: str
    script: str
    letters: str


CleanGlyphs = Mapping[tuple[str, str], Image.Image]
"""(letter, face name) -> clean glyph: mode "L", cropped to its ink, 255 = ink."""


def load_faces() -> tuple[Face, ...]:
    """Return the text faces of the installed matplotlib, always in the same order.

    Raises:
        DataError: If a font file is missing.
    """
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    faces = []
    for name in UNICODE_FACES + ASCII_FACES:
        path = folder / f"{name}.ttf"
        if not path.is_file():
            raise DataError(
                f"Glyphs needs the font {path}, which is missing. Expected the fonts that "
                "matplotlib ships; reinstall matplotlib from its wheel (some Linux packages "
                "leave the fonts out)."
            )
        codes = FT2Font(str(path)).get_charmap()
        faces.append(
            Face(
                name=name,
                path=path,
                letters=frozenset(
                    chr(code) for code in codes if name in UNICODE_FACES or code < 128
                ),
            )
        )
    return tuple(faces)


def script_of(character: str) -> str | None:
    """Return the script of a letter ("LATIN", ...); None if it is not used here.

    Marks, modifier letters, digits and symbols are not letters in this sense; small capitals are
    left out because they are capitals at another size.
    """
    if unicodedata.category(character) not in ("Lu", "Ll", "Lt", "Lo"):
        return None
    name = unicodedata.name(character, "")
    script = name.split(" ")[0]
    return script if script in MIN_FACES and "SMALL CAPITAL" not in name else None


def candidate_letters(
    faces: Sequence[Face], letters_per_script: int | None = None
) -> dict[str, list[str]]:
    """Map each script to the letters in at least ``MIN_FACES[script]`` faces, by code point.

    Args:
        faces: The faces to count.
        letters_per_script: Keep only this many, the first by code point; None = all.
    """
    candidates: dict[str, list[str]] = {script: [] for script in MIN_FACES}
    for letter in sorted(frozenset().union(*(face.letters for face in faces))):
        script = script_of(letter) if ord(letter) not in LEFT_OUT else None
        if script and sum(letter in face.letters for face in faces) >= MIN_FACES[script]:
            candidates[script].append(letter)
    return {script: letters[:letters_per_script] for script, letters in candidates.items()}


def draw_glyph(letter: str, face: Face) -> Image.Image | None:
    """Draw the clean letter cropped to its ink (mode "L", 255 = ink); None without ink."""
    left, top, right, bottom = (round(edge) for edge in face.font.getbbox(letter))
    if right <= left or bottom <= top:
        return None
    image = Image.new("L", (right - left + 2, bottom - top + 2), 0)
    ImageDraw.Draw(image).text((1 - left, 1 - top), letter, fill=255, font=face.font)
    ink = image.getbbox()
    return image.crop(ink) if ink else None


def draw_glyphs(
    letters: Sequence[str], faces: Sequence[Face]
) -> dict[tuple[str, str], Image.Image]:
    """Draw the clean glyph of every letter in every face that has it."""
    glyphs = {}
    for face in faces:
        for letter in letters:
            glyph = draw_glyph(letter, face) if letter in face.letters else None
            if glyph is not None:
                glyphs[letter, face.name] = glyph
    return glyphs


def _normalized_shape(glyph: Image.Image) -> npt.NDArray[np.float32]:
    """Scale the glyph to one size and center it: (COMPARE_SIZE,) * 2, in [0, 1]."""
    scale = (COMPARE_SIZE - 4) / max(glyph.size)
    size = (max(1, round(glyph.width * scale)), max(1, round(glyph.height * scale)))
    resample = Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR
    canvas = Image.new("L", (COMPARE_SIZE, COMPARE_SIZE), 0)
    canvas.paste(
        glyph.resize(size, resample),
        ((COMPARE_SIZE - size[0]) // 2, (COMPARE_SIZE - size[1]) // 2),
    )
    return np.asarray(canvas, dtype=np.float32) / np.float32(255)


def compare_letters(
    letters: Sequence[str], glyphs: CleanGlyphs, faces: Sequence[Face]
) -> tuple[BoolArray, BoolArray]:
    """Compare every pair of letters, face by face, up to position and size.

    Returns:
        same: (L, L), True where the two differ by less than ``SAME_SHAPE`` of their ink in at
            least half of the faces that draw both.
        identical_somewhere: (L, L), True where they differ by less than ``IDENTICAL`` in any face.
    """
    count = len(letters)
    shared = np.zeros((count, count), dtype=np.int16)
    alike = np.zeros((count, count), dtype=np.int16)
    identical_somewhere = np.zeros((count, count), dtype=np.bool_)
    for face in faces:
        present = [i for i, letter in enumerate(letters) if (letter, face.name) in glyphs]
        if not present:
            continue
        shapes = np.stack(
            [_normalized_shape(glyphs[letters[i], face.name]).ravel() for i in present]
        )
        products = shapes @ shapes.T  # (P, P)
        ink = np.diag(products)
        difference = (ink[:, None] + ink[None, :] - 2 * products) / np.maximum.outer(ink, ink)
        pairs = np.ix_(present, present)
        shared[pairs] += 1
        alike[pairs] += difference < SAME_SHAPE
        identical_somewhere[pairs] |= difference < IDENTICAL
    return (shared > 0) & (2 * alike >= shared), identical_somewhere


def find_classes(
    candidates: Mapping[str, Sequence[str]], glyphs: CleanGlyphs, faces: Sequence[Face]
) -> tuple[list[GlyphClass], list[GlyphClass]]:
    """Group letters into classes and drop pool letters that look like a labeled one.

    Args:
        candidates: Script -> letters.
        glyphs: The clean glyphs of all of them.
        faces: The faces they were drawn in.

    Returns:
        (labeled classes, pool classes), each in a seeded random order. The host cuts splits and
        folds out of the sorted labels; the shuffle makes those parts alike in difficulty.
    """
    labeled = [letter for script in LABELED_SCRIPTS for letter in candidates[script]]
    pool = [letter for script in POOL_SCRIPTS for letter in candidates[script]]
    same, identical_somewhere = compare_letters(labeled + pool, glyphs, faces)

    split = len(labeled)
    taken = (same | identical_somewhere)[split:, :split].any(axis=1)  # (pool letters,)
    kept = np.flatnonzero(~taken) + split
    logger.info("Glyphs: %d pool letters dropped, they look like a Latin letter", taken.sum())
    return (
        _shuffled(_classes(labeled, same[:split, :split])),
        _shuffled(_classes([pool[i - split] for i in kept], same[np.ix_(kept, kept)])),
    )


def _classes(letters: Sequence[str], same: BoolArray) -> list[GlyphClass]:
    """Return one class per connected group of letters."""
    classes = []
    count, groups = connected_components(same, directed=False)
    for group in range(count):
        places = np.flatnonzero(groups == group).tolist()
        members = "".join(sorted(letters[i] for i in places))
        name = unicodedata.name(members[0])
        classes.append(GlyphClass(name=name, script=name.split(" ")[0], letters=members))
    return classes


def _shuffled(classes: Sequence[GlyphClass]) -> list[GlyphClass]:
    """Order the classes by a seeded hash of their letters: random, yet stable."""
    return sorted(classes, key=lambda item: (crc32(f"{SEED} {item.letters}".encode()), item.name))
