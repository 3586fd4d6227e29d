"""A checkpoint is whole or absent, whatever stops the run; records follow the checkpoints."""

import csv
import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pytorch_metric_learning import losses
from pytorch_metric_learning.utils import common_functions as pml_cf
from pytorch_metric_learning.utils import logging_presets

from slade_plugin.base.errors import CheckpointError, ConfigError
from slade_plugin.host.checkpoints import checkpoint_files
from slade_plugin.host.hooks import CheckpointedHookContainer

pytestmark = pytest.mark.host

CPU = torch.device("cpu")
MAP = "mean_average_precision_at_r"
MAP_KEY = f"{MAP}_level0"


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_files, "flush_to_disk", lambda path: None)


class Killed(BaseException):
    """Stands for a process that is killed: nothing may catch it."""


class LossWithBuffer(torch.nn.Module):
    """A parameter and a running statistic, as the basis loss has."""

    def __init__(self) -> None:
        super().__init__()
        self.basis = torch.nn.Parameter(torch.randn(3, 2))
        self.register_buffer("running_mean", torch.randn(2))
        self.calls = 0


class FakeTester:
    """The part of the host's tester that hooks talk to."""

    label_hierarchy_level = 0

    def __init__(self, metrics: tuple[str, ...] = (MAP,)) -> None:
        self.accuracy_calculator = SimpleNamespace(get_curr_metrics=lambda: list(metrics))
        self.all_accuracies: dict[str, dict[str, float]] = {}
        self.dim_reduced_embeddings: dict[str, Any] = {}
        self.next_accuracy = 0.0
        self.hook: Callable[[Any], None] | None = None

    def description_suffixes(self, base: str) -> str:
        return f"{base}_fake"

    def accuracies_keyname(
        self, metric: str, average: bool = False, label_hierarchy_level: int = 0
    ) -> str:
        return f"AVERAGE_{metric}" if average else f"{metric}_level{label_hierarchy_level}"

    def test(self, dataset_dict: Any, epoch: int, *_: Any) -> None:
        self.all_accuracies = {
            name: {"epoch": epoch, MAP_KEY: self.next_accuracy} for name in dataset_dict
        }
        assert self.hook is not None
        self.hook(self)


def make_trainer(seed: int, width: int = 2) -> Any:
    """Models with optimizer state, a scheduler, a loss and a miner."""
    torch.manual_seed(seed)
    models = {"trunk": torch.nn.Linear(3, width), "embedder": torch.nn.BatchNorm1d(width)}
    loss_funcs = {"metric_loss": losses.ContrastiveLoss(), "basis_loss": LossWithBuffer()}
    trunk_optimizer = torch.optim.Adam(models["trunk"].parameters(), lr=0.1)
    basis_optimizer = torch.optim.SGD(loss_funcs["basis_loss"].parameters(), lr=0.1, momentum=0.9)
    trainer = SimpleNamespace(
        models=models,
        optimizers={"trunk_optimizer": trunk_optimizer, "basis_loss_optimizer": basis_optimizer},
        lr_schedulers={
            "trunk_scheduler_by_epoch": torch.optim.lr_scheduler.StepLR(trunk_optimizer, 1, 0.5)
        },
        loss_funcs=loss_funcs,
        mining_funcs={},
        epoch=0,
        step_lr_plateau_schedulers=lambda accuracy: None,
    )
    train_one_step(trainer)
    return trainer


def train_one_step(trainer: Any) -> None:
    output = trainer.models["embedder"](trainer.models["trunk"](torch.randn(4, 3)))
    (output.square().mean() + trainer.loss_funcs["basis_loss"].basis.square().sum()).backward()
    for optimizer in trainer.optimizers.values():
        optimizer.step()
        optimizer.zero_grad()
    for scheduler in trainer.lr_schedulers.values():
        scheduler.step()


