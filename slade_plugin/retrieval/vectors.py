"""Store vectors of many images in files: written batch by batch, resumable, memory-mapped.

    NAME.npy     (N, D) float32; written last, so if it exists, the others are complete
    NAME.csv     path, and label if there are any; row i belongs to vector i
    NAME.json    the model, the list of images, unreadable images

Unfinished work is in ``.NAME.npy.part``; ``.NAME.progress.json`` counts its finished images.
"""

import csv
import hashlib
import io
import json
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from slade_plugin.base.csv_text import csv_text
from slade_plugin.base.errors import ConfigError, DataError, ExperimentError, RetrievalError
from slade_plugin.base.files import atomic_write, write_json
from slade_plugin.base.locks import is_file_of, lock_file
from slade_plugin.data.datasets import FolderImages
from slade_plugin.data.files.image_list import ImageList
from slade_plugin.data.files.image_tree import UNLABELED, check_exists
from slade_plugin.retrieval.embedder import Embedder

logger = logging.getLogger(__name__)

_SAVE_EVERY = 5.0  # seconds of work that a power failure may cost
_SHOWN = 3  # unreadable images in one message
_UNWRITABLE = re.compile("[\r\ud800-\udfff]")  # in a CSV: carriage returns, bytes beyond UTF-8


@dataclass(frozen=True)
class VectorFile:
    """Vectors on disk and the images they belong to.

    Attributes:
        vectors: (N, D) float32, memory-mapped.
        paths: N absolute paths.
        labels: N class names, or None.
        record: `model`, `metric`, `images`, `unreadable` and `key`.
    """

    vectors: npt.NDArray[np.float32]
    paths: list[str]
    labels: list[str] | None
    record: dict[str, Any]

    def check_model(self, model: Mapping[str, Any]) -> None:
        """Check that the vectors come from a model.

        Args:
            model: `Embedder.record`.

        Raises:
            RetrievalError: If they come from a different one.
        """
        own = self.record["model"]
        if own["sha256"] != model["sha256"]:
            raise RetrievalError(
                f"the vectors come from the model {name_of_model(own)}; expected those of "
                f"{name_of_model(model)}. Embed the images again."
            )


def list_images(path: Path, labeled: bool, least_classes: int = 1) -> ImageList:
    """List images as --labeled and --unlabeled do, without opening them.

    Args:
        path: A folder, a CSV file of path,label or a text file with one path per line.
        labeled: Whether the folders of a tree are classes. A ``.csv`` file is always labeled.
        least_classes: The smallest valid number of classes.

    Raises:
        DataError: If there are no images or too few classes, the list cannot be read, or
            `check_name` refuses a name.
    """
    labeled = labeled or path.suffix.lower() == ".csv"
    place = os.path.abspath(path)
    check_name(place)
    check_exists(Path(place))  # first, since `find` names flags of training
    options = {"labeled": labeled, "least_classes": least_classes}
    images = FolderImages.find(Path(), path=place, **options)
    for name in (*images.paths.tolist(), *images.class_names):
        check_name(name)
    return images


def check_name(name: str) -> None:
    """Check that a path or a class name can be written to the files.

    Raises:
        DataError: If it is not UTF-8 or holds a carriage return.
    """
    if _UNWRITABLE.search(name):
        raise DataError(
            f"{name!a} is not UTF-8 or holds a carriage return; expected UTF-8 without one. "
            "Rename it, for example with convmv."
        )


def class_names_of(images: ImageList) -> list[str] | None:
    """Return the class name of each image, or None if the list has no labels."""
    if images.class_names == [UNLABELED]:
        return None
    return [images.class_names[label] for label in images.labels]


