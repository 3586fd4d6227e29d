"""The student: an ordinary host experiment with a pool, pseudo labels and a basis."""

from pathlib import Path
from typing import Any

from slade_plugin.base.errors import ConfigError, ExperimentError
from slade_plugin.base.files import atomic_write
from slade_plugin.data.datasets.pseudo_labeled_dataset import PseudoLabeledDataset
from slade_plugin.host.api_parsers.api_with_pool import APIWithPool
from slade_plugin.host.api_parsers.training_length import TrainingLength
from slade_plugin.host.checkpoints.teacher import Teacher
from slade_plugin.method.pseudo_labels.record import (
    PseudoLabels,
    load_pseudo_labels,
    pool_fingerprint,
    record_paths,
)

STUDENT_INITIALIZATIONS = ("pretrained", "teacher")


class APISladeStudent(TrainingLength, APIWithPool):
    """Build a student; the host selects this class by the trainer's name, `SladeStudent`.

    Its config adds `unlabeled_dataset`, `unlabeled_sampler`, `pseudo_labels` (with `folder`, the
    records of the pseudo-label stage) and `student_initialization` to the host's entries. Each
    split scheme's record is first copied into the experiment, so a student can be resumed,
    evaluated and reproduced from its own folder.
    """

    def default_kwargs_trainer(self) -> dict[str, Any]:
        """Return the host's entries and those of the student."""
        return {
            **super().default_kwargs_trainer(),
            "unlabeled_dataset": self.get_pseudo_labeled_dataset,
            "unlabeled_sampler": self.get_unlabeled_sampler,
            "num_classes": lambda: self.split_manager.get_num_labels("train", "train"),
            "true_labels": self.get_true_labels,
            "num_epochs": self._num_epochs,
        }

    def set_models_optimizers_losses(self) -> None:
        """Read this scheme's pseudo labels, then proceed as the host."""
        self.pseudo_labels = self.get_pseudo_labels()
        super().set_models_optimizers_losses()
        if self.is_training() and self.epoch == 1:
            self.initialize_student()

    def get_pseudo_labels(self) -> PseudoLabels:
        """Read the current split scheme's record, copied here first for a new experiment."""
        scheme = self.split_manager.curr_split_scheme_name
        own_folder = Path(self.experiment_folder) / scheme
        if not record_paths(own_folder, scheme)[1].exists():
            source = self.pseudo_label_settings.folder
            if not source:
                raise ConfigError(
                    "pseudo_labels: folder is null; expected the folder of a pseudo-label stage "
                    "in config_general. run.py --config_loss slade fills it in."
                )
            load_pseudo_labels(Path(source), scheme)
            own_folder.mkdir(parents=True, exist_ok=True)
            for path in record_paths(Path(source), scheme):
                with atomic_write(own_folder / path.name) as file:
                    file.write(path.read_bytes())
        pool = self.split_manager.get_unlabeled_dataset("train")
        return load_pseudo_labels(
            own_folder, scheme, {"pool_sha256": pool_fingerprint(pool), "num_images": len(pool)}
        )

    def stand_in_pseudo_labels(self) -> PseudoLabels:
        """Make stand-in pseudo labels to try a student's parts before any exist.

        Raises:
            ConfigError: If the clusterer does not fit the pool.
            DataError: If the pool is empty.
        """
        pool_size = len(self.split_manager.get_unlabeled_dataset("train"))
        clusterer, true_labels = self.get_clusterer(), self.get_true_labels()
        clusterer.check(pool_size, true_labels)
        ids = clusterer.stand_in(pool_size, true_labels)
        guessed = clusterer.reads_embeddings  # so the sizes are meaningless
        smallest = 1 if guessed else self.pseudo_label_settings.min_cluster_size
        manifest = {"num_clusters": int(ids.max()) + 1, "min_cluster_size": smallest}
        return PseudoLabels(ids, manifest)

    def get_pseudo_labeled_dataset(self) -> PseudoLabeledDataset:
        """Build the pool's training set, with pseudo labels from c to c + k - 1."""
        num_classes = self.split_manager.get_num_labels("train", "train")
        pool_index, labels = self.pseudo_labels.for_training(num_classes)
        pool = self.split_manager.get_unlabeled_dataset("train")
        self.pseudo_labeled_dataset = PseudoLabeledDataset(pool, pool_index, labels)
        return self.pseudo_labeled_dataset

    def get_unlabeled_sampler(self) -> Any:
        """Build the sampler named by `unlabeled_sampler`, over pseudo labels."""
        dataset = getattr(self, "pseudo_labeled_dataset", None) or self.get_pseudo_labeled_dataset()
        kwargs = {"labels": dataset.labels, "length_before_new_iter": len(dataset)}
        return self.factories["sampler"].create(self.args.unlabeled_sampler, kwargs=kwargs)

    def initialize_student(self) -> None:
        """Start from the trunk factory's weights (`pretrained`) or from the teacher's.

        Raises:
            ConfigError: If the option is unknown.
            ExperimentError: If it is `teacher` and no teacher is given.
        """
        choice = self.args.student_initialization
        if choice not in STUDENT_INITIALIZATIONS:
            raise ConfigError(
                f"student_initialization is {choice!r}; expected one of "
                f"{', '.join(STUDENT_INITIALIZATIONS)}. Change it in config_general."
            )
        if choice == "teacher":
            folder = getattr(self.args, "teacher_experiment", None)
            if not folder:
                raise ExperimentError(
                    "student_initialization is teacher, but teacher_experiment is null; expected "
                    "the teacher's experiment folder in config_general."
                )
            Teacher(Path(folder), self.split_manager.curr_split_scheme_name).load_into(
                self.models, self.device
            )

    def list_of_old_objects_to_delete(self) -> list[str]:
        """List the host's objects to delete after a split scheme, and ours."""
        return [
            *super().list_of_old_objects_to_delete(),
            "pseudo_labels",
            "pseudo_labeled_dataset",
        ]
