"""Render distorted letters of real fonts, the images of ``Glyphs``; write no files.

Ours, not the paper's: a small retrieval problem that needs no download. The fonts are the text
faces that matplotlib ships (DejaVu, STIX, Computer Modern); ``glyph_classes`` decides which letters
form a class.

Each random number comes from a generator seeded by (seed, letter, face, instance), so an image does
not depend on which other images are rendered, or in which order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from slade_plugin.data.rendering.glyph_classes import (
    GLYPH_PIXELS,
    SEED,
    CleanGlyphs,
    Face,
    GlyphClass,
)

RECIPE_VERSION = 2
"""Raise it with every change that alters a pixel: a new version renders to a new file."""

IMAGE_SIZE = 32

UInt8Array = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Distortion:
    """Limits of the distortion of one image; each value is drawn uniformly.

    The defaults are ours, tuned so that a ``conv4`` trained for 3,000 batches of 32 from scratch
    (contrastive loss, three quarters of the first half of the labeled classes) reaches a MAP@R
    of 0.26 to 0.29 on the second half: much room above, and far above the 0.002 of an untrained
    one.

    Attributes:
        rotation: Largest turn to either side, in degrees.
        shear: Largest horizontal shear, in pixels of shift per pixel of height.
        pixels_per_em: Font size range in the final image. Letters that would not fit are shrunk.
        stretch: Largest relative change of width against height.
        contrast: Range of |ink - paper|, in gray levels; which of the two is brighter is random.
        noise: Range of the standard deviation of the added normal noise, in gray levels.
        blur: Range of the Gaussian blur's radius, in pixels.
        margin: Pixels at each border that the letter never enters.
    """

    rotation: float = 15.0
    shear: float = 0.25
    pixels_per_em: tuple[float, float] = (21.0, 27.0)
    stretch: float = 0.15
    contrast: tuple[float, float] = (80.0, 220.0)
    noise: tuple[float, float] = (3.0, 20.0)
    blur: tuple[float, float] = (0.0, 0.8)
    margin: float = 1.0


DISTORTION = Distortion()


def image_rng(letter: str, face_name: str, instance: int) -> np.random.Generator:
    """Return the generator of one image."""
    return np.random.default_rng([SEED, ord(letter), crc32(face_name.encode()), instance])


def distort(
    glyph: Image.Image, rng: np.random.Generator, distortion: Distortion = DISTORTION
) -> UInt8Array:
    """Rotate, shear, scale, shift and blur a glyph and add noise: (32, 32).

    Args:
        glyph: Clean glyph, as ``draw_glyph`` returns it.
        rng: The generator of this image.
        distortion: The ranges.
    """
    d = distortion
    angle = np.deg2rad(rng.uniform(-d.rotation, d.rotation))
    shear = rng.uniform(-d.shear, d.shear)
    stretch = np.exp(rng.uniform(-d.stretch, d.stretch) / 2)
    scale = rng.uniform(*d.pixels_per_em) / GLYPH_PIXELS
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    forward = turn @ np.array([[1.0, shear], [0.0, 1.0]]) @ np.diag([stretch, 1 / stretch]) * scale

    # Half width and half height of the distorted ink box; shrink it if it would be cut off.
    reach = np.abs(forward) @ (np.array(glyph.size) / 2)
    room = IMAGE_SIZE / 2 - d.margin
    shrink = min(1.0, room / float(reach.max()))
    forward, reach = forward * shrink, reach * shrink
    center = IMAGE_SIZE / 2 + rng.uniform(-1, 1, size=2) * (room - reach)

    # Drawn at twice the size, then averaged 2 x 2: bilinear sampling alone would drop thin strokes.
    backward = np.linalg.inv(2 * forward)
    offset = np.array(glyph.size) / 2 - backward @ (2 * center)
    image = glyph.transform(
        (2 * IMAGE_SIZE, 2 * IMAGE_SIZE),
        Image.Transform.AFFINE,
        (*backward[0], offset[0], *backward[1], offset[1]),
        resample=Image.Resampling.BILINEAR,
    )
    image = image.reduce(2)
    image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(*d.blur))))

    contrast = rng.uniform(*d.contrast)
    darkest = rng.uniform(0, 255 - contrast)
    ink = np.asarray(image, dtype=np.float32) / 255
    if rng.random() < 0.5:
        ink = 1 - ink
    sigma = np.float32(rng.uniform(*d.noise))
    noise = sigma * rng.standard_normal(ink.shape, dtype=np.float32)
    gray = np.float32(darkest) + np.float32(contrast) * ink + noise
    return np.clip(np.rint(gray), 0, 255).astype(np.uint8)


def render_class(
    item: GlyphClass, glyphs: CleanGlyphs, faces: Sequence[Face], instances_per_face: int
) -> list[UInt8Array]:
    """Render ``instances_per_face`` images for each face that has the class.

    A class of several letters has no more images than others: its letters take turns.
    """
    images = []
    for face in faces:
        letters = [letter for letter in item.letters if (letter, face.name) in glyphs]
        for instance in range(instances_per_face if letters else 0):
            letter = letters[instance % len(letters)]
            rng = image_rng(letter, face.name, instance)
            images.append(distort(glyphs[letter, face.name], rng))
    return images
