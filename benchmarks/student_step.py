"""Time a step of the student against one of the host's trainer, over the same 64 images.

Goal: at most 1.05 times as long on ResNet-50.

Host: ``MetricLossOnly`` with the contrastive loss over all 64 images. Student: ``SladeStudent`` as
``config_loss/slade`` sets it (feature basis, centered; ``BasisSimilarityMiner`` with
``require_agreement``) on the same images, 32 labeled ones of 100 classes and 32 of a pool of 400
clusters. Both have a trunk and an embedder of their own, with equal weights at the start.

Timed is the trainer's ``forward_and_backward`` with a batch that lies in memory, as a data loader
leaves it: moving the images to the device, forward, losses, mining and its records, the loss
tracker, backward and the optimizers' steps. Not timed: loading images (``get_batch`` hands over
the prepared batch), the host's record keeper and evaluation.

    python -m benchmarks.student_step --trunk resnet50 --device cuda --pairs 30 --json step.json
"""

import argparse
import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_metric_learning.losses import ContrastiveLoss
from pytorch_metric_learning.samplers import MPerClassSampler
from pytorch_metric_learning.trainers import MetricLossOnly

from benchmarks.paired_timing import check_at_least, comparison, report, time_in_turn
from benchmarks.synthetic import EMBEDDING_SIZE, TRUNKS, SyntheticImages, make_models
from slade_plugin.base.errors import ExperimentError
from slade_plugin.base.seeding import seed_everything
from slade_plugin.config.compute_settings import ComputeSettings
from slade_plugin.data.datasets.pseudo_labeled_dataset import IMAGE, LABEL, PseudoLabeledDataset
from slade_plugin.host.api_parsers.computed_trunk import computed
from slade_plugin.method.losses import FeatureBasisLoss
from slade_plugin.method.miners import BasisSimilarityMiner
from slade_plugin.method.trainers import SladeStudent

GOAL = {"resnet50": 1.05}
NUM_CLASSES, NUM_CLUSTERS, PER_CLASS, BATCH_SIZE = 100, 400, 4, 32


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure and report.

    Returns:
        The results, without settings and environment.

    Raises:
        ConfigError: If a number of the command line is too small.
        ExperimentError: If nothing was mined, so that no student's step was measured.
    """
    args = _parser().parse_args(argv)
    check_at_least({"pairs": 1, "warmup": 1}, pairs=args.pairs, warmup=args.warmup)
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    seed_everything(0)
    host, student = make_trainers(args.trunk, args.image_size or TRUNKS[args.trunk][1], device)
    compute = ComputeSettings(args.precision, args.channels_last)
    for trainer in (host, student):
        computed(trainer.models["trunk"], compute)
    draw = student.get_batch  # the student's own loaders; both trainers get what it draws
    miner = student.mining_funcs["unlabeled_tuple_miner"]
    mined: list[tuple[int, int, int]] = []

    seconds: tuple[list[float], list[float]] = ([], [])
    for number in range(args.warmup + args.pairs):
        batch = draw()
        hand_over(student, batch)
        hand_over(host, (torch.cat([batch[0], batch[2]]), torch.cat([batch[1], batch[3]])))
        times = time_in_turn(
            host.forward_and_backward, student.forward_and_backward, device, pairs=1
        )
        if number >= args.warmup:
            for all_times, new in zip(seconds, times, strict=True):
                all_times += new
            mined.append((miner.mining_active, miner.num_pos_pairs, miner.num_neg_pairs))
        if number == args.warmup - 1 and not (miner.num_pos_pairs and miner.num_neg_pairs):
            raise ExperimentError(
                f"{miner.num_pos_pairs} positive and {miner.num_neg_pairs} negative pairs were "
                "mined after the warm-up; expected some of both, since a step without mining is "
                "not a student's step. Raise --warmup."
            )

    active, positive, negative = (sum(column) / len(mined) for column in zip(*mined, strict=True))
    results = comparison(*seconds, goal=GOAL.get(args.trunk))
    results["mining"] = {
        "active_share": active,
        "positive_pairs": positive,
        "negative_pairs": negative,
    }
    settings = {**vars(args), "json": None, "threads": torch.get_num_threads()}
    report("student_step", settings, results, args.json)
    return results


def hand_over(trainer: Any, batch: tuple[torch.Tensor, ...]) -> None:
    """Make a trainer's next step use this batch."""
    trainer.get_batch = lambda: batch