def embed_images(
    embedder: Embedder,
    images: ImageList,
    out: Path,
    batch_size: int | None = None,
    num_workers: int = 0,
    max_unreadable: int = 0,
) -> VectorFile:
    """Embed images into files, with memory for one batch and the list of images.

    After an interruption, the same call resumes and ends in the same bytes. If all files exist,
    nothing is done.

    Args:
        embedder: The model.
        images: The result of `list_images`.
        out: The name of the files, with or without ``.npy``.
        batch_size: As in `Embedder.embed`.
        num_workers: As in `Embedder.embed`.
        max_unreadable: How many unreadable images may be left out.

    Raises:
        RetrievalError: If more images are unreadable, the files hold other vectors, or another
            process writes them.
        ConfigError: If the folder cannot be written, or a file of that name exists.
        ExperimentError: If a file cannot be written.
    """
    stem = out.with_suffix("") if out.suffix == ".npy" else out
    key = {
        "model_sha256": embedder.sha256,
        "images_sha256": images.fingerprint,
        "modified": hashlib.sha256(images.modified.tobytes()).hexdigest(),
        "root": os.path.abspath(images.root),
        "batch_size": batch_size or embedder.batch_size,
    }
    if _beside(stem, ".npy").exists():
        found = open_vectors(stem)
        if found.record["key"] != key:
            raise RetrievalError(
                f"{stem}.npy holds vectors of another model or other images, or made with "
                "another --batch_size; expected a new name. Change --out, or remove the file."
            )
        return found
    if not os.access(stem.absolute().parent, os.W_OK):
        raise ConfigError(
            f"--out {stem} cannot be written; expected a writable folder {stem.absolute().parent}."
        )
    work = _Work(stem, key, embedder, images, max_unreadable)
    taken = [path for suffix in (".csv", ".json") if (path := _beside(stem, suffix)).exists()]
    if taken and not work.done:  # may be a file of the user, such as the list of images
        raise ConfigError(f"{taken[0]} exists; expected a new name. Change --out.")
    paths = [os.path.abspath(images.path(index)) for index in range(len(images))]
    with work.opened() as file:
        work.run(file, paths, batch_size, num_workers)
        work.finish(paths, class_names_of(images))
    return open_vectors(stem)


def open_vectors(path: Path) -> VectorFile:
    """Open the files of `embed_images`.

    Args:
        path: The name of the files, with or without ``.npy``.

    Raises:
        RetrievalError: If a file is missing or damaged.
    """
    stem = path.with_suffix("") if path.suffix == ".npy" else path
    try:
        vectors = np.load(_beside(stem, ".npy"), mmap_mode="r", allow_pickle=False)
        record = json.loads(_beside(stem, ".json").read_text(encoding="utf-8"))
        paths, labels = parse_paths(_beside(stem, ".csv").read_text(encoding="utf-8"))
        whole = len(vectors) == len(paths) == record["images"] and vectors.ndim == 2
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise RetrievalError(
            f"{stem}.npy, .csv and .json cannot be read: {error}; expected what slade-bench embed "
            "wrote. Embed the images again."
        ) from error
    if not whole:
        raise RetrievalError(
            f"{stem}.npy holds {len(vectors)} vectors and {stem}.csv {len(paths)} paths; expected "
            f"{record['images']} of each. Embed the images again."
        )
    return VectorFile(vectors, paths, labels, record)


def remove_vectors(stem: Path) -> None:
    """Remove the files of `embed_images`, the vectors first."""
    for suffix in (".npy", ".csv", ".json"):
        _beside(stem, suffix).unlink(missing_ok=True)


def name_of_model(model: Mapping[str, Any]) -> str:
    """Return the name of a model for messages.

    Args:
        model: `Embedder.record`.
    """
    return f"{model['experiment']} ({', '.join(model['split_schemes'])})"


def format_paths(paths: Sequence[str], labels: Sequence[str] | None) -> str:
    """Return a CSV of path and, if there are labels, label."""
    if labels is None:
        return csv_text(["path"], [[path] for path in paths])
    return csv_text(["path", "label"], zip(paths, labels, strict=True))


def parse_paths(text: str) -> tuple[list[str], list[str] | None]:
    """Return paths and labels of the CSV of `format_paths`."""
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    labels = [row[1] for row in rows] if header == ["path", "label"] else None
    return [row[0] for row in rows], labels


