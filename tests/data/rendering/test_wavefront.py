import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from slade_plugin.base.errors import DataError
from slade_plugin.data.rendering.wavefront import read_mesh, standing
from tests.furniture_packages import box, picture, zipped


def archive(**files: str | bytes) -> zipfile.ZipFile:
    named = {name.replace("_", ".", 1): content for name, content in files.items()}
    return zipfile.ZipFile(io.BytesIO(zipped(named)))


def test_polygons_become_triangles_with_normals() -> None:
    mesh = read_mesh(archive(box_obj=box(2, 3, 4)), "box.obj")
    assert mesh.positions.shape == (6 * 2 * 3, 3)
    np.testing.assert_array_equal(mesh.extent, [2, 3, 4])
    # The bottom: (1, 2, 3, 4) as two triangles.
    np.testing.assert_array_equal(
        mesh.positions[:6],
        [[0, 0, 0], [2, 0, 0], [2, 0, 4], [0, 0, 0], [2, 0, 4], [0, 0, 4]],
    )
    np.testing.assert_array_equal(mesh.normals[:6], np.tile([0, -1, 0], (6, 1)))
    np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1, rtol=1e-6)


def test_surfaces_are_shaded_as_round_up_to_an_edge() -> None:
    """A roof of two faces that meet at the ridge x = 0, once flat and once steep."""
    roof = "v -1 {0} 0\nv 0 0 0\nv 0 0 1\nv -1 {0} 1\nv 1 {0} 0\nv 1 {0} 1\nf 1 4 3 2\nf 2 3 6 5"
    flat = read_mesh(archive(roof_obj=roof.format(-0.2)), "roof.obj")
    ridge = flat.positions[:, 0] == 0
    np.testing.assert_allclose(flat.normals[ridge], np.tile([0, 1, 0], (ridge.sum(), 1)), atol=0.1)
    steep = read_mesh(archive(roof_obj=roof.format(-2)), "roof.obj")
    ridge = steep.positions[:, 0] == 0
    assert (np.abs(steep.normals[ridge, 0]) > 0.8).all()


def test_given_normals_and_texture_coordinates_are_kept_corner_by_corner() -> None:
    text = (
        "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nvt 0.25 0.5\nvt 1 0 0\nvn 3 0 4\nvn 0 0 0\n"
        "f 1/1/1 2/2/1 3//1\nf 1/1/2 2 4\n"
    )
    mesh = read_mesh(archive(m_obj=text), "m.obj")
    np.testing.assert_allclose(mesh.normals[:3], np.tile([0.6, 0, 0.8], (3, 1)), rtol=1e-6)
    np.testing.assert_array_equal(mesh.coordinates[:3], [[0.25, 0.5], [1, 0], [0, 0]])
    np.testing.assert_array_equal(mesh.normals[3:], np.tile([0, -1, 0], (3, 1)))  # computed


def test_materials_and_textures() -> None:
    text = (
        "mtllib m.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nusemtl dark glass\nf 1 2 3\nusemtl wood\n"
        "f 1 2 3\nusemtl flyellow\nf 1 2 3\nusemtl nobody\nf 1 2 3\nusemtl dark glass\nf 3 2 1\n"
    )
    materials = (
        "# made by hand\nnewmtl dark glass\nKd 0.1 0.2 0.3\nKs 0.5 0.5 0.5\nNs 96\nd 0.25\n"
        "newmtl wood\nKd spectral file.rfl\nKs 0.5\nmap_Kd maps\\wood.jpg\n"
        "newmtl lost\nmap_Kd C:/Documents/lost.jpg\n"
    )
    files = zipped({"m.obj": text, "m.mtl": materials, "maps/wood.jpg": picture(0, 16)})
    mesh = read_mesh(zipfile.ZipFile(io.BytesIO(files)), "m.obj")
    assert [(part.first, part.count) for part in mesh.parts] == [(0, 6), (6, 3), (9, 3), (12, 3)]
    glass, wood, yellow, unknown = (part.material for part in mesh.parts)
    assert (glass.diffuse, glass.specular) == ((0.1, 0.2, 0.3), (0.5, 0.5, 0.5))
    assert (glass.shininess, glass.opacity, glass.texture) == (96, 0.25, None)
    assert (wood.diffuse, wood.specular) == ((0.7, 0.7, 0.7), (0.5, 0.5, 0.5))
    assert isinstance(wood.texture, Image.Image)
    assert (wood.texture.mode, wood.texture.size) == ("RGBA", (16, 16))
    assert yellow.diffuse == (1, 1, 0)
    assert unknown.diffuse == (0.7, 0.7, 0.7)


def test_a_model_stands_on_the_floor_with_half_a_diagonal_of_one() -> None:
    mesh = read_mesh(archive(box_obj=box(2, 3, 6)), "box.obj")
    turn = np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]], np.float32)  # a quarter to the left
    stood = standing(mesh, turn)
    np.testing.assert_allclose(stood.extent, np.array([6, 3, 2]) / 3.5, rtol=1e-6)
    np.testing.assert_allclose(stood.positions.min(axis=0), [-3 / 3.5, 0, -1 / 3.5], atol=1e-6)
    np.testing.assert_allclose(stood.normals, mesh.normals @ turn.T, atol=1e-6)
    assert stood.parts == mesh.parts


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("v 0 0 0", "it has no faces"),
        ("v 0 0 0\nf -1 -1 -1", "count backwards"),
        ("v 0 0 0\nf 1 2 3", "index 1 is out of bounds"),
        ("v 0 0 0\nf a b c", "invalid literal"),
        ("v 0 zero 0\nf 1 1 1", "zero"),
    ],
)
def test_a_damaged_model_is_named(text: str, reason: str) -> None:
    with pytest.raises(DataError, match=f"cannot read bad.obj: .*{reason}"):
        read_mesh(archive(bad_obj=text), "bad.obj")
    with pytest.raises(DataError, match=r"cannot read other\.obj"):
        read_mesh(archive(bad_obj=text), "other.obj")
