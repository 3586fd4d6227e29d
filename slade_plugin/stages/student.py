"""Stage 3 of a round: an experiment on the labeled images and the pseudo-labeled pool."""

from typing import Any

from slade_plugin.host.api_parsers.api_with_pool import pool_config
from slade_plugin.host.api_parsers.data_record import data_hashes
from slade_plugin.stages.kinds import PSEUDO_LABELS, STUDENT, TEACHER
from slade_plugin.stages.stage import Findings
from slade_plugin.stages.state import WEIGHTS
from slade_plugin.stages.training import TrainedStage


class Student(TrainedStage):
    """Learn from the teacher or, from round 2 on, from the previous student."""

    kind = STUDENT
    heading = "student"
    in_every_round = True

    def read_config(self) -> Any:
        """Read the command's config, with the folders of its teacher and pseudo labels."""
        command, previous = self.command, self.number - 1
        reader = command.reader_for(self.name, is_student=True)
        folders = {"folder": command.stage_folder(PSEUDO_LABELS, self.number)}
        teacher = command.given_teacher or command.stage_folder(TEACHER)
        if previous:
            folders["last_folder"] = command.stage_folder(PSEUDO_LABELS, previous)
            teacher = command.stage_folder(STUDENT, previous)
        own = getattr(reader.args, "pseudo_labels", None) or {}
        reader.args.pseudo_labels = {**own, **{key: str(path) for key, path in folders.items()}}
        reader.args.teacher_experiment = str(teacher)
        config = command.runner.read(reader)
        pool_config(config)  # refused here, before the data of any stage are read
        return config

    def check(self) -> Findings:
        """Build its parts; later rounds have the same parts as the first."""
        if self.number > 1:
            return Findings()
        parser = self.build(self.command.given_teacher)
        pool_size = len(parser.split_manager.get_unlabeled_dataset("train"))
        self.command.clusters = parser.get_clusterer().describe(pool_size)
        hashes = data_hashes(parser.split_manager)
        weights = getattr(parser.models["trunk"], "loaded_weights", None)
        if weights is not None and weights.sha256 is not None:
            hashes[WEIGHTS] = weights.sha256
        return Findings(hashes, parser.split_manager.leakage)
