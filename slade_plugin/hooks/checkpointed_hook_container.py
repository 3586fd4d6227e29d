"""Records, evaluation and checkpoints of a run, safe against being stopped at any moment.

The host's ``HookContainer`` writes records first and then file after file, so a run that is
stopped in between leaves half a checkpoint and records of an epoch without one. Here:

- A checkpoint is committed by its ``trunk`` file. Every file is written under a temporary name;
  then come, by rename, a manifest of SHA-256 sums, the other files, and ``trunk``. The host finds
  checkpoints by ``trunk_*.pth``, which also fits ``trunk_optimizer_2.pth``: such files are renamed
  after ``trunk``, and a run that is stopped in between is finished when it is resumed. Removal is
  the same in reverse. So neither the host nor this class ever sees half of a checkpoint. Names and
  contents of the files are the host's.
- Loading checks the sums and refuses damaged, incomplete and foreign checkpoints by name.
- Resuming removes the records of epochs and iterations after the one resumed, so that none counts
  twice.
- With our runner `training_state_<suffix>.pth` holds what makes a resumed run exact; see
  `slade_plugin.training_state`. Without it a run is resumed as by the host, with a warning.
- The untrained model (epoch 0) is never the best one, unless `untrained_model_can_be_best`.

The manifest is a file of its own, ``checkpoint_<suffix>.json``, which also says where the records
of iterations end. It may be missing: checkpoints of the plain host load as well.
"""

import csv
import io
import json
import logging
import os
import pickle
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pytorch_metric_learning.utils.logging_presets import HookContainer

from slade_plugin.errors import CheckpointError, ConfigError
from slade_plugin.files import atomic_write, sha256_of_file
from slade_plugin.training_state import NAME as TRAINING_STATE

logger = logging.getLogger(__name__)

UNTRAINED_TRUNK_EPOCH = -1
UNTRAINED_EPOCH = 0
COMMIT_KEY = "trunk"  # the file whose presence means that the checkpoint is complete
COMPANION_PREFIX = f"{COMMIT_KEY}_"  # names which the host takes for a trunk as well
MANIFEST_FORMAT = 1
TEMPORARY = ".part"

_SUFFIX = re.compile(r"(?:best)?\d+")
_COMMITTED = re.compile(rf"{COMMIT_KEY}_({_SUFFIX.pattern})\.pth")

# What torch.load raises for files that are cut short, overwritten or no checkpoints at all.
_UNREADABLE = (
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    pickle.UnpicklingError,
)


