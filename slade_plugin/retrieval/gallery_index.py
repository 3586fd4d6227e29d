"""A faiss index of a gallery, with its images and its model in one file.

The file is an uncompressed zip archive:

    manifest.json    the model, the kind of index, the metric, the measured recall
    images.csv       path and label of each image, in the order of their numbers in the index
    vectors.faiss    the index, as faiss.write_index writes it
"""

import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from slade_plugin.base.errors import ConfigError, RetrievalError
from slade_plugin.base.files import atomic_write
from slade_plugin.retrieval.vectors import VectorFile, format_paths, name_of_model, parse_paths

EXACT = "Flat"
RECALL_AT = 10

_faiss: Any = faiss  # its stubs lack the parts written in Python

_MANIFEST, _IMAGES, _VECTORS = "manifest.json", "images.csv", "vectors.faiss"
_METRICS = {"cosine": faiss.METRIC_INNER_PRODUCT, "euclidean": faiss.METRIC_L2}
_CHUNK = 1 << 16  # vectors read from disk at a time
_TRAINING = 1 << 18  # at most, for training quantizers
_SAMPLE = 1000  # queries for measuring recall
_SEED = 0


@dataclass(frozen=True)
class Hit:
    """One result of a search.

    Attributes:
        path: Its file.
        label: Its class, or None.
        score: Cosine similarity (larger = closer), or Euclidean distance if vectors do not have
            unit length (smaller = closer).
    """

    path: str
    label: str | None
    score: float


