"""Random photographs of one object, as numbers: place, pose, light, clutter and camera faults.

Nothing here renders: ``draw_scene`` describes a scene and ``furniture_rendering`` renders it;
``develop`` makes a photograph of what the renderer returns. Units: half of the diagonal of the
object's bounding box is 1, y points up, the floor is y = 0, and the object's front faces +z.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

Array = npt.NDArray[np.float64]

CLUTTER_SHARE = 0.5
"""Share of the images that show one to three other objects."""
MIN_CONTRAST = 6.0
"""Gray levels (standard deviation) below which an image counts as blank."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Attributes:
        eye: Its place, (3,).
        target: What it looks at, (3,).
        up: What is up in the image, (3,).
        view_angle: Height of the image, radians.
        shift: (2,), how far the target is from the center, in half images.
    """

    eye: Array
    target: Array
    up: Array
    view_angle: float
    shift: Array


@dataclass(frozen=True)
class Light:
    """A sun with shadows, a fill light without, and light from all sides; colors are linear.

    Attributes:
        sun: Direction towards it, (3,), unit length.
        sun_color: (3,).
        fill: Direction, (3,), unit length.
        fill_color: (3,).
        sky: Color of the light from above, (3,).
        ground: Color of the light from below, (3,).
        softness: Width of the shadow's edge, about 1.
    """

    sun: Array
    sun_color: Array
    fill: Array
    fill_color: Array
    sky: Array
    ground: Array
    softness: float


@dataclass(frozen=True)
class Scene:
    """A scene to render; textures and other objects are indices into the renderer's lists.

    Attributes:
        camera: Where it is seen from.
        light: How it is lit.
        clutter: (other object, (4, 4) matrix) each.
        floor: (texture, (4, 4) matrix), or None.
        walls: (texture, (4, 4) matrix) each; a wall is seen from its front, +z, only.
        backdrop: (texture, (left, bottom, width, height) of the cut-out, brightness (3,)), or None.
    """

    camera: Camera
    light: Light
    clutter: tuple[tuple[int, Array], ...]
    floor: tuple[int, Array] | None
    walls: tuple[tuple[int, Array], ...]
    backdrop: tuple[int, tuple[float, ...], Array] | None


def draw_scene(
    extent: npt.ArrayLike,
    others: list[npt.NDArray[np.float32]],
    textures: int,
    rng: np.random.Generator,
) -> Scene:
    """Draw a random scene around an object that stands at the origin.

    Args:
        extent: Of the object: (3,).
        others: Extents of the objects that may stand beside it.
        textures: Number of textures to choose from, at least 1.
        rng: Where the numbers come from.
    """
    width, height, depth = np.asarray(extent, float)
    camera, azimuth = _draw_camera(height, rng)
    light = _draw_light(rng)
    clutter = []
    if others and rng.random() < CLUTTER_SHARE:
        for _ in range(rng.integers(1, 4)):
            clutter.append(_draw_clutter(max(width, depth), others, camera, rng))
    floor: tuple[int, Array] | None = (
        int(rng.integers(textures)),
        _placed(rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 2.2), (0, -0.002, 0)),
    )
    walls, backdrop = [], None
    place = rng.random()
    if place < 0.55:  # a room: one wall behind the object, sometimes a second at a right angle
        turn = azimuth + rng.normal(0, 0.5)
        distance = max(width, depth) / 2 + rng.uniform(0.1, 1.5)
        walls.append((int(rng.integers(textures)), _wall(turn, distance, rng)))
        if rng.random() < 0.35:
            side = turn + rng.choice([-1, 1]) * np.pi / 2
            walls.append((int(rng.integers(textures)), _wall(side, distance + rng.random(), rng)))
    else:  # a picture behind; in a third of these cases no floor either, as if cut out
        cut = rng.uniform(0.25, 0.9)
        left, bottom = rng.uniform(0, 1 - cut, 2)
        brightness = light.sky * rng.uniform(0.8, 1.3)
        backdrop = (int(rng.integers(textures)), (left, bottom, cut, cut), brightness)
        if place > 0.85:
            floor = None
    return Scene(camera, light, tuple(clutter), floor, tuple(walls), backdrop)


def develop(linear: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Turn the light in a camera into a photograph: exposure, contrast, noise, blur.

    Args:
        linear: (H, W, 3), linear light, >= 0.
        rng: Where the numbers come from.

    Returns:
        (H, W, 3) RGB.
    """
    bright = max(0.35, float(np.percentile(linear.mean(axis=-1), 75)))
    exposed = np.clip(linear * (0.52 * rng.uniform(0.75, 1.25) / bright), 0, 1.6)
    image = (1.25 * exposed / (1 + 0.25 * exposed)) ** (1 / 2.2)  # highlights fade out softly
    image = image.mean() + (image - image.mean()) * rng.uniform(0.8, 1.15)
    blur = rng.uniform(0.3, 0.9) if rng.random() < 0.3 else 0.0
    image = image + rng.normal(0, rng.uniform(0, 0.022), image.shape)
    photograph = Image.fromarray((np.clip(image, 0, 1) * 255).astype(np.uint8))
    if blur:
        # In pixels of a 96-pixel image.
        photograph = photograph.filter(ImageFilter.GaussianBlur(blur * len(linear) / 96))
    return np.asarray(photograph)