class CheckpointedHookContainer(HookContainer):
    """The host's hooks with checkpoints that are whole or absent.

    Args:
        record_keeper: The host's record keeper; None if nothing is recorded.
        record_group_name_prefix: Prefix of the names of recorded tables.
        primary_metric: The metric that chooses the best epoch.
        validation_split_name: The split on which it is measured.
        save_models: Whether checkpoints are written.
        untrained_model_can_be_best: True is the host's behaviour: epoch 0 takes part in the choice
            of the best epoch, and if it wins, no trained model is ever tested. False changes
            numbers: the best epoch is then one after training began, also for patience.

    Raises:
        ConfigError: If `untrained_model_can_be_best` is not True or False.
    """

    def __init__(
        self,
        record_keeper: Any,
        record_group_name_prefix: str | None = None,
        primary_metric: str = "mean_average_precision_at_r",
        validation_split_name: str = "val",
        save_models: bool = True,
        untrained_model_can_be_best: bool = False,
    ) -> None:
        """Keeps the settings; see the class."""
        if not isinstance(untrained_model_can_be_best, bool):
            raise ConfigError(
                "hook_container.CheckpointedHookContainer.untrained_model_can_be_best is "
                f"{untrained_model_can_be_best!r}, expected True or False (config_eval)"
            )
        super().__init__(
            record_keeper,
            record_group_name_prefix=record_group_name_prefix,
            primary_metric=primary_metric,
            validation_split_name=validation_split_name,
            save_models=save_models,
        )
        self.untrained_model_can_be_best = untrained_model_can_be_best
        # Name of the table with the accuracies that choose the best epoch; known with the tester.
        self._validation_table: str | None = None
        # Folder, suffix and epoch of a best model from which training goes on, until it has begun.
        self._branch: tuple[Path, str, int] | None = None

    # ---- choosing the best epoch --------------------------------------------------------------

    def get_best_epoch_and_accuracy(
        self, tester: Any, split_name: str, ignore_epoch: tuple[int, ...] | None = None
    ) -> tuple[Any, Any]:
        """Looks up the best epoch on record.

        Args:
            tester: The host's tester, which names the table.
            split_name: Split to look at.
            ignore_epoch: Epochs that do not take part; by default -1 (the untrained trunk alone)
                and, unless `untrained_model_can_be_best`, 0.

        Returns:
            Epoch and accuracy, or (None, 0) if no epoch takes part.
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
        """Makes the host's hook, which evaluates and saves.

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
        """Records the iteration as the host does."""
        if self._branch is not None:
            # Not earlier: an experiment that has reached its last epoch is resumed from its best
            # model without being trained, and must keep its records.
            folder, suffix, epoch = self._branch
            self._branch = None
            self._remove_records_after(epoch, _ends_of_records(folder, suffix))
            for later in _numbered(folder):
                if later > epoch:
                    _delete_checkpoint(folder, str(later), self._entries(trainer))
        super().end_of_iteration_hook(trainer)

    # ---- saving -------------------------------------------------------------------------------

    def save_models(
        self,
        trainer: Any,
        model_folder: str | os.PathLike[str],
        curr_suffix: int | str,
        prev_suffix: int | str | None = None,
    ) -> None:
        """Writes a checkpoint whole or not at all, then removes the previous one.

        Args:
            trainer: Holder of the dicts named in `saveable_trainer_objects`.
            model_folder: Folder of the checkpoints; made if missing.
            curr_suffix: Epoch, or "best" with an epoch.
            prev_suffix: Checkpoint to remove afterwards.

        Raises:
            CheckpointError: If a file cannot be written. The previous checkpoint is still whole.
        """
        if not self.do_save_models:
            return
        folder = Path(model_folder)
        entries = self._entries(trainer)
        writers = {name: partial(_save_state, entry) for name, entry in entries.items()}
        _write_checkpoint(folder, str(curr_suffix), writers, self._find_ends_of_records())
        if prev_suffix is not None and str(prev_suffix) != str(curr_suffix):
            _delete_checkpoint(folder, str(prev_suffix), entries)

    # ---- loading ------------------------------------------------------------------------------

    def load_latest_saved_models(
        self,
        trainer: Any,
        model_folder: str | os.PathLike[str],
        device: torch.device | None = None,
        best: bool = False,
    ) -> int:
        """Restores everything the trainer holds, if there is a checkpoint, and tidies up.

        A run that was stopped before its first evaluation goes on from the untrained model it had
        saved (``best0``), not from a new one as in the host.

        Args:
            trainer: Holder of the dicts named in `saveable_trainer_objects`.
            model_folder: Folder of the checkpoints.
            device: Where tensors go; by default the GPU if there is one.
            best: Whether to go on from the best model instead of the latest.

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
                f"{error.filename or folder} could not be read or changed: {_reason(error)}; "
                f"expected permission to read and write {folder}. Mend that and resume again"
            ) from error
        return 1 if epoch is None else epoch + 1

    def _load_and_tidy_up(
        self, entries: Mapping[str, Any], folder: Path, device: torch.device, best: bool
    ) -> int | None:
        """Loads one checkpoint; returns its epoch, or None if there is none."""
        for suffix in _committed_suffixes(folder):
            _finish_interrupted(folder, suffix)
        self._repair_best(folder, list(entries))
        found = _find_checkpoint(folder, best)
        if found is None:
            self._remove_records_after(UNTRAINED_TRUNK_EPOCH - 1, {})  # the scheme begins anew
            return None
        suffix, epoch = found
        _verify(folder, suffix)
        for name, entry in entries.items():
            path = _path(folder, name, suffix)
            if name == TRAINING_STATE and not path.is_file():
                logger.warning(
                    "%s holds no %s (it is of the host or of an older version): training goes on, "
                    "but with other batches than without the interruption", folder, path.name,
                )  # fmt: skip
                continue
            _load_state(entry, path, device)
            logger.info("LOAD %s", path)
        _sweep(folder, suffix)
        if max(_numbered(folder), default=epoch) > epoch:
            self._branch = (folder, suffix, epoch)
        else:
            self._remove_records_after(epoch, _ends_of_records(folder, suffix))
        return epoch

    def _entries(self, trainer: Any) -> dict[str, Any]:
        """Everything that is saved, by file name; in the trainer's order."""
        entries: dict[str, Any] = {}
        for group in self.saveable_trainer_objects:
            for name, entry in (getattr(trainer, group, None) or {}).items():
                if name in entries:
                    raise CheckpointError(
                        f"{group}.{name} has the name of another part of the trainer, and both "
                        f"would be saved to one file; expected another name than {name!r}. Rename "
                        "it in the config."
                    )
                entries[name] = entry
        if getattr(trainer, TRAINING_STATE, None) is not None:  # as our runner makes it
            entries[TRAINING_STATE] = getattr(trainer, TRAINING_STATE)
        if COMMIT_KEY not in entries:
            raise CheckpointError(
                f"the trainer has no model named {COMMIT_KEY!r}, got {', '.join(entries)}; "
                "expected one, since its file marks a checkpoint as complete (config_models)"
            )
        return entries

    def _remove_records_after(
        self, epoch: int, ends: Mapping[str, Mapping[str, int]] | None
    ) -> None:
        """Removes records that were written after a checkpoint, which the host writes later.

        Tables and files with a column ``epoch`` lose later epochs, those of iterations what lies
        behind the given ends. Only in this run's own database and CSV files: in a global database
        the rows of several splits cannot be told apart.

        Args:
            epoch: The last epoch to keep.
            ends: What the manifest says of the records of iterations; None leaves them alone.
        """
        database = self._database()
        if database is None:
            return
        folder = Path(self.record_keeper.record_writer.folder)
        by_epoch = _tables_with(database, "epoch")
        for table in _tables_with(database, "id"):
            if table in by_epoch:
                database.execute(f"DELETE FROM [{table}] WHERE epoch > ?", (epoch,))
            elif ends is not None:
                end = ends.get(table, {"row": 0, "byte": 0})
                database.execute(f"DELETE FROM [{table}] WHERE id > ?", (end["row"],))
                _cut(folder / f"{table}.csv", end["byte"])
            last = f"(SELECT COALESCE(MAX(id), 0) FROM [{table}])"
            database.execute(f"UPDATE sqlite_sequence SET seq = {last} WHERE name = ?", (table,))
        for path in sorted(folder.glob("*.csv")):
            _remove_csv_rows_after(path, epoch)

    def _find_ends_of_records(self) -> dict[str, dict[str, int]]:
        """The last row in the database and the size of the CSV file, by table of iterations."""
        database = self._database()
        if database is None:
            return {}
        folder = Path(self.record_keeper.record_writer.folder)
        ends = {}
        for table in set(_tables_with(database, "id")) - set(_tables_with(database, "epoch")):
            (row,) = database.query(f"SELECT COALESCE(MAX(id), 0) AS last FROM [{table}]")
            path = folder / f"{table}.csv"
            ends[table] = {"row": row["last"], "byte": path.stat().st_size if path.exists() else 0}
        return dict(sorted(ends.items()))

    def _database(self) -> Any:
        """The run's own database of records; None if nothing has been recorded."""
        writer = getattr(self.record_keeper, "record_writer", None)
        return writer.local_db if writer and Path(writer.local_db.db_path).is_file() else None

    def _repair_best(self, folder: Path, names: Sequence[str]) -> None:
        """Makes the best model that was due when the run was stopped after saving the latest."""
        epoch = max(_numbered(folder), default=UNTRAINED_EPOCH)
        suffix = f"best{epoch}"
        if epoch == UNTRAINED_EPOCH or suffix in _committed_suffixes(folder):
            return
        sources = {name: _path(folder, name, str(epoch)) for name in names}
        if not _path(folder, TRAINING_STATE, str(epoch)).is_file():  # of an older version
            sources.pop(TRAINING_STATE, None)
        if not self._is_best_on_record(epoch) or not all(p.is_file() for p in sources.values()):
            return
        try:
            _verify(folder, str(epoch))
        except CheckpointError as error:
            logger.warning("%s is not made: %s", suffix, error)
            return
        logger.info("Epoch %d was the best one on record; making %s from it", epoch, suffix)
        writers = {name: partial(shutil.copyfile, source) for name, source in sources.items()}
        _write_checkpoint(folder, suffix, writers, _ends_of_records(folder, str(epoch)))
        for other in _committed_suffixes(folder):
            stale = other.startswith("best") and other != suffix
            if stale and (other != f"best{UNTRAINED_EPOCH}" or self.untrained_model_can_be_best):
                _delete_checkpoint(folder, other, names)

    def _is_best_on_record(self, epoch: int) -> bool:
        """Whether the validation records say that an epoch was the best so far."""
        writer = getattr(self.record_keeper, "record_writer", None)
        table = self._validation_table
        if writer is None or table not in _tables_with(writer.local_db, "best_epoch"):
            return False
        rows = writer.local_db.query(f"SELECT best_epoch FROM [{table}] WHERE epoch=?", (epoch,))
        return any(row["best_epoch"] == epoch for row in rows)


