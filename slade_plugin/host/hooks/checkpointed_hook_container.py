"""Records, evaluation and checkpoints of a run that may be interrupted at any moment.

The host's ``HookContainer`` writes records first and then file after file, so an interrupted run
leaves a partial checkpoint and records of an epoch without one. Here:

- Checkpoints are complete or absent; see `slade_plugin.host.checkpoints.checkpoint_files`.
- Loading verifies the sums and rejects damaged, incomplete and foreign checkpoints by name.
- Resuming removes the records after the resumed epoch and iteration, so that none counts twice; see
  `slade_plugin.host.hooks.record_removal`.
- With our runner `training_state_<suffix>.pth` makes a resumed run exact; see
  `host.checkpoints.training_state`. Without it a run resumes as in the host, with a warning.
- The untrained model (epoch 0) is never the best one, unless `untrained_model_can_be_best`.
"""

import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pytorch_metric_learning.utils.logging_presets import HookContainer

from slade_plugin.base.errors import CheckpointError, ConfigError
from slade_plugin.host.checkpoints import checkpoint_files as files
from slade_plugin.host.checkpoints.checkpoint_files import COMMIT_KEY, UNTRAINED_EPOCH
from slade_plugin.host.checkpoints.training_state import NAME as TRAINING_STATE
from slade_plugin.host.hooks.joined_events import joined_events
from slade_plugin.host.hooks.record_removal import (
    find_ends_of_records,
    own_database,
    remove_records_after,
    tables_with,
)

logger = logging.getLogger(__name__)

UNTRAINED_TRUNK_EPOCH = -1


