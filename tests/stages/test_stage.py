"""What every stage has: a folder, a title and a row, in each round."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from slade_plugin.stages.stage import Findings, Stage


class Nothing(Stage):
    """A stage that does nothing."""

    kind = "nothing"
    heading = "no stage"
    in_every_round = True

    def describe(self) -> str:
        return ""

    def run(self, entry: dict[str, Any]) -> None:
        pass


class Once(Nothing):
    """One stage a run."""

    in_every_round = False


def command(rounds: int) -> Any:
    configs = {"nothing": "config 1", "round2/nothing": "config 2"}
    return SimpleNamespace(rounds=rounds, folder=Path("run"), configs=configs)


def test_a_stage_of_each_round() -> None:
    first, second = (Nothing(command(2), number) for number in (1, 2))
    assert (first.name, second.name) == ("nothing", "round2/nothing")
    assert (first.folder, second.folder) == (Path("run/nothing"), Path("run/round2/nothing"))
    assert (first.title, second.title) == ("no stage, round 1", "no stage, round 2")
    assert (first.row, second.row) == ("nothing_round1", "nothing")
    assert (first.config, second.config) == ("config 1", "config 2")
    assert (first.is_wanted(), first.read_config(), first.check()) == (True, None, Findings())


@pytest.mark.parametrize("stage", [Nothing(command(1)), Once(command(1)), Once(command(2))])
def test_a_stage_that_comes_once(stage: Stage) -> None:
    assert (stage.title, stage.row, stage.name) == ("no stage", "nothing", "nothing")


def test_a_given_result_lies_elsewhere() -> None:
    stage = Once(command(1))
    assert stage.given is None
    stage.given = Path("/there")
    assert stage.folder == Path("/there")


def test_a_stage_must_say_everything() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Stage(command(1))  # type: ignore[abstract]
