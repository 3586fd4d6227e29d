"""The two Debian packages that ``Furniture`` is rendered from: their catalogs and files.

    sweethome3d-furniture_1.8-1_all.deb      libraries of 3D models (.sh3f, zip files)
    sweethome3d_7.0.2+dfsg-3_all.deb         textures of floors and walls (sweethome3d.jar)

The packages are read where they are: nothing is installed or unpacked to the disk.
"""

import io
import lzma
import re
import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from slade_plugin.base.errors import DataError
from slade_plugin.base.files import sha256_of_file

VERSIONS = MappingProxyType({"sweethome3d-furniture": "1.8-1", "sweethome3d": "7.0.2+dfsg-3"})
"""The packages and the versions behind the published numbers."""

HOW_TO_GET = (
    "On Debian: `apt-get download sweethome3d-furniture sweethome3d`. Elsewhere: take both .deb "
    "files from a Debian mirror, pool/main/s/ (137 MB)."
)

LICENSES = MappingProxyType(
    {
        "BlendSwap-CC-0": "CC0-1.0",
        "BlendSwap-CC-BY": "CC-BY-3.0",
        "KatorLegaz": "CC-BY-3.0-US",
        "Reallusion": "CC-BY-3.0-US",
        "Scopia": "CC-BY-3.0",
    }
)
"""Library -> license, as its LICENSE.TXT states it. Other libraries are not read."""

_CATALOG = "PluginFurnitureCatalog.properties"
_BLEND = "http://www.blendswap.com/blends/view/"
_AR_HEADER = 60


@dataclass(frozen=True)
class FurnitureModel:
    """One entry of a library's catalog.

    Attributes:
        collection: A library, of LICENSES; the maker, except for the two collections of Blend Swap.
        identifier: Unique, such as "Scopia/bathroom3".
        name: For people; not unique.
        category: Such as "Kitchen" or "Characters".
        author: As the catalog has it; "" where it has none.
        source: Address of the original, for the models of Blend Swap that name it.
        path: Of the OBJ file in the library.
        rotation: (3, 3), to be applied to the vertices.
    """

    collection: str
    identifier: str
    name: str
    category: str
    author: str
    source: str | None
    path: str
    rotation: npt.NDArray[np.float32]


@dataclass(frozen=True)
class FurniturePackages:
    """Contents of both packages.

    Attributes:
        versions: Package -> version.
        sha256: Package -> SHA-256 of the .deb file.
        libraries: Library -> its files, sorted by name.
        program: The files of sweethome3d.jar.
        models: All entries of all catalogs, in their order.
    """

    versions: Mapping[str, str]
    sha256: Mapping[str, str]
    libraries: Mapping[str, zipfile.ZipFile]
    program: zipfile.ZipFile
    models: tuple[FurnitureModel, ...]


def read_packages(folder: Path) -> FurniturePackages:
    """Read both packages.

    Args:
        folder: Holds one .deb file of each.

    Raises:
        DataError: If a package is missing, doubled, damaged or not what its name says.
    """
    versions, sha256 = {}, {}
    libraries: dict[str, zipfile.ZipFile] = {}
    programs: dict[str, zipfile.ZipFile] = {}
    for package in VERSIONS:
        found = sorted(folder.glob(f"{package}_*.deb"))
        if len(found) != 1:
            raise DataError(
                f"Furniture: {folder} holds {len(found)} files {package}_*.deb; expected one. "
                f"{HOW_TO_GET}"
            )
        versions[package] = found[0].name.split("_")[1]
        sha256[package] = sha256_of_file(found[0])
        for path, content in _members(found[0], (".sh3f", "sweethome3d.jar")).items():
            kind = libraries if path.suffix == ".sh3f" else programs
            kind[path.stem] = zipfile.ZipFile(io.BytesIO(content))
    libraries = {name: libraries[name] for name in LICENSES if name in libraries}
    if "Scopia" not in libraries or len(libraries) < 2 or not programs:
        raise DataError(
            f"Furniture: the packages in {folder} hold the libraries "
            f"{', '.join(libraries) or 'none'} and {'a' if programs else 'no'} sweethome3d.jar; "
            f"expected {', '.join(LICENSES)} and the jar. {HOW_TO_GET}"
        )
    models = tuple(model for name in libraries for model in _catalog(name, libraries[name]))
    return FurniturePackages(versions, sha256, libraries, programs["sweethome3d"], models)