class CheckpointedHookContainer(HookContainer):
    """The host's hooks with checkpoints that are complete or absent.

    Args:
        record_keeper: The host's record keeper; None if nothing is recorded.
        args: As in the host.
        untrained_model_can_be_best: True is the host's behavior: epoch 0 can be the best epoch, and
            if it is, no trained model is ever tested. False changes numbers: the best epoch, also
            for patience, is then at least 1.
        kwargs: As in the host.

    Raises:
        ConfigError: If `untrained_model_can_be_best` is not True or False.
    """

    def __init__(
        self,
        record_keeper: Any,
        *args: Any,
        untrained_model_can_be_best: bool = False,
        **kwargs: Any,
    ) -> None:
        """Store the settings; see the class."""
        if not isinstance(untrained_model_can_be_best, bool):
            raise ConfigError(
                "hook_container.CheckpointedHookContainer.untrained_model_can_be_best is "
                f"{untrained_model_can_be_best!r}, expected True or False (config_eval)"
            )
        super().__init__(record_keeper, *args, **kwargs)
        self.untrained_model_can_be_best = untrained_model_can_be_best
        # Table with the accuracies that determine the best epoch; known once there is a tester.
        self._validation_table: str | None = None
        # Folder, suffix and epoch of a best model to continue from, until training begins.
        self._branch: tuple[Path, str, int] | None = None

    # ---- choosing the best epoch --------------------------------------------------------------

    def get_best_epoch_and_accuracy(
        self, tester: Any, split_name: str, ignore_epoch: tuple[int, ...] | None = None
    ) -> tuple[Any, Any]:
        """Look up the best recorded epoch.

        Args:
            tester: The host's tester, which names the table.
            split_name: Name of the split.
            ignore_epoch: Excluded epochs; by default -1 (the untrained trunk alone) and, unless
                `untrained_model_can_be_best`, 0.

        Returns:
            Epoch and accuracy, or (None, 0) without an eligible epoch.
        """
        if ignore_epoch is None:
            ignore_epoch = (UNTRAINED_TRUNK_EPOCH,)
            if not self.untrained_model_can_be_best:
                ignore_epoch += (UNTRAINED_EPOCH,)
        best: tuple[Any, Any] = super().get_best_epoch_and_accuracy(
            tester, split_name, ignore_epoch=ignore_epoch
        )
        return best

    def end_of_epoch_hook(
        self, tester: Any, dataset_dict: Mapping[str, Any], *args: Any, **kwargs: Any
    ) -> Callable[[Any], bool]:
        """Create the host's hook, which evaluates and saves.

        Raises:
            ConfigError: If the metric that chooses the best epoch is not computed.
        """
        metrics = tester.accuracy_calculator.get_curr_metrics()
        if self.primary_metric not in metrics:
            raise ConfigError(
                f"hook_container.primary_metric is {self.primary_metric!r}, expected one of the "
                f"metrics that are computed: {', '.join(metrics)} (config_eval)"
            )
        self._validation_table = self.record_group_name(tester, self.validation_split_name)
        hook: Callable[[Any], bool] = super().end_of_epoch_hook(
            tester, dataset_dict, *args, **kwargs
        )
        return hook

    def end_of_iteration_hook(self, trainer: Any) -> None:
        """Record the iteration as the host does."""
        if self._branch is not None:
            # Not earlier: resuming a finished experiment from its best model trains nothing, so it
            # must keep its records.
            folder, suffix, epoch = self._branch
            self._branch = None
            remove_records_after(self.record_keeper, epoch, files.ends_of_records(folder, suffix))
            for later in files.numbered_epochs(folder):
                if later > epoch:
                    files.delete(folder, str(later), self._entries(trainer))
        with joined_events(self.record_keeper):
            super().end_of_iteration_hook(trainer)

    # ---- saving -------------------------------------------------------------------------------

    def save_models(
        self,
        trainer: Any,
        model_folder: str | os.PathLike[str],
        curr_suffix: int | str,
        prev_suffix: int | str | None = None,
    ) -> None:
        """Write a checkpoint atomically, then remove the previous one.

        Args:
            trainer: Object with the dicts named in `saveable_trainer_objects`.
            model_folder: Checkpoint folder; created if missing.
            curr_suffix: Epoch, or "best" with an epoch.
            prev_suffix: Checkpoint to remove afterwards.

        Raises:
            CheckpointError: If a file cannot be written. The previous checkpoint stays intact.
        """
        if not self.do_save_models:
            return
        folder = Path(model_folder)
        entries = self._entries(trainer)
        writers = {name: partial(files.save_state, entry) for name, entry in entries.items()}
        ends = find_ends_of_records(self.record_keeper)
        files.write(folder, str(curr_suffix), writers, ends)
        if prev_suffix is not None and str(prev_suffix) != str(curr_suffix):
            files.delete(folder, str(prev_suffix), entries)

    # ---- loading ------------------------------------------------------------------------------

    def load_latest_saved_models(
        self,
        trainer: Any,
        model_folder: str | os.PathLike[str],
        device: torch.device | None = None,
        best: bool = False,
    ) -> int:
        """Restore the trainer's whole state from a checkpoint, if any, and clean up.

        A run that stopped before its first evaluation continues from its saved untrained model
        (``best0``), not from a new one as in the host.

        Args:
            trainer: Object with the dicts named in `saveable_trainer_objects`.
            model_folder: Checkpoint folder.
            device: Device of the tensors; the GPU by default, if there is one.
            best: Whether to continue from the best model instead of the latest.

        Returns:
            The epoch to train next; 1 if there is no checkpoint.

        Raises:
            CheckpointError: If the checkpoint is damaged, incomplete or of other models.
            ExperimentError: If the records cannot be rewritten.
        """
        if device is None:
            device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        folder = Path(model_folder)
        try:
            epoch = self._load_and_tidy_up(self._entries(trainer), folder, device, best)
        except OSError as error:
            raise CheckpointError(
                f"cannot read or change {error.filename or folder}: {error.strerror or error}. "
                f"Expected permission to read and write {folder}. Fix this, then rerun the same "
                "command."
            ) from error
        return 1 if epoch is None else epoch + 1

    def _load_and_tidy_up(
        self, entries: Mapping[str, Any], folder: Path, device: torch.device, best: bool
    ) -> int | None:
        """Load one checkpoint and return its epoch, or None if there is none."""
        for suffix in files.committed_suffixes(folder):
            files.finish_interrupted(folder, suffix)
        self._repair_best(folder, list(entries))
        found = files.find_checkpoint(folder, best)
        if found is None:
            # The split scheme starts from scratch.
            remove_records_after(self.record_keeper, UNTRAINED_TRUNK_EPOCH - 1, {})
            return None
        suffix, epoch = found
        files.verify(folder, suffix)
        for name, entry in entries.items():
            path = files.path_of(folder, name, suffix)
            if name == TRAINING_STATE and not path.is_file():
                logger.warning(
                    "%s has no %s (from the host or an older version): training continues, "
                    "but with other batches than without the interruption", folder, path.name,
                )  # fmt: skip
                continue
            files.load_state(entry, path, device)
            logger.info("LOAD %s", path)
        files.sweep(folder, suffix)
        if max(files.numbered_epochs(folder), default=epoch) > epoch:
            self._branch = (folder, suffix, epoch)
        else:
            remove_records_after(self.record_keeper, epoch, files.ends_of_records(folder, suffix))
        return epoch

    def _entries(self, trainer: Any) -> dict[str, Any]:
        """Collect everything to save by file name, in the trainer's order."""
        entries: dict[str, Any] = {}
        for group in self.saveable_trainer_objects:
            for name, entry in (getattr(trainer, group, None) or {}).items():
                if name in entries:
                    raise CheckpointError(
                        f"{group}.{name} has the same name as another part of the trainer, so "
                        f"both would be saved to one file; expected a name other than {name!r}. "
                        "Rename it in the config."
                    )
                entries[name] = entry
        if getattr(trainer, TRAINING_STATE, None) is not None:  # added by our runner
            entries[TRAINING_STATE] = getattr(trainer, TRAINING_STATE)
        if COMMIT_KEY not in entries:
            raise CheckpointError(
                f"the trainer has no model named {COMMIT_KEY!r}, only {', '.join(entries)}; "
                "expected one, since its file marks a checkpoint as complete (config_models)"
            )
        return entries

    def _repair_best(self, folder: Path, names: Sequence[str]) -> None:
        """Create the best model that was due if the run stopped right after saving the latest."""
        epoch = max(files.numbered_epochs(folder), default=UNTRAINED_EPOCH)
        suffix = f"best{epoch}"
        if epoch == UNTRAINED_EPOCH or suffix in files.committed_suffixes(folder):
            return
        sources = {name: files.path_of(folder, name, str(epoch)) for name in names}
        if not files.path_of(folder, TRAINING_STATE, str(epoch)).is_file():
            sources.pop(TRAINING_STATE, None)  # a checkpoint of an older version has none
        if not self._is_best_on_record(epoch) or not all(p.is_file() for p in sources.values()):
            return
        try:
            files.verify(folder, str(epoch))
        except CheckpointError as error:
            logger.warning("cannot create %s: %s", suffix, error)
            return
        logger.info("Epoch %d was the best one recorded; creating %s from it", epoch, suffix)
        writers = {name: partial(shutil.copyfile, source) for name, source in sources.items()}
        files.write(folder, suffix, writers, files.ends_of_records(folder, str(epoch)))
        for other in files.committed_suffixes(folder):
            stale = other.startswith("best") and other != suffix
            if stale and (other != f"best{UNTRAINED_EPOCH}" or self.untrained_model_can_be_best):
                files.delete(folder, other, names)

    def _is_best_on_record(self, epoch: int) -> bool:
        """Whether the validation records say that an epoch was the best so far."""
        database, table = own_database(self.record_keeper), self._validation_table
        if database is None or table not in tables_with(database, "best_epoch"):
            return False
        rows = database.query(f"SELECT best_epoch FROM [{table}] WHERE epoch=?", (epoch,))
        return any(row["best_epoch"] == epoch for row in rows)
