"""`slade-bench search`, its page in a real browser, and the same search through ONNX."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from slade_plugin.retrieval.gallery_index import GalleryIndex
from tests.browser import look_at


@pytest.fixture(scope="module")
def index(call, finished, gallery, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("index") / "gallery.index"
    assert call("index", finished, gallery, "--labeled", "--out", out).code == 0
    return out


@pytest.fixture(scope="module")
def queries(gallery) -> list[str]:
    """Ten images, two of each class."""
    return [
        str(path) for folder in sorted(gallery.iterdir()) for path in sorted(folder.glob("*"))[:2]
    ]


@pytest.fixture(scope="module")
def written(call, index, queries) -> Any:
    """What is printed, and the files beside the index."""
    files = [index.with_name(name) for name in ("found.html", "found.json")]
    outcome = call("search", index, *queries, "--top", 6, "--out", files[0], "--out", files[1])
    assert outcome.code == 0, outcome.err
    return outcome.out, *files


@pytest.mark.slow
def test_the_same_ten_lists_through_the_exported_model(
    call, finished, index, queries, written, tmp_path
) -> None:
    model = tmp_path / "model.onnx"
    outcome = call("export-model", finished, "--to", "onnx", "--out", model)
    assert outcome.code == 0, outcome.err
    session = onnxruntime.InferenceSession(model)

    def embed(paths: list[str]) -> np.ndarray:
        pixels = np.stack([np.asarray(Image.open(path), np.float32) / 255 for path in paths])
        return session.run(None, {"images": pixels[:, None]})[0]

    paths = GalleryIndex.load(index).paths
    similarity = embed(queries) @ embed(paths).T
    found = json.loads(written[2].read_text())["queries"]
    assert [item["query"] for item in found] == queries
    for item, row in zip(found, similarity, strict=True):
        order = [paths[place] for place in np.argsort(-row, kind="stable")]
        order.remove(item["query"])
        assert [hit["path"] for hit in item["hits"]] == order[:6]


def test_the_table_names_every_hit(written) -> None:
    lines = written[0].splitlines()
    assert len(lines) == 10 * 7
    assert lines[1].split()[0] == "1"
    assert "class0" in written[0]


@pytest.mark.slow
def test_a_browser_shows_the_page_without_a_network(written, tmp_path) -> None:
    def look(tab: Any) -> Any:
        count = "s => document.querySelectorAll(s).length"
        return tab.inner_text("h1"), tab.evaluate(count, ".asked"), tab.evaluate(count, ".found")

    assert look_at(written[1], look, tmp_path) == ("Search in gallery.index", 10, 60)


def test_a_moved_experiment_is_named_by_a_flag(call, finished, index, queries, tmp_path) -> None:
    (tmp_path / "moved").symlink_to(finished / "student")
    words = ["search", index, queries[0], "--top", 1]
    assert call(*words, "--experiment", tmp_path / "moved").out == call(*words).out


def test_an_experiment_that_is_gone_is_asked_for(call, index, queries, tmp_path) -> None:
    gallery = GalleryIndex.load(index)
    gallery.manifest["model"]["experiment"] = "runs/gone"
    gallery.save(tmp_path / "g.index")
    outcome = call("search", tmp_path / "g.index", queries[0], "--top", 1)
    assert outcome.code == 2
    assert "there is no runs/gone, whose model made" in outcome.err
    assert "--experiment" in outcome.err


def test_an_ensemble_is_found_again(call, finished, gallery, queries, tmp_path) -> None:
    out = tmp_path / "both.index"
    assert call("index", finished, gallery, "--ensemble", "--out", out).code == 0
    outcome = call("search", out, queries[0], "--top", 2)
    assert outcome.code == 0, outcome.err


def test_mistakes_give_exit_code_2_and_write_nothing(
    call, finished, index, queries, tmp_path
) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    good = [index, queries[0]]
    page = tmp_path / "found.html"
    mistakes = {
        (*good, "--top", "41"): "--top is 41; the index holds 40 images",
        (*good, "--top", "0"): "--top is 0",
        (index, tmp_path / "notes.txt"): "notes.txt: it cannot be read as an image",
        (index, tmp_path / "no.jpg"): "there is no query",
        (tmp_path / "notes.txt", queries[0]): "cannot be read as an index",
        (*good, "--out", tmp_path / "found.txt"): "expected a file that ends in",
        (*good, "--experiment", finished / "teacher"): "expected the one that made the index",
        (*good, "--experiment", tmp_path / "gone"): "is not an experiment",
    }
    for words, message in mistakes.items():
        outcome = call("search", *words, "--out", page)
        assert outcome.code == 2, words
        assert message in outcome.err, words
        assert outcome.err.count("\n") == 1
        assert outcome.out == ""
    assert os.listdir(tmp_path) == ["notes.txt"]
