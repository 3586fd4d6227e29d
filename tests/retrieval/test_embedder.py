import copy
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from pytorch_metric_learning.testers import BaseTester
from torch.utils.data import Dataset

import slade_plugin
from slade_plugin.base.errors import ConfigError, ExperimentError, RetrievalError
from slade_plugin.base.seeding import generator_states
from slade_plugin.experiments.report.embedded_split import embed_split
from slade_plugin.retrieval.embedder import load_embedder
from slade_plugin.retrieval.saved_model import split_schemes


@pytest.fixture(scope="module")
def evaluated(bench, trained) -> dict[str, np.ndarray]:
    """What the tester evaluated, by split scheme."""
    return {
        scheme: embed_split(trained.experiment, "test", scheme, str(bench.dataset_root)).embeddings
        for scheme in split_schemes(trained.experiment)
    }


def test_it_is_a_public_name_that_is_imported_late() -> None:
    assert slade_plugin.load_embedder is load_embedder
    code = "import slade_plugin, sys; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="load_model"):
        slade_plugin.load_model  # noqa: B018


def test_files_give_bit_for_bit_what_the_tester_evaluated(trained, embedder, evaluated) -> None:
    first, second = split_schemes(trained.experiment)
    vectors = embedder.embed(trained.paths)
    assert vectors.dtype == np.float32
    assert np.array_equal(vectors, evaluated[first])
    assert not np.array_equal(vectors, evaluated[second])
    other = load_embedder(trained.experiment, split_scheme=second)
    assert np.array_equal(other.embed(trained.paths), evaluated[second])
    assert other.sha256 != embedder.sha256


def test_every_way_to_give_an_image_is_the_same(trained, embedder, evaluated) -> None:
    expected = evaluated[split_schemes(trained.experiment)[0]]
    assert np.array_equal(embedder.embed(trained.dataset), expected)  # prepared by the split
    few = trained.paths[:6]
    pictures = [Image.open(path) for path in few]
    ways = [
        few,
        [Path(path) for path in few],
        pictures,
        [np.asarray(picture) for picture in pictures],
        [picture.convert("RGB") for picture in pictures],
        [np.asarray(picture.convert("RGB")) for picture in pictures],
        [few[0], pictures[1], np.asarray(pictures[2]), *few[3:]],
    ]
    vectors = [embedder.embed(way) for way in ways]
    assert all(np.array_equal(found, vectors[0]) for found in vectors)
    assert np.array_equal(embedder.embed(few, num_workers=1), vectors[0])


def test_a_photograph_is_turned_upright_however_it_is_given(embedder, tmp_path) -> None:
    path, exif = tmp_path / "turned.png", Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32), np.uint8)
    Image.fromarray(pixels).save(path, exif=exif)
    upright = np.rot90(pixels, -1)
    by_path, by_image, expected = embedder.embed([path, Image.open(path), upright])
    assert np.array_equal(by_path, expected)
    assert np.array_equal(by_image, expected)


def test_transparent_parts_are_white_however_an_image_is_given(embedder, tmp_path) -> None:
    path = tmp_path / "black.png"
    Image.fromarray(np.eye(32, dtype=np.uint8) * 255).save(path, transparency=0)
    by_path, by_image = embedder.embed([path, Image.open(path)])
    assert np.array_equal(by_path, by_image)


def test_a_truncated_image_is_named(embedder, tmp_path) -> None:
    path = tmp_path / "cut.png"
    Image.effect_noise((32, 32), 50).save(path)
    path.write_bytes(path.read_bytes()[:-200])
    with (
        Image.open(path) as image,
        pytest.raises(RetrievalError, match=r"image 0: it cannot be decoded \(.*truncated"),
    ):
        embedder.embed([image])


def test_the_ensemble_is_that_of_the_host(bench, trained, monkeypatch, tmp_path) -> None:
    """Compared with what the host's own --evaluate_ensemble hands to its tester."""
    seen = []
    original = BaseTester.get_all_embeddings

    def spy(self, *args, **kwargs):
        seen.append(original(self, *args, **kwargs))
        return seen[-1]

    monkeypatch.setattr(BaseTester, "get_all_embeddings", spy)
    shutil.copytree(trained.experiment, tmp_path / "student")
    flags = "--experiment_name student --evaluate_ensemble --splits_to_eval [test]"
    outcome = bench(flags, root=tmp_path)
    assert outcome.code == 0, outcome.err
    together = load_embedder(tmp_path / "student", ensemble=True)
    vectors = together.embed(trained.paths)
    assert vectors.shape == (len(trained.paths), 32)
    assert together.embedding_size == 32
    assert np.array_equal(vectors, seen[-1][0])