def _members(deb: Path, endings: tuple[str, ...]) -> dict[PurePosixPath, bytes]:
    """Return the files of a Debian package whose names end in one of ``endings``.

    A .deb is an ar archive; its member data.tar.* holds the files.
    """
    try:
        with deb.open("rb") as file:
            if file.read(8) != b"!<arch>\n":
                raise DataError(f"Furniture: {deb} is not a Debian package. {HOW_TO_GET}")
            while header := file.read(_AR_HEADER):
                name, size = header[:16].decode().strip(" /"), int(header[48:58])
                if name == "data.tar.zst":
                    raise DataError(
                        f"Furniture: {deb} is compressed with zstd, as Ubuntu does it; expected "
                        f"Debian's package. {HOW_TO_GET}"
                    )
                if name.startswith("data.tar"):
                    content = file.read(size)
                    if len(content) < size:
                        raise EOFError("the file ends early")
                    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
                        return {
                            PurePosixPath(member.name): handle.read()
                            for member in tar
                            if member.name.endswith(endings) and (handle := tar.extractfile(member))
                        }
                file.seek(size + size % 2, io.SEEK_CUR)
    except (OSError, ValueError, EOFError, lzma.LZMAError, tarfile.TarError) as error:
        raise DataError(f"Furniture: {deb} is damaged: {error}. Download it again.") from error
    raise DataError(f"Furniture: {deb} holds no data.tar. {HOW_TO_GET}")


def _catalog(library: str, archive: zipfile.ZipFile) -> list[FurnitureModel]:
    """Read the entries of a library's catalog, a file of Java properties."""
    sources = _sources(archive)
    entries: dict[int, dict[str, str]] = defaultdict(dict)
    for line in archive.read(_CATALOG).decode("latin-1").splitlines():
        match = re.match(r"(\w+)#(\d+)=(.*)", line)
        if match:
            entries[int(match[2])][match[1]] = re.sub(
                r"\\u([0-9A-Fa-f]{4})", lambda code: chr(int(code[1], 16)), match[3]
            ).strip()
    models = []
    for number in sorted(entries):
        entry = entries[number]
        path = entry["model"].lstrip("/")
        rotation = np.array(entry.get("modelRotation", "1 0 0 0 1 0 0 0 1").split(), np.float32)
        models.append(
            FurnitureModel(
                collection=library,
                identifier=f"{library}/{entry['id'].split('#')[-1]}",
                name=entry.get("name", ""),
                category=entry.get("category", ""),
                author=entry.get("creator", ""),
                source=sources.get(PurePosixPath(path).parent),
                path=path,
                rotation=rotation.reshape(3, 3),
            )
        )
    return models


def _sources(archive: zipfile.ZipFile) -> dict[PurePosixPath, str]:
    """Map each folder to its address at Blend Swap, from the license file in it.

    The older files name the address they came from, the newer ones have the number of the blend
    in their names.
    """
    found = {}
    for path in map(PurePosixPath, archive.namelist()):
        if path.name == "BLENDSWAP_LICENSE.txt":
            number = re.search(rf"{_BLEND}(\d+)", archive.read(str(path)).decode("latin-1"))
        else:
            number = re.fullmatch(r"(?i)(\d+) - .*license\.html", path.name)
        if number:
            found[path.parent] = f"{_BLEND}{number[1]}"
    return found