# ---- files of a checkpoint --------------------------------------------------------------------


def _path(folder: Path, name: str, suffix: str) -> Path:
    """The host's file name."""
    return folder / f"{name}_{suffix}.pth"


def _manifest_path(folder: Path, suffix: str) -> Path:
    return folder / f"checkpoint_{suffix}.json"


def _committed_suffixes(folder: Path) -> list[str]:
    """Suffixes of complete checkpoints."""
    matches = (_COMMITTED.fullmatch(p.name) for p in folder.glob(f"{COMMIT_KEY}_*.pth"))
    return sorted(match[1] for match in matches if match)


def _numbered(folder: Path) -> list[int]:
    """Epochs of the complete checkpoints that are not best ones."""
    return [int(suffix) for suffix in _committed_suffixes(folder) if suffix.isdigit()]


def _find_checkpoint(folder: Path, best: bool) -> tuple[str, int] | None:
    """Suffix and epoch of the checkpoint to load, or None in a folder without any.

    Without numbered checkpoints "latest" means the newest best one: that is the case before the
    first evaluation, and after a run that went on from its best model was stopped.
    """
    suffixes = _committed_suffixes(folder)
    best_epochs = [int(s.removeprefix("best")) for s in suffixes if s.startswith("best")]
    epochs = _numbered(folder)
    if not suffixes:
        return None
    if best and not best_epochs:
        raise CheckpointError(
            f"{folder} holds no best model ({COMMIT_KEY}_best<epoch>.pth), got only epoch "
            f"{max(epochs)}; resume from it with --resume_training latest"
        )
    if best or not epochs:
        return f"best{max(best_epochs)}", max(best_epochs)
    return str(max(epochs)), max(epochs)


