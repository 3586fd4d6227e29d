"""Render the scenes of ``furniture_scenes`` with OpenGL, without a screen or a GPU.

moderngl makes an EGL context on Mesa, set to compute on the CPU so that images do not depend on
the graphics card. Another version of Mesa may still change pixels slightly.

    apt-get install libegl1 libgl1 libgl1-mesa-dri
    pip install slade-plugin[furniture]
"""

import os
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from slade_plugin.base.errors import DataError
from slade_plugin.data.rendering.furniture_scenes import Array, Camera, Light, Scene
from slade_plugin.data.rendering.wavefront import Material, Mesh, Part

# Rendered twice as large with four samples a pixel, then averaged.
_SUPERSAMPLING = 2
_SAMPLES = 4
_SHADOW_SIZE = 512
_SHADOW_REACH = 2.6  # half of the width of what can throw shadows
_MAX_TEXTURE = 256

_VERTEX = """#version 330
uniform mat4 model, view, shadow_view;
in vec3 in_position; in vec3 in_normal; in vec2 in_coordinate;
out vec3 position; out vec3 normal; out vec2 coordinate; out vec3 in_shadow;
void main() {
    vec4 world = model * vec4(in_position, 1);
    position = world.xyz;
    normal = mat3(model) * in_normal;
    coordinate = in_coordinate;
    in_shadow = (shadow_view * world).xyz * 0.5 + 0.5;
    gl_Position = view * world;
}"""

_FRAGMENT = """#version 330
uniform sampler2D surface; uniform sampler2DShadow shadow;
uniform bool textured;
uniform vec3 diffuse, specular, eye, sun, sun_color, fill, fill_color, sky, ground;
uniform float shininess, opacity, contact, blur;
in vec3 position; in vec3 normal; in vec2 coordinate; in vec3 in_shadow;
out vec4 color;

float sunlit() {
    if (any(lessThan(in_shadow.xy, vec2(0))) || any(greaterThan(in_shadow.xy, vec2(1)))) return 1.0;
    float sum = 0.0;
    for (int i = -1; i <= 1; i++)
        for (int j = -1; j <= 1; j++)
            sum += texture(shadow, in_shadow - vec3(-blur * vec2(i, j), 0.004));
    return sum / 9.0;
}

void main() {
    vec3 n = normalize(normal), towards_eye = normalize(eye - position);
    if (dot(n, towards_eye) < 0) n = -n;  // thin sheets are seen from both sides
    vec4 base = textured ? texture(surface, coordinate) : vec4(diffuse, 1);
    float alpha = base.a * opacity;
    if (alpha < 0.02) discard;
    vec3 albedo = pow(base.rgb, vec3(2.2));
    float slope = dot(n, sun);
    vec3 direct = slope > 0 ? sun_color * sunlit() : vec3(0);
    float open = 1 - contact * clamp(1 - 2.5 * position.y, 0, 1);  // darker near the floor
    vec3 light = mix(ground, sky, 0.5 + 0.5 * n.y) * open
        + direct * max(slope, 0) + fill_color * max(dot(n, fill), 0);
    vec3 halfway = normalize(sun + towards_eye);
    vec3 highlight = 0.6 * specular * direct * pow(max(dot(n, halfway), 0), max(shininess, 4));
    color = vec4(albedo * light + highlight, alpha);
}"""

_SHADOW_VERTEX = """#version 330
uniform mat4 model, shadow_view;
in vec3 in_position;
void main() { gl_Position = shadow_view * model * vec4(in_position, 1); }"""

_SHADOW_FRAGMENT = """#version 330
void main() {}"""

_BACKDROP_VERTEX = """#version 330
in vec2 in_position;
out vec2 place;
void main() { place = in_position * 0.5 + 0.5; gl_Position = vec4(in_position, 0, 1); }"""

_BACKDROP_FRAGMENT = """#version 330
uniform sampler2D surface; uniform vec4 cut; uniform vec3 brightness;
in vec2 place;
out vec4 color;
void main() {
    color = vec4(pow(texture(surface, cut.xy + place * cut.zw).rgb, vec3(2.2)) * brightness, 1);
}"""


@dataclass(frozen=True)
class Uploaded:
    """A mesh in the renderer's memory.

    Attributes:
        extent: Of its bounding box: (3,).
        surface: Vertices for the image.
        shadow: Vertices for the shadow.
        parts: Each with its texture or None, transparent ones last.
        owned: What has to be released.
    """

    extent: npt.NDArray[np.float32]
    surface: Any
    shadow: Any
    parts: tuple[tuple[Part, Any], ...]
    owned: tuple[Any, ...]


