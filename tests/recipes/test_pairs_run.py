"""The paper's pairs of data sets: what the configs bring, and small runs through all stages."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from slade_plugin.datasets import NABirds

PHOTOGRAPHS = {"dataloader_num_workers": 2, "freeze_trunk_batchnorm": True, "batch_size": 32}


@pytest.mark.parametrize("loss", ["slade", "slade_ms"])
def test_every_stage_gets_what_photographs_need(bench: Any, loss: str) -> None:
    """Though the method brings its own trainer."""
    stages = bench.stages(f"--config_loss {loss} --config_dataset cub200_nabirds")
    assert stages.keys() == {"teacher", "student", "baseline"}
    for name, args in stages.items():
        (trainer,) = args.trainer.values()
        assert PHOTOGRAPHS.items() <= trainer.items(), name
        assert args.models["trunk"] == {"resnet50": {"weights": "IMAGENET1K_V1"}}
        assert args.models["embedder"] == {"MLP": {"layer_sizes": [128]}}
        assert args.optimizers["trunk_optimizer"]["RMSprop"]["lr"] == 1e-6
        assert args.transforms["eval"] == {"Resize": {"size": 256}, "CenterCrop": {"size": 227}}
        assert args.dataset == {"CUB200Files": {}}
        ((_, tester),) = args.tester.items()
        assert tester["dataloader_num_workers"] == 2
    student = stages["student"]
    assert student.pseudo_labels["num_clusters"] == 400  # the poster's best on NABirds
    assert "basis_loss_optimizer" in student.optimizers
    assert student.num_epochs_train == stages["teacher"].num_epochs_train == 20


def test_another_trunk_can_be_named(bench: Any) -> None:
    config = bench.config("--config_dataset cub200_nabirds --config_models swav")
    (trunk,) = config.models["trunk"]
    assert trunk == "TorchvisionTrunk"


def test_birds_run_through_all_stages(bench: Any, birds_root: Path, tmp_path: Path) -> None:
    flags = bench.tiny_photographs() + "--config_dataset cub200_nabirds"
    outcome = bench.on(birds_root)(flags, root=tmp_path)
    assert outcome.code == 0, outcome.err
    folder = tmp_path / "slade_seed0"
    (scheme,) = (path.stem for path in (folder / "pseudo_labels").glob("*.json"))
    assert scheme == "Test50_50_Partitions4_0"  # the first of MLRC's four folds
    record = json.loads((folder / "pseudo_labels" / f"{scheme}.json").read_text())
    assert (record["num_images"], record["num_clusters"]) == (32, 4)
    assert record["pool_sha256"] == NABirds(birds_root).fingerprint
    assert "nmi" in str(record["agreement"]).lower()
    assert re.search(r"\| student +\| test +\| \*\*mean\*\*", outcome.out)