def _flush_to_disk(path: Path) -> None:
    """Waits until a file, or the names in a folder, survive a power cut."""
    folder = path.is_dir()
    if folder and os.name == "nt":  # Windows cannot open folders
        return
    descriptor = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwrapped(entry: Any) -> Any:
    """The model inside ``DataParallel``, which is what the host saves."""
    wrappers = (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)
    return entry.module if isinstance(entry, wrappers) else entry


def _save_state(entry: Any, path: Path) -> None:
    """Writes one state dict, in the host's format."""
    # Through a stream of our own, since torch reports a full disk as one only then.
    with path.open("wb") as stream:
        torch.save(_unwrapped(entry).state_dict(), stream)


def _write_checkpoint(
    folder: Path,
    suffix: str,
    writers: Mapping[str, Callable[[Path], object]],
    ends_of_records: Mapping[str, Mapping[str, int]] | None,
) -> None:
    """Writes all files under temporary names, then commits them by renaming."""
    manifest = _manifest_path(folder, suffix)
    targets = {name: _path(folder, name, suffix) for name in writers}
    commit = targets[COMMIT_KEY]
    companions = [path for name, path in targets.items() if name.startswith(COMPANION_PREFIX)]
    others = [path for path in targets.values() if path != commit and path not in companions]
    order = [manifest, *others, commit, *companions]
    placed: list[Path] = []
    path = folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sums = {}
        for name, path in targets.items():
            writers[name](_temporary(path))
            _flush_to_disk(_temporary(path))
            sums[path.name] = sha256_of_file(_temporary(path))
        path = manifest
        content = {"format": MANIFEST_FORMAT, "suffix": suffix, "sha256": sums}
        if ends_of_records is not None:
            content["records"] = ends_of_records
        _temporary(path).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        _flush_to_disk(_temporary(path))
        # Only the untrained model is ever written twice; it is whole or absent as well.
        for path in (commit, *companions):
            path.unlink(missing_ok=True)
        for path in order:
            os.replace(_temporary(path), path)
            placed.append(path)
        _flush_to_disk(folder)
    except OSError as error:
        # In reverse: if the commit itself was reached, it is taken back first.
        for leftover in [*reversed(placed), *map(_temporary, order)]:
            with suppress(OSError):
                leftover.unlink(missing_ok=True)
        raise CheckpointError(
            f"{path} could not be written: {_reason(error)}; expected room and permission to "
            "write. The checkpoint before it is untouched: mend that, then go on with "
            "--resume_training latest"
        ) from error


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _temporary(path: Path) -> Path:
    return path.with_name(path.name + TEMPORARY)


