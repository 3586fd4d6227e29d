"""The numbers of the SLADE poster (CVPR 2021), and the row of its main table for an experiment.

poster_main_table.csv and poster_ablations.csv hold the published numbers, in percent, on the test
half of the classes.
"""

import csv
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from slade_plugin.experiments.results.found import Experiment, first_key
from slade_plugin.stages.kinds import BASELINE

_DATASETS = {"CUB200": "cub", "Cars196": "cars"}
_ABLATED = {"CUB200": "CUB-200", "Cars196": "Cars-196"}
_ABLATED_DIM = 512
_METRICS = {
    "mean_average_precision_at_r": "map_at_r",
    "r_precision": "rp",
    "precision_at_1": "p_at_1",
}
_LOSSES = {
    "ContrastiveLoss": "Contrastive",
    "TripletMarginLoss": "Triplet",
    "ProxyNCALoss": "ProxyNCA",
    "NormalizedSoftmaxLoss": "N. Softmax",
    "CosFaceLoss": "CosFace",
    "FastAPLoss": "FastAP",
    "MultiSimilarityLoss": "MS",
    "ProxyAnchorLoss": "Proxy-Anchor (2)",
    "SmoothedCrossEntropyLoss": "Mutual-Info",
}
_RESNET50 = "ResNet-50"
# (loss, weights) of a ResNet-50 -> names of its rows: of the teacher and of its student
_PAIRS = {
    ("Contrastive", "ImageNet"): ("Contrastive (T1)", "SLADE (S1)"),
    ("Contrastive", "SwAV"): ("Contrastive (T2)", "SLADE (S2)"),
    ("MS", "ImageNet"): ("MS (T3)", "SLADE (S3)"),
    ("MS", "SwAV"): ("MS (T4)", "SLADE (S4)"),
}


@cache
def poster_rows() -> dict[str, dict[str, str]]:
    """Return the rows of the main table by method."""
    path = Path(__file__).with_name("poster_main_table.csv")
    with path.open(newline="", encoding="utf-8") as file:
        return {row["method"]: row for row in csv.DictReader(file)}


def published_scores() -> dict[str, dict[str, dict[str, float]]]:
    """Return the main table in percent: data set to row to metric, where the poster has a number.

    A row is its method with trunk, weights and size of the embedding.
    """
    found: dict[str, dict[str, dict[str, float]]] = {}
    for dataset, column in _DATASETS.items():
        for row in poster_rows().values():
            name = f"{row['method']}, {row['arch']}, {row['init']}, {row['dim']}-d"
            values = {metric: row[f"{column}_{key}"] for metric, key in _METRICS.items()}
            numbers = {metric: float(text) for metric, text in values.items() if text}
            found.setdefault(dataset, {})[name] = numbers
    return found


@cache
def _ablations() -> dict[tuple[int, str, str], dict[str, str]]:
    """Map (ablation, setting, data set) to its row; the name of the data set omits its pool."""
    path = Path(__file__).with_name("poster_ablations.csv")
    with path.open(newline="", encoding="utf-8") as file:
        return {
            (int(row["ablation"]), row["setting"], row["dataset"].partition(" (")[0]): row
            for row in csv.DictReader(file)
        }


def ablation_settings(ablation: int) -> list[str]:
    """Return the settings of an ablation in order; empty if there is no such ablation."""
    return list(dict.fromkeys(name for number, name, _ in _ablations() if number == ablation))


def published_ablation(
    ablation: int, setting: str, dataset: str, metric: str, dim: int | None
) -> float | None:
    """Return the poster's number for a setting of an ablation, in percent, on test.

    Args:
        ablation: 1 to 4.
        setting: One of `ablation_settings`.
        dataset: Class name of a data set.
        metric: The host's name.
        dim: Size of the evaluated embedding; 512 in the poster.

    Returns:
        The number; None if the poster has none.
    """
    name = _ABLATED.get(dataset.removesuffix("Files"), "")
    row = _ablations().get((ablation, setting, name), {})
    text = row.get(_METRICS.get(metric, ""))
    return float(text) if text and dim == _ABLATED_DIM else None


def find_row(experiment: Experiment) -> str | None:
    """Find the poster's row that an experiment reproduces; None if there is none.

    Data set, trunk and its weights, loss, and for students the miner are compared. Hyperparameters
    and training lengths are not, since the poster does not give them all.
    """
    if experiment.dataset.removesuffix("Files") not in _DATASETS:
        return None
    stage = experiment.saved_as
    if stage.kind == BASELINE or stage.round > 1:
        return None  # a baseline trains longer; a later round has another teacher
    arch, init = _trunk(experiment.config)
    loss = _LOSSES.get(first_key(experiment.losses.get("metric_loss")), "")
    teacher, student = _PAIRS.get((loss, init), (loss, None))
    miners = experiment.config.get("mining_funcs") or {}
    if stage.is_student:
        mined = first_key(miners.get("unlabeled_tuple_miner")) == "BasisSimilarityMiner"
        return student if mined and arch == _RESNET50 else None
    name = teacher if arch == _RESNET50 else loss
    if arch == "BN-Inception" and loss == "MS":
        name = "MS+Miner" if miners else ""
    elif arch == _RESNET50 and loss == "ProxyNCA":
        trunk = next(iter(experiment.config["models"]["trunk"].values())) or {}
        name = "ProxyNCA++" if trunk.get("pooling") == "max" else ""
    row = poster_rows().get(name)
    return name if row and (row["arch"], row["init"]) == (arch, init) else None


def published(experiment: Experiment, metric: str, dim: int | None) -> float | None:
    """Return the poster's number for an experiment, in percent.

    Args:
        experiment: An experiment of any kind.
        metric: The host's name.
        dim: Size of the evaluated embedding; it must be that of the poster's row.

    Returns:
        The number on test; None if the poster has none.
    """
    name = find_row(experiment)
    if name is None or metric not in _METRICS:
        return None
    row = poster_rows()[name]
    dataset = _DATASETS[experiment.dataset.removesuffix("Files")]
    text = row[f"{dataset}_{_METRICS[metric]}"]
    return float(text) if text and str(dim) == row["dim"] else None


def _trunk(config: Mapping[str, Any]) -> tuple[str, str]:
    """Return a trunk's architecture and weights in the poster's words; empty if it has none."""
    trunk = (config.get("models") or {}).get("trunk")
    name = first_key(trunk)
    settings = (trunk or {}).get(name) or {}
    arch = str(settings.get("architecture", name))
    weights = str(settings.get("weights") or settings.get("pretrained") or "").lower()
    init = ""
    if "swav" in weights:  # fine-tuned in the main table; otherwise a row of ablation 1
        init = "SwAV" if config.get("self_supervised") else ""
    elif "imagenet" in weights or weights == "true":
        init = "" if config.get("self_supervised") else "ImageNet"
    return {"bninception": "BN-Inception", "resnet50": _RESNET50}.get(arch, ""), init
