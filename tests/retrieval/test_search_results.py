import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slade_plugin.base.errors import ConfigError, DataError, RetrievalError
from slade_plugin.retrieval.embedder import load_embedder
from slade_plugin.retrieval.gallery_index import GalleryIndex
from slade_plugin.retrieval.search_results import (
    query_paths,
    results_json,
    results_page,
    results_table,
    search_images,
)
from slade_plugin.retrieval.vectors import embed_images, list_images


@pytest.fixture(scope="module")
def folder(trained, tmp_path_factory) -> Path:
    """A copy, so that pictures may be removed from it."""
    return shutil.copytree(trained.folder, tmp_path_factory.mktemp("copy") / "gallery")


@pytest.fixture(scope="module")
def index(embedder, folder, tmp_path_factory) -> GalleryIndex:
    out = tmp_path_factory.mktemp("vectors") / "vectors"
    return GalleryIndex.build(embed_images(embedder, list_images(folder, labeled=True), out))


@pytest.fixture(scope="module")
def results(index, embedder) -> Any:
    return search_images(index, embedder, index.paths[:12:4], top=5)


def test_the_hits_are_the_nearest_other_images(index, embedder, results) -> None:
    vectors = embedder.embed(index.paths)
    for found, place in zip(results, (0, 4, 8), strict=True):
        assert found.query == index.paths[place]
        similarity = vectors @ vectors[place]
        similarity[place] = -np.inf
        best = np.argsort(-similarity, kind="stable")[:5]
        assert [hit.path for hit in found.hits] == [index.paths[i] for i in best]
        assert [hit.score for hit in found.hits] == pytest.approx(similarity[best], abs=1e-5)


def test_a_folder_is_all_images_in_it(folder) -> None:
    first, second = sorted(folder.iterdir())[:2]
    image = next(second.iterdir())
    assert query_paths([first, image]) == [*sorted(map(str, first.iterdir())), str(image)]


def test_queries_that_do_not_fit_are_named(index, embedder, trained, tmp_path) -> None:
    with pytest.raises(RetrievalError, match=r"there is no query .*nowhere.jpg"):
        query_paths([tmp_path / "nowhere.jpg"])
    with pytest.raises(DataError, match="has no images"):
        query_paths([tmp_path])
    odd = tmp_path / os.fsdecode(b"caf\xe9.jpg")
    odd.touch()
    with pytest.raises(DataError, match="is not UTF-8"):
        query_paths([odd])
    odd.unlink()
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(RetrievalError, match=r"notes.txt: it cannot be read as an image"):
        search_images(index, embedder, query_paths([tmp_path / "notes.txt"]), 3)
    with pytest.raises(ConfigError, match="--top is 10000"):
        search_images(index, embedder, ["not even looked at"], 10000)
    other = load_embedder(trained.experiment, "Test50_50_Partitions2_1")
    with pytest.raises(RetrievalError, match="expected the one that made the index"):
        search_images(index, other, ["not even looked at"], 3)


def test_the_table_and_the_json_say_the_same(index, results, folder, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    lines = results_table(results).splitlines()
    content = json.loads(results_json(results, index))
    assert len(lines) == 3 * 6
    assert content["metric"] == "cosine"
    assert content["model"]["sha256"] == index.manifest["model"]["sha256"]
    for start, query in zip(range(0, 18, 6), content["queries"], strict=True):
        assert lines[start] == query["query"]
        for rank, (line, hit) in enumerate(
            zip(lines[start + 1 : start + 6], query["hits"], strict=True), 1
        ):
            path = os.path.relpath(hit["path"], folder)
            assert line.split() == [str(rank), f"{hit['score']:.3f}", hit["label"], path]


def test_the_page_has_every_picture_and_names_those_that_are_gone(index, results, folder) -> None:
    page = results_page(results, index, "A <title>")
    assert page.count("<img") == 3 * 6
    assert page.count("data:image/png") == 3 * 6
    assert "A &lt;title&gt;" in page
    assert "exact" in page
    index.manifest["recall"] = {"recall": 0.95, "at": 10, "queries": 40, "images": 40}
    page_of_another = results_page(results, index, "title")
    index.manifest["recall"] = None
    assert "0.950 at 10, measured with 40 images" in page_of_another
    gone = Path(results[0].hits[0].path)
    gone.rename(gone.with_suffix(".gone"))
    page = results_page(results, index, "title")
    gone.with_suffix(".gone").rename(gone)
    missing = sum(hit.path == str(gone) for found in results for hit in found.hits)
    assert page.count("<img") == 3 * 6 - missing
    assert page.count(f"{gone} cannot be read any more") == missing
