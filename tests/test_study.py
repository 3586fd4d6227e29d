import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from slade_plugin import study as module
from slade_plugin.errors import ConfigError, ExperimentError
from slade_plugin.results.table import METRICS
from slade_plugin.runner import config_root
from slade_plugin.self_training.pipeline import STATE_FILE
from slade_plugin.study import (
    Study,
    main,
    run_command,
    run_setting,
    run_study,
    summarise,
    to_markdown,
    write_report,
)

LADDER = Study(
    "ladder", ("pseudo_label", "basis", "slade"), ("control",), ("--num_epochs_train", "2")
)
ORDER = ["slade", "pseudo_label", "basis", "control"]  # the top rung trains the teacher
MAP = "mean_average_precision_at_r"
ENVIRONMENT = {
    "slade_plugin": "9.9",
    "git_commit": "abc",
    "packages": {"torch": "1.2.3"},
    "machine": {"cores": 2, "processor": "abacus", "gpu": None},
    "command": ["run.py"],
}


def rows_of(**values: float) -> list[dict[str, Any]]:
    """Rows of a table of results; val is one less than test, split schemes are not the mean."""
    rows = []
    for name, value in values.items():
        for split, number in (("val", value - 1), ("test", value)):
            for scheme, shift in (("s0", 50), ("mean", 0), ("s1", -50)):
                metrics = dict.fromkeys(METRICS, number + shift)
                rows.append({"experiment": name, "split": split, "split_scheme": scheme} | metrics)
    return rows


def finish(path: Path, **values: float) -> None:
    """Leaves what a finished run leaves."""
    (path / "results").mkdir(parents=True, exist_ok=True)
    (path / STATE_FILE).write_text(json.dumps({"environment": [ENVIRONMENT]}))
    (path / "results" / "table.json").write_text(json.dumps({"rows": rows_of(**values)}))


class FakeRuns:
    """Stands for run.py: notes its flags and leaves a table, unless it is to fail."""

    def __init__(self, fail: str = "", code: int = 3) -> None:
        self.flags: list[list[str]] = []
        self.fail, self.code = fail, code

    def __call__(self, flags: list[str], log: Path) -> int:
        self.flags.append(flags)
        name = value_of(flags, "--experiment_name")
        log.write_text(f"log of {name}")
        if name == self.fail:
            return self.code
        seed = int(value_of(flags, "--seed"))
        folder = Path(value_of(flags, "--root_experiment_folder")) / name
        finish(folder, baseline=10 + seed, teacher=9, student=20 + 2 * seed)
        return 0

    def names(self) -> list[str]:
        return [value_of(flags, "--experiment_name") for flags in self.flags]


def value_of(flags: list[str], flag: str) -> str:
    return flags[flags.index(flag) + 1]


# ---- what a study is ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted((config_root() / "studies").glob("*.yaml")))
def test_shipped_studies_are_of_configs_that_exist(path: Path) -> None:
    study = Study.load(path)
    assert study.name == path.stem
    for name in (*study.rungs, *study.controls):
        assert (config_root() / "config_loss" / f"{name}.yaml").is_file()


def test_the_shipped_ladder_has_the_posters_rungs() -> None:
    study = Study.load(config_root() / "studies" / "ladder.yaml")
    assert study.rungs == ("slade_pseudo_label", "slade_basis", "slade")


def test_a_study_file_is_read(tmp_path: Path) -> None:
    """Flags become words; what is not there is empty."""
    (tmp_path / "a.yaml").write_text("rungs: [x, y]\ncontrols: [z]\nflags: [--num_epochs_train, 2]")
    (tmp_path / "b.yaml").write_text("rungs: [x]\nflags:")
    assert Study.load(tmp_path / "a.yaml") == Study(
        "a", ("x", "y"), ("z",), ("--num_epochs_train", "2")
    )
    assert Study.load(tmp_path / "b.yaml") == Study("b", ("x",))


