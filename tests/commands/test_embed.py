"""`slade-bench embed`, from the command line to the files."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from slade_plugin.retrieval.embedder import load_embedder


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos") / "all"
    rng = np.random.default_rng(0)
    for number in range(9):
        path = folder / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (32, 32), np.uint8)).save(path)
    return folder


def call(bench: Any, *words: Any) -> Any:
    return bench.run_words([str(word) for word in words])


def test_a_folder_becomes_vectors_and_paths(bench, finished, photos, tmp_path) -> None:
    words = ["embed", finished, photos, "--labeled", "--out", tmp_path / "vectors"]
    outcome = call(bench, *words)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == (
        f"{tmp_path}/vectors.npy: 9 vectors of 16 numbers; paths in {tmp_path}/vectors.csv\n"
    )
    rows = [row.split(",") for row in (tmp_path / "vectors.csv").read_text().splitlines()]
    assert rows[0] == ["path", "label"]
    assert [Path(path).parent.name for path, _ in rows[1:]] == [label for _, label in rows[1:]]
    embedder = load_embedder(finished)
    expected = embedder.embed([path for path, _ in rows[1:]])
    assert np.array_equal(np.load(tmp_path / "vectors.npy"), expected)
    again = call(bench, *words)
    assert (again.code, again.out) == (0, outcome.out)


def test_an_unreadable_image_is_named(bench, finished, photos, tmp_path) -> None:
    listed = tmp_path / "list.txt"
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    listed.write_text(f"{photos / 'a' / '0.png'}\n{bad}\n")
    words = ["embed", finished, listed, "--out", tmp_path / "vectors"]
    outcome = call(bench, *words)
    assert outcome.code == 2
    assert (
        f"1 images cannot be read; expected 0 or fewer (--max_unreadable). {bad}: " in outcome.err
    )
    assert not (tmp_path / "vectors.npy").exists()
    outcome = call(bench, *words, "--max_unreadable", 1)
    assert outcome.code == 0, outcome.err
    assert f"skipped: {bad}: it cannot be read as an image" in outcome.out
    assert "1 vectors of 16" in outcome.out


def test_mistakes_give_exit_code_2_and_no_file(bench, finished, photos, tmp_path) -> None:
    out = tmp_path / "vectors"
    (tmp_path / "empty").mkdir()
    mistakes = {
        (tmp_path / "no_experiment", photos): "is not an experiment",
        (finished / "pseudo_labels", photos): "is not an experiment",
        (finished, tmp_path / "empty"): "has no images",
        (finished, tmp_path / "nothing"): "there is no",
        (finished, photos, "--max_unreadable", "-1"): "--max_unreadable is -1",
        (finished, photos, "--split_scheme", "Other"): "has no split scheme Other",
    }
    for words, message in mistakes.items():
        outcome = call(bench, "embed", *words, "--out", out)
        assert outcome.code == 2, words
        assert message in outcome.err
        assert "--unlabeled" not in outcome.err
        assert outcome.err.count("\n") == 1
    for folder in (".", "..", "/"):
        outcome = call(bench, "embed", tmp_path / "no_experiment", photos, "--out", folder)
        assert outcome.code == 2
        assert f"--out is {folder}; expected the name of files" in outcome.err
    assert os.listdir(tmp_path) == ["empty"]
