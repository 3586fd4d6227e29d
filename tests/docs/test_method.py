"""The tables of docs/method.md: their defaults are those of the configs."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from slade_plugin.method.losses import FeatureBasisLoss
from slade_plugin.method.miners import BasisSimilarityMiner

ROOT = Path(__file__).parents[2]
MINER = "mining_funcs/unlabeled_tuple_miner/BasisSimilarityMiner"
BASIS = "loss_funcs/basis_loss/FeatureBasisLoss"
L_SD = f"{BASIS}/pairwise_loss/SimilarityDistribution"
K_MEANS = "pseudo_labels/clusterer/KMeans"
SAMPLER = "MPerClassSampler/m"
MARGINS = "loss_funcs/metric_loss/ContrastiveLoss"
RATE = "optimizers/trunk_optimizer"
PAPER, SWAV, SWAV_CONV4 = "slade_paper", "swav", "swav_conv4"

# Start of a row -> places in the config of which each value stands in its "default". A place is one
# of slade's student, or of another config or stage where it says so.
DEFAULTS: dict[str, list[str]] = {
    "teacher": [
        "teacher: num_epochs_train",
        "teacher: trainer/MetricLossOnly/iterations_per_epoch",
    ],
    "lambda1": ["trainer/SladeStudent/loss_weights/unlabeled_metric_loss"],
    "lambda2": [
        "trainer/SladeStudent/loss_weights/basis_loss",
        f"{PAPER}: trainer/SladeStudent/loss_weights/basis_loss",
    ],
    "margins": [f"{MARGINS}/pos_margin", f"{MARGINS}/neg_margin", f"teacher: {MARGINS}/neg_margin"],
    "unit length of f": [f"{BASIS}/normalize_embeddings", f"{PAPER}: {BASIS}/normalize_embeddings"],
    "scale of the logits": [f"{BASIS}/logit_scale", f"{PAPER}: {BASIS}/logit_scale"],
    "optimizer of W_a": ["optimizers/basis_loss_optimizer/Adam/lr"],
    "W_a alone first": ["trainer/SladeStudent/basis_warmup_iterations"],
    "centered responses": [f"{BASIS}/center_responses", f"{PAPER}: {BASIS}/center_responses"],
    "m of Eq. 5": [f"{L_SD}/margin"],
    "lambda_v": [f"{L_SD}/variance_weight"],
    "pairwise loss": [f"{BASIS}/pairwise_loss"],
    "steepness": [f"slade_local_ce: {BASIS}/pairwise_loss/LocalCE/scale"],
    "beta": [f"{BASIS}/momentum"],
    "correction of the running": [f"{BASIS}/bias_correction"],
    "gradient through Eq. 6": [f"{BASIS}/gradient_mode", f"{PAPER}: {BASIS}/gradient_mode"],
    "T1, T2": [f"{MINER}/positive_threshold", f"{MINER}/negative_threshold"],
    "a mined pair must agree": [
        f"{MINER}/require_agreement",
        f"{PAPER}: {MINER}/require_agreement",
    ],
    "start of mining": [f"{MINER}/start", f"{PAPER}: {MINER}/start"],
    "images per step": [
        "trainer/SladeStudent/batch_size",
        "trainer/SladeStudent/unlabeled_batch_size",
    ],
    "images per class": [f"sampler/{SAMPLER}", f"unlabeled_sampler/{SAMPLER}"],
    "start of the student": ["student_initialization"],
    "length of the student": ["num_epochs_train", "trainer/SladeStudent/iterations_per_epoch"],
    "learning rates": [
        f"{RATE}/Adam/lr",
        f"{RATE}/scheduler_by_epoch/FinalStepLR/share",
        f"{RATE}/scheduler_by_epoch/FinalStepLR/factor",
    ],
    "rounds": ["pipeline/rounds"],
    "clusterer": ["pseudo_labels/clusterer"],
    "k": [f"{K_MEANS}/num_clusters", f"folders: {K_MEANS}/num_clusters"],
    "iterations, restarts": [f"{K_MEANS}/num_iterations", f"{K_MEANS}/num_restarts"],
    "smallest cluster": ["pseudo_labels/min_cluster_size"],
    **{
        f"SwAV: {row}": [
            f"{name}: self_supervised/{o}" for name in (SWAV, SWAV_CONV4) for o in options
        ]
        for row, options in {
            "length": ["num_epochs"],
            "images per step": ["batch_size"],
            "prototypes": ["num_prototypes"],
            "prototypes frozen at first": ["frozen_prototype_epochs"],
            "projection head": ["projection_hidden_size", "projection_size"],
            "temperature": ["temperature"],
            "entropy of the codes": ["epsilon"],
            "Sinkhorn-Knopp": ["sinkhorn_iterations"],
            "queue": ["queue_length", "queue_start_epoch"],
            "learning rate": ["warmup_epochs", "final_lr_fraction"],
            "data loading": ["dataloader_num_workers"],
        }.items()
    },
}


def tables() -> list[list[str]]:
    """Rows of the tables of choices: choice, option, default, source."""
    text = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
    parts = [part.split("\n\n")[0] for part in text.split("| choice |")[1:]]
    lines = [line for part in parts for line in part.splitlines()[2:]]
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]


ROWS = tables()


def row_of(start: str) -> list[str]:
    exact = [row for row in ROWS if row[0] == start]
    (row,) = exact or [row for row in ROWS if row[0].startswith(start)]
    return row


@pytest.fixture(scope="module")
def configs(bench: Any) -> dict[str, Any]:
    """Stage or name to its merged config."""
    slade = bench.stages("--config_loss slade")
    swav = {
        name: bench.stages(f"--config_loss slade --config_self_supervised {name}")["student"]
        for name in (SWAV, SWAV_CONV4)
    }
    folders = "--config_loss slade --config_dataset folders --labeled x --unlabeled y"
    return {
        "": slade["student"],
        "teacher": slade["teacher"],
        "slade_local_ce": bench.stages("--config_loss slade_local_ce")["student"],
        PAPER: bench.stages("--config_loss slade_paper")["student"],
        "folders": bench.stages(folders)["student"],
        **swav,
    }


def value_at(place: str, configs: dict[str, Any]) -> Any:
    """What a place of `DEFAULTS` holds; what a loss or miner leaves out is its class's default."""
    name, _, path = place.rpartition(": ")
    value: Any = vars(configs[name])
    *parents, last = path.split("/")
    for key in parents:
        value = value[key]
    for cls in (FeatureBasisLoss, BasisSimilarityMiner):
        if last not in value and parents[-1] == cls.__name__:
            return inspect.signature(cls).parameters[last].default
    return value[last]


def written(value: Any) -> str:
    """As the table writes it."""
    if value is None:
        return "null"
    if isinstance(value, dict):  # a choice and its settings
        return str(next(iter(value)))
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def test_every_row_is_compared() -> None:
    assert ROWS
    assert {len(row) for row in ROWS} == {4}
    assert {row_of(start)[0] for start in DEFAULTS} == {row[0] for row in ROWS}


@pytest.mark.parametrize("start", DEFAULTS)
def test_defaults_are_those_of_the_configs(start: str, configs: dict[str, Any]) -> None:
    default = row_of(start)[2]
    words = re.findall(r"[A-Za-z_]\w*|\d+(?:\.\d+)?", default)
    normal = [written(float(word)) if word[0].isdigit() else word for word in words]
    for place in DEFAULTS[start]:
        assert written(value_at(place, configs)) in normal, place
