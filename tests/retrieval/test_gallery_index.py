import os
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np
import pytest

from slade_plugin.base.errors import ConfigError, ExperimentError, RetrievalError
from slade_plugin.retrieval import gallery_index
from slade_plugin.retrieval.gallery_index import GalleryIndex
from slade_plugin.retrieval.vectors import VectorFile

MODEL = {"sha256": "a", "experiment": "runs/a", "split_schemes": ["first"]}


def gallery(number: int = 200, size: int = 8, metric: str = "cosine", **changes) -> VectorFile:
    vectors = np.random.default_rng(0).normal(size=(number, size)).astype(np.float32)
    if metric == "cosine":
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    paths = [f"/g/{place}.jpg" for place in range(number)]
    labels = [f"class{place % 5}" for place in range(number)]
    record = {"metric": metric, "model": MODEL}
    return VectorFile(vectors, paths, labels, {**record, **changes})


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_exact_search_is_what_a_loop_finds(metric: str) -> None:
    made = gallery(metric=metric)
    index = GalleryIndex.build(made)
    queries = np.random.default_rng(1).normal(size=(3, 8)).astype(np.float32)
    for query, hits in zip(queries, index.search(queries, 5), strict=True):
        if metric == "cosine":
            scores = [float(np.dot(query, vector)) for vector in made.vectors]
            order = sorted(range(200), key=lambda place: -scores[place])[:5]
        else:
            scores = [float(np.sqrt(((query - vector) ** 2).sum())) for vector in made.vectors]
            order = sorted(range(200), key=lambda place: scores[place])[:5]
        assert [hit.path for hit in hits] == [f"/g/{place}.jpg" for place in order]
        assert [hit.label for hit in hits] == [f"class{place % 5}" for place in order]
        assert [hit.score for hit in hits] == pytest.approx([scores[p] for p in order], abs=1e-4)
    assert index.manifest["recall"] is None


def test_an_image_does_not_find_itself() -> None:
    made = gallery()
    index = GalleryIndex.build(made)
    (alone,) = index.search(made.vectors[:1], 200, ["/g/0.jpg"])
    assert len(alone) == 199
    assert "/g/0.jpg" not in [hit.path for hit in alone]
    (hits,) = index.search(made.vectors[:1], 3)
    assert hits[0].path == "/g/0.jpg"
    assert hits[0].score == pytest.approx(1, abs=1e-5)


def test_what_was_saved_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "g.index"
    index = GalleryIndex.build(gallery(), "HNSW8", "efSearch=17")
    index.save(path)
    again = GalleryIndex.load(path)
    queries = gallery().vectors[:4]
    assert again.search(queries, 6) == index.search(queries, 6)
    assert again.manifest == {**index.manifest, "images": 200}
    assert faiss.downcast_index(again.index).hnsw.efSearch == 17
    first = path.read_bytes()
    again.save(path)
    assert GalleryIndex.load(path).paths == index.paths
    assert os.listdir(tmp_path) == ["g.index"]
    index.save(tmp_path / "other.index")
    assert (tmp_path / "other.index").read_bytes() == first  # no time is in it
    with zipfile.ZipFile(path) as archive, archive.open("vectors.faiss") as member:
        (tmp_path / "plain.faiss").write_bytes(member.read())
    assert faiss.read_index(str(tmp_path / "plain.faiss")).ntotal == 200


def test_parameters_that_faiss_does_not_save_are_set_again(tmp_path: Path) -> None:
    index = GalleryIndex.build(gallery(400), "IVF8,Flat", "nprobe=8,max_codes=60")
    index.save(tmp_path / "g.index")
    again = GalleryIndex.load(tmp_path / "g.index")
    assert faiss.downcast_index(again.index).max_codes == 60
    queries = gallery().vectors[:9]
    assert again.search(queries, 6) == index.search(queries, 6)


def test_recall_is_the_share_of_exact_neighbors(monkeypatch: pytest.MonkeyPatch) -> None:
    made = gallery(number=400)
    monkeypatch.setattr(gallery_index, "_CHUNK", 64)  # exact search in several pieces
    exact = GalleryIndex.build(made).measure_recall(made.vectors)
    assert exact == {"recall": 1, "at": 10, "queries": 400, "images": 400}
    index = GalleryIndex.build(made, "IVF16,Flat", "nprobe=1")
    expected = []
    for place, query in enumerate(made.vectors):  # which does not count itself
        best = set(np.argsort(-(made.vectors @ query))[1:11].tolist())
        (hits,) = index.search(query[None], 10, [made.paths[place]])
        expected.append(len(best & {int(Path(hit.path).stem) for hit in hits}) / 10)
    assert index.manifest["recall"]["recall"] == pytest.approx(np.mean(expected), abs=2e-3)
    assert 0.2 < index.manifest["recall"]["recall"] < 0.95
    more = GalleryIndex.build(made, "IVF16,Flat", "nprobe=16")
    assert more.manifest["recall"]["recall"] == pytest.approx(1, abs=2e-3)


