"""One step of the student: the poster's joint objective.

    min over theta^s, W_a of
        L_rank(D^l) + lambda1 L_rank(D^u) + lambda2 (L_CE(D^l) + L_SD(D^u))

The terms are entries of `loss_funcs`, their weights entries of `loss_weights`:
`metric_loss` (1), `unlabeled_metric_loss` (lambda1), `basis_loss` (lambda2). Without `basis_loss`
the config is rung 2 of the ladder. The miner selects the pairs of D^u.
"""

from typing import Annotated, Any

import numpy as np
import pytorch_metric_learning.utils.common_functions as pml_cf
import torch
import tqdm
from pytorch_metric_learning.trainers import MetricLossOnly

from slade_plugin.base.errors import ConfigError, DataError
from slade_plugin.base.settings import Range, checked_arguments
from slade_plugin.data.datasets.pseudo_labeled_dataset import (
    IMAGE,
    LABEL,
    POOL_INDEX,
    PseudoLabeledDataset,
)
from slade_plugin.method.functional import pair_precision, pair_recall
from slade_plugin.method.miners import PoolBatch, PoolPairMiner

BASIS_OPTIMIZER = "basis_loss_optimizer"


class SladeStudent(MetricLossOnly):
    """Train trunk, embedder and feature basis on labeled and pseudo-labeled images together.

    Args:
        *args: Arguments of the host's trainer.
        unlabeled_dataset: Pool images with pseudo labels, shifted past the real classes.
        unlabeled_sampler: Draws m images per pseudo label, so that a batch has positive pairs.
        num_classes: c, number of labeled training classes; labels of D^l are 0 to c - 1.
        true_labels: (N,) true labels of the whole pool or None; only used to record how many mined
            pairs are correct.
        num_epochs: Length of the whole training, for a miner with a `start`; 0 = unknown.
        unlabeled_batch_size: Pseudo-labeled images per step (labeled ones: `batch_size`).
        basis_warmup_iterations: Steps that train W_a alone, with embeddings detached, before the
            first epoch.
        **kwargs: Arguments of the host's trainer.

    Raises:
        ConfigError: If a value is out of range or the settings contradict each other.
        DataError: If the pool cannot fill a batch or a pseudo label is below c.
    """

    def __init__(
        self,
        *args: Any,
        unlabeled_dataset: PseudoLabeledDataset,
        unlabeled_sampler: Any,
        num_classes: int,
        true_labels: np.ndarray | None = None,
        num_epochs: int = 0,
        unlabeled_batch_size: Annotated[int, Range(2)] = 32,
        basis_warmup_iterations: Annotated[int, Range(0)] = 0,
        **kwargs: Any,
    ) -> None:
        place = "config_general under trainer: SladeStudent"
        checked_arguments("SladeStudent", SladeStudent.__init__, locals(), place)
        self.unlabeled_dataset = unlabeled_dataset
        self.unlabeled_sampler = unlabeled_sampler
        self.num_classes = num_classes
        self.true_labels = None if true_labels is None else torch.as_tensor(true_labels)
        self.num_epochs = num_epochs
        self.unlabeled_batch_size = unlabeled_batch_size
        self.basis_warmup_iterations = basis_warmup_iterations
        super().__init__(*args, **kwargs)
        self._check_settings()

    def _check_settings(self) -> None:
        where = "Change it in config_general under trainer: SladeStudent."
        if not self.set_min_label_to_zero:
            raise ConfigError(
                "set_min_label_to_zero is False; expected True: labels of D^l must be 0 to c - 1, "
                f"since pseudo labels start at c. {where}"
            )
        if self.basis_warmup_iterations and "basis_loss" not in self.loss_funcs:
            raise ConfigError(
                f"basis_warmup_iterations is {self.basis_warmup_iterations}, but there is no "
                f"basis_loss to warm up; expected 0 or a basis_loss in config_loss. {where}"
            )
        miner = self.mining_funcs.get("unlabeled_tuple_miner")
        if isinstance(miner, PoolPairMiner):
            self._check_miner(miner, where)
        if "basis_loss" in self.freeze_these and self.basis_warmup_iterations:
            raise ConfigError(
                f"freeze_these contains basis_loss, but basis_warmup_iterations is "
                f"{self.basis_warmup_iterations}; expected 0, since a frozen W_a cannot be warmed "
                f"up, or no basis_loss in freeze_these. {where}"
            )
        if self.true_labels is not None and (self.true_labels < 0).any():
            raise DataError(
                f"a true label of the pool is {int(self.true_labels.min())}; expected classes >= 0 "
                "or a pool without labels, since unknown images would count as one class."
            )
        if len(self.unlabeled_dataset) < self.unlabeled_batch_size:
            raise DataError(
                f"{len(self.unlabeled_dataset)} pseudo-labeled images cannot fill a batch of "
                f"{self.unlabeled_batch_size}; expected a larger pool or a smaller "
                f"unlabeled_batch_size. {where}"
            )
        sampler = self.unlabeled_sampler
        if hasattr(sampler, "__len__") and len(sampler) < self.unlabeled_batch_size:
            raise ConfigError(
                f"unlabeled_sampler draws {len(sampler)} images per pass, but unlabeled_batch_size "
                f"is {self.unlabeled_batch_size}; expected at least one batch. Change "
                "length_before_new_iter in config_loss under unlabeled_sampler."
            )
        smallest = self.unlabeled_dataset.labels.min()
        if smallest < self.num_classes:
            raise DataError(
                f"a pseudo label is {smallest}; expected {self.num_classes} or more, past the "
                f"{self.num_classes} labeled classes, so that the two kinds cannot be confused."
            )

    def _check_miner(self, miner: PoolPairMiner, where: str) -> None:
        name = type(miner).__name__
        # A frozen basis is in eval mode, so its statistics are not updated.
        if "basis_loss" in self.freeze_these and miner.reads_running_means:
            raise ConfigError(
                "freeze_these contains basis_loss, whose running means then stay unknown, but "
                f"{name} uses them as thresholds and would mine nothing; expected other "
                "thresholds (config_loss under mining_funcs), PseudoLabelPairMiner, or no "
                f"basis_loss in freeze_these. {where}"
            )
        if miner.start and not self.num_epochs:
            raise ConfigError(
                f"{name} has start {miner.start}, a share of the training, but "
                f"num_epochs is {self.num_epochs}; expected its length, which the program sets "
                f"(num_epochs_train), or start: 0 (config_loss under mining_funcs). {where}"
            )

    def initialize_dataloader(self) -> None:
        """Create the host's loader for D^l and a similar one for D^u."""
        super().initialize_dataloader()
        self.unlabeled_dataloader = pml_cf.get_train_dataloader(
            self.unlabeled_dataset,
            self.unlabeled_batch_size,
            self.unlabeled_sampler,
            self.dataloader_num_workers,
            self.collate_fn,
        )
        self.unlabeled_iterator = iter(self.unlabeled_dataloader)

    def get_batch(self) -> tuple[torch.Tensor, ...]:
        """Draw images (N, C, H, W) and labels (N,) of D^l, then the same of D^u and pool indices.

        Those of D^u are (M, C, H, W), (M,) pseudo labels and (M,) indices.
        """
        images, labels = super().get_batch()
        self.unlabeled_iterator, batch = pml_cf.try_next_on_generator(
            self.unlabeled_iterator, self.unlabeled_dataloader
        )
        return images, labels, batch[IMAGE], batch[LABEL], batch[POOL_INDEX]

    def forward_and_backward(self) -> None:
        """Run the host's step; warm up W_a before the very first one."""
        if self.basis_warmup_iterations and self.epoch == 1 and self.iteration == 0:
            self.warm_up_basis()
        super().forward_and_backward()

    def calculate_loss(self, curr_batch: tuple[torch.Tensor, ...]) -> None:
        """Compute all terms of the objective from one forward pass over D^l and D^u.

        Args:
            curr_batch: Images (N, C, H, W), labels (N,), images (M, C, H, W), pseudo labels (M,)
                and pool indices (M,), as ``get_batch`` draws them.
        """
        images, labels, unlabeled_images, pseudo_labels, pool_index = curr_batch
        embeddings = self.embed_together(images, unlabeled_images)
        labels = labels.to(embeddings.device)
        pseudo_labels = pseudo_labels.to(embeddings.device)
        labeled, unlabeled = embeddings[: len(labels)], embeddings[len(labels) :]

        labeled_pairs = self.maybe_mine_embeddings(labeled, labels)
        self.losses["metric_loss"] = self.maybe_get_metric_loss(labeled, labels, labeled_pairs)
        if "basis_loss" in self.loss_funcs:
            self.losses["basis_loss"] = self.loss_funcs["basis_loss"](
                embeddings, torch.cat([labels, pseudo_labels])
            )
        if "unlabeled_metric_loss" in self.loss_funcs:
            pairs = self.mine_unlabeled(unlabeled, pseudo_labels, pool_index)
            self.losses["unlabeled_metric_loss"] = self.loss_funcs["unlabeled_metric_loss"](
                unlabeled, pseudo_labels, pairs
            )

    def embed_together(self, images: torch.Tensor, unlabeled_images: torch.Tensor) -> torch.Tensor:
        """Embed (N, C, H, W) and (M, C, H, W) to (N + M, D) in one forward pass."""
        halves = [half.to(self.data_device) for half in (images, unlabeled_images)]
        return self.compute_embeddings(torch.cat(halves))  # joined there, not on the CPU

    def mine_unlabeled(
        self, embeddings: torch.Tensor, pseudo_labels: torch.Tensor, pool_index: torch.Tensor
    ) -> Any:
        """Mine the pairs or triplets of D^u for L_rank(D^u).

        Args:
            embeddings: (B, D) of the unlabeled images, whose similarity the basis loss has just
                computed; no gradient flows through the choice.
            pseudo_labels: (B,).
            pool_index: (B,) pool indices, to look up true labels for the record.

        Returns:
            The miner's indices_tuple; None (the loss uses all pairs) without a miner.
        """
        miner = self.mining_funcs.get("unlabeled_tuple_miner")
        if miner is None:
            return None
        if not isinstance(miner, PoolPairMiner):  # the host's take embeddings and labels only
            return miner(embeddings, pseudo_labels)
        batch = PoolBatch(pseudo_labels, progress=self.progress() if miner.start else 0.0)
        basis_loss = self.loss_funcs.get("basis_loss")
        if basis_loss is not None:
            batch = batch._replace(
                similarity=basis_loss.pool_similarity, running_means=basis_loss.running_means()
            )
        pairs = miner.mine_pool(batch)
        if self.true_labels is not None:
            classes = self.true_labels[pool_index].to(pseudo_labels.device)
            miner.record_precision(pair_precision(pairs, classes), pair_recall(pairs, classes))
        return pairs

    def progress(self) -> float:
        """Finished share of the whole training, in [0, 1), also when resumed."""
        epochs_done: float = self.epoch - 1 + self.iteration / self.iterations_per_epoch
        return epochs_done / self.num_epochs

    def warm_up_basis(self) -> None:
        """Train W_a alone: models in eval mode, embeddings without gradient.

        The running statistics of the basis loss are updated too. In eval mode a trunk from scratch
        uses the initial statistics of its batch norms.
        """
        basis_loss, optimizer = self.loss_funcs["basis_loss"], self.optimizers[BASIS_OPTIMIZER]
        steps = range(self.basis_warmup_iterations)
        for _ in tqdm.tqdm(steps, "warming up the basis", disable=None, leave=False):
            images, labels, unlabeled_images, pseudo_labels, _ = self.get_batch()
            self.set_to_eval()  # here, since the host's subset_batch_miner sets all to train
            basis_loss.train()
            with torch.no_grad():
                embeddings = self.embed_together(images, unlabeled_images)
            all_labels = torch.cat([labels, pseudo_labels]).to(embeddings.device)
            optimizer.zero_grad()
            basis_loss(embeddings, all_labels).backward()
            optimizer.step()
        self.set_to_train()

    def allowed_loss_funcs_keys(self) -> list[str]:
        """List the names of losses, which are also names of their parameters' optimizers."""
        return ["metric_loss", "unlabeled_metric_loss", "basis_loss"]

    def allowed_mining_funcs_keys(self) -> list[str]:
        """List the names of miners: the host's for D^l, `unlabeled_tuple_miner` for D^u."""
        return [*super().allowed_mining_funcs_keys(), "unlabeled_tuple_miner"]

    def verify_loss_funcs_keys(self) -> None:
        """Check that every loss is known; only `metric_loss` is required (the others are rungs)."""
        self._verify_dict_keys(
            "loss_funcs",
            self.allowed_loss_funcs_keys(),
            warn_if_empty=True,
            essential_keys=["metric_loss"],
        )
