"""The stage between teacher and student: embed the pool, cluster it, write a record."""

import os
import time
from pathlib import Path
from typing import Any

from slade_plugin.api_parsers.api_slade_student import APISladeStudent
from slade_plugin.errors import PseudoLabelError
from slade_plugin.pseudo_labels.clustering import (
    ClusteringSettings,
    cluster_embeddings,
    compare_with_true_labels,
)
from slade_plugin.pseudo_labels.record import (
    PseudoLabels,
    load_pseudo_labels,
    pool_fingerprint,
    record_paths,
    save_pseudo_labels,
)
from slade_plugin.self_training.teacher import Teacher


class APISladePseudoLabels(APISladeStudent):
    """Makes one pseudo-label record per split scheme; records that fit are left as they are."""

    def run(self) -> dict[str, dict[str, Any]]:
        """Makes the records that are missing.

        Returns:
            The manifest of each split scheme.
        """
        self.transforms = self.get_transforms()
        self.split_manager = self.get_split_manager()
        return {name: self.run_split_scheme(name) for name in self.split_manager.split_scheme_names}

    def run_split_scheme(self, split_scheme: str) -> dict[str, Any]:
        """Makes the record of one split scheme unless a fitting one lies there.

        Raises:
            PseudoLabelError: If a record lies there that is damaged or of another origin.
        """
        self.split_manager.set_curr_split_scheme(split_scheme)
        folder = Path(self.args.pseudo_labels["folder"])
        settings = ClusteringSettings.from_config(self.args.pseudo_labels)
        teacher = Teacher(Path(self.args.teacher_experiment), split_scheme)
        pool = self.split_manager.get_unlabeled_dataset("eval")
        origin = {
            "teacher_sha256": teacher.sha256(),
            "pool_sha256": pool_fingerprint(pool),
            "num_clusters": settings.num_clusters,
        }
        if record_paths(folder, split_scheme)[1].exists():
            return load_pseudo_labels(folder, split_scheme, origin).manifest

        started = time.perf_counter()
        models = {"trunk": self.get_trunk(), "embedder": self.get_embedder()}
        teacher.load_into(models, self.device)
        for model in models.values():
            model.to(self.device)
        folder.mkdir(parents=True, exist_ok=True)
        embeddings_path = folder / f"{split_scheme}.embeddings.{os.getpid()}.npy"
        tester = self.get_tester(
            **self.nullify_kwargs(dict.fromkeys(["end_of_testing_hook", "plots_folder"]))
        )
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
            **origin,
            **clustering.report,
            "teacher_experiment": str(teacher.experiment),
            "teacher_model": teacher.suffix,
            "embedding_seconds": round(embedding_seconds, 3),
        }
        true_labels = self.get_true_labels()
        if true_labels is not None:
            manifest["agreement"] = compare_with_true_labels(clustering.cluster_ids, true_labels)
        save_pseudo_labels(PseudoLabels(clustering.cluster_ids, manifest), folder, split_scheme)
        return load_pseudo_labels(folder, split_scheme, origin).manifest