def state(trainer: Any) -> dict[str, Any]:
    """Everything that is saved, as plain values."""

    def plain(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value.tolist()
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [plain(v) for v in value]
        return value

    groups = ("models", "optimizers", "lr_schedulers", "loss_funcs", "mining_funcs")
    return {
        name: plain(entry.state_dict())
        for group in groups
        for name, entry in getattr(trainer, group).items()
    }


def make_hooks(folder: Path | None = None, **kwargs: Any) -> CheckpointedHookContainer:
    keeper = None
    if folder is not None:
        keeper, _, _ = logging_presets.get_record_keeper(str(folder))
    return CheckpointedHookContainer(keeper, **kwargs)


def load(folder: Path, seed: int = 99, **kwargs: Any) -> tuple[int, Any]:
    """Loads into a trainer of other weights."""
    trainer = make_trainer(seed)
    return make_hooks().load_latest_saved_models(trainer, str(folder), CPU, **kwargs), trainer


FILES = (
    "trunk", "embedder", "trunk_optimizer", "basis_loss_optimizer", "trunk_scheduler_by_epoch",
    "metric_loss", "basis_loss",
)  # fmt: skip


# ---- same files as the host ---------------------------------------------------------------------


def test_same_files_and_contents_as_the_host(tmp_path: Path) -> None:
    trainer = make_trainer(0)
    trainer.models["trunk"] = torch.nn.DataParallel(trainer.models["trunk"])
    make_hooks().save_models(trainer, str(tmp_path / "ours"), 3)
    (tmp_path / "hosts").mkdir()
    logging_presets.HookContainer(None).save_models(trainer, str(tmp_path / "hosts"), 3)
    ours = {p.name for p in (tmp_path / "ours").iterdir()}
    hosts = {p.name for p in (tmp_path / "hosts").iterdir()}
    assert hosts == {f"{name}_3.pth" for name in FILES}
    assert ours == hosts | {"checkpoint_3.json"}
    for name in hosts:
        saved = [torch.load(tmp_path / who / name, weights_only=True) for who in ("ours", "hosts")]
        assert str(saved[0]) == str(saved[1])


def test_the_host_loads_our_checkpoint(tmp_path: Path) -> None:
    saved = make_trainer(0)
    make_hooks().save_models(saved, str(tmp_path), 2)
    trainer = make_trainer(1)
    host = logging_presets.HookContainer(None)
    assert host.load_latest_saved_models(trainer, str(tmp_path), CPU) == 3
    assert state(trainer) == state(saved)


def test_we_load_the_hosts_checkpoint(tmp_path: Path) -> None:
    saved = make_trainer(0)
    logging_presets.HookContainer(None).save_models(saved, str(tmp_path), 2)
    epoch, trainer = load(tmp_path)
    assert epoch == 3
    assert state(trainer) == state(saved)


def test_missing_file_of_a_host_checkpoint_is_named(tmp_path: Path) -> None:
    """The host itself only warns and goes on with random weights."""
    logging_presets.HookContainer(None).save_models(make_trainer(0), str(tmp_path), 2)
    (tmp_path / "basis_loss_2.pth").unlink()
    with pytest.raises(CheckpointError, match=r"basis_loss_2\.pth is missing"):
        load(tmp_path)


def test_everything_is_restored(tmp_path: Path) -> None:
    """Weights, buffers of loss and batch norm, momenta, step counts and learning rates."""
    saved = make_trainer(0)
    make_hooks().save_models(saved, str(tmp_path), 1)
    _, trainer = load(tmp_path)
    assert state(trainer) == state(saved)
    buffer = trainer.loss_funcs["basis_loss"].running_mean
    assert torch.equal(buffer, saved.loss_funcs["basis_loss"].running_mean)
    assert trainer.optimizers["trunk_optimizer"].state_dict()["state"][0]["step"] == 1
    torch.manual_seed(5)
    train_one_step(saved)
    torch.manual_seed(5)
    train_one_step(trainer)
    assert state(trainer) == state(saved)


def test_everything_is_flushed_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut a name must not stand for a file whose contents never reached the disk."""
    events: list[str] = []
    replace = os.replace

    def recorded_replace(source: Path, target: Path) -> None:
        events.append(f"rename {Path(source).name}")
        replace(source, target)

    monkeypatch.setattr(
        checkpoint_files, "flush_to_disk", lambda path: events.append(f"flush {path.name}")
    )
    monkeypatch.setattr(os, "replace", recorded_replace)
    make_hooks().save_models(make_trainer(0), str(tmp_path), 1)
    flushed = [e.removeprefix("flush ") for e in events[:RENAMES]]
    renamed = [e.removeprefix("rename ") for e in events[RENAMES:-1]]
    assert sorted(flushed) == sorted(renamed)
    assert events[-1] == f"flush {tmp_path.name}"


def test_manifest_lists_every_file(tmp_path: Path) -> None:
    make_hooks().save_models(make_trainer(0), str(tmp_path), "best4")
    content = json.loads((tmp_path / "checkpoint_best4.json").read_text())
    assert content["suffix"] == "best4"
    assert set(content["sha256"]) == {f"{name}_best4.pth" for name in FILES}


def test_previous_checkpoint_is_removed(tmp_path: Path) -> None:
    hooks, trainer = make_hooks(), make_trainer(0)
    hooks.save_models(trainer, str(tmp_path), 1)
    del trainer.loss_funcs["metric_loss"]  # its file is known from the manifest
    hooks.save_models(trainer, str(tmp_path), 2, 1)
    assert not list(tmp_path.glob("*_1.*"))
    assert len(list(tmp_path.glob("*_2.*"))) == len(FILES)


def test_same_suffix_is_not_removed(tmp_path: Path) -> None:
    make_hooks().save_models(make_trainer(0), str(tmp_path), "best2", "best2")
    assert (tmp_path / "trunk_best2.pth").exists()


def test_nothing_is_written_if_models_are_not_saved(tmp_path: Path) -> None:
    make_hooks(save_models=False).save_models(make_trainer(0), str(tmp_path / "new"), 1)
    assert not (tmp_path / "new").exists()


def test_two_parts_of_one_name_are_refused(tmp_path: Path) -> None:
    trainer = make_trainer(0)
    trainer.mining_funcs["trunk"] = torch.nn.Identity()
    with pytest.raises(
        CheckpointError, match=r"mining_funcs\.trunk has the same name as another part"
    ):
        make_hooks().save_models(trainer, str(tmp_path), 1)


def test_trainer_without_trunk_is_refused(tmp_path: Path) -> None:
    trainer = make_trainer(0)
    del trainer.models["trunk"]
    with pytest.raises(CheckpointError, match="no model named 'trunk', only embedder"):
        make_hooks().save_models(trainer, str(tmp_path), 1)


# ---- stopped at any moment ----------------------------------------------------------------------

RENAMES = len(FILES) + 1  # every file and the manifest
RENAMES_BACK = 2  # the optimizer and the scheduler of the old trunk, before it is removed
REMOVALS = len(FILES) + 1 + 3  # every old file and the manifest; before, three files of that name
STEPS = {
    **{f"torch.save {n}": (torch, "save", n) for n in range(len(FILES))},
    **{f"rename {n}": (os, "replace", n) for n in range(RENAMES + RENAMES_BACK)},
    **{f"removal {n}": (Path, "unlink", n) for n in range(REMOVALS)},
}


def kill_at(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, at: int) -> list[int]:
    """Raises instead of the call number `at`, counted from 0."""
    original = getattr(owner, name)
    calls: list[int] = []

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(len(calls))
        if calls[-1] == at:
            raise Killed
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, counted)
    return calls


def test_every_step_of_a_save_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps below are all there are."""
    hooks = make_hooks()
    hooks.save_models(make_trainer(1), str(tmp_path), 1)
    calls = {
        name: kill_at(monkeypatch, owner, name, -1)
        for owner, name in ((torch, "save"), (os, "replace"), (Path, "unlink"))
    }
    hooks.save_models(make_trainer(2), str(tmp_path), 2, 1)
    counts = {name: len(made) for name, made in calls.items()}
    assert counts == {
        "save": len(FILES),
        "replace": RENAMES + RENAMES_BACK,
        "unlink": REMOVALS,
    }
    assert sum(counts.values()) == len(STEPS)


@pytest.mark.parametrize(("owner", "name", "at"), STEPS.values(), ids=STEPS.keys())
def test_killed_save_leaves_the_old_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, at: int
) -> None:
    old, new = make_trainer(1), make_trainer(2)
    hooks = make_hooks()
    hooks.save_models(old, str(tmp_path), 1)
    with monkeypatch.context() as patch:
        kill_at(patch, owner, name, at)
        with pytest.raises(Killed):
            hooks.save_models(new, str(tmp_path), 2, 1)
    _, suffix = pml_cf.latest_version(str(tmp_path))
    epoch, trainer = load(tmp_path)
    assert epoch == suffix + 1, "the host's own search must find the same checkpoint"
    assert state(trainer) == state({2: old, 3: new}[epoch])
    assert not list(tmp_path.glob("*.part"))
    # The epoch is trained again, and everything ends as if nothing had happened.
    if epoch == 2:
        hooks.save_models(new, str(tmp_path), 2, 1)
    assert {p.name for p in tmp_path.glob("*_2.*")} == {f"{n}_2.pth" for n in FILES} | {
        "checkpoint_2.json"
    }
    assert not list(tmp_path.glob("*_1.pth"))
    epoch, trainer = load(tmp_path)
    assert (epoch, state(trainer)) == (3, state(new))


