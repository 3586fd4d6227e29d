"""Stage between teacher and student: embed the pool, cluster it, write a record."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from slade_plugin.base.errors import PseudoLabelError
from slade_plugin.config.saved_paths import path_in_run
from slade_plugin.host.api_parsers.api_with_pool import APIWithPool
from slade_plugin.host.checkpoints.teacher import Teacher
from slade_plugin.method.clusterers import Clusterer, UnlabeledPool
from slade_plugin.method.pseudo_labels.agreement import compare_with_true_labels
from slade_plugin.method.pseudo_labels.last_round import compare_with_last_round
from slade_plugin.method.pseudo_labels.record import (
    PseudoLabels,
    load_pseudo_labels,
    pool_fingerprint,
    record_paths,
    save_pseudo_labels,
)


class APISladePseudoLabels(APIWithPool):
    """Make one pseudo-label record per split scheme; keep existing records that fit."""

    def run(self) -> dict[str, dict[str, Any]]:
        """Make the missing records.

        Returns:
            The manifest of each split scheme.
        """
        self.transforms = self.get_transforms()
        self.split_manager = self.get_split_manager()
        return {name: self.run_split_scheme(name) for name in self.split_manager.split_scheme_names}

    def run_split_scheme(self, split_scheme: str) -> dict[str, Any]:
        """Make the record of one split scheme unless a valid one exists.

        Raises:
            ConfigError: If the clusterer does not fit the pool.
            PseudoLabelError: If the existing record is damaged or of another origin.
        """
        self.split_manager.set_curr_split_scheme(split_scheme)
        pool = self.split_manager.get_unlabeled_dataset("eval")
        clusterer = self.get_clusterer()
        settings = clusterer.settings_for(len(pool), self.args.seed)
        origin: dict[str, Any] = {
            "pool_sha256": pool_fingerprint(pool),
            "clusterer": {type(clusterer).__name__: settings},
        }
        teacher = None
        if clusterer.reads_embeddings:
            teacher = Teacher(Path(self.args.teacher_experiment), split_scheme)
            origin = {"teacher_sha256": teacher.sha256(), **origin}
        folder = Path(self.pseudo_label_settings.folder or "")
        if not record_paths(folder, split_scheme)[1].exists():
            clusterer.check(len(pool), self.get_true_labels())
            folder.mkdir(parents=True, exist_ok=True)
            made = self.cluster_pool(clusterer, teacher)
            manifest = {**origin, **made.manifest, **self.change(split_scheme, made.cluster_ids)}
            save_pseudo_labels(PseudoLabels(made.cluster_ids, manifest), folder, split_scheme)
        return load_pseudo_labels(folder, split_scheme, origin).manifest

    def change(self, split_scheme: str, cluster_ids: np.ndarray) -> dict[str, Any]:
        """Compare with the last round's pseudo labels, for the manifest; empty in round 1."""
        folder = self.pseudo_label_settings.last_folder
        if not folder:
            return {}
        last = load_pseudo_labels(Path(folder), split_scheme)
        comparison = compare_with_last_round(cluster_ids, last.cluster_ids)
        return {"last_round": {"ids_sha256": last.manifest["ids_sha256"], **comparison}}

    def cluster_pool(self, clusterer: Clusterer, teacher: Teacher | None) -> PseudoLabels:
        """Cluster the pool; a teacher computes the embeddings if the clusterer needs them.

        Raises:
            PseudoLabelError: If the embeddings cannot be written.
        """
        pool_size = len(self.split_manager.get_unlabeled_dataset("eval"))
        settings = self.pseudo_label_settings
        scheme = self.split_manager.curr_split_scheme_name
        folder = Path(settings.folder or "")
        embeddings_path = folder / f"{scheme}.embeddings.{os.getpid()}.npy"
        seconds = {}

        def embed() -> np.ndarray:
            if teacher is None:
                raise PseudoLabelError(
                    f"{type(clusterer).__name__} asked for embeddings, but its reads_embeddings is "
                    "False; expected True."
                )
            started = time.perf_counter()
            embeddings = self.embed_pool(teacher, embeddings_path)
            seconds["embedding_seconds"] = round(time.perf_counter() - started, 3)
            return embeddings

        true_labels = self.get_true_labels()
        try:
            clustering = clusterer.cluster(UnlabeledPool(embed, true_labels, self.args.seed))
        except OSError as error:
            raise PseudoLabelError(
                f"cannot write the pool's embeddings to {embeddings_path}: {error}. Free some "
                "space, then rerun with --resume_training latest."
            ) from error
        finally:
            embeddings_path.unlink(missing_ok=True)
        manifest = clustering.manifest(clusterer, pool_size)
        is_small = np.asarray(manifest["cluster_sizes"]) < settings.min_cluster_size
        manifest |= {
            "min_cluster_size": settings.min_cluster_size,
            "clusters_below_min_size": int(is_small.sum()),
            **seconds,
        }
        if teacher is not None:
            manifest |= {
                "teacher_experiment": path_in_run(teacher.experiment, folder),
                "teacher_model": teacher.suffix,
            }
            if true_labels is not None:
                ids = clustering.cluster_ids
                manifest["agreement"] = compare_with_true_labels(ids, true_labels)
        return PseudoLabels(clustering.cluster_ids.astype(np.int64), manifest)

    def embed_pool(self, teacher: Teacher, path: Path) -> np.ndarray:
        """Embed the pool, (N, D), into a memory-mapped file."""
        models = {"trunk": self.get_trunk(), "embedder": self.get_embedder()}
        teacher.load_into(models, self.device)
        self.set_dataparallel(models)
        for model in models.values():
            model.to(self.device)
        tester = self.get_tester(
            **self.nullify_kwargs(dict.fromkeys(["end_of_testing_hook", "plots_folder"]))
        )
        pool = self.split_manager.get_unlabeled_dataset("eval")
        embeddings: np.ndarray = tester.embed_pool(pool, models["trunk"], models["embedder"], path)
        return embeddings
