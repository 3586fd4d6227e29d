import csv
import json
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from slade_plugin import cli
from slade_plugin.base.errors import ConfigError
from slade_plugin.commands import study as module
from slade_plugin.experiments.studies import execution
from slade_plugin.experiments.studies.plan import MARKERS, plan_runs
from slade_plugin.experiments.studies.run_options import read_executor
from slade_plugin.experiments.studies.study_file import read_study
from slade_plugin.experiments.studies.tuning import plan_trials
from tests.made_experiments import make_experiment
from tests.study_runs import meanwhile, wait_for

__all__ = ["make_experiment"]

STUDY = """
datasets: {dots: , icons: --config_dataset icons}
first: slade
settings: {low: --config_loss slade_basis, slade: --config_loss slade}
controls: {plain: --config_loss slade_paper}
"""


@pytest.fixture
def study(tmp_path: Path, stub_runs: Any, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """`call(words)` runs the command in an empty folder with mine.yaml; a stub replaces run.py."""
    (tmp_path / "mine.yaml").write_text(STUDY)
    monkeypatch.chdir(tmp_path)

    def stub_executor(args: Any) -> Any:
        return partial(read_executor(args), program=stub_runs.program)

    monkeypatch.setattr(module, "read_executor", stub_executor)
    monkeypatch.setattr(execution, "_POLL_S", 0.005)

    def call(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["slade-bench", "study", *words])
        return cli.main()

    return SimpleNamespace(call=call, folder=tmp_path, runs=stub_runs)


@pytest.fixture
def real_study(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`call(words)` runs the command in an empty folder; its runs train for real."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(module.__file__).parents[2]))

    def call(*words: str) -> int:
        places = ["--", "--dataset_root", str(bench.dataset_root)]
        monkeypatch.setattr(sys, "argv", ["slade-bench", "study", *words, *places])
        return cli.main()

    return call


def test_a_study_ends_in_its_page(
    study: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert study.call("mine.yaml", "--seeds", "2", "--jobs", "2", "--out", "out") == 0
    assert len(study.runs.calls()) == 2 * 2 * 3
    assert sorted({seed for seed, _ in study.runs.order()}) == [0, 1]
    text = (study.folder / "out" / "mine.md").read_text()
    assert "`slade-bench study mine.yaml --seeds 2`" in text
    assert text in capsys.readouterr().out
    assert study.call("mine.yaml", "--seeds", "2", "--out", "out") == 0
    assert len(study.runs.calls()) == 12


def test_a_shipped_study_goes_by_its_name(study: SimpleNamespace) -> None:
    assert study.call("ladder", "--seeds", "1", "--datasets", "glyphs", "--only", "slade") == 0
    assert study.runs.order() == [(0, "slade")]
    assert (study.folder / "docs" / "results" / "ladder.md").is_file()


def test_flags_for_every_run_and_parts_belong_to_the_command_on_the_page(
    study: SimpleNamespace,
) -> None:
    """Where things lie does not, nor how many runs there were at a time."""
    words = ["mine.yaml", "--datasets", "dots", "--seeds", "1", "--without", "low,plain"]
    places = ["--folder", "f", "--out", "o", "--jobs", "2"]
    own = ["--pseudo_labels", "{num_clusters: 9}", "--num_epochs_train", "8"]
    extra = ["--dataset_root", "/data", *own[:2], "--pytorch_home=/p", *own[2:]]
    assert study.call(*words, *places, "--", *extra) == 0
    (call,) = study.runs.calls()
    for flag in ("--dataset_root /data", "--pytorch_home /p", " ".join(own[:2]), " ".join(own[2:])):
        assert flag in " ".join(call["flags"])
    assert str(study.folder / "f" / "runs" / "dots" / "seed0") in " ".join(call["flags"])
    command = f"`slade-bench study {' '.join(words)} -- {shlex.join(own)}`"
    assert command in (study.folder / "o" / "mine.md").read_text()


def test_a_dry_run_prints_the_plan_and_runs_nothing(
    study: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--datasets", "dots", "--seeds", "1", "--dry-run", "--no-probe")
    assert study.call("mine.yaml", *words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0::2] == [f"dots, {name}, seed 0" for name in ("slade", "low", "plain")]
    assert all(line.startswith("    python run.py --config_loss slade") for line in lines[1::2])
    assert study.runs.calls() == []
    assert [path.name for path in study.folder.iterdir()] == ["mine.yaml"]


def test_ablations_of_the_poster_are_evaluated_side_by_side(
    study: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its runs are not finished without the scores it leaves."""
    text = STUDY + "poster: {ablation: 2, rows: {low: + Basis}}"
    (study.folder / "mine.yaml").write_text(text)
    assert study.call("mine.yaml", "--datasets", "dots", "--seeds", "1", "--only", "slade") == 2
    assert "dots seed0 slade ended with exit code 0" in capsys.readouterr().err
    (run,) = study.folder.rglob("experiment")
    (run.parent / MARKERS["test"]).touch()
    words = ("--datasets", "dots", "--seeds", "1", "--only", "slade", "--no-run")
    assert study.call("mine.yaml", *words) == 0
    assert len(study.runs.calls()) == 1


@pytest.mark.long
def test_an_ablation_of_the_poster_from_the_command_to_its_page(
    bench: Any, tmp_path: Path, real_study: Callable[..., int]
) -> None:
    """Real runs, one of them of a given teacher; Glyphs have no number in the poster."""
    content = {
        "datasets": {"glyphs": None},
        "first": "k_8",
        "settings": {"k_8": {"baseline": False}, "k_9": "--pseudo_labels {num_clusters: 9}"},
        "poster": {"ablation": 4, "rows": {"teacher": "k=100", "k_8": "k=400", "k_9": "k=500"}},
        "flags": bench.tiny_student(schemes=2),
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    assert real_study("mine.yaml", "--seeds", "1", "--out", ".") == 0
    section = (tmp_path / "mine.md").read_text().partition("### Comparison with the poster\n\n")[2]
    rows = [line.split("|")[2].strip() for line in section.splitlines()[2:5]]
    assert {*rows} == {"teacher = k=100", "k_8 = k=400", "k_9 = k=500"}
    assert section.count("concatenated 32-d") == 3


@pytest.mark.slow
def test_a_study_that_is_interrupted_ends_in_the_page_of_one_that_is_not(
    bench: Any,
    tmp_path: Path,
    real_study: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A real run: stopped after a checkpoint of the teacher, then the same command.

    Everything but the stopped run is done in this process, which saves seconds of imports.
    """
    monkeypatch.setattr(execution, "_POLL_S", 0.005)
    content = {
        "datasets": {"glyphs": None},
        "first": "whole",
        "settings": {"whole": bench.tiny_student(epochs=2)},
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    places = ["--dataset_root", str(bench.dataset_root)]

    def call(name: str, *words: str) -> int:
        return real_study("mine.yaml", "--seeds", "1", "--folder", name, "--out", name, *words)

    def finish(name: str) -> None:
        study = read_study(tmp_path / "mine.yaml")
        (run,) = plan_runs(study, tmp_path / name / "runs", [0], places).values()
        assert bench.run_words(run.command()).code == 0
        assert call(name, "--no-run") == 0

    finish("whole")

    def interrupt() -> None:
        wait_for(lambda: any((tmp_path / "stopped").rglob("teacher/*/saved_models/trunk_1.pth")))
        os.kill(os.getpid(), signal.SIGINT)

    with meanwhile(interrupt):
        assert call("stopped") == 130
    (state,) = (tmp_path / "stopped").rglob("pipeline.json")
    assert "student" not in json.loads(state.read_text())["stages"]
    finish("stopped")
    assert len(json.loads(state.read_text())["environment"]) == 2
    whole, stopped = ((tmp_path / name / "mine.csv").read_text() for name in ("whole", "stopped"))
    assert stopped == whole
    assert {line.split(",")[1] for line in whole.splitlines()[1:]} == {
        "baseline", "teacher", "whole",
    }  # fmt: skip


@pytest.mark.slow
def test_a_study_tunes_and_then_reports_the_best(
    bench: Any, tmp_path: Path, real_study: Callable[..., int]
) -> None:
    """Real runs: two trials on val, then the better one under another seed, evaluated on test."""
    rate = "--optimizers {embedder_optimizer: {Adam: {lr: $rate}}}"
    content = {
        "datasets": {"glyphs": None},
        "first": "contrastive",
        "plain": {
            "contrastive": {
                "flags": f"--config_loss contrastive {bench.tiny(schemes=1)} {rate}",
                "tune": {"rate": [0.0001, 0.01, "log"]},
            }
        },
        "tuning": {"trials": 2, "seed": 7},
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    assert real_study("mine.yaml", "--seeds", "1", "--jobs", "2", "--out", "out") == 0
    with (tmp_path / "out" / "mine_trials.csv").open() as file:
        trials = list(csv.DictReader(file))
    assert [trial["seed"] for trial in trials] == ["7", "7"]
    best = max(trials, key=lambda trial: float(trial["val mean_average_precision_at_r"]))
    chosen = best["values"].partition("=")[2]
    (run,) = (tmp_path / "studies" / "runs" / "glyphs" / "seed0").iterdir()
    assert chosen in json.loads((run / "run.json").read_text())["flags"]
    assert f"rate {chosen}" in (tmp_path / "out" / "mine.md").read_text()
    for seed, tested in ((7, False), (0, True)):  # a trial is never evaluated on test
        runs = (tmp_path / "studies" / "runs" / "glyphs" / f"seed{seed}").iterdir()
        tables = [name for run in runs for name in bench.records(run / "experiment")]
        assert any(name.endswith("_VAL") for name in tables)
        assert any(name.endswith("_TEST") for name in tables) == tested


def test_gpus_are_the_jobs(study: SimpleNamespace) -> None:
    words = ("--datasets", "dots", "--seeds", "2", "--gpus", "2,3")
    assert study.call("mine.yaml", *words) == 0
    assert {call["CUDA_VISIBLE_DEVICES"] for call in study.runs.calls()} == {"2", "3"}


@pytest.mark.parametrize("flag", ["--seeds", "--jobs"])
def test_no_seed_or_no_job_is_refused(
    flag: str, study: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert study.call("mine.yaml", flag, "0") == 2
    assert f"{flag} is 0; expected 1 or more" in capsys.readouterr().err
    assert study.runs.calls() == []


def test_a_failed_run_is_named_at_the_end_and_the_others_are_on_the_page(
    study: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    study.runs.behave(slade_basis=9)
    assert study.call("mine.yaml", "--datasets", "dots", "--seeds", "1") == 2
    captured = capsys.readouterr()
    assert "ExperimentError: dots seed0 low ended with exit code 9; its log is" in captured.err
    assert "Not finished and left out: low." in captured.out
    assert "| plain | 31.00 |" in captured.out


def test_if_every_run_failed_there_is_no_page(
    study: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    study.runs.behave(slade=9)
    assert study.call("mine.yaml", "--datasets", "dots", "--seeds", "1") == 2
    error = capsys.readouterr().err
    assert "dots seed0 slade ended with exit code 9" in error
    assert "dots seed0 low has no teacher" in error
    assert not (study.folder / "docs").exists()


def test_a_failure_is_named_if_no_setting_has_all_seeds(
    study: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    """One seed of the only setting is finished, so there is no page."""
    words = ("mine.yaml", "--datasets", "dots", "--only", "slade")
    assert study.call(*words, "--seeds", "1") == 0
    (study.folder / "docs" / "results" / "mine.md").unlink()
    study.runs.behave(slade=9)
    capsys.readouterr()
    assert study.call(*words, "--seeds", "2") == 2
    error = capsys.readouterr().err
    assert "dots seed1 slade ended with exit code 9; its log is" in error
    assert "no setting" not in error
    assert not (study.folder / "docs" / "results" / "mine.md").exists()


TUNED = """
datasets: {dots: }
first: contrastive
plain:
  contrastive:
    flags: '--config_loss contrastive --optimizers {embedder_optimizer: {Adam: {lr: $rate}}}'
    tune: {rate: [0.001, 0.01]}
tuning: {trials: 2, seed: 1}
"""


def test_a_seed_that_tunes_is_not_reported(
    study: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    (study.folder / "mine.yaml").write_text(TUNED)
    assert study.call("mine.yaml", "--seeds", "2") == 2
    error = capsys.readouterr().err
    assert "ConfigError: study mine is tuned with seed 1 and reports the seeds 0 to 1" in error
    assert study.runs.calls() == []
    assert study.call("mine.yaml", "--seeds", "1", "--dry-run", "--no-probe") == 0


def test_a_dry_run_has_the_chosen_values_once_all_trials_are_done(
    study: SimpleNamespace,
    make_experiment: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    (study.folder / "mine.yaml").write_text(TUNED)
    words = ("mine.yaml", "--seeds", "1", "--dry-run", "--no-probe")
    trials = plan_trials(read_study(study.folder / "mine.yaml"), study.folder / "studies" / "runs")
    for number, trial in enumerate(trials):
        make_experiment(trial.run.experiment, {"val": (10 + number,)}, seed=1)
        (trial.run.folder / MARKERS["val"]).touch()
        assert study.call(*words) == 0
        out, err = capsys.readouterr()
        chosen = [t for t in trials if f"lr: {t.values['rate']}}}" in out.splitlines()[-1]]
        done = trial is trials[-1]
        assert chosen == [trials[-1] if done else trials[0]]
        assert ("values of their first trial" in err) is not done


def test_no_run_runs_nothing(study: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    assert study.call("mine.yaml", "--seeds", "1", "--only", "low") == 0
    done = len(study.runs.calls())
    assert study.call("mine.yaml", "--seeds", "1", "--no-run") == 0
    assert "Not finished and left out: plain." in capsys.readouterr().out
    assert study.call("mine.yaml", "--seeds", "2", "--no-run") == 2
    assert "no setting with all seeds finished" in capsys.readouterr().err
    assert len(study.runs.calls()) == done


def test_an_unknown_study_gives_exit_code_2(
    study: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert study.call("no_such_study") == 2
    assert "expected one of: " in capsys.readouterr().err
    assert study.runs.calls() == []


def test_a_setting_that_run_py_would_refuse_ends_the_study_before_it_begins(
    study: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert study.call("mine.yaml", "--seeds", "1", "--", "--sed", "3") == 2
    assert (
        "ConfigError: slade on dots: unknown flag or config key: --sed" in capsys.readouterr().err
    )
    assert study.runs.calls() == []


def test_a_changed_config_is_noted_on_the_page(
    study: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("mine.yaml", "--datasets", "dots", "--seeds", "1", "--only", "slade")
    assert study.call(*words) == 0
    (path,) = study.folder.rglob("pipeline.json")
    state = json.loads(path.read_text())
    state["plan"] = {"student": {"config_general": {"rounds": 9}}}
    path.write_text(json.dumps(state))
    capsys.readouterr()
    assert study.call(*words) == 0
    note = "Note: dots slade was made with a different config: student/config_"
    captured = capsys.readouterr()
    assert note in captured.out
    assert note in captured.err


def test_there_is_a_page_of_runs_whose_config_cannot_be_read_any_more(
    study: SimpleNamespace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("mine.yaml", "--datasets", "dots", "--seeds", "1", "--only", "slade")
    assert study.call(*words) == 0

    def refuse(runs: Any) -> list[str]:
        raise ConfigError("slade on dots: no such key")

    monkeypatch.setattr(module, "check_configs", refuse)
    assert study.call(*words) == 2
    assert study.call(*words, "--no-run") == 0
    assert "Note: today's config: slade on dots: no such key" in capsys.readouterr().out


def test_an_interrupt_says_how_to_go_on(
    study: SimpleNamespace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(seconds: float) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(execution.time, "sleep", interrupt)
    before = signal.getsignal(signal.SIGTERM)
    assert study.call("mine.yaml", "--seeds", "1") == 130
    assert signal.getsignal(signal.SIGTERM) == before
    assert "same command" in capsys.readouterr().err


def test_a_study_is_done_by_one_process(
    study: SimpleNamespace, hold: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    holder = hold(study.folder / "studies" / "locks" / "mine")
    assert study.call("mine.yaml", "--seeds", "1") == 2
    assert f"is in use by process {holder.pid} on " in capsys.readouterr().err
    assert study.runs.calls() == []
    holder.kill()
    holder.wait()
    assert study.call("mine.yaml", "--seeds", "1") == 0
    assert not list((study.folder / "studies" / "locks").rglob(".lock"))


@pytest.mark.parametrize(
    "words", ["main_table_glyphs", "main_table --datasets in_shop_fashion200k"]
)
def test_a_dry_run_of_the_main_table_prints_every_command(
    words: str, study: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert study.call(*words.split(), "--seeds", "1", "--dry-run", "--no-probe") == 0
    assert capsys.readouterr().out.count("    python run.py ") == 14
    assert study.runs.calls() == []


@pytest.mark.slow
def test_a_dry_run_estimates_hours(
    study: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--only", "S1,fast_ap", "--seeds", "1", "--dry-run")
    assert study.call("main_table_glyphs", *words) == 0
    text = capsys.readouterr().out
    assert "glyphs, S1, seed 0: about " in text
    assert "All: " in text


@pytest.mark.long
def test_a_plain_row_of_the_main_table_from_the_command_to_its_page(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way, in a process of its own, and not again the second time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(module.__file__).parents[2]))
    words = ["main_table_glyphs", "--only", "fast_ap", "--seeds", "1", "--out", "."]
    words += ["--", "--dataset_root", str(bench.dataset_root), *bench.tiny().split()]
    assert module.main(words) == 0
    (marker,) = tmp_path.rglob(MARKERS["test"])
    changed = marker.stat().st_mtime_ns
    text = (tmp_path / "main_table_glyphs.md").read_text()
    assert "fast_ap = FastAP" in text
    assert "concatenated" in text
    assert re.search(r"^\| fast_ap \| \d", text, re.M)
    lines = (tmp_path / "main_table_glyphs.csv").read_text().splitlines()
    assert [line.split(",")[:4] for line in lines[1:]] == [
        ["glyphs", "fast_ap", "0", split] for split in ("val", "test")
    ]
    assert module.main(words) == 0
    assert marker.stat().st_mtime_ns == changed
