"""The two Debian packages that Furniture is rendered from, small, in the true format."""

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

BOX_FACES = ((1, 2, 3, 4), (5, 8, 7, 6), (1, 5, 6, 2), (2, 6, 7, 3), (3, 7, 8, 4), (5, 1, 4, 8))


def box(width: float, height: float, depth: float) -> str:
    """An OBJ file: a box with one corner at the origin, its sides of the material "paint"."""
    points = [
        (x, y, z) for y in (0, height) for x, z in ((0, 0), (width, 0), (width, depth), (0, depth))
    ]
    return "\n".join(
        [
            "mtllib box.mtl",
            *(f"v {x} {y} {z}" for x, y, z in points),
            "usemtl paint",
            *("f " + " ".join(map(str, face)) for face in BOX_FACES),
        ]
    )


def picture(seed: int, size: int = 128) -> bytes:
    """A JPEG file of colored noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((size, size)).save(buffer, "JPEG")
    return buffer.getvalue()


def library(name: str, models: int, people: int = 0) -> bytes:
    """A library of boxes; the last ``people`` of its models are of the category Characters."""
    lines = [f"id=SweetHome3D#{name}", f"name={name}"]
    files: dict[str, str | bytes] = {}
    for number in range(1, models + 1):
        folder = f"{name.lower()}/thing{number}"
        lines += [
            f"id#{number}={name}#thing{number}",
            f"name#{number}=Caf\\u00e9 {number}",
            f"category#{number}={'Characters' if number > models - people else 'Kitchen'}",
            f"model#{number}=/{folder}/box.obj",
            f"creator#{number}=Maker of {name}",
        ]
        if number == 2:
            lines.append(f"modelRotation#{number}=0 0 1 0 1 0 -1 0 0")
            files[f"{folder}/BLENDSWAP_LICENSE.txt"] = (
                "You MUST give credit\nDownloaded from http://www.blendswap.com/blends/view/1234\n"
            )
        if number == 3:
            files[f"{folder}/5678 - A box - License.html"] = "<html>"
        files[f"{folder}/box.obj"] = box(1, number, 2)
        files[f"{folder}/box.mtl"] = f"newmtl paint\nKd 0.{number} 0.2 0.{9 - number}\n"
    files[f"{name.lower()}/cloth.jpg"] = picture(models)
    files["PluginFurnitureCatalog.properties"] = "\n".join(lines)
    return zipped(files)


def zipped(files: Mapping[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def write_deb(path: Path, files: Mapping[str, bytes], data: str = "data.tar.xz") -> Path:
    """Writes a .deb: an ar archive of a version, control files and the files themselves."""
    members = {"debian-binary": b"2.0\n", "control.tar.xz": b"odd", data: b""}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    members[data] = buffer.getvalue()
    with path.open("wb") as deb:
        deb.write(b"!<arch>\n")
        for name, content in members.items():
            deb.write(f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode())
            deb.write(content + b"\n" * (len(content) % 2))
    return path


def write_packages(folder: Path, models: int = 3) -> Path:
    """Writes both packages: Scopia and Kator Legaz with ``models`` boxes each, and one person."""
    folder.mkdir(parents=True, exist_ok=True)
    share = "./usr/share/sweethome3d"
    write_deb(
        folder / "sweethome3d-furniture_9.9-1_all.deb",
        {
            f"{share}/furniture/Scopia.sh3f": library("Scopia", models),
            f"{share}/furniture/KatorLegaz.sh3f": library("KatorLegaz", models + 1, people=1),
            f"{share}/furniture/Unknown.sh3f": library("Unknown", models),
        },
    )
    resources = "com/eteks/sweethome3d/io/resources"
    jar = {
        f"{resources}/textures/grass.jpg": picture(7),
        f"{resources}/stool.obj": box(1, 1, 1).replace("paint", "flyellow"),
        f"{resources}/door.obj": "no model, and never read",
    }
    write_deb(folder / "sweethome3d_9.9-2_all.deb", {f"{share}/sweethome3d.jar": zipped(jar)})
    return folder


class Painter:
    """In the place of SceneRenderer: one color for each height of a model, and noise."""

    painted = 0
    stop_at = 10**9

    def __init__(self, size: int) -> None:
        self.size, self.name = size, "a brush"
        self.textures: list[Image.Image] = []
        self.clutter: list[Any] = []

    def add_texture(self, image: Image.Image) -> None:
        self.textures.append(image)

    def upload(self, mesh: Any) -> Any:
        return SimpleNamespace(extent=mesh.extent)

    def release(self, item: Any) -> None:
        pass

    def render(self, subject: Any, scene: Any) -> np.ndarray:
        type(self).painted += 1
        if self.painted > self.stop_at:
            raise KeyboardInterrupt
        shade = np.random.default_rng(0).uniform(0.2, 1, (self.size, self.size, 1))
        return (shade * subject.extent).astype(np.float32)
