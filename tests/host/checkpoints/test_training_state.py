"""A resumed run is the run without interruption: every weight, every record, every generator."""

import copy
import json
import random
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytorch_metric_learning.utils.common_functions as pml_cf
import torch
from powerful_benchmarker.api_parsers import BaseAPIParser
from pytorch_metric_learning import losses, miners
from pytorch_metric_learning.samplers import FixedSetOfTriplets, MPerClassSampler
from pytorch_metric_learning.testers import BaseTester
from pytorch_metric_learning.trainers import BaseTrainer
from torch import Tensor

from slade_plugin.base.seeding import seed_everything
from slade_plugin.data.samplers import ResumableSampler
from slade_plugin.host.api_parsers import APISladeStudent
from slade_plugin.host.checkpoints.training_state import TrainingState
from slade_plugin.host.hooks import CheckpointedHookContainer

LABELS = np.arange(4).repeat(3)


@pytest.fixture(autouse=True)
def keep_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pml_cf, "NUMPY_RANDOM", pml_cf.NUMPY_RANDOM)


# ---- whole experiments --------------------------------------------------------------------------

ONE_SCHEME: dict[str, Any] = {
    "ClassDisjointSplitManager": {
        "test_size": 0.5,
        "test_start_idx": 0.5,
        "num_training_partitions": 2,
        "num_training_sets": 1,
        "hierarchy_level": 0,
        "data_and_label_getter_keys": ["data", "label"],
    }
}


def contrastive(**entries: Any) -> dict[str, Any]:
    return {"metric_loss": {"ContrastiveLoss": entries}}


def trained_by(**trunk: Any) -> dict[str, Any]:
    return {
        "trunk_optimizer": {"Adam": {"lr": 0.001}, **trunk},
        "embedder_optimizer": {"RMSprop": {"lr": 0.001, "momentum": 0.9}},
    }


# Steps 1 to 3 are epoch 1, 4 to 6 epoch 2 and so on. A pass over the data has two to three batches.
SETTINGS: dict[str, tuple[dict[str, Any], int]] = {
    "default": ({}, 5),
    "the last step": ({}, 12),
    "two epochs a checkpoint": ({"save_interval": 2}, 12),
    "a pass that fills no whole batches": (
        {"sampler": {"MPerClassSampler": {"m": 4, "length_before_new_iter": 36}}, "batch": 16}, 8),
    "a pass as long as an epoch": (
        {"sampler": {"MPerClassSampler": {"m": 4, "length_before_new_iter": 24}}}, 5),
    "images that draw": ({"dataset": {"NoisyBlobs": {}}}, 8),
    "an untrained model, evaluated": ({"check_untrained_accuracy": True}, 1),
    "a sampler that keeps its triplets in order": (
        {"sampler": {"FixedSetOfTriplets": {"num_triplets": 10}}}, 8),
    "a miner that draws": (
        {"mining_funcs": {"tuple_miner": {"DistanceWeightedMiner": {}}}}, 8),
    "a miner with a loss": (
        {"mining_funcs": {"subset_batch_miner": {"MaximumLossMiner": {
            "loss": {"ContrastiveLoss": {}}, "output_batch_size": 6}}}}, 8),
    "a loss with a memory": (
        {"loss_funcs": {"metric_loss": {"CrossBatchMemory": {
            "loss": {"ContrastiveLoss": {}}, "embedding_size": 8, "memory_size": 40}}}}, 8),
    "a loss with parameters": (
        {"loss_funcs": {"metric_loss": {"ProxyNCALoss": {"embedding_size": 8}}},
         "optimizers": {**trained_by(), "metric_loss_optimizer": {"Adam": {"lr": 0.01}}}}, 8),
    "pairs that are first seen late": ({"loss_funcs": contrastive(neg_margin=0.001)}, 8),
    "schedulers": (
        {"optimizers": trained_by(
            scheduler_by_iteration={"ExponentialLR": {"gamma": 0.9}},
            scheduler_by_epoch={"StepLR": {"step_size": 2, "gamma": 0.5}},
            scheduler_by_plateau={"ReduceLROnPlateau": {"mode": "max", "patience": 0}},
        )}, 11),
    "clipped gradients": ({"optimizers": trained_by(clip_grad_norm=0.01)}, 8),
    "patience": ({"patience": 2, "num_epochs_train": 8}, 10),
}  # fmt: skip


class Stopped(BaseException):
    """Stands for a process that is killed."""


def as_in_another_process() -> None:
    """All generators stand anywhere."""
    random.seed()
    np.random.seed()  # noqa: NPY002
    torch.seed()


