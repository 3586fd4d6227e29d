import errno
import fcntl
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from slade_plugin.base.errors import ConfigError, DataError, ExperimentError, RetrievalError
from slade_plugin.retrieval import vectors
from slade_plugin.retrieval.embedder import Embedder, load_embedder
from slade_plugin.retrieval.vectors import (
    class_names_of,
    embed_images,
    format_paths,
    list_images,
    open_vectors,
    parse_paths,
    remove_vectors,
)

BATCH = 16


@pytest.fixture(scope="module")
def images(trained) -> Any:
    return list_images(trained.folder, labeled=True)


@pytest.fixture(scope="module")
def expected(trained, embedder) -> np.ndarray:
    return embedder.embed(trained.paths, batch_size=BATCH)


def interrupted_after(batches: int, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the embedder die when it has given some batches."""
    original = Embedder.batches

    def some(self, *args, **kwargs):
        for number, batch in enumerate(original(self, *args, **kwargs)):
            if number == batches:
                raise error
            yield batch

    monkeypatch.setattr(Embedder, "batches", some)


def test_the_files_hold_vectors_paths_and_labels(trained, embedder, images, expected, tmp_path):
    found = embed_images(embedder, images, tmp_path / "vectors.npy", BATCH)
    assert isinstance(found.vectors, np.memmap)
    assert np.array_equal(found.vectors, expected)
    assert found.paths == trained.paths
    assert found.labels == [Path(path).parent.name for path in trained.paths]
    assert found.record["model"]["sha256"] == embedder.sha256
    assert sorted(os.listdir(tmp_path)) == ["vectors.csv", "vectors.json", "vectors.npy"]
    assert (tmp_path / "vectors.csv").read_text().startswith(f"path,label\n{trained.paths[0]},")
    # The CSV is a list of labeled images itself.
    again = list_images(tmp_path / "vectors.csv", labeled=False)
    assert class_names_of(again) == found.labels


def test_a_gallery_may_have_one_class(tmp_path: Path) -> None:
    (tmp_path / "cup").mkdir()
    (tmp_path / "cup" / "a.png").touch()
    (tmp_path / "list.csv").write_text("path,label\ncup/a.png,cup\n")
    for path in (tmp_path, tmp_path / "list.csv"):
        assert class_names_of(list_images(path, labeled=True)) == ["cup"]


def test_without_labels_there_is_a_list_of_paths(trained, embedder, tmp_path) -> None:
    listed = tmp_path / "some.txt"
    listed.write_text("\n".join(trained.paths[:3]))
    found = embed_images(embedder, list_images(listed, labeled=False), tmp_path / "vectors")
    assert found.labels is None
    assert found.paths == trained.paths[:3]


def test_stored_paths_are_those_of_a_query(trained, embedder, tmp_path) -> None:
    listed = tmp_path / "some.txt"
    listed.write_text(os.path.relpath(trained.paths[0], tmp_path))
    found = embed_images(embedder, list_images(listed, labeled=False), tmp_path / "vectors")
    assert found.paths == trained.paths[:1]


def test_only_one_process_writes(embedder, images, expected, tmp_path) -> None:
    part = tmp_path / ".vectors.npy.part"
    part.write_bytes(b"rows of another process")
    with open(part, "rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(RetrievalError, match="is being written by another process"):
            embed_images(embedder, images, tmp_path / "vectors", BATCH)
    assert part.read_bytes() == b"rows of another process"
    found = embed_images(embedder, images, tmp_path / "vectors", BATCH)
    assert np.array_equal(found.vectors, expected)


@pytest.mark.parametrize("batches", [0, 1, 3])
def test_an_interruption_changes_nothing(
    embedder, images, expected, tmp_path, monkeypatch, batches
) -> None:
    with monkeypatch.context() as patch:
        interrupted_after(batches, KeyboardInterrupt(), patch)
        with pytest.raises(KeyboardInterrupt):
            embed_images(embedder, images, tmp_path / "vectors", BATCH)
    assert all(name.startswith(".vectors") for name in os.listdir(tmp_path))
    with open(tmp_path / ".vectors.npy.part", "ab") as part:
        part.write(b"half a row")  # what a power cut may leave
    seen = []
    original = embedder.raw
    monkeypatch.setattr(embedder, "raw", lambda x: seen.append(len(x)) or original(x))
    found = embed_images(embedder, images, tmp_path / "vectors", BATCH)
    assert np.array_equal(found.vectors, expected)
    assert sum(seen) == len(images) - batches * BATCH
    assert sorted(os.listdir(tmp_path)) == ["vectors.csv", "vectors.json", "vectors.npy"]
    embed_images(embedder, images, tmp_path / "vectors", BATCH)  # everything is there
    assert sum(seen) == len(images) - batches * BATCH
    with pytest.raises(RetrievalError, match="or made with another --batch_size"):
        embed_images(embedder, images, tmp_path / "vectors", BATCH + 1)


def test_progress_is_saved_as_it_goes(embedder, images, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(vectors, "_SAVE_EVERY", 0)
    interrupted_after(2, MemoryError(), monkeypatch)  # nothing is saved after it
    with pytest.raises(MemoryError):
        embed_images(embedder, images, tmp_path / "vectors", BATCH)
    assert f'"done": {2 * BATCH}' in (tmp_path / ".vectors.progress.json").read_text()


def test_another_model_or_other_images_begin_anew(
    trained, embedder, images, tmp_path, monkeypatch, caplog
):
    with monkeypatch.context() as patch:
        interrupted_after(2, KeyboardInterrupt(), patch)
        with pytest.raises(KeyboardInterrupt):
            embed_images(embedder, images, tmp_path / "vectors", BATCH)
    other = load_embedder(trained.experiment, "Test50_50_Partitions2_1")
    found = embed_images(other, images, tmp_path / "vectors", BATCH)
    assert f"its {2 * BATCH} finished images come from another model" in caplog.text
    assert np.array_equal(found.vectors, other.embed(trained.paths, BATCH))
    with pytest.raises(RetrievalError, match="holds vectors of another model or other"):
        embed_images(embedder, images, tmp_path / "vectors", BATCH)
    with pytest.raises(RetrievalError, match=r"the vectors come from the model .*Partitions2_1"):
        found.check_model(embedder.record)
    other_vectors = np.load(tmp_path / "vectors.npy")
    assert np.array_equal(other_vectors, found.vectors)


def test_changed_images_of_the_same_size_are_noticed(embedder, tmp_path) -> None:
    path = tmp_path / "photos" / "a.bmp"
    path.parent.mkdir()
    for level in (0, 255):
        Image.new("L", (32, 32), level).save(path)
        os.utime(path, (level, level))  # clocks of file systems may be coarse
        images = list_images(path.parent, labeled=False)
        if level == 0:
            embed_images(embedder, images, tmp_path / "vectors")
    with pytest.raises(RetrievalError, match="holds vectors of another model or other"):
        embed_images(embedder, images, tmp_path / "vectors")


def test_unreadable_images_are_skipped_up_to_a_number(trained, embedder, tmp_path) -> None:
    folder = tmp_path / "photos"
    for place, source in enumerate(trained.paths[:20]):
        path = folder / f"{place:02}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(Path(source).read_bytes())
    for place in (0, 7, 19):
        (folder / f"{place:02}.png").write_bytes(b"no image")
    images = list_images(folder, labeled=False)
    out = tmp_path / "vectors"
    with pytest.raises(
        RetrievalError, match=r"3 images cannot be read; expected 2 .*19.png: it.*to resume\. If"
    ):
        embed_images(embedder, images, out, batch_size=4, max_unreadable=2)
    assert not (tmp_path / "vectors.npy").exists()
    found = embed_images(embedder, images, out, batch_size=4, max_unreadable=3)  # resumes
    kept = [place for place in range(20) if place not in (0, 7, 19)]
    assert found.paths == [str(folder / f"{place:02}.png") for place in kept]
    assert np.array_equal(np.load(f"{out}.npy"), found.vectors)
    for path, vector in zip(found.paths[:3], found.vectors[:3], strict=True):
        assert np.allclose(embedder.embed([path])[0], vector, atol=1e-6)
    assert [Path(path).name for path in found.record["unreadable"]] == [
        "00.png",
        "07.png",
        "19.png",
    ]


def test_nothing_readable_is_an_error(embedder, tmp_path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"no image")
    images = list_images(tmp_path / "photos", labeled=False)
    with pytest.raises(RetrievalError, match="none of the 1 images can be read"):
        embed_images(embedder, images, tmp_path / "vectors", max_unreadable=5)
    assert not (tmp_path / "vectors.npy").exists()


def test_a_full_disk_leaves_no_vectors_and_the_same_call_resumes(
    embedder, images, expected, tmp_path, monkeypatch
) -> None:
    with monkeypatch.context() as patch:
        interrupted_after(2, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), patch)
        with pytest.raises(ExperimentError, match=r"cannot be written: No space left.*to resume"):
            embed_images(embedder, images, tmp_path / "vectors", BATCH)
    assert all(name.startswith(".vectors") for name in os.listdir(tmp_path))
    found = embed_images(embedder, images, tmp_path / "vectors", BATCH)
    assert np.array_equal(found.vectors, expected)


def test_bad_places_and_damaged_files_are_named(embedder, images, tmp_path) -> None:
    with pytest.raises(ConfigError, match="expected a writable folder"):
        embed_images(embedder, images, tmp_path / "no" / "vectors")
    own = tmp_path / "labels.csv"
    own.write_text("path,label\n")
    with pytest.raises(ConfigError, match=r"labels.csv exists; expected a new name"):
        embed_images(embedder, images, tmp_path / "labels")
    assert own.read_text() == "path,label\n"
    own.unlink()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="has no images"):
        list_images(tmp_path / "empty", labeled=False)
    with pytest.raises(RetrievalError, match=r"cannot be read: .*slade-bench embed"):
        open_vectors(tmp_path / "nothing.npy")
    out = tmp_path / "vectors"
    embed_images(embedder, images, out, BATCH)
    csv = tmp_path / "vectors.csv"
    csv.write_text("".join(csv.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(RetrievalError, match=rf"{len(images)} vectors .* {len(images) - 1} paths"):
        open_vectors(out)
    remove_vectors(out)
    assert sorted(os.listdir(tmp_path)) == ["empty"]


@pytest.mark.parametrize("name", [b"caf\xe9", b"cat\r"])
def test_names_that_no_csv_holds_are_refused(name: bytes, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(name) / "in"
    folder.mkdir(parents=True)
    (folder / "a.png").touch()
    (folder / "list.txt").write_text("a.png")
    for path in (folder, folder / "list.txt"):
        with pytest.raises(DataError, match=r"(cat\\r|caf\\udce9)/in(/list.txt)?' is not UTF-8"):
            list_images(path, labeled=False)


def test_paths_survive_their_file() -> None:
    for labels in (None, ["a", "", 'quoted "b", c']):
        paths = ["/x/a.jpg", '/x/b, "c".jpg', "/x/new\nline.jpg"]
        assert parse_paths(format_paths(paths, labels)) == (paths, labels)
