"""Count which pairs of D^u a student's basis similarity gets right, in batches as in training.

Mining (poster, "Sample mining") assumes that similar pairs are of one class. This counts how many
are, by true labels, and how many have a nonzero loss in L_rank(D^u).
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from pytorch_metric_learning.losses import ContrastiveLoss

from slade_plugin.base.errors import ExperimentError
from slade_plugin.base.seeding import seed_everything
from slade_plugin.experiments.report.embedded_split import load_with_data
from slade_plugin.host.api_parsers import APISladeStudent
from slade_plugin.host.checkpoints.checkpoint_files import load_state
from slade_plugin.method.trainers import SladeStudent
from slade_plugin.retrieval.saved_model import SavedModel

Values = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class PoolPairs:
    """The E unordered pairs in each of B batches of D^u.

    Attributes:
        similarity: (B, E) basis similarity, -1 to 1; larger = closer.
        same_label: (B, E) whether a pair has one pseudo label.
        same_class: (B, E) whether it has one true class.
        has_loss: (B, E) whether its contrastive loss is above zero; None for other losses.
        mu_pos: Running mean of the similarity of pairs with one pseudo label, T1 of the paper.
        mu_neg: The same for pairs with two, T2.
        split_scheme: Split scheme of the student.
        epoch: Its best epoch.
    """

    similarity: Values
    same_label: Flags
    same_class: Flags
    has_loss: Flags | None
    mu_pos: float
    mu_neg: float
    split_scheme: str
    epoch: int


@dataclass(frozen=True)
class PairGroup:
    """A group of pairs.

    Attributes:
        title: Its description.
        pairs: Mean number per batch.
        one_class: Share of one true class, 0 to 1; NaN if there is no pair.
        with_loss: Mean number per batch with a loss above zero; NaN if unknown.
    """

    title: str
    pairs: float
    one_class: float
    with_loss: float


def draw_pairs(
    experiment: Path, split_scheme: str | None, dataset_root: str, batches: int, seed: int
) -> PoolPairs:
    """Draw batches as the student's training does and compare their pairs; write nothing.

    The models are in training mode, so batch norms use the statistics of the batch.

    Args:
        experiment: A trained student.
        split_scheme: Name of the split scheme; the first if None.
        dataset_root: As in `run.py`.
        batches: B, at least 1.
        seed: Seed of the batches and of their augmentation.

    Raises:
        SladeError: If the experiment is not a student with a feature basis, its files or data are
            missing, or the classes of its pool are unknown.
    """
    saved = load_with_data(experiment, split_scheme, dataset_root, with_pool=True)
    trainer, true_labels = _trainer(experiment, saved)
    basis, loss = trainer.loss_funcs["basis_loss"], trainer.loss_funcs.get("unlabeled_metric_loss")
    rows: dict[str, list[torch.Tensor]] = {}
    seed_everything(seed)
    trainer.initialize_dataloader()
    trainer.set_to_train()
    for _ in range(batches):
        images, labels, unlabeled_images, pseudo_labels, pool_index = trainer.get_batch()
        with torch.no_grad():
            embeddings = trainer.embed_together(images, unlabeled_images)[len(labels) :]
            similarity = basis.similarity(embeddings)
            first, second = torch.triu_indices(len(similarity), len(similarity), 1)
            classes = true_labels[pool_index]
            same_label = pseudo_labels[first] == pseudo_labels[second]
            found = {
                "similarity": similarity[first, second],
                "same_label": same_label,
                "same_class": classes[first] == classes[second],
            }
            if isinstance(loss, ContrastiveLoss):
                distance = loss.distance(embeddings)[first, second]
                positive, negative = (loss.get_per_pair_loss(distance, w) for w in ("pos", "neg"))
                found["has_loss"] = torch.where(same_label.to(positive.device), positive, negative)
        for name, value in found.items():
            rows.setdefault(name, []).append(value.cpu())
    stacked = {name: torch.stack(values).numpy() for name, values in rows.items()}
    return PoolPairs(
        similarity=stacked["similarity"],
        same_label=stacked["same_label"],
        same_class=stacked["same_class"],
        has_loss=stacked["has_loss"] > 0 if "has_loss" in stacked else None,
        mu_pos=basis.mu_pos,
        mu_neg=basis.mu_neg,
        split_scheme=saved.split_scheme,
        epoch=int(saved.weights.suffix.removeprefix("best")),
    )


def _trainer(experiment: Path, saved: SavedModel) -> tuple[SladeStudent, torch.Tensor]:
    """Return the student's trainer with its best model and basis, and the classes of the pool."""
    parser = saved.parser
    if not isinstance(parser, APISladeStudent) or "basis_loss" not in parser.args.loss_funcs:
        raise ExperimentError(
            f"{experiment} is not a student with a basis_loss; expected one, such as that of "
            "--config_loss slade_basis, since the pairs are compared by its feature basis."
        )
    true_labels = parser.get_true_labels()
    if true_labels is None:
        raise ExperimentError(
            f"the pool of {experiment} has no true labels; expected a data set with labels "
            "(unlabeled_dataset in config_dataset), since they show which pairs are right."
        )
    parser.models = saved.models
    parser.pseudo_labels = parser.get_pseudo_labels()
    parser.sampler = parser.get_sampler()
    parser.loss_funcs = parser.get_loss_funcs()
    parser.mining_funcs = parser.get_mining_funcs()
    created = parser.get_optimizers()
    parser.optimizers, parser.lr_schedulers, parser.gradient_clippers = created
    path = saved.weights.model_folder / f"basis_loss_{saved.weights.suffix}.pth"
    load_state(parser.loss_funcs["basis_loss"], path, parser.device)
    for loss in parser.loss_funcs.values():
        loss.to(parser.device)
    hooks = dict.fromkeys(["end_of_iteration_hook", "end_of_epoch_hook"])
    return parser.get_trainer(**parser.nullify_kwargs(hooks)), torch.as_tensor(true_labels)