def saved_by(bench: Any, folder: Path) -> tuple[Any, Any, dict[Path, bytes]]:
    """Every saved tensor, row of a database and CSV file of the split schemes.

    The folder is that of an experiment or of one split scheme.
    """
    tables = {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("saved_csvs/*.csv")
        if "meta_logs" not in path.parts
    }
    found = bench.tensors(folder), bench.records(folder), tables
    assert all(found), "nothing to compare"
    return found


@pytest.fixture(scope="module")
def noisy_blobs(blobs: Any) -> Any:
    class NoisyBlobs(blobs):
        """Draws from every generator of a transform, as random crops and colours do."""

        def __getitem__(self, index: int) -> dict[str, Any]:
            item = super().__getitem__(index)
            noise = random.random() + np.random.rand()  # noqa: NPY002 - as transforms draw
            item["data"] = item["data"] + 0.1 * noise * torch.randn(item["data"].shape)
            return item

    return NoisyBlobs


@pytest.fixture(scope="module")
def run_twice(
    experiment_args: Callable[..., Namespace],
    make_parser: Callable[..., Any],
    full_getter: Any,
    noisy_blobs: Any,
) -> Callable[..., tuple[Path, Path]]:
    """Runs an experiment as a whole, and stopped and resumed; returns both folders."""
    if noisy_blobs not in full_getter.dataset:
        full_getter.register("dataset", noisy_blobs)

    def run(args: Namespace, cls: type) -> None:
        make_parser(copy.deepcopy(args), cls).run()

    def run_twice(
        root: Path,
        call: int,
        cls: type = BaseAPIParser,
        of: tuple[Any, str] = (BaseTrainer, "forward_and_backward"),
        **changes: Any,
    ) -> tuple[Path, Path]:
        changes = {"split_manager": ONE_SCHEME, "num_epochs_train": 4} | changes
        student = cls is not BaseAPIParser
        batch = changes.pop("batch", 8)
        whole, parts = (
            experiment_args(root / name, student=student, **changes) for name in ("whole", "parts")
        )
        for args in (whole, parts):
            (trainer,) = args.trainer.values()
            trainer |= {"iterations_per_epoch": 3, "batch_size": batch}
        run(whole, cls)
        calls = []
        original = getattr(*of)

        def stop(*args: Any, **kwargs: Any) -> Any:
            calls.append(args)
            if len(calls) == call:
                raise Stopped
            return original(*args, **kwargs)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(*of, stop)
            with pytest.raises(Stopped):
                run(parts, cls)
        as_in_another_process()
        parts.resume_training = "latest"
        run(parts, cls)
        return root / "whole", root / "parts"

    return run_twice


@pytest.mark.parametrize("name", SETTINGS)
def test_a_resumed_run_is_the_run_without_interruption(
    name: str, run_twice: Callable[..., tuple[Path, Path]], bench: Any, tmp_path: Path
) -> None:
    changes, step = SETTINGS[name]
    whole, parts = run_twice(tmp_path, step, **changes)
    assert saved_by(bench, parts) == saved_by(bench, whole)


def test_a_resumed_student_is_the_student_without_interruption(
    run_twice: Callable[..., tuple[Path, Path]],
    pseudo_label_folder: Path,
    bench: Any,
    tmp_path: Path,
) -> None:
    """With passes over D^l and D^u that end at different steps, and mined pairs on record."""
    labels = {
        "folder": str(pseudo_label_folder),
        "clusterer": {"KMeans": {"num_clusters": 8}},
    }
    length = {"MPerClassSampler": {"m": 4, "length_before_new_iter": 64}}
    settings = {"pseudo_labels": labels, "unlabeled_sampler": length}
    whole, parts = run_twice(tmp_path, 8, APISladeStudent, **settings)
    assert saved_by(bench, parts) == saved_by(bench, whole)


@pytest.mark.parametrize(
    ("of", "call"),
    [
        ((BaseTester, "test"), 2),  # of the untrained model, after that of its trunk
        ((CheckpointedHookContainer, "save_models"), 1),  # the untrained one
        ((CheckpointedHookContainer, "save_models"), 2),  # of epoch 1, whose records are written
        ((CheckpointedHookContainer, "save_models"), 3),  # the best one, epoch 1
    ],
)
def test_stopped_between_records_and_checkpoint(
    of: tuple[Any, str],
    call: int,
    run_twice: Callable[..., tuple[Path, Path]],
    bench: Any,
    tmp_path: Path,
) -> None:
    whole, parts = run_twice(tmp_path, call, of=of, check_untrained_accuracy=True)
    assert saved_by(bench, parts) == saved_by(bench, whole)


