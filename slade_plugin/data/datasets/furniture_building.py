"""Build the ``Furniture`` data set: ``slade-bench build furniture FOLDER``.

Ours, not the paper's. It takes about nine minutes on one core and writes what
``data.datasets.furniture`` reads. Finished classes are kept while it runs, so the same command
resumes an interrupted build. The views of a class depend only on its name and the seed. The same
packages and versions give the same bytes; another version of Mesa may change pixels slightly. The
manifest records the versions, and for each model its author, license and source.
"""

import hashlib
import importlib.metadata
import io
import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt
from PIL import Image
from tqdm import tqdm

from slade_plugin.base.errors import DataError
from slade_plugin.base.files import atomic_write
from slade_plugin.data.datasets.furniture import RECIPE_VERSION, SIZE, VIEWS, folder_of, stem_of
from slade_plugin.data.datasets.stored_images import SUBSETS, check_writable, store
from slade_plugin.data.rendering.furniture_packages import (
    LICENSES,
    VERSIONS,
    FurnitureModel,
    FurniturePackages,
    read_packages,
)
from slade_plugin.data.rendering.furniture_rendering import SceneRenderer, Uploaded
from slade_plugin.data.rendering.furniture_scenes import develop, draw_scene, is_blank
from slade_plugin.data.rendering.wavefront import read_mesh, standing

logger = logging.getLogger(__name__)

SEED = 20221
LABELED = "Scopia"
PEOPLE = "Characters"
"""Category of models that are not classes but may stand beside one."""
ATTEMPTS = 10
"""Maximum number of new draws for a view in which nothing can be seen."""

_PICTURES = 60  # of each library, for walls and floors
_MIN_PICTURE = 128
_RESOURCES = "com/eteks/sweethome3d/io/resources/"
# Of the program's own models, which may stand beside an object: none that belongs in a wall.
_IN_WALLS = ("indow", "oor", "light", "texturable", "Hatch", "blind", "curtains")

UInt8Array = npt.NDArray[np.uint8]


def build(packages: Path, dataset_root: Path, views: int = VIEWS, size: int = SIZE) -> Path:
    """Render the images and store both subsets, unless they exist.

    Args:
        packages: Folder with both Debian packages.
        dataset_root: The host's; files go to ``dataset_root/furniture``.
        views: Images of a class.
        size: Height and width.

    Returns:
        The manifest's path.

    Raises:
        ConfigError: If a number is too small.
        DataError: If moderngl or OpenGL is missing, a package is missing or damaged, or the folder
            is not writable.
        ExperimentError: If the disk is full.
    """
    stem, folder = stem_of(views, size), folder_of(dataset_root)
    renderer = SceneRenderer(size)
    check_writable("Furniture", folder)  # before the work, not after it
    source = read_packages(packages)
    if source.versions != VERSIONS:
        logger.warning(
            "Furniture: these are %s; the published numbers are of %s",
            dict(source.versions),
            dict(VERSIONS),
        )
    facts: dict[str, Any] = {
        "recipe_version": RECIPE_VERSION,
        "seed": SEED,
        "views": views,
        "size": size,
        "packages": {
            name: {"version": source.versions[name], "sha256": source.sha256[name]}
            for name in VERSIONS
        },
        "renderer": renderer.name,
        "versions": {name: importlib.metadata.version(name) for name in ("numpy", "pillow")},
    }
    manifest_path = folder / f"{stem}.json"
    if _holds(manifest_path, facts):
        logger.info("Furniture: %s is complete", manifest_path)
        return manifest_path
    classes = split(source.models)
    people = [model for model in source.models if model.category == PEOPLE]
    prepare(renderer, source, people)
    parts = folder / f".{stem}_{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]}"
    check_writable("Furniture", parts)
    models = [model for subset in SUBSETS for model in classes[subset]]
    images = []
    for number, model in enumerate(
        tqdm(models, desc="Rendering furniture", unit="class", disable=None)
    ):
        part = parts / f"{number}.npy"
        rendered = _finished(part, (views, size, size, 3))
        if rendered is None:
            rendered = render_class(renderer, source, model, views)
            with atomic_write(part) as handle:
                np.save(handle, rendered)
        images.append(rendered)
    entries = {
        subset: [{"name": m.identifier, "images": views, **_attribution(m)} for m in members]
        for subset, members in classes.items()
    }
    facts["beside"] = [{"name": model.identifier, **_attribution(model)} for model in people]
    path = store("Furniture", folder, stem, np.concatenate(images), facts, entries)
    shutil.rmtree(parts)
    return path