class GalleryIndex:
    """A searchable gallery of images.

    Attributes:
        index: The faiss index.
        paths: N absolute paths.
        labels: N class names, "" for an image without one, or None if no image has one.
        manifest: `model`, `metric`, `factory`, `parameters`, and `recall` as it was built.
    """

    def __init__(
        self,
        index: Any,
        paths: list[str],
        labels: list[str] | None,
        manifest: dict[str, Any],
    ) -> None:
        self.index, self.paths, self.labels, self.manifest = index, paths, labels, manifest

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.paths)

    @classmethod
    def build(
        cls, gallery: VectorFile, factory: str = EXACT, parameters: str = ""
    ) -> "GalleryIndex":
        """Build an index from vectors.

        Args:
            gallery: N images; a file that is listed twice counts once.
            factory: A string of faiss.index_factory, such as "HNSW32" or "IVF4096,PQ64". "Flat"
                searches exactly.
            parameters: How an approximate index is searched, such as "nprobe=16" or "efSearch=64".

        Raises:
            RetrievalError: If faiss cannot build such an index, e.g. from too few images.
        """
        metric = gallery.record["metric"]
        number, size = gallery.vectors.shape
        try:
            index = faiss.index_factory(size, factory, _METRICS[metric])
            if not index.is_trained:
                index.train(np.ascontiguousarray(gallery.vectors[_sample(number, _TRAINING)]))
            if parameters:
                _faiss.ParameterSpace().set_index_parameters(index, parameters)
        except RuntimeError as error:
            raise _cannot_build(factory, parameters, gallery, error) from error
        manifest = {
            "format": 1,
            "model": gallery.record["model"],
            "metric": metric,
            "factory": factory,
            "parameters": parameters,
            "recall": None,
        }
        made = cls(index, [], None, manifest)
        rows = made._append(gallery)
        if factory != EXACT:
            manifest["recall"] = made.measure_recall(
                gallery.vectors if len(rows) == number else gallery.vectors[rows]
            )
        return made

    def check_model(self, model: Mapping[str, Any], what: str) -> None:
        """Check that vectors come from the model that made the index.

        Args:
            model: `Embedder.record`, or the record of a file of vectors.
            what: Its owner, for the message.

        Raises:
            RetrievalError: If the models differ.
        """
        own = self.manifest["model"]
        if model["sha256"] != own["sha256"]:
            raise RetrievalError(
                f"{what} comes from model {name_of_model(model)}; expected the one that made the "
                f"index, {name_of_model(own)}, since vectors of two models cannot be compared. "
                "Index the gallery again, or name the right experiment."
            )

    def add(self, gallery: VectorFile) -> int:
        """Add images that are not in the index yet, without rebuilding it.

        Args:
            gallery: Images embedded by the same model.

        Returns:
            The number of added images.

        Raises:
            RetrievalError: If they come from another model, or the index takes no more images.
        """
        self.check_model(gallery.record["model"], "the file of vectors")
        return len(self._append(gallery))

    def _append(self, gallery: VectorFile) -> npt.NDArray[np.int64]:
        """Append the images whose files are not in the index yet; return their rows."""
        known = {os.path.realpath(path): -1 for path in self.paths}
        places = [known.setdefault(os.path.realpath(p), i) for i, p in enumerate(gallery.paths)]
        rows = np.flatnonzero(np.array(places) == np.arange(len(places)))
        try:
            for start in range(0, len(rows), _CHUNK):
                chunk = rows[start : start + _CHUNK]
                self.index.add(np.ascontiguousarray(gallery.vectors[chunk]))
        except RuntimeError as error:  # some kinds take too few images, or no more, or none
            made = self.manifest["factory"], self.manifest["parameters"]
            raise _cannot_build(*made, gallery, error) from error
        if self.labels is not None or gallery.labels is not None:
            before = self.labels or [""] * len(self.paths)
            labels = gallery.labels or [""] * len(gallery.paths)
            self.labels = [*before, *(labels[i] for i in rows)]
        self.paths = [*self.paths, *(gallery.paths[i] for i in rows)]
        return rows

    def check_top(self, top: int) -> None:
        """Check the number of images per query.

        Raises:
            ConfigError: If it is below 1 or above the size of the index.
        """
        if not 1 <= top <= len(self):
            raise ConfigError(
                f"--top is {top}; the index holds {len(self)} images, so expected 1 to {len(self)}."
            )

    def search(
        self, queries: npt.NDArray[np.float32], top: int, own: Sequence[str | None] = ()
    ) -> list[list[Hit]]:
        """Find the nearest images.

        Args:
            queries: (Q, D) float32, from the index's model.
            top: Images per query, at least 1.
            own: The path of each query; its file is left out, also if a link leads to it.

        Returns:
            Q lists of `top` hits, nearest first; fewer if an approximate index finds fewer, or if
            only the query itself is left.

        Raises:
            ConfigError: If `top` is out of range.
        """
        self.check_top(top)
        scores, places = self.index.search(queries, min(top + bool(own), len(self)))
        if self.manifest["metric"] == "euclidean":
            scores = np.sqrt(np.maximum(scores, 0))  # faiss returns squares
        found = []
        for row, (query_scores, query_places) in enumerate(zip(scores, places, strict=True)):
            itself = own[row] if own else None
            itself = itself and os.path.realpath(itself)
            hits = [
                Hit(self.paths[place], self.labels[place] if self.labels else None, float(score))
                for score, place in zip(query_scores, query_places, strict=True)
                if place >= 0 and (itself is None or os.path.realpath(self.paths[place]) != itself)
            ]
            found.append(hits[:top])
        return found

    def measure_recall(self, vectors: npt.NDArray[np.float32]) -> dict[str, float]:
        """Compare the index with exact search.

        Args:
            vectors: (N, D), the vectors in the index; a sample of them serves as queries, which do
                not find themselves.

        Returns:
            `recall`, 0 to 1: the share of the exact nearest images that the index finds among its
            nearest, `at` images a query; `queries`, the number of queries; `images`, N.
        """
        rows = _sample(len(vectors), _SAMPLE)
        queries = np.ascontiguousarray(vectors[rows])
        k = min(RECALL_AT + 1, len(vectors))
        exact = faiss.index_factory(vectors.shape[1], EXACT, _METRICS[self.manifest["metric"]])
        heap = faiss.ResultHeap(
            len(queries), k, keep_max=self.manifest["metric"] == "cosine"
        )  # only one chunk at a time is in memory
        for start in range(0, len(vectors), _CHUNK):
            exact.reset()
            exact.add(np.ascontiguousarray(vectors[start : start + _CHUNK]))
            scores, places = exact.search(queries, min(k, exact.ntotal))
            heap.add_result(scores, places + start)
        heap.finalize()
        _, found = self.index.search(queries, k)
        at = k - 1
        missed = 0
        for row, nearest, places in zip(rows, heap.I, found, strict=True):
            others, hits = nearest[nearest != row][:at], places[places != row][:at]
            missed += len(np.setdiff1d(others, hits))
        recall = 1 - missed / max(at * len(rows), 1)
        return {"recall": recall, "at": at, "queries": len(rows), "images": len(vectors)}

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all.

        Raises:
            ExperimentError: If it cannot be written.
        """
        images = format_paths(self.paths, self.labels)
        with atomic_write(path) as file, zipfile.ZipFile(file, "w") as archive:
            text = json.dumps({**self.manifest, "images": len(self)}, indent=2) + "\n"
            # ZipInfo has a fixed time, so that the same index gives the same bytes.
            archive.writestr(zipfile.ZipInfo(_MANIFEST), text)
            archive.writestr(zipfile.ZipInfo(_IMAGES), images)
            with archive.open(zipfile.ZipInfo(_VECTORS), "w", force_zip64=True) as member:
                _faiss.write_index(self.index, _faiss.PyCallbackIOWriter(member.write))

    @classmethod
    def load(cls, path: Path) -> "GalleryIndex":
        """Read the file.

        Raises:
            RetrievalError: If it is missing, damaged or not an index.
        """
        try:
            with zipfile.ZipFile(path) as archive:
                manifest = json.loads(archive.read(_MANIFEST))
                paths, labels = parse_paths(archive.read(_IMAGES).decode("utf-8"))
                with archive.open(_VECTORS) as member:
                    index = _faiss.read_index(_faiss.PyCallbackIOReader(member.read))
                    member.read()  # to the end, which checks the checksum
            if manifest["parameters"]:  # faiss does not save all of them, e.g. max_codes
                _faiss.ParameterSpace().set_index_parameters(index, manifest["parameters"])
            whole = len(paths) == index.ntotal == manifest["images"]
        except (OSError, zipfile.BadZipFile, LookupError, ValueError, RuntimeError) as error:
            raise RetrievalError(
                f"{path} cannot be read as an index: {_reason(error)}; expected a file that "
                "slade-bench index wrote."
            ) from error
        if not whole:
            raise RetrievalError(
                f"{path} holds {index.ntotal} vectors and {len(paths)} paths; expected "
                f"{manifest['images']} of each. Index the gallery again."
            )
        return cls(index, paths, labels, manifest)


def _cannot_build(
    factory: str, parameters: str, gallery: VectorFile, error: RuntimeError
) -> RetrievalError:
    number, size = gallery.vectors.shape
    return RetrievalError(
        f"faiss cannot build {factory!r} {f'with {parameters!r} ' if parameters else ''}"
        f"from {number} vectors of {size} numbers: {_reason(error)}. Expected a string "
        "of faiss.index_factory that fits them, such as Flat or HNSW32 (--factory), and "
        "its parameters, such as efSearch=64 (--parameters)."
    )


def _sample(number: int, most: int) -> npt.NDArray[np.int64]:
    """Draw at most `most` of `number` rows with a fixed seed, sorted."""
    if number <= most:
        return np.arange(number)
    return np.sort(np.random.default_rng(_SEED).choice(number, most, replace=False))


def _reason(error: Exception) -> str:
    """Return the message, without the file's name and the location in faiss."""
    text = (error.strerror if isinstance(error, OSError) else None) or str(error).strip()
    if isinstance(error, RuntimeError):  # of faiss
        text = text.rsplit(": ", 1)[-1]
    return text or type(error).__name__
