"""SwAV: swapped prediction of cluster assignments between views (Caron et al., NeurIPS 2020).

Loss, projection head, prototypes and queue are lightly's; this module combines and trains them.
Every epoch is seeded separately, so an interrupted stage resumes to the same numbers.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
import tqdm
from torch import Tensor, nn
from torch.utils.data import DataLoader

from slade_plugin.base.errors import CheckpointError, ExperimentError
from slade_plugin.base.files import atomic_write
from slade_plugin.base.seeding import derive_seed, seed_everything
from slade_plugin.method.self_supervised.settings import SwAVSettings

_FORMAT = 1


class SwAV(nn.Module):
    """A trunk with projection head, prototypes and a queue for each view that gives codes.

    Args:
        trunk: Maps images to (N, feature_size).
        feature_size: The trunk's output size.
        settings: The stage's settings.
        num_code_views: Number of views per image, the first ones, that give codes.
    """

    def __init__(
        self, trunk: nn.Module, feature_size: int, settings: SwAVSettings, num_code_views: int
    ) -> None:
        from lightly.loss import SwaVLoss
        from lightly.models.modules import SwaVProjectionHead, SwaVPrototypes
        from lightly.models.modules.memory_bank import MemoryBankModule

        super().__init__()
        self.settings = settings
        self.num_code_views = num_code_views
        size = settings.projection_size
        self.trunk = nn.DataParallel(trunk)
        self.projection_head = SwaVProjectionHead(
            feature_size, settings.projection_hidden_size, size
        )
        self.prototypes = SwaVPrototypes(size, settings.num_prototypes)
        for head in self.prototypes.heads:  # a score is the cosine to a prototype, without bias
            nn.init.zeros_(head.bias).requires_grad_(False)
        self.queues = nn.ModuleList(
            MemoryBankModule((settings.queue_length, size), feature_dim_first=False)
            for _ in range(num_code_views if settings.queue_length else 0)
        )
        self.enqueued = 0
        self.loss = SwaVLoss(
            temperature=settings.temperature,
            sinkhorn_iterations=settings.sinkhorn_iterations,
            sinkhorn_epsilon=settings.epsilon,
        )

    def trained_parameters(self) -> list[nn.Parameter]:
        """List all parameters except the biases of the prototypes."""
        prototypes = [head.weight for head in self.prototypes.heads]
        return [*self.trunk.parameters(), *self.projection_head.parameters(), *prototypes]

    def forward(self, views: Sequence[Tensor], epoch: int) -> Tensor:
        """Compute the loss of a batch; gradients flow through every view, not through the codes.

        Args:
            views: One tensor (N, C, H, W) per view; those that give codes first, views of one size
                adjacent.
            epoch: Epoch, from 1.

        Returns:
            A scalar.
        """
        for head in self.prototypes.heads:
            head.weight.requires_grad_(epoch > self.settings.frozen_prototype_epochs)
        self.prototypes.normalize()
        by_size = groupby(views, key=lambda view: view.shape)
        features = torch.cat([self.trunk(torch.cat(list(group))) for _, group in by_size])
        embeddings = nn.functional.normalize(self.projection_head(features), dim=1)
        scores = self.prototypes(embeddings).chunk(len(views))
        queued = self._queue_scores(embeddings.detach().chunk(len(views)), epoch)
        loss: Tensor = self.loss(
            scores[: self.num_code_views], scores[self.num_code_views :], queued
        )
        return loss.squeeze()

    @torch.no_grad()
    def _queue_scores(self, embeddings: Sequence[Tensor], epoch: int) -> list[Tensor] | None:
        """Compute the scores of earlier batches; None until the queue is in use and full."""
        if not self.queues:
            return None
        # Each returns its content before this batch.
        pairs = zip(self.queues, embeddings, strict=False)
        held = [queue(batch, update=True)[1] for queue, batch in pairs]
        full = self.enqueued >= self.settings.queue_length
        self.enqueued += len(embeddings[0])
        if not full or epoch <= self.settings.queue_start_epoch:
            return None
        return [self.prototypes(batch) for batch in held]

    def queue_state(self) -> dict[str, Any]:
        """Return the state that lightly omits from the state dict."""
        return {
            "enqueued": self.enqueued,
            "queues": [{"bank": q.bank, "bank_ptr": q.bank_ptr} for q in self.queues],
        }

    def load_queue_state(self, state: Mapping[str, Any]) -> None:
        """Restore `queue_state`."""
        self.enqueued = state["enqueued"]
        for queue, saved in zip(self.queues, state["queues"], strict=True):
            for name, value in saved.items():
                getattr(queue, name).copy_(value)


def lr_factor(step: int, total: int, warmup: int, final: float) -> float:
    """Compute the learning-rate factor: linear warm-up, then half a cosine.

    Args:
        step: From 0 to total - 1.
        total: Total number of steps.
        warmup: Steps of the warm-up; the last one reaches 1.
        final: Factor of the last step, 0 to 1.
    """
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, total - 1 - warmup)
    return final + (1 - final) * (1 + math.cos(math.pi * min(1.0, done))) / 2


class SwAVTraining:
    """Train `SwAV` epoch by epoch, with a checkpoint after each.

    Args:
        swav: Model on its device.
        dataset: Items are lists of views.
        make_optimizer: Builds the optimizer of the given parameters.
        seed: Seed of views and order; models exist already.
        checkpoint: File of the last complete epoch.
        origin: Origin that a checkpoint must match, ready for JSON: settings, hashes of data and
            initial weights.
        device: Device of the batches.

    Raises:
        CheckpointError: If the checkpoint is damaged or of another origin.
    """

    def __init__(
        self,
        swav: SwAV,
        dataset: Any,
        make_optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer],
        seed: int,
        checkpoint: Path,
        origin: Mapping[str, Any],
        device: Any = "cpu",
    ) -> None:
        self.swav = swav
        self.dataset = dataset
        self.optimizer = make_optimizer(swav.trained_parameters())
        self.base_lrs = [float(group["lr"]) for group in self.optimizer.param_groups]
        self.seed = seed
        self.checkpoint = checkpoint
        self.origin = dict(origin)
        self.device = device
        self.steps_per_epoch = len(dataset) // swav.settings.batch_size
        self.history: list[dict[str, float]] = []
        if checkpoint.exists():
            self._load()

    def run(self, name: str, after_epoch: Callable[[list[dict[str, float]]], None]) -> None:
        """Train the remaining epochs.

        Args:
            name: Name in the progress bar.
            after_epoch: Called with the history after each checkpoint, and once at the start.

        Raises:
            ExperimentError: If the loss is not finite.
        """
        after_epoch(self.history)
        for epoch in range(len(self.history) + 1, self.swav.settings.num_epochs + 1):
            self.history.append(self._train_epoch(epoch, name))
            self._save()
            after_epoch(self.history)

    def _train_epoch(self, epoch: int, name: str) -> dict[str, float]:
        started = time.perf_counter()
        settings = self.swav.settings
        seed_everything(derive_seed(self.seed, epoch))
        loader = DataLoader(
            self.dataset,
            batch_size=settings.batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=settings.dataloader_num_workers,
        )
        self.swav.train()
        losses = []
        title = f"SwAV {name}, epoch {epoch} of {settings.num_epochs}"
        bar = tqdm.tqdm(loader, title, disable=None, leave=False)
        for step, views in enumerate(bar, (epoch - 1) * self.steps_per_epoch):
            lr = self._set_lr(step)
            loss = self.swav([view.to(self.device) for view in views], epoch)
            value = loss.item()
            if not math.isfinite(value):
                raise ExperimentError(
                    f"the loss of SwAV is {value} at step {step} (epoch {epoch}); expected a "
                    "finite number. Try a lower lr or a larger epsilon in config_self_supervised."
                )
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            losses.append(value)
            bar.set_postfix(loss=f"{value:.3f}")
        loss_of_epoch = math.fsum(losses) / len(losses)
        print(f"      {title}: loss {loss_of_epoch:.3f}", flush=True)
        return {
            "epoch": epoch,
            "loss": loss_of_epoch,
            "lr": lr,
            "seconds": round(time.perf_counter() - started, 3),
        }

    def _set_lr(self, step: int) -> float:
        """Set the learning rate for a step and return that of the first group."""
        settings, per_epoch = self.swav.settings, self.steps_per_epoch
        factor = lr_factor(
            step,
            settings.num_epochs * per_epoch,
            settings.warmup_epochs * per_epoch,
            settings.final_lr_fraction,
        )
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = base * factor
        return self.base_lrs[0] * factor

    def _save(self) -> None:
        content = {
            "format": _FORMAT,
            "origin": self.origin,
            "history": self.history,
            "swav": self.swav.state_dict(),
            "queue": self.swav.queue_state(),
            "optimizer": self.optimizer.state_dict(),
        }
        with atomic_write(self.checkpoint) as file:
            torch.save(content, file)

    def _load(self) -> None:
        remedy = f"Remove {self.checkpoint} to restart this split scheme of the stage."
        try:
            content = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
            if content["format"] != _FORMAT or content["origin"] != self.origin:
                raise CheckpointError(
                    f"{self.checkpoint} was made with other settings, data or initial weights than "
                    f"this run; expected the same command. {remedy}"
                )
            self.swav.load_state_dict(content["swav"])
            self.swav.load_queue_state(content["queue"])
            self.optimizer.load_state_dict(content["optimizer"])
            self.history = content["history"]
        except CheckpointError:
            raise
        except Exception as error:
            raise CheckpointError(
                f"{self.checkpoint} cannot be read: {error}; expected a checkpoint of the SwAV "
                f"stage. {remedy}"
            ) from error