class SceneRenderer:
    """Renderer of scenes of uploaded meshes.

    Args:
        size: Height and width of the images.

    Attributes:
        name: OpenGL's name and version of the driver.
        textures: What a scene's floor, walls and backdrop choose from; fill it by `add_texture`.
        clutter: The other objects of a scene; fill it by `upload`.

    Raises:
        DataError: If moderngl is not installed, or there is no EGL or no driver.
    """

    def __init__(self, size: int) -> None:
        self._gl = gl = _context()
        self.name = f"{gl.info['GL_RENDERER']}, {gl.info['GL_VERSION']}"
        self.textures: list[Any] = []
        self.clutter: list[Uploaded] = []
        self._size = size
        self._surface = gl.program(_VERTEX, _FRAGMENT)
        self._shadow = gl.program(_SHADOW_VERTEX, _SHADOW_FRAGMENT)
        self._backdrop = gl.program(_BACKDROP_VERTEX, _BACKDROP_FRAGMENT)
        large = (size * _SUPERSAMPLING,) * 2
        self._samples = gl.framebuffer(
            [gl.renderbuffer(large, 4, samples=_SAMPLES, dtype="f2")],
            gl.depth_renderbuffer(large, samples=_SAMPLES),
        )
        self._image = gl.framebuffer([gl.renderbuffer(large, 4, dtype="f2")])
        self._depth = gl.depth_texture((_SHADOW_SIZE, _SHADOW_SIZE))
        self._depth.compare_func = "<="
        self._shadow_image = gl.framebuffer(depth_attachment=self._depth)
        self._white = gl.texture((1, 1), 4, b"\xff" * 4)
        self._floor = self.upload(_rectangle(((-12, 0, 12), (24, 0, 0), (0, 0, -24)), 24))
        self._wall = self.upload(_rectangle(((-12, 0, 0), (24, 0, 0), (0, 12, 0)), 12))
        corners = np.array([-1, -1, 1, -1, -1, 1, 1, 1], np.float32)
        self._screen = gl.vertex_array(
            self._backdrop, [(gl.buffer(corners.tobytes()), "2f", "in_position")]
        )
        self._surface["shadow"] = 1

    def add_texture(self, image: Image.Image) -> None:
        """Add a picture to `textures`."""
        self.textures.append(self._texture(image))

    def upload(self, mesh: Mesh) -> Uploaded:
        """Copy a mesh into the renderer's memory."""
        gl = self._gl
        vertices = np.hstack([mesh.positions, mesh.normals, mesh.coordinates]).astype(np.float32)
        buffer = gl.buffer(vertices.tobytes())
        textures: dict[int, Any] = {}
        parts = []
        for part in sorted(mesh.parts, key=lambda part: part.material.opacity < 1):
            picture = part.material.texture
            if picture is not None and id(picture) not in textures:
                textures[id(picture)] = self._texture(picture)
            plain = replace(part, material=replace(part.material, texture=None))  # to free memory
            parts.append((plain, textures.get(id(picture))))
        names = ("in_position", "in_normal", "in_coordinate")
        surface = gl.vertex_array(self._surface, [(buffer, "3f 3f 2f", *names)])
        shadow = gl.vertex_array(self._shadow, [(buffer, "3f 20x", "in_position")])
        owned = (surface, shadow, buffer, *textures.values())
        return Uploaded(mesh.extent, surface, shadow, tuple(parts), owned)

    def release(self, uploaded: Uploaded) -> None:
        """Free the memory of a mesh."""
        for item in uploaded.owned:
            item.release()

    def render(self, subject: Uploaded, scene: Scene) -> npt.NDArray[np.float32]:
        """Render the subject at the origin in a scene.

        Returns:
            (size, size, 3), linear light, >= 0.
        """
        import moderngl

        gl, light, camera = self._gl, scene.light, scene.camera
        objects = [(subject, np.eye(4))]
        objects += [(self.clutter[number], matrix) for number, matrix in scene.clutter]
        shadow_view = _shadow_view(camera, light)
        self._shadow_image.use()
        self._shadow_image.clear(depth=1.0)
        gl.enable_only(moderngl.DEPTH_TEST)
        _set(self._shadow, shadow_view=shadow_view)
        for item, matrix in objects:
            _set(self._shadow, model=matrix)
            item.shadow.render()

        self._samples.use()
        self._samples.clear(0.5, 0.5, 0.5, 1, depth=1.0)
        if scene.backdrop is not None:
            number, cut, brightness = scene.backdrop
            self.textures[number].use(0)
            _set(self._backdrop, cut=np.array(cut), brightness=brightness)
            gl.enable_only(moderngl.NOTHING)
            self._screen.render(moderngl.TRIANGLE_STRIP)
        self._depth.use(1)
        _set(
            self._surface,
            view=_view(camera),
            shadow_view=shadow_view,
            eye=camera.eye,
            blur=np.array(1.2 * light.softness / _SHADOW_SIZE),
            **{
                key: getattr(light, key)
                for key in ("sun", "sun_color", "fill", "fill_color", "sky", "ground")
            },
        )
        gl.enable_only(moderngl.DEPTH_TEST | moderngl.BLEND | moderngl.CULL_FACE)
        if scene.floor is not None:
            self._draw(self._floor, scene.floor[1], 0, self.textures[scene.floor[0]])
        for number, matrix in scene.walls:
            self._draw(self._wall, matrix, 0.45, self.textures[number])
        gl.enable_only(moderngl.DEPTH_TEST | moderngl.BLEND)
        for item, matrix in objects:
            self._draw(item, matrix, 0.45)
        gl.copy_framebuffer(self._image, self._samples)
        return self._read()

    def _draw(self, item: Uploaded, matrix: Array, contact: float, texture: Any = None) -> None:
        _set(self._surface, model=matrix, contact=np.array(contact))
        for part, own in item.parts:
            picture, material = texture or own, part.material
            (picture or self._white).use(0)
            self._surface["textured"] = picture is not None
            _set(
                self._surface,
                diffuse=np.array(material.diffuse),
                specular=np.array(material.specular),
                shininess=np.array(material.shininess),
                # Clear glass is still seen.
                opacity=np.array(max(0.15, material.opacity)),
            )
            item.surface.render(vertices=part.count, first=part.first)

    def _texture(self, image: Image.Image) -> Any:
        import moderngl

        image = image.convert("RGBA")
        if max(image.size) > _MAX_TEXTURE:
            image.thumbnail((_MAX_TEXTURE, _MAX_TEXTURE), Image.Resampling.BOX)
        flipped = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        texture = self._gl.texture(image.size, 4, flipped.tobytes())
        texture.build_mipmaps()
        texture.filter = (moderngl.LINEAR_MIPMAP_LINEAR, moderngl.LINEAR)
        return texture

    def _read(self) -> npt.NDArray[np.float32]:
        """Read the rendered image, averaged to its size; a broken normal is black."""
        size, each = self._size, _SUPERSAMPLING
        raw = np.frombuffer(self._image.read(components=3, dtype="f2"), np.float16)
        blocks = raw.reshape(size, each, size, each, 3)[::-1].astype(np.float32)
        return np.maximum(np.nan_to_num(blocks.mean(axis=(1, 3))), 0)