def make_trainers(
    trunk: str, size: int, device: torch.device
) -> tuple[MetricLossOnly, SladeStudent]:
    """Make the host's trainer and the student, as `train` does before the first step.

    Args:
        trunk: Name in `TRUNKS`.
        size: Height and width of the images.
        device: Of models and losses.
    """
    channels = TRUNKS[trunk][0]
    labels = np.repeat(np.arange(NUM_CLASSES), PER_CLASS)
    clusters = np.repeat(np.arange(NUM_CLUSTERS), PER_CLASS)
    dataset = SyntheticImages(labels, channels, size, seed=1)
    pool = SyntheticImages(clusters, channels, size, seed=2)
    pseudo_labeled = PseudoLabeledDataset(pool, np.arange(len(pool)), clusters + NUM_CLASSES)

    host_models = make_models(trunk, size, device)
    student_models = copy.deepcopy(host_models)
    basis_loss = FeatureBasisLoss(
        NUM_CLASSES, EMBEDDING_SIZE, logit_scale=8.0, center_responses=True
    ).to(device)
    common: dict[str, Any] = {
        "dataset": dataset,
        "sampler": MPerClassSampler(labels, m=PER_CLASS, length_before_new_iter=len(labels)),
        "data_device": device,
        "freeze_trunk_batchnorm": trunk == "resnet50",  # as config_general/mlrc for such trunks
        "dataloader_num_workers": 0,
        "data_and_label_getter": lambda batch: (batch[IMAGE], batch[LABEL]),
        "dataset_labels": list(range(NUM_CLASSES)),
        "set_min_label_to_zero": True,
        "iterations_per_epoch": 1,
    }
    host = MetricLossOnly(
        models=host_models,
        optimizers=_optimizers(host_models),
        loss_funcs={"metric_loss": _contrastive()},
        mining_funcs={},
        batch_size=2 * BATCH_SIZE,
        **common,
    )
    student = SladeStudent(
        models=student_models,
        optimizers=_optimizers(student_models | {"basis_loss": basis_loss}),
        loss_funcs={
            "metric_loss": _contrastive(),
            "unlabeled_metric_loss": _contrastive(),
            "basis_loss": basis_loss,
        },
        loss_weights={"metric_loss": 1, "unlabeled_metric_loss": 0.5, "basis_loss": 1.0},
        mining_funcs={"unlabeled_tuple_miner": BasisSimilarityMiner(require_agreement=True)},
        batch_size=BATCH_SIZE,
        unlabeled_batch_size=BATCH_SIZE,
        unlabeled_dataset=pseudo_labeled,
        unlabeled_sampler=MPerClassSampler(
            pseudo_labeled.labels, m=PER_CLASS, length_before_new_iter=len(pseudo_labeled)
        ),
        num_classes=NUM_CLASSES,
        true_labels=clusters,
        **common,
    )
    for trainer in (host, student):
        trainer.epoch, trainer.iteration = 1, 0
        trainer.set_to_train()
    student.initialize_dataloader()
    return host, student


def _contrastive() -> ContrastiveLoss:
    return ContrastiveLoss(pos_margin=0, neg_margin=1.0)


def _optimizers(parts: dict[str, torch.nn.Module]) -> dict[str, torch.optim.Optimizer]:
    # Adam does the same work at a rate of 0, and what the Gaussians and the running mean saw stays
    # true, so mining stays active. At 227 px even a rate of 1e-6 moves a random ResNet-50 too far.
    return {
        f"{name}_optimizer": torch.optim.Adam(part.parameters(), lr=0.0)
        for name, part in parts.items()
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.student_step")
    parser.add_argument("--trunk", choices=list(TRUNKS), default="resnet50")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--channels_last", action="store_true", help="of trunks")
    parser.add_argument("--pairs", type=int, default=20, help="timed steps of each")
    parser.add_argument("--warmup", type=int, default=3, help="steps of each before that")
    parser.add_argument("--threads", type=int, default=0, help="torch threads; 0 leaves them")
    parser.add_argument("--image_size", type=int, default=0, help="0: 32 or 227, by trunk")
    parser.add_argument("--json", type=Path, help="where to write the result")
    return parser


if __name__ == "__main__":
    main()
