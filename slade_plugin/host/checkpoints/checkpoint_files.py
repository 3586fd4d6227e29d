"""Checkpoint files: written atomically, found, verified, loaded and removed.

The ``trunk`` file commits a checkpoint. Every file is written under a temporary name, then renamed:
first a manifest of SHA-256 sums, then the other files, then ``trunk``. The host finds checkpoints
by ``trunk_*.pth``, which also matches ``trunk_optimizer_2.pth``: such files are renamed after
``trunk``, and resuming finishes the renames of an interrupted run. Removal is the same in reverse.
So neither the host nor we ever see a partial checkpoint. File names and contents are the host's.

The manifest, ``checkpoint_<suffix>.json``, also records where the iteration records end. It may be
missing: checkpoints of the plain host load too.
"""

import json
import logging
import os
import pickle
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from slade_plugin.base.errors import CheckpointError
from slade_plugin.base.files import checked_write, flush_to_disk, sha256_of_file

logger = logging.getLogger(__name__)

UNTRAINED_EPOCH = 0
COMMIT_KEY = "trunk"  # the file whose presence means that the checkpoint is complete
COMPANION_PREFIX = f"{COMMIT_KEY}_"  # names that the host also reads as a trunk
MANIFEST_FORMAT = 1
TEMPORARY = ".part"

_SUFFIX = re.compile(r"(?:best)?\d+")
_COMMITTED = re.compile(rf"{COMMIT_KEY}_({_SUFFIX.pattern})\.pth")

# Raised by torch.load for files that are truncated, overwritten or not checkpoints.
_UNREADABLE = (
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    pickle.UnpicklingError,
)


def path_of(folder: Path, name: str, suffix: str) -> Path:
    """Return the path of one part of a checkpoint, named as in the host."""
    return folder / f"{name}_{suffix}.pth"


def _manifest_path(folder: Path, suffix: str) -> Path:
    return folder / f"checkpoint_{suffix}.json"


def committed_suffixes(folder: Path) -> list[str]:
    """List the suffixes of complete checkpoints."""
    matches = (_COMMITTED.fullmatch(p.name) for p in folder.glob(f"{COMMIT_KEY}_*.pth"))
    return sorted(match[1] for match in matches if match)


def numbered_epochs(folder: Path) -> list[int]:
    """List the epochs of complete checkpoints, except best ones."""
    return [int(suffix) for suffix in committed_suffixes(folder) if suffix.isdigit()]


def find_checkpoint(folder: Path, best: bool) -> tuple[str, int] | None:
    """Find suffix and epoch of the checkpoint to load; None in a folder without any.

    Without numbered checkpoints "latest" means the newest best one. This happens before the first
    evaluation, and after stopping a run that continued from its best model.

    Raises:
        CheckpointError: If `best` is wanted and there is none.
    """
    suffixes = committed_suffixes(folder)
    best_epochs = [int(s.removeprefix("best")) for s in suffixes if s.startswith("best")]
    epochs = numbered_epochs(folder)
    if not suffixes:
        return None
    if best and not best_epochs:
        raise CheckpointError(
            f"{folder} has no best model ({COMMIT_KEY}_best<epoch>.pth), only epoch "
            f"{max(epochs)}; resume from it with --resume_training latest"
        )
    if best or not epochs:
        return f"best{max(best_epochs)}", max(best_epochs)
    return str(max(epochs)), max(epochs)


def _unwrapped(entry: Any) -> Any:
    """Unwrap the model from ``DataParallel``, as the host does for saving."""
    wrappers = (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)
    return entry.module if isinstance(entry, wrappers) else entry


def save_state(entry: Any, path: Path) -> None:
    """Write one state dict, in the host's format.

    Raises:
        OSError: If writing fails; torch alone reports that as a RuntimeError.
    """
    with checked_write(path) as stream:
        torch.save(_unwrapped(entry).state_dict(), stream)


def write(
    folder: Path,
    suffix: str,
    writers: Mapping[str, Callable[[Path], object]],
    ends_of_records: Mapping[str, Mapping[str, int]] | None,
) -> None:
    """Write all files under temporary names, then commit them by renaming.

    Args:
        folder: Checkpoint folder; created if missing.
        suffix: Epoch, or "best" with an epoch.
        writers: Function that writes the file of each part, by name, including `COMMIT_KEY`.
        ends_of_records: Stored in the manifest for `ends_of_records`; None if unknown.

    Raises:
        CheckpointError: If a file cannot be written. Other checkpoints are untouched.
    """
    manifest = _manifest_path(folder, suffix)
    targets = {name: path_of(folder, name, suffix) for name in writers}
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
            flush_to_disk(_temporary(path))
            sums[path.name] = sha256_of_file(_temporary(path))
        path = manifest
        content = {"format": MANIFEST_FORMAT, "suffix": suffix, "sha256": sums}
        if ends_of_records is not None:
            content["records"] = ends_of_records
        with checked_write(_temporary(path)) as stream:
            stream.write((json.dumps(content, indent=2) + "\n").encode())
        flush_to_disk(_temporary(path))
        # Only the untrained model is ever written twice; it is also complete or absent.
        for path in (commit, *companions):
            path.unlink(missing_ok=True)
        for path in order:
            os.replace(_temporary(path), path)
            placed.append(path)
        flush_to_disk(folder)
    except Exception as error:
        # In reverse, so that a reached commit is undone first.
        for leftover in [*reversed(placed), *map(_temporary, order)]:
            with suppress(OSError):
                leftover.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise CheckpointError(
            f"cannot write {path}: {error.strerror or error}. Expected free space and permission "
            "to write. The previous checkpoint is intact: fix this, then rerun the command with "
            "--resume_training latest."
        ) from error