def _finish_interrupted(folder: Path, suffix: str) -> None:
    """Renames what a stopped run left under temporary names after committing a checkpoint."""
    for temporary in folder.glob(f"{COMPANION_PREFIX}*_{suffix}.pth{TEMPORARY}"):
        target = temporary.with_name(temporary.name.removesuffix(TEMPORARY))
        if not target.exists():
            os.replace(temporary, target)


def _delete_checkpoint(folder: Path, suffix: str, names: Iterable[str]) -> None:
    """Removes a checkpoint in the reverse order of writing, the manifest last.

    Raises:
        CheckpointError: If a file cannot be removed.
    """
    parts = {*(_path(folder, name, suffix) for name in names), *_listed_files(folder, suffix)}
    path = commit = _path(folder, COMMIT_KEY, suffix)
    companions = sorted(p for p in parts - {commit} if p.name.startswith(COMPANION_PREFIX))
    try:
        for path in companions:
            if path.exists():
                os.replace(path, _temporary(path))
        others = sorted(parts - {commit, *companions})
        for path in [commit, *map(_temporary, companions), *others, _manifest_path(folder, suffix)]:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise CheckpointError(
            f"{path} of an outdated checkpoint could not be removed: {_reason(error)}; expected "
            "permission to change its folder. Mend that, then go on with --resume_training latest"
        ) from error


def _listed_files(folder: Path, suffix: str) -> list[Path]:
    """Files named by a manifest; none if it is missing or unreadable."""
    try:
        content = json.loads(_manifest_path(folder, suffix).read_text(encoding="utf-8"))
        return [folder / Path(name).name for name in content["sha256"]]
    except (OSError, ValueError, LookupError, TypeError):
        return []


def _ends_of_records(folder: Path, suffix: str) -> dict[str, dict[str, int]] | None:
    """What a checkpoint that was verified says of the records of iterations; None if nothing."""
    path = _manifest_path(folder, suffix)
    if not path.exists():
        return None
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content.get("records")


def _sweep(folder: Path, loaded: str) -> None:
    """Removes what a stopped run left.

    That is temporary files, files without the one that commits them, and predecessors of the
    checkpoint that was just loaded. The untrained model stays, and so does what the host wrote.
    """
    committed = _committed_suffixes(folder)
    for path in folder.glob(f"*{TEMPORARY}"):
        path.unlink(missing_ok=True)
    for manifest in folder.glob("checkpoint_*.json"):
        suffix = manifest.stem.removeprefix("checkpoint_")
        ours = _SUFFIX.fullmatch(suffix)
        if ours and (suffix not in committed or _precedes(suffix, loaded)):
            _delete_checkpoint(folder, suffix, ())


def _precedes(suffix: str, other: str) -> bool:
    """Whether a checkpoint is an earlier one of the same kind, other than the untrained model."""
    if suffix.startswith("best") != other.startswith("best"):
        return False
    epoch, other_epoch = (int(s.removeprefix("best")) for s in (suffix, other))
    return UNTRAINED_EPOCH < epoch < other_epoch


# ---- checking and loading ---------------------------------------------------------------------


def _remedy(suffix: str) -> str:
    if suffix.startswith("best"):
        return (
            "resume from the latest checkpoint instead (--resume_training latest), restore the "
            "file from a copy, or start the experiment anew"
        )
    return (
        "resume from the best checkpoint instead (--resume_training best), restore the file from "
        "a copy, or start the experiment anew"
    )