@pytest.mark.parametrize("at", range(RENAMES))
def test_killed_while_overwriting_leaves_no_mixture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Only ``best0`` is ever overwritten, when a run starts anew; it is then whole or absent."""
    hooks = make_hooks()
    new = make_trainer(2)
    hooks.save_models(make_trainer(1), str(tmp_path), "best0")
    with monkeypatch.context() as patch:
        kill_at(patch, os, "replace", at)
        with pytest.raises(Killed):
            hooks.save_models(new, str(tmp_path), "best0")
    before = make_trainer(99)
    assert pml_cf.latest_version(str(tmp_path))[0] == 0
    epoch, trainer = load(tmp_path)
    committed = at > RENAMES - 1 - RENAMES_BACK
    assert (epoch, state(trainer)) == (1, state(new if committed else before))


def test_leftovers_are_swept_when_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before the commit: manifest and some files of epoch 2 lie there without a trunk."""
    hooks = make_hooks()
    hooks.save_models(make_trainer(1), str(tmp_path), 1)
    with monkeypatch.context() as patch:
        kill_at(patch, os, "replace", RENAMES - 1 - RENAMES_BACK)  # the trunk's
        with pytest.raises(Killed):
            hooks.save_models(make_trainer(2), str(tmp_path), 2, 1)
    assert (tmp_path / "embedder_2.pth").exists()
    load(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {f"{n}_1.pth" for n in FILES} | {
        "checkpoint_1.json"
    }


@pytest.mark.parametrize(("old", "new"), [(1, 2), ("best1", "best2")])
def test_predecessor_is_swept_when_loading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: int | str, new: int | str
) -> None:
    """Killed before its removal: the host would keep it for good."""
    hooks = make_hooks()
    hooks.save_models(make_trainer(0), str(tmp_path), "best0")
    hooks.save_models(make_trainer(1), str(tmp_path), old)
    hooks.save_models(make_trainer(2), str(tmp_path), new)
    load(tmp_path)
    suffixes = {p.stem.removeprefix("checkpoint_") for p in tmp_path.glob("*.json")}
    assert suffixes == {"best0", str(new)}
    assert len(list(tmp_path.glob("*.pth"))) == 2 * len(FILES)