@pytest.mark.parametrize("start", ["latest", "best"])
def test_a_run_that_is_made_longer_is_the_long_run(
    start: str,
    experiment_args: Callable[..., Namespace],
    make_parser: Callable[..., Any],
    bench: Any,
    tmp_path: Path,
) -> None:
    """From the last epoch, or again from the best one; but the summaries of both runs are kept."""

    def run(name: str, epochs: int, **changes: Any) -> None:
        changes |= {"num_epochs_train": epochs, "split_manager": ONE_SCHEME}
        args = experiment_args(tmp_path / name, student=False, **changes)
        make_parser(args, BaseAPIParser).run()

    run("whole", 4)
    run("parts", 3)
    scheme = "Test50_50_Partitions2_0"
    if start == "best":
        assert not (tmp_path / "parts" / scheme / "saved_models" / "trunk_best3.pth").exists()
    as_in_another_process()
    run("parts", 4, resume_training=start)
    whole, parts = (saved_by(bench, tmp_path / name / scheme) for name in ("whole", "parts"))
    assert parts == whole


def test_a_checkpoint_without_the_state_is_resumed_with_a_warning(
    experiment_args: Callable[..., Namespace],
    make_parser: Callable[..., Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Of the host or of an older version: with batches of its own, and only one line of warning."""
    changes = {"split_manager": ONE_SCHEME}
    make_parser(experiment_args(tmp_path / "run", student=False, **changes), BaseAPIParser).run()
    models = tmp_path / "run" / "Test50_50_Partitions2_0" / "saved_models"
    for path in models.glob("training_state_*.pth"):
        path.unlink()
    for path in models.glob("checkpoint_*.json"):
        content = json.loads(path.read_text())
        content.pop("records")
        content["sha256"] = {k: v for k, v in content["sha256"].items() if "training" not in k}
        path.write_text(json.dumps(content))
    changes |= {"num_epochs_train": 3, "resume_training": "latest"}
    with caplog.at_level("WARNING", logger="slade_plugin"):
        args = experiment_args(tmp_path / "run", student=False, **changes)
        make_parser(args, BaseAPIParser).run()
    (warning,) = [r for r in caplog.records if r.name.startswith("slade_plugin")]
    assert "has no training_state_2.pth" in warning.getMessage()
    assert (models / "trunk_3.pth").is_file()
    assert (models / "training_state_3.pth").is_file()


# ---- its parts ----------------------------------------------------------------------------------


def make_trainer(**parts: Any) -> Any:
    defaults = {"sampler": None, "dataset": range(12), "loss_funcs": {}, "mining_funcs": {}}
    return SimpleNamespace(**(defaults | parts))


def saved(trainer: Any, folder: Path) -> dict[str, Any]:
    """The state as it comes back from the disk."""
    torch.save(trainer.training_state.state_dict(), folder / "state.pth")
    state: dict[str, Any] = torch.load(folder / "state.pth", weights_only=True)
    return state


def with_state(**parts: Any) -> Any:
    trainer = make_trainer(**parts)
    trainer.training_state = TrainingState(trainer)
    return trainer


def batches(sampler: Any, number: int) -> list[list[int]]:
    """The host's loader over twelve numbers."""
    loader = pml_cf.get_train_dataloader(range(12), 5, sampler, 0, None)
    found, iterator = [], iter(loader)
    for _ in range(number):
        iterator, batch = pml_cf.try_next_on_generator(iterator, loader)
        found.append(batch.tolist())
    return found


def test_without_a_sampler_batches_are_those_of_the_hosts_loader(stand: Callable[[], Any]) -> None:
    seed_everything(0)
    expected, after = batches(None, 5), stand()
    seed_everything(0)
    assert batches(with_state().sampler, 5) == expected
    assert stand() == after


def test_every_loader_of_a_trainer_is_looked_after() -> None:
    sampler = MPerClassSampler(LABELS, m=2, length_before_new_iter=8)
    trainer = with_state(unlabeled_sampler=sampler, unlabeled_dataset=range(12))
    assert isinstance(trainer.sampler, ResumableSampler)
    assert trainer.unlabeled_sampler.sampler is sampler


def test_a_sampler_without_a_length_stays() -> None:
    """It may have no end."""
    endless = SimpleNamespace(__iter__=lambda: iter(int, 1))
    trainer = with_state(sampler=endless)
    assert trainer.sampler is endless
    assert trainer.training_state.state_dict()["samplers"] == {}


@pytest.mark.parametrize("make", [
    lambda: MPerClassSampler(LABELS, m=2, length_before_new_iter=8),
    lambda: FixedSetOfTriplets(LABELS, num_triplets=4),
])  # fmt: skip
def test_a_sampler_that_shuffles_in_place_goes_on_with_its_order(
    make: Callable[[], Any], tmp_path: Path
) -> None:
    seed_everything(0)
    trainer = with_state(sampler=make())
    for _ in range(3):
        list(trainer.sampler)
    state = saved(trainer, tmp_path)
    expected = [list(trainer.sampler) for _ in range(2)]
    seed_everything(0)
    other = with_state(sampler=make())
    other.training_state.load_state_dict(state)
    assert list(other.sampler) == []  # the pass that was finished
    assert [list(other.sampler) for _ in range(2)] == expected


def test_generators_are_set_with_the_first_index_and_only_once(
    stand: Callable[[], Any], tmp_path: Path
) -> None:
    seed_everything(0)
    trainer = with_state()
    next(iter(trainer.sampler))
    state, expected = saved(trainer, tmp_path), stand()
    seed_everything(1)
    other = with_state()
    other.training_state.load_state_dict(state)
    torch.rand(3)  # an iterator is made, a model is evaluated
    iterator = iter(other.sampler)
    assert stand() != expected
    next(iterator)
    assert stand() == expected
    torch.rand(1)
    list(iterator)
    list(other.sampler)
    assert stand() != expected


def test_a_state_that_is_saved_again_is_the_state_that_was_loaded(tmp_path: Path) -> None:
    seed_everything(0)
    state = saved(with_state(), tmp_path)
    other = with_state()
    other.training_state.load_state_dict(state)
    seed_everything(1)
    assert repr(saved(other, tmp_path)) == repr(state)


def memory(**kwargs: Any) -> Any:
    return losses.CrossBatchMemory(losses.ContrastiveLoss(), 2, memory_size=6, **kwargs)


def test_what_training_changed_is_restored(tmp_path: Path) -> None:
    trainer = with_state(loss_funcs={"metric_loss": memory()})
    embeddings, labels = torch.randn(4, 2), torch.tensor([0, 0, 1, 1])
    for _ in range(2):
        trainer.loss_funcs["metric_loss"](embeddings, labels)
    other = with_state(loss_funcs={"metric_loss": memory()})
    other.training_state.load_state_dict(saved(trainer, tmp_path))
    one, two = (t.loss_funcs["metric_loss"] for t in (trainer, other))
    assert (two.queue_idx, two.has_been_filled) == (one.queue_idx, one.has_been_filled) == (2, True)
    assert torch.equal(two.embedding_memory, one.embedding_memory)
    assert two.loss.reducer.reducers["pos_loss"]._record_these_stats == [
        *one.loss.reducer.reducers["pos_loss"]._record_these_stats
    ]


def test_what_a_config_sets_is_not(tmp_path: Path) -> None:
    """A run may be resumed with another margin; a part of another class keeps its own values."""
    state = saved(with_state(
        loss_funcs={"metric_loss": losses.ContrastiveLoss(neg_margin=1)},
        mining_funcs={"tuple_miner": miners.MultiSimilarityMiner(0.1)},
    ), tmp_path)  # fmt: skip
    assert state["attributes"] == {}
    trainer = with_state(loss_funcs={"metric_loss": memory()})
    trainer.loss_funcs["metric_loss"](torch.randn(4, 2), torch.tensor([0, 0, 1, 1]))
    other = with_state(loss_funcs={"metric_loss": losses.ContrastiveLoss(neg_margin=2)})
    before = dict(vars(other.loss_funcs["metric_loss"]))
    other.training_state.load_state_dict(saved(trainer, tmp_path))
    assert vars(other.loss_funcs["metric_loss"]) == before


def test_parameters_and_buffers_are_left_to_the_host(tmp_path: Path) -> None:
    loss = losses.ProxyNCALoss(num_classes=3, embedding_size=2)
    trainer = with_state(loss_funcs={"metric_loss": loss})
    with torch.no_grad():
        loss.proxies.add_(1)
    loss.eval()
    assert saved(trainer, tmp_path)["attributes"] == {}


class Odd(torch.nn.Module):
    """Attributes of every kind."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, Any] = {}
        self.set(0)

    def set(self, n: int) -> None:
        self.number, self.text, self.nothing = np.float64(n), f"{n}", None if n else 0
        self.array, self.triple = np.full(2, n, dtype=np.uint8), (n, [float("nan")], True)
        self.tensor = torch.full((2,), float(n), requires_grad=True)
        self.values["n"] = n
        self.function: Callable[[Tensor], Tensor] = torch.sin if n else torch.cos


def test_attributes_of_every_kind(tmp_path: Path) -> None:
    trainer, other = (with_state(loss_funcs={"metric_loss": Odd()}) for _ in range(2))
    assert saved(trainer, tmp_path)["attributes"] == {}  # NaN is not a change
    trainer.loss_funcs["metric_loss"].set(3)
    other.training_state.load_state_dict(saved(trainer, tmp_path))
    odd = other.loss_funcs["metric_loss"]
    assert (odd.number, odd.text, odd.nothing, odd.triple[::2]) == (3.0, "3", None, (3, True))
    assert (odd.array.dtype, odd.array.tolist(), odd.tensor.tolist()) == (np.uint8, [3, 3], [3, 3])
    assert (odd.values, odd.function) == ({"n": 0}, torch.cos)  # no values, so left as they are