def _verify(folder: Path, suffix: str) -> None:
    """Compares every file with the manifest, if there is one.

    Raises:
        CheckpointError: Naming the first file that is damaged or missing.
    """
    manifest = _manifest_path(folder, suffix)
    if not manifest.exists():
        logger.info("%s has no manifest (written by the plain host); it is not verified", suffix)
        return
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        sums = dict(content["sha256"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CheckpointError(
            f"{manifest} is damaged ({type(error).__name__}), expected the SHA-256 sums of the "
            f"checkpoint; {_remedy(suffix)}"
        ) from error
    for name, expected in sums.items():
        path = folder / name
        if not path.is_file():
            raise CheckpointError(
                f"{path} is missing, expected it by {manifest.name}; {_remedy(suffix)}"
            )
        found = sha256_of_file(path)
        if found != expected:
            raise CheckpointError(
                f"{path} is damaged: SHA-256 {found}, expected {expected} by {manifest.name}; "
                f"{_remedy(suffix)}"
            )


def _load_state(entry: Any, path: Path, device: torch.device) -> None:
    """Loads one state dict into a model, optimizer, scheduler, loss or miner.

    Raises:
        CheckpointError: If the file is missing or unreadable, or made by other parts.
    """
    if not path.is_file():
        raise CheckpointError(
            f"{path} is missing: the checkpoint was made without this part of the trainer, or it "
            "was removed; resume with the config of the saved experiment, or start a new one"
        )
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except _UNREADABLE as error:
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint: {type(error).__name__}: {_first_line(error)}; "
            "restore the file from a copy or start the experiment anew"
        ) from error
    target = _unwrapped(entry)
    try:
        target.load_state_dict(state)
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
        mismatch = _first_mismatch(target, state) or _first_line(error)
        raise CheckpointError(
            f"{path} does not fit {type(target).__name__}: {mismatch}; the checkpoint belongs to "
            "another configuration: resume with the config of the saved experiment, or start a "
            "new one"
        ) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "no text")


def _first_mismatch(target: Any, state: object) -> str | None:
    """Describes the first entry in which a module and a state dict differ; None if unknown."""
    if not isinstance(target, torch.nn.Module) or not isinstance(state, Mapping):
        return None
    own = target.state_dict()
    for key, value in own.items():
        if key not in state:
            return f"{key!r} is not in the file"
        expected = tuple(getattr(value, "shape", ()))
        found = tuple(getattr(state[key], "shape", ()))
        if found != expected:
            return f"{key!r} has shape {found} in the file, expected {expected}"
    extra = next((key for key in state if key not in own), None)
    return None if extra is None else f"{extra!r} of the file is unknown to the model"


# ---- records ----------------------------------------------------------------------------------


def _tables_with(database: Any, column: str) -> list[str]:
    """Tables of a record-keeper database that have a column."""
    rows = database.query("SELECT name FROM sqlite_master WHERE type='table'")
    tables = [row["name"] for row in rows if not row["name"].startswith("sqlite_")]
    return [
        table
        for table in tables
        if any(row["name"] == column for row in database.query(f"PRAGMA table_info([{table}])"))
    ]


def _cut(path: Path, size: int) -> None:
    """Cuts a file off behind its first bytes; without any it is removed."""
    if size == 0:
        path.unlink(missing_ok=True)
    elif path.is_file() and path.stat().st_size > size:
        os.truncate(path, size)


def _remove_csv_rows_after(path: Path, epoch: int) -> None:
    """Rewrites one CSV file of records without the rows of later epochs.

    The host starts a new header line inside the file when columns change.
    """
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.reader(stream))
    column: int | None = None
    kept = []
    for row in rows:
        if "epoch" in row:
            column = row.index("epoch")
        elif column is not None and column < len(row) and _is_later(row[column], epoch):
            continue
        kept.append(row)
    if len(kept) == len(rows):
        return
    text = io.StringIO(newline="")
    csv.writer(text).writerows(kept)
    with atomic_write(path) as stream:
        stream.write(text.getvalue().encode("utf-8"))


def _is_later(cell: str, epoch: int) -> bool:
    try:
        return float(cell) > epoch
    except ValueError:
        return False
