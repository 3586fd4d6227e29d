"""Rendering needs EGL and a driver, which a machine may lack: these tests are skipped there, and
`test_furniture_building.py` builds with a renderer that paints plain colors.
"""

import io
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from slade_plugin.base.errors import DataError
from slade_plugin.data.rendering.furniture_rendering import SceneRenderer
from slade_plugin.data.rendering.furniture_scenes import Camera, Light, Scene
from slade_plugin.data.rendering.wavefront import Mesh, read_mesh, standing
from tests.furniture_packages import box, zipped


@pytest.fixture(scope="module")
def renderer() -> SceneRenderer:
    try:
        made = SceneRenderer(48)
    except DataError as error:
        pytest.skip(f"no OpenGL here: {error}")
    for color in ("red", "blue"):
        made.add_texture(Image.new("RGB", (8, 8), color))
    return made


def cube(material: str = "Kd 0 1 0", size: tuple[float, float, float] = (1, 1, 1)) -> Mesh:
    files = zipped({"box.obj": box(*size), "box.mtl": f"newmtl paint\n{material}"})
    mesh = read_mesh(zipfile.ZipFile(io.BytesIO(files)), "box.obj")
    return standing(mesh, np.eye(3, dtype=np.float32))


def scene(**changes: object) -> Scene:
    """From the front at eye level, light from the viewer; nothing but the object."""
    up = np.array([0.0, 1.0, 0.0])
    front = np.array([0.0, 0.0, 1.0])
    white, black = np.ones(3), np.zeros(3)
    camera = Camera(np.array([0, 0.5, 4.0]), np.array([0, 0.5, 0]), up, np.pi / 4, np.zeros(2))
    light = Light(front, white, up, black, black, black, 1.0)
    return replace(Scene(camera, light, (), None, (), None), **changes)


def test_a_cube_is_seen_where_and_as_large_as_it_is(renderer: SceneRenderer) -> None:
    image = renderer.render(renderer.upload(cube()), scene())
    assert (image.shape, image.dtype) == ((48, 48, 3), np.float32)
    covered = 1 - image[..., 0] / 0.5  # the background is gray, the cube green
    # Its side is 2 / sqrt(3) = 1.155; the front is at z = 0.577 and the camera at 4: at 3.42 the
    # image is 2 * 3.42 * tan(22.5 degrees) = 2.835 high, so 48 * 1.155 / 2.835 = 19.5 pixels.
    assert covered[20].sum() == pytest.approx(19.5, abs=0.3)
    assert covered[:, 24].sum() == pytest.approx(19.5, abs=0.3)
    places = np.arange(48)
    assert (covered[20] * places).sum() / covered[20].sum() == pytest.approx(23.5, abs=0.2)
    # From y = 0 to 1.155 around a target at 0.5: a bit higher than the middle.
    height = 23.5 - 0.0775 * 48 / 2.835
    column = covered[:, 24]
    assert (column * places).sum() / column.sum() == pytest.approx(height, abs=0.2)
    np.testing.assert_allclose(image[20, 24], [0, 1, 0], atol=0.01)  # full light, frontal
    np.testing.assert_allclose(image[0, 0], 0.5, atol=0.01)  # nothing there


def test_light_falls_off_with_the_angle(renderer: SceneRenderer) -> None:
    slanted = np.array([0, np.sin(np.pi / 3), np.cos(np.pi / 3)])
    light = replace(scene().light, sun=slanted)
    image = renderer.render(renderer.upload(cube()), scene(light=light))
    assert image[20, 24, 1] == pytest.approx(0.5, abs=0.01)


def test_an_object_throws_a_shadow_on_the_floor(renderer: SceneRenderer) -> None:
    above = np.array([0.0, 1.0, 0.0])
    camera = replace(scene().camera, eye=np.array([0, 3.0, 4.0]))
    light = replace(scene().light, sun=np.array([-0.8, 0.6, 0.0]))
    floor = (0, np.eye(4))
    image = renderer.render(renderer.upload(cube()), scene(camera=camera, light=light, floor=floor))
    left, right = image[30, 4], image[30, 43]  # the sun is at the left
    assert left[0] == pytest.approx(0.6, abs=0.05)
    lit = image[..., 0] > 0.3
    assert lit[28:34, :10].all()
    assert not lit[28, 36:40].any()
    assert right[0] >= 0
    assert above[1] == 1


