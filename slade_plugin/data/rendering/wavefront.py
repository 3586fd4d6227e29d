"""3D models in the Wavefront format (OBJ, MTL, textures) as arrays of triangles.

It reads what the models of ``Furniture`` use: polygons, normals, texture coordinates and materials
of one color or one texture. Of the libraries, trimesh ignores transparency (``d``), and without it
every window is a wall.
"""

import io
import posixpath
import zipfile
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageColor

from slade_plugin.base.errors import DataError

FloatArray = npt.NDArray[np.float32]

# A corner is shaded as round where the mean of its faces' normals is within about 25 degrees of the
# face's own: the faces of a prism with eight sides are, those of a box are not.
_SMOOTH = 0.9

_ATTRIBUTES = {"Kd": "diffuse", "Ks": "specular", "Ns": "shininess", "d": "opacity"}


@dataclass
class Material:
    """Appearance of a surface.

    Attributes:
        diffuse: Color of a surface without a texture, 0 to 1.
        specular: Color of the highlight, 0 to 1.
        shininess: Exponent of the highlight.
        opacity: 0 to 1.
        texture: Mode "RGBA"; None = one color.
    """

    diffuse: tuple[float, ...] = (0.7, 0.7, 0.7)
    specular: tuple[float, ...] = (0.0, 0.0, 0.0)
    shininess: float = 10.0
    opacity: float = 1.0
    texture: Image.Image | None = None


@dataclass(frozen=True)
class Part:
    """Vertices ``first`` to ``first + count - 1`` of a mesh have one material."""

    first: int
    count: int
    material: Material


@dataclass(frozen=True)
class Mesh:
    """Triangles, three vertices each.

    Attributes:
        positions: (N, 3).
        normals: (N, 3), unit length.
        coordinates: (N, 2), of the texture; v points up.
        parts: They cover all vertices.
    """

    positions: FloatArray
    normals: FloatArray
    coordinates: FloatArray
    parts: tuple[Part, ...]

    @property
    def extent(self) -> FloatArray:
        """Width, height and depth of the bounding box: (3,)."""
        return np.ptp(self.positions, axis=0)


def read_mesh(archive: zipfile.ZipFile, path: str) -> Mesh:
    """Read an OBJ file with its materials and textures.

    Missing materials are gray and missing textures left out, as Sweet Home 3D does it.

    Args:
        archive: Holds the files.
        path: Of the OBJ file.

    Raises:
        DataError: If the file is missing or not one with faces.
    """
    try:
        text = archive.read(path).decode("latin-1")
        return _read(text, archive, posixpath.dirname(path))
    except (KeyError, ValueError, IndexError) as error:
        raise DataError(
            f"{archive.filename or 'the archive'}: cannot read {path}: {error}"
        ) from error


def standing(mesh: Mesh, rotation: FloatArray) -> Mesh:
    """Turn the mesh and place it on the floor y = 0, half of its box's diagonal 1.

    Args:
        mesh: Any.
        rotation: (3, 3).
    """
    positions = mesh.positions @ rotation.T
    low, high = positions.min(axis=0), positions.max(axis=0)
    origin = (low + high) / 2
    origin[1] = low[1]
    scale = np.linalg.norm(high - low) / 2
    return Mesh(
        (positions - origin) / scale, mesh.normals @ rotation.T, mesh.coordinates, mesh.parts
    )


