"""Build the parts of a report's HTML page, `page.html`: pictures, grids, numbers."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from slade_plugin.base.errors import DataError
from slade_plugin.experiments.report.embedded_split import EmbeddedSplit
from slade_plugin.experiments.report.retrieval import Retrieval
from slade_plugin.experiments.studies.plot import save_png
from slade_plugin.retrieval.pages import data_uri, thumbnail_uri


@dataclass(frozen=True)
class Tile:
    """One image of a grid.

    Attributes:
        source: Data URI.
        title: Its class.
        is_right: Whether it is of the query's class; None for the query.
    """

    source: str
    title: str
    is_right: bool | None = None


def thumbnail(split: EmbeddedSplit, place: int) -> str:
    """Return an image of a split as the data URI of a thumbnail.

    Raises:
        DataError: If the data set does not hold pictures.
    """
    picture = split.picture(place)
    if not isinstance(picture, Image.Image):
        raise DataError(
            f"image {place} is a {type(picture).__name__} without its transform; expected a PIL "
            "image. Data sets without pictures have no retrieval grids: --queries 0."
        )
    return thumbnail_uri(picture)


def figure_uri(figure: Figure) -> str:
    """Return a figure as the data URI of a PNG."""
    buffer = io.BytesIO()
    save_png(figure, buffer)
    return data_uri(buffer.getvalue(), "image/png")


def grid(
    split: EmbeddedSplit,
    retrievals: Mapping[str, Retrieval],
    rows: Sequence[int],
    top: int,
    thumbnails: Callable[[int], str],
) -> list[dict[str, Any]]:
    """Return the retrieval grid of some queries.

    Args:
        split: N images.
        retrievals: Title of a model to what it retrieves; all for the same queries.
        rows: Rows of the queries in the retrievals.
        top: Nearest images per query.
        thumbnails: Place of an image in the split to its `thumbnail`.

    Returns:
        For each query its tile and, for each model, title, score in percent and tiles.
    """
    found = []
    for row in rows:
        query = int(next(iter(retrievals.values())).queries[row])
        models = []
        for title, retrieval in retrievals.items():
            tiles = [
                Tile(
                    thumbnails(int(place)),
                    split.class_name(int(place)),
                    bool(split.labels[place] == split.labels[query]),
                )
                for place in retrieval.neighbors[row, :top]
            ]
            score = 100 * float(retrieval.average_precision[row])
            models.append({"title": title, "score": score, "tiles": tiles})
        tile = Tile(thumbnails(query), split.class_name(query))
        found.append({"query": tile, "models": models})
    return found


def summarize(retrievals: Mapping[str, Retrieval]) -> dict[str, Any]:
    """Return MAP@R of each model, in percent, and how many queries changed."""
    scores = [retrieval.average_precision for retrieval in retrievals.values()]
    facts: dict[str, Any] = {
        "map_at_r": {
            title: 100 * float(np.nanmean(score))
            for title, score in zip(retrievals, scores, strict=True)
        },
        "queries": int((~np.isnan(scores[0])).sum()),
    }
    if len(scores) == 2:
        gain = scores[1] - scores[0]
        facts |= {"better": int((gain > 0).sum()), "worse": int((gain < 0).sum())}
    return facts