def test_a_missing_study_is_named_with_those_there(tmp_path: Path) -> None:
    for name in ("ladder", "margins"):
        (tmp_path / f"{name}.yaml").write_text("rungs: [x]")
    with pytest.raises(ConfigError, match="no study 'lader'; expected one of ladder, margins"):
        Study.load(tmp_path / "lader.yaml")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "rungs: []",
        "rungs: x",
        "flags: []",
        "rungs: [x]\nrung: [y]",
        "[x]",
        "text",
        "{a: [",
        "3",
    ],
)
def test_a_malformed_study_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.yaml").write_text(content)
    with pytest.raises(ConfigError, match=r"(?s)a\.yaml .*expected (rungs|keys)"):
        Study.load(tmp_path / "a.yaml")


def test_commands_of_one_seed(tmp_path: Path) -> None:
    """The top rung first, since it trains the teacher that the others are given."""
    commands = LADDER.commands(4, tmp_path)
    assert [path for path, _ in commands] == [tmp_path / "seed4" / name for name in ORDER]
    for path, flags in commands:
        assert value_of(flags, "--config_loss") == value_of(flags, "--experiment_name") == path.name
        assert value_of(flags, "--seed") == "4"
        assert value_of(flags, "--root_experiment_folder") == str(tmp_path / "seed4")
        assert flags[-2:] == ["--num_epochs_train", "2"]
    (_, top), *lower = commands
    assert "--teacher_experiment" not in top
    assert "--pipeline" not in top
    for _, flags in lower:
        teacher = str(tmp_path / "seed4" / "slade" / "teacher")
        assert value_of(flags, "--teacher_experiment") == teacher
        assert value_of(flags, "--pipeline") == "{baseline: false}"


# ---- running ------------------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", [1, 3])
def test_every_run_is_done_setting_by_setting(tmp_path: Path, jobs: int) -> None:
    """The top rung of every seed first, since its teacher is given to the other rungs."""
    run = FakeRuns()
    run_study(LADDER, [1, 4], tmp_path, jobs, run)
    assert run.names() == [name for name in ORDER for _ in range(2)]
    commands = [flags for seed in (1, 4) for _, flags in LADDER.commands(seed, tmp_path)]
    assert sorted(run.flags) == sorted(commands)
    assert (tmp_path / "logs" / "seed4_basis.log").read_text() == "log of basis"


def test_finished_runs_are_left_and_stopped_ones_go_on(tmp_path: Path) -> None:
    finish(tmp_path / "seed0" / "slade", baseline=1, teacher=1, student=1)
    (tmp_path / "seed0" / "pseudo_label").mkdir()
    (tmp_path / "seed0" / "pseudo_label" / STATE_FILE).write_text("{}")
    run = FakeRuns()
    run_study(LADDER, [0], tmp_path, 1, run)
    assert run.names() == ["pseudo_label", "basis", "control"]
    commands = dict(LADDER.commands(0, tmp_path))
    stopped = commands[tmp_path / "seed0" / "pseudo_label"]
    assert run.flags[0] == [*stopped, "--resume_training", "latest"]
    assert run.flags[1] == commands[tmp_path / "seed0" / "basis"]
    run_study(LADDER, [0], tmp_path, 1, run)
    assert len(run.flags) == 3


def test_a_failed_run_is_reported_with_its_code_and_log(tmp_path: Path) -> None:
    path, flags = LADDER.commands(2, tmp_path)[1]
    log = tmp_path / "logs" / "seed2_pseudo_label.log"
    with pytest.raises(ExperimentError, match=rf"{path} ended with exit code 137; .*{log}"):
        run_setting(path, flags, FakeRuns(fail="pseudo_label", code=137))


def test_after_a_failed_run_no_further_setting_is_begun(tmp_path: Path) -> None:
    """Runs of other seeds end first; what they leave is there when the study goes on."""
    run = FakeRuns(fail="pseudo_label")
    with pytest.raises(ExperimentError, match="exit code 3"):
        run_study(LADDER, [0, 1], tmp_path, 2, run)
    assert run.names() == ["slade", "slade", "pseudo_label", "pseudo_label"]
    again = FakeRuns()
    run_study(LADDER, [0, 1], tmp_path, 2, again)
    assert again.names() == [name for name in ORDER[1:] for _ in range(2)]


