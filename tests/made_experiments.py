"""Experiments as the host leaves them, with scores that are given instead of trained."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from pytorch_metric_learning.testers import GlobalEmbeddingSpaceTester
from pytorch_metric_learning.utils.logging_presets import HookContainer, get_record_keeper

from slade_plugin.stages.table import METRICS

CONFIG: dict[str, Any] = {
    "dataset": {"Glyphs": {"subset": "labeled"}},
    "split_manager": {
        "ClassDisjointSplitManager": {
            "test_size": 0.5,
            "test_start_idx": 0.5,
            "num_training_partitions": 4,
            "num_training_sets": 2,
        }
    },
    "models": {"trunk": {"conv4": {}}, "embedder": {"MLP": {"layer_sizes": [16]}}},
    "loss_funcs": {"metric_loss": {"ContrastiveLoss": {"neg_margin": 1}}},
    "ensemble": {"ConcatenateEmbeddings": {}},
    "tester": {"GlobalEmbeddingSpaceTester": {"normalize_embeddings": True}},
    "transforms": {"train": {}, "eval": {}},
    "num_epochs_train": 2,
    "save_interval": 1,
}
SCHEMES = ("Test50_50_Partitions4_0", "Test50_50_Partitions4_1")


def _write(group: str, folder: Path, split: str, epoch: int | str, map_at_r: float) -> None:
    """Writes accuracies by the host's hooks: RP is MAP@R + 10 points, P@1 + 20."""
    keeper, _, _ = get_record_keeper(str(folder / "saved_csvs"))
    hooks = HookContainer(keeper, record_group_name_prefix=group)
    tester = GlobalEmbeddingSpaceTester(dataloader_num_workers=0, end_of_testing_hook=None)
    values = zip(METRICS, (map_at_r, map_at_r + 10, map_at_r + 20), strict=True)
    accuracies = {f"{metric}_level0": value / 100 for metric, value in values}
    tester.all_accuracies = {split: {"epoch": epoch, **accuracies}}
    tester.dim_reduced_embeddings = {}
    if epoch == "trained":  # as the host's ensemble
        name = hooks.record_group_name(tester, split)
        keeper.update_records(
            {**tester.all_accuracies[split], "trained_status": "trained"},
            global_iteration=1,
            input_group_name_for_non_objects=name,
        )
    else:
        hooks.end_of_testing_hook(tester)
    keeper.save_records()


@pytest.fixture(scope="session")
def make_experiment() -> Callable[..., Path]:
    """Makes a plain experiment: MAP@R, percent, of each split scheme, by split."""

    def make(
        folder: Path,
        scores: Mapping[str, tuple[float, ...]],
        ensemble: Mapping[str, float] | None = None,
        loss: str = "contrastive",
        **config: Any,
    ) -> Path:
        (folder / "configs").mkdir(parents=True)
        areas = {
            "config_foldernames": ["config_all"],
            "config_loss": ["default", loss],
        }
        for name, content in (("all", {**CONFIG, **config}), ("foldernames", areas)):
            text = yaml.safe_dump(content)
            (folder / "configs" / f"config_{name}.yaml").write_text(text)
        schemes = SCHEMES[: max((len(v) for v in scores.values()), default=2)]
        for i, scheme in enumerate(schemes):
            (folder / scheme / "saved_models").mkdir(parents=True)
            (folder / scheme / "saved_csvs").mkdir()
            for suffix in ("best2", "2"):
                (folder / scheme / "saved_models" / f"trunk_{suffix}.pth").write_text(
                    str(folder / scheme)
                )
            for split, values in scores.items():
                _write("", folder / scheme, split, 2, values[i])
        (folder / "meta_logs" / "saved_csvs").mkdir(parents=True)
        for split, value in (ensemble or {}).items():
            _write("ConcatenateEmbeddings", folder / "meta_logs", split, "trained", value)
        return folder

    return make