def split(models: Sequence[FurnitureModel]) -> dict[str, list[FurnitureModel]]:
    """Return the models of both subsets, each in a seeded random order, without people.

    Raises:
        DataError: If one would be empty.
    """
    things = sorted(
        (model for model in models if model.category != PEOPLE),
        key=lambda model: (crc32(f"{SEED} {model.identifier}".encode()), model.identifier),
    )
    labeled = [model for model in things if model.collection == LABELED]
    pool = [model for model in things if model.collection != LABELED]
    if not labeled or not pool:
        raise DataError(
            f"Furniture: {len(labeled)} labeled and {len(pool)} pool classes; expected some of "
            f"both, out of {VERSIONS}."
        )
    return {"labeled": labeled, "unlabeled": pool}


def prepare(
    renderer: SceneRenderer, source: FurniturePackages, people: Sequence[FurnitureModel]
) -> None:
    """Load what scenes choose from: pictures for walls, and other objects."""
    rng = np.random.default_rng(SEED)
    program = sorted(n for n in source.program.namelist() if n.startswith(_RESOURCES))
    for name in program:
        if name.startswith(f"{_RESOURCES}textures/") and name.endswith(".jpg"):
            renderer.add_texture(Image.open(io.BytesIO(source.program.read(name))))
    # Not of libraries of people only, whose pictures are skin.
    things = {model.collection for model in source.models if model.category != PEOPLE}
    for library in sorted(things):
        archive = source.libraries[library]
        names = sorted(n for n in archive.namelist() if n.lower().endswith(".jpg"))
        for name in rng.permutation(names)[:_PICTURES]:
            picture = Image.open(io.BytesIO(archive.read(name)))
            if min(picture.size) >= _MIN_PICTURE:
                renderer.add_texture(picture)
    for model in people:
        renderer.clutter.append(_upload(renderer, source, model))
    upright = np.eye(3, dtype=np.float32)
    for name in program:
        if name.endswith(".obj") and not any(word in name for word in _IN_WALLS):
            mesh = standing(read_mesh(source.program, name), upright)
            renderer.clutter.append(renderer.upload(mesh))


def render_class(
    renderer: SceneRenderer, source: FurniturePackages, model: FurnitureModel, views: int
) -> UInt8Array:
    """Return random views of a model: (views, size, size, 3)."""
    subject = _upload(renderer, source, model)
    images = [_view(renderer, subject, model.identifier, view) for view in range(views)]
    renderer.release(subject)
    return np.stack(images)


def _view(renderer: SceneRenderer, subject: Uploaded, identifier: str, view: int) -> UInt8Array:
    others = [item.extent for item in renderer.clutter]
    for attempt in range(ATTEMPTS):
        rng = np.random.default_rng([SEED, crc32(identifier.encode()), view, attempt])
        scene = draw_scene(subject.extent, others, len(renderer.textures), rng)
        image = develop(renderer.render(subject, scene), rng)
        if not is_blank(image):
            break
    return image


def _upload(renderer: SceneRenderer, source: FurniturePackages, model: FurnitureModel) -> Uploaded:
    mesh = read_mesh(source.libraries[model.collection], model.path)
    return renderer.upload(standing(mesh, model.rotation))


def _attribution(model: FurnitureModel) -> dict[str, str | None]:
    return {
        "title": model.name,
        "category": model.category,
        "author": model.author,
        "license": LICENSES[model.collection],
        "source": model.source,
    }


def _finished(part: Path, shape: tuple[int, ...]) -> UInt8Array | None:
    """Read the images of a class left by an interrupted build; None if there are none."""
    try:
        images: UInt8Array = np.load(part)
    except (OSError, ValueError, EOFError):
        return None
    return images if images.shape == shape and images.dtype == np.uint8 else None


def _holds(manifest_path: Path, facts: dict[str, Any]) -> bool:
    """Whether a manifest records the same origin of its images."""
    try:
        manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
        return bool(facts.items() <= manifest.items())
    except (OSError, ValueError, AttributeError):
        return False