def test_a_command_is_a_process_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its exit code comes back, its output goes behind what the log holds, with one thread."""
    stub = tmp_path / "slade_plugin"
    stub.mkdir()
    (stub / "__init__.py").touch()
    (stub / "cli.py").write_text(
        "import os, sys\n"
        "def main():\n"
        "    print(sys.argv[1:], os.environ['OMP_NUM_THREADS'])\n"
        "    print('trouble', file=sys.stderr)\n"
        "    return 41\n"
    )
    monkeypatch.chdir(tmp_path)  # python -c imports from the current folder first
    log = tmp_path / "log.txt"
    log.write_text("before\n")
    assert run_command(["--seed", "{a: b}"], log) == 41
    text = log.read_text()
    assert text.startswith("before\n")
    assert "['--seed', '{a: b}'] 1" in text
    assert "trouble" in text


# ---- numbers ------------------------------------------------------------------------------------


def test_scores_are_the_means_by_setting(tmp_path: Path) -> None:
    run_study(LADDER, [0, 1], tmp_path, 1, FakeRuns())
    scores = LADDER.scores(tmp_path, [0, 1])
    assert list(scores) == ["baseline", "teacher", "pseudo_label", "basis", "slade", "control"]
    assert {name: list(by_seed) for name, by_seed in scores.items()} == {
        name: [0, 1] for name in scores
    }
    assert scores["slade"][1]["test"][MAP] == 22
    assert scores["baseline"][1]["val"][MAP] == 10
    assert set(scores["basis"][0]["val"]) == set(METRICS)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    finish(tmp_path / "seed0" / "slade", baseline=1, teacher=1, student=1)
    with pytest.raises(ExperimentError, match=r"seed0/pseudo_label/results/table.json is missing"):
        LADDER.scores(tmp_path, [0])


def scores_of(**values: dict[int, float]) -> module.Scores:
    return {
        name: {seed: {"test": dict.fromkeys(METRICS, value)} for seed, value in by_seed.items()}
        for name, by_seed in values.items()
    }


BY_HAND = {
    "baseline": {0: 10.0, 1: 12.0, 2: 14.0},
    "teacher": {0: 9.0, 1: 9.0, 2: 9.0},
    "student": {2: 18.0, 1: 14.0, 0: 13.0},
}


def test_paired_differences_by_hand() -> None:
    """Student minus baseline: 3, 2, 4; minus teacher: 4, 5, 9.

    t with 2 degrees of freedom is 4.302653; standard errors 1 / sqrt(3) and sqrt(7 / 3).
    Unpaired, the difference to the baseline would have an error twice as large.
    """
    baseline, teacher, student = summarise(scores_of(**BY_HAND), "test", MAP)
    t = 4.302653
    assert (baseline["setting"], baseline["mean"], baseline["seeds"]) == ("baseline", 12, 3)
    assert baseline["interval95"] == pytest.approx(t * 2 / math.sqrt(3), rel=1e-6)
    assert "to_baseline" not in baseline
    assert "to_previous" not in baseline
    assert teacher["to_baseline"] == teacher["to_previous"] == -3
    assert (student["to_baseline"], student["to_previous"]) == (3, 6)
    assert student["to_baseline_interval95"] == pytest.approx(t / math.sqrt(3), rel=1e-6)
    assert student["to_previous_interval95"] == pytest.approx(t * math.sqrt(7 / 3), rel=1e-6)


def test_only_equal_seeds_are_paired() -> None:
    """As many seeds, but other ones: a difference would be one of strangers."""
    values = {"baseline": {0: 1.0, 1: 2.0}, "student": {1: 5.0, 2: 9.0}}
    _, student = summarise(scores_of(**values), "test", MAP)
    assert "to_baseline" not in student
    assert "to_previous" not in student


def test_markdown_by_hand() -> None:
    lines = to_markdown(summarise(scores_of(**BY_HAND), "test", MAP), MAP).splitlines()
    assert lines[0] == "| setting | MAP@R | minus baseline | minus the row above | seeds |"
    assert lines[2] == "| baseline | 12.00 ± 4.97 |  |  | 3 |"
    assert lines[4] == "| student | 15.00 ± 6.57 | +3.00 ± 2.48 | +6.00 ± 6.57 | 3 |"


def test_one_seed_has_no_interval() -> None:
    rows = summarise(scores_of(baseline={0: 10.0}, student={0: 13.0}), "test", MAP)
    lines = to_markdown(rows, MAP).splitlines()
    assert lines[-1] == "| student | 13.00 | +3.00 | +3.00 | 1 |"


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_report_holds_every_metric_on_both_splits(tmp_path: Path, seeds: int) -> None:
    run_study(LADDER, range(seeds), tmp_path / "runs", 1, FakeRuns())
    scores = LADDER.scores(tmp_path / "runs", range(seeds))
    text = write_report(LADDER, scores, tmp_path / "new" / "out", "the command", ENVIRONMENT)
    assert (tmp_path / "new" / "out" / "ladder.md").read_text() == text
    assert "`the command`" in text

    def refuse(constant: str) -> Callable[[], None]:
        raise AssertionError(f"{constant} is not JSON")

    content = (tmp_path / "new" / "out" / "ladder.json").read_text()
    report = json.loads(content, parse_constant=refuse)
    assert report["command"] == "the command"
    for split in ("val", "test"):
        for metric, title in METRICS.items():
            rows = summarise(scores, split, metric)
            assert f"## {title} on {split}\n\n{to_markdown(rows, metric)}" in text
            assert report["summary"][split][metric] == rows
    assert report["scores"]["slade"][str(seeds - 1)]["test"][MAP] == 20 + 2 * (seeds - 1)


def test_a_setting_can_be_left_out_but_not_the_one_that_trains_the_teacher() -> None:
    smaller = LADDER.without(["basis", "control"])
    assert (smaller.rungs, smaller.controls) == (("pseudo_label", "slade"), ())
    for name in ("slade", "nothing"):
        with pytest.raises(ConfigError, match=f"--without {name}: expected .* of pseudo_label"):
            LADDER.without([name])


def test_the_environment_is_the_runs_own(tmp_path: Path) -> None:
    """Not that of the process that writes the report: the code may have changed in between."""
    run_study(LADDER, [0], tmp_path, 1, FakeRuns())
    state = tmp_path / "seed0" / "basis" / STATE_FILE
    state.write_text(json.dumps({"environment": [{**ENVIRONMENT, "git_commit": "def"}]}))
    found = LADDER.environment(tmp_path, [0])
    assert found == {**ENVIRONMENT, "git_commit": "abc, def", "command": None}


# ---- command line -------------------------------------------------------------------------------


@pytest.fixture
def command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """`call(words)` runs main in an empty folder; `run` stands for run.py."""
    monkeypatch.chdir(tmp_path)

    def call(run: FakeRuns, *words: str) -> int:
        monkeypatch.setattr(module, "run_command", run)
        monkeypatch.setattr(sys, "argv", ["study", *words])
        return main()

    return SimpleNamespace(call=call, folder=tmp_path)


def test_a_study_ends_in_its_report(
    command_line: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    run = FakeRuns()
    assert command_line.call(run, "ladder", "--seeds", "2", "--jobs", "2", "--out", "out") == 0
    done = len(run.flags)
    assert sorted(value_of(flags, "--seed") for flags in run.flags) == (
        ["0"] * (done // 2) + ["1"] * (done // 2)
    )
    text = (command_line.folder / "out" / "ladder.md").read_text()
    assert "`python -m slade_plugin.study ladder --seeds 2 --jobs 2`" in text
    assert "| slade | 21.00 ± 12.71 |" in text
    assert text in capsys.readouterr().out
    assert command_line.call(run, "ladder", "--seeds", "2", "--out", "out") == 0
    assert len(run.flags) == done


@pytest.mark.parametrize("flag", ["--seeds", "--jobs"])
def test_no_seed_or_no_job_is_refused(
    flag: str, command_line: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line.call(FakeRuns(), "ladder", flag, "0") == 2
    assert f"{flag} is 0; expected 1 or more" in capsys.readouterr().err
    assert not (command_line.folder / "docs").exists()


def test_a_failed_run_gives_exit_code_2_and_says_which(
    command_line: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line.call(FakeRuns(fail="slade_basis", code=9), "ladder", "--seeds", "1") == 2
    error = capsys.readouterr().err
    assert "ExperimentError" in error
    assert "slade_basis ended with exit code 9" in error
    assert "seed0_slade_basis.log" in error
    assert not (command_line.folder / "docs").exists()


def test_an_unknown_study_gives_exit_code_2(
    command_line: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    run = FakeRuns()
    assert command_line.call(run, "no_such_study") == 2
    assert "expected one of ladder" in capsys.readouterr().err
    assert run.flags == []