def describe_pairs(pairs: PoolPairs) -> list[PairGroup]:
    """Count the pairs with one pseudo label (P) and with two (N), and the most and least similar.

    Args:
        pairs: Of at least one batch.

    Returns:
        P, its most similar tenth and half, its least similar tenth, and its pairs at or above
        mu_pos; N, its pairs with a loss (if known), its most similar hundredth, and its pairs at or
        below mu_neg. Shares are taken in each batch, like the quantiles of the miner.
    """
    positive, negative = pairs.same_label, ~pairs.same_label
    closest, furthest = -pairs.similarity, pairs.similarity
    chosen: dict[str, Flags] = {
        "one pseudo label": positive,
        "... the most similar tenth": _first(closest, positive, 0.1),
        "... the more similar half": _first(closest, positive, 0.5),
        "... the least similar tenth": _first(furthest, positive, 0.1),
        "... s >= mu+": positive & (pairs.similarity >= pairs.mu_pos),
        "two pseudo labels": negative,
    }
    if pairs.has_loss is not None:
        chosen["... with a loss"] = negative & pairs.has_loss
    chosen["... the most similar hundredth"] = _first(closest, negative, 0.01)
    chosen["... s <= mu-"] = negative & (pairs.similarity <= pairs.mu_neg)
    return [_group(title, mask, pairs) for title, mask in chosen.items()]


def _first(order: Values, among: Flags, share: float) -> Flags:
    """Mark the first `share` of the pairs `among` in each batch, at least one pair: (B, E)."""
    chosen = np.zeros_like(among)
    for row, (values, allowed) in enumerate(zip(order, among, strict=True)):
        places = np.flatnonzero(allowed)
        wanted = max(1, round(share * len(places)))
        chosen[row, places[np.argsort(values[places], kind="stable")[:wanted]]] = True
    return chosen


def _group(title: str, mask: Flags, pairs: PoolPairs) -> PairGroup:
    batches, number = len(mask), int(mask.sum())
    return PairGroup(
        title=title,
        pairs=number / batches,
        one_class=int((mask & pairs.same_class).sum()) / number if number else math.nan,
        with_loss=(
            math.nan if pairs.has_loss is None else int((mask & pairs.has_loss).sum()) / batches
        ),
    )