def test_walls_backdrop_and_clutter_are_where_the_scene_says(renderer: SceneRenderer) -> None:
    small = renderer.upload(cube(size=(1, 0.2, 1)))
    ambient = replace(scene().light, sky=np.ones(3), ground=np.ones(3), sun_color=np.zeros(3))
    behind = np.eye(4)
    behind[2, 3] = -3
    wall = renderer.render(small, scene(light=ambient, walls=((1, behind),)))
    assert wall[4, 24].argmax() == 2  # the blue texture
    turned = behind.copy()
    turned[:3, :3] = np.diag([-1, 1, -1])
    away = renderer.render(small, scene(light=ambient, walls=((1, turned),)))
    np.testing.assert_allclose(away[4, 24], 0.5, atol=0.01)  # seen from its front only
    backdrop = (0, (0.0, 0.0, 1.0, 1.0), np.full(3, 0.5))
    picture = renderer.render(small, scene(backdrop=backdrop))
    np.testing.assert_allclose(picture[0, 0], [0.5, 0, 0], atol=0.01)
    renderer.clutter[:] = [renderer.upload(cube("Kd 1 1 1"))]
    beside = np.eye(4)
    beside[0, 3] = 1.2
    crowded = renderer.render(small, scene(light=ambient, clutter=((0, beside),)))
    alone = renderer.render(small, scene(light=ambient))
    changed = np.abs(crowded - alone).max(axis=-1) > 0.1
    assert changed[:, 30:].any()
    assert not changed[:, :24].any()


def test_glass_shows_what_is_behind(renderer: SceneRenderer) -> None:
    backdrop = (0, (0.0, 0.0, 1.0, 1.0), np.ones(3))
    glass = renderer.render(renderer.upload(cube("Kd 0 1 0\nd 0.5")), scene(backdrop=backdrop))
    red, green, _ = glass[20, 24]
    assert red > 0.1
    assert green > 0.3


def test_textures_are_upright(renderer: SceneRenderer) -> None:
    picture = Image.new("RGB", (8, 8), "black")
    picture.paste("white", (0, 0, 8, 4))  # the upper half
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    text = (
        "mtllib m.mtl\nv -1 0 0\nv 1 0 0\nv 1 2 0\nv -1 2 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
        "usemtl m\nf 1/1 2/2 3/3 4/4\n"
    )
    files = {"m.obj": text, "m.mtl": "newmtl m\nmap_Kd p.png", "p.png": buffer.getvalue()}
    mesh = standing(
        read_mesh(zipfile.ZipFile(io.BytesIO(zipped(files))), "m.obj"), np.eye(3, dtype=np.float32)
    )
    image = renderer.render(renderer.upload(mesh), scene())
    column = image[:, 24].mean(axis=-1)
    bright, dark = np.flatnonzero(column > 0.9), np.flatnonzero(column < 0.1)
    assert len(bright) > 5
    assert len(dark) > 5
    assert bright.max() < dark.min()


def test_rendering_again_gives_the_same_pixels(renderer: SceneRenderer) -> None:
    subject = renderer.upload(cube())
    first, second = (renderer.render(subject, scene(floor=(0, np.eye(4)))) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    renderer.release(subject)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "moderngl", None)
    with pytest.raises(DataError, match=r"pip install slade-plugin\[furniture\]"):
        SceneRenderer(48)


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    moderngl = pytest.importorskip("moderngl")

    def fail(**_: object) -> None:
        raise OSError("libEGL.so.1 not loaded")

    monkeypatch.setattr(moderngl, "create_context", fail)
    with pytest.raises(DataError, match=r"libEGL.*apt-get install libegl1 libgl1 libgl1-mesa-dri"):
        SceneRenderer(48)
