"""Bad input of every kind, at the command line: one clear message, exit code 2, nothing touched.

A message says what is wrong, what was got, what was expected and where to change it. It comes
before anything is trained or written.
"""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from slade_plugin.host import registry
from slade_plugin.runner import SladeRunner

CONFIG_ERROR = "ConfigError: "


class Letters(Dataset[dict[str, Any]]):
    """Grey squares in the host's form, of any size, number of channels and number of images."""

    def __init__(
        self,
        root: str,
        transform: Any = None,
        download: bool = False,
        size: int = 32,
        mode: str = "L",
        classes: int = 8,
        per_class: int = 8,
        lone_class: bool = False,
    ) -> None:
        self.transform = transform
        self.labels = np.repeat(np.arange(classes), per_class)
        if lone_class:  # class 0 keeps one image
            self.labels = self.labels[per_class - 1 :]
        rng = np.random.default_rng(0)
        shape = (len(self.labels), size, size, *([3] if mode == "RGB" else []))
        self.images = [Image.fromarray(x) for x in rng.integers(0, 255, shape).astype(np.uint8)]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image: Any = self.images[index]
        image = self.transform(image) if self.transform else image
        return {"data": image, "label": int(self.labels[index])}


@pytest.fixture
def letters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes `Letters` known to every runner."""
    monkeypatch.setattr(registry, "REGISTRY", (*registry.REGISTRY, ("dataset", Letters)))


@pytest.fixture
def nothing_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    """An experiment that is started all the same is a failure of the test."""

    def start(self: Any, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError("training began")

    name = "slade_plugin.host.api_parsers.seeded._Seeded.set_models_optimizers_losses"
    monkeypatch.setattr(name, start)


def refusal(outcome: Any, tmp_path: Path) -> str:
    """What was printed: one message; nothing is left behind."""
    assert outcome.code == 2, outcome.err
    kinds = [line for line in outcome.err.splitlines() if re.match(r"\w+Error: ", line)]
    assert kinds == outcome.err.splitlines()[:1]
    assert "Traceback" not in outcome.err
    assert outcome.out == ""
    assert list(tmp_path.iterdir()) == []
    return str(outcome.err)


@pytest.mark.usefixtures("nothing_trains")
@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        pytest.param(
            "--config_loss slad",
            [CONFIG_ERROR, "config_loss has no config 'slad'", "(did you mean 'slade'?)"],
            id="unknown config",
        ),
        pytest.param(
            "--config_models [default, resnet5]",
            [CONFIG_ERROR, "config_models has no config 'resnet5'", "(did you mean 'resnet50'?)"],
            id="unknown config in a list",
        ),
        pytest.param(
            "--config_loss slade --num_cluster 8",
            [CONFIG_ERROR, "unknown flag or config key: --num_cluster"],
            id="unknown flag",
        ),
        pytest.param(
            "--config_loss slade --pseudo_labels {clusterer: {KMeans: {num_cluster: 8}}}",
            [CONFIG_ERROR, "KMeans takes no argument 'num_cluster'", "'num_clusters'",
             "(config_general)"],
            id="unknown setting",
        ),
        pytest.param(
            "--config_loss slade --trainer~APPLY~2 {unlabeled_batchsize: 8}",
            [CONFIG_ERROR, "trainer in config_general: SladeStudent takes no argument",
             "(did you mean 'unlabeled_batch_size'?)"],
            id="unknown argument of the trainer",
        ),
        pytest.param(
            "--config_loss slade --loss_funcs {basis_loss: {FeatureBasisLoss: {momentm: 1}}}",
            [CONFIG_ERROR, "FeatureBasisLoss takes no argument 'momentm'", "'momentum'"],
            id="unknown argument of the basis",
        ),
        pytest.param(
            "--config_loss slade --loss_funcs {basis_los: {FeatureBasisLoss: "
            "{embedding_size: 128}}}",
            [CONFIG_ERROR, "basis_los", "optimizer"],
            id="unknown loss entry",
        ),
        pytest.param(
            "--config_loss slade --mining_funcs {unlabeled_tuple_miner~OVERRIDE~: {PairMiner: {}}}",
            [CONFIG_ERROR, "no miner named 'PairMiner'", "did you mean"],
            id="unknown miner",
        ),
        pytest.param(
            "--config_loss slade --pseudo_labels {clusterer: {KMeans: {num_clusters: many}}}",
            [CONFIG_ERROR, "num_clusters is 'many'; expected an integer >= 2", "config_general"],
            id="k of a wrong type",
        ),
        pytest.param(
            "--config_loss slade --pseudo_labels {clusterer: {KMeans: {num_clusters: 1}}}",
            [CONFIG_ERROR, "num_clusters is 1; expected an integer >= 2", "config_general"],
            id="k below 2",
        ),
        pytest.param(
            "--config_loss slade --pseudo_labels {clusterer: {KMeans: {num_clusters: 100000}}}",
            [CONFIG_ERROR, "num_clusters is 100000, but the unlabeled pool has",
             "expected 2 to", "--pseudo_labels {clusterer: {KMeans: {num_clusters:"],
            id="k above the pool",
        ),
        pytest.param(
            "--config_loss slade --pseudo_labels {min_cluster_size: 1}",
            [CONFIG_ERROR, "pseudo_labels: min_cluster_size is 1; expected an integer >= 2"],
            id="a setting out of range",
        ),
        pytest.param(
            "--config_loss slade --loss_funcs {basis_loss: {FeatureBasisLoss: "
            "{pairwise_loss~OVERRIDE~: {LocalC: {}}}}}",
            [CONFIG_ERROR, "there is no pairwise_loss named 'LocalC' (did you mean 'LocalCE'?)"],
            id="unknown pairwise loss",
        ),
        pytest.param(
            "--config_loss slade --loss_funcs {basis_loss: {FeatureBasisLoss: "
            "{pairwise_loss: {LocalCE: {}}}}}",
            [CONFIG_ERROR, "exactly one pairwise_loss, got 2", "'pairwise_loss~OVERRIDE~'"],
            id="two pairwise losses",
        ),
        pytest.param(
            "--config_loss slade --plugins not_a_module_of_anyone",
            [CONFIG_ERROR, "there is no plugin 'not_a_module_of_anyone'"],
            id="missing plugin",
        ),
        pytest.param(
            "--config_loss slade --trainer~APPLY~2 {unlabeled_batch_size: 1}",
            [CONFIG_ERROR, "unlabeled_batch_size is 1; expected an integer >= 2", "config_general"],
            id="pool batch below 2",
        ),
        pytest.param(
            "--config_loss slade --trainer~APPLY~2 {unlabeled_batch_size: 100000}",
            ["DataError: ", "cannot fill a batch of 100000; expected a larger pool"],
            id="pool batch above the pool",
        ),
        pytest.param(
            "--config_loss slade --trainer~APPLY~2 {basis_warmup_iterations: -1}",
            [CONFIG_ERROR, "basis_warmup_iterations is -1; expected an integer >= 0"],
            id="warm-up below 0",
        ),
        pytest.param(
            "--config_loss slade --trainer~APPLY~2 {set_min_label_to_zero: False}",
            [CONFIG_ERROR, "set_min_label_to_zero is False; expected True"],
            id="labels that would meet pseudo labels",
        ),
        pytest.param(
            "--config_loss slade --trainer~APPLY~2 {loss_weights: {metric_loss: 1}}",
            [CONFIG_ERROR, "loss_weights must contain"],
            id="a loss without weight",
        ),
        pytest.param(
            "--config_loss slade --loss_funcs {basis_loss: {FeatureBasisLoss: {momentum: 2}}}",
            [CONFIG_ERROR, "momentum is 2"],
            id="momentum out of range",
        ),
        pytest.param(
            "--config_loss slade --loss_funcs {basis_loss: {FeatureBasisLoss: "
            "{embedding_size: 3}}}",
            [CONFIG_ERROR, "embedding_size is 3, but the embedder's output is 128; expected equal"],
            id="basis of another size than the embedder",
        ),
        pytest.param(
            "--config_loss slade --student_initialization random",
            [CONFIG_ERROR, "student_initialization is 'random'", "expected pretrained or teacher"],
            id="unknown initialization",
        ),
        pytest.param(
            "--config_loss slade --optimizers~OVERRIDE~ {trunk_optimizer: {Adam: {lr: 0.1}}, "
            "embedder_optimizer: {Adam: {lr: 0.1}}}",
            [CONFIG_ERROR, "basis_loss_optimizer"],
            id="a basis that would never be trained",
        ),
        pytest.param(
            "--config_loss slade --optimizers~APPLY~3 {lr: 0.1}",
            [CONFIG_ERROR, "scheduler_by_epoch has 'lr'", "~APPLY~2 {Adam: {lr: 0.1}}"],
            id="a rate for schedulers too",
        ),
        pytest.param(
            "--config_loss slade --optimizers~APPLY~2 {Adam: {lr: 1e-3}}",
            [CONFIG_ERROR, "lr is the text '1e-3', expected a number", "write 0.001"],
            id="a number that YAML reads as text",
        ),
        pytest.param(
            "--config_loss slade --optimizers {trunk_optimizer: {SGD: {lr: 0.1}}}",
            [CONFIG_ERROR, "(Adam, SGD)", "'trunk_optimizer~OVERRIDE~'"],
            id="a second class without OVERRIDE",
        ),
        pytest.param(
            "--config_loss slade --loss_funcs {unlabeled_metric_loss~OVERRIDE~: {FastAPLoss: "
            "{num_bins: 10}}}",
            [CONFIG_ERROR, "unlabeled_metric_loss is FastAPLoss", "cannot take mined pairs",
             "expected a pair or triplet loss", "(config_loss)"],
            id="a loss that cannot take mined pairs",
        ),
        pytest.param(
            "--config_loss slade --loss_funcs {unlabeled_metric_loss~OVERRIDE~: "
            "{NormalizedSoftmaxLoss: {embedding_size: 128, temperature: 0.1}}} --optimizers "
            "{unlabeled_metric_loss_optimizer: {Adam: {lr: 0.1}}}",
            [CONFIG_ERROR, "unlabeled_metric_loss is NormalizedSoftmaxLoss, which cannot take"],
            id="a classification loss",
        ),
        pytest.param(
            "--config_loss slade_pseudo_label --mining_funcs {unlabeled_tuple_miner~OVERRIDE~: "
            "{BasisSimilarityMiner: {}}}",
            [CONFIG_ERROR, "there is no basis_loss to provide its similarity"],
            id="a basis miner without a basis",
        ),
        pytest.param(
            "--config_loss slade --tester~SWAP~1 {GlobalEmbeddingSpaceTester: {}}",
            [CONFIG_ERROR, "tester is GlobalEmbeddingSpaceTester; expected SladeTester"],
            id="a tester that cannot embed the pool",
        ),
        pytest.param(
            "--config_loss slade --hook_container~APPLY~2 {save_models: False}",
            [CONFIG_ERROR, "save_models is False, but self-training needs the best models"],
            id="no models saved",
        ),
        pytest.param(
            "--config_loss slade --hook_container~APPLY~2 {save_model: False}",
            [CONFIG_ERROR, "CheckpointedHookContainer takes no argument 'save_model'",
             "'save_models'", "untrained_model_can_be_best"],
            id="hooks: misspelled argument of the host",
        ),
        pytest.param(
            "--config_loss slade --config_dataset cub200",
            [CONFIG_ERROR, "there is no unlabeled_dataset; expected one in config_dataset"],
            id="no pool configured",
        ),
        pytest.param(
            "--config_loss slade --save_interval 50",
            [CONFIG_ERROR, "save_interval is 50, above num_epochs_train"],
            id="nothing would be evaluated",
        ),
        pytest.param(
            "--config_loss contrastive --pseudo_labels {clusterer: {KMeans: {num_clusters: 3}}}",
            [CONFIG_ERROR, "pseudo_labels has no effect here"],
            id="a setting of the student without one",
        ),
        pytest.param(
            "--config_loss contrastive --rounds 2",
            [CONFIG_ERROR, "--rounds has no effect here; expected it only with a self-training"],
            id="rounds without self-training",
        ),
        pytest.param(
            "--config_loss slade --rounds 0",
            [CONFIG_ERROR, "pipeline.rounds is 0; expected an integer >= 1"],
            id="no round",
        ),
        pytest.param(
            "--config_loss slade --models {trunk: {conv4: {hidden_size: 0}}}",
            ["Error: ", "hidden_size"],
            id="an impossible trunk",
        ),
    ],
)  # fmt: skip
def test_a_config_that_is_wrong(flags: str, parts: list[str], bench: Any, tmp_path: Path) -> None:
    small = "--dataset {Glyphs: {letters_per_script: 8, instances_per_face: 1}}"
    if "slade" in flags:
        small += f" {small.replace('--dataset', '--unlabeled_dataset')}"
        if "--pseudo_labels" not in flags:
            small += " --pseudo_labels {clusterer: {KMeans: {num_clusters: 8}}}"
    if "cub200" in flags:
        small = ""
    message = refusal(bench(small, flags, root=tmp_path / "experiments"), tmp_path)
    assert [part for part in parts if part not in message] == [], message


@pytest.mark.usefixtures("nothing_trains", "letters")
@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        pytest.param(
            "--unlabeled_dataset~OVERRIDE~ {Letters: {classes: 0}}",
            ["DataError: ", "the unlabeled pool is empty; expected images", "unlabeled_dataset"],
            id="empty pool",
        ),
        pytest.param(
            "--unlabeled_dataset~OVERRIDE~ {Letters: {size: 16}}",
            ["DataError: ", "labeled images have the shape (1, 32, 32), images of the pool "
             "(1, 16, 16)", "expected equal", "config_transforms or unlabeled_dataset"],
            id="pool of another size",
        ),
        pytest.param(
            "--unlabeled_dataset~OVERRIDE~ {Letters: {mode: RGB}}",
            ["DataError: ", "images of the pool (3, 32, 32)"],
            id="pool of other channels",
        ),
        pytest.param(
            "--dataset~OVERRIDE~ {Letters: {mode: RGB}} "
            "--unlabeled_dataset~OVERRIDE~ {Letters: {mode: RGB}}",
            ["DataError: ", "got images of shape (1, 3, 32, 32); expected (N, 1, 32, 32)",
             "config_models"],
            id="colours for a grey trunk",
        ),
        pytest.param(
            "--dataset~OVERRIDE~ {Letters: {lone_class: True}}",
            ["DataError: ", "have one image (for example label 0); expected at least 2"],
            id="a class with one image",
        ),
        pytest.param(
            "--dataset~OVERRIDE~ {Letters: {classes: 3}}",
            [CONFIG_ERROR, "cannot split the labeled data: Cannot have number of splits",
             "expected at least two classes per fold"],
            id="fewer classes than folds",
        ),
        pytest.param(
            "--dataset~OVERRIDE~ {Letters: {per_class: 0}}",
            [CONFIG_ERROR, "data set or split manager cannot be built"],
            id="no labeled images",
        ),
    ],
)  # fmt: skip
def test_data_that_do_not_fit(flags: str, parts: list[str], bench: Any, tmp_path: Path) -> None:
    student = bench.tiny_student(schemes=2).replace(
        "--dataset {Glyphs", "--dataset~OVERRIDE~ {Glyphs"
    )
    if "--dataset~OVERRIDE~" in flags:
        start = student.index("--dataset~OVERRIDE~")
        student = student[:start] + student[student.index("--split_manager") :]
    message = refusal(bench(student, flags, root=tmp_path / "experiments"), tmp_path)
    assert [part for part in parts if part not in message] == [], message


@pytest.mark.usefixtures("nothing_trains")
def test_stored_images_that_are_damaged(bench: Any, tmp_path: Path) -> None:
    data = shutil.copytree(bench.dataset_root, tmp_path / "data")
    (images,) = (data / "glyphs").glob("*.npy")
    images.write_bytes(images.read_bytes()[:-100])
    before = bench.snapshot(data)
    flags = f"{bench.tiny_student()} --dataset_root {data}"
    outcome = bench(flags, f"--root_experiment_folder {tmp_path / 'experiments'}", root=None)
    assert outcome.code == 2
    assert f"DataError: Glyphs: {images} is damaged or missing" in outcome.err
    assert "Traceback" not in outcome.err
    assert bench.snapshot(data) == before
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


@pytest.mark.usefixtures("nothing_trains")
@pytest.mark.parametrize(
    ("dataset", "missing", "command"),
    [
        ("icons", "v1.json", "npm pack @iconify/json@"),
        (  # with a trunk that needs no download
            "furniture --config_models conv4_rgb",
            "v1_12_views_96_px.json",
            "apt-get download sweethome3d-furniture",
        ),
    ],
)
def test_images_that_were_not_built(
    dataset: str, missing: str, command: str, bench: Any, tmp_path: Path
) -> None:
    flags = f"--config_dataset {dataset} --config_loss slade --dataset_root {tmp_path / 'data'}"
    outcome = bench(flags, f"--root_experiment_folder {tmp_path / 'experiments'}", root=None)
    assert outcome.code == 2
    assert f"{missing} does not exist" in outcome.err
    assert command in outcome.err
    assert "Traceback" not in outcome.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("nothing_trains")
def test_data_that_cannot_be_downloaded(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host tries its old addresses; where that fails the reason is said, not a traceback."""

    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError("the address does not answer")

    monkeypatch.setattr("powerful_benchmarker.datasets.cub200.gdown.download", fail)
    flags = "--config_loss contrastive --config_dataset cub200 --dataset {CUB200: {download: True}}"
    outcome = bench(flags, f"--dataset_root {tmp_path / 'data'} --root_experiment_folder "
                    f"{tmp_path / 'experiments'}", root=None)  # fmt: skip
    assert outcome.code == 2
    assert "data set or split manager cannot be built: the address does not answer" in outcome.err
    assert not (tmp_path / "experiments").exists()


