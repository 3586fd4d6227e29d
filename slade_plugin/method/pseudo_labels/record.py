"""A verified record of pseudo labels on disk: ids in a .npy file, the rest in a manifest.

The manifest is written last and contains its own hash and that of the ids, so partial or damaged
records are never read.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slade_plugin.base.errors import PseudoLabelError
from slade_plugin.base.files import (
    MANIFEST_HASH,
    atomic_write,
    manifest_hash,
    sha256_of_file,
    write_manifest,
)
from slade_plugin.method.clusterers.clusterer import NOISE

_FORMAT = 1


@dataclass(frozen=True)
class PseudoLabels:
    """Cluster ids of one split scheme's pool.

    Attributes:
        cluster_ids: (N,) int64, 0 to num_clusters - 1, one per pool image; -1 is noise.
        manifest: Origin of the ids: teacher and pool hashes, settings, sizes, agreement.
    """

    cluster_ids: np.ndarray
    manifest: dict[str, Any]

    def __post_init__(self) -> None:
        """Check the ids.

        Raises:
            PseudoLabelError: If an id is below -1 or at least the number of clusters.
        """
        ids, k = self.cluster_ids, self.num_clusters
        if ids.ndim != 1 or len(ids) == 0 or ids.min() < NOISE or ids.max() >= k:
            found = f"{ids.min()} to {ids.max()}" if ids.size else "none"
            raise PseudoLabelError(
                f"cluster ids are {found} in an array of shape {ids.shape}; expected a flat array "
                f"of ids from 0 to {k - 1}, or {NOISE} for noise."
            )

    @property
    def num_clusters(self) -> int:
        """k, counting empty clusters."""
        return int(self.manifest["num_clusters"])

    def for_training(self, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the student's training labels: without noise and small clusters, ids from c on.

        Args:
            num_classes: c, number of labeled training classes.

        Returns:
            (M,) pool indices and (M,) pseudo labels from c to c + k - 1.

        Raises:
            PseudoLabelError: If fewer than two clusters are large enough.
        """
        is_clustered = self.cluster_ids != NOISE
        sizes = np.bincount(self.cluster_ids[is_clustered], minlength=self.num_clusters)
        is_large = sizes[self.cluster_ids] >= self.manifest["min_cluster_size"]
        keep = np.flatnonzero(is_clustered & is_large)
        if len(np.unique(self.cluster_ids[keep])) < 2:
            raise PseudoLabelError(
                f"fewer than two clusters have {self.manifest['min_cluster_size']} images or more; "
                "change pseudo_labels: clusterer or min_cluster_size in config_general."
            )
        return keep, self.cluster_ids[keep] + num_classes


def record_paths(folder: Path, split_scheme: str) -> tuple[Path, Path]:
    """Return the paths of one split scheme's ids and manifest."""
    return folder / f"{split_scheme}.npy", folder / f"{split_scheme}.json"


def save_pseudo_labels(pseudo_labels: PseudoLabels, folder: Path, split_scheme: str) -> None:
    """Write a record atomically.

    Raises:
        ExperimentError: If the folder cannot be written.
    """
    ids_path, manifest_path = record_paths(folder, split_scheme)
    with atomic_write(ids_path) as file:
        np.save(file, pseudo_labels.cluster_ids)
    manifest = {
        **pseudo_labels.manifest,
        "format": _FORMAT,
        "split_scheme": split_scheme,
        "num_images": len(pseudo_labels.cluster_ids),
        "ids_sha256": sha256_of_file(ids_path),
    }
    write_manifest(manifest_path, manifest)


def load_pseudo_labels(
    folder: Path, split_scheme: str, expected: Mapping[str, Any] | None = None
) -> PseudoLabels:
    """Read and verify a record.

    Args:
        folder: Folder of the record.
        split_scheme: Name of its split scheme.
        expected: Required entries of the manifest, such as the hashes of teacher and pool.

    Raises:
        PseudoLabelError: If the record is missing, damaged or of another origin.
    """
    ids_path, manifest_path = record_paths(folder, split_scheme)
    remedy = f"Remove {manifest_path} and rerun to recreate the pseudo labels."
    try:
        manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
        digest = sha256_of_file(ids_path)
    except FileNotFoundError as error:
        raise PseudoLabelError(
            f"pseudo labels for split scheme {split_scheme} are missing: {error.filename}; "
            "expected a record made by the pseudo-label stage (run.py --config_loss slade)."
        ) from error
    except (OSError, ValueError) as error:
        raise PseudoLabelError(f"{manifest_path} cannot be read: {error}. {remedy}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
        raise PseudoLabelError(f"{manifest_path} is not a pseudo-label manifest. {remedy}")
    # Records of early versions lack their own hash.
    if manifest.get(MANIFEST_HASH) not in (None, manifest_hash(manifest)):
        raise PseudoLabelError(
            f"{manifest_path} is damaged: its content does not match its own hash. {remedy}"
        )
    if digest != manifest.get("ids_sha256"):
        raise PseudoLabelError(
            f"{ids_path} is damaged: its hash is {digest[:12]}, the manifest says "
            f"{str(manifest.get('ids_sha256'))[:12]}. {remedy}"
        )
    origin = {"clusterer": _former_clusterer(manifest), **manifest}
    for key, value in {"split_scheme": split_scheme, **(expected or {})}.items():
        if origin.get(key) != value:
            raise PseudoLabelError(
                f"{manifest_path} was made for {key} {origin.get(key)!r}; expected {value!r}. "
                f"{remedy}"
            )
    return PseudoLabels(np.load(ids_path), manifest)


def _former_clusterer(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the clusterer of a record from before records named theirs."""
    if manifest.get("source") == "true_labels":
        return {"TrueLabels": {}}
    names = ("num_clusters", "num_iterations", "num_restarts", "seed")
    return {"KMeans": {name: manifest.get(name) for name in names}}


def pool_fingerprint(pool: Any) -> str:
    """Hash the pool: its own `fingerprint`, else class, length and labels."""
    own = getattr(pool, "fingerprint", None)
    if own is not None:
        return str(own)
    digest = hashlib.sha256(f"{type(pool).__name__} {len(pool)}".encode())
    labels = getattr(pool, "labels", None)
    if labels is not None:
        digest.update(np.asarray(labels, dtype=np.int64).tobytes())
    return digest.hexdigest()
