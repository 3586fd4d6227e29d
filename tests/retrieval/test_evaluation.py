import copy
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slade_plugin.base.errors import DataError, RetrievalError
from slade_plugin.host.accuracy_calculators import RecallAtKCalculator
from slade_plugin.retrieval.evaluation import evaluate_images


def test_scores_are_bit_for_bit_those_on_record(trained, embedder) -> None:
    """The same images as files get the scores that the run wrote for its test split."""
    scheme = trained.experiment / embedder.record["split_schemes"][0]
    with closing(sqlite3.connect(scheme / "saved_csvs" / "logs.db")) as database:
        names = database.execute("SELECT name FROM sqlite_master").fetchall()
        (table,) = {n for (n,) in names if n.startswith("acc") and n.endswith("_TEST")}
        columns = "mean_average_precision_at_r_level0, r_precision_level0, precision_at_1_level0"
        query = f'SELECT {columns} FROM "{table}" ORDER BY id DESC'
        recorded = database.execute(query).fetchone()
    scores = evaluate_images(embedder, trained.folder, ks=(1, 3))
    assert list(scores) == ["MAP@R", "RP", "P@1", "R@1", "R@3"]
    assert [scores["MAP@R"], scores["RP"], scores["P@1"]] == [100 * value for value in recorded]
    assert scores["R@1"] == scores["P@1"]
    vectors = embedder.embed(trained.paths)
    labels = np.array([Path(path).parent.name for path in trained.paths])
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -np.inf)
    nearest = np.argsort(-similarity, axis=1)[:, :3]
    expected = 100 * (labels[nearest] == labels[:, None]).any(axis=1).mean()
    assert scores["R@3"] == pytest.approx(expected)


def test_large_photographs_are_decoded_as_embed_decodes_them(
    embedder, tmp_path, monkeypatch
) -> None:
    small = copy.deepcopy(embedder)
    small.short_side = 32
    rng = np.random.default_rng(0)
    for number in range(4):
        path = tmp_path / f"class{number // 2}" / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        pixels = Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8))
        pixels.resize((256, 256)).save(path)  # decoded at half its size
    seen = []
    original = RecallAtKCalculator.get_accuracy
    monkeypatch.setattr(
        RecallAtKCalculator,
        "get_accuracy",
        lambda self, *args: seen.append(args[0]) or original(self, *args),
    )
    evaluate_images(small, tmp_path, ks=(1,))
    assert np.array_equal(seen[0], small.embed(sorted(tmp_path.rglob("*.jpg"))))


def test_images_that_cannot_be_scored_are_named(embedder, tmp_path) -> None:
    for name in "ab":
        (tmp_path / "alone" / name).mkdir(parents=True)
        Image.new("L", (32, 32)).save(tmp_path / "alone" / name / "1.png")
        (tmp_path / "large" / name).mkdir(parents=True)
        for number in "12":
            Image.new("L", (60, 50)).save(tmp_path / "large" / name / f"{number}.png")
    with pytest.raises(DataError, match="holds 2 images, each of a different class"):
        evaluate_images(embedder, tmp_path / "alone", ks=(1,))
    (tmp_path / "one").mkdir()
    (tmp_path / "alone" / "a").rename(tmp_path / "one" / "a")
    with pytest.raises(DataError, match="images of one class only, 'a'"):
        evaluate_images(embedder, tmp_path / "one", ks=(1,))
    with pytest.raises(RetrievalError, match="60 x 50 pixels has the shape"):
        evaluate_images(embedder, tmp_path / "large", ks=(1,))
