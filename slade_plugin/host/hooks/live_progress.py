"""Lets a trainer of the host say how far it is."""

from collections.abc import Callable
from typing import Any

import torch
from pytorch_metric_learning.utils.logging_presets import HookContainer

from slade_plugin.base.progress import Position, current

_TITLES = {"mean_average_precision_at_r": "MAP@R", "r_precision": "RP", "precision_at_1": "P@1"}


def report_progress(trainer: Any, parser: Any, num_epochs: Callable[[], int]) -> None:
    """Puts reports behind a trainer's hooks.

    Args:
        trainer: A trainer of the host or ours; its hooks are replaced.
        parser: The API parser that made it, which knows split schemes, hooks and tester.
        num_epochs: Gives the number of epochs of the current split scheme.
    """
    after_step, after_epoch = trainer.end_of_iteration_hook, trainer.end_of_epoch_hook
    loss, accuracy = 0.0, ""

    def position(steps: int) -> Position:
        return Position(
            parser.curr_split_count + 1,
            parser.split_manager.num_split_schemes,
            trainer.epoch,
            num_epochs(),
            steps / trainer.iterations_per_epoch,
        )

    def end_of_iteration_hook(trainer: Any) -> None:
        nonlocal loss
        after_step(trainer)
        total = trainer.losses["total_loss"]
        loss = total.item() if isinstance(total, torch.Tensor) else float(total)
        current().step(position(trainer.iteration + 1), loss, accuracy)

    def end_of_epoch_hook(trainer: Any) -> Any:
        nonlocal accuracy
        goes_on = after_epoch(trainer)
        if trainer.epoch % parser.args.save_interval == 0:
            accuracy = describe_accuracy(parser.hooks, parser.tester)
        current().epoch(position(trainer.iterations_per_epoch), loss, accuracy)
        return goes_on

    trainer.end_of_iteration_hook = end_of_iteration_hook
    trainer.end_of_epoch_hook = end_of_epoch_hook


def describe_accuracy(hooks: Any, tester: Any) -> str:
    """The last and the best accuracy that chooses the best epoch; empty without hooks of the host.

    Args:
        hooks: The host's hooks, after an evaluation.
        tester: The host's tester, which holds the last accuracies.
    """
    if not isinstance(hooks, HookContainer):
        return ""
    split = hooks.validation_split_name
    last = hooks.get_curr_primary_metric(tester, split)
    epoch, best = hooks.get_best_epoch_and_accuracy(tester, split)
    title = _TITLES.get(hooks.primary_metric, hooks.primary_metric)
    return f", {split} {title} {100 * last:.2f}, best {100 * best:.2f} (epoch {epoch:g})"