@pytest.mark.slow
def test_photographs_from_a_cache_give_the_same_from_their_files(bench, tmp_path) -> None:
    """The run reads images that its cache has shrunk; the model's transform shrinks them again."""
    rng = np.random.default_rng(0)
    for number in range(16 * 3):
        path = tmp_path / "photos" / f"kind{number // 3}" / f"{number:02}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (9, 12 + number % 5, 3), np.uint8)
        Image.fromarray(pixels).resize((600, 440)).save(path)  # decoded at half its size
    outcome = bench(
        f"--config_dataset folders_small --labeled {tmp_path / 'photos'} --experiment_name run",
        "--config_loss contrastive --split_manager~APPLY~2 {num_training_sets: 1}",
        "--transforms {eval: {Resize: {size: 36}, CenterCrop: {size: 32}},"
        " train: {Resize: {size: 36}, RandomResizedCrop: {size: 32}}}",
        "--models {trunk~OVERRIDE~: {conv4: {in_channels: 3, hidden_size: 8}},"
        " embedder~OVERRIDE~: {MLP: {layer_sizes: [16]}}} --log_data_to_tensorboard False",
        "--num_epochs_train 1 --save_interval 1 --sampler~APPLY~2 {length_before_new_iter: 16}",
        "--trainer~APPLY~2 {iterations_per_epoch: 1, batch_size: 8}",
        root=tmp_path,
    )
    assert outcome.code == 0, outcome.err
    split = embed_split(tmp_path / "run", "test", None, str(bench.dataset_root))
    assert split.dataset.dataset.cache is not None
    images = split.dataset.dataset.image_list
    paths = [images.path(int(place)) for place in split.dataset.indices]
    embedder = load_embedder(tmp_path / "run")
    assert embedder.short_side == 72
    assert embedder.input_shape == (3, 32, 32)
    assert np.array_equal(embedder.embed(paths), split.embeddings)


def test_the_module(trained, embedder) -> None:
    images = torch.stack([trained.dataset[i]["data"] for i in range(4)])
    vectors = embedder(images)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(4), atol=1e-6)
    assert np.allclose(vectors.detach().numpy(), embedder.embed(trained.paths[:4]), atol=1e-6)
    assert vectors.requires_grad
    assert embedder.embedding_size == vectors.shape[1] == 16
    assert embedder.input_shape == (1, 32, 32)
    assert embedder.device == torch.device("cpu")
    assert embedder.metric == "cosine"
    assert not embedder.train().trunk.training
    assert embedder.record["data_set"] == "Glyphs"


def test_loading_leaves_all_generators_as_they_were(trained) -> None:
    before = generator_states()
    load_embedder(trained.experiment)
    after = generator_states()
    assert torch.equal(before["torch"], after["torch"])
    assert np.array_equal(before["numpy"][1], after["numpy"][1])
    assert before["python"] == after["python"]
    assert np.array_equal(before["host"][1], after["host"][1])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ("one.jpg", "got one str; expected a list"),
        ([], "there are no images"),
        (["nowhere.jpg"], r"nowhere.jpg: it cannot be read as an image \(.*No such file"),
        ([np.zeros((4, 4, 3))], r"image 0: it is an array of shape \(4, 4, 3\) and type float64"),
        ([Image.new("I;16", (32, 32))], r"0: it has more than 8 bits .*I;16.* Give its path"),
        ([3], "image 0: it is a int; expected a path"),
        ([np.zeros((40, 50), np.uint8)], r"50 x 40 pixels has .*40, 50\).*\(1, 32, 32\)"),
        ([torch.zeros(3, 8, 8)], r"image 0: the tensor has the shape \(3, 8, 8\)"),
    ],
)  # fmt: skip
def test_images_that_do_not_fit_are_named(embedder, images, message) -> None:
    with pytest.raises(RetrievalError, match=message):
        embedder.embed(images)


class _Dying(Dataset):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> None:
        os._exit(1)


@pytest.mark.filterwarnings("ignore")  # torch's own, on the way out
def test_a_process_that_dies_is_an_error(embedder) -> None:
    with pytest.raises(RetrievalError, match=r"that reads images ended: .*--workers 0"):
        embedder.embed(_Dying(), num_workers=1)


def test_settings_that_do_not_fit_are_named(trained, embedder, tmp_path) -> None:
    with pytest.raises(RetrievalError, match="batch_size is 0"):
        embedder.embed(trained.paths, batch_size=0)
    with pytest.raises(RetrievalError, match="one or the other"):
        load_embedder(trained.experiment, split_scheme="x", ensemble=True)
    folder = shutil.copytree(trained.experiment, tmp_path / "student")
    config = folder / "configs" / "config_eval.yaml"
    config.write_text(config.read_text().replace("pca: null", "pca: 4"))
    with pytest.raises(ConfigError, match="pca is 4; expected null"):
        load_embedder(folder)


def test_a_diverged_model_is_named(trained, embedder) -> None:
    broken = copy.deepcopy(embedder)
    with torch.no_grad():
        next(broken.embedder.parameters()).fill_(float("nan"))
    with pytest.raises(RetrievalError, match="images 0 to 2 are not finite"):
        broken.embed(trained.paths[:3])


def test_something_else_than_an_experiment_is_named(tmp_path) -> None:
    with pytest.raises(ExperimentError, match="is not an experiment; expected a folder"):
        load_embedder(tmp_path)
