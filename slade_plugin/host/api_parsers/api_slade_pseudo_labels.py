"""The stage between teacher and student: embed the pool, cluster it, write a record.

For the oracle student the record holds the pool's true labels instead.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from slade_plugin.base.errors import PseudoLabelError
from slade_plugin.config.saved_paths import path_in_run
from slade_plugin.host.api_parsers.api_with_pool import APIWithPool
from slade_plugin.host.checkpoints.teacher import Teacher
from slade_plugin.method.pseudo_labels.clustering import (
    ClusteringSettings,
    cluster_embeddings,
    compare_with_true_labels,
)
from slade_plugin.method.pseudo_labels.last_round import compare_with_last_round
from slade_plugin.method.pseudo_labels.record import (
    PseudoLabels,
    load_pseudo_labels,
    pool_fingerprint,
    record_paths,
    save_pseudo_labels,
)
from slade_plugin.method.pseudo_labels.true_labels import (
    TRUE_LABELS,
    label_source,
    record_true_labels,
)


class APISladePseudoLabels(APIWithPool):
    """Make one pseudo-label record per split scheme; records that fit are left as they are."""

    def run(self) -> dict[str, dict[str, Any]]:
        """Make the records that are missing.

        Returns:
            The manifest of each split scheme.
        """
        self.transforms = self.get_transforms()
        self.split_manager = self.get_split_manager()
        return {name: self.run_split_scheme(name) for name in self.split_manager.split_scheme_names}

    def run_split_scheme(self, split_scheme: str) -> dict[str, Any]:
        """Make the record of one split scheme unless a fitting one lies there.

        Raises:
            ConfigError: If true labels are asked for and the pool has none.
            PseudoLabelError: If a record lies there that is damaged or of another origin.
        """
        self.split_manager.set_curr_split_scheme(split_scheme)
        pool = self.split_manager.get_unlabeled_dataset("eval")
        settings = ClusteringSettings.from_config(self.args.pseudo_labels, len(pool))
        origin: dict[str, Any] = {"pool_sha256": pool_fingerprint(pool)}
        if label_source(self.args.pseudo_labels) == TRUE_LABELS:
            truth = record_true_labels(self.get_true_labels(), settings.min_cluster_size)
            return self._kept_or_made(split_scheme, origin, TRUE_LABELS, lambda: truth)
        teacher = Teacher(Path(self.args.teacher_experiment), split_scheme)
        origin = {
            "teacher_sha256": teacher.sha256(),
            **origin,
            "num_clusters": settings.num_clusters,
        }
        return self._kept_or_made(
            split_scheme, origin, None, lambda: self.cluster_pool(teacher, settings)
        )

    def _kept_or_made(
        self,
        split_scheme: str,
        origin: dict[str, Any],
        source: str | None,
        make: Callable[[], PseudoLabels],
    ) -> dict[str, Any]:
        """The manifest of a record; `source` is None for clusters, whose manifests name none."""
        folder = Path(self.args.pseudo_labels["folder"])
        if not record_paths(folder, split_scheme)[1].exists():
            folder.mkdir(parents=True, exist_ok=True)
            made = make()
            manifest = {**origin, **made.manifest, **self.change(split_scheme, made.cluster_ids)}
            save_pseudo_labels(PseudoLabels(made.cluster_ids, manifest), folder, split_scheme)
        expected = {**origin, "source": source}
        return load_pseudo_labels(folder, split_scheme, expected).manifest

    def change(self, split_scheme: str, cluster_ids: np.ndarray) -> dict[str, Any]:
        """What a manifest says of the last round's pseudo labels; nothing in the first round."""
        folder = self.args.pseudo_labels.get("last_folder")
        if not folder:
            return {}
        last = load_pseudo_labels(Path(folder), split_scheme)
        comparison = compare_with_last_round(cluster_ids, last.cluster_ids)
        return {"last_round": {"ids_sha256": last.manifest["ids_sha256"], **comparison}}

    def cluster_pool(self, teacher: Teacher, settings: ClusteringSettings) -> PseudoLabels:
        """Embed the pool with a teacher and clusters it.

        Raises:
            PseudoLabelError: If the embeddings cannot be written.
        """
        started = time.perf_counter()
        models = {"trunk": self.get_trunk(), "embedder": self.get_embedder()}
        teacher.load_into(models, self.device)
        for model in models.values():
            model.to(self.device)
        folder = Path(self.args.pseudo_labels["folder"])
        embeddings_path = folder / f"{teacher.split_scheme}.embeddings.{os.getpid()}.npy"
        tester = self.get_tester(
            **self.nullify_kwargs(dict.fromkeys(["end_of_testing_hook", "plots_folder"]))
        )
        pool = self.split_manager.get_unlabeled_dataset("eval")
        try:
            embeddings = tester.embed_pool(
                pool, models["trunk"], models["embedder"], embeddings_path
            )
            embedding_seconds = time.perf_counter() - started
            clustering = cluster_embeddings(embeddings, settings, self.args.seed)
        except OSError as error:
            raise PseudoLabelError(
                f"the pool's embeddings cannot be written to {embeddings_path}: {error}. Free "
                "some space and run again with --resume_training latest."
            ) from error
        finally:
            embeddings_path.unlink(missing_ok=True)
        manifest = {
            **clustering.report,
            "teacher_experiment": path_in_run(teacher.experiment, folder),
            "teacher_model": teacher.suffix,
            "embedding_seconds": round(embedding_seconds, 3),
        }
        true_labels = self.get_true_labels()
        if true_labels is not None:
            manifest["agreement"] = compare_with_true_labels(clustering.cluster_ids, true_labels)
        return PseudoLabels(clustering.cluster_ids, manifest)