def is_blank(image: npt.NDArray[np.uint8]) -> bool:
    """Whether nothing can be seen: one color, or darkness."""
    return bool(image.mean(axis=-1).std() < MIN_CONTRAST)


def _draw_camera(height: float, rng: np.random.Generator) -> tuple[Camera, float]:
    """Draw the camera and its angle; three in four are roughly in front."""
    azimuth = rng.normal(0, 0.9) if rng.random() < 0.75 else rng.uniform(-np.pi, np.pi)
    elevation = np.deg2rad(rng.uniform(4, 48))
    view_angle = np.deg2rad(rng.uniform(22, 55))
    distance = 1 / np.sin(view_angle / 2) / rng.uniform(0.62, 1.25)
    target = np.array([0, height * rng.uniform(0.4, 0.6), 0])
    eye = target + distance * _direction(azimuth, elevation)
    eye[1] = max(eye[1], 0.08)  # never below the floor
    roll = rng.normal(0, 0.06)
    away = _unit(eye - target)
    right = _unit(np.cross([0, 1, 0], away))
    up = np.cross(away, right) * np.cos(roll) + right * np.sin(roll)
    shift = rng.uniform((-0.18, -0.15), (0.18, 0.15))
    return Camera(eye, target, up, float(view_angle), shift), float(azimuth)


def _draw_light(rng: np.random.Generator) -> Light:
    sun = _direction(rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(22, 75)))
    fill = _unit(rng.normal(size=3))
    fill[1] = abs(fill[1])
    ambient = rng.uniform(0.3, 0.95)
    return Light(
        sun=sun,
        sun_color=rng.uniform(0.25, 1.4) * _tint(rng, 0.12),
        fill=fill,
        fill_color=rng.uniform(0, 0.4) * _tint(rng, 0.2),
        sky=ambient * _tint(rng, 0.12),
        ground=ambient * rng.uniform(0.35, 0.8) * _tint(rng, 0.12),
        softness=rng.uniform(0.5, 3),
    )


def _draw_clutter(
    width: float, others: list[npt.NDArray[np.float32]], camera: Camera, rng: np.random.Generator
) -> tuple[int, Array]:
    """Draw another object and its place: beside or behind, never in front."""
    number = int(rng.integers(len(others)))
    scale = rng.uniform(0.6, 1.2)
    distance = (width + scale * max(others[number][[0, 2]])) / 2 * rng.uniform(1.0, 1.5)
    place = distance * _direction(rng.uniform(0, 2 * np.pi), 0)
    towards = _unit((camera.eye - camera.target) * (1, 0, 1))
    ahead = place @ towards
    if ahead > 0.35 * distance:
        place -= 2 * ahead * towards
    return number, _placed(rng.uniform(0, 2 * np.pi), scale, place)


def _wall(turn: float, distance: float, rng: np.random.Generator) -> Array:
    """Return the matrix of a wall that faces the direction ``turn``, behind the origin."""
    return _placed(turn, rng.uniform(0.5, 1.3), -distance * _direction(turn, 0) - (0, 0.01, 0))


def _placed(turn: float, scale: float, place: npt.ArrayLike) -> Array:
    """Return the matrix that scales, turns around the vertical axis and moves: (4, 4)."""
    cosine, sine = np.cos(turn), np.sin(turn)
    matrix = np.eye(4)
    matrix[:3, :3] = scale * np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
    matrix[:3, 3] = place
    return matrix


def _direction(azimuth: float, elevation: float) -> Array:
    """Return a unit vector, (3,); azimuth 0 is the front, +z."""
    flat = np.cos(elevation)
    return np.array([flat * np.sin(azimuth), np.sin(elevation), flat * np.cos(azimuth)])


def _tint(rng: np.random.Generator, deviation: float) -> Array:
    """Return the color of a warm or a cold light, around (1, 1, 1)."""
    warmth = rng.normal(0, deviation)
    return np.clip([1 + warmth, 1 + 0.15 * warmth, 1 - warmth], 0.55, 1.5)


def _unit(vector: Array) -> Array:
    return vector / np.linalg.norm(vector)
