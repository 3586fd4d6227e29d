import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slade_plugin.experiments.studies.plan import MARKERS, Run, plan_runs
from slade_plugin.experiments.studies.scores import DatasetScores, read_scores, summarize
from slade_plugin.experiments.studies.study import Setting, Study
from slade_plugin.stages.table import METRICS
from tests.study_files import setting_of

MAP = "mean_average_precision_at_r"
STUDY = Study(
    "s",
    {"dots": (), "blobs": ("--config_dataset", "blobs")},
    "whole",
    (
        Setting("low", ("--config_loss", "low")),
        Setting("whole", ("--config_loss", "whole"), own_teacher=True, own_baseline=True),
        Setting("own", ("--config_loss", "own"), own_teacher=True),
        Setting("both", ("--config_loss", "both"), own_teacher=True, own_baseline=True),
        Setting("oracle", ("--config_loss", "oracle"), control=True),
    ),
)


def finish(run: Run, **values: float) -> None:
    """Leaves the table of a finished run; val is one less than test, schemes are not the mean."""
    rows = []
    for name, value in values.items():
        for split, number in (("val", value - 1), ("test", value)):
            for scheme, shift in (("s0", 50), ("mean", 0), ("s1", -50)):
                metrics = dict.fromkeys(METRICS, number + shift)
                rows.append({"experiment": name, "split": split, "split_scheme": scheme} | metrics)
    run.table.parent.mkdir(parents=True)
    run.table.write_text(json.dumps({"rows": rows}))
    (run.experiment / "pipeline.json").write_text('{"plan": {}}')


def test_scores_are_the_means_by_row_in_the_order_of_the_table(tmp_path: Path) -> None:
    """Baselines, teachers, students; of a given teacher no row is made."""
    runs = plan_runs(STUDY, tmp_path, [0, 1])
    for (dataset, seed, name), run in runs.items():
        if dataset == "dots":
            values = {"teacher": len(name) + seed, "student": 20.0 + len(name)}
            if name in ("whole", "both"):
                values["baseline"] = 15
            finish(run, **values)
    found = read_scores(STUDY, runs, "dots")
    assert list(found.rungs) == [
        *("baseline", "both: baseline", "teacher", "own: teacher", "both: teacher"),
        *("low", "whole", "own", "both"),
    ]
    assert list(found.controls) == ["oracle"]
    assert found.unfinished == {}
    assert all(list(by_seed) == [0, 1] for by_seed in found.rungs.values())
    assert found.rungs["own: teacher"][1]["test"] == dict.fromkeys(METRICS, 4)
    assert found.rungs["both"][0]["val"] == dict.fromkeys(METRICS, 23)
    assert found.controls["oracle"][1]["test"][MAP] == 26


def test_a_further_stage_has_its_row_above_its_student(tmp_path: Path) -> None:
    """Such as the students of earlier rounds."""
    runs = plan_runs(STUDY, tmp_path, [0])
    finish(runs["dots", 0, "own"], teacher=1, student_round1=2, student=3)
    rows = ["own: teacher", "own: student_round1", "own"]
    assert list(read_scores(STUDY, runs, "dots").rungs) == rows


@pytest.mark.parametrize(("again", "has_row"), [(7.0, False), (7.1, True)])
def test_a_teacher_trained_again_has_one_row(tmp_path: Path, again: float, has_row: bool) -> None:
    """Equal in every score of every seed."""
    oracle = Setting("own_oracle", ("--oracle", "1"), own_teacher=True, control=True)
    study = replace(STUDY, settings=(setting_of(STUDY, "whole"), setting_of(STUDY, "own"), oracle))
    runs = plan_runs(study, tmp_path, [0, 1])
    for (_, seed, name), run in runs.items():
        last = again if (seed, name) == (1, "own_oracle") else 7.0
        finish(run, baseline=1, teacher=1 if name == "whole" else last, student=9)
    found = read_scores(study, runs, "dots")
    assert ("own_oracle: teacher" in found.controls) == has_row
    assert ("own_oracle: teacher" in found.baselines) == has_row
    assert {"teacher", "own: teacher"} < {*found.rungs}
    assert "own_oracle" in found.controls