def test_files_of_others_stay(tmp_path: Path) -> None:
    make_hooks().save_models(make_trainer(1), str(tmp_path), 2)
    (tmp_path / "checkpoint_notes.json").write_text("{}")
    (tmp_path / "trunk_mine.pth").write_text("x")
    load(tmp_path)
    assert (tmp_path / "checkpoint_notes.json").exists()
    assert (tmp_path / "trunk_mine.pth").exists()


def test_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_hooks().save_models(make_trainer(1), str(tmp_path), 2)

    def locked(path: Path) -> str:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(checkpoint_files, "sha256_of_file", locked)
    with pytest.raises(CheckpointError, match=r"cannot read or change .*_2\.pth: Permission"):
        load(tmp_path)


def test_predecessor_of_another_kind_stays(tmp_path: Path) -> None:
    hooks = make_hooks()
    hooks.save_models(make_trainer(1), str(tmp_path), "best1")
    hooks.save_models(make_trainer(2), str(tmp_path), 2)
    load(tmp_path)
    assert (tmp_path / "trunk_best1.pth").exists()


# ---- disk full ----------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["save", "replace"])
@pytest.mark.parametrize("at", [0, 3, len(FILES) - 1])
def test_full_disk_names_the_file_and_keeps_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, at: int
) -> None:
    old = make_trainer(1)
    hooks = make_hooks()
    hooks.save_models(old, str(tmp_path), 1)
    owner: Any = torch if call == "save" else os
    original, calls = getattr(owner, call), []

    def full(*args: Any, **kwargs: Any) -> Any:
        calls.append(call)
        if len(calls) - 1 == at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(owner, call, full)
        with pytest.raises(
            CheckpointError, match=r"cannot write .*_2\.(pth|json): No space left on device"
        ):
            hooks.save_models(make_trainer(2), str(tmp_path), 2, 1)
    assert {p.name for p in tmp_path.iterdir()} == {f"{n}_1.pth" for n in FILES} | {
        "checkpoint_1.json"
    }
    epoch, trainer = load(tmp_path)
    assert (epoch, state(trainer)) == (2, state(old))