def test_images_are_added_once(tmp_path: Path) -> None:
    whole = gallery()
    some = VectorFile(whole.vectors[:150], whole.paths[:150], whole.labels[:150], whole.record)
    index = GalleryIndex.build(some)
    assert index.add(whole) == 50
    assert index.add(whole) == 0
    full = GalleryIndex.build(whole)
    assert index.paths == full.paths
    assert index.labels == full.labels
    assert index.search(whole.vectors[:9], 20) == full.search(whole.vectors[:9], 20)
    unlabeled = VectorFile(whole.vectors[:2], ["/x/1.jpg", "/x/2.jpg"], None, whole.record)
    assert index.add(unlabeled) == 2
    assert index.labels[-3:] == ["class4", "", ""]


def test_a_file_is_one_image_whatever_leads_to_it(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "link").symlink_to("photos")
    whole = gallery(20)
    paths = [f"{tmp_path}/photos/{place}.jpg" for place in range(19)]
    paths.append(f"{tmp_path}/link/3.jpg")
    index = GalleryIndex.build(
        VectorFile(whole.vectors, paths, whole.labels, whole.record), "HNSW8"
    )
    assert index.paths == paths[:19]
    assert index.manifest["recall"]["images"] == 19
    linked = [path.replace("photos", "link") for path in paths]
    assert index.add(VectorFile(whole.vectors, linked, whole.labels, whole.record)) == 0
    (hits,) = index.search(whole.vectors[:1], 3, linked[:1])
    assert paths[0] not in [hit.path for hit in hits]


def test_vectors_of_another_model_are_refused() -> None:
    index = GalleryIndex.build(gallery())
    other = {**MODEL, "sha256": "b", "experiment": "runs/b"}
    with pytest.raises(RetrievalError, match=r"from model runs/b \(first\).*index, runs/a"):
        index.add(gallery(model=other))
    with pytest.raises(RetrievalError, match="the experiment comes from model runs/b"):
        index.check_model(other, "the experiment")
    assert len(index) == 200


@pytest.mark.parametrize(
    ("factory", "parameters", "message"),
    [
        ("Nonsense", "", "faiss cannot build 'Nonsense' from 200 vectors of 8 numbers: could not"),
        ("IVF4096,Flat", "", r"Number of training points \(200\) should be at least"),
        ("Flat,PQ3", "", "faiss cannot build"),
        ("HNSW8", "nprobe=3", "could not set parameter nprobe"),
        ("IDMap,Flat", "", "faiss cannot build 'IDMap,Flat' from 200 vectors"),
    ],
)
def test_an_index_that_cannot_be_built_is_named(factory, parameters, message) -> None:
    with pytest.raises(RetrievalError, match=message):
        GalleryIndex.build(gallery(), factory, parameters)


def test_an_index_that_takes_no_more_images_is_named() -> None:
    index = GalleryIndex.build(gallery(), "NSG8")
    more = replace(gallery(3), paths=["/x/1.jpg", "/x/2.jpg", "/x/3.jpg"])
    with pytest.raises(RetrievalError, match="NSG does not support incremental addition"):
        index.add(more)


@pytest.mark.parametrize("top", [0, -1, 201])
def test_more_than_the_gallery_holds_is_refused(top: int) -> None:
    index = GalleryIndex.build(gallery())
    with pytest.raises(ConfigError, match=rf"--top is {top}; the index holds 200 images"):
        index.search(gallery().vectors[:1], top)


def test_damaged_and_foreign_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "g.index"
    GalleryIndex.build(gallery()).save(path)
    whole = path.read_bytes()
    places = {"text": b"hello", "cut": whole[:-300], "empty": b""}
    middle = len(whole) // 2
    places["changed"] = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
    for name, content in places.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(RetrievalError, match=rf"{name} cannot be read as an index"):
            GalleryIndex.load(tmp_path / name)
    with pytest.raises(RetrievalError, match="missing cannot be read as an index: No such file"):
        GalleryIndex.load(tmp_path / "missing")


def test_a_folder_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match=r"no/g.index"):
        GalleryIndex.build(gallery()).save(tmp_path / "no" / "g.index")
    assert not list(tmp_path.iterdir())
    shutil.rmtree(tmp_path)
