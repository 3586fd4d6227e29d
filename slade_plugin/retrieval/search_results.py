"""Show the results of a search as a table, as JSON or as an HTML page with pictures."""

import functools
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from slade_plugin.base.errors import DataError, RetrievalError
from slade_plugin.data.files.image_decoding import read_rgb
from slade_plugin.data.files.image_tree import read_image_tree
from slade_plugin.retrieval.embedder import Embedder
from slade_plugin.retrieval.gallery_index import GalleryIndex, Hit
from slade_plugin.retrieval.pages import SIDE, render_page, thumbnail_uri
from slade_plugin.retrieval.vectors import check_name

SCORES = {"cosine": "cosine similarity", "euclidean": "Euclidean distance"}


@dataclass(frozen=True)
class Found:
    """The results of one query.

    Attributes:
        query: The path of the query.
        hits: Nearest first.
    """

    query: str
    hits: list[Hit]


def query_paths(queries: Sequence[Path]) -> list[str]:
    """Return the query images: files, and all images below folders.

    Raises:
        RetrievalError: If a query does not exist.
        DataError: If a folder holds no image, or `check_name` refuses a name.
    """
    found = []
    for query in queries:
        if query.is_dir():
            tree = read_image_tree(query)
            found += [str(tree.path(index)) for index in range(len(tree))]
        elif query.exists():
            found.append(str(query))
        else:
            raise RetrievalError(f"there is no query {query}; expected an image file or a folder.")
    for path in found:
        check_name(path)
    return found


def search_images(
    index: GalleryIndex, embedder: Embedder, queries: Sequence[str], top: int
) -> list[Found]:
    """Search an index with images; an image never finds its own file.

    Args:
        index: The index of the gallery.
        embedder: The model that made it.
        queries: Paths of images.
        top: Images per query.

    Raises:
        SladeError: If the model differs, a query is not an image, or `top` is out of range.
    """
    index.check_model(embedder.record, "the experiment")
    index.check_top(top)  # before the work
    vectors = embedder.embed(queries)
    hits = index.search(vectors, top, queries)
    return [Found(query, found) for query, found in zip(queries, hits, strict=True)]


def results_table(results: Sequence[Found]) -> str:
    """Return rank, score, label and path of each hit below its query."""
    lines = []
    for found in results:
        width = max((len(hit.label or "") for hit in found.hits), default=0)
        lines.append(found.query)
        for rank, hit in enumerate(found.hits, 1):
            label = f"{hit.label or '':{width}}  " if width else ""
            lines.append(f"  {rank:3}  {hit.score:6.3f}  {label}{short_path(hit.path)}")
    return "\n".join(lines) + "\n"


def results_json(results: Sequence[Found], index: GalleryIndex) -> str:
    """Return all results and the model as JSON."""
    content = {
        "metric": index.manifest["metric"],
        "model": index.manifest["model"],
        "images": len(index),
        "queries": [
            {"query": found.query, "hits": [asdict(hit) for hit in found.hits]} for found in results
        ],
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def results_page(results: Sequence[Found], index: GalleryIndex, title: str) -> str:
    """Return an HTML page with embedded pictures.

    Args:
        results: The results of all queries.
        index: The searched index.
        title: Heading of the page.
    """
    value_range = index.manifest["model"]["value_range"]
    picture = functools.cache(functools.partial(_thumbnail, value_range=value_range))
    queries = [
        {
            "name": found.query,
            "source": picture(found.query),
            "hits": [
                {
                    "name": short_path(hit.path),
                    "label": hit.label,
                    "score": f"{hit.score:.3f}",
                    "source": picture(hit.path),
                }
                for hit in found.hits
            ],
        }
        for found in results
    ]
    model = index.manifest["model"]
    recall = index.manifest["recall"]
    origin: dict[str, Any] = {
        "experiment": model["experiment"],
        "split schemes": ", ".join(model["split_schemes"]),
        "model": model["sha256"],
        "index": index.manifest["factory"],
        "recall against exact search": "exact"
        if recall is None
        else f"{recall['recall']:.3f} at {recall['at']}, measured with "
        f"{recall.get('images', 'the first')} images",
        "slade-plugin": model["slade_plugin"],
    }
    return render_page(
        "retrieval/search_page.html",
        title=title,
        images=len(index),
        score_name=SCORES[index.manifest["metric"]],
        queries=queries,
        origin=origin,
    )


def short_path(path: str) -> str:
    """Return a path relative to the current folder if it is below it."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative


def _thumbnail(path: str, value_range: Sequence[float] | None) -> str | None:
    try:
        return thumbnail_uri(read_rgb(path, value_range=value_range, short_side=SIDE))
    except DataError:  # moved since the gallery was indexed
        return None
