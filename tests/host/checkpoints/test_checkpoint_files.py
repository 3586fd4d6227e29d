"""The functions on files; that a run stopped at any step loses nothing is tested on the hooks."""

import json
import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from slade_plugin.base.errors import CheckpointError
from slade_plugin.host.checkpoints import checkpoint_files

CPU = torch.device("cpu")


def write(folder: Path, suffix: str, seed: int = 0) -> torch.nn.Module:
    """A checkpoint of one model; returns the model."""
    torch.manual_seed(seed)
    model = torch.nn.Linear(3, 2)
    saved = {"trunk": model, "trunk_optimizer": torch.optim.Adam(model.parameters())}
    writers = {name: partial(checkpoint_files.save_state, entry) for name, entry in saved.items()}
    checkpoint_files.write(folder, suffix, writers, {"losses": {"row": 3, "byte": 40}})
    return model


def test_what_is_written_is_found_checked_and_loaded(tmp_path: Path) -> None:
    written = write(tmp_path / "new" / "deep", "best4")
    folder = tmp_path / "new" / "deep"
    assert checkpoint_files.committed_suffixes(folder) == ["best4"]
    checkpoint_files.verify(folder, "best4")
    assert checkpoint_files.ends_of_records(folder, "best4") == {"losses": {"row": 3, "byte": 40}}
    model = torch.nn.Linear(3, 2)
    path = checkpoint_files.path_of(folder, "trunk", "best4")
    assert path == folder / "trunk_best4.pth"
    checkpoint_files.load_state(model, path, CPU)
    assert torch.equal(model.weight, written.weight)


def test_a_model_in_data_parallel_is_saved_and_loaded_without_it(tmp_path: Path) -> None:
    """The host's names, so that it can load the file."""
    inner = torch.nn.Linear(3, 2)
    checkpoint_files.save_state(torch.nn.DataParallel(inner), tmp_path / "m.pth")
    assert set(torch.load(tmp_path / "m.pth")) == {"weight", "bias"}
    other = torch.nn.DataParallel(torch.nn.Linear(3, 2))
    checkpoint_files.load_state(other, tmp_path / "m.pth", CPU)
    assert torch.equal(other.module.weight, inner.weight)


@pytest.mark.parametrize(
    ("suffixes", "best", "found"),
    [
        ([], False, None),
        (["best0"], False, ("best0", 0)),
        (["best0", "2", "10"], False, ("10", 10)),
        (["best2", "best10", "12"], True, ("best10", 10)),
    ],
)
def test_the_checkpoint_to_load(
    tmp_path: Path, suffixes: list[str], best: bool, found: tuple[str, int] | None
) -> None:
    """By number, not by letter."""
    for suffix in suffixes:
        (tmp_path / f"trunk_{suffix}.pth").touch()
    (tmp_path / "trunk_optimizer_99.pth").touch()  # not a trunk
    assert checkpoint_files.find_checkpoint(tmp_path, best) == found


def test_no_best_checkpoint_is_explained(tmp_path: Path) -> None:
    (tmp_path / "trunk_3.pth").touch()
    with pytest.raises(CheckpointError, match=r"no best model .* only epoch 3; resume"):
        checkpoint_files.find_checkpoint(tmp_path, best=True)


def test_a_file_of_another_checkpoint_is_named(tmp_path: Path) -> None:
    write(tmp_path, "2", seed=0)
    write(tmp_path, "4", seed=1)
    shutil.copy(tmp_path / "trunk_2.pth", tmp_path / "trunk_4.pth")
    checkpoint_files.verify(tmp_path, "2")
    with pytest.raises(CheckpointError, match=r"trunk_4\.pth is damaged: SHA-256 "):
        checkpoint_files.verify(tmp_path, "4")


def test_removing_takes_the_listed_files_and_no_others(tmp_path: Path) -> None:
    write(tmp_path, "2")
    write(tmp_path, "best2")
    checkpoint_files.delete(tmp_path, "2", ())
    assert {p.name for p in tmp_path.iterdir()} == {
        "trunk_best2.pth", "trunk_optimizer_best2.pth", "checkpoint_best2.json",
    }  # fmt: skip


def test_sweeping_leaves_the_untrained_and_later_checkpoints(tmp_path: Path) -> None:
    for suffix in ("best0", "2", "4", "6"):
        write(tmp_path, suffix)
    (tmp_path / "trunk_8.pth.part").touch()
    (tmp_path / "checkpoint_9.json").write_text(json.dumps({"sha256": {}}))  # never committed
    checkpoint_files.sweep(tmp_path, "4")
    assert checkpoint_files.committed_suffixes(tmp_path) == ["4", "6", "best0"]
    assert not list(tmp_path.glob("*.part"))
    assert not (tmp_path / "checkpoint_9.json").exists()


def test_what_was_committed_but_not_renamed_is_finished(tmp_path: Path) -> None:
    write(tmp_path, "2")
    os.replace(tmp_path / "trunk_optimizer_2.pth", tmp_path / "trunk_optimizer_2.pth.part")
    checkpoint_files.finish_interrupted(tmp_path, "2")
    checkpoint_files.verify(tmp_path, "2")
    assert not list(tmp_path.glob("*.part"))


def test_flushing_takes_files_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    (tmp_path / "file").write_text("x")
    checkpoint_files.flush_to_disk(tmp_path / "file")
    checkpoint_files.flush_to_disk(tmp_path)
    assert len(synced) == 2


def test_on_a_full_disk_the_checkpoint_before_stays_and_nothing_else(small_disk: Any) -> None:
    """torch's zip writer makes a RuntimeError of it, at some amounts of room."""
    folder = small_disk.folder / "saved_models"
    write(folder, "1")
    before = sorted(p.name for p in folder.iterdir())
    # Files of 2 and 3 kB: of a disk of its own, which gives out pages, the first one may fit.
    for room in (0, 4_096) if small_disk.mounted else range(0, 1_500, 100):
        small_disk.leave(room)
        with pytest.raises(CheckpointError, match=r"cannot write .*(No space left|too large)"):
            write(folder, "2", seed=1)
        assert sorted(p.name for p in folder.iterdir()) == before
    checkpoint_files.verify(folder, "1")
    small_disk.free()
    write(folder, "2", seed=1)
    assert checkpoint_files.committed_suffixes(folder) == ["1", "2"]


def test_a_bug_while_writing_leaves_nothing_and_is_raised(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        path.touch()
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        checkpoint_files.write(tmp_path, "1", {"trunk": fail}, None)
    assert list(tmp_path.iterdir()) == []