def test_a_setting_that_lacks_a_seed_is_left_out_and_named(tmp_path: Path) -> None:
    runs = plan_runs(STUDY, tmp_path, [0, 1])
    finish(runs["dots", 0, "whole"], baseline=1, teacher=1, student=1)
    finish(runs["dots", 1, "whole"], baseline=1, teacher=1, student=1)
    finish(runs["dots", 1, "low"], teacher=1, student=1)
    found = read_scores(STUDY, runs, "dots")
    assert list(found.rungs) == ["baseline", "teacher", "whole"]
    assert found.unfinished == {"low": [0], "own": [0, 1], "both": [0, 1], "oracle": [0, 1]}
    assert read_scores(STUDY, runs, "blobs").rungs == {}


def test_students_are_compared_with_equally_long_baselines(
    tmp_path: Path, write_plan: Callable[..., None]
) -> None:
    """Their own, that of the named setting or that of `first`; teachers whatever the length."""
    whole = Setting("whole", ("--config_loss", "whole"), own_teacher=True, own_baseline=True)
    settings = (
        Setting("low", ("--config_loss", "low")),
        whole,
        Setting("odd", ("--config_loss", "odd")),
        Setting("rounds", ("--rounds", "2"), own_baseline=True),
        Setting("named", ("--config_loss", "named"), control=True, baseline_of="rounds"),
        Setting("late", ("--config_loss", "late"), own_teacher=True, control=True),
    )
    study = Study("s", {"dots": ()}, "whole", settings)
    runs = plan_runs(study, tmp_path, [0, 1])
    epochs = {
        "low": {"student": 20},
        "whole": {"teacher": 20, "student": 20, "baseline": 40},
        "odd": {"student": 30},
        "rounds": {"student": 20, "round2/student": 20, "baseline": 60},
        "named": {"student": 40},
        "late": {"teacher": 5, "student": 35},
    }
    for (_, _, name), run in runs.items():
        rows = [stage.replace("round2/", "") for stage in epochs[name]]
        rows += ["student_round1"] if name == "rounds" else []
        finish(run, teacher=len(name), **dict.fromkeys({*rows} - {"teacher"}, 2))
        write_plan(run, epochs[name])
    found = read_scores(study, runs, "dots")
    assert found.lengths["rounds: student_round1"] == {0: 4000, 1: 4000}
    assert found.baselines == {
        "low": "baseline",
        "teacher": "baseline",
        "whole": "baseline",
        "rounds: student_round1": "baseline",
        "rounds": "rounds: baseline",
        "named": "rounds: baseline",
        "late: teacher": "baseline",
        "late": "baseline",
    }
    write_plan(runs["dots", 1, "low"], {"student": 21})  # made before its config was changed
    assert "low" not in read_scores(study, runs, "dots").baselines
    runs["dots", 0, "rounds"].table.unlink()
    assert "named" not in read_scores(study, runs, "dots").baselines


def test_a_student_on_a_tuned_loss_is_compared_with_that_loss(
    tmp_path: Path, write_plan: Callable[..., None], make_experiment: Callable[..., Path]
) -> None:
    """A plain experiment of as many steps as teacher and student; shorter, it is none for them."""
    plain = {"own_teacher": True, "plain": True, "control": True}
    settings = (
        Setting("a", ("--a", "1"), **plain),
        Setting("short", ("--a", "2"), **plain),
        Setting("on_a", ("--b", "1"), own_teacher=True, control=True, tuned_as="a"),
        Setting("on_short", ("--b", "2"), own_teacher=True, control=True, tuned_as="short"),
    )
    study = Study("s", {"dots": ()}, "a", settings)
    runs = plan_runs(study, tmp_path, [0])
    for (_, _, name), run in runs.items():
        if run.plain:
            trainer = {"AnyName": {"iterations_per_epoch": 200 if name == "a" else 100}}
            scores = {"val": (1, 3), "test": (4, 6)}
            make_experiment(run.experiment, scores, num_epochs_train=30, trainer=trainer)
        else:
            finish(run, teacher=len(name), student=9)
            write_plan(run, {"teacher": 20, "student": 40})
        (run.folder / MARKERS["test"]).touch()
    found = read_scores(study, runs, "dots")
    assert found.baselines == {"on_a: teacher": "a", "on_a": "a", "on_short: teacher": "short"}
    rows = {row["setting"]: row for row in summarize(found, "a", "test", MAP)}
    assert rows["on_a"]["to_baseline"] == 4