class _Work:
    """The unfinished files."""

    def __init__(
        self, stem: Path, key: dict[str, Any], embedder: Embedder, images: ImageList, limit: int
    ) -> None:
        self.stem, self.key, self.embedder, self.limit = stem, key, embedder, limit
        self.total = len(images)
        self.part = stem.with_name(f".{stem.name}.npy.part")
        self.progress = stem.with_name(f".{stem.name}.progress.json")
        self._state: tuple[int, dict[int, str]] = 0, {}
        with suppress(OSError, ValueError, LookupError):
            state = json.loads(self.progress.read_text(encoding="utf-8"))
            if state["key"] != key:
                logger.warning(
                    "%s.npy is embedded from the start: its %d finished images come from another "
                    "model, other images or another batch size.",
                    *(stem, state["done"]),
                )
            elif self.part.is_file():
                unreadable = {int(place): text for place, text in state["unreadable"].items()}
                self._state = state["done"], unreadable

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """Open the unfinished vectors for this process alone.

        Raises:
            RetrievalError: If another process writes them.
            ExperimentError: If a file cannot be written.
        """
        try:
            if not self.done:
                self.part.touch()
            with open(self.part, "r+b") as file:
                if not (lock_file(file, self.part) and is_file_of(file, self.part)):
                    raise RetrievalError(
                        f"{self.stem}.npy is being written by another process; expected one at a "
                        "time. Wait until it has finished, or change --out."
                    )
                yield file
        except OSError as error:
            raise ExperimentError(
                f"{self.part} cannot be written: {error.strerror or error}; expected free space "
                "and permission to write. Fix this, then rerun the same command to resume."
            ) from error

    def run(
        self, file: BinaryIO, paths: Sequence[str], batch_size: int | None, num_workers: int
    ) -> None:
        """Embed the remaining images.

        Raises:
            RetrievalError: If too many images cannot be read.
        """
        self._write_header(file)
        file.seek(self._rows * 4 * self.embedder.embedding_size, os.SEEK_CUR)
        file.truncate()
        try:
            self._append(file, paths, batch_size, num_workers)
        except (KeyboardInterrupt, RetrievalError):
            self._save(file)
            raise
        file.seek(0)
        self._write_header(file)  # now with the final number of rows
        self._save(file)

    def _append(
        self, file: BinaryIO, paths: Sequence[str], batch_size: int | None, num_workers: int
    ) -> None:
        saved = time.monotonic()
        for batch in self.embedder.batches(
            paths, batch_size, num_workers, self.done, progress="embedding"
        ):
            unreadable = self.unreadable | batch.unreadable
            self._check_limit(unreadable)
            file.write(batch.vectors.tobytes())
            # One assignment, so that an interruption leaves both or neither.
            self._state = self.done + batch.size, unreadable
            if time.monotonic() - saved > _SAVE_EVERY:
                self._save(file)
                saved = time.monotonic()

    def finish(self, paths: Sequence[str], labels: Sequence[str] | None) -> None:
        """Put the files in place, the vectors last."""
        kept = [place for place in range(self.total) if place not in self.unreadable]
        if not kept:
            raise RetrievalError(
                f"none of the {self.total} images can be read, for example {paths[0]}; expected at "
                "least one."
            )
        text = format_paths(
            [paths[place] for place in kept], labels and [labels[place] for place in kept]
        )
        with atomic_write(_beside(self.stem, ".csv")) as file:
            file.write(text.encode("utf-8"))
        record = {
            "images": len(kept),
            "unreadable": {paths[place]: text for place, text in self.unreadable.items()},
            "metric": self.embedder.metric,
            "key": self.key,
            "model": self.embedder.record,
        }
        write_json(_beside(self.stem, ".json"), record)
        os.replace(self.part, _beside(self.stem, ".npy"))
        self.progress.unlink(missing_ok=True)

    @property
    def done(self) -> int:
        """Number of images that are embedded or left out."""
        return self._state[0]

    @property
    def unreadable(self) -> dict[int, str]:
        """Place of each image that is left out, with the reason."""
        return self._state[1]

    @property
    def _rows(self) -> int:
        return self.done - len(self.unreadable)

    def _write_header(self, file: BinaryIO) -> None:
        shape = (self._rows, self.embedder.embedding_size)
        # Of the same length for any number of rows: numpy pads it.
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<f4", "fortran_order": False, "shape": shape}
        )

    def _save(self, file: BinaryIO) -> None:
        file.flush()
        os.fsync(file.fileno())
        unreadable = {str(place): text for place, text in self.unreadable.items()}
        write_json(self.progress, {"key": self.key, "done": self.done, "unreadable": unreadable})

    def _check_limit(self, unreadable: dict[int, str]) -> None:
        if len(unreadable) > self.limit:
            shown = " ".join(list(unreadable.values())[-_SHOWN:])
            raise RetrievalError(
                f"{len(unreadable)} images cannot be read; expected {self.limit} or fewer "
                f"(--max_unreadable). {shown} Raise --max_unreadable to resume. If you replace "
                "or remove them, all images are embedded again."
            )


def _beside(stem: Path, suffix: str) -> Path:
    return stem.with_name(stem.name + suffix)
