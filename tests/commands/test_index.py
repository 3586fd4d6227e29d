"""`slade-bench index`, from the command line to the file."""

import os

from slade_plugin.retrieval.embedder import Embedder
from slade_plugin.retrieval.gallery_index import GalleryIndex


def test_a_gallery_is_indexed_exactly(call, finished, gallery, tmp_path) -> None:
    out = tmp_path / "gallery.index"
    outcome = call("index", finished, gallery, "--labeled", "--out", out)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == f"{out}: 40 images, Flat, exact search\n"
    assert os.listdir(tmp_path) == ["gallery.index"]
    assert len(GalleryIndex.load(out)) == 40


def test_an_approximate_index_prints_its_recall(call, finished, gallery, tmp_path) -> None:
    out = tmp_path / "gallery.index"
    outcome = call("index", finished, gallery, "--out", out, "--factory", "HNSW8")
    assert outcome.code == 0, outcome.err
    recall = GalleryIndex.load(out).manifest["recall"]["recall"]
    expected = f"HNSW8, recall at 10 against exact search: {recall:.3f} (40 queries)\n"
    assert outcome.out == f"{out}: 40 images, {expected}"


def test_vectors_of_embed_are_taken_and_images_added(call, finished, gallery, tmp_path) -> None:
    out, vectors = tmp_path / "gallery.index", tmp_path / "vectors.npy"
    some = tmp_path / "some.txt"
    paths = sorted(map(str, gallery.rglob("*.png")))
    some.write_text("\n".join(paths[:30]))
    assert call("embed", finished, some, "--out", vectors).code == 0
    outcome = call("index", finished, vectors, "--out", out)
    assert outcome.code == 0, outcome.err
    assert vectors.exists()
    outcome = call("index", finished, gallery, "--add", "--out", out)
    assert outcome.out == f"{out}: 10 images added, 40 in all\n", outcome.err
    assert sorted(GalleryIndex.load(out).paths) == paths


def test_an_interrupted_index_resumes(call, finished, gallery, tmp_path, monkeypatch) -> None:
    original = Embedder.batches

    def some(self, *args, **kwargs):
        yield next(original(self, *args, **kwargs))
        raise KeyboardInterrupt

    words = ["index", finished, gallery, "--out", tmp_path / "gallery.index", "--batch_size", 16]
    with monkeypatch.context() as patch:
        patch.setattr(Embedder, "batches", some)
        assert call(*words).code == 130
    assert not (tmp_path / "gallery.index").exists()
    starts = []

    def noted(self, images, batch_size, num_workers, start, **kwargs):
        starts.append(start)
        return original(self, images, batch_size, num_workers, start, **kwargs)

    monkeypatch.setattr(Embedder, "batches", noted)
    assert call(*words).code == 0
    assert starts == [16]
    assert os.listdir(tmp_path) == ["gallery.index"]


def test_a_second_process_is_refused(call, finished, gallery, hold, tmp_path) -> None:
    out = tmp_path / "gallery.index"
    words = ["index", finished, gallery, "--out", out]
    assert call(*words).code == 0
    before = out.read_bytes()
    holder = hold(tmp_path / ".gallery.index.lock")
    outcome = call(*words, "--add")
    assert outcome.code == 2
    assert f"in use by process {holder.pid}" in outcome.err
    assert out.read_bytes() == before


def test_mistakes_give_exit_code_2_and_change_nothing(call, finished, gallery, tmp_path) -> None:
    out, vectors = tmp_path / "gallery.index", tmp_path / "vectors.npy"
    other = ("--split_scheme", "Test50_50_Partitions2_1")
    assert call("embed", finished, gallery, "--out", vectors).code == 0
    assert call("index", finished, vectors, "--out", out).code == 0
    before = out.read_bytes()
    (tmp_path / "empty").mkdir()
    new = tmp_path / "new.index"
    mistakes = {
        (gallery, "--out", out): "exists; expected a new file, or --add",
        (gallery, "--out", out, "--add", *other): "expected the one that made the index",
        (vectors, "--out", new, *other): "the vectors come from the model",
        (gallery, "--out", out, "--add", "--factory", "Flat"): "are given with --add",
        (gallery, "--out", new, "--add"): "new.index cannot be read as an index",
        (vectors, "--out", new, "--factory", "IVF64,Flat"): "should be at least as large",
        (tmp_path / "empty", "--out", new): "has no images",
        (gallery, "--out", tmp_path / "no" / "new.index"): "there is no folder",
        (gallery, "--out", "."): "--out is the folder .; expected a file",
        (tmp_path / "missing.npy", "--out", new): "cannot be read",
    }
    for words, message in mistakes.items():
        outcome = call("index", finished, *words)
        assert outcome.code == 2, words
        assert message in outcome.err, words
    assert out.read_bytes() == before
    assert not new.exists()