def scores_of(
    controls: dict[str, dict[int, float]] | None = None,
    others: dict[str, int] | None = None,
    **rungs: dict[int, float],
) -> DatasetScores:
    """Scores of rows that are compared with `baseline`, and all as long but for `others`."""

    def full(values: dict[str, dict[int, float]]) -> Any:
        return {
            name: {seed: {"test": dict.fromkeys(METRICS, value)} for seed, value in by_seed.items()}
            for name, by_seed in values.items()
        }

    rows = {**rungs, **(controls or {})}
    lengths = {name: {0: (others or {"teacher": 20}).get(name, 40)} for name in rows}
    compared = {name: "baseline" for name in rows if name != "baseline" and "baseline" in rows}
    return DatasetScores(full(rungs), full(controls or {}), lengths, compared)


BASELINE = {0: 10.0, 1: 12.0, 2: 14.0}
TEACHER = {0: 9.0, 1: 9.0, 2: 9.0}
STUDENT = {2: 18.0, 1: 14.0, 0: 13.0}


def test_paired_differences_by_hand() -> None:
    """Student minus baseline: 3, 2, 4; minus teacher: 4, 5, 9.

    t with 2 degrees of freedom is 4.302653; standard errors 1 / sqrt(3) and sqrt(7 / 3).
    Unpaired, the difference to the baseline would have an error twice as large.
    """
    scores = scores_of(baseline=BASELINE, teacher=TEACHER, student=STUDENT)
    baseline, teacher, student = summarize(scores, "student", "test", MAP)
    t = 4.302653
    assert (baseline["setting"], baseline["mean"], baseline["seeds"]) == ("baseline", 12, 3)
    assert baseline["mean_interval95"] == pytest.approx(t * 2 / math.sqrt(3), rel=1e-6)
    assert not {"to_baseline", "gain", "to_previous", "gap_closed"} & {*baseline}
    assert teacher["to_baseline"] == -3
    assert "to_previous" not in teacher
    assert (student["to_baseline"], student["to_previous"]) == (3, 6)
    assert student["to_baseline_interval95"] == pytest.approx(t / math.sqrt(3), rel=1e-6)
    assert student["to_previous_interval95"] == pytest.approx(t * math.sqrt(7 / 3), rel=1e-6)
    assert "gap_closed" not in student


@pytest.mark.parametrize("name", ["slade_oracle", "other_oracle"])
def test_gain_and_share_of_the_oracle_s_gap_by_hand(name: str) -> None:
    """Seed by seed: gains 30, 16.67, 28.57 %; the oracle is 6, 4, 16 above the baseline."""
    oracle = {0: 16.0, 1: 16.0, 2: 30.0}
    scores = scores_of({name: oracle}, baseline=BASELINE, student=STUDENT)
    _, student, control = summarize(scores, "student", "test", MAP)
    assert student["gain"] == pytest.approx((30 + 100 / 6 + 200 / 7) / 3)
    assert student["gap_closed"] == pytest.approx(100 * (3 / 6 + 2 / 4 + 4 / 16) / 3)
    assert student["gap_closed_interval95"] == pytest.approx(4.302653 * 25 / 3, rel=1e-6)
    assert (control["gap_closed"], control["gap_closed_interval95"]) == (100, 0)


def test_an_oracle_may_be_a_rung() -> None:
    oracle = {"slade_oracle": {0: 20.0}}
    scores = scores_of(baseline={0: 10.0}, student={0: 15.0}, **oracle)
    rows = summarize(scores, "student", "test", MAP)
    assert [row.get("gap_closed") for row in rows] == [None, 50, 100]


def test_only_what_is_equally_long_has_a_share_of_a_gap() -> None:
    """Of two oracles each is for the students of its length; of none there is no share."""
    scores = scores_of(
        {"slade_oracle": {0: 20.0}, "long_oracle": {0: 30.0}},
        {"teacher": 20, "long": 60, "long: baseline": 60, "long_oracle": 60, "longest": 80},
        **{"baseline": {0: 10.0}, "long: baseline": {0: 20.0}, "teacher": {0: 9.0}},
        **{"short": {0: 15.0}, "long": {0: 28.0}, "longest": {0: 29.0}},
    )
    del scores.baselines["long: baseline"]
    scores.baselines |= dict.fromkeys(["long", "long_oracle"], "long: baseline")
    rows = {row["setting"]: row for row in summarize(scores, "short", "test", MAP)}
    assert (rows["long"]["to_baseline"], rows["long"]["gain"]) == (8, 40)
    assert {name: row["gap_closed"] for name, row in rows.items() if "gap_closed" in row} == {
        "short": 50,
        "long": 80,
        "slade_oracle": 100,
        "long_oracle": 100,
    }


