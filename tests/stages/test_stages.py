"""The list of stages: order, folders, rows; and a stage that somebody adds."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from slade_plugin.stages import stages
from slade_plugin.stages.stages import STAGES, list_stages, title_of_row
from slade_plugin.stages.training import TrainedStage


def command(rounds: int = 1, **changes: Any) -> Any:
    """What a list of stages reads of a command line."""
    values: dict[str, Any] = {
        "rounds": rounds,
        "settings": {},
        "given_teacher": None,
        "self_supervised": {},
        "folder": Path("run"),
        "stage_folder": lambda kind: Path("run", kind),
    }
    return SimpleNamespace(**values | changes)


def names(rounds: int = 1, **changes: Any) -> list[str]:
    return [stage.name for stage in list_stages(command(rounds, **changes))]


def test_one_round_has_the_four_stages() -> None:
    assert names() == ["teacher", "pseudo_labels", "student", "baseline"]
    found = list_stages(command())
    assert [stage.row for stage in found] == names()
    assert [stage.has_scores for stage in found] == [True, False, True, True]
    assert [stage.title for stage in found] == [
        "teacher", "pseudo labels", "student", "baseline (teacher's config, equally long)",
    ]  # fmt: skip


def test_later_rounds_have_folders_of_their_own() -> None:
    assert names(3) == [
        "teacher", "pseudo_labels", "student", "round2/pseudo_labels", "round2/student",
        "round3/pseudo_labels", "round3/student", "baseline",
    ]  # fmt: skip


@pytest.mark.parametrize("rounds", [1, 2])
def test_the_baseline_can_be_left_out(rounds: int) -> None:
    every = names(rounds)
    assert names(rounds, settings={"baseline": True}) == every
    assert names(rounds, settings={"baseline": False}) == [n for n in every if n != "baseline"]


@pytest.mark.parametrize("rounds", [1, 2])
def test_a_given_teacher_lies_elsewhere(rounds: int) -> None:
    found = list_stages(command(rounds, given_teacher=Path("/there/mine")))
    assert [stage.name for stage in found] == names(rounds)
    assert {stage.name: stage.given for stage in found if stage.given} == {
        "teacher": Path("/there/mine")
    }
    assert found[0].folder == Path("/there/mine")


def test_the_trunk_of_all_stages_comes_first() -> None:
    """Trained here, or in a folder that is given."""
    for place, given in ((Path("run", "self_supervised"), False), (Path("/there"), True)):
        first, *others = list_stages(command(2, self_supervised={"folder": str(place)}))
        assert [first.name, *(stage.name for stage in others)] == ["self_supervised", *names(2)]
        assert first.title == "self-supervised trunk"
        assert not first.has_scores
        assert first.folder == place
        assert (first.given is not None) is given


def test_the_last_student_is_the_student_of_the_table() -> None:
    rows = [stage.row for stage in list_stages(command(3)) if stage.kind == "student"]
    assert rows == ["student_round1", "student_round2", "student"]
    assert [title_of_row(row) for row in rows] == [
        "student, round 1", "student, round 2", "student",
    ]  # fmt: skip
    assert title_of_row("baseline") == "baseline (teacher's config, equally long)"
    assert title_of_row("mine") == "mine"


def test_titles_name_rounds_where_there_are_several() -> None:
    titles = [stage.title for stage in list_stages(command(2))]
    assert titles == [
        "teacher", "pseudo labels, round 1", "student, round 1", "pseudo labels, round 2",
        "student, round 2", "baseline (teacher's config, equally long)",
    ]  # fmt: skip


# ---- a stage of one's own: one file, one entry in the list, one YAML file ------------------------


class FineTuned(TrainedStage):
    """The teacher's settings with those of `pipeline: fine_tuned`, as a second control."""

    kind = "fine_tuned"
    heading = "fine-tuned"

    def is_wanted(self) -> bool:
        return self.kind in self.command.settings

    def read_config(self) -> Any:
        settings = {**self.command.settings["teacher"], **self.command.settings[self.kind]}
        return self.command.runner.read(self.command.reader_for(self.name, settings=settings))


@pytest.mark.slow
def test_a_stage_is_added(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is planned, trained, resumed, tabled and evaluated like the others."""
    from slade_plugin.config.composition import config_root

    root = shutil.copytree(config_root(), tmp_path / "configs")
    slade = yaml.safe_load((root / "config_general" / "slade.yaml").read_text())
    pipeline = {**slade["pipeline"], "baseline": False, "fine_tuned": {"patience": 5}}
    own = {"brings": {"config_loss": ["slade"]}, "pipeline": pipeline}
    (root / "config_loss" / "slade_fine_tuned.yaml").write_text(yaml.safe_dump(own))
    monkeypatch.setattr("slade_plugin.runner.config_root", lambda: root)
    monkeypatch.setattr(stages, "STAGES", [*STAGES, FineTuned])

    flags = bench.tiny_student("slade_fine_tuned")
    patience = {name: args.patience for name, args in bench.stages(flags).items()}
    assert patience == {"teacher": None, "student": None, "fine_tuned": 5}
    outcome = bench(flags, root=tmp_path)
    assert outcome.code == 0, outcome.err
    assert "[4/4] fine-tuned: MetricLossOnly, 1 epochs per split scheme" in outcome.out
    assert "| fine-tuned " in outcome.out
    folder = tmp_path / "slade_fine_tuned_seed0"
    assert (folder / "fine_tuned" / "configs" / "config_loss.yaml").is_file()
    again = bench(flags, "--resume_training latest", root=tmp_path)
    assert again.code == 0, again.err
    assert "[4/4] fine-tuned: already done" in again.out
    evaluate = (
        "--experiment_name slade_fine_tuned_seed0/fine_tuned --evaluate --splits_to_eval [train]"
    )
    assert bench(evaluate, root=tmp_path).code == 0
    # Where the config does not ask for it, nothing changes.
    assert "fine_tuned" not in bench.stages("--config_loss slade")


def test_a_misspelled_stage_is_named(bench: Any, tmp_path: Path) -> None:
    outcome = bench("--config_loss slade --pipeline {baselin: false}", root=tmp_path)
    assert outcome.code == 2
    assert "pipeline has no entry 'baselin' (did you mean 'baseline'?)" in outcome.err