@pytest.mark.usefixtures("nothing_trains")
def test_data_folder_that_cannot_be_written(bench: Any, tmp_path: Path) -> None:
    """As root everything can be written, so a file stands where the folder should be."""
    (tmp_path / "file").touch()
    flags = f"--config_loss contrastive --dataset_root {tmp_path / 'file' / 'data'}"
    outcome = bench(flags, f"--root_experiment_folder {tmp_path / 'experiments'}", root=None)
    assert outcome.code == 2
    assert "DataError: Glyphs cannot store its images in " in outcome.err
    assert "--dataset_root" in outcome.err
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("config", ["contrastive", "slade"])
@pytest.mark.usefixtures("nothing_trains")
def test_experiment_folder_that_cannot_be_written(
    config: str, bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = bench.tiny_student() if config == "slade" else f"--config_loss {config} {bench.tiny()}"
    (tmp_path / "file").touch()
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        outcome = bench(flags, root=root)
        assert outcome.code == 2
        assert f"ExperimentError: {tmp_path / 'file'} is not a writable folder" in outcome.err
        assert "--root_experiment_folder" in outcome.err
    monkeypatch.setattr("slade_plugin.runner.os.access", lambda path, mode: False)
    outcome = bench(flags, root=tmp_path / "new")
    assert outcome.code == 2
    assert "is not a writable folder" in outcome.err
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_numbers_that_are_not_finite_end_the_run(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host logs that and reports an accuracy of 0, with exit code 0."""
    from slade_plugin.method.models import conv4

    original = conv4.forward

    def forward(self: Any, images: torch.Tensor) -> torch.Tensor:
        return original(self, images) * float("nan")

    monkeypatch.setattr(conv4, "forward", forward)
    outcome = bench(f"--config_loss contrastive {bench.tiny()}", root=tmp_path)
    assert outcome.code == 3
    assert "DivergenceError: the run stopped: " in outcome.err
    assert "NaN" in outcome.err
    assert "lower learning rate" in outcome.err


def test_with_debug_the_traceback_is_shown_too(bench: Any, tmp_path: Path) -> None:
    outcome = bench("--config_loss slade --patience x --debug", root=tmp_path)
    assert outcome.code == 2
    assert "Traceback (most recent call last)" in outcome.err
    assert "patience is 'x'; expected an integer >= 0" in outcome.err
    assert SladeRunner.__name__ in outcome.err or "runner.py" in outcome.err