def _temporary(path: Path) -> Path:
    return path.with_name(path.name + TEMPORARY)


def finish_interrupted(folder: Path, suffix: str) -> None:
    """Rename the temporary files of a committed checkpoint that an interrupted run left."""
    for temporary in folder.glob(f"{COMPANION_PREFIX}*_{suffix}.pth{TEMPORARY}"):
        target = temporary.with_name(temporary.name.removesuffix(TEMPORARY))
        if not target.exists():
            os.replace(temporary, target)


def delete(folder: Path, suffix: str, names: Iterable[str]) -> None:
    """Remove a checkpoint in reverse order of writing, the manifest last.

    Raises:
        CheckpointError: If a file cannot be removed.
    """
    parts = {*(path_of(folder, name, suffix) for name in names), *_listed_files(folder, suffix)}
    path = commit = path_of(folder, COMMIT_KEY, suffix)
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
            f"cannot remove {path} of an outdated checkpoint: {error.strerror or error}. Expected "
            "permission to change its folder. Fix this, then rerun the command with "
            "--resume_training latest."
        ) from error


def _listed_files(folder: Path, suffix: str) -> list[Path]:
    """List the files of a manifest; none if it is missing or unreadable."""
    try:
        content = json.loads(_manifest_path(folder, suffix).read_text(encoding="utf-8"))
        return [folder / Path(name).name for name in content["sha256"]]
    except (OSError, ValueError, LookupError, TypeError):
        return []


def ends_of_records(folder: Path, suffix: str) -> dict[str, dict[str, int]] | None:
    """Read where the iteration records of a verified checkpoint end; None if unknown."""
    path = _manifest_path(folder, suffix)
    if not path.exists():
        return None
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content.get("records")


def sweep(folder: Path, loaded: str) -> None:
    """Remove the leftovers of an interrupted run.

    These are temporary files, uncommitted files, and predecessors of the loaded checkpoint. The
    untrained model and the host's files stay.
    """
    committed = committed_suffixes(folder)
    for path in folder.glob(f"*{TEMPORARY}"):
        path.unlink(missing_ok=True)
    for manifest in folder.glob("checkpoint_*.json"):
        suffix = manifest.stem.removeprefix("checkpoint_")
        ours = _SUFFIX.fullmatch(suffix)
        if ours and (suffix not in committed or _precedes(suffix, loaded)):
            delete(folder, suffix, ())


def _precedes(suffix: str, other: str) -> bool:
    """Whether a checkpoint is an earlier one of the same kind, excluding the untrained model."""
    if suffix.startswith("best") != other.startswith("best"):
        return False
    epoch, other_epoch = (int(s.removeprefix("best")) for s in (suffix, other))
    return UNTRAINED_EPOCH < epoch < other_epoch


def _remedy(suffix: str) -> str:
    if suffix.startswith("best"):
        return (
            "resume from the latest checkpoint instead (--resume_training latest), restore the "
            "file from a copy, or restart the experiment"
        )
    return (
        "resume from the best checkpoint instead (--resume_training best), restore the file from "
        "a copy, or restart the experiment"
    )


def verify(folder: Path, suffix: str) -> None:
    """Compare every file with the manifest, if there is one.

    Raises:
        CheckpointError: Naming the first file that is damaged or missing.
    """
    manifest = _manifest_path(folder, suffix)
    if not manifest.exists():
        logger.info("%s has no manifest (written by the plain host) and is not verified", suffix)
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


def load_state(entry: Any, path: Path, device: torch.device) -> None:
    """Load one state dict into a model, optimizer, scheduler, loss or miner.

    Raises:
        CheckpointError: If the file is missing, unreadable or of another architecture.
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
            "restore the file from a copy or restart the experiment"
        ) from error
    target = _unwrapped(entry)
    try:
        target.load_state_dict(state)
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
        mismatch = _first_mismatch(target, state) or _first_line(error)
        raise CheckpointError(
            f"{path} does not fit {type(target).__name__}: {mismatch}; the checkpoint belongs to "
            "another config: resume with the config of the saved experiment, or start a new one"
        ) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "no text")


def _first_mismatch(target: Any, state: object) -> str | None:
    """Describe the first entry in which a module and a state dict differ; None if unknown."""
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
