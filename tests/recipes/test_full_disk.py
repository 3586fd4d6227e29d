"""A disk that fills up again and again while a command runs, and what it leaves."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from slade_plugin.base.errors import DataError, ExperimentError
from slade_plugin.data.datasets import FolderImages
from slade_plugin.data.datasets.stored_images import store
from slade_plugin.method.pseudo_labels.record import PseudoLabels, save_pseudo_labels
from slade_plugin.method.self_supervised.trunk_file import save_trunk
from slade_plugin.stages.table import write_tables

LESS_THAN_A_RUN = (0, 3_000, 9_000, 20_000, 40_000, 70_000, 110_000, 160_000, 230_000)


def run_on_full_disks(bench: Any, flags: str, disk: Any) -> tuple[Any, list[str]]:
    """Runs and resumes a command with more and more room; returns its end and all messages."""
    messages: list[str] = []
    for room in (*LESS_THAN_A_RUN, None):
        if room is None:
            disk.free()
        else:
            disk.leave(room)
        begun = any(p.name in ("configs", "pipeline.json") for p in disk.folder.rglob("*"))
        resume = " --resume_training latest" if begun else ""
        outcome = bench(f"{flags} --experiment_name x{resume}", root=disk.folder)
        assert disk.temporary_files() == []
        if outcome.code == 0:
            break
        assert outcome.code == 2, outcome.err
        assert "Traceback" not in outcome.err
        errors = [line for line in outcome.err.splitlines() if "Error: " in line]
        assert len(errors) == 1, outcome.err
        assert any(text in errors[0] for text in ("No space", "too large", "disk")), errors
        messages.append(errors[0])
    return outcome, messages


@pytest.mark.slow
@pytest.mark.parametrize("tensorboard", [True, False])
def test_an_experiment_survives_full_disks(
    bench: Any, small_disk: Any, tmp_path: Path, tensorboard: bool
) -> None:
    """Configs, databases, CSV files, TensorBoard's events, checkpoints."""
    flags = f"--config_loss contrastive {bench.tiny(epochs=2)}"
    flags = flags.replace("tensorboard False", f"tensorboard {tensorboard}")
    outcome, messages = run_on_full_disks(bench, flags, small_disk)
    assert outcome.code == 0, outcome.err
    assert len(set(messages)) > 2  # it ended at different files
    assert bench(f"{flags} --experiment_name whole", root=tmp_path).code == 0
    assert bench.tensors(small_disk.folder / "x") == bench.tensors(tmp_path / "whole")


@pytest.mark.long
def test_self_training_survives_full_disks(bench: Any, small_disk: Any, tmp_path: Path) -> None:
    """The same with pseudo labels, the state of the stages, and tables."""
    flags = bench.tiny_student("slade_pseudo_label")
    outcome, messages = run_on_full_disks(bench, flags, small_disk)
    assert outcome.code == 0, outcome.err
    assert len(set(messages)) > 2
    assert bench(f"{flags} --experiment_name whole", root=tmp_path).code == 0
    table = "results/table.csv"
    found = (small_disk.folder / "x" / table).read_text()
    assert found == (tmp_path / "whole" / table).read_text()


def rows(value: float) -> dict[str, Any]:
    return {"teacher": {"test": {"precision_at_1": {"scheme0": value}}}}


WRITERS = {
    "tables": lambda folder: write_tables(folder, rows(50.0), {"teacher": "teacher"}),
    "pseudo labels": lambda folder: save_pseudo_labels(
        PseudoLabels(np.arange(4_000) % 7, {"num_clusters": 7, "min_cluster_size": 1}), folder, "s"
    ),
    "trunk": lambda folder: save_trunk(torch.nn.Linear(90, 90), {}, folder, "s"),
    "rendered images": lambda folder: store(
        "Glyphs", folder, "glyphs", np.zeros((9, 28, 28), np.uint8), {}, {"labeled": []}
    ),
}


@pytest.mark.parametrize("name", WRITERS)
def test_what_is_made_between_runs_is_whole_or_absent(name: str, small_disk: Any) -> None:
    (small_disk.folder / "s").mkdir()
    small_disk.leave(0)
    with pytest.raises(ExperimentError, match=r"Cannot write .*: (No space|File too large)"):
        WRITERS[name](small_disk.folder)
    files = [p.name for p in small_disk.folder.rglob("*") if p.is_file()]
    assert files in ([], [".filling"])
    small_disk.free()
    WRITERS[name](small_disk.folder)
    assert small_disk.temporary_files() == []


def test_a_cache_of_images_resumes_after_a_full_disk(small_disk: Any, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (6, 100, 100, 3), np.uint8)
    for number, pixels in enumerate(noise):
        path = tmp_path / "photos" / f"kind{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)

    def build() -> Any:
        cache = {"short_side": 90, "folder": str(small_disk.folder / "cache")}
        return FolderImages(root="", path=str(tmp_path / "photos"), cache=cache)

    small_disk.leave(60_000)
    with pytest.raises(DataError, match=r"cannot be read or written: (No space|File too|0\.)"):
        build()
    assert not list((small_disk.folder / "cache").glob("*.json"))
    small_disk.free()
    assert len(build()) == 6
    assert len(list((small_disk.folder / "cache").glob("*.json"))) == 1