def test_full_disk_as_the_system_reports_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/dev/full takes every write and says that there is no room."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    trainer = make_trainer(0)
    (tmp_path / "embedder_1.pth.part").symlink_to("/dev/full")
    with pytest.raises(CheckpointError, match=r"cannot write .*embedder_1\.pth: No space"):
        make_hooks().save_models(trainer, str(tmp_path), 1)
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match=r"cannot write .*file/models"):
        make_hooks().save_models(make_trainer(0), str(tmp_path / "file" / "models"), 1)


def test_outdated_file_that_cannot_be_removed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = make_trainer(2)
    hooks = make_hooks()
    hooks.save_models(make_trainer(1), str(tmp_path), 1)
    original = Path.unlink

    def locked(path: Path, missing_ok: bool = False) -> None:
        if path.name == "basis_loss_1.pth":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        original(path, missing_ok=missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", locked)
        with pytest.raises(CheckpointError, match=r"basis_loss_1\.pth of an outdated checkpoint"):
            hooks.save_models(new, str(tmp_path), 2, 1)
    assert load(tmp_path)[0] == 3


# ---- damaged and foreign ------------------------------------------------------------------------


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


@pytest.mark.parametrize("damage", [flip_a_byte, cut_short])
@pytest.mark.parametrize("name", ["trunk", "basis_loss", "trunk_optimizer"])
def test_damaged_file_is_named_with_a_remedy(
    tmp_path: Path, damage: Callable[[Path], None], name: str
) -> None:
    make_hooks().save_models(make_trainer(0), str(tmp_path), 2)
    damage(tmp_path / f"{name}_2.pth")
    with pytest.raises(
        CheckpointError,
        match=rf"{name}_2\.pth is damaged: SHA-256 \w+, expected \w+ by checkpoint_2\.json; "
        "resume from the best checkpoint instead",
    ):
        load(tmp_path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    make_hooks().save_models(make_trainer(0), str(tmp_path), "best2")
    (tmp_path / "embedder_best2.pth").unlink()
    with pytest.raises(
        CheckpointError, match=r"embedder_best2\.pth is missing.*--resume_training latest"
    ):
        load(tmp_path, best=True)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"sha256": 3}'])
def test_damaged_manifest_is_named(tmp_path: Path, text: str) -> None:
    make_hooks().save_models(make_trainer(0), str(tmp_path), 2)
    (tmp_path / "checkpoint_2.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"checkpoint_2\.json is damaged"):
        load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04"])
def test_unreadable_host_checkpoint_is_named(tmp_path: Path, content: bytes) -> None:
    logging_presets.HookContainer(None).save_models(make_trainer(0), str(tmp_path), 2)
    (tmp_path / "embedder_2.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"embedder_2\.pth cannot be read as a checkpoint"):
        load(tmp_path)


def test_other_architecture_names_file_and_key(tmp_path: Path) -> None:
    make_hooks().save_models(make_trainer(0, width=4), str(tmp_path), 2)
    with pytest.raises(
        CheckpointError,
        match=r"trunk_2\.pth does not fit Linear: 'weight' has shape \(4, 3\) in the file, "
        r"expected \(2, 3\); the checkpoint belongs to another config",
    ):
        load(tmp_path)


def save_with_other_embedder(folder: Path, embedder: torch.nn.Module) -> None:
    trainer = make_trainer(0)
    trainer.models["embedder"] = embedder
    make_hooks().save_models(trainer, str(folder), 2)


def test_missing_key_is_named(tmp_path: Path) -> None:
    save_with_other_embedder(tmp_path, torch.nn.Identity())
    with pytest.raises(CheckpointError, match=r"embedder_2\.pth .*'weight' is not in the file"):
        load(tmp_path)


def test_unexpected_key_is_named(tmp_path: Path) -> None:
    larger = torch.nn.BatchNorm1d(2)
    larger.register_buffer("extra", torch.zeros(1))
    save_with_other_embedder(tmp_path, larger)
    with pytest.raises(CheckpointError, match=r"'extra' of the file is unknown to the model"):
        load(tmp_path)


def test_optimizer_of_other_models_is_named(tmp_path: Path) -> None:
    trainer = make_trainer(0)
    trainer.optimizers["trunk_optimizer"] = torch.optim.Adam([torch.nn.Parameter(torch.ones(1))])
    make_hooks().save_models(trainer, str(tmp_path), 2)
    with pytest.raises(
        CheckpointError, match=r"trunk_optimizer_2\.pth does not fit Adam: loaded state dict"
    ):
        load(tmp_path)


def test_part_that_was_not_saved_is_named(tmp_path: Path) -> None:
    trainer = make_trainer(0)
    del trainer.loss_funcs["basis_loss"]
    make_hooks().save_models(trainer, str(tmp_path), 2)
    with pytest.raises(
        CheckpointError, match=r"basis_loss_2\.pth is missing: the checkpoint was made without"
    ):
        load(tmp_path)


# ---- which checkpoint ---------------------------------------------------------------------------


def test_empty_folder_means_epoch_one(tmp_path: Path) -> None:
    before = make_trainer(99)
    for best in (False, True):
        epoch, trainer = load(tmp_path / "missing", best=best)
        assert (epoch, state(trainer)) == (1, state(before))


def test_latest_and_best(tmp_path: Path) -> None:
    hooks = make_hooks()
    best, latest = make_trainer(3), make_trainer(10)
    hooks.save_models(best, str(tmp_path), "best3")
    hooks.save_models(latest, str(tmp_path), 10)
    assert load(tmp_path)[0] == 11
    assert state(load(tmp_path)[1]) == state(latest)
    assert load(tmp_path, best=True)[0] == 4
    assert state(load(tmp_path, best=True)[1]) == state(best)


@pytest.mark.parametrize("best", [True, False])
def test_untrained_model_is_resumed(tmp_path: Path, best: bool) -> None:
    """The host would start from another random model and keep the records of the first."""
    untrained = make_trainer(1)
    make_hooks().save_models(untrained, str(tmp_path), "best0")
    epoch, trainer = load(tmp_path, best=best)
    assert (epoch, state(trainer)) == (1, state(untrained))


def test_best_that_does_not_exist_is_explained(tmp_path: Path) -> None:
    make_hooks().save_models(make_trainer(1), str(tmp_path), 4)
    with pytest.raises(
        CheckpointError, match=r"has no best model.*only epoch 4; .*--resume_training latest"
    ):
        load(tmp_path, best=True)


def test_device_is_found_by_itself(tmp_path: Path) -> None:
    make_hooks().save_models(make_trainer(1), str(tmp_path), 4)
    assert make_hooks().load_latest_saved_models(make_trainer(2), str(tmp_path)) == 5


# ---- the best epoch -----------------------------------------------------------------------------


class Run:
    """Hooks, tester and trainer of one experiment, as the host wires them."""

    def __init__(self, folder: Path, seed: int = 0, **kwargs: Any) -> None:
        self.models = folder / "models"
        self.csvs = folder / "csvs"
        self.hooks = make_hooks(self.csvs, **kwargs)
        self.trainer = make_trainer(seed)
        self.tester = FakeTester()
        self.tester.hook = self.hooks.end_of_testing_hook
        self.end_of_epoch = self.hooks.end_of_epoch_hook(
            self.tester, {"val": None}, str(self.models)
        )

    def evaluate_untrained(self, accuracy: float) -> None:
        for epoch in (-1, 0):
            self.tester.next_accuracy = accuracy
            self.hooks.run_tester_separately(self.tester, {"val": None}, epoch, None, None)
            self.hooks.record_keeper.save_records()
        self.hooks.save_models(self.trainer, str(self.models), "best0")

    def epoch(self, number: int, accuracy: float) -> None:
        self.trainer.epoch = number
        train_one_step(self.trainer)
        self.tester.next_accuracy = accuracy
        self.end_of_epoch(self.trainer)

    def resume(self, best: bool = False) -> int:
        return self.hooks.load_latest_saved_models(self.trainer, str(self.models), CPU, best=best)

    def recorded_epochs(self) -> list[int]:
        rows = self.hooks.record_keeper.query("SELECT epoch FROM accuracies_fake_VAL")
        return [int(row["epoch"]) for row in rows]

    def recorded_epochs_in_csv(self) -> list[int]:
        with (self.csvs / "accuracies_fake_VAL.csv").open(newline="") as stream:
            return [int(row["epoch"]) for row in csv.DictReader(stream)]

    def suffixes(self) -> set[str]:
        return {p.stem.removeprefix("trunk_") for p in self.models.glob("trunk_*.pth")
                if "optimizer" not in p.name and "scheduler" not in p.name}  # fmt: skip


def test_untrained_model_is_never_the_best(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.evaluate_untrained(0.9)
    run.epoch(1, 0.5)
    run.epoch(2, 0.4)
    best = run.hooks.get_best_epoch_and_accuracy(run.tester, "val")
    assert best == (1, 0.5)
    assert run.suffixes() == {"best0", "best1", "2"}


def test_untrained_model_can_be_the_best_as_in_the_host(tmp_path: Path) -> None:
    run = Run(tmp_path, untrained_model_can_be_best=True)
    run.evaluate_untrained(0.9)
    run.epoch(1, 0.5)
    assert run.hooks.get_best_epoch_and_accuracy(run.tester, "val") == (0, 0.9)
    assert run.suffixes() == {"best0", "1"}
    host = logging_presets.HookContainer(run.hooks.record_keeper)
    assert host.get_best_epoch_and_accuracy(run.tester, "val") == (0, 0.9)


def test_epochs_to_ignore_can_be_given(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.evaluate_untrained(0.9)
    run.epoch(1, 0.5)
    assert run.hooks.get_best_epoch_and_accuracy(run.tester, "val", (0, 1))[0] == -1


def test_best_is_replaced(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.evaluate_untrained(0.1)
    for number, accuracy in enumerate([0.2, 0.3, 0.25], start=1):
        run.epoch(number, accuracy)
    assert run.suffixes() == {"best0", "best2", "3"}


def test_switch_must_be_true_or_false() -> None:
    with pytest.raises(ConfigError, match="untrained_model_can_be_best is 'no', expected True or"):
        make_hooks(untrained_model_can_be_best="no")


def test_metric_that_is_not_computed_is_refused(tmp_path: Path) -> None:
    """The host raises a ValueError, which its own run loop empties."""
    with pytest.raises(
        ConfigError, match=f"primary_metric is '{MAP}', expected one of .*precision_at_1, NMI"
    ):
        make_hooks(tmp_path).end_of_epoch_hook(
            FakeTester(("precision_at_1", "NMI")), {}, str(tmp_path)
        )


# ---- records and checkpoints agree --------------------------------------------------------------


def test_records_without_checkpoint_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the records of epoch 3 were written, before its checkpoint."""
    run = Run(tmp_path)
    run.evaluate_untrained(0.1)
    run.epoch(1, 0.2)
    run.epoch(2, 0.3)
    with monkeypatch.context() as patch:
        kill_at(patch, torch, "save", 0)
        with pytest.raises(Killed):
            run.epoch(3, 0.9)
    assert run.recorded_epochs() == [-1, 0, 1, 2, 3]
    again = Run(tmp_path, seed=7)
    assert again.resume() == 3
    assert again.recorded_epochs() == [-1, 0, 1, 2]
    assert again.recorded_epochs_in_csv() == [-1, 0, 1, 2]
    assert again.hooks.get_best_epoch_and_accuracy(again.tester, "val") == (2, 0.3)
    again.epoch(3, 0.25)
    assert again.recorded_epochs() == again.recorded_epochs_in_csv() == [-1, 0, 1, 2, 3]
    assert again.suffixes() == {"best0", "best2", "3"}


def test_best_model_that_was_due_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the latest and the best checkpoint of epoch 2, which was the best."""
    run = Run(tmp_path)
    run.evaluate_untrained(0.1)
    run.epoch(1, 0.2)
    with monkeypatch.context() as patch:
        kill_at(patch, torch, "save", len(FILES))  # the first file of best2
        with pytest.raises(Killed):
            run.epoch(2, 0.3)
    assert run.suffixes() == {"best0", "best1", "2"}
    for best in (False, True):
        copied = tmp_path / f"best_{best}"
        shutil.copytree(tmp_path / "models", copied / "models")
        shutil.copytree(tmp_path / "csvs", copied / "csvs")
        again = Run(copied, seed=7)
        assert again.resume(best) == 3
        assert again.suffixes() == {"best0", "best2", "2"}
        assert state(again.trainer) == state(run.trainer)
        _, loaded = load(again.models, best=True)
        assert state(loaded) == state(run.trainer)


def test_epoch_that_was_not_the_best_makes_no_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path)
    run.evaluate_untrained(0.1)
    run.epoch(1, 0.3)
    run.epoch(2, 0.2)
    again = Run(tmp_path, seed=7)
    assert again.resume() == 3
    assert again.suffixes() == {"best0", "best1", "2"}


def test_damaged_latest_makes_no_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path)
    run.evaluate_untrained(0.1)
    run.epoch(1, 0.2)
    with monkeypatch.context() as patch:
        kill_at(patch, torch, "save", len(FILES))
        with pytest.raises(Killed):
            run.epoch(2, 0.3)
    flip_a_byte(run.models / "trunk_2.pth")
    again = Run(tmp_path, seed=7)
    assert again.resume(best=True) == 2
    assert again.suffixes() == {"best0", "best1", "2"}
    with pytest.raises(CheckpointError, match=r"trunk_2\.pth is damaged"):
        Run(tmp_path, seed=8).resume()


def test_untrained_best_is_replaced_if_it_may_be_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path, untrained_model_can_be_best=True)
    run.evaluate_untrained(0.1)
    with monkeypatch.context() as patch:
        kill_at(patch, torch, "save", len(FILES))
        with pytest.raises(Killed):
            run.epoch(1, 0.3)
    again = Run(tmp_path, seed=7, untrained_model_can_be_best=True)
    again.resume()
    assert again.suffixes() == {"best1", "1"}


def make_iteration(run: Run) -> None:
    """What the host's hook asks of a trainer after an iteration."""
    run.trainer.loss_tracker = SimpleNamespace(losses={"total_loss": 0.5}, loss_weights={})
    run.trainer.get_global_iteration = lambda: 1
    run.hooks.end_of_iteration_hook(run.trainer)


def test_training_on_from_the_best_drops_what_came_after(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.evaluate_untrained(0.1)
    for number, accuracy in enumerate([0.5, 0.4, 0.3], start=1):
        run.epoch(number, accuracy)
    again = Run(tmp_path, seed=7)
    assert again.resume(best=True) == 2
    # Nothing is lost until training goes on: the experiment may have reached its last epoch.
    assert again.recorded_epochs() == [-1, 0, 1, 2, 3]
    assert again.suffixes() == {"best0", "best1", "3"}
    make_iteration(again)
    assert again.recorded_epochs() == again.recorded_epochs_in_csv() == [-1, 0, 1]
    assert again.suffixes() == {"best0", "best1"}
    make_iteration(again)
    # Stopped here: "latest" is now the best one.
    assert Run(tmp_path, seed=8).resume() == 2
    again.epoch(2, 0.6)
    assert again.recorded_epochs() == [-1, 0, 1, 2]
    assert again.suffixes() == {"best0", "best2", "2"}


def test_fresh_run_records_as_the_host(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert run.resume() == 1
    make_iteration(run)
    run.hooks.record_keeper.save_records()
    rows = run.hooks.record_keeper.query("SELECT total_loss FROM loss_histories")
    assert [row["total_loss"] for row in rows] == [0.5]