def test_an_oracle_counts_for_the_students_of_its_baseline() -> None:
    """Of two equally long ones, as of two losses, each is for what is compared with its own."""
    scores = scores_of(
        {"a": {0: 10.0}, "b": {0: 20.0}, "a_oracle": {0: 20.0}, "b_oracle": {0: 30.0}},
        **{"on_a": {0: 15.0}, "on_b": {0: 28.0}},
    )
    scores.baselines |= {"on_a": "a", "a_oracle": "a", "on_b": "b", "b_oracle": "b"}
    rows = {row["setting"]: row for row in summarize(scores, "a", "test", MAP)}
    assert (rows["on_a"]["gap_closed"], rows["on_b"]["gap_closed"]) == (50, 80)


def test_a_student_is_compared_with_the_one_above_and_the_first_with_the_teacher() -> None:
    """Of `first`, whichever block lies between; nothing else has a row above."""
    scores = scores_of(
        {"c": {0: 24.0}, "c: baseline": {0: 1.0}},
        **{"baseline": {0: 10.0}, "b: baseline": {0: 12.0}},
        **{"teacher": {0: 9.0}, "b: teacher": {0: 11.0}},
        **{"a": {0: 15.0}, "b: student_round1": {0: 16.0}, "no_baseline": {0: 18.0}},
    )
    rows = summarize(scores, "a", "test", MAP)
    assert {row["setting"]: row["to_previous"] for row in rows if "to_previous" in row} == {
        "a": 6,
        "b: student_round1": 1,
        "no_baseline": 2,
    }
    rows = summarize(scores_of(a={0: 15.0}, b={0: 16.0}), "a", "test", MAP)
    assert [row.get("to_previous") for row in rows] == [None, 1]


def test_all_are_compared_with_the_reference_and_controls_not_with_the_row_above() -> None:
    scores = scores_of(
        {"a": {0: 20.0}, "b": {0: 21.0}}, baseline={0: 10.0}, first={0: 30.0}, last={0: 31.0}
    )
    baseline, first, last, a, b = summarize(scores, "first", "test", MAP)
    assert (baseline["to_reference"], last["to_reference"]) == (-20, 1)
    assert "to_reference" not in first
    assert (last["control"], a["control"], b["control"]) == (False, True, True)
    assert last["to_previous"] == 1
    for row, difference in ((a, -10), (b, -9)):
        assert row["to_reference"] == difference
        assert "to_previous" not in row


def test_one_seed_has_no_interval() -> None:
    scores = scores_of({"slade_oracle": {0: 16.0}}, baseline={0: 10.0}, student={0: 13.0})
    rows = summarize(scores, "student", "test", MAP)
    assert not [key for row in rows for key in row if "interval" in key]
    assert rows[1]["gap_closed"] == 50


def test_where_an_oracle_is_below_the_baseline_there_is_no_share() -> None:
    """A student that is worse than both would have closed more than the whole gap."""
    scores = scores_of(
        {"slade_oracle": {0: 22.0, 1: 19.5}}, baseline={0: 20.0, 1: 20.0}, student={0: 21.0, 1: 19}
    )
    assert not [row for row in summarize(scores, "student", "test", MAP) if "gap_closed" in row]


def test_nothing_is_divided_by_zero() -> None:
    """Warnings are errors here, and JSON has no infinity."""
    scores = scores_of({"slade_oracle": {0: 0.0}}, baseline={0: 0.0}, student={0: 1.0})
    rows = summarize(scores, "student", "test", MAP)
    assert not {"gain", "gap_closed"} & {*rows[1]}


def test_without_first_there_is_nothing_to_compare_with() -> None:
    (row,) = summarize(scores_of(own={0: 3.0}), "whole", "test", MAP)
    assert row == {"setting": "own", "control": False, "seeds": 1, "mean": 3}