def _read(text: str, archive: zipfile.ZipFile, folder: str) -> Mesh:
    numbers: dict[str, list[str]] = {"v": [], "vt": [], "vn": []}
    materials: dict[str, Material] = {}
    corners: dict[str, int] = {}  # "position/coordinate/normal" -> its number
    triangles: dict[str, list[int]] = defaultdict(list)
    current = triangles[""]
    for line in text.splitlines():
        key, _, rest = line.partition(" ")
        if key == "f":
            face = [corners.setdefault(corner, len(corners)) for corner in rest.split()]
            for second, third in pairwise(face[1:]):
                current += (face[0], second, third)
        elif key in numbers:
            numbers[key].append(rest)
        elif key == "usemtl":
            current = triangles[rest.strip()]
        elif key == "mtllib":
            library = posixpath.join(folder, rest.strip())
            if library in archive.namelist():
                materials |= _read_materials(archive, library)
    positions = _table(numbers["v"], 3)
    coordinates, normals = _table(numbers["vt"], 2), _table(numbers["vn"], 3)
    order = np.concatenate([np.array(places, np.intp) for places in triangles.values()])
    if not len(order):
        raise ValueError("it has no faces")
    # (corners, 3): numbers from 1; 0 = none.
    index = np.array(
        [([int(word or 0) for word in corner.split("/")] + [0, 0])[:3] for corner in corners]
    )
    if (index < 0).any() or (index[:, 0] < 1).any():
        raise ValueError("its faces count backwards; expected numbers from 1")
    points = positions[index[:, 0] - 1]
    computed = _normals(points[order], index[order, 0])
    given = np.vstack([np.zeros(3, np.float32), normals])[index[order, 2]]
    length = np.linalg.norm(given, axis=1, keepdims=True)
    usable = np.isfinite(length) & (length > 0.01)
    first = np.cumsum([0, *(len(places) for places in triangles.values())])
    return Mesh(
        points[order],
        np.where(usable, given / np.where(usable, length, 1), computed).astype(np.float32),
        np.vstack([np.zeros(2, np.float32), coordinates])[index[order, 1]],
        tuple(
            Part(int(start), len(places), materials.get(name) or _named(name))
            for start, (name, places) in zip(first, triangles.items(), strict=False)
            if places
        ),
    )


def _table(lines: list[str], columns: int) -> FloatArray:
    """Parse a table (N, columns); lines may hold more numbers, or fewer for 0."""
    rows = [[*line.split(), "0", "0"][:columns] for line in lines]
    return np.array(rows, np.float32).reshape(-1, columns)


def _normals(points: FloatArray, places: npt.NDArray[np.int64]) -> FloatArray:
    """Return unit normals of triangles; those of round surfaces vary between corners.

    Args:
        points: (N, 3), three a triangle.
        places: (N,), equal where corners share a point.
    """
    a, b, c = points[0::3], points[1::3], points[2::3]
    weighted = np.repeat(np.cross(b - a, c - a), 3, axis=0)  # as long as the triangle is large
    flat = _unit(weighted)
    sums = np.zeros((places.max() + 1, 3), np.float32)
    np.add.at(sums, places, weighted)
    smooth = _unit(sums)[places]
    is_round = (smooth * flat).sum(axis=1, keepdims=True) > _SMOOTH
    return np.where(is_round, smooth, flat)


def _unit(vectors: FloatArray) -> FloatArray:
    """Scale vectors to length 1; those of length 0 point up."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    up = np.array([0, 1, 0], np.float32)
    return np.where(length > 0, vectors / np.where(length > 0, length, 1), up)


def _read_materials(archive: zipfile.ZipFile, path: str) -> dict[str, Material]:
    """Read an MTL file: name -> material."""
    materials: dict[str, Material] = {}
    material = Material()
    for line in archive.read(path).decode("latin-1").splitlines():
        words = line.split()
        if not words:
            continue
        key, rest = words[0], " ".join(words[1:])
        if key == "newmtl":
            material = materials[rest] = Material()
        elif key in _ATTRIBUTES:
            with suppress(ValueError):  # "spectral", "xyz": not colors, and not used
                values = tuple(float(word) for word in words[1:4])
                single = key in ("Ns", "d")
                setattr(material, _ATTRIBUTES[key], values[0] if single else (values * 3)[:3])
        elif key == "map_Kd":
            texture = posixpath.join(posixpath.dirname(path), rest.replace("\\", "/"))
            if texture in archive.namelist():
                material.texture = Image.open(io.BytesIO(archive.read(texture))).convert("RGBA")
    return materials


def _named(name: str) -> Material:
    """Return Java 3D's material of a name that no file defines, such as "flyellow"."""
    plain = name.removeprefix("fl").replace("dk", "dark").replace("lt", "light")
    try:
        return Material(tuple(level / 255 for level in ImageColor.getrgb(plain)[:3]))
    except ValueError:
        return Material()