def _context() -> Any:
    try:
        import moderngl
    except ImportError as error:
        raise DataError(
            f"Furniture is rendered with moderngl, which cannot be imported: {error}. Install it: "
            "`pip install slade-plugin[furniture]`."
        ) from error
    os.environ.setdefault("LIBGL_ALWAYS_SOFTWARE", "1")
    backend: Any = {"backend": "egl"}
    try:
        return moderngl.create_context(require=330, standalone=True, **backend)
    except Exception as error:
        raise DataError(
            f"Furniture is rendered with OpenGL on EGL, which is not available: {error}. On "
            "Debian: `apt-get install libegl1 libgl1 libgl1-mesa-dri`."
        ) from error


def _set(program: Any, **values: npt.NDArray[np.floating[Any]]) -> None:
    """Set uniforms; OpenGL takes matrices column by column."""
    for name, value in values.items():
        program[name].write(np.ascontiguousarray(value.T, np.float32).tobytes())


def _rectangle(corners: tuple[tuple[float, ...], ...], repeats: float) -> Mesh:
    """Return a rectangle: a corner and the two edges from it; textures are one unit wide."""
    origin, right, up = (np.array(corner, np.float32) for corner in corners)
    points = np.array([origin, origin + right, origin + right + up, origin + up])
    order = [0, 1, 2, 0, 2, 3]
    normal = np.cross(right, up) / np.linalg.norm(np.cross(right, up))
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    coordinates = square * np.array([repeats, repeats * np.linalg.norm(up) / np.linalg.norm(right)])
    return Mesh(
        points[order],
        np.tile(normal, (6, 1)),
        coordinates[order].astype(np.float32),
        (Part(0, 6, Material()),),
    )


def _view(camera: Camera) -> Array:
    """Return the matrix from the world to the image of a camera: (4, 4)."""
    near, far = 0.1, 60.0
    focal = 1 / np.tan(camera.view_angle / 2)
    projection = np.zeros((4, 4))
    projection[0, 0] = projection[1, 1] = focal
    projection[:2, 2] = camera.shift
    projection[2, 2:] = (far + near) / (near - far), 2 * far * near / (near - far)
    projection[3, 2] = -1
    return projection @ _looking(camera.eye, camera.target, camera.up)


def _shadow_view(camera: Camera, light: Light) -> Array:
    """Return the matrix from the world to the sun's view of it: (4, 4)."""
    depth = 20.0
    scale = np.diag([1 / _SHADOW_REACH, 1 / _SHADOW_REACH, -2 / depth, 1])
    scale[2, 3] = -1
    eye = camera.target + 8 * light.sun
    return scale @ _looking(eye, camera.target, np.array([0, 1, 0.01]))


def _looking(eye: Array, target: Array, up: Array) -> Array:
    """Return the matrix that moves ``eye`` to the origin and turns ``target`` to -z: (4, 4)."""
    back = (eye - target) / np.linalg.norm(eye - target)
    right = np.cross(up, back)
    right /= np.linalg.norm(right)
    matrix = np.eye(4)
    matrix[:3, :3] = right, np.cross(back, right), back
    matrix[:3, 3] = -matrix[:3, :3] @ eye
    return matrix
